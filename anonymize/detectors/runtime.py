"""Running networks: an ONNX file (or an OpenVINO folder) and a device -> a function from arrays to arrays.

On the CPU OpenVINO runs them (or ONNX Runtime); on a GPU ONNX Runtime, if its build has CUDA (onnxruntime-gpu).
Environment variables, for machines that need them:

    ANONYMIZE_THREADS    threads of all networks on the CPU (default: all cores that the process may use)
    ANONYMIZE_RUNTIME    openvino | onnxruntime, on the CPU (default: openvino); tensorrt: on a GPU, with its library
    ANONYMIZE_PRECISION  auto | int8 | bf16 | f32, OpenVINO on the CPU; int8: networks in models/int8.json, others f32;
                         auto, the default: others bf16 where the processor has it. On a GPU f16 (default) | f32
    ANONYMIZE_BATCH      photos that are looked at together (default: 8 on a GPU, 1 on the CPU)
"""

from __future__ import annotations

import ast
import copy
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

from ..cpus import cores, limit
from ..errors import AnonymizeError, DetectionError, SettingsError, UnknownNameError, WeightsError
from ..settings import MIN_THRESHOLD, UNLIKELY, Settings
from ..weights import cache_dir
from .candidates import Candidates, Letterbox, Scaling, check, detections
from .detections import Detections
from .detector import Image
from .onnx_runtime import OnnxRuntime, first_line, has_gpu, open_on_gpu, scale_inside
from .openvino_runtime import MOST_AT_ONCE, OpenVino
from .openvino_runtime import side_by_side as side_by_side
from .wrapper import Finder

log = logging.getLogger(__name__)

ON_GPU = 8  # photos at a time
RUNTIMES = ("openvino", "onnxruntime", "tensorrt")

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
    """ANONYMIZE_THREADS, or what a container's quota leaves; 0: as many as a library makes by itself, one per core.

    Raises:
        SettingsError: not a whole number >= 0.
    """
    return _number("ANONYMIZE_THREADS", 0, "a number of threads, or 0") or limit()


def batch_size(device: str) -> int:
    """How many photos should be looked at together on a device (settings.DEVICES).

    Raises:
        SettingsError: ANONYMIZE_BATCH is not a whole number >= 1.
    """
    return _number("ANONYMIZE_BATCH", ON_GPU if is_gpu(device) else 1, "a number of photos", least=1)


def at_once(device: str) -> int:
    """How many photos are worth searching side by side, a thread each, on a device (settings.DEVICES).

    Raises:
        SettingsError: As `threads` and `batch_size`.
    """
    if batch_size(device) > 1 or os.environ.get("ANONYMIZE_RUNTIME", RUNTIMES[0]) != RUNTIMES[0]:
        return 1  # they are brought together, or take all cores each
    return min(threads() or cores(), MOST_AT_ONCE)


def is_gpu(device: str) -> bool:
    """Whether networks run on a GPU there (settings.DEVICES), if they can."""
    return device == "cuda" or (device == "auto" and has_gpu())


def _number(variable: str, default: int, meaning: str, least: int = 0) -> int:
    text = os.environ.get(variable, str(default))
    if not (text.isascii() and text.isdecimal()) or int(text) < least:
        raise SettingsError(f"{variable} is {meaning}; received {text!r}")
    return int(text)


def open_network(
    path: Path,
    device: str = "auto",
    *,
    model: Any = None,
    exact: bool = False,
    scaling: Scaling | None = None,
    pages: Sequence[int] = (),
) -> Network:
    """Load a network.

    Args:
        path: a .onnx file, an OpenVINO .xml, or a folder with one.
        device: auto, cpu or cuda (settings.DEVICES).
        model: the onnx.ModelProto to run instead of what is in the .onnx file (`parse`, then changed).
        exact: its outputs must not be rounded: coordinates in px (bfloat16 rounds to 4 px beyond 512, 8 beyond
            1024), or numbers that something was fitted to.
        scaling: what it makes of pixels, which it then takes as they are.
        pages: sides, px, of square pictures that it will see often.

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
    key = (path, stamp, content, device, exact, scaling, *pages, *variables)
    with _opening:
        network: Network | None = _networks.get(key)
        if network is None:
            network = _networks[key] = _open(path, device, model, exact, scaling, pages)
    return network


_networks: WeakValueDictionary[tuple[Any, ...], Network] = WeakValueDictionary()
_opening = threading.Lock()


def _open(path: Path, device: str, model: Any, exact: bool, scaling: Scaling | None, pages: Sequence[int]) -> Network:
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
    return OpenVino(path, source, exact=exact, scaling=scaling, threads=threads(), batch=batch, pages=pages)


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


class NetworkDetector(Finder):
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

    def find(self, images: Sequence[Image]) -> list[Detections]:
        """See `Finder`. As many images of one size as are worth it go to the network together."""
        by_size: dict[tuple[int, ...], list[int]] = {}
        for i, image in enumerate(images):
            by_size.setdefault(check(image).shape, []).append(i)
        out: dict[int, Detections] = {}
        for same in by_size.values():
            whole = len(same) - len(same) % self._batch
            # What is left goes one by one: a GPU plans each shape, number of pictures included, by itself.
            for some in [
                *(same[i : i + self._batch] for i in range(0, whole, self._batch)),
                *([i] for i in same[whole:]),
            ]:
                for i, found in zip(some, self._look([images[i] for i in some]), strict=True):
                    out[i] = found
        return [out[i] for i in range(len(images))]

    def _look(self, images: Sequence[Image]) -> list[Detections]:
        """What images of one size show."""
        try:
            frames = [self._fit(image) for image in images]
            if len(frames) == 1:
                every = [self._network(frames[0].pixels[None])]
            else:
                outputs = self._network(np.stack([frame.pixels for frame in frames]))
                every = [{k: v[i : i + 1] for k, v in outputs.items()} for i in range(len(frames))]
            return [self._found(frame, one) for frame, one in zip(frames, every, strict=True)]
        except AnonymizeError:
            raise
        except Exception as e:  # whatever a runtime throws, out of memory included: the photo was not looked at
            raise DetectionError(f"{self.name} failed: {first_line(e)}") from e

    def _found(self, frame: Letterbox, outputs: Outputs) -> Detections:
        height, width = frame.pixels.shape[:2]
        every = [
            detections(kind, c, frame, self.name, self._settings, self._floor, self._likely)
            for kind, c in self._decode(outputs, (height, width), self._floor).items()
        ]
        return Detections.join(every).best_first()
