"""RetinaFace, mobilenet0.25 (Deng et al., arXiv 1905.00641; biubug6/Pytorch_Retinaface): faces with five landmarks.

The constants are that repository's cfg_mnet: strides, anchor sizes, variances, and the mean of its training images.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..settings import MIN_THRESHOLD
from .candidates import Candidates, Floats, Scaling, above_threshold
from .runtime import Outputs

ANCHORS = {8: (16, 32), 16: (64, 128), 32: (256, 512)}  # stride -> sides of the square anchors, px
VARIANCES = (0.1, 0.2)  # of centers and landmarks, of sizes
SCALING = Scaling(mean=(104.0, 117.0, 123.0), is_bgr=True)


@lru_cache(maxsize=16)
def priors(height: int, width: int) -> Floats:
    """Anchors as (N, 4): center x, center y, width, height in px; by stride, row, column, then size."""
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
    center = anchors[:, :2] + loc[:, :2] * VARIANCES[0] * anchors[:, 2:]
    half = anchors[:, 2:] * np.exp(loc[:, 2:] * VARIANCES[1]) / 2
    landmarks = anchors[:, None, :2] + marks.reshape(-1, 5, 2) * VARIANCES[0] * anchors[:, None, 2:]
    return {"face": Candidates(np.hstack([center - half, center + half]), scores[keep], landmarks)}
