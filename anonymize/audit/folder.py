"""An output folder as an audit reads it: its photos and clips, their records, its memory, and what does not belong."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import disk, json_lines, records
from ..engine import RECORDS_NAME
from ..errors import AnonymizeError, AuditError, RecordsError, SettingsError
from ..images import is_companion, output_path
from ..output_memory import OutputMemory
from ..outputs import EXPORTS_NAME, QUARANTINED, SUMMARY_NAME
from ..records import Header, Record, escape, lines_beside, queue_beside, unescape
from ..records_file import is_kept
from ..settings import Settings
from ..video import batch, clip_records, memory, stream_sinks
from ..video.clip_records import ClipRecord
from .findings import Finding

_OURS = (RECORDS_NAME, EXPORTS_NAME, SUMMARY_NAME, memory.MEMORY_NAME, batch.SUMMARY_NAME, stream_sinks.MEMORY)
# What operating systems and network drives put into a folder by themselves, in lower case, and how each begins: a photo
# of such a name is a stranger's file. In folders of theirs only these pass, too: a recycle bin holds originals.
_OF_SYSTEM: Mapping[str, tuple[bytes, ...]] = {
    ".ds_store": (b"\0\0\0\1Bud1",),
    "thumbs.db": (b"\xd0\xcf\x11\xe0",),
    "ehthumbs.db": (b"\xd0\xcf\x11\xe0",),
    "desktop.ini": (b"[", b"\r\n[", b";", b"\xff\xfe", b"\xef\xbb\xbf"),
    ".directory": (b"[",),
    ".localized": (),
    "synoindex": (b"name",),
}
_LARGEST = 1 << 20  # bytes of a file that only names others
# How pictures and clips begin, anywhere in a file (a database of thumbnails holds many), and only at its beginning.
_PICTURE = re.compile(
    rb"\xff\xd8\xff[\xc0-\xfe]|jP  \r\n\x87\n|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|8BPS\x00\x01|\x1a\x45\xdf\xa3"
    rb"|ftyp(?:heic|heix|mif1|msf1|avif|avis|isom|mp4|qt  )",
    re.DOTALL,
)
_BEGINS_PICTURE = (b"BM", b"II*\0", b"MM\0*")
_FOLDERS_OF_SYSTEM = {"@eadir", ".spotlight-v100", ".trashes", ".fseventsd", "#recycle", "$recycle.bin"}
_BESIDE = {"image", "width", "height", "regions"}  # what `outputs.detections` says


@dataclass(frozen=True)
class Folder:
    """What lies in an output.

    Attributes:
        path: the folder. photos: relative paths, escaped, in order. strays: files that are no photo, no clip, not ours.
        of_system: files that an operating system or a network drive put there.
        thumbnails: those of them that hold pictures, maybe of originals that once lay there.
        records_path: None where there are no records. header, records: of it.
        memory: path -> its last line in exports.jsonl. settings: every one that photos may have been written with.
        clips: relative paths, escaped, in order. clip_memory: clip -> its last line in clips.jsonl.
        clip_records: the folder of the clips' records.
    """

    path: Path
    photos: tuple[str, ...]
    strays: tuple[str, ...]
    of_system: tuple[str, ...]
    thumbnails: tuple[str, ...]
    records_path: Path | None
    header: Header | None
    records: Mapping[str, Record]
    memory: Mapping[str, Mapping[str, Any]]
    settings: tuple[Settings, ...] = field(default=())
    clips: tuple[str, ...] = ()
    clip_memory: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    clip_records: Path = Path()

    @property
    def is_export(self) -> bool:
        """Whether this program remembers what it wrote here; else it may be a folder of originals."""
        return bool(self.memory or self.clip_memory)

    @property
    def has_memory(self) -> bool:
        """Whether there is a memory, be it an empty one: then what it does not name, no export wrote."""
        return self.is_export or any((self.path / name).is_file() for name in (EXPORTS_NAME, memory.MEMORY_NAME))

    def file(self, path: str) -> Path:
        return self.path / unescape(path)

    def remembered(self, path: str) -> Mapping[str, Any]:
        """The last line of the memory about a photo or clip; {} where there is none."""
        return self.clip_memory.get(path) or self.memory.get(path, {})

    def open_memory(self, path: str) -> OutputMemory:
        """The memory that a photo or clip is in, to write into; for a `with`."""
        if path in self.clip_memory:
            return memory.Memory(self.path)
        return OutputMemory(self.path / EXPORTS_NAME, lambda entry: output_path(unescape(entry["path"]), self.path))

    def record(self, path: str) -> Record | ClipRecord | None:
        """What is known of a photo or clip; None: nothing.

        Raises:
            RecordsError, SettingsError: a clip's record cannot be read.
        """
        return self.clip_record(path) if path in self.clip_memory else self.records.get(path)

    def clip_record(self, clip: str) -> ClipRecord:
        return clip_records.read(self.record_file(clip))[1]

    def record_file(self, clip: str) -> Path:
        """Where the record of a clip lies that is in the memory."""
        source = unescape(str(self.clip_memory[clip]["path"]))
        return output_path(source + batch.RECORD_SUFFIX, self.clip_records)

    def settings_of(
        self, path: str, record: Record | ClipRecord | None, known: Mapping[str, Any] | None = None
    ) -> Settings | None:
        """The settings that a photo or clip was written with, by its memory; None where none that it may be fits.

        Args:
            record: of `record`. known: its line of the memory, where that is not the last one.
        """
        if record is None:
            return None
        known = self.remembered(path) if known is None else known
        approval = known.get("approval" if path in self.clip_memory else "shows", "")
        return next((s for s in self._possible(path) if record.approval_hash(s) == approval), None)

    def _possible(self, path: str) -> Iterator[Settings]:
        """Every settings that a photo or clip may have been written with."""
        own = self.clip_memory.get(path, {}).get("settings")
        with contextlib.suppress(SettingsError, TypeError):
            yield from [Settings.from_dict(own)] if own else []
        yield from self.settings
        if path in self.clip_memory and (file := self.record_file(path)).exists():
            header, _ = clip_records.read(file)
            yield from (s for s in (header.review, header.settings) if s)

    def networks(self) -> set[str]:
        """Those that chose what is hidden."""
        found = [r.detectors for r in self.records.values()]
        for path in self.clip_memory:
            with contextlib.suppress(AnonymizeError, OSError):  # the audit of the clip says it
                found += [record.detectors] if (record := self.record(path)) else []
        return {name for detectors in found for weights in detectors.values() for name in weights}


def read(output: Path, records_path: Path | None = None, settings: Settings | None = None) -> Folder:
    """Read an output folder.

    Args:
        output: a folder that `run` or `export` wrote.
        records_path: its records, of clips a folder of them; None: those that lie in it, or that its summary names.
        settings: those of its export; None: by its summary and its records.

    Raises:
        AuditError: not a folder. RecordsError: records that were asked for and cannot be read.
    """
    if not output.is_dir():
        raise AuditError(f"{output} is not a folder")
    summary, of_clips = _json(output / SUMMARY_NAME), _json(output / batch.SUMMARY_NAME)
    known = [settings] if settings else []
    for said in (summary, of_clips):
        with contextlib.suppress(SettingsError, TypeError):
            known += [Settings.from_dict(said["settings"])] if "settings" in said else []
    header: Header | None = None
    by_path: dict[str, Record] = {}
    records_folder = _clip_records(output, records_path, of_clips)
    if path := _find_records(output, records_path, summary):
        header, by_path = records.read(path)
        known += [s for s in (header.review, header.settings) if s]
    exported = {}
    if (output / EXPORTS_NAME).is_file():
        exported = {str(e.get("path")): e for e in json_lines.read_lines(output / EXPORTS_NAME)}
    clip_memory = {str(e["output"]): e for e in memory.read(output).values()}
    extensions = known[0].image_extensions if known else Settings().image_extensions
    photos: list[str] = []
    clips: list[str] = []
    strays: list[str] = []
    of_system: list[str] = []
    thumbnails: list[str] = []
    for name in _files(output):
        path_ = escape(name)
        extension = name.suffix.lower().strip(".")
        is_known = path_ in exported or path_ in clip_memory
        if not is_known and _is_of_system(output, name):
            (thumbnails if _holds_pictures(output / name) else of_system).append(path_)
        elif not is_known and _is_in_folder_of_system(name):
            (thumbnails if _is_file(output / name) and _holds_pictures(output / name) else strays).append(path_)
        elif path_ in clip_memory or (extension in batch.EXTENSIONS and path_ not in exported):
            clips.append(path_)
        elif extension in extensions or path_ in exported:
            photos.append(path_)
        elif not _is_ours(name, output, path):
            strays.append(path_)
    return Folder(
        output, tuple(photos), tuple(strays), tuple(of_system), tuple(thumbnails), path, header, by_path, exported,
        tuple(known), tuple(clips), clip_memory, records_folder,
    )  # fmt: skip


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _find_records(output: Path, given: Path | None, summary: Mapping[str, Any]) -> Path | None:
    if given is not None and not given.is_dir():
        return given
    named = summary.get("records")
    for path in (output / RECORDS_NAME, Path(unescape(named)) if isinstance(named, str) else None):
        if path is not None and path.is_file():
            return path
    return None


def _clip_records(output: Path, given: Path | None, summary: Mapping[str, Any]) -> Path:
    if given is not None and given.is_dir():
        return given
    named = summary.get("clip_records")
    return Path(unescape(named)) if isinstance(named, str) else output


def _files(output: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(output, onerror=_refuse):
        folders.sort()
        links = [name for name in folders if Path(folder, name).is_symlink()]  # are not entered: what shows is unknown
        for name in sorted([*names, *links]):
            yield Path(folder, name).relative_to(output)


def _refuse(error: OSError) -> None:
    """What a folder holds that may not be read, nobody can say."""
    raise AuditError(f"{error.filename} cannot be read: {error.strerror or error}") from error


def _is_file(file: Path) -> bool:
    return file.is_file() and not file.is_symlink()


def _is_in_folder_of_system(name: Path) -> bool:
    return any(part.lower() in _FOLDERS_OF_SYSTEM for part in name.parts[:-1])


def _is_of_system(output: Path, name: Path) -> bool:
    """Whether a file is one that an operating system or a network drive makes: by its name, and by what is in it."""
    file = output / name
    if not _is_file(file) or file.stat().st_size > _LARGEST:
        return False
    begins = _OF_SYSTEM.get(name.name.lower())
    if begins is None:
        return is_companion(file) or (_is_in_folder_of_system(name) and not file.stat().st_size)
    with open(file, "rb") as opened:
        head = opened.read(16)
    return not head or head.startswith(begins)


def _holds_pictures(file: Path) -> bool:
    with open(file, "rb") as opened:
        if not (head := opened.read(4)):
            return False
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return head.startswith(_BEGINS_PICTURE) or _PICTURE.search(data) is not None


def _is_ours(name: Path, output: Path, records_path: Path | None) -> bool:
    """Records, memory, summary, what is kept beside these and beside a photo or clip: by name, and by content."""
    file = output / name
    if file.is_symlink():
        return False
    own = [output / n for n in _OURS]
    own += [records_path, records_path.with_suffix(f".{SUMMARY_NAME}")] if records_path else []
    here = os.path.abspath(file)
    if here in map(os.path.abspath, own):
        return file == records_path or _is_readable(file)
    if here in (os.path.abspath(p.with_name(f".{p.name}.lock")) for p in own):
        return not file.stat().st_size
    if here in (os.path.abspath(beside(p)) for p in own for beside in (lines_beside, queue_beside)):
        return is_kept(file)
    if file.name.endswith(f"{batch.RECORD_SUFFIX}.lock"):
        return not file.stat().st_size
    if file.name.endswith(batch.RECORD_SUFFIX):
        with contextlib.suppress(RecordsError):
            return bool(clip_records.read(file))
    return file.suffix == ".json" and file.with_suffix("").is_file() and _json(file).keys() == _BESIDE


def _is_readable(file: Path) -> bool:
    """Whether it holds JSON, or lines of it."""
    if file.suffix == ".json":
        return bool(_json(file))
    with contextlib.suppress(RecordsError):
        json_lines.read_lines(file)
        return True
    return False


def check(folder: Folder, path: str) -> Iterator[Finding]:
    """Whether a photo's file is the one that was exported, and shows what its record says."""
    file, known, record = folder.file(path), folder.memory.get(path), folder.records.get(path)
    if file.is_symlink():
        yield Finding("memory", "leak", "it is a link to another file")
    shows = str(known.get("shows", "")) if known else ""
    if not folder.has_memory and folder.records_path is None:
        return
    if not shows:
        yield Finding("memory", "leak", "no export of this program wrote it")
    elif shows.startswith(QUARANTINED):
        yield Finding("memory", "leak", "an earlier audit put it in quarantine, and it is here again")
    elif known and known.get("sha256") and known["sha256"] != disk.sha256(file):
        yield Finding("memory", "leak", "the file was changed, or replaced, after the export")
    if folder.records_path is None or not shows or shows.startswith(QUARANTINED):
        return
    if record is None:
        yield Finding("memory", "leak", "the records do not know it")
    elif record.error is not None:
        yield Finding("memory", "leak", f"its record has an error: {record.error}")
    elif folder.settings_of(path, record) is None:
        yield Finding("memory", "leak", "its record or the settings were changed after the export")
