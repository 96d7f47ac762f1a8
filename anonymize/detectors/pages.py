"""Pieces of a photo beside each other in pictures of two sizes, so that a network prepares for these once.

A network prepares its layers for each other shape of picture, which takes up to a third of its time, and its buffers
grow with the largest. So pieces lie on small square pages, as many as they need.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..probability import Floats
from .candidates import STRIDE
from .detections import Detections
from .detector import Image

# px. Of three sizes, pages would have a twentieth fewer pixels, and networks half as many buffers again.
SIDES = (256, 512)
GAP = 8  # px between two pieces on a page
# px in the picture of the whole photo from which a network of faces sees it only where pages would have more than so
# many times as many: its buffers would be hundreds of MB (CenterFace 530 for 1,600 x 1,600 px), and each pixel takes
# longer than on pages.
LARGE, MORE = 1_000_000, 1.5
FILL = 114
Point = tuple[int, int]
Window = tuple[int, int, int, int]  # x1, y1, x2, y2, px of the photo


@dataclass(frozen=True, slots=True)
class Place:
    """Where to look, px of the photo, and how large: px of the picture for one of the photo."""

    window: Window
    scale: float

    @property
    def size(self) -> Point:
        """Width and height, px of the picture."""
        x1, y1, x2, y2 = self.window
        return max(round((x2 - x1) * self.scale), 1), max(round((y2 - y1) * self.scale), 1)


@dataclass(frozen=True)
class Page:
    """Pieces of a photo in one picture.

    Attributes:
        pixels: uint8 (H, W, 3): a square of one of SIDES, or the whole photo.
        places: The pieces.
        corners: x and y of each one's top left in the picture, px.
    """

    pixels: Image
    places: Sequence[Place]
    corners: Sequence[Point]

    def owners(self, boxes: Floats) -> NDArray[np.intp]:
        """The numbers of the pieces that boxes (N, 4) of the picture have their centers in; -1: none."""
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        out = np.full(len(boxes), -1)
        for i, (corner, place) in enumerate(zip(self.corners, self.places, strict=True)):
            inside = centers - corner
            out[((inside >= 0) & (inside < place.size)).all(axis=1)] = i
        return out

    def back(self, found: Detections, numbers: NDArray[np.intp]) -> Detections:
        """What these pieces show (a number for each row), in the photo's px, clipped at its piece's edges."""
        corner, scale = np.array(self.corners)[numbers][:, None], self.scales[numbers][:, None, None]
        window = np.array([place.window for place in self.places])[numbers]

        def points(some: Floats) -> Floats:
            return (some - corner) / scale + window[:, None, :2]

        boxes = points(found.boxes.reshape(-1, 2, 2)).reshape(-1, 4)
        boxes = np.hstack([np.maximum(boxes[:, :2], window[:, :2]), np.minimum(boxes[:, 2:], window[:, 2:])])
        return found.replace(boxes=boxes, corners=points(found.corners), landmarks=points(found.landmarks))

    @property
    def scales(self) -> Floats:
        """Each piece's, px of the picture for one of the photo."""
        return np.array([place.scale for place in self.places])


def pages(image: Image, some: Sequence[Place], long_side: int, *, shrink: bool = False) -> list[Page]:
    """Pieces of a photo on as many pages as they need; the whole photo, where that is less or one is too large for any.

    Args:
        some: At least one.
        long_side: px, which the whole photo would have.
        shrink: Where that is large, show what is too large for a page smaller. (Not for plates, which are smaller on
            vehicles than faces on persons.)
    """
    height, width = image.shape[:2]
    whole = Place((0, 0, width, height), long_side / max(height, width))
    pixels = math.prod(whole.size)
    shrink = shrink and pixels > LARGE
    if shrink:
        some = [place if place == whole else _smaller(place) for place in some]
    laid = _laid_out([place.size for place in some])
    if laid is None or sum(page.side**2 for page in laid) > pixels * (MORE if shrink else 1):
        return [_draw(image, [whole], [(0, 0)], whole.size)]
    return [
        _draw(image, [some[i] for i in page.corners], list(page.corners.values()), (page.side,) * 2) for page in laid
    ]


def _smaller(place: Place) -> Place:
    """The same at a half, a quarter, … of its scale, so that it fits a page."""
    while max(place.size) > SIDES[-1]:
        place = Place(place.window, place.scale / 2)
    return place


def _draw(image: Image, some: Sequence[Place], corners: Sequence[Point], size: Point) -> Page:
    width, height = (-(-side // STRIDE) * STRIDE for side in size)  # else detectors would pad it around
    pixels = np.full((height, width, 3), FILL, np.uint8)
    for place, (x, y) in zip(some, corners, strict=True):
        (x1, y1, x2, y2), (w, h) = place.window, place.size
        way = cv2.INTER_AREA if place.scale < 0.5 else cv2.INTER_LINEAR
        pixels[y : y + h, x : x + w] = cv2.resize(image[y1:y2, x1:x2], (w, h), interpolation=way)
    return Page(pixels, some, corners)


def _laid_out(sizes: Sequence[Point]) -> list[_Layout] | None:
    """Where pieces of these widths and heights lie, the highest first, each on the first page that has room for it.

    None: one is too large for a page.
    """
    laid: list[_Layout] = []
    for i in sorted(range(len(sizes)), key=lambda i: (-sizes[i][1], -sizes[i][0])):
        if any(page.add(i, sizes[i]) for page in laid):
            continue
        side = next((side for side in SIDES if max(sizes[i]) <= side), None)
        if side is None:
            return None
        laid.append(_Layout(side))
        laid[-1].add(i, sizes[i])
    return laid


class _Layout:
    """A page that is filled: rows from the top, in a row columns from the left, in a column pieces from the top.

    Attributes:
        side: px.
        corners: Piece's number -> x and y of its top left.
    """

    def __init__(self, side: int) -> None:
        self.side, self.corners = side, dict[int, Point]()
        self._rows: list[_Row] = []

    def add(self, number: int, size: Point) -> bool:
        """Whether there was room; pieces come by falling height."""
        for row in self._rows:
            if corner := row.add(size, self.side):
                self.corners[number] = corner
                return True
        top = self._rows[-1].bottom + GAP if self._rows else 0
        if max(size[0], top + size[1]) > self.side:
            return False
        self._rows.append(_Row(top, size))
        self.corners[number] = (0, top)
        return True


class _Row:
    def __init__(self, top: int, first: Point) -> None:
        self.top, self.bottom = top, top + first[1]
        self._left, self._right, self._below = 0, first[0], self.bottom  # of the last column

    def add(self, size: Point, side: int) -> Point | None:
        """The top left of a piece no higher than the row; None: it has no room on a page of this side."""
        w, h = size
        if self._left + w <= self._right and self._below + GAP + h <= self.bottom:
            corner = (self._left, self._below + GAP)
        elif self._right + GAP + w <= side:
            self._left, self._right = self._right + GAP, self._right + GAP + w
            corner = (self._left, self.top)
        else:
            return None
        self._below = corner[1] + h
        return corner
