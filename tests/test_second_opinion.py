from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from anonymize.detectors import FakeDetector, Image
from anonymize.detectors.ensemble import ABSENT, combined
from anonymize.detectors.second_opinion import SecondOpinion
from anonymize.errors import SettingsError
from anonymize.regions import Region

IMAGE = np.zeros((100, 200, 3), np.uint8)
SURE = Region("face", (10, 10, 30, 30), 0.9, {"a": 0.9})
DOUBTFUL = Region("face", (100, 40, 120, 60), 0.4, {"a": 0.4})
HOPELESS = Region("face", (150, 40, 170, 60), 0.01, {"a": 0.01})


class Other(FakeDetector):
    """Sees the given box, in the pixels of the crop."""

    def __init__(self, regions: Sequence[Region]) -> None:
        super().__init__(regions, "b")
        self.seen: list[tuple[int, ...]] = []

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        self.seen += [i.shape[:2] for i in images]
        return super().detect(images)


def test_only_what_is_doubtful_is_shown_and_a_yes_counts() -> None:
    other = Other([Region("face", (15, 15, 35, 35), 0.8)])  # where the doubtful one lies in its crop of 50 px
    detector = SecondOpinion(FakeDetector([SURE, DOUBTFUL, HOPELESS], "a"), other)
    found = {r.box: r for r in detector.detect([IMAGE])[0]}
    assert other.seen == [(50, 50)]
    assert found[SURE.box] == SURE
    assert found[HOPELESS.box] == HOPELESS
    assert found[DOUBTFUL.box].score == pytest.approx(combined([0.4, 0.8]))
    assert dict(found[DOUBTFUL.box].detector_scores) == {"a": 0.4, "b": 0.8}
    assert found[DOUBTFUL.box].id == DOUBTFUL.id
    assert detector.name == "a?b"


def test_a_no_lowers_the_score_and_takes_nothing_away() -> None:
    elsewhere = Region("face", (0, 0, 8, 8), 0.9)
    (found,) = SecondOpinion(FakeDetector([DOUBTFUL], "a"), Other([elsewhere])).detect([IMAGE])
    assert [r.box for r in found] == [DOUBTFUL.box]
    assert found[0].score == pytest.approx(combined([0.4, ABSENT]))


def test_without_doubts_nobody_else_is_asked() -> None:
    other = Other([])
    assert SecondOpinion(FakeDetector([SURE], "a"), other).detect([IMAGE]) == [[SURE]]
    assert other.seen == []


def test_doubt_is_a_rising_pair() -> None:
    with pytest.raises(SettingsError, match="doubt"):
        SecondOpinion(FakeDetector(), FakeDetector(name="b"), doubt=(0.8, 0.2))
