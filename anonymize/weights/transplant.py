"""A YOLOv8n .pt to ONNX without torch, in a process of its own: `python transplant.py SOURCE.pt SHA256 TARGET.onnx`.

A script, run by `weights.onnx`, so that no pickle is read where photos are served. Its weights are put into the graph
that such a network always has. A .pt is a zip of raw numbers and a pickle that says how they belong together. A pickle
can name any function to call; here every name but two becomes an `Inert`, which keeps what it is given and runs
nothing. The two rebuild tensors, as numpy arrays. `yolov8n.onnx`, beside this file, is ultralytics' export of a YOLOv8n
for one class without its numbers. The result has the same numbers, bit for bit, as an export by ultralytics
(`convert.py`), which needs torch.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

GRAPH = Path(__file__).with_name("yolov8n.onnx")
_DTYPES = {"FloatStorage": "<f4", "HalfStorage": "<f2", "LongStorage": "<i8"}


class Inert(dict):
    """Stands for every class and every function that a checkpoint names."""

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.update(state)


class _Reader(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, pickled: str) -> None:
        super().__init__(io.BytesIO(archive.read(pickled)))
        self._archive, self._folder = archive, pickled.removesuffix("data.pkl") + "data/"

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch._utils" and name == "_rebuild_tensor_v2":
            return _tensor
        if module == "torch._utils" and name == "_rebuild_parameter":
            return _parameter
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        return type(name, (Inert,), {})

    def persistent_load(self, pid: Any) -> NDArray:
        _, dtype, key, *_ = pid
        return np.frombuffer(self._archive.read(f"{self._folder}{int(key)}"), dtype)


def _tensor(storage: NDArray, offset: int, size: tuple[int, ...], *_: object) -> NDArray:
    """A contiguous part of a storage. YOLOv8n has no other tensors; one of another layout does not fit its graph."""
    count = int(np.prod(size, dtype=np.int64))
    return storage[offset : offset + count].reshape(size).astype(np.float32)


def _parameter(tensor: NDArray, *_: object) -> NDArray:
    return tensor


def _tensors(module: Inert, prefix: str) -> Iterator[tuple[str, NDArray]]:
    """A module's weights under the names that an export gives them: normalizations are folded into convolutions."""
    parts = module["_modules"]
    if "conv" in parts and "bn" in parts:
        if type(parts["act"]).__name__ != "SiLU":
            raise ValueError(f"{prefix}act is a {type(parts['act']).__name__}")
        weight = parts["conv"]["_parameters"]["weight"]
        norm, buffers = parts["bn"]["_parameters"], parts["bn"]["_buffers"]
        rsqrt = np.float32(1) / np.sqrt(buffers["running_var"] + np.float32(parts["bn"]["eps"]))
        # In the order in which torch rounds.
        yield f"{prefix}conv.weight", weight * (norm["weight"] * rsqrt)[:, None, None, None]
        yield f"{prefix}conv.bias", -buffers["running_mean"] * rsqrt * norm["weight"] + norm["bias"]
        return
    for name, value in module["_parameters"].items():
        if value is not None:
            yield f"{prefix}{name}", value
    for name, part in parts.items():
        yield from _tensors(part, f"{prefix}{name}.")


def transplant(checkpoint: bytes) -> bytes:
    """The bytes of an ONNX; its input, output and metadata are those of `convert.py`.

    Raises:
        ValueError: not a YOLOv8n for one class.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(checkpoint)) as archive:
            pickled = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
            loaded = _Reader(archive, pickled).load()
        network = loaded.get("ema") or loaded["model"]
        tensors = dict(_tensors(network, ""))
        names = {int(k): str(v) for k, v in network["names"].items()}
    except Exception as e:  # whatever a zip, a pickle or a module of another form leads to
        raise ValueError(f"not a checkpoint of a YOLOv8n ({type(e).__name__}: {e})") from e
    graph = onnx.load(GRAPH)
    expected = {i.name: tuple(i.dims) for i in graph.graph.initializer}
    if {n: t.shape for n, t in tensors.items()} != expected or len(names) != 1:
        raise ValueError("not a YOLOv8n for one class: other layers, or of other sizes")
    for entry in graph.graph.initializer:
        entry.CopyFrom(numpy_helper.from_array(tensors[entry.name], entry.name))
    for entry in graph.metadata_props:
        if entry.key == "names":
            entry.value = str(names)
    return graph.SerializeToString(deterministic=True)


def main(source: str, digest: str, target: str) -> None:
    checkpoint = Path(source).read_bytes()
    if hashlib.sha256(checkpoint).hexdigest() != digest:
        raise SystemExit(f"{source} is not the file whose hash was checked")
    Path(target).write_bytes(transplant(checkpoint))


if __name__ == "__main__":
    main(*sys.argv[1:])
