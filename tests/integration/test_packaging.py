"""What pyproject.toml promises: the packages that are there, ranges that the tested pins fit, one version."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import anonymize
from anonymize.errors import MissingExtraError
from anonymize.extras import extra

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
PINS = {
    r.name.lower(): next(iter(r.specifier)).version
    for line in (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    if (text := line.split("#")[0].strip())
    for r in [Requirement(text)]
}


def test_every_package_of_the_tree_is_in_the_wheel_and_the_recipes_are_not() -> None:
    folders = {p.parent for top in ("anonymize", "review") for p in (ROOT / top).rglob("*.py")}
    here = {".".join(f.relative_to(ROOT).parts) for f in folders}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == here | {"anonymize.models"}


def test_the_pins_fit_the_ranges_and_the_core_has_nothing_heavy() -> None:
    core = [Requirement(r) for r in PROJECT["project"]["dependencies"]]
    optional = [Requirement(r) for group in EXTRAS.values() for r in group]
    for required in (*core, *optional):
        if required.name not in ("anonymize", "onnxruntime-gpu"):
            assert required.specifier.contains(PINS[required.name]), required
    heavy = {"torch", "ultralytics", "gradio", "fiftyone", "matplotlib", "scipy", "pandas", "pydantic"}
    assert not heavy & {r.name for r in core}


def test_the_extras_that_errors_name_exist_and_all_has_every_one_but_the_gpus() -> None:
    code = "\n".join(p.read_text("utf-8") for top in ("anonymize", "review") for p in (ROOT / top).rglob("*.py"))
    named = set(re.findall(r'\bextra\("(\w+)"', code))
    assert named
    assert named <= set(EXTRAS)
    assert Requirement(EXTRAS["all"][0]).extras == set(EXTRAS) - {"all", "gpu"}


def test_the_version_is_the_projects() -> None:
    assert anonymize.__version__ == PROJECT["project"]["version"]


def test_a_package_that_is_missing_is_told_with_the_command_that_adds_it() -> None:
    with pytest.raises(MissingExtraError) as caught, extra("train", "training"):
        import no_such_package  # noqa: F401
    assert str(caught.value) == (
        "training needs the package no_such_package, which is not installed. "
        "This adds it: pip install 'anonymize[train]'"
    )
