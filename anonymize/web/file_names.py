"""Files that came from a visitor: their names, made safe, and why some are not taken."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ..errors import ClipError, DamagedClipError, UnsupportedClipError
from ..images.formats import NOT_READ, RAW
from ..video.batch import EXTENSIONS
from .sessions import RefusedFileError

_KEPT = frozenset(" ._()+-,'\u2019&!=@\u2013\u2014")  # beside letters, their marks (accents, vowel signs), and numbers


def _plain(name: str) -> str:
    """A name without what a file system or a page could take for something else: "_" stands there."""
    return "".join(c if c in _KEPT or unicodedata.category(c)[0] in "LMN" else "_" for c in name)


def safe_name(name: str) -> str:
    """A visitor's file name as one that any file system takes: no folders, no control characters, no hidden files."""
    last = PurePosixPath(name.replace("\\", "/")).name
    plain = _plain(last).strip(" .")
    stem, dot, extension = plain.rpartition(".")
    if not dot:
        return short(plain) or "photo"
    return f"{short(stem) or 'photo'}.{extension[:10]}"


def short(name: str, most: int = 180) -> str:
    """As much of a name as a file system takes: what it counts is bytes, and a letter has up to four."""
    return name.encode("utf-8", "ignore")[:most].decode("utf-8", "ignore")


def clean_name(name: str, suffix: str) -> str:
    """IMG_1.jpg -> IMG_1-anonymized.jpg: the visitor's own name for the download, safe as a file name."""
    stem = Path(name.replace("\\", "/")).stem
    safe = short(_plain(stem).strip(" .")) or "photo"
    return f"{safe}-anonymized{suffix.lower()}"


# What people bring that is no photo, and what they can do about it.
_INSTEAD = {
    "mp4 mov avi mkv webm m4v mpg mpeg 3gp wmv mts m2ts": "is a video. Open it under “Video”; where there is no such "
    "tab, export the frames that you need as JPEG.",
    "pdf": "is a PDF. Save its pages as JPEG or PNG first.",
    " ".join(RAW): "is a camera's raw file. Export it as JPEG or TIFF first.",
    "svg ai eps": "is a drawing, not a photo. Export it as PNG first.",
    " ".join(NOT_READ): "is of a kind that cannot be written back. Save it as JPEG or PNG first.",
    "rar 7z tar gz tgz bz2 xz": "is a packed file. Unpack it first, or pack it as zip.",
    "zip": "is a zip. Open it under “Many photos”.",
    "doc docx odt ppt pptx odp xls xlsx": "is a document. Save its photos as JPEG or PNG first.",
}
_HELP = {extension: text for extensions, text in _INSTEAD.items() for extension in extensions.split()}


def unsupported(name: str, known: Iterable[str]) -> str:
    """Why a file of this name is not taken, and what can be done: a sentence or two."""
    short_name = safe_name(name)
    instead = _HELP.get(PurePosixPath(short_name).suffix.lower().lstrip("."))
    if instead is None:
        instead = f"is not a supported file type. Supported: {', '.join(known)}."
    return f"{short_name} {instead}"


def clip_extension(name: str) -> str:
    """The extension of a clip's name.

    Raises:
        RefusedFileError: it is that of no clip.
    """
    extension = PurePosixPath(name).suffix.lower()
    if extension.lstrip(".") not in EXTENSIONS:
        raise RefusedFileError(f"{name} is not a clip that is supported: {', '.join(EXTENSIONS)}.")
    return extension


@contextmanager
def refused_by_name(name: str) -> Iterator[None]:
    """What is wrong with a clip becomes a RefusedFileError that names it, and says what can be done."""
    try:
        yield
    except ClipError as e:
        raise RefusedFileError(f"{name}: {_advice(e)}") from e


def _advice(error: ClipError) -> str:
    text = str(error)
    if isinstance(error, UnsupportedClipError):
        return f"{text}." if text[-1:] != "." else text
    if "no moving picture" in text:
        return f"{text}. Choose a file with a picture."
    if isinstance(error, DamagedClipError) or "empty" in text:
        return f"{text}."
    return f"{text}. If it plays elsewhere, save it again there as MP4 and add that."
