"""What importing each module loads: heavy libraries only where they are used, and nobody imports to the right."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "gradio", "fiftyone", "ray", "ultralytics", "openvino", "onnxruntime", "tensorflow")
LIGHT = [
    "anonymize", "anonymize.cli", "anonymize.cli.photos", "anonymize.cli.measure", "anonymize.cli.models",
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


def imports(path: Path) -> set[str]:
    """Top-level names of the packages that a file imports anywhere, ours with their second part."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                package = path.relative_to(ROOT).with_suffix("").parts[: -node.level]
                base = ".".join([*package, node.module or ""]).strip(".")
            else:
                base = node.module or ""
            found |= {base, *(f"{base}.{a.name}" for a in node.names)}
    return found


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def users(*packages: str) -> set[str]:
    every = [*files("anonymize"), *files("review"), ROOT / "app.py"]
    return {p.relative_to(ROOT).as_posix() for p in every if any(n.split(".")[0] in packages for n in imports(p))}


def test_fiftyone_is_imported_in_review_only() -> None:
    assert all(u.startswith("review/") for u in users("fiftyone"))


def test_gradio_is_imported_in_web_and_reviews_tab_only() -> None:
    allowed = ("anonymize/web/", "review/tab")
    assert all(u.startswith(allowed) for u in users("gradio")), users("gradio")


@pytest.mark.parametrize(
    ("folder", "barred"),
    [
        ("anonymize/web", ("review", "cv2", "torch")),
        ("anonymize/detectors", ("anonymize.engine", "anonymize.outputs", "anonymize.evaluate", "review")),
        ("anonymize", ("review",)),
    ],
)
def test_nobody_imports_to_the_right(folder: str, barred: tuple[str, ...]) -> None:
    for path in files(folder):
        for name in imports(path):
            assert not any(name == b or name.startswith(b + ".") for b in barred), (path, name)
