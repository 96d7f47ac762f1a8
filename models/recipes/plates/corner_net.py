"""The corner network: what it is, and how it learns from crops. `corners` is the whole way from photos to a model.

Importing this module loads torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from anonymize.errors import SettingsError
from anonymize.training.trainers import has_bfloat16

from .crops import DRAWN, NOTHING, REAL, Crops

WIDTHS = (16, 24, 48, 64)  # channels at half, a quarter, an eighth and a sixteenth of the input's size
FLIP = [1, 0, 3, 2]  # TL TR BR BL after a mirror
HIDDEN = 0.1  # of the plate's width and height: a corner that is off by less stays hidden when a quadrilateral grows so
HALF = 0.5  # px of the photo, that a mask's rounding adds to this


@dataclass(frozen=True)
class Options:
    """How to train.

    Attributes:
        crops: drawn, in all; epochs: passes over them.
        batch: crops a step. learning_rate: AdamW's, at its highest.
        seed: of everything random. device: auto, cpu or cuda.

    Raises:
        SettingsError: a number out of its limits.
    """

    crops: int = 30_000
    epochs: int = 8
    batch: int = 64
    learning_rate: float = 2.5e-3
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("crops", "epochs", "batch"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} is at least 1; received {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise SettingsError(f"learning_rate is more than 0; received {self.learning_rate}")


def _conv(inputs: int, outputs: int, stride: int = 1, side: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.second(self.first(x)))


class CornerNet(nn.Module):
    """RGB 0–1 float32 (N, 3, 48, 96) -> maps (N, 12, 12, 24) and how sure (N, 4).

    Maps: for each corner one that says where it is (its softmax over all cells), then for each corner x and y, from
    each cell's center to the corner, in cells. So each cell votes for a place, which may lie outside of the crop.
    Sure: a logit for each corner.
    """

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d = WIDTHS
        self.quarter = nn.Sequential(_conv(3, a, 2), _conv(a, b, 2), _Residual(b))
        self.eighth = nn.Sequential(_conv(b, c, 2), _Residual(c))
        self.sixteenth = nn.Sequential(_conv(c, d, 2), _Residual(d), _conv(d, d))
        self.to_eighth, self.at_eighth = _conv(d, c, side=1), _conv(c, c)
        self.to_quarter, self.at_quarter = _conv(c, b, side=1), _conv(b, b)
        self.maps = nn.Conv2d(b, 12, 1)
        self.sure = nn.Sequential(nn.Linear(d + b, 32), nn.ReLU(), nn.Linear(32, 4))

    def features(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps at a sixteenth and at a quarter of the input's size."""
        fine = self.quarter(x - 0.5)
        middle = self.eighth(fine)
        coarse = self.sixteenth(middle)
        middle = self.at_eighth(middle + nn.functional.interpolate(self.to_eighth(coarse), scale_factor=2.0))
        fine = self.at_quarter(fine + nn.functional.interpolate(self.to_quarter(middle), scale_factor=2.0))
        return coarse, fine

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        coarse, fine = self.features(x)
        return self.maps(fine), self.sure(torch.cat([coarse.mean((2, 3)), fine.amax((2, 3))], 1))


def place(maps: torch.Tensor) -> torch.Tensor:
    """Maps -> corners (N, 4, 2) in shares of the crop; as `detectors.plate_corners.decode` does it."""
    n, _, height, width = maps.shape
    flat = maps.float().reshape(n, 12, -1)
    weight = flat[:, :4].softmax(-1)
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    grid = torch.stack([x.reshape(-1), y.reshape(-1)]).to(maps.device)
    votes = flat[:, 4:].reshape(n, 4, 2, -1) + grid
    return (weight[:, :, None] * votes).sum(-1) / torch.tensor([width, height], device=maps.device)


@dataclass
class Batch:
    """Crops as tensors: images (N, 3, 48, 96) 0–1, and the fields of `Crops`."""

    images: torch.Tensor
    kinds: torch.Tensor
    corners: torch.Tensor
    pixels: torch.Tensor


def batch_of(crops: Crops, which: NDArray[np.int64], device: str) -> Batch:
    images = torch.from_numpy(crops.images[which]).permute(0, 3, 1, 2).float() / 255
    rest = (torch.from_numpy(getattr(crops, n)[which]) for n in ("kinds", "corners", "pixels"))
    return Batch(*(t.to(device) for t in (images, *rest)))


def augmented(batch: Batch) -> Batch:
    """Half of them mirrored, all in other light. Everything else differs from crop to crop when they are made."""
    n, device = len(batch.kinds), batch.images.device
    mirror = torch.rand(n, device=device) < 0.5
    images, corners = batch.images.clone(), batch.corners.clone()
    images[mirror] = images[mirror].flip(3)
    corners[mirror] = corners[mirror][:, FLIP] * torch.tensor([-1.0, 1.0], device=device)
    corners[mirror] += torch.tensor([1.0, 0.0], device=device)
    gain = torch.exp(torch.randn(n, 3, 1, 1, device=device) * 0.06 + torch.randn(n, 1, 1, 1, device=device) * 0.2)
    gray = torch.rand(n, device=device) < 0.12
    images[gray] = images[gray].mean(1, keepdim=True).expand(-1, 3, -1, -1)
    return Batch((images * gain).clamp(0, 1), batch.kinds, corners, batch.pixels)


def off(corners: torch.Tensor, truth: torch.Tensor, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How far corners are off, in the plate's own frame.

    Args:
        corners, truth: (N, 4, 2), shares of the crop. pixels: (N, 2), the crop's size.

    Returns:
        (N, 4, 2), shares of the plate's width (along its rows) and height; and (N, 2), these two in px.
    """
    truth, corners = truth * pixels[:, None], corners * pixels[:, None]
    along = (truth[:, 1] - truth[:, 0] + truth[:, 2] - truth[:, 3]) / 2
    down = (truth[:, 3] - truth[:, 0] + truth[:, 2] - truth[:, 1]) / 2
    area = (along[:, 0] * down[:, 1] - along[:, 1] * down[:, 0]).abs().clamp(min=1.0)
    d = corners - truth
    u = (d[..., 0] * down[:, None, 1] - d[..., 1] * down[:, None, 0]) / area[:, None]
    v = (along[:, None, 0] * d[..., 1] - along[:, None, 1] * d[..., 0]) / area[:, None]
    return torch.stack([u, v], -1), torch.stack([along.norm(dim=1), down.norm(dim=1)], 1)


def hidden(off_by: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    """Whether each corner (N, 4) is off by so little that the grown quadrilateral hides it all the same."""
    return (off_by.abs() <= HIDDEN + HALF / size.clamp(min=1.0)[:, None]).all(-1)


def loss(maps: torch.Tensor, sure: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, Mapping[str, float]]:
    """Of known corners the distance, of real plates the sides of the upright box; and how sure it should be."""
    corners = place(maps)
    drawn, real = batch.kinds == DRAWN, batch.kinds == REAL
    by, size = off(corners, batch.corners, batch.pixels)
    distance = (by.pow(2).sum(-1) + 1e-4).sqrt()
    total = distance[drawn].clamp(max=3).mean() if drawn.any() else maps.sum() * 0
    place_loss = float(total.detach())
    if drawn.any():  # the cell that a corner lies in: a start far steeper than distances give
        _, _, height, width = maps.shape
        limits = torch.tensor([width - 1, height - 1], device=maps.device)
        cells = (batch.corners[drawn] * torch.tensor([width, height], device=maps.device)).floor().long()
        cells = torch.minimum(cells.clamp(min=0), limits)
        logits = maps[drawn, :4].float().reshape(-1, height * width)
        total = total + 0.06 * nn.functional.cross_entropy(logits, (cells[..., 1] * width + cells[..., 0]).reshape(-1))
    if real.any():
        told, found = batch.corners[real], corners[real]
        extent = told.amax(1) - told.amin(1)
        sides = torch.cat([found.amin(1) - told.amin(1), found.amax(1) - told.amax(1)], 1) / extent.repeat(1, 2)
        total = total + 0.35 * (sides.abs() - 0.03).clamp(min=0, max=1).mean() * real.sum() / drawn.sum().clamp(min=1)
    target = hidden(by.detach(), size).float() * drawn[:, None].float()
    known = drawn | (batch.kinds == NOTHING)
    if real.any():  # a box that it fails to meet is a plate that it failed to see
        known = known.clone()
        known[real] = (sides.detach().abs() > 0.2).any(1)
    doubt = nn.functional.binary_cross_entropy_with_logits(sure.float(), target, reduction="none")[known].mean()
    return total + 0.5 * doubt, {"off": place_loss, "doubt": float(doubt.detach())}


class Average:
    """An average of the weights over the last steps: what is kept."""

    def __init__(self, net: nn.Module, keep: float = 0.998) -> None:
        self.keep, self.steps = keep, 0
        self.state = {k: v.detach().clone() for k, v in net.state_dict().items()}

    def update(self, net: nn.Module) -> None:
        self.steps += 1
        keep = min(self.keep, self.steps / (self.steps + 9))
        for k, v in net.state_dict().items():
            if v.is_floating_point():
                self.state[k].mul_(keep).add_(v.detach(), alpha=1 - keep)
            else:
                self.state[k].copy_(v)


def learn(
    net: CornerNet,
    crops: Crops,
    options: Options,
    *,
    done: int = 0,
    state: Mapping[str, Any] | None = None,
    device: str = "cpu",
    epoch_done: Callable[[int, dict[str, Any], str], None] = lambda *_: None,
) -> dict[str, Any]:
    """Train in place.

    Args:
        done: epochs that were done before. state: what `epoch_done` was given after the last of these.
        epoch_done: called with the number of epochs done, what goes into a checkpoint, and a line of figures.

    Returns:
        The averaged weights, a state_dict.
    """
    per_epoch = max(len(crops) // options.batch, 1)
    steps = per_epoch * options.epochs
    net.train().to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=options.learning_rate, weight_decay=1e-3)
    average = Average(net)
    if state:
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        average.state, average.steps = dict(state["average"]), state["steps"]
    half = device != "cpu" or has_bfloat16()
    for epoch in range(done, options.epochs):
        torch.manual_seed(options.seed * 1009 + epoch)
        order = torch.randperm(len(crops)).numpy()
        sums: dict[str, float] = {}
        for i in range(per_epoch):
            step = epoch * per_epoch + i
            rate = min((step + 1) / 60, 1.0) * (0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2)
            for group in optimizer.param_groups:
                group["lr"] = options.learning_rate * rate
            batch = augmented(batch_of(crops, order[i * options.batch : (i + 1) * options.batch], device))
            with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=half):
                maps, sure = net(batch.images.contiguous(memory_format=torch.channels_last))
            total, figures = loss(maps, sure, batch)
            optimizer.zero_grad()
            total.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimizer.step()
            average.update(net)
            for k, v in figures.items():
                sums[k] = sums.get(k, 0.0) + v / per_epoch
        saved = {
            "net": net.state_dict(),
            "optimizer": optimizer.state_dict(),
            "average": average.state,
            "steps": average.steps,
            "epochs": epoch + 1,
        }
        epoch_done(epoch + 1, saved, ", ".join(f"{k} {v:.4f}" for k, v in sums.items()))
    return average.state
