"""What importing each module loads: heavy libraries only where they are used. (Who may import whom: .importlinter.)"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "gradio", "fiftyone", "ray", "ultralytics", "openvino", "onnxruntime", "tensorflow")
LIGHT = [
    "anonymize", "anonymize.cli", "anonymize.cli.run", "anonymize.cli.measure", "anonymize.cli.models",
    "anonymize.engine", "anonymize.detectors", "anonymize.effects", "anonymize.images", "anonymize.weights",
    "anonymize.records", "anonymize.settings", "anonymize.regions", "anonymize.errors", "anonymize.evaluate",
]  # fmt: skip


def loaded(module: str) -> list[str]:
    code = f"import json, sys; import {module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    found: list[str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("module", LIGHT)
def test_importing_loads_nothing_heavy(module: str) -> None:
    assert not set(HEAVY) & set(loaded(module))


def test_the_command_line_starts_without_image_libraries() -> None:
    assert not {"cv2", "PIL", "scipy", "matplotlib", "pandas"} & set(loaded("anonymize.cli"))
