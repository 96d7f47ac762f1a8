"""Kills at random moments, and disks that fill up: python -m bench.faults [--kills 20] [--only run,batch]

`run`, `export`, the review's export, `video`, an upload and a batch on the server are each killed (SIGKILL) so many
times; `disk` gives a run a random limit of bytes a file. Detectors are stubs, photos are small: what is tried is what
lies on the disk. Counted are, and each has to be 0:

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
from functools import partial
from pathlib import Path

from anonymize import engine
from anonymize.corrections import gate
from anonymize.detectors import FakeDetector
from anonymize.predictor import Predictor
from anonymize.regions import Region
from anonymize.settings import Settings
from bench import video_kills
from bench.kills import OWN, PHOTO, PHOTOS, Counter, Outcome, compare, draw, ended, fork, kill_somewhere, looker, tree
from review.store import ReviewStore

SOLID = Settings(jobs=2).with_kind("face", effect="solid", fill="ff00ff").with_kind("plate", effect="solid")
EARLIER = SOLID.with_kind("face", fill="00ff00")  # what an export finds in its output
FOUND = [Region("face", (10, 10, 40, 40), 0.9), Region("plate", (50, 40, 80, 55), 0.9)]


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
        store = ReviewStore(path, SOLID)
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
        """All that a batch gives: its clean photos, and beside them what was found in each."""
        while (answer := self.ask("GET", f"/batches/{batch}/clean.zip"))[0] != 200:
            time.sleep(0.02)
        photos = _unpacked(answer[1])
        known = _unpacked(self.ask("GET", f"/batches/{batch}/records.zip")[1])
        assert not photos.keys() & known.keys()
        return {n: data for n, data in (photos | known).items() if n not in OWN}


def _unpacked(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {n: opened.read(n) for n in opened.namelist()}


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
    "video": video_kills.try_video,
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
