"""Corners for plates that come from a detector without them: a network with corners looks at each plate alone.

A quadrilateral hides an oblique plate with less of what is around it. Where the second look is in doubt there are no
corners, and an export hides the whole box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..regions import Region, boxes, iou
from . import Detector, Image
from .asking import ask
from .candidates import check

MARGIN = 0.25  # of the longer side, around the box; .5 puts the corners no better and takes longer (bench/corners.py)
AGREES = 0.5  # IoU between the box and what is found in the crop, from which both are the same plate
LEAST = 0.02  # regions that score less are hidden by no usual setting; they keep their boxes


class WithCorners:
    """A detector whose regions of one kind get corners from another.

    Args:
        detector: gives the regions; what they are, and their boxes and scores, stay.
        corners: gives regions with corners; it sees one crop for each region that has none. Its input can be small
            (128 px): the crop is little more than the plate.
        kind: of the regions that get corners.
        margin: of the crop, as a fraction of the region's longer side.
        least: score from which a region is looked at.
    """

    def __init__(
        self,
        detector: Detector,
        corners: Detector,
        *,
        kind: str = "plate",
        margin: float = MARGIN,
        least: float = LEAST,
    ) -> None:
        self.name = detector.name
        self.weights: Mapping[str, str] = {**detector.weights, **corners.weights}
        self._detector, self._corners = detector, corners
        self._kind, self._margin, self._least = kind, margin, least

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        """See `Detector.detect`. Its regions, in their order; some have corners now.

        Raises:
            DetectionError: also when the second look fails.
        """
        images = [check(image) for image in images]
        return [self._look(image, found) for image, found in zip(images, ask(self._detector, images), strict=True)]

    def _look(self, image: Image, found: Sequence[Region]) -> list[Region]:
        out = list(found)
        wanted = [
            i for i, r in enumerate(found) if r.kind == self._kind and r.corners is None and r.score >= self._least
        ]
        windows = [self._window(found[i], image) for i in wanted]
        crops = [np.ascontiguousarray(image[y1:y2, x1:x2]) for x1, y1, x2, y2 in windows]
        for i, (x, y, _, _), seen in zip(wanted, windows, ask(self._corners, crops), strict=True):
            out[i] = found[i].replace(corners=_of_the_same(found[i], [r.shift(x, y) for r in seen]))
        return out

    def _window(self, region: Region, image: Image) -> tuple[int, int, int, int]:
        side = max(region.width, region.height) * self._margin
        x1, y1, x2, y2 = region.box
        height, width = image.shape[:2]
        return Region(region.kind, (x1 - side, y1 - side, x2 + side, y2 + side)).pixels(width, height)


def _of_the_same(region: Region, seen: Sequence[Region]) -> tuple[tuple[float, float], ...] | None:
    """The corners of the region among `seen` that agrees best; None where none does, or where it has no corners."""
    same = [r for r in seen if r.kind == region.kind]
    if not same:
        return None
    overlaps = iou(boxes([region]), boxes(same))[0]
    # A faint candidate that happens to overlap more is not to be believed more.
    best = int(np.argmax(np.where(overlaps >= AGREES, overlaps * [r.score for r in same], -1.0)))
    return same[best].corners if overlaps[best] >= AGREES else None
