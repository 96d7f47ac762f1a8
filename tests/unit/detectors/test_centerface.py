from __future__ import annotations

import math

import numpy as np

from anonymize.detectors import centerface


def test_input_is_rgb_as_it_is() -> None:
    batch = centerface.SCALING.apply(np.full((1, 32, 32, 3), (200, 150, 100), np.uint8))
    np.testing.assert_allclose(batch[0, :, 0, 0], [200, 150, 100])


def test_decode_equals_the_reference_at_one_cell() -> None:
    """CenterFace.decode of Star-Clouds/CenterFace, for one cell."""
    rng = np.random.default_rng(1)
    h, w, r, c = 8, 16, 5, 9
    heat = np.zeros((1, 1, h, w), np.float32)
    heat[0, 0, r, c] = 0.6
    scale, offset, marks = (rng.normal(size=(1, k, h, w)).astype(np.float32) for k in (2, 2, 10))
    found = centerface.decode({"537": heat, "538": scale, "539": offset, "540": marks}, (h * 4, w * 4))["face"]

    s0, s1 = math.exp(scale[0, 0, r, c]) * 4, math.exp(scale[0, 1, r, c]) * 4
    x1 = (c + offset[0, 1, r, c] + 0.5) * 4 - s1 / 2
    y1 = (r + offset[0, 0, r, c] + 0.5) * 4 - s0 / 2
    np.testing.assert_allclose(found.scores, [0.6])
    np.testing.assert_allclose(found.boxes[0], [x1, y1, x1 + s1, y1 + s0], rtol=1e-5)
    expected = [(marks[0, 2 * j + 1, r, c] * s1 + x1, marks[0, 2 * j, r, c] * s0 + y1) for j in range(5)]
    assert found.landmarks is not None
    np.testing.assert_allclose(found.landmarks[0], expected, rtol=1e-4)
