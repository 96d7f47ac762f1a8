"""Copy the photos of one fold, a folder a source, with their labels: what `anonymize compare` measures on.

    python -m models.recipes.held_out DATA models/recipes/labels OUT [--fold 4]
    python -m anonymize compare OUT/masks/images OUT/masks/annotations.json --detectors NAME,NAME --false-alarms 0.25

What people marked is the truth. What only the teachers added counts as a plate, but not as a face: the networks that
are compared are the teachers themselves, so these faces are ignored. But on fold 4's Open Images photos every place
that a teacher or an early `street.pt` took for a face was judged by eye: `labels/judged-faces.json.gz`.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from models.recipes.folds import HELD_OUT, fold, source
from models.recipes.label import FACE, SETS, Label, read, to_coco
from models.recipes.plates.marks import load


def truth(labels: Sequence[Label], judged: Sequence[Label] | None) -> list[Label]:
    """Labels as they are measured with.

    Args:
        judged: the photo's faces as somebody judged them; None: the teachers' own are neither misses nor false
            positives.
    """
    if judged is not None:
        return [one for one in labels if one.category != FACE] + list(judged)
    return [replace(one, ignore=one.ignore or (one.by == "teacher" and one.category == FACE)) for one in labels]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--fold", type=int, default=HELD_OUT)
    given = parser.parse_args()
    judged = read(given.labels / "judged-faces.json.gz")
    by_source: dict[str, list[tuple[Mapping[str, object], list[Label]]]] = {}
    for kind in SETS:
        for name, labels in read(given.labels / f"{kind}.json.gz").items():
            if fold(name) != given.fold:
                continue
            folder = given.output / source(name) / "images"
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(given.data / kind / "images" / name, folder / name)
            height, width = load(folder / name).shape[:2]
            row = {"file": name, "width": width, "height": height}
            by_source.setdefault(source(name), []).append((row, truth(labels, judged.get(name))))
    for name, photos in by_source.items():
        (given.output / name / "annotations.json").write_text(json.dumps(to_coco(photos)))
        print(name, len(photos), "photos")


if __name__ == "__main__":
    main()
