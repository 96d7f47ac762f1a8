"""Does the review's order find what leaks? And the fit of the probabilities behind it.

    python -m bench.review_queue gain IMAGES ANNOTATIONS --work DIR [--presets thorough,balanced,fast] [--plot FILE.png]
    python -m bench.review_queue fit  IMAGES ANNOTATIONS --work DIR [--photos 300] [--frames 120]

`gain`: the queue orders the photos without their ground truth; the curve is the share of photos looked at against the
share of leaking photos found, beside random order and order by the lowest score that is hidden. The gain is (area -
random's) / (perfect order's - random's): 0 random, 1 perfect. Few photos leak at the thresholds of a good preset, so it
is also told for other thresholds of the same detections, where others and more of them leak.

`fit`: writes anonymize/risk.json, from photos with annotated plates (never those of `gain`) and the default preset's
detectors. Where ANNOTATIONS have no faces, a face is what two detectors at a larger scale see, or one is sure of.
Photos whose names are numbered in a row are frames of a ride: they say what a neighbor frame is worth, and nothing
else. A network misses too little on photos that it was trained on: leave those that trained the default's networks out
of ANNOTATIONS. Plates and neighbor frames are fitted on the annotated photos alone; others in IMAGES teach faces,
whose networks have seen none of them.

Both keep what was detected in DIR, so that a second run goes on from there. The photos of a fit are drawn by seed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from anonymize import evaluate, images, records, risk
from anonymize.engine import detect
from anonymize.evaluate.ground_truth import Annotations
from anonymize.evaluate.ground_truth import read as read_annotations
from anonymize.predictor import Predictor
from anonymize.records import Header, Record
from anonymize.regions import Region, areas, boxes, intersections, iou, suppress
from anonymize.settings import Settings
from review import items

SURE, SEEN = 0.9, 0.35  # score from which one detector at a larger scale is enough, or two are
TEACHERS = ("retinaface-mobilenet@2048", "centerface@2048")
TIMES = (0.5, 1.0, 2.0, 3.0)  # the preset's thresholds, and others
KINDS = ("face", "plate")
FEW = 8  # real places, or others, below which one rate is told for all


def leaking(known: dict[str, Record], header: Header, source: Path) -> dict[str, bool]:
    """Path -> whether a true region of it would leak in an export."""
    folder = header.source(next(iter(known.values()))).parent
    truth = read_annotations(source, folder, sorted(p.name for p in folder.iterdir()))
    result = evaluate.evaluate(known.values(), truth, header.settings, curves=False)
    return {
        p.path: any(c < evaluate.LEAK_COVERAGE and not t.ignore for t, c in zip(p.truths, p.covered, strict=True))
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


def detected(target: Path, paths: Sequence[Path], settings: Settings) -> tuple[Header, dict[str, Record]]:
    """Records of these photos, detected unless `target` has them."""
    target.parent.mkdir(parents=True, exist_ok=True)
    names = target.with_suffix(".txt")
    names.write_text("".join(f"{p.absolute()}\n" for p in paths))
    summary = detect(names, target, Predictor(settings))
    print(f"{target}: {summary.done} photos in {summary.seconds:.0f} s, {len(summary.failures)} failed", flush=True)
    return records.read(target)


def moved(header: Header, times: float) -> Header:
    """The same detections under other thresholds."""
    settings = header.settings
    for kind in KINDS:
        settings = settings.with_kind(kind, threshold=min(settings.kinds[kind].threshold * times, 0.95))
    return dataclasses.replace(header, settings=settings)


def interval(order: Sequence[str], leaks: dict[str, bool]) -> tuple[float, float]:
    """95 % of the gain over photos drawn anew, 2,000 times."""
    rng = np.random.default_rng(0)
    all_hits, draws = np.array([leaks[p] for p in order]), []
    for _ in range(2000):
        hit = all_hits[np.sort(rng.integers(0, len(order), len(order)))]
        if 0 < hit.sum() < len(hit):
            x = np.linspace(0, 1, len(hit) + 1)
            y, best = (np.concatenate([[0], np.cumsum(h) / hit.sum()]) for h in (hit, np.sort(hit)[::-1]))
            draws.append((np.trapezoid(y, x) - 0.5) / (np.trapezoid(best, x) - 0.5))
    low, high = np.percentile(draws, [2.5, 97.5]) if draws else (-1, 1)
    return float(low), float(high)


def gains(header: Header, known: dict[str, Record], annotations: Path) -> dict[str, Any]:
    """One row: thresholds, leaking photos, gain of the queue's order with its 95 %, gain of the lowest score first."""
    leaks = leaking(known, header, annotations)
    known = {p: r for p, r in known.items() if p in leaks}
    bare = [r.replace(review="pending", decisions=(), approved_hash="") for r in known.values()]
    orders = {
        "the review's queue": [i.path for i in items.rank(bare, header.settings)],
        "lowest score first": lowest_score(known.values(), header.settings),
    }
    return {
        "thresholds": {k: round(header.settings.kinds[k].threshold, 3) for k in KINDS},
        "photos": len(leaks),
        "leaking": sum(leaks.values()),
        "gain": {name: gain(order, leaks) for name, order in orders.items()},
        "interval": interval(orders["the review's queue"], leaks),
        "orders": orders,
        "leaks": leaks,
    }


def show_gain(args: argparse.Namespace) -> None:
    found = images.find(args.images, Settings())
    result: dict[str, list[dict[str, Any]]] = {}
    plotted = {}
    for name in args.presets.split(","):
        settings = Settings().with_preset(name)
        header, known = detected(args.work / f"{name}.jsonl", [found.root / p for p in found.paths], settings)
        rows = [gains(moved(header, t), known, args.annotations) for t in TIMES]
        plotted[name] = rows[TIMES.index(1.0)]
        result[name] = [{k: v for k, v in row.items() if k not in ("orders", "leaks")} for row in rows]
    if args.plot:
        plot(args.plot, plotted)
    if args.json:
        print(json.dumps(result, indent=1))
        return
    print("\n| preset | faces from | plates from | photos that leak | gain (95 %) | lowest score first |")
    print("|---|---|---|---|---|---|")
    for name, rows in result.items():
        for times, row in zip(TIMES, rows, strict=True):
            mine, other = row["gain"].values()
            low, high = row["interval"]
            cells = [f"**{name}**" if times == 1 else name, *(f"{t:g}" for t in row["thresholds"].values())]
            cells += [f"{row['leaking']} of {row['photos']}", f"{mine:.2f} ({low:.2f}–{high:.2f})", f"{other:.2f}"]
            print(f"| {' | '.join(cells)} |")


def plot(target: Path, rows: Mapping[str, Mapping[str, Any]]) -> None:
    """A panel for each preset: a row of `gains` at its own thresholds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(rows), figsize=(4.6 * len(rows), 4.2), dpi=150, squeeze=False, sharey=True)
    for axes, (preset, row) in zip(panels[0], rows.items(), strict=True):
        leaks = row["leaks"]
        perfect = sorted(leaks, key=lambda p: not leaks[p])
        axes.plot(*curve(perfect, leaks), color="#999999", lw=1, ls=":", label="perfect order")
        for (name, order), color in zip(row["orders"].items(), ("#0b6e4f", "#c8553d"), strict=True):
            axes.plot(*curve(order, leaks), color=color, lw=2.2, label=f"{name} ({row['gain'][name]:.2f})")
        axes.plot([0, 1], [0, 1], color="#666666", lw=1, ls="--", label="random order (0)")
        axes.set(xlabel="share of photos looked at", xlim=(0, 1), ylim=(0, 1.02))
        axes.legend(loc="lower right", frameon=False, fontsize=9, title="gain")
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(f"{preset}: {sum(leaks.values())} of {len(leaks)} street photos leak", fontsize=11)
    panels[0][0].set_ylabel("share of leaking photos found")
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
            others = [
                j
                for j, o in enumerate(seen)
                if set(o.detector_scores) != set(r.detector_scores) and overlap[i, j] > 0.4
            ]
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
    """Weights (K,) of features (N, K), the first of which is 1. Few real ones: one rate for all, by Laplace's rule."""
    real, of = int(hit.sum()), len(hit)
    if min(real, of - real) < FEW:
        return (round(math.log((real + 1) / (of - real + 1)), 3), *[0.0] * (features.shape[1] - 1))
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(fit_intercept=False, C=1.0, max_iter=1000).fit(features, hit)
    return tuple(round(float(v), 3) for v in model.coef_[0])


Rows = dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]


def places(
    known: Mapping[str, Record],
    larger: Mapping[str, Record],
    truth: Annotations,
    settings: Settings,
) -> Rows:
    """("candidate" | "empty", kind) -> features (N, K) of all such places, and which of them are real (N,).

    Args:
        known: photos; those that `truth` has tell about what is marked there. larger: the same photos, faces of
            `TEACHERS`; empty: faces are marked.
    """
    rows: dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]] = {}
    for kind in KINDS:
        for path, record in known.items():
            if (kind == "plate" or not larger) and path not in truth.photos:
                continue
            if kind == "face" and larger:
                true, ignored = agreed_faces(larger[path]), np.zeros((0, 4))
            else:
                marked = [t for t in truth.photos[path].truths if t.kind == kind]
                true, ignored = (
                    np.array([t.box for t in marked if t.ignore == i]).reshape(-1, 4) for i in (False, True)
                )
            # Everything stored is a candidate: those above the threshold teach the same curve.
            found = risk.places(record, settings.with_kind(kind, threshold=1.0), kind)
            real = is_real(found.candidates, true)
            told = real | ~is_real(found.candidates, ignored)  # what is marked to be ignored is neither real nor not
            rows.setdefault(("candidate", kind), []).append((found.features[told], real[told]))
            at = risk.places(record, settings, kind)
            hidden = boxes(record.hidden(settings))
            covered = intersections(true, hidden).max(axis=1, initial=0) / np.maximum(areas(true), 1)
            zones = risk.zones(kind, at.empty)
            lost = np.asarray(np.any(risk.centers_in(zones, true[covered < 0.5]), axis=1))
            told = lost | ~np.any(risk.centers_in(zones, ignored), axis=1)
            rows.setdefault(("empty", kind), []).append((at.empty_features[told], lost[told]))
    return {k: (np.concatenate([x for x, _ in v]), np.concatenate([y for _, y in v])) for k, v in rows.items()}


def beside(known: dict[str, Record], truth: Annotations, settings: Settings) -> list[tuple[int, int]]:
    """Of the plates that one neighbor frame, or both, hide where a frame hides none: (real, all) of each."""
    seen = {p: items.see(r, settings) for p, r in known.items()}
    hits: list[list[bool]] = [[], []]
    for path, others in items.sequences(known).items():
        true = [t.box for t in truth.photos[path].truths]
        for reason in items.beside(seen[path], [seen[o] for o in others]):
            assert reason.box is not None
            if reason.kind == "plate":  # faces are not annotated there
                hits["both" in reason.text].append(any(items.is_near(reason.box, box) for box in true))
    return [(sum(h), len(h)) for h in hits]


def fit(args: argparse.Namespace) -> None:
    settings = Settings()
    root = args.images
    names = sorted(images.find(root, settings).paths)
    truth = read_annotations(args.annotations, root, names)
    in_a_row = items.sequences(names)
    frames = [n for n in names if n in in_a_row and n in truth.photos]
    alone = [n for n in names if n not in in_a_row]
    random.Random(0).shuffle(alone)
    alone.sort(key=lambda n: n not in truth.photos)  # those that tell about plates, too, first
    alone, frames = alone[: args.photos], frames[: args.frames]
    header, known = detected(args.work / "photos.jsonl", [root / n for n in alone], settings)
    teachers = settings.replace(
        face_detector=TEACHERS[0], plate_detector="none", other_detectors=TEACHERS[1:], iou_threshold=1.0
    )
    is_marked = any(t.kind == "face" for photo in truth.photos.values() for t in photo.truths)
    larger = {} if is_marked else detected(args.work / "larger.jsonl", [root / n for n in alone], teachers)[1]
    known = {p: r for p, r in known.items() if not r.error and not (larger and larger[p].error)}
    fitted: dict[str, Any] = {"candidate": {}, "empty": {}, "beside": list(risk.BESIDE)}
    for (place, kind), (x, y) in places(known, larger, truth, header.settings).items():
        weights = regression(x, y)
        fitted[place][kind] = list(weights)
        print(f"{place} {kind}: {weights}  # {len(y)} places, {int(y.sum())} of them real")
        chances = risk.probability(weights, x)
        for low, high in pairwise((0.0, 0.01, 0.03, 0.1, 0.3, 0.6, 1.0)):
            told = (chances >= low) & (chances < high)
            if told.any():
                print(f"    told {chances[told].mean():.3f}, were {y[told].mean():.3f} of {told.sum()}")
    if frames:
        _, ride = detected(args.work / "frames.jsonl", [root / n for n in frames], settings)
        found = beside({p: r for p, r in ride.items() if not r.error}, truth, settings)
        print(f"beside: {found} (real, all), of one neighbor frame and of both")
        # Laplace's rule: few are certain of nothing.
        fitted["beside"] = [round((real + 1) / (of + 2), 2) for real, of in found]
    detectors = {"face": settings.face_detector, "plate": settings.plate_detector}
    head = {
        "detectors": detectors,
        "photos": len(known),
        "annotated": len(truth.photos.keys() & known.keys()),
        "frames": len(frames),
    }
    args.output.write_text(json.dumps(head | fitted, indent=1) + "\n")
    print(f"written: {args.output}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run in (("gain", show_gain), ("fit", fit)):
        command: Any = commands.add_parser(name)
        command.add_argument("images", type=Path)
        command.add_argument("annotations", type=Path)
        command.add_argument("--work", type=Path, required=True, help="a folder for what was detected")
        command.set_defaults(run=run)
        if name == "gain":
            command.add_argument("--presets", default="thorough,balanced,fast", help="each gets a panel of the plot")
            command.add_argument("--plot", type=Path)
            command.add_argument("--json", action="store_true")
        else:
            command.add_argument("--photos", type=int, default=300)
            command.add_argument("--frames", type=int, default=120)
            command.add_argument("--output", type=Path, default=Path(risk.__file__).with_suffix(".json"))
    args = parser.parse_args(arguments)
    args.run(args)


if __name__ == "__main__":
    main()
