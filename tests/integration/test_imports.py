"""What importing each module loads: heavy libraries only where they are used. (Who may import whom: .importlinter.)"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

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


# What `pip install .` does not bring.
EXTRAS = (
    "av", "supervision", "trackers", "torch", "ultralytics", "facenet_pytorch", "gradio", "fastapi", "uvicorn",
    "starlette", "pandas", "fiftyone", "imagecodecs", "matplotlib", "scipy", "pydantic", "pycocotools", "defusedxml",
    "cryptography", "jinja2", "fsspec", "pyarrow", "ray", "authlib",
)  # fmt: skip


def without(packages: tuple[str, ...], code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    hidden = f"import sys; sys.modules.update(dict.fromkeys({packages!r}))"
    command = [sys.executable, "-c", f"{hidden}\n{code}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_the_core_alone_runs_and_exports(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (120, 80), "gray").save(tmp_path / "in" / "a.jpg")
    (tmp_path / "in" / "b.mp4").write_bytes(b"")
    code = "from anonymize.cli import cli; cli(sys.argv[1:])"
    found = ("--face-detector", "tests.support.cli:Faces", "--plate-detector", "none", "--quiet")
    done = without(EXTRAS, code, "run", str(tmp_path / "in"), str(tmp_path / "out"), *found)
    assert (done.returncode, (tmp_path / "out" / "a.jpg").is_file()) == (0, True), done.stderr
    records = str(tmp_path / "out" / "records.jsonl")
    done = without(EXTRAS, code, "export", records, str(tmp_path / "again"), "--quiet")
    assert (done.returncode, (tmp_path / "again" / "a.jpg").is_file()) == (0, True), done.stderr


def test_the_page_needs_nothing_of_clips() -> None:
    done = without(("av", "supervision", "trackers"), "from anonymize.web import ui; print(ui.has_video())")
    assert done.stdout.split() == ["False"], done.stderr
