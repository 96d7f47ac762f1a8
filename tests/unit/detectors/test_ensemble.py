from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from anonymize.detectors import FakeDetector, Image
from anonymize.detectors.ensemble import ABSENT, PRIOR, Ensemble, combine, fuse
from anonymize.errors import DetectionError, SettingsError
from anonymize.regions import Region
from anonymize.settings import Settings

IMAGE = np.zeros((100, 200, 3), np.uint8)
S = Settings()


def face(box: tuple[float, float, float, float], score: float, name: str) -> Region:
    return Region("face", box, score, {name: score})


class Looking(FakeDetector):
    def __init__(self, regions: Sequence[Region], name: str, kinds: frozenset[str]) -> None:
        super().__init__(regions, name)
        self.kinds = kinds


def test_what_two_see_is_believed_more_and_what_one_sees_alone_less() -> None:
    assert combine([0.5]) == pytest.approx(0.5)
    assert combine([0.5, 0.5]) > 0.8
    assert combine([0.5], absent=1) < 0.2
    assert combine([0.9, 0.6]) == pytest.approx(combine([0.6, 0.9]))
    assert combine([PRIOR, PRIOR]) < combine([0.5, PRIOR]) < combine([0.5, 0.5])
    assert combine([0.9], absent=1) == pytest.approx(combine([0.9, ABSENT]))


def test_one_region_for_each_thing_with_everyones_votes() -> None:
    a = [face((10, 10, 30, 30), 0.8, "a"), face((100, 10, 120, 30), 0.3, "a")]
    b = [face((12, 10, 32, 30), 0.4, "b"), face((60, 60, 80, 80), 0.6, "b")]
    found = fuse([a, b], 0.45)
    assert len(found) == 3
    best = found[0]
    assert dict(best.detector_scores) == {"a": 0.8, "b": 0.4}
    assert best.score == pytest.approx(combine([0.8, 0.4]))
    assert best.box == (10, 10, 32, 30)  # b is half as sure as a, so its box is covered too
    (alone,) = fuse([[face((10, 10, 30, 30), 0.81, "a")], [face((12, 10, 32, 30), 0.4, "b")]], 0.45)
    assert (alone.box, set(alone.detector_scores)) == ((10, 10, 30, 30), {"a", "b"})
    assert {tuple(r.detector_scores) for r in found[1:]} == {("a",), ("b",)}
    assert [r.score for r in found] == sorted((r.score for r in found), reverse=True)


def test_a_detectors_second_box_of_the_same_thing_counts_once() -> None:
    a = [face((10, 10, 30, 30), 0.8, "a"), face((11, 10, 31, 30), 0.7, "a")]
    (one,) = fuse([a], 0.45)
    assert (one.score, one.box) == (pytest.approx(0.8), (10, 10, 30, 30))


def test_nothing_found_is_nothing_and_an_empty_box_does_no_harm() -> None:
    assert fuse([[], []], 0.45) == []
    (point,) = fuse([[face((5, 5, 5, 5), 0.5, "a")]], 0.45)
    assert point.box == (5, 5, 5, 5)


def test_who_does_not_look_for_a_kind_is_not_counted_as_having_seen_none() -> None:
    plates = Looking([Region("plate", (0, 0, 20, 10), 0.5, {"p": 0.5})], "p", frozenset({"plate"}))
    cars = Looking([Region("vehicle", (0, 0, 90, 90), 0.6, {"c": 0.6})], "c", frozenset({"plate"}))
    found = {r.kind: r.score for r in Ensemble([plates, cars], S).detect([IMAGE])[0]}
    assert found["vehicle"] == pytest.approx(0.6)
    assert found["plate"] == pytest.approx(combine([0.5], absent=1))


def test_a_region_keeps_the_corners_that_anyone_gave() -> None:
    corners = ((0, 0), (20, 0), (20, 10), (0, 10))
    with_corners = Region("plate", (0, 0, 20, 10), 0.3, {"b": 0.3}, corners=corners)
    (one,) = fuse([[Region("plate", (0, 0, 20, 10), 0.9, {"a": 0.9})], [with_corners]], 0.45)
    assert one.corners == corners


def test_a_member_that_fails_or_answers_too_little_fails_the_whole() -> None:
    class Silent(FakeDetector):
        def detect(self, images: Sequence[Image]) -> list[list[Region]]:
            return []

    with pytest.raises(DetectionError, match="0 answers for 1"):
        Ensemble([FakeDetector(name="a"), Silent(name="b")], S).detect([IMAGE])


def test_members_have_names_of_their_own() -> None:
    for members in ([], [FakeDetector(), FakeDetector()]):
        with pytest.raises(SettingsError, match="different names"):
            Ensemble(members, S)
    assert Ensemble([FakeDetector(name="a"), FakeDetector(name="b")], S).name == "a+b"
