"""The public surface is a list that is changed on purpose."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import anonymize

PUBLIC = [
    "AnonymizeError", "Detector", "FakeDetector", "Kernel", "Kind", "Photo", "Predictor", "Record", "Region",
    "Settings", "Summary", "coverage", "create", "detect", "export", "hide", "load", "run", "save",
]  # fmt: skip


def test_the_public_names_are_these_and_all_are_there() -> None:
    assert sorted(anonymize.__all__) == PUBLIC == dir(anonymize)
    for name in PUBLIC:
        assert getattr(anonymize, name).__name__ == name


def test_the_example_of_the_docstring_runs(folder: Path, tmp_path: Path) -> None:
    from anonymize import FakeDetector, Predictor, Region

    predictor = Predictor(detectors=[FakeDetector([Region("face", (0, 0, 9, 9))])])
    _, regions = anonymize.hide(folder / "1.jpg", predictor=predictor)
    assert [r.kind for r in regions] == ["face"]
    assert anonymize.run(str(folder), tmp_path / "clean", predictor).ok


def test_importing_the_package_loads_no_image_library() -> None:
    code = "import sys, anonymize; assert not {'cv2', 'PIL', 'numpy', 'torch', 'openvino'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_importing_the_package_loads_none_of_its_modules() -> None:
    """So it is quick; bench/start.py prints how quick."""
    code = "import sys, anonymize; print(*sorted(m for m in sys.modules if m.split('.')[0] == 'anonymize'))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.split() == ["anonymize", "anonymize.telemetry"]
