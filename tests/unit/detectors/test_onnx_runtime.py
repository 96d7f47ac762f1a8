from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from anonymize.detectors import onnx_runtime, runtime
from anonymize.detectors.candidates import Candidates, Scaling, letterbox
from anonymize.errors import SettingsError, UnknownNameError, WeightsError
from anonymize.settings import Settings
from tests.support.tiny_network import batch, expected, network

REAL = ort.InferenceSession
SCALINGS = [
    Scaling(),
    Scaling(divisor=255.0),
    Scaling(mean=(104.0, 117.0, 123.0), is_bgr=True),
    Scaling(mean=(1.0, 2.0, 3.0), divisor=2.0, is_bgr=True),
]


class Session:
    """ONNX Runtime's session as a GPU's build of it would be; the network runs on the CPU."""

    usable: tuple[str, ...] = (onnx_runtime.TENSORRT, onnx_runtime.CUDA, onnx_runtime.CPU)

    def __init__(self, source: object, options: object, providers: list[object]) -> None:
        self.asked = [p if isinstance(p, str) else p[0] for p in providers]  # type: ignore[index]
        assert self.asked[-2:] == [onnx_runtime.CUDA, onnx_runtime.CPU]
        self._inner = REAL(source, options, providers=[onnx_runtime.CPU])

    def get_providers(self) -> list[str]:
        return [name for name in self.asked if name in self.usable]

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime says that it has CUDA. No GPU is used: what runs on one is not tested here."""
    monkeypatch.setattr(ort, "get_available_providers", lambda: list(Session.usable))
    monkeypatch.setattr(ort, "InferenceSession", Session)
    monkeypatch.setattr(ort, "preload_dlls", lambda: print("CUDA is not found"))
    monkeypatch.setattr(runtime, "has_gpu", lambda: True)
    monkeypatch.setenv("ANONYMIZE_PRECISION", "f32")


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("device", ["cuda", "auto"])
def test_on_a_gpu_onnx_runtime_gets_the_network(
    tmp_path: Path, device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    net = runtime.open_network(network(tmp_path / "n.onnx"), device)
    assert isinstance(net, runtime.OnnxRuntime)
    assert net.batch == runtime.ON_GPU
    np.testing.assert_allclose(net(batch(32, 64))["sum"][0], expected(batch(32, 64)), atol=1e-3)
    assert capsys.readouterr().out == ""  # what ONNX Runtime prints is not the program's answer


@pytest.mark.usefixtures("gpu")
def test_tensorrt_comes_first_where_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANONYMIZE_RUNTIME", "tensorrt")
    monkeypatch.setenv("ANONYMIZE_WEIGHTS", str(tmp_path / "cache"))
    path = network(tmp_path / "n.onnx")
    net = runtime.open_network(path, "cuda")
    assert isinstance(net, runtime.OnnxRuntime)
    assert net.providers[0] == onnx_runtime.TENSORRT
    monkeypatch.setattr(Session, "usable", (onnx_runtime.CUDA, onnx_runtime.CPU))
    with pytest.raises(SettingsError, match="no TensorRT"):
        runtime.open_network(network(tmp_path / "other.onnx"), "cuda")


@pytest.mark.usefixtures("gpu")
def test_a_gpu_that_cannot_be_used_is_an_error_for_cuda_and_the_cpu_for_auto(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = network(tmp_path / "n.onnx")
    monkeypatch.setattr(Session, "get_providers", lambda self: [onnx_runtime.CPU])
    with pytest.raises(SettingsError, match="cannot use a GPU"):
        runtime.open_network(path, "cuda")
    assert isinstance(runtime.open_network(path, "auto"), runtime.OpenVino)


@pytest.mark.usefixtures("gpu")
def test_a_precision_that_the_gpu_has_not_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANONYMIZE_PRECISION", "bf16")
    with pytest.raises(UnknownNameError, match="on a GPU"):
        runtime.open_network(network(tmp_path / "n.onnx"), "cuda")


@pytest.mark.usefixtures("gpu")
def test_an_openvino_folder_is_no_network_for_a_gpu(tmp_path: Path) -> None:
    import openvino as ov

    ov.save_model(ov.Core().read_model(network(tmp_path / "n.onnx")), tmp_path / "own.xml")
    with pytest.raises(WeightsError, match="not an ONNX file"):
        runtime.open_network(tmp_path / "own.xml", "cuda")
    assert isinstance(runtime.open_network(tmp_path / "own.xml", "auto"), runtime.OpenVino)


def test_cuda_without_its_build_of_onnx_runtime_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: [onnx_runtime.CPU])
    path = network(tmp_path / "n.onnx")
    with pytest.raises(SettingsError, match="onnxruntime-gpu"):
        runtime.open_network(path, "cuda")
    assert isinstance(runtime.open_network(path, "auto"), runtime.OpenVino)


@pytest.mark.usefixtures("gpu")
def test_half_precision_changes_little_and_its_answers_are_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (2, 32, 64, 3), np.uint8)
    path, answers = network(tmp_path / "n.onnx"), {}
    for precision in ("f32", "f16"):
        monkeypatch.setenv("ANONYMIZE_PRECISION", precision)
        answers[precision] = runtime.open_network(path, "cuda", scaling=Scaling(divisor=255.0))(pixels)["sum"]
    whole, half = answers["f32"], answers["f16"]
    assert half.dtype == np.float32
    assert 0 < np.abs(half - whole).max() < 2e-3 * np.abs(whole).max()


@pytest.mark.usefixtures("gpu")
def test_a_network_that_computes_pixels_keeps_its_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_runtime, "halved", None)  # would fail
    monkeypatch.delenv("ANONYMIZE_PRECISION")
    runtime.open_network(network(tmp_path / "n.onnx"), "cuda", exact=True)


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_pixels_are_scaled_alike_inside_and_outside_of_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, scaling: Scaling
) -> None:
    monkeypatch.setenv("ANONYMIZE_RUNTIME", name)
    monkeypatch.setenv("ANONYMIZE_PRECISION", "f32")
    path = network(tmp_path / "n.onnx")
    pixels = np.random.default_rng(2).integers(0, 256, (1, 32, 64, 3), np.uint8)
    given = scaling.apply(pixels)
    assert given.shape == (1, 3, 32, 64)
    out = runtime.open_network(path, "cpu", scaling=scaling)(pixels)["sum"]
    np.testing.assert_array_equal(out, runtime.open_network(path, "cpu")(given)["sum"])


def test_a_network_whose_channels_come_last_gets_them_last() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3)
    np.testing.assert_array_equal(Scaling(channels_last=True, mean=(0, 0, 5)).apply(pixels), pixels - [0.0, 0, 5])


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("together", [1, 2, 3])
def test_images_of_any_sizes_get_the_same_answers_in_any_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, together: int
) -> None:
    monkeypatch.setenv("ANONYMIZE_RUNTIME", name)
    monkeypatch.setenv("ANONYMIZE_PRECISION", "f32")
    monkeypatch.setenv("ANONYMIZE_BATCH", str(together))
    net = runtime.open_network(network(tmp_path / "n.onnx"), "cpu", scaling=Scaling(divisor=255.0))
    seen: list[int] = []

    def watched(pixels: np.ndarray) -> runtime.Outputs:
        seen.append(len(pixels))
        return net(pixels)

    watched.batch = net.batch  # type: ignore[attr-defined]

    def decode(outputs: runtime.Outputs, size: tuple[int, int], floor: float) -> dict[str, Candidates]:
        """A box from what the network says of the whole image."""
        (total,) = outputs["positive"].sum(axis=(1, 2, 3))
        return {"face": Candidates(np.array([[1.0, 2, 9, 9 + total % 7]]), np.array([0.2 + total % 1 / 2]))}

    detector = runtime.NetworkDetector("d@64", watched, lambda i: letterbox(i, 64), decode, Settings(), {})
    rng = np.random.default_rng(3)
    shapes = [(32, 64), (64, 32), (32, 64), (48, 64), (32, 64), (64, 32)]
    images = [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in shapes]
    every = detector.detect(images)
    assert seen == {1: [1] * 6, 2: [2, 1, 2, 1], 3: [3, 1, 1, 1]}[together]
    for image, (region,) in zip(images, every, strict=True):
        ((alone,),) = detector.detect([image])
        assert alone.box == pytest.approx(region.box, abs=1e-3)
        assert alone.score == pytest.approx(region.score, abs=1e-3)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_network_that_was_exported_for_one_picture_gets_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("ANONYMIZE_RUNTIME", name)
    monkeypatch.setenv("ANONYMIZE_BATCH", "4")
    for count, expected_batch in ((1, 1), ("n", 4)):
        path = network(tmp_path / f"{count}.onnx", batch=count)
        for scaling in (None, Scaling()):
            assert runtime.open_network(path, "cpu", scaling=scaling).batch == expected_batch


@pytest.mark.usefixtures("gpu")
def test_on_a_gpu_each_shape_has_a_session_of_its_own_and_few_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []
    init = Session.__init__

    def counted(self: Session, *given: object, **options: object) -> None:
        opened.append(self)
        init(self, *given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "__init__", counted)
    monkeypatch.setattr(onnx_runtime, "SESSIONS", 2)
    net = runtime.open_network(network(tmp_path / "n.onnx"), "cuda")
    for width, count in ((32, 1), (64, 2), (32, 2), (96, 3), (32, 3), (64, 4)):  # 64 had to go for 96
        np.testing.assert_allclose(net(batch(32, width))["sum"][0], expected(batch(32, width)), atol=1e-3)
        assert len(opened) == count
