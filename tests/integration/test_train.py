"""Training: small ones for real; what goes in is checked, what comes out works, and a kill costs little."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import tomllib

import cv2
import numpy as np
import pytest
import yaml

from anonymize.errors import (
    AnnotationError,
    HashMismatchError,
    PathError,
    SettingsError,
    UntrustedWeightsError,
    WeightsError,
    WeightsUnavailableError,
)
from anonymize.training import Options, train
from anonymize.training.data_yaml import read_data
from anonymize.weights import registry

SMALL = Options(base="yolov8n.yaml", epochs=2, size=64, batch=2, device="cpu")


@pytest.fixture
def data(tmp_path):
    """Four photos with one plate each; in half of them its corners are known."""
    from models.recipes.plates.data_set import yolo_lines
    from models.recipes.plates.scenes import scene

    rng = np.random.default_rng(0)
    for i in range(4):
        photo = rng.integers(40, 120, (64, 64, 3), np.uint8)
        drawn, corners = scene(photo, np.array([(10.0, 20.0, 50.0, 34.0)]), np.zeros((0, 4)), rng, turn=0.0)
        box = np.concatenate([corners.min(1), corners.max(1)], axis=1)
        known = corners if i % 2 else corners - 1000  # outside of the photo: not known
        for kind, content in (("images", drawn), ("labels", yolo_lines(box, 64, 64, known))):
            folder = tmp_path / "set" / "train" / kind
            folder.mkdir(parents=True, exist_ok=True)
            if kind == "images":
                cv2.imwrite(str(folder / f"{i}.png"), content)
            else:
                (folder / f"{i}.txt").write_text(content)
    path = tmp_path / "set" / "data.yaml"
    path.write_text(
        "train: train/images\nval: train/images\nnames: {0: plate}\nkpt_shape: [4, 3]\nflip_idx: [1, 0, 3, 2]\n"
    )
    return path


def boxes_only(data):
    """Labels without key points."""
    for label in (data.parent / "train" / "labels").iterdir():
        label.write_text(" ".join(label.read_text().split()[:5]) + "\n")


def epochs_of(output):
    with open(output / "results.csv") as file:
        return [int(float(row["epoch"])) for row in csv.DictReader(file)]


def test_a_training_leaves_a_network_its_card_and_its_entry_and_resumes_after_a_kill(data, tmp_path, monkeypatch):
    from anonymize.detectors import create
    from anonymize.settings import Settings
    from anonymize.training import trainers

    output = tmp_path / "plates2"
    own = trainers.CornerTrainer.save_model

    def killed(self):
        own(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(trainers.CornerTrainer, "save_model", killed)
    with pytest.raises(KeyboardInterrupt):
        train(data, output, SMALL)
    monkeypatch.undo()
    assert epochs_of(output) == [1]
    assert not list(output.rglob("*.part"))
    with pytest.raises(PathError, match="resume"):
        train(data, output, SMALL)

    moved = output.rename(tmp_path / "moved")  # another machine: the folder lies elsewhere
    done = train(data, moved, SMALL, name="plates2", resume=True)
    assert epochs_of(moved) == [1, 2]
    assert done.figures.keys() >= {"metrics/mAP50(B)", "metrics/mAP50(P)"}
    assert (moved / "results.png").stat().st_size > 10_000

    entry = tomllib.loads(done.entry.read_text())["plates2"]
    assert entry["sha256"] == hashlib.sha256(done.onnx.read_bytes()).hexdigest()
    assert registry.load(done.entry)["plates2"].classes == {"plate": "plate"}
    card = done.card.read_text()
    for fact in ("plates2.onnx", entry["sha256"], "4 for train", "seed 0", "AGPL-3.0", "4 corners"):
        assert fact in card

    detector = create(f"yolo:{done.onnx}@64", Settings())
    assert detector.weights == {"plates2.onnx": entry["sha256"]}
    found = detector.detect([np.random.default_rng(1).integers(0, 255, (48, 80, 3), np.uint8)])
    assert len(found) == 1  # untrained as it is, it runs on photos of another shape
    with pytest.raises(PathError, match="has ended"):
        train(data, moved, SMALL, resume=True)


def test_a_resumed_training_goes_on_as_it_began_and_its_card_says_how(data, tmp_path, monkeypatch):
    from anonymize import training
    from anonymize.training import trainers

    runs, described = [], []

    def run(overrides, **more):
        runs.append(more)
        (tmp_path / "out" / "weights").mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / "weights" / "last.pt").write_bytes(b"")
        return tmp_path / "out" / "weights" / "last.pt"

    monkeypatch.setattr(trainers, "run", run)
    monkeypatch.setattr(training, "finish", lambda best, read, output, options, name: described.append(options))
    began = dataclasses.replace(SMALL, photos_per_epoch=2, validate_every=3, frozen=4)
    train(data, tmp_path / "out", began)
    train(data, tmp_path / "out", Options(device="auto", hours=2.0), resume=True)
    assert runs[0] == runs[1] == {"corners": True, "photos": 2, "validate_every": 3}
    assert described == [began, dataclasses.replace(began, device="auto", hours=2.0)]


def test_tiles_that_were_cut_at_many_scales_are_mixed_and_scaled_little(data, tmp_path, monkeypatch):
    from anonymize import training
    from anonymize.training import trainers

    given = {}
    monkeypatch.setattr(trainers, "run", lambda overrides, **_: given.update(overrides) or tmp_path / "best.pt")
    monkeypatch.setattr(training, "finish", lambda *_: None)
    train(data, tmp_path / "out", Options(base="yolov8n.yaml", device="cpu"))
    assert {k: given[k] for k in ("mosaic", "scale", "lrf", "warmup_epochs")} == {
        "mosaic": 0.25, "scale": 0.25, "lrf": 0.01, "warmup_epochs": 1.0,
    }  # fmt: skip


def test_checkpoints_name_stock_classes_only(data, tmp_path):
    import torch

    output = tmp_path / "out"
    train(data, output, Options(base="yolov8n.yaml", epochs=1, size=64, batch=4, device="cpu"))
    known = torch.serialization.get_safe_globals()  # of whoever loaded a checkpoint before
    torch.serialization.clear_safe_globals()
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(str(output / "weights" / "last.pt"))
    finally:
        torch.serialization.add_safe_globals(known)
    assert any(n.endswith("PoseModel") for n in names)
    assert not [n for n in names if n.startswith("anonymize")]


def test_boxes_without_corners_train_a_plain_detector_of_any_kind(data, tmp_path):
    fields = yaml.safe_load(data.read_text())
    boxes_only(data)
    data.write_text(yaml.safe_dump({"train": fields["train"], "val": fields["val"], "names": ["human face"]}))
    photo = data.parent / "train" / "images" / "camera.jpg"
    whole = cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8))[1].tobytes()
    photo.write_bytes(whole + b"more")  # as some phones write it; ultralytics would write it anew
    before = {p: p.read_bytes() for p in data.parent.rglob("*") if p.is_file()}
    done = train(data, tmp_path / "faces", Options(base="yolov8n.yaml", epochs=1, size=64, batch=4, device="cpu"))
    entry = tomllib.loads(done.entry.read_text())["faces"]
    assert (entry["task"], entry["classes"]) == ("face", {"human face": "face"})
    assert {p: p.read_bytes() for p in data.parent.rglob("*") if p.is_file()} == before, "the data set is only read"


def test_another_base_is_trained_further_and_a_foreign_pickle_is_not_opened(data, tmp_path):
    import pickle

    import torch
    from ultralytics.nn.tasks import DetectionModel

    base = tmp_path / "mine.pt"
    torch.manual_seed(0)
    network = DetectionModel("yolov8n.yaml", nc=3, verbose=False)
    torch.save({"model": network, "ema": None}, base)
    options = Options(base=str(base), epochs=1, size=64, batch=4, device="cpu", learning_rate=1e-9, frozen=1)
    with pytest.raises(UntrustedWeightsError, match="--trust"):
        train(data, tmp_path / "a", options)
    train(data, tmp_path / "b", options, trust=True)
    trained = (
        torch.load(tmp_path / "b" / "weights" / "last.pt", weights_only=False)["model"]
        or torch.load(tmp_path / "b" / "weights" / "last.pt", weights_only=False)["ema"]
    )
    assert torch.allclose(trained.model[0].conv.weight.float(), network.model[0].conv.weight, atol=1e-3)

    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("hacked").mkdir, ())

    from anonymize.training.trainers import clean_checkpoint

    torch.save({"model": Evil()}, base)
    with pytest.raises(WeightsError):
        clean_checkpoint(base, tmp_path / "clean.pt", corners=True, safe=True)
    base.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(WeightsError):
        clean_checkpoint(base, tmp_path / "clean.pt", corners=True, safe=True)
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1", "is not YAML"),
        ("train: train/images\nval: train/images\n", "names"),
        ("names: [a]\ntrain: train/images\n", "val"),
        ("names: [a]\nval: train/images\n", "train"),
        ("names: [a]\ntrain: nowhere\nval: train/images\n", "nowhere is not there"),
        ("names: [a]\ntrain: train/labels\nval: train/images\n", "no photos for train"),
        ("names: 3\ntrain: train/images\nval: train/images\n", "names"),
        ("names: [a]\ntrain: train/images\nval: train/images\nkpt_shape: [5, 3]\n", "kpt_shape"),
        ("names: [a]\nnc: 2\ntrain: train/images\nval: train/images\n", "nc is 2, but names has 1 classes"),
        ("names: {0: a, 2: b}\ntrain: train/images\nval: train/images\n", "without gaps; 1 has none"),
        ("names: [a]\ntrain: 3\nval: train/images\n", "not a data.yaml: train"),
        ("names: [a]\ntrain: list.txt\nval: train/images\n", r"list.txt: line 2: the photo train/images/gone.png is"),
    ],
)
def test_data_that_cannot_be_trained_on_is_refused_with_a_reason(data, text, said):
    data.write_text(text)
    (data.parent / "list.txt").write_text("train/images/0.png\ntrain/images/gone.png\n")
    with pytest.raises(AnnotationError, match=said):
        read_data(data)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"0": "1 0.5 0.5 0.2 0.2"}, "0.txt .* line 1: class 1 has no name"),
        ({"0": "0 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.2 1.2"}, "line 2: 1.2 is no fraction"),
        ({"0": "0 0.5 0.5 0.2 0.2\n0 .1 .1 .2 .1 .2 .2 .1 .2"}, "line 2: it has 9 columns, unlike others"),
        ({"0": "0 0.5 0.5 0.2"}, "line 1: it has 4 columns"),
        ({"0": "0 0.5 0.5 0.2 0.2 0.9 7"}, "line 1: it has 7 columns"),
        ({}, "no labels for train"),
    ],
)
def test_labels_that_are_wrong_are_named_before_anything_is_trained(data, labels, said):
    data.write_text("train: train/images\nval: train/images\nnames: {0: plate}\n")
    for file in (data.parent / "train" / "labels").iterdir():
        file.unlink()
    for name, text in labels.items():
        (data.parent / "train" / "labels" / f"{name}.txt").write_text(text)
    with pytest.raises(AnnotationError, match=said):
        read_data(data)


def test_what_is_odd_and_no_fault_is_said(data, caplog):
    data.write_text(data.read_text() + "test: nowhere\n")
    labels = data.parent / "train" / "labels"
    (labels / "0.txt").rename(labels / "other.txt")
    assert read_data(data).photos == {"train": 4, "val": 4}
    said = " ".join(caplog.messages)
    assert "train: 1 of 4 photos have no label file" in said
    assert "1 label files have no photo" in said
    assert "its test photos are not there" in said


def test_photos_that_training_cannot_read_are_not_left_out_in_silence(data):
    torn = data.parent / "train" / "images" / "torn.jpg"
    torn.write_bytes(cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8))[1].tobytes()[:-2])
    with pytest.raises(AnnotationError, match=r"torn.jpg: a JPEG without an end"):
        read_data(data)
    torn.unlink()
    (data.parent / "train" / "images" / "x.HEIC").touch()
    with pytest.raises(AnnotationError, match="training reads no HEIC"):
        read_data(data)


def test_a_photo_that_cannot_be_read_is_named_and_not_left_out(data, tmp_path):
    photo = data.parent / "train" / "images" / "0.png"
    photo.write_bytes(photo.read_bytes()[:200])
    with pytest.raises(AnnotationError, match=r"0\.png cannot be read \(1 of 4 photos\)"):
        train(data, tmp_path / "out", SMALL)


def test_a_list_of_photos_counts_from_its_own_folder(data, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (data.parent / "lists").mkdir()
    (data.parent / "lists" / "some.txt").write_text("../train/images/1.png\n\n../train/images/0.png\n")
    data.write_text(data.read_text().replace("train: train/images", "train: lists/some.txt"))
    assert [p.name for p in read_data(data).files["train"]] == ["1.png", "0.png"]


def test_what_roboflow_writes_is_found_and_its_code_is_dropped(data):
    boxes_only(data)
    data.write_text(
        "train: ../train/images\nval: ../train/images\nnc: 1\nnames: ['License Plate']\n"
        "download: |\n  raise SystemExit('code ran')\nroboflow: {license: x}\n"
    )
    read = read_data(data)
    assert read.photos == {"train": 4, "val": 4}
    assert read.names == ("License Plate",)
    assert set(read.fields) == {"names", "nc"}


def test_a_path_in_the_data_yaml_counts_from_its_own_folder(data):
    boxes_only(data)
    data.write_text("path: train\ntrain: images\nval: images\nnames: {0: plate}\n")
    assert read_data(data).folders["train"] == ((data.parent / "train" / "images").resolve(),)


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"size": 100}, {"batch": 0}, {"hours": 0.0}, {"learning_rate": 0.0}, {"validate_every": 0}]
)
def test_options_out_of_their_limits_are_refused(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        Options(**wrong)


@pytest.mark.parametrize(
    ("base", "said"), [("nothing", "plates, pyplatex, safelicensing$"), ("retinaface-mobilenet", "only a .pt")]
)
def test_a_base_that_cannot_be_trained_is_refused(data, tmp_path, base, said, monkeypatch):
    from anonymize import weights

    (tmp_path / "r.onnx").write_bytes(b"")
    monkeypatch.setattr(weights, "fetch", lambda *_, **__: tmp_path / "r.onnx")
    with pytest.raises(SettingsError, match=said):
        train(data, tmp_path / "out", Options(base=base, device="cpu"))


def test_resuming_nothing_is_an_error(data, tmp_path):
    with pytest.raises(PathError, match="nothing to resume"):
        train(data, tmp_path / "out", SMALL, resume=True)
    assert not (tmp_path / "out").exists()


class TestCornerLoss:
    """By hand: two cells of stride 8, the first belongs to a plate of 16 x 16 px."""

    def loss(self, predicted, known, sure=0.0):
        import torch

        from anonymize.training.trainers import CornerLoss

        corners = torch.tensor([[[[0.0, 0.0], [16.0, 0.0], [16.0, 16.0], [0.0, 16.0]]]])
        truth = torch.cat([corners, torch.tensor(known)[None, None, :, None]], dim=-1)
        pred = torch.zeros(1, 2, 4, 3)
        pred[0, 0, :, :2] = torch.tensor(predicted) / 8
        pred[0, 0, :, 2] = sure
        masks = torch.tensor([[True, False]])
        stride = torch.full((2, 1), 8.0)
        boxes = torch.tensor([[[0.0, 0.0, 16.0, 16.0]] * 2])
        instance = CornerLoss.__new__(CornerLoss)
        pred.requires_grad_()
        place, doubt = instance.calculate_keypoints_loss(
            masks, torch.zeros(1, 2, dtype=torch.long), truth, stride, boxes, pred
        )
        (place + doubt).backward()
        return place.item(), doubt.item(), pred.grad

    def test_it_is_the_distance_in_units_of_the_box(self):
        predicted = [[4.0, 0.0], [16.0, 4.0], [12.0, 16.0], [0.0, 12.0]]  # each off by 4 px of 16
        place, _, grad = self.loss(predicted, [2.0] * 4)
        assert place == pytest.approx(0.25, abs=1e-3)
        assert grad[0, 0, 0, 0] > 0  # too far right: pulled left
        assert not grad[0, 1].any()  # the other cell belongs to nothing

    def test_unknown_corners_teach_nothing(self):
        place, doubt, grad = self.loss([[99.0, 99.0]] * 4, [0.0] * 4)
        assert (place, doubt) == (0.0, 0.0)
        assert not grad.any()

    def test_only_the_known_ones_count(self):
        predicted = [[99.0, 99.0], [16.0, 4.0], [99.0, 0.0], [99.0, 99.0]]
        assert self.loss(predicted, [0.0, 2.0, 0.0, 0.0])[0] == pytest.approx(0.25, abs=1e-3)

    def test_being_sure_of_a_far_corner_is_punished_and_of_a_near_one_is_not(self):
        near, far = [[0.0, 0.0], [16.0, 0.0], [16.0, 16.0], [0.0, 16.0]], [[40.0, 40.0]] * 4
        assert self.loss(far, [2.0] * 4, sure=4.0)[1] > 1.0
        assert self.loss(near, [2.0] * 4, sure=4.0)[1] < 0.1
        assert self.loss(near, [2.0] * 4, sure=-4.0)[1] > 1.0


def test_both_models_give_stock_losses_in_float32_while_training():
    import torch
    from ultralytics.cfg import get_cfg

    from anonymize.training.trainers import BoxModel, has_bfloat16

    torch.manual_seed(0)
    model = BoxModel("yolov8n.yaml", nc=1, verbose=False)
    model.args = get_cfg()
    batch = {
        "img": torch.rand(2, 3, 64, 64),
        "batch_idx": torch.tensor([0.0, 1.0]),
        "cls": torch.zeros(2, 1),
        "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.2]] * 2),
    }
    model.train()
    total, items = model.loss(batch)
    assert total.dtype == torch.float32
    total.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert isinstance(has_bfloat16(), bool)
    stock, _ = super(BoxModel, model).loss(batch, model.forward(batch["img"]))
    assert float(total.sum()) == pytest.approx(float(stock.sum()), rel=0.05)
    assert set(items) == {"box_loss", "cls_loss", "dfl_loss"}


def test_the_corner_branch_learns_faster_and_every_parameter_once():
    from ultralytics.nn.tasks import PoseModel

    from anonymize.training.trainers import CORNER_RATE, CornerTrainer

    model = PoseModel("yolov8n-pose.yaml", nc=1, data_kpt_shape=[4, 3], verbose=False)
    optimizer = CornerTrainer.__new__(CornerTrainer).build_optimizer(model, name="AdamW", lr=0.001)
    rates = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(rates) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        assert rates[id(parameter)] == pytest.approx(0.001 * (CORNER_RATE if ".cv4." in name else 1))


def test_the_projects_own_plate_model_is_a_base(tmp_path):
    from anonymize.training import _base

    assert _base("plates", True, tmp_path, False, None) == ("yolov8n-pose.yaml", str(tmp_path / "base.pt"))
    assert _base("plates", False, tmp_path, False, None)[0] == "yolov8n.yaml"
    assert _base(
        str(registry.registry_path().with_name("plates.pt")), False, tmp_path, False, None
    )  # known by its hash


def test_a_checkpoint_that_is_not_the_registrys_is_not_opened(tmp_path, monkeypatch):
    import shutil

    from anonymize import weights
    from anonymize.training import _base, trainers

    beside = registry.registry_path()
    for name in ("registry.toml", "plates.onnx", "plates.pt"):
        shutil.copy(beside.with_name(name), tmp_path / name)
    with open(tmp_path / "plates.pt", "ab") as file:
        file.write(b"x")
    monkeypatch.setattr(registry, "registry_path", lambda: tmp_path / "registry.toml")
    monkeypatch.setattr(trainers, "clean_checkpoint", lambda *_, **__: pytest.fail("it was opened"))
    with pytest.raises(HashMismatchError, match=weights.model("plates").checkpoint):
        _base("plates", False, tmp_path, True, None)  # --trust takes no other file for the registry's either
    (tmp_path / "plates.pt").unlink()
    with pytest.raises(WeightsUnavailableError, match=r"plates\.pt is not there"):
        _base("plates", False, tmp_path, False, None)
