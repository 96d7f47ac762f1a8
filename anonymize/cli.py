"""The command line, `python -m anonymize COMMAND`: each command is one call of the engine, weights or evaluate."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click

from .errors import AnonymizeError, SettingsError
from .settings import EFFECTS, MASKS, Kind, Settings, option_help

if TYPE_CHECKING:
    from .engine import Engine, Summary

DEFAULTS = Settings()


class Group(click.Group):
    """Commands of other modules are imported when they are called, so that --help stays quick.

    Errors of ours are one line on stderr and exit 1; --verbose shows where they came from.
    """

    lazy: ClassVar = {"train": "anonymize.train:app"}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *self.lazy])

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in self.lazy:
            module, attribute = self.lazy[name].split(":")
            return getattr(importlib.import_module(module), attribute)
        return super().get_command(ctx, name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (AnonymizeError, OSError) as e:
            if "--verbose" in sys.argv:
                traceback.print_exc()
            lines = str(e).splitlines() or [repr(e)]
            click.echo("error: " + "\n       ".join(lines), err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo("stopped; the same command goes on from here", err=True)
            ctx.exit(130)


def _each(values: Iterable[str], settings: Settings, name: str, parse: Callable[[str], Any]) -> Settings:
    """`VALUE` for every kind, `KIND=VALUE` for one."""
    for value in values:
        kind, _, text = value.rpartition("=")
        for k in [kind] if kind else list(settings.kinds):
            try:
                settings = settings.with_kind(k, **{name: parse(text)})
            except ValueError as e:
                raise (
                    e if isinstance(e, SettingsError) else SettingsError(f"--{name}: {value!r} is not a number")
                ) from e
    return settings


def _options(*options: Callable) -> Callable[[Callable], Callable]:
    def wrap(function: Callable) -> Callable:
        for option in reversed(options):
            function = option(function)
        return function

    return wrap


FINDING = _options(
    click.option("--face-detector", metavar="NAME", help=option_help("face_detector")),
    click.option("--plate-detector", metavar="NAME", help=option_help("plate_detector")),
    click.option("--detector", "other", multiple=True, metavar="NAME", help=option_help("other_detectors")),
    click.option("--vehicle-threshold", type=float, help=option_help("vehicle_threshold")),
    click.option("--overlap", type=float, help=option_help("overlap")),
    click.option("--device", type=str, help=option_help("device")),
    click.option(
        "--weights",
        "weights_dir",
        type=click.Path(path_type=Path),
        help="Folder of weights (default: the user's cache).",
    ),
    click.option("--trust", is_flag=True, help="Load pickled weights (.pt) that are not in models/registry.toml."),
)
THRESHOLDS = _options(
    click.option("--face-threshold", type=float, help=f"0.001–1.0 [{DEFAULTS.kinds['face'].threshold}]"),
    click.option("--plate-threshold", type=float, help=f"0.001–1.0 [{DEFAULTS.kinds['plate'].threshold}]"),
    click.option("--hide", multiple=True, metavar="KIND[=THRESHOLD]", help="Hide regions of a kind of your own, too."),
    click.option("--grow", multiple=True, metavar="[KIND=]X", help=option_help("grow", Kind)),
    click.option(
        "--mask", multiple=True, metavar="[KIND=]MASK", help=f"{', '.join(MASKS)}: {option_help('mask', Kind)}"
    ),
    click.option("--min-size", multiple=True, metavar="[KIND=]PX", help=option_help("min_size", Kind)),
    click.option("--max-size", multiple=True, metavar="[KIND=]PX", help=option_help("max_size", Kind)),
)
HIDING = _options(
    click.option(
        "--effect", multiple=True, metavar="[KIND=]EFFECT", help=f"{', '.join(EFFECTS)}: {option_help('effect', Kind)}"
    ),
    click.option("--kernel", multiple=True, metavar="[KIND=]SIZE,SIGMA,FEATHER", help=option_help("kernel", Kind)),
    click.option("--cells", multiple=True, metavar="[KIND=]N", help=option_help("cells", Kind)),
    click.option("--fill-color", multiple=True, metavar="[KIND=]COLOR", help=option_help("fill", Kind)),
    click.option("--allow-weak", is_flag=True, default=None, help=option_help("allow_weak")),
    click.option("--keep-metadata", metavar="NAMES", help=option_help("keep_metadata")),
)
FILES = _options(
    click.option("--image-extensions", metavar="jpg,png", help=option_help("image_extensions")),
    click.option("--max-megapixels", type=float, help=option_help("max_megapixels")),
    click.option("--jobs", type=int, help=option_help("jobs")),
    click.option("--quiet", is_flag=True, help="No progress bar."),
    click.option("--verbose", is_flag=True, help="Show where an error came from."),
)
WRITING = _options(
    click.option("--no-write-detections", is_flag=True, help="No JSON file beside each photo."),
    click.option(
        "--preview",
        is_flag=True,
        help="Side-by-side pictures with boxes and scores, in OUTPUT-preview (they show the originals!).",
    ),
)


PER_KIND: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("grow", "min_size", "max_size"), float),
    **dict.fromkeys(("mask", "effect", "kernel", "fill_color"), str),
    "cells": int,
}


def _settings(given: dict[str, Any], base: Settings = DEFAULTS) -> Settings:
    """Options -> Settings; what was not given stays as in `base`. Consumes the options that it knows."""
    take = given.pop
    changes: dict[str, Any] = {}
    for name in (
        "face_detector",
        "plate_detector",
        "vehicle_threshold",
        "overlap",
        "device",
        "max_megapixels",
        "jobs",
        "allow_weak",
    ):
        if (value := take(name, None)) is not None:
            changes[name] = value
    if other := take("other", ()):
        changes["other_detectors"] = other
    for name in ("keep_metadata", "image_extensions"):
        if (value := take(name, None)) is not None:
            changes[name] = tuple(v.strip() for v in value.split(",") if v.strip())
    settings = base.replace(**changes)
    for value in take("hide", ()):
        kind, _, threshold = value.partition("=")
        settings = _each([f"{kind}={threshold or Kind().threshold}"], settings, "threshold", float)
    for kind in ("face", "plate"):
        if (value := take(f"{kind}_threshold", None)) is not None:
            settings = settings.with_kind(kind, threshold=value)
    for option, parse in PER_KIND.items():
        settings = _each(take(option, ()), settings, "fill" if option == "fill_color" else option, parse)
    return settings


def _engine(settings: Settings, given: dict[str, Any]) -> Engine:
    """The engine, its weights fetched with visible progress."""
    from .engine import Engine

    engine = Engine(settings, weights_dir=given.pop("weights_dir", None), trust=given.pop("trust", False))
    return engine


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="anonymize", message="%(version)s")
def cli() -> None:
    """Hide every face and license plate in photos.

    \b
    python -m anonymize run PHOTOS OUTPUT            detect and hide in one go
    python -m anonymize detect PHOTOS --records F    find only; look and correct, then
    python -m anonymize export F OUTPUT              write the anonymized photos
    """


@cli.command()
@click.argument("source")
@click.option(
    "--records",
    "records_path",
    required=True,
    type=click.Path(path_type=Path),
    help="Records file to write or continue.",
)
@click.option("--dry-run", is_flag=True, help="Detect and count, write nothing.")
@FINDING
@THRESHOLDS
@FILES
def detect(source: str, records_path: Path, dry_run: bool, **given: Any) -> None:
    """Find faces and plates in SOURCE (a photo, a folder, a glob or a .txt list) and write records."""
    settings = _settings(given)
    engine = _engine(settings, given)
    _report(given, lambda progress: engine.detect(source, records_path, dry_run=dry_run, progress=progress))


@cli.command()
@click.argument("records_path", metavar="RECORDS", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@THRESHOLDS
@HIDING
@WRITING
@FILES
def export(records_path: Path, output: Path, no_write_detections: bool, preview: bool, **given: Any) -> None:
    """Write anonymized photos to OUTPUT from RECORDS, without detecting again.

    Settings start from those of the detection; options change them.
    """
    from . import records
    from .engine import Engine

    header, _ = records.read(records_path)
    engine = Engine(_settings(given, header.settings), detectors=())
    _report(
        given,
        lambda progress: engine.export(
            records_path,
            output,
            write_detections=not no_write_detections,
            preview=_preview(output, preview),
            progress=progress,
        ),
    )


@cli.command()
@click.argument("source")
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--records", "records_path", type=click.Path(path_type=Path), help="Records file [OUTPUT/records.jsonl].")
@click.option("--dry-run", is_flag=True, help="Detect and count, write nothing.")
@FINDING
@THRESHOLDS
@HIDING
@WRITING
@FILES
def run(
    source: str,
    output: Path,
    records_path: Path | None,
    dry_run: bool,
    no_write_detections: bool,
    preview: bool,
    **given: Any,
) -> None:
    """Find and hide: photos of SOURCE (a photo, a folder, a glob or a .txt list) in, anonymized photos in OUTPUT.

    The same command again goes on where it was stopped.
    """
    settings = _settings(given)
    engine = _engine(settings, given)
    _report(
        given,
        lambda progress: engine.run(
            source,
            output,
            records_path=records_path,
            write_detections=not no_write_detections,
            preview=_preview(output, preview),
            dry_run=dry_run,
            progress=progress,
        ),
    )


def _preview(output: Path, wanted: bool) -> Path | None:
    # Beside the output, never inside it: a preview's left half is the original.
    return output.with_name(f"{output.name}-preview") if wanted else None


def _report(given: dict[str, Any], work: Callable[[Callable[[Summary], None]], Summary]) -> None:
    """Run with a progress bar, print the summary table, exit 1 when a photo failed."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Table

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f}/s"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[found]}"),
        console=console,
        disable=given.get("quiet", False),
    )
    with bar:
        task = bar.add_task("photos", total=None, rate=0.0, found="")

        def progress(s: Summary) -> None:
            done = s.done + len(s.failures) + len(s.withheld)
            seconds = bar.tasks[0].elapsed or 0.0
            found = ", ".join(f"{n} {kind}s" for kind, n in sorted(s.hidden.items()))
            failed = f" · [red]{len(s.failures)} failed[/red]" if s.failures else ""
            bar.update(task, total=s.photos, completed=done, rate=done / max(seconds, 1e-6), found=found + failed)

        summary = work(progress)

    table = Table(show_header=False, box=None)
    rows: list[tuple[str, object]] = [("photos", summary.photos), ("done", summary.done)]
    rows += [("of those unchanged", summary.unchanged)] if summary.unchanged else []
    rows += [(f"{kind}s", n) for kind, n in sorted(summary.hidden.items())]
    rows += [("withheld", len(summary.withheld))] if summary.withheld else []
    rows += [(f"skipped .{ext}" if ext else "skipped (no extension)", n) for ext, n in sorted(summary.skipped.items())]
    rows += [("failed", len(summary.failures)), ("seconds", f"{summary.seconds:.1f}")]
    for name, value in rows:
        table.add_row(name, str(value))
    Console().print(table)
    for path, reason in summary.failures.items():
        click.echo(f"failed: {path}: {reason}", err=True)
    if not summary.ok:
        click.echo(f"{len(summary.failures)} of {summary.photos} photos failed and have no output", err=True)
        click.get_current_context().exit(1)


def main() -> None:
    cli(prog_name="python -m anonymize")
