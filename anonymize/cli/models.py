"""models list | fetch | verify | convert: what stands in models/registry.toml and in the cache."""

from __future__ import annotations

from pathlib import Path

import click

from .options import DEFAULTS, VERBOSE, WEIGHTS
from .progress import fetching


def _names_or_defaults(names: tuple[str, ...]) -> list[str]:
    """The given models; without any, those that the default settings need."""
    if names:
        return list(names)
    from ..detectors import models, parse, upright

    needed = [m for n in (DEFAULTS.face_detector, DEFAULTS.plate_detector) for m in models(parse(n))]
    return list(dict.fromkeys([*needed, upright.NETWORK]))


@click.group()
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
