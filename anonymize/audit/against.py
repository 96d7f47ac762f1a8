"""A written photo against its original: hidden pixels resemble it no more, and nothing else was changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .. import images
from ..effects import MOSAICS
from ..errors import AnonymizeError
from ..hiding import hide_record
from ..images import formats
from ..masks import changed
from ..records import Record, unescape
from ..settings import Settings
from . import destroyed
from .findings import Finding

# How much of the original's detail may be found again in hidden pixels: the slope of a regression of one on the other,
# and their correlation. Both, because a slope alone may be chance in a flat region, a correlation alone coding noise.
SLOPE, CORRELATION = 0.15, 0.4
FINE = 16  # of a region's shorter side, what is compared is finer than that
SMALLEST = 12  # px of a region's shorter side, below which its detail says nothing


def original(record: Record, root: Path, settings: Settings) -> images.Photo | str:
    """The original of an exported photo, or why it cannot be compared with."""
    try:
        photo = images.load(root / unescape(record.path), settings)
    except AnonymizeError as e:
        return f"the original cannot be read: {e}"
    if photo.sha256 != record.sha256:
        return "the file that is called like the original is another one"
    return photo


def check(
    written: images.Photo, data: bytes, source: images.Photo, record: Record, settings: Settings
) -> Iterator[Finding]:
    """What the comparison with the original shows.

    Args:
        written: the exported photo. data: its bytes. source: the original, whose regions the record has.
    """
    pieces, touched = destroyed.pieces(record, settings, source.width, source.height)
    expected = hide_record(source, record, settings)
    where = changed(record.regions, settings, source.width, source.height)
    again, _ = images.encode(source, expected, settings, where)
    blind: images.Pixels | None = None
    for piece in pieces:
        found = list(resembling(written.pixels, source.pixels, piece, settings))
        if found and again == data and piece.kind.effect not in MOSAICS:
            # What continues from around a region into it may be like what was there. It is chance where the file is
            # byte for byte what these settings give, and they give the same without what was there.
            blind = _blind(source, touched, record, settings) if blind is None else blind
            if _is_same(expected, blind, piece):
                continue
        yield from found
    if again == data:
        return  # byte for byte what these regions and settings give
    if destroyed.is_exact(source.form):
        wanted, limit = destroyed.stored(expected, source.form), 0.0
    else:
        wanted = formats.decode(again, float("inf")).pixels
        limit = destroyed.tolerance(written.form)
    if wanted.shape != written.pixels.shape or wanted.dtype != written.pixels.dtype:
        yield Finding("unchanged", "leak", "it has another size or depth than its original")
        return
    yield from _differences(written.pixels, wanted, touched, limit)


def _blind(source: images.Photo, touched: NDArray[np.float32], record: Record, settings: Settings) -> images.Pixels:
    """What is written of a photo in which nothing but black is where something is hidden wholly."""
    pixels = source.pixels.copy()
    pixels[touched == 1] = 0
    return hide_record(replace(source, pixels=pixels), record, settings)


def _is_same(a: images.Pixels, b: images.Pixels, piece: destroyed.Piece) -> bool:
    return bool(np.array_equal(piece.of(a)[piece.own], piece.of(b)[piece.own]))


def resembling(
    written: images.Pixels, source: images.Pixels, piece: destroyed.Piece, settings: Settings
) -> Iterator[Finding]:
    """A finding where a hidden region resembles the original."""
    if (found := resemblance(written, source, piece, settings)) is not None:
        slope, correlation = found
        if slope > SLOPE and correlation > CORRELATION:
            text = f"the hidden {piece.region.kind} still shows detail of the original ({slope:.0%} of it)"
            yield Finding("destroyed", "leak", text, piece.region.box, piece.region.kind, min(correlation, 1.0))


def _differences(
    written: images.Pixels, wanted: images.Pixels, touched: NDArray[np.float32], limit: float
) -> Iterator[Finding]:
    apart = destroyed.apart(written, wanted)
    if limit:  # one pixel of a coded picture says nothing; a patch does
        apart = cv2.blur(apart, (3, 3))
    for check, where, text in (
        ("unchanged", touched == 0, "pixels outside of what is hidden were changed"),
        ("destroyed", touched > 0, "hidden pixels are not those that the regions and settings give"),
    ):
        wrong = (apart > limit) & where
        if wrong.any():
            ys, xs = np.nonzero(wrong)
            box = (float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1))
            yield Finding(check, "leak", f"{text}: {len(xs)} of them, by up to {apart[wrong].max():.0f} of 255", box)


def resemblance(
    written: images.Pixels, source: images.Pixels, piece: destroyed.Piece, settings: Settings
) -> tuple[float, float] | None:
    """How much of the original's detail, finer than what its effect may leave, is in a region: slope and correlation.

    None where a region is too small, or the original has no detail there.
    """
    shorter = min(piece.region.width, piece.region.height)
    # Finer than what continues from around a region into it.
    sigma = max(1.0, shorter / FINE)
    own = destroyed.inner(piece.own, destroyed.RIM + round(2 * sigma))
    if shorter < SMALLEST or own.sum() < SMALLEST**2:
        return None
    both = [piece.of(pixels) for pixels in (written, source)]
    if piece.kind.effect in MOSAICS:  # what its blocks leave is no leak
        blocks = [b for p in both if (b := destroyed.spanned(p, piece.own, piece, settings)) is not None]
        if len(blocks) < len(both):
            return None
        own = destroyed.flat(blocks[0], own)  # coding smears the edges of blocks
        details = [_gray(p) - _gray(b, p.dtype) for p, b in zip(both, blocks, strict=True)]
    else:
        details = [_detail(p, sigma) for p in both]
    a, b = (d[own] - d[own].mean() for d in details)
    power = float(b @ b)
    if power / len(b) < 9.0:  # a standard deviation of 3 of 255
        return None
    shared = float(a @ b)
    return shared / power, shared / max(float(np.sqrt(power * float(a @ a))), 1e-9)


def _gray(pixels: NDArray[Any], dtype: Any = None) -> NDArray[np.float64]:
    """(H, W), of 255; dtype: that of the photo, where these are its values as others."""
    gray = pixels.astype(np.float64) * (255 / np.iinfo(dtype or pixels.dtype).max)
    out: NDArray[np.float64] = gray[:, :, : min(3, gray.shape[2])].mean(axis=2) if gray.ndim == 3 else gray
    return out


def _detail(pixels: images.Pixels, sigma: float) -> NDArray[np.float64]:
    gray = _gray(pixels)
    return gray - cv2.GaussianBlur(gray, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
