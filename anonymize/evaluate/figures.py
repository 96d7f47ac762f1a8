"""What an evaluation says: shares and estimates with their confidence intervals, for each kind and each photo."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..extras import extra
from ..regions import Region
from .ground_truth import Truth


@dataclass(frozen=True, slots=True)
class Share:
    """`count` of `of`, and what that says about the rate behind it."""

    count: int
    of: int

    @property
    def rate(self) -> float | None:
        return self.count / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % confidence interval. Regions count as independent; those of one photo are a little alike."""
        if not self.of:
            return None
        with extra("evaluate", "measuring"):
            from scipy.stats import binomtest  # type: ignore[import-untyped]

        low, high = binomtest(self.count, self.of).proportion_ci(0.95, method="wilson")
        return float(low), float(high)

    def to_dict(self) -> dict[str, Any]:
        return {"count": self.count, "of": self.of, "rate": self.rate, "interval": self.interval}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % confidence interval: percentiles of a bootstrap over photos. None: nothing to measure."""

    value: float | None
    interval: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        return {"value": self.value, "interval": self.interval}


RESAMPLES, SEED = 500, 0  # of the bootstrap


def resamples(count: int) -> NDArray[np.int64]:
    """How often each photo (or clip) is drawn in each of the bootstrap's resamples, (RESAMPLES, count)."""
    if not count:
        return np.zeros((RESAMPLES, 0), np.int64)
    return np.random.default_rng(SEED).multinomial(count, [1 / count] * count, RESAMPLES)


def interval(values: NDArray[np.float64]) -> tuple[float, float] | None:
    """The 95 % in the middle of what the resamples give; None where none of them gives anything."""
    if np.isnan(values).all():
        return None
    low, high = np.nanquantile(values, (0.025, 0.975))
    return float(low), float(high)


def ratio(part: Any, whole: Any, drawn: NDArray[np.int64]) -> Estimate:
    """sum(part) / sum(whole), each an entry a photo (or clip), and its interval over the resamples `drawn`."""
    part, whole = np.asarray(part, dtype=float), np.asarray(whole, dtype=float)
    if not whole.sum():
        return Estimate(None)
    totals = drawn @ whole
    is_any = totals > 0
    return Estimate(float(part.sum() / whole.sum()), interval((drawn @ part)[is_any] / totals[is_any]))


@dataclass(frozen=True, slots=True)
class Point:
    """One kind's figures at one threshold, other kinds staying at theirs.

    `hidden_area`: the mean share of a photo's area that regions of this kind hide, 0–1.
    """

    threshold: float
    recall: float
    precision: float | None
    false_positives: float
    leak_rate: float
    miss_rate: float
    hidden_area: float


@dataclass(frozen=True)
class KindResult:
    """One kind's figures. Rates are at the current settings; AP and AR over all stored candidates.

    Attributes:
        photos: how many were measured. threshold: the current one; None: the settings do not hide this kind.
        recall, precision: by boxes, IoU 0.5, matched greedily by score as COCO does.
        false_positives: a photo; a detection of which half or more lies in an ignored box is none.
        leaks, misses: true regions of which less than 90 % (50 %) of the box is hidden; `by_height`: (leaks, misses) by
            the box's height in px.
        ap50, ar50: COCO's average precision and the recall of all candidates, at IoU 0.5.
        precision_recall: (recall, precision, score), COCO's 101 recalls as far as the candidates reach.
        curve: figures at `THRESHOLDS`.
        false_positive_scores: of all candidates, highest first.
    """

    kind: str
    photos: int
    threshold: float | None
    recall: Share
    precision: Share
    false_positives: Estimate
    leaks: Share
    misses: Share
    by_height: dict[str, tuple[Share, Share]]
    ap50: Estimate
    ar50: float | None
    precision_recall: tuple[tuple[float, float, float], ...]
    curve: tuple[Point, ...]
    false_positive_scores: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        shares = ("recall", "precision", "leaks", "misses", "false_positives", "ap50")
        heights = {n: {"leaks": a.to_dict(), "misses": b.to_dict()} for n, (a, b) in self.by_height.items()}
        return {
            "kind": self.kind,
            "threshold": self.threshold,
            "truths": self.leaks.of,
            **{name: getattr(self, name).to_dict() for name in shares},
            "ar50": self.ar50,
            "by_height": heights,
            "precision_recall": [list(p) for p in self.precision_recall],
            "curve": [dataclasses.asdict(p) for p in self.curve],
        }


@dataclass(frozen=True)
class PhotoResult:
    """One photo at the current settings.

    Attributes:
        detections: the regions that are hidden. truths: what is really there, in px of the photo.
        covered: for each truth the share of its box that is hidden, 0–1.
        matches: (index of a detection, index of a truth) pairs. ignored: detections that belong to an ignored truth.
        error: why the photo is withheld (then nothing of it is counted), or None.
    """

    path: str
    detections: tuple[Region, ...] = ()
    truths: tuple[Truth, ...] = ()
    covered: tuple[float, ...] = ()
    matches: tuple[tuple[int, int], ...] = ()
    ignored: tuple[int, ...] = ()
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "detections": [d.to_dict() for d in self.detections],
            "truths": [{**t.to_dict(), "covered": c} for t, c in zip(self.truths, self.covered, strict=True)],
            "matches": [list(m) for m in self.matches],
            "ignored": list(self.ignored),
            "error": self.error,
        }


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        photos: one result each, withheld ones too, in the annotations' order.
        kinds: the kinds of which something is annotated; of another, every detection would look like a false positive.
        clean: photos in which nothing leaks, of those measured.
        over_blurred, true_area: mean share of a photo's area that is hidden outside all annotated boxes, and that
            lies in them (ignored ones too), 0–1. Withheld photos do not count.
        unknown: class name -> annotated boxes of a class that is no kind; they were left out.
        unannotated: photos without annotations; they were left out.
    """

    photos: tuple[PhotoResult, ...]
    kinds: dict[str, KindResult]
    clean: Share
    over_blurred: Estimate
    true_area: Estimate
    unknown: dict[str, int]
    unannotated: int

    @property
    def withheld(self) -> dict[str, str]:
        """Path -> why there is no output of it. A withheld photo is neither clean nor leaking."""
        return {p.path: p.error for p in self.photos if p.error is not None}

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; per-photo results are apart (`reports.write_json_lines`)."""
        return {
            "photos": len(self.photos),
            "withheld": self.withheld,
            "clean": self.clean.to_dict(),
            "over_blurred": self.over_blurred.to_dict(),
            "true_area": self.true_area.to_dict(),
            "unknown_classes": self.unknown,
            "unannotated": self.unannotated,
            "kinds": {name: k.to_dict() for name, k in self.kinds.items()},
        }
