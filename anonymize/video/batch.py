"""Many clips: `run` detects and writes each clip of an input, and leaves alone what an earlier run finished.

Beside each clip lies its record (`NAME.tracks.jsonl`): what was found, and what people decided of it. Run again with
other settings, or after a review, clips are written anew from their records, without detecting.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import disk, images
from ..disk import AnyPath
from ..errors import ClipError, PathError, StoppedError
from ..json_lines import lock
from ..outputs import why
from ..predictor import Predictor
from ..records import Header, escape, unescape
from ..summary import Counts
from . import clip_records
from .clip_records import ClipRecord
from .detect import Every
from .memory import Memory
from .passes import INCOMPLETE, Step, detect, detection_of, render, shown_by
from .reader import Clip, import_av, open_clip
from .tracks import check_thresholds
from .writer import Encoding, Form, form_of

EXTENSIONS = (
    "mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "ts", "mts", "m2ts", "wmv", "flv", "3gp", "3g2", "mxf",
    "ogv", "vob", "dv", "nut", "ivf", "mjpeg", "mjpg", "h264", "hevc", "insv", "lrv",
)  # fmt: skip
RECORD_SUFFIX = ".tracks.jsonl"
SUMMARY_NAME = "clips-summary.json"
SECOND_PICTURE = "a second picture"

Progress = Callable[["ClipSummary"], None]


@dataclass
class ClipSummary(Counts):
    """What a run did with clips.

    Attributes:
        clips: to be done. frames: in the clips that are done.
        incomplete: path -> what of it could not be read; the rest was written.
        dropped: what was left out ("data", "subtitles") -> clips.
        now: path and step of the clip that is being worked on.
    """

    clips: int = 0
    frames: int = 0
    incomplete: dict[str, str] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    now: tuple[str, Step] | None = None

    @property
    def ok(self) -> bool:
        return super().ok and not self.incomplete

    def to_dict(self) -> dict[str, Any]:
        told = super().to_dict()
        del told["now"]
        return told

    def _count(self, clip: Clip, record: ClipRecord, settings: Any, is_changed: bool) -> None:
        self.done += 1
        self.unchanged += not is_changed
        self.frames += record.frames
        self.hidden += record.count_hidden(settings)
        self.dropped.update(what for what in clip.dropped if what != SECOND_PICTURE)
        missing = [w.removeprefix(INCOMPLETE) for w in record.warnings if w.startswith(INCOMPLETE)]
        if missing:
            self.incomplete[record.path] = missing[0]
        if told := [w for w in record.warnings if not w.startswith(INCOMPLETE)]:
            self.warnings.setdefault(record.path, []).extend(told)


def run(
    source: AnyPath,
    output: AnyPath,
    predictor: Predictor | None = None,
    *,
    encoding: Encoding | None = None,
    every: Every = "auto",
    records_folder: AnyPath | None = None,
    dry_run: bool = False,
    progress: Progress = lambda summary: None,
    stop: threading.Event | None = None,
) -> ClipSummary:
    """Clips -> records and anonymized clips. Called again, it goes on where it was killed.

    Args:
        source: a file, a folder, a glob, or a list file.
        output: the folder of anonymized clips; the input's structure is kept.
        predictor: finds; its settings say what is hidden and how. Default: one of the default settings.
        encoding: how clips are written. every: search every n-th frame, or "auto".
        records_folder: where records lie. Default: beside the clips.
        dry_run: detect and count, write nothing.
        progress: called after each frame, and after each clip.
        stop: set it to end before the next frame; nothing that is done is lost.

    Raises:
        PathError: no such input, or an output that would touch it. SettingsError: no detector looks for what is to be
            hidden, or a threshold is below those of tracks. MissingExtraError: PyAV is not installed.
        RecordsError: another program writes to the output.
    """
    started = time.perf_counter()
    import_av()
    predictor = predictor or Predictor()
    predictor.check_hides()
    check_thresholds(predictor.settings)
    output = Path(output)
    if output.suffix.lower().lstrip(".") in EXTENSIONS and not output.is_dir():
        raise PathError(f"the output {str(output)!r} is a folder, in which clips get their own names")
    found = images.find(source, predictor.settings.replace(image_extensions=EXTENSIONS), exclude=output)
    images.check_output(found, output)
    summary = ClipSummary(clips=len(found.paths), skipped={escape(e): n for e, n in found.skipped.items()})
    form, home = encoding or Encoding(), Path(records_folder or output)
    job = _Job(found.root, output, predictor, form, every, home, summary, progress, stop)
    with ExitStack() as stack:
        if dry_run:
            job.scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            job.memory = stack.enter_context(Memory(output))
            home.mkdir(parents=True, exist_ok=True)  # not only when the first clip is searched
            (output / SUMMARY_NAME).unlink(missing_ok=True)  # a run that is killed has none
        job.work(found.paths)
        if job.memory:
            summary.lose(job.memory.lost(job.finished))
            looked_at, ours = map(escape, found.paths), predictor.settings.export_hash()
            summary.left_over = job.memory.left_over("clip", looked_at, lambda p: found.root / unescape(p), ours)
    summary.now, summary.seconds = None, time.perf_counter() - started
    if not dry_run:
        told = {**summary.to_dict(), "settings": predictor.settings.to_dict(), "every": every}
        told["clip_records"] = escape(os.path.abspath(records_folder or output))
        disk.write_json(output / SUMMARY_NAME, told)
    return summary


@dataclass
class _Job:
    """Some clips and what is done with each.

    Attributes:
        memory: None where nothing is written. scratch: where parts lie then.
        finished: paths of the clips that this run found or made good.
    """

    root: Path
    output: Path
    predictor: Predictor
    encoding: Encoding
    every: Every
    records_folder: Path
    summary: ClipSummary
    progress: Progress
    stop: threading.Event | None
    memory: Memory | None = None
    scratch: Path | None = None
    finished: list[str] = field(default_factory=list)

    def work(self, paths: Iterable[str]) -> None:
        taken: dict[Path, str] = {}
        for path in paths:
            if self.stop and self.stop.is_set():
                self.summary.stopped = True
                return
            try:
                ended = self._clip(path, taken)
            except StoppedError:
                self.summary.stopped = True
                return
            except Exception as e:
                self.summary.failures[escape(path)] = why(e) + self._take_away(path)
                ended = Step("failed", 0, None)
            self._told(path)(ended)

    def _take_away(self, path: str) -> str:
        """What cannot be shown to be hidden does not stay; what is to be said of it."""
        try:
            if self.memory:
                self.memory.remove(escape(path))
        except Exception as e:
            return f"; an earlier output may still be there: {why(e)}"
        return ""

    def _clip(self, path: str, taken: dict[Path, str]) -> Step:
        """Find and write one clip; how it ended."""
        predictor, summary = self.predictor, self.summary
        clip = open_clip(self.root / path, max_megapixels=predictor.settings.max_megapixels)
        form = form_of(clip, self.encoding)  # what cannot be written need not be searched
        target = _beside(images.output_path(path, self.output), form.extension)
        if (other := taken.setdefault(target, path)) != path:
            raise ClipError(f"its output would be that of {escape(other)}, too; rename one of them")
        parts = self.scratch or target.with_name(f".{target.name}.parts")
        record = self._record(clip, path, parts)
        is_changed = self._write(clip, form, record, target, parts)
        self.finished.append(record.path)
        if SECOND_PICTURE in clip.dropped:
            summary.warnings[record.path] = ["holds a second picture (another camera?), which is left out"]
        if record.review == "flagged":
            told = "was flagged by a person or an audit, to be kept back, and is in the output all the same"
            summary.warnings.setdefault(record.path, []).append(told)
        if (form.width, form.height) != (clip.stored_width, clip.stored_height):
            told = f"was made even, {form.width} x {form.height} px, for the encoder"
            summary.warnings.setdefault(record.path, []).append(told)
        summary._count(clip, record, predictor.settings, is_changed)
        return Step("done" if is_changed else "unchanged", record.frames, record.frames)

    def _record(self, clip: Clip, path: str, parts: Path) -> ClipRecord:
        """The clip's record of an earlier run, where that searched the same file in the same way; or a new one."""
        file = _beside(images.output_path(path, self.records_folder), RECORD_SUFFIX)
        earlier = clip_records.read(file)[1] if file.exists() else None
        sha256 = disk.sha256(clip.path)
        detection = detection_of(self.predictor, self.every)
        if earlier and earlier.error is None and (earlier.sha256, earlier.detection) == (sha256, detection):
            return self._renewed(file)
        record = detect(
            clip, path, self.predictor, parts,
            sha256=sha256, every=self.every, progress=self._told(path), stop=self.stop,
        )  # fmt: skip
        if self.memory:
            header = Header(
                escape(os.path.abspath(self.root)), self.predictor.settings, self.predictor.detector_weights
            )
            # What people decided during the search counts, too; without an earlier record nobody could.
            with lock(file) if file.exists() else contextlib.nullcontext():
                record = record.keep_decisions(clip_records.read(file)[1] if file.exists() else None)
                clip_records.write(file, header, record)
            return record
        return record.keep_decisions(earlier)

    def _renewed(self, file: Path) -> ClipRecord:
        """An earlier run's record, which says from now on what this run hides: that is what people look at."""
        header, record = clip_records.read(file)
        settings = self.predictor.settings
        if self.memory and (header.review or header.settings).export_hash() != settings.export_hash():
            with lock(file):
                header, record = clip_records.read(file)
                clip_records.write(file, dataclasses.replace(header, review=settings), record)
        return record

    def _write(self, clip: Clip, form: Form, record: ClipRecord, target: Path, parts: Path) -> bool:
        """Write the clip where it is not there yet; whether that was so."""
        settings = self.predictor.settings
        if self.memory is None:
            return True
        shows = shown_by(record, settings, self.encoding, form)
        is_changed = not self.memory.is_current(record.path, target, shows)
        if is_changed:
            self.memory.begin(record.path, target, shows)
            render(
                clip, record, target, settings, self.encoding, parts, progress=self._told(record.path), stop=self.stop
            )
            approval, quality = record.approval_hash(settings), self.encoding.quality
            try:
                self.memory.note(record.path, target, shows, approval, quality, settings.to_dict())
            except Exception:  # the folder is another one by now, which remembers nothing of this clip
                target.unlink(missing_ok=True)
                raise
        shutil.rmtree(parts, ignore_errors=True)
        return is_changed

    def _told(self, path: str) -> Callable[[Step], None]:
        def told(step: Step) -> None:
            self.summary.now = escape(path), step
            self.progress(self.summary)

        return told


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)
