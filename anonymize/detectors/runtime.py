"""Running networks: an ONNX file (or an OpenVINO folder) and a device -> a function from arrays to arrays.

On the CPU OpenVINO runs them, on a GPU ONNX Runtime's CUDA provider where the onnxruntime-gpu package is installed.
Environment variables, for machines that need them:

    ANONYMIZE_THREADS    threads of one network on the CPU (default: all cores)
    ANONYMIZE_RUNTIME    openvino | onnxruntime, on the CPU (default: openvino)
    ANONYMIZE_PRECISION  f32 | bf16, OpenVINO on the CPU (default: bf16 where the processor has it)
"""

from __future__ import annotations

import ast
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import AnonymizeError, DetectionError, SettingsError, UnknownNameError, WeightsError
from ..regions import Region
from ..settings import Settings
from . import Image
from .candidates import Candidates, Frame, check, regions

log = logging.getLogger(__name__)

Tensor = NDArray[np.float32]
Outputs = Mapping[str, Tensor]


class Network(Protocol):
    """A loaded network.

    Attributes:
        metadata: what the file says about itself (ultralytics writes names, task, stride).
        size: (height, width) px of its input where that is fixed, else None.
    """

    metadata: Mapping[str, str]
    size: tuple[int, int] | None

    def __call__(self, batch: Tensor) -> Outputs:
        """float32 (1, 3, H, W) -> output name -> array, in the file's order. Several threads may call it."""
        ...


def threads() -> int:
    """ANONYMIZE_THREADS; 0: as many as the machine has cores.

    Raises:
        SettingsError: not a whole number >= 0.
    """
    text = os.environ.get("ANONYMIZE_THREADS", "0")
    if not text.isdecimal():
        raise SettingsError(f"ANONYMIZE_THREADS is a number of threads, or 0; received {text!r}")
    return int(text)


def open_network(path: Path, device: str = "auto", *, edit: Callable[[Any], None] | None = None) -> Network:
    """Load a network.

    Args:
        path: a .onnx file, an OpenVINO .xml, or a folder with one.
        device: auto, cpu or cuda (settings.DEVICES).
        edit: changes the onnx.ModelProto of a .onnx file before it is compiled (a fixed input size that need not be).

    Raises:
        SettingsError: cuda is asked for and this environment has none for this file.
        WeightsError: the file is not a network that the runtime can read.
    """
    runtime = os.environ.get("ANONYMIZE_RUNTIME", "openvino")
    if runtime not in ("openvino", "onnxruntime"):
        raise UnknownNameError("ANONYMIZE_RUNTIME", runtime, ("openvino", "onnxruntime"))
    is_onnx = path.suffix == ".onnx"
    source: Path | bytes = path
    if edit is not None:
        import onnx

        model = onnx.load(path)
        edit(model)
        source = model.SerializeToString()
    if device != "cpu" and is_onnx and has_cuda():
        return OnnxRuntime(path, source, cuda=True)
    if device == "cuda":
        raise SettingsError(
            f"device cuda: {path.name} needs onnxruntime-gpu in place of onnxruntime, and a GPU; "
            "use --device cpu, or auto, which takes the GPU where there is one"
        )
    if runtime == "onnxruntime" and is_onnx:
        return OnnxRuntime(path, source, cuda=False)
    return OpenVino(path, source)


def has_cuda() -> bool:
    """Whether ONNX Runtime was built for CUDA and the driver is there."""
    if not Path("/dev/nvidia0").exists() and os.name != "nt":
        return False
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


class OpenVino:
    """OpenVINO on the CPU.

    One inference at a time: each uses all its threads, and its buffers (some hundred MB at 2048 px) exist once.
    """

    def __init__(self, path: Path, source: Path | bytes) -> None:
        import openvino as ov

        if path.is_dir():
            found = sorted(path.glob("*.xml"))
            if len(found) != 1:
                raise WeightsError(f"{path} is not an OpenVINO folder: it has {len(found)} .xml files")
            path = source = found[0]
        core = ov.Core()
        config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
        if count := threads():
            config["INFERENCE_NUM_THREADS"] = count
        if precision := os.environ.get("ANONYMIZE_PRECISION"):
            if precision not in ("f32", "bf16"):
                raise UnknownNameError("ANONYMIZE_PRECISION", precision, ("f32", "bf16"))
            config["INFERENCE_PRECISION_HINT"] = precision
        try:
            model = core.read_model(source)
            shape = model.inputs[0].partial_shape
            is_fixed = shape[2].is_static and shape[3].is_static
            self.size = (shape[2].get_length(), shape[3].get_length()) if is_fixed else None
            self.metadata: Mapping[str, str] = _openvino_metadata(path, model)
            self._names = [o.get_any_name() for o in model.outputs]
            self._request = core.compile_model(model, "CPU", config).create_infer_request()
        except RuntimeError as e:
            raise WeightsError(f"{path} is not a network that OpenVINO can run: {_first_line(e)}") from e
        self._lock = threading.Lock()

    def __call__(self, batch: Tensor) -> Outputs:
        with self._lock:
            results = self._request.infer([batch], share_inputs=True)
            return {name: results[i].copy() for i, name in enumerate(self._names)}


class OnnxRuntime:
    """ONNX Runtime, on the CPU or through CUDA. Its sessions take calls from several threads."""

    def __init__(self, path: Path, source: Path | bytes, *, cuda: bool) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads()
        options.log_severity_level = 3
        providers = ["CUDAExecutionProvider"] if cuda else []
        try:
            self._session = ort.InferenceSession(source, options, providers=[*providers, "CPUExecutionProvider"])
        except Exception as e:  # onnxruntime's own exceptions share no base class but this
            raise WeightsError(f"{path} is not a network that ONNX Runtime can run: {_first_line(e)}") from e
        if cuda and "CUDAExecutionProvider" not in self._session.get_providers():
            log.warning("%s runs on the CPU: ONNX Runtime could not start CUDA", path.name)
        entry = self._session.get_inputs()[0]
        self._input = entry.name
        height, width = entry.shape[2:4]
        self.size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
        self.metadata: Mapping[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self._names = [o.name for o in self._session.get_outputs()]

    def __call__(self, batch: Tensor) -> Outputs:
        return dict(zip(self._names, self._session.run(None, {self._input: batch}), strict=True))


def lift_size(model: Any) -> None:
    """An edit for `open_network`: lift a fixed height and width; make weights constants (inputs in IR version 3)."""
    constants = {i.name for i in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in constants]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    for value in (*model.graph.input, *model.graph.output):
        for i, dim in enumerate(value.type.tensor_type.shape.dim):
            if i != 1:
                dim.dim_param = f"{value.name}_{i}"


def _openvino_metadata(path: Path, model: Any) -> dict[str, str]:
    """ultralytics' facts about a network: the ONNX file's properties, or metadata.yaml beside an OpenVINO .xml."""
    beside = path.with_name("metadata.yaml")
    if path.suffix == ".xml" and beside.exists():
        import yaml

        return {str(k): str(v) for k, v in (yaml.safe_load(beside.read_text("utf-8")) or {}).items()}
    if not model.has_rt_info("framework"):
        return {}
    info = model.get_rt_info("framework").value
    return {k: str(v.value if hasattr(v, "value") else v) for k, v in info.items()}


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), repr(error))


def class_names(metadata: Mapping[str, str]) -> dict[int, str]:
    """Class number -> name, from ultralytics' metadata; empty when there is none.

    Raises:
        WeightsError: the entry is there and cannot be read.
    """
    text = metadata.get("names", "")
    if not text:
        return {}
    try:
        names = ast.literal_eval(text)
        return {int(k): str(v) for k, v in (names.items() if isinstance(names, dict) else enumerate(names))}
    except (ValueError, SyntaxError, TypeError) as e:
        raise WeightsError(f"class names that cannot be read: {text[:80]!r}") from e


class NetworkDetector:
    """A network with its pure pre- and post-processing, as a Detector.

    Args:
        name: the detector's, long side included.
        network: what `open_network` gave.
        prepare: image -> (frame, float32 (1, 3, H, W)).
        decode: (outputs, (H, W) of the input) -> kind -> candidates, in the input's pixels.
        settings: overlap and max_regions.
        weights: name -> sha256.
    """

    def __init__(
        self,
        name: str,
        network: Callable[[Tensor], Outputs],
        prepare: Callable[[Image], tuple[Frame, Tensor]],
        decode: Callable[[Outputs, tuple[int, int]], Mapping[str, Candidates]],
        settings: Settings,
        weights: Mapping[str, str],
    ) -> None:
        self.name = name
        self.weights: Mapping[str, str] = dict(weights)
        self._network, self._prepare, self._decode, self._settings = network, prepare, decode, settings

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        """See `Detector.detect`. One image after the other: a batch gains nothing on a CPU, and sizes differ."""
        return [self._look(check(image)) for image in images]

    def _look(self, image: Image) -> list[Region]:
        try:
            frame, batch = self._prepare(image)
            outputs = self._network(batch)
            found = self._decode(outputs, (batch.shape[2], batch.shape[3]))
            every = [regions(kind, c, frame, self.name, self._settings) for kind, c in found.items()]
        except AnonymizeError:
            raise
        except Exception as e:  # whatever a runtime throws, out of memory included: the photo was not looked at
            raise DetectionError(f"{self.name} failed: {_first_line(e)}") from e
        return sorted((r for one in every for r in one), key=lambda r: -r.score)
