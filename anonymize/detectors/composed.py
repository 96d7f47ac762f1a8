"""Names of composed detectors -> detectors: `A+B`, `A?B`, `two-stage:A`, `tiled:A`, … (the grammar is in `detectors`).

`upright:` and `on-vehicles:` bind weakest, then `?`, then `+`, then the other prefixes, which belong to the next name
only.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ..errors import SettingsError
from ..settings import Settings
from . import CROP_SIDE, PREFIXES, TABLE, Detector
from .ensemble import Ensemble
from .flipped import Flipped
from .on_vehicles import OnVehicles
from .second_opinion import SecondOpinion
from .tiled import Tiled
from .two_stage import TwoStage, person_guided
from .upright import LOOKERS, Upright

WEAKEST = "on-vehicles:"
TURNED = "upright:"
FINDER = "coco"  # finds what is looked into


class Make(Protocol):
    """`detectors.create` with everything but the name."""

    def __call__(self, name: str, *, in_crops: bool = False, is_raw: bool = False) -> Detector: ...


def compose(name: str, settings: Settings, make: Make) -> Detector:
    """A composed detector from its name, its parts made by `make`.

    Raises:
        SettingsError: a part is missing. And whatever `make` raises.
    """
    if name.startswith(TURNED):
        lookers = [make(n) for n in LOOKERS]
        return Upright(make(_given(name.removeprefix(TURNED), name)), lookers, settings)
    if name.startswith(WEAKEST):
        return OnVehicles(make(_given(name.removeprefix(WEAKEST), name)))
    first, is_doubted, second = _last(name, "?")
    if is_doubted:
        return SecondOpinion(make(_given(first, name)), make(_given(second, name), in_crops=True))
    if len(parts := split(name, "+")) > 1:
        return Ensemble([make(_given(p, name)) for p in parts], settings)
    prefix, _, inner = name.partition(":")
    _given(inner, name)

    if prefix == "raw" and inner.partition("@")[0] not in TABLE:
        raise SettingsError(f"{name!r}: raw is for one of {', '.join(TABLE)}; all others are as they are")

    def in_crops() -> Detector:
        return make(f"{inner}@{CROP_SIDE}" if inner in TABLE else inner, in_crops=True)

    wrap: dict[str, Callable[[], Detector]] = {
        "two-stage": lambda: TwoStage(make(FINDER), in_crops(), settings),
        "person-guided": lambda: person_guided(make(FINDER), in_crops(), settings),
        "tiled": lambda: Tiled(make(inner), settings),
        "flipped": lambda: Flipped(make(inner)),
        "raw": lambda: make(inner, is_raw=True),
    }
    return wrap[prefix]()


def is_composed(name: str) -> bool:
    """Whether a name is for `compose`; an existing file may have any name."""
    if name.startswith("yolo:") and Path(name.removeprefix("yolo:")).expanduser().exists():
        return False
    return "+" in name or "?" in name or name.partition(":")[0] in PREFIXES


def split(name: str, mark: str) -> list[str]:
    return [part.strip() for part in name.split(mark)]


def _last(name: str, mark: str) -> tuple[str, bool, str]:
    first, found, second = name.rpartition(mark)
    return (first.strip(), True, second.strip()) if found else (name, False, "")


def _given(part: str, name: str) -> str:
    if not part:
        raise SettingsError(f"{name!r} names no detector in one of its parts")
    return part
