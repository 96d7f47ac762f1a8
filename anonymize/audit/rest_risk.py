"""What may still leak in an exported photo: the risk model's estimate, and what such estimates were worth.

The model (`anonymize.risk`) says how likely at least one face or plate leaks. How often that came true was counted on
300 photos with marked faces or plates (58 street photos, 98 dash-cam frames, 100 photos of masked faces, 44 photos
without plates) with the preset `balanced` as it was before it had the network `street`, and nobody's corrections; a
photo leaks when less than 90 % of a marked box is hidden. Photos of other kinds may be worse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import risk
from ..records import Record
from ..settings import Settings

# Up to which estimate -> of so many photos, so many leaked.
MEASURED: Sequence[tuple[float, int, int]] = (
    (0.05, 104, 2), (0.2, 73, 8), (0.4, 56, 9), (0.7, 46, 14), (1.0, 21, 13),
)  # fmt: skip
RESTS_ON = (
    "The estimate is the program's risk model on the candidates that were not hidden. The interval (95 %, Wilson) is "
    "how many of 300 photos with marked faces or plates and such an estimate leaked, with an earlier preset balanced "
    "(before the network street) and no corrections. It is no guarantee: photos of another kind may leak more."
)
Z = 1.96


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
