"""From a clip to an anonymized clip: the two passes put together (`batch` does it for many).

`detect` searches a clip's frames and makes its record; `render` writes the clip with what the record hides, as often as
settings change, without detecting. Both go on where they were killed: what was found and what was encoded lies in a
folder of parts, a file for each segment. Nothing in it shows a pixel that is to be hidden. Whoever gave the folder
removes it when the clip is done; a `render` that is finished leaves only what was found.

A page or a service calls them so (threads may share a Predictor, not a folder of parts):

    clip = open_clip(path)
    record = detect(clip, "a.mp4", predictor, parts, progress=told, stop=event)
    render(clip, record, target, settings, Encoding(), parts, progress=told, stop=event)   # again with other settings

`progress` is called with a `Step` after every frame; a `stop` that is set raises StoppedError before the next one, and
the same call later goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__, disk
from ..disk import AnyPath
from ..errors import ChangedSourceError, ClipError, DamagedClipError, DetectionError, RecordsError, StoppedError
from ..hiding import check_names
from ..pipeline import give_back_memory
from ..predictor import Predictor
from ..records import escape
from ..settings import Settings
from .clip_records import ClipRecord
from .detect import Every, Search
from .found import Found, Segments
from .planes import Hider, samples
from .reader import Clip, Frame
from .spilled import Spill
from .tracks import Shown, check_thresholds, make_tracks
from .writer import FRAMES_A_SEGMENT, Encoding, Form, form_of, join, write_segment

# Counted up when what is drawn into a frame changes: then no segment of an earlier run is taken over.
RENDER_VERSION = 3
SAMPLED = 8  # each n-th row and column, which say whether a frame is the same in both readings
# Counted up when what makes tracks of detections changes: then every clip is searched anew.
TRACKING_VERSION = 2
INCOMPLETE = "incomplete: "  # before what is missing of a clip, in its record's warnings


@dataclass(frozen=True)
class Step:
    """Where the work on one clip is.

    Attributes:
        name: "detect", "follow" (what was found, through the clip), "render" or "join". Of `batch`, when a
            clip has ended, "done", "unchanged" or "failed", too.
        frame: frames that are done. frames: of how many, or None where that is not known.
    """

    name: str
    frame: int
    frames: int | None


Progress = Callable[[Step], None]


def detection_of(predictor: Predictor, every: Every) -> str:
    """What a clip's record's `detection` is compared with: what searched, in which frames, and what was followed."""
    return _key(predictor.detection_hash, TRACKING_VERSION, every, FRAMES_A_SEGMENT, sorted(predictor.settings.kinds))


def detect(
    clip: Clip,
    path: str,
    predictor: Predictor,
    parts: AnyPath,
    *,
    sha256: str = "",
    every: Every = "auto",
    progress: Progress = lambda step: None,
    seen: Callable[[Frame], None] = lambda frame: None,
    stop: threading.Event | None = None,
) -> ClipRecord:
    """Search a clip and follow what was found.

    Args:
        clip: of `open_clip`. path: its name in the record, as `os.fsdecode` writes it.
        predictor: finds. parts: a folder for what was found so far, for this clip alone.
        sha256: of the file, if it is known; else it is read for it.
        every: search every n-th frame, or "auto".
        seen: called with each frame; what it raises ends the search.

    Returns:
        The record; its warnings say what is missing of it, and what was found that nobody hides.

    Raises:
        ClipError: nothing of it can be read. DetectionError: a detector failed. StoppedError: as asked.
    """
    sha256, detection = sha256 or disk.sha256(clip.path), detection_of(predictor, every)
    folder = _only(Path(parts), "found", _key(sha256, detection))
    search = Search(predictor, clip.width, clip.height, float(clip.frame_rate), every)
    frames = _Whole(clip.frames(), stop)

    def told(frame: Frame) -> None:
        seen(frame)
        progress(Step("detect", frame.index + 1, clip.frame_count))

    files = []
    with closing(search):
        for file, segment in _segments(frames, folder, ".npz"):
            _search(segment, file, search, told)
            files.append(file)
    if not files:
        raise ClipError("no frame of it could be decoded")
    give_back_memory()
    progress(Step("follow", frames.count, frames.count))
    whole = Segments(files)
    if whole.frames != frames.count:
        raise DetectionError("not every frame was searched")  # a bug must not look like success
    rate = frames.rate or float(clip.frame_rate)
    tracks = make_tracks(whole, rate, Spill(folder))
    give_back_memory()
    return ClipRecord(
        path=escape(path),
        sha256=sha256,
        width=clip.width,
        height=clip.height,
        frames=whole.frames,
        frame_rate=rate,
        tracks=tracks,
        searched=int(whole.searched.sum()),
        cuts=tuple(sorted(whole.motion.cuts)),
        kinds=whole.kinds,
        detectors=predictor.detector_weights,
        detection=detection,
        warnings=(*frames.warnings, *whole.warnings),
        pictures=frames.pictures,
    )


def _search(segment: Iterable[Frame], file: Path, search: Search, told: Callable[[Frame], None]) -> None:
    """Write what is in a segment, unless an earlier run did."""
    known = None
    with suppress(RecordsError):  # a disk may damage it
        known = Found.load(file)
    for frame in segment:
        if known is None:
            search.add(frame.rgb, frame.seconds)
        elif frame.index % FRAMES_A_SEGMENT == known.frames - 1:
            search.look(frame.rgb)
        told(frame)
    if known is None:
        search.take().save(file)


def render(
    clip: Clip,
    record: ClipRecord,
    target: AnyPath,
    settings: Settings,
    encoding: Encoding,
    parts: AnyPath,
    *,
    progress: Progress = lambda step: None,
    stop: threading.Event | None = None,
) -> Path:
    """Write a clip in which all that its record hides under these settings is hidden; nothing is detected.

    Args:
        clip: of `open_clip`. record: of the same file.
        target: the file to write, whose extension is `form_of(clip, encoding)`'s; it appears when it is whole.
        settings: what is hidden, and how. parts: a folder for what is encoded so far, for this clip alone.

    Raises:
        ClipError: it cannot be read or written in this form. ChangedSourceError: the file is no longer the one that was
            detected. DetectionError: nobody looked at it. SettingsError: a threshold below those of tracks.
            StoppedError: as asked.
    """
    check_thresholds(settings)
    if record.error is not None or not (record.detectors or record.decisions):
        raise DetectionError(record.error or "no detector looked at this clip, and no person")
    if record.kinds and (others := settings.kinds.keys() - set(record.kinds)):
        raise DetectionError(f"nothing of {', '.join(sorted(others))} was followed in this clip; detect it again")
    check_names(record, settings)
    if disk.sha256(clip.path) != record.sha256:
        raise ChangedSourceError("the clip changed after it was detected; detect it again")
    form = form_of(clip, encoding)
    folder = _only(Path(parts), "frames", shown_by(record, settings, encoding, form))
    frames = _Whole(clip.frames(), stop)
    segments: list[Path] = []
    for file, segment in _segments(frames, folder):
        if file.exists():
            for _ in segment:
                pass
        else:
            write_segment(file, _drawn(segment, clip, record, settings, form, progress), clip, form, encoding)
        segments.append(file)
    if frames.count != record.frames:
        raise ChangedSourceError(f"{frames.count} frames were read, {record.frames} were detected; detect it again")
    if record.pictures and frames.pictures != record.pictures:
        shutil.rmtree(folder, ignore_errors=True)
        raise ChangedSourceError(
            "it was read otherwise than when it was detected; it is damaged, repair or detect it again"
        )
    give_back_memory()  # FFmpeg's index of hours comes on top
    progress(Step("join", frames.count, record.frames))
    try:
        join(clip, form, encoding, segments, target, frames.last_duration)
    except Exception:  # a damaged segment would fail it again and again
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    return Path(target)


def shown_by(record: ClipRecord, settings: Settings, encoding: Encoding, form: Form) -> str:
    """A hash of what decides a written clip's frames."""
    decided = record.approval_hash(settings), asdict(encoding), asdict(form)
    return _key(*decided, FRAMES_A_SEGMENT, RENDER_VERSION)


class _Whole:
    """A clip's frames, counted; what a damaged one lacks is noted, not raised."""

    def __init__(self, frames: Iterable[Frame], stop: threading.Event | None) -> None:
        self._frames, self._stop = frames, stop
        self.warnings: list[str] = []
        self.count, self.last_duration = 0, 1
        self._times = array("d")
        self._pictures = hashlib.blake2s(digest_size=16)

    def __iter__(self) -> Iterator[Frame]:
        try:
            for frame in self._frames:
                if self._stop and self._stop.is_set():
                    raise StoppedError("stopped; the same call goes on from here")
                self.count, self.last_duration = frame.index + 1, frame.duration
                self._times.append(frame.seconds)
                self._pictures.update(frame.pts.to_bytes(8, "little", signed=True))
                self._pictures.update(samples(frame.native)[0][::SAMPLED, ::SAMPLED].tobytes())
                yield frame
        except DamagedClipError as e:
            self.warnings.append(INCOMPLETE + str(e))

    @property
    def pictures(self) -> str:
        """What says, in another reading, that it saw the same frames: of a damaged clip it may not."""
        return self._pictures.hexdigest()

    @property
    def rate(self) -> float | None:
        """Frames a second, as most follow each other; files may say otherwise (1,000 of a browser's recording)."""
        apart = float(np.median(np.diff(self._times))) if self.count > 1 else 0.0
        return round(1 / apart, 6) if apart > 0 else None


def _segments(frames: Iterable[Frame], folder: Path, ending: str = "") -> Iterator[tuple[Path, Iterator[Frame]]]:
    """Runs of FRAMES_A_SEGMENT, each with its file; each has to be used up before the next."""
    rest = iter(frames)
    for number, first in enumerate(rest):
        yield folder / f"{number:06}{ending}", chain([first], islice(rest, FRAMES_A_SEGMENT - 1))


def _drawn(
    frames: Iterable[Frame], clip: Clip, record: ClipRecord, settings: Settings, form: Form, progress: Progress
) -> Iterator[tuple[int, Any]]:
    """A segment's frames with what a record hides in them."""
    from av.video.reformatter import VideoReformatter

    hider, convert, shown = Hider(settings), VideoReformatter(), None
    for frame in frames:
        if shown is None:  # of hours of tracks, those of this segment
            shown = Shown(record.tracks, range(frame.index, frame.index + FRAMES_A_SEGMENT), settings)
        if frame.index >= record.frames:
            raise ChangedSourceError(f"frame {frame.index} was not there when the clip was detected")
        native = frame.native
        if native.format.name != form.planar:
            native = convert.reformat(native, format=form.planar)
        regions = shown.regions_at(frame.index)
        stored = [clip.orientation.stored(r, clip.stored_width, clip.stored_height) for r in regions]
        yield frame.pts, hider.hide(native, stored)
        progress(Step("render", frame.index + 1, record.frames))


def _only(parts: Path, name: str, key: str) -> Path:
    """The folder of parts of one kind and key; those of other keys are of earlier settings, and go."""
    folder = parts / f"{name}-{key}"
    for other in parts.glob(f"{name}-*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _key(*values: Any) -> str:
    import av

    text = json.dumps([*values, __version__, av.__version__], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
