"""Signs, stickers and shop fronts look like plates; but plates are on vehicles. What is around one counts as evidence.

A logistic regression over the plate's score and over the surest vehicle and person around it gives the score anew. Its
weights stand in context.json, fitted across sources by models/recipes/context.py. It is evidence and no veto: a surer
plate never ends below a less sure one with the same things around it, and none loses more than `most_lost` in
log-odds: so a clear plate is hidden wherever it is, on what no network takes for a vehicle, or too close to show one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..probability import log_odds, sigmoid
from ..regions import Region
from ..settings import MIN_THRESHOLD
from .detector import Detector, Image, kinds_of
from .wrapper import detect_all

MARGIN = 0.1  # of the box of a vehicle or person on each side
FEATURES = ("bias", "score", "vehicle", "person")
_FITTED = json.loads((Path(__file__).parents[1] / "context.json").read_text("utf-8"))
WEIGHTS: tuple[float, ...] = tuple(_FITTED["plate"][name] for name in FEATURES)
MOST_LOST: float = _FITTED["most_lost"]


class ContextRescoring:
    """A detector whose plates are believed more, or less, for what is around them.

    Args:
        detector: gives plates, with probabilities as scores, and vehicles and persons (an `Ensemble` with coco, say).
    """

    def __init__(self, detector: Detector) -> None:
        self.name = f"in-context:{detector.name}"
        self.weights: Mapping[str, str] = dict(detector.weights)
        self.kinds = kinds_of(detector)
        self._detector = detector

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        """See `Detector.detect`."""
        return [rescore(found) for found in detect_all(self._detector, images)]


def features(plate: Region, around: Sequence[Region]) -> tuple[float, ...]:
    """What is known of a plate, as FEATURES: 1, its log-odds, the best score of a vehicle and of a person around it."""
    x, y = (plate.box[0] + plate.box[2]) / 2, (plate.box[1] + plate.box[3]) / 2

    def best(kind: str) -> float:
        grown = ((r.pad(MARGIN).box, r.score) for r in around if r.kind == kind)
        return max((s for (x1, y1, x2, y2), s in grown if x1 <= x < x2 and y1 <= y < y2), default=0.0)

    return 1.0, log_odds(plate.score), best("vehicle"), best("person")


def rescore(found: Sequence[Region]) -> list[Region]:
    """Regions of one image, its plates with new scores; best first."""
    out = []
    for r in found:
        if r.kind == "plate":
            odds = sum(w * v for w, v in zip(WEIGHTS, features(r, found), strict=True))
            r = r.replace(score=max(sigmoid(max(odds, log_odds(r.score) - MOST_LOST)), MIN_THRESHOLD))
        out.append(r)
    return sorted(out, key=lambda r: -r.score)
