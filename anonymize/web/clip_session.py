"""One clip that a visitor works on: searched once, then written as often as settings, corrections or codec change.

What is asked for last is what is written; until the clean clip is whole there is none to see and none to download.
Single frames show at once what a change does.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from .. import disk, effects
from ..corrections import standing
from ..errors import AuditError, StoppedError, UnsupportedClipError
from ..predictor import Predictor
from ..preview import to_jpeg
from ..records import Header
from ..settings import Settings
from ..video import clip_records
from ..video.batch import RECORD_SUFFIX
from ..video.clip_corrections import decide
from ..video.clip_preview import Preview
from ..video.clip_records import ClipRecord
from ..video.passes import Step
from ..video.reader import Clip
from ..video.writer import Encoding, form_of
from . import clip_work
from .clip_audit import ClipAudit, audit, report
from .clip_work import Wanted
from .file_names import clean_name
from .photo_session import QUALITY, small_settings
from .policy import Policy
from .sessions import GoneError
from .telling import failure_of

State = Literal["ready", "waiting", "searching", "writing", "auditing", "done", "stopped", "failed"]
WORKING = ("waiting", "searching", "writing")
KEPT = 2  # clean clips, each of other settings
_SETTLE = 0.4  # s; a slider that is moved has moved on by then
MOST_RATE = 250  # what is searched of a second of more would fill the memory
_LEAKS = "The audit found leaks in this clean clip. Correct its tracks, or change what is hidden."
_LOOK = 100  # frames after which it is looked whether there is room


@dataclass
class ClipSession:
    """One clip of a visitor. Thread-safe.

    Attributes:
        id: unguessable; also the name of its folder. name: what its owner calls the file.
        clip: what is known of the file. settings, encoding: the last that were asked for. who: as decisions name them.
        record: what was found and decided; None until it was searched. preview: what a browser plays of the original.
        state: what is being done. step: where that is. problem: why it failed, or stopped.
        made: when it came in. audited: the last audit.
        check_room: raises FullError where results have no more room.
    """

    id: str
    name: str
    folder: Path
    clip: Clip
    policy: Policy
    settings: Settings
    who: str = ""
    encoding: Encoding = field(default_factory=Encoding)
    record: ClipRecord | None = None
    preview: Preview | None = None
    state: State = "ready"
    step: Step | None = None
    problem: str = ""
    made: float = field(default_factory=time.monotonic)
    audited: ClipAudit | None = None
    check_room: Callable[[], None] = lambda: None
    lock: threading.RLock = field(default_factory=threading.RLock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _is_halted: bool = False  # by its owner: then nothing starts by itself
    _is_closed: bool = False
    _asked: int = 0  # counts changes
    _found_with: tuple[str, str] = ("", "")  # hashes: of the predictor, and of the settings that chose it
    _sha256: str = ""
    _began: float = 0.0
    _done: tuple[Wanted, Path] | None = None  # what is whole, and what a browser plays of it
    _shown: tuple[Any, str] = (None, "")
    _is_audit_asked: bool = False
    _failed: set[str] = field(default_factory=set)  # what no audit let pass, by what it shows

    def close(self) -> None:
        """Stop and delete; what is in flight is deleted when it ends."""
        with self.lock:
            self._is_closed = True
            self._stop.set()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def record_name(self) -> str:
        """What its owner calls the file of the record."""
        return f"{Path(self.name).stem}{RECORD_SUFFIX}"

    @property
    def is_busy(self) -> bool:
        return self.state in (*WORKING, "auditing")

    # --- what is asked for ---

    def ask(
        self, start: Callable[[], None], settings: Settings | None = None, encoding: Encoding | None = None
    ) -> None:
        """Other settings or another form, or the same again; the work begins, or begins anew.

        Args:
            start: puts `work` into the queue.
        """
        with self.lock:
            self.settings, self.encoding = settings or self.settings, encoding or self.encoding
            self._asked += 1
            if self.is_busy:
                self._stop.set()
            elif not (self._is_halted or self._is_closed or self.clean):
                self.state, self.problem, self.step = "waiting", "", None
                start()

    def go_on(self, start: Callable[[], None]) -> None:
        """Begin, or go on where it was stopped."""
        self._is_halted = False
        self.ask(start)

    def look_for_leaks(self, start: Callable[[], None]) -> None:
        """Audit the clean clip; one that fails is taken away.

        Raises:
            GoneError: there is none now.
        """
        with self.lock:
            if self.clean is None or not self.policy.own_machine:
                raise GoneError(
                    "Wait until the clean clip is written. On a server for many, nobody can ask for an audit."
                )
            if not self.is_busy:
                self._is_audit_asked, self._is_halted = True, False
                self.state, self.step, self.problem = "auditing", None, ""
                start()

    def halt(self) -> None:
        """Stop at the next frame, and begin nothing until `go_on`; what is done so far is kept."""
        with self.lock:
            self._is_halted, self._is_audit_asked = True, False
            self._stop.set()

    def correct(self, what: str, start: Callable[[], None], **given: Any) -> None:
        """One decision on a track, or `undo` of the last one.

        Raises:
            SettingsError, StaleDecisionError: it makes no sense (any more). GoneError: it was not searched yet.
        """
        with self.lock:
            record = self.found
            if what == "undo" and not self.can_undo:
                return
            self.record = decide(record, what, who=self.who, settings=self.settings, **given)
        self.ask(start)

    @property
    def can_undo(self) -> bool:
        return self.record is not None and bool(standing(self.record))

    # --- work ---

    def work(self, predictor: Callable[[Settings], Predictor]) -> None:
        """Search where that is needed, and write; again while other settings are asked for. Never raises."""
        while True:
            with self.lock:
                if self._is_halted or self._is_closed:
                    self.state = "stopped"
                    break
                asked = self._asked
                self._stop.clear()
            is_written = self._is_audit_asked and self.clean is not None
            end = "done" if is_written else self._once(predictor)
            if end == "done" and self._is_audit_asked:
                end = self._audit()
            with self.lock:
                if asked == self._asked or self._is_halted or self._is_closed:
                    self.state = end
                    break
        if self._is_closed:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _once(self, predictor: Callable[[Settings], Predictor]) -> State:
        self.problem = ""
        try:
            ready = predictor(self.settings)
            if self.record is None or self._found_with[0] != ready.detection_hash:
                self._search(ready)
            self._write()
            return "done"
        except StoppedError:
            return "stopped"
        except Exception as e:
            self.problem = failure_of(e, self.policy.own_machine, "a clip", is_logged=not self._is_closed)
        return "failed"

    def _audit(self) -> State:
        self._is_audit_asked = False
        assert self._done is not None
        clean, _ = self._done
        self._begin("auditing")

        def looked(done: int, of: int) -> None:
            self.step = Step("audit", done, of)

        try:
            found = audit(self.folder / "audit", self.clip.path, clean, progress=looked, stop=self._stop)
        except StoppedError:
            self._is_halted = False  # the audit was not wanted any more, not the clip
            return "done"
        except Exception as e:
            self.problem = failure_of(e, self.policy.own_machine, "an audit", is_logged=not self._is_closed)
            return "done"
        self.audited = found
        if found.leaks:
            self._failed.add(clean.shows)
            self._done = None
            shutil.rmtree(clean.target.parent, ignore_errors=True)
            self.problem = _LEAKS
        return "failed" if found.leaks else "done"

    def audit_zip(self) -> Path:
        """The last audit's report and certificate.

        Raises:
            GoneError: there was none.
        """
        if self.audited is None:
            raise GoneError("This clip was not audited.")
        return report(self.folder / "audit")

    def _begin(self, state: State) -> None:
        self.state, self.step, self._began = state, None, time.monotonic()

    def _show_step(self, step: Step) -> None:
        self.step = step
        if step.frame % _LOOK == 0:
            self.check_room()

    def _search(self, predictor: Predictor) -> None:
        self._begin("searching")
        self._sha256 = self._sha256 or disk.sha256(self.clip.path)
        most, has_preview = self.policy.most_clip_seconds, self.preview is not None
        asked = clip_work.Search(self.clip, self.name, self.folder, self._sha256, most, has_preview)
        found, preview = clip_work.search(asked, predictor, progress=self._show_step, stop=self._stop)
        with self.lock:
            self.preview = preview or self.preview
            self.record = found.keep_decisions(self.record)
            self._found_with = predictor.detection_hash, predictor.settings.detection_hash()

    def _write(self) -> None:
        """Write the clean clip as it is asked for now, unless it is there."""
        if self._done and self._stop.wait(_SETTLE):
            raise StoppedError("asked for something else meanwhile")
        with self.lock:
            record, settings, encoding, shows = self.found, self.settings, self.encoding, self.shows
        if shows in self._failed:
            raise AuditError(_LEAKS)
        form = form_of(self.clip, encoding)
        target = self.folder / "out" / shows / clean_name(self.name, form.extension or self.clip.path.suffix)
        self._begin("writing")
        self.check_room()
        wanted, parts = Wanted(shows, record, settings, encoding, target), self.folder / "parts"
        played = clip_work.write(self.clip, wanted, parts, progress=self._show_step, stop=self._stop)
        with self.lock:
            self._done = wanted, played
        for old in sorted(target.parent.parent.iterdir(), key=lambda f: f.stat().st_mtime)[:-KEPT]:
            if old != target.parent:
                shutil.rmtree(old, ignore_errors=True)

    @property
    def seconds_left(self) -> float | None:
        """Of this step; a guess from the rate so far, None where there is none."""
        step, all_ = self.step, self.step_frames
        if not self.is_busy or step is None or not step.frame or not all_:
            return None
        return max(0.0, (time.monotonic() - self._began) / step.frame * (all_ - step.frame))

    @property
    def step_frames(self) -> int:
        """How many frames this step has to do; 0 where nobody knows."""
        return self.step.frames or 0 if self.step and self.state == "auditing" else self.frames

    @property
    def frames(self) -> int:
        """How many there are, or are likely to be; 0 where nobody knows."""
        if self.record:
            return self.record.frames
        return self.clip.frame_count or round((self.clip.duration or 0) * self.clip.frame_rate)

    # --- what is shown and taken away ---

    @property
    def shows(self) -> str:
        """Names what a clean clip that is asked for now shows; "" before the search."""
        with self.lock:
            if self.record is None:
                return ""
            key = self.record, self.settings, self.encoding
            if self._shown[0] is None or any(a is not b for a, b in zip(self._shown[0], key, strict=True)):
                self._shown = key, clip_work.shown_by(*key)
            return self._shown[1]

    def _is_stale(self) -> bool:
        is_found = self._found_with[1] == self.settings.detection_hash()
        return not is_found or self._done is None or self._done[0].shows != self.shows

    @property
    def clean(self) -> Path | None:
        """The clean clip, where it is whole and shows what is asked for now."""
        with self.lock:
            return None if self._done is None or self.state in WORKING or self._is_stale() else self._done[0].target

    @property
    def found(self) -> ClipRecord:
        """What was found and decided. Raises GoneError: it was not searched yet."""
        if self.record is None:
            raise GoneError("Wait until the clip has been searched.")
        return self.record

    def original(self) -> Preview:
        """What a browser plays of the original. Raises GoneError: it was not searched yet."""
        if self.preview is None:
            raise GoneError("Wait until the clip has been searched.")
        return self.preview

    def clean_file(self, shows: str, *, played: bool = False) -> Path:
        """The clean clip that shows this, or what a browser plays of it.

        Raises:
            GoneError: it is not there (any more).
        """
        with self.lock:
            if self._done is None or self._done[0].shows != shows:
                raise GoneError("The clean clip was changed since; please reload the page.")
            clean, copy = self._done
            return copy if played else clean.target

    def still(self, frame: int, *, clean: bool) -> bytes:
        """A frame as the page shows it, JPEG bytes.

        Args:
            clean: with what these settings hide; else of the original.

        Raises:
            GoneError: it was not searched yet. ClipError: there is no such frame.
        """
        with self.lock:
            record, settings, preview = self.found, self.settings, self.original()
        rgb = preview.still(frame)
        if clean:
            fx, fy = rgb.shape[1] / record.width, rgb.shape[0] / record.height
            hidden = [r.scale(fx, fy) for r in record.regions_at(frame, settings)]
            rgb = effects.apply(rgb, hidden, small_settings(settings, fx), mode="RGB")
        return to_jpeg(rgb, QUALITY)

    def write_record(self) -> Path:
        """The clip's record as a file.

        Raises:
            GoneError: it was not searched yet.
        """
        with self.lock:
            record, settings = self.found, self.settings
        target = self.folder / "record.jsonl"
        # Where this server keeps a visitor's files is nobody's business.
        clip_records.write(target, Header("clips", settings, record.detectors), record)
        return target


def open_upload(path: Path, name: str, policy: Policy) -> ClipSession:
    """A clip that came in, alone in its folder.

    Raises:
        ClipError: it cannot be read, or is larger or longer than this server takes. MissingExtraError: PyAV.
    """
    clip = clip_work.look(path, min(policy.defaults.max_megapixels, policy.most_clip_megapixels))
    if clip.frame_rate > MOST_RATE:
        raise UnsupportedClipError(f"it has {float(clip.frame_rate):.0f} frames a second; at most {MOST_RATE} are read")
    if (clip.duration or 0) > policy.most_clip_seconds:
        raise clip_work.too_long(policy.most_clip_seconds)
    return ClipSession(path.parent.name, name, path.parent, clip, policy, policy.defaults)
