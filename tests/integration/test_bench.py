"""`python -m anonymize bench`: the table for a user's own photos, with a quick preset and peers that are none."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image
from rich.console import Console

from anonymize.cli import cli
from anonymize.evaluate import benchmark, peers
from anonymize.evaluate.benchmark import Program, Timing, measure, shown, table
from anonymize.evaluate.figures import Share
from anonymize.evaluate.ground_truth import Annotations, Photo, Truth

# A program that says that it hid the left half of each photo.
HALF = """
import json, pathlib, sys
from PIL import Image
photos, output = map(pathlib.Path, sys.argv[1:])
output.mkdir()
hidden = {p.name: [["box", 0, 0, Image.open(p).width // 2, Image.open(p).height]] for p in photos.iterdir()}
(output / "hidden.json").write_text(json.dumps(hidden))
"""


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / "photos"
    folder.mkdir()
    out = {}
    for i in range(3):
        path = folder / f"{i}.{'png' if i else 'jpg'}"
        Image.new("RGB", (64, 48), (90, 90, 90)).save(path)
        out[path.name] = path
    return out


def half(name: str = "half", code: str = HALF) -> Program:
    return Program(name, lambda folder, output: [sys.executable, "-c", code, str(folder), str(output)], ("face",))


def test_leaks_come_from_what_a_program_says_it_hid(tmp_path: Path, photos: dict[str, Path]) -> None:
    left, right = Truth("face", (2, 2, 20, 20)), Truth("face", (40, 2, 60, 20))
    edge, plate = Truth("face", (20, 2, 36, 20)), Truth("plate", (40, 30, 60, 40))
    truth = Annotations({name: Photo((left, right, edge, plate), (64, 48)) for name in photos})
    (tmp_path / "scratch").mkdir()
    (row,) = measure([half()], photos, tmp_path / "scratch", 2, truth, lambda _: None)
    assert row.leaks == {"face": Share(6, 9)}  # a plate is none that it looks for
    assert row.area == 0.5
    assert len(row.seconds) == len(row.cpu) == len(row.start) == len(row.megabytes) == 2
    assert not row.networks


def test_a_program_that_fails_is_a_row_that_says_so(tmp_path: Path, photos: dict[str, Path]) -> None:
    said: list[str] = []
    contenders = [half("broken", "raise SystemExit('no weights here')"), half()]
    (tmp_path / "scratch").mkdir()
    broken, whole = measure(contenders, photos, tmp_path / "scratch", 2, None, said.append)
    assert "no weights here" in broken.error
    assert not whole.error
    assert said == ["1/2 broken", "1/2 half", "2/2 half"]
    assert "no weights here" in table([broken, whole])


def test_medians_and_spread_are_in_the_table() -> None:
    row = Timing("x", ("face",), [0.5, 0.25, 1.0], [1.0, 2.0, 3.0], [1.0] * 3, [100.0] * 3, [0.25] * 3, [1.0] * 3)
    row.leaks, row.area = {"face": Share(1, 4)}, 0.125
    line = table([row]).splitlines()[-1]
    assert line == "| x | 2.00 (1.00–4.00) | 2.00 (1.00–3.00) | 2.00 (1.00–4.00) (2.00 (1.00–3.00)) | " + (
        "100 (100–100) | 1.0 (1.0–1.0) | 1 of 4 | 12.5% |"
    )
    assert json.loads(json.dumps(row.to_dict()))["leaks"] == {"face": {"count": 1, "of": 4}}


def test_a_terminal_shows_a_column_for_each_program() -> None:
    times = [0.5, 0.25, 1.0], [1.0, 2.0, 3.0], [1.0] * 3, [100.0] * 3, [0.25] * 3, [1.0] * 3
    row, other = Timing("x", ("face",), *times), Timing("[b]", (), *times)
    row.leaks, row.area = {"face": Share(1, 4)}, 0.125
    broken = Timing("y", ())
    broken.error = "no weights here"
    with (console := Console(width=80)).capture() as captured:
        console.print(shown([row, broken, other]))
    lines = [line.split() for line in captured.get().splitlines() if line.strip()]
    assert lines[0] == ["x", "[b]"]
    assert ["photos", "per", "second", *["2.00", "(1.00–4.00)"] * 2] in lines
    assert ["faces", "that", "leak", "1", "of", "4", "–"] in lines
    assert lines[-1] == ["y:", "no", "weights", "here"]
    with console.capture() as captured:
        console.print(shown([broken]))
    assert captured.get() == "y: no weights here\n"


def test_what_noise_makes_negative_is_not_in_the_table() -> None:
    row = Timing("x", (), [-0.5, 0.5], [-1.0, -2.0], [-1.0, 2.0], [100.0] * 2, [1.0] * 2, [1.0] * 2)
    assert table([row]).splitlines()[-1] == "| x | 2.00 | – | 0.50 (–) | 100 (100–100) | 2.0 | – |"


def test_an_ellipse_hides_less_than_its_box(tmp_path: Path, photos: dict[str, Path]) -> None:
    (tmp_path / peers.HIDDEN).write_text(json.dumps({"0.jpg": [["ellipse", 4, 4, 44, 44]]}))
    ((_, mask),) = benchmark._hidden(tmp_path, photos["0.jpg"].parent, ["0.jpg"])
    assert mask[24, 24]
    assert not mask[5, 5]
    assert 0.7 < mask[4:45, 4:45].mean() < 0.85


def test_the_plain_loop_writes_blurred_copies(tmp_path: Path) -> None:
    import cv2
    import numpy as np

    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    before = image.copy()
    hidden = peers.blur(image, [(5.2, 5.4, 20.6, 30.1), (50, 30, 90, 90), (70, 0, 80, 9)], tmp_path / "out.png")
    assert hidden == [["box", 5, 5, 21, 30], ["box", 50, 30, 60, 40]]
    written = cv2.imread(str(tmp_path / "out.png"))
    assert np.array_equal(written[:5], before[:5])
    assert written[5:30, 5:21].std() < before[5:30, 5:21].std() / 2


@pytest.mark.weights
def test_the_command(photos: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "installed", lambda: [half()])
    words = ["bench", str(photos["0.jpg"].parent), "--presets", "fast", "--repeats", "1", "--json", str(tmp_path / "j")]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    assert [row["name"] for row in json.loads((tmp_path / "j").read_text())] == ["fast", "half"]
    fast = json.loads((tmp_path / "j").read_text())[0]
    assert fast["networks_cpu"][0] > 0
    assert "| fast | " in done.output


def test_what_cannot_be_measured_is_said(photos: dict[str, Path], tmp_path: Path) -> None:
    folder = str(photos["0.jpg"].parent)
    assert "quick" in CliRunner().invoke(cli, ["bench", folder, "--presets", "quick"]).output
    (tmp_path / "empty").mkdir()
    done = CliRunner().invoke(cli, ["bench", str(tmp_path / "empty")])
    assert done.exit_code == 2
    assert "two are the least" in done.output
