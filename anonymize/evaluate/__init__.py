"""How good the settings are, measured on annotated photos: recall, average precision, and above all what leaks.

Matching, AP and AR are pycocotools', so they are what the field means by these words. A leak is measured on pixels, not
on overlaps: a true region leaks when less than 90 % of its box would be hidden by an export, by regions of any kind.
This module knows no detector: it takes records, ground truth and settings.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import masks
from ..errors import AnnotationError
from ..hiding import max_regions_reached
from ..records import Record
from ..regions import Region
from ..settings import MIN_THRESHOLD, Settings
from .figures import Estimate, Evaluation, KindResult, PhotoResult, Point, Share, interval, ratio, resamples
from .ground_truth import Annotations, Truth
from .matching import Matches, average_precision, match

__all__ = ["Estimate", "Evaluation", "KindResult", "PhotoResult", "Point", "Share", "evaluate"]

# A true region of which a smaller share is covered leaks, or was missed.
LEAK_COVERAGE, MISS_COVERAGE = 0.9, 0.5
HEIGHTS = (("<8", 0.0, 8.0), ("8–16", 8.0, 16.0), ("16–32", 16.0, 32.0), ("32–64", 32.0, 64.0), (">64", 64.0, math.inf))
THRESHOLDS: tuple[float, ...] = tuple(round(float(t), 4) for t in np.geomspace(MIN_THRESHOLD, 1.0, 25))


@dataclass(frozen=True)
class _Measured:
    """One photo that is not withheld: its record, its truths in its pixels, and what the settings hide in it."""

    record: Record
    truths: tuple[Truth, ...]
    covered: tuple[float, ...]
    for_nothing: float
    true_area: float


def evaluate(
    records: Iterable[Record],
    annotations: Annotations,
    settings: Settings,
    *,
    curves: bool = True,
    crowds: bool = False,
) -> Evaluation:
    """Compare what was found with what is there.

    A photo without a record, whose record has an error, or in which an export finds max_regions reached, has no
    output: it is withheld, never "nothing found".

    Args:
        records: with all their candidates; paths as in `annotations`. Others are left out.
        settings: thresholds, growth, masks and max_regions that an export would use.
        curves: also the figures at every one of `THRESHOLDS` (the slow part).
        crowds: measure crowds, too.

    Raises:
        AnnotationError: a box outside its photo, or written for a photo of another shape.
    """
    by_path = {r.path: r for r in records}
    withheld: dict[str, str] = {}
    measured: list[_Measured] = []
    for path, photo in annotations.photos.items():
        record = by_path.get(path)
        if record is None:
            withheld[path] = (
                "the photo is not in the folder" if path in annotations.missing else "there is no record of it"
            )
        elif record.error is not None:
            withheld[path] = record.error
        elif not crowds and (reason := max_regions_reached(record.regions, settings)):
            withheld[path] = reason
        else:
            try:
                measured.append(_measure(record, photo.at(record.width, record.height), settings))
            except AnnotationError as e:
                raise AnnotationError(f"{path}: {e}") from e
    opened = _candidates(annotations.kinds, settings)
    matched = match(
        [(m.record.regions, m.truths) for m in measured], annotations.kinds, opened.hides, _score, settings.hides
    )
    drawn, one = resamples(len(measured)), np.ones(len(measured))
    kinds = {name: _kind_result(name, m, measured, settings, drawn, curves) for name, m in matched.items()}
    results = {m.record.path: _photo_result(i, m, matched, settings) for i, m in enumerate(measured)}
    clean = sum(all(c >= LEAK_COVERAGE or t.ignore for t, c in zip(m.truths, m.covered, strict=True)) for m in measured)
    return Evaluation(
        photos=tuple(results.get(p) or PhotoResult(p, error=withheld[p]) for p in annotations.photos),
        kinds=kinds,
        clean=Share(clean, len(measured)),
        over_blurred=ratio([m.for_nothing for m in measured], one, drawn),
        true_area=ratio([m.true_area for m in measured], one, drawn),
        unknown=dict(annotations.unknown),
        unannotated=len(annotations.unannotated),
    )


def whole_pixels(box: Sequence[float]) -> tuple[slice, slice]:
    """A box's whole pixels as (rows, columns), rounded outward."""
    x1, y1, x2, y2 = (max(0, v) for v in box)
    return slice(int(y1), math.ceil(y2)), slice(int(x1), math.ceil(x2))


def _measure(record: Record, truths: tuple[Truth, ...], settings: Settings) -> _Measured:
    hidden = masks.coverage(record.regions, settings, record.width, record.height)
    true = np.zeros_like(hidden)
    for t in truths:
        if min(t.box[2:]) <= 0 or t.box[0] >= record.width or t.box[1] >= record.height:
            raise AnnotationError(f"box {t.id} lies outside the photo, which is {record.width}x{record.height} px")
        true[whole_pixels(t.box)] = True
    covered = tuple(float(hidden[whole_pixels(t.box)].mean()) for t in truths)
    return _Measured(record, truths, covered, float((hidden & ~true).mean()), float(true.mean()))


def _candidates(kinds: Iterable[str], settings: Settings) -> Settings:
    """The settings, with the threshold of every kind at the floor."""
    names = [*settings.kinds, *kinds]
    return settings.replace(kinds={n: dataclasses.replace(settings.kind(n), threshold=MIN_THRESHOLD) for n in names})


def _score(region: Region) -> float:
    """What a threshold compares with: what a person drew or accepted is hidden at every one."""
    return region.score if region.status == "auto" else 1.0


def _photo_result(i: int, photo: _Measured, matched: dict[str, Matches], settings: Settings) -> PhotoResult:
    shown = [j for j, r in enumerate(photo.record.regions) if settings.hides(r)]
    place = {j: n for n, j in enumerate(shown)}
    matches: list[tuple[int, int]] = []
    ignored: list[int] = []
    for m in matched.values():
        of_photo = (m.photo == i) & m.hidden
        hits = of_photo & m.hit
        matches += [(place[int(r)], int(t)) for r, t in zip(m.region[hits], m.truth[hits], strict=True)]
        ignored += [place[int(r)] for r in m.region[of_photo & m.ignored]]
    detections = tuple(photo.record.regions[j] for j in shown)
    found = tuple(sorted(matches)), tuple(sorted(ignored))
    return PhotoResult(photo.record.path, detections, photo.truths, photo.covered, *found)


def _kind_result(
    kind: str, m: Matches, photos: Sequence[_Measured], settings: Settings, drawn: NDArray[np.int64], curves: bool
) -> KindResult:
    real = int(m.real.sum())
    hits, false = int(np.sum(m.hit & m.hidden)), m.false & m.hidden
    rows = [
        (round(t.box[3] - t.box[1], 6), c)
        for p in photos
        for t, c in zip(p.truths, p.covered, strict=True)
        if t.kind == kind and not t.ignore
    ]

    def below(limit: float, low: float = 0.0, high: float = math.inf) -> Share:
        of_height = [c for h, c in rows if low <= h < high]
        return Share(sum(c < limit for c in of_height), len(of_height))

    by_height = {name: (below(LEAK_COVERAGE, a, b), below(MISS_COVERAGE, a, b)) for name, a, b in HEIGHTS}
    return KindResult(
        kind=kind,
        photos=len(photos),
        threshold=settings.kinds[kind].threshold if kind in settings.kinds else None,
        recall=Share(hits, real),
        precision=Share(hits, hits + int(false.sum())),
        false_positives=ratio(np.bincount(m.photo[false], minlength=len(photos)), np.ones(len(photos)), drawn),
        leaks=below(LEAK_COVERAGE),
        misses=below(MISS_COVERAGE),
        by_height={name: pair for name, pair in by_height.items() if pair[0].of or name != "<8"},
        ap50=Estimate(m.ap, _ap_interval(m, drawn)),
        ar50=m.ar,
        precision_recall=m.precision_recall,
        curve=_curve(kind, m, photos, settings) if curves and real else (),
        false_positive_scores=tuple(sorted(m.score[m.false].tolist(), reverse=True)),
    )


def _curve(kind: str, m: Matches, photos: Sequence[_Measured], settings: Settings) -> tuple[Point, ...]:
    """From the highest threshold down, each step renders only the regions that it adds."""
    opened = _candidates([kind], settings)
    covered: list[list[float]] = [[] for _ in THRESHOLDS]
    areas = [0.0 for _ in THRESHOLDS]
    for photo in photos:
        boxes = [whole_pixels(t.box) for t in photo.truths if t.kind == kind and not t.ignore]
        record = photo.record
        size = (record.width, record.height)
        others = masks.coverage((r for r in record.regions if r.kind != kind), settings, *size)
        own = np.zeros_like(others)
        mine = [r for r in record.regions if r.kind == kind and opened.hides(r)]
        above, area, shares = math.inf, 0.0, [float(others[b].mean()) for b in boxes]
        for n in reversed(range(len(THRESHOLDS))):
            if added := [r for r in mine if THRESHOLDS[n] <= _score(r) < above]:
                own |= masks.coverage(added, opened, *size)
                area, shares = float(own.mean()), [float((others[b] | own[b]).mean()) for b in boxes]
            covered[n] += shares
            areas[n] += area / len(photos)
            above = THRESHOLDS[n]
    points = []
    for threshold, shares, area in zip(THRESHOLDS, covered, areas, strict=True):
        kept = m.score >= threshold
        hits, false, real = int((m.hit & kept).sum()), int((m.false & kept).sum()), len(shares)
        leaks, misses = (sum(c < limit for c in shares) / real for limit in (LEAK_COVERAGE, MISS_COVERAGE))
        precision = hits / (hits + false) if hits + false else None
        points.append(Point(threshold, hits / real, precision, false / len(photos), leaks, misses, area))
    return tuple(points)


def _ap_interval(m: Matches, drawn: NDArray[np.int64]) -> tuple[float, float] | None:
    order = np.argsort(-m.score, kind="mergesort")
    order = order[~m.ignored[order]]
    hit, photo = m.hit[order], m.photo[order]
    return interval(np.array([average_precision(hit, w[photo], int(w @ m.real)) for w in drawn]))
