from __future__ import annotations

import numpy as np
import pytest

from anonymize.detectors import FakeDetector
from anonymize.detectors.upright import Upright, choose, evidence, turn, turn_back
from anonymize.regions import Region
from anonymize.settings import Settings


class BrightSpot:
    """Sees a plate where pixels are white, surely where the marked row of the photo is its top."""

    name, weights, kinds = "spot", {"spot": "00"}, frozenset({"plate"})

    def detect(self, images):
        out = []
        for image in images:
            ys, xs = np.nonzero(image[:, :, 0] == 255)
            box = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
            out.append([Region("plate", box, 0.95 if (image[0, :, 1] == 200).all() else 0.2)])
        return out


def photo() -> np.ndarray:
    image = np.zeros((40, 60, 3), np.uint8)
    image[0, :, 1] = 200
    image[10:14, 20:32] = 255
    return image


@pytest.mark.parametrize("turns", range(4))
def test_a_photo_on_its_side_is_seen_upright_and_its_regions_lie_where_they_are(turns: int) -> None:
    came = turn(photo(), turns)
    spot = BrightSpot()
    found = Upright(spot, [spot], Settings()).detect([came])[0]
    assert found[0].score == 0.95
    ys, xs = np.nonzero(came[:, :, 0] == 255)
    assert found[0].box == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)


def test_nothing_or_little_seen_leaves_a_photo_as_it_came() -> None:
    assert choose([0, 0, 0, 0]) == (0,)
    assert choose([5, 0, 4, 0]) == (0,)
    assert choose([5, 0, 9, 0]) == (2,)
    assert evidence([Region("face", (0, 0, 1, 1), 0.1), Region("face", (0, 0, 1, 1), 0.05)]) == 0


def test_where_it_is_not_clear_both_ways_are_looked_at() -> None:
    assert choose([5, 0, 7, 0]) == (0, 2)
    sure, settings = Region("face", (0, 0, 9, 9), 0.3), Settings()
    seen = []

    class Either:
        name, weights = "either", {}

        def detect(self, images):
            seen.append(len(images))
            return [[Region("face", (0, 0, 9, 9), 0.9)] for _ in images]

    class Leaning(FakeDetector):
        def __init__(self) -> None:
            super().__init__([])
            self.answers = iter([[], [sure], [], []])

        def detect(self, images):
            return [next(self.answers)]

    found = Upright(Either(), [Leaning()], settings).detect([np.zeros((40, 60, 3), np.uint8)])[0]
    assert len(seen) == 2
    assert sorted(r.box for r in found) == [(0, 0, 9, 9), (51, 0, 60, 9)]


def test_corners_keep_their_reading_order() -> None:
    plate = Region("plate", (10, 10, 30, 20), corners=((10, 10), (30, 10), (30, 20), (10, 20)))
    back = turn_back(plate, 1, 60, 40)
    assert back.box == (40, 10, 50, 30)
    assert back.corners == ((50, 10), (50, 30), (40, 30), (40, 10))


def test_it_names_all_weights_that_it_uses() -> None:
    fake = FakeDetector([], "x")
    assert Upright(fake, [BrightSpot()], Settings()).weights == {"spot": "00"}
    assert Upright(fake, [BrightSpot()], Settings()).name == "upright:x"
