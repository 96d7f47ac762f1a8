"""The engine: photos in, records; records in, anonymized photos out.

`detect` and `export` are two steps joined by a records file; `run` does both in one pass over the photos. Reading,
inference and writing overlap: threads read ahead and write behind, the calling thread runs the detectors. A photo that
fails at any step has an `error` in its record and no output; the others go on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import images, records
from .errors import ChangedSourceError, RecordsError
from .outputs import SUMMARY_NAME, Output, why, write_json
from .pipeline import pipelined
from .predictor import Predictor
from .records import Header, Record, escape, unescape
from .settings import Settings

# Photos that are read ahead and written behind, together: a 100-megapixel one waits until the others are out of memory.
PIXELS_IN_FLIGHT = 100_000_000
RECORDS_NAME = "records.jsonl"


@dataclass
class Summary:
    """What a run did; grows while it runs, so that a progress bar can look at it.

    Attributes:
        photos: to be done. done: of those, detected or written. unchanged: of those, left as an earlier run left them.
        failures: path -> why it has no output (or no detection). withheld: path -> why a gate kept it back.
        gone: paths in the records whose photo is no longer in the input; nothing to fail at, so not a failure.
        left_over: output of earlier runs that was not looked at now -> what is to be said of it.
        hidden: kind -> regions hidden (or, without an output, that would be hidden).
        skipped: extension -> files that are not photos by their extension. seconds: wall time.
    """

    photos: int = 0
    done: int = 0
    unchanged: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    withheld: dict[str, str] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    left_over: dict[str, str] = field(default_factory=dict)
    hidden: Counter[str] = field(default_factory=Counter)
    skipped: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    stopped: bool = False

    @property
    def ok(self) -> bool:
        return not self.failures and not self.stopped

    def to_dict(self) -> dict[str, Any]:
        return {**self.__dict__, "hidden": dict(self.hidden), "ok": self.ok}


@dataclass(frozen=True)
class _Task:
    """One photo on its way: what is known of it before and after it was read."""

    path: str
    record: Record
    photo: images.Photo | None = None


Progress = Callable[[Summary], None]
Gate = Callable[[Record], "str | None"]


def _ignore(_: Summary) -> None:
    pass


class Engine(Predictor):
    """Finds and hides, from files to files: a `Finder` that reads, keeps records and writes."""

    def detect(
        self,
        source: str | Path,
        records_path: Path,
        *,
        dry_run: bool = False,
        progress: Progress = _ignore,
        stop: threading.Event | None = None,
    ) -> Summary:
        """Photos -> records. Photos that the file already has, unchanged and by the same detectors, are left alone."""
        return self._run(source, records_path, None, dry_run=dry_run, progress=progress, stop=stop)

    def run(
        self,
        source: str | Path,
        output: Path,
        *,
        records_path: Path | None = None,
        write_detections: bool = True,
        preview: Path | None = None,
        dry_run: bool = False,
        progress: Progress = _ignore,
        stop: threading.Event | None = None,
    ) -> Summary:
        """Photos -> records and anonymized photos, in one pass. Called again, it goes on where it was killed.

        Args:
            source: a file, a folder, a glob, or a list file.
            output: the folder of anonymized photos; the input's structure is kept.
            records_path: default OUTPUT/records.jsonl.
            write_detections: a JSON file beside each photo with what was hidden in it.
            preview: a folder for side-by-side pictures. They show the ORIGINAL too: it may not lie in the output.
            dry_run: detect and count, write nothing.
            progress: called after each photo. stop: set it to end after the photos in flight.

        Raises:
            PathError: no such input, or an output that would touch it. RecordsError: not a records file.
        """
        target = Output(output, self.settings, write_detections, preview)
        return self._run(
            source, records_path or output / RECORDS_NAME, target, dry_run=dry_run, progress=progress, stop=stop
        )

    def _run(
        self,
        source: str | Path,
        records_path: Path,
        target: Output | None,
        *,
        dry_run: bool,
        progress: Progress,
        stop: threading.Event | None,
    ) -> Summary:
        started = time.perf_counter()
        found = images.find(source, self.settings, exclude=target.folder if target else None)
        if target:
            target.check(found, records_path)
        # No decision of a person may fall between reading what is known and writing it anew.
        with contextlib.nullcontext() if dry_run else records.locked(records_path):
            return self._go(found, records_path, target, dry_run, progress, stop, started)

    def _go(
        self,
        found: images.Found,
        records_path: Path,
        target: Output | None,
        dry_run: bool,
        progress: Progress,
        stop: threading.Event | None,
        started: float,
    ) -> Summary:
        summary = Summary(photos=len(found.paths), skipped={escape(e): n for e, n in found.skipped.items()})
        header = Header(escape(os.path.abspath(found.root)), self.settings, self.detector_weights)
        earlier: dict[str, Record] = {}
        if records_path.exists():
            old, earlier = records.read(records_path)
            if old.root != header.root:
                raise RecordsError(f"{records_path} belongs to another input, {old.root}")
            if old.review and old.settings.export_hash() == header.settings.export_hash():
                kept = {name: getattr(old.review, name) for name in ("kinds", "allow_weak", "keep_metadata")}
                header = dataclasses.replace(header, review=self.settings.replace(**kept))  # what a review chose stands
        now = self.detection_hash

        def read(path: str) -> _Task:
            name = escape(path)
            last = earlier.get(name)
            known = last if last and last.error is None and last.detection == now else None
            try:
                # What an earlier run finished is only hashed, not decoded.
                is_done = known and (target is None or target.is_current(known))
                if known and is_done and images.sha256(found.root / path) == known.sha256:
                    return _Task(path, known)
                photo = images.load(found.root / path, self.settings)
            except Exception as e:
                # What people decided stays, should the photo come back.
                return _Task(path, (last or Record(name)).replace(error=why(e)))
            if known and known.sha256 == photo.sha256:
                return _Task(path, known, photo)
            return _Task(path, Record(name, photo.sha256), photo)

        def infer(task: _Task) -> _Task:
            if task.photo is None or task.record.detection == now:
                return task
            try:
                record = self.record(task.photo, task.path)
            except Exception as e:
                record = task.record.replace(width=task.photo.width, height=task.photo.height, error=why(e))
            return _Task(task.path, record.keep_decisions(earlier.get(record.path)), task.photo)

        def finish(task: _Task) -> tuple[Record, bool]:
            if dry_run or target is None:
                return task.record, task.record is not earlier.get(task.record.path)
            return target.write(task.record, task.photo)

        summary_path = target.folder / SUMMARY_NAME if target else records_path.with_suffix(f".{SUMMARY_NAME}")
        with contextlib.ExitStack() as stack:
            writer = None
            if not dry_run:
                if target:
                    stack.enter_context(target)
                summary_path.unlink(missing_ok=True)  # a run that is killed has none
                records.write(records_path, header, earlier.values())
                writer = stack.enter_context(records.Writer(records_path, header))
            done = self._overlap(found.root, found.paths, read, infer, finish, stop)
            stack.callback(done.close)  # photos in flight end before the files are closed
            for record, changed in done:
                if writer and record != earlier.get(record.path):
                    writer.write(record)
                _count(summary, record, changed, self.settings)
                progress(summary)
            if target and not dry_run:
                summary.left_over = target.left_over(found)
        summary.stopped = bool(stop and stop.is_set() and summary.done < summary.photos)
        summary.seconds = time.perf_counter() - started
        if not dry_run:
            write_json(summary_path, summary.to_dict())
        return summary

    def _overlap(
        self,
        root: Path,
        paths: Sequence[str],
        read: Callable[[str], _Task],
        infer: Callable[[_Task], _Task],
        finish: Callable[[_Task], tuple[Record, bool]],
        stop: threading.Event | None,
    ) -> Generator[tuple[Record, bool]]:
        threads = self.settings.jobs or os.cpu_count() or 1
        return pipelined(
            paths,
            read,
            infer,
            finish,
            threads=threads,
            size=lambda path: images.count_pixels(root / path),
            room=PIXELS_IN_FLIGHT,
            stop=stop,
        )

    def export(
        self,
        records_path: Path,
        output: Path,
        *,
        gate: Gate | None = None,
        write_detections: bool = True,
        preview: Path | None = None,
        progress: Progress = _ignore,
        stop: threading.Event | None = None,
    ) -> Summary:
        """Records -> anonymized photos with this engine's settings; no detector runs.

        Photos whose regions and settings are those of the file that is already there are left alone.

        Args:
            gate: says why a record may not go out, or None where it may (the review's gate). A withheld photo has
                no output; an earlier one is taken away, as that of a photo that is gone and would be written anew.
        """
        started = time.perf_counter()
        header, known = records.read(records_path)
        root = Path(unescape(header.root))
        # How many regions were kept is the detection's; a larger number here would hide that some were left out.
        settings = self.settings.replace(max_regions=min(self.settings.max_regions, header.settings.max_regions))
        target = Output(output, settings, write_detections, preview)
        found = images.Found(root, [unescape(p) for p in known])
        target.check(found, records_path)
        summary = Summary(photos=len(known))
        gone: set[str] = set()
        is_there = root.is_dir()  # else all photos fail: a drive that is not there has not lost them

        def read(path: str) -> _Task:
            record = known[escape(path)]
            if record.error is not None:
                return _Task(path, record)
            if gate and (reason := gate(record)):
                summary.withheld[record.path] = reason
                return _Task(path, record)
            if target.is_current(record):
                return _Task(path, record)
            if is_there and not os.path.lexists(root / path):
                gone.add(record.path)
                return _Task(path, record)
            try:
                photo = images.load(root / path, self.settings)
                if photo.sha256 != record.sha256:
                    raise ChangedSourceError("the photo changed after it was detected; detect it again")
            except Exception as e:
                return _Task(path, record.replace(error=why(e)))
            return _Task(path, record, photo)

        def finish(task: _Task) -> tuple[Record, bool]:
            path = task.record.path
            reason = "no longer in the input" if path in gone else summary.withheld.get(path)
            if reason is None:
                return target.write(task.record, task.photo)
            record, _ = target.write(task.record.replace(error=reason), None)
            if record.error != reason:  # something lies in its place that could not be taken away: a failure
                summary.withheld.pop(path, None)
                gone.discard(path)
            return record, False

        with target, contextlib.ExitStack() as stack:
            (target.folder / SUMMARY_NAME).unlink(missing_ok=True)  # an export that is killed has none
            done = self._overlap(root, found.paths, read, lambda task: task, finish, stop)
            stack.callback(done.close)
            for record, changed in done:
                if record.path in gone:
                    summary.gone.append(record.path)
                elif record.path not in summary.withheld:
                    _count(summary, record, changed, self.settings)
                progress(summary)
            summary.left_over = target.left_over(found)
        finished = summary.done + len(summary.withheld) + len(summary.gone)
        summary.stopped = bool(stop and stop.is_set() and finished < summary.photos)
        summary.seconds = time.perf_counter() - started
        write_json(target.folder / SUMMARY_NAME, summary.to_dict())
        return summary


def _count(summary: Summary, record: Record, changed: bool, settings: Settings) -> None:
    if record.error is not None:
        summary.failures[record.path] = record.error
        return
    summary.done += 1
    summary.unchanged += not changed
    summary.hidden.update(r.kind for r in record.hidden(settings))
