"""MTCNN (Zhang et al., arXiv 1604.02878) as facenet-pytorch ships it: faces with five landmarks, through torch."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import SettingsError
from ..extras import extra
from ..settings import MIN_THRESHOLD
from .candidates import Candidates, Scaling
from .detector import Image
from .runtime import Outputs, threads

SMALLEST = 20  # px of the input; the pyramid of scales ends there
# Of the three networks in a row; the last one's score is the region's. The first two decide what the third looks at.
THRESHOLDS = (0.6, 0.7, MIN_THRESHOLD)
FACTOR = 0.709  # from one scale of the pyramid to the next
SCALING = Scaling()  # RGB, 0–255


def open_cascade(path: Path, device: str, *, scaling: Scaling = SCALING, pages: Sequence[int] = ()) -> Cascade:
    """The three networks; `path` was verified and is where the package reads them from."""
    return Cascade(device)


class Cascade:
    """uint8 (1, H, W, 3) RGB, sides of at least 32 px -> boxes (N, 5) with scores, points (N, 5, 2)."""

    def __init__(self, device: str) -> None:
        with extra("torch", "the detector mtcnn"):
            import torch
            from facenet_pytorch.models.mtcnn import MTCNN

        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cuda" and not torch.cuda.is_available():
            raise SettingsError("device cuda: torch, which runs mtcnn, sees no GPU here; use cpu, or auto")
        if count := threads():
            torch.set_num_threads(count)
        self._networks = MTCNN(device=torch.device(device))
        self._lock = threading.Lock()  # its buffers exist once

    def __call__(self, batch: Image) -> Outputs:
        import torch
        from facenet_pytorch.models.utils.detect_face import detect_face

        n = self._networks
        with self._lock, torch.inference_mode():
            # Not MTCNN.detect(): that wraps boxes into object arrays, and None for no face.
            image = torch.as_tensor(batch[0], dtype=torch.float32, device=n.device)
            boxes, points = detect_face(image, SMALLEST, n.pnet, n.rnet, n.onet, THRESHOLDS, FACTOR, n.device)
        return {
            "boxes": np.asarray(boxes[0], np.float32).reshape(-1, 5),
            "points": np.asarray(points[0], np.float32).reshape(-1, 5, 2),
        }


def decode(outputs: Outputs, size: tuple[int, int], floor: float = MIN_THRESHOLD) -> dict[str, Candidates]:
    """boxes (N, 5): x1, y1, x2, y2, score; points (N, 5, 2) -> faces in the input's px."""
    boxes = outputs["boxes"]
    return {"face": Candidates(boxes[:, :4], boxes[:, 4], outputs["points"])}
