"""What all tests share: photos from installed packages, drawn photos, and a clean environment."""

from __future__ import annotations

import gc
import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from anonymize import telemetry

telemetry.disable()
settings.register_profile("default", deadline=None)  # a busy machine is no failure
settings.load_profile("default")


def package_file(package: str, *parts: str) -> Path:
    """A file of an installed package, without importing the package."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent.joinpath(*parts)


@pytest.fixture(scope="module", autouse=True)
def frozen() -> None:
    """What is there before a file's tests is no longer looked through for garbage: there are a million objects of
    imported packages, which take half a second each time, and clips have it done several times."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def as_they_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing tells how photos lie: noise lies in no way, and a FakeDetector sees the same in all turns."""
    monkeypatch.setattr("anonymize.predictor.load_upright", lambda *_, **__: None)


@pytest.fixture(scope="session")
def bus() -> Path:
    """A street with four people and a bus, 810 × 1080 (ultralytics)."""
    return package_file("ultralytics", "assets", "bus.jpg")


@pytest.fixture(scope="session")
def zidane() -> Path:
    """Two men, large faces, 1280 × 720 (ultralytics)."""
    return package_file("ultralytics", "assets", "zidane.jpg")


def draw(width: int = 64, height: int = 48, seed: int = 0) -> np.ndarray:
    """A smooth, colorful RGB picture that a codec keeps well: uint8 (H, W, 3)."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    waves = [np.sin(x / (7 + seed) + k) + np.cos(y / (5 + k) + seed) for k in range(3)]
    return np.stack([(w + 2) / 4 * 255 for w in waves], axis=2).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """in/1.jpg, in/1.png, in/a/1.jpg, in/b/1.jpg and in/notes.txt."""
    root = tmp_path / "in"
    for i, name in enumerate(("1.jpg", "1.png", "a/1.jpg", "b/1.jpg")):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw(seed=i)).save(path, quality=95)
    (root / "notes.txt").write_text("not a photo")
    return root


@pytest.fixture(scope="session")
def fiftyone_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of the tests' own for FiftyOne, which reads this when it is first imported."""
    home = tmp_path_factory.mktemp("fiftyone")
    os.environ["FIFTYONE_DATABASE_DIR"] = str(home / "db")
    os.environ["FIFTYONE_DATABASE_VALIDATION"] = "false"
    os.environ["FIFTYONE_CONFIG_PATH"] = str(home / "config.json")
    os.environ["FIFTYONE_DATASET_ZOO_DIR"] = os.environ["FIFTYONE_DEFAULT_DATASET_DIR"] = str(home / "data")
    return home
