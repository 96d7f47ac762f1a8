"""A closer look, only at the places where something may be, and at each in the size that suits it.

Time grows with the square of the resolution, and most of a photo is sky, walls, and road. So an ensemble looks at the
whole photo coarsely first. What it half sees, the heads of persons, and vehicles are then cut out with a margin, put
beside each other onto pages, and shown to the network: what is small at the resolution that a closer look has for the
whole photo, what is larger at half of it, a quarter, and so on. So a thing of any size is seen again, for the price of
a small one. A detector's silence counts where it looked and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from ..regions import Box
from ..settings import Settings
from .calibrated import Calibrated
from .candidates import check
from .detections import Detections
from .detector import Detector, Image, kinds_of
from .multi_scale import worth
from .pages import SIDES, Page, Place, Point, Window, pages
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
LIKELY = 0.003  # probability below which what a closer look sees is nothing


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
    return [Place(window, scale) for scale, some in by_scale.items() for window in together(some, SIDES[-1] / scale)]


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


def together(some: Sequence[Window], most: float = math.inf) -> list[Window]:
    """Windows that show no less: two become one where that one is no larger than both together.

    most: px; larger ones than this are only those that hold others.
    """
    out: list[Window] = []
    for window in sorted(set(some), key=_area, reverse=True):
        joined = window
        i = 0
        while i < len(out):
            a, b = joined, out[i]
            both = (min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]))
            is_small = max(both[2] - both[0], both[3] - both[1]) <= most
            if both in (a, b) or (is_small and _area(both) <= _area(a) + _area(b)):
                joined = both
                del out[i]
                i = 0  # the larger one may hold others, too
            else:
                i += 1
        out.append(joined)
    return out


def _area(window: Window) -> int:
    return (window[2] - window[0]) * (window[3] - window[1])


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
            shrink = self.kinds is not None and "plate" not in self.kinds
            made = [(i, page) for i in numbers for page in pages(images[i], where[i], side, shrink=shrink)]
            answers = find_all(detector.detector, [page.pixels for _, page in made])
            seen: dict[int, list[Detections]] = {i: [] for i in numbers}
            for (i, page), found in zip(made, answers, strict=True):
                seen[i] += _back(images[i], page, detector, found)
            for i in numbers:
                joined = Detections.join(seen[i])
                likely = joined[joined.scores >= LIKELY].relabel(self.name)
                out[i] = likely.suppress(self._settings.iou_threshold)  # how many are kept, who joins them says
        return out


def _back(image: Image, page: Page, detector: Calibrated, found: Detections) -> Iterator[Detections]:
    """What a page showed, in the image's pixels, with probabilities as scores, for each scale of its pieces."""
    numbers = page.owners(found.boxes)
    found, numbers = found[numbers >= 0], numbers[numbers >= 0]
    found, scales = page.back(found, numbers), page.scales[numbers]
    return (detector.calibrate(image, found[scales == s], s) for s in dict.fromkeys(scales.tolist()))


class _At(Finder):
    """See `Closer.at`."""

    def __init__(self, closer: Closer, some: Sequence[Sequence[Place]]) -> None:
        self.name, self.weights, self.kinds = closer.name, closer.weights, closer.kinds
        self._closer, self._places = closer, some

    def find(self, images: Sequence[Image]) -> list[Detections]:
        return self._closer.look([check(image) for image in images], self._places)
