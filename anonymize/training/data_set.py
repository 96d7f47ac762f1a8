"""From marked photos to a YOLO data set for the plate model: cleaned, cut, and with drawn plates added.

The data set is YOLO's pose form: one line a plate, `class cx cy w h` and four corners `x y v`, all relative; v is 0
where a corner is not known (boxes drawn by people).
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ..errors import AnnotationError
from .marks import Boxes, Image, Marked, cleaned, load, read_marks
from .scenes import scene

YOLO_NAMES = {0: "plate"}
FLIP = (1, 0, 3, 2)  # TL TR BR BL after a mirror
WIDE = 0.6  # of a tile: a wider plate is shown whole, in a reduced photo
Corners = NDArray[np.float64]  # (N, 4, 2)
Example = tuple[Image, Boxes, "Corners | None"]
LEFT = 0.6  # of a plate's box must be in the picture, else it is no label


def from_coco(
    images: Path,
    annotations: Path,
    output: Path,
    *,
    held_out: Sequence[str] = (),
    drawn: int = 1500,
    size: int = 640,
    tiles: int = 0,
    is_cleaned: bool = True,
    seed: int = 0,
    weights_dir: Path | None = None,
) -> dict[str, Any]:
    """The whole way: marks, cleaned by three public detectors, to a data set.

    Args:
        images: folder of the photos.
        annotations: COCO; category 2 is plate.
        output: folder of the data set.
        held_out: patterns of the names of photos for val and test (neighbouring frames of one ride resemble each other:
            name the ride). Empty: every twelfth.
        drawn, size, tiles, seed: see `build`.
        is_cleaned: run the detectors; else the marks are taken as they are, and no plate is drawn beside them.

    Returns:
        Counts of photos, and of what cleaning changed.

    Raises:
        AnnotationError: marks that cannot be read, or photos.
        WeightsError: the detectors' weights cannot be had.
    """
    marks = read_marks(annotations)
    if is_cleaned:
        all_marked = list(cleaned(images, marks, weights_dir))
    else:
        none = np.zeros((0, 4))
        all_marked = [Marked(name, boxes, none, none) for name, boxes in marks.items()]
    names = sorted(marks)
    chosen = {n for n in names if any(fnmatch(n, p) for p in held_out)} if held_out else set(names[::12])
    if not chosen or len(chosen) == len(names):
        raise AnnotationError(f"{len(chosen)} of {len(names)} photos are held out; some are needed on both sides")
    counts = build(
        output,
        images,
        [m for m in all_marked if m.file not in chosen],
        [m for m in all_marked if m.file in chosen],
        size=size,
        tiles=tiles,
        drawn=drawn,
        seed=seed,
    )
    changes = Counter(note for m in all_marked for note in m.notes)
    counts = {**counts, **{f"cleaning {k}": n for k, n in sorted(changes.items())}}
    (output / "counts.json").write_text(json.dumps(counts, indent=1))
    return counts


def paint_over(photo: Image, boxes: Boxes) -> Image:
    """A copy in which these boxes are flat, in their mean colour, so that they teach nothing."""
    out = photo.copy()
    for x1, y1, x2, y2 in np.clip(np.round(boxes), 0, None).astype(int):
        if (part := out[y1:y2, x1:x2]).size:
            part[:] = part.reshape(-1, 3).mean(0)
    return out


def yolo_lines(boxes: Boxes, corners: NDArray[np.float64] | None, width: int, height: int) -> str:
    """YOLO pose labels. Boxes are cut at the photo's edges; those of which less than .6 is left are dropped.

    Args:
        boxes: (N, 4).
        corners: (N, 4, 2), or None where they are unknown; then v is 0.
    """
    lines = []
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        a, b, c, d = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
        if c - a <= 1 or d - b <= 1 or (c - a) * (d - b) < LEFT * (x2 - x1) * (y2 - y1):
            continue
        numbers = [(a + c) / 2 / width, (b + d) / 2 / height, (c - a) / width, (d - b) / height]
        for j in range(4):
            if corners is None:
                numbers += [0, 0, 0]
                continue
            x, y = corners[i, j]
            within = 0 <= x <= width and 0 <= y <= height
            numbers += [x / width, y / height, 2] if within else [0, 0, 0]
        lines.append("0 " + " ".join(f"{n:.6g}" for n in numbers))
    return "".join(line + "\n" for line in lines)


def _resized(photo: Image, size: int) -> tuple[Image, float]:
    f = min(size / max(photo.shape[:2]), 1.0)
    if f == 1.0:
        return photo, 1.0
    shape = (round(photo.shape[1] * f), round(photo.shape[0] * f))
    return cv2.resize(photo, shape, interpolation=cv2.INTER_AREA), f


def _crop_around(marked: Marked, shape: Sequence[int], size: int, rng: Generator) -> tuple[int, int, int, int]:
    """A crop (x1, y1, x2, y2) of at most size × size with a random plate of the photo (or any place) in it."""
    height, width = shape[:2]
    w, h = min(size, width), min(size, height)
    x, y = rng.uniform(0, width - w + 1), rng.uniform(0, height - h + 1)
    if len(marked.plates):
        box = marked.plates[int(rng.integers(len(marked.plates)))]
        x, y = ((box[i] + box[i + 2]) / 2 - side * rng.uniform(0.2, 0.8) for i, side in ((0, w), (1, h)))
    left, top = int(np.clip(x, 0, width - w)), int(np.clip(y, 0, height - h))
    return left, top, left + w, top + h


def tile(photo: Image, boxes: Boxes, corners: Corners | None, size: int, rng: Generator) -> Example:
    """A crop of at most size × size around one plate (small ones are chosen more often), or anywhere without any.

    Of plates that are mostly outside the rest is painted flat: it is neither a plate nor none.
    """
    height, width = photo.shape[:2]
    w, h = min(size, width), min(size, height)
    x, y = rng.uniform(0, width - w + 1), rng.uniform(0, height - h + 1)
    if len(boxes):
        chance = 1 / np.maximum(boxes[:, 3] - boxes[:, 1], 6)
        x1, y1, x2, y2 = boxes[rng.choice(len(boxes), p=chance / chance.sum())]
        x = (x1 + x2) / 2 - w * rng.uniform(0.15, 0.85)
        y = (y1 + y2) / 2 - h * rng.uniform(0.15, 0.85)
    left, top = int(np.clip(x, 0, width - w)), int(np.clip(y, 0, height - h))
    crop = photo[top : top + h, left : left + w]
    boxes = boxes - (left, top, left, top)
    inside = np.clip(boxes, 0, (w, h, w, h))
    visible, whole = (np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (inside, boxes))
    kept = visible >= LEFT * whole
    crop = paint_over(crop, inside[(visible > 0) & ~kept])
    return crop, boxes[kept], None if corners is None else corners[kept] - (left, top)


def _tiles(
    photo: Image, boxes: Boxes, corners: Corners | None, size: int, number: int, rng: Generator
) -> Iterator[Example]:
    """What is learned from: a tile of each photo; of every third, and of those with wide plates, a small whole one."""
    is_wide = bool(len(boxes)) and float((boxes[:, 2] - boxes[:, 0]).max()) > WIDE * size
    if is_wide or number % 3 == 0:
        small, f = _resized(photo, size)
        yield small, boxes * f, None if corners is None else corners * f
    if not is_wide:
        yield tile(photo, boxes, corners, size, rng)


def _save(folder: Path, name: str, photo: Image, boxes: Boxes, corners: Corners | None) -> None:
    height, width = photo.shape[:2]
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    path = folder / "images" / f"{name}.jpg"
    if not cv2.imwrite(str(path), photo[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92]):
        raise AnnotationError(f"{path} cannot be written")
    (folder / "labels" / f"{name}.txt").write_text(yolo_lines(boxes, corners, width, height))


def build(
    output: Path,
    images: Path,
    train: Sequence[Marked],
    held_out: Sequence[Marked],
    *,
    size: int = 640,
    tiles: int = 0,
    drawn: int = 1500,
    drawn_test: int = 200,
    seed: int = 0,
) -> dict[str, Any]:
    """Write the data set: whole photos, crops at native size around small plates, drawn plates; and `data.yaml`.

    Args:
        size: long side of the photos, px.
        tiles: cut the training photos (at `size`) into pictures of so many px: less to compute for each plate. 0: none.
        drawn: training scenes with drawn plates.
        drawn_test: scenes in `test/`, from held-out photos with another seed; a third of them turned by exactly ±30°.
        seed: of all choices.

    Returns:
        Counts, also written to `counts.json`.
    """
    rng = np.random.default_rng(seed)
    counts = {"whole": 0, "crops": 0, "drawn": 0, "val": 0, "test": 0, "plates": 0}

    def learn(name: str, photo: Image, boxes: Boxes, corners: Corners | None) -> None:
        number = counts["whole"] + counts["crops"] + counts["drawn"]
        examples = _tiles(photo, boxes, corners, tiles, number, rng) if tiles else iter([(photo, boxes, corners)])
        for i, example in enumerate(examples):
            _save(output / "train", f"{name}-{i}" if tiles else name, *example)

    for marked in train:
        photo = paint_over(load(images / marked.file), marked.ignored)
        stem = Path(marked.file).stem
        whole, f = _resized(photo, size)
        learn(stem, whole, marked.plates * f, None)
        counts["whole"] += 1
        counts["plates"] += len(marked.plates)
        tall = marked.plates[:, 3] - marked.plates[:, 1]
        if max(photo.shape[:2]) > 1.2 * size and len(tall) and tall.min() < 40:
            a, b, c, d = _crop_around(marked, photo.shape, size, rng)
            learn(f"{stem}-crop", photo[b:d, a:c], marked.plates - (a, b, a, b), None)
            counts["crops"] += 1
    for i in range(drawn):
        learn(f"drawn-{i:05d}", *_draw_one(images, train, size, rng, None))
        counts["drawn"] += 1
    for marked in held_out:
        whole, f = _resized(load(images / marked.file), size)
        _save(output / "val", Path(marked.file).stem, whole, marked.plates * f, None)
        counts["val"] += 1
    rng = np.random.default_rng(seed + 1_000_003)
    for i in range(drawn_test):
        turn = float(rng.choice([-1, 1])) * np.pi / 6 if i % 3 == 0 else 0.0
        name = f"drawn-{i:05d}{'-turned' if turn else ''}"
        _save(output / "test", name, *_draw_one(images, held_out, size, rng, turn))
        counts["test"] += 1
    names = "\n".join(f"  {k}: {v}" for k, v in YOLO_NAMES.items())
    yaml = f"train: train/images\nval: val/images\ntest: test/images\nnames:\n{names}\n"
    (output / "data.yaml").write_text(yaml + f"kpt_shape: [4, 3]\nflip_idx: {list(FLIP)}\n")
    (output / "counts.json").write_text(json.dumps(counts, indent=1))
    return counts


def _draw_one(images: Path, photos: Sequence[Marked], size: int, rng: Generator, turn: float | None) -> Example:
    """One drawn scene of a random photo, whole or a crop at native size."""
    marked = photos[int(rng.integers(len(photos)))]
    photo = paint_over(load(images / marked.file), marked.ignored)
    if max(photo.shape[:2]) > 1.2 * size and rng.random() < 0.5:
        a, b, c, d = _crop_around(marked, photo.shape, size, rng)
        photo, shift, f = np.ascontiguousarray(photo[b:d, a:c]), np.array((a, b, a, b)), 1.0
    else:
        photo, f = _resized(photo, size)
        shift = np.zeros(4)
    marked = dataclasses.replace(marked, plates=marked.plates * f - shift, vehicles=marked.vehicles * f - shift)
    height, width = photo.shape[:2]
    keep = (marked.plates[:, 2:] > 0).all(1) & (marked.plates[:, :2] < (width, height)).all(1)
    roll = 0.08 if rng.random() < 0.7 else 0.3
    out, corners = scene(photo, marked.plates[keep], marked.vehicles, rng, roll=roll, turn=turn)
    boxes = np.concatenate([corners.min(1), corners.max(1)], axis=1) if len(corners) else np.zeros((0, 4))
    return out, boxes, corners
