"""Copy the photos of one fold, a folder a source, with their labels: what `anonymize compare` measures on.

    python -m models.recipes.held_out DATA models/recipes/labels OUT [--fold 4]
    python -m anonymize compare OUT/masks/images OUT/masks/annotations.json --detectors NAME,NAME --false-alarms 0.25

What people marked is the truth. What only the teachers added counts as a plate, but not as a face: the networks that
are compared are the teachers themselves, so these faces are ignored, unless `--agreed` makes them true, too.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from anonymize.training.marks import load
from models.recipes.folds import HELD_OUT, fold, source
from models.recipes.label import FACE, SETS, Label, read, to_coco


def truth(labels: Sequence[Label], agreed: bool) -> list[Label]:
    """Labels as they are measured with: the teachers' own faces are neither misses nor false positives."""
    hushed = [one for one in labels if one.by == "teacher" and one.category == FACE and not agreed]
    return [one for one in labels if one not in hushed] + [
        Label(one.category, one.box, True, one.by, one.score) for one in hushed
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--fold", type=int, default=HELD_OUT)
    parser.add_argument("--agreed", action="store_true", help="faces on which the teachers agree are true")
    given = parser.parse_args()
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
            by_source.setdefault(source(name), []).append((row, truth(labels, given.agreed)))
    for name, photos in by_source.items():
        (given.output / name / "annotations.json").write_text(json.dumps(to_coco(photos)))
        print(name, len(photos), "photos")


if __name__ == "__main__":
    main()
