"""The corner branch learns on cut-out features; the rest of the network stays as it is."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from ultralytics.nn.tasks import PoseModel

from anonymize.corner_refining import Patches, collect, learn, refine
from anonymize.errors import AnnotationError
from anonymize.plates_data import _save, crowded


@pytest.fixture
def network() -> PoseModel:
    torch.manual_seed(0)
    model = PoseModel("yolov8n-pose.yaml", nc=1, data_kpt_shape=[4, 3], verbose=False)
    model.names = {0: "plate"}
    return model.eval()


@pytest.fixture
def crowds(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for i in range(4):
        photo = rng.integers(60, 160, (128, 128, 3), np.uint8)
        _save(tmp_path / "crowds", f"{i}", *crowded(photo, 6, rng))
    return tmp_path / "crowds" / "images"


def test_a_crowd_has_several_plates_and_none_upon_another() -> None:
    photo = np.full((416, 416, 3), 120, np.uint8)
    out, boxes, corners = crowded(photo, 12, np.random.default_rng(3))
    assert len(boxes) >= 4
    assert np.allclose(boxes, np.concatenate([corners.min(1), corners.max(1)], axis=1))
    assert out.shape == photo.shape
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    assert ((high > low).all(axis=2).sum(axis=1) == 1).mean() > 0.9  # each overlaps itself (turning may touch another)


def test_patches_say_where_the_corners_are(network: PoseModel, crowds: Path) -> None:
    parts = collect(copy.deepcopy(network), [str(crowds)], size=128, passes=1, batch=2)
    assert [p.features.shape[1:] for p in parts] == [(64, 5, 5), (128, 5, 5), (256, 5, 5)]
    first = parts[0]
    assert len(first.features) == len(first.targets) == len(first.sizes) > 5
    spread = first.targets.amax(dim=1) - first.targets.amin(dim=1)
    area = spread.prod(dim=1).sqrt()
    # The corners' bounding box is the plate's box, so its size is the plate's.
    assert torch.allclose(area, first.sizes, rtol=0.05, atol=0.1)
    centre = first.targets.mean(dim=1).abs()
    assert (centre <= spread / 2 + 0.75).all()  # a cell belongs to a plate that it lies in, or beside


def test_a_branch_learns_what_can_be_learned() -> None:
    torch.manual_seed(1)
    branch = PoseModel("yolov8n-pose.yaml", nc=1, data_kpt_shape=[4, 3], verbose=False).model[-1].cv4[0]
    features = torch.randn(400, 64, 5, 5)
    targets = features[:, :8, 2, 2].reshape(-1, 4, 2).clone()
    patches = Patches(features.to(torch.bfloat16), targets, torch.full((400,), 2.0))
    before = [m.padding for m in branch.modules() if isinstance(m, torch.nn.Conv2d)]
    early = learn(copy.deepcopy(branch), patches, steps=15, batch=32)
    late = learn(branch, patches, steps=200, batch=32)
    assert late < 0.5 * early
    assert [m.padding for m in branch.modules() if isinstance(m, torch.nn.Conv2d)] == before
    assert not branch.training


@pytest.mark.parametrize("number", [0, 1])
def test_too_few_patches_leave_a_branch_as_it_was(network: PoseModel, number: int) -> None:
    branch = network.model[-1].cv4[0]
    before = copy.deepcopy(branch.state_dict())
    patches = Patches(torch.zeros(number, 64, 5, 5), torch.zeros(number, 4, 2), torch.ones(number))
    assert np.isnan(learn(branch, patches, steps=3))
    assert all(torch.equal(before[k], v) for k, v in branch.state_dict().items())


def test_refining_changes_corners_only(network: PoseModel, crowds: Path, tmp_path: Path) -> None:
    torch.save({"model": copy.deepcopy(network), "train_args": {"task": "pose"}}, tmp_path / "a.pt")
    refine(tmp_path / "a.pt", [crowds], tmp_path / "b.pt", size=128, passes=1, steps=30)
    refined = torch.load(tmp_path / "b.pt", weights_only=False)["model"].float().eval()
    batch = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        old, new = network(batch)[0], refined(batch)[0]
    assert torch.allclose(old[:, :4], new[:, :4], atol=0.2)  # half precision rounds
    assert torch.allclose(old[:, 4], new[:, 4], atol=1e-3)
    assert (old[:, 5:] - new[:, 5:]).abs().max() > 0.5  # px


def test_photos_without_corners_are_no_use(network: PoseModel, tmp_path: Path) -> None:
    photo = np.full((64, 64, 3), 99, np.uint8)
    _save(tmp_path, "a", photo, np.array([(10.0, 10.0, 40.0, 20.0)]), None)
    with pytest.raises(AnnotationError, match="no plates with known corners"):
        collect(network, [str(tmp_path / "images")], size=64, passes=1)
