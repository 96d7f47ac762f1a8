"""Running networks: an ONNX file (or an OpenVINO folder) and a device -> a function from arrays to arrays.

On the CPU OpenVINO runs them (or ONNX Runtime); on a GPU ONNX Runtime, if its build has CUDA (onnxruntime-gpu).
Environment variables, for machines that need them:

    ANONYMIZE_THREADS    threads of one network on the CPU (default: all cores)
    ANONYMIZE_RUNTIME    openvino | onnxruntime, on the CPU (default: openvino); tensorrt: on a GPU, with its library
    ANONYMIZE_PRECISION  auto | int8 | bf16 | f32, OpenVINO on the CPU; int8: networks in models/int8.json, others f32;
                         auto, the default: others bf16 where the processor has it. On a GPU f16 (default) | f32
    ANONYMIZE_BATCH      photos that are looked at together (default: 8 on a GPU, 1 on the CPU)
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
from ..regions import Region
from ..settings import MIN_THRESHOLD, UNLIKELY, Settings
from ..weights import cache_dir
from . import int8
from .candidates import Candidates, Letterbox, Scaling, check, regions
from .detector import Image
from .onnx_runtime import OnnxRuntime, first_line, has_gpu, open_on_gpu, scale_inside

log = logging.getLogger(__name__)

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h
ON_GPU = 8  # photos at a time
LARGE = 3 * 2_000_000  # numbers in an input after which its buffers go; for each photo, that would cost 3 % of the time
# Layers prepared for a shape that oneDNN keeps, of all networks together: those of about 35 shapes. Its own number,
# 1,024, holds 17, fewer than a folder's photos and their pieces have: 6 % more time, for 70 MB less.
PREPARED = 2048
RUNTIMES = ("openvino", "onnxruntime", "tensorrt")
PRECISIONS = ("auto", "int8", "bf16", "f32")

Tensor = NDArray[np.float32]
Outputs = Mapping[str, Tensor]
Decode = Callable[[Outputs, tuple[int, int], float], Mapping[str, Candidates]]


class Network(Protocol):
    """A loaded network.

    Attributes:
        metadata: what the file says about itself (ultralytics writes names, task, stride).
        size: (height, width) px of its input where that is fixed, else None.
        batch: how many pictures of one size are worth one call.
    """

    metadata: Mapping[str, str]
    size: tuple[int, int] | None
    batch: int

    def __call__(self, batch: NDArray[Any]) -> Outputs:
        """A batch of inputs -> output name -> array, in the file's order. Several threads may call it.

        Args:
            batch: uint8 (N, H, W, 3) RGB where it was opened with a scaling; else what the file says, float32.
        """
        ...


def threads() -> int:
    """ANONYMIZE_THREADS; 0: as many as the machine has cores.

    Raises:
        SettingsError: not a whole number >= 0.
    """
    return _number("ANONYMIZE_THREADS", 0, "a number of threads, or 0")


def batch_size(device: str) -> int:
    """How many photos should be looked at together on a device (settings.DEVICES).

    Raises:
        SettingsError: ANONYMIZE_BATCH is not a whole number >= 1.
    """
    return _number("ANONYMIZE_BATCH", ON_GPU if is_gpu(device) else 1, "a number of photos", least=1)


def is_gpu(device: str) -> bool:
    """Whether networks run on a GPU there (settings.DEVICES), if they can."""
    return device == "cuda" or (device == "auto" and has_gpu())


def _number(variable: str, default: int, meaning: str, least: int = 0) -> int:
    text = os.environ.get(variable, str(default))
    if not (text.isascii() and text.isdecimal()) or int(text) < least:
        raise SettingsError(f"{variable} is {meaning}; received {text!r}")
    return int(text)


def open_network(
    path: Path, device: str = "auto", *, model: Any = None, exact: bool = False, scaling: Scaling | None = None
) -> Network:
    """Load a network.

    Args:
        path: a .onnx file, an OpenVINO .xml, or a folder with one.
        device: auto, cpu or cuda (settings.DEVICES).
        model: the onnx.ModelProto to run instead of what is in the .onnx file (`parse`, then changed).
        exact: its outputs must not be rounded: coordinates in px (bfloat16 rounds to 4 px beyond 512, 8 beyond
            1024), or numbers that something was fitted to.
        scaling: what it makes of pixels, which it then takes as they are.

    Raises:
        SettingsError: cuda is asked for and cannot be had.
        WeightsError: the file is not a network that the runtime can run.
    """
    # Several detectors may share a network (scales of one, stages of another); it is loaded once for all of them.
    variables = [os.environ.get(f"ANONYMIZE_{v}") for v in ("RUNTIME", "PRECISION", "THREADS", "BATCH")]
    try:
        stamp = max(p.stat().st_mtime_ns for p in (path, *(path.iterdir() if path.is_dir() else ())))
    except OSError as e:
        raise WeightsError(f"{path} cannot be read: {e}") from e
    content = model and hashlib.sha256(model.SerializeToString(deterministic=True)).digest()
    key = (path, stamp, content, device, exact, scaling, *variables)
    with _opening:
        network: Network | None = _networks.get(key)
        if network is None:
            network = _networks[key] = _open(path, device, model, exact, scaling)
    return network


_networks: WeakValueDictionary[tuple[Any, ...], Network] = WeakValueDictionary()
_opening = threading.Lock()


def _open(path: Path, device: str, model: Any, exact: bool, scaling: Scaling | None) -> Network:
    runtime = os.environ.get("ANONYMIZE_RUNTIME", RUNTIMES[0])
    if runtime not in RUNTIMES:
        raise UnknownNameError("ANONYMIZE_RUNTIME", runtime, RUNTIMES)
    if is_gpu(device):
        try:
            content = _scaled(path, model, scaling)
            return open_on_gpu(
                path,
                content,
                precision="f32" if exact else os.environ.get("ANONYMIZE_PRECISION") or "f16",
                tensorrt=cache_dir() / "tensorrt" if runtime == "tensorrt" else None,
                threads=threads(),
                batch=batch_size("cuda"),
            )
        except (SettingsError, WeightsError) as e:
            if device == "cuda":
                raise
            log.warning("%s; it runs on the CPU", e)
    batch = batch_size("cpu")
    if runtime == "onnxruntime" and path.suffix == ".onnx":
        source = path if model is None and scaling is None else _scaled(path, model, scaling).SerializeToString()
        return OnnxRuntime(path, source, threads=threads(), batch=batch)
    source = path if model is None else model.SerializeToString()
    return OpenVino(path, source, exact=exact, scaling=scaling, batch=batch)


def _scaled(path: Path, model: Any, scaling: Scaling | None) -> Any:
    """The onnx.ModelProto to run, which does the scaling itself."""
    made = parse(path) if model is None else copy.deepcopy(model)
    return made if scaling is None else scale_inside(made, scaling)


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
        raise WeightsError(f"{path} is not a network: {first_line(e)}") from e
    if not model.graph.output:  # protobuf takes an empty file for an empty message
        raise WeightsError(f"{path} is not a network: it has no outputs")
    return model


class OpenVino:
    """OpenVINO on the CPU.

    One inference at a time: each uses all its threads, and its buffers (some hundred MB at 2048 px) exist once. Those
    of a large photo go after it: kept, those of all networks of a preset would add up.
    """

    def __init__(
        self,
        path: Path,
        source: Path | bytes,
        *,
        exact: bool = False,
        scaling: Scaling | None = None,
        batch: int = 1,
    ) -> None:
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(PREPARED))  # read at the first network
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
        precision = os.environ.get("ANONYMIZE_PRECISION") or PRECISIONS[0]
        if precision not in PRECISIONS:
            raise UnknownNameError("ANONYMIZE_PRECISION", precision, PRECISIONS)
        ranges = int8.ranges_of(path) if precision in ("auto", "int8") and not exact else {}
        if precision == "bf16":
            config["INFERENCE_PRECISION_HINT"] = precision
        # What stays as it is in a network of integers must not be rounded differently on each processor.
        elif precision != "auto" or exact or ranges:
            config["INFERENCE_PRECISION_HINT"] = "f32"
        try:
            model = core.read_model(source)
            shape = model.inputs[0].partial_shape
            is_fixed = shape[2].is_static and shape[3].is_static
            self.size = (shape[2].get_length(), shape[3].get_length()) if is_fixed else None
            self.batch = 1 if shape[0].is_static else batch  # many exports take one picture only
            self.metadata: Mapping[str, str] = _openvino_metadata(path, model)
            self._names = [o.get_any_name() if o.get_names() else str(i) for i, o in enumerate(model.outputs)]
            if ranges:
                int8.quantize(model, ranges)
            self._compiled = core.compile_model(model, "CPU", config)
            self._request = self._compiled.create_infer_request()
        except RuntimeError as e:
            raise WeightsError(f"{path} is not a network that OpenVINO can run: {first_line(e)}") from e
        self._scaling = scaling
        self._lock = threading.Lock()

    def __call__(self, batch: NDArray[Any]) -> Outputs:
        if self._scaling is not None:
            batch = self._scaling.apply(batch)
        with self._lock:
            results = self._request.infer([batch], share_inputs=True)
            outputs = {name: results[i].copy() for i, name in enumerate(self._names)}
            if batch.size > LARGE:
                del results
                self._request = self._compiled.create_infer_request()
            return outputs


def _return_memory() -> None:
    """Let glibc give back to the system what is freed of photos and buffers of all sizes, not keep it in pools.

    It has a pool for each thread, and puts larger and larger pieces into them the more of these it sees. The pieces of
    a photo of 1 megapixel may stay there: to get them anew from the system costs 8 ms.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library, another system
        libc = ctypes.CDLL(None)
        libc.mallopt(M_ARENA_MAX, 2)
        libc.mallopt(M_MMAP_THRESHOLD, 8 << 20)
        libc.mallopt(M_TRIM_THRESHOLD, 32 << 20)


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
        network: what `open_network` gave, with a scaling.
        fit: image -> where it lies in the network's input.
        decode: (outputs for one image, (H, W) of the input, least score) -> kind -> candidates, in the input's pixels.
        settings: iou_threshold and max_regions.
        weights: name -> sha256.
    """

    def __init__(
        self,
        name: str,
        network: Callable[[Image], Outputs],
        fit: Callable[[Image], Letterbox],
        decode: Decode,
        settings: Settings,
        weights: Mapping[str, str],
    ) -> None:
        self.name = name
        self.weights: Mapping[str, str] = dict(weights)
        self._network, self._fit, self._decode, self._settings = network, fit, decode, settings
        self._batch: int = getattr(network, "batch", 1)  # a plain function takes one
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
        """See `Detector.detect`. As many images of one size as are worth it go to the network together."""
        by_size: dict[tuple[int, ...], list[int]] = {}
        for i, image in enumerate(images):
            by_size.setdefault(check(image).shape, []).append(i)
        out: list[list[Region]] = [[] for _ in images]
        for same in by_size.values():
            whole = len(same) - len(same) % self._batch
            # What is left goes one by one: a GPU plans each shape, number of pictures included, by itself.
            for some in [
                *(same[i : i + self._batch] for i in range(0, whole, self._batch)),
                *([i] for i in same[whole:]),
            ]:
                for i, found in zip(some, self._look([images[i] for i in some]), strict=True):
                    out[i] = found
        return out

    def _look(self, images: Sequence[Image]) -> list[list[Region]]:
        """What images of one size show."""
        try:
            frames = [self._fit(image) for image in images]
            if len(frames) == 1:
                every = [self._network(frames[0].pixels[None])]
            else:
                outputs = self._network(np.stack([frame.pixels for frame in frames]))
                every = [{k: v[i : i + 1] for k, v in outputs.items()} for i in range(len(frames))]
            return [self._regions(frame, one) for frame, one in zip(frames, every, strict=True)]
        except AnonymizeError:
            raise
        except Exception as e:  # whatever a runtime throws, out of memory included: the photo was not looked at
            raise DetectionError(f"{self.name} failed: {first_line(e)}") from e

    def _regions(self, frame: Letterbox, outputs: Outputs) -> list[Region]:
        height, width = frame.pixels.shape[:2]
        every = [
            regions(kind, c, frame, self.name, self._settings, self._floor, self._likely)
            for kind, c in self._decode(outputs, (height, width), self._floor).items()
        ]
        return sorted((r for one in every for r in one), key=lambda r: -r.score)
