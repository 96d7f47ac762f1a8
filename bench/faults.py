"""Kills at random moments, and disks that fill up: python -m bench.faults [--kills 20] [--only run,batch]

`run`, `export`, the review's export, an upload and a batch on the server are each killed (SIGKILL) so many times;
`disk` gives a run a random limit of bytes a file. Detectors are stubs, photos are small: what is tried is what lies on
the disk. Counted are, and each has to be 0:

    leaked   files under an output's name that are not the anonymized photo, looked at all the time and after each kill;
             on the server also originals that are still there after its next start
    lost     files that a further, undisturbed run did not bring back as a run without any kill writes them
    doubled  files, temporary ones too, and records that such a run left and one without a kill does not

Each try forks this process, which has imported everything, so that hundreds take minutes. Linux and macOS.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import json
import mmap
import os
import random
import resource
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from anonymize import engine, records
from anonymize.corrections import gate
from anonymize.detectors import FakeDetector
from anonymize.predictor import Predictor
from anonymize.regions import Region
from anonymize.settings import Settings
from review.store import ReviewStore

PHOTOS = 24
SOLID = Settings(jobs=2).with_kind("face", effect="solid", fill="ff00ff").with_kind("plate", effect="solid")
EARLIER = SOLID.with_kind("face", fill="00ff00")  # what an export finds in its output
FOUND = [Region("face", (10, 10, 40, 40), 0.9), Region("plate", (50, 40, 80, 55), 0.9)]
OWN = ("records.jsonl", "exports.jsonl", "summary.json", ".records.jsonl.lock", ".exports.jsonl.lock")
PHOTO = (".png", ".jpg")


@dataclass
class Outcome:
    """What so many tries of one kind came to.

    Attributes:
        interrupted: tries that were not over before the kill.
    """

    kind: str
    tries: int = 0
    interrupted: int = 0
    leaked: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not (self.leaked or self.lost or self.doubled)

    def __str__(self) -> str:
        counts = f"{len(self.lost):5} {len(self.leaked):7} {len(self.doubled):8}"
        first = (*self.leaked, *self.lost, *self.doubled)[:1]
        return f"{self.kind:8} {self.tries:6} {self.interrupted:12} {counts}  {' '.join(first)}"


# --- processes ---


def fork(work: Callable[[], object]) -> int:
    """`work` in a process of its own; its id. It ends with 0, or 1 after an error, which is printed."""
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    code = 1
    try:
        work()
        code = 0
    except BaseException as e:
        print(f"{type(e).__name__}: {e}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def ended(pid: int) -> bool:
    """Whether a process came to its end by itself, without an error, waited for."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


class Counter:
    """A number that a forked process counts up and this one reads."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 1)

    def up(self, *_: object) -> None:
        self._memory[0] += 1

    @property
    def value(self) -> int:
        return self._memory[0]


def kill_somewhere(
    work: Callable[[Counter], object], photos: int, chance: random.Random, look: Callable[[], None]
) -> bool:
    """Start it, look all the time, and kill it after a random number of its photos and a random part of the next one.

    Returns:
        Whether it was interrupted.
    """
    counter = Counter()
    pid = fork(partial(work, counter))
    target, started = chance.randrange(photos + 1), time.monotonic()
    while counter.value < target and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        look()
        time.sleep(0.002)
    a_photo = (time.monotonic() - started) / (target + 1)
    time.sleep(chance.uniform(0, min(a_photo, 0.2)))
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    is_interrupted = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    look()
    return is_interrupted


# --- files ---


def draw(folder: Path, count: int = PHOTOS) -> Path:
    """Photos of noise, in folders, of two formats; one with a position."""
    rng = np.random.default_rng(0)
    for i in range(count):
        path = folder / ("deep/er" if i % 3 == 0 else ".") / f"{i:02}{PHOTO[i % 2]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[0x8825] = {1: "N", 2: (52.0, 30.0, 0.0)}
        pixels = rng.integers(0, 256, (72, 96, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, exif=exif, quality=90)
    return folder


def tree(folder: Path, *, own: bool = False) -> dict[str, bytes]:
    """What lies in an output, but for the program's own files."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and (own or path.name not in OWN):
            with contextlib.suppress(FileNotFoundError):  # a temporary file that was just renamed
                found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def compare(outcome: Outcome, out: Path, expected: dict[str, bytes], where: str) -> None:
    """After an undisturbed run: what is missing or other, and what is there too much."""
    found = tree(out)
    outcome.lost += [f"{where}: {name}" for name, data in expected.items() if found.get(name) != data]
    outcome.doubled += [f"{where}: {name}" for name in found if name not in expected]
    if (path := out / "records.jsonl").exists():
        known = records.read(path)[1]
        outcome.doubled += [f"{where}: record of {name}" for name in known if name not in expected]
        photos = [name for name in expected if name.endswith(PHOTO)]
        outcome.lost += [f"{where}: record of {n}" for n in photos if n not in known or known[n].error is not None]


def looker(outcome: Outcome, out: Path, *allowed: dict[str, bytes]) -> Callable[[], None]:
    """Looks at every file under an output's name: it is one of these, whole, or not there."""

    def look() -> None:
        for name, data in tree(out).items():
            if name.endswith(PHOTO) and data not in [a[name] for a in allowed if name in a]:
                outcome.leaked.append(name)

    return look


# --- the kinds ---


def predictor(settings: Settings = SOLID) -> Predictor:
    return Predictor(settings, detectors=[FakeDetector(FOUND)])


def _run(source: Path, out: Path, counter: Counter) -> None:
    assert engine.run(source, out, predictor(), progress=counter.up).ok


def _export(path: Path, out: Path, settings: Settings, gated: bool, counter: Counter) -> None:
    chosen = gate(settings) if gated else None
    assert engine.export(path, out, settings, gate=chosen, progress=counter.up).ok


def undisturbed(work: Callable[[Counter], object]) -> None:
    if not ended(fork(partial(work, Counter()))):
        raise RuntimeError("a run without any kill failed")


def try_run(outcome: Outcome, folder: Path, tries: int, chance: random.Random) -> None:
    source, reference = draw(folder / "in"), folder / "reference"
    undisturbed(partial(_run, source, reference))
    expected = tree(reference)
    for i in range(tries):
        out = folder / f"out{i}"
        look = looker(outcome, out, expected)
        outcome.interrupted += kill_somewhere(partial(_run, source, out), PHOTOS, chance, look)
        undisturbed(partial(_run, source, out))
        compare(outcome, out, expected, f"run {i}")
        shutil.rmtree(out)


def try_export(outcome: Outcome, folder: Path, tries: int, chance: random.Random, gated: bool = False) -> None:
    """Over what an export with other settings wrote; gated: half of the photos are approved, the others never out."""
    source, path = draw(folder / "in"), folder / "r.jsonl"
    undisturbed(lambda _: engine.detect(source, path, predictor()))
    if gated:
        with ReviewStore(path, SOLID) as store:
            for name in list(store.refresh())[::2]:
                store.decide(name, "approve", who="bench")
    undisturbed(partial(_export, path, folder / "earlier", EARLIER, False))
    undisturbed(partial(_export, path, folder / "reference", SOLID, gated))
    earlier, expected = tree(folder / "earlier"), tree(folder / "reference")
    for i in range(tries):
        out = folder / f"out{i}"
        shutil.copytree(folder / "earlier", out)
        look = looker(outcome, out, earlier, expected)
        outcome.interrupted += kill_somewhere(partial(_export, path, out, SOLID, gated), PHOTOS, chance, look)
        undisturbed(partial(_export, path, out, SOLID, gated))
        compare(outcome, out, expected, f"export {i}")
        shutil.rmtree(out)


def try_disk(outcome: Outcome, folder: Path, tries: int, chance: random.Random) -> None:
    source, reference = draw(folder / "in"), folder / "reference"
    undisturbed(partial(_run, source, reference))
    expected = tree(reference)
    largest = max(map(len, tree(reference, own=True).values()))
    for i in range(tries):
        out, limit = folder / f"out{i}", chance.randrange(100, largest)

        def limited(counter: Counter, out: Path = out, limit: int = limit) -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            summary = engine.run(source, out, predictor(), progress=counter.up)
            assert summary.ok, f"as it should, at {limit} bytes: {next(iter(summary.failures.values()))}"

        with contextlib.redirect_stderr(io.StringIO()):
            outcome.interrupted += not ended(fork(partial(limited, Counter())))
        looker(outcome, out, expected)()
        undisturbed(partial(_run, source, out))
        compare(outcome, out, expected, f"disk {i}")
        shutil.rmtree(out)


# --- the server ---


def serve(parent: Path, port: int) -> None:
    """The server on stub detectors; a batch starts by itself once all its photos are there."""
    from anonymize.web import serving
    from anonymize.web.application import assemble
    from anonymize.web.data_folder import data_folder
    from anonymize.web.detector_pool import DetectorPool
    from anonymize.web.job_queue import JobQueue
    from anonymize.web.jobs import Job
    from anonymize.web.policy import Policy

    policy = Policy(defaults=SOLID)
    pool = DetectorPool(policy.defaults, detectors=[FakeDetector(FOUND)])
    with data_folder(parent) as data:
        guard = assemble(policy, pool, data, warm_up=False)
        jobs = JobQueue(pool)

        def start() -> None:
            while True:
                for session in list(guard.sessions._by_key.values()):
                    for job in session.of_kind(Job):
                        if job.state == "empty" and job.count == PHOTOS:
                            jobs.start(job, policy.defaults)
                time.sleep(0.01)

        threading.Thread(target=start, daemon=True).start()
        serving.serve(guard, "127.0.0.1", port)


class Visitor:
    """A browser that brings one batch."""

    def __init__(self, port: int) -> None:
        self._port, self._cookie, self.sent = port, "", 0

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)) as connection:
            connection.request(method, path, body, {"Cookie": self._cookie} if self._cookie else {})
            answer = connection.getresponse()
            if cookie := answer.getheader("set-cookie"):
                self._cookie = cookie.split(";")[0]
            return answer.status, answer.read()

    def upload(self, source: Path) -> str:
        batch = str(json.loads(self.ask("POST", "/batches")[1])["id"])
        for name, data in tree(source).items():
            status, said = self.ask("POST", f"/batches/{batch}/files?name={name}", data)
            assert status == 200, said
            self.sent += 1
        return batch

    def download(self, batch: str) -> dict[str, bytes]:
        while (answer := self.ask("GET", f"/batches/{batch}/clean.zip"))[0] != 200:
            time.sleep(0.02)
        archive = zipfile.ZipFile(io.BytesIO(answer[1]))
        return {n.removeprefix("photos/"): archive.read(n) for n in archive.namelist() if n.startswith("photos/")}


@contextlib.contextmanager
def server(parent: Path) -> Iterator[tuple[int, int]]:
    """A started server's process id and port; killed at the end, if it is still there."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    pid = fork(partial(serve, parent, port))
    try:
        while True:
            with contextlib.suppress(OSError), contextlib.closing(socket.create_connection(("127.0.0.1", port), 1)):
                break
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                raise RuntimeError("the server did not start")
            time.sleep(0.02)
        yield pid, port
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def try_server(outcome: Outcome, folder: Path, tries: int, chance: random.Random, in_batch: bool = False) -> None:
    """Killed while photos come in, or while they are worked on; the next server starts clean and does it all again."""
    from anonymize.web import application  # noqa: F401 - once, before the forks

    source, reference, data = draw(folder / "in"), folder / "reference", folder / "data"
    undisturbed(partial(_run, source, reference))
    expected, originals = tree(reference), set(tree(source).values())
    for i in range(tries + 1):
        with server(data) as (pid, port):
            if left := [n for n, found in tree(data, own=True).items() if found in originals]:
                outcome.leaked.append(f"{outcome.kind} {i}: after the next start {left[0]}")
            visitor = Visitor(port)
            found = visitor.download(visitor.upload(source))
            outcome.lost += [f"{i}: {n}" for n, clean in expected.items() if found.get(n) != clean]
            outcome.doubled += [f"{i}: {n}" for n in found if n not in expected]
            visitor.ask("POST", "/visit/forget")
            if i < tries:
                outcome.interrupted += _kill_server(pid, port, source, data, chance, in_batch)
                look = [p for p in data.glob("*/sessions/*/*/out") if p.is_dir()]
                for out in look:
                    looker(outcome, out, expected)()


def _kill_server(pid: int, port: int, source: Path, data: Path, chance: random.Random, in_batch: bool) -> bool:
    visitor, target, started = Visitor(port), chance.randrange(PHOTOS), time.monotonic()

    def come() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):  # it is killed meanwhile
            visitor.upload(source)

    thread = threading.Thread(target=come)
    thread.start()

    def written() -> int:
        return sum(p.suffix in PHOTO and p.parent.name != "in" for p in data.glob("*/sessions/*/*/out/**/*"))

    while (written() if in_batch else visitor.sent) < target:
        time.sleep(0.001)
    time.sleep(chance.uniform(0, (time.monotonic() - started) / (target + 1)))
    is_over = written() == PHOTOS
    os.kill(pid, signal.SIGKILL)
    thread.join()
    return not is_over


KINDS: dict[str, Callable[[Outcome, Path, int, random.Random], None]] = {
    "run": try_run,
    "export": try_export,
    "review": partial(try_export, gated=True),
    "upload": try_server,
    "batch": partial(try_server, in_batch=True),
    "disk": try_disk,
}


def campaign(kind: str, tries: int, seed: int = 0) -> Outcome:
    """So many tries of one kind, in a temporary folder."""
    outcome = Outcome(kind, tries)
    with tempfile.TemporaryDirectory() as folder:
        KINDS[kind](outcome, Path(folder), tries, random.Random(f"{kind} {seed}"))
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="of each kind [20]")
    parser.add_argument("--only", default=",".join(KINDS), help=f"kinds, of {','.join(KINDS)} [all]")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(f"{'kind':8} {'kills':>6} {'interrupted':>12} {'lost':>5} {'leaked':>7} {'doubled':>8}", flush=True)
    outcomes = []
    for kind in given.only.split(","):
        outcomes.append(campaign(kind, given.kills, given.seed))
        print(outcomes[-1], flush=True)
    sys.exit(not all(o.ok for o in outcomes))


if __name__ == "__main__":
    main()
