"""The network of faces and plates that this project trained: its file is the registry's, and it sees both kinds."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from anonymize import weights
from anonymize.detectors import create
from anonymize.predictor import Predictor
from anonymize.regions import boxes, iou
from anonymize.settings import PRESETS, Settings
from anonymize.weights import registry

MODELS = registry.registry_path().parent
FACES = np.array([(920.0, 125, 1060, 290), (465, 265, 625, 440)])  # roughly, of ultralytics' zidane.jpg


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    from tests.conftest import package_file

    return np.asarray(Image.open(package_file("ultralytics", "assets", "zidane.jpg")).convert("RGB"))


def test_the_file_is_that_of_the_registry_and_of_the_card():
    entry = registry.model("street")
    path = weights.verify("street")
    assert path == MODELS / "street.onnx"
    assert path.stat().st_size < 7e6
    assert entry.tasks == ("face", "plate")
    assert set(entry.calibration) == {"face", "plate"}
    assert entry.sha256 in (MODELS / "street.md").read_text("utf-8")


def test_it_finds_faces_and_takes_nothing_there_for_a_plate(photo: np.ndarray):
    found = [r for r in create("street@640", Settings()).detect([photo])[0] if r.score >= 0.5]
    assert {r.kind for r in found} == {"face"}
    assert iou(FACES, boxes(found)).max(axis=1).min() > 0.5


def test_the_default_looks_at_a_whole_photo_with_each_network_once_or_at_sizes_far_apart():
    (detector,) = Predictor("balanced").detectors
    sides: dict[str, list[int]] = {}
    for name in PRESETS["balanced"].face_detector.removeprefix("in-context:").split("+"):
        network, _, size = name.partition("@")
        sides.setdefault(network, []).append(int(size.partition("-")[0]))
    assert all(large >= 4 * small for some in sides.values() for small, large in pairwise(sorted(some)))
    assert detector.name == PRESETS["balanced"].plate_detector
