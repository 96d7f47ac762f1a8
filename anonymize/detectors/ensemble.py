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

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..errors import SettingsError
from ..probability import log_odds, sigmoid
from ..regions import Region, boxes, corners_within, overlapping
from ..settings import MIN_THRESHOLD, Settings
from .closer import CARRIERS, Closer, Place
from .detector import Detector, Image, kinds_of
from .wrapper import detect_all, merge_detections

# What a detector is taken to have said where it said nothing, and how often a candidate of any detector is a thing at
# all. From the same fit, for faces and plates alike, rounded.
ABSENT, PRIOR = 0.01, 0.1
# px; what is lower in a detector's input it cannot see: its silence says nothing. What is at least CLEAR high it would
# have seen; between them its silence counts in part.
BLIND, CLEAR = 10.0, 30.0


class Ensemble:
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

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        """See `Detector.detect`."""
        answers = {m: detect_all(m, images) for m in self._members if not isinstance(m, Closer)}
        first = [[r for answer in answers.values() for r in answer[i]] for i in range(len(images))]
        places: dict[Detector, list[list[Place]]] = {}
        for m in self._members:
            if isinstance(m, Closer):
                places[m] = [m.places(found, image) for image, found in zip(images, first, strict=True)]
                answers[m] = detect_all(m.at(places[m]), images)
        return [
            self._fuse(
                [answers[m][i] for m in self._members], max(image.shape[:2]), {m: p[i] for m, p in places.items()}
            )
            for i, image in enumerate(images)
        ]

    def _fuse(
        self, found: Sequence[Sequence[Region]], long_side: int, places: Mapping[Detector, Sequence[Place]]
    ) -> list[Region]:
        s = self._settings
        out: list[Region] = []
        for kind in dict.fromkeys(r.kind for regions in found for r in regions):
            looking = [
                (member, [r for r in regions if r.kind == kind])
                for member, regions in zip(self._members, found, strict=True)
                if looks_for(member, kind) or any(r.kind == kind for r in regions)
            ]
            scales = [side / long_side if (side := input_side(m, long_side)) else math.inf for m, _ in looking]
            looked = [places.get(m) for m, _ in looking]
            out += fuse([regions for _, regions in looking], s.iou_threshold, scales, looked)
        return merge_detections(out, self.name, s)


def looks_for(detector: Detector, kind: str) -> bool:
    kinds = kinds_of(detector)
    return kinds is None or kind in kinds


def input_side(detector: Detector, long_side: int) -> int | None:
    """The long side, px, at which a detector sees a photo of this long side; None: nobody knows."""
    side: Callable[[int], int] | None = getattr(detector, "input_side", None)
    return side(long_side) if side else None


def sight(height: float) -> float:
    """How much a detector's silence says of a thing that is so high, px, in its input: 0 to 1."""
    return min(max(math.log(max(height, 1.0) / BLIND) / math.log(CLEAR / BLIND), 0.0), 1.0)


def fuse(
    found: Sequence[Sequence[Region]],
    iou_threshold: float,
    scales: Sequence[float] | None = None,
    places: Sequence[Sequence[Place] | None] | None = None,
) -> list[Region]:
    """Regions of one kind in one image, a list for each detector that looked for it -> one region for each thing.

    Args:
        found: scores are probabilities. A detector that found nothing has an empty list.
        iou_threshold: IoU above which two regions are of one thing.
        scales: of each detector's input, in px of it for one of the image; None: all see everything.
        places: where each one looked; None: everywhere.

    Returns:
        By descending score, down to the floor.
    """
    every = sorted(((r, i) for i, regions in enumerate(found) for r in regions), key=lambda pair: -pair[0].score)
    near: list[list[int]] = [[i] for i in range(len(every))]  # also an empty box is one with itself
    for i, j in zip(*overlapping(b := boxes(r for r, _ in every), b, iou_threshold), strict=True):
        near[i].append(j)
    is_free = [True] * len(every)
    out = []
    for i in range(len(every)):
        if not is_free[i]:
            continue
        group: dict[int, Region] = {}
        for j in near[i]:
            if is_free[j]:
                is_free[j] = False
                group.setdefault(every[j][1], every[j][0])
        tall = every[i][0].height
        silent = [
            n for n in range(len(found)) if n not in group and _looked(places[n] if places else None, every[i][0])
        ]
        absent = sum(sight(tall * scales[n]) for n in silent) if scales else len(silent)
        score = combine([r.score for r in group.values()], absent)
        if score >= MIN_THRESHOLD:  # the floor of what is stored
            out.append(_merge_group(list(group.values()), score))
    return sorted(out, key=lambda r: -r.score)


def _looked(places: Sequence[Place] | None, region: Region) -> bool:
    """Whether a region's center lies where a detector looked."""
    x, y = (region.box[0] + region.box[2]) / 2, (region.box[1] + region.box[3]) / 2
    return places is None or any(x1 <= x < x2 and y1 <= y < y2 for x1, y1, x2, y2 in (p.window for p in places))


def combine(probabilities: Sequence[float], absent: float = 0) -> float:
    """What several detectors' probabilities for one thing amount to, 0–1.

    Args:
        probabilities: of those that saw it.
        absent: how many others looked and saw nothing; one that would hardly have seen it counts in part.
    """
    n = len(probabilities) + absent
    odds = sum(map(log_odds, probabilities)) + absent * log_odds(ABSENT) - (n - 1) * log_odds(PRIOR)
    return sigmoid(odds / math.sqrt(n))


def _merge_group(group: Sequence[Region], score: float) -> Region:
    """One region of the best ones of the detectors that saw a thing, best score first."""
    believed = boxes(r for r in group if r.score >= group[0].score / 2)
    box = np.concatenate([believed[:, :2].min(axis=0), believed[:, 2:].max(axis=0)])
    detector_scores = {name: score for r in group for name, score in r.detector_scores.items()}
    return group[0].replace(
        box=tuple(box.tolist()),
        score=score,
        detector_scores=detector_scores,
        corners=corners_within(group, tuple(box.tolist())),
        landmarks=next((r.landmarks for r in group if r.landmarks), None),
        id="",
    )
