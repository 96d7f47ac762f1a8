"""Detectors: images in, regions out.

A detector is anything with a name and `detect`. Composed detectors wrap others and are detectors themselves.

`create` makes one from its name:

    NAME, NAME@LONG_SIDE           one of TABLE; photos' long side becomes LONG_SIDE px (default: models/registry.toml)
    NAME@LOW-HIGH                  at LOW, at twice that, … up to HIGH, as far as the photo has detail for it
    yolo:PATH, yolo:PATH@LONG_SIDE a person's own weights: .onnx, an OpenVINO folder, or a .pt (needs trust)
    two-stage, two-stage:DETECTOR  vehicles first, then DETECTOR (default safelicensing) inside each, enlarged to 320 px
    person-guided:DETECTOR         persons first, then DETECTOR where each one's head should be, likewise
    tiled:DETECTOR                 the whole photo, and its overlapping tiles
    flipped:DETECTOR               the photo's mirror image
    upright:DETECTORS              all that follows; a photo that lies on its side is turned first
    raw:NAME                       the network as published: its own scores and boxes, whatever the registry knows
    on-vehicles:DETECTORS          all that follows; a plate that no vehicle carries must be surer
    A+B                            both, what they see brought together (`ensemble.Ensemble`)
    A?B                            A; what A doubts is shown to B (`second_opinion.SecondOpinion`)
    package.module:Class           a person's own detector, called without arguments

Scores of models whose calibration the registry knows are probabilities (`calibrated.Calibrated`), whatever the network
said; votes are what it said.

Importing this package loads numpy only; a back end and its libraries are imported when a detector of it is made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .. import weights
from ..errors import AnonymizeError, SettingsError, UnknownNameError, WeightsError
from ..regions import Region
from ..settings import Settings
from ..weights.registry import model

Image = NDArray[np.uint8]  # RGB, (H, W, 3), 0–255, upright


@runtime_checkable
class Detector(Protocol):
    """Finds regions in images.

    Attributes:
        name: as the table or the caller knows it, long side included ("safelicensing@1280").
        weights: name -> sha256 of each weights file that it uses; empty when there is none.
    """

    name: str
    weights: Mapping[str, str]

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        """One list of regions per image, in the images' order, each in its image's pixels.

        Regions carry their score (0–1) and `votes={name: score}`; candidates are kept down to the floor score
        (`settings.MIN_THRESHOLD`), overlaps suppressed.

        Raises:
            DetectionError: the detector could not look at an image. It never returns [] for a failure.
        """
        ...


class FakeDetector:
    """Returns the regions it was given, for every image: for tests and for trying an export without weights.

    Args:
        regions: found in every image, cut at its edges.
        name: of the detector.
    """

    weights: Mapping[str, str] = {}

    def __init__(self, regions: Sequence[Region] = (), name: str = "fake") -> None:
        self.name = name
        self.regions = list(regions)

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        return [[r.clip(i.shape[1], i.shape[0]) for r in self.regions] for i in images]


# Name in models/registry.toml -> the module of this package that runs it.
TABLE: Mapping[str, str] = MappingProxyType(
    {
        "retinaface-mobilenet": "retinaface",
        "retinaface-r50": "retinaface_r50",
        "centerface": "centerface",
        "mtcnn": "mtcnn",
        "yunet": "yunet",
        "plates": "yolo",
        "safelicensing": "yolo",
        "fastanpr": "yolo",
        "pyplatex": "yolo",
        "coco": "yolo",
    }
)
PREFIXES = ("two-stage", "person-guided", "tiled", "flipped", "raw", "on-vehicles", "upright")
TWO_STAGE = "two-stage:safelicensing"  # what "two-stage" alone means
GRAMMAR = (*TABLE, "two-stage", *(f"{p}:NAME" for p in PREFIXES), "yolo:PATH", "package.module:Class", "A+B", "A?B")
# Weights that only their publisher's pages have -> detectors that need none of these.
ELSEWHERE = {
    "retinaface-r50": ("retinaface-mobilenet@1536", "centerface@1280", "retinaface-mobilenet@1536+centerface@1280")
}
STRIDE = 32  # px; the largest stride of all networks here
LARGEST_SIDE = 8192  # px; a network's buffers grow with the square
# px; long side of a vehicle's crop when none is named. Plates that fill much of the input are missed: on dash-cam
# photos 320 leaked .20 of the plates, 640 .31; on street photos .27 and .39 (safelicensing, threshold .25).
CROP_SIDE = 320


def create(
    name: str,
    settings: Settings,
    *,
    weights_dir: Path | None = None,
    trust: bool = False,
    progress: weights.Progress | None = None,
    in_crops: bool = False,
    is_raw: bool = False,
) -> Detector:
    """Make a detector; its weights are fetched and verified first where they are not there.

    Args:
        name: see the module's grammar. LONG_SIDE is a multiple of 32 from 32 to 8192.
        settings: device, overlap, max_regions, vehicle_threshold.
        weights_dir: where weights are kept instead of the user's cache folder.
        trust: unpickle a .pt that the registry does not know.
        progress: told of weights on their way.
        in_crops: it will see crops of vehicles or persons, where its scores mean something else.
        is_raw: leave scores and boxes as the network gives them.

    Raises:
        UnknownNameError: no such name; the message lists the valid ones.
        SettingsError: a long side or a class that cannot be.
        WeightsError: weights that are not to be had, not the registry's, not trusted, or not a network of this kind.
    """
    options: dict[str, Any] = {"weights_dir": weights_dir, "trust": trust, "progress": progress}
    if name == "two-stage":
        name = TWO_STAGE
    from .composed import compose, is_composed

    if is_composed(name):
        return compose(name, settings, partial(create, settings=settings, **options))
    if name.startswith("yolo:"):
        return _own_weights(name, settings, weights_dir, trust)
    if re.fullmatch(r"[^\W\d][\w.]*:[^\W\d]\w*", name):
        return _own_class(name)
    base, at, side = name.partition("@")
    low, dash, high = side.partition("-")
    if dash:
        from .multi_scale import MultiScale, octaves

        sides = octaves(_long_side(low, name), _long_side(high, name))
        options |= {"in_crops": in_crops, "is_raw": is_raw}
        return MultiScale([(n, create(f"{base}@{n}", settings, **options)) for n in sides], settings)
    if base not in TABLE:
        raise UnknownNameError("detector", name, GRAMMAR)
    known = model(base)
    long_side = _long_side(side, name) if at else known.size
    hashes = {base: known.sha256}
    full_name = f"{base}@{long_side}"
    module = import_module(f".{TABLE[base]}", __name__)
    if TABLE[base] == "mtcnn":
        path = weights.fetch(base, cache=weights_dir, progress=progress)
    else:
        try:
            path = weights.onnx(base, cache=weights_dir, progress=progress, trust=trust)
        except WeightsError as e:
            if base in ELSEWHERE:
                raise type(e)(f"{e}. Detectors that need nothing from there: {', '.join(ELSEWHERE[base])}") from e
            raise
    if TABLE[base] == "yolo":
        made = module.load(base, path, settings, long_side, hashes, classes=known.classes, any_size=base == "coco")
    else:
        made = module.load(full_name, path, settings, long_side, hashes)
    made.kinds = frozenset(known.classes.values())
    numbers = (in_crops and known.in_crops) or known.calibration
    if is_raw or not numbers:
        return made
    from .calibrated import Calibrated, Calibration

    return Calibrated(made, Calibration(*numbers), known.task, long_side)


def models_of(name: str) -> list[str]:
    """The registry's models that a detector's name needs, without loading any: those of all its parts, and the finder.

    Raises:
        UnknownNameError: a part is no name; the message lists the valid ones.
    """
    from .composed import FINDER, is_composed
    from .upright import LOOKERS

    if name in ("", "none"):
        return []
    if not is_composed(name):
        base = name.partition("@")[0]
        if base not in TABLE:
            if ":" in name:  # a person's own
                return []
            raise UnknownNameError("detector", name, GRAMMAR)
        return [base]
    found: list[str] = []
    for part in map(str.strip, re.split("[+?]", name)):
        prefix, _, inner = (TWO_STAGE if part == "two-stage" else part).partition(":")
        found += [FINDER] * (prefix in ("two-stage", "person-guided"))
        found += [m for n in LOOKERS for m in models_of(n)] if prefix == "upright" else []
        found += models_of(inner if prefix in PREFIXES else part)
    return list(dict.fromkeys(found))


def _long_side(text: str, name: str) -> int:
    if re.fullmatch("[0-9]{1,5}", text) and STRIDE <= int(text) <= LARGEST_SIDE and int(text) % STRIDE == 0:
        return int(text)
    raise SettingsError(
        f"{name}: after @ stands a multiple of {STRIDE} from {STRIDE} to {LARGEST_SIDE}; received {text!r}"
    )


def _own_weights(name: str, settings: Settings, weights_dir: Path | None, trust: bool) -> Detector:
    """yolo:PATH[@LONG_SIDE]; an @ that belongs to the path of an existing file stays in it."""
    from . import yolo

    text, long_side = name.removeprefix("yolo:"), None
    if "@" in text and not Path(text).exists():
        text, _, side = text.rpartition("@")
        long_side = _long_side(side, name)
    given = Path(text).expanduser()
    path = weights.onnx(given, cache=weights_dir, trust=trust)
    files = [given] if given.is_file() else sorted(f for f in given.iterdir() if f.suffix in (".xml", ".bin"))
    try:
        hashes = {f.name: weights.sha256(f) for f in files}
    except OSError as e:
        raise WeightsError(f"{given} cannot be read: {e}") from e
    return yolo.load(f"yolo:{given.name}", path, settings, long_side, hashes)


def _own_class(name: str) -> Detector:
    module, _, attribute = name.partition(":")
    try:
        made: Any = getattr(import_module(module), attribute)()
    except AnonymizeError:
        raise
    except Exception as e:  # a person's own code may raise anything
        raise SettingsError(f"{name} cannot be made: {e!r}") from e
    if not isinstance(made, Detector):
        raise SettingsError(f"{name} is not a detector: it needs name, weights and detect(images)")
    return made
