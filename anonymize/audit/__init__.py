"""Audit: an export is opened again and attacked, by other means than those that made it.

`audit_folder` is the whole of it: each photo of an output folder is checked (`folder`, `containers`, `names`,
`destroyed`, `against`, `second_look`, `attacks`), each clip is (`clips`, `mp4`, `matroska`), what failed goes to
quarantine, and a report and a signed certificate say what was found. The command line, the web page and the review
call nothing else.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from .. import __version__, disk, images, weights
from ..disk import AnyPath, write_json
from ..errors import AnonymizeError, PathError
from ..outputs import why
from ..records import Record, escape
from ..settings import Settings
from . import against as against_
from . import attacks, clips, containers, destroyed, folder, keys, names, quarantine, rest_risk, second_look
from .findings import CHECKS, SYSTEM, THUMBNAILS, TO_DO, Audit, Finding, PhotoAudit, counted, once
from .plate_reader import Reader
from .plate_reader import load as load_reader

__all__ = [
    "CHECKS",
    "SYSTEM",
    "THUMBNAILS",
    "TO_DO",
    "Audit",
    "Finding",
    "Options",
    "PhotoAudit",
    "audit_folder",
    "once",
    "report_folder",
]

Progress = Callable[[Audit, int], None]
REPORT_NAME, DATA_NAME, QUARANTINE = "report.html", "audit.json", "quarantine"
_ORDER = {"leak": 0, "look": 1, "note": 2}


@dataclass(frozen=True)
class Options:
    """How an audit is done.

    Attributes:
        detectors: those that look again; empty: networks that did not choose what was hidden.
        is_looking: look again at all. is_attacking: try to read hidden plates, to recognize hidden faces.
        is_moving: photos that fail move to quarantine. is_reporting: write report and certificate.
        report: the folder for report, certificate and quarantine; None: OUTPUT-audit.
        frames: of a clip that are looked at, at most.
        name: what report and certificate call the output; "": as its folder is called.
        key: the private key's file; None: the user's own.
        weights_dir: where weights are kept instead of the user's cache.
    """

    detectors: tuple[str, ...] = ()
    is_looking: bool = True
    is_attacking: bool = True
    is_moving: bool = True
    is_reporting: bool = True
    report: Path | None = None
    frames: int = clips.FRAMES
    name: str = ""
    key: Path | None = None
    weights_dir: Path | None = None


def report_folder(output: AnyPath) -> Path:
    """Where an output's report, certificate and quarantine are: beside it, since they are not to be published."""
    path = Path(output).absolute()
    return path.with_name(f"{path.name}-audit")


def audit_folder(
    output: AnyPath,
    *,
    records_path: AnyPath | None = None,
    against: AnyPath | None = None,
    settings: Settings | None = None,
    options: Options = Options(),
    progress: Progress | None = None,
    fetching: weights.Progress | None = None,
    stop: threading.Event | None = None,
    frames: clips.Progress = lambda done, of: None,
) -> Audit:
    """Audit a folder that `run` or `export` wrote.

    Args:
        output: the folder. records_path: its records; None: those in it, or named by its summary.
        against: the originals' folder, for the comparisons that need them. None: without.
        settings: those of the export; None: as its summary and its records say.
        progress: told after each photo: the audit so far, and how many photos there are.
        fetching: told of weights on their way. stop: set it to end after the photo in work.
        frames: told how many of a clip's frames were looked at, and of how many.

    Raises:
        RecordsError: records that cannot be read. PathError: a folder that is not there; a report in the output.
        WeightsError: of a detector that was asked for by name.
    """
    started = time.perf_counter()
    for place in (output, *((against,) if against is not None else ())):
        if not Path(place).is_dir():
            raise PathError(f"{os.fspath(place)} is not a folder")
    read = folder.read(Path(output), None if records_path is None else Path(records_path), settings)
    place = Path(options.report or report_folder(output)).absolute()
    if options.is_reporting or options.is_moving:
        for inside, what in ((read.path, "output"), *(((Path(against), "input"),) if against else ())):
            if place.resolve().is_relative_to(inside.resolve()):
                raise PathError(f"report and quarantine are not to be published: {place} may not lie in the {what}")
    if options.is_reporting:
        keys.load(options.key)  # what cannot be signed in the end is said before the work
    audit = Audit(
        name=options.name or escape(read.path.absolute().name),
        output=escape(read.path.absolute()),
        records=escape(read.records_path.absolute()) if read.records_path else "",
        against=escape(Path(against).absolute()) if against else "",
        version=__version__,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    work = _Work(read, options, Path(against) if against else None, audit, fetching, frames)
    for path in (*read.photos, *read.clips):
        if stop and stop.is_set():
            audit.stopped = True
            break
        audit.photos.append(work.check(path, is_clip=len(audit.photos) >= len(read.photos)))
        if progress:
            progress(audit, len(read.photos) + len(read.clips))
    work.finish()
    if options.is_moving and read.is_export:  # else it may hold originals, which are never moved
        quarantine.put(read, audit.failed, place / QUARANTINE)
    audit.seconds = round(time.perf_counter() - started, 1)
    if options.is_reporting:
        _write(audit, read, place, options)
    return audit


def _write(audit: Audit, read: folder.Folder, place: Path, options: Options) -> None:
    """The report, its data, and the certificate."""
    from . import certificate, report

    place.mkdir(parents=True, exist_ok=True)
    write_json(place / DATA_NAME, audit.to_dict())
    disk.write_whole(place / REPORT_NAME, report.render(audit, read, place / QUARANTINE).encode())
    certificate.write(audit, read, place, options.key)


class _Work:
    """What is needed for each photo, made once."""

    def __init__(
        self,
        read: folder.Folder,
        options: Options,
        against: Path | None,
        audit: Audit,
        fetching: weights.Progress | None,
        frames: clips.Progress,
    ) -> None:
        self.frames = frames
        self.read, self.options, self.against, self.audit = read, options, against, audit
        self.settings = read.settings[0] if read.settings else Settings()
        self.reader = self._reader(fetching)
        self.looker = replace(self._looker(fetching), reader=self.reader if options.is_looking else None)
        self.gallery = attacks.Gallery()
        self.compared = self.not_compared = 0  # photos, with their originals
        audit.checks |= {"metadata": "every segment, chunk, tag and box against a list", "names": "by patterns"}
        how = "the detection's own candidates, under the threshold, by the review's model of risk"
        if not read.clips or read.photos:  # nobody estimated a clip's risk
            self._say("open", read.records_path is not None, how, "there are no records")
        said = "the output has no exports.jsonl and no clips.jsonl"
        self._say("memory", read.has_memory, "hashes and records of the export", said)
        has_records = read.records_path is not None or bool(read.clip_memory)
        self._say("destroyed", has_records, "from the written pixels", "there are no records")
        how = "against the originals" + (", byte for byte where nothing is lost" if against else "")
        self._say("unchanged", has_records and against is not None, how, "it needs --against INPUT")

    def _say(self, check: str, is_done: bool, how: str, why_not: str) -> None:
        (self.audit.checks if is_done else self.audit.skipped)[check] = how if is_done else why_not

    def _looker(self, fetching: weights.Progress | None) -> second_look.Looker:
        if not self.options.is_looking:
            self.audit.skipped["recognizable"] = "not asked for"
            return second_look.Looker((), {})
        looker = second_look.choose(
            sorted(self.read.networks()), self.settings,
            names=self.options.detectors, weights_dir=self.options.weights_dir, progress=fetching,
        )  # fmt: skip
        done = ", ".join(d.name for d in looker.detectors)
        said = looker.said
        reasons: dict[str, list[str]] = {}
        for kind, reason in looker.unchecked.items():
            reasons.setdefault(reason, []).append(kind)
        unchecked = "; ".join(f"{' and '.join(kinds)}: {reason}" for reason, kinds in reasons.items())
        self._say("recognizable", bool(done) and not unchecked, said, f"{unchecked}; looked: {said}")
        self.audit.detectors = looker.weights
        return looker

    @property
    def _no_attack(self) -> str:
        """Why nobody tries to undo what is hidden, or ""."""
        if not self.options.is_attacking:
            return "not asked for"
        return "it is not done for clips" if self.read.clips and not self.read.photos else ""

    def _reader(self, fetching: weights.Progress | None) -> Reader | None:
        reader, why_not = None, self._no_attack
        if "plate" not in self.settings.kinds:
            why_not = "plates were not to be hidden"
        elif self.options.is_attacking or self.options.is_looking:
            try:
                reader = load_reader(self.settings.device, self.options.weights_dir, fetching)
            except AnonymizeError as e:
                why_not = why_not or str(e).split(". ")[0]
        if self.read.records_path is None:
            why_not = why_not or "there are no records that say where plates are"
        self._say("plates", not why_not, "PP-OCR, on photos", why_not)
        return reader

    def check(self, path: str, *, is_clip: bool) -> PhotoAudit:
        """One photo or clip; what cannot be read fails."""
        out, most = PhotoAudit(path, is_clip=is_clip), self.options.frames
        try:
            out.findings += names.check(path)
            if is_clip:
                clips.check(out, self.read, self.looker, self.settings, self.against, most, self.frames)
            else:
                self._photo(out)
        except Exception as e:
            out.error = f"it could not be audited: {why(e)}"
        if is_clip:
            self.compared += out.is_compared
            self.not_compared += not out.is_compared
        out.findings.sort(key=lambda f: _ORDER[f.level])
        return out

    def _photo(self, out: PhotoAudit) -> None:
        record, file = self.read.records.get(out.path), self.read.file(out.path)
        out.source_sha256 = record.sha256 if record else ""
        out.findings += folder.check(self.read, out.path)
        data = file.read_bytes()
        out.sha256 = images.sha256(file)
        settings = self.read.settings_of(out.path, record) or self.settings
        out.add("metadata", "leak", *containers.check(data, settings.keep_metadata))
        # A written photo is as large as its original was allowed to be; with a wider limit none is refused here.
        photo = images.load(file, replace(settings, max_megapixels=1000.0))
        touched = np.zeros((photo.height, photo.width), np.float32)
        if record is not None and record.error is None:
            if (photo.width, photo.height) != (record.width, record.height):
                said = f"it has {photo.width} x {photo.height} pixels, its record {record.width} x {record.height}"
                out.add("memory", "leak", said)
                record = None
            else:
                out.hidden = dict(record.count_hidden(settings))
                _, touched = destroyed.pieces(record, settings, photo.width, photo.height)
                out.findings += destroyed.check(photo, record, settings)
                self._attack(out, photo, data, record, settings)
        out.findings += second_look.findings(photo, self.looker, record, touched, settings)
        if record is not None:
            out.findings += list(rest_risk.open_places(record, settings, out.findings))

    def _attack(self, out: PhotoAudit, photo: images.Photo, data: bytes, record: Record, settings: Settings) -> None:
        source: images.Photo | str | None = None
        if self.against is not None:
            source = against_.original(record, self.against, settings)
            if isinstance(source, str):
                out.add("unchanged", "look", source)
                source, self.not_compared = None, self.not_compared + 1
            else:
                self.compared += 1
                out.findings += against_.check(photo, data, source, record, settings)
        original = source.rgb if isinstance(source, images.Photo) else None
        if self.reader is not None and self.options.is_attacking:
            out.findings += attacks.read_plates(photo.rgb, original, record, settings, self.reader)
        if self.options.is_attacking and original is not None:
            self.gallery.add(out.path, photo.rgb, original, record, settings)

    def finish(self) -> None:
        """What can be said of all photos together, and of what lies beside them."""
        if self.against is not None and (self.not_compared or not self.compared):
            self.audit.checks.pop("unchanged", None)
            self.audit.skipped["unchanged"] = self._why_not_compared()
        if self._no_attack or self.against is None:
            self.audit.skipped["faces"] = self._no_attack or "it needs --against INPUT"
        else:
            said, found = attacks.match_faces(self.gallery)
            self._say("faces", "not enough" not in said, f"local binary patterns; {said}", said)
            by_path = {p.path: p for p in self.audit.photos}
            for path, finding in found:
                by_path[path].findings.insert(0, finding)
        if of_clips := [p for p in self.audit.photos if p.is_clip]:
            frames, looked_at = sum(p.frames for p in of_clips), sum(p.looked_at for p in of_clips)
            self.audit.checks["clips"] = (
                f"{counted(of_clips)}: all {frames} frames were read, {looked_at} of them looked at; "
                "nobody tried to read plates or to recognize faces that are hidden in them, or listened to their sound"
            )
        self.audit.strays += self.read.strays
        self.audit.of_system += self.read.of_system
        self.audit.thumbnails += self.read.thumbnails

    def _why_not_compared(self) -> str:
        """Why files were not compared with their originals, in words."""
        lossy = sum(p.is_lossy for p in self.audit.photos)
        said = []
        if lossy:
            clips_ = "1 clip was" if lossy == 1 else f"{lossy} clips were"
            said.append(f"{clips_} written in a lossy codec; only lossless ones can be compared")
        if missing := self.not_compared - lossy:
            said.append(f"only {self.compared} of {self.compared + missing} files could be compared with an original")
        return "; ".join(said) or "there was nothing to compare"
