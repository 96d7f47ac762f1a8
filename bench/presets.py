"""The presets on annotated photos: the README's table, by one command.

    python -m bench.presets IMAGES ANNOTATIONS [--presets fast,balanced,thorough] [--large]
    python -m bench.presets IMAGES ANNOTATIONS --singles yunet=0.6,fastanpr@1280=0.25 --json models/measured.json

Leaks with Wilson's 95 % interval, false positives per photo for each kind, the area over-blurred beside the true area,
and the detectors' CPU time per photo, all threads together, so that other work on the machine does not count: the
median over all photos after a first one. `--large` adds the time of one 12-megapixel photo (4,000 × 3,000 px, made of
the first ones). `--json` also writes what the web app's Models tab shows, with `--singles` for detectors by
themselves, each at its threshold (FACE/PLATE where it finds both).

Figures on photos that chose a preset's numbers flatter it. So each row ends with what chose them, and how many of these
photos were among it.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from anonymize import evaluate, images
from anonymize.detectors import models, parse
from anonymize.evaluate.ground_truth import Annotations
from anonymize.evaluate.ground_truth import read as read_annotations
from anonymize.predictor import Predictor
from anonymize.records import Record
from anonymize.settings import PRESETS, Settings
from anonymize.weights.registry import model

LARGE = (4000, 3000)  # px
LABELS = Path(__file__).parents[1] / "models" / "recipes" / "labels"
# What chose the constants of the presets. Calibrations of all networks but `street`: 200 photos of plates-train.
FOLD = "fold 4 of models/recipes/labels and 50 drawn fronts, across sources"
FAR = "the same photos seen from farther away (far.py)"
MOST = f"sizes and thresholds: {FOLD}, and {FAR}; context, street's calibration: {FOLD}"
CHOSEN_ON = dict.fromkeys(("fast", "balanced", "thorough"), MOST)
KINDS = ("face", "plate")


def detect(predictor: Predictor, found: images.Found) -> tuple[list[Record], float]:
    """Records of all photos, and the median ms that the detectors took for one."""
    records, times = [], []
    for path in found.paths:
        photo = images.load(found.root / path, predictor.settings)
        started = time.process_time()
        records.append(predictor.record(photo, path))
        times.append((time.process_time() - started) * 1000)
    return records, float(np.median(times[1:] or times))


def row(preset: str, records: Sequence[Record], ms: float, truth: Annotations) -> list[str]:
    """One line of the table."""
    settings = Settings().with_preset(preset)
    result = evaluate.evaluate(records, truth, settings, curves=False)
    cells = [preset]
    for kind in KINDS:
        if kind not in result.kinds:  # nobody annotated it
            cells += ["–"] * 3
            continue
        k = result.kinds[kind]
        low, high = k.leaks.interval or (0.0, 1.0)
        large = [v[0] for name, v in k.by_height.items() if name in ("16–32", "32–64", ">64")]
        hidden = 1 - sum(s.count for s in large) / max(1, sum(s.of for s in large))
        cells += [
            f"{k.leaks.rate or 0:.3f} ({low:.2f}–{high:.2f})",
            f"{hidden:.1%}",
            f"{k.false_positives.value or 0:.2f}",
        ]
    cells += [
        f"{100 * (result.over_blurred.value or 0):.1f} % (true area {100 * (result.true_area.value or 0):.1f} %)",
        f"{ms:.0f}",
    ]
    return cells


def chose(paths: Sequence[str]) -> int:
    """How many photos of these names trained our networks or chose the presets' constants."""
    known: set[str] = set()
    for file in LABELS.glob("*.json.gz"):
        known |= {image["file_name"] for image in json.loads(gzip.decompress(file.read_bytes()))["images"]}
    return sum(Path(p).name in known for p in paths)


def single(text: str) -> tuple[str, Settings]:
    """NAME=THRESHOLD -> the detector's name, and settings that look with nothing else. Of both kinds: FACE/PLATE."""
    name, _, thresholds = text.rpartition("=")
    kinds = {task for m in models(parse(name)) for task in model(m).tasks if task in KINDS}
    settings = Settings().replace(face_detector="none", plate_detector="none")
    for kind, threshold in zip(sorted(kinds), thresholds.split("/"), strict=True):
        settings = settings.replace(**{f"{kind}_detector": name}).with_kind(kind, threshold=float(threshold))
    return name, settings


def measured(name: str, records: Sequence[Record], ms: float, truth: Annotations, settings: Settings) -> dict[str, Any]:
    """One row of models/measured.json: shares from 0 to 1, `false_positives` a photo, `ms` a photo."""
    result = evaluate.evaluate(records, truth, settings, curves=False)
    kinds = {}
    for kind in KINDS:
        if getattr(settings, f"{kind}_detector") != "none" and kind in result.kinds:
            leaks = result.kinds[kind].leaks
            low, high = leaks.interval or (0.0, 1.0)
            found = {"missed": leaks.rate or 0.0, "low": low, "high": high}
            found["false_positives"] = result.kinds[kind].false_positives.value or 0.0
            kinds[kind] = {"threshold": settings.kinds[kind].threshold, **found}
    return {"name": name, "preset": name in PRESETS, "ms": ms, "kinds": kinds}


def write_json(path: Path, rows: Sequence[dict[str, Any]], photos: int, truth: Annotations, any_: list[Record]) -> None:
    """models/measured.json, read by the web app's Models tab."""
    kinds = evaluate.evaluate(any_, truth, Settings(), curves=False).kinds
    data = {"photos": photos, "true": {kind: kinds[kind].leaks.of for kind in KINDS}, "rows": rows}
    path.write_text(json.dumps(data, indent=1) + "\n", "utf-8")


def large_photo(predictor: Predictor, found: images.Found) -> float:
    """The best of three times, ms, for a 12-megapixel photo of tiles that show the first twelve photos enlarged."""
    pieces = []
    for path in found.paths[:12]:
        photo = images.load(found.root / path, predictor.settings).rgb
        pieces.append(cv2.resize(photo, (1000, 1000), interpolation=cv2.INTER_LINEAR))
    pieces = [pieces[i % len(pieces)] for i in range(12)]
    picture = np.vstack([np.hstack(pieces[i : i + 4]) for i in (0, 4, 8)])
    assert picture.shape[1::-1] == LARGE
    times = []
    for _ in range(3):
        started = time.process_time()
        predictor.predict([picture])
        times.append((time.process_time() - started) * 1000)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("annotations", type=Path)
    parser.add_argument("--presets", default=",".join(PRESETS))
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--singles", default="", metavar="NAME=THRESHOLD,…")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too (models/measured.json)")
    args = parser.parse_args()
    head = ["preset"]
    for kind in KINDS:
        head += [f"{kind}s that leak (95 %)", f"{kind}s of 16 px and more hidden", f"false {kind}s per photo"]
    head += ["over-blurred area", "CPU ms per photo"] + ["12 megapixels"] * args.large
    head += ["constants chosen on", "of the fold and of what trained here"]
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    found = images.find(args.folder, Settings())
    known = f"{chose(found.paths)} of {len(found.paths)} photos"
    truth = read_annotations(args.annotations, args.folder, found.paths, KINDS)
    rows: list[dict[str, Any]] = []
    records: list[Record] = []
    for preset in filter(None, args.presets.split(",")):
        predictor = Predictor(Settings().with_preset(preset))
        records, ms = detect(predictor, found)
        cells = row(preset, records, ms, truth)
        rows.append(measured(preset, records, ms, truth, predictor.settings))
        if args.large:
            cells.append(f"{large_photo(predictor, found):.0f}")
        cells += [CHOSEN_ON[preset], known]
        print("| " + " | ".join(cells) + " |", flush=True)
    for text in filter(None, args.singles.split(",")):
        name, settings = single(text)
        records, ms = detect(Predictor(settings), found)
        rows.append(measured(name, records, ms, truth, settings))
        print(json.dumps(rows[-1]), flush=True)
    if args.json:
        write_json(args.json, rows, len(found.paths), truth, records)


if __name__ == "__main__":
    main()
