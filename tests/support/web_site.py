"""What the web app's tests share: photos drawn by code, and the whole server on a FakeDetector, behind its guard."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image
from starlette.testclient import TestClient

from anonymize.detectors import FakeDetector
from anonymize.regions import Region
from anonymize.web.application import assemble
from anonymize.web.detector_pool import DetectorPool
from anonymize.web.policy import Policy

FACE = Region("face", (40, 30, 80, 80), 0.9, {"fake": 0.9})
DOUBTFUL = Region("face", (120, 20, 138, 44), 0.19, {"fake": 0.19})
PLATE = Region("plate", (60, 110, 120, 130), 0.6, {"fake": 0.6})


class FindsSigns(FakeDetector):
    """Finds a kind that nothing hides, too, and says so."""

    kinds = frozenset({"face", "plate", "sign"})

    def __init__(self) -> None:
        super().__init__([FACE, PLATE, Region("sign", (150, 10, 170, 30), 0.8)])


def several_pictures(path: Path) -> Path:
    """A TIFF of two pages, of which only the first is written."""
    scan = Image.new("RGB", (200, 150), "gray")
    scan.save(path, save_all=True, append_images=[scan.resize((40, 30))])
    return path


def photo(path: Path, seed: int = 0, size: tuple[int, int] = (200, 150), gps: bool = False, **options: Any) -> Path:
    """Noise, so that a hidden region cannot look like its source by chance."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1] // 5, size[0] // 5, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    if gps:
        exif = Image.Exif()
        exif[ExifTags.Base.Make] = "Spy Camera"
        exif[ExifTags.IFD.GPSInfo] = {1: "N", 2: (52.0, 30.0, 0.0)}
        options["exif"] = exif
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)
    return path


def visitor(data: Path, policy: Policy | None = None, detectors: Any = None, **options: Any) -> TestClient:
    """A browser at the server. Use it as a context manager: the server starts and stops."""
    policy = policy or Policy()
    found = [FakeDetector([FACE, DOUBTFUL, PLATE])] if detectors is None else detectors
    guard = assemble(policy, DetectorPool(policy.defaults, detectors=found), data, **options)
    return TestClient(guard, base_url="http://localhost", follow_redirects=False)


def another(client: TestClient) -> TestClient:
    """Another visitor of the same running server: no cookies in common."""
    return TestClient(client.app, base_url=str(client.base_url), follow_redirects=False)


def wait_for(condition: Any, seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)
