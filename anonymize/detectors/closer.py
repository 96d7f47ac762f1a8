"""A closer look, only at the places where something may be, and at each in the size that suits it.

Time grows with the square of the resolution, and most of a photo is sky, walls, and road. So an ensemble looks at the
whole photo coarsely first. What it half sees, the heads of persons, and vehicles are then cut out with a margin, put
beside each other into one picture, and shown to the network in one go: what is small at the resolution that a closer
look has for the whole photo, what is larger at half of it, a quarter, and so on. So a thing of any size is seen again,
for the price of a small one. A detector's silence counts where it looked and nowhere else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..probability import Floats
from ..regions import Box
from ..settings import Settings
from .calibrated import Calibrated
from .candidates import check
from .detections import Detections
from .detector import Detector, Image, kinds_of
from .multi_scale import worth
from .runtime import is_gpu
from .tiled import Window
from .wrapper import Finder, find_all

# Probability from which a candidate is looked at again, and scores from which a person's head or a vehicle is.
CANDIDATE = {"face": 0.005, "plate": 0.03}
CARRIER = {"person": 0.15, "vehicle": 0.3}
HEAD, FACE_OF_PERSON, PLATE_OF_VEHICLE = 0.3, 0.15, 0.15  # of a person's height, of it, of a vehicle's width
# px of the picture of pieces: what would be higher is shown at half the scale.
TALL = {"face": 48.0, "plate": 96.0}
# Around a candidate: of its longer side, and px of the picture, at least and at most.
MARGIN, LEAST_MARGIN, MOST_MARGIN = 1.5, 32.0, 160.0
CARRIERS = {"face": "person", "plate": "vehicle"}  # what shows where one may be
AROUND = 0.1  # of the longer side of a head or vehicle
GAP = 8  # px between two pieces in the picture
# Few widths and few heights: a network prepares for each shape, which costs up to 30 ms, and keeps what
# it prepared only for so many. These are half as many shapes as with free widths, for 2 % more pixels.
WIDTHS, FURTHER = (384, 768, 1280), 640  # px; wider ones are multiples
STEP = 128  # px of which the height is a multiple
WIDE_STEP = 512  # of which both sides are, on a GPU, which looks at several pictures of one shape together
ALL = 0.8  # of the photo's area: pieces that need more are the whole photo
FILL = 114
LIKELY = 0.003  # probability below which what a closer look sees is nothing
Point = tuple[int, int]


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
class Packed:
    """Pieces of a photo in one picture.

    Attributes:
        pixels: uint8 (H, W, 3), H and W multiples of a step.
        places: the pieces.
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


def places(found: Detections, kinds: Collection[str], size: Point, long_side: int) -> list[Place]:
    """Where to look closer for such kinds.

    Args:
        found: by a first look: faces and plates with probabilities as scores, persons, and vehicles.
        size: (width, height) of the photo, px.
        long_side: px, which the whole photo would have in the picture.
    """
    by_scale: dict[float, list[Window]] = {}
    for kind in sorted({"face", "plate"}.intersection(kinds)):
        for (x1, y1, x2, y2), tall, margin in _wanted(found, kind):
            scale = long_side / max(size)
            while tall * scale > TALL[kind]:
                scale /= 2
            by = min(max(margin * max(x2 - x1, y2 - y1), LEAST_MARGIN / scale), MOST_MARGIN / scale)
            box = (max(x1 - by, 0), max(y1 - by, 0), min(x2 + by, size[0]), min(y2 + by, size[1]))
            window = (int(box[0]), int(box[1]), -int(-box[2] // 1), -int(-box[3] // 1))
            if window[2] > window[0] and window[3] > window[1]:
                by_scale.setdefault(scale, []).append(window)
    return [Place(window, scale) for scale, some in by_scale.items() for window in together(some)]


def _wanted(found: Detections, kind: str) -> Iterator[tuple[Box, float, float]]:
    """Box, how high a thing of a kind would be there, and margin as a share of the box's longer side."""
    carrier = CARRIERS[kind]
    is_seen = (found.kinds == kind) & (found.scores >= CANDIDATE[kind])
    is_carrier = (found.kinds == carrier) & (found.scores >= CARRIER[carrier])
    rows = np.flatnonzero(is_seen | is_carrier)
    for (x1, y1, x2, y2), seen in zip(found.boxes[rows].tolist(), is_seen[rows].tolist(), strict=True):
        tall = y2 - y1
        if seen:
            yield (x1, y1, x2, y2), tall, MARGIN
        elif kind == "face":
            high = min(max(HEAD * tall, 0.5 * (x2 - x1)), tall)
            yield (x1, y1, x2, y1 + high), FACE_OF_PERSON * tall, AROUND
        else:
            yield (x1, y1, x2, y2), PLATE_OF_VEHICLE * (x2 - x1), AROUND


def together(some: Sequence[Window]) -> list[Window]:
    """Windows that show no less: two become one where that one is no larger than both together."""
    out: list[Window] = []
    for window in sorted(set(some), key=_area, reverse=True):
        joined = window
        i = 0
        while i < len(out):
            a, b = joined, out[i]
            both = (min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]))
            if _area(both) <= _area(a) + _area(b):
                joined = both
                del out[i]
                i = 0  # the larger one may hold others, too
            else:
                i += 1
        out.append(joined)
    return out


def _area(window: Window) -> int:
    return (window[2] - window[0]) * (window[3] - window[1])


def pack(image: Image, some: Sequence[Place], long_side: int, step: int = STEP) -> Packed:
    """Pieces of a photo beside each other, in rows, in one picture.

    Args:
        some: at least one.
        long_side: px, which the whole photo would have.
        step: px, of which both sides of the picture are multiples.
    """
    height, width = image.shape[:2]
    scale = long_side / max(height, width)
    corners, (wide, tall) = _laid_out(some, step)
    if wide * tall > ALL * width * height * scale**2:
        some = [Place((0, 0, width, height), scale)]
        corners, (wide, tall) = _laid_out(some, step)
    pixels = np.full((tall, wide, 3), FILL, np.uint8)
    for place, (x, y) in zip(some, corners, strict=True):
        (x1, y1, x2, y2), (w, h) = place.window, place.size
        way = cv2.INTER_AREA if place.scale < 0.5 else cv2.INTER_LINEAR
        pixels[y : y + h, x : x + w] = cv2.resize(image[y1:y2, x1:x2], (w, h), interpolation=way)
    return Packed(pixels, some, corners)


def _laid_out(some: Sequence[Place], step: int) -> tuple[list[Point], Point]:
    """Each piece's top left corner, and the picture's size, px; of several widths, the one that wastes least."""
    sizes = [place.size for place in some]
    widest = max(w for w, _ in sizes)
    every = [_rows(sizes, most, step) for most in [w for w in WIDTHS if w >= widest] or [widest]]
    return min(every, key=lambda laid: laid[1][0] * laid[1][1])


def _rows(sizes: Sequence[Point], most: int, step: int) -> tuple[list[Point], Point]:
    """Pieces from left to right in rows, the highest first, lower ones below each other; no row wider than `most`."""
    corners = [(0, 0)] * len(sizes)
    top, row, right = 0, 0, 0  # of the row: its top, its height, where its last column ends
    column, below, wide = 0, 0, 0  # of the last column: its left, where it ends below
    for i in sorted(range(len(sizes)), key=lambda i: (-sizes[i][1], -sizes[i][0])):
        w, h = sizes[i]
        if right and column + w <= right and below + GAP + h <= top + row:
            corners[i] = (column, below + GAP)
            below += GAP + h
            continue
        if right and right + GAP + w > most:
            top, row, right = top + row + GAP, 0, 0
        column = right + GAP if right else 0
        corners[i] = (column, top)
        row, right, below = max(row, h), column + w, top + h
        wide = max(wide, right)
    width = next((w for w in WIDTHS if w >= wide), _up(wide, FURTHER))
    return corners, (_up(width, step), _up(top + row, step))


def _up(side: int, step: int) -> int:
    """The next multiple of a step."""
    return -(-side // step) * step


class Closer(Finder):
    """A network that looks at pieces of a photo. By itself it looks at all of it; an `Ensemble` tells it where (`at`).

    Args:
        detectors: (long side in px, detector), by rising long side: of the whole photo, at the largest scale at which
            its pieces are seen. Each sees pictures of any size as they are. The largest that a photo is worth looks,
            as in `MultiScale`.
        settings: iou_threshold, max_regions.
    """

    def __init__(self, detectors: Sequence[tuple[int, Calibrated]], settings: Settings) -> None:
        sides, first = [side for side, _ in detectors], detectors[0][1]
        self.name = f"closer:{first.name.rpartition('@')[0]}@{'-'.join(map(str, sides[:1] + sides[1:][-1:]))}"
        self.weights: Mapping[str, str] = dict(first.weights)
        self.kinds = kinds_of(first)
        self._detectors, self._settings = tuple((side, (side, d)) for side, d in detectors), settings
        self._step = WIDE_STEP if is_gpu(settings.device) else STEP

    def input_side(self, long_side: int) -> int:
        """The long side, px, that a whole photo of this long side would have."""
        return worth(self._detectors, long_side)[-1][0]

    def places(self, found: Detections, image: Image) -> list[Place]:
        """Where to look in an image in which others found this."""
        height, width = image.shape[:2]
        return places(found, self.kinds or (), (width, height), self.input_side(max(height, width)))

    def find(self, images: Sequence[Image]) -> list[Detections]:
        """See `Finder`."""
        whole = []
        for image in map(check, images):
            height, width = image.shape[:2]
            scale = self.input_side(max(height, width)) / max(height, width)
            whole.append([Place((0, 0, width, height), scale)])
        return self.look(images, whole)

    def at(self, some: Sequence[Sequence[Place]]) -> Detector:
        """The same detector, which looks at these places of the images that it is given next."""
        return _At(self, some)

    def look(self, images: Sequence[Image], where: Sequence[Sequence[Place]]) -> list[Detections]:
        """What these places of each image show."""
        out = [Detections.of([])] * len(images)
        for one in self._detectors:
            side, detector = one[1]
            numbers = [
                i
                for i, image in enumerate(images)
                if where[i] and worth(self._detectors, max(image.shape[:2]))[-1] == one[1]
            ]
            packed = [pack(images[i], where[i], side, self._step) for i in numbers]
            answers = find_all(detector.detector, [p.pixels for p in packed])
            for i, pieces, found in zip(numbers, packed, answers, strict=True):
                out[i] = self._back(images[i], pieces, detector, found)
        return out

    def _back(self, image: Image, packed: Packed, detector: Calibrated, found: Detections) -> Detections:
        """What the picture of pieces showed, in the image's pixels, with probabilities as scores."""
        numbers = packed.owners(found.boxes)
        found, numbers = found[numbers >= 0], numbers[numbers >= 0]
        found, scales = packed.back(found, numbers), packed.scales[numbers]
        seen = Detections.join(detector.calibrate(image, found[scales == s], s) for s in dict.fromkeys(scales.tolist()))
        likely = seen[seen.scores >= LIKELY].relabel(self.name)
        return likely.suppress(self._settings.iou_threshold)  # how many may be kept, who brings them together says


class _At(Finder):
    """See `Closer.at`."""

    def __init__(self, closer: Closer, some: Sequence[Sequence[Place]]) -> None:
        self.name, self.weights, self.kinds = closer.name, closer.weights, closer.kinds
        self._closer, self._places = closer, some

    def find(self, images: Sequence[Image]) -> list[Detections]:
        return self._closer.look([check(image) for image in images], self._places)
