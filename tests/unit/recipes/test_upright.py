"""The first look at a photo, and the bound above which no other follows."""

from __future__ import annotations

import numpy as np

from anonymize.detectors import upright
from models.recipes.upright import as_turned, fit, fit_alone, is_missed, least_bound

SURE = [9.0, 0.0, 0.0, 0.0]  # what speaks for each turn of an upright photo


def test_a_turned_photo_is_first_seen_as_the_copy_that_lies_so() -> None:
    """Its first look is at what `upright.turn` makes of the upright photo, whose copies came in the order of turns."""
    photo = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    copies = [upright.turn(photo, k) for k in range(4)]
    first = as_turned(np.arange(4.0)[None])[0].astype(int)
    for came, copy in enumerate(first):
        # Searched after `came` quarter turns, it is upright: so `is_missed` counts, too.
        assert np.array_equal(upright.turn(copies[copy], came), photo)
    assert is_missed(np.array([SURE, [0.0, 9.0, 0.0, 0.0]])).tolist() == [[False] * 4, [False, True, True, True]]


def test_above_the_bound_lies_no_turned_copy_too_many() -> None:
    together, alone = np.array([SURE] * 1000), np.zeros((1000, 4))
    alone[:, 0] = 7.0  # upright copies do not count
    alone[:5, 1:] = np.arange(15.0).reshape(5, 3) + 10
    assert least_bound(together, alone) == 21.0  # of 3,000 turned copies 3 may pass
    together[4] = [0.0, 9.0, 0.0, 0.0]  # whose right turn is not found by all four looks either
    assert least_bound(together, alone) == 18.0


def test_a_copy_alone_is_told_by_its_own_level_beside_others_by_the_difference() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 4, 2)).astype(np.float32)
    features[:, 0, 0] += 4  # of an upright copy
    features[:, :, 1] += rng.normal(scale=50, size=(400, 1))  # of a photo, whichever way it lies
    *numbers, constant = fit_alone(features, np.ones(400))
    told = features @ numbers + constant > 0
    assert told[:, 0].mean() > 0.9
    assert told[:, 1:].mean() < 0.05
    assert (fit(features, np.ones(400))[0]) > 0.5
