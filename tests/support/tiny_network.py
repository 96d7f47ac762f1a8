"""A network of five layers and what it gives, in plain numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WEIGHTS = np.random.default_rng(0).integers(-8, 8, (4, 3, 3, 3)).astype(np.float32)


def network(
    path: Path,
    size: tuple[int | str, int | str] = ("h", "w"),
    *,
    batch: int | str = "n",
    weights_as_input: bool = False,
) -> Path:
    """Convolution, pooling, enlarging, ReLU; two outputs."""
    nodes = [
        helper.make_node("Conv", ["images", "weights"], ["a"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("MaxPool", ["a"], ["b"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node(
            "Resize",
            ["b", "", "scales"],
            ["c"],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        helper.make_node("Add", ["a", "c"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["positive"]),
    ]
    constants = [
        numpy_helper.from_array(WEIGHTS, "weights"),
        numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"),
    ]
    inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, *size])]
    if weights_as_input:
        inputs.append(helper.make_tensor_value_info("weights", TensorProto.FLOAT, WEIGHTS.shape))
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [batch, 4, None, None]) for n in ("sum", "positive")]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"names": "{0: 'plate'}", "task": "detect"})
    onnx.save(model, path)
    return path


def expected(batch: np.ndarray) -> np.ndarray:
    """The sum output in plain numpy."""
    x = np.pad(batch[0], ((0, 0), (1, 1), (1, 1)))
    h, w = batch.shape[2] // 2, batch.shape[3] // 2
    a = np.zeros((4, h, w), np.float32)
    for r in range(h):
        for c in range(w):
            a[:, r, c] = np.tensordot(WEIGHTS, x[:, 2 * r : 2 * r + 3, 2 * c : 2 * c + 3], 3)
    pooled = a.reshape(4, h // 2, 2, w // 2, 2).max(axis=(2, 4))
    return a + pooled.repeat(2, axis=1).repeat(2, axis=2)


def batch(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Small whole numbers, which bfloat16 holds exactly."""
    return np.random.default_rng(seed).integers(0, 4, (1, 3, height, width)).astype(np.float32)
