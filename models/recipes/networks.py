"""The networks that are trained here, what they begin from, their loss, and how they are saved."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from ultralytics.nn.modules import Conv
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.loss import v8DetectionLoss
from ultralytics.utils.tal import make_anchors
from ultralytics.utils.torch_utils import initialize_weights

NAMES = {0: "face", 1: "plate"}
KINDS = {"n": "yolov8n.yaml", "n-p2": "yolov8n-p2.yaml", "s": "yolov8s.yaml", "s-p2": "yolov8s-p2.yaml"}
# Layers of YOLOv8 where those of its variant with a finest level (stride 4) stand; the rest has the same numbers.
MOVED = {16: 22, 18: 24, 19: 25, 21: 27, 22: 28}
LEAN = 32  # channels of the finest level's own branches, which see 16 times as many cells as the next but one
GAINS = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)


def skeleton(kind: str) -> DetectionModel:
    """A network of a kind of `KINDS`, not trained."""
    model = DetectionModel(KINDS[kind], nc=len(NAMES), verbose=False)
    if kind.endswith("-p2"):
        detect = model.model[-1]
        ins = [score[0].conv.in_channels for score in detect.cv3]
        detect.cv2[0] = _branch(ins[0], LEAN, 4 * detect.reg_max)
        for i, wide in enumerate((LEAN, *[ins[1]] * (len(ins) - 1))):
            detect.cv3[i] = _branch(ins[i], wide, detect.nc)
        initialize_weights(model)
        detect.bias_init()
    return model


def _branch(channels: int, wide: int, out: int) -> nn.Sequential:
    return nn.Sequential(Conv(channels, wide, 3), Conv(wide, wide, 3), nn.Conv2d(wide, out, 1))


def network(base: Path, kind: str = "n") -> DetectionModel:
    """A network for both classes, from one of the same size with both classes, of plates, or of COCO's classes.

    Where the base has one class, the plate's score begins as that of the base, the face's with its features and a low
    prior. What the base has not, as the finest level, begins at random.
    """
    saved = torch.load(base, map_location="cpu", weights_only=False)
    old = (saved.get("ema") or saved["model"]).float().state_dict()
    model = skeleton(kind)
    weights = model.state_dict()
    if kind.endswith("-p2") and len(old) < len(weights):
        old = {_moved(name): value for name, value in old.items()}
    for name, value in old.items():
        if name in weights and weights[name].shape == value.shape:
            weights[name] = value
        elif (
            ".cv3." in name
            and name in weights
            and name.endswith((".2.weight", ".2.bias"))
            and value.shape[1:] == weights[name].shape[1:]
        ):
            weights[name] = value[:1].repeat(2, *[1] * (value.ndim - 1)).clone()  # of one class: for both
            weights[name][0] *= 1.0 if name.endswith("bias") else 0.3
    model.load_state_dict(weights)
    model.names, model.args = NAMES, GAINS
    return model


def _moved(name: str) -> str:
    """model.22.cv2.0.x of YOLOv8 -> model.28.cv2.1.x of its variant with a finest level."""
    parts = name.split(".")
    layer = int(parts[1])
    parts[1] = str(MOVED.get(layer, layer))
    if layer == max(MOVED) and parts[2] in ("cv2", "cv3"):
        parts[3] = str(int(parts[3]) + 1)
    return ".".join(parts)


def save(path: Path, content: Any) -> None:
    """Whole or not at all."""
    part = path.with_suffix(".part")
    torch.save(content, part)
    os.replace(part, path)


def export(model: DetectionModel, path: Path) -> None:
    """The network alone, in half precision, as ultralytics' own checkpoints are."""
    alone = copy.deepcopy(model).to("cpu", memory_format=torch.contiguous_format).half().requires_grad_(False)
    vars(alone).pop("args", None)
    save(path, {"model": alone, "ema": None, "epoch": -1, "optimizer": None, "train_args": {}})


class Loss(v8DetectionLoss):
    """The stock loss, but where an ignored box of a class lies, "not this class" is not learned."""

    def __init__(self, model: DetectionModel) -> None:
        super().__init__(model)
        stock = nn.BCEWithLogitsLoss(reduction="none")
        self._teaches: torch.Tensor | None = None

        def masked(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            return stock(scores, targets) * torch.where(targets > 0, 1.0, self._teaches)

        self.bce = masked

    def get_assigned_targets_and_loss(self, preds: dict[str, torch.Tensor], batch: dict[str, Any], **more: Any) -> Any:
        points, strides = make_anchors(preds["feats"], self.stride, 0.5)
        self._teaches = teaches(points * strides, batch["ignored"], len(preds["scores"]), self.nc)
        return super().get_assigned_targets_and_loss(preds, batch, **more)


def teaches(points: torch.Tensor, ignored: torch.Tensor, batch: int, classes: int) -> torch.Tensor:
    """(batch, points, classes): 0 where a point lies in an ignored box of the class, else 1.

    Args:
        points: (A, 2), px. ignored: (N, 6): picture, class, x1, y1, x2, y2.
    """
    low, high = ignored[:, None, 2:4], ignored[:, None, 4:6]
    inside = ((points > low) & (points < high)).all(2).float()
    rows = (ignored[:, 0] * classes + ignored[:, 1]).long()
    covered = torch.zeros(batch * classes, len(points), device=points.device).index_add_(0, rows, inside)
    return (covered == 0).float().view(batch, classes, -1).transpose(1, 2)


def float_(value: Any) -> Any:
    """A tensor, or those in lists and dictionaries, in single precision."""
    if isinstance(value, dict):
        return {k: float_(v) for k, v in value.items()}
    if isinstance(value, list):
        return [float_(v) for v in value]
    return value.float() if isinstance(value, torch.Tensor) else value
