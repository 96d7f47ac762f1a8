"""A cluster run beside one machine's: with nodes and workers killed in the middle, and with one worker or two.

    python -m bench.cluster --kills 10      two nodes and an S3 server on this machine; one node is killed in each run
    python -m bench.cluster --scaling [PHOTOS]    photos a second of one worker and of two, one core each

`--kills`: a run over drawn photos, one of which kills every worker that looks at it. When a random number of photos is
done, the second node is killed. Then outputs and records are compared with one machine's, and the same command is given
again, which must find nothing left to do. Linux only; needs moto (requirements-dev.txt).

`--scaling`: without PHOTOS, the two that ultralytics carries, many times. Medians of three runs; start-up is left out:
the time counts from the first finished shard on. The CPU seconds of the workers are told beside, for a busy machine;
and what plain processes of one thread, without Ray, do on the same photos: no cluster gains more from two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import logging
import multiprocessing
import os
import random
import shutil
import signal
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from anonymize import cluster, engine, images
from anonymize.cluster.stores import Store
from anonymize.cluster.worker import POISON
from anonymize.engine import Summary
from anonymize.predictor import Predictor
from anonymize.regions import Region
from anonymize.settings import Settings

from .kills import PHOTO, draw, tree

log = logging.getLogger(__name__)

MEMORY = 100 << 20  # bytes of each node's object store
SECONDS = 0.05  # that the detector takes for a photo
DEADLY = (255, 0, 255)  # color of the photo at which workers die
DETECTIONS = tuple(f"{suffix}.json" for suffix in PHOTO)
POISONED = "deep/poison.png"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    # A node that was killed is known to be gone after two seconds, not fifteen; a full machine kills no worker.
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "2",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_worker_niceness": "0",  # 15 would be starved beside anything else that runs here
}


class Slow:
    """A detector whose answer depends on the photo; it takes its time, and dies of one."""

    name, weights = "slow", dict[str, str]()
    kinds = frozenset({"face", "plate"})

    def detect(self, images: Any) -> list[list[Region]]:
        out = []
        for image in images:
            if tuple(image[0, 0]) == DEADLY:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(SECONDS)
            x, y, score = (int(v) for v in image[0, 0])
            box = (x / 8, y / 8, x / 8 + 24, y / 8 + 20)
            out.append([Region("face", box, 0.5 + score / 512, {"slow": 0.5 + score / 512})])
        return out


SETTINGS = Settings(face_detector="bench.cluster:Slow", plate_detector="none")


@contextlib.contextmanager
def environment(**more: str) -> Iterator[None]:
    """Variables that Ray's processes inherit."""
    wanted = {**ENVIRONMENT, **more, "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])}
    old = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in old.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def s3() -> Iterator[str]:
    """An S3 server in this process, with a bucket; its address."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()


@contextlib.contextmanager
def nodes(*cpus: int) -> Iterator[tuple[Any, list[Any]]]:
    """A Ray cluster of node processes on this machine, connected: (cluster, nodes)."""
    import ray
    from ray._private.utils import get_ray_address_file
    from ray.cluster_utils import Cluster

    Path(get_ray_address_file(None)).parent.mkdir(parents=True, exist_ok=True)  # with `temp_dir`, Ray does not make it
    home = tempfile.mkdtemp(prefix="ray-")  # short: sockets lie in it
    options = {"object_store_memory": MEMORY, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args={**options, "num_cpus": cpus[0], "temp_dir": home})
    try:
        others = [made.add_node(num_cpus=n, object_store_memory=MEMORY) for n in cpus[1:]]
        ray.init(made.address, logging_level=logging.ERROR, log_to_driver=False)
        yield made, [made.head_node, *others]
    finally:
        ray.shutdown()
        made.shutdown()
        shutil.rmtree(home, ignore_errors=True)


def upload(folder: Path, url: str) -> None:
    store = Store(url)
    for path in folder.rglob("*"):
        if path.is_file():
            store.publish(path.relative_to(folder).as_posix(), path.read_bytes())


def download(url: str) -> dict[str, bytes]:
    """What a run left: photos and detections, by name."""
    store = Store(url)
    return {n: store.read(n) for n in store.files() if n.endswith((*PHOTO, *DETECTIONS))}


@dataclass
class Found:
    """What a campaign found wrong; empty is right."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not (self.lost or self.doubled or self.open)

    def __str__(self) -> str:
        return f"{len(self.lost)} lost, {len(self.doubled)} doubled, {len(self.open)} not anonymized"


def photos(home: Path, count: int) -> tuple[Path, dict[str, bytes], bytes]:
    """Photos, one of them deadly; what one machine makes of the others: files and records."""
    source = draw(home / "in", count)
    engine.run(source, home / "one", Predictor(SETTINGS))
    expected = tree(home / "one")
    Image.fromarray(np.full((72, 96, 3), DEADLY, np.uint8)).save(source / POISONED)
    return source, expected, (home / "one" / engine.RECORDS_NAME).read_bytes()


def campaign(kills: int, count: int = 40, seed: int = 0, shard: int = 4) -> Found:
    """So many runs, a node killed in each."""
    found, chance = Found(), random.Random(seed)
    with tempfile.TemporaryDirectory() as name, s3() as address, environment(AWS_ENDPOINT_URL=address):
        source, expected, known = photos(Path(name), count)
        originals = {p.read_bytes() for p in source.rglob("*") if p.is_file()}
        Store("s3://photos/in")._fs.mkdir("photos")
        upload(source, "s3://photos/in")
        for n in range(kills):
            out, at = f"s3://photos/out{n}", chance.randrange(1, count - shard)
            with nodes(1, 1) as (made, both):
                _one_run(out, shard, at, made, both[1])
                again = cluster.run("s3://photos/in", out, Predictor(SETTINGS), cluster.Cluster(shard=shard))
            assert again.unchanged == count, again
            files = download(out)
            found.lost += [f"{out}/{n}" for n, data in expected.items() if files.get(n) != data]
            found.doubled += [f"{out}/{n}" for n in files if n not in expected]
            found.open += [f"{out}/{n}" for n, data in files.items() if data in originals]
            cluster.gather(out, Path(name) / f"{n}.jsonl", source)
            _compare_records(found, Path(name) / f"{n}.jsonl", known)
            print(f"run {n + 1}: a node killed after {at} photos: {found}", flush=True)
    return found


def _one_run(out: str, shard: int, at: int, made: Any, victim: Any) -> None:
    """One run, in which the node dies when so many photos are done."""
    killed = []

    def progress(summary: Summary) -> None:
        log.info("%d done, %d failed", summary.done, len(summary.failures))
        if summary.done >= at and not killed:
            killed.append(summary.done)
            made.remove_node(victim, allow_graceful=False)

    done = cluster.run("s3://photos/in", out, Predictor(SETTINGS), cluster.Cluster(shard=shard), progress=progress)
    assert killed, "the run was over before the node could be killed"
    assert done.failures == {POISONED: POISON}, done.failures


def _compare_records(found: Found, path: Path, known: bytes) -> None:
    """One machine's records file, line by line, but for the photo that failed here."""
    lines = [x for x in path.read_bytes().splitlines() if f'"path":"{POISONED}"'.encode() not in x]
    expected = known.splitlines()
    found.lost += [f"{path.name}: {x[:80]!r}" for x in expected if x not in lines]
    found.doubled += [f"{path.name}: {x[:80]!r}" for x in lines if x not in expected]
    if lines != expected and sorted(lines) == sorted(expected):
        found.lost.append(f"{path.name}: the order of its lines")


# --- one worker or two ---


def scaling(source: Path | None, count: int, preset: str) -> None:
    rates: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    plainly: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as name, environment():
        folder = Path(name) / "in"
        folder.mkdir()
        files = _files(source)
        for i in range(count):
            shutil.copy(files[i % len(files)], folder / f"{i:05}{files[i % len(files)].suffix}")
        settings = Settings().with_preset(preset)
        for turn in range(3):
            for workers in rates:
                plainly[workers].append(plain(folder, Path(name) / f"plain-{turn}-{workers}", settings, workers))
                with nodes(workers):
                    rates[workers].append(_rate(folder, Path(name) / f"{turn}-{workers}", settings, workers))
                    print(f"{workers}: {rates[workers][-1]}", flush=True)
    for what, of in (("workers", rates), ("plain processes", plainly)):
        speed, used = ([statistics.median(v[i] for v in of[n]) for n in of] for i in (0, 1))
        for n, rate, cpu in zip(of, speed, used, strict=True):
            print(f"{n} {what}: {rate:.2f} photos/s, {cpu:.3f} CPU s per photo")
        by_time, by_cpu = speed[1] / speed[0], 2 * used[0] / used[1]
        print(f"two are {by_time:.2f} times one; by CPU time, on idle cores, {by_cpu:.2f} times")


def plain(folder: Path, scratch: Path, settings: Settings, processes: int) -> tuple[float, float]:
    """Photos a second, and CPU seconds per photo, of processes without Ray, each with a share of the photos."""
    spawning = multiprocessing.get_context("spawn")
    start, times = spawning.Barrier(processes), spawning.SimpleQueue()
    paths = sorted(p.name for p in folder.iterdir())
    shares = [paths[i::processes] for i in range(processes)]
    made = [
        spawning.Process(target=_share, args=(folder, share, scratch / str(i), settings, start, times))
        for i, share in enumerate(shares)
    ]
    for process in made:
        process.start()
    ends = [times.get() for _ in made]
    for process in made:
        process.join()
    rate = len(paths) / max(wall for wall, _ in ends)
    return rate, sum(cpu for _, cpu in ends) / len(paths)


def _share(folder: Path, paths: list[str], out: Path, settings: Settings, start: Any, times: Any) -> None:
    os.environ["ANONYMIZE_THREADS"] = "1"
    predictor = Predictor(settings.replace(jobs=1))
    engine.run(images.Found(folder, paths[:1]), out / "first", predictor)  # loads
    start.wait()
    began, busy = time.monotonic(), time.process_time()
    engine.run(images.Found(folder, paths), out / "all", predictor)
    times.put((time.monotonic() - began, time.process_time() - busy))


def _files(source: Path | None) -> list[Path]:
    if source is None:
        spec = importlib.util.find_spec("ultralytics")
        assert spec
        assert spec.origin
        source = Path(spec.origin).parent / "assets"
    return [p for p in sorted(source.rglob("*")) if p.suffix.lower() in (".jpg", ".jpeg", ".png")]


def _rate(source: Path, out: Path, settings: Settings, workers: int) -> tuple[float, float]:
    """Photos a second, and CPU seconds per photo of all that Ray runs, from the first finished shards on."""
    ticks: list[tuple[float, float, int]] = []
    used: dict[int, float] = {}  # a process that has ended keeps what it used

    def progress(summary: Summary) -> None:
        used.update(_cpu_seconds())
        ticks.append((time.monotonic(), sum(used.values()), summary.done))

    cluster.run(source, out, Predictor(settings), cluster.Cluster(workers=workers, shard=4), progress=progress)
    (start, before, first), (end, after, last) = ticks[workers], ticks[-1]
    return (last - first) / (end - start), (after - before) / (last - first)


def _cpu_seconds() -> dict[int, float]:
    """What each process that was started from here, and is still there, has used so far."""
    import psutil

    used = {}
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            used[process.pid] = sum(process.cpu_times()[:2])
    return used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="?", type=Path)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--scaling", action="store_true")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    if args.verbose:
        logging.basicConfig(format="%(asctime)s %(message)s")
        log.setLevel(logging.INFO)
    if args.kills:
        found = campaign(args.kills, args.count)
        print(found)
        raise SystemExit(not found.ok)
    scaling(args.photos, args.count, args.preset)


if __name__ == "__main__":
    main()
