from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from anonymize.detectors import retinaface


def test_input_is_bgr_less_the_mean() -> None:
    batch = retinaface.SCALING.apply(np.full((1, 32, 32, 3), (200, 150, 100), np.uint8))
    np.testing.assert_allclose(batch[0, :, 0, 0], [100 - 104, 150 - 117, 200 - 123])


def reference_priors(height: int, width: int) -> np.ndarray:
    """PriorBox.forward of biubug6/Pytorch_Retinaface with cfg_mnet, in plain loops, in px instead of fractions."""
    anchors = []
    for step, min_sizes in zip((8, 16, 32), ((16, 32), (64, 128), (256, 512)), strict=True):
        cells = itertools.product(range(math.ceil(height / step)), range(math.ceil(width / step)))
        for i, j in cells:
            anchors += [((j + 0.5) * step, (i + 0.5) * step, size, size) for size in min_sizes]
    return np.array(anchors)


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (608, 1024)])
def test_priors_equal_the_reference(size: tuple[int, int]) -> None:
    np.testing.assert_allclose(retinaface.priors(*size), reference_priors(*size))


def test_decode_equals_the_reference_at_one_anchor() -> None:
    size = (64, 96)
    anchors = reference_priors(*size)
    n, i = len(anchors), 77
    rng = np.random.default_rng(1)
    loc, marks = (rng.normal(size=(1, n, k)).astype(np.float32) for k in (4, 10))
    conf = np.zeros((1, n, 2), np.float32)
    conf[0, i] = 0.25, 0.75
    found = retinaface.decode({"loc": loc, "conf": conf, "landmarks": marks}, size)["face"]

    cx, cy, w, h = anchors[i]
    x, y = cx + loc[0, i, 0] * 0.1 * w, cy + loc[0, i, 1] * 0.1 * h
    bw, bh = w * math.exp(loc[0, i, 2] * 0.2), h * math.exp(loc[0, i, 3] * 0.2)
    assert found.scores.tolist() == [0.75]
    np.testing.assert_allclose(found.boxes[0], [x - bw / 2, y - bh / 2, x + bw / 2, y + bh / 2], rtol=1e-4)
    assert found.landmarks is not None
    expected = [(cx + marks[0, i, 2 * k] * 0.1 * w, cy + marks[0, i, 2 * k + 1] * 0.1 * h) for k in range(5)]
    np.testing.assert_allclose(found.landmarks[0], expected, rtol=1e-4)
