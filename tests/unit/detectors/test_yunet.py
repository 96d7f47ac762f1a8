from __future__ import annotations

import math

import numpy as np

from anonymize.detectors import yunet


def test_input_is_bgr_as_it_is() -> None:
    batch = yunet.SCALING.apply(np.full((1, 32, 32, 3), (200, 150, 100), np.uint8))
    np.testing.assert_allclose(batch[0, :, 0, 0], [100, 150, 200])


def test_decode_one_cell_of_the_middle_stride() -> None:
    size, stride, row, column = (64, 96), 16, 3, 4
    outputs = {}
    for s in (8, 16, 32):
        n = (size[0] // s) * (size[1] // s)
        for key, values in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            outputs[f"{key}_{s}"] = np.zeros((1, n, values), np.float32)
    i = row * (size[1] // stride) + column
    outputs["cls_16"][0, i], outputs["obj_16"][0, i] = 0.81, 0.25
    outputs["bbox_16"][0, i] = 0.5, 0.25, math.log(2), math.log(3)
    outputs["kps_16"][0, i] = np.arange(10)
    found = yunet.decode(outputs, size)["face"]
    best = int(found.scores.argmax())
    np.testing.assert_allclose(found.scores[best], 0.45, rtol=1e-6)
    assert (np.delete(found.scores, best) == 0).all()
    np.testing.assert_allclose(found.boxes[best], [72 - 16, 52 - 24, 72 + 16, 52 + 24], rtol=1e-5)
    assert found.landmarks is not None
    np.testing.assert_allclose(found.landmarks[best][:2], [(64, 64), (96, 96)])
