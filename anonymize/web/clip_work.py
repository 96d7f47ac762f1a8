"""What the server does with clips, in a process of its own: a file that crashes FFmpeg is the error of one clip.

The detectors stay in the server, which all visitors share; the process sends the frames that are searched. What was
found comes back as a record's file, and is read as one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from .. import disk
from ..apart import Here, Workers
from ..detectors import Image
from ..errors import ClipError, StoppedError, UnsupportedClipError, WorkerError
from ..predictor import Predictor
from ..records import Header
from ..regions import Region
from ..settings import Settings
from ..video import clip_records
from ..video.clip_preview import Preview, plays, write_preview, writing
from ..video.clip_records import ClipRecord
from ..video.orientation import Orientation
from ..video.passes import Step, detect, render
from ..video.reader import Clip, Frame, open_clip
from ..video.writer import Encoding
from .photo_session import looks_of

USUAL_RATE = 60  # frames a second; a longest clip of more has too many
OPENING = 60.0  # seconds in which a file has to say what it is
_opening = threading.Lock()

# For this server; its processes end with it.
WORKERS = Workers()


@dataclass(frozen=True)
class Search:
    """What is searched.

    Attributes:
        name: as its owner calls it. folder: the clip's own. most_seconds: a longer one is refused.
        has_preview: what a browser plays of it is there.
    """

    clip: Clip
    name: str
    folder: Path
    sha256: str
    most_seconds: float
    has_preview: bool


@dataclass(frozen=True)
class Wanted:
    """A clean clip as it is asked for.

    Attributes:
        shows: names what it shows (`shown_by`). target: its file.
    """

    shows: str
    record: ClipRecord
    settings: Settings
    encoding: Encoding
    target: Path


def work(call: Callable[..., Any], *given: Any, folder: Path | None = None, **more: Any) -> Any:
    """`call(here, *given)` in a process of its own; `more` as of `Workers.call`.

    Args:
        folder: in which it alone writes: parts of files that it leaves there when it is killed go.

    Raises:
        ClipError: that process crashed or hung. StoppedError: it was asked to stop, and was ended.
    """
    try:
        return WORKERS.call(call, *given, **more)
    except WorkerError as e:
        if (stop := more.get("stop")) and stop.is_set():
            raise StoppedError("stopped; the same call goes on from here") from e
        raise ClipError(f"what reads clips broke off on this one: {e}") from e
    finally:
        if folder:
            with suppress(OSError):  # the clip was deleted meanwhile
                disk.remove_leftovers(folder)


def too_long(most: float) -> UnsupportedClipError:
    limit = f"{most / 60:.0f} minutes" if most >= 120 else f"{most:.0f} seconds"
    return UnsupportedClipError(f"it is longer than the {limit} that this server takes; cut it into parts")


def shown_by(record: ClipRecord, settings: Settings, encoding: Encoding) -> str:
    """A hash of what is hidden and how, and of the form: settings that hide the same alike write the same clip."""
    out = hashlib.sha256(record.sha256.encode())
    for track in record.hidden(settings):
        out.update(json.dumps([track.kind, track.first, len(track.boxes)]).encode())
        out.update(track.boxes.tobytes())
    out.update(settings.replace(kinds=looks_of(settings)).export_hash().encode())
    out.update(json.dumps(dataclasses.asdict(encoding), sort_keys=True).encode())
    return out.hexdigest()[:16]


def look(path: Path, max_megapixels: float) -> Clip:
    """As `open_clip`; one clip at a time."""
    with _opening:
        return _clip_of(work(_look, path, max_megapixels, silent=OPENING))


def search(
    asked: Search, predictor: Predictor, *, progress: Callable[[Step], None], stop: threading.Event
) -> tuple[ClipRecord, Preview | None]:
    """`detect`, and what a browser plays of the clip, unless it is there."""

    def predict(image: Image, turns: Sequence[int]) -> tuple[Region, ...]:
        return predictor.predict([image], turns=turns)[0]

    answers = {**_steps(progress, stop), "turns": predictor.turns_of, "predict": predict}
    known = predictor.settings, predictor.detection_hash, predictor.detector_weights
    times = work(_search, asked, *known, folder=asked.folder, answers=answers, stop=stop)
    file, preview = asked.folder / _FOUND, asked.folder / _PREVIEW
    record = clip_records.read(file)[1]
    file.unlink()
    return record, None if times is None else Preview(preview, np.array(times, np.int64), asked.clip.time_base)


def write(clip: Clip, wanted: Wanted, parts: Path, *, progress: Callable[[Step], None], stop: threading.Event) -> Path:
    """`render`, unless the file is there; what a browser plays of it.

    Args:
        parts: a folder in the clip's own.
    """
    given: dict[str, Any] = {"folder": parts.parent, "answers": _steps(progress, stop), "stop": stop}
    return wanted.target.with_name(str(work(_write, clip, wanted, parts, **given)))


def _steps(progress: Callable[[Step], None], stop: threading.Event) -> Mapping[str, Callable[..., Any]]:
    def step(name: str, frame: int, frames: int | None) -> None:
        if stop.is_set():
            raise StoppedError("stopped; the same call goes on from here")
        progress(Step(name, frame, frames))

    return {"step": step}


# --- over there ---

_FOUND, _PREVIEW = "found.jsonl", "preview.mp4"


class _There(Predictor):
    """The server's predictor."""

    def __init__(self, here: Here, settings: Settings, detection: str, weights: dict[str, Mapping[str, str]]) -> None:
        super().__init__(settings, detectors=[])
        self._here, self._detection, self._weights = here, detection, weights

    @property
    def detection_hash(self) -> str:
        return self._detection

    @property
    def detector_weights(self) -> dict[str, Mapping[str, str]]:
        return self._weights

    def turns_of(self, image: Image) -> tuple[int, ...]:
        return tuple(self._here.ask("turns", image))

    def predict(self, batch: Sequence[Image], *, turns: Sequence[int] | None = None) -> list[tuple[Region, ...]]:
        return [self._here.ask("predict", image, turns or self.turns_of(image)) for image in batch]


def _look(_: Here, path: Path, max_megapixels: float) -> dict[str, Any]:
    clip = open_clip(path, max_megapixels=max_megapixels)
    known = {f.name: getattr(clip, f.name) for f in dataclasses.fields(clip)}
    orientation = clip.orientation
    changed = {"path": str(path), "orientation": [orientation.a, orientation.b, orientation.c, orientation.d]}
    return {n: str(v) if isinstance(v, Fraction) else v for n, v in {**known, **changed}.items()}


def _clip_of(known: Mapping[str, Any]) -> Clip:
    values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in known.items()}
    values |= {n: Fraction(values[n]) for n in ("frame_rate", "time_base", "offset", "aspect")}
    return Clip(**{**values, "path": Path(values["path"]), "orientation": Orientation(*values["orientation"])})


def _search(
    here: Here, asked: Search, settings: Settings, detection: str, weights: dict[str, Mapping[str, str]]
) -> list[int] | None:
    clip, folder, most = asked.clip, asked.folder, asked.most_seconds
    with ExitStack() as stack:
        writer = None if asked.has_preview else stack.enter_context(writing(folder / _PREVIEW, clip))

        def seen(frame: Frame) -> None:
            if frame.seconds > most or frame.index > most * USUAL_RATE:
                raise too_long(most)
            if writer:
                writer.add(frame)

        record = detect(
            clip,
            asked.name,
            _There(here, settings, detection, weights),
            folder / "parts",
            sha256=asked.sha256,
            seen=seen,
            progress=lambda step: here.ask("step", step.name, step.frame, step.frames),
        )
    clip_records.write(folder / _FOUND, Header("clips", settings, weights), record)
    return writer.preview.times.tolist() if writer else None


def _write(here: Here, clip: Clip, wanted: Wanted, parts: Path) -> str:
    record, target = wanted.record, wanted.target

    def told(step: Step) -> None:
        here.ask("step", step.name, step.frame, step.frames)

    if not target.is_file():
        render(clip, record, target, wanted.settings, wanted.encoding, parts, progress=told)
    played = target
    if not plays(target):  # what a browser shows instead is made of the file itself
        played = target.with_name(_PREVIEW)
        if not played.is_file():
            done = Step("join", record.frames, record.frames)
            write_preview(played, open_clip(target), lambda _: told(done))
    return played.name
