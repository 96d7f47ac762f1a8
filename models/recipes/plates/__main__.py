"""Plates: draw them, make training data of annotated photos, train the network that knows their corners.

    python -m models.recipes.plates sheet | build | corners

A checkout has it, the wheel does not: it makes the project's own weights (models/plates.md, models/plates-corners.md).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from anonymize.cli.options import VERBOSE, WEIGHTS
from anonymize.errors import AnonymizeError


@click.group()
def plates() -> None:
    """Plates: draw them, make training data of marked photos, train the network that knows their corners."""


@plates.command()
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--seed", type=int, default=1, show_default=True, help="Of everything random.")
@click.option("--photo", type=click.Path(path_type=Path), help="Also draw scenes into this photo, on its --box.")
@click.option("--box", metavar="X1,Y1,X2,Y2", multiple=True, help="A plate in the photo, px.")
def sheet(output: Path, seed: int, photo: Path | None, box: tuple[str, ...]) -> None:
    """Write a contact sheet of drawn plates (OUTPUT.png), or of scenes in a photo."""
    import numpy as np
    from PIL import Image

    from anonymize.errors import SettingsError

    from . import scenes, synth

    if photo is None:
        Image.fromarray(synth.contact_sheet(seed)).save(output)
        return
    try:
        boxes = np.array([[float(v) for v in b.split(",")] for b in box]).reshape(-1, 4)
    except ValueError as e:
        raise SettingsError(f"--box is X1,Y1,X2,Y2; received {', '.join(box)}") from e
    pixels = np.asarray(Image.open(photo).convert("RGB"))
    drawn = [scenes.scene(pixels, boxes, boxes[:0], np.random.default_rng((seed, i)))[0] for i in range(6)]
    Image.fromarray(np.vstack([np.hstack(drawn[:3]), np.hstack(drawn[3:])])).save(output)


@plates.command()
@click.argument("folder", metavar="IMAGES", type=click.Path(path_type=Path))
@click.argument("annotations", metavar="COCO.json", type=click.Path(path_type=Path))
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Folder of the data set.")
@click.option("--held-out", default="", metavar="A*,B*", help="Names of photos for val and test. [every 12th photo]")
@click.option("--drawn", type=int, default=1500, show_default=True, help="Scenes with drawn plates.")
@click.option("--size", type=int, default=640, show_default=True, help="Long side of the photos, px.")
@click.option("--tiles", type=int, default=0, help="Cut the training photos into pictures of so many px. [whole]")
@click.option("--hard-negatives", default="", metavar="DETECTOR", help="What this one takes for plates is cut out too.")
@click.option("--no-clean", is_flag=True, help="Take the marks as they are (no detectors are run).")
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything random.")
@WEIGHTS
@VERBOSE
def build(
    folder: Path,
    annotations: Path,
    output: Path,
    held_out: str,
    drawn: int,
    size: int,
    tiles: int,
    hard_negatives: str,
    no_clean: bool,
    seed: int,
    weights_dir: Path | None,
) -> None:
    """From marked photos (COCO, category 2 is plate) to a data set with drawn plates, for `train` and `plates corners`.

    Three public detectors at 1,152 px correct the marks first; what they change is counted in counts.json.
    """
    from . import data_set

    counts = data_set.from_coco(
        folder,
        annotations,
        output,
        held_out=tuple(held_out.split(",")) if held_out else (),
        drawn=drawn,
        size=size,
        tiles=tiles,
        hard_negatives=hard_negatives,
        is_cleaned=not no_clean,
        seed=seed,
        weights_dir=weights_dir,
    )
    click.echo(", ".join(f"{k} {v}" for k, v in counts.items()))
    click.echo(f"{output / 'data.yaml'}  goes into: python -m anonymize train {output / 'data.yaml'} --output …")


@plates.command()
@click.argument("folder", metavar="PHOTOS", type=click.Path(path_type=Path))
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Folder for everything it leaves.")
@click.option("--held-out", type=click.Path(path_type=Path), help="Photos to measure with. [every 12th of PHOTOS]")
@click.option("--crops", type=int, help="Plates that are drawn, or places without one. [30000]")
@click.option("--epochs", type=int, help="Passes over them. [8]")
@click.option("--batch", type=int, help="Crops a step. [64]")
@click.option("--learning-rate", type=float, help="AdamW's, at its highest. [0.0025]")
@click.option("--device", help="auto, cpu or cuda. [auto]")
@click.option("--seed", type=int, help="Of everything random. [0]")
@VERBOSE
def corners(folder: Path, output: Path, held_out: Path | None, **given: Any) -> None:
    """Train the network that knows plates' corners, on plates drawn into PHOTOS (any photos of streets).

    YOLO labels beside them (as `plates build` writes them) say where real plates are, which makes it better. The same
    command goes on where it was stopped.
    """
    from . import corners as training
    from .corner_net import Options

    options = Options(**{k: v for k, v in given.items() if v is not None})
    done = training.train(folder, output, options, held_out=held_out, tell=click.echo)
    click.echo(", ".join(f"{k} {v:.3f}" for k, v in done.figures.items()))
    click.echo(f"{done.onnx}  and {done.card}; its entry for models/registry.toml lies beside")


if __name__ == "__main__":
    try:
        plates(prog_name="python -m models.recipes.plates")
    except AnonymizeError as e:
        sys.exit(f"error: {e}")
