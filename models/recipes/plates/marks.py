"""Marked photos, and their marks corrected where several detectors agree with each other against them.

Marks are COCO (boxes [x, y, w, h], category 2 = plate). Nobody marks every plate of a street, and some boxes are drawn
loosely; a network learns both faults.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymize.errors import AnnotationError
from anonymize.regions import intersections, iou

Image = NDArray[np.uint8]
Boxes = NDArray[np.float64]
CLEANERS = ("safelicensing@1152", "fastanpr@1152", "pyplatex@1152")  # the first has the tightest boxes


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


def load(path: Path) -> Image:
    """RGB uint8 (H, W, 3), of the size that the marks are in (a camera's orientation is not applied)."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise AnnotationError(f"{path}: the photo cannot be read")
    return np.ascontiguousarray(image[:, :, ::-1])


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
    centers = (labels[:, :2] + labels[:, 2:]) / 2
    return bool(((centers > smallest[:2]) & (centers < smallest[2:])).all(1).any())


def cleaned(images: Path, marks: Mapping[str, Boxes], weights_dir: Path | None = None) -> Iterator[Marked]:
    """Every photo's marks, cleaned with three public detectors at 1,152 px and one of vehicles.

    Raises:
        AnnotationError: a photo that cannot be read.
        WeightsError: the detectors' weights cannot be had.
    """
    from anonymize.detectors import create
    from anonymize.settings import Settings

    settings = Settings()
    vehicles, *plates = (create(n, settings, weights_dir=weights_dir) for n in ("coco", *CLEANERS))
    for name, boxes in marks.items():
        photo = load(images / name)
        cars = [r.box for r in vehicles.detect([photo])[0] if r.kind == "vehicle" and r.score >= 0.35]
        found = {
            d.name: np.array([(*r.box, r.score) for r in d.detect([photo])[0] if r.score >= 0.05]).reshape(-1, 5)
            for d in plates
        }
        yield clean(name, boxes, found, np.array(cars).reshape(-1, 4), photo.shape[1])
