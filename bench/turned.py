"""Photos that lie on their side without saying so: how many are put upright, and what leaks of them.

    python -m bench.turned IMAGES ANNOTATIONS [--detector plates@640] [--photos 100]

Each photo comes in four copies: as it is, and turned by 90, 180 and 270 degrees. Prints the share of copies that are
looked at the right way up, alone or besides another, and the leaks of DETECTOR and of upright:DETECTOR on them.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from anonymize import images
from anonymize.detectors import create
from anonymize.detectors.spec import LOOKERS
from anonymize.detectors.upright import LOOK_SIDE, Upright, choose, turn, turn_back
from anonymize.evaluate import evaluate
from anonymize.evaluate.ground_truth import read
from anonymize.records import Record
from anonymize.settings import Settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("annotations", type=Path)
    parser.add_argument("--detector", default="plates@640")
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--threshold", type=float, help="of both kinds; default: the default preset's")
    given = parser.parse_args()
    settings = Settings()
    if given.threshold:
        settings = settings.with_kind("face", threshold=given.threshold).with_kind("plate", threshold=given.threshold)
    paths = [str(p) for p in images.find(given.images, settings).paths]
    paths = sorted(random.Random(0).sample(paths, min(given.photos, len(paths))))
    annotations = read(given.annotations, given.images, paths)
    detector = create(given.detector, settings)
    lookers = [create(f"{n}@{LOOK_SIDE}", settings, is_calibrated=False) for n in LOOKERS]
    upright = Upright(detector, lookers, settings)
    for turns in range(4):
        records: dict[str, list[Record]] = {"as it came": [], "upright": []}
        right = alone = 0
        for path in paths:
            photo = images.load(given.images / path, settings)
            copy = turn(next(iter(photo.views())), turns)
            ways = choose(upright.amounts(copy))
            right += (-turns) % 4 in ways
            alone += ways == ((-turns) % 4,)
            for name, one in (("as it came", detector), ("upright", upright)):
                found = [turn_back(r, turns, photo.width, photo.height) for r in one.detect([copy])[0]]
                records[name].append(Record(path, photo.sha256, photo.width, photo.height, tuple(found)))
        print(f"{90 * turns:3d} degrees: right way {right / len(paths):.3f} (alone {alone / len(paths):.3f})", end="")
        for name, some in records.items():
            for kind, result in evaluate(some, annotations, settings, curves=False).kinds.items():
                if result.leaks.of:
                    print(f"; {name}: {kind} leaks {result.leaks.count} of {result.leaks.of}", end="")
        print(flush=True)


if __name__ == "__main__":
    main()
