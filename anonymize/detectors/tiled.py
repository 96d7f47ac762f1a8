"""Looking at a photo in windows, so that nothing is too small because the photo is large.

A detector resizes what it is shown to its own long side: of a photo of 16,000 px little is left. So a photo is cut into
overlapping windows, each seen at the detector's size, and seen whole for what is larger than the overlap; where the
whole is far larger than a window, in windows between the two as well.

What an overlap holds lies whole in one window. A seam may cut it in another, which then sees a piece: a region and a
piece are of the same thing where they agree on the part of it that both windows show. They become one region around
both. A piece that nothing agrees with stays as it is, and never takes the place of anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import SettingsError
from ..regions import NEARLY_ALL, Region, areas, boxes, merge, suppress
from ..settings import Settings
from .candidates import check
from .detector import Detector, Image, kinds_of
from .openvino_runtime import alone_if_large
from .pages import Window
from .runtime import batch_size
from .wrapper import detect_all, merge_detections, relabel

# px; the long side of an ordinary photo (12 megapixels at 16:9 have 4,608). A larger one is searched in windows.
ONE_LOOK = 4608
OVERLAP = 0.2  # of a window's side, with the next
STEP = 8  # from one size of windows to the next; what is cut in all smaller ones is not tiny in these
NEAR = 0.02  # of a window's long side: a region that ends so near to a seam was cut by it


@dataclass(frozen=True, slots=True)
class Piece:
    """What one window showed of a thing.

    Attributes:
        region: In the photo's pixels.
        window: Where it was seen.
        is_cut: Whether a seam cut it.
    """

    region: Region
    window: Window
    is_cut: bool


class Tiled:
    """A detector that sees a photo in windows of a size of one's own, and whole.

    Args:
        detector: Sees each window enlarged or reduced to its own long side.
        settings: iou_threshold, max_regions.
        tile: px of the photo; the windows' largest side. A photo no larger than one is seen whole only.

    Raises:
        SettingsError: A tile under 64 px.
    """

    def __init__(self, detector: Detector, settings: Settings, *, tile: int = 1024) -> None:
        if tile < 64:
            raise SettingsError(f"a tile is at least 64 px; received {tile}")
        self.name = f"tiled:{detector.name}"
        self.weights: Mapping[str, str] = dict(detector.weights)
        self.kinds = kinds_of(detector)
        self._detector, self._settings, self._tile = detector, settings, tile

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        """See `Detector.detect`."""
        return [
            [relabel(r, self.name) for r in found]
            for found in search(self._detector, images, self._settings, tile=self._tile)
        ]


def search(
    detector: Detector, images: Sequence[Image], settings: Settings, *, tile: int = ONE_LOOK
) -> list[list[Region]]:
    """A detector's answers, one for each image; an image larger than `tile` px is looked at in windows, too.

    Args:
        detector: What is asked; an image that is no larger gets its answer as it is.
        images: As for `Detector.detect`.
        settings: iou_threshold, max_regions.
        tile: px of the image; the windows' largest side.

    Raises:
        DetectionError: Not an image, a failed detector, or more likely regions than are kept.
    """
    is_one_look = all(max(check(image).shape[:2]) <= tile for image in images)
    with alone_if_large(images):
        if is_one_look:
            return detect_all(detector, images)
        return [_search(detector, image, settings, tile) for image in images]


def _search(detector: Detector, image: Image, settings: Settings, tile: int) -> list[Region]:
    height, width = image.shape[:2]
    found = []
    every = list(windows(width, height, tile))
    at_once = batch_size(settings.device)  # a large photo has many
    for start in range(0, len(every), at_once):
        some = every[start : start + at_once]
        answers = detect_all(detector, [image[y1:y2, x1:x2] for x1, y1, x2, y2 in some])
        for window, regions in zip(some, answers, strict=True):
            for region in regions:
                moved = region.shift(*window[:2])
                found.append(Piece(moved, window, is_cut(moved, window, (width, height))))
    return merge_detections(merge_pieces(found, settings.iou_threshold), detector.name, settings)


def windows(width: int, height: int, tile: int) -> Iterator[Window]:
    """Windows onto an image, the smallest ones first, the whole image last.

    The smallest are at most `tile` px wide and high, the next `STEP` times that, and so on. Those of one size cover the
    image, evenly spread and as small as their number allows, each `OVERLAP` of its side over the next.
    """

    def starts(length: int, most: int) -> tuple[list[int], int]:
        """Where windows begin along one side, and how long they are."""
        if length <= most:
            return [0], length
        count = math.ceil((length / most - OVERLAP) / (1 - OVERLAP))
        side = min(math.ceil(length / (count - (count - 1) * OVERLAP)), most)
        return [round(s) for s in np.linspace(0, length - side, count)], side

    most = tile
    while True:
        (xs, w), (ys, h) = starts(width, most), starts(height, most)
        yield from ((x, y, x + w, y + h) for y in ys for x in xs)
        if len(xs) == len(ys) == 1:
            return
        most *= STEP


def is_cut(region: Region, window: Window, size: tuple[int, int]) -> bool:
    """Whether a region of the photo of this (width, height), px, ends at an edge of its window that is a seam."""
    x1, y1, x2, y2 = window
    near = NEAR * max(x2 - x1, y2 - y1)
    box = region.box
    ends = (box[0] - x1 <= near, box[1] - y1 <= near, x2 - box[2] <= near, y2 - box[3] <= near)
    seams = (x1 > 0, y1 > 0, x2 < size[0], y2 < size[1])
    return any(end and seam for end, seam in zip(ends, seams, strict=True))


def merge_pieces(found: Sequence[Piece], iou_threshold: float) -> list[Region]:
    """What was seen in several windows -> one region for each thing.

    Args:
        found: Of all windows.
        iou_threshold: IoU, on what two windows both show, above which two regions are of one thing.
    """
    out: list[Region] = []
    for kind in dict.fromkeys(f.region.kind for f in found):
        of_kind = [f for f in found if f.region.kind == kind]
        whole = suppress([f.region for f in of_kind if not f.is_cut], iou_threshold)
        where = {id(f.region): f.window for f in of_kind}
        things = [Piece(r, where[id(r)], is_cut=False) for r in whole]
        for piece in sorted((f for f in of_kind if f.is_cut), key=lambda f: -f.region.score):
            believed, doubted = _believed([piece, *_same(piece, things, iou_threshold)])
            joined = _join(believed)
            things = [t for t in things if not any(t is s for s in believed)] + [joined]
            if any(piece is d for d in doubted) and not _holds(
                joined, piece
            ):  # it shows another part, and counts for itself
                things.append(piece)
        out += [t.region for t in things]
    return out


def _same(piece: Piece, things: Sequence[Piece], iou_threshold: float) -> list[Piece]:
    """The things that a piece is one of: all that are in pieces themselves, and the likeliest of those seen whole."""
    if not things:
        return []
    seen = np.array([t.window for t in things])
    a = _clip(boxes(t.region for t in things), np.array([piece.window]))
    b = _clip(boxes([piece.region]), seen)
    shared = areas(np.hstack([np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])]))
    union = areas(a) + areas(b) - shared
    agree = [things[i] for i in np.flatnonzero(shared > iou_threshold * union).tolist()]
    whole = [t for t in agree if not t.is_cut]
    return [t for t in agree if t.is_cut] + sorted(whole, key=lambda t: -t.region.score)[:1]


def _clip(some: np.ndarray, to: np.ndarray) -> np.ndarray:
    """Boxes (N or 1, 4) cut at windows (N or 1, 4); one that lies outside becomes empty."""
    return np.clip(some, np.tile(to[:, :2], 2), np.tile(to[:, 2:], 2))


def _believed(same: Sequence[Piece]) -> tuple[list[Piece], list[Piece]]:
    """What gives a thing its box (all that was seen whole, or is half as likely as the likeliest), and the rest."""
    best = max(p.region.score for p in same)
    believed = [p for p in same if not p.is_cut or p.region.score >= best / 2]
    return believed, [p for p in same if not any(p is b for b in believed)]


def _holds(thing: Piece, piece: Piece) -> bool:
    """Whether nearly all of a piece lies in a thing."""
    (x1, y1, x2, y2), (a1, b1, a2, b2) = thing.region.box, piece.region.box
    shared = max(0.0, min(x2, a2) - max(x1, a1)) * max(0.0, min(y2, b2) - max(y1, b1))
    return shared >= NEARLY_ALL * piece.region.area


def _join(same: Sequence[Piece]) -> Piece:
    """One thing: as likely as the likeliest piece, around all."""
    every = np.array([p.window for p in same])
    window = (*every[:, :2].min(axis=0).tolist(), *every[:, 2:].max(axis=0).tolist())
    return Piece(merge([p.region for p in same]), window, is_cut=all(p.is_cut for p in same))
