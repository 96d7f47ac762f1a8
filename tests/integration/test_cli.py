"""The command line: its help, its options' way into Settings, its errors, and real photos from end to end."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from anonymize import records
from anonymize.cli import cli
from anonymize.cli.options import PER_KIND, settings_of
from anonymize.cli.progress import hidden_text, print_counts
from anonymize.settings import Kernel, Kind, Settings
from anonymize.summary import Summary

pytestmark = pytest.mark.usefixtures("as_they_came")
MINE = ["--face-detector", "tests.support.cli:Faces", "--plate-detector", "none", "--quiet"]


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, [str(a) for a in arguments])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def commands(group: click.Group = cli, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*prefix, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*prefix, name))


@pytest.mark.parametrize(
    ("name", "command"), list(commands()), ids=lambda v: " ".join(v) if isinstance(v, tuple) else ""
)
def test_every_command_and_option_says_what_it_does(name: tuple[str, ...], command: click.Command) -> None:
    assert command.help, name
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, (name, parameter.name)
    run(*name, "--help")


def test_help_shows_each_kinds_default_where_they_differ() -> None:
    text = " ".join(run("run", "--help").output.split())
    assert "[face=ellipse, plate=rectangle]" in text
    assert "width and height [0.1]" in text


def test_of_a_photo_with_further_pictures_only_the_first_is_written_and_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    scan = Image.new("RGB", (120, 80), "gray")
    scan.save(tmp_path / "in" / "scan.tif", save_all=True, append_images=[scan.resize((30, 20))])
    scan.save(tmp_path / "in" / "one.tif")
    out = tmp_path / "out"
    for _ in range(2):  # also where nothing is left to do
        told = run("run", tmp_path / "in", out, *MINE)
        assert "only the first is written (1): scan.tif" in told.stderr
        assert told.stderr.count("scan.tif") == 1
        assert "one.tif" not in told.stderr
        assert json.loads((out / "summary.json").read_text())["warnings"] == {"scan.tif": ["first-picture-only"]}
    _, known = records.read(out / "records.jsonl")
    assert {name: r.warnings for name, r in known.items()} == {"one.tif": (), "scan.tif": ("first-picture-only",)}
    assert Image.open(out / "scan.tif").n_frames == 1


def test_settings_have_one_name_in_python_on_the_command_line_and_in_the_api() -> None:
    from anonymize.web.api_forms import Options

    of_settings = {field.name for of in (Kind, Settings) for field in dataclasses.fields(of)}
    command = dict(commands())[("run",)]
    options = {p.opts[0] for p in command.params if isinstance(p, click.Option)}
    for name in PER_KIND:
        assert name in of_settings
        assert f"--{name.replace('_', '-')}" in options
        assert name in Options.model_fields or name in ("min_size", "max_size")


def test_an_unknown_command_is_an_error() -> None:
    for wrong, valid in (((), cli), (("models",), cli.get_command(click.Context(cli), "models"))):
        said = run(*wrong, "hide", code=2).stderr.partition("No such command 'hide'; valid: ")[2]
        assert said.strip().rstrip(".").split(", ") == valid.list_commands(click.Context(valid))


def test_run_uses_the_options(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(
        "run", folder, out, *MINE, "--effect", "solid", "--fill", "ff00ff", "--effect", "screen=pixelate",
        "--kernel", "face=101,3,19", "--hide", "screen=0.2", "--padding", "face=0", "--mask", "rectangle",
        "--no-write-detections", "--preview",
    )  # fmt: skip
    assert "screens 4" in " ".join(result.output.split())
    header, known = records.read(out / "records.jsonl")
    face, screen = header.settings.kinds["face"], header.settings.kinds["screen"]
    assert (face.effect, face.fill, face.kernel, face.padding) == ("solid", "ff00ff", Kernel(101, 3, 19), 0)
    assert (screen.effect, screen.threshold) == ("pixelate", 0.2)
    assert len(known) == 4
    pixels = np.asarray(Image.open(out / "1.png"))
    assert (pixels[10:30, 10:30] == (255, 0, 255)).all()
    assert (tmp_path / "out-preview" / "1.png.jpg").exists()
    assert not list(out.glob("*.png.json"))


def test_detect_export_evaluate(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    run("detect", folder, "--records", path, *MINE)
    run("export", path, tmp_path / "out", "--quiet", "--effect", "pixelate")
    assert (tmp_path / "out" / "a" / "1.jpg").exists()
    image = {"id": 1, "file_name": "1.png", "width": 64, "height": 48}
    truth = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [11, 11, 18, 18], "area": 324, "iscrowd": 0}
    missed = {"id": 2, "image_id": 1, "category_id": 1, "bbox": [50, 2, 10, 10], "area": 100, "iscrowd": 0}
    coco = {"images": [image], "annotations": [truth, missed], "categories": [{"id": 1, "name": "face"}]}
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    outputs = ["--json", tmp_path / "e.json", "--plots", tmp_path / "plots", "--matches", tmp_path / "m.jsonl"]
    result = run("evaluate", folder, tmp_path / "coco.json", "--records", path, *outputs)
    assert "leak rate" in result.output
    figures = json.loads((tmp_path / "e.json").read_text())["kinds"]["face"]
    assert (figures["leaks"]["count"], figures["leaks"]["of"]) == (1, 2)
    assert {p.name for p in (tmp_path / "plots").iterdir()} == {"precision-recall.png", "leaks.png"}
    assert json.loads((tmp_path / "m.jsonl").read_text())["matches"] == [[0, 0]]
    detected = run("evaluate", folder, tmp_path / "coco.json", *MINE)
    assert "1 of 2" in detected.output
    compared = run(
        "compare", folder, tmp_path / "coco.json", "--detectors", "tests.support.cli:Faces", "--markdown",
        "--json", tmp_path / "c.json", "--plots", tmp_path / "drawn", "--hidden-area", "100",
    )  # fmt: skip
    assert (tmp_path / "drawn" / "contenders-face.png").read_bytes().startswith(b"\x89PNG")
    assert "|tests.support.cli:Faces |" in compared.output.replace("| ", "|")
    assert json.loads((tmp_path / "c.json").read_text())[0]["kinds"]["face"]["leaks"]["count"] == 1


def test_records_are_evaluated_at_their_own_settings(folder: Path, tmp_path: Path) -> None:
    """Those of the detection, or of the review; what is given here overrides them, what cannot count is refused."""
    path, truth, out = tmp_path / "r.jsonl", coco(tmp_path / "truth.json", "1.png"), tmp_path / "e.json"

    def threshold(*more: object) -> float:
        result = run("evaluate", folder, truth, "--records", path, "--json", out, *more)
        found = json.loads(out.read_text())["settings"]["kinds"]["face"]["threshold"]
        assert f"face {found:g}" in result.output
        return float(found)

    run("detect", folder, "--records", path, *MINE, "--face-threshold", 0.07)
    assert threshold() == 0.07
    assert threshold("--face-threshold", 0.3) == 0.3
    header, known = records.read(path)
    reviewed = dataclasses.replace(header, review=header.settings.with_kind("face", threshold=0.02))
    records.write(path, reviewed, known.values())
    assert threshold() == 0.02
    for useless in (["--preset", "fast"], ["--face-detector", "centerface"], ["--iou-threshold", 0.4], ["--trust"]):
        result = run("evaluate", folder, truth, "--records", path, *useless, code=2)
        assert f"{useless[0]} cannot be used" in result.output


def test_a_dry_run_counts_and_writes_nothing(folder: Path, tmp_path: Path) -> None:
    assert "faces 4" in " ".join(run("run", folder, tmp_path / "out", *MINE, "--dry-run").output.split())
    assert not (tmp_path / "out").exists()


def test_a_failed_photo_is_exit_code_1_with_a_count(folder: Path, tmp_path: Path) -> None:
    (folder / "bad.jpg").write_text("text")
    result = run("run", folder, tmp_path / "out", *MINE, code=1)
    assert "failed: bad.jpg: " in result.output
    assert "1 of 5 photos failed" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--effect", "swirl"], "valid: blur, inpaint, pixelate, solid"),
        (["--kernel", "4,1,1"], "odd"),
        (["--padding", "face=much"], "not a number"),
        (["--face-threshold", "0"], "at least 0.001"),
        (["--device", "tpu"], "valid: auto"),
        (["--keep-metadata", "gps"], "valid: copyright"),
    ],
)
def test_a_wrong_option_is_one_line(folder: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    result = run("run", folder, tmp_path / "out", *arguments, code=2)
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


def test_a_wrong_detector_is_pointed_at(folder: Path, tmp_path: Path) -> None:
    result = run("run", folder, tmp_path / "out", "--face-detector", "centerface+retina", code=2)
    said, line, pointer, valid = result.stderr.splitlines()
    assert said == "error: unknown detector 'retina', at column 12 of a detector:"
    assert line.index("retina") == pointer.index("^")
    assert "valid: " in valid


def test_missing_input_and_records(tmp_path: Path) -> None:
    assert "no file or folder" in run("run", tmp_path / "no", tmp_path / "out", *MINE, code=2).stderr
    assert "does not exist" in run("export", tmp_path / "no", tmp_path / "out", code=2).stderr
    assert "a folder without records.jsonl" in run("export", tmp_path, tmp_path / "out", code=2).stderr


def test_records_may_be_named_by_their_folder(folder: Path, tmp_path: Path) -> None:
    run("run", folder, tmp_path / "out", *MINE)
    run("export", tmp_path / "out", tmp_path / "again", "--quiet")
    assert (tmp_path / "again" / "1.jpg").read_bytes() == (tmp_path / "out" / "1.jpg").read_bytes()


def test_a_pattern_without_quotes_is_told_to_have_some(folder: Path, tmp_path: Path) -> None:
    said = run("run", folder / "1.jpg", folder / "1.png", tmp_path / "out", code=2).stderr
    assert "put it in quotes: 'photos/*.jpg'" in said


def test_pictures_that_cannot_be_read_are_named(folder: Path, tmp_path: Path) -> None:
    """A table's row of an extension is no warning."""
    for name in ("x.gif", "a/y.GIF", "z.dng", "notes.md"):
        (folder / name).touch()
    said = run("run", folder, tmp_path / "out", *MINE).stderr
    assert "skipped pictures: 2 .gif, 1 .dng; these kinds are not read, and have no clean copy" in said


@pytest.mark.parametrize("command", ["run", "video", "audit"])
def test_a_wrong_input_shows_no_empty_progress_bar(command: str, tmp_path: Path) -> None:
    output = [] if command == "audit" else [tmp_path / "out"]
    said = run(command, tmp_path / "nothere", *output, code=2).output
    assert said.startswith("error: ")
    assert "━" not in said


def test_verbose_shows_where(tmp_path: Path) -> None:
    (broken := tmp_path / "records.jsonl").write_text("text")
    command = [sys.executable, "-m", "anonymize", "export", str(broken), str(tmp_path / "out"), "--verbose"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "RecordsError" in result.stderr


def left_early(module: str, *arguments: object, stderr: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    """A command of whose output nobody reads a line. `stderr`: STDOUT: of its errors neither."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", module, *map(str, arguments)]
    try:
        return subprocess.run(command, stdout=writer, stderr=stderr, text=True)
    finally:
        os.close(writer)


def test_a_reader_that_leaves_early_changes_nothing_else(tmp_path: Path) -> None:
    (folder := tmp_path / "in").mkdir()
    Image.new("RGB", (64, 48)).save(folder / "good.png")
    done = left_early("anonymize", "run", folder, tmp_path / "out", *MINE, stderr=subprocess.STDOUT)
    assert done.returncode == 0
    (folder / "bad.png").write_text("text")
    done = left_early("anonymize", "run", folder, tmp_path / "out", *MINE)
    assert done.returncode == 1
    assert "failed: bad.png" in done.stderr
    assert "1 of 2 photos failed" in done.stderr
    assert "pipe" not in done.stderr.lower()


@pytest.mark.parametrize("module", ["anonymize", "review"])
def test_help_for_a_reader_that_leaves_early_ends_quietly(module: str) -> None:
    done = left_early(module, "export", "--help")
    assert (done.returncode, done.stderr) == (0, "")


def test_models_list_names_every_model() -> None:
    output = run("models", "list").output
    for name in ("retinaface-mobilenet", "safelicensing", "retinaface-r50"):
        assert name in output


@pytest.mark.weights
def test_asking_once_more_for_what_is_hidden_anyway_hides_no_less() -> None:
    """A new kind's threshold is .5; that of a face is lower."""
    assert settings_of({"hide": ("face", "plate")}) == Settings()
    assert settings_of({"hide": ("face=0.6",)}).kinds["face"].threshold == 0.6
    assert settings_of({"hide": ("screen",)}).kinds["screen"] == Kind()


def test_the_defaults_hide_the_faces_of_a_real_photo(zidane: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "anonymize", "run", str(zidane), str(tmp_path / "out"), "--quiet"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "out" / "zidane.jpg.json").read_text())["regions"]
    centers = {(round((r["box"][0] + r["box"][2]) / 200), round((r["box"][1] + r["box"][3]) / 200)) for r in found}
    assert {(6, 3), (10, 2)} <= centers  # in hundreds of px: the two men
    assert len(centers) <= 4  # of the others one is a blurred head in the crowd, one is none
    before, after = (np.asarray(Image.open(p)).astype(int) for p in (zidane, tmp_path / "out" / "zidane.jpg"))
    for region in found:
        x1, y1, x2, y2 = (round(v) for v in region["box"])
        assert np.abs(before - after)[y1:y2, x1:x2].mean() > 8
    assert np.abs(before - after)[:, :400].mean() < 1.5  # the codec's rounding


@pytest.mark.weights
def test_the_club_members_options(bus: Path, tmp_path: Path) -> None:
    run("run", bus, tmp_path / "out", "--kernel", "101,3,19", "--plate-threshold", "0.05", "--quiet")
    header, _ = records.read(tmp_path / "out" / "records.jsonl")
    assert header.settings == Settings.from_dict(
        Settings().with_kind("face", kernel="101,3,19").with_kind("plate", kernel="101,3,19", threshold=0.05).to_dict()
    )


@pytest.mark.parametrize(
    ("options", "warning"),
    [
        (["--kernel", "101,3,19"], "size and sigma of a kernel do nothing with the effect inpaint, only with blur"),
        (["--kernel", "101,3,19", "--effect", "plate=blur"], None),
        (["--kernel", "0,0,19"], None),
        (["--mosaic-blocks", "8", "--effect", "solid"], "nothing with the effect solid, only with blur and pixelate"),
        (["--fill", "plate=ff00ff", "--effect", "face=solid"], "fill does nothing with the effect inpaint"),
    ],
)
def test_an_option_that_does_nothing_is_said(
    folder: Path, tmp_path: Path, options: list[str], warning: str | None
) -> None:
    output = " ".join(run("run", folder, tmp_path / "out", *MINE, *options).output.split())
    assert (f"{warning}" in output) if warning else ("does nothing" not in output and "do nothing" not in output)


def test_a_kind_that_is_not_hidden_is_no_kind(folder: Path, tmp_path: Path) -> None:
    for option, value in (("--effect", "fcae=solid"), ("--padding", "plte=0.3"), ("--kernel", "screen=101,3,9")):
        result = run("run", folder, tmp_path / "out", *MINE, option, value, code=2)
        assert "unknown kind" in result.output
        assert "face, plate" in result.output


def test_names_that_look_like_markup_are_shown(folder: Path, tmp_path: Path) -> None:
    (folder / "x.[bold]").touch()
    assert "skipped .[bold]" in run("run", folder, tmp_path / "out", *MINE, "--hide", "[/face]").output


def test_allow_weak_warns_also_when_records_ask_for_it(folder: Path, tmp_path: Path) -> None:
    warning = "warning: allow_weak is set"
    assert warning in run("run", folder, tmp_path / "out", *MINE, "--allow-weak").output
    assert warning in run("export", tmp_path / "out" / "records.jsonl", tmp_path / "again", "--quiet").output
    assert warning not in run("run", folder, tmp_path / "safe", *MINE).output


def test_a_preview_of_the_current_folder(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    said = run("run", folder, ".", *MINE, "--preview").stderr
    assert f"the previews in {tmp_path / 'here-preview'} show the originals, too" in said
    assert "preview" not in run("run", folder, ".", *MINE, "--preview", "--dry-run").stderr
    assert (tmp_path / "here-preview" / "a" / "1.jpg.jpg").exists()


def test_a_photo_that_could_not_be_measured_is_a_failure(folder: Path, tmp_path: Path) -> None:
    coco = {
        "images": [{"id": 1, "file_name": "1.jpg", "width": 64, "height": 48}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 20, 20], "iscrowd": 0}],
        "categories": [{"id": 1, "name": "face"}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    assert "failed" not in run("evaluate", folder, tmp_path / "coco.json", *MINE).output
    (folder / "broken.jpg").touch()
    result = run("evaluate", folder, tmp_path / "coco.json", *MINE, code=1)
    assert "1 of 5 photos failed" in result.output


def coco(path: Path, *names: str) -> Path:
    """A face in each of these photos."""
    numbered = list(enumerate(names, 1))
    truth = {
        "images": [{"id": i, "file_name": n, "width": 64, "height": 48} for i, n in numbered],
        "annotations": [{"id": i, "image_id": i, "category_id": 1, "bbox": [10, 10, 20, 20]} for i, _ in numbered],
        "categories": [{"id": 1, "name": "face"}],
    }
    path.write_text(json.dumps(truth))
    return path


@pytest.mark.parametrize("option", ["--face-detector", "--plate-detector", "--detector", "--preset"])
def test_compare_takes_its_detectors_from_one_option_only(folder: Path, tmp_path: Path, option: str) -> None:
    """Another would have no part in what is measured."""
    truth = coco(tmp_path / "truth.json", "1.jpg")
    result = run("compare", folder, truth, "--detectors", "tests.support.cli:Faces", option, "fast", code=2)
    assert "No such option" in result.output
    assert option in result.output


@pytest.mark.parametrize("command", [("evaluate", *MINE), ("compare", "--detectors", MINE[1], "--quiet")])
def test_annotated_photos_that_are_not_there_are_named_and_no_success(
    folder: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    all_there = coco(tmp_path / "all.json", "1.jpg", "a/1.jpg")
    run(command[0], folder, all_there, *command[1:])
    result = run(command[0], folder, coco(tmp_path / "two.json", "1.jpg", "gone.jpg"), *command[1:], code=1)
    assert "not measured: gone.jpg: the photo is not in the folder" in result.output
    assert "1 of 2 annotated photos were not measured" in result.output
    many = coco(tmp_path / "many.json", "1.jpg", *(f"{n:02}.jpg" for n in range(56)))
    result = run(command[0], folder, many, *command[1:], code=1)
    (named,) = re.findall("^not measured: .*", result.stderr, re.MULTILINE)
    assert named == "not measured: 00.jpg, 01.jpg, 02.jpg, 03.jpg, 04.jpg, and 51 more: the photo is not in the folder"


@pytest.mark.parametrize("option", ["--json", "--matches"])
@pytest.mark.parametrize("name", ["in/a/1.jpg", "truth.json"])
def test_measuring_never_writes_over_what_it_measures(folder: Path, tmp_path: Path, option: str, name: str) -> None:
    truth = coco(tmp_path / "truth.json", "1.jpg")
    before = (tmp_path / name).read_bytes()
    assert "never overwritten" in run("evaluate", folder, truth, option, tmp_path / name, *MINE, code=2).output
    assert (tmp_path / name).read_bytes() == before


def test_a_photo_that_an_export_would_withhold_is_not_measured(folder: Path, tmp_path: Path) -> None:
    """One face is as many as were kept; that more may be kept now brings back none of those that were left out."""
    truth = coco(tmp_path / "truth.json", "1.jpg")
    run("detect", folder / "1.jpg", "--records", tmp_path / "r.jsonl", *MINE, "--max-regions", 1)
    result = run("evaluate", folder, truth, "--records", tmp_path / "r.jsonl", code=1)
    assert "not measured: 1.jpg: 1 regions of kind face are as many as are kept" in result.output


def test_records_without_an_annotated_photo_are_no_success(folder: Path, tmp_path: Path) -> None:
    run("detect", folder / "1.jpg", "--records", tmp_path / "r.jsonl", *MINE)
    truth = coco(tmp_path / "truth.json", "1.jpg", "a/1.jpg")
    result = run("evaluate", folder, truth, "--records", tmp_path / "r.jsonl", code=1)
    assert "not measured: a/1.jpg: there is no record of it" in result.output


def test_a_folder_without_photos_has_an_exit_code_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").touch()
    for more in ((tmp_path / "out",), (tmp_path / "out", "--dry-run")):
        assert "no photo" in run("run", tmp_path / "in", *more, *MINE, code=3).output
    assert "no photo" in run("detect", tmp_path / "in", "--records", tmp_path / "r.jsonl", *MINE, code=3).output
    assert "no photo" in run("export", tmp_path / "r.jsonl", tmp_path / "clean", code=3).output


def test_export_searches_nothing_and_has_no_extensions(tmp_path: Path) -> None:
    assert "No such option" in run("export", "r.jsonl", "clean", "--image-extensions", "jpg", code=2).output


def test_what_earlier_runs_left_in_the_output_is_said(folder: Path, tmp_path: Path) -> None:
    """A looser run, and photos that the second one does not look at: their output hides less than these settings do."""
    out = tmp_path / "out"
    run("run", folder, out, *MINE, "--face-threshold", 0.95)
    (folder / "a" / "1.jpg").unlink()
    result = run("run", folder, out, *MINE, "--image-extensions", "jpg")
    assert "by an earlier run, 1, it was written with other settings: 1.png" in result.output
    assert "by an earlier run, 1, its photo is no longer in the input: a/1.jpg" in result.output
    assert set(json.loads((out / "summary.json").read_text())["left_over"]) == {"1.png", "a/1.jpg"}
    (folder / "a" / "1.jpg").touch()  # there again, and broken: no output of it stays
    result = run("run", folder, out, *MINE, code=1)
    assert "by an earlier run" not in result.output
    assert not (out / "a" / "1.jpg").exists()


def test_one_is_not_many() -> None:
    assert hidden_text(Counter(plate=1, face=2)) == "2 faces, 1 plate"
    assert hidden_text({}) == ""


def test_a_kind_that_is_called_as_a_row_is_has_a_row_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """Photos on walls are a kind that people hide."""
    print_counts("photos", 5, Summary(photos=5, done=5, hidden=Counter(photo=2, second=3), seconds=1.25), {})
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["photos", "5"],
        ["done", "5"],
        ["photos", "2"],
        ["seconds", "3"],
        ["failed", "0"],
        ["seconds", "1.2"],
    ]


def test_photos_that_are_worth_a_look_are_named_the_riskiest_first(tmp_path: Path) -> None:
    for name, light in (("a.png", 100), ("b.png", 0), ("c.png", 255)):
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.fromarray(np.full((90, 260, 3), light, np.uint8)).save(tmp_path / "in" / name)
    doubting = ["--face-detector", "tests.support.cli:Doubting", "--plate-detector", "none", "--quiet"]
    output, kept = tmp_path / "out", tmp_path / "records.jsonl"
    command = f"python -m review queue {output / 'records.jsonl'}"
    done = run("run", tmp_path / "in", output, *doubting)
    found = run("detect", tmp_path / "in", "--records", kept, *doubting)
    exported = run("export", kept, tmp_path / "2", "--quiet")
    for said, lists in ((done, command), (found, str(kept)), (exported, str(kept))):
        assert re.search(r"worth a look +2\b", said.output)
        where = {id(done): output, id(exported): tmp_path / "2"}.get(id(said))
        assert (f"the clean photos are in {where};" in said.output) == (where is not None)
        first, second, last = said.output.partition("the riskiest first:\n")[2].splitlines()[:3]
        assert re.fullmatch(r"  \d+ %  c\.png: possible face, \d %: a candidate .* scores 0\.145, .*", first)
        assert " a.png: " in second
        assert last.endswith(lists)
    summary = json.loads((output / "summary.json").read_text())
    assert summary["worth_a_look"] == 2
    assert [photo["path"] for photo in summary["riskiest"]] == ["c.png", "a.png"]
    assert "worth a look" not in run("detect", tmp_path / "in", "--records", tmp_path / "no.jsonl", *MINE).output
    assert "review queue" not in run("run", tmp_path / "in", tmp_path / "dry", *doubting, "--dry-run").output
