"""The folder of anonymized photos, and its memory of what each file in it shows."""

from __future__ import annotations

import errno
import os
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from . import images
from .disk import AnyPath, told, write_json
from .errors import AnonymizeError, AuditError, DetectionError, PathError
from .hiding import check_detected, hide_record
from .masks import changed
from .output_memory import WRITING, OutputMemory
from .records import Record, escape, unescape
from .settings import Settings

EXPORTS_NAME, SUMMARY_NAME = "exports.jsonl", "summary.json"
QUARANTINED = "quarantine:"  # before what a file showed that an audit took away


def why(error: Exception) -> str:
    """Why one photo failed, on one line, never empty; an error that is not ours is a bug and named whole."""
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return "its name is too long for the files that are to lie beside it; shorten it"
    if not isinstance(error, (AnonymizeError, OSError)):
        return f"unexpected {error!r}"
    return " ".join((told(error) if isinstance(error, OSError) else str(error)).split()) or repr(error)


class Output:
    """The folder of anonymized photos, and its memory of what each file shows (exports.jsonl).

    A context manager: while photos are written the memory is open and no other process may write here.
    """

    def __init__(
        self,
        folder: AnyPath,
        settings: Settings,
        write_detections: bool = True,
        preview: AnyPath | None = None,
    ) -> None:
        self.folder, self.settings = Path(folder), settings
        self.write_detections, self.preview = write_detections, None if preview is None else Path(preview)
        self._memory = OutputMemory(
            self.folder / EXPORTS_NAME, lambda entry: self._place(entry["path"]), beside=self.preview
        )
        self._finished: set[str] = set()  # paths that `write` found or made good

    def check(self, found: images.Found, records_path: AnyPath) -> None:
        """Refuse what would touch a source, show an original, or be two files in one place.

        Raises:
            PathError: any of these.
        """
        images.check_output(found, self.folder)
        targets = [images.output_path(p, self.folder) for p in found.paths]
        beside = [_beside(t) for t in targets] if self.write_detections else []
        files = [*targets, *beside, records_path, self.folder / EXPORTS_NAME, self.folder / SUMMARY_NAME]
        path, count = Counter(map(os.path.abspath, files)).most_common(1)[0]
        if count > 1:
            raise PathError(f"{path!r} would be a photo's output and another file; rename the photo or the records")
        if self.preview is not None:
            images.check_output(found, self.preview)
            preview = Path(os.path.realpath(self.preview))
            for what, folder in (("output", self.folder), ("input", found.root)):
                if preview.is_relative_to(os.path.realpath(folder)):
                    raise PathError(
                        f"previews show the originals, so {self.preview} may not lie in the {what} {folder}"
                    )

    def __enter__(self) -> Output:
        self._memory.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._memory.__exit__(*error)

    def _note(self, record: Record, shows: str, digest: str = "") -> None:
        """digest: the file's SHA-256, by which an audit sees that it is still the one that was written."""
        self._memory.put(record.path, self.path(record), shows, sha256=digest)

    def path(self, record: Record) -> Path:
        return self._place(record.path)

    def _place(self, path: str) -> Path:
        return images.output_path(unescape(path), self.folder)

    def _more(self, record: Record) -> list[Path]:
        """What else is written for a photo: its detections, its preview."""
        more = [_beside(self.path(record))] if self.write_detections else []
        if self.preview is not None:
            shown = images.output_path(unescape(record.path), self.preview)
            more.append(shown.with_name(shown.name + ".jpg"))
        return more

    def is_current(self, record: Record) -> bool:
        """Whether the file that is there shows this record under these settings, untouched since, and lacks nothing."""
        if not (shown := self._memory.shows(record.path)):  # so nothing need be hashed
            return False
        is_shown = shown == record.approval_hash(self.settings)
        is_whole = is_shown and self._memory.is_whole(record.path, self.path(record))
        return is_whole and all(p.is_file() for p in self._more(record))

    def left_over(self, found: images.Found) -> dict[str, str]:
        """Photos of earlier runs that lie here, are none of `found`, and of which there is something to say: what."""
        looked_at, ours = map(escape, found.paths), self.settings.export_hash()
        return self._memory.left_over("photo", looked_at, lambda path: found.root / unescape(path), ours)

    def lost(self) -> list[str]:
        """Photos whose file is no longer as `write` left it: another program removed or changed it meanwhile."""
        return self._memory.lost(sorted(self._finished))

    def remove(self, record: Record) -> None:
        """Take an earlier output away: what cannot be shown to be hidden does not stay. Only files of our own."""
        shows = self._memory.shows(record.path)
        if shows and not shows.startswith(QUARANTINED):
            for path in (self.path(record), _beside(self.path(record)), *self._more(record)):
                if os.path.lexists(path):  # not so a name that is too long to be there
                    path.unlink(missing_ok=True)
            self._note(record, "")

    def write(self, record: Record, photo: images.Photo | None) -> tuple[Record, bool]:
        """Write one photo. Returns its record, with an error when there is no output, and whether it was written."""
        try:
            if record.error is None:
                record, is_changed = self._write(record, photo)
                self._finished.add(record.path)
                return record, is_changed
        except Exception as e:
            record = record.replace(error=why(e))
        try:
            self.remove(record)
            if os.path.lexists(self.path(record)):
                record = record.replace(error=f"{record.error}; the output has a file in its place, of another program")
        except Exception as e:
            record = record.replace(error=f"{record.error}; an earlier output may still be there: {why(e)}")
        return record, False

    def _write(self, record: Record, photo: images.Photo | None) -> tuple[Record, bool]:
        check_detected(record)
        if self.is_current(record):
            return record, False
        if photo is None:
            raise DetectionError("the photo was not read")  # a bug must not look like success
        shown = self._memory.shows(record.path)
        if shown.startswith(QUARANTINED) and shown == QUARANTINED + record.approval_hash(self.settings):
            raise AuditError("an audit put it in quarantine; correct it in the review, or release it")
        pixels = hide_record(photo, record, self.settings)
        self.remove(record)
        self._note(record, WRITING)  # from here on the file in its place is ours, whenever we are killed
        where = changed(record.regions, self.settings, photo.width, photo.height)
        said = images.save(photo, pixels, self.path(record), self.settings, where)
        record = record.replace(warnings=tuple(dict.fromkeys((*record.warnings, *said))))
        if self.write_detections:
            write_json(_beside(self.path(record)), detections(record, self.settings))
        if self.preview is not None:
            from .preview import save_preview

            save_preview(photo, pixels, record.hidden(self.settings), self._more(record)[-1])
        self._note(record, record.approval_hash(self.settings), images.sha256(self.path(record)))
        return record, True


def current_outputs(folder: AnyPath, known: Iterable[Record], settings: Settings) -> Iterator[Path]:
    """The photos in an output folder that show their records under these settings, untouched since.

    What is handed out together goes through here: a folder may also hold photos as they were before a correction, and
    files that this program never wrote.

    Raises:
        RecordsError: the folder's memory is not what this program wrote.
    """
    target = Output(folder, settings, write_detections=False)
    target._memory.read()
    for record in known:
        if record.error is None and target.is_current(record):
            yield target.path(record)


def add_to_zip(
    archive: zipfile.ZipFile, folder: AnyPath, known: Iterable[Record], settings: Settings, *, detections: bool = False
) -> None:
    """The photos of `current_outputs` into an archive; or, instead of them, what was hidden in each.

    Bytes of a name that are not UTF-8, which an archive cannot hold, become U+FFFD.
    """
    for photo in current_outputs(folder, known, settings):
        file = _beside(photo) if detections else photo
        if file.is_file():
            archive.write(file, os.fsencode(file.relative_to(folder)).decode("utf-8", "replace"))


def _beside(target: Path) -> Path:
    """a.jpg -> a.jpg.json, so that a.jpg and a.png do not collide."""
    return target.with_name(target.name + ".json")


def detections(record: Record, settings: Settings) -> dict[str, Any]:
    """What was hidden in a photo, JSON-ready, without faces' landmarks (all that is known stands in the records)."""
    regions = [r.replace(landmarks=None).to_dict() for r in record.hidden(settings)]
    return {"image": record.path, "width": record.width, "height": record.height, "regions": regions}
