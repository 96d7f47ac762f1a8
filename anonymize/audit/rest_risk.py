"""What may still leak in an exported photo: the risk model's estimate, what such estimates were worth, and where.

The model (`anonymize.risk`) says how likely at least one face or plate leaks. How often that came true was counted on
517 photos with marked faces and plates (street photos, dash-cam frames, photos of masked faces, photos without plates)
on which no network was trained, with the preset `balanced` of 2026-11-29, and nobody's corrections; each photo's risk
by what others taught (`bench/review_queue.py fit`). A photo leaks when less than 90 % of a marked box is hidden.
The preset's sizes and thresholds, and the calibration of `street`, were chosen on these photos: others may leak more.
`bench/worth_a_look.py` counts it anew, and says whether the intervals hold on other photos.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import risk
from ..records import Record
from ..regions import Box, areas, intersections
from ..settings import Settings
from .findings import Finding

# Up to which estimate -> of so many photos, so many leaked. (Up to 0.05: 7 of 199, as many as up to 0.1: one class.)
MEASURED: Sequence[tuple[float, int, int]] = (
    (0.1, 300, 11), (0.2, 122, 17), (0.4, 77, 15), (1.0, 18, 7),
)  # fmt: skip
RESTS_ON = (
    "A model of risk looks at what was found and not hidden, and puts each photo into one of four classes. The "
    "estimate is the share of photos of its class that leaked among 517 photos with marked faces and plates (95 % "
    "interval: Wilson), with the preset balanced and nobody's corrections. Photos of another kind, and other "
    "presets, may leak more or less."
)
Z = 1.96
MOST = 3  # places of a photo: as many as the review names at first
SAME = 0.5  # of the smaller of two boxes inside the other: one place


@dataclass(frozen=True)
class Rest:
    """Probability that a photo still shows a face or plate, 0–1.

    Attributes:
        estimate: of the photos that were measured, and of which the model said the like, the share that leaked.
        low, high: its 95 % interval.
    """

    estimate: float
    low: float
    high: float

    def to_dict(self) -> dict[str, Any]:
        return {k: round(v, 4) for k, v in (("estimate", self.estimate), ("low", self.low), ("high", self.high))}


def of_photo(record: Record, settings: Settings) -> Rest:
    said = risk.at_least_one(r.p for r in risk.misses(record, settings))
    _, photos, leaked = next(m for m in MEASURED if said <= m[0] or m is MEASURED[-1])
    return Rest(leaked / photos, *wilson(leaked, photos))


def open_places(record: Record, settings: Settings, told: Iterable[Finding]) -> Iterator[Finding]:
    """What a photo that is worth a look leaves open, likeliest first, but for places of which something is told.

    No network is asked: these are the detection's own candidates, under the threshold.
    """
    _, reasons = risk.worth_a_look(record, settings) or (0.0, [])
    known = [(f.kind, f.box) for f in told if f.box is not None]
    for reason in reasons[:MOST]:
        if not any(kind == reason.kind and reason.box and _is_same(reason.box, box) for kind, box in known):
            yield Finding("open", "look", reason.sentence, reason.box, reason.kind, reason.p)


def _is_same(one: Box, other: Box) -> bool:
    a, b = np.array([one]), np.array([other])
    return bool(intersections(a, b)[0, 0] >= SAME * max(min(areas(a)[0], areas(b)[0]), 1e-9))


def of_batch(each: Sequence[Rest]) -> Rest:
    """The mean of photos: the share of them that is expected to leak."""
    if not each:
        return Rest(0.0, 0.0, 1.0)
    estimates, lows, highs = zip(*((r.estimate, r.low, r.high) for r in each), strict=True)
    return Rest(sum(estimates) / len(each), sum(lows) / len(each), sum(highs) / len(each))


def wilson(k: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share, k of n."""
    if not n:
        return 0.0, 1.0
    p, z2 = k / n, Z * Z
    center = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, center - half), min(1.0, center + half)
