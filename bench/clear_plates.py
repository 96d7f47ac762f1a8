"""Of the plates that one network alone is sure of, how many does a preset not hide?

    python -m bench.clear_plates IMAGES ANNOTATIONS [--preset balanced] [--networks street@640,street@1280]

Context and other networks' silence are evidence, and must never outvote a network that is sure (calibrated above .9):
at most 1 of 200 such plates may stay without a box. One that is hidden in part has a box: it, or the mark, is too tight
or too loose. Measure it on photos that the networks have not seen.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from anonymize import evaluate, images
from anonymize.detectors import create
from anonymize.evaluate.ground_truth import Annotations
from anonymize.evaluate.ground_truth import read as read_annotations
from anonymize.predictor import Predictor
from anonymize.regions import Region, boxes, iou
from anonymize.settings import PRESETS, Settings

SURE, SAME = 0.9, 0.4  # calibrated score; IoU with the annotated plate


def sure(found: Sequence[Region], plates: Sequence[tuple[float, ...]]) -> list[bool]:
    """Which plates a network sees and is sure of."""
    certain = boxes(r for r in found if r.kind == "plate" and r.score > SURE)
    overlap = iou(np.array(plates, np.float64).reshape(-1, 4), certain)
    return [bool(row.max(initial=0.0) >= SAME) for row in overlap]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("annotations", type=Path)
    parser.add_argument("--preset", default="balanced", choices=tuple(PRESETS))
    parser.add_argument("--networks", default="street@640,street@1280")
    given = parser.parse_args()
    settings = Settings().with_preset(given.preset)
    predictor = Predictor(settings)
    networks = {name: create(name, settings) for name in given.networks.split(",")}
    found = images.find(given.folder, settings)
    truth = read_annotations(given.annotations, given.folder, found.paths, ("plate",))
    counts = dict.fromkeys((*networks, "any of them"), (0, 0, 0))
    for path in found.paths:
        photo = images.load(found.root / path, settings)
        record = predictor.record(photo, path)
        only = Annotations(photos={path: truth.photos[path]})
        (result,) = evaluate.evaluate([record], only, settings, curves=False).photos
        true = [(t.box, c) for t, c in zip(result.truths, result.covered, strict=True) if not t.ignore]
        seen = {name: sure(network.detect([photo.rgb])[0], [b for b, _ in true]) for name, network in networks.items()}
        seen["any of them"] = [any(row) for row in zip(*seen.values(), strict=True)]
        for name, clear in seen.items():
            covered = [c for is_clear, (_, c) in zip(clear, true, strict=True) if is_clear]
            partly = sum(evaluate.MISS_COVERAGE <= c < evaluate.LEAK_COVERAGE for c in covered)
            new = len(covered), partly, sum(c < evaluate.MISS_COVERAGE for c in covered)
            counts[name] = tuple(map(sum, zip(counts[name], new, strict=True)))  # type: ignore[assignment]
    print(f"| sure of a plate | plates | that {given.preset} hides in part | does not hide |\n|---|---|---|---|")
    for name, row in counts.items():
        print(f"| {name} | " + " | ".join(map(str, row)) + " |")


if __name__ == "__main__":
    main()
