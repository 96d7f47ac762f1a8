"""Drawn photos under review, and the whole app that shows them, without any detector.

`python -m tests.support.review_site PORT FOLDER [USER ...]` serves FOLDER/records.jsonl to all: on one's own machine,
or with a login for each USER, whose password is `password-USER`; `--space` as a USER: as a Hugging Face Space.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import app
from anonymize import images, records
from anonymize.detectors import FakeDetector
from anonymize.records import Header, Record
from anonymize.regions import Region
from anonymize.settings import Settings
from anonymize.web.application import assemble
from anonymize.web.detector_pool import DetectorPool
from anonymize.web.policy import Policy, for_public
from anonymize.web.serving import serve
from tests.support.passwords import team

ROOT = Path(__file__).parents[2]
SETTINGS = Settings().with_kind("face", threshold=0.5).with_kind("plate", threshold=0.25)
FACE = (300.0, 140.0, 400.0, 270.0)
MISSED = (500.0, 400.0, 620.0, 440.0)


def make(folder: Path, count: int = 4, size: tuple[int, int] = (960, 640)) -> Path:
    """Photos 00.jpg to ..., in each a face that is hidden and a plate that may have been missed; their records.

    The plates' scores fall, so the photos come in the order of their names.
    """
    (folder / "in").mkdir(parents=True, exist_ok=True)
    known = []
    for n in range(count):
        path = folder / "in" / f"{n:02}.jpg"
        ground = np.random.default_rng(n).integers(90, 160, (size[1] // 40, size[0] // 40, 3), dtype=np.uint8)
        picture = Image.fromarray(ground).resize(size, Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(picture)
        draw.ellipse(FACE, fill=(230, 190, 160))
        draw.rectangle(MISSED, fill="white")
        draw.text((520, 405), f"PL {n:03}", fill="black", font_size=28)
        picture.save(path, quality=90)
        face = Region("face", FACE, 0.97, {"one": 0.97})
        plate = Region("plate", MISSED, 0.24 - 0.001 * n, {"two": 0.24 - 0.001 * n})
        known.append(Record(f"{n:02}.jpg", images.sha256(path), *size, (face, plate), detectors={"one": {}, "two": {}}))
    records.write(folder / "records.jsonl", Header(str(folder / "in"), SETTINGS), known)
    return folder / "records.jsonl"


@contextlib.contextmanager
def served(folder: Path, *users: str) -> Iterator[str]:
    """The app's address."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [sys.executable, "-m", "tests.support.review_site", str(port), str(folder), *users]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        until = time.monotonic() + 240
        while True:
            assert process.poll() is None, "the server ended"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert time.monotonic() < until, "the server did not start"
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def main(port: int, folder: Path, users: list[str]) -> None:
    if users == ["--space"]:
        rules = for_public("127.0.0.1", space=True)
    else:
        rules = Policy(users=team(**{name: f"password-{name}" for name in users}))
    pool = DetectorPool(rules.defaults, detectors=[FakeDetector([])])
    parts = app.review_parts(rules, [folder / "records.jsonl"])
    serve(assemble(rules, pool, folder / "data", warm_up=False, **parts), "127.0.0.1", port)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
