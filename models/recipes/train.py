"""Train networks that see faces and plates at once, on whatever machine, for so many minutes at a time.

    python -m models.recipes.train DATA models/recipes/labels RUN --minutes 100 [--fold 4] [--device cuda --batch 64]

Several networks (`--networks n,n-p2,s:2 --bases street.pt,street.pt,s.pt`) learn from the same tiles, each from every
batch or, with `:2`, from every second: on a GPU cutting tiles costs more than a small network's step.

A folder RUN that has a checkpoint is gone on with: minutes count from the very first one, loading included, so the same
command ends what was stopped, and more minutes train on. The learning rate rises, stays, and falls to nothing over the
last part of the minutes. RUN/last.pt is everything, written whole or not at all; RUN/street-KIND.pt the averaged
networks, in half precision.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from ultralytics.nn.tasks import DetectionModel

from models.recipes.batches import Batches, masked_faces, read_photos
from models.recipes.folds import HELD_OUT
from models.recipes.networks import Loss, export, float_, network, save

PAUSE = 20.0  # s; a step that took longer was stopped meanwhile
FALL = 0.5  # last part of the minutes, in which the learning rate falls
RISE = 100  # steps in which it rises
TIMED = 40  # first steps, of which it is printed how long each network's part takes
LOGGED = 5.0  # s, between lines of the log
LAYOUT = torch.channels_last


@dataclass
class Options:
    """What a training is made with; kept in its checkpoint."""

    networks: str = "n"
    bases: str = "models/plates.pt"
    fold: int = HELD_OUT
    sizes: str = "416"
    batch: int = 16
    learning_rate: float = 8e-4
    weight_decay: float = 5e-4
    seed: int = 0
    average: float = 0.9985


@dataclass
class Student:
    """A network that learns."""

    kind: str
    every: int
    model: DetectionModel
    average: DetectionModel
    optimizer: torch.optim.Optimizer
    criterion: Loss
    averaged: list[torch.Tensor]
    followed: list[torch.Tensor]
    losses: list[torch.Tensor] = field(default_factory=list)
    seconds: float = 0.0

    @staticmethod
    def begin(name: str, base: Path, options: Options, where: torch.device) -> Student:
        """From the name of its kind, with `:2` if it learns from every second batch."""
        kind, _, every = name.partition(":")
        model = network(base, kind).to(where, memory_format=LAYOUT).train()
        average = network(base, kind)
        average.load_state_dict(model.state_dict())  # what begins at random, too
        average.to(where, memory_format=LAYOUT).eval()
        groups = [[], []]  # type: list[list[torch.nn.Parameter]]
        for key, p in model.named_parameters():
            p.requires_grad = ".dfl" not in key
            if p.requires_grad:
                groups[p.ndim > 1].append(p)
        optimizer = torch.optim.AdamW(
            [{"params": groups[0], "weight_decay": 0.0}, {"params": groups[1], "weight_decay": options.weight_decay}],
            lr=options.learning_rate,
            betas=(0.9, 0.999),
            fused=where.type == "cuda",
        )
        averaged, followed = ([v for v in m.state_dict().values() if v.is_floating_point()] for m in (average, model))
        return Student(kind, int(every or 1), model, average, optimizer, Loss(model), averaged, followed)

    def learn(self, images: torch.Tensor, batch: dict[str, torch.Tensor], rate: float, keep: float) -> None:
        """One step."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        uses_bfloat16 = torch.cuda.is_bf16_supported() if images.is_cuda else has_bfloat16()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=uses_bfloat16):
            raw = self.model(images)
        loss, parts = self.criterion(float_(raw), batch)
        self.optimizer.zero_grad()
        loss.sum().backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 10.0)
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.averaged, self.followed, 1 - keep)
        self.losses = [*self.losses[-19:], torch.stack(list(parts.values()))]

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        parts = {"model": self.model, "average": self.average, "optimizer": self.optimizer}
        return {key: part.state_dict() for key, part in parts.items()}

    def restore(self, state: dict[str, Any]) -> None:
        """What `state` gave."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])

    def told(self) -> dict[str, float]:
        """Mean losses of the last steps: boxes, classes, distances."""
        means = torch.stack(self.losses).mean(0).tolist() if self.losses else []
        return {f"{self.kind} {k}": round(v, 3) for k, v in zip(("box", "class", "distance"), means, strict=False)}


def has_bfloat16() -> bool:
    """See anonymize.training.trainers, which needs much that only this needs not."""
    from anonymize.training import trainers

    return trainers.has_bfloat16()


def rate(done: float) -> float:
    """The learning rate's factor at a share of the minutes (0–1)."""
    if done < 1 - FALL:
        return 1.0
    return max(0.5 * (1 + math.cos(math.pi * (done - 1 + FALL) / FALL)), 0.01)


def sizes(text: str) -> dict[int, float]:
    """ "640*3,1280" -> {640: 3, 1280: 1}: px, and how many of the batches have it."""
    parts = (part.partition("*") for part in text.split(","))
    return {int(size): float(often or 1) for size, _, often in parts}


def loaded(photos: list[Any], data: Path, options: Options, starts: int, workers: int, pinned: bool) -> Iterator[Any]:
    """Batches without end."""
    masked = masked_faces(data / "faces-masked" / "annotations.json")
    made = Batches(photos, sizes(options.sizes), options.batch, (options.seed, starts), masked)
    ahead = 2 if workers else None
    return iter(DataLoader(made, batch_size=None, num_workers=workers, prefetch_factor=ahead, pin_memory=pinned))


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
    before = time.monotonic()
    run.mkdir(parents=True, exist_ok=True)
    last, where = run / "last.pt", torch.device(device)
    on_gpu = where.type == "cuda"
    names, bases = options.networks.split(","), options.bases.split(",")
    saved = torch.load(last, map_location="cpu", weights_only=False) if last.exists() else None
    spent, step, starts = (saved["spent"], saved["step"], saved["starts"] + 1) if saved else (0.0, 0, 0)
    # The workers start before the GPU is touched: they are forks.
    photos = read_photos(data, labels, options.fold, hard, decoded=on_gpu)
    batches = loaded(photos, data, options, starts, workers, on_gpu)
    students = [Student.begin(n, Path(b), options, where) for n, b in zip(names, bases, strict=True)]
    for student in students:
        if saved:
            student.restore(saved["students"][student.kind])
    print(f"{len(photos)} photos; from {spent:.1f} of {minutes} minutes, step {step}", flush=True)
    written = told = time.monotonic()
    spent += (written - before) / 60  # a lent machine's minutes count from when it is used
    before, first, since, waited = written, step, step, 0.0
    while spent < minutes and students:
        batch = next(batches)
        waited += time.monotonic() - before
        batch = {key: value.to(where, non_blocking=True) for key, value in batch.items()}
        images = batch.pop("img").permute(0, 3, 1, 2).contiguous(memory_format=LAYOUT).float() / 255
        now_rate = options.learning_rate * rate(spent / minutes) * min((step + 1) / RISE, 1)
        step += 1
        for student in [s for s in students if step % s.every == 0]:
            started = time.monotonic()
            try:
                student.learn(images, batch, now_rate, options.average * (1 - math.exp(-step / 300)))
            except RuntimeError as error:  # the others go on
                print(f"{student.kind} ends at step {step}: {error}", flush=True)
                students.remove(student)
            if step <= first + TIMED and on_gpu:
                torch.cuda.synchronize()
            student.seconds += time.monotonic() - started
        now = time.monotonic()
        spent += min(now - before, PAUSE) / 60
        before = now
        if step == first + TIMED:
            each = {s.kind: round(1000 * s.seconds * s.every / TIMED) for s in students}
            print(f"ms a step: {each}; waited for tiles: {1000 * waited / TIMED:.0f}", flush=True)
        if now - told > LOGGED or spent >= minutes:
            line = {"step": step, "minutes": round(spent, 2), "rate": round(now_rate, 6)}
            line |= {"tiles a second": round((step - since) * options.batch / (now - told)), "waited": round(waited, 1)}
            for student in students:
                line |= student.told()
            with open(run / "log.jsonl", "a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
            print(line, flush=True)
            told, since, waited = time.monotonic(), step, 0.0
        if now - written > every * 60 or spent >= minutes:
            content = {"spent": spent, "step": step, "starts": starts, "options": asdict(options)}
            save(last, content | {"students": {s.kind: s.state() for s in students}})
            for student in students:
                export(student.average, run / f"street-{student.kind}.pt")
            written = now


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
