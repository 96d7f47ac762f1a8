"""Several detectors as one: what they see is brought together, and what several of them see is believed more.

Regions of the same thing become one, with everyone's scores, and a box around the boxes of all who are at least half as
sure as the surest. (A mean of boxes, as weighted boxes fusion takes it, leaves uncovered what one of them saw.) Its
score comes from all detectors that look for such things, also those that saw nothing there. Bayes' rule for independent
detectors adds their log-odds and takes away the prior's, which each of them had counted; dividing by the root of their
number, as Stouffer adds z-scores, is the middle between independent ones and ones that always agree: they learnt from
like photos and err alike in part. Fitted freely on plates-train (`bench/calibration.py`), two detectors' log-odds get
weights of 0.5 to 0.8 instead of 0.71.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError
from ..probability import Floats, log_odds, sigmoid
from ..regions import NEARLY_ALL, areas, overlapping
from ..settings import MIN_THRESHOLD, Settings
from .closer import CARRIERS, Closer
from .detections import Detections, has_points
from .detector import Detector, Image, kinds_of
from .pages import Place
from .wrapper import Finder, find_all, merge_found

# What a detector is taken to have said where it said nothing, and how often a candidate of any detector is a thing at
# all. From the same fit, for faces and plates alike, rounded.
ABSENT, PRIOR = 0.01, 0.1
# Each further detector that sees a thing doubles the ways of who of them counts as silent: here of ten. No preset asks
# as many; of more, the best ways so far go on.
MOST_WAYS = 512
_ABSENT_ODDS, _PRIOR_ODDS = log_odds(ABSENT), log_odds(PRIOR)
# px; what is lower in a detector's input it cannot see: its silence says nothing. What is at least CLEAR high it would
# have seen; between them its silence counts in part.
BLIND, CLEAR = 10.0, 30.0
# px; a plate that is higher fills most of what a network learned from: its silence says less, from FILLS on nothing.
NEAR, FILLS = 200.0, 400.0


class Ensemble(Finder):
    """Detectors that are asked together. They should be `Calibrated`, or their scores do not compare.

    Args:
        members: at least one. One with an attribute `kinds` looks for those; one without, for all that anyone finds.
        settings: iou_threshold, max_regions.

    Raises:
        SettingsError: no members, two of one name (their scores could not be told apart), or a closer look at what
            nobody looks for first.
    """

    def __init__(self, members: Sequence[Detector], settings: Settings) -> None:
        names = [m.name for m in members]
        if not members or len(set(names)) != len(names):
            raise SettingsError(f"an ensemble needs detectors of different names; received {names}")
        first = [m for m in members if not isinstance(m, Closer)]
        seen = kinds_of(*first) if first else frozenset()
        for m in members:
            unseen = [k for k in sorted(kinds_of(m) or ()) if seen is not None and not seen & {k, CARRIERS.get(k)}]
            if isinstance(m, Closer) and unseen:
                raise SettingsError(f"{m.name} needs a detector beside it that says where a {unseen[0]} may be")
        self.name = "+".join(names)
        self.weights: Mapping[str, str] = {k: v for m in members for k, v in m.weights.items()}
        self.kinds = kinds_of(*members)
        self._members, self._settings = tuple(members), settings

    def find(self, images: Sequence[Image]) -> list[Detections]:
        """See `Finder`."""
        answers = {m: find_all(m, images) for m in self._members if not isinstance(m, Closer)}
        first = [Detections.join(answer[i] for answer in answers.values()) for i in range(len(images))]
        places: dict[Detector, list[list[Place]]] = {}
        for m in self._members:
            if isinstance(m, Closer):
                places[m] = [m.places(found, image) for image, found in zip(images, first, strict=True)]
                answers[m] = find_all(m.at(places[m]), images)
        return [
            self._fuse(
                [answers[m][i] for m in self._members], max(image.shape[:2]), {m: p[i] for m, p in places.items()}
            )
            for i, image in enumerate(images)
        ]

    def _fuse(
        self, found: Sequence[Detections], long_side: int, places: Mapping[Detector, Sequence[Place]]
    ) -> Detections:
        s = self._settings
        out = []
        for kind in dict.fromkeys(kind for one in found for kind in one.kinds.tolist()):
            of_kind = [(member, one[one.kinds == kind]) for member, one in zip(self._members, found, strict=True)]
            looking = [(member, one) for member, one in of_kind if len(one) or looks_for(member, kind)]
            scales = [side / long_side if (side := input_side(m, long_side)) else math.inf for m, _ in looking]
            looked = [places.get(m) for m, _ in looking]
            out.append(fuse([one for _, one in looking], s.iou_threshold, scales, looked))
        return merge_found(out, self.name, s)


def looks_for(detector: Detector, kind: str) -> bool:
    kinds = kinds_of(detector)
    return kinds is None or kind in kinds


def input_side(detector: Detector, long_side: int) -> int | None:
    """The long side, px, at which a detector sees a photo of this long side; None: nobody knows."""
    side: Callable[[int], int] | None = getattr(detector, "input_side", None)
    return side(long_side) if side else None


def sight(height: float, kind: str) -> float:
    """How much a detector's silence says of a thing that is so high, px, in its input (infinite: unknown): 0 to 1."""
    if math.isinf(height):
        return 1.0
    small = math.log(CLEAR / max(height, 1.0)) / math.log(CLEAR / BLIND)
    large = math.log(max(height, 1.0) / NEAR) / math.log(FILLS / NEAR) if kind == "plate" else 0.0
    return 1 - min(max(small, large, 0.0), 1.0)


def fuse(
    found: Sequence[Detections],
    iou_threshold: float,
    scales: Sequence[float] | None = None,
    places: Sequence[Sequence[Place] | None] | None = None,
) -> Detections:
    """What each detector that looked for a kind found of it in one image -> one row for each thing.

    Args:
        found: scores are probabilities. A detector that found nothing has no rows.
        iou_threshold: IoU above which two are of one thing.
        scales: of each detector's input, in px of it for one of the image; None: all see everything.
        places: where each one looked; None: everywhere.

    Returns:
        By descending score, down to the floor.
    """
    every = Detections.join(found)
    order = np.argsort(-every.scores, kind="stable")
    every, members = every[order], np.repeat(np.arange(len(found)), [len(one) for one in found])[order].tolist()
    scores, heights = every.scores.tolist(), (every.boxes[:, 3] - every.boxes[:, 1]).tolist()
    looked = [_looked(where, every.boxes).tolist() for where in places or [None] * len(found)]
    groups, fused = [], []
    for group in _groups(every.boxes, members, iou_threshold):
        best = next(iter(group.values()))
        could_see = [sight(heights[best] * scale, every.kinds[best]) for scale in scales or [math.inf] * len(found)]
        absent = sum(could_see[n] for n in range(len(found)) if n not in group and looked[n][best])
        score = weigh([(scores[i], could_see[n]) for n, i in group.items()], absent)
        if score >= MIN_THRESHOLD:  # the floor of what is stored
            groups.append(list(group.values()))
            fused.append(score)
    return _merge_groups(every, groups).replace(scores=np.array(fused, np.float64)).best_first()


def _groups(boxes: Floats, members: Sequence[int], iou_threshold: float) -> Iterator[dict[int, int]]:
    """Of boxes (N, 4), best first, those of one thing: each member that saw it -> its best one's row, best first."""
    near: list[list[int]] = [[i] for i in range(len(boxes))]  # also an empty box is one with itself
    for i, j in zip(*overlapping(boxes, boxes, iou_threshold), strict=True):
        near[i].append(j)
    is_free = [True] * len(boxes)
    for some in near:
        if not is_free[some[0]]:
            continue
        group: dict[int, int] = {}
        for j in some:
            if is_free[j]:
                is_free[j] = False
                group.setdefault(members[j], j)
        yield group


def _looked(places: Sequence[Place] | None, boxes: Floats) -> NDArray[np.bool_]:
    """Which boxes (N, 4) have their centers where a detector looked."""
    if places is None:
        return np.ones(len(boxes), bool)
    windows = np.array([place.window for place in places]).reshape(-1, 4)
    centers = ((boxes[:, :2] + boxes[:, 2:]) / 2)[:, None]
    within = np.all((windows[:, :2] <= centers) & (centers < windows[:, 2:]), axis=2)
    has_looked: NDArray[np.bool_] = np.any(within, axis=1)
    return has_looked


def combine(probabilities: Sequence[float], absent: float = 0) -> float:
    """What several detectors' probabilities for one thing amount to, 0–1.

    Args:
        probabilities: of those that saw it.
        absent: how many others looked and saw nothing; one that would hardly have seen it counts in part.
    """
    return sigmoid(_joint((sum(map(log_odds, probabilities)), len(probabilities), absent)))


def _joint(way: tuple[float, int, float]) -> float:
    """The log-odds of a thing, from the sum of those who say so, how many these are, and how many are silent."""
    said, count, silent = way
    n = count + silent
    return (said + silent * _ABSENT_ODDS - (n - 1) * _PRIOR_ODDS) / math.sqrt(n)


def weigh(seen: Sequence[tuple[float, float]], absent: float = 0) -> float:
    """`combine`, where whoever half sees a thing says no less for it than had it been silent.

    So a low score does not speak against what a detector can hardly see, and a higher one of any but the surest, up to
    the surest's, never lowers what comes out.

    Args:
        seen: of those that saw it, the surest first: probability, and `sight`.
        absent: as for `combine`.
    """
    (surest, _), *others = seen
    ways: list[tuple[float, int, float]] = [(log_odds(surest), 1, absent)]
    for score, could_see in others:
        odds = log_odds(score)
        ways = [way for a, n, b in ways for way in ((a + odds, n + 1, b), (a, n, b + could_see))]
        if len(ways) > MOST_WAYS:
            ways = heapq.nlargest(MOST_WAYS, ways, key=_joint)
    return sigmoid(max(map(_joint, ways)))


def _merge_groups(every: Detections, groups: Sequence[Sequence[int]]) -> Detections:
    """One row for each group of rows, those of the detectors that saw a thing, best score first."""
    boxes, scores, sizes = every.boxes.tolist(), every.scores.tolist(), areas(every.boxes).tolist()
    with_corners, with_landmarks = (
        set(np.flatnonzero(has_points(p)).tolist()) for p in (every.corners, every.landmarks)
    )
    out = every[np.array([group[0] for group in groups], dtype=np.intp)]
    for row, group in enumerate(groups):
        if len(group) == 1:
            continue
        believed = [boxes[i] for i in group if scores[i] >= scores[group[0]] / 2]
        x1, y1, x2, y2 = (f(sides) for f, sides in zip((min, min, max, max), zip(*believed, strict=True), strict=True))
        out.boxes[row] = x1, y1, x2, y2
        out.said[row] = {name: score for i in group for name, score in every.said[i].items()}
        # A quad of less would leave the rest of the box in the open.
        fitting = (i for i in group if i in with_corners and sizes[i] >= NEARLY_ALL * ((x2 - x1) * (y2 - y1)))
        out.corners[row] = every.corners[i] if (i := next(fitting, None)) is not None else np.nan
        out.landmarks[row] = every.landmarks[next((i for i in group if i in with_landmarks), group[0])]
    return out
