"""Which detections are which true regions: pycocotools' greedy matching, unpacked to one row per detection."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..regions import Region
from .ground_truth import Truth

IOU = 0.5  # overlap from which a detection can be one of a true region

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Matches:
    """All candidates of one kind in all photos; photo by photo, best score first.

    Attributes:
        photo, region, score: which photo, which of its regions, its score; each (N,).
        truth: (N,) index among its photo's truths; -1: none.
        ignored: (N,) it belongs to an ignored truth, so it is neither a hit nor a false positive.
        hidden: (N,) the current settings hide it.
        real: (photos,) true regions that are not ignored.
        ap, ar: COCO's average precision, and the recall of all candidates; None without true regions.
        precision_recall: (recall, precision, score) at COCO's 101 recalls, as far as the candidates reach.
    """

    photo: Ints
    region: Ints
    score: NDArray[np.float64]
    truth: Ints
    ignored: Bools
    hidden: Bools
    real: Ints
    ap: float | None
    ar: float | None
    precision_recall: tuple[tuple[float, float, float], ...]

    @property
    def hit(self) -> Bools:
        return (self.truth >= 0) & ~self.ignored

    @property
    def false(self) -> Bools:
        return (self.truth < 0) & ~self.ignored


def match(
    photos: Sequence[tuple[Sequence[Region], Sequence[Truth]]],
    kinds: Sequence[str],
    counts: Callable[[Region], bool],
    score: Callable[[Region], float],
    hides: Callable[[Region], bool],
) -> dict[str, Matches]:
    """Match candidates with truths of their kind, at IoU 0.5, best score first, each truth at most once.

    COCO's matching goes by descending score, so what it gives a candidate does not depend on weaker ones: one matching
    serves every threshold. A candidate of which half or more lies in an ignored box, and that matches no other, is
    ignored.

    Args:
        photos: the regions and the truths of each.
        kinds: those to match; regions of others are left out.
        counts: whether a region is a candidate. score: what it is ranked by. hides: whether it is hidden now.
    """
    if not photos or not kinds:
        return {}
    truths: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    places: list[int] = []  # id - 1 -> index in the photo; ids begin with 1, since pycocotools writes 0 for "no match"
    for i, (regions, real) in enumerate(photos):
        for j, t in enumerate(real):
            if t.kind in kinds:
                # pycocotools heeds iscrowd only; overlap with such a box is the share of the detection that lies in it.
                truths.append(_item(i, kinds.index(t.kind), t.box, id=len(places) + 1, iscrowd=int(t.ignore)))
                places.append(j)
        for j, r in enumerate(regions):
            if r.kind in kinds and counts(r):
                found.append(_item(i, kinds.index(r.kind), r.box, id=len(places) + 1, score=score(r)))
                places.append(j)
    scorer = _scored(truths, found, len(photos), len(kinds))
    return {kind: _unpack(scorer, k, photos, places, hides) for k, kind in enumerate(kinds)}


def _item(image: int, category: int, box: Sequence[float], **more: Any) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    size = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
    return {"image_id": image, "category_id": category, **size, **more}


def _scored(truths: list[dict[str, Any]], found: list[dict[str, Any]], images: int, categories: int) -> Any:
    """A COCOeval that has evaluated and accumulated."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    sides = []
    with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress there
        for annotations in (truths, found):
            coco = COCO()
            coco.dataset = {
                "images": [{"id": i} for i in range(images)],
                "categories": [{"id": k} for k in range(categories)],
                "annotations": annotations,
            }
            coco.createIndex()
            sides.append(coco)
        scorer = COCOeval(*sides, "bbox")
        scorer.params.iouThrs = np.array([IOU])
        scorer.params.areaRng, scorer.params.areaRngLbl = [[0, 1e10]], ["all"]
        scorer.params.maxDets = [max(1, len(found))]  # all, not COCO's 100: a region is hidden, however many there are
        scorer.evaluate()
        scorer.accumulate()
    return scorer


def _unpack(
    scorer: Any,
    category: int,
    photos: Sequence[tuple[Sequence[Region], Sequence[Truth]]],
    places: list[int],
    hides: Callable[[Region], bool],
) -> Matches:
    n = len(photos)
    cells = [(i, e) for i, e in enumerate(scorer.evalImgs[category * n : (category + 1) * n]) if e is not None]
    real = np.zeros(n, np.int64)
    for i, e in cells:
        real[i] = int(np.sum(e["gtIgnore"] == 0))

    def rows() -> Iterator[tuple[int, int, float, int, bool]]:
        for i, e in cells:
            for id_, s, m, ignored in zip(e["dtIds"], e["dtScores"], e["dtMatches"][0], e["dtIgnore"][0], strict=True):
                yield i, places[id_ - 1], s, places[int(m) - 1] if m else -1, bool(ignored)

    photo, region, score, truth, ignored = zip(*rows(), strict=True) if any(e["dtIds"] for _, e in cells) else ((),) * 5
    precision, scores = (scorer.eval[name][0, :, category, 0, 0] for name in ("precision", "scores"))
    points = zip(scorer.params.recThrs.tolist(), precision.tolist(), scores.tolist(), strict=True)
    return Matches(
        photo=np.array(photo, np.int64),
        region=np.array(region, np.int64),
        score=np.array(score, np.float64),
        truth=np.array(truth, np.int64),
        ignored=np.array(ignored, np.bool_),
        hidden=np.array([hides(photos[i][0][j]) for i, j in zip(photo, region, strict=True)], np.bool_),
        real=real,
        ap=float(precision.mean()) if real.any() else None,
        ar=float(scorer.eval["recall"][0, category, 0, 0]) if real.any() else None,
        precision_recall=tuple(p for p in points if p[1] > 0),
    )


def average_precision(hit: Bools, weight: Ints, real: int) -> float:
    """COCO's AP of detections by descending score, each counted `weight` times; pycocotools' where all weights are 1.

    pycocotools itself has no weights, and drawing photos anew through it would take seconds a resample.

    Args:
        hit: (N,) true or false positive; ignored detections are left out.
        weight: (N,) how often the detection's photo was drawn.
        real: true regions in the photos drawn.
    """
    if not real:
        return math.nan
    found = np.cumsum(hit * weight)
    precision = found / np.maximum(np.cumsum(weight), 1)
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)  # the best at this recall or a higher one
    return float(best[np.searchsorted(found / real, np.linspace(0, 1, 101), side="left")].mean())
