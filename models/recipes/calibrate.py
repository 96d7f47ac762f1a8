"""The numbers of `calibration` in models/registry.toml for a network of faces and plates, fitted on held-out photos.

    python -m models.recipes.calibrate HELD_OUT yolo:street.onnx --sides 640,704,1280

HELD_OUT is what `held_out.py` wrote; drawn fronts are added. One fit for all sizes of input. Margin and slack, the
numbers before the edge, are 0 and one pixel of the input: an export grows regions anyway. Printed beside: of the
candidates of each source, which was left out of the fit, how many should be real, and how many are.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anonymize.detectors import create
from anonymize.detectors.calibrated import SIDE, SMALL, reaches_edge
from anonymize.probability import log_odds
from anonymize.regions import boxes, iou
from anonymize.settings import Settings
from models.recipes.context import KINDS, fit, pictures, predict

FLOOR = 0.01  # score from which candidates count
RIDGE = 0.3
SLACK = 1.0
Floats = NDArray[np.float64]


Rows = tuple[Floats, NDArray[np.bool_], list[str]]


def collect(held_out: Path, network: str, sides: list[int], fronts: int) -> dict[str, Rows]:
    """By kind: features (N, 5) of all candidates, whether they are real (N,), and their sources."""
    settings = Settings()
    detectors = {side: create(f"{network}@{side}", settings, is_calibrated=False) for side in sides}
    rows: dict[str, list[tuple[tuple[float, ...], bool, str]]] = {kind: [] for kind in KINDS}
    for name, image, truth in pictures(held_out, fronts):
        height, width = image.shape[:2]
        for side, detector in detectors.items():
            found = detector.detect([image])[0]
            for kind, (true, ignored) in truth.items():
                some = [r for r in found if r.kind == kind and r.score >= FLOOR]
                for region, row in zip(some, iou(boxes(some), true), strict=True):
                    best = int(row.argmax()) if len(row) else -1
                    if best >= 0 and row[best] > 0.15 and (ignored[best] or row[best] < 0.4):
                        continue
                    tall = max(region.height * side / max(height, width), 1.0)
                    is_cut = float(reaches_edge(boxes([region]), width, height)[0])
                    features = (1.0, log_odds(region.score), math.log2(tall / SMALL), is_cut, math.log2(side / SIDE))
                    is_real = best >= 0 and bool(row[best] >= 0.4)
                    rows[kind].append((features, is_real, name.partition("-")[0]))
    return {
        kind: (np.array([r[0] for r in of]).reshape(-1, 5), np.array([r[1] for r in of], bool), [r[2] for r in of])
        for kind, of in rows.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("held_out", type=Path)
    parser.add_argument("network")
    parser.add_argument("--sides", default="640,704,1280")
    parser.add_argument("--fronts", type=int, default=50)
    given = parser.parse_args()
    sides = [int(side) for side in given.sides.split(",")]
    for kind, (x, y, sources) in collect(given.held_out, given.network, sides, given.fronts).items():
        for source in sorted(set(sources)):
            test = np.array(sources) == source
            p = predict(fit(x[~test], y[~test], RIDGE), x[test])
            print(f"{kind}, {source}: {test.sum()} candidates, {p.sum():.0f} should be real, {y[test].sum()} are")
        bias, slope, size, edge, scale = (round(float(w), 2) for w in fit(x, y, RIDGE))
        print(kind, json.dumps([bias, slope, size, 0.0, SLACK, edge, scale]), flush=True)


if __name__ == "__main__":
    main()
