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


def seconds(*arguments: str) -> float:
    """Best of five, from start to end of a fresh interpreter."""
    import time

    found = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], capture_output=True, check=True, cwd=Path(__file__).parents[1])
        found.append(time.perf_counter() - started)
    return min(found)


def test_starting_is_quick() -> None:
    """Bounds of the issue, doubled, because test machines are busy; bench/start.py prints the figures."""
    assert seconds("-c", "import anonymize") < 0.6
    assert seconds("-m", "anonymize", "--help") < 1.4
