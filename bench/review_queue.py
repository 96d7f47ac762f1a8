"""Does the review's order find what leaks? And the fit of the probabilities behind it.

    python -m bench.review_queue gain IMAGES ANNOTATIONS --work DIR [--presets thorough,balanced,fast] [--plot FILE.png]
    python -m bench.review_queue fit  DATA --work DIR

`gain`: the queue orders the photos without their ground truth; the curve is the share of photos looked at against the
share of leaking photos found, beside random order and order by the lowest score that is hidden. The gain is (area -
random's) / (perfect order's - random's): 0 random, 1 perfect. Few photos leak at the thresholds of a good preset, so it
is also told for other thresholds of the same detections, where others and more of them leak.

`fit`: writes anonymize/risk.json, from photos with all faces and plates annotated (never those of `gain`) and the
default preset's detectors. DATA has a folder for each source, with images/ and annotations.json, as
`models.recipes.held_out` makes them: photos on which no network of the default was trained, for it misses too little on
those. For each source, it also tells the gain in five parts, each ordered by what the others and the other sources
teach, beside the present numbers. Frames that are numbered in a row say what a neighbor frame is worth, too.

Both keep what was detected in DIR, so that a second run goes on from there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
from anonymize.regions import Region, areas, boxes, intersections, iou
from anonymize.settings import Settings
from review import items

TIMES = (0.5, 1.0, 2.0, 3.0)  # the preset's thresholds, and others
KINDS = ("face", "plate")
FEW = 8  # real places, or others, below which one rate is told for all
PARTS = 5
BINS = (-1.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 1.0)


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
Weights = dict[str, dict[str, tuple[float, ...]]]


def places(known: Iterable[Record], truth: Annotations, settings: Settings) -> Rows:
    """("candidate" | "empty", kind) -> features (N, K) of all such places, and which of them are real (N,)."""
    rows: dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]] = {}
    for kind in KINDS:
        for record in known:
            marked = [t for t in truth.photos[record.path].truths if t.kind == kind]
            true, ignored = (np.array([t.box for t in marked if t.ignore == i]).reshape(-1, 4) for i in (False, True))
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
    return together([{k: row} for k, some in rows.items() for row in some])


def together(some: Iterable[Rows]) -> Rows:
    """The places of several photos or sources."""
    lists: dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]] = {}
    for rows in some:
        for key, row in rows.items():
            lists.setdefault(key, []).append(row)
    return {k: (np.concatenate([x for x, _ in v]), np.concatenate([y for _, y in v])) for k, v in lists.items()}


def weights_of(rows: Rows) -> Weights:
    """As risk.json has them."""
    out: Weights = {"candidate": {}, "empty": {}}
    for (place, kind), (x, y) in rows.items():
        out[place][kind] = regression(x, y)
    return out


@contextmanager
def using(weights: Weights) -> Iterator[None]:
    """Within: risks are told by these weights."""
    before = risk.CANDIDATE, risk.EMPTY
    risk.CANDIDATE, risk.EMPTY = weights["candidate"], weights["empty"]
    try:
        yield
    finally:
        risk.CANDIDATE, risk.EMPTY = before


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


@dataclass(frozen=True)
class Source:
    """Photos of one source, as they were detected: name, path -> record, ground truth, path -> whether it leaks."""

    name: str
    known: dict[str, Record]
    truth: Annotations
    leaks: dict[str, bool]
    settings: Settings

    def rows(self, paths: Iterable[str]) -> Rows:
        return places([self.known[p] for p in paths], self.truth, self.settings)

    def risks(self, paths: Iterable[str]) -> dict[str, float]:
        return {p: risk.risk_of(self.known[p], self.settings) for p in paths}


def source_of(folder: Path, work: Path, settings: Settings) -> Source:
    names = sorted(images.find(folder / "images", settings).paths)
    header, known = detected(work / f"{folder.name}.jsonl", [folder / "images" / n for n in names], settings)
    leaks = leaking(known, header, folder / "annotations.json")
    known = {p: known[p] for p in leaks}
    truth = read_annotations(folder / "annotations.json", folder / "images", names)
    return Source(folder.name, known, truth, leaks, header.settings)


def show_order(how: str, risks: Mapping[str, float], leaks: Mapping[str, bool]) -> None:
    """Gain, and how many photos are worth a look from each risk, with the leaking ones among them."""
    order = sorted(risks, key=lambda p: -risks[p])
    low, high = interval(order, dict(leaks))
    print(f"  {how}: gain {gain(order, dict(leaks)):.2f} ({low:.2f} to {high:.2f}); ", end="")
    print(
        f"{sum(risks.values()):.1f} of {len(leaks)} are told to leak, {sum(leaks.values())} do; from a risk of", end=""
    )
    for least in (0.05, 0.1, 0.15, 0.2, 0.25):
        some = [p for p, r in risks.items() if r >= least]
        print(f" {least}: {len(some)} with {sum(leaks[p] for p in some)};", end="")
    print(flush=True)


def cross_validate(sources: Sequence[Source], whole: Mapping[str, Rows]) -> None:
    """Each source in `PARTS` parts, ordered by what the others teach; and how many photos of each risk leaked.

    What an audit's certificate says of a risk (`audit.rest_risk.MEASURED`) is made of the last.
    """
    every: list[tuple[float, bool]] = []
    for s in sources:
        print(s.name)
        show_order("present numbers", s.risks(s.known), s.leaks)
        paths, told = sorted(s.known), dict[str, float]()
        random.Random(0).shuffle(paths)
        for i in range(PARTS):
            part = set(paths[i::PARTS])
            rest = s.rows(p for p in paths if p not in part)
            with using(weights_of(together([rest, *(rows for name, rows in whole.items() if name != s.name)]))):
                told |= s.risks(part)
        show_order("fitted on others", told, s.leaks)
        every += [(chance, s.leaks[path]) for path, chance in told.items()]
    for low, high in pairwise(BINS):
        some = [leaks for chance, leaks in every if low < chance <= high]
        print(f"  risk up to {high}: {len(some)} photos, {sum(some)} leak")


def fit(args: argparse.Namespace) -> None:
    settings = Settings()
    folders = sorted(p.parent for p in args.data.glob("*/annotations.json"))
    sources = [source_of(folder, args.work, settings) for folder in folders]
    whole = {s.name: s.rows(s.known) for s in sources}
    cross_validate(sources, whole)
    rows = together(whole.values())
    weights = weights_of(rows)
    for (place, kind), (x, y) in rows.items():
        print(f"{place} {kind}: {weights[place][kind]}  # {len(y)} places, {int(y.sum())} of them real")
        chances = risk.probability(weights[place][kind], x)
        for low, high in pairwise((0.0, 0.01, 0.03, 0.1, 0.3, 0.6, 1.0)):
            told = (chances >= low) & (chances < high)
            if told.any():
                print(f"    told {chances[told].mean():.3f}, were {y[told].mean():.3f} of {told.sum()}")
    found = np.sum([beside(s.known, s.truth, settings) for s in sources], axis=0).tolist()
    print(f"beside: {found} (real, all), of one neighbor frame and of both")
    head = {
        "detectors": {"face": settings.face_detector, "plate": settings.plate_detector},
        "photos": {s.name: len(s.known) for s in sources},
    }
    # Laplace's rule: few are certain of nothing. Where there are too few frames, what earlier ones said stays.
    neighbors = [
        round((r + 1) / (n + 2), 2) if n >= FEW else old for (r, n), old in zip(found, risk.BESIDE, strict=True)
    ]
    args.output.write_text(json.dumps({**head, **weights, "beside": neighbors}, indent=1) + "\n")
    print(f"written: {args.output}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run in (("gain", show_gain), ("fit", fit)):
        command: Any = commands.add_parser(name)
        if name == "gain":
            command.add_argument("images", type=Path)
            command.add_argument("annotations", type=Path)
            command.add_argument("--presets", default="thorough,balanced,fast", help="each gets a panel of the plot")
            command.add_argument("--plot", type=Path)
            command.add_argument("--json", action="store_true")
        else:
            command.add_argument("data", type=Path)
            command.add_argument("--output", type=Path, default=Path(risk.__file__).with_suffix(".json"))
        command.add_argument("--work", type=Path, required=True, help="a folder for what was detected")
        command.set_defaults(run=run)
    args = parser.parse_args(arguments)
    args.run(args)


if __name__ == "__main__":
    main()
