"""Train a network on photos of one's own: a YOLO data.yaml in; weights, curves, a model card and a registry entry out.

    train(Path("data.yaml"), Path("out")) leaves
        out/weights/best.pt last.pt   checkpoints; a resume needs last.pt
        out/options.json              how it is trained; a resume goes on so
        out/NAME.onnx                 for `--plate-detector yolo:out/NAME.onnx`
        out/results.csv results.png   losses and figures, epoch by epoch
        out/card.md registry.toml     what it is, and its entry for models/registry.toml

Any kinds of region: a class's name decides (`detectors.yolo.kind_of`). With `kpt_shape: [4, 3]` in the data.yaml the
network learns corners too. A killed training goes on from its last whole checkpoint, on another machine too: take the
output folder along.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import weights
from ..errors import PathError, SettingsError, UntrustedWeightsError
from ..extras import extra
from ..weights.registry import TASKS, registry
from .data_yaml import Data, read_data


@dataclass(frozen=True)
class Options:
    """How to train.

    Attributes:
        base: where to start: a model of the registry with a .pt (plates, safelicensing, …), the path of an ultralytics
            .pt, or a stock architecture such as yolov8n.yaml (from nothing).
        epochs: passes over the data (over `photos_per_epoch` photos each, where given).
        size: long side of the input, px, a multiple of 32.
        batch: photos a step.
        device: auto, cpu or cuda.
        seed: of everything random.
        learning_rate: AdamW's, at its highest.
        hours: in all, resumed runs included; the number of epochs then follows from the speed.
        photos_per_epoch: short epochs for slow machines (checkpoints come more often); 0: all.
        validate_every: epochs between measurements.
        frozen: so many of the network's first layers stay as they are.

    Raises:
        SettingsError: a number out of its limits.
    """

    base: str = "safelicensing"
    epochs: int = 50
    size: int = 640
    batch: int = 16
    device: str = "auto"
    seed: int = 0
    learning_rate: float = 1e-3
    hours: float | None = None
    photos_per_epoch: int = 0
    validate_every: int = 1
    frozen: int = 0

    def __post_init__(self) -> None:
        for name, low in (("epochs", 1), ("batch", 1), ("photos_per_epoch", 0), ("validate_every", 1), ("frozen", 0)):
            if getattr(self, name) < low:
                raise SettingsError(f"{name} is at least {low}; received {getattr(self, name)}")
        if self.size < 32 or self.size % 32:
            raise SettingsError(f"size is a multiple of 32; received {self.size}")
        if self.hours is not None and not self.hours > 0:
            raise SettingsError(f"hours is more than 0; received {self.hours}")
        if not self.learning_rate > 0:
            raise SettingsError(f"learning_rate is more than 0; received {self.learning_rate}")


@dataclass(frozen=True)
class Trained:
    """What a training left: files, and the best epoch's figures (ultralytics' names, "metrics/mAP50(B)")."""

    checkpoint: Path
    onnx: Path
    card: Path
    entry: Path | None
    figures: Mapping[str, float]


def train(
    data: Path,
    output: Path,
    options: Options | None = None,
    *,
    name: str = "",
    resume: bool = False,
    trust: bool = False,
    cache: Path | None = None,
) -> Trained:
    """Train, and export the best epoch.

    Args:
        data: a data.yaml.
        output: a folder of its own.
        name: of the model; default: the output folder's.
        resume: go on from output/weights/last.pt, with the options that it began with; device, and hours where given,
            are those of now.
        trust: unpickle a base .pt that is not in the registry.
        cache: where fetched weights are kept.

    Raises:
        AnnotationError: data that cannot be trained on.
        PathError: output holds a training and `resume` was not given, or holds none to resume.
        SettingsError: a base that is none.
        WeightsError: base weights that cannot be had, are not those of the registry, or are not trusted.
    """
    options = options or Options()
    read = read_data(data)
    last = output / "weights" / "last.pt"
    if last.exists() and not resume:
        raise PathError(f"{output} holds a training already; resume it, or choose another folder")
    if resume and not last.exists():
        raise PathError(f"{last} is not there, so there is nothing to resume")
    output.mkdir(parents=True, exist_ok=True)
    # ultralytics reads this when it is imported: its settings, with an id, stay out of the user's home.
    os.environ.setdefault("YOLO_CONFIG_DIR", str(output.resolve() / ".config"))
    with extra("train", "training"):
        from . import trainers

    config = _write_config(read, output)
    options = _first_options(options, output / "options.json", resume)
    if resume:
        overrides: dict[str, Any] = {"resume": str(last), "data": str(config), "save_dir": str(output.resolve())}
        if options.hours is not None:
            overrides["time"] = options.hours
    else:
        architecture, base = _base(options.base, read.has_corners, output, trust, cache)
        overrides = {**_overrides(options, config, output), "model": architecture, "pretrained": base or False}
    overrides["device"] = _device(options.device)
    best = trainers.run(
        overrides, corners=read.has_corners, photos=options.photos_per_epoch, validate_every=options.validate_every
    )
    return finish(best, read, output, options, name or output.resolve().name)


def _first_options(given: Options, file: Path, resume: bool) -> Options:
    """The options that a training began with: ultralytics' checkpoints do not know all of them."""
    if resume and file.is_file():  # trainings of earlier versions have none
        began = Options(**json.loads(file.read_text("utf-8")))
        return dataclasses.replace(began, device=given.device, hours=given.hours or began.hours)
    if not resume:
        file.write_text(json.dumps(dataclasses.asdict(given), indent=1) + "\n", "utf-8")
    return given


def _write_config(data: Data, output: Path) -> Path:
    import yaml

    config = output / "data.yaml"
    fields = {**data.fields, "path": str(output.resolve())}
    for split, photos in data.files.items():
        fields[split] = str(output.resolve() / f"{split}.txt")
        Path(fields[split]).write_text("".join(f"{photo}\n" for photo in photos), "utf-8")
    config.write_text(yaml.safe_dump(fields, sort_keys=False), "utf-8")
    return config


def _device(name: str) -> str:
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise SettingsError(f"device is auto, cpu or cuda; received {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise SettingsError("device cuda: torch sees no GPU here")
    return "0" if name != "cpu" and torch.cuda.is_available() else "cpu"


def _base(name: str, corners: bool, output: Path, trust: bool, cache: Path | None) -> tuple[str, str | None]:
    """A base's name -> (architecture, path of clean weights to start from or None)."""
    from . import trainers

    if name.endswith((".yaml", ".yml")):
        return trainers.architecture_for(name, corners), None
    if name in registry():
        path, is_known = weights.checkpoint(name) or weights.fetch(name, cache=cache), True
    else:
        path = Path(name)
        if not path.is_file():
            bases = (n for n, m in registry().items() if m.file.endswith(".pt") or m.checkpoint)
            raise SettingsError(
                f"base {name!r} is no file, no stock architecture (such as yolov8n.yaml) and no model of the registry: "
                + ", ".join(sorted(bases))
            )
        is_known = any(weights.sha256(path) in (m.sha256, m.checkpoint) for m in registry().values())
    if path.suffix != ".pt":
        raise SettingsError(f"base {name!r}: only a .pt can be trained further")
    if not is_known and not trust:
        raise UntrustedWeightsError(
            f"{path} is a pickle from outside the registry and can run any code; --trust loads it"
        )
    return trainers.clean_checkpoint(path, output / "base.pt", corners=corners, safe=is_known or not trust)


def _overrides(options: Options, config: Path, output: Path) -> dict[str, Any]:
    """Options -> ultralytics' arguments."""
    is_gpu = _device(options.device) != "cpu"
    return {
        "data": str(config),
        "save_dir": str(output.resolve()),
        "imgsz": options.size,
        "epochs": options.epochs,
        "time": options.hours,
        "batch": options.batch,
        "nbs": options.batch,
        "seed": options.seed,
        "freeze": options.frozen or None,
        "optimizer": "AdamW",
        "lr0": options.learning_rate,
        "lrf": 0.01,
        "momentum": 0.9,
        "cos_lr": True,
        "warmup_epochs": min(1.0, options.epochs / 10),
        "warmup_bias_lr": 0.0,
        # Little mosaic and scale: many data sets (also that of models/recipes) are cut at many scales already.
        "mosaic": 0.25,
        "close_mosaic": max(1, options.epochs // 8),
        "scale": 0.25,
        "hsv_h": 0.02,
        "hsv_s": 0.6,
        "pose": 4.0,
        "kobj": 0.3,
        "patience": 1000,
        "deterministic": not is_gpu,
        "amp": "bf16" if is_gpu else False,  # on CPUs the model itself switches bfloat16 on
        "workers": 8 if is_gpu else 0,
        "plots": False,
        "exist_ok": True,
    }


def finish(best: Path, data: Data, output: Path, options: Options, name: str) -> Trained:
    """Export a checkpoint and describe it: ONNX, curves, card, registry entry.

    Raises:
        WeightsError: the export failed.
    """
    from ..detectors.yolo import kind_of
    from . import trainers

    network = trainers.export(best, output / f"{name}.onnx")
    figures, facts = trainers.figures(best), trainers.facts(best)
    if (output / "results.csv").exists():
        trainers.curves(output / "results.csv")
    digest = hashlib.sha256(network.read_bytes()).hexdigest()
    kinds = {n: kind_of(n) for n in data.names}
    task = next((k for k in kinds.values() if k in TASKS), None)
    entry = None
    if task:
        entry = output / "registry.toml"
        entry.write_text(registry_entry(name, task, network, digest, int(facts["imgsz"]), kinds), "utf-8")
    card = output / "card.md"
    card.write_text(model_card(name, data, options, facts, figures, network, digest), "utf-8")
    return Trained(best, network, card, entry, figures)


def registry_entry(name: str, task: str, network: Path, digest: str, size: int, kinds: Mapping[str, str]) -> str:
    """The model's table for models/registry.toml; its file goes beside that one."""
    classes = ", ".join(f'"{n}" = "{k}"' for n, k in kinds.items())
    return (
        f'[{name}]\ntask = "{task}"\nfile = "{network.name}"\nsources = ["file:{network.name}"]\nsha256 = "{digest}"\n'
        f'bytes = {network.stat().st_size}\nlicense = "AGPL-3.0"\nsize = {size}\nclasses = {{ {classes} }}\n'
    )


def model_card(
    name: str,
    data: Data,
    options: Options,
    facts: Mapping[str, Any],
    figures: Mapping[str, float],
    network: Path,
    digest: str,
) -> str:
    """What the model is, in Markdown: data, settings, seed, versions, figures."""
    import torch
    import ultralytics

    splits = ", ".join(f"{n} for {split}" for split, n in data.photos.items())
    corners = f", {data.fields['kpt_shape'][0]} corners each" if data.has_corners else ""
    now = {k: facts[k] for k in ("epochs", "imgsz", "batch", "seed", "lr0") if k in facts}
    settings = dataclasses.asdict(options) | now
    versions = f"torch {torch.__version__}, ultralytics {ultralytics.__version__}, Python {platform.python_version()}"
    rows = [
        ("finds", ", ".join(data.names) + corners),
        ("file", f"{network.name}, {network.stat().st_size / 1e6:.1f} MB, sha256 {digest}"),
        ("license", "AGPL-3.0 (trained with ultralytics)"),
        ("photos", splits),
        ("trained", f"{facts.get('epoch', '?')} epochs, {facts.get('date', '?')}"),
        ("settings", ", ".join(f"{k} {v}" for k, v in settings.items() if v is not None)),
        ("with", versions),
    ]
    rows += [(k.removeprefix("metrics/"), f"{v:.3f}") for k, v in figures.items() if k.startswith("metrics/")]
    table = "".join(f"| {key} | {value} |\n" for key, value in rows)
    return (
        f"## {name}\n\n| | |\n|---|---|\n{table}\nThe figures are ultralytics' on the photos named `val`; B is "
        "boxes, P is corners (photos without known corners count as misses there). They say how well it does on photos "
        "like these. Measure it on your own: `python -m anonymize evaluate`.\n"
    )
