"""Memory of `run`, or of the server, over photos of many sizes: level, or growing with each new size.

    python -m bench.memory [PHOTOS] [--count 1000] [--sizes 300] [--smallest 300] [--largest 1600]
        [--preset balanced] [--jobs 0 | --server]

PHOTOS: a folder; without it, the photos that ultralytics carries. They are resized to many widths and heights, drawn
between SMALLEST and LARGEST px. Prints the resident memory (MB) on the way, its highest until the 200th photo and
after it, and the peak. With --server the photos are posted to the REST API, two at a time, and the 100th takes the
place of the 200th. Linux only.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import resource
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from anonymize.engine import Summary, run
from anonymize.predictor import Predictor
from anonymize.settings import Settings
from bench.load import server

SETTLED = 200  # photos after which memory should be level
SETTLED_SERVER = 100


def photos(source: Path | None, folder: Path, count: int, sizes: int, smallest: int, largest: int) -> None:
    """`count` JPEG files of `sizes` different sizes; those of one size are the same."""
    rng = np.random.default_rng(0)
    if source is None:
        spec = importlib.util.find_spec("ultralytics")
        assert spec, "ultralytics is not installed"
        assert spec.origin
        source = Path(spec.origin).parent / "assets"
    files = [p for p in sorted(source.rglob("*")) if p.suffix.lower() in (".jpg", ".jpeg", ".png")]
    for i in range(count):
        target = folder / f"{i:05}.jpg"
        if i >= sizes:
            os.link(folder / f"{i % sizes:05}.jpg", target)
            continue
        w, h = rng.integers(smallest, largest + 1, 2).tolist()
        Image.open(files[i % len(files)]).convert("RGB").resize((w, h)).save(target, quality=92)


def resident() -> float:
    """MB that the process has in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def of_run(folder: Path, preset: str, jobs: int) -> dict[int, float]:
    """Resident memory (MB) of this process after so many photos."""
    levels: dict[int, float] = {}

    def progress(summary: Summary) -> None:
        levels[summary.done] = resident()
        tell(summary.done, levels[summary.done])

    predictor = Predictor(Settings(jobs=jobs).with_preset(preset))
    summary = run(folder, folder.parent / "out", predictor, progress=progress)
    assert summary.ok, summary.failures
    print(f"peak: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6:.0f} MB")
    return levels


def of_server(folder: Path, preset: str) -> dict[int, float]:
    """Resident memory (MB) of the server after so many photos."""
    levels: dict[int, float] = {}
    with (
        server(preset) as (process, address),
        httpx.Client(base_url=address, timeout=600, headers={"Accept": "image/*"}) as client,
        ThreadPoolExecutor(2) as posting,
    ):

        def post(photo: Path) -> None:
            client.post("/api/v1/anonymize", files={"image": (photo.name, photo.read_bytes())}).raise_for_status()

        for done, _ in enumerate(posting.map(post, sorted(folder.iterdir())), 1):
            levels[done] = process.memory_info().rss / 1e6
            tell(done, levels[done])
    return levels


def tell(done: int, level: float) -> None:
    if done in (1, 10, 50) or done % 100 == 0:
        print(f"{done:6} photos  {level:7.0f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="?", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--sizes", type=int, default=300)
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--smallest", type=int, default=300)
    parser.add_argument("--largest", type=int, default=1600)
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("--server", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "in"
        folder.mkdir()
        photos(args.photos, folder, args.count, args.sizes, args.smallest, args.largest)
        levels = of_server(folder, args.preset) if args.server else of_run(folder, args.preset, args.jobs)
    settled = SETTLED_SERVER if args.server else SETTLED
    if args.count > settled:
        # The highest, not the level at one photo: freed memory goes back from time to time.
        before, after = (max(v for k, v in levels.items() if (k > settled) == later) for later in (False, True))
        print(
            f"until photo {settled} at most {before:.0f} MB, after it {after:.0f} MB, {after / before:.3f} times that; "
            f"at the end {levels[args.count]:.0f} MB"
        )


if __name__ == "__main__":
    main()
