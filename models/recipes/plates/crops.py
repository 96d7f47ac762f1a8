"""What the corner network learns from: crops of photos around one plate, as detectors' boxes would cut them.

Drawn plates with known corners, hung where real ones are and anywhere; places without a plate; and real plates, of
which only the upright box is known. Crops are made once, in shards of a thousand, each from its own seed; so a run that
was stopped goes on with the next shard.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from anonymize.detectors.plate_corners import INPUT, cut, window
from anonymize.errors import AnnotationError, SettingsError
from anonymize.regions import Box
from anonymize.training.degrade import degrade

from .marks import load
from .scenes import distract, erase, light_of, rotate
from .synth import LAYOUTS, Image, draw_plate, paste, pose, wear

DRAWN, REAL, NOTHING = 0, 1, 2
SHARD = 1000
PER_PHOTO = 8  # crops that are made of a photo once it is read
PATTERN = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
Points = NDArray[np.float64]
Boxes = NDArray[np.float64]


@dataclass(frozen=True)
class Crops:
    """What is learned from.

    Attributes:
        images: RGB uint8 (N, 48, 96, 3).
        kinds: (N,) DRAWN, REAL or NOTHING.
        corners: float32 (N, 4, 2), TL TR BR BL, in shares of the crop's width and height; of real plates the corners of
            the upright box; 0 where there is no plate.
        pixels: float32 (N, 2), the crop's width and height in the photo, px.
    """

    images: NDArray[np.uint8]
    kinds: NDArray[np.int64]
    corners: NDArray[np.float32]
    pixels: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.kinds)

    @staticmethod
    def join(parts: Sequence[Crops]) -> Crops:
        return Crops(*(np.concatenate([getattr(p, n) for p in parts]) for n in Crops.__dataclass_fields__))


Crop = tuple[NDArray[np.uint8], int, Points, tuple[int, int]]


@dataclass(frozen=True)
class Background:
    """A photo, and boxes (N, 4), px, of its plates, where they are known."""

    path: Path
    plates: Boxes


def backgrounds(folder: Path) -> list[Background]:
    """The photos of a folder and of its subfolders, by name; plates from YOLO labels where there are any.

    Labels lie beside a photo or, as YOLO has it, in `labels` where the photo lies in `images`; every class counts.

    Raises:
        AnnotationError: no photos, or a label that is none.
    """
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in PATTERN):
        parts = ["labels" if part == "images" else part for part in path.relative_to(folder.parent).parts]
        labels = [path.with_suffix(".txt"), folder.parent.joinpath(*parts).with_suffix(".txt")]
        found.append(Background(path, _marks(next((p for p in labels if p.is_file()), None))))
    if not found:
        raise AnnotationError(f"{folder}: no photos")
    return found


def _marks(label: Path | None) -> Boxes:
    """Relative boxes (N, 4) as x1, y1, x2, y2."""
    if label is None:
        return np.zeros((0, 4))
    try:
        rows = [[float(v) for v in line.split()[1:5]] for line in label.read_text("utf-8").splitlines() if line.strip()]
        numbers = np.array(rows, dtype=np.float64).reshape(-1, 4)
    except (OSError, ValueError) as e:
        raise AnnotationError(f"{label}: not YOLO labels ({e})") from e
    return np.concatenate([numbers[:, :2] - numbers[:, 2:] / 2, numbers[:, :2] + numbers[:, 2:] / 2], axis=1)


def shard(photos: Sequence[Background], seed: tuple[int, ...], count: int = SHARD) -> Crops:
    """Crops of randomly chosen photos; one seed makes the same ones everywhere."""
    rng = np.random.default_rng(seed)
    made: list[Crop] = []
    while len(made) < count:
        chosen = photos[int(rng.integers(len(photos)))]
        photo = load(chosen.path)
        plates = chosen.plates * np.tile((photo.shape[1], photo.shape[0]), 2)
        for box in plates[np.argsort(rng.random(len(plates)))[:2]]:
            made.append(real_crop(photo, box, rng))
        for _ in range(PER_PHOTO):
            made.append(drawn_crop(photo, plates, rng) if rng.random() < 0.86 else empty_crop(photo, plates, rng))
    images, kinds, corners, pixels = zip(*made[:count], strict=True)
    return Crops(
        np.stack(images),
        np.array(kinds, np.int64),
        np.stack(corners).astype(np.float32),
        np.array(pixels, np.float32),
    )


def fingerprint(photos: Sequence[Background]) -> str:
    """What crops depend on, hex: the photos' bytes, where their plates are, their order; not their names."""
    digest = hashlib.sha256()
    for photo in photos:
        with open(photo.path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
        digest.update(hashlib.sha256(photo.plates.tobytes()).digest())
    return digest.hexdigest()


def make(photos: Sequence[Background], made_of: str, folder: Path, count: int, seed: int) -> Iterator[Crops]:
    """`count` crops (rounded up to whole shards), from files in `folder` as far as they are there already.

    Args:
        made_of: the photos' `fingerprint`.

    Raises:
        SettingsError: files in the folder were made of other photos, or of other labels.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(-(-count // SHARD)):
        path = folder / f"{seed}-{number:04d}.npz"
        if not path.exists():
            part = path.with_suffix(".part.npz")
            made = shard(photos, (seed, number), SHARD)
            np.savez_compressed(part, made_of=made_of, **{n: getattr(made, n) for n in Crops.__dataclass_fields__})
            os.replace(part, path)
        with np.load(path) as saved:
            if "made_of" not in saved or str(saved["made_of"]) != made_of:
                raise SettingsError(f"{path} was made of other photos or labels; choose another folder for the output")
            yield Crops(**{n: saved[n] for n in Crops.__dataclass_fields__})


def moved(box: Sequence[float], rng: Generator) -> Box:
    """A plate's upright box as a detector may give it: sides off by some per cent, now and then loose or cut."""
    x1, y1, x2, y2 = box
    size = np.array([x2 - x1, y2 - y1, x2 - x1, y2 - y1])
    off = rng.normal(0, 0.045, 4) * size + rng.normal(0, 0.4, 4)
    kind = rng.random()
    if kind < 0.12:  # loose
        off += rng.uniform(0, 0.3, 4) * size * (-1, -1, 1, 1)
    elif kind < 0.22:  # cut, on one side
        off += np.eye(4)[int(rng.integers(4))] * rng.uniform(0.05, 0.25) * size * (1, 1, -1, -1)
    a, b, c, d = np.array([x1, y1, x2, y2]) + np.clip(off, -0.4 * size - 1, 0.4 * size + 1)
    c, d = max(c, a + 0.3 * (x2 - x1)), max(d, b + 0.3 * (y2 - y1))
    return float(a), float(b), float(c), float(d)


def _crop(image: Image, box: Sequence[float], corners: Points | None, kind: int, rng: Generator) -> Crop:
    height, width = image.shape[:2]
    limits = np.array([width, height, width, height])
    place = window(moved(np.clip(box, 0, limits).tolist(), rng))
    size = (place[2] - place[0], place[3] - place[1])
    relative = np.zeros((4, 2)) if corners is None else (corners - place[:2]) / size
    return cut(image, place), kind, relative, size


def real_crop(photo: Image, box: Sequence[float], rng: Generator) -> Crop:
    """A real plate, degraded or not, of which the upright box is known."""
    x1, y1, x2, y2 = box
    corners = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)])
    piece, corners, _ = _around(photo, corners, 1.0)
    return _crop(degrade(piece, rng, 0.5), (*corners[0], *corners[2]), corners, REAL, rng)


def empty_crop(photo: Image, plates: Boxes, rng: Generator) -> Crop:
    """A place without a plate: anywhere, or a drawn sign, banner, window, lettering."""
    height, width = photo.shape[:2]
    box: Sequence[float] | None = None
    if rng.random() < 0.35:
        photo = photo.copy()
        box = distract(photo, plates, rng)
    for _ in range(8 if box is None else 0):
        w = float(np.exp(rng.uniform(np.log(10), np.log(200))))
        w, h = min(w, width), min(w / float(rng.uniform(1, 5)), height)
        x, y = rng.uniform(-0.2 * w, width - 0.8 * w), rng.uniform(-0.2 * h, height - 0.8 * h)
        box = (x, y, x + w, y + h)
        if not _touches(box, plates):
            break
    assert box is not None
    piece, corners, _ = _around(photo, np.array([box[:2], box[2:]], np.float64), 1.0)
    return _crop(degrade(piece, rng), (*corners[0], *corners[1]), None, NOTHING, rng)


def drawn_crop(photo: Image, plates: Boxes, rng: Generator) -> Crop:
    """A drawn plate, seen from any side, alone or with its whole surroundings turned."""
    height, width = photo.shape[:2]
    layout = LAYOUTS[int(rng.integers(len(LAYOUTS)))]
    upright, turned = (0.08, 0.3) if rng.random() < 0.75 else (0.15, 0.6)
    corners = pose(layout, rng, upright if rng.random() < 0.65 else turned)
    wide = float(np.exp(rng.uniform(np.log(11), np.log(240))))
    middle = (rng.uniform(0, width), rng.uniform(0, height))
    if len(plates) and rng.random() < 0.55:  # in the place of a real one
        old = plates[int(rng.integers(len(plates)))]
        middle = ((old[0] + old[2]) / 2, (old[1] + old[3]) / 2)
        wide = float(np.clip((old[2] - old[0]) * rng.uniform(0.75, 1.35), 10, 260))
        is_erased = True
    else:
        is_erased = False
        for _ in range(6):
            if not _touches((middle[0] - wide, middle[1] - wide, middle[0] + wide, middle[1] + wide), plates):
                break
            middle = (rng.uniform(0, width), rng.uniform(0, height))
    corners = corners * wide / layout.aspect + middle
    if is_erased:
        wide = max(wide, float(old[2] - old[0]))
    piece, corners, shift = _around(photo, corners, 1.3)
    if is_erased:
        erase(piece, (old - np.tile(shift, 2)).tolist())
    box = (*corners.min(0), *corners.max(0))
    light = light_of(piece, box, rng)
    plate = wear(draw_plate(layout, rng), rng)
    tall = float(box[3] - box[1])
    outer = corners
    if rng.random() < 0.35:
        plate, outer = framed(plate, corners, rng)
    paste(piece, plate, outer, light, float(rng.uniform(0.0, min(0.35 + tall / 40, 1.3))))
    if rng.random() < 0.08:
        _cover(piece, corners, rng)
    if rng.random() < 0.3:
        piece, corners = rotate(piece, corners, float(rng.uniform(-0.65, 0.65)))
    return _crop(degrade(piece, rng), (*corners.min(0), *corners.max(0)), corners, DRAWN, rng)


def _around(photo: Image, points: Points, reach: float) -> tuple[Image, Points, Points]:
    """A copy of the photo around some points, the points in it, and where it lies in the photo."""
    height, width = photo.shape[:2]
    low, high = points.min(0), points.max(0)
    rim = reach * float((high - low).max()) + 12
    x1, y1 = np.clip(np.floor(low - rim), 0, (width - 2, height - 2)).astype(int)
    x2, y2 = np.clip(np.ceil(high + rim), (x1 + 2, y1 + 2), (width, height)).astype(int)
    shift = np.array([x1, y1], np.float64)
    return photo[y1:y2, x1:x2].copy(), points - shift, shift


def _touches(box: Sequence[float], boxes: Boxes) -> bool:
    x1, y1, x2, y2 = box
    return bool(((boxes[:, 0] < x2) & (boxes[:, 2] > x1) & (boxes[:, 1] < y2) & (boxes[:, 3] > y1)).any())


def framed(plate: Image, corners: Points, rng: Generator) -> tuple[Image, Points]:
    """A plate in a holder, as dealers fit it, and the holder's corners; the plate's own stay where they are."""
    height, width = plate.shape[:2]
    top, below, left, right = (round(float(rng.uniform(0.02, 0.1)) * height) for _ in range(4))
    if rng.random() < 0.5:
        below += round(float(rng.uniform(0.05, 0.15)) * height)
    color = [float(v) for v in rng.uniform(5, 60, 3)] if rng.random() < 0.8 else [float(rng.uniform(90, 230))] * 3
    out = cv2.copyMakeBorder(plate, top, below, left, right, cv2.BORDER_CONSTANT, value=color)
    if below > 0.08 * height:  # the dealer's name
        y = height + top + below // 2
        for x in range(width // 4, 3 * width // 4, max(height // 8, 2)):
            if rng.random() < 0.8:
                cv2.line(out, (x, y), (x + height // 14, y), [float(rng.uniform(90, 230))] * 3, max(below // 3, 1))
    source = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    matrix = cv2.getPerspectiveTransform(source, corners.astype(np.float32))
    x1, y1, x2, y2 = -left, -top, width + right, height + below
    rim = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], np.float64)
    return out, cv2.perspectiveTransform(rim[None], matrix.astype(np.float64))[0]


def _cover(piece: Image, corners: Points, rng: Generator) -> None:
    """A bar, a hook or a branch in front of a part of the plate, in place."""
    low, high = corners.min(0), corners.max(0)
    ends = [tuple(int(v) for v in low + (high - low) * rng.uniform(-0.3, 1.3, 2)) for _ in range(2)]
    thick = max(int((high - low).min() * rng.uniform(0.05, 0.25)), 1)
    cv2.line(piece, ends[0], ends[1], [float(v) for v in rng.uniform(10, 200, 3)], thick, cv2.LINE_AA)


def sheet(crops: Crops, points: NDArray[np.floating] | None = None, columns: int = 8, limit: int = 96) -> Image:
    """The first `limit` crops twice as large, with corners (TL red, TR green, BR blue, BL yellow); NaN: without."""
    colors = ((255, 0, 0), (0, 255, 0), (0, 100, 255), (255, 230, 0))
    tiles = []
    shown = crops.corners if points is None else points
    for image, corners in zip(crops.images[:limit], shown[:limit], strict=True):
        tile = cv2.resize(image, (2 * INPUT[0], 2 * INPUT[1]), interpolation=cv2.INTER_CUBIC)
        if np.isfinite(corners).all() and corners.any():
            at = np.round(corners * (2 * INPUT[0], 2 * INPUT[1])).astype(int)
            cv2.polylines(tile, [at], True, (255, 255, 255), 1, cv2.LINE_AA)
            for point, color in zip(at, colors, strict=True):
                cv2.circle(tile, point.tolist(), 3, color, -1)
        tiles.append(cv2.copyMakeBorder(tile, 1, 1, 1, 1, cv2.BORDER_CONSTANT))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])
