"""RetinaFace ResNet50 without its weights: a stand-in file of the same shape, judged by the package's arithmetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from anonymize.detectors import create, retinaface_r50
from anonymize.detectors.candidates import letterbox
from anonymize.detectors.runtime import NetworkDetector, open_network
from anonymize.errors import DetectionError, UntrustedWeightsError, WeightsError
from anonymize.regions import boxes, iou
from anonymize.settings import Settings

S = Settings(iou_threshold=0.4, device="cpu")
SIDE = 256


def stand_in(path: Path) -> Path:
    """(1, H, W, 3) -> for strides 32, 16, 8: probabilities (…, 4), boxes (…, 8), landmarks (…, 20); random weights."""
    rng = np.random.default_rng(3)
    nodes = [helper.make_node("Transpose", ["x"], ["nchw"], perm=[0, 3, 1, 2])]
    weights, outputs = [], []
    for stride in (32, 16, 8):
        for what, channels, size in (("score", 4, 0.01), ("box", 8, 0.001), ("mark", 20, 0.001)):
            name = f"{what}{stride}"
            kernel = rng.normal(0, size / stride, (channels, 3, stride, stride))
            kernel -= kernel.mean(axis=(2, 3), keepdims=True)  # else the photo's brightness drowns everything
            kernel[:, 0] *= 3  # red counts more: a swapped order of the colors changes everything
            weights.append(numpy_helper.from_array(kernel.astype(np.float32), f"{name}w"))
            nodes.append(
                helper.make_node(
                    "Conv", ["nchw", f"{name}w"], [f"{name}c"], strides=[stride] * 2, kernel_shape=[stride] * 2
                )
            )
            last = f"{name}c"
            if what == "score":
                nodes.append(helper.make_node("Sigmoid", [last], [f"{name}s"]))
                last = f"{name}s"
            nodes.append(helper.make_node("Transpose", [last], [name], perm=[0, 2, 3, 1]))
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, None, None, channels]))
    graph = helper.make_graph(
        nodes, "stand-in", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, None, None, 3])], outputs, weights
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def photo(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_the_same_faces_as_the_packages_own_arithmetic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    monkeypatch.setenv("DEEPFACE_BACKEND_ENGINE", "onnx")
    monkeypatch.setenv("ANONYMIZE_RUNTIME", runtime)
    monkeypatch.setenv("ANONYMIZE_PRECISION", "f32")
    ort = pytest.importorskip("onnxruntime")
    theirs = pytest.importorskip("retinaface.RetinaFace")
    from retinaface.commons import preprocess
    from retinaface.model.retinaface_onnx_model import RetinaFace

    path, image = stand_in(tmp_path / "r50.onnx"), photo(SIDE, SIDE)
    # The package enlarges to 1,024 px; without that both see the same pixels.
    monkeypatch.setattr(preprocess, "resize_image", lambda img, scales, allow_upscaling: (img, 1.0))
    model = RetinaFace(ort.InferenceSession(path, providers=["CPUExecutionProvider"]))
    monkeypatch.setattr(theirs, "_predict", lambda model, tensor: model(tensor))
    expected = theirs.detect_faces(image[:, :, ::-1], threshold=0.8, model=model)  # it takes BGR
    # Before suppression, of which both have their own. The rest is as for every network.
    network = open_network(path, "cpu", scaling=retinaface_r50.SCALING)
    found = retinaface_r50.decode(network(image[None]), (SIDE, SIDE))["face"]
    assert found.landmarks is not None
    inside = [f for f in expected.values() if min(f["facial_area"]) > 1 and max(f["facial_area"]) < SIDE - 2]
    assert len(inside) > 3
    for face in inside:
        area = np.array(face["facial_area"], float) + (0, 0, 1, 1)  # theirs end on a pixel, and are cut to whole ones
        best = int(iou(found.boxes, area[None])[:, 0].argmax())
        assert found.scores[best] == pytest.approx(float(face["score"]), abs=1e-4)
        np.testing.assert_allclose(found.boxes[best], area, atol=1.01)
        eye = np.array(face["landmarks"]["right_eye"])  # of the person: the left one as seen
        np.testing.assert_allclose(found.landmarks[best][0], eye + 0.5, atol=0.1)


def test_boxes_come_back_in_the_photos_pixels(tmp_path: Path) -> None:
    network = open_network(stand_in(tmp_path / "r50.onnx"), "cpu", scaling=retinaface_r50.SCALING)
    detector = NetworkDetector("r50@256", network, lambda image: letterbox(image, SIDE), retinaface_r50.decode, S, {})
    image = photo(SIDE, SIDE)
    (small,), (large,) = detector.detect([image]), detector.detect([np.kron(image, np.ones((2, 2, 1), np.uint8))])
    best = [r for r in small if r.score > 0.8]
    assert best
    overlaps = iou(boxes(r.scale(2) for r in best), boxes(large))
    assert (overlaps.max(axis=1) > 0.8).all()


def test_another_networks_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DetectionError, match="nine maps"):
        retinaface_r50.decode({"scores": np.zeros((1, 8, 8, 2), np.float32)}, (64, 64))


def test_it_is_refused_without_trust_and_names_what_else_there_is(tmp_path: Path) -> None:
    with pytest.raises(UntrustedWeightsError, match="retinaface-mobilenet@1536"):
        create("retinaface-r50", S, weights_dir=tmp_path)


def test_where_it_cannot_be_had_the_error_names_what_else_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anonymize import weights

    def refuse(*_: object, **__: object) -> Path:
        raise WeightsError("no way to get it")

    monkeypatch.setattr(weights, "onnx", refuse)
    with pytest.raises(WeightsError, match=r"no way to get it\. Detectors that need nothing from there: .*centerface"):
        create("retinaface-r50", S, weights_dir=tmp_path, trust=True)


def test_a_trusted_file_put_by_hand_works(tmp_path: Path) -> None:
    stand_in(tmp_path / "retinaface-r50.onnx")
    detector = create("retinaface-r50@256", S, weights_dir=tmp_path, trust=True)
    assert detector.name == "retinaface-r50@256"
    assert detector.detect([photo(64, 96)])[0]
