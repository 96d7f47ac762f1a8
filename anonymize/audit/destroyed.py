"""Proof from the written file alone that hidden pixels hold nothing of what they hid.

An effect that is made of what lies around a region (`inpaint`) or of one color (`solid`) leaves its own result as it
is: applied to the written photo it has to bring back the same pixels. A mosaic, also a blurred one, has no more freedom
than its blocks: the pixels of a region have to lie in the space that its few blocks span. Both are compared within what
the format's coding may change. Where the originals are at hand, `against` compares the photo with its own source, too.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .. import effects, images
from ..images import formats
from ..masks import PixelBox, mask
from ..records import Record
from ..regions import Region
from ..settings import Kind, Settings
from .findings import Finding

Floats = NDArray[np.float32]

# Of 255, how much a pixel may differ from what it should be: rounding where nothing is lost; else what coding does to
# flat areas beside edges, a mean over a line or a patch. Clean exports reach half of it.
EXACT, LOSSY = 1.5, 8.0
# The finer a JPEG's quantization, the less it may change: so much, and a share of the mean step of its luma.
JPEG, STEPS = 8.0, 0.16
# Over a region: a weak blur differs everywhere a little.
OVERALL = 0.4
SMALL = 400  # pixels of a region, below which the outside rings into most of it: twice as much, then
LINE, PATCH = 24, 6  # px; the longest line and the side of the patch over which a difference is averaged
STEEP = 12.0  # of 255: a step that coding does not keep
BLOCKS = 3.0  # times more tolerance between them
RIM = 2  # px at a lossy region's rim, where the outside rings into it
FITTED = 6000  # pixels that a mosaic's blocks are fitted to


@dataclass(frozen=True)
class Piece:
    """One hidden region, and which of its pixels no other one changed after it.

    Attributes:
        box: of the area that changes. own: (h, w), the pixels that are wholly this region's.
    """

    region: Region
    kind: Kind
    box: PixelBox
    own: NDArray[np.bool_]

    def of(self, pixels: images.Pixels) -> images.Pixels:
        x1, y1, x2, y2 = self.box
        return pixels[y1:y2, x1:x2]


def pieces(record: Record, settings: Settings, width: int, height: int) -> tuple[list[Piece], NDArray[np.float32]]:
    """The hidden regions of a photo, and how much of each pixel was replaced at most, (H, W), 0–1."""
    touched = np.zeros((height, width), np.float32)
    last = np.full((height, width), -1, np.int32)
    found: list[tuple[Region, Kind, PixelBox]] = []
    hidden = sorted(
        record.hidden(settings), key=lambda r: (_rank(settings.kind(r.kind)), r.box, r.kind, r.corners or ())
    )
    for region in hidden:
        kind = settings.kind(region.kind)
        box, alpha = mask(region, kind, width, height)
        if not alpha.size:
            continue
        rows, columns = slice(box[1], box[3]), slice(box[0], box[2])
        np.maximum(touched[rows, columns], alpha, out=touched[rows, columns])
        # What a mosaic spreads over an inpainted area is taken away again, so a feather there changes nothing.
        changed = alpha > 0
        last[rows, columns][changed & (alpha < 1)] = -1
        last[rows, columns][alpha == 1] = len(found)
        found.append((region, kind, box))
    out = [Piece(r, k, b, last[b[1] : b[3], b[0] : b[2]] == i) for i, (r, k, b) in enumerate(found)]
    return out, touched


def _rank(kind: Kind) -> int:
    """In which order effects change a photo for good: mosaics, what is inpainted, one color."""
    return {"solid": 2, "inpaint": 1}.get(kind.effect, 0)


def tolerance(form: images.Form) -> float:
    """Of 255, how far a coded pixel may lie from what was coded, as a mean over a line or a patch."""
    if is_exact(form):
        return EXACT
    if form.format != "JPEG":
        return LOSSY
    steps = np.array(form.options["qtables"][0], dtype=np.float64)
    return float(JPEG + STEPS * steps.mean())


def is_exact(form: images.Form) -> bool:
    """Whether pixels come back from the file as they were written."""
    return form.format in ("PNG", "TIFF", "BMP") or (form.format == "WEBP" and bool(form.options.get("lossless")))


def is_coarse(form: images.Form) -> bool:
    """Whether pixels are rounded to few values when they are written: a palette's, or those of few bits."""
    return form.palette is not None or form.bits < 8


def stored(pixels: images.Pixels, form: images.Form) -> images.Pixels:
    """Pixels as they come back from a file in which nothing but few colors are lost."""
    return formats.decode(formats.encode(pixels, form), float("inf")).pixels if is_coarse(form) else pixels


def check(photo: images.Photo, record: Record, settings: Settings, limit: float | None = None) -> Iterator[Finding]:
    """Hidden regions of a written photo in which more is left than their effect leaves.

    Args:
        limit: of 255, how far a coded pixel may lie from what was coded; None: as the photo's form says.
    """
    found, _ = pieces(record, settings, photo.width, photo.height)
    if settings.allow_weak and found:
        yield Finding("destroyed", "leak", "its settings allow effects that can be undone (allow_weak)")
    if not found:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of allow_weak, which was just said
        again = stored(effects.apply(photo.pixels, record.hidden(settings), settings, mode=photo.mode), photo.form)
    limit, rim = tolerance(photo.form) if limit is None else limit, 0 if is_exact(photo.form) else RIM
    for piece in found:
        written = piece.of(photo.pixels)
        own = inner(piece.own, rim)
        if not own.any():
            continue
        is_own_result = piece.kind.effect in ("inpaint", "solid")
        if is_own_result:
            expected: NDArray[np.float32] | None = piece.of(again).astype(np.float32)
        else:
            expected = None if is_coarse(photo.form) else spanned(written, own, piece, settings)
        if expected is None:
            text = f"the {piece.region.kind} has too few pixels or colors to prove its {piece.kind.effect} by"
            yield Finding("destroyed", "note", text, piece.region.box, piece.region.kind)
            continue
        # What is made of its surroundings, or of one color, comes back bit by bit where coding loses nothing.
        most = 0.0 if is_own_result and not rim else limit
        if rim and piece.kind.effect == "pixelate":  # coding smears the edges of blocks, their colors most
            own, most = flat(expected, own), limit * BLOCKS
        worst, overall = deviation(written, expected, own)
        part = OVERALL * (2 if rim and own.sum() < SMALL else 1)
        if worst > most or overall > most * part:
            text = f"the {piece.region.kind} is not hidden as {piece.kind.effect} hides"
            text += f": it differs by {math.ceil(worst)} of 255"
            yield Finding("destroyed", "leak", text, piece.region.box, piece.region.kind)


def inner(own: NDArray[np.bool_], rim: int) -> NDArray[np.bool_]:
    """The pixels that lie farther than `rim` from those that are not; all where that leaves too few."""
    if not rim:
        return own
    # Beyond the piece lies the rest of the photo: a border of ones would keep the rim there.
    small = cv2.erode(
        own.view(np.uint8), np.ones((2 * rim + 1,) * 2, np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    return small.astype(bool) if small.sum() >= PATCH * PATCH else own


def flat(expected: Floats, own: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of `own` around which the expected picture is smooth; all where that leaves too few."""
    scaled = expected.reshape(*own.shape, -1).max(axis=2)
    steep = cv2.morphologyEx(scaled, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > STEEP * max(
        1.0, scaled.max() / 255
    )
    kept = own & ~steep
    return kept if kept.sum() >= PATCH * PATCH else own


def apart(written: images.Pixels, expected: NDArray[Any]) -> Floats:
    """How far pixels lie from what they should be, (H, W), of 255: in the channel that differs most."""
    scale = np.float32(255 / np.iinfo(written.dtype).max)
    out: Floats = np.abs(written.astype(np.float32) - expected.astype(np.float32).reshape(written.shape)) * scale
    return out.max(axis=2) if out.ndim == 3 else out


def deviation(written: images.Pixels, expected: Floats, own: NDArray[np.bool_]) -> tuple[float, float]:
    """How far pixels lie from what they should be, of 255: the worst line or patch, and the root mean square."""
    weight = own.astype(np.float32)
    off = apart(written, expected) * weight
    height, width = own.shape
    worst = 0.0
    for size in ((min(LINE, width), 1), (1, min(LINE, height)), (min(PATCH, width), min(PATCH, height))):
        total = cv2.boxFilter(off, -1, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
        count = cv2.boxFilter(weight, -1, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
        full = count >= 0.5 * size[0] * size[1]
        if full.any():
            worst = max(worst, float((total[full] / count[full]).max()))
    overall = float(np.sqrt((off**2).sum() / max(weight.sum(), 1)))
    return worst if worst else overall, overall


def spanned(written: images.Pixels, own: NDArray[np.bool_], piece: Piece, settings: Settings) -> Floats | None:
    """The nearest picture that this region's blocks can make; None where too few pixels are left to tell."""
    strength = effects.strength_of(piece.region, piece.kind, settings.allow_weak, "", written)
    height, width = own.shape
    across, down = max(1, int(width / strength.cell)), max(1, int(height / strength.cell))
    ys, xs = np.nonzero(own)
    if len(ys) < 4 * across * down:
        return None
    columns = _basis(piece.kind.effect, strength, height, width, across, axis=1)
    rows = _basis(piece.kind.effect, strength, height, width, down, axis=0)
    # As many of each block: one of which none were taken would be free to be anything.
    block = rows.argmax(axis=1)[ys] * across + columns.argmax(axis=1)[xs]
    order = np.random.default_rng(0).permutation(len(ys))
    order = order[np.argsort(block[order], kind="stable")]
    first = np.searchsorted(block[order], block[order])
    some = order[np.arange(len(order)) - first < max(8, FITTED // (across * down))]
    at_y, at_x = ys[some], xs[some]
    design = (rows[at_y][:, :, None] * columns[at_x][:, None, :]).reshape(len(some), -1)
    values = written.reshape(height, width, -1)[at_y, at_x].astype(np.float64)
    weights, *_ = np.linalg.lstsq(design, values, rcond=1e-6)
    cube = weights.reshape(down, across, -1)
    out = np.einsum("yj,jic,xi->yxc", rows, cube, columns, optimize=True)
    return out.astype(np.float32).reshape(written.shape)


def _basis(
    effect: str, strength: effects.Strength, height: int, width: int, count: int, axis: int
) -> NDArray[np.float64]:
    """What one block alone makes of each line across an axis, (pixels, blocks)."""
    pixels = (height, width)[axis]
    out = np.empty((pixels, count))
    edges = [round(i * pixels / count) for i in range(count + 1)]
    for i in range(count):
        line = np.zeros(pixels, np.uint16)
        line[edges[i] : edges[i + 1]] = 65535
        crop = np.ascontiguousarray(np.broadcast_to(line[None, :] if axis else line[:, None], (height, width)))
        made = effects.TABLE[effect](crop, strength)
        out[:, i] = (made[height // 2] if axis else made[:, width // 2]) / 65535.0
    return out
