"""Ten visitors at once, each with a batch of 20 photos: python -m bench.web_visitors

The real server with a preset's detectors (`--preset`, balanced), in this process, over HTTP. Shows that all finish,
that nobody can fetch what is another's, and what memory it takes: before, at most, and after the visitors have left;
with `--rounds` after each of several such crowds, so that what grows for ever differs from what has its level.
"""

from __future__ import annotations

import argparse
import gc
import io
import socket
import tempfile
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import uvicorn
from PIL import Image

from anonymize.settings import PRESETS, Settings
from anonymize.web.application import assemble
from anonymize.web.detector_pool import DetectorPool
from anonymize.web.job_queue import JobQueue
from anonymize.web.jobs import Job
from anonymize.web.policy import Policy
from anonymize.web.sessions import COOKIE
from bench.screenshots import photos


def megabytes() -> float:
    gc.collect()
    return float(psutil.Process().memory_info().rss / 1e6)


def variations(count: int) -> list[bytes]:
    """Photos of 1,280 px, each another file."""
    found = []
    for i in range(count):
        out = io.BytesIO()
        with Image.open(photos()[i % 2]) as picture:
            picture.resize((1280, 960)).rotate(i % 7 - 3).save(out, "JPEG", quality=90)
        found.append(out.getvalue())
    return found


def main(visitors: int, count: int, preset: str, rounds: int) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    policy = Policy(defaults=Settings().with_preset(preset))
    pool = DetectorPool(policy.defaults)
    with tempfile.TemporaryDirectory() as folder:
        guard = assemble(policy, pool, Path(folder), warm_up=False)
        server = uvicorn.Server(uvicorn.Config(guard, port=port, log_level="warning"))
        threading.Thread(target=server.run, daemon=True).start()
        while not server.started:
            time.sleep(0.1)
        jobs = JobQueue(pool)
        files = variations(count)
        address = f"http://127.0.0.1:{port}"

        def visit(photos_of_mine: list[bytes]) -> tuple[httpx.Client, str, float]:
            client = httpx.Client(base_url=address, timeout=600)
            id = client.post("/batches").json()["id"]
            for i, photo in enumerate(photos_of_mine):
                client.post(f"/batches/{id}/files", params={"name": f"{i:02}.jpg"}, content=photo).raise_for_status()
            job: Job = guard.sessions.of(client.cookies[COOKIE]).get(Job, id)
            started = time.perf_counter()
            jobs.start(job, policy.defaults)
            while job.state in ("waiting", "running"):
                time.sleep(0.05)
            assert job.state == "done", (job.state, job.problem)
            names = zipfile.ZipFile(io.BytesIO(client.get(f"/batches/{id}/clean.zip").content)).namelist()
            assert sum(n.endswith(".jpg") for n in names) == len(photos_of_mine)
            return client, id, time.perf_counter() - started

        def leave(visits: list[tuple[httpx.Client, str, float]]) -> None:
            for client, _, _ in visits:
                client.post("/visit/forget")
                client.close()

        def crowd() -> None:
            before, most = megabytes(), [0.0]
            done = threading.Event()

            def watch() -> None:
                while not done.wait(0.1):
                    most[0] = max(most[0], psutil.Process().memory_info().rss / 1e6)

            threading.Thread(target=watch, daemon=True).start()
            started = time.perf_counter()
            with ThreadPoolExecutor(visitors) as pool:
                visits = list(pool.map(visit, [files] * visitors))
            took = time.perf_counter() - started
            done.set()
            print(
                f"{visitors} visitors x {count} photos: {took:.1f} s, {visitors * count / took:.1f} photos a second; ",
                end="",
            )
            print(f"first done after {min(v[2] for v in visits):.1f} s, last after {max(v[2] for v in visits):.1f} s")
            refused = 0
            for i, (client, _, _) in enumerate(visits):
                for j, (_, other, _) in enumerate(visits):
                    for path in ("thumb/0.jpg", "clean.zip"):
                        status = client.get(f"/batches/{other}/{path}").status_code
                        assert status == (200 if i == j else 404), (i, j, path, status)
                        refused += status == 404
            print(f"nobody could fetch what is another's ({refused} requests refused)")
            leave(visits)
            left = [p for p in (Path(folder) / "sessions").rglob("*") if p.is_file()]
            memory = f"before {before:.0f} MB, at most {most[0]:.0f}, after {megabytes():.0f}"
            print(f"files left: {len(left)}; memory: {memory}", flush=True)

        with ThreadPoolExecutor(visitors) as pool:  # the detectors are loaded, threads and allocator have their level
            leave(list(pool.map(visit, [files[:4]] * visitors)))
        for _ in range(rounds):
            crowd()
        server.should_exit = True
        guard.stop()
        time.sleep(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visitors", type=int, default=10)
    parser.add_argument("--photos", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--preset", choices=PRESETS, default="balanced")
    given = parser.parse_args()
    main(given.visitors, given.photos, given.preset, given.rounds)
