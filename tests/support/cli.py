"""What tests of the command line share."""

from __future__ import annotations

from collections.abc import Sequence

from anonymize.detectors import FakeDetector
from anonymize.detectors.detector import Image
from anonymize.regions import Region


class Faces(FakeDetector):
    """A detector of one's own, as `--face-detector tests.support.cli:Faces` names it."""

    kinds = frozenset({"face", "screen", "[/face]"})

    def __init__(self) -> None:
        found = [Region("face", (10, 10, 30, 30), 0.9), Region("screen", (40, 30, 60, 40), 0.3)]
        super().__init__(found, name="faces")


class Unsteady:
    """Finds a face in each photo, surer the brighter the photo is in its middle: 0.9 or 0.03."""

    name, weights, kinds = "unsteady", {}, frozenset({"face"})

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        scores = [0.9 if i[i.shape[0] // 2, i.shape[1] // 2, 0] > 128 else 0.03 for i in images]
        return [[Region("face", (10, 10, 30, 30), score, {self.name: score})] for score in scores]


class Doubting:
    """Is sure of nothing in a photo: of one candidate for a face in a dark one, of six and eight in brighter ones."""

    name, weights, kinds = "doubting", {}, frozenset({"face"})

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        row = [Region("face", (30 * n, 10, 30 * n + 22, 32), 0.145, {self.name: 0.145}) for n in range(8)]
        return [row[: 8 if i.mean() > 128 else 6 if i.mean() > 64 else 1] for i in images]
