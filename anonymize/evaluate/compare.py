"""Detectors side by side on the same annotated photos, each at its own threshold or at equal false positives."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .. import masks
from ..records import Record
from ..regions import Region
from ..settings import MIN_THRESHOLD, Settings
from . import Evaluation, KindResult, evaluate
from .ground_truth import Annotations


@dataclass(frozen=True)
class Contender:
    """One detector, or several together, to be measured.

    Attributes:
        label: what the table calls it. size: its input size ("1024"), "" where it has none.
        settings: thresholds, growth and masks that an export would use.
        detect: returns a record for each photo, with all candidates, and the detectors' time in ms per photo.
        kinds: what it looks for; others are not its fault. Empty: every kind that is annotated.
    """

    label: str
    size: str
    settings: Settings
    detect: Callable[[], tuple[Iterable[Record], float]]
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """A measured contender; `kinds` are those of its figures that count."""

    label: str
    size: str
    ms: float
    kinds: tuple[str, ...]
    evaluation: Evaluation

    def to_dict(self) -> dict[str, Any]:
        return {"label": self.label, "size": self.size, "ms": self.ms, **self.evaluation.to_dict()}


def compare(
    contenders: Sequence[Contender],
    annotations: Annotations,
    false_positives: float | None = None,
    progress: Callable[[str], None] = lambda label: None,
    *,
    hidden_area: float | None = None,
    curves: bool = False,
) -> list[Row]:
    """Run and evaluate each contender.

    Args:
        contenders: in the order of the table. They run one after the other, so that their times compare.
        annotations: of the photos that they look at.
        false_positives: where given: each kind's threshold is the lowest with at most so many false positives per photo
            (`tune_to_false_positives`), so that detectors whose scores mean different things can be compared.
        progress: called with each contender's label before it runs.
        hidden_area: where given, each kind's threshold is the lowest at which its regions hide at most this share of
            the photos' area on average, 0–1 (`tune_to_area`): what leaks at the same price.
        curves: also figures at every threshold, for `plots.contenders`.

    Raises:
        AnnotationError: the annotations do not fit the photos.
    """
    rows = []
    for contender in contenders:
        progress(contender.label)
        records, ms = contender.detect()
        records = list(records)
        kinds = tuple(k for k in annotations.kinds if not contender.kinds or k in contender.kinds)
        settings = contender.settings
        if false_positives is not None:
            settings = tune_to_false_positives(records, annotations, settings, false_positives, kinds)
        if hidden_area is not None:
            settings = tune_to_area(records, annotations, settings, hidden_area, kinds)
        evaluation = evaluate(records, annotations, settings, curves=curves)
        rows.append(Row(contender.label, contender.size, ms, kinds, evaluation))
    return rows


def tune_to_false_positives(
    records: Iterable[Record],
    annotations: Annotations,
    settings: Settings,
    false_positives: float,
    kinds: Iterable[str] | None = None,
) -> Settings:
    """The settings with each kind's threshold as low as at most this many false positives per photo allow.

    A kind with more even at the highest threshold gets that one, 1.0.
    """
    # Which photos are crowds depends on the thresholds that are looked for, so here all are measured.
    results = evaluate(records, annotations, settings, curves=False, crowds=True).kinds
    for name, result in results.items():
        if name in settings.kinds and (kinds is None or name in kinds):
            settings = settings.with_kind(name, threshold=best_threshold(result, false_positives) or 1.0)
    return settings


def tune_to_area(
    records: Sequence[Record], annotations: Annotations, settings: Settings, area: float, kinds: Iterable[str]
) -> Settings:
    """The settings with each kind's threshold, to three decimals, as low as this mean hidden share of the area allows.

    A kind that hides more even at the highest threshold gets that one, 1.0.
    """
    measured = [r for r in records if r.error is None and r.path in annotations.photos]
    for kind in kinds:
        low, high = round(MIN_THRESHOLD * 1000), 1000  # in thousandths; hidden areas fall as thresholds rise
        while low < high:
            middle = (low + high) // 2
            trial = settings.with_kind(kind, threshold=middle / 1000)
            hidden = (_area([r for r in m.regions if r.kind == kind], trial, m) for m in measured)
            low, high = (middle + 1, high) if sum(hidden) > area * len(measured) else (low, middle)
        settings = settings.with_kind(kind, threshold=low / 1000)
    return settings


def _area(regions: Sequence[Region], settings: Settings, record: Record) -> float:
    return float(masks.coverage(regions, settings, record.width, record.height).mean()) if regions else 0.0


def best_threshold(result: KindResult, false_positives: float) -> float | None:
    """The lowest threshold, to three decimals, with at most this many false positives per photo.

    One threshold for all photos. None when there are more even at 1.0.
    """
    allowed = math.floor(false_positives * result.photos + 1e-9)
    if len(result.false_positive_scores) <= allowed:
        return MIN_THRESHOLD
    first_refused = result.false_positive_scores[allowed]
    threshold = (math.floor(first_refused * 1000 + 1e-9) + 1) / 1000
    return threshold if threshold <= 1.0 else None
