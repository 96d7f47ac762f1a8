"""Train the network that sees faces and plates at once, on whatever machine, for so many minutes at a time.

    python -m models.recipes.train DATA models/recipes/labels RUN --minutes 100 [--fold 4] [--device cuda --batch 64]

A folder RUN that has a checkpoint is gone on with: minutes count from the very first one, so the same command ends what
was stopped, and more minutes train on. The learning rate rises, stays, and falls to nothing over the last part of the
minutes. RUN/last.pt is everything, written whole or not at all; RUN/street.pt the averaged network, in half precision.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.loss import v8DetectionLoss
from ultralytics.utils.tal import make_anchors

from anonymize.training.trainers import has_bfloat16
from models.recipes import label, tiles
from models.recipes.folds import HELD_OUT, fold, source
from models.recipes.heads import Heads

NAMES = {0: "face", 1: "plate"}
SHARES = {"photos": 0.59, "rides": 0.08, "masks": 0.24, "empty": 0.09}  # of the tiles, by source
MOSAIC = 0.3
FACES = 5.0  # how often a photo with a face comes, for one without, of its source
ERRS = 2.0  # how often one comes on which a network errs, for another
GAINS = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)
PASTED = 0.6  # share of the persons without a known face on streets that get one
PAUSE = 20.0  # s; a step that took longer was stopped meanwhile
FALL = 0.5  # last part of the minutes, in which the learning rate falls


@dataclass
class Options:
    """What a training is made with; kept in its checkpoint."""

    base: str = "models/plates.pt"
    fold: int = HELD_OUT
    size: int = 416
    batch: int = 16
    learning_rate: float = 8e-4
    weight_decay: float = 5e-4
    seed: int = 0
    average: float = 0.9985


def read_photos(data: Path, labels: Path, left_out: int, hard: Path | None = None) -> list[tiles.Photo]:
    """All labeled photos but those of one fold (-1: none is left out); `hard`: what `hard.py` wrote."""
    out = []
    places = json.loads(hard.read_text()) if hard else {}
    for kind in label.SETS:
        for name, some in label.read(labels / f"{kind}.json.gz", (label.FACE, label.PLATE, label.PERSON)).items():
            if fold(name) != left_out:
                path = data / kind / "images" / name
                out.append(tiles.Photo.read(path, some, is_grey=kind == "no-plates", hard=places.get(name, ())))
    return out


def masked_faces(annotations: Path) -> set[tuple[str, int, int]]:
    """File, x1 and y1 (whole px) of the faces that are marked to wear a mask."""
    data = json.loads(annotations.read_text())
    names = {image["id"]: image["file_name"] for image in data["images"]}
    covered = [a for a in data["annotations"] if a.get("masked") != "without_mask"]
    return {(names[a["image_id"]], *map(int, a["bbox"][:2])) for a in covered}


class Tiles(IterableDataset):
    """Endless tiles; each worker and each start has a seed of its own.

    Photos with faces or tilted, rare things come as often as others of their source: what is cut out of them varies.
    """

    def __init__(
        self,
        photos: Sequence[tiles.Photo],
        size: int,
        seed: Sequence[int],
        masked: Collection[tuple[str, int, int]] = (),
    ) -> None:
        self.photos, self.size, self.seed, self.masked = photos, size, list(seed), masked

    def __iter__(self) -> Iterator[tiles.Tile]:
        cv2.setNumThreads(1)
        info = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([*self.seed, info.id if info else 0])
        if info:
            os.nice(2)
        plates = tiles.Plates(rng)
        heads = Heads([p for p in self.photos if source(p.name) in ("masks", "photos")], self.masked, rng)
        pools = {s: [p for p in self.photos if source(p.name) == s] for s in SHARES}
        pools = {s: pool for s, pool in pools.items() if pool}
        shares = np.array([SHARES[s] for s in pools])
        weights = {s: np.array([self._weight(p) for p in pool]) for s, pool in pools.items()}

        def one(size: int) -> tiles.Tile:
            chosen = list(pools)[int(rng.choice(len(pools), p=shares / shares.sum()))]
            photo = pools[chosen][int(rng.choice(len(pools[chosen]), p=weights[chosen] / weights[chosen].sum()))]
            photo, image = heads.paste(photo, tiles.decode(photo.data), rng, 0 if chosen == "masks" else PASTED)
            return tiles.make(photo, image, plates, size, rng)

        while True:
            if rng.random() < MOSAIC:
                yield tiles.four([one(self.size // 2) for _ in range(4)])
            else:
                yield one(self.size)

    @staticmethod
    def _weight(photo: tiles.Photo) -> float:
        """Photos with real faces, or persons to paste one on, come more often: most photos of cars have none."""
        has_face = ((photo.classes == label.FACE) & ~photo.ignored).any() or len(photo.persons)
        return (FACES if has_face else 1.0) * (ERRS if len(photo.hard) else 1.0)


def collate(some: Sequence[tiles.Tile]) -> dict[str, torch.Tensor]:
    """Tiles -> a batch: images uint8, boxes relative (cx, cy, w, h), ignored places in px."""
    size = some[0].image.shape[0]
    boxes = np.concatenate([t.boxes for t in some])
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    number = np.repeat(np.arange(len(some)), [len(t.boxes) for t in some])
    ignored = np.concatenate(
        [np.c_[np.full(len(t.ignored), i), t.ignored_classes - 1, t.ignored] for i, t in enumerate(some)]
    )
    return {
        "img": torch.from_numpy(np.stack([t.image for t in some])).permute(0, 3, 1, 2),
        "batch_idx": torch.from_numpy(number).float(),
        "cls": torch.from_numpy(np.concatenate([t.classes for t in some]) - 1).float()[:, None],
        "bboxes": torch.from_numpy(np.concatenate([centres, sides], axis=1) / size).float(),
        "ignored": torch.from_numpy(ignored).float(),
    }


class Loss(v8DetectionLoss):
    """The stock loss, but where an ignored box of a class lies, "not this class" is not learned."""

    def __init__(self, model: DetectionModel) -> None:
        super().__init__(model)
        stock = torch.nn.BCEWithLogitsLoss(reduction="none")
        self._teaches: torch.Tensor | None = None

        def masked(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            return stock(scores, targets) * torch.where(targets > 0, 1.0, self._teaches)

        self.bce = masked

    def get_assigned_targets_and_loss(self, preds: dict[str, torch.Tensor], batch: dict[str, Any], **more: Any) -> Any:
        points, strides = make_anchors(preds["feats"], self.stride, 0.5)
        where = (points * strides).cpu()  # box by box: many small steps, which a GPU would wait for
        self._teaches = teaches(where, batch["ignored"], len(preds["scores"]), self.nc).to(points.device)
        return super().get_assigned_targets_and_loss(preds, batch, **more)


def teaches(points: torch.Tensor, ignored: torch.Tensor, batch: int, classes: int) -> torch.Tensor:
    """(batch, points, classes): 0 where a point lies in an ignored box of the class, else 1.

    Args:
        points: (A, 2), px. ignored: (N, 6): picture, class, x1, y1, x2, y2.
    """
    out = torch.ones(batch, len(points), classes)
    for row in ignored:
        inside = ((points > row[2:4]) & (points < row[4:6])).all(1)
        out[int(row[0]), inside, int(row[1])] = 0
    return out


def network(base: Path) -> DetectionModel:
    """YOLOv8n for both classes, from a network of plates or of COCO's classes.

    The plate's score begins as that of the base, the face's with its features and a low prior.
    """
    saved = torch.load(base, map_location="cpu", weights_only=False)
    old = (saved.get("ema") or saved["model"]).float()
    model = DetectionModel("yolov8n.yaml", nc=len(NAMES), verbose=False)
    weights = model.state_dict()
    for name, value in old.state_dict().items():
        if name in weights and weights[name].shape == value.shape:
            weights[name] = value
        elif ".cv3." in name and name.endswith((".2.weight", ".2.bias")) and value.shape[1:] == weights[name].shape[1:]:
            weights[name] = value[:1].repeat(2, *[1] * (value.ndim - 1)).clone()  # of one class: for both
            weights[name][0] *= 1.0 if name.endswith("bias") else 0.3
    model.load_state_dict(weights)
    model.names, model.args = NAMES, GAINS
    return model


def rate(done: float) -> float:
    """The learning rate's factor at a share of the minutes (0–1)."""
    if done < 1 - FALL:
        return 1.0
    return max(0.5 * (1 + np.cos(np.pi * (done - 1 + FALL) / FALL)), 0.01)


def save(path: Path, content: Any) -> None:
    """Whole or not at all."""
    part = path.with_suffix(".part")
    torch.save(content, part)
    os.replace(part, path)


def export(model: DetectionModel, path: Path) -> None:
    """The network alone, in half precision, as ultralytics' own checkpoints are."""
    stock = DetectionModel("yolov8n.yaml", nc=len(NAMES), verbose=False)
    stock.load_state_dict(model.state_dict())
    stock.names = NAMES
    save(path, {"model": stock.half(), "ema": None, "epoch": -1, "optimizer": None, "train_args": {}})


def train(
    data: Path,
    labels: Path,
    run: Path,
    options: Options,
    *,
    minutes: float,
    device: str,
    workers: int,
    every: float,
    hard: Path | None = None,
) -> None:
    """See the module.

    Args:
        minutes: of training since the very first one.
        workers: processes that make tiles.
        every: minutes between checkpoints.
        hard: what `hard.py` wrote.
    """
    run.mkdir(parents=True, exist_ok=True)
    last, where = run / "last.pt", torch.device(device)
    is_cpu = where.type == "cpu"
    layout = torch.channels_last
    model = network(Path(options.base))
    saved = torch.load(last, map_location="cpu", weights_only=False) if last.exists() else None
    spent, step, starts = (saved["spent"], saved["step"], saved["starts"] + 1) if saved else (0.0, 0, 0)
    average = network(Path(options.base))
    if saved:
        model.load_state_dict(saved["model"])
        average.load_state_dict(saved["average"])
    model.to(where, memory_format=layout).train()
    average.to(where, memory_format=layout).eval()
    groups = [[], []]  # type: list[list[torch.nn.Parameter]]
    for name, p in model.named_parameters():
        p.requires_grad = ".dfl" not in name
        if p.requires_grad:
            groups[p.ndim > 1].append(p)
    optimizer = torch.optim.AdamW(
        [{"params": groups[0], "weight_decay": 0.0}, {"params": groups[1], "weight_decay": options.weight_decay}],
        lr=options.learning_rate,
        betas=(0.9, 0.999),
    )
    if saved:
        optimizer.load_state_dict(saved["optimizer"])
    averaged, followed = ([v for v in m.state_dict().values() if v.is_floating_point()] for m in (average, model))
    criterion = Loss(model)
    photos = read_photos(data, labels, options.fold, hard)
    print(f"{len(photos)} photos; from {spent:.1f} of {minutes} minutes, step {step}", flush=True)
    loader = iter(
        DataLoader(
            Tiles(
                photos, options.size, (options.seed, starts), masked_faces(data / "faces-masked" / "annotations.json")
            ),
            batch_size=options.batch,
            num_workers=workers,
            collate_fn=collate,
            prefetch_factor=4 if workers else None,
            pin_memory=not is_cpu,
        )
    )
    uses_bfloat16 = has_bfloat16() if is_cpu else torch.cuda.is_bf16_supported()
    losses: list[list[float]] = []
    before = written = time.monotonic()
    while spent < minutes:
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * rate(spent / minutes) * min((step + 1) / 200, 1)
        batch = next(loader)
        images = batch["img"].to(where, non_blocking=True).contiguous(memory_format=layout).float() / 255
        with torch.autocast(where.type, torch.bfloat16, enabled=uses_bfloat16):
            raw = model(images)
        loss, parts = criterion({k: _float(v) for k, v in raw.items()}, batch)
        optimizer.zero_grad()
        loss.sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        step += 1
        keep = options.average * (1 - np.exp(-step / 300))
        with torch.no_grad():
            torch._foreach_lerp_(averaged, followed, 1 - keep)
        if step % 25 == 0 or step < 5:
            losses.append([float(v) for v in parts.values()])
        now = time.monotonic()
        spent += min(now - before, PAUSE) / 60
        before = now
        if step % 100 == 0:
            mean = np.mean(losses[-20:], axis=0)
            line = {"step": step, "minutes": round(spent, 2), "tiles": step * options.batch, "rate": group["lr"]}
            line |= {k: round(float(v), 4) for k, v in zip(parts, mean, strict=True)}
            with open(run / "log.jsonl", "a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
        if now - written > every * 60 or spent >= minutes:
            content = {
                "model": model.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
            }
            save(last, content | {"spent": spent, "step": step, "starts": starts, "options": asdict(options)})
            export(average, run / "street.pt")
            written = now


def _float(value: Any) -> Any:
    if isinstance(value, list):
        return [_float(v) for v in value]
    return value.float() if isinstance(value, torch.Tensor) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with plates-train, faces-masked, no-plates")
    parser.add_argument("labels", type=Path, help="what label.py wrote")
    parser.add_argument("run", type=Path)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=0, help="processes that make tiles; 0: the training itself")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--every", type=float, default=4.0, help="minutes between checkpoints")
    parser.add_argument("--hard", type=Path, help="what hard.py wrote: tiles are cut around it more often")
    for name, value in asdict(Options()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    given = vars(parser.parse_args())
    torch.set_num_threads(given.pop("threads"))
    options = Options(**{name: given.pop(name) for name in asdict(Options())})
    torch.manual_seed(options.seed)
    train(given.pop("data"), given.pop("labels"), given.pop("run"), options, **given)


if __name__ == "__main__":
    main()
