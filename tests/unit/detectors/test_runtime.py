from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anonymize.detectors import runtime
from anonymize.detectors.candidates import Candidates, Letterbox, letterbox
from anonymize.errors import DetectionError, SettingsError, UnknownNameError, WeightsError
from anonymize.settings import Settings
from tests.support.tiny_network import batch, expected, network


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("edited", [False, True])
def test_both_runtimes_give_what_numpy_gives_at_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, edited: bool
) -> None:
    monkeypatch.setenv("ANONYMIZE_RUNTIME", name)
    monkeypatch.setenv("ANONYMIZE_PRECISION", "f32")
    monkeypatch.setenv("ANONYMIZE_THREADS", "1")
    if edited:  # a fixed size and weights among the inputs, as in CenterFace's file
        path = network(tmp_path / "n.onnx", (32, 32), weights_as_input=True)
        model = runtime.parse(path)
        runtime.lift_size(model)
        net = runtime.open_network(path, "cpu", model=model)
    else:
        net = runtime.open_network(network(tmp_path / "n.onnx"), "cpu")
    assert net.size is None
    for size in ((32, 32), (64, 96), (32, 64)):
        x = batch(*size)
        out = net(x)
        assert list(out) == ["sum", "positive"]
        np.testing.assert_allclose(out["sum"][0], expected(x), atol=1e-3)
        np.testing.assert_allclose(out["positive"][0], np.maximum(expected(x), 0), atol=1e-3)
    assert runtime.class_names(net.metadata) == {0: "plate"}
    assert net.metadata["task"] == "detect"


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_fixed_size_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("ANONYMIZE_RUNTIME", name)
    assert runtime.open_network(network(tmp_path / "n.onnx", (64, 96)), "cpu").size == (64, 96)


def test_an_openvino_folder_with_its_metadata(tmp_path: Path) -> None:
    import openvino as ov

    folder = tmp_path / "own_openvino_model"
    ov.save_model(ov.Core().read_model(network(tmp_path / "n.onnx")), folder / "own.xml", compress_to_fp16=False)
    (folder / "metadata.yaml").write_text("task: detect\nnames:\n  0: id-card\nimgsz: [320, 320]\n")
    for path in (folder, folder / "own.xml"):
        net = runtime.open_network(path, "cpu")
        assert runtime.class_names(net.metadata) == {0: "id-card"}
        np.testing.assert_allclose(net(batch(32, 32))["sum"][0], expected(batch(32, 32)), rtol=0.02, atol=1)
    (folder / "other.xml").write_text("")
    with pytest.raises(WeightsError, match=r"2 \.xml files"):
        runtime.open_network(folder, "cpu")


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("content", [b"", b"not a network", b"\x08\x08garbage" * 50])
def test_a_broken_file_is_an_error_when_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes
) -> None:
    monkeypatch.setenv("ANONYMIZE_RUNTIME", name)
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"broken\.onnx"):
        runtime.open_network(path, "cpu")
    with pytest.raises(WeightsError, match=r"broken\.onnx"):
        runtime.parse(path)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ANONYMIZE_RUNTIME", "torch"),
        ("ANONYMIZE_THREADS", "-1"),
        ("ANONYMIZE_PRECISION", "f8"),
        ("ANONYMIZE_BATCH", "0"),
    ],
)
def test_environment_variables_are_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises((UnknownNameError, SettingsError), match=variable):
        runtime.open_network(network(tmp_path / "n.onnx"), "cpu")


@pytest.mark.parametrize("text", ["{0: 'a'", "open('x')", "3", "{'x': 'y'}"])
def test_class_names_are_data_and_never_code(text: str) -> None:
    with pytest.raises(WeightsError, match="cannot be read"):
        runtime.class_names({"names": text})


def detector(network: object, decode: object) -> runtime.NetworkDetector:
    def fit(image: np.ndarray) -> Letterbox:
        return letterbox(image, 32)

    return runtime.NetworkDetector("d@32", network, fit, decode, Settings(), {"d": "00"})  # type: ignore[arg-type]


def one_face(outputs: object, size: tuple[int, int], floor: float) -> dict[str, Candidates]:
    return {"face": Candidates(np.array([[1, 2, 3, 4.0]]), np.array([0.5]))}


def test_a_detector_answers_for_each_image_in_its_own_pixels() -> None:
    d = detector(lambda b: {}, one_face)
    small, large = np.zeros((16, 32, 3), np.uint8), np.zeros((32, 64, 3), np.uint8)
    assert [[r.box for r in found] for found in d.detect([small, large])] == [[(1, 2, 3, 4)], [(2, 4, 6, 8)]]
    assert d.detect([]) == []


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), MemoryError(), ValueError("x"), KeyError("conf")])
def test_whatever_fails_is_a_detection_error(error: Exception) -> None:
    def fail(*_: object) -> None:
        raise error

    image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(DetectionError, match="d@32 failed"):
        detector(fail, one_face).detect([image])
    with pytest.raises(DetectionError, match="d@32 failed"):
        detector(lambda b: {}, fail).detect([image])


def test_one_bad_image_fails_the_call() -> None:
    good, bad = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)
    with pytest.raises(DetectionError, match="an image is"):
        detector(lambda b: {}, one_face).detect([good, bad])
