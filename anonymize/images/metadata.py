"""Metadata: the few fields that may be kept, checked and written afresh; and the names of what a photo carries.

Nothing is ever copied as bytes. A field is read, checked against its type, and written into a new, empty EXIF block, so
thumbnails, MakerNotes, GPS and whatever hides between the fields stay behind. Tags: EXIF 2.32, tables 4 and 7.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from PIL import ExifTags, Image, TiffImagePlugin

# settings.SAFE_METADATA -> EXIF tags. "resolution" has none here: each format has a place of its own for it.
TAGS: Mapping[str, tuple[int, ...]] = {
    "copyright": (0x8298,),
    "datetime": (0x0132, 0x9003, 0x9004),
    "exposure": (0x829A,),
    "focal-length": (0x920A, 0xA405),
    "iso": (0x8827,),
    "f-number": (0x829D,),
    "make": (0x010F,),
    "model": (0x0110,),
    "resolution": (),
}
_EXIF_IFD, _GPS_IFD, _ORIENTATION = ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.Base.Orientation
_LAST_IFD0_TAG = 0x8298  # of the tags above, those up to Copyright stand in the first directory, the others in Exif's
_MAX_TEXT = 500  # bytes
# Chunks that say how a PNG's pixels look (PNG 3rd edition, section 11), and eXIf, which is named by what is in it.
_PNG_PICTURE = frozenset(
    b"IHDR PLTE IDAT IEND tRNS cHRM gAMA iCCP sBIT sRGB cICP mDCV cLLI bKGD hIST pHYs sPLT eXIf".split()
)


def _text(value: Any) -> bytes | None:
    # Pillow reads EXIF text as Latin-1; many cameras write UTF-8. The bytes stay what they were.
    raw = str(value).split("\0")[0].strip().encode("latin-1")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return raw if 0 < len(raw) <= _MAX_TEXT and text.isprintable() else None


def _date(value: Any) -> str | None:
    date = str(value).rstrip("\0")
    return date if re.fullmatch(r"\d{4}:\d\d:\d\d \d\d:\d\d:\d\d", date, re.ASCII) else None


def taken(exif: Image.Exif) -> float | None:
    """DateTimeOriginal with its fraction of a second, else DateTime: seconds; only differences mean something."""
    fields = exif.get_ifd(_EXIF_IFD)
    for value, part in ((fields.get(0x9003), fields.get(0x9291)), (exif.get(0x0132), fields.get(0x9290))):
        if value and (date := _date(value)):
            try:
                seconds = datetime.strptime(date, "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
            except ValueError:
                continue
            digits = re.match(r"\d{1,9}", str(part or ""), re.ASCII)
            return seconds + (float(f"0.{digits[0]}") if digits else 0.0)
    return None


def _rational(value: Any) -> TiffImagePlugin.IFDRational | None:
    number = float(value)
    if not (math.isfinite(number) and 0 < number < 1e6):
        return None
    exact = Fraction(value.numerator, value.denominator) if hasattr(value, "denominator") else Fraction(number)
    exact = exact.limit_denominator(1_000_000)
    return TiffImagePlugin.IFDRational(exact.numerator, exact.denominator)


def _short(value: Any) -> int | None:
    number = int(value[0] if isinstance(value, tuple) else value)
    return number if 0 < number < 65536 else None


_CHECKS: Mapping[int, Callable[[Any], Any]] = {
    **dict.fromkeys((0x8298, 0x010F, 0x0110), _text),
    **dict.fromkeys((0x0132, 0x9003, 0x9004), _date),
    **dict.fromkeys((0x829A, 0x829D, 0x920A), _rational),
    **dict.fromkeys((0x8827, 0xA405), _short),
}


def parse(block: bytes) -> Image.Exif:
    """An EXIF block as Pillow reads it; empty when it is broken."""
    exif = Image.Exif()
    try:
        exif.load(block)
    except Exception:  # what a parser says of hostile bytes is not foreseeable; no EXIF is the safe reading
        return Image.Exif()
    return exif


def orientation(exif: Image.Exif) -> int:
    """1–8, as the EXIF block says, or 1. An orientation in XMP is not heeded: viewers do not, either."""
    try:
        value = exif.get(_ORIENTATION, 1)
    except Exception:  # as above
        return 1
    return value if value in range(1, 9) else 1


def read(exif: Image.Exif) -> dict[int, Any]:
    """All safe fields that are there and hold what their type says: tag -> value, ready for `write`."""
    found: dict[int, Any] = {}
    try:
        every = {**exif, **exif.get_ifd(_EXIF_IFD)}
    except Exception:  # as above
        return found
    for tag, check in _CHECKS.items():
        try:
            value = check(every[tag])
        except (KeyError, TypeError, ValueError, ArithmeticError, IndexError):
            continue
        if value is not None:
            found[tag] = value
    return found


def choose(values: Mapping[int, Any], names: Iterable[str]) -> dict[int, Any]:
    """Of all safe values those that were asked for by name (settings.SAFE_METADATA)."""
    asked = {tag for name in names for tag in TAGS[name]}
    return {tag: value for tag, value in values.items() if tag in asked}


def first_directory(values: Mapping[int, Any]) -> dict[int, Any]:
    """Those of the fields, all texts, that stand in EXIF's (and TIFF's) first directory."""
    return {tag: value for tag, value in values.items() if tag <= _LAST_IFD0_TAG}


def write(values: Mapping[int, Any], dpi: tuple[float, float] | None = None) -> Image.Exif:
    """A new EXIF block with nothing but these values, and the resolution in dots per inch where one is given."""
    exif = Image.Exif()
    for tag, value in first_directory(values).items():
        exif[tag] = value
    if deeper := {tag: value for tag, value in values.items() if tag > _LAST_IFD0_TAG}:
        exif[_EXIF_IFD] = deeper
    if dpi:
        exif[ExifTags.Base.XResolution], exif[ExifTags.Base.YResolution] = (_rational(v) for v in dpi)
        exif[ExifTags.Base.ResolutionUnit] = 2
    return parse(exif.tobytes())  # Pillow's TIFF writer takes only what was read


def resolution(info: Mapping[Any, Any], exif: Image.Exif) -> tuple[float, float] | None:
    """Dots per inch (x, y): what the format itself says, else EXIF; None where neither makes sense."""
    try:
        if info.get("dpi"):
            x, y = (float(v) for v in info["dpi"])
        else:
            inch = {2: 1.0, 3: 2.54}[exif.get(ExifTags.Base.ResolutionUnit, 2)]
            x, y = (float(exif[tag]) * inch for tag in (ExifTags.Base.XResolution, ExifTags.Base.YResolution))
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None
    return (x, y) if all(math.isfinite(v) and 1 <= v < 100_000 for v in (x, y)) else None


def names(info: Mapping[Any, Any], exif: Image.Exif) -> tuple[str, ...]:
    """What a photo carries besides its pixels and is dropped, for people to read ("GPS position", "comment")."""
    out = []
    try:
        deeper = exif.get_ifd(_EXIF_IFD)
        if set(exif) - {_ORIENTATION}:
            out.append("EXIF")
        if exif.get_ifd(_GPS_IFD):
            out.append("GPS position")
        if 0x927C in deeper:
            out.append("maker note")
        if exif.get_ifd(ExifTags.IFD.IFD1):
            out.append("thumbnail")
    except Exception:  # a broken block is dropped all the same
        out.append("EXIF")
    if info.get("thumbnails") and "thumbnail" not in out:
        out.append("thumbnail")
    if info.get("xmp") or "XML:com.adobe.xmp" in info:
        out.append("XMP")
    for key, name in (
        ("photoshop", "IPTC"), ("mp", "further pictures"), ("comment", "comment"), ("depth_images", "depth map"),
        ("aux", "auxiliary pictures"), ("further", "further data"),
    ):  # fmt: skip
        if info.get(key):
            out.append(name)
    out += _in_chunks(info.get("chunks", ()))
    return tuple(dict.fromkeys(out))


def _in_chunks(chunks: Iterable[tuple[bytes, bytes]]) -> Iterator[str]:
    """Names of what a PNG's chunks carry besides the picture; a text goes by its keyword."""
    for kind, body in chunks:
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            keyword = body.split(b"\0")[0][:79].decode("latin-1")  # 79: the longest that PNG allows
            if keyword == "XML:com.adobe.xmp":
                yield "XMP"
            elif keyword == "Comment":
                yield "comment"
            else:
                yield f"text “{keyword}”" if keyword.isprintable() and keyword.strip() else "text"
        elif kind == b"tIME":
            yield "date of change"
        elif kind not in _PNG_PICTURE:
            yield "further data"
