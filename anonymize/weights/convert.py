"""One .pt checkpoint to ONNX, in a process of its own: `python convert.py SOURCE.pt SHA256 TARGET.onnx SAFE|FULL`.

A script, run by `weights.onnx`; it imports nothing of this package. A .pt file is a pickle:
loading one can run any code. So the bytes are read once, their hash is compared, and only then are they unpickled — in
SAFE mode by torch's restricted unpickler (`weights_only=True`), which builds only the classes on ultralytics' list and
runs nothing. Classes that are off the list and have no part in inference (training options, old loss functions) become
empty `Absent` objects. FULL mode, for a file that a person trusts by name, unpickles everything.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

# Modules whose objects are only remembered from training: omegaconf and typing carry options (safelicensing),
# ultralytics.yolo the losses of ultralytics before 8.1 (pyplatex).
TRAINING_ONLY = ("omegaconf.", "typing.", "ultralytics.yolo.")
OPSET = 17  # OpenVINO 2026 and ONNX Runtime 1.31 take it


class Absent(dict):
    """Stands for an object that inference does not need; swallows its state."""

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()

    def __setstate__(self, _: object) -> None:
        pass


def admit(checkpoint: Path) -> None:
    """Let torch's restricted unpickler read a checkpoint in which only `TRAINING_ONLY` is foreign."""
    import torch

    foreign = torch.serialization.get_unsafe_globals_in_checkpoint(str(checkpoint))
    absent = [(Absent, name) for name in foreign if name.startswith(TRAINING_ONLY)]
    torch.serialization.add_safe_globals([*absent, dict, defaultdict])  # defaultdict's factory may be dict


def write_onnx(model: Any, target: Path) -> None:
    """An ultralytics model as ONNX for any input size (multiples of 32); the same checkpoint gives the same bytes."""
    import onnx

    # nms=None gives the raw boxes of every family; False would give an NMS-free head's own few (YOLO26).
    form: dict[str, Any] = {"format": "onnx", "imgsz": 640, "dynamic": True, "simplify": False, "opset": OPSET}
    made = Path(model.export(**form, nms=None, device="cpu", verbose=False))
    graph = onnx.load(made)
    for entry in [e for e in graph.metadata_props if e.key == "date"]:
        graph.metadata_props.remove(entry)
    onnx.checker.check_model(graph)
    onnx.save(graph, str(target))
    if made.resolve() != target.resolve():
        made.unlink()


def convert(source: Path, sha256: str, target: Path, safe: bool) -> None:
    """Write `target`, an ONNX whose metadata carry the class names (`names`).

    Its input is `images`, (N, 3, H, W) float32 RGB 0–1, H and W any multiples of 32; its output (N, 4 + classes,
    boxes), raw: center x, y, width, height in px, then a score for each class; overlaps are not suppressed.
    """
    data = source.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise SystemExit(f"Error: {source} is not the file whose hash was checked")
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        # ultralytics reads these when it is imported. Its settings file goes to the folder too, not to the user's home.
        os.environ.update(YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true", YOLO_CONFIG_DIR=folder, YOLO_VERBOSE="false")
        os.environ["ULTRALYTICS_SAFE_LOAD"] = "1" if safe else "0"
        checkpoint = Path(folder) / "model.pt"
        checkpoint.write_bytes(data)

        from ultralytics import YOLO, settings

        settings.update({"sync": False})
        if safe:
            admit(checkpoint)
        model = YOLO(str(checkpoint), task="detect")
        if model.task != "detect":
            raise SystemExit(f"Error: a detection model is needed, this one is made to {model.task}")
        write_onnx(model, target)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    convert(Path(arguments[0]), arguments[1], Path(arguments[2]), safe=arguments[3] != "FULL")
