"""Running networks: an ONNX file (or an OpenVINO folder) and a device -> a function from arrays to arrays.

On the CPU OpenVINO runs them (or ONNX Runtime); on a GPU ONNX Runtime, if its build has CUDA (onnxruntime-gpu).
Environment variables, for machines that need them:

    ANONYMIZE_THREADS    threads of one network on the CPU (default: all cores)
    ANONYMIZE_RUNTIME    openvino | onnxruntime, on the CPU (default: openvino)
    ANONYMIZE_PRECISION  f32 | bf16, OpenVINO on the CPU (default: bf16 where the processor has it)
"""

from __future__ import annotations

import ast
import contextlib
import copy
import ctypes
import hashlib
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from ..errors import AnonymizeError, DetectionError, SettingsError, UnknownNameError, WeightsError
from ..extras import extra
from ..regions import Region
from ..settings import MIN_THRESHOLD, UNLIKELY, Settings
from .candidates import Candidates, Letterbox, check, regions
from .detector import Image

log = logging.getLogger(__name__)

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # of glibc's malloc.h
LARGE = 3 * 2_000_000  # numbers in an input after which its buffers go; for each photo, that would cost 3 % of the time
CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"  # ONNX Runtime's names

Tensor = NDArray[np.float32]
Outputs = Mapping[str, Tensor]
Decode = Callable[[Outputs, tuple[int, int], float], Mapping[str, Candidates]]


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
    if not (text.isascii() and text.isdecimal()):
        raise SettingsError(f"ANONYMIZE_THREADS is a number of threads, or 0; received {text!r}")
    return int(text)


def open_network(path: Path, device: str = "auto", *, model: Any = None, exact: bool = False) -> Network:
    """Load a network.

    Args:
        path: a .onnx file, an OpenVINO .xml, or a folder with one.
        device: auto, cpu or cuda (settings.DEVICES).
        model: the onnx.ModelProto to run instead of what is in the .onnx file (`parse`, then changed).
        exact: the network itself computes coordinates in px, which bfloat16 rounds (to 4 px beyond 512, 8 beyond 1024).

    Raises:
        SettingsError: cuda is asked for and cannot be had.
        WeightsError: the file is not a network that the runtime can run.
    """
    # Several detectors may share a network (scales of one, stages of another); it is loaded once for all of them.
    variables = [os.environ.get(f"ANONYMIZE_{v}") for v in ("RUNTIME", "PRECISION", "THREADS")]
    try:
        stamp = max(p.stat().st_mtime_ns for p in (path, *(path.iterdir() if path.is_dir() else ())))
    except OSError as e:
        raise WeightsError(f"{path} cannot be read: {e}") from e
    content = model and hashlib.sha256(model.SerializeToString(deterministic=True)).digest()
    key = (path, stamp, content, device, exact, *variables)
    with _opening:
        network: Network | None = _networks.get(key)
        if network is None:
            network = _networks[key] = _open(path, device, model, exact)
    return network


_networks: WeakValueDictionary[tuple[Any, ...], Network] = WeakValueDictionary()
_opening = threading.Lock()


def _open(path: Path, device: str, model: Any, exact: bool) -> Network:
    runtime = os.environ.get("ANONYMIZE_RUNTIME", "openvino")
    if runtime not in ("openvino", "onnxruntime"):
        raise UnknownNameError("ANONYMIZE_RUNTIME", runtime, ("openvino", "onnxruntime"))
    source = path if model is None else model.SerializeToString()
    if device == "cuda" or (device == "auto" and has_gpu()):
        try:
            return _open_on_gpu(path, source)
        except (SettingsError, WeightsError) as e:
            if device == "cuda":
                raise
            log.warning("%s; it runs on the CPU", e)
    if runtime == "onnxruntime" and path.suffix == ".onnx":
        return OnnxRuntime(path, source)
    return OpenVino(path, source, exact=exact)


def has_gpu() -> bool:
    """Whether the system shows a GPU and the installed ONNX Runtime was built with CUDA."""
    if os.name == "posix" and not any(Path(p).exists() for p in ("/dev/nvidia0", "/dev/dxg")):
        return False  # without importing ONNX Runtime to ask it
    try:
        import onnxruntime as ort
    except ModuleNotFoundError:  # the extra `gpu` is not installed
        return False
    return CUDA in ort.get_available_providers()


def _open_on_gpu(path: Path, source: Path | bytes) -> Network:
    """A network on CUDA.

    Raises:
        SettingsError: ONNX Runtime has no CUDA, or cannot use the GPU.
        WeightsError: not an ONNX file.
    """
    with extra("gpu", "device cuda"):
        import onnxruntime as ort

    if path.suffix != ".onnx":
        raise WeightsError(f"{path} is not an ONNX file, which the GPU needs")
    if CUDA not in ort.get_available_providers():
        raise SettingsError(
            "device cuda needs ONNX Runtime's build for it: pip uninstall onnxruntime; pip install onnxruntime-gpu. "
            "Or use cpu, or auto, which takes a GPU if it can"
        )
    network = OnnxRuntime(path, source, providers=(CUDA, CPU))
    if CUDA not in network.providers:  # ONNX Runtime falls back to the CPU without an error
        raise SettingsError("device cuda: ONNX Runtime cannot use a GPU here; use cpu, or auto")
    return network


def parse(path: Path) -> Any:
    """The onnx.ModelProto of a .onnx file.

    Raises:
        WeightsError: it is not one.
    """
    import onnx

    if path.suffix != ".onnx":
        raise WeightsError(f"{path} is not an ONNX file")
    try:
        model = onnx.load(path)
    except Exception as e:  # protobuf's DecodeError, OSError
        raise WeightsError(f"{path} is not a network: {_first_line(e)}") from e
    if not model.graph.output:  # protobuf takes an empty file for an empty message
        raise WeightsError(f"{path} is not a network: it has no outputs")
    return model


class OpenVino:
    """OpenVINO on the CPU.

    One inference at a time: each uses all its threads, and its buffers (some hundred MB at 2048 px) exist once. Those
    of a large photo go after it: kept, those of all networks of a preset would add up.
    """

    def __init__(self, path: Path, source: Path | bytes, *, exact: bool = False) -> None:
        import openvino as ov

        if path.is_dir():
            found = sorted(path.glob("*.xml"))
            if len(found) != 1:
                raise WeightsError(f"{path} is not an OpenVINO folder: it has {len(found)} .xml files")
            path = source = found[0]
        # The binding sets its numpy interface up at the first array; two threads that both come first wait for each
        # other for ever (one holds the GIL, one the lock that the other needs). Here, one network is opened at a time.
        ov.Tensor(np.zeros(1, np.float32))
        core = ov.Core()
        config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
        _return_memory()
        # It would keep what it compiles for each size of photo, and photos have hundreds of sizes.
        config["CPU_RUNTIME_CACHE_CAPACITY"] = 0
        if count := threads():
            config["INFERENCE_NUM_THREADS"] = count
        if precision := os.environ.get("ANONYMIZE_PRECISION"):
            if precision not in ("f32", "bf16"):
                raise UnknownNameError("ANONYMIZE_PRECISION", precision, ("f32", "bf16"))
            config["INFERENCE_PRECISION_HINT"] = precision
        elif exact:
            config["INFERENCE_PRECISION_HINT"] = "f32"
        try:
            model = core.read_model(source)
            shape = model.inputs[0].partial_shape
            is_fixed = shape[2].is_static and shape[3].is_static
            self.size = (shape[2].get_length(), shape[3].get_length()) if is_fixed else None
            self.metadata: Mapping[str, str] = _openvino_metadata(path, model)
            self._names = [o.get_any_name() if o.get_names() else str(i) for i, o in enumerate(model.outputs)]
            self._compiled = core.compile_model(model, "CPU", config)
            self._request = self._compiled.create_infer_request()
        except RuntimeError as e:
            raise WeightsError(f"{path} is not a network that OpenVINO can run: {_first_line(e)}") from e
        self._lock = threading.Lock()

    def __call__(self, batch: Tensor) -> Outputs:
        with self._lock:
            results = self._request.infer([batch], share_inputs=True)
            outputs = {name: results[i].copy() for i, name in enumerate(self._names)}
            if batch.size > LARGE:
                del results
                self._request = self._compiled.create_infer_request()
            return outputs


def _return_memory() -> None:
    """Let glibc give back to the system what is freed of photos and buffers of all sizes, rather than keep it in pools.

    It has a pool for each thread, and puts larger and larger pieces into them the more of these it sees.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library, another system
        libc = ctypes.CDLL(None)
        libc.mallopt(M_ARENA_MAX, 2)
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 20)


class OnnxRuntime:
    """ONNX Runtime on the CPU or, with CUDA among its providers, on a GPU. Several threads may call a session.

    Attributes:
        providers: those that the session uses, which may be fewer than were asked for.
    """

    def __init__(self, path: Path, source: Path | bytes, *, providers: Sequence[str] = (CPU,)) -> None:
        with extra("gpu", "ONNX Runtime"):
            import onnxruntime as ort

        ort.disable_telemetry_events()  # Windows builds send some; there is no switch in the environment
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads()
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(source, options, providers=list(providers))
        except Exception as e:  # onnxruntime's own exceptions share no base class but this
            raise WeightsError(f"{path} is not a network that ONNX Runtime can run: {_first_line(e)}") from e
        self.providers: list[str] = self._session.get_providers()
        entry = self._session.get_inputs()[0]
        self._input = entry.name
        height, width = entry.shape[2:4]
        self.size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
        self.metadata: Mapping[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self._names = [o.name for o in self._session.get_outputs()]

    def __call__(self, batch: Tensor) -> Outputs:
        return dict(zip(self._names, self._session.run(None, {self._input: batch}), strict=True))


def lift_size(model: Any) -> None:
    """Change an onnx.ModelProto: lift a fixed height and width; make weights constants (inputs in IR version 3)."""
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
        decode: (outputs, (H, W) of the input, least score) -> kind -> candidates, in the input's pixels.
        settings: iou_threshold and max_regions.
        weights: name -> sha256.
    """

    def __init__(
        self,
        name: str,
        network: Callable[[Tensor], Outputs],
        prepare: Callable[[Image], tuple[Letterbox, Tensor]],
        decode: Decode,
        settings: Settings,
        weights: Mapping[str, str],
    ) -> None:
        self.name = name
        self.weights: Mapping[str, str] = dict(weights)
        self._network, self._prepare, self._decode, self._settings = network, prepare, decode, settings
        self._floor, self._likely = MIN_THRESHOLD, UNLIKELY
        self.kinds: frozenset[str] | None = None  # what it looks for, where that is known

    def with_floor(self, floor: float, likely: float) -> NetworkDetector:
        """The same detector without what scores less: most candidates of a face network do, and each costs time.

        likely: the score from which none may be left out for being one too many, UNLIKELY in this network's scores.
        """
        made = copy.copy(self)
        made._floor, made._likely = max(floor, MIN_THRESHOLD), likely
        return made

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        """See `Detector.detect`. One image after the other: a batch gains nothing on a CPU, and sizes differ."""
        return [self._look(check(image)) for image in images]

    def _look(self, image: Image) -> list[Region]:
        try:
            frame, batch = self._prepare(image)
            outputs = self._network(batch)
            found = self._decode(outputs, (batch.shape[2], batch.shape[3]), self._floor)
            every = [
                regions(kind, c, frame, self.name, self._settings, self._floor, self._likely)
                for kind, c in found.items()
            ]
        except AnonymizeError:
            raise
        except Exception as e:  # whatever a runtime throws, out of memory included: the photo was not looked at
            raise DetectionError(f"{self.name} failed: {_first_line(e)}") from e
        return sorted((r for one in every for r in one), key=lambda r: -r.score)
