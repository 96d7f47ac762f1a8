from __future__ import annotations

import math

import numpy as np
import pytest

from anonymize.detectors import FakeDetector
from anonymize.detectors.context_rescoring import CLOSE_LOSS, FAR_LOSS, ContextRescoring, rescore
from anonymize.regions import Region


def plate(x: float, width: float, score: float = 0.9) -> Region:
    return Region("plate", (x, 50, x + width, 60), score, {"p": score})


def odds(score: float) -> float:
    return math.log(score / (1 - score))


def test_a_plate_on_a_vehicle_keeps_its_score_and_another_loses_odds() -> None:
    car = Region("vehicle", (100, 20, 200, 80), 0.06)
    on, beside, close_up = plate(120, 20), plate(400, 20), plate(500, 300)
    found = {r.box: r.score for r in rescore([on, beside, close_up, car], 1000)}
    assert found[on.box] == 0.9
    assert odds(found[beside.box]) == pytest.approx(odds(0.9) - FAR_LOSS)
    assert odds(found[close_up.box]) == pytest.approx(odds(0.9) - CLOSE_LOSS)
    assert found[car.box] == 0.06


def test_a_vehicle_that_hardly_shows_carries_nothing_and_faces_are_no_plates() -> None:
    car = Region("vehicle", (100, 20, 200, 80), 0.04)
    face = Region("face", (400, 50, 420, 60), 0.9)
    found = {r.kind: r.score for r in rescore([plate(120, 20), car, face], 1000)}
    assert found["plate"] < 0.1
    assert found["face"] == 0.9


def test_it_is_a_detector_and_keeps_votes_and_order() -> None:
    detector = ContextRescoring(FakeDetector([plate(10, 5), Region("vehicle", (300, 0, 400, 100), 0.5)], "p"))
    (found,) = detector.detect([np.zeros((100, 500, 3), np.uint8)])
    assert detector.name == "in-context:p"
    assert [r.kind for r in found] == ["vehicle", "plate"]
    assert dict(found[1].detector_scores) == {"p": 0.9}
    assert rescore([plate(10, 5, 0.002)], 500)[0].score == 0.001
