"""How a clip's stored pictures are turned for the eye (its display matrix), and regions between the two."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UnsupportedClipError
from ..regions import Point, Region


@dataclass(frozen=True, slots=True)
class Orientation:
    """Quarter turns and mirrors, from stored to upright coordinates.

    Attributes:
        a, b, c, d: -1, 0 or 1: X = a x + c y, Y = b x + d y, both then moved so that the picture begins at 0.
    """

    a: int = 1
    b: int = 0
    c: int = 0
    d: int = 1

    @classmethod
    def from_matrix(cls, matrix: bytes) -> Orientation:
        """Of a display matrix: nine 32-bit numbers, of which the first two rows' first two turn.

        Raises:
            UnsupportedClipError: it is neither quarter turns nor mirrors.
        """
        a, b, _, c, d, *_ = struct.unpack("=9i", matrix[:36])
        found = tuple(round(v / 65536) for v in (a, b, c, d))
        if sorted(map(abs, found)) != [0, 0, 1, 1] or abs(found[0]) != abs(found[3]):
            raise UnsupportedClipError("the clip is shown turned by an angle that is no quarter turn")
        return cls(*found)

    @property
    def is_upright(self) -> bool:
        return self == Orientation()

    @property
    def is_turned(self) -> bool:
        """Whether width and height change places."""
        return self.a == 0

    def matrix(self) -> tuple[int, ...]:
        """The display matrix that a container stores."""
        one = 1 << 16
        return (self.a * one, self.b * one, 0, self.c * one, self.d * one, 0, 0, 0, 1 << 30)

    def upright(self, picture: NDArray[Any]) -> NDArray[Any]:
        """A stored picture, (H, W) or (H, W, C), as it is seen."""
        right, down = (self.c, self.b) if self.is_turned else (self.a, self.d)
        turned = picture.swapaxes(0, 1) if self.is_turned else picture
        return np.ascontiguousarray(turned[::down, ::right])

    def stored(self, region: Region, width: int, height: int) -> Region:
        """A region of the upright picture in the stored one, which is `width` x `height` px."""
        if self.is_upright:
            return region

        def back(point: Point) -> Point:
            across, along = (point[1], point[0]) if self.is_turned else point
            along_sign, across_sign = (self.c, self.b) if self.is_turned else (self.d, self.a)
            return (across if across_sign > 0 else width - across, along if along_sign > 0 else height - along)

        (ax, ay), (bx, by) = back(region.box[:2]), back(region.box[2:])
        corners = region.corners and tuple(map(back, region.corners))
        if corners and self.a * self.d - self.b * self.c < 0:  # a mirror turns clockwise into counterclockwise
            corners = corners[::-1]
        box = (min(ax, bx), min(ay, by), max(ax, bx), max(ay, by))
        return region.replace(box=box, corners=corners, landmarks=None, id=region.id)


def orientation_of(frame: Any) -> Orientation:
    """How a decoded frame is turned.

    Raises:
        UnsupportedClipError: in no way that can be kept, or in none that can be read.
    """
    for data in side_data(frame):
        if data.type.name == "DISPLAYMATRIX":
            return Orientation.from_matrix(bytes(data))
    return Orientation()


def side_data(frame: Any) -> list[Any]:
    """What a decoded frame says beside its picture: how it is turned, what its colors are.

    Raises:
        UnsupportedClipError: a part of it is of a kind that FFmpeg knows and PyAV does not, which then gives none.
    """
    try:
        return list(frame.side_data)
    except ValueError as e:  # "31 is not a valid Type": EXIF in the pictures of an MJPEG
        raise UnsupportedClipError(
            f"its pictures carry data that PyAV cannot read ({e}), so how they are turned is not known; save the clip "
            "anew without it, for example with `ffmpeg -i CLIP -crf 12 NEW.mp4`"
        ) from e
