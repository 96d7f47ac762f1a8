"""What a detector finds in one image, as arrays: hundreds of candidates are scored, moved, and compared at once.

Of many candidates few are left. Only these become Regions, whose construction checks and names each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..probability import Floats
from ..regions import Point, Region, boxes, keep_best

Objects = NDArray[np.object_]
Rows = NDArray[np.bool_] | NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """One row for each; see `Region` for what they mean.

    Attributes:
        kinds: (N,) str.
        boxes: (N, 4), px of the image.
        scores: (N,), 0–1.
        said: (N,), detector name -> the score that it gave.
        statuses: (N,) str.
        corners: (N, 4, 2), px of the image, NaN where there are none.
        landmarks: (N, 5, 2), likewise.
    """

    kinds: Objects
    boxes: Floats
    scores: Floats
    said: Objects
    statuses: Objects
    corners: Floats
    landmarks: Floats

    @classmethod
    def of(cls, regions: Sequence[Region]) -> Detections:
        """Regions as rows; an id is not kept."""
        return cls(
            objects(r.kind for r in regions),
            boxes(regions),
            np.array([r.score for r in regions], np.float64),
            objects(r.detector_scores for r in regions),
            objects(r.status for r in regions),
            *(
                np.array([p or [(np.nan, np.nan)] * count for p in points], np.float64).reshape(-1, count, 2)
                for count, points in ((4, [r.corners for r in regions]), (5, [r.landmarks for r in regions]))
            ),
        )

    @classmethod
    def join(cls, parts: Iterable[Detections]) -> Detections:
        """The rows of all parts, in their order."""
        some = [*parts] or [cls.of([])]
        names = cls.__slots__
        return some[0] if len(some) == 1 else cls(*(np.concatenate([getattr(p, n) for p in some]) for n in names))

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, rows: Rows) -> Detections:
        return Detections(*(getattr(self, name)[rows] for name in self.__slots__))

    def replace(self, **columns: Any) -> Detections:
        """A copy with other columns."""
        return dataclasses.replace(self, **columns)

    def best_first(self) -> Detections:
        """By descending score."""
        return self[np.argsort(-self.scores, kind="stable")]

    def suppress(self, iou_threshold: float, limit: int | None = None) -> Detections:
        """`regions.suppress`."""
        return self[keep_best(self.kinds.tolist(), self.boxes, self.scores, iou_threshold, limit)]

    def relabel(self, name: str) -> Detections:
        """Each with its best score under the name of the detector that wraps the one that found it."""
        rows = zip(self.said, self.scores.tolist(), strict=True)
        return self.replace(said=objects({name: max(said.values(), default=score)} for said, score in rows))

    def regions(self) -> list[Region]:
        """A Region for each row."""
        columns = (self.kinds, self.boxes.tolist(), self.scores.tolist(), self.said)
        points = (_points(self.corners), _points(self.landmarks))
        return [
            Region(kind, tuple(box), score, said, corners, landmarks, status)
            for kind, box, score, said, corners, landmarks, status in zip(*columns, *points, self.statuses, strict=True)
        ]


def objects(values: Iterable[object]) -> Objects:
    """An array of objects, whatever they are."""
    return np.fromiter(values, dtype=object)


def has_points(points: Floats) -> NDArray[np.bool_]:
    """Which rows of points (N, M, 2) are there."""
    is_there: NDArray[np.bool_] = np.all(np.isfinite(points), axis=(1, 2))
    return is_there


def _points(every: Floats) -> Iterator[tuple[Point, ...] | None]:
    is_there = has_points(every).tolist()
    return (
        tuple(map(tuple, points)) if there else None for points, there in zip(every.tolist(), is_there, strict=True)
    )
