"""How soon a fresh start answers, and the first result beside the command line: python -m bench.web_first [ROUNDS]

Needs Debian's chromium, and the default weights on this machine (`python -m anonymize models fetch`). Prints:

1. From starting `python app.py`: seconds until /healthz and the page answer, and until the detectors are loaded.
2. For a 12-megapixel photo (ultralytics' two photos as 4 × 3 tiles of 1,000 px, JPEG), best and median of ROUNDS (3),
   taking turns:
   page: in a real browser, a warm server, from choosing the file to the finished preview drawn on the page;
   api: the same server, POST /api/v1/anonymize, the clean full-size photo in the answer;
   command: `python -m anonymize run`, the whole command, its start and the loading of its detectors INCLUDED;
   work: the same run by an engine that is loaded already, the command's start EXCLUDED.
   Each `run` writes the photo alone, into a new folder. A page opens another profile each time; nothing is cached.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from statistics import median

from PIL import Image
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parent))

from screenshots import CHROMIUM, FLAGS, ROOT, photos, server

from anonymize.engine import run
from anonymize.predictor import Predictor

TILE = 1000  # px


def large_photo(path: Path) -> Path:
    tiles = [Image.open(p).convert("RGB").resize((TILE, TILE)) for p in photos()]
    picture = Image.new("RGB", (4 * TILE, 3 * TILE))
    for i in range(12):
        picture.paste(tiles[i % len(tiles)], (i % 4 * TILE, i // 4 * TILE))
    picture.save(path, quality=92)
    return path


def seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def until(condition: Callable[[], bool], started: float, limit: float) -> float:
    """Seconds since `started` (time.perf_counter) when the condition came true."""
    while not condition():
        if time.perf_counter() - started > limit:
            raise TimeoutError(f"not within {limit:g} s")
        time.sleep(0.05)
    return time.perf_counter() - started


def is_ok(address: str) -> bool:
    health = json.load(urllib.request.urlopen(f"{address}/healthz", timeout=5))
    if health["status"] == "failing":
        raise RuntimeError("the detectors could not be loaded")
    return bool(health["status"] == "ok")


def post(address: str, photo: Path) -> None:
    edge = uuid.uuid4().hex
    head = f'--{edge}\r\nContent-Disposition: form-data; name="image"; filename="photo.jpg"\r\n\r\n'
    body = head.encode() + photo.read_bytes() + f"\r\n--{edge}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={edge}", "Accept": "image/*"}
    answer = urllib.request.urlopen(urllib.request.Request(f"{address}/api/v1/anonymize", body, headers), timeout=300)
    assert Image.open(answer).size == (4 * TILE, 3 * TILE)


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as driver:
        folder = Path(temporary)
        photo = large_photo(folder / "photo.jpg")
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        predictor = Predictor()
        spent: dict[str, list[float]] = {"page": [], "api": [], "command": [], "work": []}

        def on_the_page() -> float:
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            page = context.new_page()
            page.goto(address)
            page.wait_for_selector(".az-drop-title")
            page.wait_for_timeout(1000)  # the page itself is not what is measured
            started = time.perf_counter()
            page.set_input_files("#az-photo .az-drop input[type=file]", str(photo))
            drawn = "(i => i && i.complete && i.naturalWidth)(document.querySelector('.az-after'))"
            page.wait_for_function(drawn, timeout=300_000)
            spent_here = time.perf_counter() - started
            context.close()
            return spent_here

        def command() -> None:
            out = folder / uuid.uuid4().hex
            run = [sys.executable, "-m", "anonymize", "run", str(photo), str(out)]
            subprocess.run(run, cwd=ROOT, check=True, capture_output=True)

        def work() -> None:
            summary = run(photo, folder / uuid.uuid4().hex, predictor)
            assert summary.ok, summary.failures

        started = time.perf_counter()
        with server() as address:
            print(f"fresh start: /healthz answers in {time.perf_counter() - started:.1f} s", flush=True)
            urllib.request.urlopen(address, timeout=30).read()
            print(f"fresh start: the page answers in {time.perf_counter() - started:.1f} s (at most 10)", flush=True)
            print(f"fresh start: detectors loaded in {until(lambda: is_ok(address), started, 300):.1f} s", flush=True)
            work()  # loads the detectors
            for _ in range(rounds):
                spent["page"].append(on_the_page())
                spent["api"].append(seconds(lambda: post(address, photo)))
                spent["command"].append(seconds(command))
                spent["work"].append(seconds(work))
        browser.close()
    for name, each in spent.items():
        each_ = ", ".join(f"{s:.2f}" for s in each)
        print(f"{name:8} best {min(each):5.2f} s   median {median(each):5.2f} s   all {each_}")
    for name in ("page", "api"):
        for what, of in (("best", min), ("median", median)):
            included, excluded = (of(spent[name]) / of(spent[other]) for other in ("command", "work"))
            print(f"{name} / command line, {what}: {included:.2f} with its start, {excluded:.2f} without (at most 1.2)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
