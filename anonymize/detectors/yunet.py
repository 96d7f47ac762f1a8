"""YuNet (Wu et al., Machine Intelligence Research 2023; ShiqiYu/libfacedetection.train): faces with five landmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..settings import MIN_THRESHOLD, Settings
from . import Image
from .candidates import Candidates, Letterbox, letterbox, tensor
from .runtime import NetworkDetector, Outputs, Tensor, open_network

STRIDES = (8, 16, 32)


def load(name: str, path: Path, settings: Settings, long_side: int, weights: dict[str, str]) -> NetworkDetector:
    """A detector from yunet_n_dynamic.onnx."""
    network = open_network(path, settings.device)
    return NetworkDetector(name, network, lambda image: prepare(image, long_side), decode, settings, weights)


def prepare(image: Image, long_side: int) -> tuple[Letterbox, Tensor]:
    """RGB uint8 (H, W, 3) -> its frame and BGR 0–255, float32 (1, 3, h, w)."""
    frame = letterbox(image, long_side)
    return frame, tensor(frame.pixels[:, :, ::-1])


def decode(outputs: Outputs, size: tuple[int, int], floor: float = MIN_THRESHOLD) -> dict[str, Candidates]:
    """For each stride cls, obj (1, N, 1), bbox (1, N, 4), kps (1, N, 10) over rows then columns -> faces.

    The score is the geometric mean of class and objectness; a box is its centre's offset from the cell's top left and
    the log of its sides, all in strides. Candidates are in the input's px.
    """
    boxes, scores, landmarks = [], [], []
    for stride in STRIDES:
        cls, obj, box, kps = (outputs[f"{k}_{stride}"][0] for k in ("cls", "obj", "bbox", "kps"))
        y, x = np.indices((size[0] // stride, size[1] // stride), dtype=np.float32).reshape(2, -1)
        cell = np.stack([x, y], axis=1)
        centre, half = (cell + box[:, :2]) * stride, np.exp(box[:, 2:]) * stride / 2
        boxes.append(np.hstack([centre - half, centre + half]))
        scores.append(np.sqrt(np.clip(cls[:, 0], 0, 1) * np.clip(obj[:, 0], 0, 1)))
        landmarks.append((cell[:, None] + kps.reshape(-1, 5, 2)) * stride)
    return {"face": Candidates(np.concatenate(boxes), np.concatenate(scores), np.concatenate(landmarks))}
