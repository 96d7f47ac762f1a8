"""A detector that looks at the mirror image: what it misses by chance one way it may see the other way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..regions import Point, Region
from . import Detector, Image
from .candidates import check
from .wrapper import ask, named

LANDMARKS = (1, 0, 2, 4, 3)  # left eye <-> right eye, left <-> right mouth corner, as seen
CORNERS = (1, 0, 3, 2)  # top left <-> top right; a mirrored text reads the other way


class Flipped:
    """A detector of mirrored images; its regions are those of the image as it is."""

    def __init__(self, detector: Detector) -> None:
        self.name = f"flipped:{detector.name}"
        self.weights: Mapping[str, str] = dict(detector.weights)
        self.kinds: frozenset[str] | None = getattr(detector, "kinds", None)
        self._detector = detector

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        """See `Detector.detect`."""
        mirrored = [np.ascontiguousarray(check(image)[:, ::-1]) for image in images]
        answers = ask(self._detector, mirrored)
        return [[self._back(r, i.shape[1]) for r in found] for i, found in zip(images, answers, strict=True)]

    def _back(self, region: Region, width: int) -> Region:
        def points(given: tuple[Point, ...] | None, order: tuple[int, ...]) -> tuple[Point, ...] | None:
            return given and tuple((width - given[i][0], given[i][1]) for i in order)

        x1, y1, x2, y2 = region.box
        back = region.replace(
            box=(width - x2, y1, width - x1, y2),
            corners=points(region.corners, CORNERS),
            landmarks=points(region.landmarks, LANDMARKS),
            id="",
        )
        return named(back, self.name)
