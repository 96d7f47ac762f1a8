"""`--sequence`, from photos to photos."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anonymize.records import read

from .test_cli import run

pytestmark = pytest.mark.usefixtures("as_they_came")
MINE = ["--face-detector", "tests.support.cli:Unsteady", "--plate-detector", "none", "--quiet"]
SOLID = ["--effect", "solid", "--fill", "ff00ff"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three of a series, in which the detector is sure in the second only."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for n, bright in enumerate((60, 200, 60), 8):
        Image.new("RGB", (80, 60), (bright, bright, bright)).save(folder / f"{n}.png")
    return folder


def hidden(folder: Path) -> list[bool]:
    return [(np.array(Image.open(folder / f"{n}.png"))[20, 20] == (255, 0, 255)).all() for n in (8, 9, 10)]


def test_run_hides_in_all_what_it_is_sure_of_in_one(photos: Path, tmp_path: Path) -> None:
    run("run", photos, tmp_path / "alone", *MINE, *SOLID)
    assert hidden(tmp_path / "alone") == [False, True, False]
    run("run", photos, tmp_path / "out", "--sequence", *MINE, *SOLID)
    assert hidden(tmp_path / "out") == [True, True, True]
    run("run", photos, tmp_path / "out", "--sequence", *MINE, *SOLID)
    assert hidden(tmp_path / "out") == [True, True, True]


def test_detect_and_export_do_so_too(photos: Path, tmp_path: Path) -> None:
    result = run("detect", photos, "--records", tmp_path / "a.jsonl", "--sequence", *MINE)
    assert "2 regions in 2 photos" in result.output
    assert {r.regions[0].score for r in read(tmp_path / "a.jsonl")[1].values()} == {0.9}
    run("detect", photos, "--records", tmp_path / "b.jsonl", *MINE)
    run("export", tmp_path / "b.jsonl", tmp_path / "out", "--sequence", "--quiet", *SOLID)
    assert hidden(tmp_path / "out") == [True, True, True]


def test_detect_counts_what_the_raised_scores_hide(photos: Path, tmp_path: Path) -> None:
    for _ in range(2):
        result = run("detect", photos, "--records", tmp_path / "a.jsonl", "--sequence", *MINE)
        assert re.search(r"faces +3\b", result.stdout)
        summary = json.loads((tmp_path / "a.summary.json").read_text())
        assert (summary["done"], summary["hidden"], summary["ok"]) == (3, {"face": 3}, True)
    run("export", tmp_path / "a.jsonl", tmp_path / "out", "--quiet", *SOLID)
    exported = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (exported["worth_a_look"], exported["riskiest"]) == (summary["worth_a_look"], summary["riskiest"])


def test_an_output_within_the_input_is_not_searched_and_a_dry_run_writes_nothing(photos: Path) -> None:
    run("run", photos, photos / "out", "--sequence", "--dry-run", *MINE, *SOLID)
    assert not (photos / "out").exists()
    for _ in range(2):
        run("run", photos, photos / "out", "--sequence", *MINE, *SOLID)
    assert len(read(photos / "out" / "records.jsonl")[1]) == 3


def test_a_photo_that_fails_is_a_failure(photos: Path, tmp_path: Path) -> None:
    (photos / "x.png").write_bytes(b"no photo")
    result = run("run", photos, tmp_path / "out", "--sequence", *MINE, *SOLID, code=1)
    assert "x.png" in result.output
    assert hidden(tmp_path / "out") == [True, True, True]
