"""What lies around hidden areas, spread smoothly into them: it looks like a blur and carries nothing of what it covers.

Between the pixels around it an area is a membrane: each cell is the mean of its neighbors (Laplace's equation). It is
solved from coarse grids to fine ones. Hidden pixels have the weight 0, so that what they hold cannot enter the result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .masks import PixelBox

# px; areas closer than that are filled as one, and at least so much is looked at around each.
GRID = 8
# Around a large area that part of its shorter side.
MARGIN = 8
# Cells of the finest grid across an area's shorter side: more look the same, and the cost does not grow with the area.
CELLS = 32
# On each grid; the coarser one has done the rest.
STEPS = 5


def inpaint(
    pixels: NDArray[Any], areas: Sequence[PixelBox], known: NDArray[np.bool_]
) -> Iterator[tuple[PixelBox, list[int], NDArray[Any]]]:
    """Fill areas of a photo from the known pixels around them. Areas that touch are filled as one.

    Args:
        pixels: uint8 or uint16, (H, W) or (H, W, C). areas: (x1, y1, x2, y2), half-open, inside the photo.
        known: (H, W); the others are hidden or mixed with something hidden, by whatever effect: they count for nothing.

    Yields:
        A box around some of the areas, their indices, and the box's pixels: those that are known as they are, the
        others filled; gray where nothing is known.
    """
    height, width = known.shape
    for (x1, y1, x2, y2), members in _group(areas, width, height):
        around, is_known = pixels[y1:y2, x1:x2], known[y1:y2, x1:x2]
        if is_known.any():
            side = min(min(right - left, bottom - top) for left, top, right, bottom in (areas[i] for i in members))
            out = membrane(around, is_known, max(1, side // CELLS))
            cv2.copyTo(around, is_known.view(np.uint8), out)
        else:
            out = np.full_like(around, np.iinfo(pixels.dtype).max // 2)
        yield (x1, y1, x2, y2), members, out


def membrane(pixels: NDArray[Any], known: NDArray[np.bool_], shrink: int = 1) -> NDArray[Any]:
    """A smooth picture that continues the known pixels into the others.

    Args:
        pixels: (H, W) or (H, W, C). known: (H, W), not all False. shrink: px a side of a cell of the finest grid.

    Returns:
        Of the same shape and dtype; the same whatever the pixels hold that are not known.
    """
    chosen = cv2.copyTo(pixels, known.view(np.uint8)).reshape(*known.shape, -1)
    levels = [_smaller(chosen, known.astype(np.float32), shrink)]
    while max(levels[-1][1].shape) > 2:
        levels.append(_smaller(*levels[-1], 2))
    sums, weights = levels[-1]
    out = np.broadcast_to(sums.sum(axis=(0, 1)) / weights.sum(), sums.shape).astype(np.float32)
    for sums, weights in reversed(levels):
        out = resize(out, weights.shape, cv2.INTER_LINEAR)
        free = np.repeat((1 - weights)[..., None], sums.shape[2], axis=2)  # numpy takes far longer to spread it itself
        for _ in range(STEPS):
            out = cv2.blur(out, (3, 3)).reshape(out.shape)
            out *= free
            out += sums
    np.clip(np.rint(out, out=out), 0, np.iinfo(pixels.dtype).max, out=out)
    return resize(out.astype(pixels.dtype), known.shape, cv2.INTER_LINEAR).reshape(pixels.shape)


def _smaller(
    sums: NDArray[Any], weights: NDArray[np.float32], factor: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Each cell's mean of known pixels times their weights, and of the weights."""
    size = math.ceil(weights.shape[0] / factor), math.ceil(weights.shape[1] / factor)
    return resize(sums, size, cv2.INTER_AREA).astype(np.float32), resize(weights, size, cv2.INTER_AREA)


def resize(values: NDArray[Any], size: tuple[int, ...], how: int) -> NDArray[Any]:
    """`cv2.resize` for any number of channels; size: height and width."""
    height, width = size
    if values.shape[:2] == (height, width):
        return values
    if values.ndim == 3 and values.shape[2] > 4:  # OpenCV's limit
        return np.dstack([cv2.resize(channel, (width, height), interpolation=how) for channel in cv2.split(values)])
    return cv2.resize(values, (width, height), interpolation=how).reshape(height, width, *values.shape[2:])


def _group(areas: Sequence[PixelBox], width: int, height: int) -> Iterator[tuple[PixelBox, list[int]]]:
    """Boxes around areas that touch or nearly do, with what is looked at around them; and which areas these are."""
    raster = np.zeros((math.ceil(height / GRID), math.ceil(width / GRID)), np.uint8)
    for x1, y1, x2, y2 in areas:
        margin = max(GRID, min(x2 - x1, y2 - y1) // MARGIN)
        rows = slice(max(y1 - margin, 0) // GRID, (y2 + margin) // GRID + 1)
        raster[rows, max(x1 - margin, 0) // GRID : (x2 + margin) // GRID + 1] = 1
    _, labels, stats, _ = cv2.connectedComponentsWithStats(raster)
    members: dict[int, list[int]] = {}
    for i, (x1, y1, _, _) in enumerate(areas):
        members.setdefault(int(labels[y1 // GRID, x1 // GRID]), []).append(i)
    for label, some in members.items():
        x, y, w, h = (int(v) * GRID for v in stats[label, :4])
        yield (x, y, min(x + w, width), min(y + h, height)), some
