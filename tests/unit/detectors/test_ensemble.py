from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anonymize.detectors import FakeDetector, Image, ensemble
from anonymize.detectors.calibrated import Calibrated, Calibration
from anonymize.detectors.detections import Detections
from anonymize.detectors.ensemble import ABSENT, BLIND, CLEAR, FILLS, NEAR, PRIOR, Ensemble, combine, fuse, sight, weigh
from anonymize.detectors.multi_scale import MultiScale
from anonymize.errors import DetectionError, SettingsError
from anonymize.regions import Region
from anonymize.settings import Settings

IMAGE = np.zeros((100, 200, 3), np.uint8)
S = Settings()


def face(box: tuple[float, float, float, float], score: float, name: str) -> Region:
    return Region("face", box, score, {name: score})


def fused(
    found: Sequence[Sequence[Region]], iou_threshold: float, scales: Sequence[float] | None = None
) -> list[Region]:
    return fuse([Detections.of(regions) for regions in found], iou_threshold, scales).regions()


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


shares = st.floats(0.0, 1.0)
chances = st.floats(0.001, 0.999)
sightings = st.lists(st.tuples(chances, shares), min_size=1, max_size=5).map(lambda some: sorted(some, reverse=True))


@given(sightings, st.floats(0.0, 3.0), chances, shares, st.floats(0.0, 0.5))
def test_whoever_sees_a_thing_never_speaks_against_it_more_than_in_silence(
    seen: list[tuple[float, float]], absent: float, score: float, could_see: float, more: float
) -> None:
    silent, surest = weigh(seen, absent + could_see), seen[0][0]
    half, surer = (weigh([*seen, (min(p, surest), could_see)], absent) for p in (score, score + more))
    assert silent <= half + 1e-12
    assert half <= surer + 1e-12


def test_many_detectors_that_see_a_thing_are_weighed_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = 0

    def counted(way: tuple[float, int, float]) -> float:
        nonlocal tried
        tried += 1
        return joint(way)

    joint = ensemble._joint
    monkeypatch.setattr(ensemble, "_joint", counted)
    many = [(0.9 - n / 40, n % 5 / 4) for n in range(16)]
    assert weigh(many) > weigh(many[:8], 8.0)
    assert tried < 2 * len(many) * ensemble.MOST_WAYS < 2 ** len(many[1:])


def test_half_seeing_what_is_too_small_is_no_worse_than_blindness():
    two = [[face((10, 10, 20, 20), 0.5, "a")], [face((10, 10, 20, 20), 0.4, "b")]]
    faint = [face((10, 10, 20, 20), 0.01, "c")]
    blind, half = (fused([*two, some], 0.45, [4.0, 4.0, 0.5])[0] for some in ([], faint))
    assert half.score == blind.score == pytest.approx(combine([0.5, 0.4], sight(40.0, "face") - 1))
    assert set(half.detector_scores) == {"a", "b", "c"}


def test_the_silence_of_a_detector_that_cannot_see_so_small_a_thing_says_nothing():
    assert sight(BLIND, "plate") == sight(0.0, "face") == 0
    assert sight(CLEAR, "plate") == sight(CLEAR, "face") == sight(NEAR, "plate") == sight(500.0, "face") == 1
    assert sight(math.inf, "plate") == sight(math.inf, "face") == 1  # of an input whose size nobody knows
    assert 0 < sight(math.sqrt(BLIND * CLEAR), "face") < 1
    assert 0 < sight(math.sqrt(NEAR * FILLS), "plate") < 1
    assert sight(FILLS, "plate") == sight(900.0, "plate") == 0  # one that fills the photo
    small, silent = [face((10, 10, 20, 20), 0.6, "a")], []
    blind, seeing = (fused([small, silent], 0.45, [1.0, scale])[0].score for scale in (0.5, 4.0))
    assert blind == pytest.approx(0.6)
    assert seeing == pytest.approx(combine([0.6], absent=1))


def test_an_ensemble_asks_its_members_at_which_size_they_look():
    def member(name: str, regions: list[Region], side: int) -> Calibrated:
        return Calibrated(FakeDetector(regions, name), {"face": Calibration(0.0, 1.0)}, side)

    near, far = face((10, 10, 20, 20), 0.6, "a"), member("b", [], 200)
    image = np.zeros((100, 200, 3), np.uint8)
    for side, absent in ((200, 0), (2000, 1)):
        found = Ensemble([member("a", [near], 200), member("b", [], side)], Settings()).detect([image])[0]
        assert found[0].score == pytest.approx(combine([0.6], absent))
    scales = MultiScale([(200, far), (400, member("b", [], 400))], Settings())
    assert [scales.input_side(n) for n in (200, 600)] == [200, 400]


def test_one_region_for_each_thing_with_everyones_votes() -> None:
    a = [face((10, 10, 30, 30), 0.8, "a"), face((100, 10, 120, 30), 0.3, "a")]
    b = [face((12, 10, 32, 30), 0.4, "b"), face((60, 60, 80, 80), 0.6, "b")]
    found = fused([a, b], 0.45)
    assert len(found) == 3
    best = found[0]
    assert dict(best.detector_scores) == {"a": 0.8, "b": 0.4}
    assert best.score == pytest.approx(combine([0.8, 0.4]))
    assert best.box == (10, 10, 32, 30)  # b is half as sure as a, so its box is covered too
    (alone,) = fused([[face((10, 10, 30, 30), 0.81, "a")], [face((12, 10, 32, 30), 0.4, "b")]], 0.45)
    assert (alone.box, set(alone.detector_scores)) == ((10, 10, 30, 30), {"a", "b"})
    assert {tuple(r.detector_scores) for r in found[1:]} == {("a",), ("b",)}
    assert [r.score for r in found] == sorted((r.score for r in found), reverse=True)


def test_a_detectors_second_box_of_the_same_thing_counts_once() -> None:
    a = [face((10, 10, 30, 30), 0.8, "a"), face((11, 10, 31, 30), 0.7, "a")]
    (one,) = fused([a], 0.45)
    assert (one.score, one.box) == (pytest.approx(0.8), (10, 10, 30, 30))


def test_nothing_found_is_nothing_and_an_empty_box_does_no_harm() -> None:
    assert fused([[], []], 0.45) == []
    (point,) = fused([[face((5, 5, 5, 5), 0.5, "a")]], 0.45)
    assert point.box == (5, 5, 5, 5)


def test_a_threshold_that_no_overlap_exceeds_keeps_every_region() -> None:
    found = [face((10, 10, 30, 30), 0.5, "a"), face((10, 10, 30, 30), 0.4, "a")]
    assert [r.score for r in fused([found], 1.0)] == pytest.approx([0.5, 0.4])


def test_who_does_not_look_for_a_kind_is_not_counted_as_having_seen_none() -> None:
    plates = Looking([Region("plate", (0, 0, 20, 10), 0.5, {"p": 0.5})], "p", frozenset({"plate"}))
    cars = Looking([Region("vehicle", (0, 0, 90, 90), 0.6, {"c": 0.6})], "c", frozenset({"plate"}))
    found = {r.kind: r.score for r in Ensemble([plates, cars], S).detect([IMAGE])[0]}
    assert found["vehicle"] == pytest.approx(0.6)
    assert found["plate"] == pytest.approx(combine([0.5], absent=1))


def test_a_region_keeps_the_corners_that_anyone_gave() -> None:
    corners = ((0, 0), (20, 0), (20, 10), (0, 10))
    with_corners = Region("plate", (0, 0, 20, 10), 0.3, {"b": 0.3}, corners=corners)
    (one,) = fused([[Region("plate", (0, 0, 20, 10), 0.9, {"a": 0.9})], [with_corners]], 0.45)
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
