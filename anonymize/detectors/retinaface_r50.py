"""RetinaFace, ResNet50, of the package retina-face (serengil/retinaface): faces with five landmarks.

The package's own ONNX file is run, on OpenVINO or a GPU, as every network here; the package itself, which chooses its
framework and fetches weights when it is imported, is not. Anchors and their arithmetic are those of its `RetinaFace.py`
and `commons/postprocess.py`, with which the tests compare.
"""

from __future__ import annotations

import numpy as np

from ..errors import DetectionError
from ..settings import MIN_THRESHOLD
from .candidates import Candidates, Scaling, above_threshold
from .runtime import Outputs

SIDES = {32: (512, 256), 16: (128, 64), 8: (32, 16)}  # stride -> sides of the square anchors, px, in the file's order
# px; where every first cell's anchors lie, whatever the stride. The package says 7.5 and subtracts 1 from each width
# and height, since its boxes end on a pixel; these end after one.
CENTER = 8.0
SCALING = Scaling(channels_last=True)  # 0–255


def decode(outputs: Outputs, size: tuple[int, int], floor: float = MIN_THRESHOLD) -> dict[str, Candidates]:
    """Nine maps -> faces in the input's px; `size` is not needed.

    For strides 32, 16 and 8 in turn: (1, h, w, 4) probabilities, two of "no face", then two of "face"; (1, h, w, 8)
    box offsets; (1, h, w, 20) landmark offsets; each for the larger anchor first.

    Raises:
        DetectionError: outputs of another shape.
    """
    maps = list(outputs.values())
    if [m.shape[-1] for m in maps] != [4, 8, 20] * 3:
        raise DetectionError(f"nine maps of 4, 8 and 20 values were expected; received {[m.shape for m in maps]}")
    boxes, scores, landmarks = [], [], []
    for (stride, sides), (probability, offset, mark) in zip(
        SIDES.items(), zip(*[iter(maps)] * 3, strict=True), strict=True
    ):
        flat = probability[0, :, :, 2:].reshape(-1)
        keep = above_threshold(flat, floor)
        cell, anchor = np.divmod(keep, 2)
        y, x = np.divmod(cell, probability.shape[2])
        side = np.array(sides, np.float32)[anchor][:, None]
        center = np.stack([x, y], axis=1) * stride + CENTER
        moved = offset.reshape(-1, 4)[keep]
        middle = center + moved[:, :2] * side
        half = np.exp(moved[:, 2:]) * side / 2
        boxes.append(np.hstack([middle - half, middle + half]))
        landmarks.append(center[:, None] + mark.reshape(-1, 5, 2)[keep] * side[:, None])
        scores.append(flat[keep])
    return {"face": Candidates(np.concatenate(boxes), np.concatenate(scores), np.concatenate(landmarks))}
