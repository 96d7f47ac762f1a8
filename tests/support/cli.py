"""What tests of the command line share."""

from __future__ import annotations

from anonymize.detectors import FakeDetector
from anonymize.regions import Region


class Faces(FakeDetector):
    """A detector of one's own, as `--face-detector tests.support.cli:Faces` names it."""

    kinds = frozenset({"face", "screen", "[/face]"})

    def __init__(self) -> None:
        found = [Region("face", (10, 10, 30, 30), 0.9), Region("screen", (40, 30, 60, 40), 0.3)]
        super().__init__(found, name="faces")
