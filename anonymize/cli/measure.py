"""evaluate, compare and bench: how much leaks, and how fast, measured on one's own photos."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..disk import write_json
from ..settings import PRESETS
from . import options

if TYPE_CHECKING:
    from ..evaluate.compare import Contender
    from ..evaluate.ground_truth import Annotations
    from ..images.paths import Found
    from ..records import Record
    from ..settings import Settings


def _read_annotations(
    folder: Path, source: Path, settings: Settings, *written: Path | None
) -> tuple[Found, Annotations]:
    """Photos and ground truth; `written`: files that will be made, none of which may be one of these.

    Raises:
        PathError, AnnotationError.
    """
    from .. import images
    from ..errors import PathError
    from ..evaluate import ground_truth as annotations

    found = images.find(folder, settings)
    inputs = [source, *(found.root / p for p in found.paths)]
    for target in filter(None, written):
        if target.exists() and any(p.exists() and p.samefile(target) for p in inputs):
            raise PathError(f"{str(target)!r} is one of the inputs, which are never overwritten")
    return found, annotations.read(source, folder, found.paths, settings.kinds)


@click.command()
@click.argument("folder", metavar="IMAGES", type=options.PATH)
@click.argument("source", metavar="ANNOTATIONS", type=options.EXISTING)
@click.option(
    "--records",
    "records_path",
    type=options.PATH,
    help="Use these detections at their own settings, which other options override; detect nothing.",
)
@options.JSON
@click.option("--plots", type=options.PATH, help="Write PR and leak curves as PNG to this folder.")
@click.option("--matches", type=options.PATH, help="Write detections, truths and matches as JSON lines.")
@options.DETECTOR_OPTIONS
@options.THRESHOLDS
@options.HIDING
@options.SEARCHING
@options.FILES
def evaluate(
    folder: Path,
    source: Path,
    records_path: Path | None,
    json_path: Path | None,
    plots: Path | None,
    matches: Path | None,
    **given: Any,
) -> None:
    """Measure on IMAGES with ANNOTATIONS (a COCO .json, a YOLO data.yaml or labels folder, a folder of VOC .xml).

    A region leaks when under 90 % of its box would be hidden at the current settings, and is missed when under 50 %.
    """
    from rich.console import Console

    from .. import engine, records
    from .. import evaluate as measuring
    from ..evaluate import plots as drawing
    from ..evaluate import reports
    from .run import report

    settings = options.settings_of(given) if records_path is None else _settings_of_records(records_path, given)
    _, annotations = _read_annotations(folder, source, settings, json_path, matches)
    with tempfile.TemporaryDirectory() as temporary:
        if records_path is None:
            records_path = Path(temporary) / "records.jsonl"
            predictor = options.predictor_of(settings, given)
            report(given, partial(engine.detect, folder, records_path, predictor), is_part=True)
        header, known = records.read(records_path)
    # As in an export: how many regions were kept is the detection's.
    settings = settings.replace(max_regions=min(settings.max_regions, header.settings.max_regions))
    result = measuring.evaluate(known.values(), annotations, settings)
    Console().print(reports.table(result))
    if json_path:
        write_json(json_path, {"settings": settings.to_dict(), **result.to_dict()})
    if plots:
        plots.mkdir(parents=True, exist_ok=True)
        drawing.precision_recall(result, plots / "precision-recall.png")
        drawing.leaks_by_threshold(result, plots / "leaks.png")
    if matches:
        reports.write_json_lines(matches, result)
    if failed := sum(r.error is not None for r in known.values()):
        click.echo(f"{failed} of {len(known)} photos failed and were not measured", err=True)
    if say_withheld(result.withheld, len(result.photos), "photos") or failed:
        click.get_current_context().exit(1)


# What only a detection could heed.
_OF_DETECTION = (
    *("preset", "face_detector", "plate_detector", "other", "vehicle_threshold", "iou_threshold", "device"),
    *("weights_dir", "trust"),
)
_CALLED = {"other": "detector", "weights_dir": "weights"}


def _settings_of_records(path: Path, given: dict[str, Any]) -> Settings:
    """Those that the records were made, or last reviewed, with, and on top of them what was given here."""
    from .. import records

    if useless := [f"--{_CALLED.get(n, n).replace('_', '-')}" for n in _OF_DETECTION if given.get(n)]:
        raise click.UsageError(f"with --records nothing is detected: {', '.join(useless)} cannot be used")
    header, _ = records.read(path)
    settings = options.settings_of(given, header.review or header.settings)
    thresholds = ", ".join(f"{name} {kind.threshold:g}" for name, kind in settings.kinds.items())
    click.echo(f"thresholds: {thresholds}", err=True)
    return settings


def say_withheld(withheld: Mapping[str, str], total: int, what: str) -> bool:
    """Name the annotated photos or clips that no figure counts (path -> why); whether there are any."""
    from ..records import first_of

    for reason in dict.fromkeys(withheld.values()):
        paths = [path for path, why in withheld.items() if why == reason]
        click.echo(f"not measured: {first_of(paths)}: {reason}", err=True)
    if withheld:
        count = f"{len(withheld)} of {total} annotated {what} were not measured"
        click.echo(f"{count}: the figures are of the others only", err=True)
    return bool(withheld)


@click.command()
@click.argument("folder", metavar="IMAGES", type=options.PATH)
@click.argument("source", metavar="ANNOTATIONS", type=options.EXISTING)
@click.option(
    "--detectors", required=True, metavar="A,B@1280,…", help="Detectors to measure, each alone, in this order."
)
@click.option("--sizes", default="", metavar="640,1280", help="Long sides for detectors that name none.")
@click.option("--false-positives", type=float, help="Lowest thresholds with at most X false positives per photo.")
@click.option(
    "--hidden-area", type=float, metavar="PERCENT", help="Or lowest thresholds that hide at most so much of the area."
)
@click.option("--plots", type=options.PATH, help="Folder for plots of leaks over false positives and hidden area.")
@options.JSON
@click.option("--markdown", is_flag=True, help="Print the table as Markdown.")
@options.DETECTING
@options.THRESHOLDS
@options.HIDING
@options.SEARCHING
@options.FILES
def compare(
    folder: Path,
    source: Path,
    detectors: str,
    sizes: str,
    false_positives: float | None,
    hidden_area: float | None,
    plots: Path | None,
    json_path: Path | None,
    markdown: bool,
    **given: Any,
) -> None:
    """Measure several detectors on the same annotated photos, in one table with ms per photo.

    --face-threshold and --plate-threshold hold for all of them; scores of different detectors mean different things, so
    --false-positives X gives each its own: the lowest with at most X false positives per photo; --hidden-area X the
    lowest that hides at most X % of the photos' area.
    """
    from rich.console import Console

    from ..evaluate import compare as comparing
    from ..evaluate import reports

    if false_positives is not None and hidden_area is not None:
        raise click.UsageError("--false-positives and --hidden-area both choose the thresholds; give one")
    settings = options.settings_of(given)
    found, annotations = _read_annotations(folder, source, settings, json_path)
    names = [sized for name in detectors.split(",") for sized in _at_sizes(name, sizes)]
    contenders = [_contender(name, settings, found, given) for name in names]
    console = Console(stderr=True)
    area = None if hidden_area is None else hidden_area / 100
    say = lambda label: console.print(f"… {label}")  # noqa: E731
    rows = comparing.compare(contenders, annotations, false_positives, say, hidden_area=area, curves=plots is not None)
    if plots is not None:
        from ..evaluate import plots as drawing

        plots.mkdir(parents=True, exist_ok=True)
        for kind in annotations.kinds:
            if any(kind in row.kinds for row in rows):
                drawing.contenders(rows, kind, plots / f"contenders-{kind}.png")
    if markdown:
        click.echo(reports.markdown(rows), nl=False)
    else:
        Console().print(reports.comparison(rows))
    if json_path:
        write_json(json_path, [row.to_dict() for row in rows])
    worst = max((row.evaluation for row in rows), key=lambda e: len(e.withheld))
    if say_withheld(worst.withheld, len(worst.photos), "photos"):
        click.get_current_context().exit(1)


def _at_sizes(name: str, sizes: str) -> list[str]:
    """A detector at each of the sizes, or as it is where it names its own."""
    from ..detectors.spec import parse, with_side
    from ..errors import SettingsError

    spec = parse(name)
    try:
        return list(dict.fromkeys(str(with_side(spec, int(size))) for size in sizes.split(",") if size)) or [name]
    except ValueError as e:
        raise SettingsError(f"--sizes are long sides in px such as 640,1280; received {sizes!r}") from e


def _contender(name: str, settings: Settings, found: Found, given: dict[str, Any]) -> Contender:
    from ..detectors.spec import Named, OwnWeights, TwoStage, models, parse
    from ..evaluate.compare import Contender
    from ..weights.registry import model

    spec, label, size = parse(name), name, ""
    leaf = spec.inner if isinstance(spec, TwoStage) else spec
    if isinstance(leaf, Named | OwnWeights) and leaf.low:
        label, _, size = name.rpartition("@")
    elif isinstance(leaf, Named):
        size = str(model(leaf.name).size)
    tasks = list(dict.fromkeys(task for m in models(spec) for task in model(m).tasks))
    kinds = tuple(t for t in tasks if t != "vehicle" or tasks == ["vehicle"])  # vehicles only help to find plates
    return Contender(label, size, settings, partial(_detect, name, settings, found, given), kinds)


def _detect(name: str, settings: Settings, found: Found, given: dict[str, Any]) -> tuple[list[Record], float]:
    """All photos through one detector, read before its clock starts: ms per photo are the detector's alone."""
    from .. import images
    from ..errors import AnonymizeError
    from ..outputs import why
    from ..records import Record, escape

    alone = settings.replace(face_detector=name, plate_detector="none", other_detectors=())
    predictor = options.predictor_of(alone, dict(given))
    out, seconds, seen = [], 0.0, 0
    for path in found.paths:
        try:
            photo = images.load(found.root / path, settings)
            if not seen:
                predictor.predict_photo(photo)  # compile, outside the clock
            started = time.perf_counter()
            regions = predictor.predict_photo(photo)
            seconds, seen = seconds + time.perf_counter() - started, seen + 1
            out.append(Record(escape(path), photo.sha256, photo.width, photo.height, regions))
        except AnonymizeError as e:
            out.append(Record(escape(path), error=why(e)))
    return out, 1000 * seconds / max(seen, 1)


@click.command()
@click.argument("folder", metavar="PHOTOS", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("source", metavar="[ANNOTATIONS]", required=False, type=options.EXISTING)
@click.option("--presets", default="fast,balanced", show_default=True, help=f"Of {', '.join(PRESETS)}.")
@click.option("--count", type=click.IntRange(2), default=20, show_default=True, help="Photos to take, evenly spread.")
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True, help="How often each runs.")
@options.JSON
def bench(folder: Path, source: Path | None, presets: str, count: int, repeats: int, json_path: Path | None) -> None:
    """Time this program's presets on JPEGs and PNGs of PHOTOS, and the other programs that are installed.

    With ANNOTATIONS (as `evaluate` takes them), also what each leaks.
    """
    from rich.console import Console

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
    if sys.stdout.isatty():
        Console().print(benchmark.shown(rows))
    else:
        click.echo(benchmark.table(rows))
    if json_path:
        write_json(json_path, [row.to_dict() for row in rows])
    if any(row.error for row in rows[: len(names)]):
        click.get_current_context().exit(1)
