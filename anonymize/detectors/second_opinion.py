"""A second opinion: what one detector doubts is shown to another, enlarged. Sure things cost nothing more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import SettingsError
from ..regions import Region, boxes, iou
from ..settings import MIN_THRESHOLD
from . import Detector, Image
from .candidates import check
from .ensemble import ABSENT, combined, looks_for
from .wrapper import ask

DOUBT = (0.05, 0.8)  # probabilities between which another detector is asked
ROOM = 0.75  # of a region's longer side, on each side of it: how much of the surroundings the other one sees
SAME = 0.3  # IoU from which the other one means the same thing


class SecondOpinion:
    """A detector whose doubtful regions another one looks at.

    A doubtful region's score becomes what an `Ensemble` of the two would say of it. Sure ones stay as they are, and
    regions are never taken away.

    Args:
        detector: asked first; its scores are probabilities (`Calibrated`, `Ensemble`).
        other: sees a crop around each doubtful region of a kind that it looks for.
        doubt: (low, high) probabilities; regions between them are doubtful.

    Raises:
        SettingsError: not 0 <= low <= high <= 1.
    """

    def __init__(self, detector: Detector, other: Detector, *, doubt: tuple[float, float] = DOUBT) -> None:
        if not 0 <= doubt[0] <= doubt[1] <= 1:
            raise SettingsError(f"doubt lies between two rising probabilities; received {doubt}")
        self.name = f"{detector.name}?{other.name}"
        self.weights: Mapping[str, str] = {**detector.weights, **other.weights}
        self.kinds: frozenset[str] | None = getattr(detector, "kinds", None)
        self._detector, self._other, self._doubt = detector, other, doubt

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        """See `Detector.detect`."""
        images = [check(image) for image in images]
        return [self._review(i, found) for i, found in zip(images, ask(self._detector, images), strict=True)]

    def _review(self, image: Image, found: Sequence[Region]) -> list[Region]:
        height, width = image.shape[:2]
        low, high = self._doubt
        doubtful = [r for r in found if low <= r.score < high and looks_for(self._other, r.kind)]
        windows = [around(r).pixels(width, height) for r in doubtful]
        answers = ask(self._other, [image[y1:y2, x1:x2] for x1, y1, x2, y2 in windows])
        judged = {}
        for region, (x, y, _, _), seen in zip(doubtful, windows, answers, strict=True):
            judged[region.id] = judge(region, [r.shift(x, y) for r in seen if r.kind == region.kind], self._other.name)
        return sorted((judged.get(r.id, r) if r in doubtful else r for r in found), key=lambda r: -r.score)


def around(region: Region) -> Region:
    """The square around a region that the other detector sees."""
    x1, y1, x2, y2 = region.box
    half = max(region.width, region.height) * (0.5 + ROOM)
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    return region.replace(box=(x - half, y - half, x + half, y + half))


def judge(region: Region, seen: Sequence[Region], name: str) -> Region:
    """A doubtful region with its score changed by what another detector saw there; regions in the same pixels."""
    overlaps = iou(boxes([region]), boxes(seen))[0]
    same = [r.score for r, o in zip(seen, overlaps, strict=True) if o >= SAME]
    other = max(same, default=0.0)
    score = max(combined([region.score, max(other, ABSENT)]), MIN_THRESHOLD)
    return region.replace(score=score, detector_scores={**region.detector_scores, name: other})
