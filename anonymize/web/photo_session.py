"""One photo that a visitor works on: filtered, corrected and shown as often as wanted, written when asked.

Thresholds and corrections only choose among the regions that were found once; effects are shown on a copy at display
size; the clean file is written by the engine from the untouched source.
"""

from __future__ import annotations

import dataclasses
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import effects, images, records
from ..corrections import decide, standing
from ..detectors import Image
from ..errors import ChangedSourceError
from ..hiding import save_hidden
from ..outputs import detections
from ..preview import shrink, to_jpeg
from ..records import Record
from ..regions import Region
from ..risk import Reason
from ..settings import Kernel, Settings
from .file_names import clean_name
from .sessions import GoneError

DISPLAY = 1600  # px, the long side of what the page shows
KEPT = 3  # clean files of one photo, each with other settings
STATES = 100  # of one photo: what other pages of its owner show, and what is downloaded from there
QUALITY = 85  # of the pictures on the page; the download is another file
# A person who corrects "face" and "plate" may also want to hide something that has no detector.
OTHER = "other"


@dataclass(frozen=True)
class Display:
    """A photo at display size.

    Attributes:
        pixels: uint8 RGB (h, w, 3). factor: display px for each px of the photo, at most 1.
        before: the picture as the page shows it, JPEG bytes.
    """

    pixels: Image
    factor: float
    before: bytes

    @classmethod
    def of(cls, rgb: Image, long_side: int = DISPLAY) -> Display:
        pixels, factor = shrink(rgb, long_side)
        return cls(pixels, factor, to_jpeg(pixels, QUALITY))

    def after(self, regions: Sequence[Region], settings: Settings) -> bytes:
        """What the photo will look like with these regions hidden, JPEG bytes; sizes in px shrink with the picture."""
        small = small_settings(settings, self.factor)
        shown = [r.scale(self.factor).replace(status="accepted") for r in regions]
        return to_jpeg(effects.apply(self.pixels, shown, small, mode="RGB"), QUALITY)


def small_settings(settings: Settings, factor: float) -> Settings:
    """Settings whose kernels do to a picture shrunk by `factor` what the real ones do to the photo."""
    if factor == 1:
        return settings
    kinds = {}
    for name, kind in settings.kinds.items():
        k = kind.kernel
        size = max(1, round((k.size - 1) / 2 * factor)) * 2 + 1 if k.size else 0
        kinds[name] = dataclasses.replace(kind, kernel=Kernel(size, k.sigma * factor, round(k.feather * factor)))
    return settings.replace(kinds=kinds)


@dataclass
class PhotoSession:
    """One photo that a visitor works on. Thread-safe.

    Attributes:
        id: unguessable; also the name of its folder. name: what its owner calls the file.
        path: the source, never changed. folder: deleted with the photo. record: what was found and decided.
        settings: the last that were asked for. who: the person, as decisions name them.
        removed: what the file carries and the clean one will not. version: counts what changes the picture.
        saved: keeps each correction of a photo of a batch. batch: its id and the photo's number there.
        reasons: to look at regions, worked out last. earlier: how many decisions were made before this page.
    """

    id: str
    name: str
    path: Path
    folder: Path
    record: Record
    display: Display
    settings: Settings
    who: str
    removed: tuple[str, ...] = ()
    version: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)
    saved: Callable[[Record], None] | None = None
    batch: tuple[str, int] | None = None
    reasons: tuple[Record, Settings, dict[str, Reason]] | None = None
    _states: OrderedDict[str, tuple[Record, Settings]] = field(default_factory=OrderedDict)
    _shown: tuple[str, bytes] = ("", b"")

    def __post_init__(self) -> None:
        self.earlier = len(self.record.decisions)

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def hidden(self) -> list[Region]:
        return self.record.hidden(self.settings)

    def show(self, settings: Settings) -> bytes:
        """The preview with these settings; nothing is rendered when it would look the same as the last one."""
        with self.lock:
            self.settings = settings
            hidden = self.hidden
            looks = records.Record("", regions=tuple(hidden)).approval_hash(settings.replace(kinds=looks_of(settings)))
            if looks != self._shown[0]:
                self._shown = looks, self.display.after(hidden, settings)
                self.version += 1
            self._states[self.shows] = self.record, self.settings
            while len(self._states) > STATES:
                self._states.popitem(last=False)
            return self._shown[1]

    @property
    def shows(self) -> str:
        """Names what is shown now: a download that asks for it gets just this, whatever another page changed since."""
        return self.record.approval_hash(self.settings)

    # --- corrections ---

    def correct(self, what: str, **given: Any) -> None:
        """One decision on a region, or `undo` of the last one that was made on this page.

        Args:
            what, given: as for `corrections.decide`; a kind that is not hidden by itself becomes OTHER.

        Raises:
            SettingsError, StaleDecisionError: it makes no sense (any more). GoneError: the batch was deleted.
        """
        with self.lock:
            if what == "undo" and not self.can_undo:
                return
            if "kind" in given and given["kind"] not in self.settings.kinds:
                given["kind"] = OTHER
            changed = decide(self.record, what, who=self.who, settings=self.settings, **given)
            if self.saved and changed is not self.record:
                self.saved(changed)  # first: what cannot be kept is not shown as if it were
            self.record = changed

    @property
    def can_undo(self) -> bool:
        return any(i >= self.earlier for i in standing(self.record))

    # --- what is taken away ---

    def _state(self, shows: str | None) -> tuple[Record, Settings]:
        if shows is None:
            return self.record, self.settings
        if shows not in self._states:
            raise GoneError("The photo was changed elsewhere since; please reload the page.")
        return self._states[shows]

    def write(self, shows: str | None = None) -> Path:
        """The clean photo, written by the engine at full size; the earlier one when nothing changed since.

        Args:
            shows: what a page shows; what was asked for last when not given.

        Raises:
            ImageError: it cannot be written. ChangedSourceError: the source is another file now. GoneError: that was
                shown too long ago.
        """
        with self.lock:
            record, settings = self._state(shows)
            folder = self.folder / "out" / record.approval_hash(settings)
            target = folder / clean_name(self.name, self.path.suffix)
            if not target.is_file():
                photo = images.load(self.path, settings)
                if photo.sha256 != record.sha256:
                    raise ChangedSourceError("The photo changed after it was looked at; please add it again.")
                folder.mkdir(parents=True, exist_ok=True)
                save_hidden(photo, record, target, settings)
                # Who tries many settings leaves no more files than may just be on their way out.
                for old in sorted(folder.parent.iterdir(), key=lambda f: f.stat().st_mtime)[:-KEPT]:
                    shutil.rmtree(old, ignore_errors=True)
            return target

    def report(self, shows: str | None = None) -> dict[str, Any]:
        """What was hidden, JSON-ready, as the command line writes it beside a photo. `shows`: as for `write`."""
        with self.lock:
            return {**detections(*self._state(shows)), "image": self.name}


def looks_of(settings: Settings) -> Mapping[str, Any]:
    """Kinds without what only chooses regions: two settings that hide the same regions alike look alike."""
    return {n: dataclasses.replace(k, threshold=1.0, min_size=0.0, max_size=0.0) for n, k in settings.kinds.items()}
