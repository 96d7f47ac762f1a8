"""A server that ends while its detectors are loaded: the one at hand is loaded, and no other one."""

from __future__ import annotations

import subprocess
import sys

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
    result = subprocess.run([sys.executable, "-c", STOPPED], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (0, "loaded\n"), result.stderr
