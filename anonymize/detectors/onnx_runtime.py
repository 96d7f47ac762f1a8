"""ONNX Runtime: on the CPU, or on a GPU, with half precision and several pictures at a time.

Pixels go to the network as they are, 8 bits each: it scales them itself, on the device, which is a quarter of the
traffic and none of the CPU's time.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError, UnknownNameError, WeightsError
from ..extras import extra
from .candidates import Scaling

CUDA, TENSORRT, CPU = "CUDAExecutionProvider", "TensorrtExecutionProvider", "CPUExecutionProvider"  # their names for it
# Trying all of cuDNN's algorithms costs seconds for each shape, and photos have hundreds; HEURISTIC asks cuDNN which.
CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}
# Half precision is for tensor cores, whose layout has the channels last. Float32 is meant where it is asked for: TF32
# keeps 10 bits of 23.
BY_PRECISION = {"f16": {"prefer_nhwc": "1"}, "f32": {"use_tf32": "0"}}
SESSIONS = 16  # of a network on a GPU, each for one shape of its input
PIXELS = "pixels"  # name of an input that takes them as they are


class OnnxRuntime:
    """A network in ONNX Runtime. Several threads may call it.

    Args:
        source: an ONNX file, or its content.
        threads: on the CPU; 0: all cores.
        batch: how many pictures of one size are worth one call.
        providers: names, or names and their options, best first. Those of a GPU plan each shape of the input anew, in
            a fifth of a second: so each shape gets a session of its own, of which SESSIONS stay.

    Attributes:
        providers: those that it uses, which may be fewer than were asked for.
    """

    def __init__(
        self,
        path: Path,
        source: Path | bytes,
        *,
        threads: int,
        batch: int,
        providers: Sequence[str | tuple[str, Mapping[str, str]]] = (CPU,),
    ) -> None:
        with extra("gpu", "ONNX Runtime"):
            import onnxruntime as ort

        ort.disable_telemetry_events()  # Windows builds send some; there is no switch in the environment
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._open = lambda: ort.InferenceSession(source, options, providers=list(providers))
        try:
            session = self._open()
        except Exception as e:  # onnxruntime's own exceptions share no base class but this
            raise WeightsError(f"{path} is not a network that ONNX Runtime can run: {first_line(e)}") from e
        self.providers: list[str] = session.get_providers()
        self._free, self._sessions = [session], OrderedDict[tuple[int, ...], Any]()
        self._most = 1 if self.providers[0] == CPU else SESSIONS
        self._lock = threading.Lock()
        entry = session.get_inputs()[0]
        self._input = entry.name
        self.batch = 1 if isinstance(entry.shape[0], int) else batch  # many exports take one picture only
        height, width = entry.shape[1:3] if entry.name == PIXELS else entry.shape[2:4]
        self.size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
        self.metadata: Mapping[str, str] = dict(session.get_modelmeta().custom_metadata_map)
        self._names = [o.name for o in session.get_outputs()]

    def __call__(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        session = self._for(batch.shape)
        return dict(zip(self._names, session.run(None, {self._input: batch}), strict=True))

    def _for(self, shape: tuple[int, ...]) -> Any:
        """The session for inputs of this shape."""
        if self._most == 1:
            return self._free[0]
        with self._lock:
            if shape not in self._sessions:
                while len(self._sessions) >= self._most:
                    self._sessions.popitem(last=False)
                self._sessions[shape] = self._free.pop() if self._free else self._open()
            self._sessions.move_to_end(shape)
            return self._sessions[shape]


def has_gpu() -> bool:
    """Whether the system shows a GPU and the installed ONNX Runtime was built with CUDA."""
    if os.name == "posix" and not any(Path(p).exists() for p in ("/dev/nvidia0", "/dev/dxg")):
        return False  # without importing ONNX Runtime to ask it
    try:
        import onnxruntime as ort
    except ModuleNotFoundError:  # the extra `gpu` is not installed
        return False
    return CUDA in ort.get_available_providers()


def open_on_gpu(
    path: Path, model: Any, *, precision: str, tensorrt: Path | None, threads: int, batch: int
) -> OnnxRuntime:
    """A network on a GPU.

    Args:
        path: where it comes from, for messages.
        model: the onnx.ModelProto; it is changed.
        precision: f16 or f32.
        tensorrt: a folder for what TensorRT compiles, which takes minutes for each network; None: without TensorRT.

    Raises:
        SettingsError: ONNX Runtime has no CUDA or TensorRT, or cannot use the GPU.
        WeightsError: a network that it cannot run.
    """
    with extra("gpu", "device cuda"):
        import onnxruntime as ort

    if CUDA not in ort.get_available_providers():
        raise SettingsError(
            "device cuda needs ONNX Runtime's build for it: pip uninstall onnxruntime; pip install onnxruntime-gpu. "
            "Or use cpu, or auto, which takes a GPU if it can"
        )
    if precision not in ("f16", "f32"):
        raise UnknownNameError("ANONYMIZE_PRECISION on a GPU", precision, ("f16", "f32"))
    with contextlib.redirect_stdout(sys.stderr):
        ort.preload_dlls()  # CUDA's libraries, where pip installed them; it prints which it does not find
    if precision == "f16":
        model = halved(model)
    providers: list[str | tuple[str, Mapping[str, str]]] = [(CUDA, CUDA_OPTIONS | BY_PRECISION[precision]), CPU]
    wanted = CUDA if tensorrt is None else TENSORRT
    if tensorrt is not None:
        if TENSORRT not in ort.get_available_providers():
            raise SettingsError("ANONYMIZE_RUNTIME=tensorrt: this build of ONNX Runtime has no TensorRT")
        tensorrt.mkdir(parents=True, exist_ok=True)
        options = {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(tensorrt)}
        providers.insert(0, (TENSORRT, options | {"trt_fp16_enable": str(int(precision == "f16"))}))
    network = OnnxRuntime(path, model.SerializeToString(), threads=threads, batch=batch, providers=providers)
    if wanted not in network.providers:  # ONNX Runtime falls back to the CPU without an error
        raise SettingsError(f"device cuda: ONNX Runtime cannot use a GPU here ({wanted}); use cpu, or auto")
    return network


def halved(model: Any) -> Any:
    """The same onnx.ModelProto with half the precision inside; inputs and outputs stay float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(model, keep_io_types=True)


def scale_inside(model: Any, scaling: Scaling) -> Any:
    """Change an onnx.ModelProto so that it takes pixels, uint8 (N, H, W, 3) RGB, and does `scaling` itself."""
    from onnx import TensorProto, helper, numpy_helper

    constants = {i.name for i in model.graph.initializer}
    first = next(i for i in model.graph.input if i.name not in constants)
    old = [d.dim_param or d.dim_value or None for d in first.type.tensor_type.shape.dim]
    batch, height, width = old[0], *(old[1:3] if scaling.channels_last else old[2:4])
    steps: list[tuple[str, Any]] = [("Cast", {"to": TensorProto.FLOAT})]
    if scaling.is_bgr:
        steps.append(("Gather", np.array([2, 1, 0], np.int64)))
    if any(scaling.mean):
        steps.append(("Sub", np.array(scaling.mean, np.float32)))
    if scaling.divisor != 1.0:
        steps.append(("Mul", np.float32(1.0 / scaling.divisor)))
    if not scaling.channels_last:
        steps.append(("Transpose", {"perm": [0, 3, 1, 2]}))
    nodes, name = [], PIXELS
    for i, (kind, value) in enumerate(steps):
        made = first.name if i == len(steps) - 1 else f"{PIXELS}_{i}"
        options = value if isinstance(value, dict) else {"axis": 3} if kind == "Gather" else {}
        inputs = [name]
        if not isinstance(value, dict):
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), f"{PIXELS}_by_{i}"))
            inputs.append(f"{PIXELS}_by_{i}")
        nodes.append(helper.make_node(kind, inputs, [made], name=f"{PIXELS}_node_{i}", **options))
        name = made
    nodes += model.graph.node
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    others = [i for i in model.graph.input if i.name != first.name]
    del model.graph.input[:]
    entry = helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, [batch, height, width, 3])
    model.graph.input.extend([entry, *others])
    return model


def first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), repr(error))
