from __future__ import annotations

import numpy as np

from anonymize.detectors import FakeDetector
from anonymize.detectors.flipped import Flipped
from anonymize.regions import Region


def test_regions_come_back_unmirrored_with_points_in_their_order() -> None:
    seen = Region(
        "face",
        (10, 5, 30, 25),
        0.5,
        {"x": 0.4},
        corners=((10, 5), (30, 6), (31, 25), (11, 24)),
        landmarks=((14, 10), (26, 11), (20, 15), (15, 20), (25, 21)),
    )
    (found,) = Flipped(FakeDetector([seen], "x")).detect([np.zeros((50, 100, 3), np.uint8)])
    assert found[0].box == (70, 5, 90, 25)
    assert found[0].landmarks == ((74, 11), (86, 10), (80, 15), (75, 21), (85, 20))  # left is left again
    assert found[0].corners == ((70, 6), (90, 5), (89, 24), (69, 25))
    assert dict(found[0].detector_scores) == {"flipped:x": 0.4}
