"""evaluate-video: for how long faces and plates of annotated clips can be seen."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options
from .measure import say_withheld

if TYPE_CHECKING:
    from rich.table import Table

    from ..evaluate.figures import Estimate
    from ..evaluate.leak_seconds import ClipResult, VideoEvaluation
    from ..predictor import Predictor
    from ..settings import Settings
    from ..video.clip_records import ClipRecord


@click.command()
@click.argument("source", metavar="CLIPS")
@click.argument("annotations", type=options.EXISTING)
@click.option(
    "--records",
    "records_folder",
    type=options.EXISTING,
    help="Use the clips' records in this folder (as `video` wrote them), and detect nothing.",
)
@options.JSON
@options.EVERY
@options.DETECTOR_OPTIONS
@options.THRESHOLDS
@options.MAX_MEGAPIXELS
@options.QUIET
@options.VERBOSE
def evaluate_video(
    source: str, annotations: Path, records_folder: Path | None, json_path: Path | None, every: Any, **given: Any
) -> None:
    """Measure on CLIPS with ANNOTATIONS: CVAT .xml for video, MOT .txt with labels.txt, or COCO .json with videos.

    Leak-seconds: for how long less than 90 % of an annotated box would be hidden. A flicker is a leak of less than half
    a second between frames in which the same thing is hidden.
    """
    from rich.console import Console

    from .. import images
    from ..disk import write_json
    from ..evaluate import clip_truth
    from ..evaluate.leak_seconds import ClipResult, summary
    from ..outputs import why
    from ..records import escape
    from ..video.batch import EXTENSIONS

    settings = options.settings_of(given, *_settings_of(records_folder))
    found = images.find(source, settings.replace(image_extensions=EXTENSIONS))
    truth = clip_truth.read(annotations, found.root, found.paths, settings.kinds)
    predictor = None if records_folder else options.predictor_of(settings, given)
    console, results = Console(stderr=True, quiet=given.get("quiet", False)), list[ClipResult]()
    names = {escape(p): p for p in found.paths}
    for path, true in truth.clips.items():
        console.print(f"… {path}", markup=False, highlight=False)
        try:
            if path in truth.missing:
                results.append(ClipResult(path, error="the clip is not in the folder"))
                continue
            record = _record(found.root, names[path], predictor, records_folder, every)
            results.append(_measured(record, true, settings))
        except Exception as e:  # of one clip: the others are measured
            results.append(ClipResult(path, error=why(e)))
    result = summary(results, truth)
    Console().print(_table(result))
    if json_path:
        write_json(json_path, {"settings": settings.to_dict(), **result.to_dict()})
    if result.unknown:
        named = ", ".join(f"{n} {name}" for name, n in result.unknown.items())
        click.echo(f"left out, boxes of classes that are no kind: {named}", err=True)
    if say_withheld(result.withheld, len(result.clips), "clips"):
        click.get_current_context().exit(1)


def _settings_of(folder: Path | None) -> list[Settings]:
    """The settings that the records in a folder were made with."""
    from ..errors import RecordsError
    from ..video import clip_records
    from ..video.batch import RECORD_SUFFIX

    if folder is None:
        return []
    if not (files := sorted(folder.rglob(f"*{RECORD_SUFFIX}"))):
        raise RecordsError(f"there are no records of clips in {folder}")
    return [clip_records.read(files[0])[0].settings]


def _record(root: Path, path: str, predictor: Predictor | None, folder: Path | None, every: Any) -> ClipRecord:
    from .. import images
    from ..video import clip_records
    from ..video.batch import RECORD_SUFFIX
    from ..video.passes import detect
    from ..video.reader import open_clip

    if predictor is None:
        assert folder is not None
        file = images.output_path(path, folder)
        return clip_records.read(file.with_name(file.name + RECORD_SUFFIX))[1]
    clip = open_clip(root / path, max_megapixels=predictor.settings.max_megapixels)
    with tempfile.TemporaryDirectory() as parts:
        return detect(clip, path, predictor, parts, every=every)


def _measured(record: ClipRecord, truth: Any, settings: Settings) -> ClipResult:
    from ..errors import DetectionError
    from ..evaluate.leak_seconds import measure

    if record.error is not None:
        raise DetectionError(record.error)
    size = record.width, record.height, record.frames
    return measure(record.path, lambda n: record.regions_at(n, settings), truth, settings, size, record.frame_rate)


def _table(result: VideoEvaluation) -> Table:
    from rich.table import Table

    table = Table()
    for column in ("kind", "annotated", "visible", "share (95 %)", "flickers", "things that leak"):
        table.add_column(column)
    for kind, time in result.kinds.items():
        seconds = f"{time.seconds:.1f} s", f"{time.visible:.2f} s"
        table.add_row(
            kind, *seconds, _percent(result.leaks[kind]), str(time.flickers), f"{time.leaking} of {time.things}"
        )
    false, true = result.false_area, result.true_area
    measured = len(result.clips) - len(result.withheld)
    table.caption = f"over-blurred area {_percent(false)}, true area {_percent(true)}; clips: {measured}"
    return table


def _percent(estimate: Estimate) -> str:
    if estimate.value is None:
        return "–"
    of = f" ({estimate.interval[0]:.2%}–{estimate.interval[1]:.2%})" if estimate.interval else ""
    return f"{estimate.value:.2%}{of}"
