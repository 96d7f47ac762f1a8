"""Probabilities and their log-odds, for single numbers and for arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST = 1e-4  # a probability is held within this of 0 and 1: a network that says 1.0 is not infinitely sure
Floats = NDArray[np.floating]


def log_odds(probability: float) -> float:
    """log(p / (1 - p))."""
    p = min(max(probability, LEAST), 1 - LEAST)
    return math.log(p / (1 - p))


def logit(probability: Floats) -> NDArray[np.float64]:
    """`log_odds` of each element."""
    p = np.clip(probability, LEAST, 1 - LEAST)
    out: NDArray[np.float64] = np.log(p / (1 - p))
    return out


def sigmoid(odds: float) -> float:
    """1 / (1 + e^-x)."""
    return 1 / (1 + math.exp(-odds)) if odds > -700 else 0.0


def expit(odds: Floats) -> Any:
    """`sigmoid` of each element; where e^-x would be more than a float32 holds, as good as 0."""
    return 1 / (1 + np.exp(np.minimum(-odds, 80)))
