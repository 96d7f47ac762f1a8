"""Kills of `video` at random frames of both passes, for bench/faults.py.

Besides what is counted there: frames. A run that goes on after a kill writes the very bytes that one without a kill
writes, and at no moment there is anything else under the clip's name.
"""

from __future__ import annotations

import random
import shutil
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from anonymize.detectors import FakeDetector
from anonymize.predictor import Predictor
from anonymize.regions import Region
from anonymize.settings import Settings
from anonymize.video import batch, passes
from anonymize.video.writer import Encoding
from bench.kills import Counter, Outcome, compare, ended, fork, kill_somewhere, looker, tree

FRAMES, SEGMENT = 40, 8
SOLID = Settings().with_kind("plate", effect="solid", fill="ff00ff")


def draw(path: Path) -> None:
    """A clip of noise."""
    import av

    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for i in range(FRAMES):
            noise = rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(noise, "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def _video(source: Path, out: Path, counter: Counter) -> None:
    passes.FRAMES_A_SEGMENT = SEGMENT  # a clip of few frames has several
    predictor = Predictor(SOLID, detectors=[FakeDetector([Region("plate", (20, 20, 60, 40), 0.9)])])
    lossless = Encoding("ffv1")  # x264 does not always write the same to the byte
    assert batch.run(source, out, predictor, encoding=lossless, every=1, progress=counter.up).ok


def try_video(outcome: Outcome, folder: Path, tries: int, chance: random.Random) -> None:
    source, reference = folder / "a.mp4", folder / "reference"
    for work in (partial(draw, source), partial(_video, source, reference, Counter())):
        if not ended(fork(work)):  # never in this process, which forks: encoders start threads
            raise RuntimeError("a run without any kill failed")
    expected = tree(reference)
    for i in range(tries):
        out = folder / f"out{i}"
        look = looker(outcome, out, expected)
        outcome.interrupted += kill_somewhere(partial(_video, source, out), 2 * FRAMES, chance, look)
        if not ended(fork(partial(_video, source, out, Counter()))):
            raise RuntimeError("the run after a kill failed")
        compare(outcome, out, expected, f"video {i}")
        shutil.rmtree(out)
