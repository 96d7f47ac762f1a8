"""models list | fetch | verify | convert: what stands in models/registry.toml and in the cache; train: your own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import Group
from .options import DEFAULTS, EXISTING, PATH, VERBOSE, WEIGHTS
from .progress import fetching


def _names_or_defaults(names: tuple[str, ...]) -> list[str]:
    """The given models; without any, those that the default settings need."""
    if names:
        return list(names)
    from ..detectors import models, parse, upright

    needed = [m for n in DEFAULTS.detectors for m in models(parse(n))]
    return list(dict.fromkeys([*needed, upright.NETWORK]))


@click.group(cls=Group)
def models() -> None:
    """Weights: what there is, where it comes from, and whether it is here."""


@models.command("list")
@WEIGHTS
@VERBOSE
def list_(weights_dir: Path | None) -> None:
    """All models of the registry."""
    from rich.console import Console
    from rich.table import Table

    from .. import weights
    from ..weights.registry import registry

    table = Table(box=None)
    for header in ("model", "finds", "input px", "MB", "license", "here"):
        table.add_column(header, justify="right" if header in ("input px", "MB") else "left")
    for name, model in registry().items():
        is_here = "yes" if weights.is_installed(name, cache=weights_dir) else "no"
        size = f"{model.bytes / 1e6:.1f}" if model.bytes else "?"
        table.add_row(name, model.task, str(model.size), size, model.license, is_here)
    Console().print(table)
    click.echo(f"kept in {weights_dir or weights.cache_dir()}; a card for each model: models/README.md")


@models.command()
@click.argument("names", nargs=-1)
@click.option("--trust", is_flag=True, help="Take weights of which the registry knows no hash.")
@WEIGHTS
@VERBOSE
def fetch(names: tuple[str, ...], trust: bool, weights_dir: Path | None) -> None:
    """Fetch and verify weights (without NAMES: what the defaults need), so that later runs need no network."""
    from .. import weights

    with fetching() as progress:
        for name in _names_or_defaults(names):
            path = weights.fetch(name, cache=weights_dir, progress=progress, trust=trust)
            if path.suffix == ".pt":
                path = weights.onnx(name, cache=weights_dir, progress=progress)
            click.echo(f"{name}: {path}")


@models.command()
@click.argument("names", nargs=-1)
@WEIGHTS
@VERBOSE
def verify(names: tuple[str, ...], weights_dir: Path | None) -> None:
    """Hash weights again (without NAMES: all that are here)."""
    from .. import weights
    from ..weights.registry import registry

    states = [weights.state(n, cache=weights_dir) for n in registry()]
    # A file that is here and does not fit is verified too, so that it is named; without a hash there is nothing to do.
    chosen = names or tuple(s.model.name for s in states if s.model.sha256 and (s.path or s.refused))
    for name in chosen:
        click.echo(f"{name}: {weights.verify(name, cache=weights_dir)} is what the registry names")
    if not chosen:
        click.echo("no weights are here yet; `models fetch` fetches them")


@models.command()
@click.argument("name")
@click.option("--trust", is_flag=True, help="Unpickle a .pt that is not in models/registry.toml.")
@WEIGHTS
@VERBOSE
def convert(name: str, trust: bool, weights_dir: Path | None) -> None:
    """Convert NAME (of the registry, or a path to a .pt) to the ONNX that is run; it is kept in the cache."""
    from .. import weights
    from ..weights.registry import registry

    with fetching() as progress:
        what = name if name in registry() else Path(name)
        click.echo(str(weights.onnx(what, cache=weights_dir, progress=progress, trust=trust)))


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
