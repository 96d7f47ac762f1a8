"""How much plates and faces are believed for what is around them: fitted, and checked across sources.

    python -m models.recipes.context HELD_OUT SPEC [--fronts 50] [--output anonymize/context.json]

It writes anonymize/context.json. HELD_OUT is what `held_out.py` wrote: photos that the networks have not seen. SPEC is
a preset's detector without its `in-context:`. Drawn shop fronts and road signs (`bench.false_plates`, of other seeds
than are measured) are a source, too. For each kind a logistic regression over `context_rescoring.FEATURES`, whose score
can only raise it. Each source is predicted by what was fitted on the others (Open Images photos, which have nearly all
plates, in five parts); printed is how well that tells real from false, beside the score alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize  # type: ignore[import-untyped]

from anonymize.detectors import Image, create
from anonymize.detectors.context_rescoring import FEATURES, features
from anonymize.detectors.detections import Detections
from anonymize.regions import Region, boxes, iou
from anonymize.settings import Settings
from bench.false_plates import picture
from models.recipes.folds import source
from models.recipes.label import FACE, PLATE
from models.recipes.plates.marks import load

KINDS = {"face": FACE, "plate": PLATE}
FLOOR = 0.02  # score below which a candidate is none
RIDGE = 1.0
PARTS = 5
FRONTS = 1000  # first seed of the drawn pictures
# A plate may lose so much in log-odds and no more: one of .9 stays above the threshold of `balanced`, .15.
MOST_LOST = 3.5
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """Candidates of one kind: FEATURES (N, K), whether they are real (N,), each one's source (N,); how many photos."""

    features: Floats
    real: NDArray[np.bool_]
    sources: NDArray[np.str_]
    photos: int


def fit(x: Floats, y: NDArray[np.bool_], ridge: float = RIDGE) -> Floats:
    """Weights (K,) of features (N, K), of which the first is 1 and the second the score, whose weight is at least 0."""

    def loss(w: Floats) -> tuple[float, Floats]:
        odds = x @ w
        error = 1 / (1 + np.exp(-odds)) - y
        penalty = np.r_[0, w[1:]] * ridge
        return float(np.logaddexp(0, odds).sum() - odds[y].sum() + 0.5 * w @ penalty), x.T @ error + penalty

    bounds = [(0, None) if i == 1 else (None, None) for i in range(x.shape[1])]
    return np.asarray(minimize(loss, np.zeros(x.shape[1]), jac=True, bounds=bounds, method="L-BFGS-B").x)


def predict(weights: Floats, x: Floats, most_lost: float = math.inf) -> Floats:
    """Probabilities (N,)."""
    return np.asarray(1 / (1 + np.exp(-np.maximum(x @ weights, x[:, 1] - most_lost))))


def loss_of(p: Floats, y: NDArray[np.bool_]) -> float:
    """Mean negative log-likelihood, bits."""
    p = np.clip(p, 1e-4, 1 - 1e-4)
    return float(-np.log2(np.where(y, p, 1 - p)).mean())


def missed_at(scores: Floats, y: NDArray[np.bool_], false: int) -> float:
    """The share of real ones below the threshold that lets so many false ones through."""
    wrong = np.sort(scores[~y])[::-1]
    threshold = wrong[false] if len(wrong) > false else -math.inf
    return float((scores[y] <= threshold).mean())


def candidates(
    found: Sequence[Region], kind: str, truth: Floats, ignored: NDArray[np.bool_], long_side: int
) -> Iterator[tuple[tuple[float, ...], bool]]:
    """Features of one kind's regions, and whether each is real; what may be either is left out."""
    found = [r for r in found if r.kind != kind or r.score >= FLOOR]
    known = features(kind, Detections.of(found), long_side)
    for numbers, row in zip(known.tolist(), iou(boxes(r for r in found if r.kind == kind), truth), strict=True):
        best = int(row.argmax()) if len(row) else -1
        if best >= 0 and row[best] > 0.15 and (ignored[best] or row[best] < 0.4):
            continue
        yield tuple(numbers), best >= 0 and bool(row[best] >= 0.4)


Truth = dict[str, tuple[Floats, NDArray[np.bool_]]]


def pictures(folder: Path, fronts: int) -> Iterator[tuple[str, Image, Truth]]:
    """Source, picture, and for each kind true boxes (N, 4) and which of them are to be ignored."""
    for path in sorted(folder.glob("*/annotations.json")):
        data = json.loads(path.read_text())
        for entry in data["images"]:
            truth = {}
            for kind, category in KINDS.items():
                of = [a for a in data["annotations"] if (a["image_id"], a["category_id"]) == (entry["id"], category)]
                some = np.array([[*a["bbox"][:2], *np.add(a["bbox"][:2], a["bbox"][2:])] for a in of]).reshape(-1, 4)
                truth[kind] = some, np.array([bool(a["iscrowd"]) for a in of], bool)
            name = entry["file_name"]
            part = f"photos-{int(hashlib.sha256(name.encode()).hexdigest(), 16) % PARTS}"
            yield part if source(name) == "photos" else source(name), load(path.parent / "images" / name), truth
    for seed in range(FRONTS, FRONTS + fronts):
        yield "fronts", picture(seed), dict.fromkeys(KINDS, (np.zeros((0, 4)), np.zeros(0, bool)))


def rows(folder: Path, spec: str, fronts: int) -> dict[str, Rows]:
    """Candidates of a detector on all held-out photos and drawn fronts, by kind."""
    detector = create(spec, Settings())
    some: dict[str, list[tuple[tuple[float, ...], bool]]] = {kind: [] for kind in KINDS}
    sources: dict[str, list[str]] = {kind: [] for kind in KINDS}
    photos = 0
    for name, image, truth in pictures(folder, fronts):
        found, photos = detector.detect([image])[0], photos + 1
        for kind, (true, ignored) in truth.items():
            new = list(candidates(found, kind, true, ignored, max(image.shape[:2])))
            some[kind] += new
            sources[kind] += [name] * len(new)
    return {
        kind: Rows(
            np.array([f for f, _ in of]).reshape(-1, len(FEATURES[kind])),
            np.array([is_real for _, is_real in of], bool),
            np.array(sources[kind]),
            photos,
        )
        for kind, of in some.items()
    }


def across(some: Rows, used: int, most_lost: float = math.inf) -> Floats:
    """Probabilities (N,) from the first `used` features, each source's by what was fitted on the other sources."""
    out = np.zeros(len(some.real))
    x, y = some.features[:, :used], some.real
    for name in set(some.sources):
        test = some.sources == name
        out[test] = predict(fit(x[~test], y[~test]), x[test], most_lost)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("held_out", type=Path)
    parser.add_argument("spec", help="a detector of plates, vehicles and persons")
    parser.add_argument("--fronts", type=int, default=50)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    fitted: dict[str, object] = {}
    for kind, some in rows(given.held_out, given.spec, given.fronts).items():
        print(f"{kind}: {len(some.real)} candidates in {some.photos} photos, {some.real.sum()} real")
        for used in range(2, len(FEATURES[kind]) + 1):
            p = across(some, used, MOST_LOST)
            misses = {f: missed_at(p, some.real, int(f * some.photos)) for f in (0.02, 0.05, 0.1, 0.2)}
            told = ", ".join(f"{m:.3f} at {f}" for f, m in misses.items())
            name = " + ".join(FEATURES[kind][1:used])
            print(f"  {name}: {loss_of(p, some.real):.3f} bits; not found, at false ones a photo: {told}")
        weights = fit(some.features, some.real)
        fitted[kind] = dict(zip(FEATURES[kind], (round(float(w), 3) for w in weights), strict=True))
        print("  ", fitted[kind], flush=True)
    if given.output:
        given.output.write_text(json.dumps(fitted | {"most_lost": MOST_LOST}, indent=1) + "\n")


if __name__ == "__main__":
    main()
