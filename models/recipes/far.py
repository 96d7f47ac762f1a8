"""Held-out photos seen from farther away, several in one picture: faces and plates as small as on photos of streets.

    python -m models.recipes.far HELD_OUT OUT [--draws 2]

The photos that our networks learn from show near cars and few people, so what is fast on them may miss what is small.
HELD_OUT is what `held_out.py` wrote. Each photo is scaled down by a factor of 1.5 to 3, which its name decides, and put
beside others of its source into pictures of 1,024 x 768 px. What gets under 8 px high, or touched its photo's edge, is
neither a miss nor a false positive there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from models.recipes.plates.marks import load

WIDTH, HEIGHT = 1024, 768  # px
SMALLEST = 8.0  # px, the height below which a label is ignored
LEAST, MOST = 1.5, 3.0  # how much farther away
EDGE = 2.0  # px of the photo


def farther(name: str, draw: int) -> float:
    """The factor of a photo, evenly spread between `LEAST` and `MOST` in its logarithm."""
    share = int(hashlib.sha256(f"{draw} {name}".encode()).hexdigest()[:8], 16) / 16**8
    return float(LEAST * (MOST / LEAST) ** share)


def placed(sizes: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """Number of the picture, x and y of each (width, height), px: rows from left to right, as text is set."""
    picture, x, y, row = 0, 0, 0, 0
    for width, height in sizes:
        if x + width > WIDTH:
            x, y, row = 0, y + row, 0
        if y + height > HEIGHT:
            picture, x, y, row = picture + 1, 0, 0, 0
        yield picture, x, y
        x, row = x + width, max(row, height)


def label(mark: dict[str, Any], size: tuple[int, int], factor: float, x: int, y: int) -> dict[str, Any]:
    """A photo's annotation in the picture."""
    left, top, width, height = mark["bbox"]
    is_cut = left <= EDGE or top <= EDGE or left + width >= size[0] - EDGE or top + height >= size[1] - EDGE
    box = [left / factor + x, top / factor + y, width / factor, height / factor]
    ignored = mark.get("iscrowd") or is_cut or box[3] < SMALLEST
    return {"category_id": mark["category_id"], "bbox": box, "area": box[2] * box[3], "iscrowd": int(bool(ignored))}


def pictures(folder: Path, out: Path, draw: int, known: dict[str, list[Any]]) -> None:
    """Write one source's pictures, and add their names and annotations to `known`."""
    data = json.loads((folder / "annotations.json").read_text())
    names = sorted(data["images"], key=lambda entry: hashlib.sha256(entry["file_name"].encode()).digest())
    factors = [farther(entry["file_name"], draw) for entry in names]
    photos = [load(folder / "images" / entry["file_name"]) for entry in names]
    small = [
        cv2.resize(p, (round(p.shape[1] / f), round(p.shape[0] / f)), interpolation=cv2.INTER_AREA)
        for p, f in zip(photos, factors, strict=True)
    ]
    places = list(placed([(s.shape[1], s.shape[0]) for s in small]))
    made: dict[int, np.ndarray] = {}
    prefix = names[0]["file_name"].partition("-")[0]  # `folds.source` goes by it
    first = len(known["images"]) + 1
    for entry, photo, image, factor, (number, x, y) in zip(names, photos, small, factors, places, strict=True):
        picture = made.setdefault(number, np.full((HEIGHT, WIDTH, 3), 114, np.uint8))
        picture[y : y + image.shape[0], x : x + image.shape[1]] = image
        for mark in data["annotations"]:
            if mark["image_id"] == entry["id"] and mark["category_id"] <= 2:
                new = label(mark, (photo.shape[1], photo.shape[0]), factor, x, y)
                known["annotations"].append(new | {"id": len(known["annotations"]) + 1, "image_id": first + number})
    for number, picture in made.items():
        name = f"{prefix}-far-{draw}-{number:03}.png"
        cv2.imwrite(str(out / "images" / name), picture[:, :, ::-1])
        known["images"].append({"id": first + number, "file_name": name, "width": WIDTH, "height": HEIGHT})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("held_out", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--draws", type=int, default=2, help="how often each photo is used, each time at another scale")
    given = parser.parse_args()
    for folder in sorted(p.parent for p in given.held_out.glob("*/annotations.json")):
        out = given.output / folder.name
        (out / "images").mkdir(parents=True, exist_ok=True)
        known: dict[str, list[Any]] = {"images": [], "annotations": []}
        for draw in range(given.draws):
            pictures(folder, out, draw, known)
        categories = [{"id": 1, "name": "face"}, {"id": 2, "name": "plate"}]
        (out / "annotations.json").write_text(json.dumps(known | {"categories": categories}))
        print(folder.name, len(known["images"]), "pictures", len(known["annotations"]), "boxes")


if __name__ == "__main__":
    main()
