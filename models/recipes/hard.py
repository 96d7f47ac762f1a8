"""Where a network errs on the photos that it learns from: what it misses, and what it takes for a face or plate.

    python -m models.recipes.hard DATA models/recipes/labels yolo:street.onnx@640 HARD.json [--fold 4]

`train.py --hard HARD.json` then cuts tiles around these places more often. A false one counts only where no teacher
half saw anything and, for plates on photos of cars, not at all: some real plates have no mark.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from anonymize.detectors import create
from anonymize.regions import Box, Region, boxes, iou
from anonymize.settings import Settings
from models.recipes.folds import HELD_OUT, fold, source
from models.recipes.label import FACE, PLATE, SETS, Label, read
from models.recipes.plates.marks import load

KINDS = {"face": FACE, "plate": PLATE}
FOUND, FALSE = 0.2, 0.2  # scores: a label below the first is missed, from the second on something false is found
SAME, APART = 0.4, 0.02  # IoU
LEAST = 6.0  # px, of a label's height


def errors(found: Sequence[Region], labels: Sequence[Label], name: str) -> list[Box]:
    """Boxes of what was missed or false."""
    out: list[Box] = []
    for kind, category in KINDS.items():
        known = [label for label in labels if label.category == category]
        some = [r for r in found if r.kind == kind]
        overlap = iou(np.array([label.box for label in known]).reshape(-1, 4), boxes(some))
        for label, row in zip(known, overlap, strict=True):
            seen = any(r.score >= FOUND and o >= SAME for r, o in zip(some, row, strict=True))
            if not (label.ignore or seen) and label.box[3] - label.box[1] >= LEAST:
                out.append(label.box)
        if kind == "face" or source(name) in ("empty", "masks"):
            free = overlap.max(axis=0, initial=0.0) < APART
            out += [r.box for r, is_free in zip(some, free, strict=True) if is_free and r.score >= FALSE]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("network")
    parser.add_argument("output", type=Path)
    parser.add_argument("--fold", type=int, default=HELD_OUT, help="left out")
    given = parser.parse_args()
    detector = create(given.network, Settings(), is_calibrated=False)
    out: dict[str, list[Box]] = {}
    for kind in SETS:
        for name, labels in read(given.labels / f"{kind}.json.gz").items():
            if fold(name) != given.fold:
                image = load(given.data / kind / "images" / name)
                if places := errors(detector.detect([image])[0], labels, name):
                    out[name] = places
    given.output.write_text(json.dumps(out))
    print(sum(map(len, out.values())), "places on", len(out), "photos")


if __name__ == "__main__":
    main()
