"""Attacks on hidden regions: a plate reader and a face recognizer, each after what a known kernel allows to undo.

They are the known ones, not the best there are: an attack that fails proves nothing, one that succeeds proves a leak.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from .. import effects
from ..records import Record
from ..regions import Region, boxes, iou
from ..settings import Settings
from .findings import Finding
from .plate_reader import Reader, is_same

Rgb = NDArray[np.uint8]
NOISE = 0.003  # Wiener's noise-to-signal ratio: 8-bit rounding and coding
FACE_SIDE, CELLS, SMALLEST_FACE = 32, 4, 24  # px of a face that is compared, its grid, the smallest one
STEP = 3  # of 255: how much brighter a neighbor has to be; coding's noise is less
TEXTURED = 0.15  # share of pixels with a brighter neighbor, below which there is nothing to recognize
FEWEST_FACES = 8  # of a gallery
CHANCE = 0.001  # probability of as many matches by chance, from which the recognizer is believed


def crop(rgb: Rgb, region: Region) -> Rgb:
    x1, y1, x2, y2 = region.pixels(rgb.shape[1], rgb.shape[0])
    return rgb[y1:y2, x1:x2]


def variants(rgb: Rgb, region: Region, settings: Settings) -> Iterator[Rgb]:
    """What an attacker looks at: the region as it is, and with a known blur undone."""
    piece = crop(rgb, region)
    if min(piece.shape[:2]) < 4:
        return
    yield piece
    kind = settings.kind(region.kind)
    if kind.effect == "blur":
        yield deconvolved(piece, effects.strength_of(region, kind, settings.allow_weak, "", piece).sigma)


def deconvolved(rgb: Rgb, sigma: float) -> Rgb:
    """A Gaussian blur undone as far as noise allows (Wiener)."""
    pad = min(int(3 * sigma) + 1, 64)
    wide = cv2.copyMakeBorder(rgb, pad, pad, pad, pad, cv2.BORDER_REFLECT).astype(np.float64)
    height, width = wide.shape[:2]
    # The transform of a Gaussian is one: exp(-2 π² σ² f²).
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    kernel = np.exp(-2 * (math.pi * sigma) ** 2 * (fy**2 + fx**2))[:, :, None]
    spectrum = np.fft.rfft2(wide, axes=(0, 1)) * kernel / (kernel**2 + NOISE)
    sharp = np.fft.irfft2(spectrum, s=(height, width), axes=(0, 1))
    return np.ascontiguousarray(np.clip(sharp, 0, 255)[pad : height - pad, pad : width - pad].astype(np.uint8))


def read_plates(
    written: Rgb, source: Rgb | None, record: Record, settings: Settings, reader: Reader
) -> Iterator[Finding]:
    """Hidden plates that the reader reads.

    With the original, what is read there is the truth: a reading like it is a leak. Without it, a sure reading of
    something like a plate is one.
    """
    for region in record.hidden(settings):
        if region.kind != "plate":
            continue
        truth = reader(crop(source, region)) if source is not None else None
        if truth is not None and not truth.is_plate:
            continue  # nobody could read the original either
        for how, piece in zip(("as it is", "with the blur undone"), variants(written, region, settings), strict=False):
            reading = reader(piece)
            if truth is not None and reading.score > 0.5 and is_same(reading.text, truth.text):
                text = f"a hidden plate can be read {how}, much as in the original"
            elif truth is None and reading.is_plate:
                text = f"a hidden plate can be read {how}"
            else:
                continue
            yield Finding("plates", "leak", text, region.box, "plate", reading.score)
            break


@dataclass
class Gallery:
    """Hidden faces and their originals, collected photo by photo; then compared each with each.

    Attributes:
        faces: path and region, and descriptors (D,) of what is shown and of the original.
    """

    faces: list[tuple[str, Region, NDArray[np.float64], NDArray[np.float64]]] = field(default_factory=list)

    def add(self, path: str, written: Rgb, source: Rgb, record: Record, settings: Settings) -> None:
        """The hidden faces of one photo that are large enough to tell people apart."""
        for region in record.hidden(settings):
            if region.kind != "face" or min(region.width, region.height) < SMALLEST_FACE:
                continue
            if any(p == path and _same(r, region) for p, r, *_ in self.faces):
                continue  # one face, twice in the records
            before = crop(source, region)
            tries = [texture(piece) for piece in variants(written, region, settings)]
            if tries and min(before.shape[:2]) >= 4:
                # The last one is with the blur undone, where it can be.
                self.faces.append((path, region, tries[-1], texture(before)))

    def matched(self) -> list[tuple[str, Region]]:
        """Hidden faces of which the own original is the likest of all."""
        if len(self.faces) < FEWEST_FACES:
            return []
        probes = np.stack([shown for *_, shown, _ in self.faces])
        originals = np.stack([original for *_, original in self.faces])
        difference = np.array([_distance(p, originals) for p in probes])
        likest = difference.argmin(axis=1)
        flat = probes[:, :: probes.shape[1] // CELLS**2].mean(axis=1)  # share of pixels without a brighter neighbor
        own = (likest == np.arange(len(probes))) & (1 - flat >= TEXTURED)
        return [(path, region) for (path, region, *_), m in zip(self.faces, own.tolist(), strict=True) if m]


def _same(a: Region, b: Region) -> bool:
    return float(iou(boxes([a]), boxes([b]))[0, 0]) > 0.3


def texture(rgb: Rgb) -> NDArray[np.float64]:
    """Local binary patterns' histograms over a grid (Ahonen et al., ECCV 2004): a face recognizer without weights."""
    gray = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY)
    # All in one size, so that sharpness does not tell large faces from small ones.
    gray = cv2.resize(gray, (FACE_SIDE, FACE_SIDE), interpolation=cv2.INTER_AREA).astype(np.int16)
    center = gray[1:-1, 1:-1]
    code = np.zeros(center.shape, np.int32)
    around = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))
    for bit, (y, x) in enumerate(around):
        code |= (gray[y : y + center.shape[0], x : x + center.shape[1]] > center + STEP).astype(np.int32) << bit
    cells = [c for rows in np.array_split(code, CELLS) for c in np.array_split(rows, CELLS, axis=1)]
    return np.concatenate([np.bincount(c.ravel(), minlength=256) / c.size for c in cells])


def _distance(probe: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Chi-square distances of histograms."""
    total = others + probe
    apart = np.divide((others - probe) ** 2, total, out=np.zeros_like(total), where=total > 0)
    out: NDArray[np.float64] = apart.sum(axis=1)
    return out


def by_chance(matches: int, faces: int) -> float:
    """How likely at least so many of N hidden faces find their own original among N by chance (binomial)."""
    p = 1 / faces
    fewer = sum(math.comb(faces, k) * p**k * (1 - p) ** (faces - k) for k in range(matches))
    return max(0.0, 1 - fewer)


def match_faces(gallery: Gallery) -> tuple[str, list[tuple[str, Finding]]]:
    """What the recognizer did, in words, and findings by path where it did better than chance."""
    faces = len(gallery.faces)
    if faces < FEWEST_FACES:
        return f"not enough hidden faces of {SMALLEST_FACE} px and more for a gallery ({faces} of {FEWEST_FACES})", []
    found = gallery.matched()
    chance = by_chance(len(found), faces)
    said = f"{len(found)} of {faces} hidden faces find their own original first; 1 would by chance (p = {chance:.2g})"
    if chance >= CHANCE:
        return said, []
    text = "a face recognizer finds the original of this hidden face among all of the batch, more often than chance"
    return said, [(path, Finding("faces", "leak", text, region.box, "face")) for path, region in found]
