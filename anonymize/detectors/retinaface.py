"""RetinaFace, mobilenet0.25 (Deng et al., arXiv 1905.00641; biubug6/Pytorch_Retinaface): faces with five landmarks.

The constants are that repository's cfg_mnet: strides, anchor sizes, variances, and the mean of its training images.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from ..settings import MIN_THRESHOLD, Settings
from . import Image
from .candidates import Candidates, Floats, Letterbox, above_threshold, letterbox, tensor
from .runtime import NetworkDetector, Outputs, Tensor, open_network

ANCHORS = {8: (16, 32), 16: (64, 128), 32: (256, 512)}  # stride -> sides of the square anchors, px
VARIANCES = (0.1, 0.2)  # of centres and landmarks, of sizes
MEAN_BGR = (104.0, 117.0, 123.0)


def load(name: str, path: Path, settings: Settings, long_side: int, weights: dict[str, str]) -> NetworkDetector:
    """A detector from the ONNX file (input BGR minus mean; outputs loc, conf, landmarks)."""
    network = open_network(path, settings.device)
    return NetworkDetector(name, network, lambda image: prepare(image, long_side), decode, settings, weights)


def prepare(image: Image, long_side: int) -> tuple[Letterbox, Tensor]:
    """RGB uint8 (H, W, 3) -> its frame and BGR minus the mean, float32 (1, 3, h, w)."""
    frame = letterbox(image, long_side)
    return frame, tensor(frame.pixels[:, :, ::-1], mean=MEAN_BGR)


@lru_cache(maxsize=16)
def priors(height: int, width: int) -> Floats:
    """Anchors as (N, 4): centre x, centre y, width, height in px; by stride, row, column, then size."""
    parts = []
    for stride, sides in ANCHORS.items():
        y, x, side = np.meshgrid(
            (np.arange(-(-height // stride)) + 0.5) * stride,
            (np.arange(-(-width // stride)) + 0.5) * stride,
            np.array(sides, np.float64),
            indexing="ij",
        )
        parts.append(np.stack([x, y, side, side], axis=-1).reshape(-1, 4))
    out = np.concatenate(parts).astype(np.float32)
    out.setflags(write=False)
    return out


def decode(outputs: Outputs, size: tuple[int, int], floor: float = MIN_THRESHOLD) -> dict[str, Candidates]:
    """loc (1, N, 4), conf (1, N, 2) after softmax, landmarks (1, N, 10) -> faces in the input's px."""
    scores = outputs["conf"][0, :, 1]
    keep = above_threshold(scores, floor)
    anchors, loc, marks = priors(*size)[keep], outputs["loc"][0, keep], outputs["landmarks"][0, keep]
    centre = anchors[:, :2] + loc[:, :2] * VARIANCES[0] * anchors[:, 2:]
    half = anchors[:, 2:] * np.exp(loc[:, 2:] * VARIANCES[1]) / 2
    landmarks = anchors[:, None, :2] + marks.reshape(-1, 5, 2) * VARIANCES[0] * anchors[:, None, 2:]
    return {"face": Candidates(np.hstack([centre - half, centre + half]), scores[keep], landmarks)}
