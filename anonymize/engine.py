"""From files to files: `detect` makes records of photos, `export` writes anonymized photos, `run` does both at once.

Reading, inference and writing overlap, and detectors search some photos side by side. A photo that fails at any step
has an `error` in its record and no output; the others go on.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from . import images, records
from .cpus import cores
from .detectors.runtime import batch_size, side_by_side
from .disk import AnyPath, write_json
from .errors import RecordsError, SettingsError
from .outputs import SUMMARY_NAME, Output, why
from .pipeline import GIVE_BACK, give_back_memory, run_pipeline
from .predictor import Predictor
from .records import Header, Record, escape, unescape
from .records_file import RecordsFile
from .settings import Settings
from .summary import Progress as Progress
from .summary import Summary as Summary

# Photos that are read ahead and written behind, together: a 100-megapixel one waits until the others are out of memory.
PIXELS_IN_FLIGHT = 60_000_000
RECORDS_NAME = "records.jsonl"
GONE = "no longer in the input"

Gate = Callable[[Record], str | None]
Keep = Callable[["_Task"], None]


@dataclass(frozen=True)
class _Task:
    """One photo on its way.

    Attributes:
        last: its record of an earlier run, or None.
        photo: None where it need not be read or could not be.
        withheld: why it gets no output though nothing failed, or None. is_gone: that is because it is not there.
        is_changed: something was written.
    """

    path: str
    record: Record
    photo: images.Photo | None = None
    last: Record | None = None
    withheld: str | None = None
    is_gone: bool = False
    is_changed: bool = False

    def finished(self, record: Record, is_changed: bool, withheld: str | None = None) -> _Task:
        """The photo itself is let go of: others are waiting for its room."""
        return replace(self, record=record, photo=None, is_changed=is_changed, withheld=withheld)


@dataclass(frozen=True)
class _Detection:
    """The steps of `detect` and `run` for one photo; without a target nothing but the record is made."""

    predictor: Predictor
    detection: str
    root: Path
    earlier: Mapping[str, Record]
    target: Output | None

    @property
    def at_once(self) -> int:
        return self.predictor.at_once

    def read(self, path: str) -> _Task:
        name = escape(path)
        last = self.earlier.get(name)
        known = last if last and last.error is None and last.detection == self.detection else None
        try:
            # What an earlier run finished is only hashed, not decoded.
            is_done = known and (self.target is None or self.target.is_current(known))
            if known and is_done and images.sha256(self.root / path) == known.sha256:
                return _Task(path, known, last=last)
            photo = images.load(self.root / path, self.predictor.settings)
        except Exception as e:
            # What people decided stays, should the photo come back.
            return _Task(path, (last or Record(name)).replace(error=why(e)), last=last)
        is_known = known and known.sha256 == photo.sha256
        return _Task(path, known if known and is_known else Record(name, photo.sha256), photo, last)

    def infer(self, tasks: list[_Task]) -> list[_Task]:
        new = [t for t in tasks if t.photo is not None and t.record.detection != self.detection]
        done = dict(zip(map(id, new), self._records(new), strict=True))
        return [replace(t, record=done[id(t)].keep_decisions(t.last)) if id(t) in done else t for t in tasks]

    def _records(self, tasks: list[_Task]) -> list[Record]:
        """What detectors say of photos that were read; of one that fails, why."""
        photos = [t.photo for t in tasks if t.photo is not None]
        if not photos:
            return []
        try:
            return self.predictor.records(photos, [t.path for t in tasks])
        except Exception as e:
            if len(tasks) > 1:  # one of them, or all together are too much
                return [record for t in tasks for record in self._records([t])]
            return [tasks[0].record.replace(width=photos[0].width, height=photos[0].height, error=why(e))]

    def finish(self, task: _Task) -> _Task:
        if self.target is None:
            return task.finished(task.record, task.record is not task.last)
        return task.finished(*self.target.write(task.record, task.photo))


@dataclass(frozen=True)
class _Export:
    """The steps of `export` for one photo."""

    root: Path
    known: Mapping[str, Record]
    target: Output
    settings: Settings
    gate: Gate | None
    root_exists: bool
    at_once = 1  # no detector runs

    def read(self, path: str) -> _Task:
        record = self.known[escape(path)]
        if record.error is not None:
            return _Task(path, record)
        if self.gate and (reason := self.gate(record)):
            return _Task(path, record, withheld=reason)
        if self.target.is_current(record):
            return _Task(path, record)
        # Else all photos fail: a drive that is not there has not lost them.
        if self.root_exists and not os.path.lexists(self.root / path):
            return _Task(path, record, withheld=GONE, is_gone=True)
        try:
            return _Task(path, record, images.load(self.root / path, self.settings))
        except Exception as e:
            return _Task(path, record.replace(error=why(e)))

    def infer(self, tasks: list[_Task]) -> list[_Task]:
        return tasks

    def finish(self, task: _Task) -> _Task:
        if task.withheld is None:
            return task.finished(*self.target.write(task.record, task.photo))
        record, _ = self.target.write(task.record.replace(error=task.withheld), None)
        # What lies in its place and could not be taken away makes it a failure.
        return task.finished(record, False, task.withheld if record.error == task.withheld else None)


@dataclass(frozen=True)
class _Job:
    """Some photos, where they go, and who is told of it."""

    found: images.Found
    settings: Settings
    target: Output | None
    records_path: Path
    progress: Progress | None
    stop: threading.Event | None
    started: float

    def run(self, steps: _Detection | _Export, recording: AbstractContextManager[Keep]) -> Summary:
        """All photos, into the target, with the memory of it and the file that says what was done."""
        path = self.target.folder / SUMMARY_NAME if self.target else self.records_path.with_suffix(f".{SUMMARY_NAME}")
        with self.target or nullcontext():
            path.unlink(missing_ok=True)  # a run that is killed has none
            with recording as keep:
                summary = self.work(steps, keep)
            if self.target:
                summary.lose(self.target.lost())
                summary.left_over = self.target.left_over(self.found)
        summary.seconds = time.perf_counter() - self.started
        write_json(path, summary.to_file(self.settings, escape(os.path.abspath(self.records_path))))
        return summary

    def work(self, steps: _Detection | _Export, keep: Keep) -> Summary:
        """All photos, each counted and its record kept when it is finished."""
        skipped = {escape(extension): n for extension, n in self.found.skipped.items()}
        summary = Summary(photos=len(self.found.paths), skipped=skipped)
        threads = self.settings.jobs or cores()
        many = min(steps.at_once, threads, len(self.found.paths))
        done = run_pipeline(
            self.found.paths,
            steps.read,
            steps.infer,
            steps.finish,
            threads=threads,
            size=lambda path: images.count_pixels(self.found.root / path),
            room=PIXELS_IN_FLIGHT,
            batch=batch_size(self.settings.device),
            at_once=max(many, 1),
            stop=self.stop,
        )
        together = side_by_side() if many > 1 else nullcontext()
        with together, closing(done):  # photos in flight end before the caller's files are closed
            for n, t in enumerate(done, 1):
                if n % GIVE_BACK == 0:
                    give_back_memory()
                keep(t)
                summary.count(t.record, self.settings, is_changed=t.is_changed, withheld=t.withheld, is_gone=t.is_gone)
                if self.progress:
                    self.progress(summary)
        finished = summary.done + len(summary.withheld) + len(summary.gone)
        summary.stopped = bool(self.stop and self.stop.is_set() and finished < summary.photos)
        summary.seconds = time.perf_counter() - self.started
        return summary


def detect(
    source: AnyPath | images.Found,
    records_path: AnyPath,
    predictor: Predictor | None = None,
    *,
    exclude: AnyPath | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Summary:
    """Photos -> records. Photos that the file already has, unchanged and by the same detectors, are left alone.

    Args and errors: as `run`; `exclude`: a folder that is not searched.
    """
    return _detect(source, Path(records_path), predictor or Predictor(), None, dry_run, progress, stop, exclude)


def run(
    source: AnyPath | images.Found,
    output: AnyPath,
    predictor: Predictor | None = None,
    *,
    records_path: AnyPath | None = None,
    write_detections: bool = True,
    preview: AnyPath | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Summary:
    """Photos -> records and anonymized photos, in one pass. Called again, it goes on where it was killed.

    Args:
        source: a file, a folder, a glob, or a list file; or what `images.find` made of one.
        output: the folder of anonymized photos; the input's structure is kept.
        predictor: finds; its settings say what is hidden and how. Default: one of the default settings.
        records_path: default OUTPUT/records.jsonl.
        write_detections: a JSON file beside each photo with what was hidden in it.
        preview: a folder for side-by-side pictures. They show the ORIGINAL too: it may not lie in the output.
        dry_run: detect and count, write nothing.
        progress: called after each photo. stop: set it to end after the photos in flight.

    Raises:
        PathError: no such input, or an output that would touch it. RecordsError: not a records file, or the output's
            own files were removed during the run. SettingsError: no detector looks for what is to be hidden.
    """
    predictor = predictor or Predictor()
    target = Output(output, predictor.settings, write_detections, preview)
    path = target.folder / RECORDS_NAME if records_path is None else Path(records_path)
    return _detect(source, path, predictor, target, dry_run, progress, stop)


def _detect(
    source: AnyPath | images.Found,
    path: Path,
    predictor: Predictor,
    target: Output | None,
    dry_run: bool,
    progress: Progress | None,
    stop: threading.Event | None,
    exclude: AnyPath | None = None,
) -> Summary:
    started, settings = time.perf_counter(), predictor.settings
    if target:
        predictor.check_hides()
        exclude = target.folder
    found = source if isinstance(source, images.Found) else images.find(source, settings, exclude=exclude)
    if target:
        target.check(found, path)
    job = _Job(found, settings, None if dry_run else target, path, progress, stop, started)
    # No decision of a person may fall between reading what is known and writing it anew.
    with nullcontext() if dry_run else records.lock(path):
        header = Header(escape(os.path.abspath(found.root)), settings, predictor.detector_weights)
        header, earlier = _earlier(path, header)
        steps = _Detection(predictor, predictor.detection_hash, found.root, earlier, job.target)
        return job.work(steps, _forget) if dry_run else job.run(steps, _recording(path, header, earlier))


def _earlier(path: Path, header: Header) -> tuple[Header, Mapping[str, Record]]:
    """The header to write, and what an earlier run found; thresholds and effects that a review chose stand."""
    if not path.exists():
        return header, {}
    earlier = RecordsFile(path)
    old = earlier.header
    if old.root != header.root:
        raise RecordsError(f"{path} belongs to another input, {old.root}")
    if old.review and old.settings.export_hash() == header.settings.export_hash():
        header = replace(header, review=header.settings.with_choices(old.review))
    return header, earlier


@contextmanager
def _recording(path: Path, header: Header, earlier: Mapping[str, Record]) -> Iterator[Keep]:
    """The records file under its new header; what changed is added as it comes."""
    if isinstance(earlier, RecordsFile):
        earlier.rewrite(header)
    else:
        records.write(path, header, ())
    with records.Writer(path, header) as writer:

        def keep(task: _Task) -> None:
            if task.record != task.last:
                writer.write(task.record)

        yield keep


def _forget(task: _Task) -> None:
    """Of an export, and of a run that writes nothing, no record is kept."""


def export(
    records_path: AnyPath,
    output: AnyPath,
    settings: Settings | None = None,
    *,
    gate: Gate | None = None,
    write_detections: bool = True,
    preview: AnyPath | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Summary:
    """Records -> anonymized photos; no detector runs.

    Photos whose regions and settings are those of the file that is already there are left alone. `output` and the
    options that are not described here: as `run`'s.

    Args:
        settings: what is hidden and how. Default: those of the detection.
        gate: says why a record may not go out, or None where it may (the review's gate). A withheld photo has
            no output; an earlier one is taken away, as that of a photo that is gone and would be written anew.

    Raises:
        PathError: an output that would touch the input. RecordsError: not a records file. SettingsError: a kind to hide
            that the detection was not asked for, and that is in no record.
    """
    started, path = time.perf_counter(), Path(records_path)
    known = RecordsFile(path)
    header = known.header
    settings = settings or header.settings
    # How many regions were kept is the detection's; a larger number here would hide that some were left out.
    settings = settings.replace(max_regions=min(settings.max_regions, header.settings.max_regions))
    if missing := [k for k in settings.kinds if k not in header.settings.kinds and not known.mentions(k)]:
        raise SettingsError(
            f"{', '.join(missing)} would be left in the open: no photo of these records was searched for that; detect "
            "again, with a detector that finds it"
        )
    target = Output(output, settings, write_detections, preview)
    root = Path(unescape(header.root))
    found = images.Found(root, [unescape(p) for p in known])
    target.check(found, path)
    steps = _Export(root, known, target, settings, gate, root.is_dir())
    return _Job(found, settings, target, path, progress, stop, started).run(steps, nullcontext(_forget))
