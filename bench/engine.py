"""What the engine adds to its detectors: time and memory of `run` over many photos.

    python -m bench.engine [PHOTOS] [--count 200] [--size 1024]

PHOTOS: a folder; without it, crops of the photos that ultralytics carries. Prints the time that the detectors alone
need for the photos (decoded before), the time of `run` from files to files, their ratio, and the peak memory after a
quarter and all of the photos. The two are timed in turn, in a process each, so neither warms the other up.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from anonymize import images
from anonymize.detectors.runtime import side_by_side
from anonymize.engine import Summary, run
from anonymize.predictor import Predictor
from anonymize.settings import Settings


def photos(source: Path | None, folder: Path, count: int, size: int) -> None:
    """`count` JPEG files with a long side of `size` px, all different."""
    rng = np.random.default_rng(0)
    if source is None:
        import importlib.util

        spec = importlib.util.find_spec("ultralytics")
        files = sorted((Path(spec.origin).parent / "assets").glob("*.jpg"))
    else:
        files = [p for p in sorted(source.rglob("*")) if p.suffix.lower() in (".jpg", ".jpeg", ".png")]
    for i in range(count):
        picture = Image.open(files[i % len(files)]).convert("RGB")
        if i >= len(files):  # another cut of the same photo
            w, h = picture.size
            x, y = rng.integers(0, w // 10 + 1), rng.integers(0, h // 10 + 1)
            picture = picture.crop((x, y, w - w // 10 + x, h - h // 10 + y))
        picture = picture.resize([round(v * size / max(picture.size)) for v in picture.size])
        picture.save(folder / f"{i:04}.jpg", quality=92)


def alone(folder: Path) -> dict[str, float]:
    """Seconds of the detectors alone, side by side as in `run`, all photos decoded before."""
    settings = Settings()
    predictor = Predictor(settings)
    loaded = [images.load(p, settings).rgb for p in sorted(folder.iterdir())]
    with side_by_side():
        predictor.predict(loaded[:1])  # compile
    started, busy = time.perf_counter(), time.process_time()
    with side_by_side(), ThreadPoolExecutor(predictor.at_once) as threads:
        list(threads.map(lambda image: predictor.predict([image]), loaded))
    return {"seconds": time.perf_counter() - started, "cpu": time.process_time() - busy}


def whole(folder: Path, output: Path) -> dict[str, float]:
    """Seconds of `run`, and peak memory (MB) after a quarter and after all of the photos."""
    settings = Settings()
    predictor = Predictor(settings)
    predictor.predict([images.load(min(folder.iterdir()), settings).rgb])
    peaks: dict[int, float] = {}

    def progress(summary: Summary) -> None:
        peaks[summary.done] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    busy = time.process_time()
    summary = run(folder, output, predictor, progress=progress)
    assert summary.ok, summary.failures
    spent = {"seconds": summary.seconds, "cpu": time.process_time() - busy}
    return spent | {"mb_quarter": peaks[max(1, summary.done // 4)], "mb": peaks[summary.done]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="?", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        part, folder = args.part[0], Path(args.part[1])
        if part == "alone":
            print(json.dumps(alone(folder)))
        else:
            with tempfile.TemporaryDirectory() as output:
                print(json.dumps(whole(folder, Path(output) / "out")))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos(args.photos, folder, args.count, args.size)
        results: dict[str, list[dict[str, float]]] = {"alone": [], "whole": []}
        for _ in range(args.rounds):
            for part, found in results.items():
                command = [sys.executable, "-m", "bench.engine", "--part", part, str(folder)]
                found.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
        a, b = (min(r["seconds"] for r in results[part]) for part in ("alone", "whole"))
        cpu, all_cpu = (min(r["cpu"] for r in results[part]) for part in ("alone", "whole"))
        most = max(r["mb"] for r in results["whole"])
        print(f"{args.count} photos of {args.size} px, best of {args.rounds}")
        print(f"detectors alone  {a:7.1f} s  {1000 * a / args.count:6.1f} ms per photo")
        print(f"run              {b:7.1f} s  {1000 * b / args.count:6.1f} ms per photo")
        print(f"ratio            {b / a:7.3f}")
        print(f"of CPU time      {all_cpu / cpu:7.3f} of {1000 * cpu / args.count:.1f} ms per photo")
        quarter = results["whole"][-1]["mb_quarter"]
        print(f"peak memory      {most:7.0f} MB ({quarter:.0f} MB after a quarter of the photos)")


if __name__ == "__main__":
    main()
