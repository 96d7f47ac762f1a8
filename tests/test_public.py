"""The public surface is a list that is changed on purpose."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import anonymize

PUBLIC = [
    "AnonymizeError", "Detector", "Engine", "FakeDetector", "Kernel", "Kind", "Photo", "Record", "Region", "Settings",
    "Summary", "apply", "coverage", "create", "load", "save",
]  # fmt: skip


def test_the_public_names_are_these_and_all_are_there() -> None:
    assert sorted(anonymize.__all__) == PUBLIC == dir(anonymize)
    for name in PUBLIC:
        assert getattr(anonymize, name).__name__ == name


def test_the_example_of_the_docstring_runs(folder: Path, tmp_path: Path) -> None:
    from anonymize import Engine, FakeDetector, Region

    engine = Engine(detectors=[FakeDetector([Region("face", (0, 0, 9, 9))])])
    assert engine.run(str(folder), tmp_path / "clean").ok


def test_importing_the_package_loads_none_of_its_modules() -> None:
    """So it is quick; bench/start.py prints how quick."""
    code = "import sys, anonymize; print(*sorted(m for m in sys.modules if m.split('.')[0] == 'anonymize'))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
    )
    assert done.stdout.split() == ["anonymize"]
