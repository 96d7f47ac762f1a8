from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from anonymize import weights
from anonymize.detectors import create, yolo
from anonymize.detectors.candidates import detections
from anonymize.detectors.runtime import open_network, parse
from anonymize.errors import DetectionError, SettingsError, WeightsError
from anonymize.settings import Settings

PLATE = {"plate": [0]}


def raw(*columns: tuple[float, ...], cells: int = 84) -> dict[str, np.ndarray]:
    """A raw output: the given columns, then nothing."""
    out = np.zeros((1, len(columns[0]), cells), np.float32)
    out[0, :, : len(columns)] = np.array(columns).T
    return {"output0": out}


def end_to_end(*rows: tuple[float, ...]) -> dict[str, np.ndarray]:
    out = np.zeros((1, 300, len(rows[0])), np.float32)
    out[0, : len(rows)] = rows
    return {"output0": out}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("License_Plate", "plate"),
        ("license-plate", "plate"),
        ("Licence  Plate", "plate"),
        ("numberplate", "plate"),
        ("truck", "vehicle"),
        ("Person", "person"),
        ("Human face", "face"),
        ("ID-card", "ID-card"),
        ("screen", "screen"),
    ],
)
def test_class_names_become_kinds_and_own_ones_stay(name: str, kind: str) -> None:
    assert yolo.kind_of(name) == kind


def test_classes_are_grouped_by_kind_or_by_the_registrys_table() -> None:
    names = {0: "person", 1: "bicycle", 2: "car", 7: "truck"}
    assert yolo.classes_by_kind(names) == {"person": [0], "bicycle": [1], "vehicle": [2, 7]}
    assert yolo.classes_by_kind(names, {"truck": "vehicle", "car": "vehicle"}) == {"vehicle": [2, 7]}


def test_input_is_rgb_from_0_to_1_in_gray_padding() -> None:
    frame = yolo.fit(np.full((30, 64, 3), (255, 51, 0), np.uint8), 64)
    batch = yolo.SCALING.apply(frame.pixels[None])
    assert batch.shape == (1, 3, 32, 64)
    assert frame.offset == (0, 1)
    np.testing.assert_allclose(batch[0, :, 5, 5], [1, 0.2, 0], atol=1e-6)
    np.testing.assert_allclose(batch[0, :, 0, 5], 114 / 255, atol=1e-6)


def test_raw_output() -> None:
    found = yolo.decode(raw((50, 40, 20, 10, 0.9), (5, 5, 4, 4, 0.0001)), (64, 64), kinds=PLATE, classes=1)["plate"]
    assert found.boxes.tolist() == [[40, 35, 60, 45]]
    np.testing.assert_allclose(found.scores, [0.9], rtol=1e-6)
    assert found.corners is None


def test_a_kind_scores_the_best_of_its_classes_and_two_kinds_may_share_a_box() -> None:
    columns = [(10, 10, 8, 8, 0.5, 0.2, 0.7), (30, 30, 8, 8, 0.0, 0.6, 0.1)]  # person, car, truck
    found = yolo.decode(raw(*columns), (64, 64), kinds={"person": [0], "vehicle": [1, 2]}, classes=3)
    np.testing.assert_allclose(found["person"].scores, [0.5])
    np.testing.assert_allclose(found["vehicle"].scores, [0.7, 0.6])


@pytest.mark.parametrize("visibility", [False, True])
def test_four_keypoints_are_corners(visibility: bool) -> None:
    points = [(40, 36), (59, 35), (60, 44), (41, 45)]
    extra = [v for x, y in points for v in ((x, y, 0.8) if visibility else (x, y))]
    found = yolo.decode(raw((50, 40, 20, 10, 0.9, *extra)), (64, 64), kinds=PLATE, classes=1)["plate"]
    assert found.corners is not None
    assert found.corners.tolist() == [[list(p) for p in points]]


def test_end_to_end_output() -> None:
    rows = [(40, 35, 60, 45, 0.9, 1), (1, 2, 3, 4, 0.8, 0), (5, 6, 7, 8, 0.0001, 1)]
    found = yolo.decode(end_to_end(*rows), (64, 64), kinds={"plate": [1], "face": [0]}, classes=2)
    assert found["plate"].boxes.tolist() == [[40, 35, 60, 45]]
    assert found["face"].boxes.tolist() == [[1, 2, 3, 4]]
    np.testing.assert_allclose(found["plate"].scores, [0.9], rtol=1e-6)


def test_end_to_end_output_with_corners() -> None:
    row = (40, 35, 60, 45, 0.9, 0, 40, 36, 1, 59, 35, 1, 60, 44, 1, 41, 45, 1)
    found = yolo.decode(end_to_end(row), (64, 64), kinds=PLATE, classes=1)["plate"]
    assert found.corners is not None
    assert found.corners.tolist() == [[[40, 36], [59, 35], [60, 44], [41, 45]]]


def test_mask_coefficients_are_left_aside() -> None:
    column = (50, 40, 20, 10, 0.9, *range(32))
    found = yolo.decode(raw(column), (64, 64), kinds=PLATE, classes=1, ignore_extra=True)["plate"]
    assert found.boxes.tolist() == [[40, 35, 60, 45]]
    assert found.corners is None


@pytest.mark.parametrize(
    "output",
    [np.zeros((1, 10, 84)), np.zeros((1, 5)), np.zeros((2, 5, 84)), np.zeros((1, 4, 84)), np.zeros((1, 300, 7))],
)
def test_another_shape_is_a_failure(output: np.ndarray) -> None:
    with pytest.raises(DetectionError):
        yolo.decode({"output0": output.astype(np.float32)}, (64, 64), kinds=PLATE, classes=1)


def heads(cells: dict[tuple[int, int, int], tuple[tuple[float, ...], float]]) -> dict[str, np.ndarray]:
    """Maps of a 64 × 96 input: (stride, row, column) -> (left, top, right, bottom in cells; logit of the score)."""
    boxes, scores = {}, {}
    for stride in (8, 16, 32):
        h, w = 64 // stride, 96 // stride
        boxes[f"b{stride}"] = np.zeros((1, 64, h, w), np.float32)
        scores[f"s{stride}"] = np.full((1, 2, h, w), -20, np.float32)
    for (stride, row, column), (distances, logit) in cells.items():
        for side, distance in enumerate(distances):
            low = int(distance)
            logits = np.full(16, -50.0)  # two neighboring bins whose expectation is the distance
            logits[low] = np.log(max(1 - (distance - low), 1e-9))
            logits[low + 1] = np.log(max(distance - low, 1e-9))
            boxes[f"b{stride}"][0, side * 16 : side * 16 + 16, row, column] = logits
        scores[f"s{stride}"][0, 1, row, column] = logit
    return {**boxes, **scores}


def test_heads_are_decoded_at_each_stride() -> None:
    outputs = heads({(8, 2, 3): ((1, 0.5, 2, 1.5), 0.0), (32, 1, 2): ((1.25, 0.75, 0.25, 0.25), np.log(4))})
    found = yolo.decode_heads(outputs, (64, 96), kinds={"vehicle": [1], "person": [0]})
    np.testing.assert_allclose(found["vehicle"].scores, [0.5, 0.8], rtol=1e-5)
    expected = [[28 - 8, 20 - 4, 28 + 16, 20 + 12], [80 - 40, 48 - 24, 80 + 8, 48 + 8]]
    np.testing.assert_allclose(found["vehicle"].boxes, expected, atol=1e-3)
    assert len(found["person"].scores) == 0


def save(path: Path, size: tuple[int | str, int | str] = ("h", "w"), **metadata: str) -> Path:
    """A network that gives one raw candidate for every input: box 2, 2, 6, 6, score 0.5."""
    columns = np.zeros((1, 5, 21), np.float32)
    columns[0, :, 0] = 4, 4, 4, 4, 0.5
    constant = helper.make_tensor("found", TensorProto.FLOAT, columns.shape, columns.ravel().tolist())
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Sub", ["mean", "mean"], ["zero"]),
        helper.make_node("Add", ["found", "zero"], ["output0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "fake",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, *size])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 5, 21])],
        [constant],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def test_a_users_network_is_loaded_with_its_size_and_kinds(tmp_path: Path) -> None:
    path = save(tmp_path / "own.onnx", names="{0: 'id-card'}", imgsz="[320, 320]")
    detector = yolo.load("yolo:own.onnx", path, Settings(), None, {"own.onnx": "00"})
    assert detector.name == "yolo:own.onnx@320"
    assert detector.weights == {"own.onnx": "00"}
    (found,) = detector.detect([np.zeros((320, 320, 3), np.uint8)])
    assert [(r.kind, r.box, r.score) for r in found] == [("id-card", (2, 2, 6, 6), 0.5)]


def test_a_fixed_size_is_kept_and_no_other_is_pretended(tmp_path: Path) -> None:
    path = save(tmp_path / "own.onnx", (64, 96), names="['plate']")
    detector = yolo.load("own", path, Settings(), None, {})
    assert detector.name == "own@96"
    (found,) = detector.detect([np.zeros((640, 960, 3), np.uint8)])
    assert found[0].box == (20, 20, 60, 60)
    with pytest.raises(SettingsError, match="exported for 96 px only; received 640"):
        yolo.load("own", path, Settings(), 640, {})


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({}, "names no classes"),
        ({"names": "{0: 'plate'"}, "cannot be read"),
        ({"names": "{0: 'plate'}", "task": "classify"}, "a network for classify"),
    ],
)
def test_what_cannot_detect_is_refused_at_once(tmp_path: Path, metadata: dict[str, str], says: str) -> None:
    with pytest.raises(WeightsError, match=says):
        yolo.load("own", save(tmp_path / "own.onnx", **metadata), Settings(), None, {})


def test_none_of_the_wanted_classes(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="none of them is wanted"):
        yolo.load(
            "own", save(tmp_path / "own.onnx", names="{0: 'cat'}"), Settings(), None, {}, classes={"car": "vehicle"}
        )


def test_cutting_the_head_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not a plain YOLOv8"):
        yolo.load("own", save(tmp_path / "own.onnx", names="{0: 'cat'}"), Settings(), None, {}, any_size=True)


def test_doubtful_corners_are_none() -> None:
    points = [v for p in ((40, 36), (59, 35), (60, 44), (41, 45)) for v in p]
    sure, doubtful = ([v for i in range(4) for v in (*points[2 * i : 2 * i + 2], s)] for s in (0.7, 0.6))
    found = yolo.decode(
        raw((50, 40, 20, 10, 0.9, *sure), (90, 80, 20, 10, 0.8, *doubtful)), (96, 128), kinds=PLATE, classes=1
    )
    frame = yolo.fit(np.zeros((96, 128, 3), np.uint8), 128)
    first, second = detections("plate", found["plate"], frame, "d", Settings()).regions()
    assert first.corners == ((40, 36), (59, 35), (60, 44), (41, 45))
    assert second.corners is None
    assert second.score == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("kind", "levels", "cells", "fields"),
    [("yolov8n-pose", 3, 126, ("boxes", "scores", "corners")), ("yolov8n-p2", 4, 510, ("boxes", "scores"))],
)
def test_other_networks_are_cut_too_and_give_the_same_as_uncut(
    kind: str, levels: int, cells: int, fields: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from ultralytics.nn.tasks import DetectionModel, PoseModel

    from anonymize.training.trainers import export

    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    if is_pose := "pose" in kind:
        model = PoseModel(f"{kind}.yaml", nc=1, data_kpt_shape=[4, 3], verbose=False)
    else:
        model = DetectionModel(f"{kind}.yaml", nc=1, verbose=False)
    for branch in model.model[-1].cv3:
        torch.nn.init.constant_(branch[-1].bias, 1.0)
    model.names = {0: "plate"}
    torch.save({"model": model, "train_args": {"task": "pose" if is_pose else "detect"}}, tmp_path / "made.pt")
    made = export(tmp_path / "made.pt", tmp_path / "made.onnx")
    uncut, cut = parse(made), parse(made)
    assert yolo.cut_head(cut)
    assert len(cut.graph.output) == levels * (3 if is_pose else 2)
    batch = np.random.default_rng(0).random((1, 3, 64, 96), np.float32)
    whole = yolo.decode(open_network(made, "cpu", model=uncut, exact=True)(batch), (64, 96), kinds=PLATE, classes=1)
    maps = yolo.decode_heads(open_network(made, "cpu", model=cut, exact=True)(batch), (64, 96), kinds=PLATE)
    assert len(whole["plate"].scores) == len(maps["plate"].scores) == cells
    for field in fields:
        ours, theirs = (getattr(c["plate"], field) for c in (maps, whole))
        np.testing.assert_allclose(ours, theirs, atol=1e-4 if field == "scores" else 0.05)


def test_own_weights_are_named_with_their_hash_and_an_at_sign_may_be_in_the_path(tmp_path: Path) -> None:
    folder = tmp_path / "team@64"
    folder.mkdir()
    path = save(folder / "own.onnx", names="{0: 'screen'}")
    made = create(f"yolo:{path}@96", Settings())
    assert made.name == "yolo:own.onnx@96"
    assert made.weights == {"own.onnx": weights.sha256(path)}
    assert create(f"yolo:{path}", Settings()).name == "yolo:own.onnx@640"
