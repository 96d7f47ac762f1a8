"""An ONNX network on a GPU, through torch: no other build of a runtime is needed, and no pickle is loaded.

Only the operators of the networks here (and of ultralytics' plain detectors) are known; another one is an error when
the network is opened, not when a photo is looked at. Operators are those of opset 9 to 22 (onnx.ai/onnx/operators).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from onnx import helper, numpy_helper

from ..errors import WeightsError
from .runtime import Outputs, Tensor

Values = Sequence[Any]  # torch tensors; None for an input that is left out
Attributes = Mapping[str, Any]


def _numbers(value: torch.Tensor) -> list[int]:
    return [int(v) for v in value.reshape(-1).tolist()]


def _padded(x: torch.Tensor, a: Attributes, fill: float = 0.0) -> torch.Tensor:
    top, left, bottom, right = a.get("pads", (0, 0, 0, 0))
    return F.pad(x, (left, right, top, bottom), value=fill) if any((top, left, bottom, right)) else x


def _conv(v: Values, a: Attributes) -> torch.Tensor:
    bias = v[2] if len(v) > 2 else None
    pads = a.get("pads", (0, 0, 0, 0))
    options = {"stride": a.get("strides", [1, 1]), "dilation": a.get("dilations", [1, 1]), "groups": a.get("group", 1)}
    if tuple(pads[:2]) == tuple(pads[2:]):
        return F.conv2d(v[0], v[1], bias, padding=tuple(pads[:2]), **options)
    return F.conv2d(_padded(v[0], a), v[1], bias, **options)


def _conv_transpose(v: Values, a: Attributes) -> torch.Tensor:
    bias = v[2] if len(v) > 2 else None
    padding = tuple(a.get("pads", (0, 0, 0, 0))[:2])
    return F.conv_transpose2d(v[0], v[1], bias, a.get("strides", [1, 1]), padding, groups=a.get("group", 1))


def _max_pool(v: Values, a: Attributes) -> torch.Tensor:
    x = _padded(v[0], a, float("-inf"))
    return F.max_pool2d(x, a["kernel_shape"], a.get("strides", [1, 1]), ceil_mode=bool(a.get("ceil_mode", 0)))


def _reshape(v: Values, a: Attributes) -> torch.Tensor:
    shape = [v[0].shape[i] if n == 0 else n for i, n in enumerate(_numbers(v[1]))]
    return v[0].reshape(shape)


def _resize(v: Values, a: Attributes) -> torch.Tensor:
    """Nearest neighbour, asymmetric, floor, as exporters write nn.Upsample; `_check` refuses others."""
    if len(v) > 3 and v[3] is not None:
        size = _numbers(v[3])[2:]
    else:
        size = [int(n * s) for n, s in zip(v[0].shape[2:], v[2].tolist()[2:], strict=True)]
    return F.interpolate(v[0], size=size, mode="nearest")


def _slice(v: Values, a: Attributes) -> torch.Tensor:
    starts, ends = _numbers(v[1]), _numbers(v[2])
    axes = _numbers(v[3]) if len(v) > 3 and v[3] is not None else range(len(starts))
    steps = _numbers(v[4]) if len(v) > 4 else [1] * len(starts)
    index = [slice(None)] * v[0].dim()
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        index[axis] = slice(start, end, step)
    return v[0][tuple(index)]


def _split(v: Values, a: Attributes) -> tuple[torch.Tensor, ...]:
    return torch.split(v[0], _numbers(v[1]), a.get("axis", 0))


def _unsqueeze(v: Values, a: Attributes) -> torch.Tensor:
    x = v[0]
    for axis in a["axes"] if "axes" in a else _numbers(v[1]):
        x = x.unsqueeze(axis)
    return x


def _gather(v: Values, a: Attributes) -> torch.Tensor:
    axis, index = a.get("axis", 0), v[1].to(v[0].device)
    flat = v[0].index_select(axis, index.reshape(-1))
    return flat.reshape((*v[0].shape[:axis], *index.shape, *v[0].shape[axis + 1 :]))


def _divide(v: Values, a: Attributes) -> torch.Tensor:
    return v[0] / v[1] if v[0].is_floating_point() else torch.div(v[0], v[1], rounding_mode="trunc")


def _range(v: Values, a: Attributes) -> torch.Tensor:
    return torch.arange(v[0].item(), v[1].item(), v[2].item(), dtype=v[0].dtype)


def _cast(v: Values, a: Attributes) -> torch.Tensor:
    return v[0].to(torch.from_numpy(np.zeros(0, helper.tensor_dtype_to_np_dtype(a["to"]))).dtype)


def _filled(v: Values, a: Attributes) -> torch.Tensor:
    value = torch.from_numpy(numpy_helper.to_array(a["value"]).copy()) if "value" in a else torch.zeros(1)
    return value.expand(_numbers(v[0])).clone()


OPERATORS: Mapping[str, Callable[[Values, Attributes], Any]] = {
    "Add": lambda v, a: v[0] + v[1],
    "BatchNormalization": lambda v, a: F.batch_norm(v[0], v[3], v[4], v[1], v[2], eps=a.get("epsilon", 1e-5)),
    "Cast": _cast,
    "Concat": lambda v, a: torch.cat(list(v), a["axis"]),
    "ConstantOfShape": _filled,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Div": _divide,
    "Expand": lambda v, a: v[0] * torch.ones(_numbers(v[1]), dtype=v[0].dtype, device=v[0].device),
    "Gather": _gather,
    "GlobalAveragePool": lambda v, a: v[0].mean((2, 3), keepdim=True),
    "Identity": lambda v, a: v[0],
    "LeakyRelu": lambda v, a: F.leaky_relu(v[0], a.get("alpha", 0.01)),
    "MatMul": lambda v, a: v[0] @ v[1],
    "MaxPool": _max_pool,
    "Mul": lambda v, a: v[0] * v[1],
    "Range": _range,
    "Relu": lambda v, a: F.relu(v[0]),
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": lambda v, a: torch.tensor(v[0].shape),
    "Sigmoid": lambda v, a: torch.sigmoid(v[0]),
    "Slice": _slice,
    "Softmax": lambda v, a: torch.softmax(v[0], a.get("axis", -1)),
    "Split": _split,
    "Sub": lambda v, a: v[0] - v[1],
    "Transpose": lambda v, a: v[0].permute(a["perm"]),
    "Unsqueeze": _unsqueeze,
}


class OnTorch:
    """A `runtime.Network` on a torch device. Several threads may call it: torch keeps no state between calls.

    Args:
        path: the ONNX file, for messages. model: what is in it. device: "cuda", or "cpu" to compare.

    Raises:
        WeightsError: an operator, or a way of resizing, that is not known here.
    """

    def __init__(self, path: Path, model: onnx.ModelProto, device: str) -> None:
        self._device = torch.device(device)
        constants = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
        self._steps = []
        for node in model.graph.node:
            attributes = {x.name: helper.get_attribute_value(x) for x in node.attribute}
            if node.op_type == "Constant":
                constants[node.output[0]] = numpy_helper.to_array(attributes["value"])
                continue
            _check(path, node.op_type, attributes)
            self._steps.append((OPERATORS[node.op_type], list(node.input), attributes, list(node.output)))
        # Whole numbers are shapes and indices, and Resize's are scales: on the CPU they are read without waiting.
        read = {i for n in model.graph.node if n.op_type == "Resize" for i in n.input[1:]}
        self._constants = {
            name: torch.from_numpy(v.copy()).to(self._device if v.dtype == np.float32 and name not in read else "cpu")
            for name, v in constants.items()
        }
        entry = next(i for i in model.graph.input if i.name not in constants)
        dims = [d.dim_value for d in entry.type.tensor_type.shape.dim]
        self._input = entry.name
        self.size = (dims[2], dims[3]) if dims[2] and dims[3] else None
        self.metadata: Mapping[str, str] = {p.key: p.value for p in model.metadata_props}
        self._outputs = [o.name for o in model.graph.output]

    def __call__(self, batch: Tensor) -> Outputs:
        with torch.inference_mode():
            values = self._run(batch)
        return {name: values[name].cpu().numpy() for name in self._outputs}

    def _run(self, batch: Tensor) -> dict[str, Any]:
        values = {**self._constants, self._input: torch.from_numpy(batch).to(self._device)}
        for operator, inputs, attributes, outputs in self._steps:
            given = [values[i] if i else None for i in inputs]
            result = operator(given if operator is _resize else _together(given), attributes)
            values.update(zip(outputs, result if isinstance(result, tuple) else (result,), strict=True))
        return values


def _together(given: list[Any]) -> list[Any]:
    """Floats that were made from shapes (cell coordinates) follow the others to the GPU."""
    devices = {v.device for v in given if v is not None and v.is_floating_point()}
    if len(devices) < 2:
        return given
    device = next(d for d in devices if d.type != "cpu")
    return [v.to(device) if v is not None and v.is_floating_point() else v for v in given]


def _check(path: Path, operator: str, a: Attributes) -> None:
    if operator not in OPERATORS:
        raise WeightsError(f"{path} uses the operator {operator}, which the GPU path does not know; use --device cpu")
    if operator == "Resize":
        way = (a.get("mode", b"nearest"), a.get("coordinate_transformation_mode"), a.get("nearest_mode"))
        if way != (b"nearest", b"asymmetric", b"floor"):
            raise WeightsError(f"{path} resizes in a way that the GPU path does not know: {way}; use --device cpu")
    is_odd = any(d != 1 for d in a.get("dilations", (1,))) and operator != "Conv"
    if is_odd or "auto_pad" in a or "output_padding" in a:
        raise WeightsError(f"{path} has a form of {operator} that the GPU path does not know; use --device cpu")
