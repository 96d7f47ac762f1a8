"""`python -m anonymize evaluate-video` from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from anonymize.cli import cli
from tests.support import clips

MINE = ["--face-detector", "none", "--plate-detector", "tests.support.clips:BarDetector"]


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, [*map(str, arguments), "--quiet"])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    """A clip whose bright bar is annotated in each frame, and a thing that nobody finds in three."""
    folder = tmp_path / "in"
    folder.mkdir()
    clips.make(folder / "a.mp4", 10)
    bars = [f"{n + 1},1,{8 + 2 * n},16,16,16,1,1" for n in range(10)]
    lost = [f"{n + 1},2,70,40,20,20,1,2" for n in (4, 5, 6)]
    (folder / "a.txt").write_text("\n".join(bars + lost))
    (folder / "labels.txt").write_text("plate\nface\n")
    return folder


def test_what_leaks_is_told_in_seconds(marked: Path, tmp_path: Path) -> None:
    run("evaluate-video", marked, marked, "--json", tmp_path / "a.json", *MINE)
    figures = json.loads((tmp_path / "a.json").read_text())
    assert figures["kinds"]["plate"]["seconds"] == pytest.approx(0.4)
    assert figures["kinds"]["plate"]["visible"] == 0
    assert figures["kinds"]["face"]["visible"] == figures["kinds"]["face"]["seconds"] == pytest.approx(0.12)
    assert figures["clips"][0]["path"] == "a.mp4"


def test_records_of_an_earlier_run_are_measured_with_their_settings(marked: Path, tmp_path: Path) -> None:
    run("video", marked, tmp_path / "out", "--plate-threshold", "0.99", "--every", "1", *MINE)
    run("evaluate-video", marked, marked, "--records", tmp_path / "out", "--json", tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text())["settings"]["kinds"]["plate"]["threshold"] == 0.99
    result = run("evaluate-video", marked, marked, "--records", marked, code=1)
    assert "no records of clips" in result.output


def test_clips_that_could_not_be_measured_are_named(marked: Path) -> None:
    (marked / "b.mp4").write_bytes(b"no clip")
    (marked / "b.txt").write_text("1,1,1,1,9,9,1,1")
    (marked / "gone.txt").write_text("1,1,1,1,9,9,1,1")
    result = run("evaluate-video", marked, marked, *MINE, code=1)
    assert "not measured: b.mp4" in result.output
    assert "not measured: gone: the clip is not in the folder" in result.output
