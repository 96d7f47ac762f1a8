"""No wrapper leaves likely regions out in silence: where as many are found as are kept, the photo was not searched."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from anonymize.detectors import Detector, FakeDetector
from anonymize.detectors.calibrated import Calibrated, Calibration
from anonymize.detectors.candidates import Candidates, letterbox
from anonymize.detectors.ensemble import Ensemble
from anonymize.detectors.multi_scale import MultiScale
from anonymize.detectors.runtime import NetworkDetector
from anonymize.detectors.two_stage import TwoStage
from anonymize.errors import DetectionError
from anonymize.regions import Region
from anonymize.settings import UNLIKELY, Settings

IMAGE = np.zeros((100, 200, 3), np.uint8)
THREE, FOUR = Settings(max_regions=3), Settings(max_regions=4)


def found(score: float, count: int = 3) -> list[Region]:
    return [Region("face", (10 * i, 0, 10 * i + 5, 9), score) for i in range(count)]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda d: Ensemble([d], THREE),
        lambda d: MultiScale([(64, d), (128, FakeDetector())], THREE),
        lambda d: TwoStage(FakeDetector([Region("vehicle", (0, 0, 200, 100))]), d, THREE),
    ],
    ids=["ensemble", "scales", "two stages"],
)
def test_as_many_likely_regions_as_are_kept_may_not_be_all(wrap: Callable[[Detector], Detector]) -> None:
    with pytest.raises(DetectionError, match="raise max_regions"):
        wrap(FakeDetector(found(0.9))).detect([IMAGE])
    assert len(wrap(FakeDetector(found(0.9, 2))).detect([IMAGE])[0]) >= 2
    assert wrap(FakeDetector(found(UNLIKELY / 10))).detect([IMAGE])[0]  # junk may be left out


def test_a_part_loses_no_likely_one_on_the_way_to_its_ensemble() -> None:
    """Four faces, three regions allowed: what calibration believes of the fourth decides whether the photo fails."""
    boxes = np.array([r.box for r in found(0.9, 4)])

    def network(scores: list[float]) -> NetworkDetector:
        return NetworkDetector(
            "net@192",
            lambda batch: {},
            lambda image: letterbox(image, 192),
            lambda outputs, size, floor: {"face": Candidates(boxes, np.array(scores))},
            THREE,
            {},
        )

    strict = Calibration(-4.0, 1.0)  # a score of 0.6 is a probability of .03
    for calibration, last, is_likely in ((Calibration(0.0, 1.0), 0.2, True), (strict, 0.6, False), (strict, 0.9, True)):
        detector = Ensemble([Calibrated(network([0.95, 0.95, 0.95, last]), {"face": calibration}, 192)], FOUR)
        if is_likely:
            with pytest.raises(DetectionError, match="raise max_regions"):
                detector.detect([IMAGE])
        else:
            assert len(detector.detect([IMAGE])[0]) == 3
