"""What an exported file consists of: each segment, chunk, tag and box is on a list of what the export writes, or named.

The lists are positive: what nobody thought of is a finding. Nothing here decodes pixels, and nothing is shared with the
code that writes, but for the two canonical forms (color profile, EXIF block), which are compared byte for byte.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from . import boxes, matroska, mp4, streams, tiff_tags
from .boxes import exif_fault, named, profile_fault, text


def check(data: bytes, keep: tuple[str, ...] = ()) -> list[str]:
    """What a file carries that an export does not write, in words; [] for a clean one.

    Args:
        data: the file's bytes. keep: names of safe metadata that the settings keep.
    """
    for magic, walk in _WALKS.items():
        if data.startswith(magic):
            return _followed(walk(data, keep))
    if data[4:8] == b"ftyp":
        return _followed(boxes.walk(data, keep, streams.heic))
    return ["it is in no format that an export writes"]


def check_clip(path: Path) -> list[str]:
    """What a clip's file carries that `video` does not write, in words; [] for a clean one."""
    with open(path, "rb") as file:
        if not file.read(1):
            return ["it is empty"]
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            walk = mp4.walk if data[4:8] == b"ftyp" else matroska.walk if data[:4] == matroska.MAGIC else None
            return _followed(walk(data)) if walk else ["it is in no container that an export writes"]


def _followed(found: Iterable[str]) -> list[str]:
    """What is found, in words; where a structure is broken, that alone."""
    try:
        return [what if what.startswith("it ") else f"it carries {what}" for what in dict.fromkeys(found)]
    except (IndexError, ValueError, KeyError, zlib.error) as e:
        return [f"its structure cannot be followed to the end ({e or type(e).__name__})"]


# JPEG

_JPEG_NAMES: Mapping[int, str] = {0xFE: "a comment", 0xED: "Photoshop data (APP13)", 0xEB: "a JUMBF box (APP11, C2PA)"}
_JPEG_CODING = {0xC0, 0xC1, 0xC2, 0xC4, 0xDB, 0xDD}  # frames of libjpeg, Huffman and quantization tables, restarts


def _jpeg(data: bytes, keep: tuple[str, ...]) -> Iterator[str]:
    at, icc = 2, b""
    while True:
        if data[at] != 0xFF:
            raise ValueError(f"byte {at} begins no segment")
        marker = data[at + 1]
        if marker == 0xD9:
            break
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : at + 2 + length]
        if length < 2 or len(body) != length - 2:
            raise ValueError("a segment is longer than the file")
        if marker == 0xE2 and body.startswith(b"ICC_PROFILE\0"):
            icc += body[14:]
        elif marker in _JPEG_CODING:
            yield from _tables(marker, body)
        elif marker == 0xDA:
            at = _scan(data, at + 2 + length)
            continue
        elif fault := _application(marker, body, keep):
            yield fault
        at += 2 + length
    if icc:
        yield from profile_fault(icc)
    if len(data) > at + 2:
        yield f"{len(data) - at - 2} bytes after the end of the image"


def _application(marker: int, body: bytes, keep: tuple[str, ...]) -> str | None:
    if marker == 0xE0 and body.startswith(b"JFIF\0"):
        if len(body) != 14 or body[12:14] != b"\0\0":
            return "a thumbnail (JFIF)"
        return "a resolution, which was not to be kept" if body[7] and "resolution" not in keep else None
    if marker == 0xEE and body.startswith(b"Adobe") and len(body) == 12:
        return None
    if marker == 0xE1 and body.startswith(b"Exif\0\0"):
        return exif_fault(body, keep)
    if marker == 0xE1 and body.startswith(b"http://ns.adobe.com/"):
        return "XMP (APP1)"
    if marker == 0xE2 and body.startswith(b"MPF\0"):
        return "further pictures (MPF: previews, gain maps)"
    number = f"APP{marker - 0xE0}" if 0xE0 <= marker <= 0xEF else hex(marker)
    return named(_JPEG_NAMES.get(marker, f"a segment {number}"), body)


def _tables(marker: int, body: bytes) -> Iterator[str]:
    """Tables are exactly as long as what they say: bytes behind them would be read by nobody."""
    at = 0
    if marker == 0xDB:
        while at < len(body):
            at += 129 if body[at] >> 4 else 65
    elif marker == 0xC4:
        while at < len(body):
            at += 17 + sum(body[at + 1 : at + 17])
    elif marker == 0xDD:
        at = 2
    else:
        at = 6 + 3 * body[5]
    if at != len(body):
        yield "bytes behind a table"


def _scan(data: bytes, at: int) -> int:
    """Where the entropy-coded bytes end."""
    while True:
        at = data.index(b"\xff", at)
        if data[at + 1] != 0 and not 0xD0 <= data[at + 1] <= 0xD7:
            return at
        at += 2


# PNG

_PNG_LENGTHS = {b"IHDR": 13, b"cHRM": 32, b"gAMA": 4, b"sRGB": 1, b"cICP": 4, b"pHYs": 9, b"IEND": 0}
_PNG_LONGEST = {b"tRNS": 256, b"PLTE": 768}
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def _png(data: bytes, keep: tuple[str, ...]) -> Iterator[str]:
    at, pixels, header = len(_PNG_MAGIC), [], b""
    while True:
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + length]
        if data[at + 8 + length : at + 12 + length] != zlib.crc32(body, zlib.crc32(kind)).to_bytes(4, "big"):
            raise ValueError("a chunk's checksum is wrong")
        at += 12 + length
        if kind in _PNG_LENGTHS and length != _PNG_LENGTHS[kind]:
            yield f"a chunk {text(kind)} of {length} bytes"
        if kind == b"IHDR":
            header = body
        elif kind == b"IDAT":
            pixels.append(body)
        elif kind == b"iCCP":
            name, _, packed = body.partition(b"\0")
            if name != b"ICC profile":
                yield f"a color profile called “{text(name)}”"
            yield from _inflated(packed[1:], profile_fault)
        elif kind == b"pHYs" and "resolution" not in keep:
            yield "a resolution, which was not to be kept"
        elif kind == b"eXIf" and (fault := exif_fault(body, keep)):
            yield fault
        elif length > _PNG_LONGEST.get(kind, length):
            yield f"a chunk {text(kind)} that is too long"
        elif kind not in {*_PNG_LENGTHS, *_PNG_LONGEST, b"eXIf"}:
            yield named(f"a chunk {text(kind)}", body)
        if kind == b"IEND":
            break
    if at < len(data):
        yield f"{len(data) - at} bytes after the end of the image"
    wanted = _png_bytes(header)
    yield from _inflated(b"".join(pixels), lambda raw: ["more pixels than the picture has"] * (len(raw) != wanted))


def _png_bytes(header: bytes) -> int:
    """Bytes of the pixels before compression: rows of a filter's byte and samples."""
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    depth, color, interlace = header[8], header[9], header[12]
    if interlace:
        raise ValueError("the picture is interlaced, as no export writes it")
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    return height * (1 + -(-width * depth * samples // 8))


def _inflated(packed: bytes, look: Callable[[bytes], object]) -> Iterator[str]:
    """What `look` finds in a compressed stream; and whether something stands behind it."""
    stream = zlib.decompressobj()
    raw = stream.decompress(packed)
    if stream.unused_data or not stream.eof:
        yield "bytes behind compressed data"
    yield from look(raw)  # type: ignore[misc]


# WebP


def _webp(data: bytes, keep: tuple[str, ...]) -> Iterator[str]:
    if data[8:12] != b"WEBP":
        yield "it is a RIFF file, but no WebP"
        return
    end = 8 + int.from_bytes(data[4:8], "little")
    at = 12
    while at < min(end, len(data)):
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + length]
        if len(body) != length:
            raise ValueError("a chunk is longer than the file")
        if kind == b"ICCP":
            yield from profile_fault(body)
        elif kind == b"EXIF":
            if fault := exif_fault(body, keep):
                yield fault
        elif kind == b"VP8X":
            if length != 10:
                yield "a chunk VP8X of another length"
        elif kind == b"XMP ":
            yield "XMP"
        elif kind not in (b"VP8 ", b"VP8L", b"ALPH"):
            yield named(f"a chunk {text(kind)}", body)
        at += 8 + length + length % 2
    if len(data) != at or at != end:
        yield f"{abs(len(data) - min(at, end))} bytes after the end of the image"


# BMP

_INFO, _V4, _V5 = 40, 108, 124


def _bmp(data: bytes, keep: tuple[str, ...]) -> Iterator[str]:
    number = lambda at, size=4: int.from_bytes(data[at : at + size], "little")  # noqa: E731
    start, header = number(10), number(14)
    width, height = number(18), abs(int.from_bytes(data[22:26], "little", signed=True))
    bits, packing = number(28, 2), number(30)
    if header not in (_INFO, _V4, _V5):
        raise ValueError(f"a header of {header} bytes")
    if (number(38) or number(42)) and "resolution" not in keep:
        yield "a resolution, which was not to be kept"
    if packing not in (0, 3):
        yield "compressed pixels, as no export writes them"
    colors = number(46) or (2**bits if bits <= 8 else 0)
    row = (width * bits + 31) // 32 * 4
    if start != 14 + header + 4 * colors:
        yield "bytes between the header and the pixels"
    if number(6):
        yield "numbers in reserved fields"
    if len(data) != start + row * height:
        yield f"{abs(len(data) - start - row * height)} bytes after the end of the image"
    used = -(-width * bits // 8)
    end = min(start + row * height, len(data))  # what the header says may be far more than there is
    if any(any(data[at + used : at + row]) for at in range(start, end, row) if row > used):
        yield "something in the padding of rows"
    if header == _V5 and (number(14 + 112) or number(14 + 116)):
        yield "a color profile in the header"


_WALKS: Mapping[bytes, Callable[[bytes, tuple[str, ...]], Iterator[str]]] = {
    b"\xff\xd8\xff": _jpeg,
    _PNG_MAGIC: _png,
    b"RIFF": _webp,
    b"BM": _bmp,
    b"II*\0": tiff_tags.walk,
    b"MM\0*": tiff_tags.walk,
}
