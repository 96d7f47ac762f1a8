"""Whether a candidate is real, from what a network said and from what is around it: fitted, and checked across sources.

    python -m models.recipes.context HELD_OUT --faces NAME --plates NAME [--output context.json]

HELD_OUT is what `held_out.py` wrote: photos that the networks have not seen. For each kind a logistic regression over
its FEATURES; the networks' scores can only raise it, so that a surer candidate is never believed less. Each source is
predicted by what was fitted on the others; printed is how well that tells real from false, beside the score alone.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize  # type: ignore[import-untyped]

from anonymize.detectors import create
from anonymize.probability import log_odds
from anonymize.regions import Region, boxes, iou
from anonymize.settings import Settings
from models.recipes.folds import source
from models.recipes.label import FACE, PLATE
from models.recipes.plates.marks import load

# Also tried, and worse on sources that they were not fitted on: the height in the photo, the share of its width, the
# aspect, the edge, contrast, strokes as letters have them; and for faces vehicles and persons.
FEATURES = {"face": ("score", "other"), "plate": ("score", "other", "on vehicle", "on person")}
MONOTONE = 2  # the first so many weights cannot be negative
FLOOR = 0.02  # score below which a candidate is none
RIDGE = 1.0
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """Candidates: FEATURES of their kind (N, K), whether they are real (N,), the source of each photo (N,); photos."""

    features: Floats
    real: NDArray[np.bool_]
    sources: NDArray[np.str_]
    photos: int


def features(region: Region, other: Sequence[Region], around: Sequence[Region]) -> list[float]:
    """What is known of a candidate, its kind's FEATURES.

    Args:
        region: a network's candidate.
        other: candidates of another look or network.
        around: vehicles and persons.
    """
    same = [r.score for r in other if r.kind == region.kind and iou(boxes([region]), boxes([r]))[0, 0] > 0.4]
    x, y = (region.box[0] + region.box[2]) / 2, (region.box[1] + region.box[3]) / 2

    def on(kind: str) -> float:
        grown = [(r.pad(0.1).box, r.score) for r in around if r.kind == kind]
        return max((s for (x1, y1, x2, y2), s in grown if x1 <= x < x2 and y1 <= y < y2), default=0.0)

    scores = [log_odds(region.score), log_odds(max(same, default=FLOOR)) - log_odds(FLOOR)]
    return scores + ([on("vehicle"), on("person")] if region.kind == "plate" else [])


def fit(x: Floats, y: NDArray[np.bool_], ridge: float = RIDGE) -> Floats:
    """Weights (1 + features), the bias first, of a logistic regression with MONOTONE weights at least 0."""
    mean, spread = x.mean(0), x.std(0) + 1e-6
    z = np.c_[np.ones(len(x)), (x - mean) / spread]

    def loss(w: Floats) -> tuple[float, Floats]:
        odds = z @ w
        error = 1 / (1 + np.exp(-odds)) - y
        penalty = np.r_[0, w[1:]] * ridge
        return float(np.logaddexp(0, odds).sum() - odds[y].sum() + 0.5 * w @ penalty), z.T @ error + penalty

    bounds = [(None, None)] + [(0, None) if i < MONOTONE else (None, None) for i in range(x.shape[1])]
    w = minimize(loss, np.zeros(z.shape[1]), jac=True, bounds=bounds, method="L-BFGS-B").x
    weights = w[1:] / spread
    return np.r_[w[0] - weights @ mean, weights]


def predict(weights: Floats, x: Floats) -> Floats:
    """Probabilities (N,)."""
    return np.asarray(1 / (1 + np.exp(-(weights[0] + x @ weights[1:]))))


def loss_of(p: Floats, y: NDArray[np.bool_]) -> float:
    """Mean negative log-likelihood, bits."""
    p = np.clip(p, 1e-4, 1 - 1e-4)
    return float(-np.log2(np.where(y, p, 1 - p)).mean())


def missed_at(scores: Floats, y: NDArray[np.bool_], false: int) -> float:
    """The share of real ones below the threshold that lets so many false ones through."""
    wrong = np.sort(scores[~y])[::-1]
    threshold = wrong[false] if len(wrong) > false else -math.inf
    return float((scores[y] <= threshold).mean())


def rows(folder: Path, kind: str, network: str, second: str) -> Rows:
    """Candidates of a network on all held-out photos; those that match an ignored place are left out."""
    settings = Settings()
    asked, other, around = (create(n, settings) for n in (network, second, "coco@640"))
    category = {"face": FACE, "plate": PLATE}[kind]
    x: list[list[float]] = []
    y: list[bool] = []
    sources: list[str] = []
    photos = 0
    for path in sorted(folder.glob("*/annotations.json")):
        data = json.loads(path.read_text())
        for entry in data["images"]:
            photos += 1
            image = load(path.parent / "images" / entry["file_name"])
            of = [a for a in data["annotations"] if a["image_id"] == entry["id"] and a["category_id"] == category]
            truth = np.array([[*a["bbox"][:2], *np.add(a["bbox"][:2], a["bbox"][2:])] for a in of]).reshape(-1, 4)
            ignored = np.array([bool(a["iscrowd"]) for a in of], bool)
            found = [r for r in asked.detect([image])[0] if r.kind == kind and r.score >= FLOOR]
            seconds, context = other.detect([image])[0], around.detect([image])[0]
            overlaps = iou(boxes(found), truth)
            for region, row in zip(found, overlaps, strict=True):
                best = int(row.argmax()) if len(row) else -1
                if best >= 0 and row[best] > 0.15 and (ignored[best] or row[best] < 0.4):
                    continue
                x.append(features(region, seconds, context))
                y.append(best >= 0 and row[best] >= 0.4)
                sources.append(source(entry["file_name"]))
    return Rows(np.array(x).reshape(-1, len(FEATURES[kind])), np.array(y, bool), np.array(sources), photos)


def across(some: Rows, used: int) -> Floats:
    """Probabilities (N,) from the first `used` features, each source's by what was fitted on the other sources."""
    out = np.zeros(len(some.real))
    x, y = some.features[:, :used], some.real
    for name in set(some.sources):
        test = some.sources == name
        out[test] = predict(fit(x[~test], y[~test]), x[test])
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("held_out", type=Path)
    parser.add_argument("--faces", metavar="NAME,SECOND", default="", help="a network and a second look, for faces")
    parser.add_argument("--plates", metavar="NAME,SECOND", default="")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    fitted = {}
    for kind, names in (("face", given.faces), ("plate", given.plates)):
        if not names:
            continue
        some = rows(given.held_out, kind, *names.split(","))
        print(f"{kind}: {len(some.real)} candidates in {some.photos} photos, {some.real.sum()} real")
        for used in range(1, len(FEATURES[kind]) + 1):
            p = across(some, used)
            misses = {f: missed_at(p, some.real, int(f * some.photos)) for f in (0.02, 0.05, 0.1, 0.2)}
            told = ", ".join(f"{m:.3f} at {f}" for f, m in misses.items())
            name = " + ".join(FEATURES[kind][:used])
            print(f"  {name}: {loss_of(p, some.real):.3f} bits; not found, at false ones a photo: {told}")
        weights = fit(some.features, some.real)
        fitted[kind] = dict(zip(("bias", *FEATURES[kind]), (round(float(w), 4) for w in weights), strict=True))
        print("  ", fitted[kind], flush=True)
    if given.output:
        given.output.write_text(json.dumps(fitted, indent=1) + "\n")


if __name__ == "__main__":
    main()
