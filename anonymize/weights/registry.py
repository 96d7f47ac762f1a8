"""The registry: models/registry.toml as checked, frozen values: names, sources, hashes, licenses."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import SettingsError, UnknownNameError
from .sources import Source, parse

TASKS = ("face", "plate", "vehicle", "corners", "face+plate", "text")
LARGEST = 2_000_000_000  # bytes; no source may deliver more where the registry knows no size


@dataclass(frozen=True)
class Model:
    """One table of the registry.

    Attributes:
        name: as detectors and people call it.
        task: what it looks for, one of TASKS; face+plate: both.
        file: its file name in the cache, without a folder.
        sources: where it comes from, tried in order; the forms stand at the head of models/registry.toml.
        sha256: 64 lower-case hex digits, or "" where nobody could measure it: refused without trust.
        bytes: its size; 0 where the hash is not known either.
        license: SPDX identifier that its publisher states.
        size: default long side of the input, px.
        classes: the model's class name -> kind of region.
        calibration: kind -> numbers of `detectors.calibrated.Calibration`, in its order; a kind that is not there keeps
            the network's own scores. Numbers alone are those of the task.
        in_crops: the same where the network sees only a crop of a vehicle or person; empty: `calibration`.
        checkpoint: sha256 of NAME.pt beside the registry, the same network to be trained further; empty: there is none.

    Raises:
        SettingsError: a field that is not what it should be.
    """

    name: str
    task: str
    file: str
    sources: tuple[str, ...]
    sha256: str
    bytes: int
    license: str
    size: int
    classes: Mapping[str, str] = field(default_factory=dict)
    calibration: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    in_crops: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    checkpoint: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", tuple(self.sources))
        for name in ("calibration", "in_crops"):
            given: Any = getattr(self, name)
            by_kind = given if isinstance(given, Mapping) else {self.task: given} if given else {}
            object.__setattr__(self, name, {kind: tuple(numbers) for kind, numbers in by_kind.items()})
        object.__setattr__(self, "classes", dict(self.classes))
        wrong = f"model {self.name!r}: "
        if self.task not in TASKS:
            raise UnknownNameError("task", self.task, TASKS)
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", self.file):
            raise SettingsError(f"{wrong}file is a plain file name; received {self.file!r}")
        for digest in ("sha256", "checkpoint"):
            if not re.fullmatch(r"[0-9a-f]{64}|", given := getattr(self, digest)):
                raise SettingsError(f"{wrong}{digest} is 64 lower-case hex digits, or empty; received {given!r}")
        if type(self.bytes) is not int or not 0 <= self.bytes <= LARGEST or bool(self.bytes) != bool(self.sha256):
            raise SettingsError(f"{wrong}bytes is the file's size, 0 only without sha256; received {self.bytes!r}")
        if type(self.size) is not int or self.size < 32:
            raise SettingsError(f"{wrong}size is a long side in px, at least 32; received {self.size!r}")
        if not self.license or not all(isinstance(v, str) and v for v in (*self.classes, *self.classes.values())):
            raise SettingsError(f"{wrong}license and classes are non-empty strings")
        for kind, numbers in (*self.calibration.items(), *self.in_crops.items()):
            if not 2 <= len(numbers) <= 7 or not all(type(n) in (int, float) for n in numbers):
                raise SettingsError(f"{wrong}a calibration is two to seven numbers; received {list(numbers)}")
            if kind not in self.classes.values():
                raise UnknownNameError(f"kind of {self.name}'s calibration:", kind, set(self.classes.values()))
        if not self.sources:
            raise SettingsError(f"{wrong}at least one source is needed")
        for source in self.sources:
            parse(source)

    @property
    def tasks(self) -> tuple[str, ...]:
        """("face", "plate") where the task is face+plate."""
        return tuple(self.task.split("+"))

    def parse_sources(self) -> list[Source]:
        """The sources, taken apart."""
        return [parse(s) for s in self.sources]


def load(path: Path) -> dict[str, Model]:
    """Read a registry file.

    Raises:
        SettingsError: not TOML, an unknown or missing field, a bad value, two models with one file name.
    """
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as e:
        raise SettingsError(f"cannot read the models' registry {path}: {e}") from e
    known = {f.name for f in fields(Model)} - {"name"}
    optional = {"calibration", "in_crops", "checkpoint"}
    models = {}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise SettingsError(f"{path}: {name!r} is not a table")
        if unknown := set(table) - known:
            raise UnknownNameError(f"field of model {name!r}:", min(unknown), known)
        if missing := known - optional - set(table):
            raise SettingsError(f"{path}: model {name!r} lacks {', '.join(sorted(missing))}")
        try:
            models[name] = Model(name, **table)
        except (TypeError, AttributeError) as e:
            raise SettingsError(f"{path}: model {name!r}: {e}") from e
    if len({m.file for m in models.values()}) != len(models):
        raise SettingsError(f"{path}: two models have the same file name")
    return models


@functools.cache
def registry_path() -> Path:
    """models/registry.toml: in the package where it is installed, beside it in a checkout.

    Raises:
        SettingsError: it is in neither place.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package, package.parent):
        if (path := folder / "models" / "registry.toml").is_file():
            return path
    raise SettingsError(f"the models' registry is missing: {path}")


@functools.cache
def registry() -> Mapping[str, Model]:
    """Name -> Model, in the file's order. Read once."""
    return MappingProxyType(load(registry_path()))


def model(name: str) -> Model:
    """A model by its name.

    Raises:
        UnknownNameError: no such model; the message lists those that exist.
    """
    try:
        return registry()[name]
    except KeyError:
        raise UnknownNameError("model", name, registry()) from None
