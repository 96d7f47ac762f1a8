"""What tells how a photo lies (anonymize/detectors/upright.py): its numbers, fitted, and how good they are.

    python -m models.recipes.upright DATA [--features FILE.npz] [--write]

DATA: the folder of `plates-train`, `faces-masked` and `no-plates`, whose photos are upright. FILE keeps what the layers
see in them, which is all that takes time. Prints, by five-fold cross-validation and with each source left out whole,
how many photos are not searched upright when they come upright, and turned, and how many further searches a photo that
comes upright costs. `--write` fits to all photos and writes models/upright.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from anonymize import images
from anonymize.detectors import upright
from anonymize.settings import Settings
from anonymize.weights.registry import registry_path

from .folds import FOLDS, fold, source

SOURCES = ("plates-train", "faces-masked", "no-plates")
RIDGE = 30.0  # of 3 and 30 the better one on sources that were left out
FRAME = 0.3  # weight of a ride's frame, which resembles its neighbors


def see(data: Path) -> tuple[list[str], np.ndarray]:
    """Names of all photos, and their features, float16 (N, 4, F)."""
    settings = Settings()
    network, _ = upright.open_layers(settings)
    paths = [p for name in SOURCES for p in sorted((data / name / "images").iterdir())]
    some = [upright.features(network, images.load(p, settings).rgb) for p in paths]
    return [p.name for p in paths], np.array(some, np.float16)


def fit(features: np.ndarray, importance: np.ndarray) -> np.ndarray:
    """Conditional logistic regression: of a photo's four copies (N, 4, F) the first is upright."""

    flat = features.reshape(-1, features.shape[2])  # float32, or each step would copy it

    def loss(numbers: np.ndarray) -> tuple[float, np.ndarray]:
        p = upright.softmax((flat @ numbers.astype(np.float32)).reshape(-1, 4).astype(np.float64))
        off = importance[:, None] * (p - np.eye(4)[0])
        gradient = off.reshape(-1).astype(np.float32) @ flat + RIDGE * numbers
        return -(importance * np.log(p[:, 0] + 1e-12)).sum() + RIDGE / 2 * numbers @ numbers, gradient

    return minimize(loss, np.zeros(features.shape[2]), jac=True, method="L-BFGS-B", options={"maxiter": 60}).x


def report(name: str, amounts: np.ndarray) -> None:
    """One line: `amounts` (N, 4) of photos, the first of which is that of the right turn."""
    p = upright.softmax(amounts)
    # A copy that came turned by k has the same four probabilities, in another order.
    missed, further = [], []
    for came in range(4):
        chosen = [upright.choose(np.roll(one, came)) for one in p]
        missed.append(np.mean([came not in turns for turns in chosen]))
        further.append(np.mean([len(turns) - 1 for turns in chosen]))
    print(
        f"{name}: {len(p)} photos, likeliest turn right {(p.argmax(1) == 0).mean():.3f}; not searched upright: "
        f"as it came {missed[0]:.3f}, turned {np.mean(missed[1:]):.3f}; further searches of one that came upright "
        f"{further[0]:.3f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--features", type=Path)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    if args.features and args.features.exists():
        kept = np.load(args.features)
        names, seen = kept["names"].tolist(), kept["features"]
    else:
        names, seen = see(args.data)
        if args.features:
            np.savez(args.features, names=np.array(names), features=seen)
    flat = seen.reshape(-1, seen.shape[2]).astype(np.float32)
    spread = flat.std(axis=0) + 1e-2
    features = ((flat - flat.mean(axis=0)) / spread).reshape(seen.shape)
    sources, folds = np.array([source(n) for n in names]), np.array([fold(n) for n in names])
    importance = np.where(sources == "rides", FRAME, 1.0)
    amounts = np.zeros(features.shape[:2])
    for k in range(FOLDS):
        amounts[folds == k] = features[folds == k] @ fit(features[folds != k], importance[folds != k])
    for name in dict.fromkeys(sources):
        report(f"{name}, by folds", amounts[sources == name])
    for name in dict.fromkeys(sources):
        numbers = fit(features[sources != name], importance[sources != name])
        report(f"{name}, left out whole", features[sources == name] @ numbers)
    if args.write:
        numbers = fit(features, importance) / spread
        _, digest = upright.open_layers(Settings())
        content = {"network": upright.NETWORK, "sha256": digest, "numbers": [float(f"{n:.4g}") for n in numbers]}
        (registry_path().parent / upright.FILE).write_text(json.dumps(content) + "\n", "utf-8")


if __name__ == "__main__":
    main()
