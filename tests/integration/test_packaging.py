"""What pyproject.toml promises: the packages that are there, ranges that the tested pins fit, one version."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
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


def locked(name: str) -> dict[str, str]:
    """Package -> version of a lock, each with at least one hash and no address."""
    out = {}
    for entry in re.split(r"\n(?=\S)", (ROOT / name).read_text("utf-8").strip()):
        first, *hashes = entry.replace("\\\n", "\n").splitlines()
        required = Requirement(first)
        (pin,) = required.specifier
        assert pin.operator == "=="
        assert hashes
        assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}\s*", h) for h in hashes), entry
        assert required.name not in out, "two versions for two systems: the tests run with one"
        out[required.name] = pin.version
    return out


def test_the_locks_have_the_pins_and_what_these_ask_for_with_hashes() -> None:
    """`make lock` writes them anew."""
    app, everything = locked("requirements.lock"), locked("requirements-dev.lock")
    pins = {
        r.name.lower(): next(iter(r.specifier)).version
        for name in ("requirements.txt", "requirements-dev.txt")
        for line in (ROOT / name).read_text("utf-8").splitlines()
        if "==" in (text := line.split("#")[0].strip())
        for r in [Requirement(text)]
    }
    assert pins.items() <= everything.items()
    assert app.items() <= everything.items()
    core = [
        Requirement(r) for r in PROJECT["project"]["dependencies"] + EXTRAS["web"] + EXTRAS["review"] + EXTRAS["video"]
    ]
    for required in core:
        if required.name in ("anonymize", "opencv-python"):  # the headless one stands in for the latter
            continue
        assert required.specifier.contains(app[required.name]), required
    assert "torch" not in app
    assert [name for name in app if name.startswith("opencv")] == ["opencv-python-headless"]  # two would share a folder


def test_the_installed_program_runs_beside_a_clone_of_its_own_name(tmp_path: Path) -> None:
    """`git clone …/anonymize` and then `python -m anonymize` from the folder above."""
    clone = tmp_path / "anonymize"
    copy = ("anonymize", "review", "models", "pyproject.toml", "README.md", "LICENSE")
    for name in copy:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, clone / name, ignore=shutil.ignore_patterns("__pycache__", "recipes"))
        else:
            shutil.copy(source, clone / name)
    home = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    packages = next(home.glob("lib/python*/site-packages"))
    (packages / "all_others.pth").write_text(sysconfig.get_path("purelib"))
    line = next(text for text in (ROOT / "Makefile").read_text().splitlines() if "-e ." in text)
    options = line.split("pip install ")[1].split()
    pip = [sys.executable, "-m", "pip", "--python", home / "bin" / "python", "install", "-q"]
    subprocess.run([*pip, *options], check=True, cwd=clone)
    told = subprocess.run(
        [home / "bin" / "python", "-m", "anonymize", "models", "list"], cwd=tmp_path, capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr
    assert "retinaface-mobilenet" in told.stdout


def test_packages_that_nobody_could_be_asked_about_are_no_success() -> None:
    """pip-audit passes over what its index knows nothing of, which is everything where that is a mirror."""
    lines = (ROOT / "Makefile").read_text().splitlines()
    (command,) = [line for line in lines if "pip-audit==" in line]
    assert " --strict " in command
    assert "vulnerabilities" in (ROOT / ".github/workflows/ci.yml").read_text()
