"""Convolutions in 8-bit integers, on the CPU: half the time of float32, the same answer on every processor.

models/int8.json says between which values the input of each convolution lies, and each channel's mean
(models/recipes/int8.py measured it); one that is not named there stays as it is. Weights need no photos: the largest of
each output channel is their limit (Jacob et al., arXiv 1712.05877, sections 2 and 3). What rounded weights add to the
mean of a channel is taken off again (Nagel et al., arXiv 1906.04721, section 4.2), which halves the error.
"""

from __future__ import annotations

import functools
import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..weights.registry import registry_path

CONVOLUTION = "Convolution"
LEVELS_IN, LEVELS_WEIGHTS = 256, 255
# Processors without VNNI add two products in 16 bits, which overflow without a word where weights use all 8 bits: on
# AVX2 a tenth of the faces was gone. With half the range no sum is too large, and all processors say the same.
WEIGHTS_USE = 0.5
# Where integers are faster; others run what is not quantized.
MACHINES = ("x86_64", "amd64")

UNCHANGED = ("VariadicSplit", "Split", "MaxPool", "Interpolate")  # beside Concat: what only passes values on


@dataclass(frozen=True, slots=True)
class Range:
    """What a convolution's input holds, over photos.

    Attributes:
        low: Its least value.
        high: Its greatest.
        mean: float32 (C,), of each channel.
    """

    low: float
    high: float
    mean: NDArray[np.float32]


Ranges = Mapping[str, Range]
_Tensor = tuple[str, int]  # the node that makes it, and which of its outputs


def ranges_of(path: Path) -> Ranges:
    """Convolution's name -> its input's range, for a network's file; empty where none are known."""
    if not path.is_file() or platform.machine().lower() not in MACHINES:
        return {}
    return _tables().get(hashlib.sha256(path.read_bytes()).hexdigest(), {})


@functools.cache
def _tables() -> Mapping[str, Ranges]:
    """sha256 of a network's file -> its ranges."""
    content = json.loads(registry_path().with_name("int8.json").read_text("utf-8"))
    return MappingProxyType(
        {
            one["sha256"]: {
                name: Range(low, high, np.array(mean, np.float32)) for name, (low, high, mean) in one["ranges"].items()
            }
            for one in content.values()
        }
    )


def convolutions(model: Any) -> dict[str, Any]:
    """Name -> convolution of an openvino.Model, in the order in which they run."""
    return {n.get_friendly_name(): n for n in model.get_ordered_ops() if n.get_type_name() == CONVOLUTION}


def quantize(model: Any, ranges: Ranges) -> None:
    """Change an openvino.Model: those of its convolutions that are named work in 8-bit integers.

    Tensors become integers where they are made, before they are split, pooled, enlarged or joined, so that all this
    handles a quarter of the bytes. What is joined has one range, the widest of those that need it.
    """
    from openvino import opset13 as op

    nodes = {name: node for name, node in convolutions(model).items() if name in ranges}
    inputs: dict[_Tensor, dict[_Tensor, Any]] = {}  # tensor -> what reads it on the way to a convolution
    limits: dict[_Tensor, tuple[float, float]] = {}  # tensor -> its range; joined tensors have the same object
    for name, node in nodes.items():
        sources = _sources(node.input(0), inputs)
        known = [(ranges[name].low, ranges[name].high), *(limits[one] for one in sources if one in limits)]
        joined = (min(low for low, _ in known), max(high for _, high in known))
        for one in [*sources, *(other for other, its in limits.items() if any(its is one for one in known))]:
            limits[one] = joined
    for tensor, readers in inputs.items():
        ends = [np.full((1, 1, 1, 1), v, np.float32) for v in limits[tensor]]
        source = next(iter(readers.values())).get_source_output()
        made = op.fake_quantize(source, *ends, *ends, LEVELS_IN)
        for reader in readers.values():
            reader.replace_source_output(made.output(0))
    for name, node in nodes.items():
        weights = _weights(node.input_value(1))
        most = np.abs(weights).max(axis=(1, 2, 3), keepdims=True) / WEIGHTS_USE
        most = np.maximum(most, np.finfo(np.float32).tiny)  # a channel of zeros
        made = op.fake_quantize(op.constant(weights), -most, most, -most, most, LEVELS_WEIGHTS)
        node.input(1).replace_source_output(made.output(0))
        step = 2 * most / (LEVELS_WEIGHTS - 1)
        error = (np.round(weights / step) * step - weights).sum(axis=(2, 3)) @ ranges[name].mean
        followers = list(node.output(0).get_target_inputs())
        corrected = op.subtract(node.output(0), op.constant(error.reshape(1, -1, 1, 1).astype(np.float32)))
        for follower in followers:
            follower.replace_source_output(corrected.output(0))


def _sources(reader: Any, inputs: dict[_Tensor, dict[_Tensor, Any]]) -> list[_Tensor]:
    """The tensors that come unchanged to a node's input; each is noted with the input that reads it."""
    output = reader.get_source_output()
    node = output.get_node()
    if node.get_type_name() == "Concat":
        return [tensor for one in node.inputs() for tensor in _sources(one, inputs)]
    if node.get_type_name() in UNCHANGED:
        return _sources(node.input(0), inputs)
    tensor = (node.get_friendly_name(), output.get_index())
    inputs.setdefault(tensor, {})[reader.get_node().get_friendly_name(), reader.get_index()] = reader
    return [tensor]


def _weights(source: Any) -> NDArray[np.float32]:
    """A convolution's weights; they may be stored in half precision, or in another shape."""
    import openvino as ov

    compiled = ov.Core().compile_model(ov.Model([source], [], ""), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled([])[0], np.float32)
