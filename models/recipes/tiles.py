"""Training pictures of one size, cut from photos at many scales and angles, and made worse in the ways that are missed.

Every tile is made afresh from its photo by one affine map, so no crop is kept on a disk and none comes twice. All
choices come from one `numpy.random.Generator`. Images are RGB uint8 (H, W, 3), boxes float64 (N, 4), px.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from anonymize.errors import AnnotationError
from anonymize.training.degrade import degrade
from models.recipes.boards import hang
from models.recipes.label import FACE, LEAST, PERSON, PLATE, Label
from models.recipes.plates.scenes import distract, light_of
from models.recipes.plates.synth import LAYOUTS, draw_plate, paste, pose, wear

Image = NDArray[np.uint8]
Boxes = NDArray[np.float64]
SEEN = 0.4  # share of a box that must be in the tile, else it is neither a label nor none
SMALLEST = 4.0  # px; a lower label in a tile is neither, too
LOWEST, HIGHEST = 5.0, 0.53  # px and share of the tile; how high the thing that a tile is cut around becomes
WHOLE = 0.22  # share of the tiles of 640 px and less that show a photo whole; of larger ones more, in proportion
ENLARGED = 2.0  # a photo is enlarged at most so much
HARD = 0.5  # of the tiles around something: around what a network errs on, where the photo has such a place


@dataclass(frozen=True)
class Photo:
    """A photo (bytes or pixels), its boxes (N, 4), classes (N,) FACE or PLATE, and which of them teach nothing.

    Persons (N, 4) are no labels: faces are pasted onto their heads. Nor are places (N, 4) where a network errs
    (`hard.py`): tiles are cut around them.
    """

    name: str
    data: bytes | Image
    boxes: Boxes
    classes: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    is_grey: bool = False
    persons: Boxes = field(default_factory=lambda: np.zeros((0, 4)))
    hard: Boxes = field(default_factory=lambda: np.zeros((0, 4)))

    @staticmethod
    def read(
        path: Path, labels: Sequence[Label], *, is_grey: bool = False, hard: Sequence[Sequence[float]] = ()
    ) -> Photo:
        persons = [label for label in labels if label.category == PERSON]
        labels = [label for label in labels if label.category != PERSON]
        return Photo(
            path.name,
            path.read_bytes(),
            np.array([label.box for label in labels], np.float64).reshape(-1, 4),
            np.array([label.category for label in labels], np.int64),
            np.array([label.ignore for label in labels], bool),
            is_grey,
            np.array([label.box for label in persons], np.float64).reshape(-1, 4),
            np.array(hard, np.float64).reshape(-1, 4),
        )


@dataclass(frozen=True)
class Tile:
    """A training picture; `ignored` boxes may hold something of their class, so nothing is learned there."""

    image: Image
    boxes: Boxes
    classes: NDArray[np.int64]
    ignored: Boxes
    ignored_classes: NDArray[np.int64]


def decode(data: bytes | Image) -> Image:
    """RGB, without a camera's orientation, as the labels are; pixels stay."""
    if not isinstance(data, bytes):
        return data
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise AnnotationError("a photo cannot be decoded")
    return np.ascontiguousarray(image[:, :, ::-1])


def mapped(boxes: Boxes, classes: NDArray[np.int64], matrix: NDArray[np.float64]) -> Boxes:
    """The upright boxes after an affine map (2, 3): of a face's ellipse, of a plate's rectangle."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 @ matrix[:, :2].T + matrix[:, 2]
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    spread = np.abs(half[:, None, :] * matrix[None, :, :2])  # (N, x or y, from width or from height)
    is_round = (classes == FACE)[:, None]
    reach = np.where(is_round, np.sqrt((spread**2).sum(2)), spread.sum(2))
    return np.concatenate([centres - reach, centres + reach], axis=1)


def angle(rng: Generator) -> float:
    """Radians: mostly nearly upright, now and then tilted, seldom on its side or upside down."""
    kind = rng.random()
    if kind < 0.72:
        return float(rng.normal(0, np.radians(4)))
    if kind < 0.95:
        return float(rng.uniform(-np.pi / 4, np.pi / 4))
    return float(rng.choice([-np.pi / 2, np.pi / 2, np.pi], p=[0.4, 0.4, 0.2]) + rng.normal(0, np.radians(6)))


def window(photo: Photo, shape: tuple[int, int], size: int, rng: Generator) -> NDArray[np.float64]:
    """An affine map (2, 3) from a photo's pixels to a tile's: the photo whole, or around a label, or anywhere."""
    height, width = shape
    fitting = size / max(height, width)
    known = np.flatnonzero(~photo.ignored)
    middle = np.array([rng.uniform(0, width), rng.uniform(0, height)])
    scale, place = float(np.exp(rng.uniform(np.log(fitting), np.log(max(1.5, fitting))))), rng.uniform(0.2, 0.8, 2)
    kind = rng.random()
    whole = WHOLE * max(size / 640, 1)
    if kind < whole:
        middle, place = np.array([width, height]) / 2, rng.uniform(0.4, 0.6, 2)
        scale = fitting * float(rng.uniform(0.75, 1.2))
    elif kind < 0.9 and (len(known) or len(photo.hard)):
        is_hard = len(photo.hard) and (not len(known) or rng.random() < HARD)
        box = photo.hard[rng.integers(len(photo.hard))] if is_hard else photo.boxes[rng.choice(known)]
        tall = float(np.exp(rng.uniform(np.log(LOWEST), np.log(HIGHEST * size))))
        scale = float(np.clip(tall / (box[3] - box[1]), 0.85 * fitting, max(ENLARGED, fitting)))
        middle, place = (box[:2] + box[2:]) / 2, rng.uniform(0.0, 1.0, 2)  # at 0 and 1 the tile's edge cuts it
        # The tile lies in the photo as far as may be: padding teaches little.
        reach = size / scale / 2
        low, high = np.minimum((reach, reach), (width / 2, height / 2)), (width, height)
        centre = np.clip(middle + (0.5 - place) * size / scale, low, np.maximum(high - low, low))
        place = 0.5 + (middle - centre) * scale / size
    turn = angle(rng)
    c, s = np.cos(turn) * scale, np.sin(turn) * scale
    linear = np.array([(c, -s), (s, c)])
    linear[:, 1] += float(rng.normal(0, 0.04)) * linear[:, 0]  # a little shear
    linear[:, 0] *= float(rng.uniform(0.88, 1.13)) * (-1 if rng.random() < 0.5 else 1)
    return np.concatenate([linear, (place * size - linear @ middle)[:, None]], axis=1)


def cut(image: Image, matrix: NDArray[np.float64], size: int, fill: Sequence[float]) -> Image:
    """The tile that an affine map shows, anti-aliased."""
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    matrix = matrix.copy()
    if scale < 0.7:  # area averaging first: a warp alone takes every n-th pixel
        small = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
        factors = np.array([image.shape[1] / small[0], image.shape[0] / small[1]])
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        matrix[:, :2] *= factors
    matrix[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5  # cv2 counts from pixels' centres
    fill = [float(v) for v in fill]
    return np.asarray(cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=fill), np.uint8)


def sort_out(
    boxes: Boxes, classes: NDArray[np.int64], ignored: NDArray[np.bool_], size: int
) -> tuple[Boxes, NDArray[np.int64], Boxes, NDArray[np.int64]]:
    """Boxes cut by a tile's edges -> labels and their classes, places that teach nothing and their classes."""
    inside = np.clip(boxes, 0, size)
    seen, whole = (np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (inside, boxes))
    low = (inside[:, 2:] - inside[:, :2]).min(1, initial=size) < SMALLEST
    is_there = seen > 0
    teaches = is_there & ~ignored & (seen >= SEEN * whole) & ~low
    nothing = is_there & ~teaches
    return inside[teaches], classes[teaches], inside[nothing], classes[nothing]


def occlude(image: Image, box: Sequence[float], category: int, rng: Generator) -> None:
    """Something in front of a face or a plate, in place: at most half of it."""
    x1, y1, x2, y2 = box
    w, h = x2 - x1, y2 - y1
    kind = str(rng.choice(["bars", "cap", "glasses", "hand", "object"])) if category == FACE else "bars"
    dark = [float(v) for v in rng.uniform(0, 90, 3)]
    any_ = [float(v) for v in rng.uniform(0, 255, 3)]
    if kind == "bars":
        for _ in range(int(rng.integers(1, 4))):
            thick = max(round(float(rng.uniform(0.04, 0.16)) * min(w, h)), 1)
            a, b = rng.uniform(-0.3, 1.3, (2, 2)) * (w, h) + (x1, y1)
            if rng.random() < 0.5:  # upright, as a fence or a window's frame
                b[0] = a[0] + float(rng.normal(0, 0.08)) * h
                a[1], b[1] = y1 - 0.5 * h, y2 + 0.5 * h
            cv2.line(image, _point(a), _point(b), any_, thick, cv2.LINE_AA)
    elif kind == "cap":
        middle = (
            round((x1 + x2) / 2 + float(rng.normal(0, 0.05)) * w),
            round(y1 + float(rng.uniform(-0.05, 0.12)) * h),
        )
        axes = (round(float(rng.uniform(0.5, 0.75)) * w), round(float(rng.uniform(0.18, 0.3)) * h))
        cv2.ellipse(
            image, middle, axes, float(rng.normal(0, 6)), 0, 360, any_ if rng.random() < 0.5 else dark, -1, cv2.LINE_AA
        )
    elif kind == "glasses":
        y = y1 + float(rng.uniform(0.3, 0.42)) * h
        for side in (0.3, 0.7):
            middle = (round(x1 + side * w), round(y))
            cv2.ellipse(
                image, middle, (max(round(0.19 * w), 1), max(round(0.1 * h), 1)), 0, 0, 360, dark, -1, cv2.LINE_AA
            )
    else:
        share = float(rng.uniform(0.2, 0.45))
        at = np.array([rng.choice([x1, x2]), rng.uniform(y1 + 0.3 * h, y2)])
        axes = (max(round(share * w * 1.1), 1), max(round(share * h), 1))
        if kind == "hand":  # of the face's own colour
            part = image[int(max(y1, 0)) : int(y2) + 1, int(max(x1, 0)) : int(x2) + 1].reshape(-1, 3)
            colour = (
                (np.percentile(part, 60, axis=0) * rng.uniform(0.75, 1.15)).clip(0, 255).tolist() if len(part) else any_
            )
            cv2.ellipse(image, _point(at), axes, float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
        else:
            corners = cv2.boxPoints((tuple(at.tolist()), (2.0 * axes[0], 2.0 * axes[1]), float(rng.uniform(-25, 25))))
            cv2.fillConvexPoly(image, np.int32(corners), dark if rng.random() < 0.6 else any_, cv2.LINE_AA)


def reflect(image: Image, rng: Generator) -> Image:
    """A pane of glass before the picture: tint, soft reflections, streaks of sky."""
    size = image.shape[0]
    cells = int(rng.integers(2, 9))
    pattern = cv2.resize(rng.random((cells, cells, 1), dtype=np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.5:  # hard edges, as buildings and trees make them
        pattern = np.float32(pattern > rng.uniform(0.35, 0.65)) * 0.8 + 0.2 * pattern
        pattern = cv2.GaussianBlur(pattern, (0, 0), float(rng.uniform(0.6, 4)))
    sky = rng.uniform(120, 255, 3).astype(np.float32)
    strength = float(rng.uniform(0.15, 0.6))
    tint = rng.uniform(0.45, 1.0) * rng.uniform(0.85, 1.0, 3)
    alpha = np.clip(pattern, 0, 1)[..., None] * strength
    return np.clip(image * tint.astype(np.float32) * (1 - alpha) + sky * alpha, 0, 255).astype(np.uint8)


def glare(image: Image, at: Sequence[float], reach: float, rng: Generator) -> Image:
    """A lamp or the sun: what lies around a point burns out."""
    size = image.shape[0]
    y, x = np.ogrid[:size, :size]
    far = ((x - at[0]) ** 2 + (y - at[1]) ** 2).astype(np.float32) / (2 * reach**2)
    light = 255 * float(rng.uniform(0.5, 1.4)) * np.exp(-far)
    return np.clip(image + light[..., None] * rng.uniform(0.7, 1.0, 3).astype(np.float32), 0, 255).astype(np.uint8)


def coarser(image: Image, rng: Generator) -> Image:
    """Taken from farther away and enlarged again, or out of focus."""
    size = image.shape[0]
    small = max(round(size * float(rng.uniform(0.35, 0.85))), 32)
    down = cv2.resize(image, (small, small), interpolation=int(rng.choice([cv2.INTER_AREA, cv2.INTER_LINEAR])))
    return np.asarray(cv2.resize(down, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)


class Plates:
    """Drawn plates to paste, made once: drawing one takes longer than all else of a tile."""

    def __init__(self, rng: Generator, count: int = 400) -> None:
        chosen = [LAYOUTS[int(rng.integers(len(LAYOUTS)))] for _ in range(count)]
        self._made = [(layout, wear(draw_plate(layout, rng, 64), rng)) for layout in chosen]

    def paste(self, image: Image, taken: Boxes, rng: Generator) -> tuple[float, float, float, float] | None:
        """Paste one anywhere that is free, on whatever is there; its box, or None where there was no room."""
        size = image.shape[0]
        layout, plate = self._made[int(rng.integers(len(self._made)))]
        tall = float(np.exp(rng.uniform(np.log(7), np.log(80))))
        corners = pose(layout, rng, 0.1 if rng.random() < 0.6 else 0.4) * tall
        low, high = corners.min(0), corners.max(0)
        corners = corners - (low + high) / 2 + rng.uniform(0, size, 2)
        box = np.concatenate([corners.min(0), corners.max(0)])
        if len(taken) and ((taken[:, :2] < box[2:] + 4) & (taken[:, 2:] > box[:2] - 4)).all(1).any():
            return None
        inside = np.clip(box, 0, size)
        if np.prod(inside[2:] - inside[:2]) < 0.5 * np.prod(box[2:] - box[:2]):
            return None
        paste(
            image,
            plate,
            corners,
            light_of(image, box.tolist(), rng),
            float(rng.uniform(0.0, min(0.35 + tall / 40, 1.3))),
        )
        x1, y1, x2, y2 = box.tolist()
        return x1, y1, x2, y2


def make(photo: Photo, image: Image, plates: Plates, size: int, rng: Generator) -> Tile:
    """One training picture.

    Args:
        photo: where it comes from. image: `decode(photo.data)`, left as it is.
        plates: to paste.
        size: px, of a side.
        rng: decides everything.
    """
    matrix = window(photo, image.shape[:2], size, rng)
    fill = (114, 114, 114) if rng.random() < 0.7 else rng.uniform(0, 255, 3).tolist()
    out = cut(image, matrix, size, fill)
    boxes, classes, ignored, none = sort_out(
        mapped(photo.boxes, photo.classes, matrix), photo.classes, photo.ignored, size
    )
    for box, category in zip(boxes, classes, strict=True):
        if box[3] - box[1] >= 2 * LEAST and rng.random() < (0.25 if category == FACE else 0.1):
            occlude(out, box.tolist(), int(category), rng)
    for _ in range(int(rng.random() < (0.6 if photo.is_grey else 0.25)) * int(rng.integers(1, 4))):
        taken = np.concatenate([boxes, ignored])
        if box_ := plates.paste(out, taken, rng):
            new, kind, gone, gone_kind = sort_out(np.array([box_]), np.array([PLATE]), np.array([False]), size)
            boxes, classes = np.concatenate([boxes, new]), np.concatenate([classes, kind])
            ignored, none = np.concatenate([ignored, gone]), np.concatenate([none, gone_kind])
    for _ in range(int(rng.poisson(0.6))):  # lettering is what is most often taken for a plate
        distract(out, np.concatenate([boxes, ignored]), rng)
    if rng.random() < (0.6 if photo.is_grey else 0.3):
        for _ in range(int(rng.integers(1, 6))):
            hang(out, np.concatenate([boxes, ignored]), rng)
    if rng.random() < (0.18 if (classes == FACE).any() else 0.05):
        out = reflect(out, rng)
    if rng.random() < 0.06:
        near = boxes[int(rng.integers(len(boxes)))] if len(boxes) else np.array([0, 0, size, size], np.float64)
        at = (near[:2] + near[2:]) / 2 + rng.normal(0, 1, 2) * (near[2:] - near[:2])
        out = glare(out, at.tolist(), max(float(near[3] - near[1]), 4.0) * float(rng.uniform(0.3, 1.2)), rng)
    if rng.random() < 0.2:
        out = coarser(out, rng)
    if photo.is_grey or rng.random() < 0.1:
        out = cv2.cvtColor(cv2.cvtColor(out, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    elif rng.random() < 0.3:  # light of another colour
        out = np.clip(out * rng.uniform(0.75, 1.2, 3).astype(np.float32), 0, 255).astype(np.uint8)
    return Tile(degrade(out, rng, 1.2), boxes, classes, ignored, none)


def mosaic(tiles: Sequence[Tile], size: int) -> Tile:
    """n x n tiles as one of a size: many small things, and no padding around small photos."""
    side, each = math.isqrt(len(tiles)), tiles[0].image.shape[0]
    image = np.full((size, size, 3), 114, np.uint8)
    shifts = []
    for i, tile in enumerate(tiles):
        y, x = np.array(divmod(i, side)) * each
        image[y : y + each, x : x + each] = tile.image
        shifts.append(np.array((x, y, x, y), np.float64))
    return Tile(
        image,
        np.concatenate([t.boxes + s for t, s in zip(tiles, shifts, strict=True)]),
        np.concatenate([t.classes for t in tiles]),
        np.concatenate([t.ignored + s for t, s in zip(tiles, shifts, strict=True)]),
        np.concatenate([t.ignored_classes for t in tiles]),
    )


def _point(xy: Boxes) -> tuple[int, int]:
    return int(xy[0]), int(xy[1])


def sheet(tiles: Sequence[Tile], columns: int = 6) -> Image:
    """Tiles beside each other: faces green, plates red, places that teach nothing grey."""
    drawn = []
    for tile in tiles:
        image = tile.image.copy()
        for box, category in zip(tile.boxes, tile.classes, strict=True):
            cv2.rectangle(image, _point(box[:2]), _point(box[2:]), (0, 255, 0) if category == FACE else (255, 0, 0), 1)
        for box in tile.ignored:
            cv2.rectangle(image, _point(box[:2]), _point(box[2:]), (150, 150, 150), 1)
        drawn.append(image)
    drawn += [np.zeros_like(drawn[0])] * (-len(drawn) % columns)
    return np.concatenate([np.concatenate(drawn[i : i + columns], axis=1) for i in range(0, len(drawn), columns)])
