"""From marked photos to a YOLO data set for the plate model: clean the marks, cut, and add drawn plates.

Marks are COCO (boxes [x, y, w, h], category 2 = plate). The data set is YOLO's pose form: one line a plate,
`class cx cy w h` and four corners `x y v`, all relative; v is 0 where a corner is not known (boxes drawn by people).
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .errors import AnnotationError
from .regions import intersections, iou
from .scenes import scene

Image = NDArray[np.uint8]
Boxes = NDArray[np.float64]
YOLO_NAMES = {0: "plate"}
FLIP = (1, 0, 3, 2)  # TL TR BR BL after a mirror


@dataclass(frozen=True)
class Marked:
    """One photo and what is known of it, in its pixels.

    Attributes:
        file: file name.
        plates: boxes (N, 4).
        ignored: boxes (M, 4) of places where something may be a plate: painted over before training.
        vehicles: boxes (K, 4).
        notes: what cleaning changed, one word each.
    """

    file: str
    plates: Boxes
    ignored: Boxes
    vehicles: Boxes
    notes: tuple[str, ...] = ()


def read_marks(path: Path, category: int = 2) -> dict[str, Boxes]:
    """COCO annotations -> file name -> boxes (N, 4) as x1, y1, x2, y2; photos without any are there too.

    Raises:
        AnnotationError: not a COCO file.
    """
    try:
        data = json.loads(path.read_text())
        names = {image["id"]: str(image["file_name"]) for image in data["images"]}
        found: dict[str, list[tuple[float, ...]]] = {name: [] for name in names.values()}
        for mark in data["annotations"]:
            if mark["category_id"] == category and not mark.get("iscrowd", 0):
                x, y, w, h = mark["bbox"]
                found[names[mark["image_id"]]].append((x, y, x + w, y + h))
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise AnnotationError(f"{path}: not COCO annotations ({e})") from e
    return {name: np.array(boxes, dtype=np.float64).reshape(-1, 4) for name, boxes in found.items()}


def _inside(a: Boxes, b: Boxes) -> Boxes:
    """Share of each box of `a` (N, 4) that lies in each of `b` (M, 4), as (N, M)."""
    area = np.maximum(np.prod(a[:, 2:] - a[:, :2], axis=1), 1e-9)
    return intersections(a, b) / area[:, None]


def clean(file: str, labels: Boxes, candidates: Mapping[str, Boxes], vehicles: Boxes, width: int) -> Marked:
    """Marks of one photo, corrected where detectors agree with each other against them.

    A candidate that no mark touches and that lies on a vehicle as a plate does (in its lower part, at most half as
    wide) becomes a plate when two detectors give it .25 or more; when they are less sure (two at .12, or one at .5), or
    the vehicle's plate is marked already, the place is ignored. Candidates elsewhere are signs, windows and shop names
    nearly always (seen on contact sheets): they stay as what they are, hard negatives, unless three detectors say .4;
    then the place is ignored. A mark that is much larger (1.5 times the area) than what two detectors agree on (IoU .7,
    most of it inside the mark) takes their union, except close-ups, in which the detectors take parts for the whole.

    Args:
        file: name, for the result.
        labels: boxes (N, 4).
        candidates: detector -> (M, 5): boxes and scores; the first detector has the tightest boxes.
        vehicles: boxes (K, 4).
        width: of the photo, px.
    """
    notes: list[str] = []
    rows = [(name, row) for name, some in candidates.items() for row in np.asarray(some, np.float64).reshape(-1, 5)]
    found = [(name, row[:4], float(row[4])) for name, row in rows if row[2] - row[0] > 1 and row[3] - row[1] > 1]
    plates = labels.copy()
    for i, label in enumerate(labels):
        near = [f for f in found if f[2] >= 0.3 and _inside(f[1][None], label[None])[0, 0] > 0.85]
        best: Boxes | None = None
        for j, a in enumerate(near):
            for b in near[j + 1 :]:
                if a[0] != b[0] and iou(a[1][None], b[1][None])[0, 0] > 0.7:
                    both = np.concatenate([np.minimum(a[1][:2], b[1][:2]), np.maximum(a[1][2:], b[1][2:])])
                    if best is None or np.prod(both[2:] - both[:2]) > np.prod(best[2:] - best[:2]):
                        best = both
        size = label[2:] - label[:2]
        if best is not None and size[0] < 0.2 * width and np.prod(size) > 1.5 * np.prod(best[2:] - best[:2]):
            plates[i] = best
            notes.append("tightened")
    ignored: list[Boxes] = []
    used = [False] * len(found)
    for i, (_, box, _) in enumerate(found):
        if used[i]:
            continue
        group = [j for j, f in enumerate(found) if not used[j] and iou(box[None], f[1][None])[0, 0] > 0.45]
        for j in group:
            used[j] = True
        marked = np.concatenate([labels, plates])
        if len(marked) and max(_inside(box[None], marked).max(), _inside(marked, box[None]).max()) > 0.2:
            continue
        best_of = {found[j][0]: max(found[k][2] for k in group if found[k][0] == found[j][0]) for j in group}
        first, second, third = (*sorted(best_of.values(), reverse=True), 0.0, 0.0)[:3]
        if not _as_a_plate(box, vehicles):
            if third >= 0.4:
                ignored.append(box)
                notes.append("ignored")
        elif second >= 0.25 and not _has_one(box, vehicles, labels):
            plates = np.concatenate([plates, box[None]])
            notes.append("added")
        elif first >= 0.5 or second >= 0.12:  # lettering on a vehicle whose plate is marked comes here too
            ignored.append(box)
            notes.append("ignored")
    return Marked(file, plates, np.array(ignored).reshape(-1, 4), vehicles, tuple(notes))


def _as_a_plate(box: Boxes, vehicles: Boxes) -> bool:
    """Whether a box lies where some vehicle may carry its plate, and has a plate's shape."""
    w, h = box[2:] - box[:2]
    if not 0.8 < w / h < 7:
        return False
    x, y = (box[:2] + box[2:]) / 2
    low, size = vehicles[:, :2], vehicles[:, 2:] - vehicles[:, :2]
    across, down = ((np.array([x, y]) - low) / np.maximum(size, 1e-6)).T
    return bool(np.any((across > 0) & (across < 1) & (down > 0.25) & (down < 1.02) & (w < 0.5 * size[:, 0])))


def _has_one(box: Boxes, vehicles: Boxes, labels: Boxes) -> bool:
    """Whether the smallest vehicle around a box carries a marked plate already."""
    middle = (box[:2] + box[2:]) / 2
    around = vehicles[(vehicles[:, :2] < middle).all(1) & (vehicles[:, 2:] > middle).all(1)]
    if not len(around) or not len(labels):
        return False
    smallest = around[np.argmin(np.prod(around[:, 2:] - around[:, :2], axis=1))]
    centres = (labels[:, :2] + labels[:, 2:]) / 2
    return bool(((centres > smallest[:2]) & (centres < smallest[2:])).all(1).any())


CLEANERS = ("safelicensing@1152", "fastanpr@1152", "pyplatex@1152")  # the first has the tightest boxes


def from_coco(
    images: Path,
    annotations: Path,
    output: Path,
    *,
    held_out: Sequence[str] = (),
    drawn: int = 1500,
    size: int = 640,
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
        is_cleaned: run the detectors; else the marks are taken as they are, and no plate is drawn beside them.

    Returns:
        Counts of photos, and of what cleaning changed.

    Raises:
        AnnotationError: marks that cannot be read, or photos.
        WeightsError: the detectors' weights cannot be had.
    """
    marks = read_marks(annotations)
    if is_cleaned:
        all_marked = list(_cleaned(images, marks, weights_dir))
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
        drawn=drawn,
        seed=seed,
    )
    changes = Counter(note for m in all_marked for note in m.notes)
    counts = {**counts, **{f"cleaning {k}": n for k, n in sorted(changes.items())}}
    (output / "counts.json").write_text(json.dumps(counts, indent=1))
    return counts


def _cleaned(images: Path, marks: Mapping[str, Boxes], weights_dir: Path | None) -> Iterator[Marked]:
    from .detectors import create
    from .settings import Settings

    settings = Settings()
    vehicles, *plates = (create(n, settings, weights_dir=weights_dir) for n in ("coco", *CLEANERS))
    for name, boxes in marks.items():
        photo = _load(images / name)
        cars = [r.box for r in vehicles.detect([photo])[0] if r.kind == "vehicle" and r.score >= 0.35]
        found = {
            d.name: np.array([(*r.box, r.score) for r in d.detect([photo])[0] if r.score >= 0.05]).reshape(-1, 5)
            for d in plates
        }
        yield clean(name, boxes, found, np.array(cars).reshape(-1, 4), photo.shape[1])


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
        if c - a <= 1 or d - b <= 1 or (c - a) * (d - b) < 0.6 * (x2 - x1) * (y2 - y1):
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


def _save(folder: Path, name: str, photo: Image, lines: str) -> str:
    path = folder / "images" / f"{name}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    label = folder / "labels" / f"{name}.txt"
    label.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), photo[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    label.write_text(lines)
    return str(path)


def _load(path: Path) -> Image:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise AnnotationError(f"{path}: the photo cannot be read")
    return np.ascontiguousarray(image[:, :, ::-1])


def build(
    output: Path,
    images: Path,
    train: Sequence[Marked],
    held_out: Sequence[Marked],
    *,
    size: int = 640,
    drawn: int = 1500,
    drawn_test: int = 200,
    seed: int = 0,
) -> dict[str, Any]:
    """Write the data set: whole photos, crops at native size around small plates, drawn plates; and `data.yaml`.

    `drawn_test` scenes go to `test/`, from held-out photos with another seed; a third of them turned by exactly ±30°.

    Returns:
        Counts, also written to `counts.json`.
    """
    rng = np.random.default_rng(seed)
    counts = {"whole": 0, "crops": 0, "drawn": 0, "val": 0, "test": 0, "plates": 0}
    for marked in train:
        photo = paint_over(_load(images / marked.file), marked.ignored)
        stem = Path(marked.file).stem
        whole, f = _resized(photo, size)
        _save(output / "train", stem, whole, yolo_lines(marked.plates * f, None, whole.shape[1], whole.shape[0]))
        counts["whole"] += 1
        counts["plates"] += len(marked.plates)
        tall = marked.plates[:, 3] - marked.plates[:, 1]
        if max(photo.shape[:2]) > 1.2 * size and len(tall) and tall.min() < 40:
            a, b, c, d = _crop_around(marked, photo.shape, size, rng)
            _save(
                output / "train",
                f"{stem}-crop",
                photo[b:d, a:c],
                yolo_lines(marked.plates - (a, b, a, b), None, c - a, d - b),
            )
            counts["crops"] += 1
    for i in range(drawn):
        _draw_one(output / "train", images, train, f"drawn-{i:05d}", size, rng, None)
        counts["drawn"] += 1
    for marked in held_out:
        whole, f = _resized(_load(images / marked.file), size)
        lines = yolo_lines(marked.plates * f, None, whole.shape[1], whole.shape[0])
        _save(output / "val", Path(marked.file).stem, whole, lines)
        counts["val"] += 1
    rng = np.random.default_rng(seed + 1_000_003)
    for i in range(drawn_test):
        turn = float(rng.choice([-1, 1])) * np.pi / 6 if i % 3 == 0 else 0.0
        _draw_one(output / "test", images, held_out, f"drawn-{i:05d}{'-turned' if turn else ''}", size, rng, turn)
        counts["test"] += 1
    names = "\n".join(f"  {k}: {v}" for k, v in YOLO_NAMES.items())
    yaml = f"path: {output.resolve()}\ntrain: train/images\nval: val/images\ntest: test/images\nnames:\n{names}\n"
    (output / "data.yaml").write_text(yaml + f"kpt_shape: [4, 3]\nflip_idx: {list(FLIP)}\n")
    (output / "counts.json").write_text(json.dumps(counts, indent=1))
    return counts


def _draw_one(
    folder: Path, images: Path, photos: Sequence[Marked], name: str, size: int, rng: Generator, turn: float | None
) -> None:
    """One drawn scene of a random photo, whole or a crop at native size."""
    marked = photos[int(rng.integers(len(photos)))]
    photo = paint_over(_load(images / marked.file), marked.ignored)
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
    drawn, corners = scene(photo, marked.plates[keep], marked.vehicles, rng, roll=roll, turn=turn)
    boxes = np.concatenate([corners.min(1), corners.max(1)], axis=1) if len(corners) else np.zeros((0, 4))
    _save(folder, name, drawn, yolo_lines(boxes, corners, width, height))
