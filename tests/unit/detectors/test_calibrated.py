from __future__ import annotations

import math

import numpy as np
import pytest

from anonymize.detectors import FakeDetector
from anonymize.detectors.calibrated import Calibrated, Calibration
from anonymize.errors import SettingsError
from anonymize.regions import Region

IMAGE = np.zeros((100, 200, 3), np.uint8)


def test_a_score_becomes_the_regressions_probability() -> None:
    c = Calibration(bias=1.0, slope=2.0, size=0.5)
    odds = 1.0 + 2.0 * math.log(0.3 / 0.7) + 0.5 * 1.0  # 64 px is one doubling of 32
    assert c.probability(0.3, 64.0) == pytest.approx(1 / (1 + math.exp(-odds)))
    assert Calibration(0.0, 1.0).probability(0.25, 500.0) == pytest.approx(0.25)


def test_a_probability_stays_between_zero_and_one_and_below_the_floor_nothing_is_stored() -> None:
    c = Calibration(0.0, 50.0)
    assert 0 <= c.probability(0.0, 1.0) < 1e-9
    assert 0.999 < c.probability(1.0, 1.0) <= 1.0
    faint = [Region("face", (0, 0, 9, 9), 0.4), Region("plate", (0, 0, 9, 9), 0.001)]
    assert Calibrated(FakeDetector(faint), {"face": c}, 200).detect([IMAGE]) == [[faint[1]]]


def test_heights_are_those_that_the_network_saw() -> None:
    region = Region("face", (0, 0, 10, 16), 0.5, {"net": 0.5})
    once, twice = (
        Calibrated(FakeDetector([region]), {"face": Calibration(0.0, 1.0, 1.0)}, side).detect([IMAGE])[0][0].score
        for side in (200, 400)
    )
    assert once == pytest.approx(1 / (1 + math.exp(1.0)))  # 16 px is half of 32
    assert twice == pytest.approx(0.5)


def test_a_network_of_two_kinds_has_a_calibration_for_each() -> None:
    found = FakeDetector([Region(kind, (0, 0, 10, 16), 0.5) for kind in ("face", "plate", "vehicle")])
    each = {"face": Calibration(1.0, 1.0), "plate": Calibration(-1.0, 1.0)}
    detector = Calibrated(found, each, 200)
    odds = {r.kind: round(math.log(r.score / (1 - r.score)), 6) for r in detector.detect([IMAGE])[0]}
    assert odds == {"face": 1.0, "plate": -1.0, "vehicle": 0.0}
    assert detector.kinds == {"face", "plate"}


def test_what_a_larger_input_shows_is_believed_less() -> None:
    found = FakeDetector([Region("face", (0, 0, 10, 32), 0.5)])
    for side, odds in ((640, 1.0), (1280, 0.5), (320, 1.5)):
        c = Calibration(1.0, 1.0, scale=-0.5)
        (region,) = Calibrated(found, {"face": c}, side).detect([IMAGE])[0]
        assert math.log(region.score / (1 - region.score)) == pytest.approx(odds)
        assert c.at(side).min_score(side, 0.5) == pytest.approx(1 / (1 + math.exp(odds)))


def test_boxes_grow_by_margin_and_slack_inside_the_image_and_votes_stay_the_networks() -> None:
    regions = [Region("plate", (50, 50, 70, 60), 0.5, {"net": 0.5}), Region("vehicle", (0, 0, 99, 99), 0.4)]
    detector = Calibrated(FakeDetector(regions), {"plate": Calibration(1.0, 1.0, margin=0.1, slack=2.0)}, 400)
    plate, vehicle = detector.detect([IMAGE])[0]
    assert plate.box == pytest.approx((50 - 2 - 1, 50 - 1 - 1, 70 + 2 + 1, 60 + 1 + 1))  # 2 px of the input are 1 here
    assert dict(plate.detector_scores) == {"net": 0.5}
    assert plate.id != regions[0].id
    assert (vehicle.box, vehicle.score) == (regions[1].box, 0.4)
    edge = Calibrated(FakeDetector([Region("plate", (0, 0, 20, 10), 0.5)]), {"plate": Calibration(0, 1, 0, 0.5)}, 200)
    assert edge.detect([IMAGE])[0][0].box == (0, 0, 30, 15)


def test_what_the_photos_edge_cuts_is_believed_less() -> None:
    boxes = [(50, 50, 70, 60), (0.5, 50, 20, 60), (180, 50, 200, 60), (50, 0, 70, 10), (50, 88, 70, 99)]
    found = FakeDetector([Region("plate", box, 0.5, {"net": 0.5}) for box in boxes])
    edged = Calibrated(found, {"plate": Calibration(0.0, 1.0, edge=-1.0)}, 200).detect([IMAGE])[0]
    within, cut = 0.5, 1 / (1 + math.exp(1.0))
    assert {r.box: r.score for r in edged} == pytest.approx(dict(zip(boxes, [within, *[cut] * 4], strict=True)))
    # What a network need not even give back takes the most that an edge adds into account.
    assert Calibration(0.0, 1.0, edge=1.0).min_score(200, 0.5) == pytest.approx(1 / (1 + math.exp(1.0)))
    assert Calibration(0.0, 1.0, edge=-1.0).min_score(200, 0.5) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "numbers", [(0, 0), (0, -1), (math.nan, 1), (0, 1, math.inf), (0, 1, 0, -0.1), (0, 1, 0, 0, -1)]
)
def test_impossible_numbers_are_refused(numbers: tuple[float, ...]) -> None:
    with pytest.raises(SettingsError, match="calibration"):
        Calibration(*numbers)
