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


def _each(
    values: Iterable[str], settings: Settings, name: str, parse: Callable[[str], Any]
) -> tuple[Settings, set[str]]:
    """`VALUE` for every kind that is hidden, `KIND=VALUE` for one of them; and for which kinds there was one."""
    chosen: set[str] = set()
    for value in values:
        kind, _, text = value.rpartition("=")
        if kind and kind not in settings.kinds:  # a slip would leave the kind that was meant as it is
            raise UnknownNameError("kind", kind, settings.kinds)
        for k in [kind] if kind else list(settings.kinds):
            with _option(name):
                settings = settings.with_kind(k, **{name: parse(text)})
            chosen.add(k)
    return settings, chosen


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


PATH = click.Path(path_type=Path)
EXISTING = click.Path(exists=True, path_type=Path)


def _setting(name: str, type_: Any = str, metavar: str | None = None) -> Callable:
    """The option of a setting, with its help text and default."""
    return click.option(f"--{name.replace('_', '-')}", type=type_, metavar=metavar, help=option_help(name))


# Settings of a kind, which are given as VALUE or KIND=VALUE -> how the value is read, and its name in the help
PER_KIND: dict[str, tuple[Callable[[str], Any], str]] = {
    "padding": (float, "X"),
    "mask": (str, "MASK"),
    "min_size": (float, "PX"),
    "max_size": (float, "PX"),
    "effect": (str, "EFFECT"),
    "kernel": (str, "SIZE,SIGMA,FEATHER"),
    "mosaic_blocks": (int, "N"),
    "fill": (str, "COLOR"),
}


def _of_kind(name: str) -> Callable:
    choices = {"mask": MASKS, "effect": EFFECTS}.get(name)
    text = (f"{', '.join(choices)}: " if choices else "") + option_help(name, Kind)
    return click.option(
        f"--{name.replace('_', '-')}", name, multiple=True, metavar=f"[KIND=]{PER_KIND[name][1]}", help=text
    )


def _threshold(kind: str) -> Callable:
    text = f"lowest score to hide, 0.001–1.0 [{DEFAULTS.kinds[kind].threshold}]"
    return click.option(f"--{kind}-threshold", type=float, help=text)


WEIGHTS = click.option("--weights", "weights_dir", type=PATH, help="Folder of weights (default: the user's cache).")
VERBOSE = click.option("--verbose", is_flag=True, expose_value=False, help="Show where an error came from.")
QUIET = click.option("--quiet", is_flag=True, help="No progress bar.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Detect and count, write nothing.")
JSON = click.option("--json", "json_path", type=PATH, help="Write all figures to this file.")
DETECTING = grouped(  # with whichever detectors
    _setting("vehicle_threshold", float),
    _setting("iou_threshold", float),
    _setting("max_regions", int),
    _setting("device"),
    _setting("max_seconds", float),
    WEIGHTS,
    click.option("--trust", is_flag=True, help="Load pickled weights (.pt) that are not in models/registry.toml."),
)
_PRESETS = "; ".join(f"{name}: {p.help}" for name, p in PRESETS.items())
DETECTOR_OPTIONS = grouped(
    click.option("--preset", metavar="NAME", help=f"Detectors and thresholds; other options override it. {_PRESETS}."),
    _setting("face_detector", metavar="NAME"),
    _setting("plate_detector", metavar="NAME"),
    click.option("--detector", "other", multiple=True, metavar="NAME", help=option_help("other_detectors")),
    DETECTING,
)
THRESHOLDS = grouped(
    _threshold("face"),
    _threshold("plate"),
    click.option("--hide", multiple=True, metavar="KIND[=THRESHOLD]", help="Also hide this kind, found by --detector."),
    *map(_of_kind, ("padding", "mask", "min_size", "max_size")),
)
EFFECT = grouped(
    *map(_of_kind, ("effect", "kernel", "mosaic_blocks", "fill")),
    click.option("--allow-weak", is_flag=True, default=None, help=option_help("allow_weak")),
)
HIDING = grouped(EFFECT, _setting("keep_metadata", metavar="NAMES"), _setting("jpeg", metavar="lossless|reencode"))
MAX_MEGAPIXELS = _setting("max_megapixels", float)
FILES = grouped(MAX_MEGAPIXELS, _setting("jobs", int), QUIET, VERBOSE)
CLIPS = grouped(DETECTOR_OPTIONS, THRESHOLDS, EFFECT, MAX_MEGAPIXELS, QUIET, VERBOSE)
SEARCHING = _setting("image_extensions", metavar="jpg,png")
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
    """A records file, or the folder that `run` wrote it into; or a cluster's records.parquet, of which the file
    records.jsonl beside it is made."""

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
            from ..engine import RECORDS_NAME

            if not (path / RECORDS_NAME).is_file():
                self.fail(f"{str(path)!r} is a folder without {RECORDS_NAME}; name the file that run or detect wrote")
            return path / RECORDS_NAME
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


# Options that are a setting each, as it is.
_PLAIN = (
    *("face_detector", "plate_detector", "vehicle_threshold", "iou_threshold", "max_regions", "device", "max_seconds"),
    *("max_megapixels", "jobs", "allow_weak", "jpeg"),
)


def settings_of(given: dict[str, Any], base: Settings = DEFAULTS) -> Settings:
    """Options -> Settings; what was not given stays as in `base`. Consumes the options that it knows."""
    take = given.pop
    if preset := take("preset", None):
        base = base.with_preset(preset)
    changes = {name: value for name in _PLAIN if (value := take(name, None)) is not None}
    if other := take("other", ()):
        changes["other_detectors"] = other
    for name in ("keep_metadata", "image_extensions"):
        if (value := take(name, None)) is not None:
            changes[name] = tuple(v.strip() for v in value.split(",") if v.strip())
    settings = base.replace(**changes)
    for value in take("hide", ()):
        kind, _, threshold = value.partition("=")
        if kind in settings.kinds and not threshold:
            continue  # it is hidden already, and mostly at a lower score than a new kind is
        with _option("hide"):
            settings = settings.with_kind(kind, threshold=float(threshold or Kind().threshold))
    for kind in ("face", "plate"):
        if (value := take(f"{kind}_threshold", None)) is not None:
            with _option(f"{kind}_threshold"):
                settings = settings.with_kind(kind, threshold=value)
    for name, (parse, _) in PER_KIND.items():  # effects before what only some of them read
        settings, chosen = _each(take(name, ()), settings, name, parse)
        if why := unread(name, [settings.kinds[k] for k in chosen]):
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
