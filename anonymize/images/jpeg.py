"""JPEG: read whole or refused, written with its source's quantization tables and chroma subsampling.

The decoder (libjpeg-turbo, through simplejpeg) gets the picture alone: metadata stays out, so that nothing broken in it
can refuse a photo, and every warning that is left is about the picture. A damaged one is refused: half a face may be
found by nobody and known by somebody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL.JpegImagePlugin import zigzag_index

from ..errors import UnreadableImageError, UnsupportedImageError
from . import metadata
from .forms import Decoded, Form, Guard, Pixels, encode_image, to_stored_image, upright

# T.81, table B.1; in a scan's data 0xFF is followed by 0 (a byte 0xFF) or by a restart marker.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_SOI, _EOI, _SOS, _DQT, _COMMENT, _TEM = 0xD8, 0xD9, 0xDA, 0xDB, 0xFE, 0x01
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL, _PROGRESSIVE = frozenset((0xC0, 0xC1, 0xC9)), frozenset((0xC2, 0xCA))
# An encoder writes a dozen scans, one for each bit of each component at most. Thousands take hours.
_MOST_SCANS = 100
_HEADER = 1 << 24  # bytes; its segments have 64 KB at most, but may be many (a color profile's, a depth map's)
_SPACES = {1: "GRAY", 3: "RGB", 4: "CMYK"}
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}


@dataclass
class _Jpeg:
    """A JPEG taken apart.

    Attributes:
        frame: SOF's marker. components: (id, horizontal, vertical sampling, quantization table) each.
        adobe: the color transform that an Adobe segment names. has_jfif: whether there is a JFIF segment.
        picture: all other segments and the scans' data in their order, as bytes that join to a file.
        tables: (precision, number, its values in zigzag order) as they come.
        applications: (marker, body) of what else there is: EXIF, XMP, profiles, comments.
        rest: what follows the picture.
    """

    width: int = 0
    height: int = 0
    frame: int = 0
    bits: int = 8
    components: tuple[tuple[int, int, int, int], ...] = ()
    adobe: int | None = None
    has_jfif: bool = False
    picture: list[bytes] = field(default_factory=list)
    tables: list[tuple[int, int, tuple[int, ...]]] = field(default_factory=list)
    applications: list[tuple[int, bytes]] = field(default_factory=list)
    rest: bytes = b""

    @property
    def is_rgb(self) -> bool:
        """Whether the components are red, green and blue themselves, as libjpeg decides it."""
        if len(self.components) != 3 or self.has_jfif:
            return False
        return self.adobe == 0 if self.adobe is not None else [c[0] for c in self.components] == [*b"RGB"]

    def file(self, adobe: int | None = None) -> bytes:
        """The picture alone as a file, its end marker always there; adobe: another color transform than its own."""
        transform = self.adobe if adobe is None else adobe
        head = [b"\xff\xd8"]
        if self.has_jfif and adobe is None:
            head.append(b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0")
        if transform is not None:
            # 0: components as they are; else YCbCr, or YCCK for four, for which libjpeg takes all other numbers, too
            transform = transform and (2 if len(self.components) == 4 else 1)
            head.append(b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes([transform]))
        return b"".join([*head, *self.picture, b"\xff\xd9"])


def _segments(data: Any) -> Iterator[tuple[int, int, int]]:
    """Marker, begin and end of each segment's body; the data of a scan is a segment with the marker 0.

    It ends at the end marker, at the start of another picture, or where the file ends.
    """
    at, is_scan = 2, False
    while found := _MARKER.search(data, at):
        marker = data[found.end() - 1]
        if is_scan:
            yield 0, at, found.start()
        if marker == _SOI and not is_scan:
            raise UnreadableImageError("the JPEG is damaged: it begins twice; copy it again from its source")
        if marker in (_EOI, _SOI):
            yield _EOI, found.end() if marker == _EOI else found.start(), len(data)
            return
        at = found.end()
        if marker == _TEM:
            continue
        end = at + max(int.from_bytes(data[at : at + 2], "big"), 2)
        if end > len(data):
            return
        yield marker, at + 2, end
        at, is_scan = end, is_scan or marker == _SOS
    if is_scan:
        yield 0, at, len(data)


def _take_apart(data: Any) -> _Jpeg:
    jpeg, scans = _Jpeg(), 0
    for marker, start, end in _segments(data):
        body = bytes(data[start:end])
        if marker == 0:
            jpeg.picture.append(body)
            continue
        if marker == _EOI:
            jpeg.rest = body
            break
        if 0xE0 <= marker <= 0xEF or marker == _COMMENT:
            _application(jpeg, marker, body)
            continue
        if marker in _FRAMES and not jpeg.frame:
            _frame(jpeg, marker, body)
        elif marker == _DQT:
            jpeg.tables += _tables(body)
        elif marker == _SOS:
            scans += 1
            if scans > _MOST_SCANS:
                raise UnsupportedImageError(
                    f"the JPEG has more than {_MOST_SCANS} scans, which no camera writes and which would take hours; "
                    "save it anew with another program"
                )
            if jpeg.frame in _SEQUENTIAL and len(body) > 3:
                body = body[:-3] + b"\0\x3f\0"  # some cameras write nothing sensible here; it has one meaning
        jpeg.picture.append(b"\xff" + bytes([marker]) + (len(body) + 2).to_bytes(2, "big") + body)
    return jpeg


def _application(jpeg: _Jpeg, marker: int, body: bytes) -> None:
    if marker == 0xE0 and body.startswith(b"JFIF\0") and len(body) >= 12:
        jpeg.has_jfif = True
    elif marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
        jpeg.adobe = body[11]
        return
    jpeg.applications.append((marker, body))


def _frame(jpeg: _Jpeg, marker: int, body: bytes) -> None:
    if len(body) < 6 or len(body) < 6 + 3 * body[5]:
        raise UnreadableImageError("the JPEG is damaged: its header is too short; copy it again from its source")
    jpeg.frame, jpeg.bits = marker, body[0]
    jpeg.height, jpeg.width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    each = (body[6 + 3 * i : 9 + 3 * i] for i in range(body[5]))
    jpeg.components = tuple((c[0], c[1] >> 4, c[1] & 15, c[2]) for c in each)


def _tables(body: bytes) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    while body:
        precision, number = body[0] >> 4, body[0] & 15
        size = 64 * (1 + (precision > 0))
        values = np.frombuffer(body[1 : 1 + size].ljust(size, b"\0"), ">u2" if precision else np.uint8)
        yield precision, number, tuple(map(int, values))
        body = body[1 + size :]


def size(data: Any) -> tuple[int, int]:
    """Width and height.

    Raises:
        UnreadableImageError: there is no header.
    """
    for marker, start, end in _segments(data[:_HEADER]):
        if marker in _FRAMES:
            jpeg = _Jpeg()
            _frame(jpeg, marker, bytes(data[start:end]))
            return jpeg.width, jpeg.height
    raise UnreadableImageError("the JPEG is damaged: its header is missing; copy it again from its source")


def read(data: bytes, guard: Guard) -> Decoded:
    """The picture, whole.

    Raises:
        UnreadableImageError: it is damaged or cut off; how much of it can be read is said where that can be told.
        UnsupportedImageError: 12 bits, lossless, or scans without end.
    """
    guard(*size(data))
    jpeg = _take_apart(data)
    if jpeg.frame not in _SEQUENTIAL | _PROGRESSIVE or jpeg.bits != 8 or len(jpeg.components) not in _MODES:
        raise UnsupportedImageError(
            f"JPEGs of this kind ({jpeg.bits} bits, {len(jpeg.components)} colors, process {jpeg.frame - 0xC0}) are "
            "not read; save it as an ordinary JPEG or a PNG"
        )
    pixels = _pixels(jpeg)
    tables = {number: values for _, number, values in jpeg.tables}
    try:
        each = [[tables[c[3]][i] for i in zigzag_index] for c in jpeg.components]
    except KeyError:
        raise UnreadableImageError("the JPEG is damaged: a table is missing; copy it again from its source") from None
    while len(each) > 1 and each[-1] == each[-2]:
        each.pop()  # the encoder repeats the last table for further components
    exif = metadata.parse(next((b for m, b in jpeg.applications if m == 0xE1 and b[:6] == b"Exif\0\0"), b""))
    turn = metadata.orientation(exif)
    sampling = tuple((h, v) for _, h, v, _ in jpeg.components)
    if turn >= 5:  # a quarter turn swaps the axes of tables and sampling
        each = [np.reshape(t, (8, 8)).T.ravel().tolist() for t in each]
        sampling = tuple((v, h) for h, v in sampling)
    options = {
        "progressive": jpeg.frame in _PROGRESSIVE,
        "keep_rgb": jpeg.is_rgb,
        "sampling": sampling,
        "qtables": each,
    }
    form = Form("JPEG", _MODES[len(jpeg.components)], options=options)
    return Decoded(upright(pixels, turn), form, exif, _info(jpeg), is_turned=turn >= 5)


def check(data: bytes, width: int, height: int) -> None:
    """That a JPEG within another format is whole, and no larger than it may be.

    Raises:
        UnreadableImageError: it is not. UnsupportedImageError: gray with alpha.
    """
    jpeg = _take_apart(data)
    if len(jpeg.components) == 2:
        raise UnsupportedImageError("JPEGs with two colors are not read; save it with LZW or Deflate")
    if not (0 < jpeg.width <= width and 0 < jpeg.height <= height) or len(jpeg.components) not in _SPACES:
        raise UnreadableImageError("a JPEG in the picture is damaged; copy the file again from its source")
    _pixels(jpeg)


def _pixels(jpeg: _Jpeg) -> Pixels:
    pixels, warning = _decode(jpeg.file(), jpeg)
    if "extraneous" in warning and (last := jpeg.picture[-1].rstrip(b"\0")) != jpeg.picture[-1]:
        # Cameras fill up with zeros. So does what rescues a file's first part: then too little is left without them.
        jpeg.picture[-1] = last + b"\0" * last.endswith(b"\xff")
        pixels, again = _decode(jpeg.file(), jpeg)
        warning = again and warning
    if pixels is None:
        raise UnreadableImageError(_damage(jpeg, warning))
    if jpeg.frame in _SEQUENTIAL | _PROGRESSIVE and (rows := _readable(jpeg)) is not None:
        raise UnreadableImageError(_wrong_below(rows))
    if pixels.shape[2] == 4:
        return np.subtract(255, pixels, out=pixels)  # Adobe's way: 255 is no ink
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels


def _decode(file: bytes, jpeg: _Jpeg) -> tuple[Pixels | None, str]:
    """All pixels, or None and the decoder's last warning."""
    try:
        return simplejpeg.decode_jpeg(file, _SPACES[len(jpeg.components)], fastdct=False, fastupsample=False), ""
    except ValueError as e:
        return None, str(e) or "error"


def _damage(jpeg: _Jpeg, warning: str) -> str:
    if "premature end" not in warning.lower():
        rows = None
        with suppress(ValueError):
            rows = _readable(jpeg)
        if rows is not None:
            return _wrong_below(rows)
        return "the JPEG is damaged: parts of its picture are missing or wrong; copy it again from its source"
    if jpeg.frame in _PROGRESSIVE:
        return "the JPEG is cut off: only a coarse version of its picture can be read; copy it again from its source"
    share = 0.0
    with suppress(ValueError):
        # what was never decoded is 128
        is_there: NDArray[np.bool_] = np.any(_raw(jpeg.picture, len(jpeg.components), 8) != 128, axis=(1, 2))
        share = (int(np.flatnonzero(is_there)[-1]) + 1) / len(is_there) if is_there.any() else 0.0
    return (
        f"the JPEG is cut off: only the upper {min(share, 0.99):.0%} of it can be read; copy it again from its source"
    )


def _wrong_below(share: float) -> str:
    return (
        f"the JPEG is damaged: its picture is wrong below the upper {min(share, 0.99):.0%} at the latest; "
        "copy it again from its source"
    )


def _readable(jpeg: _Jpeg) -> float | None:
    """The share of the height above the first place that no picture has; None: there is no such place.

    Of 64 bytes that are overwritten the decoder says nothing in two of five cases: its codes fall into step again. But
    what they said themselves is far out of the range of 8 bits, and so are most means of blocks from there on, since
    each is stored as a difference to the last one's. The decoder clips both in silence.
    """
    for means_alone in (True, False):
        faint, most = _faint(jpeg, means_alone)
        is_wrong: NDArray[np.bool_] = np.any((faint < 128 - most) | (faint > 128 + most), axis=(1, 2))
        if is_wrong.any():
            return int(is_wrong.argmax()) / len(is_wrong)
    return None


def _faint(jpeg: _Jpeg, means_alone: bool) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The picture in the JPEG's own components, at a fraction of its contrast, so that what is out of range shows; and
    how far from 128 a picture's values are at most, a number each component.

    A block's mean lies in the range of 8 bits (encoders overshoot by less than a quarter, against ringing); details
    are at most twice that: black and white noise at quality 1 reaches 1.9 times. Where a table is too fine to be
    divided its means are left out.

    Args:
        means_alone: the means at 2/3 of their contrast, a pixel a block; else all at 1/4, at half the size.
    """
    most, picture = np.full(len(jpeg.components), 127, np.uint8), []
    for part in jpeg.picture:
        if part[:2] != bytes([0xFF, _DQT]):
            picture.append(part)
            continue
        body = b""
        for precision, number, values in _tables(part[4:]):
            mean = max(values[0] * 2 // 3 if means_alone else values[0] // 4, 1) if values[0] > 1 else 0
            details = [0 if means_alone else v // 4 for v in values[1:]]
            limit = 128 * (1.25 * mean / max(values[0], 1) + 2 / 4 * any(details)) + 2
            most[[c[3] == number for c in jpeg.components]] = min(int(limit), 127)
            width = 1 + (precision > 0)
            body += bytes([precision << 4 | number]) + b"".join(v.to_bytes(width, "big") for v in (mean, *details))
        picture.append(part[:2] + (len(body) + 2).to_bytes(2, "big") + body)
    return _raw(picture, len(jpeg.components), 8 if means_alone else 2), most


def _raw(picture: list[bytes], components: int, part: int) -> NDArray[np.uint8]:
    """The components as they are stored, at a part of the size, whatever is damaged."""
    file = _Jpeg(picture=picture).file(adobe=0)
    return simplejpeg.decode_jpeg(file, _SPACES[components], min_factor=part, strict=False)


def _info(jpeg: _Jpeg) -> Mapping[str, Any]:
    """What else the file carries, under the names that `metadata.names` and `metadata.resolution` know."""
    info: dict[str, Any] = {}
    profile: dict[int, bytes] = {}
    for marker, body in jpeg.applications:
        if marker == 0xE0 and body.startswith(b"JFIF\0"):
            if len(body) >= 14 and body[12] * body[13]:
                info["thumbnails"] = True
            unit, density = body[7], tuple(int.from_bytes(body[i : i + 2], "big") for i in (8, 10))
            if unit in (1, 2):
                info["dpi"] = tuple(v * (1 if unit == 1 else 2.54) for v in density)
        elif marker == 0xE0 and body.startswith(b"JFXX\0"):
            info["thumbnails"] = True
        elif marker == 0xE1 and body.startswith(b"http://ns.adobe.com/"):
            info["xmp"] = True
        elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0") and len(body) > 14:
            profile.setdefault(body[12], body[14:])
        elif marker == 0xE2 and body.startswith(b"MPF\0"):
            info["mp"] = True
        elif marker == 0xED and body.startswith(b"Photoshop 3.0\0"):
            info["photoshop"] = True
        elif marker == _COMMENT:
            info["comment"] = True
        elif body[:6] != b"Exif\0\0":
            info["further"] = True
    rest = jpeg.rest.lstrip(b"\0\xff")
    info["mp"] = info.get("mp", False) or rest.startswith(b"\xd8\xff")
    info["further"] = info.get("further", False) or bool(rest and not info["mp"])
    info["icc_profile"] = b"".join(part for _, part in sorted(profile.items()))
    return info


def write(pixels: Pixels, form: Form, fields: dict[int, Any], dpi: tuple[float, float] | None) -> bytes:
    # Pillow writes 4:4:4, 4:2:2 and 4:2:0; all else (4:1:1, an upright 4:4:0) gets its chroma in full.
    subsampling = {((2, 1), (1, 1), (1, 1)): 1, ((2, 2), (1, 1), (1, 1)): 2}.get(form.options["sampling"], 0)
    options = {
        "qtables": form.options["qtables"],
        "subsampling": subsampling,
        "keep_rgb": form.options["keep_rgb"],
        "icc_profile": form.icc,
        "exif": metadata.write(fields) if fields else b"",
        "dpi": dpi or (0, 0),
    }
    image = to_stored_image(pixels, form)
    if form.options["progressive"]:
        with suppress(OSError):  # Pillow reserves two bytes a pixel for it, which noise at the finest tables exceeds
            return encode_image(image, "JPEG", progressive=True, **options)
    return encode_image(image, "JPEG", **options)
