from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from anonymize.detectors.plate_corners import INPUT, decode
from anonymize.errors import AnnotationError, SettingsError, WeightsError
from models.recipes.plates import corners as training
from models.recipes.plates.corner_net import (
    Average,
    Batch,
    CornerNet,
    Options,
    augmented,
    batch_of,
    hidden,
    learn,
    loss,
    off,
    place,
)  # fmt: skip
from models.recipes.plates.crops import DRAWN, NOTHING, REAL, Crops


def crops(count: int, seed: int = 0) -> Crops:
    """White quadrilaterals on gray; every fifth crop has none."""
    rng = np.random.default_rng(seed)
    images = np.full((count, INPUT[1], INPUT[0], 3), 70, np.uint8)
    kinds = np.full(count, DRAWN)
    kinds[::5] = NOTHING
    corners = np.zeros((count, 4, 2), np.float32)
    for i in np.flatnonzero(kinds == DRAWN):
        x1, y1 = rng.uniform(0.12, 0.3, 2)
        x2, y2 = rng.uniform(0.65, 0.85, 2)
        corners[i] = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)]) + rng.uniform(-0.06, 0.06, (4, 2))
        cv2.fillConvexPoly(images[i], np.round(corners[i] * INPUT).astype(np.int32), (230, 230, 230))
    return Crops(images, kinds, corners, np.tile(np.float32([80, 40]), (count, 1)))


def test_deviations_are_in_the_plates_own_frame() -> None:
    """A plate turned by 90°: along its rows is down the photo."""
    truth = torch.tensor([[(0.6, 0.2), (0.6, 0.8), (0.4, 0.8), (0.4, 0.2)]])
    pixels = torch.tensor([[100.0, 50.0]])  # so it is 30 px wide (downward) and 20 px high
    moved = truth.clone()
    moved[0, 0] += torch.tensor([0.02, 0.12])  # 2 px across, 6 px along
    by, size = off(moved, truth, pixels)
    assert size[0].tolist() == pytest.approx([30.0, 20.0])
    assert by[0, 0].abs().tolist() == pytest.approx([0.2, 0.1], abs=1e-5)
    assert by[0, 1:].abs().max() < 1e-6


def test_a_corner_is_hidden_while_it_is_off_by_less_than_growing_adds() -> None:
    size = torch.tensor([[50.0, 10.0]])
    by = torch.tensor([[[0.1, 0.1], [0.105, 0.0], [0.12, 0.0], [0.0, 0.16]]])
    assert hidden(by, size)[0].tolist() == [True, True, False, False]  # half a pixel is .01 and .05


def test_mirrored_crops_keep_their_corners() -> None:
    torch.manual_seed(0)
    some = batch_of(crops(40, seed=3), np.arange(40), "cpu")
    out = augmented(some)
    middle = out.corners.mean(1)
    for i in np.flatnonzero(some.kinds.numpy() == DRAWN):
        x, y = out.corners[i].numpy().T
        assert x[0] < x[1]
        assert x[3] < x[2]
        assert y[0] < y[3]
        at = (middle[i] * torch.tensor(INPUT)).long()
        assert out.images[i, :, at[1], at[0]].mean() > 1.5 * out.images[i, :, 0, 0].mean()
    changed = (out.corners - some.corners).abs().amax((1, 2)) > 1e-6
    assert 8 < int(changed.sum()) < 32
    assert torch.equal(some.images, batch_of(crops(40, seed=3), np.arange(40), "cpu").images)  # left as they were


def test_real_plates_teach_their_upright_box_only() -> None:
    box = torch.tensor([[(0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8)]])
    batch = Batch(torch.zeros(1, 3, 48, 96), torch.tensor([REAL]), box, torch.tensor([[60.0, 30.0]]))

    def of(points: torch.Tensor) -> float:
        maps = torch.zeros(1, 12, 12, 24)
        for i, (x, y) in enumerate((points[0] * torch.tensor([24.0, 12.0])).tolist()):
            maps[0, i, int(y), int(x)] = 60
            maps[0, 4 + 2 * i, int(y), int(x)], maps[0, 5 + 2 * i, int(y), int(x)] = x % 1 - 0.5, y % 1 - 0.5
        assert place(maps) == pytest.approx(points, abs=1e-4)
        return float(loss(maps, torch.zeros(1, 4), batch)[0].nan_to_num())

    diamond = torch.tensor([[(0.5, 0.2), (0.8, 0.5), (0.5, 0.8), (0.2, 0.5)]])
    assert of(diamond) == pytest.approx(of(box), abs=1e-4)
    assert of(box * 0.8) > of(box) + 0.01


@pytest.fixture(scope="module")
def taught() -> tuple[CornerNet, list[str]]:
    """A network after a few steps, and what was said of each epoch."""
    torch.manual_seed(0)
    net, lines = CornerNet(), [""][:0]
    options = Options(crops=200, epochs=6, batch=20, learning_rate=4e-3)
    net.load_state_dict(learn(net, crops(200), options, epoch_done=lambda n, s, line: lines.append(line)))
    return net, lines


def test_a_few_steps_teach_it_something(taught: tuple[CornerNet, list[str]]) -> None:
    offs = [float(line.split(",")[0].split()[1]) for line in taught[1]]
    assert offs[-1] < 0.5 * offs[0]
    error = "their mean corner error, share of the width"
    some = crops(60, seed=9)
    before, after = (
        training.measure(*training.look(net, some), some, 1.0, 100.0)[error] for net in (CornerNet(), taught[0])
    )
    assert after < 0.6 * before


def test_an_average_follows_its_network() -> None:
    net = CornerNet()
    average = Average(net, keep=0.5)
    with torch.no_grad():
        net.maps.bias.fill_(8.0)
    for _ in range(40):
        average.update(net)
    assert average.state["maps.bias"] == pytest.approx(torch.full((12,), 8.0), abs=0.01)


def test_sureness_becomes_a_probability(taught: tuple[CornerNet, list[str]]) -> None:
    net, some = taught[0], crops(150, seed=2)
    found, logits = training.look(net, some)
    slope, bias = training.calibrate(found, logits, some)
    p = 1 / (1 + np.exp(-(slope * logits + bias)))
    right = training._hidden(found, some)[0] & (some.kinds == DRAWN)
    assert p.mean() == pytest.approx(right.mean(), abs=0.03)


def test_the_export_says_what_the_network_says(tmp_path: Path) -> None:
    from anonymize.detectors.runtime import open_network

    torch.manual_seed(0)
    net = CornerNet().eval()
    path = training.export(net, tmp_path / "c.onnx", slope=1.5, bias=-0.3)
    batch = np.random.default_rng(0).random((3, 3, INPUT[1], INPUT[0]), np.float32)
    with torch.inference_mode():
        maps, logits = net(torch.from_numpy(batch))
    found, sure = decode(open_network(path, "cpu")(batch))
    assert np.abs((found - place(maps).numpy()) * INPUT).max() < 0.5
    assert sure == pytest.approx(torch.sigmoid(1.5 * logits - 0.3).amin(1).numpy(), abs=0.01)
    assert not list(tmp_path.glob("*.part"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        cv2.imwrite(str(folder / f"{i}.png"), rng.integers(40, 120, (80, 120, 3), np.uint8))
    return folder


def test_from_photos_to_a_model_and_on_after_a_stop(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.recipes.plates.crops.SHARD", 24)
    monkeypatch.setattr(training, "MEASURED", 24)
    options = Options(crops=24, epochs=2, batch=12, device="cpu")

    def stop(line: str) -> None:
        if line.startswith("epoch 1"):
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        training.train(photos, out, options, tell=stop)
    lines: list[str] = []
    done = training.train(photos, out, options, tell=lines.append)
    assert [line.split(":")[0] for line in lines if line.startswith("epoch")] == ["epoch 2 of 2"]
    whole = training.train(photos, tmp_path / "whole", options)
    assert done.onnx.read_bytes() == whole.onnx.read_bytes()  # as if it had never been stopped
    assert {p.name for p in out.iterdir()} == {
        *("crops", "last.pt", "plates-corners.onnx", "plates-corners.pt", "card.md", "registry.toml", "held-out.png")
    }
    with pytest.raises(SettingsError, match="another epochs"):
        training.train(photos, out, Options(crops=24, epochs=3, batch=12, device="cpu"))
    (photos / "2.png").write_bytes((photos / "1.png").read_bytes())
    with pytest.raises(SettingsError, match=r"last\.pt was trained on other photos"):
        training.train(photos, out, options)
    (out / "last.pt").rename(out / "away.pt")
    with pytest.raises(SettingsError, match=r"npz was made of other photos"):
        training.train(photos, out, options)
    (out / "last.pt").write_bytes(b"no checkpoint")
    with pytest.raises(WeightsError):
        training.train(photos, out, options)


def test_one_photo_is_too_few(photos: Path, tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        (photos / name).unlink()
    with pytest.raises(AnnotationError, match="too few"):
        training.train(photos, tmp_path / "out")


@pytest.mark.parametrize("wrong", [{"crops": 0}, {"epochs": 0}, {"batch": 0}, {"learning_rate": 0.0}])
def test_numbers_out_of_their_limits_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        Options(**wrong)  # type: ignore[arg-type]
