"""Effects: what hides a region, where exactly, and how it is put into the photo.

The three effects are small functions `(crop, strength) -> crop`; the shapes of regions and the compositing are here
once, so that `coverage`, from which leak rates are measured, cannot differ from what `apply` writes.

Why a mosaic comes first: a Gaussian blur is a linear filter that can be undone or matched. Blurred faces were
re-identified 95.9 % of the time, also with a wrong guess of the kernel (Revelio, arXiv 2506.12344); coarse mosaics
withstood better (arXiv 2512.16086). A mosaic throws away everything finer than its cells, so whatever kernel follows
has nothing to give back.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import SettingsError, UnsupportedImageError
from .regions import Box, Region, areas, iou
from .settings import Kernel, Kind, Settings

Pixels = NDArray[Any]  # uint8 or uint16, (H, W) or (H, W, C)
PixelBox = tuple[int, int, int, int]

# At most 12 mosaic blocks across a region, as Panoramax does (Argoverse used 5): more needs allow_weak.
MAX_MOSAIC_BLOCKS = 12
# A cell's side is at least 4 px, or the mosaic of a 12 px face would still be most of that face.
MIN_BLOCK = 4.0
# Half a cell of sigma after linear interpolation leaves no edge of a cell to be seen.
SOFTNESS = 0.5
# A Gaussian of a larger sigma is computed on a smaller picture, in which what it leaves fits; so its cost does not grow
# with sigma.
WORK_SIGMA = 4.0
# px; a solid colour has an edge of its own and needs no soft one, but a JPEG of half the colour resolution mixes two
# columns at it: with these the hidden ones keep their colour, and pixels that only look hidden are few.
SOLID_FEATHER = 2
# Corners are believed when the box around them and the region's box agree (IoU) and they are no sliver: a plate of
# 520 x 110 mm turned by 45° fills 0.29 of the box around it.
QUAD_AGREES, QUAD_FILLS = 0.6, 0.25

MODES: Mapping[str, int] = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}
_DEFAULT_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True, slots=True)
class Strength:
    """How strongly one region is hidden, in its own pixels.

    Attributes:
        cell: px, the least side of a mosaic cell.
        kernel: Gaussian that smooths the mosaic; size 0 and sigma 0: chosen from the cell.
        mosaic: False only with allow_weak: the Gaussian alone.
        colour: one value a channel, for solid; other effects do not read it.
    """

    cell: float
    kernel: Kernel
    mosaic: bool = True
    colour: tuple[float, ...] = ()


def _mosaic(crop: Pixels, cell: float) -> Pixels:
    """One pixel for each cell, the mean over its area. Cells divide the crop evenly; none is smaller than `cell`."""
    h, w = crop.shape[:2]
    return _resize(crop, max(1, int(w / cell)), max(1, int(h / cell)), cv2.INTER_AREA)


def blur(crop: Pixels, strength: Strength) -> Pixels:
    """Gaussian blur of the crop's mosaic: a soft look, and no more left than in the mosaic."""
    h, w = crop.shape[:2]
    size, sigma = strength.kernel.size, strength.kernel.sigma
    if not sigma:  # OpenCV's rule, or what makes the cells melt into each other
        sigma = 0.3 * ((size - 1) * 0.5 - 1) + 0.8 if size else SOFTNESS * strength.cell
    shrink = max(1.0, sigma / WORK_SIGMA)
    reach = 2 * math.ceil(5 * sigma / shrink) + 1  # beyond five sigma nothing of 16 bit is left
    taps = min(round(size / shrink) | 1, reach) if size else reach
    base = _mosaic(crop, strength.cell) if strength.mosaic else crop
    work = math.ceil(w / shrink), math.ceil(h / shrink)
    smaller = work[0] <= base.shape[1] and work[1] <= base.shape[0]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    soft = cv2.GaussianBlur(_resize(base, *work, how), (taps, taps), sigma / shrink, borderType=cv2.BORDER_REPLICATE)
    return _resize(soft, w, h, cv2.INTER_LINEAR)


def _resize(crop: Pixels, width: int, height: int, how: int) -> Pixels:
    if crop.ndim == 3 and crop.shape[2] > 4:  # OpenCV's limit
        return np.dstack([cv2.resize(channel, (width, height), interpolation=how) for channel in cv2.split(crop)])
    return cv2.resize(crop, (width, height), interpolation=how)


def pixelate(crop: Pixels, strength: Strength) -> Pixels:
    """The mosaic itself."""
    h, w = crop.shape[:2]
    return _resize(_mosaic(crop, strength.cell), w, h, cv2.INTER_NEAREST)


def solid(crop: Pixels, strength: Strength) -> Pixels:
    """One colour."""
    out = np.empty_like(crop)
    out[...] = np.rint(strength.colour).astype(crop.dtype) if crop.ndim == 3 else round(strength.colour[0])
    return out


TABLE: Mapping[str, Callable[[Pixels, Strength], Pixels]] = {"blur": blur, "pixelate": pixelate, "solid": solid}


def mask(region: Region, kind: Kind, width: int, height: int) -> tuple[PixelBox, NDArray[np.float32]]:
    """The piece of a photo that changes when a region is hidden, and how much of each of its pixels is replaced.

    Shapes, all rounded outward: a pixel of which any part lies in the shape is hidden whole; at least one pixel is.

    - rectangle: the box grown by `kind.padding`.
    - ellipse: around the box's centre, semi-axes max(√2, 1 + 2 padding) times half the sides. √2 gives the smallest
      ellipse of the box's shape that contains the whole box (an inscribed one leaves 21.5 % of it open); `padding`
      counts where it reaches farther than that. So an ellipse hides all of the detected box, and the padded box at the
      middle of each side.
    - quad: the corners grown by `kind.padding`; the rectangle instead when there are none or they are doubtful (not
      convex, not in order, a sliver, or in disagreement with the box).

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
    hidden = np.pad(hidden, ((top, bottom), (left, right)))
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


def coverage(regions: Iterable[Region], settings: Settings, width: int, height: int) -> NDArray[np.bool_]:
    """The pixels that an export with these settings hides whole, as bool (height, width); leaks are measured on it."""
    out = np.zeros((height, width), dtype=bool)
    for region in regions:
        if settings.hides(region):
            (x1, y1, x2, y2), hidden = _shape(region, settings.kind(region.kind), width, height)
            out[y1:y2, x1:x2] |= hidden
    return out


def apply(pixels: Pixels, regions: Iterable[Region], settings: Settings, mode: str | None = None) -> Pixels:
    """A copy of a photo in which every region that the settings hide is hidden.

    Regions are hidden one after the other, each from what is already hidden, so overlapping ones bring nothing back;
    solid ones come last, so that nothing mixes into their colour. The order in which regions are given does not matter.

    Args:
        pixels: uint8 or uint16, upright, (H, W) or (H, W, C); it stays as it is.
        regions: in pixels of this photo; `settings.hides` chooses among them, `settings.kind` says how.
        mode: what the channels are: "L", "LA", "RGB", "RGBA" or "CMYK" (0 is no ink, as in Pillow). None: by their
            number, four being RGBA. Only the solid effect needs it, for its colour and opacity.

    Returns:
        An array of the same shape and dtype. Outside masks and feathers it equals `pixels` bit by bit.

    Raises:
        UnsupportedImageError: another dtype or shape; a fill colour for channels that have no known meaning.
        SettingsError: an unknown mode, or one with another number of channels.
    """
    if pixels.dtype not in (np.uint8, np.uint16) or pixels.ndim not in (2, 3) or pixels.shape[2:] == (0,):
        raise UnsupportedImageError(
            f"pixels are uint8 or uint16, (H, W) or (H, W, C); received {pixels.dtype}, {pixels.shape}"
        )
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    mode = mode or _DEFAULT_MODES.get(channels, "")
    if mode and MODES.get(mode) != channels:
        valid = ", ".join(f"{m} ({c})" for m, c in MODES.items())
        raise SettingsError(f"a mode with its channels is {valid}; received {mode!r} with {channels}")
    out = np.array(pixels, order="C")
    flat = out.reshape(out.shape[:2]) if channels == 1 else out  # OpenCV drops a single channel's axis
    height, width = flat.shape[:2]
    for region in _in_order(regions, settings):
        kind = settings.kind(region.kind)
        (x1, y1, x2, y2), alpha = mask(region, kind, width, height)
        if alpha.size:
            piece = flat[y1:y2, x1:x2]
            strength = _strength(region, kind, settings.allow_weak, piece, alpha, mode)
            _composite(piece, TABLE[kind.effect](piece, strength), alpha)
    return out


def _in_order(regions: Iterable[Region], settings: Settings) -> list[Region]:
    hidden = [r for r in regions if settings.hides(r)]
    if settings.allow_weak and any(settings.kind(r.kind).effect != "solid" for r in hidden):
        warnings.warn("allow_weak is set: what is hidden can be recovered from the output", stacklevel=3)
    return sorted(hidden, key=lambda r: (settings.kind(r.kind).effect == "solid", r.box, r.kind, r.corners or ()))


def _strength(region: Region, kind: Kind, weak: bool, piece: Pixels, alpha: NDArray[np.float32], mode: str) -> Strength:
    mosaic_blocks, least = (
        (kind.mosaic_blocks, 1.0) if weak else (min(kind.mosaic_blocks, MAX_MOSAIC_BLOCKS), MIN_BLOCK)
    )
    cell = max(max(region.width, region.height) / mosaic_blocks, least)
    colour = _colour(kind.fill, mode, piece, alpha == 1) if kind.effect == "solid" else ()
    return Strength(cell, kind.kernel, not weak, colour)


def _colour(fill: str, mode: str, piece: Pixels, hidden: NDArray[np.bool_]) -> tuple[float, ...]:
    """The fill as one value a channel in the piece's range."""
    top = float(np.iinfo(piece.dtype).max)
    if fill == "mean":
        chosen = hidden.astype(np.uint8)
        values = [cv2.mean(channel, chosen)[0] for channel in cv2.split(piece)]
        return tuple([*values[:-1], top] if mode in ("LA", "RGBA") else values)
    r, g, b = (int(("000000" if fill == "black" else fill)[i : i + 2], 16) / 255 for i in (0, 2, 4))
    k = 1 - max(r, g, b)
    luma = 0.299 * r + 0.587 * g + 0.114 * b  # ITU-R BT.601, as Pillow's
    ink = 1 - k or 1.0
    colours: dict[str, Sequence[float]] = {
        "L": (luma,),
        "LA": (luma, 1),
        "RGB": (r, g, b),
        "RGBA": (r, g, b, 1),
        "CMYK": ((1 - r - k) / ink, (1 - g - k) / ink, (1 - b - k) / ink, k),
    }
    if mode not in colours:
        raise UnsupportedImageError(f"no fill colour is known for {len(cv2.split(piece))} channels; use mean")
    return tuple(float(round(v * 255)) * (top / 255) for v in colours[mode])


def _composite(piece: Pixels, hidden: Pixels, alpha: NDArray[np.float32]) -> None:
    """Write `hidden` over `piece`, in place: whole where alpha is 1, mixed where it is between, not where it is 0."""
    out = cv2.copyTo(hidden, (alpha == 1).view(np.uint8), piece.copy())
    edge = np.flatnonzero((alpha > 0) & (alpha < 1))
    weight = alpha.reshape(-1, 1)[edge]
    new, flat = (
        hidden.reshape(alpha.size, -1),
        out.reshape(alpha.size, -1),
    )  # one row a pixel; views, both are contiguous
    old = flat[edge].astype(np.float32)
    flat[edge] = np.rint(old + (new[edge] - old) * weight).astype(piece.dtype)
    piece[...] = out


def _shape(region: Region, kind: Kind, width: int, height: int) -> tuple[PixelBox, NDArray[np.bool_]]:
    """The hidden pixels: a box around them inside the photo and bool (h, w), of shape (0, 0) when there are none."""
    grown = region.pad(kind.padding)
    if kind.mask == "quad" and _plausible(region, width, height):
        corners = np.array(grown.corners, dtype=np.float64)
        piece = _outward((*corners.min(axis=0), *corners.max(axis=0)), width, height)
        hidden = _polygon(corners, piece)
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


def _outward(box: Box, width: int, height: int) -> PixelBox:
    """As Region.pixels, but never empty inside the photo: a box without area is one pixel."""
    x1, y1 = math.floor(box[0]), math.floor(box[1])
    x2, y2 = max(math.ceil(box[2]), x1 + 1), max(math.ceil(box[3]), y1 + 1)
    x1, x2 = (min(max(v, 0), width) for v in (x1, x2))
    y1, y2 = (min(max(v, 0), height) for v in (y1, y2))
    return x1, y1, x2, y2


def _ellipse(cx: float, cy: float, a: float, b: float, piece: PixelBox) -> NDArray[np.bool_]:
    """Pixels of the piece that an ellipse touches: those whose nearest point to its centre lies in it."""

    def nearest(centre: float, low: int, high: int, axis: float) -> NDArray[np.float64]:
        middle = np.arange(low, high) + 0.5
        return (np.maximum(np.abs(middle - centre) - 0.5, 0) / axis) ** 2

    x1, y1, x2, y2 = piece
    return nearest(cy, y1, y2, b)[:, None] + nearest(cx, x1, x2, a)[None, :] <= 1


def _polygon(corners: NDArray[np.float64], piece: PixelBox) -> NDArray[np.bool_]:
    """Pixels of the piece that a convex clockwise polygon touches (no edge's line separates the two)."""
    x1, y1, x2, y2 = piece
    x, y = np.arange(x1, x2) + 0.5, np.arange(y1, y2) + 0.5
    inside = np.ones((y2 - y1, x2 - x1), dtype=bool)
    for (px, py), (ex, ey) in _edges(corners):
        reach = (abs(ex) + abs(ey)) / 2  # half a pixel, seen along the edge's normal
        inside &= (ex * (y - py))[:, None] - (ey * (x - px))[None, :] >= -reach - 1e-9 * reach
    return inside


def _edges(corners: NDArray[np.float64]) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    yield from zip(corners, np.roll(corners, -1, axis=0) - corners, strict=True)


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


def warn_reversible(settings: Settings) -> list[str]:
    """Plain sentences about settings whose output may be turned back, or may show an edge of what it hides.

    Sources: Revelio (arXiv 2506.12344); Panoramax for the number of cells; the project's measurement on 444 photos of
    plates for growing (safelicensing at 640, threshold 0.25).
    """
    out: list[str] = []
    for name, kind in settings.kinds.items():
        if settings.allow_weak and kind.effect == "blur":
            out.append(
                f"{name}: a Gaussian blur without the mosaic can be undone; blurred faces were re-identified 95.9 % of "
                "the time (Revelio, arXiv 2506.12344). Switch allow_weak off."
            )
        if kind.mosaic_blocks > MAX_MOSAIC_BLOCKS and kind.effect != "solid":
            used = (
                f"all {kind.mosaic_blocks}, because allow_weak is set"
                if settings.allow_weak
                else str(MAX_MOSAIC_BLOCKS)
            )
            out.append(
                f"{name}: more than {MAX_MOSAIC_BLOCKS} mosaic blocks leave too much to see (Panoramax's limit); "
                f"used: {used}."
            )
        if name == "plate" and kind.effect != "solid":
            out.append(
                f"{name}: what {kind.effect} leaves of a short text can be guessed by drawing every candidate the same "
                "way. The solid effect in a fixed colour leaves nothing."
            )
        if kind.padding < 0.05:
            out.append(
                f"{name}: detectors draw tight boxes; more than a tenth of 15 in 100 real plates stayed open when they "
                "were not grown, and of 3 in 100 when grown by 0.1. Set padding to 0.1 or more."
            )
    return out
