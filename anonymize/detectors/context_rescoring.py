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

import numpy as np
from numpy.typing import NDArray

from ..probability import Floats, log_odds, sigmoid
from ..settings import MIN_THRESHOLD
from .detections import Detections
from .detector import Detector, Image, kinds_of
from .wrapper import Finder, find_all

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


class ContextRescoring(Finder):
    """A detector whose plates and faces are believed more, or less, for what is around them.

    Args:
        detector: gives them, with probabilities as scores, and vehicles and persons (an `Ensemble` with coco, say).
    """

    def __init__(self, detector: Detector) -> None:
        self.name = f"in-context:{detector.name}"
        self.weights: Mapping[str, str] = dict(detector.weights)
        self.kinds = kinds_of(detector)
        self._detector = detector

    def find(self, images: Sequence[Image]) -> list[Detections]:
        """See `Finder`."""
        answers = find_all(self._detector, images)
        return [rescore(found, max(image.shape[:2])) for image, found in zip(images, answers, strict=True)]


def at_head(faces: Floats, persons: Floats) -> NDArray[np.bool_]:
    """Whether faces (N, 4) lie where persons (M, 4) have the head, in a size that fits, as (N, M)."""
    x1, y1, x2, y2 = faces.T[:, :, None]
    left, top, right, bottom = persons.T
    x, y, tall, high = (x1 + x2) / 2, (y1 + y2) / 2, y2 - y1, bottom - top
    reaches = (top - 0.05 * high <= y) & (y < top + np.maximum(0.3 * high, 0.6 * tall))
    fits: NDArray[np.bool_] = (left <= x) & (x < right) & reaches & (0.05 * high < tall) & (tall < 0.6 * high)
    return fits


def around(plates: Floats, others: Floats) -> NDArray[np.bool_]:
    """Whether plates' (N, 4) centers lie in vehicles or persons (M, 4), or just beside them, as (N, M)."""
    centers, margins = (plates[:, None, :2] + plates[:, None, 2:]) / 2, MARGIN * (others[:, 2:] - others[:, :2])
    within = (others[:, :2] - margins <= centers) & (centers < others[:, 2:] + margins)
    is_around: NDArray[np.bool_] = np.all(within, axis=2)
    return is_around


def features(kind: str, found: Detections, long_side: int) -> Floats:
    """What is known of each plate or face found, as this kind's FEATURES (N, K): 1, log-odds, scores of what is around.

    Args:
        long_side: px, of the image.
    """
    of_kind = found[found.kinds == kind]

    def best(other: str, fits: Callable[[Floats, Floats], NDArray[np.bool_]]) -> Floats:
        some = found[found.kinds == other]
        top: Floats = np.where(fits(of_kind.boxes, some.boxes), some.scores, 0.0).max(axis=1, initial=0.0)
        return top

    if kind == "plate":
        scores = [best(other, around) for other in ("vehicle", "person")]
    else:  # a large face needs no body, and often shows none
        heights = of_kind.boxes[:, 3] - of_kind.boxes[:, 1]
        scores = [np.clip((NEAR - heights / long_side) / (NEAR - FAR), 0.0, 1.0) * best("person", at_head)]
    return np.stack([np.ones(len(of_kind)), [log_odds(score) for score in of_kind.scores.tolist()], *scores], axis=1)


def rescore(found: Detections, long_side: int) -> Detections:
    """What is found in one image, its plates and faces with new scores; best first.

    Args:
        long_side: px, of the image.
    """
    scores = found.scores.copy()
    for kind, weights in WEIGHTS.items():
        columns = features(kind, found, long_side).T
        odds = sum(weight * column for weight, column in zip(weights, columns, strict=True))
        odds = np.maximum(odds, columns[1] - MOST_LOST)
        scores[found.kinds == kind] = [max(sigmoid(one), MIN_THRESHOLD) for one in odds.tolist()]
    return found.replace(scores=scores).best_first()
