"""What came of a job: its records as the file grows, small pictures of clean photos, and zips to take away."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pil

from .. import images, records
from ..errors import RecordsError
from ..outputs import add_to_zip, current_outputs
from ..preview import shrink, to_jpeg
from ..records import Header, Record
from ..settings import Settings
from .results import judge

THUMB = 320  # px
HEIF = (".heic", ".heif")


class KnownRecords:
    """The last record of each photo in a file that grows: of what was read before only what was appended is read.

    Args:
        path: the records file; it need not be there yet. change: what becomes of each record that is read.
    """

    def __init__(self, path: Path, change: Callable[[Record], Record] = lambda r: r) -> None:
        self._path, self._change = path, change
        self._lock = threading.Lock()
        self._last: tuple[int, bytes] = 0, b""  # where what was read ends, and its last line
        self._known: dict[str, Record] = {}
        self._list: list[Record] = []
        self._judged: dict[str, tuple[Record, str, tuple[str, float]]] = {}

    def read(self) -> list[Record]:
        """The records so far, in order of first appearance; the same list where nothing is new."""
        with self._lock:
            try:
                with open(self._path, "rb") as file:
                    new = self._appended(file)
            except OSError:
                return []
            if new:
                self._known.update({r.path: self._change(r) for r in new})
                self._list = list(self._known.values())
            return self._list

    def _appended(self, file: io.BufferedReader) -> list[Record]:
        end, last = self._last
        file.seek(max(0, end - len(last)))
        if not last or file.read(len(last)) != last:  # another file stands in its place
            self._known, self._list, end = {}, [], 0
            self._last = 0, b""
            file.seek(0)
        lines = [line for line in file if line.endswith(b"\n")]  # a last one without its end is being written
        if not lines:
            return []
        try:
            found = [Record.from_dict(json.loads(line)) for line in lines[0 if end else 1 :]]
        except (KeyError, TypeError, ValueError) as e:
            raise RecordsError(f"{self._path} is not a records file: {e!r}") from e
        self._last = end + sum(map(len, lines)), lines[-1]
        return found

    def judged(self, settings: Settings) -> list[tuple[str, float]]:
        """`results.judge` of each record; worked out again only for records and settings that are new."""
        key = settings.export_hash()
        out = []
        for record in self.read():
            seen = self._judged.get(record.path)
            if seen is None or seen[0] is not record or seen[1] != key:
                seen = self._judged[record.path] = record, key, judge(record, settings)
            out.append(seen[2])
        return out


def thumbnail(clean: Path, settings: Settings) -> bytes:
    """A small picture of a clean photo, JPEG bytes.

    Raises:
        ImageError, OSError: it cannot be read.
    """
    if clean.suffix.lower() in (".jpg", ".jpeg"):  # a small one is decoded at once
        with Pil.open(clean) as picture:
            picture.draft("RGB", (THUMB, THUMB))
            rgb = np.asarray(picture.convert("RGB"))
    else:
        rgb = images.load(clean, settings).rgb
    return to_jpeg(shrink(rgb, THUMB)[0], 80)


def as_jpeg(clean: Path, settings: Settings) -> bytes:
    """A clean photo, of whatever kind, as a JPEG without metadata.

    Raises:
        ImageError, OSError: it cannot be read.
    """
    return to_jpeg(images.load(clean, settings).rgb, 95, subsampling=0)


def write_photos(
    target: Path, folder: Path, known: Iterable[Record], settings: Settings, *, heif_as_jpeg: bool = False
) -> None:
    """A zip of the clean photos and nothing else."""
    with _whole_zip(target) as archive:
        if not heif_as_jpeg:
            add_to_zip(archive, folder, known, settings)
            return
        known = list(known)
        others = [r for r in known if Path(r.path).suffix.lower() not in HEIF]
        add_to_zip(archive, folder, others, settings)
        taken = set(archive.namelist())
        for photo in current_outputs(folder, (r for r in known if r not in others), settings):
            name = photo.relative_to(folder).as_posix().encode("utf-8", "replace").decode()
            short = str(Path(name).with_suffix(".jpg"))
            archive.writestr(f"{name}.jpg" if short in taken else short, as_jpeg(photo, settings))


def write_records(target: Path, folder: Path, known: list[Record], settings: Settings, summary: dict[str, Any]) -> None:
    """A zip of what is known of the photos: every region with its score, hashes, names, decisions, what went wrong."""
    own = target.with_suffix(f".{threading.get_ident()}.jsonl")
    try:
        with _whole_zip(target) as archive:
            # Where this server keeps a visitor's files is nobody's business.
            records.write(own, Header("photos", settings, {}), known)
            archive.write(own, "records.jsonl")
            archive.writestr("summary.json", json.dumps(summary, indent=1, ensure_ascii=False))
            add_to_zip(archive, folder, known, settings, detections=True)
    finally:
        own.unlink(missing_ok=True)


def write_audit(target: Path, folder: Path) -> Path:
    """A zip of an audit's report and certificate; photos in quarantine stay behind."""
    with _whole_zip(target) as archive:
        for path in sorted(p for p in folder.iterdir() if p.is_file()):
            archive.write(path, path.name)
    return target


@contextmanager
def _whole_zip(target: Path) -> Iterator[zipfile.ZipFile]:
    """A zip that appears whole or not at all."""
    part = target.with_name(f".{threading.get_ident()}.part")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
            yield archive
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
