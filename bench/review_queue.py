"""Does the review's order find what leaks? And the fit of the probabilities behind it.

    python -m bench.review_queue gain RECORDS ANNOTATIONS [--plot FILE.png] [--json]
    python -m bench.review_queue fit  RECORDS ANNOTATIONS LARGER [--frames FRAMES]

`gain`: the queue orders the photos without their ground truth; the curve is the share of photos looked at against the
share of leaking photos found, beside random order and order by the lowest score that is hidden. The gain is (area -
random's) / (perfect order's - random's): 0 random, 1 perfect.

`fit`: prints the constants of review/risk.py and review/queue.py. RECORDS: of photos with annotated plates. LARGER:
records of the same photos by two face detectors at a larger scale, not fused; a face is one that either is sure of, or
that both see. FRAMES: records of annotated neighbouring frames.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from anonymize import evaluate, records
from anonymize.evaluate.ground_truth import read as read_annotations
from anonymize.records import Header, Record
from anonymize.regions import Region, areas, boxes, intersections, iou, suppress
from anonymize.settings import Settings
from review import queue, risk

SURE, SEEN = 0.9, 0.35  # LARGER: one detector alone, or both


def leaking(known: dict[str, Record], header: Header, source: Path) -> dict[str, bool]:
    """Path -> whether a true region of it would leak in an export."""
    folder = header.source(next(iter(known.values()))).parent
    truth = read_annotations(source, folder, sorted(p.name for p in folder.iterdir()))
    result = evaluate.evaluate(known.values(), truth, header.settings, curves=False)
    return {
        p.path: any(c < evaluate.HIDDEN and not t.ignore for t, c in zip(p.truths, p.covered, strict=True))
        for p in result.photos
        if p.error is None
    }


def curve(order: Sequence[str], leaks: dict[str, bool]) -> tuple[np.ndarray, np.ndarray]:
    """(share of photos looked at, share of leaking photos found), each from 0 to 1, (N + 1,)."""
    found = np.cumsum([leaks[p] for p in order]) / max(1, sum(leaks.values()))
    return np.linspace(0, 1, len(order) + 1), np.concatenate([[0.0], found])


def gain(order: Sequence[str], leaks: dict[str, bool]) -> float:
    perfect = sorted(leaks, key=lambda p: not leaks[p])
    area, best = (np.trapezoid(*reversed(curve(o, leaks))) for o in (order, perfect))
    return float((area - 0.5) / (best - 0.5))


def lowest_score(known: Iterable[Record], settings: Settings) -> list[str]:
    return [r.path for r in sorted(known, key=lambda r: min((x.score for x in r.hidden(settings)), default=1.0))]


def show_gain(args: argparse.Namespace) -> None:
    header, known = records.read(args.records)
    leaks = leaking(known, header, args.annotations)
    known = {p: r for p, r in known.items() if p in leaks}
    bare = [r.replace(review="pending", decisions=(), approved_hash="") for r in known.values()]
    orders = {
        "the review's queue": [i.path for i in queue.rank(bare, header.settings)],
        "lowest score first": lowest_score(known.values(), header.settings),
    }
    gains = {name: gain(order, leaks) for name, order in orders.items()}
    rng = np.random.default_rng(0)  # how sure: photos drawn anew, 2,000 times
    paths = np.array(orders["the review's queue"])
    draws = []
    for _ in range(2000):
        drawn = np.sort(rng.integers(0, len(paths), len(paths)))
        hit = np.array([leaks[p] for p in paths[drawn]])
        if 0 < hit.sum() < len(hit):
            x = np.linspace(0, 1, len(hit) + 1)
            y, best = (np.concatenate([[0], np.cumsum(h) / hit.sum()]) for h in (hit, np.sort(hit)[::-1]))
            draws.append((np.trapezoid(y, x) - 0.5) / (np.trapezoid(best, x) - 0.5))
    low, high = np.percentile(draws, [2.5, 97.5])
    result = {"photos": len(leaks), "leaking": sum(leaks.values()), "gain": gains, "interval": [low, high]}
    if args.json:
        print(json.dumps(result, indent=1))
    else:
        print(f"{len(leaks)} photos, {sum(leaks.values())} of them leak something")
        for name, value in gains.items():
            print(f"{name:20} gain {value:5.2f}" + (f"  (95 %: {low:.2f} to {high:.2f})" if "queue" in name else ""))
    if args.plot:
        plot(args.plot, orders, gains, leaks)


def plot(target: Path, orders: dict[str, list[str]], gains: dict[str, float], leaks: dict[str, bool]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4.4), dpi=150)
    perfect = sorted(leaks, key=lambda p: not leaks[p])
    axes.plot(*curve(perfect, leaks), color="#999999", lw=1, ls=":", label="perfect order")
    for (name, order), color in zip(orders.items(), ("#0b6e4f", "#c8553d"), strict=True):
        axes.plot(*curve(order, leaks), color=color, lw=2.2, label=f"{name} (gain {gains[name]:.2f})")
    axes.plot([0, 1], [0, 1], color="#666666", lw=1, ls="--", label="random order (gain 0)")
    axes.set(xlabel="share of photos looked at", ylabel="share of leaking photos found", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(loc="lower right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"What the review finds first: {len(leaks)} street photos, {sum(leaks.values())} leak", fontsize=11)
    figure.tight_layout()
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target)


def agreed_faces(record: Record) -> np.ndarray:
    """Faces that a detector at a larger scale is sure of, or that two see, as boxes (N, 4)."""
    regions = list(record.regions)
    sure = [r for r in regions if r.score >= SURE]
    seen = [r for r in regions if SEEN <= r.score < SURE]
    if seen:
        overlap = iou(boxes(seen), boxes(seen))
        for i, r in enumerate(seen):
            others = [j for j, o in enumerate(seen) if set(o.votes) != set(r.votes) and overlap[i, j] > 0.4]
            sure += [r] if others else []
    return boxes(suppress(sure, 0.4))


def is_real(regions: Sequence[Region], true: np.ndarray) -> np.ndarray:
    """Which regions lie on a true box: IoU 0.3, or most of the smaller one inside the other."""
    if not len(true) or not regions:
        return np.zeros(len(regions), dtype=bool)
    found = boxes(regions)
    shared = intersections(found, true)
    smaller = np.minimum(areas(found)[:, None], areas(true)[None])
    return ((iou(found, true) >= 0.3) | (shared >= 0.7 * smaller) & (iou(found, true) >= 0.1)).any(axis=1)


def regression(features: np.ndarray, hit: np.ndarray) -> tuple[float, ...]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(fit_intercept=False, C=1.0, max_iter=1000).fit(features, hit)
    return tuple(round(float(v), 3) for v in model.coef_[0])


def fit(args: argparse.Namespace) -> None:
    header, known = records.read(args.records)
    _, larger = records.read(args.larger)
    folder = header.source(next(iter(known.values()))).parent
    truth = read_annotations(args.annotations, folder, sorted(known))
    for kind in ("face", "plate"):
        rows: list[tuple[np.ndarray, np.ndarray]] = []
        empty_rows: list[tuple[np.ndarray, np.ndarray]] = []
        for path, record in known.items():
            if path not in larger:
                continue
            if kind == "face":
                true = agreed_faces(larger[path])
            else:
                true = np.array([t.box for t in truth.photos[path].truths if t.kind == kind]).reshape(-1, 4)
            # Everything stored is a candidate: those above the threshold teach the same curve.
            open_ = header.settings.with_kind(kind, threshold=1.0)
            found = risk.places(record, open_, kind)
            rows.append((found.features, is_real(found.candidates, true)))
            at = risk.places(record, header.settings, kind)
            zones = risk.zones(kind, at.empty)
            hidden = boxes(record.hidden(header.settings))
            covered = intersections(true, hidden).max(axis=1, initial=0) / np.maximum(areas(true), 1)
            empty_rows.append((at.empty_features, risk.centres_in(zones, true[covered < 0.5]).any(axis=1)))
        for name, data in (("CANDIDATE", rows), ("EMPTY", empty_rows)):
            x, y = np.concatenate([d[0] for d in data]), np.concatenate([d[1] for d in data])
            weights = regression(x, y)
            print(f"{name}[{kind!r}] = {weights}  # {len(y)} places, {int(y.sum())} of them real")
            chances = risk.probability(weights, x)
            for low, high in pairwise((0.0, 0.01, 0.03, 0.1, 0.3, 0.6, 1.0)):
                told = (chances >= low) & (chances < high)
                if told.any():
                    print(f"    told {chances[told].mean():.3f}, were {y[told].mean():.3f} of {told.sum()}")
    if args.frames:
        fit_frames(args)


def fit_frames(args: argparse.Namespace) -> None:
    header, known = records.read(args.frames)
    folder = header.source(next(iter(known.values()))).parent
    truth = read_annotations(args.annotations, folder, sorted(known))
    near = queue.sequences(known)
    seen = {p: queue._see(r, header.settings) for p, r in known.items()}
    hits: dict[str, list[bool]] = {}
    for path, others in near.items():
        true = [t.box for t in truth.photos[path].truths]
        for reason in queue.beside(seen[path], [seen[o] for o in others]):
            assert reason.box is not None
            if reason.kind == "plate":  # faces are not annotated there
                hits.setdefault(reason.text, []).append(any(queue._near(reason.box, box) for box in true))
    for text, said in hits.items():
        print(f"SEEN_BESIDE, {text}: {np.mean(said):.2f} of {len(said)}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command: Any = commands.add_parser("gain")
    command.add_argument("records", type=Path)
    command.add_argument("annotations", type=Path)
    command.add_argument("--plot", type=Path)
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=show_gain)
    command = commands.add_parser("fit")
    command.add_argument("records", type=Path)
    command.add_argument("annotations", type=Path)
    command.add_argument("larger", type=Path)
    command.add_argument("--frames", type=Path)
    command.set_defaults(run=fit)
    args = parser.parse_args(arguments)
    args.run(args)


if __name__ == "__main__":
    main()
