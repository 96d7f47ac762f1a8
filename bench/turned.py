"""Photos that lie on their side or upside down without saying so: what leaks of them, and what finding it out costs.

    python -m bench.turned IMAGES ANNOTATIONS [--presets fast,balanced] [--photos 100]

Each photo comes in four copies: as it is, and turned by 90, 180 and 270 degrees. Prints, for each preset, the leaks of
the copies beside those of detectors that see every copy as it comes; the share of copies that are searched the right
way up, and the searches per copy; and the CPU time of the look and of the whole detection, ms per copy.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from pathlib import Path

from anonymize import images
from anonymize.detectors.upright import turn, turn_back
from anonymize.evaluate import evaluate
from anonymize.evaluate.ground_truth import Annotations, read
from anonymize.predictor import Predictor
from anonymize.records import Record
from anonymize.settings import Settings


def leaks(records: Sequence[Record], annotations: Annotations, settings: Settings) -> str:
    kinds = evaluate(records, annotations, settings, curves=False).kinds
    return ", ".join(f"{k} {r.leaks.count} of {r.leaks.of}" for k, r in kinds.items() if r.leaks.of)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("annotations", type=Path)
    parser.add_argument("--presets", default="fast,balanced")
    parser.add_argument("--photos", type=int, default=100)
    args = parser.parse_args()
    paths = [str(p) for p in images.find(args.images, Settings()).paths]
    paths = sorted(random.Random(0).sample(paths, min(args.photos, len(paths))))
    annotations = read(args.annotations, args.images, paths)
    for preset in args.presets.split(","):
        predictor = Predictor(preset)
        plain = Predictor(predictor.settings, detectors=predictor.detectors)
        upright = predictor.upright
        assert upright
        for turns in range(4):
            records: dict[str, list[Record]] = {"turned": [], "as it comes": []}
            seconds = {"look": 0.0, "turned": 0.0, "as it comes": 0.0}
            right = searches = 0
            for path in paths:
                photo = images.load(args.images / path, predictor.settings)
                copy = turn(photo.rgb, turns)
                started = time.process_time()
                ways = upright.turns(copy)
                seconds["look"] += time.process_time() - started
                right += (-turns) % 4 in ways
                searches += len(ways)
                for name, one in (("turned", predictor), ("as it comes", plain)):
                    started = time.process_time()
                    (found,) = one.predict([copy])
                    seconds[name] += time.process_time() - started
                    back = tuple(turn_back(r, turns, photo.width, photo.height) for r in found)
                    records[name].append(Record(path, photo.sha256, photo.width, photo.height, back))
            n = len(paths)
            told = "; ".join(f"{k}: {leaks(r, annotations, predictor.settings)}" for k, r in records.items())
            times = ", ".join(f"{k} {1000 * s / n:.0f}" for k, s in seconds.items())
            ways_up = f"right way {right / n:.3f}, searches {searches / n:.2f}"
            print(f"{preset}, {90 * turns} degrees: leaks {told}; {ways_up}; ms CPU: {times}", flush=True)


if __name__ == "__main__":
    main()
