from __future__ import annotations

import numpy as np
import pytest

from anonymize.detectors import FakeDetector
from anonymize.detectors.multi_scale import MultiScale, octaves
from anonymize.errors import SettingsError
from anonymize.regions import Region
from anonymize.settings import Settings

S = Settings()


def scales() -> MultiScale:
    near = FakeDetector([Region("face", (0, 0, 50, 50), 0.6, {"net@640": 0.5})], "net@640")
    far = FakeDetector(
        [Region("face", (1, 0, 51, 50), 0.7, {"net@1280": 0.7}), Region("face", (80, 80, 90, 90), 0.4)], "net@1280"
    )
    return MultiScale([(640, near), (1280, far)], S)


def test_a_small_photo_is_looked_at_once_and_a_large_one_at_every_size() -> None:
    detector = scales()
    (small,), (large,) = (detector.detect([np.zeros((100, side, 3), np.uint8)]) for side in (1055, 1056))
    assert [r.box for r in small] == [(0, 0, 50, 50)]
    assert [r.box for r in large] == [(1, 0, 51, 50), (80, 80, 90, 90)]  # the same face once
    assert dict(small[0].detector_scores) == {"net@640-1280": 0.5}
    assert detector.name == "net@640-1280"


@pytest.mark.parametrize(("low", "high", "sides"), [(640, 1280, [640, 1280]), (512, 3000, [512, 1024, 2048])])
def test_octaves(low: int, high: int, sides: list[int]) -> None:
    assert octaves(low, high) == sides


def test_sizes_that_do_not_rise_are_refused() -> None:
    with pytest.raises(SettingsError, match="twice"):
        octaves(640, 1279)
    for detectors in ([], [(640, FakeDetector()), (640, FakeDetector())]):
        with pytest.raises(SettingsError, match="rising"):
            MultiScale(detectors, S)
