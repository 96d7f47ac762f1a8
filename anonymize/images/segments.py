"""A JPEG taken apart (ITU-T T.81, annex B): the picture in one hand, all that is no picture in the other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import UnreadableImageError, UnsupportedImageError

# T.81, table B.1; in a scan's data 0xFF is followed by 0 (a byte 0xFF) or by a restart marker.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_SOI, _EOI, _SOS, DQT, COMMENT, _TEM = 0xD8, 0xD9, 0xDA, 0xDB, 0xFE, 0x01
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
SEQUENTIAL, PROGRESSIVE = frozenset((0xC0, 0xC1, 0xC9)), frozenset((0xC2, 0xCA))
# An encoder writes a dozen scans, one for each bit of each component at most. Thousands take hours.
_MOST_SCANS = 100
_HEADER = 1 << 24  # bytes; its segments have 64 KB at most, but may be many (a color profile's, a depth map's)


@dataclass
class Jpeg:
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

    @property
    def is_complete(self) -> bool:
        """Whether its scans hold every coefficient to its last bit; else decoders smooth what is missing."""
        left = {(c[0], i) for c in self.components for i in range(64)}
        for part in self.picture:
            if part[:2] == bytes([0xFF, _SOS]) and self.frame in PROGRESSIVE:
                names = part[5 : 5 + 2 * part[4] : 2]
                first, last, bits = part[5 + 2 * part[4] :][:3]
                left -= {(c, i) for c in names for i in range(first, last + 1) if not bits & 15}
        return not left or self.frame not in PROGRESSIVE

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


def take_apart(data: Any) -> Jpeg:
    jpeg, scans = Jpeg(), 0
    for marker, start, end in _segments(data):
        body = bytes(data[start:end])
        if marker == 0:
            jpeg.picture.append(body)
            continue
        if marker == _EOI:
            jpeg.rest = body
            break
        if 0xE0 <= marker <= 0xEF or marker == COMMENT:
            _application(jpeg, marker, body)
            continue
        if marker in _FRAMES and not jpeg.frame:
            _frame(jpeg, marker, body)
        elif marker == DQT:
            jpeg.tables += tables(body)
        elif marker == _SOS:
            scans += 1
            if scans > _MOST_SCANS:
                raise UnsupportedImageError(
                    f"the JPEG has more than {_MOST_SCANS} scans, which no camera writes and which would take hours; "
                    "save it anew with another program"
                )
            if jpeg.frame in SEQUENTIAL and len(body) > 3:
                body = body[:-3] + b"\0\x3f\0"  # some cameras write nothing sensible here; it has one meaning
        jpeg.picture.append(b"\xff" + bytes([marker]) + (len(body) + 2).to_bytes(2, "big") + body)
    return jpeg


def _application(jpeg: Jpeg, marker: int, body: bytes) -> None:
    if marker == 0xE0 and body.startswith(b"JFIF\0") and len(body) >= 12:
        jpeg.has_jfif = True
    elif marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
        jpeg.adobe = body[11]
        return
    jpeg.applications.append((marker, body))


def _frame(jpeg: Jpeg, marker: int, body: bytes) -> None:
    if len(body) < 6 or len(body) < 6 + 3 * body[5]:
        raise UnreadableImageError("the JPEG is damaged: its header is too short; copy it again from its source")
    jpeg.frame, jpeg.bits = marker, body[0]
    jpeg.height, jpeg.width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    each = (body[6 + 3 * i : 9 + 3 * i] for i in range(body[5]))
    jpeg.components = tuple((c[0], c[1] >> 4, c[1] & 15, c[2]) for c in each)


def tables(body: bytes) -> Iterator[tuple[int, int, tuple[int, ...]]]:
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
            jpeg = Jpeg()
            _frame(jpeg, marker, bytes(data[start:end]))
            return jpeg.width, jpeg.height
    raise UnreadableImageError("the JPEG is damaged: its header is missing; copy it again from its source")
