"""Faces of people, cut out and laid onto the heads of persons on streets, whose own faces are too few to learn from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from models.recipes.label import FACE
from models.recipes.tiles import Boxes, Image, Photo, decode

CLEAREST = 20.0  # px; the least height of a face that is pasted elsewhere


class Heads:
    """Faces cut out of photos of people, to paste onto the heads of persons of other photos."""

    def __init__(self, photos: Sequence[Photo], masked: Collection[tuple[str, int, int]], rng: Generator) -> None:
        """Take all faces without a mask and half as many of `masked`: file, x1 and y1 in whole px."""
        known = [(p, b) for p in photos for b in p.boxes[(p.classes == FACE) & ~p.ignored & (_tall(p) >= CLEAREST)]]
        bare, covered = ([k for k in known if ((k[0].name, *map(int, k[1][:2])) in masked) is m] for m in (False, True))
        covered = [covered[int(i)] for i in rng.permutation(len(covered))[: len(bare) // 2]]
        chosen = sorted([*bare, *covered], key=lambda k: k[0].name)
        self._made = [head for photo, box in chosen if (head := _cut_out(photo, box))]
        self.count = len(self._made)

    def paste(self, photo: Photo, image: Image, rng: Generator, chance: float) -> tuple[Photo, Image]:
        """A photo with faces on some of its persons that show none, and its labels; other photos as they are."""
        seen = photo.boxes[(photo.classes == FACE) & ~photo.ignored]
        new: list[list[float]] = []
        for x1, y1, x2, y2 in photo.persons:
            wide, high = x2 - x1, y2 - y1
            if high < 40 or not self._made or rng.random() > chance:
                continue
            tall = float(rng.uniform(0.1, 0.145)) * high if high > 2 * wide else float(rng.uniform(0.3, 0.42)) * wide
            tall = max(min(tall, 0.5 * high), 6.0)
            middle = ((x1 + x2) / 2 + float(rng.normal(0, 0.08)) * wide, y1 + tall * float(rng.uniform(0.55, 0.75)))
            pixels, alpha, share = self._made[int(rng.integers(len(self._made)))]
            half = np.array([tall * share[0] / share[1], tall]) / 2
            box = np.concatenate([middle - half, middle + half])
            if len(seen) and ((seen[:, :2] < box[2:]) & (seen[:, 2:] > box[:2])).all(1).any():
                continue
            if not new:
                image = image.copy()
            if _lay(image, pixels, alpha, middle, tall / share[1] / pixels.shape[0], rng):
                new.append(box.tolist())
        if not new:
            return photo, image
        more = np.array(new).reshape(-1, 4)
        return (
            replace(
                photo,
                boxes=np.concatenate([photo.boxes, more]),
                classes=np.concatenate([photo.classes, np.full(len(more), FACE)]),
                ignored=np.concatenate([photo.ignored, np.zeros(len(more), bool)]),
            ),
            image,
        )


def _tall(photo: Photo) -> NDArray[np.float64]:
    return np.asarray(photo.boxes[:, 3] - photo.boxes[:, 1])


def _cut_out(photo: Photo, box: Boxes) -> tuple[Image, NDArray[np.float32], tuple[float, float]] | None:
    """A face with some hair around it, how much of each pixel is head (H, W), and the face's share of both sides."""
    image = decode(photo.data)
    reach = (box[2:] - box[:2]) * (0.62, 0.66)
    middle = (box[:2] + box[2:]) / 2
    low, high = np.floor(middle - reach).astype(int), np.ceil(middle + reach).astype(int)
    if (low < 0).any() or (high > image.shape[1::-1]).any():
        return None
    pixels = image[low[1] : high[1], low[0] : high[0]]
    h, w = pixels.shape[:2]
    x, y = np.linspace(-1, 1, w), np.linspace(-1, 1, h)[:, None]
    alpha = np.clip((1.02 - np.sqrt(np.abs(x) ** 2.4 + np.abs(y) ** 2.4)) / 0.2, 0, 1).astype(np.float32)
    share = (float(box[2] - box[0]) / w, float(box[3] - box[1]) / h)
    if max(h, w) > 96:  # no pasted face is larger
        f = 96 / max(h, w)
        size = (max(round(w * f), 1), max(round(h * f), 1))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
        alpha = np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), np.float32)
    return pixels, alpha, share


def _lay(
    image: Image, pixels: Image, alpha: NDArray[np.float32], at: Sequence[float], scale: float, rng: Generator
) -> bool:
    """Lay a head onto an image, in place, in about the light that is there; False where it does not fit."""
    size = (max(round(pixels.shape[1] * scale), 2), max(round(pixels.shape[0] * scale), 2))
    x, y = (round(middle - side / 2) for middle, side in zip(at, size, strict=True))
    if x < 0 or y < 0 or x + size[0] > image.shape[1] or y + size[1] > image.shape[0]:
        return False
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    head = cv2.resize(pixels, size, interpolation=how).astype(np.float32)
    share = cv2.resize(alpha, size, interpolation=how)[..., None]
    if rng.random() < 0.5:
        head = head[:, ::-1]
    under = image[y : y + size[1], x : x + size[0]].astype(np.float32)
    light = (float(under.mean()) + 30) / (float(head.mean()) + 30)
    head = np.clip(head * np.clip(light ** float(rng.uniform(0.2, 0.9)), 0.3, 1.8), 0, 255)
    head = cv2.GaussianBlur(head, (0, 0), float(rng.uniform(0.2, 0.7)))
    image[y : y + size[1], x : x + size[0]] = (head * share + under * (1 - share)).astype(np.uint8)
    return True
