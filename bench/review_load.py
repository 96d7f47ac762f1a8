"""How long a review of many photos takes to open, to refresh, to load into FiftyOne, and what an export writes again.

    python -m bench.review_load [--photos 10000] [--regions 60] [--no-fiftyone]

The records are made up (seeded); the photos for the export are a few drawn ones.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from anonymize import images, records
from anonymize.corrections import gate
from anonymize.engine import export
from anonymize.records import Header, Record
from anonymize.regions import Region
from review.queue import Queue
from review.reviews import Reviews
from review.store import ReviewStore


def made_up(count: int, regions: int, sha256: str = "00") -> Iterator[Record]:
    rng = np.random.default_rng(0)
    kinds = np.array(["face", "plate", "vehicle", "person"])
    for n in range(count):
        found = []
        scores = np.sort(rng.beta(0.15, 3, regions))[::-1]
        for score, kind in zip(scores, rng.choice(kinds, regions), strict=True):
            x, y, size = rng.uniform(0, 900), rng.uniform(0, 600), rng.uniform(8, 100)
            box = (x, y, x + size, y + size)
            found.append(Region(str(kind), box, max(float(score), 0.001), {f"{kind}-detector@640": float(score)}))
        yield Record(
            f"day{n % 9}/photo-{n}x.jpg", sha256, 1024, 768, tuple(found), detectors={"made-up": {}}, detection="d"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=10_000)
    parser.add_argument("--regions", type=int, default=60)
    parser.add_argument("--no-fiftyone", action="store_true")
    args = parser.parse_args()
    took: dict[str, float | int] = {"photos": args.photos, "regions": args.photos * args.regions}

    def timed(name: str, started: float) -> None:
        took[name] = round(time.perf_counter() - started, 2)

    with tempfile.TemporaryDirectory() as home:
        os.environ.setdefault("FIFTYONE_DATABASE_DIR", f"{home}/db")
        path = Path(home) / "records.jsonl"
        records.write(path, Header("/made/up"), made_up(args.photos, args.regions))
        took["megabytes"] = path.stat().st_size // 1_000_000
        started = time.perf_counter()
        store = ReviewStore(path)
        queue = Queue(store)
        queue.items()
        timed("open: records to queue, s", started)
        store.decide("day3/photo-3x.jpg", "flag", who="ana")
        started = time.perf_counter()
        queue.items()
        str(queue.progress())
        timed("refresh queue and figures after a decision, s", started)
        started = time.perf_counter()
        queue.at_threshold("face", 0.3)
        timed("threshold explorer, s", started)
        started = time.perf_counter()
        store.decide("day4/photo-4x.jpg", "flag", who="ana")
        timed("one decision, s", started)
        if not args.no_fiftyone:
            started = time.perf_counter()
            review = Reviews().open(path)
            review.queue.items()
            dataset = review.dataset
            timed("load into FiftyOne, queue and start included, s", started)
            review.store.decide("day5/photo-5x.jpg", "flag", who="ana")
            started = time.perf_counter()
            dataset.show("day5/photo-5x.jpg")
            timed("one sample after a decision, s", started)
            started = time.perf_counter()
            dataset.update()
            timed("update all of FiftyOne, s", started)
            dataset.dataset.delete()
        took |= export_again(Path(home))
    print(json.dumps(took, indent=1))


def export_again(home: Path, count: int = 200, corrected: int = 10) -> dict[str, float | int]:
    from PIL import Image

    root = home / "in"
    root.mkdir()
    known = []
    for n in range(count):
        Image.fromarray(np.random.default_rng(n).integers(0, 255, (96, 128, 3), dtype=np.uint8)).save(root / f"{n}.png")
        sha256 = images.sha256(root / f"{n}.png")
        known.append(
            Record(f"{n}.png", sha256, 128, 96, (Region("face", (9, 9, 40, 40), 0.9),), detectors={"made-up": {}})
        )
    path = home / "few.jsonl"
    records.write(path, Header(str(root)), known)
    store = ReviewStore(path)
    for record in known:
        store.decide(record.path, "approve", who="ana")
    export(path, home / "out", store.settings, gate=gate(store.settings))
    for n in range(corrected):
        store.decide(f"{n}.png", "add", who="ana", box=(50, 50, 70, 60), kind="plate")
        store.decide(f"{n}.png", "approve", who="ana")
    done = export(path, home / "out", store.settings, gate=gate(store.settings))
    return {"photos exported": done.done, "of those written again after 10 corrections": done.done - done.unchanged}


if __name__ == "__main__":
    main()
