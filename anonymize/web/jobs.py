"""A job (on the page, a batch): many photos, a run in the background that can be watched, stopped and repeated."""

from __future__ import annotations

import dataclasses
import errno
import io
import logging
import shutil
import threading
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Literal

from PIL import Image as Pil

from .. import records
from ..disk import write_json
from ..engine import Summary, export, run
from ..errors import AnonymizeError, SettingsError, StaleDecisionError
from ..outputs import add_to_zip
from ..predictor import Predictor
from ..records import Header, Record, unescape
from ..settings import Settings
from .limits import NO_DISK, is_full
from .names import safe_name
from .policy import Policy
from .results import status
from .sessions import FullError, GoneError
from .telling import WRONG, message_of, place_of, without_paths

log = logging.getLogger("anonymize.web")

State = Literal["empty", "waiting", "running", "done", "stopped", "failed"]
THUMB = 320  # px
MOST_LISTED = 4_000_000  # bytes of a zip's list of contents; a photo takes 100 or so


def _opened(file: Path) -> zipfile.ZipFile:
    """A visitor's zip. Its list of contents is read whole into memory, so that list has a limit.

    Raises:
        FullError: it lists more than photos ever need. zipfile.BadZipFile: it is no zip.
    """
    with open(file, "rb") as found:
        end = zipfile._EndRecData(found)  # type: ignore[attr-defined]
    if end and end[zipfile._ECD_SIZE] > MOST_LISTED:  # type: ignore[attr-defined]
        raise FullError("There is too much in that zip file; please send it in parts.")
    return zipfile.ZipFile(file)


class Job:
    """Photos of one visitor that are worked on together.

    Attributes:
        folder: theirs, in the visitor's session: `in` with the sources, `out` with what the engine wrote.
        source: a folder of the visitor's own computer instead of uploads, or None.
        state: what it is doing. summary: the engine's, which grows while it works. problem: why the whole batch failed.
    """

    def __init__(self, id: str, folder: Path, policy: Policy) -> None:
        self.id, self.folder, self.policy = id, folder, policy
        self.inputs, self.output = folder / "in", folder / "out"
        self.inputs.mkdir(parents=True, exist_ok=True)
        self.source: Path | None = None
        self.state: State = "empty"
        self.summary = Summary()
        self.settings = policy.defaults
        self.problem = ""
        self.stop = threading.Event()
        self.lock = threading.RLock()
        self.closed = self.corrected = self.is_other_choice = False
        self.count = 0
        self.check_room: Callable[[], None] = lambda: None  # raises FullError where results have no more room
        self.made, self.started = time.monotonic(), 0.0
        self.written = 0  # counts the runs, so that a browser asks for new pictures
        # Of a run that did not come to its end: the hash of what it finds with. Other photos' regions are of earlier
        # detectors, which is not what was asked for last.
        self._unfinished: str | None = None
        self._records: tuple[object, list[Record]] = None, []
        self._statuses: tuple[list[Record], Settings, list[str]] = [], self.settings, []

    def close(self) -> None:
        """Stop and delete; what is in flight is deleted when it ends."""
        self.closed = True
        self.stop.set()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- photos in ---

    def take(self, file: Path, name: str, room: int) -> int:
        """Take a photo, or the photos in a zip; how many.

        Args:
            file: an upload, moved away or left to the caller to delete.
            name: what the visitor calls it, perhaps with folders. room: bytes that a zip may still unpack to.

        Raises:
            SettingsError: not a photo and not a zip that can be read. FullError: too many, or too large.
        """
        if name.lower().endswith(".zip"):
            return self._unpack(file, room)
        if not self._is_photo(name):
            raise SettingsError(f"{PurePosixPath(name).name} is not a supported file type.")
        with self.lock:
            file.rename(self._place(name))
        return 1

    def _is_photo(self, name: str) -> bool:
        return PurePosixPath(name).suffix.lower().lstrip(".") in self.policy.defaults.image_extensions

    def _place(self, name: str) -> Path:
        """A free place for a name; its folders stay, what could climb out of them does not."""
        if self.count >= self.policy.most_photos:
            raise FullError(f"A batch takes at most {self.policy.most_photos} photos.")
        parts = [safe_name(p) for p in PurePosixPath(name.replace("\\", "/")).parts if p not in ("/", ".", "..")]
        target = self.inputs.joinpath(*parts[-4:])
        number = 1
        while target.exists():
            number += 1
            target = target.with_name(f"{Path(parts[-1]).stem}-{number}{target.suffix}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise SettingsError("A photo and a folder cannot have the same name.") from None
        self.count += 1
        return target

    def _unpack(self, file: Path, room: int) -> int:
        added = 0
        try:
            with _opened(file) as archive:
                photos = [
                    i
                    for i in archive.infolist()
                    if not i.is_dir() and self._is_photo(i.filename) and not i.filename.startswith("__MACOSX/")
                ]
                if not photos:
                    raise SettingsError("There is no photo in that zip file.")
                for info in photos:
                    if info.flag_bits & 1:
                        raise SettingsError("That zip file has a password; please unpack it first.")
                    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                        # Of these alone a piece can be unpacked; of others a megabyte may become a terabyte in memory.
                        raise NotImplementedError
                    part = self.folder / f".{threading.get_ident()}.unpacked"
                    try:
                        with archive.open(info) as source, open(part, "wb") as out:
                            while chunk := source.read(1 << 20):
                                room -= len(chunk)  # counted, not believed: a zip may lie about its sizes
                                if room < 0:
                                    raise FullError("What is in that zip file is too large.")
                                out.write(chunk)
                        with self.lock:
                            part.rename(self._place(info.filename))  # whole, or not at all
                    finally:
                        part.unlink(missing_ok=True)
                    added += 1
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as e:
            if isinstance(e, OSError) and e.errno != errno.EINVAL:  # that: a place in the file that is none
                raise
            raise SettingsError("That zip file cannot be read.") from e
        return added

    def use_folder(self, folder: str) -> None:
        """Work on a folder of this computer instead of uploads.

        Raises:
            SettingsError: this server does not allow it, or there is no such folder.
        """
        if not self.policy.own_machine:
            raise SettingsError("Folders can be named only when the app runs on your own computer.")
        try:
            path = Path(folder.strip()).expanduser()
            is_there = path.is_absolute() and path.is_dir()
        except (OSError, RuntimeError, ValueError):  # too long a name; nobody's home; no name at all
            is_there = False
        if not is_there:
            raise SettingsError(f"There is no folder {folder.strip()!r}; give its full path.")
        self.source = path

    # --- work ---

    def work(self, predictor: Callable[[], Predictor], again: bool) -> None:
        """Run to the end or until `stop`; every failure ends in `state` and `problem`."""
        if not again:
            self._unfinished = ""
        if self.stop.is_set():
            self.state = "stopped"
            return
        self.state, self.started, self.written = "running", time.monotonic(), self.written + 1
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
                summary = export(self._file, self.output, ready.settings, progress=watch, stop=self.stop)
            else:
                self._unfinished = ready.detection_hash
                summary = run(self.source or self.inputs, self.output, ready, progress=watch, stop=self.stop)
                self._unfinished = self._unfinished if summary.stopped else None
            self.summary = self._for_visitor(summary)
            if self.is_other_choice:
                self._choose()
            self.state = "stopped" if self.summary.stopped else "done"
        except AnonymizeError as e:
            self.problem, self.state = message_of(e, self.policy.own_machine), "failed"
        except Exception as e:
            if not self.closed:
                log.error("a batch failed: %s", place_of(e))
            self.problem, self.state = NO_DISK if is_full(e) else WRONG, "failed"
        if self.closed:
            shutil.rmtree(self.folder, ignore_errors=True)

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

    @property
    def records(self) -> list[Record]:
        """What is known of each photo so far; read again only when the file changed."""
        try:
            found = self._file.stat()
        except OSError:
            return []
        changed = found.st_ino, found.st_size, found.st_mtime_ns  # lines may come faster than the clock of files ticks
        if changed != self._records[0]:
            known = list(records.read(self._file)[1].values())
            if not self.policy.own_machine:
                known = [r.replace(error=without_paths(r.error)) if r.error else r for r in known]
            self._records = changed, known
        return self._records[1]

    def statuses(self) -> list[str]:
        """`results.status` of each record; computed again only when the records or settings changed."""
        known, settings = self.records, self.settings
        if self._statuses[0] is not known or self._statuses[1] != settings:
            self._statuses = known, settings, [status(r, settings) for r in known]
        return self._statuses[2]

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
                if (last.regions_hash(), len(last.decisions)) != (seen.regions_hash(), len(seen.decisions)):
                    raise StaleDecisionError("This photo was changed elsewhere meanwhile; open it again.")
                with records.Writer(self._file, header) as writer:
                    writer.write(record)
                    writer.sync()
            self.corrected = True

    def refresh(self) -> None:
        """Write the photos again that were corrected since they were written; no detector runs."""
        with self.lock:
            if self.corrected and self.state not in ("waiting", "running"):
                self.summary = self._for_visitor(export(self._file, self.output, self.settings))
                self.corrected, self.written = False, self.written + 1

    def thumb(self, number: int) -> bytes:
        """A small picture of a CLEAN photo, JPEG bytes; there is none of an original."""
        self.refresh()
        record = self.record(number)
        clean = self.output / unescape(record.path)
        if record.error or not clean.is_file():
            raise GoneError("There is no clean photo.")
        out = io.BytesIO()
        with Pil.open(clean) as picture:
            picture.draft("RGB", (THUMB, THUMB))
            small = picture.convert("RGB")
            small.thumbnail((THUMB, THUMB))
            small.save(out, "JPEG", quality=80)
        return out.getvalue()

    def zip(self) -> Path:
        """The clean photos, each with what was hidden in it, the records and the summary.

        A photo that a stopped run did not come to, and that still shows other settings or what other detectors found,
        stays behind.

        Raises:
            GoneError: nothing has been written.
        """
        if self.state not in ("done", "stopped") or not self.summary.done:
            raise GoneError("There are no clean photos to download yet.")
        self.refresh()
        target = self.folder / "clean.zip"
        part = target.with_name(f".{threading.get_ident()}.part")
        own = part.with_suffix(".jsonl")
        known = [r for r in self.records if self._unfinished in (None, r.detection)]
        try:
            with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
                add_to_zip(archive, self.output, known, self.settings, prefix="photos/", with_detections=True)
                # Where this server keeps a visitor's files is nobody's business.
                records.write(own, Header("photos", self.settings, {}), known)
                archive.write(own, "records.jsonl")
                write_json(self.folder / "summary.json", self.summary.to_dict())
                archive.write(self.folder / "summary.json", "summary.json")
            part.replace(target)
        finally:
            own.unlink(missing_ok=True)
            part.unlink(missing_ok=True)
        return target
