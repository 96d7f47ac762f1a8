"""From marked photos to a YOLO data set for the plate model: cleaned, cut, and with drawn plates added.

The data set is YOLO's: one line a plate, `class cx cy w h`, all relative. In `test/`, whose plates are drawn, four
corners `x y v` follow (TL TR BR BL; v is 0 outside of the photo): `bench.corners` measures on them.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from anonymize.errors import AnnotationError, SettingsError
from anonymize.regions import boxes as boxes_of
from anonymize.regions import iou

from .marks import Boxes, Image, Marked, cleaned, load, read_marks
from .scenes import scene

YOLO_NAMES = {0: "plate"}
WIDE = 0.6  # of a tile: a wider plate is shown whole, in a reduced photo
Corners = NDArray[np.float64]  # (N, 4, 2)
Example = tuple[Image, Boxes]
Alarms = Callable[[Image], tuple[Boxes, NDArray[np.float64]]]  # photo -> an earlier model's boxes (N, 4), scores (N,)
LEFT = 0.6  # of a plate's box must be in the picture, else it is no label
DOUBTFUL, LIKELY = 0.1, 0.6  # scores of an earlier model: from here a false positive teaches, from here it is a plate


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
    hard_negatives: str = "",
    seed: int = 0,
    weights_dir: Path | None = None,
) -> dict[str, Any]:
    """The whole way: marks, cleaned by three public detectors, to a data set.

    Args:
        images: folder of the photos.
        annotations: COCO; category 2 is plate.
        output: folder of the data set.
        held_out: patterns of the names of photos for val and test (neighboring frames of one ride resemble each other:
            name the ride). Empty: every twelfth.
        drawn, size, tiles, seed: see `build`.
        hard_negatives: a detector whose false positives teach too (see `build`); needs `tiles`.
        is_cleaned: run the detectors; else the marks are taken as they are, and no plate is drawn beside them.

    Returns:
        Counts of photos, and of what cleaning changed.

    Raises:
        AnnotationError: marks that cannot be read, or photos.
        SettingsError: hard negatives without tiles.
        WeightsError: the detectors' weights cannot be had.
    """
    if hard_negatives and not tiles:
        raise SettingsError("hard negatives are cut out as tiles; say how large these are")
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
        alarms=_alarms(hard_negatives, weights_dir) if hard_negatives else None,
        seed=seed,
    )
    changes = Counter(note for m in all_marked for note in m.notes)
    counts = {**counts, **{f"cleaning {k}": n for k, n in sorted(changes.items())}}
    (output / "counts.json").write_text(json.dumps(counts, indent=1))
    return counts


def _alarms(name: str, weights_dir: Path | None) -> Alarms:
    from anonymize.detectors import create
    from anonymize.settings import Settings

    detector = create(name, Settings(), weights_dir=weights_dir)

    def alarms(photo: Image) -> tuple[Boxes, NDArray[np.float64]]:
        found = [r for r in detector.detect([photo])[0] if r.kind == "plate" and r.score >= DOUBTFUL]
        return boxes_of(found), np.array([r.score for r in found])

    return alarms


def paint_over(photo: Image, boxes: Boxes) -> Image:
    """A copy in which these boxes are flat, in their mean color, so that they teach nothing."""
    out = photo.copy()
    for x1, y1, x2, y2 in np.clip(np.round(boxes), 0, None).astype(int):
        if (part := out[y1:y2, x1:x2]).size:
            part[:] = part.reshape(-1, 3).mean(0)
    return out


def yolo_lines(boxes: Boxes, width: int, height: int, corners: Corners | None = None) -> str:
    """YOLO labels. Boxes are cut at the photo's edges; those of which less than .6 is left are dropped.

    Args:
        boxes: (N, 4).
        corners: (N, 4, 2); with them twelve more numbers a line.
    """
    lines = []
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        a, b, c, d = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
        if c - a <= 1 or d - b <= 1 or (c - a) * (d - b) < LEFT * (x2 - x1) * (y2 - y1):
            continue
        numbers = [(a + c) / 2 / width, (b + d) / 2 / height, (c - a) / width, (d - b) / height]
        for x, y in () if corners is None else corners[i]:
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


def tile(photo: Image, boxes: Boxes, size: int, rng: Generator) -> Example:
    """A crop of at most size × size around one plate (small ones are chosen more often), or anywhere without any."""
    height, width = photo.shape[:2]
    center = (rng.uniform(0, width), rng.uniform(0, height))
    if len(boxes):
        box = boxes[_smaller_first(boxes, 6, rng)]
        center = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    return _cut(photo, boxes, center, size, rng)


def _smaller_first(boxes: Boxes, least: float, rng: Generator) -> int:
    chance = 1 / np.maximum(boxes[:, 3] - boxes[:, 1], least)
    return int(rng.choice(len(boxes), p=chance / chance.sum()))


def _cut(photo: Image, boxes: Boxes, center: Sequence[float], size: int, rng: Generator) -> Example:
    """A crop of at most size × size with a place somewhere in it.

    Of plates that are mostly outside the rest is painted flat: it is neither a plate nor none.
    """
    height, width = photo.shape[:2]
    w, h = min(size, width), min(size, height)
    left = int(np.clip(center[0] - w * rng.uniform(0.12, 0.88), 0, width - w))
    top = int(np.clip(center[1] - h * rng.uniform(0.12, 0.88), 0, height - h))
    crop = photo[top : top + h, left : left + w]
    boxes = boxes - (left, top, left, top)
    inside = np.clip(boxes, 0, (w, h, w, h))
    visible, whole = (np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (inside, boxes))
    kept = visible >= LEFT * whole
    return paint_over(crop, inside[(visible > 0) & ~kept]), boxes[kept]


def drawn_tiles(photo: Image, boxes: Boxes, size: int, number: int, rng: Generator) -> Iterator[Example]:
    """Of a drawn scene: one tile; of every third, and of those with wide plates, a small whole one."""
    is_wide = bool(len(boxes)) and float((boxes[:, 2] - boxes[:, 0]).max()) > WIDE * size
    if is_wide or number % 3 == 0:
        small, f = _resized(photo, size)
        yield small, boxes * f
    if not is_wide:
        yield tile(photo, boxes, size, rng)


def photo_tiles(photo: Image, boxes: Boxes, alarms: Boxes, size: int, rng: Generator) -> Iterator[Example]:
    """Of a real photo: the whole, small, and up to four tiles, each in another size between .45 and 1.5.

    Two around plates, smaller ones more often, never so large that one fills a tile; the others around what an earlier
    model took for a plate, or anywhere.

    Args:
        alarms: boxes (M, 4) of these false positives.
    """
    height, width = photo.shape[:2]
    smallest = size / max(height, width)
    yield _scaled(photo, boxes, smallest)
    for turn in range(4):
        scale, box = float(np.exp(rng.uniform(np.log(0.6), np.log(1.5)))), None
        if turn < 2 and len(boxes):
            box = boxes[_smaller_first(boxes, 8, rng)]
            low = max(0.45, 6 / (box[3] - box[1]))
            high = max(min(1.5, 0.8 * size / (box[2] - box[0])), 1.02 * low)
            scale = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        elif len(alarms) and rng.random() < 0.8:
            box = alarms[int(rng.integers(len(alarms)))]
        center = np.array((rng.uniform(0, width), rng.uniform(0, height)))
        if turn == 3 and rng.random() < 0.5:
            continue
        scale = max(scale, smallest)
        if box is not None:
            center = (box[:2] + box[2:]) / 2
        yield _cut(*_scaled(photo, boxes, scale), (center * scale).tolist(), size, rng)


def _scaled(photo: Image, boxes: Boxes, scale: float) -> Example:
    shape = (round(photo.shape[1] * scale), round(photo.shape[0] * scale))
    return cv2.resize(photo, shape, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR), boxes * scale


def sorted_alarms(plates: Boxes, found: Boxes, scores: NDArray[np.float64]) -> tuple[Boxes, Boxes]:
    """What an earlier model found where nothing is marked -> (false positives, likely plates that nobody marked).

    Args:
        plates: boxes (N, 4), marked. found: boxes (M, 4). scores: (M,).
    """
    free = iou(found, plates).max(axis=1, initial=0.0) < 0.15
    likely = scores >= LIKELY
    return found[free & ~likely & (scores >= DOUBTFUL)], found[free & likely]


def _save(folder: Path, name: str, photo: Image, boxes: Boxes, corners: Corners | None = None) -> None:
    height, width = photo.shape[:2]
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    path = folder / "images" / f"{name}.jpg"
    if not cv2.imwrite(str(path), photo[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92]):
        raise AnnotationError(f"{path} cannot be written")
    (folder / "labels" / f"{name}.txt").write_text(yolo_lines(boxes, width, height, corners))


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
    alarms: Alarms | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Write the data set: real photos, whole or in tiles, drawn plates; and `data.yaml`.

    Args:
        size: long side of the photos, px.
        tiles: cut the training photos into pictures of so many px, at several scales (`photo_tiles`): less to compute
            for each plate. 0: whole photos, and crops at native size around small plates.
        drawn: training scenes with drawn plates.
        drawn_test: scenes in `test/`, from held-out photos with another seed; a third of them turned by exactly ±30°.
        alarms: an earlier model, whose false positives are cut out too; what it is sure of and nobody marked is painted
            over. Needs `tiles`.
        seed: of all choices.

    Returns:
        Counts, also written to `counts.json`.
    """
    rng = np.random.default_rng(seed)
    counts = {"whole": 0, "tiles": 0, "crops": 0, "drawn": 0, "val": 0, "test": 0, "plates": 0}
    if alarms:
        counts |= {"false positives": 0, "likely plates": 0}
    for marked in train:
        photo = paint_over(load(images / marked.file), marked.ignored)
        stem, plates = Path(marked.file).stem, marked.plates
        counts["plates"] += len(plates)
        if tiles:
            wrong = np.zeros((0, 4))
            if alarms:
                wrong, likely = sorted_alarms(plates, *alarms(photo))
                photo = paint_over(photo, likely)
                counts["false positives"] += len(wrong)
                counts["likely plates"] += len(likely)
            for i, example in enumerate(photo_tiles(photo, plates, wrong, tiles, rng)):
                _save(output / "train", f"{stem}-{i}", *example)
                counts["tiles"] += 1
            continue
        whole, f = _resized(photo, size)
        _save(output / "train", stem, whole, plates * f)
        counts["whole"] += 1
        tall = plates[:, 3] - plates[:, 1]
        if max(photo.shape[:2]) > 1.2 * size and len(tall) and tall.min() < 40:
            a, b, c, d = _crop_around(marked, photo.shape, size, rng)
            _save(output / "train", f"{stem}-crop", photo[b:d, a:c], plates - (a, b, a, b))
            counts["crops"] += 1
    for i in range(drawn):
        photo, boxes, _ = _draw_one(images, train, size, rng, None)
        examples = drawn_tiles(photo, boxes, tiles, i, rng) if tiles else [(photo, boxes)]
        for j, example in enumerate(examples):
            _save(output / "train", f"drawn-{i:05d}-{j}" if tiles else f"drawn-{i:05d}", *example)
        counts["drawn"] += 1
    for marked in held_out:
        whole, f = _resized(load(images / marked.file), size)
        _save(output / "val", Path(marked.file).stem, whole, marked.plates * f)
        counts["val"] += 1
    rng = np.random.default_rng(seed + 1_000_003)
    for i in range(drawn_test):
        turn = float(rng.choice([-1, 1])) * np.pi / 6 if i % 3 == 0 else 0.0
        name = f"drawn-{i:05d}{'-turned' if turn else ''}"
        _save(output / "test", name, *_draw_one(images, held_out, size, rng, turn))
        counts["test"] += 1
    names = "\n".join(f"  {k}: {v}" for k, v in YOLO_NAMES.items())
    (output / "data.yaml").write_text(f"train: train/images\nval: val/images\nnames:\n{names}\n")
    (output / "counts.json").write_text(json.dumps(counts, indent=1))
    return counts


def _draw_one(
    images: Path, photos: Sequence[Marked], size: int, rng: Generator, turn: float | None
) -> tuple[Image, Boxes, Corners]:
    """One drawn scene of a random photo, whole or a crop at native size: its plates' boxes and corners too."""
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
