"""A photo that lies on its side without saying so in EXIF is turned before it is looked at.

Networks learn from upright photos and see little on others: of plates on phone pictures on their side nearly all leak.
A cheap look at a small copy in four turns tells how it lies: vehicles, persons, faces and plates are seen best upright.
Where that does not tell clearly, the photo is looked at both ways.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..probability import log_odds
from ..regions import Point, Region
from ..settings import Settings
from .candidates import check
from .detector import Detector, Image, kinds_of
from .wrapper import detect_all, merge_detections

# What looks at the small copies. Vehicles and persons alone tell of photos on their side: of streets .85, of a dash cam
# .48, of people in masks .65; with faces .96 of the last; with plates, too, .94 and .88 of the first two.
LOOK_SIDE = 320  # px; their scores are those of the networks as published
SEEN = 0.1  # score from which something counts
LEAD = 3.0  # log-odds by which a turn must lead the photo as it came, else the photo is looked at both ways


class Upright:
    """A detector that sees photos turned upright; its regions are those of the photo as it came.

    Args:
        detector: looks at the upright photo.
        lookers: look at it in four turns, at a small size; what they see counts, whatever its kind.
        settings: iou_threshold, max_regions.
    """

    def __init__(self, detector: Detector, lookers: Sequence[Detector], settings: Settings) -> None:
        self.name = f"upright:{detector.name}"
        self.weights: Mapping[str, str] = {**detector.weights, **{k: v for d in lookers for k, v in d.weights.items()}}
        self.kinds = kinds_of(detector)
        self._detector, self._lookers, self._settings = detector, list(lookers), settings

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        """See `Detector.detect`."""
        return [self._look(check(image)) for image in images]

    def _look(self, image: Image) -> list[Region]:
        height, width = image.shape[:2]
        found = [
            [turn_back(r, turns, width, height) for r in detect_all(self._detector, [turn(image, turns)])[0]]
            for turns in choose(self.amounts(image))
        ]
        if len(found) == 1:
            return found[0]
        return merge_detections([r for some in found for r in some], self.name, self._settings)

    def amounts(self, image: Image) -> list[float]:
        """The `evidence` in an image after 0, 1, 2 and 3 quarter turns."""
        copies = [turn(image, turns) for turns in range(4)]
        return [evidence([r for d in self._lookers for r in detect_all(d, [copy])[0]]) for copy in copies]


def evidence(found: Sequence[Region]) -> float:
    """How much speaks for an image being upright: the log-odds of all that is seen in it, from `SEEN` on."""
    return float(sum(log_odds(r.score) - log_odds(SEEN) for r in found if r.score > SEEN))


def choose(amounts: Sequence[float]) -> tuple[int, ...]:
    """Quarter turns (0–3, counterclockwise) that may make a photo upright: one, or two where it is not clear.

    Args:
        amounts: `evidence` after 0, 1, 2 and 3 quarter turns.
    """
    best = int(np.argmax(amounts))
    return (best,) if best == 0 or amounts[best] >= amounts[0] + LEAD else (0, best)


def turn(image: Image, turns: int) -> Image:
    """An image after quarter turns counterclockwise."""
    return np.ascontiguousarray(np.rot90(image, turns))


def turn_back(region: Region, turns: int, width: int, height: int) -> Region:
    """A region of the turned image, in the pixels of the image as it came, which is `width` x `height` px."""
    if turns == 0:
        return region

    def back(point: Point) -> Point:
        x, y = point
        return ((width - y, x), (width - x, height - y), (y, height - x))[turns - 1]

    def points(given: tuple[Point, ...] | None) -> tuple[Point, ...] | None:
        return given and tuple(map(back, given))

    (ax, ay), (bx, by) = back(region.box[:2]), back(region.box[2:])
    box = (min(ax, bx), min(ay, by), max(ax, bx), max(ay, by))
    return region.replace(box=box, corners=points(region.corners), landmarks=points(region.landmarks), id="")
