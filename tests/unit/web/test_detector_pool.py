from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from anonymize.detectors import FakeDetector, openvino_runtime, runtime
from anonymize.predictor import Predictor
from anonymize.regions import Region
from anonymize.settings import Settings
from anonymize.web import detector_pool
from anonymize.web.detector_pool import Gated
from tests.support.tiny_network import batch, network

STOPPED = """
import threading, time
from anonymize.detectors import FakeDetector
from anonymize.settings import Settings
from anonymize.web import detector_pool

begun = threading.Event()

def create(name, *_, **__):
    begun.set()
    time.sleep(0.5)  # OpenVINO compiles
    print("loaded", flush=True)
    return FakeDetector()

detector_pool.create = create
pool = detector_pool.DetectorPool(Settings(face_detector="one", plate_detector="two"))
pool.start()
begun.wait()
"""


def test_a_process_ends_once_the_detector_at_hand_is_loaded() -> None:
    """A server that ends while its detectors are loaded: the one at hand is loaded, and no other one."""
    result = subprocess.run([sys.executable, "-c", STOPPED], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (0, "loaded\n"), result.stderr


def test_a_class_of_ones_own_is_never_called_by_two_visitors_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody said that it is made for that; the detectors beside it may search two photos."""
    inside, most, second = [], [0], threading.Event()

    class Own(FakeDetector):
        def detect(self, images: Sequence[np.ndarray]) -> list[list[Region]]:
            inside.append(self)
            most[0] = max(most[0], len(inside))
            if most[0] > 1:
                second.set()
            second.wait(0.5)
            inside.pop()
            return super().detect(images)

    monkeypatch.setenv("ANONYMIZE_THREADS", "2")
    monkeypatch.setattr(detector_pool, "create", lambda name, *_, **__: Own() if ":" in name else FakeDetector())
    monkeypatch.setattr(detector_pool.upright, "load", lambda *_, **__: None)
    ready = detector_pool.DetectorPool().predictor(Settings(face_detector="plates@64", plate_detector="own:Class"))
    assert ready.at_once == 2
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(ready.predict, [[np.zeros((8, 8, 3), np.uint8)]] * 2))
    assert most == [1]


def test_a_detector_searches_as_many_photos_side_by_side_as_it_may() -> None:
    """Two meet inside; what begins while another one is searched gets its share of the cores."""
    meeting, shares = threading.Barrier(2, timeout=60), []

    class Meeting:
        name, weights = "meeting", {}

        def detect(self, images: Sequence[np.ndarray]) -> list[list[Region]]:
            shares.append(openvino_runtime._side_by_side)
            meeting.wait()
            return [[]]

    gated = Gated(Meeting(), 60, at_once=2)
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(gated.detect, [[np.zeros((8, 8, 3), np.uint8)]] * 2)) == [[[]], [[]]]
    assert max(shares) == 1
    assert openvino_runtime._side_by_side == 0


@pytest.mark.parametrize("max_seconds", [0.0, 60.0])
def test_a_network_behind_the_gate_knows_that_the_photo_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_seconds: float
) -> None:
    """The time limit calls it in another thread."""
    net = runtime.open_network(network(tmp_path / "n.onnx"), "cpu")

    class Asks(FakeDetector):
        def detect(self, images: Sequence[np.ndarray]) -> list[list[Region]]:
            net(batch(64, 64))
            return super().detect(images)

    settings = Settings(max_seconds=max_seconds)
    predictor = Predictor(settings, detectors=[Gated(Asks(), max_seconds, at_once=2)])
    monkeypatch.setattr(openvino_runtime, "LARGE_PHOTO", 100 * 100)
    with openvino_runtime.side_by_side():
        predictor.predict([np.zeros((101, 100, 3), np.uint8)])
        assert net._shared.requests is None  # type: ignore[attr-defined]
        predictor.predict([np.zeros((100, 100, 3), np.uint8)])
        assert net._shared.requests is not None, "only of a large one"  # type: ignore[attr-defined]


def test_freed_memory_goes_back_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a server keeps what glibc pools of photos of all sizes."""
    given_back: list[int] = []
    monkeypatch.setattr(detector_pool, "give_back_memory", lambda: given_back.append(1))
    gated = Gated(FakeDetector(), 0.0)
    for n in range(2 * detector_pool.GIVE_BACK):
        gated.detect([np.zeros((8, 8, 3), np.uint8)])
        assert len(given_back) == (n + 1) // detector_pool.GIVE_BACK
