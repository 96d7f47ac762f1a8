"""train and plates on the command line: options arrive where they belong, and what is written is named."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from anonymize import training
from anonymize.cli.models import train
from anonymize.errors import SettingsError
from anonymize.training.data_yaml import read_data
from models.recipes.plates.__main__ import plates


def test_options_of_train_reach_it_and_what_is_not_given_stays_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[object, ...]] = []

    def fake(data: Path, output: Path, options: training.Options, **more: object) -> SimpleNamespace:
        seen.append((data, output, options, more))
        return SimpleNamespace(onnx=output / "n.onnx", card=output / "card.md", entry=None)

    monkeypatch.setattr(training, "train", fake)
    (tmp_path / "d.yaml").touch()
    arguments = [
        str(tmp_path / "d.yaml"),
        "--output",
        str(tmp_path),
        "--name",
        "n",
        "--base",
        "yolov8n.yaml",
        "--size",
        "320",
    ]
    result = CliRunner().invoke(train, [*arguments, "--hours", "1.5", "--frozen", "5", "--resume", "--trust"])
    assert result.exit_code == 0, result.output
    expected = training.Options(base="yolov8n.yaml", size=320, hours=1.5, frozen=5)
    more = {"name": "n", "resume": True, "trust": True, "cache": None}
    assert seen == [(tmp_path / "d.yaml", tmp_path, expected, more)]
    assert f"yolo:{tmp_path / 'n.onnx'}" in result.output


def test_the_defaults_in_trains_help_are_those_of_its_options() -> None:
    text = " ".join(CliRunner().invoke(train, ["--help"]).output.split())
    default = training.Options()
    for name in ("epochs", "size", "batch", "device", "seed", "learning_rate", "validate_every", "frozen"):
        option = text[text.index(f"--{name.replace('_', '-')} ") :]
        assert f"[{getattr(default, name)}]" in option[: option.index("]") + 1]


def test_a_sheet_of_plates_and_of_scenes(tmp_path: Path) -> None:
    result = CliRunner().invoke(plates, ["sheet", str(tmp_path / "s.png"), "--seed", "3"])
    assert result.exit_code == 0, result.output
    assert Image.open(tmp_path / "s.png").size == (1200, 1152)
    Image.new("RGB", (120, 80), (90, 90, 90)).save(tmp_path / "p.png")
    arguments = ["sheet", str(tmp_path / "scenes.png"), "--photo", str(tmp_path / "p.png")]
    assert CliRunner().invoke(plates, [*arguments, "--box", "20,20,70,34"]).exit_code == 0
    sheet = np.asarray(Image.open(tmp_path / "scenes.png"))
    assert sheet.shape == (160, 360, 3)
    places = [sheet[y + 20 : y + 34, x + 20 : x + 70] for y in (0, 80) for x in (0, 120, 240)]
    assert max(place.std() for place in places) > 25  # a plate; at night one may be dark
    wrong = CliRunner().invoke(plates, [*arguments, "--box", "1,2,x,4"])
    assert isinstance(wrong.exception, SettingsError)


def test_a_data_set_from_marked_photos(tmp_path: Path) -> None:
    images, marks = [], []
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.jpg"), np.full((60, 80, 3), 90, np.uint8))
        images.append({"id": i, "file_name": f"{i}.jpg"})
        marks.append({"image_id": i, "category_id": 2, "bbox": [10, 20, 30, 10]})
    (tmp_path / "c.json").write_text(json.dumps({"images": images, "annotations": marks}))
    arguments = ["build", str(tmp_path), str(tmp_path / "c.json"), "--output", str(tmp_path / "set"), "--no-clean"]
    result = CliRunner().invoke(plates, [*arguments, "--held-out", "2*", "--drawn", "1", "--size", "64"])
    assert result.exit_code == 0, (result.output, result.exception)
    assert "whole 2" in result.output
    assert "val 1" in result.output
    assert read_data(tmp_path / "set" / "data.yaml").photos == {"train": 5, "val": 1}
