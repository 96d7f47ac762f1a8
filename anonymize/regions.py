"""Region: one place in a photo where something was found or drawn, and the geometry of such places.

Boxes are (x1, y1, x2, y2) in pixels of the upright image, floats, half-open: a box from 0 to 10 covers pixels 0..9.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from .errors import SettingsError

Box = tuple[float, float, float, float]
Point = tuple[float, float]
Status = Literal["auto", "accepted", "rejected", "manual"]
NEARLY_ALL = 0.9  # of a box: what is hidden of a thing when it does not leak
CHUNK = 256  # boxes that are compared with each other at a time
STATUSES: tuple[str, ...] = get_args(Status)


def _points(name: str, points: Iterable[Point], count: int) -> tuple[Point, ...]:
    out = tuple((float(x), float(y)) for x, y in points)
    if len(out) != count or not all(math.isfinite(v) for p in out for v in p):
        raise SettingsError(f"{name} are {count} finite points; received {out}")
    return out


@dataclass(frozen=True, slots=True)
class Region:
    """One face, plate, vehicle, person or thing of a user's own kind.

    Attributes:
        kind: "face" and "plate" are hidden by default; "vehicle" and "person" only help to find and to rank.
        box: (x1, y1, x2, y2), pixels of the upright image, half-open, x1 <= x2, y1 <= y2.
        score: 0–1; the fused one where several detectors voted; 1.0 when a person drew it.
        detector_scores: detector name -> the score that it gave.
        corners: four (x, y) px, top left, top right, bottom right, bottom left in READING order of the text, or None.
        landmarks: five (x, y) px (left eye, right eye, nose, left and right mouth corner as seen), or None.
        status: "auto" | "accepted" (hidden whatever the threshold) | "rejected" (never hidden) | "manual" (drawn).
        id: stable through review; made from kind and box when not given.

    Raises:
        SettingsError: a box that is not four finite ordered numbers, a score outside 0–1, an unknown status,
            corners that are not four points, landmarks that are not five.
    """

    kind: str
    box: Box
    score: float = 1.0
    detector_scores: Mapping[str, float] = field(default_factory=dict, hash=False)
    corners: tuple[Point, ...] | None = None
    landmarks: tuple[Point, ...] | None = None
    status: Status = "auto"
    id: str = ""

    def __post_init__(self) -> None:
        self._check(self.__slots__)

    def _check(self, names: Collection[str]) -> None:
        """Check and normalize the fields of these names, and make an id where there is none."""
        set_ = object.__setattr__  # frozen: the only place that normalizes
        if "box" in names:
            box = tuple(map(float, self.box))
            set_(self, "box", box)
            if len(box) != 4 or not all(map(math.isfinite, box)):
                raise SettingsError(f"a box is four finite numbers (x1, y1, x2, y2); received {box}")
            if box[0] > box[2] or box[1] > box[3]:
                raise SettingsError(f"a box has x1 <= x2 and y1 <= y2; received {box}")
        if "score" in names:
            set_(self, "score", float(self.score))
            if not 0.0 <= self.score <= 1.0:  # also refuses NaN
                raise SettingsError(f"a score lies in 0–1; received {self.score}")
        if "status" in names and self.status not in STATUSES:
            raise SettingsError(f"a status is one of {', '.join(STATUSES)}; received {self.status!r}")
        if "kind" in names and (not self.kind or not isinstance(self.kind, str)):
            raise SettingsError(f"a kind is a non-empty string; received {self.kind!r}")
        if self.corners is not None and "corners" in names:
            set_(self, "corners", _points("corners", self.corners, 4))
        if self.landmarks is not None and "landmarks" in names:
            set_(self, "landmarks", _points("landmarks", self.landmarks, 5))
        if not self.id:
            text = "%s %.2f %.2f %.2f %.2f" % (self.kind, *self.box)  # noqa: UP031 - half the time of format
            set_(self, "id", hashlib.blake2s(text.encode(), digest_size=6).hexdigest())

    @property
    def width(self) -> float:
        return self.box[2] - self.box[0]

    @property
    def height(self) -> float:
        return self.box[3] - self.box[1]

    @property
    def area(self) -> float:
        return self.width * self.height

    def replace(self, **changes: Any) -> Region:
        """A copy with some fields changed; the id stays."""
        # A photo makes thousands of these: what stays is not checked again, as dataclasses.replace would.
        if unknown := changes.keys() - set(self.__slots__):
            raise TypeError(f"a region has no field {min(unknown)!r}")
        made = object.__new__(Region)
        for name in self.__slots__:
            object.__setattr__(made, name, changes[name] if name in changes else getattr(self, name))
        made._check(changes)
        return made

    def _map(self, fx: float, fy: float, dx: float, dy: float) -> Region:
        def points(ps: tuple[Point, ...] | None) -> tuple[Point, ...] | None:
            return ps and tuple((x * fx + dx, y * fy + dy) for x, y in ps)

        x1, y1, x2, y2 = self.box
        box = (x1 * fx + dx, y1 * fy + dy, x2 * fx + dx, y2 * fy + dy)
        # A region in other coordinates is another one, so its id is made anew, unless a person has touched it.
        new_id = "" if self.status == "auto" else self.id
        return self.replace(box=box, corners=points(self.corners), landmarks=points(self.landmarks), id=new_id)

    def shift(self, dx: float, dy: float) -> Region:
        """Moved by (dx, dy) px, corners and landmarks too (from a crop back to its photo)."""
        return self._map(1.0, 1.0, dx, dy)

    def scale(self, fx: float, fy: float | None = None) -> Region:
        """Coordinates multiplied (from a resized image back to its photo)."""
        return self._map(fx, fx if fy is None else fy, 0.0, 0.0)

    def pad(self, fraction: float) -> Region:
        """Each side moved outward by `fraction` of the box's width (left, right) and height (top, bottom).

        Corners move away from their center by the same fraction of the quadrilateral's size.
        """
        x1, y1, x2, y2 = self.box
        dx, dy = (x2 - x1) * fraction, (y2 - y1) * fraction
        corners = self.corners
        if corners is not None:
            cx, cy = (sum(p[i] for p in corners) / 4 for i in (0, 1))
            k = 1 + 2 * fraction
            corners = tuple((cx + (x - cx) * k, cy + (y - cy) * k) for x, y in corners)
        return self.replace(box=(x1 - dx, y1 - dy, x2 + dx, y2 + dy), corners=corners)

    def clip(self, width: float, height: float) -> Region:
        """The box cut at the image's edges (corners and landmarks may lie outside: half a plate has four corners)."""
        x1, y1, x2, y2 = self.box
        x1, x2 = (min(max(v, 0.0), float(width)) for v in (x1, x2))
        y1, y2 = (min(max(v, 0.0), float(height)) for v in (y1, y2))
        return self.replace(box=(x1, y1, x2, y2))

    def pixels(self, width: int, height: int) -> tuple[int, int, int, int]:
        """The box in whole pixels (x1, y1, x2, y2), half-open, rounded OUTWARD and cut at the image's edges."""
        x1, y1, x2, y2 = self.box
        return (
            min(max(math.floor(x1), 0), width),
            min(max(math.floor(y1), 0), height),
            min(max(math.ceil(x2), 0), width),
            min(max(math.ceil(y2), 0), height),
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` is its exact inverse. Empty fields are left out."""
        out: dict[str, Any] = {"id": self.id, "kind": self.kind, "box": list(self.box), "score": self.score}
        if self.detector_scores:
            out["detector_scores"] = dict(self.detector_scores)
        for name in ("corners", "landmarks"):
            if (points := getattr(self, name)) is not None:
                out[name] = [list(p) for p in points]
        if self.status != "auto":
            out["status"] = self.status
        return out

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Region:
        if not isinstance(data, Mapping):
            raise SettingsError(f"not a region: {data!r:.80}")
        unknown = set(data) - {f.name for f in dataclasses.fields(cls)}
        if unknown:
            raise SettingsError(f"a region has no field {sorted(unknown)[0]!r}")
        if not isinstance(data.get("detector_scores", {}), Mapping) or not isinstance(data.get("id", ""), str):
            raise SettingsError(f"not a region: {data!r} (detector_scores are name -> score, an id is text)")
        try:
            return cls(**data)
        except (TypeError, ValueError, OverflowError) as e:  # that: an integer beyond all floats
            raise SettingsError(f"not a region: {data!r} ({e})") from e


def boxes(regions: Iterable[Region]) -> np.ndarray:
    """Regions' boxes as float64 (N, 4), also for N = 0."""
    return np.array([r.box for r in regions], dtype=np.float64).reshape(-1, 4)


def intersections(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Shared areas of boxes (N, 4) and (M, 4), px², as (N, M)."""
    width = np.minimum(a[:, None, 2], b[None, :, 2]) - np.maximum(a[:, None, 0], b[None, :, 0])
    height = np.minimum(a[:, None, 3], b[None, :, 3]) - np.maximum(a[:, None, 1], b[None, :, 1])
    return np.maximum(width, 0) * np.maximum(height, 0)


def areas(a: np.ndarray) -> np.ndarray:
    """Areas of boxes (N, 4), px², as (N,)."""
    sides: np.ndarray = np.maximum(a[:, 2:] - a[:, :2], 0)
    return sides[:, 0] * sides[:, 1]


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (N, 4) and (M, 4) as (N, M), 0–1; 0 where both are empty."""
    return _of_union(intersections(a, b), areas(a)[:, None], areas(b))


def _of_union(shared: np.ndarray, *each: np.ndarray) -> np.ndarray:
    union = each[0] + each[1] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def overlapping(a: np.ndarray, b: np.ndarray, iou_threshold: float) -> tuple[list[int], list[int]]:
    """Pairs of boxes (N, 4) and (M, 4) whose IoU is above a threshold: indices i in a and j in b, by i, then j.

    As `iou(a, b) > iou_threshold`, and some times as fast: most pairs lie apart, which comparisons tell.
    """
    # Such a pair shares more of each one's width and height than the threshold; rounded, no less than 0.99 of that.
    least = 0.99 * iou_threshold * (a[:, 2:] - a[:, :2])
    x1, y1, x2, y2 = np.hstack([a[:, :2] + least, a[:, 2:] - least]).T.astype(np.float32, order="C")[:, :, None]
    left, top, right, bottom = b.T.astype(np.float32, order="C")
    near = x1 <= right
    near &= left <= x2
    near &= y1 <= bottom
    near &= top <= y2
    i, j = np.divmod(np.flatnonzero(near), max(len(b), 1))
    one, other = a.T.copy(), b.T.copy()
    low, high = np.maximum(one[:2, i], other[:2, j]), np.minimum(one[2:, i], other[2:, j])
    shared = np.prod(np.maximum(high - low, 0), axis=0)
    is_over = _of_union(shared, areas(a)[i], areas(b)[j]) > iou_threshold
    return i[is_over].tolist(), j[is_over].tolist()


def suppress_boxes(boxes: np.ndarray, scores: np.ndarray, iou_threshold: float, limit: int) -> np.ndarray:
    """Greedy non-maximum suppression, best score first: thousands of boxes in milliseconds.

    Args:
        boxes: (N, 4). scores: (N,).
        iou_threshold: IoU above which the lower-scored of two is dropped, 0–1.
        limit: at most so many are kept.

    Returns:
        Indices of the kept ones, best score first.
    """
    order = np.argsort(-scores, kind="stable")
    kept = np.array([], dtype=np.intp)
    for start in range(0, len(order), CHUNK):  # mostly the first two or three are enough to reach the limit
        some = order[start : start + CHUNK]
        if start:
            some = np.delete(some, overlapping(boxes[some], boxes[kept], iou_threshold)[0])
        is_kept = [True] * len(some)
        for better, worse in zip(*overlapping(boxes[some], boxes[some], iou_threshold), strict=True):
            if better < worse and is_kept[better]:
                is_kept[worse] = False
        kept = np.concatenate([kept, some[is_kept]])
        if len(kept) >= limit:
            break
    return kept[:limit]


def suppress(regions: Sequence[Region], iou_threshold: float, limit: int | None = None) -> list[Region]:
    """`suppress_boxes` of each kind's regions, by descending score."""
    scores = np.array([r.score for r in regions], dtype=np.float64)
    kept = keep_best([r.kind for r in regions], boxes(regions), scores, iou_threshold, limit)
    return [regions[i] for i in kept]


def keep_best(
    kinds: Sequence[str], boxes: np.ndarray, scores: np.ndarray, iou_threshold: float, limit: int | None = None
) -> np.ndarray:
    """`suppress_boxes` of each kind's boxes: indices, by descending score."""
    rows: dict[str, list[int]] = {}
    for i, kind in enumerate(kinds):
        rows.setdefault(kind, []).append(i)
    parts = [np.array([], dtype=np.intp)]
    for some in map(np.array, rows.values()):
        parts.append(some[suppress_boxes(boxes[some], scores[some], iou_threshold, limit or len(some))])
    kept = np.concatenate(parts)
    return kept[np.argsort(-scores[kept], kind="stable")]


def merge(regions: Sequence[Region]) -> Region:
    """One region for several of the same object: the box around all, the best score, every detector's score.

    Raises:
        SettingsError: no regions, or of different kinds.
    """
    if not regions or len({r.kind for r in regions}) != 1:
        raise SettingsError("merge needs one or more regions of one kind")
    best = max(regions, key=lambda r: r.score)
    every = boxes(regions)
    box = (*every[:, :2].min(axis=0).tolist(), *every[:, 2:].max(axis=0).tolist())
    detector_scores: dict[str, float] = {}
    for region in regions:
        for name, score in region.detector_scores.items():
            detector_scores[name] = max(score, detector_scores.get(name, 0.0))
    return best.replace(
        box=box,
        detector_scores=detector_scores,
        corners=corners_within([best], box),
        id=best.id if best.status != "auto" else "",
    )


def corners_within(regions: Iterable[Region], box: Box) -> tuple[Point, ...] | None:
    """The first corners whose region is nearly all of this box: a quad of less would leave the rest in the open."""
    whole = (box[2] - box[0]) * (box[3] - box[1])
    return next((r.corners for r in regions if r.corners and r.area >= NEARLY_ALL * whole), None)
