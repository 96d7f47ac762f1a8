"""How the picture moves, and where another scene begins."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from anonymize.video.found import Found, Segments
from anonymize.video.motion import GRID, Motion, Watch

WIDTH, HEIGHT = 320, 180


def picture(seed: int, width: int = 2 * WIDTH, height: int = 2 * HEIGHT) -> NDArray[np.uint8]:
    """Blobs of all sizes, so that motion can be seen."""
    random = np.random.default_rng(seed)
    out = np.zeros((height, width, 3), np.float32)
    for size in (64, 24, 10):
        noise = random.uniform(0, 255, (height // size + 2, width // size + 2, 3)).astype(np.float32)
        out += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) / 3
    return np.clip(out, 0, 255).astype(np.uint8)


def at(big: NDArray[np.uint8], x: int, y: int) -> NDArray[np.uint8]:
    return np.ascontiguousarray(big[y : y + HEIGHT, x : x + WIDTH])


def test_a_pan_is_seen_as_far_as_it_goes() -> None:
    big, watch = picture(1), Watch(WIDTH, HEIGHT)
    for n in range(6):
        moved, is_cut = watch.see(at(big, 100 - 4 * n, 60 + 2 * n))
        assert not is_cut
    motion = watch.take()
    assert motion.shifts.shape == (6, *GRID, 2)
    assert 0.008 < moved < 0.03
    for frame in range(5):
        assert motion.shift(frame, 160, 90) == pytest.approx((4, -2), abs=0.8)
    assert motion.pan(0, 6, np.zeros(2))[5] == pytest.approx((20, -10), abs=3)
    assert motion.shift(5, 160, 90) == (0, 0)  # nobody knows what follows


def test_another_scene_is_seen_and_a_flash_is_none() -> None:
    first, second, watch = picture(1), picture(2), Watch(WIDTH, HEIGHT)
    bright = np.clip(at(first, 0, 0).astype(int) + 70, 0, 255).astype(np.uint8)
    frames = [at(first, 0, 0), bright, at(first, 0, 0), at(second, 0, 0), at(second, 2, 0)]
    assert [watch.see(f)[1] for f in frames] == [False, False, False, True, False]
    assert watch.take().cuts == {3}


def test_black_pictures_are_one_scene() -> None:
    watch, black = Watch(WIDTH, HEIGHT), np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    assert [watch.see(f)[1] for f in (black, black, black + 255)] == [False, False, True]


def joined(parts: list[Motion]) -> Motion:
    found = [Found(np.ones(p.frames, bool), np.zeros((0, 7)), ("face",), p) for p in parts]
    return Segments(found).motion


def test_segments_make_the_motion_of_the_clip() -> None:
    big, one, other = picture(1), Watch(WIDTH, HEIGHT), Watch(WIDTH, HEIGHT)
    parts = []
    for n in range(6):
        one.see(at(big, 3 * n, 0))
        other.see(at(big, 3 * n, 0))
        parts += [one.take()] if n in (2, 5) else []
    whole = other.take()
    assert np.array_equal(joined(parts).shifts[:], whole.shifts)
    cut = Motion.still(3, WIDTH, HEIGHT, (1,))
    assert joined([cut, cut]).cuts == {1, 4}
    assert [joined([cut, cut]).scene(f) for f in (0, 1, 3, 5)] == [(0, 1), (1, 4), (1, 4), (4, 6)]
