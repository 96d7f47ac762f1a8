"""bench: how fast, and how leaky, on one's own photos."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from ..disk import write_json
from ..settings import PRESETS
from .options import EXISTING, JSON


@click.command()
@click.argument("folder", metavar="PHOTOS", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("source", metavar="[ANNOTATIONS]", required=False, type=EXISTING)
@click.option("--presets", default="fast,balanced", show_default=True, help=f"Of {', '.join(PRESETS)}.")
@click.option("--count", type=click.IntRange(2), default=20, show_default=True, help="Photos to take, evenly spread.")
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True, help="How often each runs.")
@JSON
def bench(folder: Path, source: Path | None, presets: str, count: int, repeats: int, json_path: Path | None) -> None:
    """Time this program's presets on JPEGs and PNGs of PHOTOS, and the other programs that are installed.

    With ANNOTATIONS (as `evaluate` takes them), also what each leaks.
    """
    from .. import images
    from ..errors import SettingsError, UnknownNameError
    from ..evaluate import benchmark, ground_truth, peers
    from ..predictor import Predictor
    from ..settings import Settings
    from .progress import fetching

    names = [name for name in presets.split(",") if name]
    if unknown := [name for name in names if name not in PRESETS]:
        raise UnknownNameError("preset", unknown[0], PRESETS)
    extensions = tuple(e.strip(".") for e in peers.PHOTOS)
    found = images.find(folder, Settings().replace(image_extensions=extensions))
    if len(found.paths) < 2:
        raise SettingsError(f"{folder} has {len(found.paths)} JPEGs and PNGs; two are the least")
    count = min(count, len(found.paths))
    some = [found.paths[i * len(found.paths) // count] for i in range(count)]
    annotations = ground_truth.read(source, folder, found.paths, ("face", "plate")) if source else None
    with fetching() as progress:  # no download within a measurement
        for name in names:
            _ = Predictor(name, fetching=progress).detectors
    contenders = [*map(benchmark.preset, names), *benchmark.installed()]
    with tempfile.TemporaryDirectory() as scratch:
        photos = {path: found.root / path for path in some}
        say = lambda text: click.echo(f"… {text}", err=True)  # noqa: E731
        rows = benchmark.measure(contenders, photos, Path(scratch), repeats, annotations, say)
    click.echo(benchmark.table(rows))
    if json_path:
        write_json(json_path, [row.to_dict() for row in rows])
    if any(row.error for row in rows[: len(names)]):
        click.get_current_context().exit(1)
