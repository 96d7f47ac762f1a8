from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from anonymize.detectors import FakeDetector
from anonymize.detectors import context_rescoring as context
from anonymize.detectors.context_rescoring import MOST_LOST, WEIGHTS, ContextRescoring, at_head, features, rescore
from anonymize.detectors.detections import Detections
from anonymize.regions import Region, boxes
from anonymize.settings import PRESETS

CAR, PERSON = Region("vehicle", (100, 20, 200, 80), 0.6), Region("person", (110, 0, 150, 100), 0.5)


FACE = Region("face", (125, 2, 135, 14), 0.6, {"f": 0.6})


def plate(x: float, score: float = 0.5) -> Region:
    return Region("plate", (x, 50, x + 20, 60), score, {"p": score})


def odds(score: float) -> float:
    return math.log(score / (1 - score))


def rescored(region: Region, *around: Region) -> float:
    found = rescore(Detections.of([region, *around]), 1000).regions()
    return next(r.score for r in found if r.kind == region.kind)


def known(region: Region, around: Sequence[Region], long_side: int) -> tuple[float, ...]:
    (row,) = features(region.kind, Detections.of([region, *around]), long_side).tolist()
    return tuple(row)


def test_features_are_the_surest_vehicle_and_person_around_a_plate():
    faint = Region("vehicle", (0, 0, 300, 300), 0.2)
    assert known(plate(120), [faint, CAR, PERSON], 1000) == (1.0, 0.0, 0.6, 0.5)
    assert known(plate(195), [CAR, PERSON], 1000) == (1.0, 0.0, 0.6, 0.0)  # just outside its box, within the margin
    assert known(plate(400), [CAR, PERSON], 1000) == (1.0, 0.0, 0.0, 0.0)


def test_a_plate_gets_the_regressions_probability_and_a_vehicle_raises_it():
    bias, score, vehicle, person = WEIGHTS["plate"]
    assert odds(rescored(plate(120), CAR)) == pytest.approx(bias + vehicle * 0.6)
    assert odds(rescored(plate(120, 0.8), CAR, PERSON)) == pytest.approx(
        max(bias + score * odds(0.8) + vehicle * 0.6 + person * 0.5, odds(0.8) - MOST_LOST)
    )
    assert rescored(plate(120), CAR) > rescored(plate(400), CAR)


def test_a_surer_plate_is_never_believed_less():
    for around in ((), (CAR,), (PERSON,), (CAR, PERSON)):
        scores = [rescored(plate(120, s), *around) for s in np.linspace(0.001, 0.999, 200)]
        assert scores == sorted(scores)


def test_context_is_no_veto(monkeypatch: pytest.MonkeyPatch):
    """What the networks call .9 is hidden by every preset, whatever is around it and however the fit came out."""
    monkeypatch.setattr(context, "WEIGHTS", {"plate": (-50.0, 1.0, 0.0, -50.0), "face": (-50.0, 1.0, 0.0)})
    assert odds(rescored(plate(400, 0.9))) == pytest.approx(odds(0.9) - MOST_LOST)
    assert odds(rescored(FACE)) == pytest.approx(odds(0.6) - MOST_LOST)
    for preset in PRESETS.values():
        if preset.plate_detector.startswith("in-context:"):
            assert rescored(plate(120, 0.9), PERSON) >= preset.plate_threshold


def test_a_small_face_is_believed_more_where_a_person_has_the_head():
    assert at_head(np.array([FACE.box]), boxes([PERSON]))
    assert not at_head(np.array([(125, 60, 135, 72)]), boxes([PERSON]))  # at the knees
    assert not at_head(np.array([(112, 0, 148, 70)]), boxes([PERSON]))  # too large for it
    assert not at_head(np.array([(300, 2, 310, 14)]), boxes([PERSON]))
    bias, score, head = WEIGHTS["face"]
    assert known(FACE, [PERSON, CAR], 1000) == pytest.approx((1.0, odds(0.6), 0.5))
    assert known(FACE, [PERSON], 200) == pytest.approx((1.0, odds(0.6), 0.0))  # large in its photo: it needs no body
    assert 0 < known(FACE, [PERSON], 500)[2] < 0.5
    assert odds(rescored(FACE, PERSON)) == pytest.approx(bias + score * odds(0.6) + head * 0.5)
    assert rescored(FACE, PERSON) > rescored(FACE)


def test_it_is_a_detector_and_keeps_the_networks_scores_and_the_order():
    faint, face = plate(10, 0.002), Region("face", (400, 50, 420, 60), 0.9)
    detector = ContextRescoring(FakeDetector([faint, Region("vehicle", (300, 0, 400, 100), 0.5), face], "p"))
    (found,) = detector.detect([np.zeros((100, 500, 3), np.uint8)])
    assert detector.name == "in-context:p"
    assert [r.kind for r in found] == ["face", "vehicle", "plate"]
    assert [r.score for r in found[1:]] == [0.5, 0.001]
    assert dict(found[2].detector_scores) == {"p": 0.002}
