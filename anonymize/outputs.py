"""The folder of anonymized photos, and its memory of what each file in it shows."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import effects, images
from .errors import AnonymizeError, DetectionError, PathError
from .records import JsonLines, Record, unescape
from .regions import Region
from .settings import Settings

EXPORTS_NAME = "exports.jsonl"


def why(error: Exception) -> str:
    """Why one photo failed, in words; an error that is not ours is a bug and named whole, but stops one photo only."""
    return str(error) if isinstance(error, (AnonymizeError, OSError)) else f"unexpected {error!r}"


def hide(photo: images.Photo, regions: Iterable[Region], settings: Settings) -> Any:
    """The photo's pixels with the regions hidden: what `export` writes, in memory."""
    return effects.apply(photo.pixels, [r for r in regions if settings.hides(r)], settings, mode=photo.mode)


def write_json(path: Path, value: Any) -> None:
    """A temporary file, then a rename."""
    temporary = path.with_name(f".{path.name}.{threading.get_ident()}.tmp")
    try:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class Output:
    """The folder of anonymized photos, and its memory of what each file shows (exports.jsonl).

    The memory makes a repeated export touch only what changed, and keeps this program from ever removing a file that it
    did not write. A context manager: the memory is open while photos are written.
    """

    def __init__(
        self, folder: Path, settings: Settings, write_detections: bool = True, preview: Path | None = None
    ) -> None:
        self.folder, self.settings = folder, settings
        self.write_detections, self.preview = write_detections, preview
        self._shown: dict[str, str] = {}
        self._lock = threading.Lock()
        self._log: JsonLines

    def check(self, found: images.Found) -> None:
        images.check_output(found, self.folder)
        if self.preview is not None:
            images.check_output(found, self.preview)
            inside = Path(os.path.abspath(self.preview)).is_relative_to(os.path.abspath(self.folder))
            if inside:
                raise PathError(
                    f"previews show the originals, so {self.preview} may not lie in the output {self.folder}"
                )

    def __enter__(self) -> Output:
        memory = self.folder / EXPORTS_NAME
        self._log = JsonLines(memory)
        images.remove_leftovers(self.folder)  # of a killed run
        self._shown = {e["path"]: e["shows"] for e in map(json.loads, memory.read_text(encoding="utf-8").splitlines())}
        return self

    def __exit__(self, *_: object) -> None:
        self._log.close()

    def _note(self, record: Record, shows: str) -> None:
        with self._lock:
            self._shown[record.path] = shows
            self._log.append({"path": record.path, "shows": shows})

    def path(self, record: Record) -> Path:
        return images.output_path(unescape(record.path), self.folder)

    def is_current(self, record: Record) -> bool:
        """Whether the file that is there shows this record under these settings."""
        return self._shown.get(record.path) == record.approval_hash(self.settings) and self.path(record).is_file()

    def remove(self, record: Record) -> None:
        """Take an earlier output away: what cannot be shown to be hidden does not stay. Only files of our own."""
        if self._shown.get(record.path):
            for path in (self.path(record), _beside(self.path(record))):
                path.unlink(missing_ok=True)
            self._note(record, "")

    def write(self, record: Record, photo: images.Photo | None) -> tuple[Record, bool]:
        """Write one photo. Returns its record, with an error when there is no output, and whether it was written."""
        try:
            if record.error:
                self.remove(record)
                return record, False
            if self.is_current(record):
                return record, False
            if photo is None:
                raise DetectionError("the photo was not read")  # a bug must not look like success
            self.remove(record)
            hidden = record.hidden(self.settings)
            pixels = hide(photo, hidden, self.settings)
            target = self.path(record)
            target.parent.mkdir(parents=True, exist_ok=True)
            images.save(photo, pixels, target, self.settings)
            if self.write_detections:
                write_json(_beside(target), detections(record, self.settings))
            if self.preview is not None:
                from .preview import save_preview

                save_preview(photo, pixels, hidden, images.output_path(unescape(record.path), self.preview))
            self._note(record, record.approval_hash(self.settings))
            return record, True
        except Exception as e:
            return record.replace(error=why(e)), False


def _beside(target: Path) -> Path:
    """a.jpg -> a.jpg.json, so that a.jpg and a.png do not collide."""
    return target.with_name(target.name + ".json")


def detections(record: Record, settings: Settings) -> dict[str, Any]:
    """What was hidden in a photo, JSON-ready (all candidates stand in the records)."""
    regions = [r.to_dict() for r in record.hidden(settings)]
    return {"image": record.path, "width": record.width, "height": record.height, "regions": regions}
