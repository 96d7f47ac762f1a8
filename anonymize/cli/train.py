"""train: a network of one's own from a YOLO data.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import EXISTING, PATH, VERBOSE, WEIGHTS


@click.command()
@click.argument("data", metavar="DATA.yaml", type=EXISTING)
@click.option("--output", required=True, type=PATH, help="Folder for all results.")
@click.option("--name", default="", help="The model's name (default: the folder's).")
@click.option("--base", metavar="NAME|PATH", help="Where to start: a model with a .pt, your .pt, or yolov8n.yaml.")
@click.option("--epochs", type=int, help="Passes over the data. [50]")
@click.option("--size", type=int, help="Long side of the input, px. [640]")
@click.option("--batch", type=int, help="Photos per step. [16]")
@click.option("--device", help="auto, cpu or cuda. [auto]")
@click.option("--seed", type=int, help="Seed of the random generators. [0]")
@click.option("--learning-rate", type=float, help="Highest learning rate of AdamW. [0.001]")
@click.option("--hours", type=float, help="Stop after this many hours in all, instead of after --epochs.")
@click.option("--photos-per-epoch", type=int, help="Short epochs, for slow machines. [all]")
@click.option("--validate-every", type=int, help="Epochs between measurements. [1]")
@click.option("--frozen", type=int, help="Freeze this many first layers. [0]")
@click.option("--resume", is_flag=True, help="Continue from OUTPUT/weights/last.pt, also on another machine.")
@click.option("--trust", is_flag=True, help="Load a base .pt that is not in models/registry.toml.")
@WEIGHTS
@VERBOSE
def train(
    data: Path, output: Path, name: str, resume: bool, trust: bool, weights_dir: Path | None, **given: Any
) -> None:
    """Train a detector on photos of your own: faces, plates, or any kind that your classes name.

    DATA.yaml is YOLO's, as Roboflow, CVAT and the review's export write it; with kpt_shape it learns corners too.
    """
    from .. import training

    options = training.Options(**{k: v for k, v in given.items() if v is not None})
    done = training.train(data, output, options, name=name, resume=resume, trust=trust, cache=weights_dir)
    click.echo(f"{done.onnx}  use it with --plate-detector or --face-detector yolo:{done.onnx}")
    entry = f"; {done.entry} its entry for models/registry.toml" if done.entry else ""
    click.echo(f"{done.card}  what it is{entry}")
