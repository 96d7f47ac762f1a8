"""Server time from a moved slider to the new preview: python -m bench.web_slider [MOVES]

A 12-megapixel photo with 30 regions. Each move goes through the same calls as one on the page: the handler that
filters, renders and makes the page's values, and the request for the picture. Prints median, p95 and worst; no network,
no browser.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from anonymize.detectors import FakeDetector
from anonymize.regions import Region
from anonymize.settings import Settings
from anonymize.web.detector_pool import DetectorPool
from anonymize.web.photo_view import rows, summary, view
from anonymize.web.policy import Policy
from anonymize.web.sessions import Sessions, new_secret

SIZE, COUNT = (4000, 3000), 30


def regions() -> list[Region]:
    """Faces of 40 to 400 px and plates of 60 to 500 px, scores spread over the whole slider."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(COUNT):
        kind, w = ("face", rng.uniform(40, 400)) if i % 2 else ("plate", rng.uniform(60, 500))
        h = w * (1.3 if kind == "face" else 0.25)
        x, y = rng.uniform(0, SIZE[0] - w), rng.uniform(0, SIZE[1] - h)
        found.append(Region(kind, (x, y, x + w, y + h), float(rng.uniform(0.02, 1)), {"fake": 0.5}))
    return found


def main(moves: int) -> None:
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        session = Sessions(Path(folder) / "sessions", Policy()).of(new_secret())
        path = session.make_folder() / "photo.jpg"
        smooth = Image.fromarray(rng.integers(0, 256, (SIZE[1] // 40, SIZE[0] // 40, 3), dtype=np.uint8))
        smooth.resize(SIZE, Image.Resampling.BICUBIC).save(path, quality=92)
        started = time.perf_counter()
        photo = DetectorPool(detectors=[FakeDetector(regions())]).open(session, path, "photo.jpg", Settings(), "me")
        print(f"opened in {time.perf_counter() - started:.2f} s (without detectors)")
        spent = []
        for i in range(moves):
            kind = ("face", "plate")[i % 2]
            settings = Settings().with_kind(kind, threshold=float(10 ** rng.uniform(-3, 0)))
            if i % 5 == 4:  # now and then another control: everything is rendered anew
                settings = settings.with_kind("face", padding=float(rng.uniform(0, 0.5)))
            started = time.perf_counter()
            photo.show(settings)
            view(photo), summary(photo), rows(photo)
            photo.show(photo.settings)  # the request for after.jpg
            spent.append(1000 * (time.perf_counter() - started))
        median, p95 = np.percentile(spent, [50, 95])
        print(f"{moves} moves: median {median:.0f} ms, p95 {p95:.0f} ms, worst {max(spent):.0f} ms")
        started = time.perf_counter()
        photo.write()
        print(f"full-size file written in {time.perf_counter() - started:.2f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
