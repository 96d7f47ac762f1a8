"""A YOLOv8 network's ONNX export -> a checkpoint that can be trained on.

    python -m models.recipes.rebuild NETWORK.onnx s DATA/plates-train/images BASE.pt

An export has batch normalization folded into its convolutions. Here each convolution gets one again that does, by what
it sees on some photos, nearly nothing: so the network answers as before and its first steps do not destroy it. A
segmentation network's mask branches are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from ultralytics.nn.modules import Conv
from ultralytics.nn.tasks import DetectionModel

from anonymize.detectors.candidates import letterbox, tensor
from models.recipes.networks import KINDS, export
from models.recipes.plates.marks import load

SIDE = 640
CLASSES = "22.cv3.0.2.weight"  # its rows are the classes


def rebuilt(weights: dict[str, np.ndarray], kind: str) -> DetectionModel:
    """The network with an export's weights, its normalizations empty."""
    count = next(value for name, value in weights.items() if name.endswith(CLASSES)).shape[0]
    model = DetectionModel(KINDS[kind], nc=count, verbose=False).eval()
    for name, module in model.named_modules():
        if isinstance(module, Conv):
            module.conv.weight.data = _tensor(weights[f"{name}.conv.weight"])
            module.bn.bias.data = _tensor(weights[f"{name}.conv.bias"])
            module.bn.running_var.fill_(1 - module.bn.eps)
        elif isinstance(module, torch.nn.Conv2d) and module.bias is not None:
            module.weight.data = _tensor(weights[f"{name}.weight"])
            module.bias.data = _tensor(weights[f"{name}.bias"])
    return model


def normalize(model: DetectionModel, images: torch.Tensor) -> None:
    """Give each normalization the mean and spread that its convolution has on images (N, 3, H, W); answers stay."""
    seen: dict[torch.nn.Module, tuple[torch.Tensor, torch.Tensor]] = {}

    def watch(module: torch.nn.Module, _: object, out: torch.Tensor) -> None:
        seen[module] = out.mean((0, 2, 3)), out.var((0, 2, 3))

    blocks = [m for m in model.modules() if isinstance(m, Conv)]
    hooks = [block.conv.register_forward_hook(watch) for block in blocks]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    for block in blocks:
        mean, spread = seen[block.conv]
        block.bn.running_mean.copy_(mean)
        block.bn.running_var.copy_(spread)
        block.bn.bias.data += mean
        block.bn.weight.data = (spread + block.bn.eps).sqrt()


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))


def some(photos: Sequence[Path]) -> torch.Tensor:
    """Photos as the network sees them."""
    seen = [letterbox(load(path), SIDE, fill=114, target=(SIDE, SIDE)).pixels for path in photos]
    return torch.from_numpy(np.concatenate([tensor(pixels, divisor=255.0) for pixels in seen]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path)
    parser.add_argument("kind", choices=[kind for kind in KINDS if "-" not in kind])
    parser.add_argument("photos", type=Path)
    parser.add_argument("output", type=Path)
    given = parser.parse_args()
    weights = {one.name: numpy_helper.to_array(one) for one in onnx.load(given.network).graph.initializer}
    model = rebuilt(weights, given.kind)
    paths = sorted(given.photos.iterdir())
    normalize(model, some(paths[:: max(len(paths) // 24, 1)][:24]))
    export(model, given.output)


if __name__ == "__main__":
    main()
