"""What other thresholds would hide, without detecting or hiding again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from .records import Record
from .settings import MIN_THRESHOLD, Settings

Scores = NDArray[np.float64]


def hiding_scores(record: Record, settings: Settings, kind: str) -> Scores:
    """The threshold up to which each region of a kind is hidden; infinity for what a person drew or accepted.

    Rejected regions and those outside of the size limits are hidden at none, and left out.
    """
    return scores_under(record, lowest(settings, kind), kind)


def lowest(settings: Settings, kind: str) -> Settings:
    """The settings that hide the most of a kind."""
    return settings.with_kind(kind, threshold=MIN_THRESHOLD)


def scores_under(record: Record, low: Settings, kind: str) -> Scores:
    """`hiding_scores`, from `lowest` settings: for many records."""
    return np.array(
        [r.score if r.status == "auto" else np.inf for r in record.regions if r.kind == kind and low.hides(r)]
    )


def counts_at(scores: Iterable[Scores], threshold: float) -> NDArray[np.int64]:
    """How many regions each photo would hide, from its `hiding_scores`."""
    return np.array([np.count_nonzero(s >= threshold) for s in scores], dtype=np.int64)


def compare(scores: Sequence[Scores], now: float, then: float) -> tuple[int, int, int]:
    """What another threshold would do: regions hidden, photos with one, photos in which that is another number."""
    before, after = counts_at(scores, now), counts_at(scores, then)
    return int(after.sum()), int((after > 0).sum()), int((before != after).sum())
