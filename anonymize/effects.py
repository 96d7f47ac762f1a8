"""Effects: what hides a region, and how it is put into the photo.

`inpaint` and `solid` carry nothing of what they hide: the first is made of the pixels around a region (`inpainting`).
`blur` and `pixelate` show a coarse mosaic of it. The mosaic comes first because a Gaussian blur is a linear filter that
can be undone or matched: blurred faces were re-identified 95.9 % of the time, also with a wrong guess of the kernel
(Revelio, arXiv 2506.12344); coarse mosaics withstood better (arXiv 2512.16086). But whoever can draw every candidate,
as for a plate, finds the true one under either (bench/attacker.py).
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
from .inpainting import inpaint, resize
from .masks import PixelBox, mask
from .regions import Region
from .settings import Kernel, Kind, Settings

Pixels = NDArray[Any]  # uint8 or uint16, (H, W) or (H, W, C)

# At most 12 mosaic blocks across a region, as Panoramax does (Argoverse used 5): more needs allow_weak.
MAX_MOSAIC_BLOCKS = 12
# A cell's side is at least 4 px, or the mosaic of a 12 px face would still be most of that face.
MIN_BLOCK = 4.0
# Half a cell of sigma after linear interpolation leaves no edge of a cell to be seen.
SOFTNESS = 0.5
# A Gaussian of a larger sigma is computed on a smaller picture, in which what it leaves fits; so its cost does not grow
# with sigma.
WORK_SIGMA = 4.0
# What is still to be had from a mosaic, by the kind of what it hides (docs/effects.md).
SHOWN_BY_MOSAICS = {"face": "matched", "plate": "short-text"}
MOSAICS = ("blur", "pixelate")  # effects that show a mosaic of what they hide
MODES: Mapping[str, int] = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}
_DEFAULT_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True, slots=True)
class Strength:
    """How strongly one region is hidden, in its own pixels.

    Attributes:
        cell: px, the least side of a mosaic cell.
        kernel: Gaussian that smooths the mosaic; size 0 and sigma 0: chosen from the cell.
        mosaic: False only with allow_weak: the Gaussian alone.
        color: one value a channel, for solid; other effects do not read it.
    """

    cell: float
    kernel: Kernel
    mosaic: bool = True
    color: tuple[float, ...] = ()

    @property
    def sigma(self) -> float:
        """The Gaussian's: as given, by OpenCV's rule for its size, or what makes the cells melt into each other."""
        size = self.kernel.size
        return self.kernel.sigma or (0.3 * ((size - 1) * 0.5 - 1) + 0.8 if size else SOFTNESS * self.cell)


def _mosaic(crop: Pixels, cell: float) -> Pixels:
    """One pixel for each cell, the mean over its area. Cells divide the crop evenly; none is smaller than `cell`."""
    h, w = crop.shape[:2]
    return resize(crop, (max(1, int(h / cell)), max(1, int(w / cell))), cv2.INTER_AREA)


def blur(crop: Pixels, strength: Strength) -> Pixels:
    """Gaussian blur of the crop's mosaic: a soft look, and no more left than in the mosaic."""
    h, w = crop.shape[:2]
    size, sigma = strength.kernel.size, strength.sigma
    shrink = max(1.0, sigma / WORK_SIGMA)
    reach = 2 * math.ceil(5 * sigma / shrink) + 1  # beyond five sigma nothing of 16 bit is left
    taps = min(round(size / shrink) | 1, reach) if size else reach
    base = _mosaic(crop, strength.cell) if strength.mosaic else crop
    work = math.ceil(h / shrink), math.ceil(w / shrink)
    smaller = work[0] <= base.shape[0] and work[1] <= base.shape[1]
    base = resize(base, work, cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    soft = cv2.GaussianBlur(base, (taps, taps), sigma / shrink, borderType=cv2.BORDER_REPLICATE)
    return resize(soft, (h, w), cv2.INTER_LINEAR)


def pixelate(crop: Pixels, strength: Strength) -> Pixels:
    """The mosaic itself."""
    h, w = crop.shape[:2]
    return resize(_mosaic(crop, strength.cell), (h, w), cv2.INTER_NEAREST)


def solid(crop: Pixels, strength: Strength) -> Pixels:
    """One color."""
    out = np.empty_like(crop)
    out[...] = np.rint(strength.color).astype(crop.dtype) if crop.ndim == 3 else round(strength.color[0])
    return out


# Effects that look at nothing but the region itself; inpaint looks only at what lies around it.
TABLE: Mapping[str, Callable[[Pixels, Strength], Pixels]] = {"blur": blur, "pixelate": pixelate, "solid": solid}


def apply(pixels: Pixels, regions: Iterable[Region], settings: Settings, mode: str | None = None) -> Pixels:
    """A copy of a photo in which every region that the settings hide is hidden.

    Inpainted areas come first, from pixels that no region and no feather touches; then the others, one after the other,
    each from what is already hidden, so overlapping ones bring nothing back; solid ones last. What a blur or mosaic
    spreads over an inpainted area is taken away again. The order in which regions are given does not matter. Applied
    to its own result, it leaves inpainted and solid pixels as they are.

    Args:
        pixels: uint8 or uint16, upright, (H, W) or (H, W, C); it stays as it is.
        regions: in pixels of this photo; `settings.hides` chooses among them, `settings.kind` says how.
        mode: what the channels are: "L", "LA", "RGB", "RGBA" or "CMYK" (0 is no ink, as in Pillow). None: by their
            number, four being RGBA. For the color and opacity of what is filled.

    Returns:
        An array of the same shape and dtype. Outside masks and feathers it equals `pixels` bit by bit.

    Raises:
        UnsupportedImageError: another dtype or shape; a fill color for channels that have no known meaning.
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
    hidden = _in_order(regions, settings)
    filled = list(_fill(flat, hidden, settings, mode))
    for box, values, alpha in filled:
        _composite(_view(flat, box), values, alpha)
    mosaics = [r for r in hidden if settings.kind(r.kind).effect in MOSAICS]
    _cover(flat, mosaics, settings, mode)
    for box, values, alpha in filled if mosaics else ():  # they may have spread into it
        _composite(_view(flat, box), values, np.floor(alpha))
    _cover(flat, [r for r in hidden if settings.kind(r.kind).effect == "solid"], settings, mode)
    return out


def _in_order(regions: Iterable[Region], settings: Settings) -> list[Region]:
    hidden = [r for r in regions if settings.hides(r)]
    if settings.allow_weak and any(settings.kind(r.kind).effect in MOSAICS for r in hidden):
        warnings.warn("allow_weak is set: what is hidden can be recovered from the output", stacklevel=3)
    return sorted(hidden, key=lambda r: (r.box, r.kind, r.corners or ()))


def _cover(pixels: Pixels, hidden: list[Region], settings: Settings, mode: str) -> None:
    """Hide regions one after the other, in place."""
    for region in hidden:
        kind = settings.kind(region.kind)
        box, alpha = mask(region, kind, *pixels.shape[1::-1])
        if alpha.size:
            piece = _view(pixels, box)
            strength = strength_of(region, kind, settings.allow_weak, mode, pixels)
            _composite(piece, TABLE[kind.effect](piece, strength), alpha)


def _fill(
    pixels: Pixels, hidden: list[Region], settings: Settings, mode: str
) -> Iterator[tuple[PixelBox, Pixels, NDArray[np.float32]]]:
    """What is inpainted, from pixels that nothing hidden touches: a box, its new pixels, the share that replaces."""
    if not any(settings.kind(r.kind).effect == "inpaint" for r in hidden):
        return
    size = pixels.shape[1::-1]
    known = np.ones(pixels.shape[:2], dtype=bool)
    inpainted: list[tuple[PixelBox, NDArray[np.float32]]] = []
    for region in hidden:
        kind = settings.kind(region.kind)
        box, alpha = mask(region, kind, *size)
        _view(known, box)[alpha > 0] = False
        if alpha.size and kind.effect == "inpaint":
            inpainted.append((box, alpha))
    for box, members, values in inpaint(pixels, [b for b, _ in inpainted], known):
        if mode in ("LA", "RGBA") and not _view(known, box).any():
            values[..., -1] = np.iinfo(pixels.dtype).max
        share = np.zeros(values.shape[:2], np.float32)
        for (x1, y1, x2, y2), alpha in (inpainted[i] for i in members):
            part = share[y1 - box[1] : y2 - box[1], x1 - box[0] : x2 - box[0]]
            np.maximum(part, alpha, out=part)
        yield box, values, share


def _view(pixels: NDArray[Any], box: PixelBox) -> NDArray[Any]:
    x1, y1, x2, y2 = box
    return pixels[y1:y2, x1:x2]


def strength_of(region: Region, kind: Kind, weak: bool, mode: str, pixels: Pixels) -> Strength:
    most, least = (math.inf, 1.0) if weak else (MAX_MOSAIC_BLOCKS, MIN_BLOCK)
    cell = max(max(region.width, region.height) / min(kind.mosaic_blocks, most), least)
    color = _color(kind.fill, mode, pixels) if kind.effect == "solid" else ()
    return Strength(cell, kind.kernel, not weak, color)


def _color(fill: str, mode: str, pixels: Pixels) -> tuple[float, ...]:
    """The fill as one value a channel in the pixels' range."""
    top = float(np.iinfo(pixels.dtype).max)
    r, g, b = (int(("000000" if fill == "black" else fill)[i : i + 2], 16) / 255 for i in (0, 2, 4))
    k = 1 - max(r, g, b)
    luma = 0.299 * r + 0.587 * g + 0.114 * b  # ITU-R BT.601, as Pillow's
    ink = 1 - k or 1.0
    colors: dict[str, Sequence[float]] = {
        "L": (luma,),
        "LA": (luma, 1),
        "RGB": (r, g, b),
        "RGBA": (r, g, b, 1),
        "CMYK": ((1 - r - k) / ink, (1 - g - k) / ink, (1 - b - k) / ink, k),
    }
    if mode not in colors:
        raise UnsupportedImageError(f"no fill color is known for {pixels.shape[2]} channels; use another effect")
    return tuple(float(round(v * 255)) * (top / 255) for v in colors[mode])


def _composite(piece: Pixels, hidden: Pixels, alpha: NDArray[np.float32]) -> None:
    """Write `hidden` over `piece`, in place: whole where alpha is 1, mixed where it is between, not where it is 0."""
    out = cv2.copyTo(hidden, (alpha == 1).view(np.uint8), piece.copy())
    edge = np.flatnonzero((alpha > 0) & (alpha < 1))
    weight = alpha.reshape(-1, 1)[edge]
    new, flat = (p.reshape(alpha.size, -1) for p in (hidden, out))  # one row a pixel; views, both are contiguous
    old = flat[edge].astype(np.float32)
    flat[edge] = np.rint(old + (new[edge] - old) * weight).astype(piece.dtype)
    piece[...] = out


@dataclass(frozen=True, slots=True)
class Weakness:
    """Why the output of some settings may be turned back, or may show an edge of what it hides.

    Attributes:
        code: "weak-blur": a Gaussian blur without the mosaic can be undone. "many-blocks": more mosaic blocks than
            MAX_MOSAIC_BLOCKS leave too much to see. "short-text": what is left of a short text can be guessed by
            drawing every candidate the same way. "matched": what is left of a face is found again among faces that
            are hidden the same way. "tight": detectors draw tight boxes, and these are not padded.
        kind: of the regions.
        value: weak-blur: the share of blurred faces that were re-identified. many-blocks: how many are used.
            short-text, matched: the effect. tight: the padding.
    """

    code: str
    kind: str
    value: float | str


def warn_reversible(settings: Settings) -> list[Weakness]:
    """What is weak about these settings; pages and commands word it.

    Sources: Revelio (arXiv 2506.12344); Panoramax for the number of blocks; the project's measurement on 444 photos of
    plates for padding (safelicensing at 640, threshold 0.25).
    """
    out: list[Weakness] = []
    for name, kind in settings.kinds.items():
        if settings.allow_weak and kind.effect == "blur":
            out.append(Weakness("weak-blur", name, 0.959))
        if kind.mosaic_blocks > MAX_MOSAIC_BLOCKS and kind.effect in MOSAICS:
            used = kind.mosaic_blocks if settings.allow_weak else MAX_MOSAIC_BLOCKS
            out.append(Weakness("many-blocks", name, used))
        if name in SHOWN_BY_MOSAICS and kind.effect in MOSAICS:
            out.append(Weakness(SHOWN_BY_MOSAICS[name], name, kind.effect))
        if kind.padding < 0.05:
            out.append(Weakness("tight", name, kind.padding))
    return out
