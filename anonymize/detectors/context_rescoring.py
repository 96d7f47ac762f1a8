"""Signs look like plates, wheels and lamps like faces; but plates are on vehicles, and small faces on persons.

A logistic regression over the score of a plate or face and over what is around it gives the score anew. Its weights
stand in context.json, fitted across sources by models/recipes/context.py. It is evidence and no veto: a surer region
never ends below a less sure one with the same things around it, and none loses more than `most_lost` in log-odds: so a
clear plate is hidden wherever it is, on what no network takes for a vehicle, or too close to show one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..probability import log_odds, sigmoid
from ..regions import Box, Region
from ..settings import MIN_THRESHOLD
from .detector import Detector, Image, kinds_of
from .wrapper import detect_all

MARGIN = 0.1  # of the box of a vehicle or person on each side
# Share of the photo's long side: a face up to FAR is small among its surroundings, one from NEAR on is not.
FAR, NEAR = 0.015, 0.035
FEATURES: Mapping[str, tuple[str, ...]] = {
    "face": ("bias", "score", "head"),
    "plate": ("bias", "score", "vehicle", "person"),
}
_FITTED = json.loads((Path(__file__).parents[1] / "context.json").read_text("utf-8"))
WEIGHTS: dict[str, tuple[float, ...]] = {
    kind: tuple(_FITTED[kind][n] for n in names) for kind, names in FEATURES.items()
}
MOST_LOST: float = _FITTED["most_lost"]


class ContextRescoring:
    """A detector whose plates and faces are believed more, or less, for what is around them.

    Args:
        detector: gives them, with probabilities as scores, and vehicles and persons (an `Ensemble` with coco, say).
    """

    def __init__(self, detector: Detector) -> None:
        self.name = f"in-context:{detector.name}"
        self.weights: Mapping[str, str] = dict(detector.weights)
        self.kinds = kinds_of(detector)
        self._detector = detector

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        """See `Detector.detect`."""
        answers = detect_all(self._detector, images)
        return [rescore(found, max(image.shape[:2])) for image, found in zip(images, answers, strict=True)]


def at_head(face: Box, person: Box) -> bool:
    """Whether a face lies where a person has the head, in a size that fits."""
    (x1, y1, x2, y2), (left, top, right, bottom) = face, person
    x, y, tall, high = (x1 + x2) / 2, (y1 + y2) / 2, y2 - y1, bottom - top
    reaches = top - 0.05 * high <= y < top + max(0.3 * high, 0.6 * tall)
    return left <= x < right and reaches and 0.05 * high < tall < 0.6 * high


def around(plate: Box, other: Region) -> bool:
    """Whether a plate's center lies in a vehicle or person, or just beside it."""
    x, y = (plate[0] + plate[2]) / 2, (plate[1] + plate[3]) / 2
    (x1, y1, x2, y2), dx, dy = other.box, MARGIN * other.width, MARGIN * other.height
    return x1 - dx <= x < x2 + dx and y1 - dy <= y < y2 + dy


def features(region: Region, found: Sequence[Region], long_side: int) -> tuple[float, ...]:
    """What is known of a plate or face, as its kind's FEATURES: 1, its log-odds, then scores of what is around it.

    Args:
        found: vehicles and persons; others do not count.
        long_side: px, of the image.
    """

    def best(kind: str, fits: Callable[[Region], bool]) -> float:
        top = 0.0
        for r in found:
            if r.score > top and r.kind == kind and fits(r):
                top = r.score
        return top

    if region.kind == "plate":
        scores = [best(kind, lambda r: around(region.box, r)) for kind in ("vehicle", "person")]
    else:  # a large face needs no body, and often shows none
        far = min(max((NEAR - region.height / long_side) / (NEAR - FAR), 0.0), 1.0)
        scores = [far * best("person", lambda r: at_head(region.box, r.box)) if far else 0.0]
    return (1.0, log_odds(region.score), *scores)


def rescore(found: Sequence[Region], long_side: int) -> list[Region]:
    """Regions of one image, its plates and faces with new scores; best first.

    Args:
        long_side: px, of the image.
    """
    helpers = sorted((r for r in found if r.kind in ("vehicle", "person")), key=lambda r: -r.score)
    out = []
    for r in found:
        if weights := WEIGHTS.get(r.kind):
            odds = sum(w * v for w, v in zip(weights, features(r, helpers, long_side), strict=True))
            r = r.replace(score=max(sigmoid(max(odds, log_odds(r.score) - MOST_LOST)), MIN_THRESHOLD))
        out.append(r)
    return sorted(out, key=lambda r: -r.score)
