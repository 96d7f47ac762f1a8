"""YuNet (Wu et al., Machine Intelligence Research 2023; ShiqiYu/libfacedetection.train): faces with five landmarks."""

from __future__ import annotations

import numpy as np

from ..settings import MIN_THRESHOLD
from .candidates import Candidates, Scaling
from .runtime import Outputs

STRIDES = (8, 16, 32)
SCALING = Scaling(is_bgr=True)  # 0–255


def decode(outputs: Outputs, size: tuple[int, int], floor: float = MIN_THRESHOLD) -> dict[str, Candidates]:
    """For each stride cls, obj (1, N, 1), bbox (1, N, 4), kps (1, N, 10) over rows then columns -> faces.

    The score is the geometric mean of class and objectness; a box is its center's offset from the cell's top left and
    the log of its sides, all in strides. Candidates are in the input's px.
    """
    boxes, scores, landmarks = [], [], []
    for stride in STRIDES:
        cls, obj, box, kps = (outputs[f"{k}_{stride}"][0] for k in ("cls", "obj", "bbox", "kps"))
        y, x = np.indices((size[0] // stride, size[1] // stride), dtype=np.float32).reshape(2, -1)
        cell = np.stack([x, y], axis=1)
        center, half = (cell + box[:, :2]) * stride, np.exp(box[:, 2:]) * stride / 2
        boxes.append(np.hstack([center - half, center + half]))
        scores.append(np.sqrt(np.clip(cls[:, 0], 0, 1) * np.clip(obj[:, 0], 0, 1)))
        landmarks.append((cell[:, None] + kps.reshape(-1, 5, 2)) * stride)
    return {"face": Candidates(np.concatenate(boxes), np.concatenate(scores), np.concatenate(landmarks))}
