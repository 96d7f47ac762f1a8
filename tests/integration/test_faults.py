"""Faults of a run: detectors of people's own, folders and files that go away, links, clocks, two at once.

What each may cost is in docs/reliability.md; `python -m bench.faults` kills for longer.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from anonymize import json_lines, records
from anonymize.cli import cli
from anonymize.disk import told
from anonymize.engine import Summary, detect, export, run
from anonymize.errors import RecordsError, SettingsError
from anonymize.hiding import hide
from anonymize.predictor import Predictor
from anonymize.regions import Region
from anonymize.settings import Settings
from review.__main__ import cli as review_cli
from tests.conftest import draw
from tests.support import odd_detectors
from tests.support.engine import FACE, MAGENTA, magenta, outputs, predictor

ROOT = Path(__file__).parents[2]
SOLID = ["--effect", "solid", "--fill", "ff00ff", "--quiet", "--jobs", "1"]


def cli_run(folder: Path, out: Path, detector: str, *more: object, code: int) -> Result:
    mine = ["--face-detector", f"tests.support.odd_detectors:{detector}", "--plate-detector", "none"]
    result = CliRunner().invoke(cli, ["run", str(folder), str(out), *mine, *SOLID, *map(str, more)])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


# --- detectors ---


@pytest.mark.parametrize(
    ("detector", "said"),
    [
        ("Exits", "SystemExit"),
        ("OutOfMemory", "MemoryError"),
        ("NotNumbers", "four finite numbers"),
        ("Nothing", "failed: TypeError"),
        ("Tuples", "answers with regions"),
    ],
)
def test_a_detector_that_goes_wrong_fails_one_photo_by_name(
    folder: Path, tmp_path: Path, detector: str, said: str
) -> None:
    result = cli_run(folder, tmp_path / "out", detector, code=1)
    assert said in result.stderr
    assert result.stderr.count("failed: 1.png: ") == 1
    assert outputs(tmp_path / "out") == ["1.jpg", "a/1.jpg", "b/1.jpg"]
    assert cli_run(folder, tmp_path / "out", "Faces", code=0)
    assert len(outputs(tmp_path / "out")) == 4


def test_a_detector_that_hangs_costs_one_photo_and_the_program_ends(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "anonymize", "run", folder, tmp_path / "out", "--plate-detector", "none", *SOLID]
    command += ["--face-detector", "tests.support.odd_detectors:Hangs", "--max-seconds", "1"]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert result.returncode == 1, result.stderr
    assert "failed: 1.png: Hangs took longer than 1 s for this photo" in result.stderr
    assert outputs(tmp_path / "out") == ["1.jpg", "a/1.jpg", "b/1.jpg"]


def test_a_detector_that_exits_when_it_is_made_is_no_success(folder: Path, tmp_path: Path) -> None:
    assert "SystemExit" in cli_run(folder, tmp_path / "out", "ExitsWhenMade", code=2).stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("as_they_came")
def test_kinds_are_known_however_they_are_spelled(folder: Path, tmp_path: Path) -> None:
    cli_run(folder, tmp_path / "out", "Spelled", code=0)  # with no detector for plates: what is found is hidden
    hidden = magenta(tmp_path / "out" / "1.png")
    assert hidden[10:30, 10:30].all()
    assert hidden[30:36, 40:50].all()
    known = records.read(tmp_path / "out" / "records.jsonl")[1]
    assert {r.kind for r in known["1.png"].regions} == {"face", "plate"}


def test_a_kind_that_nobody_hides_is_an_error_before_anything_is_written(folder: Path, tmp_path: Path) -> None:
    result = cli_run(folder, tmp_path / "out", "Unknown", code=1)
    assert "failed: 1.jpg: unknown found a 'visage', which is not hidden" in result.stderr
    assert outputs(tmp_path / "out") == []
    result = cli_run(folder, tmp_path / "declared", "Declared", code=2)
    assert "face would be left in the open: the detectors look for visage" in result.stderr
    assert not (tmp_path / "declared").exists()
    for detector in ("Unknown", "Declared"):
        clean = tmp_path / f"{detector}-hidden"
        assert run(folder, clean, _visage(detector)).hidden == {"Visage": 4}
        assert len(outputs(clean)) == 4


def _visage(detector: str) -> Predictor:
    kinds = Settings().with_kind("Visage").kinds["Visage"]  # the detector spells it otherwise
    return Predictor(Settings(kinds={"Visage": kinds}), detectors=[getattr(odd_detectors, detector)()])


def test_what_was_found_and_is_not_hidden_is_said(folder: Path, tmp_path: Path) -> None:
    found = [FACE, Region("sign", (40, 30, 50, 40), 0.8), Region("sign", (50, 30, 55, 40), 0.1)]
    with_sign, detector = predictor(*found)
    detector.kinds = frozenset({"face", "plate", "sign"})  # type: ignore[attr-defined]
    summary = run(folder, tmp_path / "out", with_sign)
    assert summary.not_hidden == {"sign": 4}
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["not_hidden"] == {"sign": 4}
    result = CliRunner().invoke(cli, ["export", str(tmp_path / "out" / "records.jsonl"), str(tmp_path / "again")])
    assert "warning: found, and not hidden: 4 sign" in result.stderr
    assert result.exit_code == 0


def test_a_kind_that_no_detector_looks_for_is_refused(folder: Path, tmp_path: Path) -> None:
    faces, detector = predictor(FACE)
    detector.kinds = frozenset({"face"})  # type: ignore[attr-defined]
    with pytest.raises(SettingsError, match="plate would be left in the open"):
        run(folder, tmp_path / "out", faces)
    assert detect(folder, tmp_path / "r.jsonl", faces).done == 4, "what is hidden may be chosen later"


# --- folders and files that go away ---


def after(photos: int, act: Callable[[], object]) -> Callable[[Summary], None]:
    """Progress that does something once, after so many photos."""

    def progress(summary: Summary) -> None:
        if summary.done == photos:
            act()

    return progress


def one_thread(*found: Region) -> Predictor:
    return predictor(*found, settings=MAGENTA.replace(jobs=1))[0]


@pytest.mark.parametrize("records_elsewhere", [False, True])
@pytest.mark.parametrize("photos", [1, 4])
@pytest.mark.parametrize("act", ["removed", "renamed", "replaced"])
def test_an_output_folder_that_goes_away_is_no_success(
    folder: Path, tmp_path: Path, act: str, photos: int, records_elsewhere: bool
) -> None:
    out = tmp_path / "out"

    def away() -> None:
        gone = out.rename(tmp_path / "away")  # at once: what is still written there would stop a removal
        if act == "removed":
            shutil.rmtree(gone, ignore_errors=True)
        if act == "replaced":
            out.mkdir()

    more = {"records_path": tmp_path / "r.jsonl"} if records_elsewhere else {}
    with pytest.raises(RecordsError, match="was removed or replaced while it was written"):
        run(folder, out, one_thread(), progress=after(photos, away), **more)  # type: ignore[arg-type]
    assert run(folder, out, one_thread(), **more).ok  # type: ignore[arg-type]
    assert len(outputs(out)) == 4


@pytest.mark.parametrize("act", ["removed", "changed"])
def test_an_output_that_goes_away_or_changes_is_a_failure_by_name(folder: Path, tmp_path: Path, act: str) -> None:
    out = tmp_path / "out"

    def meddle() -> None:
        (out / "1.jpg").unlink() if act == "removed" else shutil.copy(folder / "1.jpg", out / "1.jpg")

    summary = run(folder, out, one_thread(), progress=after(4, meddle))
    assert list(summary.failures) == ["1.jpg"]
    assert (summary.done, summary.ok) == (3, False)
    if act == "removed":
        assert run(folder, out, one_thread()).unchanged == 3
    two = tmp_path / "two"
    again = export(out / "records.jsonl", two, MAGENTA, progress=after(4, lambda: (two / "1.png").unlink()))
    assert list(again.failures) == ["1.png"]


def test_an_input_that_goes_away_or_changes_in_a_run_fails_by_name(folder: Path, tmp_path: Path) -> None:
    def meddle() -> None:
        (folder / "b" / "1.jpg").unlink()
        (folder / "a" / "1.jpg").write_bytes(b"something else")

    for i in range(8):  # more than are read ahead
        Image.fromarray(draw(seed=i)).save(folder / f"0{i}.png")
    summary = run(folder, tmp_path / "out", one_thread(), progress=after(1, meddle))
    assert set(summary.failures) == {"a/1.jpg", "b/1.jpg"}
    assert len(outputs(tmp_path / "out")) == 10


def test_an_input_that_changes_between_detecting_and_exporting_is_refused(folder: Path, tmp_path: Path) -> None:
    detect(folder, tmp_path / "r.jsonl", predictor()[0])
    shutil.copy(folder / "1.png", folder / "1.jpg")
    assert set(export(tmp_path / "r.jsonl", tmp_path / "out", MAGENTA).failures) == {"1.jpg"}
    assert "1.jpg" not in outputs(tmp_path / "out")


def test_a_photo_deleted_from_the_input_does_not_fail_for_ever(folder: Path, tmp_path: Path) -> None:
    detect(folder, tmp_path / "r.jsonl", predictor()[0])
    (folder / "1.jpg").unlink()
    summary = export(tmp_path / "r.jsonl", tmp_path / "out", MAGENTA)
    assert (summary.ok, summary.gone, summary.done) == (True, ["1.jpg"], 3)
    for photo in ("1.png", "a/1.jpg", "b/1.jpg"):
        (folder / photo).unlink()
    result = CliRunner().invoke(cli, ["export", str(tmp_path / "r.jsonl"), str(tmp_path / "none")])
    assert result.exit_code == 3
    assert "no longer in the input" in result.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="a root's read-only folder needs a mount")
def test_a_read_only_output(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(folder / "a", out, one_thread())
    if subprocess.run(["mount", "--bind", "-o", "ro", out, out], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", out], check=True)
        before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
        result = cli_run(folder / "a", out, "Faces", code=1)
        assert "Read-only file system" in result.stderr
        assert before == {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    finally:
        subprocess.run(["umount", out], check=True)


def test_a_file_where_the_output_should_be(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    cli_run(folder, tmp_path / "out", "Faces", code=2)
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("command", ["run", "detect", "export", "video", "review export"])
def test_an_output_that_cannot_be_made_is_told_in_a_sentence(folder: Path, tmp_path: Path, command: str) -> None:
    (tmp_path / "file").write_text("mine")
    out, records_path = tmp_path / "file" / "out", tmp_path / "records.jsonl"
    records.write(records_path, records.Header(str(folder), Settings()), ())
    detectors = ["--face-detector", "tests.support.odd_detectors:Faces", "--plate-detector", "none"]
    given: dict[str, list[object]] = {
        "run": ["run", folder, out, *detectors],
        "detect": ["detect", folder, "--records", out / "records.jsonl", *detectors],
        "export": ["export", records_path, out],
        "video": ["video", folder, out, *detectors],
        "review export": ["export", records_path, out],
    }
    result = CliRunner().invoke(review_cli if command == "review export" else cli, list(map(str, given[command])))
    assert result.exit_code == 1
    said = f"'{out}' cannot be read or written: '{tmp_path / 'file'}' is a file; a folder is needed"
    assert result.stderr == f"error: {said}\n"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_a_folder_in_which_no_file_can_be_made_is_not_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "LOCK_SECONDS", 0.1)
    with pytest.raises(OSError, match="/proc") as refused, json_lines.lock("/proc/records.jsonl"):
        pass
    assert told(refused.value).startswith("'/proc' cannot be read or written: ")


# --- links ---


@pytest.mark.parametrize("text", ["", "torn, without an end", '{"path": "x"}\n'])
@pytest.mark.parametrize("kind", ["symbolic", "hard"])
def test_nothing_is_written_through_a_link_in_the_output(folder: Path, tmp_path: Path, kind: str, text: str) -> None:
    mine, out = tmp_path / "mine.txt", tmp_path / "out"
    mine.write_text(text)
    out.mkdir()
    locks = (".exports.jsonl.lock", ".records.jsonl.lock")
    for name in ("exports.jsonl", "records.jsonl", "summary.json", "1.jpg.json", *locks):
        (out / name).symlink_to(mine) if kind == "symbolic" else (out / name).hardlink_to(mine)
        with contextlib.suppress(RecordsError, OSError):
            run(folder, out, one_thread())
        assert mine.read_text() == text, name
        for made in out.rglob("*"):
            if made.is_file() or made.is_symlink():
                made.unlink()


def test_a_linked_records_file_is_refused(folder: Path, tmp_path: Path) -> None:
    detect(folder, tmp_path / "r.jsonl", predictor()[0])
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "r.jsonl")
    with pytest.raises(RecordsError, match="is a link"):
        json_lines.JsonLines(tmp_path / "link.jsonl")
    assert export(tmp_path / "link.jsonl", tmp_path / "out", MAGENTA).ok, "it may be read"


# --- records that somebody wrote ---

DEEP = "[" * 100_000


@pytest.mark.parametrize("line", [f'{{"path": {DEEP}', f'{{"path":"1.jpg","decisions":{DEEP}{"]" * 100_000}}}'])
@pytest.mark.parametrize("place", ["header", "record"])
def test_deeply_nested_records_are_a_sentence(folder: Path, tmp_path: Path, line: str, place: str) -> None:
    path = tmp_path / "r.jsonl"
    detect(folder, path, predictor()[0])
    lines = path.read_text().splitlines()
    lines[0 if place == "header" else 2] = line
    path.write_text("\n".join(lines) + "\n")
    for command, group in (
        (["export", path, tmp_path / "out"], cli),
        (["queue", path], review_cli),
        (["approve", path, "1.jpg"], review_cli),
        (["dataset", path, tmp_path / "set"], review_cli),
    ):
        result = CliRunner().invoke(group, list(map(str, command)))
        assert result.exit_code == 1
        assert result.stderr.splitlines()[-1].startswith("error: "), result.output  # after a progress bar, perhaps
        assert len(result.stderr) < 1000


@pytest.mark.parametrize("decisions", ["text", [1], [{"who": "me"}], [{"who": [], "when": "", "what": ""}]])
def test_decisions_that_are_none_are_refused(decisions: object) -> None:
    with pytest.raises(RecordsError, match="a decision has who, when, what"):
        records.Record.from_dict({"path": "a.jpg", "decisions": decisions})


# --- clocks, and two at once ---


@pytest.mark.parametrize("seconds", [-(10**9), 10**9])
def test_a_clock_that_jumps_changes_nothing(folder: Path, tmp_path: Path, seconds: int) -> None:
    out = tmp_path / "out"
    run(folder, out, one_thread())
    for path in [*folder.rglob("*.*"), *(out / "records.jsonl", out / "exports.jsonl")]:
        at = path.stat().st_mtime + seconds
        os.utime(path, (at, at))
    again, detector = predictor(settings=MAGENTA.replace(jobs=1))
    assert run(folder, out, again).unchanged == 4
    assert detector.seen == 0
    os.utime(out / "1.jpg", (0, 0))  # an output of another time may be another file: written anew
    assert run(folder, out, one_thread()).unchanged == 3


def test_two_runs_on_one_output_never_mix(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "LOCK_SECONDS", 0.1)
    out, inside, go_on = tmp_path / "out", threading.Event(), threading.Event()
    first: list[Summary] = []

    def hold() -> None:
        inside.set()
        go_on.wait(60)

    thread = threading.Thread(target=lambda: first.append(run(folder, out, one_thread(), progress=after(1, hold))))
    thread.start()
    assert inside.wait(60)
    with pytest.raises(RecordsError, match="is busy: another program is writing it"):
        run(folder, out, one_thread())
    with pytest.raises(RecordsError, match="is busy"):
        run(folder, out, one_thread(), records_path=tmp_path / "other.jsonl")
    go_on.set()
    thread.join(60)
    assert first[0].ok
    assert len(outputs(out)) == 4


# --- nothing to do ---


def test_a_review_export_and_a_data_set_of_nothing_approved_are_no_success(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    detect(folder, path, predictor()[0])
    result = CliRunner().invoke(review_cli, ["export", str(path), str(tmp_path / "out"), "--quiet"])
    assert result.exit_code == 3, result.output
    assert "withheld, 4, not approved: 1.jpg" in result.stderr
    result = CliRunner().invoke(review_cli, ["dataset", str(path), str(tmp_path / "set")])
    assert result.exit_code == 3, result.output
    assert "no photo is approved" in result.stderr
    assert not (tmp_path / "set").exists()


def test_a_missing_input_is_a_wrong_command_line(tmp_path: Path) -> None:
    assert "no file or folder" in cli_run(tmp_path / "nothere", tmp_path / "out", "Faces", code=2).stderr
    assert not (tmp_path / "out").exists()


def test_a_photo_in_memory_is_not_half_looked_at() -> None:
    faces, detector = predictor(FACE)
    detector.kinds = frozenset({"face"})  # type: ignore[attr-defined]
    with pytest.raises(SettingsError, match="plate would be left in the open"):
        hide(draw(), predictor=faces)
    only_faces = Predictor(MAGENTA.replace(plate_detector="none"), detectors=[detector])
    assert [r.kind for r in hide(draw(), predictor=only_faces)[1]] == ["face"]
