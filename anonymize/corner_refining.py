"""The corner branch alone, trained on features that are computed once: thousands of steps in minutes, also on a CPU.

Boxes and scores stay exactly as they were. The branch sees 5 × 5 cells of the neck around a plate's cell; so these
patches are cut out for every plate with known corners, and the network itself need not run again.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from ultralytics.cfg import get_cfg
from ultralytics.nn.tasks import load_checkpoint

from .corner_training import CornerLoss, Degraded
from .errors import AnnotationError

REACH = 2  # cells on each side that two 3 × 3 convolutions see


@dataclass
class Patches:
    """What the branch learns from at one stride.

    Attributes:
        features: (N, channels, 5, 5) bfloat16.
        targets: (N, 4, 2), what the branch should say: corners from the cell, in halves of a cell.
        sizes: (N,), the square root of each plate's area, in halves of a cell.
    """

    features: torch.Tensor
    targets: torch.Tensor
    sizes: torch.Tensor


def collect(model: Any, folders: list[str], *, size: int, passes: int, batch: int = 16, seed: int = 0) -> list[Patches]:
    """Run the network over drawn plates, each time augmented differently, and keep the cells that are their plates'.

    Args:
        model: ultralytics' pose model, in eval mode.
        folders: of images, labels beside them.
        size: of the input, px.
        passes: over the images.

    Raises:
        AnnotationError: no plate with four known corners in them.
    """
    overrides = {"mosaic": 0.0, "scale": (0.35, 1.6), "translate": 0.1, "hsv_h": 0.02, "hsv_s": 0.6}
    hyp = get_cfg(overrides=overrides)
    data = {"names": {0: "plate"}, "nc": 1, "channels": 3, "kpt_shape": [4, 3], "flip_idx": [1, 0, 3, 2]}
    photos = Degraded(
        img_path=folders,
        imgsz=size,
        augment=True,
        hyp=hyp,
        data=data,
        task="pose",
        batch_size=batch,
        stride=32,
        pad=0.0,
    )
    model.args = hyp
    loss = CornerLoss(model)
    parts: list[list[tuple[torch.Tensor, ...]]] = [[], [], []]
    for start in (random.seed, np.random.seed, torch.manual_seed):  # ultralytics' augmentation draws from all three
        start(seed)
    for examples in _batches(photos, passes, batch):
        for level, part in enumerate(_cells(model, loss, examples)):
            parts[level].append(part)
    if not any(len(p[0]) for part in parts for p in part):
        raise AnnotationError(f"no plates with known corners in {', '.join(folders)}")
    return [Patches(*(torch.cat([p[i] for p in part]) for i in range(3))) for part in parts]


def _batches(photos: Any, passes: int, batch: int) -> Iterator[dict[str, Any]]:
    order = np.concatenate([np.random.permutation(len(photos)) for _ in range(passes)])
    for start in range(0, len(order), batch):
        yield photos.collate_fn([photos[int(i)] for i in order[start : start + batch]])


def _cells(model: Any, loss: CornerLoss, examples: dict[str, Any]) -> Iterator[tuple[torch.Tensor, ...]]:
    """For each stride: features, targets and sizes of the cells that belong to plates with four known corners."""
    held: list[torch.Tensor] = []
    head = model.model[-1]
    hook = head.register_forward_pre_hook(lambda _, given: held.extend(given[0]))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=not examples["img"].is_cuda):
        image = (examples["img"].float() / 255).contiguous(memory_format=torch.channels_last)
        outputs = model(image)[1]
    hook.remove()
    outputs = {k: [f.float() for f in v] if isinstance(v, list) else v.float() for k, v in outputs.items()}
    with torch.inference_mode():
        (mine, which, boxes, anchors, strides), _, _ = loss.get_assigned_targets_and_loss(outputs, examples)
        size = torch.tensor(image.shape[2:])
        if len(examples["batch_idx"]):
            corners = loss._batch_keypoints(examples, len(image), size)
        else:
            corners = torch.zeros(len(image), 1, 4, 3)
    start = 0
    for feature in held[:3]:
        height, width = feature.shape[2:]
        end = start + height * width
        photo, cell = mine[:, start:end].nonzero(as_tuple=True)
        truth = corners[photo, which[photo, cell + start]]
        known = (truth[:, :, 2] > 0).all(dim=1)
        photo, cell, truth = photo[known], cell[known], truth[known, :, :2]
        stride = strides[start]
        targets = (truth / stride - (anchors[cell + start] - 0.5)[:, None]) / 2
        own = boxes[photo, cell + start] / stride
        sizes = (own[:, 2:] - own[:, :2]).clamp(min=0.1).prod(1).sqrt() / 2
        padded = nn.functional.pad(feature, (REACH,) * 4)
        y, x = cell // width, cell % width
        patches = [
            padded[p, :, j : j + 2 * REACH + 1, i : i + 2 * REACH + 1] for p, j, i in zip(photo, y, x, strict=True)
        ]
        empty = padded[:0, :, : 2 * REACH + 1, : 2 * REACH + 1]
        yield (torch.stack(patches) if patches else empty).to(torch.bfloat16).clone(), targets.clone(), sizes.clone()
        start = end


def learn(branch: Any, patches: Patches, *, steps: int, batch: int = 256, rate: float = 4e-3, seed: int = 0) -> float:
    """Train one stride's convolutions on its patches, in place.

    Returns:
        The mean distance of corners over the last tenth of the steps, in units of the plates' size; NaN, and the
        convolutions as they were, where there are fewer than two patches.
    """
    if len(patches.features) < 2:  # the branch normalizes over its examples; one is nothing to normalize
        return float("nan")
    paddings = [(m, m.padding) for m in branch.modules() if isinstance(m, nn.Conv2d)]
    for m, _ in paddings:
        m.padding = (0, 0)
    branch.train()
    optimizer = torch.optim.AdamW(branch.parameters(), rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    generator = torch.Generator().manual_seed(seed)
    last: list[float] = []
    for step in range(steps):
        chosen = torch.randint(len(patches.features), (min(batch, len(patches.features)),), generator=generator)
        said = branch(patches.features[chosen].float()).reshape(len(chosen), 4, 3)
        error = said[:, :, :2] - patches.targets[chosen]
        distance = (error.pow(2).sum(-1) + 1e-6).sqrt() / patches.sizes[chosen][:, None]
        sure = torch.exp(-4 * distance.detach())
        doubt = nn.functional.binary_cross_entropy_with_logits(said[:, :, 2], sure)
        optimizer.zero_grad()
        (distance.mean() + 0.1 * doubt).backward()
        optimizer.step()
        schedule.step()
        if step >= steps * 9 // 10:
            last.append(distance.mean().item())
    branch.eval()
    for m, padding in paddings:
        m.padding = padding
    return float(np.mean(last))


def refine(
    checkpoint: Path, folders: list[Path], target: Path, *, size: int = 416, passes: int = 2, steps: int = 3000
) -> list[float]:
    """A pose checkpoint -> another, in which only the corner branch differs; stripped of everything but the network.

    Args:
        folders: images of drawn plates (`plates build`: train/images), labels beside them.
        size, passes: see `collect`. steps: for each stride.

    Returns:
        For each stride (8, 16, 32) the last mean distance of the corners, in units of the plates' size.
    """
    model, _ = load_checkpoint(checkpoint)
    model = model.float().eval()
    patches = collect(copy.deepcopy(model), [str(f) for f in folders], size=size, passes=passes)
    branches = model.model[-1].cv4
    for p in branches.parameters():
        p.requires_grad = True
    distances = [learn(branch, p, steps=steps) for branch, p in zip(branches, patches, strict=True)]
    save(model, target, size=640)
    return distances


def save(model: Any, target: Path, *, size: int) -> None:
    """A network as a stock checkpoint of half precision, without the optimizer's state."""
    for p in model.parameters():
        p.requires_grad = False
    facts = {"task": "pose", "imgsz": size}
    torch.save({"model": model.half(), "ema": None, "epoch": -1, "optimizer": None, "train_args": facts}, target)
