"""The photos of a job as they come in: files and zips into a folder, or a folder of the visitor's own computer."""

from __future__ import annotations

import errno
import struct
import threading
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from ..errors import AnonymizeError, SettingsError
from .file_names import safe_name, unsupported
from .policy import Policy
from .sessions import FullError

# What `zipfile` raises for bytes that are no zip: names that are not the UTF-8 that they claim to be, cut fields.
_BROKEN = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, LookupError, NotImplementedError, RuntimeError,
    OSError,
)  # fmt: skip
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


class Intake:
    """Photos of one visitor that come in together.

    Attributes:
        inputs: the folder that they come into. count: how many did.
        source: a folder of the visitor's own computer instead of uploads, or None.
    """

    def __init__(self, folder: Path, policy: Policy) -> None:
        self.folder, self.policy, self.inputs = folder, policy, folder / "in"
        self.inputs.mkdir(parents=True, exist_ok=True)
        self.source: Path | None = None
        self.count = 0
        self.lock = threading.RLock()

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
            raise SettingsError(unsupported(name, self.policy.defaults.image_extensions))
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
        except AnonymizeError:
            raise
        except _BROKEN as e:
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
