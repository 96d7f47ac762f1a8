"""MTCNN (Zhang et al., arXiv 1604.02878) as facenet-pytorch ships it: faces with five landmarks, through torch."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from ..settings import MIN_THRESHOLD, Settings
from . import Image
from .candidates import Candidates, Letterbox, letterbox, tensor
from .runtime import NetworkDetector, Outputs, Tensor, threads

SMALLEST = 20  # px of the input; the pyramid of scales ends there
# Of the three networks in a row; the last one's score is the region's. The first two decide what the third looks at.
THRESHOLDS = (0.6, 0.7, MIN_THRESHOLD)
FACTOR = 0.709  # from one scale of the pyramid to the next


def load(name: str, path: Path, settings: Settings, long_side: int, weights: dict[str, str]) -> NetworkDetector:
    """A detector; `path` was verified and is where the package reads its three networks from."""
    network = Cascade(settings.device)
    return NetworkDetector(name, network, lambda image: prepare(image, long_side), decode, settings, weights)


class Cascade:
    """float32 (1, 3, H, W), RGB 0–255, sides of at least 32 px -> boxes (N, 5) with scores, points (N, 5, 2)."""

    def __init__(self, device: str) -> None:
        import torch
        from facenet_pytorch.models.mtcnn import MTCNN

        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if count := threads():
            torch.set_num_threads(count)
        self._networks = MTCNN(device=torch.device(device))
        self._lock = threading.Lock()  # its buffers exist once

    def __call__(self, batch: Tensor) -> Outputs:
        import torch
        from facenet_pytorch.models.utils.detect_face import detect_face

        n = self._networks
        with self._lock, torch.inference_mode():
            # Not MTCNN.detect(): that wraps boxes into object arrays, and None for no face.
            image = torch.as_tensor(batch[0].transpose(1, 2, 0), device=n.device)
            boxes, points = detect_face(image, SMALLEST, n.pnet, n.rnet, n.onet, THRESHOLDS, FACTOR, n.device)
        return {
            "boxes": np.asarray(boxes[0], np.float32).reshape(-1, 5),
            "points": np.asarray(points[0], np.float32).reshape(-1, 5, 2),
        }


def prepare(image: Image, long_side: int) -> tuple[Letterbox, Tensor]:
    """RGB uint8 (H, W, 3) -> its frame and RGB 0–255, float32 (1, 3, h, w)."""
    frame = letterbox(image, long_side)
    return frame, tensor(frame.pixels)


def decode(outputs: Outputs, size: tuple[int, int], floor: float = MIN_THRESHOLD) -> dict[str, Candidates]:
    """boxes (N, 5): x1, y1, x2, y2, score; points (N, 5, 2) -> faces in the input's px."""
    boxes = outputs["boxes"]
    return {"face": Candidates(boxes[:, :4], boxes[:, 4], outputs["points"])}
