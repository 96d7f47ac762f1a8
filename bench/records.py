"""Where a records file of a million photos stands: opening, queue, export, FiftyOne.

    python -m bench.records [--count 1000000] [--regions 20] [--home DIR] [--photos 2000] [--fiftyone]

Records are made up (2,000 bodies under numbered names, as of rides: each frame has neighbors). Each step runs in a
process of its own and tells seconds, CPU seconds and peak memory. The first look of the queue is told apart: it is done
once, and kept beside the records. `--photos`: real files of an export and a second `detect`, which hash every photo.
With --home, files and what is kept beside them stay, and a second call goes on with them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from anonymize import images, records
from anonymize.detectors import FakeDetector
from anonymize.engine import detect, export
from anonymize.outputs import Output
from anonymize.predictor import Predictor
from anonymize.records import Header
from anonymize.records_file import RecordsFile
from anonymize.regions import Region
from anonymize.settings import Settings

from .review_load import made_up

BODIES = 2000
FACE = Region("face", (9, 9, 40, 40), 0.9)


def make(path: Path, count: int, regions: int) -> None:
    """A records file of so many photos; one that is there already stays."""
    if path.exists():
        return
    bodies = [records.to_line(r.replace(path="@@@").to_dict()) for r in made_up(BODIES, regions)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(records.to_line(Header("/made/up").to_dict()))
        for n in range(count):
            name = b"ride%05d/frame_%07d.jpg" % (n // 1000, n)
            file.write(bodies[n * 7919 % BODIES].replace(b"@@@", name, 1))


# --- steps: each is called with the records file, in a process of its own ---


def opened(path: Path) -> str:
    """What a second `detect` does before its first photo."""
    return f"{len(RecordsFile(path)):,} photos have a record"


def checks(path: Path) -> str:
    """What an export does before its first photo."""
    known = RecordsFile(path)
    found = images.Found(Path(known.header.root), [records.unescape(p) for p in known])
    Output(path.with_name("out"), Settings()).check(found, path)
    return f"{len(known):,} outputs are in nobody's way"


def first_look(path: Path) -> str:
    from review.queue import Queue
    from review.store import ReviewStore

    def told(done: int, of: int) -> None:
        if done % 50_000 == 0:
            print(f"   {done:,} of {of:,}", flush=True)

    return str(Queue(ReviewStore(path), told).progress())


def page(path: Path) -> str:
    """The tab's page: the first photo, the list beside it, the figures."""
    from itertools import islice

    from review.queue import Queue
    from review.store import ReviewStore

    queue = Queue(ReviewStore(path))
    first = queue.next("ana")
    ahead = list(islice(queue.behind(first and first.path), 3))
    return f"{len(queue.items(0, 90))} listed, {len(ahead)} fetched ahead, {queue.progress()}"


def decision(path: Path) -> str:
    """A decision in an open review, and the page after it; only that is timed."""
    from review.queue import Queue
    from review.store import ReviewStore

    store = ReviewStore(path)
    queue = Queue(store)
    first = queue.next("ana")
    assert first is not None
    started = time.perf_counter()
    store.decide(first.path, "flag", who="ana", expected=first.regions_hash)
    queue.next("ana", after=first.path)
    queue.items(0, 90)
    queue.progress()
    took = time.perf_counter() - started
    store.decide(first.path, "undo", who="ana")
    return f"{took:.2f} s of it"


def explorer(path: Path) -> str:
    """Another threshold, in an open review; only that is timed."""
    from review.queue import Queue
    from review.store import ReviewStore

    queue = Queue(ReviewStore(path))
    len(queue)
    started = time.perf_counter()
    photos, regions = queue.at_threshold("face", 0.3)
    return f"{time.perf_counter() - started:.2f} s of it: {regions:,} faces in {photos:,} photos"


def fiftyone(path: Path) -> str:
    from review.reviews import Reviews

    review = Reviews().open(path)
    count = review.dataset.samples.count_documents({})
    review.dataset.dataset.delete()
    return f"{count:,} riskiest photos loaded"


STEPS: dict[str, Callable[[Path], str]] = {
    "opened": opened,
    "export's checks": checks,
    "first look": first_look,
    "page": page,
    "decision": decision,
    "explorer": explorer,
    "fiftyone": fiftyone,
}


def real(home: Path, count: int) -> None:
    """So many photos, detected, detected again, exported: what each costs where nothing is to be done."""
    source = home / "photos"
    source.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for n in range(count):
        Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(source / f"{n:06}.png")
    predictor = Predictor(detectors=[FakeDetector([FACE])])
    path, out = home / "real.jsonl", home / "real"
    detect(source, path, predictor)
    export(path, out)
    for what, again in (("detect", lambda: detect(source, path, predictor)), ("export", lambda: export(path, out))):
        started = time.perf_counter()
        done = again()
        assert done.ok, done.failures
        took = time.perf_counter() - started
        print(f"{what} again, {done.photos:,} small photos: {1000 * took / count:.2f} ms per photo", flush=True)


def run_step(name: str, path: Path) -> None:
    started = time.perf_counter()
    said = STEPS[name](path)
    used = resource.getrusage(resource.RUSAGE_SELF)
    took: dict[str, Any] = {
        "seconds": round(time.perf_counter() - started, 2),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),  # imports included
        "peak_mb": round(used.ru_maxrss * 1024 / 1e6),
    }
    print(f"{name}: {json.dumps(took)} {said}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--regions", type=int, default=20)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--fiftyone", action="store_true")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        home = args.home or Path(name)
        path = home / f"{args.count}.jsonl"
        if args.step:
            run_step(args.step, path)
            return
        make(path, args.count, args.regions)
        print(f"{args.count:,} records, {path.stat().st_size / 1e9:.2f} GB", flush=True)
        os.environ.setdefault("FIFTYONE_DATABASE_DIR", f"{name}/db")
        for step in STEPS:
            if step != "fiftyone" or args.fiftyone:
                command = [sys.executable, "-m", "bench.records", "--count", str(args.count), "--home", str(home)]
                subprocess.run([*command, "--step", step], check=True)
        if args.photos:
            real(Path(name), args.photos)


if __name__ == "__main__":
    main()
