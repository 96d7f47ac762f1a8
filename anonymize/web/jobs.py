"""A job (on the page, a batch): many photos, a run in the background that can be watched, stopped and repeated."""

from __future__ import annotations

import dataclasses
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from .. import records
from ..audit import Audit, Options, audit_folder
from ..corrections import gate
from ..engine import Progress, Summary, export, run
from ..errors import SettingsError, StaleDecisionError
from ..predictor import Predictor
from ..records import Record, unescape
from ..settings import Settings
from .job_intake import Intake
from .job_results import KnownRecords, thumbnail, write_audit, write_photos, write_records
from .policy import Policy
from .sessions import FullError, GoneError
from .telling import failure_of, without_paths

State = Literal["empty", "waiting", "running", "done", "stopped", "failed"]


class AuditProgress:
    """An audit that somebody waits for.

    Attributes:
        done, of: files that were looked at, and how many there are; 0 of 0 before the first one.
        failed: of those that were looked at. stop: set it to end after the file in work.
    """

    def __init__(self) -> None:
        self.done = self.of = self.failed = 0
        self.stop = threading.Event()
        self._started = time.monotonic()

    def watch(self, audit: Audit, of: int) -> None:
        """Told by `audit_folder` after each file."""
        if not self.done:
            self._started = time.monotonic()  # what loads the networks takes its time once
        self.done, self.of, self.failed = len(audit.photos), of, len(audit.failed)

    @property
    def seconds_left(self) -> float | None:
        """A guess from the rate so far; None before the second file."""
        if self.done < 2:
            return None
        return (time.monotonic() - self._started) / (self.done - 1) * (self.of - self.done)


class Job(Intake):
    """Photos of one visitor that are worked on together.

    Attributes:
        folder: theirs, in the visitor's session: `in` with the sources, `out` with what the engine wrote.
        state: what it is doing. summary: the engine's, which grows while it works. problem: why the whole batch failed.
        auditing: the audit in work, or None. audited: what the last one found, or None, where `audit_problem` says why.
    """

    def __init__(self, id: str, folder: Path, policy: Policy) -> None:
        super().__init__(folder, policy)
        self.id, self.output = id, folder / "out"
        self.state: State = "empty"
        self.summary = Summary()
        self.settings = policy.defaults
        self.problem = ""
        self.stop = threading.Event()
        self.auditing: AuditProgress | None = None
        self.audited: Audit | None = None
        self.audit_problem = ""
        self.closed = self.is_other_choice = False
        self.check_room: Callable[[], None] = lambda: None  # raises FullError where results have no more room
        self.made, self.started = time.monotonic(), 0.0
        # Of a run that did not come to its end: the hash of what it finds with. Other photos' regions are of earlier
        # detectors, which is not what was asked for last.
        self._unfinished: str | None = None
        self._seen: tuple[object, str] = None, ""  # the records file that the photos show, and the choices in it
        self._known = KnownRecords(self._file, self._record_for_visitor)

    def close(self) -> None:
        """Stop and delete; what is in flight is deleted when it ends."""
        self.closed = True
        self.stop.set()
        if auditing := self.auditing:
            auditing.stop.set()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- work ---

    def work(self, predictor: Callable[[], Predictor], again: bool) -> None:
        """Run to the end or until `stop`; every failure ends in `state` and `problem`."""
        if not again:
            self._unfinished = ""
        if self.stop.is_set():
            self.state = "stopped"
            return
        self.state, self.started = "running", time.monotonic()
        self.summary = Summary(photos=self.count)

        def watch(summary: Summary) -> None:
            self.summary = self._for_visitor(summary)
            try:
                self.check_room()
            except FullError as e:
                self.problem = str(e)
                self.stop.set()

        try:
            ready = predictor()
            if again and self._unfinished is None:
                summary = self._export(ready.settings, watch)
            else:
                self._unfinished = ready.detection_hash
                summary = run(self.source or self.inputs, self.output, ready, progress=watch, stop=self.stop)
                self._unfinished = self._unfinished if summary.stopped else None
            self.summary = self._for_visitor(summary)
            if self.is_other_choice:
                self._choose()
            self._seen = self._stamp(), self._choices()[1]
            if any(r.review == "flagged" for r in self.records):
                self._seen = None, self._seen[1]  # what a person keeps back goes at the next `refresh`
            end: State = "stopped" if self.summary.stopped else "done"
        except Exception as e:
            self.problem = failure_of(e, self.policy.own_machine, "a batch", is_logged=not self.closed)
            end = "failed"
        if self.closed:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.state = end

    def _for_visitor(self, summary: Summary) -> Summary:
        """What a visitor may know of a run: not where on this machine it read and wrote."""
        if self.policy.own_machine:
            return summary
        failures = {path: without_paths(why) for path, why in summary.failures.items()}
        return dataclasses.replace(summary, failures=failures)

    def _choose(self) -> None:
        """Thresholds and effects that were chosen here last count in a review of these records, too."""
        with records.lock(self._file):
            header, known = records.read(self._file)
            is_found_with = header.settings.export_hash() == self.settings.export_hash()
            chosen = dataclasses.replace(header, review=None if is_found_with else self.settings)
            if chosen != header:
                records.write(self._file, chosen, known.values())

    @property
    def finished(self) -> int:
        return self.summary.done + len(self.summary.failures)

    @property
    def seconds_left(self) -> float | None:
        """A guess from the rate so far; None before the first photo."""
        if self.state != "running" or not self.finished:
            return None
        return (time.monotonic() - self.started) / self.finished * (self.summary.photos - self.finished)

    # --- results ---

    @property
    def _file(self) -> Path:
        return self.output / "records.jsonl"

    def _stamp(self) -> object:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _choices(self) -> tuple[Settings, str]:
        """The thresholds and effects that the records file holds, the review's where it chose some; their hash."""
        header, _ = records.read(self._file)
        chosen = header.review or header.settings
        return chosen, chosen.export_hash()

    def _export(self, settings: Settings, progress: Progress | None = None) -> Summary:
        """Write what changed; what a person flagged stays behind."""
        return export(self._file, self.output, settings, gate=gate(settings, True), progress=progress, stop=self.stop)

    @property
    def records(self) -> list[Record]:
        """What is known of each photo so far."""
        return self._known.read()

    def _record_for_visitor(self, record: Record) -> Record:
        if record.error is None or self.policy.own_machine:
            return record
        return record.replace(error=without_paths(record.error))

    def judged(self) -> list[tuple[str, float]]:
        """Status and risk of each record."""
        return self._known.judged(self.settings)

    def statuses(self) -> list[str]:
        return [word for word, _ in self.judged()]

    def record(self, number: int) -> Record:
        if not 0 <= number < len(self.records):
            raise GoneError("That photo is no longer here.")
        return self.records[number]

    def source_of(self, record: Record) -> Path:
        return (self.source or self.inputs) / unescape(record.path)

    def corrections_writer(self, record: Record) -> Callable[[Record], None]:
        """What keeps a visitor's corrections of this photo, one after the other; the clean photo follows at the next
        `refresh`.

        It raises GoneError where the photo is no longer here, StaleDecisionError where somebody else changed it since
        (the review), SettingsError while the batch is worked on; then nothing was kept.
        """
        seen = record

        def keep(changed: Record) -> None:
            nonlocal seen
            self._keep(changed, seen)
            seen = changed

        return keep

    def _keep(self, record: Record, seen: Record) -> None:
        with self.lock:
            if self.closed:
                raise GoneError("The photos of this batch were deleted.")
            if self.state in ("waiting", "running"):
                raise SettingsError("The batch is being worked on; please wait until it is done.")
            with records.lock(self._file):  # the review may be writing, too
                header, known = records.read(self._file)
                last = known.get(record.path)
                if last is None:
                    raise GoneError("That photo is no longer in the batch.")
                if (last.content_hash(), len(last.decisions)) != (seen.content_hash(), len(seen.decisions)):
                    raise StaleDecisionError("This photo was changed elsewhere meanwhile; open it again.")
                with records.Writer(self._file, header) as writer:
                    writer.write(record)
                    writer.sync()

    def refresh(self) -> bool:
        """Write the photos again whose records changed since, here or in the review; whether there was anything.

        No detector runs. Thresholds and effects that were chosen in the review count here, too.
        """
        with self.lock:
            now = self._stamp()
            if self.auditing or self.state not in ("done", "stopped") or now in (None, self._seen[0]):
                return False
            chosen, hash_ = self._choices()
            if hash_ != self._seen[1]:
                self.settings = self.settings.with_choices(chosen)
            self.stop.clear()
            self.summary = self._for_visitor(self._export(self.settings))
            self._seen = now, hash_
            if self.audited and self.summary.unchanged < self.summary.done:
                self.audited, self.audit_problem = None, "Photos were changed since their audit; audit them again."
            return True

    def shows(self, number: int) -> str:
        """Names what the clean photo shows, so that a browser asks for a picture once."""
        return self.records[number].approval_hash(self.settings)

    def thumb(self, number: int) -> bytes:
        """A small picture of a CLEAN photo, JPEG bytes; there is none of an original."""
        self.refresh()
        record = self.record(number)
        clean = self.output / unescape(record.path)
        if record.error or not clean.is_file():
            raise GoneError("There is no clean photo.")
        return thumbnail(clean, self.settings)

    def zip(self, heif_as_jpeg: bool = False) -> Path:
        """The clean photos and nothing else.

        A photo that a stopped run did not come to, and that still shows other settings or what other detectors found,
        stays behind, as does one that a person flagged.

        Args:
            heif_as_jpeg: HEIC photos as JPEG, for those who cannot open them.

        Raises:
            GoneError: nothing has been written, or it was changed meanwhile.
        """
        target = self.folder / ("clean-jpeg.zip" if heif_as_jpeg else "clean.zip")
        with self._results() as (known, settings, _):
            write_photos(target, self.output, known, settings, heif_as_jpeg=heif_as_jpeg)
        return target

    def begin_audit(self) -> None:
        """Before `audit` waits for its turn: until it ends, the photos stay as they are.

        Raises:
            GoneError: nothing has been written. SettingsError: it is being looked at already.
        """
        with self.lock:
            self._finished_records()
            if self.auditing:
                raise SettingsError("These photos are being looked at already.")
            self.auditing, self.audited, self.audit_problem = AuditProgress(), None, ""

    def audit(self) -> None:
        """Look for leaks in the clean photos; every failure ends in `audit_problem`.

        Photos that fail are taken away; `audit_zip` has the report.
        """
        assert self.auditing is not None
        source, options = self.source or self.inputs, Options(report=self.folder / "audit", name="a batch of photos")
        try:
            self.audited = audit_folder(
                self.output, against=source, settings=self.settings, options=options,
                progress=self.auditing.watch, stop=self.auditing.stop,
            )  # fmt: skip
        except Exception as e:
            self.audit_problem = failure_of(e, self.policy.own_machine, "an audit", is_logged=not self.closed)
        self.auditing = None
        if self.closed:
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            self.refresh()

    def audit_zip(self) -> Path:
        """The last audit's report and certificate.

        Raises:
            GoneError: there was none of these photos as they are.
        """
        if self.audited is None:
            raise GoneError("These photos were not audited.")
        return write_audit(self.folder / "audit.zip", self.folder / "audit")

    def records_zip(self) -> Path:
        """What is known of these photos.

        Raises:
            GoneError: nothing has been written, or it was changed meanwhile.
        """
        target = self.folder / "records.zip"
        with self._results() as (known, settings, summary):
            write_records(target, self.output, known, settings, summary.to_dict())
        return target

    @contextmanager
    def _results(self) -> Iterator[tuple[list[Record], Settings, Summary]]:
        """What a zip is made of. Nobody waits for it: a batch that is begun again meanwhile makes it invalid.

        Raises:
            GoneError: nothing has been written; or, in the end, what was packed is not what is there by now.
        """
        with self.lock:
            known, was = self._finished_records(), (self.settings, self.summary, self._seen)
        try:
            yield known, was[0], was[1]
        finally:  # what failed because a file went away is this, too
            with self.lock:
                if self.closed:
                    shutil.rmtree(self.folder, ignore_errors=True)  # what was packed while the rest was deleted
                is_same = self.settings is was[0] and self.summary is was[1] and self._seen == was[2]
                if not is_same or self.state not in ("done", "stopped") or self.closed:
                    raise GoneError("The photos were changed while they were packed; download them again.")

    def _finished_records(self) -> list[Record]:
        if self.state not in ("done", "stopped") or not self.summary.done:
            raise GoneError("There are no clean photos to download yet.")
        self.refresh()
        return [r for r in self.records if self._unfinished in (None, r.detection)]
