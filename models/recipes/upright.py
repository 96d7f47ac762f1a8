"""What tells how a photo lies (anonymize/detectors/upright.py): its numbers, fitted, and how good they are.

    python -m models.recipes.upright DATA [--features FILE.npz] [--write]

DATA: the folder of `plates-train`, `faces-masked` and `no-plates`, whose photos are upright. FILE keeps what the layers
see in them, which takes the most time. Prints, by five-fold cross-validation and with each source left out whole, how
many turned photos are not searched upright, with and without the first look (at the photo as it came, alone); and of
those that come upright, how many need only that look, and how many further searches the others cost. `--write` fits to
all photos and writes models/upright.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from anonymize import images
from anonymize.detectors import upright
from anonymize.settings import Settings
from anonymize.weights.registry import registry_path

from .folds import fold, source

SOURCES = ("plates-train", "faces-masked", "no-plates")
RIDGE = 30.0  # of 3 and 30 the better one on sources that were left out
FRAME = 0.3  # weight of a ride's frame, which resembles its neighbors
MORE = 0.001  # share of turned copies that the first look may take for upright, and all four looks would not


def see(data: Path) -> tuple[list[str], np.ndarray]:
    """Names of all photos, and their features, float16 (N, 4, F)."""
    settings = Settings()
    network, _ = upright.open_layers(settings)
    paths = [p for name in SOURCES for p in sorted((data / name / "images").iterdir())]
    some = [upright.features(network, upright.shrink(images.load(p, settings).rgb)) for p in paths]
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


def fit_alone(features: np.ndarray, importance: np.ndarray) -> np.ndarray:
    """Logistic regression: of all copies (N, 4, F), each by itself, the first of four is upright; then the constant."""
    flat = features.reshape(-1, features.shape[2])
    is_upright, weight = np.tile(np.eye(4)[0], len(features)), np.repeat(importance, 4)

    def loss(numbers: np.ndarray) -> tuple[float, np.ndarray]:
        some = numbers[:-1]
        z = (flat @ some.astype(np.float32)).astype(np.float64) + numbers[-1]
        off = weight * (expit(z) - is_upright)
        gradient = np.append(off.astype(np.float32) @ flat + RIDGE * some, off.sum())
        return (weight * (np.logaddexp(0, z) - is_upright * z)).sum() + RIDGE / 2 * some @ some, gradient

    return minimize(loss, np.zeros(features.shape[2] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 60}).x


def validate(features: np.ndarray, importance: np.ndarray, parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What `fit` and `fit_alone` say of each copy, both (N, 4), fitted without the part (N,) that its photo is in."""
    together, alone = np.zeros(features.shape[:2]), np.zeros(features.shape[:2])
    for part in np.unique(parts):
        out, rest = parts == part, parts != part
        together[out] = features[out] @ fit(features[rest], importance[rest])
        numbers = fit_alone(features[rest], importance[rest])
        alone[out] = features[out] @ numbers[:-1] + numbers[-1]
    return together, alone


def is_missed(together: np.ndarray) -> np.ndarray:
    """Whether all four looks miss the right turn of a photo that came turned by 0 to 3 quarters, bool (N, 4)."""
    # A copy that came turned by k has the same four probabilities, in another order.
    rows = upright.softmax(together)
    return np.array([[k not in upright.choose(np.roll(p, k)) for k in range(4)] for p in rows])


def as_turned(alone: np.ndarray) -> np.ndarray:
    """What the first look says of a photo that came turned by 0 to 3 quarters, (N, 4)."""
    return alone[:, [0, 3, 2, 1]]


def least_bound(together: np.ndarray, alone: np.ndarray) -> float:
    """The least bound above which lie no more than MORE of the turned copies that all four looks search upright."""
    found = ~is_missed(together)[:, 1:]
    return float(np.sort(as_turned(alone)[:, 1:][found])[::-1][int(MORE * found.size)])


def report(name: str, together: np.ndarray, alone: np.ndarray, bound: float) -> None:
    """One line on photos of which `validate` said this."""
    missed, passes = is_missed(together), as_turned(alone) > bound
    further = [len(upright.choose(p)) - 1 for p in upright.softmax(together)] * ~passes[:, 0]
    both, before = (some[:, 1:].mean() for some in (missed | passes, missed))
    print(
        f"{name}: {len(together)} photos, likeliest turn right {(together.argmax(1) == 0).mean():.3f}; turned and not "
        f"searched upright {both:.4f} (with all four looks at each {before:.4f}); came upright: first look enough "
        f"{passes[:, 0].mean():.3f}, further searches {further.mean():.3f}",
        flush=True,
    )


def write(features: np.ndarray, importance: np.ndarray, mean: np.ndarray, spread: np.ndarray, bound: float) -> None:
    """models/upright.json, fitted to all photos; its numbers are for features as the layers give them."""
    together, alone = fit(features, importance) / spread, fit_alone(features, importance)
    numbers = alone[:-1] / spread
    _, digest = upright.open_layers(Settings())
    content = {
        "network": upright.NETWORK,
        "sha256": digest,
        "numbers": [float(f"{n:.4g}") for n in together],
        "alone": [float(f"{n:.4g}") for n in numbers],
        "bound": round(float(bound - alone[-1] + mean @ numbers), 3),
    }
    (registry_path().parent / upright.FILE).write_text(json.dumps(content) + "\n", "utf-8")


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
    mean, spread = flat.mean(axis=0), flat.std(axis=0) + 1e-2
    features = ((flat - mean) / spread).reshape(seen.shape)
    sources, folds = np.array([source(n) for n in names]), np.array([fold(n) for n in names])
    importance = np.where(sources == "rides", FRAME, 1.0)
    ways = {
        "by folds": validate(features, importance, folds),
        "left out whole": validate(features, importance, sources),
    }
    bound = max(least_bound(*said) for said in ways.values())
    print(f"bound of the first look: log-odds {bound:.2f}")
    for way, (together, alone) in ways.items():
        for name in dict.fromkeys(sources):
            some = sources == name
            report(f"{name}, {way}", together[some], alone[some], bound)
        report(f"all, {way}", together, alone, bound)
    if args.write:
        write(features, importance, mean, spread, bound)


if __name__ == "__main__":
    main()
