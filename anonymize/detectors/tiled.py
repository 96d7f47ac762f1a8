"""The whole photo, and its tiles at the photo's own size, so that nothing is too small because the photo is large.

Tiles overlap, so that what is smaller than the overlap lies whole in one of them. What is larger is cut by a seam; its
pieces are brought together again, and the whole photo shows it anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import SettingsError
from ..regions import Box, Region, areas, boxes, intersections, merge
from ..settings import Settings
from .candidates import check
from .detector import Detector, Image, kinds_of
from .wrapper import detect_all, merge_detections, relabel

OVERLAP = 0.2  # of a tile's side, with the next
NEAR = 0.02  # of a tile's side: a region that ends so near to a seam was cut by it
PIECE = 0.5  # of the smaller of two regions inside the other: a cut one is a piece of the other


@dataclass(frozen=True, slots=True)
class Piece:
    """A region in the photo's pixels, and whether a seam cut it."""

    region: Region
    is_cut: bool


class Tiled:
    """A detector that sees a photo whole and in overlapping tiles.

    Args:
        detector: sees each tile enlarged or reduced to its own long side.
        settings: iou_threshold, max_regions.
        tile: px of the photo, side of the square tiles. A photo no larger than one is seen whole only.
        overlap: of two neighboring tiles, as a fraction of their side, 0–0.5.

    Raises:
        SettingsError: a tile under 64 px, an overlap outside 0–0.5.
    """

    def __init__(self, detector: Detector, settings: Settings, *, tile: int = 1024, overlap: float = OVERLAP) -> None:
        if tile < 64 or not 0 <= overlap <= 0.5:
            raise SettingsError(f"a tile is at least 64 px, its overlap 0–0.5; received {tile} px, {overlap}")
        self.name = f"tiled:{detector.name}"
        self.weights: Mapping[str, str] = dict(detector.weights)
        self.kinds = kinds_of(detector)
        self._detector, self._settings, self._tile, self._overlap = detector, settings, tile, overlap

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        """See `Detector.detect`."""
        return [self._look(check(image)) for image in images]

    def _look(self, image: Image) -> list[Region]:
        height, width = image.shape[:2]
        windows = list(tiles(width, height, self._tile, self._overlap))
        found = [Piece(r, False) for r in detect_all(self._detector, [image])[0]]
        for window in windows if len(windows) > 1 else []:  # one after the other: a large photo has hundreds
            x1, y1, x2, y2 = window
            for region in detect_all(self._detector, [image[y1:y2, x1:x2]])[0]:
                moved = region.shift(x1, y1)
                found.append(Piece(moved, touches_seam(moved.box, window, (width, height))))
        joined = [relabel(r, self.name) for r in merge_pieces(found)]
        return merge_detections(joined, self.name, self._settings)


def tiles(width: int, height: int, tile: int, overlap: float) -> Iterator[tuple[int, int, int, int]]:
    """Windows (x1, y1, x2, y2) that cover an image, each at most `tile` px wide and high, evenly spread."""

    def starts(length: int) -> list[int]:
        if length <= tile:
            return [0]
        count = int(np.ceil((length - tile) / (tile * (1 - overlap)))) + 1
        return [round(s) for s in np.linspace(0, length - tile, count)]

    for y in starts(height):
        for x in starts(width):
            yield x, y, min(x + tile, width), min(y + tile, height)


def touches_seam(box: Box, window: tuple[int, int, int, int], size: tuple[int, int]) -> bool:
    """Whether a box, px of the photo of this (width, height), ends at an edge of its window that is a seam."""
    x1, y1, x2, y2 = window
    near = NEAR * max(x2 - x1, y2 - y1)
    ends = (box[0] - x1 <= near, box[1] - y1 <= near, x2 - box[2] <= near, y2 - box[3] <= near)
    seams = (x1 > 0, y1 > 0, x2 < size[0], y2 < size[1])
    return any(end and seam for end, seam in zip(ends, seams, strict=True))


def merge_pieces(found: Sequence[Piece]) -> list[Region]:
    """Regions, those in pieces made whole: a cut one and another of its kind that hold half of the smaller are one."""
    groups = list(range(len(found)))

    def root(i: int) -> int:
        while groups[i] != i:
            i = groups[i]
        return i

    b = boxes(f.region for f in found)
    sizes = areas(b)
    for i, piece in enumerate(found):
        if not piece.is_cut:
            continue
        # Row by row: all tiles of a large photo at once would be gigabytes.
        shared = intersections(b[i : i + 1], b)[0]
        for j in np.flatnonzero(shared >= PIECE * np.minimum(sizes[i], sizes)).tolist():
            if found[j].region.kind == piece.region.kind:
                groups[root(i)] = root(j)
    members: dict[int, list[Region]] = {}
    for i, f in enumerate(found):
        members.setdefault(root(i), []).append(f.region)
    return [merge(m) if len(m) > 1 else m[0] for m in members.values()]
