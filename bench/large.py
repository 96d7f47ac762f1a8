"""Very large and very long photos: what is found in a photo alone and not in a large picture that shows it.

    python -m bench.large [PHOTOS] [--presets fast,balanced] [--canvases 4000x3000,16000x3500]

PHOTOS: a folder; without it, the photos that ultralytics and scikit-image carry. They are pasted into canvases, each at
its own size and as often as there is room, many of them across the seams of the search. For each preset and canvas, in
a process of its own, `run` goes from file to file. Prints how many faces are covered by less than 90 % there (of a
folder: how many of the regions that the preset hides in the photos alone, false positives among them), and the looks,
CPU seconds and peak memory (MB) of the run.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from anonymize import engine, images, records
from anonymize.detectors.tiled import ONE_LOOK, windows
from anonymize.evaluate import LEAK_COVERAGE
from anonymize.predictor import Predictor
from anonymize.regions import Region

CANVASES = "4000x3000,16000x3500,1080x20000,20000x600,11500x8690"  # the first is an ordinary photo, the last 100 MP
# Package, file, and its faces (x1, y1, x2, y2, px), which every preset hides in the photo alone.
PACKAGED = (
    ("ultralytics", "assets/bus.jpg", ((113, 416, 155, 470), (268, 421, 307, 475))),
    ("ultralytics", "assets/zidane.jpg", ((916, 101, 1054, 284), (544, 257, 665, 437))),
    ("skimage", "data/astronaut.png", ((179, 57, 270, 177),)),
)
GAP, MOST = 97, 24  # px between the photos; photos in a canvas


def photos(folder: Path | None, predictor: Predictor) -> list[tuple[np.ndarray, list[Region]]]:
    """RGB arrays, and what is to be hidden in each."""
    out = []
    if folder:
        found = images.find(folder, predictor.settings)
        for path in found.paths:
            rgb = images.load(found.root / path, predictor.settings).rgb
            out.append((rgb, [r for r in predictor.predict([rgb])[0] if predictor.settings.hides(r)]))
        return out
    for package, name, faces in PACKAGED:
        spec = importlib.util.find_spec(package)
        assert spec, f"{package} is not installed"
        assert spec.origin
        rgb = images.load(Path(spec.origin).parent / name, predictor.settings).rgb
        out.append((rgb, [Region("face", box) for box in faces]))
    return out


def places(some: list[np.ndarray], width: int, height: int) -> Iterator[tuple[int, int, int]]:
    """Which photo, and where its top left lies: spread over the canvas in rows."""
    w, h = (max(p.shape[i] for p in some if p.shape[0] <= height and p.shape[1] <= width) + GAP for i in (1, 0))
    cells = [(x, y) for y in range(0, max(height - h, 0) + 1, h) for x in range(0, max(width - w, 0) + 1, w)]
    fitting = [i for i, p in enumerate(some) if p.shape[0] <= height and p.shape[1] <= width]
    for n, cell in enumerate(np.linspace(0, len(cells) - 1, min(MOST, len(cells))).round().astype(int).tolist()):
        yield (fitting[n % len(fitting)], *cells[cell])


def covered(truth: Region, by: list[Region], padding: dict[str, float]) -> float:
    """The share of a box that lies in other boxes, as an export pads them."""
    x1, y1, x2, y2 = truth.pixels(1 << 20, 1 << 20)
    seen = np.zeros((y2 - y1, x2 - x1), bool)
    for r in by:
        a, b, c, d = r.pad(padding[r.kind]).pixels(1 << 20, 1 << 20)
        seen[max(b - y1, 0) : max(d - y1, 0), max(a - x1, 0) : max(c - x1, 0)] = True
    return float(seen.mean()) if seen.size else 1.0


def measure(preset: str, canvas: str, folder: Path | None) -> dict[str, float]:
    """One canvas with one preset."""
    predictor = Predictor(preset)
    settings = predictor.settings
    width, height = map(int, canvas.split("x"))
    known_photos = photos(folder, predictor)
    some = [p for p, _ in known_photos]
    picture = np.full((height, width, 3), 128, np.uint8)
    truths = []
    for i, x, y in places(some, width, height):
        photo = some[i]
        picture[y : y + photo.shape[0], x : x + photo.shape[1]] = photo
        truths += [r.shift(x, y) for r in known_photos[i][1]]
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "in"
        source.mkdir()
        Image.fromarray(picture).save(source / "canvas.jpg", quality=95)
        del picture
        started = time.process_time()
        summary = engine.run(source, Path(name) / "out", predictor)
        seconds = time.process_time() - started
        assert summary.ok, summary.failures
        _, known = records.read(Path(name) / "out" / engine.RECORDS_NAME)
    hidden = known["canvas.jpg"].hidden(settings)
    padding = {kind: k.padding for kind, k in settings.kinds.items()}
    return {
        "regions": len(truths),
        "leaks": sum(covered(t, hidden, padding) < LEAK_COVERAGE for t in truths),
        "looks": len(list(windows(width, height, ONE_LOOK))),
        "cpu_seconds": seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="?", type=Path)
    parser.add_argument("--presets", default="fast,balanced")
    parser.add_argument("--canvases", default=CANVASES, metavar="WIDTHxHEIGHT,…")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        preset, canvas = args.one
        print(json.dumps(measure(preset, canvas, args.photos)))
        return
    print("| preset | canvas | regions | leak | looks | CPU seconds | peak MB |\n|" + "---|" * 7)
    for preset in args.presets.split(","):
        for canvas in args.canvases.split(","):
            command = [sys.executable, "-m", "bench.large", *([str(args.photos)] if args.photos else [])]
            run = subprocess.run([*command, "--one", preset, canvas], stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(run.stdout.splitlines()[-1])
            print(f"| {preset} | {canvas} | " + " | ".join(f"{v:.0f}" for v in found.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
