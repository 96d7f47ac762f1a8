"""Scores that mean the same for every detector: the probability that something is there. And boxes that cover it.

Networks are sure of themselves in their own ways: at the same number of false positives RetinaFace's scores
lie near .45, CenterFace's near .33, a plate network's near .1; and what is small in the network's input, or cut by the
photo's edge, is less likely a thing than its score says. A logistic regression on the score's log-odds (Platt 1999),
the height and the edge undoes all three. `bench/calibration.py` fits it; models/registry.toml keeps it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError
from ..probability import Floats, log_odds, sigmoid
from ..settings import MIN_THRESHOLD, UNLIKELY
from .detections import Detections
from .detector import Detector, Image, kinds_of
from .runtime import NetworkDetector
from .wrapper import Finder, find_all

SMALL = 32.0  # px, the height at which `size` counts for nothing
SIDE = 640  # px, the long side at which `scale` counts for nothing
EDGE = 2.0  # px of the photo: a box that begins or ends within it is taken to be cut


@dataclass(frozen=True, slots=True)
class Calibration:
    """P(something is there) = sigmoid(bias + slope · log-odds(score) + size · log2(height / 32 px) + edge, if cut + …).

    Attributes:
        bias, slope, size: of the regression; slope > 0, so that the order of two regions of one height stays.
        margin: how far each side of a box moves outward, as a fraction of the box's width or height.
        slack: px of the network's input by which each side moves outward, too: a network places a box no better than
            to a fraction of its cells, which is much for what is small in its input and nothing for what is large.
        edge: of the regression; counts for boxes that reach the photo's edge.
        scale: of the regression; counts for each doubling of the input's long side from SIDE, which shows a network
            more that only looks like what it looks for.

    Raises:
        SettingsError: numbers that are not finite, a slope that is not positive, a negative margin or slack.
    """

    bias: float
    slope: float
    size: float = 0.0
    margin: float = 0.0
    slack: float = 0.0
    edge: float = 0.0
    scale: float = 0.0

    def __post_init__(self) -> None:
        values = [getattr(self, name) for name in self.__slots__]
        if not all(isinstance(v, (int, float)) and math.isfinite(v) for v in values) or self.slope <= 0:
            raise SettingsError(f"a calibration is finite numbers with a slope above 0; received {values}")
        if self.margin < 0 or self.slack < 0:
            raise SettingsError(f"a calibration's margin and slack are at least 0; received {values[3:5]}")

    def probability(self, score: float, height: float, is_cut: bool = False) -> float:
        """A score (0–1) of a box that is `height` px high in the network's input -> 0–1.

        Args:
            is_cut: the box reaches the photo's edge (`reaches_edge`).
        """
        odds = self.bias + self.slope * log_odds(score) + self.size * math.log2(max(height, 1.0) / SMALL)
        return sigmoid(odds + self.edge * is_cut)

    def at(self, long_side: int) -> Calibration:
        """The same for an input of this long side, px, alone."""
        return dataclasses.replace(self, bias=self.bias + self.scale * math.log2(long_side / SIDE), scale=0.0)

    def min_score(self, long_side: int, probability: float = MIN_THRESHOLD) -> float:
        """The score below which no box in an input of this long side, px, has this probability (the least stored)."""
        help_ = max(self.size * math.log2(height / SMALL) for height in (1, long_side)) + max(self.edge, 0.0)
        return sigmoid((log_odds(probability) - self.bias - help_) / self.slope)

    def widen(self, boxes: Floats, factor: float) -> Floats:
        """Boxes (N, 4) with margin and slack added; `factor`: px of the network's input for one of the image."""
        by = (boxes[:, 2:] - boxes[:, :2]) * self.margin + self.slack / factor
        return np.hstack([boxes[:, :2] - by, boxes[:, 2:] + by])


def reaches_edge(boxes: Floats, width: float, height: float) -> NDArray[np.bool_]:
    """Which boxes (N, 4), px, begin or end at the edge of their photo, so that what they hold may be cut there."""
    ends = (boxes[:, :2] <= EDGE) | (boxes[:, 2:] >= np.array([width, height]) - EDGE)
    is_cut: NDArray[np.bool_] = np.any(ends, axis=1)
    return is_cut


class Calibrated(Finder):
    """A detector whose regions carry probabilities as scores, and boxes that cover what was found.

    `detector_scores` stay what the detector said.

    Args:
        detector: asked; each image is seen at `long_side`.
        calibrations: of this detector, by kind; regions of other kinds pass through unchanged.
        long_side: px, the network's input; turns heights in the image into those that the network saw.
        floor: probability below which what it sees is nothing.
    """

    def __init__(
        self,
        detector: Detector,
        calibrations: Mapping[str, Calibration],
        long_side: int,
        *,
        floor: float = MIN_THRESHOLD,
    ) -> None:
        self.name = detector.name
        self.weights: Mapping[str, str] = dict(detector.weights)
        self.kinds = frozenset({*calibrations, *(kinds_of(detector) or ())})
        calibrations = {kind: c.at(long_side) for kind, c in calibrations.items()}
        if calibrations and isinstance(detector, NetworkDetector):
            least, likely = (min(c.min_score(long_side, p) for c in calibrations.values()) for p in (floor, UNLIKELY))
            detector = detector.with_floor(least, likely)
        self.detector, self._calibrations, self._long_side, self._floor = detector, calibrations, long_side, floor

    def input_side(self, long_side: int) -> int:
        """The long side, px, at which the network sees any photo."""
        return self._long_side

    def find(self, images: Sequence[Image]) -> list[Detections]:
        """See `Finder`."""
        return [self.calibrate(i, found) for i, found in zip(images, find_all(self.detector, images), strict=True)]

    def calibrate(self, image: Image, found: Detections, factor: float | None = None) -> Detections:
        """What the detector said of an image, in its pixels, with probabilities as scores.

        Args:
            factor: px of the network's input for one of the image; None: that of the whole image.
        """
        height, width = image.shape[:2]
        factor = factor or self._long_side / max(height, width)
        scores, boxes, is_stored = found.scores.copy(), found.boxes.copy(), np.ones(len(found), bool)
        for kind, calibration in self._calibrations.items():
            rows = np.flatnonzero(found.kinds == kind)
            some = found.boxes[rows]
            heights, is_cut = (some[:, 3] - some[:, 1]) * factor, reaches_edge(some, width, height)
            seen = zip(scores[rows].tolist(), heights.tolist(), is_cut.tolist(), strict=True)
            scores[rows] = [calibration.probability(*one) for one in seen]
            is_stored[rows] = scores[rows] >= self._floor
            wide = calibration.widen(some, factor)
            boxes[rows] = np.hstack([np.maximum(wide[:, :2], 0), np.minimum(wide[:, 2:], [width, height])])
        return found.replace(scores=scores, boxes=boxes)[is_stored].best_first()
