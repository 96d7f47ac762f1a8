"""The plain loop with RetinaFace ResNet50 in torch, for its time alone: its weights are drawn at random.

    python -m bench.retinaface_torch PHOTOS OUTPUT PLATES.pt

The published weights live where a build machine may not reach. The layers are the paper's (arXiv 1905.00641, as in
biubug6/Pytorch_Retinaface): ResNet50, a feature pyramid of 256 channels, context modules, three heads; photos are
scaled as the retina-face package does it.
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu, relu
from torchvision.models import resnet50
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.ops import nms

from anonymize.evaluate import peers

WIDTH, SHORT, LONG = 256, 1024, 1980
MEAN = np.array((104, 117, 123), np.float32)


def conv(inputs: int, outputs: int, size: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False), nn.BatchNorm2d(outputs))


class Context(nn.Module):
    """SSH's module: three depths of view side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.near, self.reduce = conv(WIDTH, WIDTH // 2), conv(WIDTH, WIDTH // 4)
        self.middle, self.deep, self.far = (conv(WIDTH // 4, WIDTH // 4) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        reduced = leaky_relu(self.reduce(x))
        return relu(torch.cat([self.near(x), self.middle(reduced), self.far(leaky_relu(self.deep(reduced)))], 1))


class RetinaFace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = IntermediateLayerGetter(resnet50(weights=None), {"layer2": "2", "layer3": "3", "layer4": "4"})
        self.across = nn.ModuleList(conv(c, WIDTH, 1) for c in (512, 1024, 2048))
        self.merge = nn.ModuleList(conv(WIDTH, WIDTH) for _ in range(2))
        self.context = nn.ModuleList(Context() for _ in range(3))
        self.heads = nn.ModuleList(nn.ModuleList(nn.Conv2d(WIDTH, 2 * n, 1) for n in (2, 4, 10)) for _ in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        c = [leaky_relu(a(f)) for a, f in zip(self.across, self.body(x).values(), strict=True)]
        for i in (1, 0):
            c[i] = leaky_relu(self.merge[i](c[i] + interpolate(c[i + 1], c[i].shape[2:])))
        c = [m(f) for m, f in zip(self.context, c, strict=True)]
        flat = [
            [h(f).permute(0, 2, 3, 1).reshape(-1, n) for h, n in zip(heads, (2, 4, 10), strict=True)]
            for heads, f in zip(self.heads, c, strict=True)
        ]
        return tuple(torch.cat(parts) for parts in zip(*flat, strict=True))


def priors(height: int, width: int) -> Tensor:
    """Centers and sides of the anchors, in px."""
    rows = []
    for step, sides in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512))):
        places = product(range(-(-height // step)), range(-(-width // step)), sides)
        rows += [((x + 0.5) * step, (y + 0.5) * step, s, s) for y, x, s in places]
    return torch.tensor(rows)


@torch.inference_mode()
def faces(network: RetinaFace, image: np.ndarray) -> list[list[float]]:
    height, width = image.shape[:2]
    scale = min(SHORT / min(height, width), LONG / max(height, width))
    small = cv2.resize(image, None, fx=scale, fy=scale)
    scores, moves, _ = network(torch.from_numpy((small - MEAN).transpose(2, 0, 1)[None].copy()))
    score, anchors = scores.softmax(1)[:, 1], priors(*small.shape[:2])
    kept = score > 0.9
    center = anchors[kept, :2] + 0.1 * moves[kept, :2] * anchors[kept, 2:]
    side = anchors[kept, 2:] * torch.exp(0.2 * moves[kept, 2:])
    boxes = torch.cat([center - side / 2, center + side / 2], 1) / scale
    return boxes[nms(boxes, score[kept], 0.4)].tolist()


def main() -> None:
    folder, output, weights = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    network, plates = RetinaFace().eval(), peers.yolo(weights)
    for heads in network.heads:
        nn.init.zeros_(heads[0].weight)  # what is drawn at random would find faces everywhere
    for path in peers.photos(folder):
        image = cv2.imread(str(path))
        found = plates.predict(image, imgsz=640, verbose=False)[0].boxes.xyxy.tolist()
        peers.blur(image, found + faces(network, image), output / path.name)


if __name__ == "__main__":
    main()
