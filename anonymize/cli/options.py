"""Options that commands share, and how they become Settings. Defaults and help texts come from `settings`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import SettingsError, UnknownNameError
from ..settings import EFFECTS, MASKS, PRESETS, Kind, Settings, option_help, unread
from .progress import fetching

if TYPE_CHECKING:
    from ..predictor import Predictor

DEFAULTS = Settings()


def _each(values: Iterable[str], settings: Settings, name: str, parse: Callable[[str], Any]) -> Settings:
    """`VALUE` for every kind that is hidden, `KIND=VALUE` for one of them."""
    for value in values:
        kind, _, text = value.rpartition("=")
        if kind and kind not in settings.kinds:  # a slip would leave the kind that was meant as it is
            raise UnknownNameError("kind", kind, settings.kinds)
        for k in [kind] if kind else list(settings.kinds):
            with _option(name):
                settings = settings.with_kind(k, **{name: parse(text)})
    return settings


@contextmanager
def _option(name: str) -> Iterator[None]:
    """Name the option whose value was refused."""
    try:
        yield
    except ValueError as e:
        reason = str(e) if isinstance(e, SettingsError) else "that is not a number"
        raise SettingsError(f"--{name.replace('_', '-')}: {reason}") from e


def grouped(*options: Callable) -> Callable[[Callable], Callable]:
    """Options that stand together."""

    def wrap(function: Callable) -> Callable:
        for option in reversed(options):
            function = option(function)
        return function

    return wrap


WEIGHTS = click.option(
    "--weights", "weights_dir", type=click.Path(path_type=Path), help="Folder of weights (default: the user's cache)."
)
VERBOSE = click.option("--verbose", is_flag=True, help="Show where an error came from.")
DETECTING = grouped(  # with whichever detectors
    click.option("--vehicle-threshold", type=float, help=option_help("vehicle_threshold")),
    click.option("--iou-threshold", type=float, help=option_help("iou_threshold")),
    click.option("--max-regions", type=int, help=option_help("max_regions")),
    click.option("--device", type=str, help=option_help("device")),
    click.option("--max-seconds", type=float, help=option_help("max_seconds")),
    WEIGHTS,
    click.option("--trust", is_flag=True, help="Load pickled weights (.pt) that are not in models/registry.toml."),
)
DETECTOR_OPTIONS = grouped(
    click.option(
        "--preset",
        metavar="NAME",
        help="Detectors and thresholds; other options override it. "
        + "; ".join(f"{name}: {p.help}" for name, p in PRESETS.items())
        + ".",
    ),
    click.option("--face-detector", metavar="NAME", help=option_help("face_detector")),
    click.option("--plate-detector", metavar="NAME", help=option_help("plate_detector")),
    click.option("--detector", "other", multiple=True, metavar="NAME", help=option_help("other_detectors")),
    DETECTING,
)
THRESHOLDS = grouped(
    click.option(
        "--face-threshold", type=float, help=f"lowest score to hide, 0.001–1.0 [{DEFAULTS.kinds['face'].threshold}]"
    ),
    click.option(
        "--plate-threshold", type=float, help=f"lowest score to hide, 0.001–1.0 [{DEFAULTS.kinds['plate'].threshold}]"
    ),
    click.option("--hide", multiple=True, metavar="KIND[=THRESHOLD]", help="Also hide this kind, found by --detector."),
    click.option("--padding", multiple=True, metavar="[KIND=]X", help=option_help("padding", Kind)),
    click.option(
        "--mask", multiple=True, metavar="[KIND=]MASK", help=f"{', '.join(MASKS)}: {option_help('mask', Kind)}"
    ),
    click.option("--min-size", multiple=True, metavar="[KIND=]PX", help=option_help("min_size", Kind)),
    click.option("--max-size", multiple=True, metavar="[KIND=]PX", help=option_help("max_size", Kind)),
)
EFFECT = grouped(
    click.option(
        "--effect", multiple=True, metavar="[KIND=]EFFECT", help=f"{', '.join(EFFECTS)}: {option_help('effect', Kind)}"
    ),
    click.option("--kernel", multiple=True, metavar="[KIND=]SIZE,SIGMA,FEATHER", help=option_help("kernel", Kind)),
    click.option("--mosaic-blocks", multiple=True, metavar="[KIND=]N", help=option_help("mosaic_blocks", Kind)),
    click.option("--fill-color", multiple=True, metavar="[KIND=]COLOR", help=option_help("fill", Kind)),
    click.option("--allow-weak", is_flag=True, default=None, help=option_help("allow_weak")),
)
HIDING = grouped(
    EFFECT,
    click.option("--keep-metadata", metavar="NAMES", help=option_help("keep_metadata")),
    click.option("--jpeg", metavar="lossless|reencode", help=option_help("jpeg")),
)
MAX_MEGAPIXELS = click.option("--max-megapixels", type=float, help=option_help("max_megapixels"))
QUIET = click.option("--quiet", is_flag=True, help="No progress bar.")
FILES = grouped(MAX_MEGAPIXELS, click.option("--jobs", type=int, help=option_help("jobs")), QUIET, VERBOSE)
CLIPS = grouped(DETECTOR_OPTIONS, THRESHOLDS, EFFECT, MAX_MEGAPIXELS, QUIET, VERBOSE)
SEARCHING = click.option("--image-extensions", metavar="jpg,png", help=option_help("image_extensions"))
SEQUENCE = click.option(
    "--sequence",
    "is_sequence",
    is_flag=True,
    help="The photos are a series, seconds apart: what is hidden in one is hidden in its neighbors.",
)
CLUSTER = grouped(
    click.option("--cluster", metavar="auto|ADDRESS", help="Run on this Ray cluster; auto: the one that runs here."),
    click.option("--cluster-cpus", type=int, default=1, metavar="N", help="Cluster: cores of one worker. [1]"),
    click.option("--cluster-workers", type=int, default=0, metavar="N", help="Cluster: most workers. [all there is]"),
    click.option("--cluster-shard", type=int, default=64, metavar="N", help="Cluster: photos a worker takes. [64]"),
)


class _Every(click.ParamType):
    name = "every"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return value if value == "auto" else int(value)
        except ValueError as e:
            raise SettingsError(f"--every is a number of frames, or auto; received {value!r}") from e


EVERY = click.option(
    "--every",
    default="auto",
    metavar="N",
    type=_Every(),
    help="Search every N-th frame and follow what was found between them, or auto: as the picture moves [auto].",
)


class Records(click.Path):
    """A records file; or a cluster's records.parquet, of which the file records.jsonl beside it is made."""

    name = "records"

    def __init__(self) -> None:
        super().__init__(exists=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not path.is_dir():
            return path
        from ..cluster import gather
        from ..cluster.shards import FOLDER

        if path.name != FOLDER:
            return path
        target = path.absolute().with_suffix(".jsonl")
        gather(path, target)
        return target


RECORDS = Records()
WRITING = grouped(
    click.option("--no-write-detections", is_flag=True, help="Write no JSON file beside each photo."),
    click.option(
        "--preview",
        is_flag=True,
        help="Also write side-by-side pictures with boxes and scores to OUTPUT-preview (they show the originals!).",
    ),
)


PER_KIND: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("padding", "min_size", "max_size"), float),
    **dict.fromkeys(("mask", "effect", "kernel", "fill_color"), str),
    "mosaic_blocks": int,
}


def settings_of(given: dict[str, Any], base: Settings = DEFAULTS) -> Settings:
    """Options -> Settings; what was not given stays as in `base`. Consumes the options that it knows."""
    take = given.pop
    if preset := take("preset", None):
        base = base.with_preset(preset)
    changes: dict[str, Any] = {}
    for name in (
        "face_detector", "plate_detector", "vehicle_threshold", "iou_threshold", "max_regions", "device", "max_seconds",
        "max_megapixels", "jobs", "allow_weak", "jpeg",
    ):  # fmt: skip
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
        with _option("hide"):
            found = float(threshold or Kind().threshold)
            settings = settings.with_kind(kind, threshold=found)
    for kind in ("face", "plate"):
        if (value := take(f"{kind}_threshold", None)) is not None:
            with _option(f"{kind}_threshold"):
                settings = settings.with_kind(kind, threshold=value)
    chosen: dict[str, set[str]] = {}
    for option, parse in PER_KIND.items():
        name, values = "fill" if option == "fill_color" else option, take(option, ())
        settings = _each(values, settings, name, parse)
        chosen[name] = {k for v in values for k in ([v.rpartition("=")[0]] if "=" in v else settings.kinds)}
    for name, kinds in chosen.items():
        if why := unread(name, [settings.kinds[k] for k in kinds]):
            click.echo(f"warning: {why}", err=True)
    return settings


def predictor_of(settings: Settings, given: dict[str, Any]) -> Predictor:
    """The predictor with its detectors loaded; weights that are not here are fetched with visible progress."""
    from ..predictor import Predictor

    with fetching() as progress:
        predictor = Predictor(
            settings, weights_dir=given.pop("weights_dir", None), trust=given.pop("trust", False), fetching=progress
        )
        _ = predictor.detectors
    return predictor
