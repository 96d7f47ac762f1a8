"""A checkpoint -> ONNX with weights in half precision: 6 MB instead of 12, computed in full precision all the same.

python -m models.recipes.export RUN/street.pt street.onnx
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

LEAST = 5000  # numbers of a weight that is halved; the head's last ones are smaller, and `yolo.cut_head` reads these


def halved(model: Any) -> Any:
    """Change an onnx.ModelProto: large weights become float16, cast to float32 where they are used."""
    casts = []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < LEAST:
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])
    onnx.checker.check_model(model)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("output", type=Path)
    given = parser.parse_args()
    from anonymize.training.trainers import export

    export(given.checkpoint, given.output)
    onnx.save(halved(onnx.load(given.output)), str(given.output))


if __name__ == "__main__":
    main()
