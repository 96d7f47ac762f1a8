"""Formats: bytes to pixels and their form, and pixels in that form to bytes again.

What is lossless (PNG, TIFF, BMP, lossless WebP) comes back exactly. A JPEG keeps its coefficients where nothing is
hidden, or is encoded anew with its quantization tables and chroma subsampling; lossy WebP and HEIC are written finer
than any usual source. Each format's module throws metadata away before the decoder of the pixels sees the file, so that
nothing broken in it can refuse a photo or change it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

from PIL import ImageFile

from ..errors import ImageError, ImageTooLargeError, MissingExtraError, UnreadableImageError, UnsupportedImageError
from . import bmp, heif, jpeg, metadata, png, profiles, tiff, webp
from .blocks import Piece
from .forms import Decoded, Form, Pixels

# What Pillow says of a file's metadata names no photo, and goes to stderr; what matters is raised.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

FIRST_PICTURE, ENCODED_ANEW = "first-picture-only", "jpeg-encoded-anew"
# Code of a warning -> what it says of a photo
WARNINGS: Mapping[str, str] = {
    FIRST_PICTURE: "a file holds further pictures (a burst, a second eye, a thumbnail); only the first is written",
    ENCODED_ANEW: "a JPEG whose data could not be kept (turned, of an odd size) was encoded anew",
}
_MODULES: Mapping[str, Any] = {"JPEG": jpeg, "PNG": png, "WEBP": webp, "TIFF": tiff, "BMP": bmp, "HEIF": heif}
_HEAD = 4096
_HEIC = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"))
_STILL = frozenset((b"mif1", b"mif2", b"msf1", b"miaf"))
# Extensions of pictures that are not read here: people have them among their photos, and have to be told
RAW = ("dng", "cr2", "cr3", "nef", "arw", "orf", "rw2", "raf", "pef", "srw", "x3f")
NOT_READ = ("gif", "avif", "jxl", "psd", "xcf", "jp2")
# First bytes -> what is no photo that is read here, and what can be done
_RAW = "raw files of cameras are not read; export it as TIFF or JPEG with a raw converter"
_VIDEO = "this is a video, not a photo; the command video and the Video tab take it"
_OTHERS: tuple[tuple[tuple[bytes, ...], str], ...] = (
    ((b"GIF8",), "GIFs are not read; save it as PNG"),
    ((b"\xff\x0a", b"\0\0\0\x0cJXL "), "JPEG XL is not read; save it as JPEG or PNG"),
    ((b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51"), "JPEG 2000 is not read; save it as JPEG or PNG"),
    ((b"8BPS",), "Photoshop files are not read; save it as TIFF, PNG or JPEG"),
    ((b"\0\0\1\0",), "icons are not read; save it as PNG"),
    ((b"IIRO", b"IIU\0", b"FUJIFILMCCD-RAW"), _RAW),
    ((b"%PDF",), "this is a PDF, not a photo; export its pages as PNG or JPEG"),
    ((b"PK\3\4",), "this is a zip archive, not a photo; unpack it first"),
    ((b"Rar!", b"7z\xbc\xaf"), "this is an archive, not a photo; unpack it first"),
    ((b"\x1a\x45\xdf\xa3",), _VIDEO),
)
_STARTS: Mapping[str, tuple[bytes, ...]] = {
    "JPEG": (b"\xff\xd8\xff",), "PNG": (png.MAGIC,), "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "BMP": (b"BM",),
}  # fmt: skip


class Read(NamedTuple):
    """A photo's upright pixels, its form, the names of what is dropped, and codes of what is to be said of it."""

    pixels: Pixels
    form: Form
    removed: tuple[str, ...]
    warnings: tuple[str, ...]


def kind(data: Any) -> str:
    """A file's format ("JPEG", "PNG", "WEBP", "TIFF", "BMP" or "HEIF"), by its first bytes.

    Raises:
        UnsupportedImageError: another format; the message says which, and what can be done.
        UnreadableImageError: no format that is known.
    """
    head = bytes(data[:_HEAD])
    for name, starts in _STARTS.items():
        if head.startswith(starts):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        return _box_kind(head)
    for starts, sentence in _OTHERS:
        if head.startswith(starts):
            raise UnsupportedImageError(sentence)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        raise UnsupportedImageError(_VIDEO)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<svg", b"<?xml", b"<!doctype", b"<html")):
        name = "an SVG drawing" if b"<svg" in text else "a web page" if b"<html" in text else "an XML file"
        raise UnsupportedImageError(f"this is {name}, not a photo; save the photo itself as JPEG or PNG")
    raise UnreadableImageError(
        "this is not an image of a known format; save it as JPEG, PNG, TIFF, WebP, BMP or HEIC, or copy it again"
    )


def _box_kind(head: bytes) -> str:
    length = int.from_bytes(head[:4], "big")
    brands = {head[i : i + 4] for i in (8, *range(16, min(length, _HEAD), 4))}
    if brands & _HEIC:
        return "HEIF"
    if brands & {b"avif", b"avis"}:
        raise UnsupportedImageError("AVIF is not read; save it as JPEG, PNG or HEIC")
    if b"crx " in brands:
        raise UnsupportedImageError(_RAW)
    if brands & _STILL:
        return "HEIF"
    raise UnsupportedImageError(_VIDEO)


def size(data: Any) -> tuple[int, int]:
    """Width and height as they are stored, by a file's header; data: bytes, or a mapped file.

    Raises:
        ImageError: no format that is read here, or a broken header.
    """
    name = kind(data)
    with _broken(name):
        width, height = _MODULES[name].size(data)
        return int(width), int(height)


def decode(data: bytes, max_pixels: float) -> Read:
    """A photo's bytes as upright pixels and all that writing them needs.

    Raises:
        ImageTooLargeError: more than `max_pixels`; nothing was decoded.
        UnsupportedImageError: several pages or frames, or a form that could not be kept.
        UnreadableImageError: damaged, cut off, no image.
    """
    # Other packages switch Pillow's tolerance for truncated files on; then gray would stand where a face might be.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    name = kind(data)
    with _broken(name):
        read: Decoded = _MODULES[name].read(data, _guard(max_pixels))
    fields, removed = metadata.read(read.exif), metadata.names(read.info, read.exif)
    dpi = metadata.resolution(read.info, read.exif)
    raw = read.info.get("icc_profile") or b""
    icc = profiles.colors(raw)
    notes = ("notes in the color profile",) if icc != raw else ()
    form = replace(read.form, icc=icc, fields=fields, dpi=dpi[::-1] if dpi and read.is_turned else dpi)
    return Read(read.pixels, form, (*removed, *notes), (FIRST_PICTURE,) if read.is_first else ())


@contextmanager
def _broken(name: str) -> Iterator[None]:
    """Whatever a decoder raises means the same."""
    try:
        yield
    except (ImageError, MissingExtraError, MemoryError):
        raise
    except Exception as e:
        called = "HEIC" if name == "HEIF" else name
        raise UnreadableImageError(f"the {called} is damaged or cut off; copy it again from its source") from e


def _guard(max_pixels: float) -> Callable[[int, int], None]:
    def check(width: int, height: int) -> None:
        if width * height > max_pixels:
            raise ImageTooLargeError(
                f"{width} x {height} pixels are {width * height / 1e6:.1f} megapixels; the limit is "
                f"{max_pixels / 1e6:g}. Raise max_megapixels, or save it smaller"
            )
        if not width * height:
            raise UnreadableImageError("the image has no pixels; copy it again from its source")

    return check


def encode(pixels: Pixels, form: Form, keep: Iterable[str] = ()) -> bytes:
    """The bytes of a file with these pixels in that form, and of all metadata only the fields named in `keep`."""
    fields = metadata.choose(form.fields, keep)
    return bytes(_MODULES[form.format].write(pixels, form, fields, form.dpi if "resolution" in keep else None))


def encode_kept(pixels: Pixels, form: Form, keep: Iterable[str], changed: Sequence[Piece]) -> bytes | None:
    """As `encode` of a JPEG that keeps its coefficients wherever no pixel is in `changed`; None where that cannot be.

    Args:
        changed: boxes (x1, y1, x2, y2) and which of their pixels are not the source's.
    """
    fields = metadata.choose(form.fields, keep)
    return jpeg.write_kept(pixels, form, fields, form.dpi if "resolution" in keep else None, changed)
