"""The plate model that this project trained: its files are the registry's, and every runtime says the same as torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anonymize import weights
from anonymize.detectors import create, yolo
from anonymize.predictor import Predictor
from anonymize.regions import Region, boxes, iou
from anonymize.settings import Settings
from anonymize.weights import registry
from models.recipes.plates.scenes import scene

MODELS = registry.registry_path().parent
PLACES = np.array([(400.0, 640.0, 500.0, 664.0), (410.0, 560.0, 470.0, 575.0), (560.0, 300.0, 640.0, 342.0)])


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """The street of ultralytics' bus.jpg with three drawn plates: RGB uint8 (1080, 810, 3)."""
    from tests.conftest import package_file

    street = np.asarray(Image.open(package_file("ultralytics", "assets", "bus.jpg")).convert("RGB"))
    drawn, corners = scene(street, PLACES, np.zeros((0, 4)), np.random.default_rng(3), turn=0.0)
    assert len(corners) == len(PLACES)
    return drawn


@pytest.fixture(scope="module")
def by_torch(photo: np.ndarray) -> dict[int, list[Region]]:
    """Long side -> what the checkpoint itself finds, float32, decoded by ultralytics."""
    import torch
    from ultralytics.nn.tasks import torch_safe_load

    from anonymize.detectors.candidates import detections

    checkpoint, _ = torch_safe_load(str(MODELS / "plates.pt"), safe_only=True)
    network = (checkpoint.get("ema") or checkpoint["model"]).float().eval()
    out = {}
    for side in (640, 1280):
        frame = yolo.fit(photo, side)
        batch = yolo.SCALING.apply(frame.pixels[None])
        with torch.inference_mode():
            raw = network(torch.from_numpy(batch))[0].numpy()
        found = yolo.decode({"output0": raw}, frame.pixels.shape[:2], kinds={"plate": [0]}, classes=1)
        out[side] = detections("plate", found["plate"], frame, "torch", Settings()).regions()
    return out


def test_the_files_are_those_of_the_registry_and_of_the_card() -> None:
    entry = registry.model("plates")
    path = weights.verify("plates")
    assert path == MODELS / "plates.onnx"
    card = (MODELS / "plates.md").read_text("utf-8")
    assert entry.sha256 in card
    assert weights.checkpoint("plates") == MODELS / "plates.pt"  # raises where its hash is another
    assert entry.checkpoint in card
    assert sum(p.stat().st_size for p in MODELS.glob("plates.*")) < 30e6


@pytest.mark.parametrize("runtime", ["openvino f32", "openvino bf16", "onnxruntime f32"])
@pytest.mark.parametrize("side", [640, 1280])
def test_every_runtime_finds_what_torch_finds(
    photo: np.ndarray,
    by_torch: dict[int, list[Region]],
    runtime: str,
    side: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANONYMIZE_RUNTIME", runtime.split()[0])
    monkeypatch.setenv("ANONYMIZE_PRECISION", runtime.split()[1])
    theirs = [r for r in by_torch[side] if r.score >= 0.05]
    ours = create(f"yolo:{MODELS / 'plates.onnx'}@{side}", Settings()).detect([photo])[0]  # without its calibration
    assert len(theirs) >= 2
    overlaps = iou(boxes(theirs), boxes(ours))
    for i, region in enumerate(theirs):
        same = ours[int(overlaps[i].argmax())]
        assert np.allclose(same.box, region.box, atol=1.0)
        assert same.score == pytest.approx(region.score, abs=0.01)


def test_a_plate_is_found_and_its_corners_where_the_mask_follows_them(photo: np.ndarray) -> None:
    settings = Settings(face_detector="none", plate_detector="plates@640")
    for mask in ("rectangle", "quad"):
        (regions,) = Predictor(settings.with_kind("plate", mask=mask)).predict([photo])
        overlaps = iou(PLACES[:1], boxes(regions))[0]  # on the side of the bus; the others hang where no plate does
        best = regions[int(overlaps.argmax())]
        assert overlaps.max() > 0.6
        assert best.score > 0.5
        assert (best.corners is not None) == (mask == "quad")
    assert best.corners is not None
    around = np.array([*np.min(best.corners, axis=0), *np.max(best.corners, axis=0)])
    assert iou(PLACES[:1], around[None])[0, 0] > 0.6


def test_a_photo_without_plates_has_none() -> None:
    from tests.conftest import package_file

    faces = np.asarray(Image.open(package_file("ultralytics", "assets", "zidane.jpg")).convert("RGB"))
    assert [r for r in create("plates@640", Settings()).detect([faces])[0] if r.score >= 0.5] == []


def test_the_checkpoint_can_be_trained_further_without_unpickling_anything_foreign(tmp_path: Path) -> None:
    from anonymize.training.trainers import clean_checkpoint

    base = tmp_path / "base.pt"
    assert clean_checkpoint(MODELS / "plates.pt", base, corners=False, safe=True) == ("yolov8n.yaml", str(base))
    assert base.stat().st_size < 10e6
