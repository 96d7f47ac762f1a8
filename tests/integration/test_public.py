"""The public surface is a list that is changed on purpose."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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


@pytest.mark.parametrize("name", ["nothere.jpg", "text.txt", "cut.jpg", "empty.png", "folder", "large.png"])
def test_errors_about_a_file_name_it(name: str, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("no photo")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder").mkdir()
    Image.new("RGB", (1200, 900), "teal").save(tmp_path / "large.png")
    Image.new("RGB", (400, 300), "teal").save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:900])
    settings = anonymize.Settings(max_megapixels=1.0)
    predictor = anonymize.Predictor(settings, detectors=[anonymize.FakeDetector([])])
    with pytest.raises(anonymize.AnonymizeError, match=f"{name}: "):
        anonymize.hide(tmp_path / name, predictor=predictor)
    with pytest.raises(anonymize.AnonymizeError, match=f"{name}: "):
        anonymize.load(tmp_path / name, settings)
    with pytest.raises(anonymize.AnonymizeError, match=name):
        anonymize.export(tmp_path / name, tmp_path / "out")
    if not (tmp_path / name).exists():
        with pytest.raises(anonymize.AnonymizeError, match=name):
            anonymize.detect(tmp_path / name, tmp_path / "r.jsonl", predictor)
        with pytest.raises(anonymize.AnonymizeError, match=name):
            anonymize.run(tmp_path / name, tmp_path / "out", predictor)
    elif name != "large.png":
        photo = anonymize.load(tmp_path / "large.png", anonymize.Settings())
        target = tmp_path / name / "a.png" if name != "folder" else tmp_path / name
        with pytest.raises(anonymize.AnonymizeError, match=f"{target.name}: "):
            anonymize.save(photo, photo.pixels, target)


def test_what_is_wrong_with_an_image_in_memory_or_a_record_names_no_file(folder: Path, tmp_path: Path) -> None:
    """A record's error stands beside its path, and is shown to people who may not learn where files lie."""
    with pytest.raises(anonymize.AnonymizeError, match=r"^an image is uint8"):
        anonymize.hide(np.zeros((3, 3)), predictor=anonymize.Predictor(detectors=[anonymize.FakeDetector([])]))
    (folder / "bad.jpg").write_bytes(b"no photo")
    done = anonymize.run(folder, tmp_path / "out", anonymize.Predictor(detectors=[anonymize.FakeDetector([])]))
    assert "bad.jpg" not in done.failures["bad.jpg"]


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


@pytest.mark.parametrize("changed", [[], [((0, 0, 8, 8), np.ones((8, 8), bool))]])
def test_what_was_changed_and_not_named_is_written_all_the_same(changed: list, tmp_path: Path) -> None:
    """A JPEG's blocks are kept where nothing changed in fact, whatever the caller says."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg", quality=95)
    photo = anonymize.load(tmp_path / "a.jpg", anonymize.Settings())
    pixels = photo.pixels.copy()
    pixels[32:48, 32:48] = 0
    anonymize.save(photo, pixels, tmp_path / "b.jpg", anonymize.Settings(), changed)
    written = anonymize.load(tmp_path / "b.jpg", anonymize.Settings()).pixels
    assert written[32:48, 32:48].max() < 16
    assert (written[48:, 48:] == photo.pixels[48:, 48:]).all()
