"""API clients for minutes: python -m bench.load [--clients 20] [--minutes 10] [--preset balanced]

The real server in a process of its own; each client posts one photo after the other to /api/v1/anonymize. It exits with
1 unless no answer is a 5xx, the 99th percentile of the times is at most 3 times the median, and the server's memory at
the end is within 5 % of what it was after a fifth of the time (of 10 minutes, after minute 2).
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import psutil
from PIL import Image

from anonymize.settings import PRESETS
from bench.screenshots import photos

SERVER = """
import sys
from pathlib import Path
from anonymize.settings import Settings
from anonymize.web import serving
from anonymize.web.application import assemble
from anonymize.web.detector_pool import DetectorPool
from anonymize.web.policy import Policy
policy = Policy(defaults=Settings().with_preset(sys.argv[1]))
serving.serve(assemble(policy, DetectorPool(policy.defaults), Path(sys.argv[2])), "127.0.0.1", int(sys.argv[3]))
"""
LEVEL, TAIL = 0.05, 3.0  # what memory and the 99th percentile may grow to


def bodies(side: int) -> list[bytes]:
    """A few photos, of two formats."""
    found = []
    for i, path in enumerate(photos()[:2] * 2):
        out = io.BytesIO()
        with Image.open(path) as picture:
            small = picture.convert("RGB")
            small.thumbnail((side, side))
            small.rotate(i).save(out, ("JPEG", "PNG")[i // 2])
        found.append(out.getvalue())
    return found


class Load:
    """So many clients at one server, until they are told to stop."""

    def __init__(self, address: str, clients: int, sent: list[bytes]) -> None:
        self.address, self.sent = address, sent
        self.seconds: list[float] = []
        self.statuses: collections.Counter[int | str] = collections.Counter()
        self.stop, self._guard = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._client, args=(n,)) for n in range(clients)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join()

    def _client(self, number: int) -> None:
        with httpx.Client(base_url=self.address, timeout=600, headers={"Accept": "image/*"}) as client:
            while not self.stop.is_set():
                body = self.sent[number % len(self.sent)]
                number += 1
                started = time.perf_counter()
                status: int | str
                try:
                    status = client.post("/api/v1/anonymize", files={"image": ("street.jpg", body)}).status_code
                except httpx.HTTPError as e:
                    status = type(e).__name__
                with self._guard:
                    self.statuses[status] += 1
                    if status == 200:
                        self.seconds.append(time.perf_counter() - started)


@contextlib.contextmanager
def server(preset: str) -> Iterator[tuple[psutil.Process, str]]:
    """The real server, ready; its process and address."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, "-c", SERVER, preset, data, str(port)]
        process = subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=subprocess.DEVNULL)
        try:
            address = f"http://127.0.0.1:{port}"
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if httpx.get(f"{address}/healthz").json()["status"] == "ok":
                        break
                if process.poll() is not None:
                    raise SystemExit("the server did not start")
                time.sleep(0.2)
            yield psutil.Process(process.pid), address
        finally:
            process.terminate()
            process.wait(30)


def main(clients: int, minutes: float, preset: str, side: int) -> bool:
    with server(preset) as (process, address):
        load = Load(address, clients, bodies(side))
        memory: list[float] = []
        load.start()
        started = time.monotonic()
        while (passed := time.monotonic() - started) < 60 * minutes:
            memory.append(process.memory_info().rss / 1e6)
            if len(memory) % 60 == 0:
                print(f"{passed / 60:5.1f} min  {memory[-1]:7.0f} MB  {len(load.seconds)} photos", flush=True)
            time.sleep(1)
        load.end()
    window = max(len(memory) // 20, 3)
    fifth = len(memory) // 5
    early, late = (statistics.median(m) for m in (memory[fifth : fifth + window], memory[-window:]))
    median, last = np.percentile(load.seconds, (50, 99)) if load.seconds else (0.0, 0.0)
    failed = {s: n for s, n in load.statuses.items() if s != 200}
    print(f"{clients} clients, {minutes:g} min, {preset}: {len(load.seconds)} photos, others: {failed or 'none'}")
    print(f"time: median {median:.2f} s, 99 % {last:.2f} s ({last / max(median, 1e-9):.2f} times)")
    print(
        f"memory: {early:.0f} MB after a fifth, {late:.0f} at the end ({late / early - 1:+.1%}), most {max(memory):.0f}"
    )
    return bool(load.seconds) and not failed and last <= TAIL * median and abs(late / early - 1) <= LEVEL


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--preset", choices=PRESETS, default="balanced")
    parser.add_argument("--side", type=int, default=1280, help="long side of the photos, px")
    given = parser.parse_args()
    sys.exit(not main(given.clients, given.minutes, given.preset, given.side))
