"""Where exactly a region is hidden: its shape, rounded outward, and the soft edge outside of it.

It is here once, so that `coverage`, from which leak rates are measured, cannot differ from what an export hides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from .regions import Box, Region, areas, iou
from .settings import Kind, Settings

PixelBox = tuple[int, int, int, int]

# px; a solid color has an edge of its own and needs no soft one, but a JPEG of half the color resolution mixes two
# columns at it: with these the hidden ones keep their color, and pixels that only look hidden are few.
SOLID_FEATHER = 2
# Corners are believed when the box around them and the region's box agree (IoU) and they are no sliver: a plate of
# 520 x 110 mm turned by 45° fills 0.29 of the box around it.
QUAD_AGREES, QUAD_FILLS = 0.6, 0.25


def mask(region: Region, kind: Kind, width: int, height: int) -> tuple[PixelBox, NDArray[np.float32]]:
    """The piece of a photo that changes when a region is hidden, and how much of each of its pixels is replaced.

    Shapes, all rounded outward: a pixel of which any part lies in the shape is hidden whole; at least one pixel is.

    - rectangle: the box grown by `kind.padding`.
    - ellipse: around the box's center, semi-axes max(√2, 1 + 2 padding) times half the sides. √2 gives the smallest
      ellipse of the box's shape that contains the whole box (an inscribed one leaves 21.5 % of it open); `padding`
      counts where it reaches farther than that. So an ellipse hides all of the detected box, and the padded box at the
      middle of each side.
    - quad: the corners grown by `kind.padding`; the rectangle instead when there are none or they are doubtful (not
      convex, not in order, a sliver, in disagreement with the box, or beside it).

    Args:
        region: in pixels of the photo; it may lie partly or wholly outside.
        kind: its `mask`, `padding` and `kernel.feather`.
        width, height: the photo's, px.

    Returns:
        (x1, y1, x2, y2), half-open, inside the photo; and float32 (y2 - y1, x2 - x1): exactly 1 on every hidden pixel
        and on no other, falling smoothly to 0 over `feather` px outside of them (solid: at most
        SOLID_FEATHER). (0, 0, 0, 0) and shape (0, 0) for a region outside the photo.
    """
    (x1, y1, x2, y2), hidden = _shape(region, kind, width, height)
    if not hidden.size:
        return (0, 0, 0, 0), np.zeros((0, 0), np.float32)
    feather = min(kind.kernel.feather, SOLID_FEATHER) if kind.effect == "solid" else kind.kernel.feather
    left, top, right, bottom = min(feather, x1), min(feather, y1), min(feather, width - x2), min(feather, height - y2)
    hidden = _padded(hidden, top, bottom, left, right)
    piece = (x1 - left, y1 - top, x2 + right, y2 + bottom)
    alpha = hidden.astype(np.float32)
    if feather and not hidden.all():
        # Within 2 % of the Euclidean distance; the exact one costs two to six times as much and looks the same.
        distance = cv2.distanceTransform((~hidden).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
        edge = np.flatnonzero((distance < feather + 1) & ~hidden)  # the only pixels that need arithmetic
        t = 1 - distance.reshape(-1)[edge] / np.float32(feather + 1)
        soft = t * t * (3 - 2 * t)  # smoothstep; and never quite 1, however wide
        alpha.reshape(-1)[edge] = np.minimum(soft, np.nextafter(np.float32(1), np.float32(0)))
    return piece, alpha


def _padded(mask: NDArray[np.bool_], top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_]:
    """A mask with False around it; as np.pad, which takes twenty times as long for a small one."""
    return cv2.copyMakeBorder(mask.view(np.uint8), top, bottom, left, right, cv2.BORDER_CONSTANT).view(np.bool_)


def changed(
    regions: Iterable[Region], settings: Settings, width: int, height: int
) -> list[tuple[PixelBox, NDArray[np.bool_]]]:
    """Where an export with these settings may change a photo: boxes, and which of their pixels (hidden ones, feathers).

    It is where, not whether: a pixel that already has the color it is given is among them.
    """
    pieces = (mask(r, settings.kind(r.kind), width, height) for r in regions if settings.hides(r))
    return [(box, alpha > 0) for box, alpha in pieces if alpha.size]


def coverage(regions: Iterable[Region], settings: Settings, width: int, height: int) -> NDArray[np.bool_]:
    """The pixels that an export with these settings hides whole, as bool (height, width); leaks are measured on it."""
    out = np.zeros((height, width), dtype=bool)
    for region in regions:
        if settings.hides(region):
            (x1, y1, x2, y2), hidden = _shape(region, settings.kind(region.kind), width, height)
            out[y1:y2, x1:x2] |= hidden
    return out


def _shape(region: Region, kind: Kind, width: int, height: int) -> tuple[PixelBox, NDArray[np.bool_]]:
    """The hidden pixels: a box around them inside the photo and bool (h, w), of shape (0, 0) when there are none."""
    grown = region.pad(kind.padding)
    if kind.mask == "quad" and _plausible(region, width, height):
        corners = np.array(grown.corners, dtype=np.float64)
        piece = _outward((*corners.min(axis=0), *corners.max(axis=0)), width, height)
        hidden = _polygon(corners, piece)
        if not _fills(hidden, piece, _outward(region.box, width, height)):
            return _shape(region, replace(kind, mask="rectangle"), width, height)
    elif kind.mask == "ellipse":
        x1, y1, x2, y2 = region.box
        factor = max(math.sqrt(2), 1 + 2 * kind.padding)
        a, b = max((x2 - x1) / 2 * factor, 0.5), max((y2 - y1) / 2 * factor, 0.5)
        cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
        piece = _outward((cx - a, cy - b, cx + a, cy + b), width, height)
        hidden = _ellipse(cx, cy, a, b, piece)
        bx1, by1, bx2, by2 = _outward(region.box, width, height)  # rounding may not cost the box's own corners
        hidden[by1 - piece[1] : by2 - piece[1], bx1 - piece[0] : bx2 - piece[0]] = True
    else:
        piece = _outward(grown.box, width, height)
        hidden = np.ones((piece[3] - piece[1], piece[2] - piece[0]), dtype=bool)
    return (piece, hidden) if hidden.any() else ((0, 0, 0, 0), np.zeros((0, 0), dtype=bool))


def _fills(hidden: NDArray[np.bool_], piece: PixelBox, own: PixelBox) -> bool:
    """Whether a quad hides as much of its region's box as one that lies in the photo whole would at least.

    Of one that reaches far out of the photo, the box around it agrees with any box, but it may lie beside that.
    """
    x1, y1, x2, y2 = own
    within = hidden[max(y1 - piece[1], 0) : max(y2 - piece[1], 0), max(x1 - piece[0], 0) : max(x2 - piece[0], 0)]
    return bool(np.count_nonzero(within) >= QUAD_FILLS * (x2 - x1) * (y2 - y1))


def _outward(box: Box, width: int, height: int) -> PixelBox:
    """As Region.pixels, but never empty inside the photo: a box without area is one pixel."""
    x1, y1 = math.floor(box[0]), math.floor(box[1])
    x2, y2 = max(math.ceil(box[2]), x1 + 1), max(math.ceil(box[3]), y1 + 1)
    x1, x2 = (min(max(v, 0), width) for v in (x1, x2))
    y1, y2 = (min(max(v, 0), height) for v in (y1, y2))
    return x1, y1, x2, y2


def _ellipse(cx: float, cy: float, a: float, b: float, piece: PixelBox) -> NDArray[np.bool_]:
    """Pixels of the piece that an ellipse touches: those whose nearest point to its center lies in it."""

    def nearest(center: float, low: int, high: int, axis: float) -> NDArray[np.float64]:
        middle = np.arange(low, high) + 0.5
        return (np.maximum(np.abs(middle - center) - 0.5, 0) / axis) ** 2

    x1, y1, x2, y2 = piece
    return nearest(cy, y1, y2, b)[:, None] + nearest(cx, x1, x2, a)[None, :] <= 1


def _polygon(corners: NDArray[np.float64], piece: PixelBox) -> NDArray[np.bool_]:
    """Pixels of the piece that a convex clockwise polygon touches (no edge's line separates the two)."""
    x1, y1, x2, y2 = piece
    x, y = np.arange(x1, x2) + 0.5, np.arange(y1, y2) + 0.5
    inside = np.ones((y2 - y1, x2 - x1), dtype=bool)
    edges = np.roll(corners, -1, axis=0) - corners
    for (px, py), (ex, ey) in zip(corners, edges, strict=True):
        reach = (abs(ex) + abs(ey)) / 2  # half a pixel, seen along the edge's normal
        inside &= (ex * (y - py))[:, None] - (ey * (x - px))[None, :] >= -reach - 1e-9 * reach
    return inside


def _plausible(region: Region, width: int, height: int) -> bool:
    """Whether a region's corners can be believed; when in doubt the rectangle hides more."""
    if region.corners is None:
        return False
    corners = np.array(region.corners, dtype=np.float64)
    if not np.isfinite(corners).all():
        return False
    sides = np.roll(corners, -1, axis=0) - corners
    following = np.roll(sides, -1, axis=0)
    if not (sides[:, 0] * following[:, 1] - sides[:, 1] * following[:, 0] > 0).all():
        return False  # not convex, or not clockwise as seen: top left, top right, bottom right, bottom left
    around = np.array([[*corners.min(axis=0), *corners.max(axis=0)]])
    x, y = corners.T
    if abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2 < QUAD_FILLS * areas(around)[0]:
        return False
    # Half a plate has four corners but its box ends at the photo's edge: compare what is in the photo.
    limits = np.array([width, height, width, height])
    own = np.array([region.box])
    return bool(iou(np.clip(around, 0, limits), np.clip(own, 0, limits))[0, 0] >= QUAD_AGREES)
