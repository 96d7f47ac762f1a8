"""`python -m anonymize video` from end to end, and its exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from anonymize.cli import cli
from anonymize.errors import AuditError
from anonymize.video.reader import open_clip
from tests.support import clips

MINE = ["--face-detector", "none", "--plate-detector", "tests.support.clips:BarDetector", "--every", "1", "--quiet"]


def video(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, ["video", *map(str, arguments), *MINE])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def test_a_clip_from_end_to_end(tmp_path: Path) -> None:
    source = clips.make(tmp_path / "a.mp4", 5, audio=["aac"])
    result = video(source, tmp_path / "out")
    assert "frames" in result.output
    out = open_clip(tmp_path / "out" / "a.mp4")
    assert out.audio == ("aac",)
    assert not any(clips.bar(f.rgb) for f in out.frames())
    assert "of those unchanged" in video(source, tmp_path / "out").output


def test_a_log_gets_a_line_for_each_clip(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    clips.make(tmp_path / "in" / "a.mp4", 8)
    (tmp_path / "in" / "b.mp4").write_bytes(b"no clip")
    arguments = ["video", str(tmp_path / "in"), str(tmp_path / "out"), *(m for m in MINE if m != "--quiet")]
    for how in ("done", "unchanged"):
        lines = CliRunner().invoke(cli, arguments).stderr.splitlines()
        assert lines[:2] == [f"1/2 a.mp4: {how}, 8 frames", "2/2 b.mp4: failed"]
    assert "1/2" not in CliRunner().invoke(cli, [*arguments, "--quiet"]).stderr


def test_exit_codes(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert "no clip" in video(tmp_path / "in", tmp_path / "out", code=3).output
    (tmp_path / "in" / "a.mp4").write_bytes(b"broken")
    assert "failed: a.mp4: it cannot be read" in video(tmp_path / "in", tmp_path / "out", code=1).output
    whole = clips.make(tmp_path / "whole.mkv", 50, size=(320, 240))
    (tmp_path / "in" / "a.mp4").unlink()
    (tmp_path / "in" / "a.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert "incomplete: a.mkv: it ends after" in video(tmp_path / "in", tmp_path / "out", code=1).output


def test_what_failed_is_said_whatever_an_audit_ends_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    clips.make(tmp_path / "in" / "a.mp4", 3)
    (tmp_path / "in" / "b.mp4").write_bytes(b"broken")

    def broken(*_: object) -> int:
        raise AuditError("the report cannot be written")

    monkeypatch.setattr("anonymize.cli.video.audit_now", broken)
    said = CliRunner().invoke(cli, ["video", str(tmp_path / "in"), str(tmp_path / "out"), "--audit", *MINE])
    assert said.exit_code == 1
    assert "failed: b.mp4" in said.output


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [("--codec", "h265", "h264"), ("--quality", "99", "0–51"), ("--audio", "mute", "keep"), ("--every", "x", "auto")],
)
def test_wrong_options_say_which_are_right(tmp_path: Path, option: str, value: str, told: str) -> None:
    source = clips.make(tmp_path / "a.mp4", 2)
    result = CliRunner().invoke(cli, ["video", str(source), str(tmp_path / "out"), *MINE, option, value])
    assert result.exit_code == 2
    assert told in result.output
    assert not (tmp_path / "out").exists()


def test_files_of_the_other_command_are_named(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    clips.make(tmp_path / "in" / "a.mp4", 2)
    for extension in ("png", "jpg", "webp"):
        Image.fromarray(clips.picture(0)).save(tmp_path / "in" / f"a.{extension}")
    assert "skipped photos: 3; the command run takes them" in video(tmp_path / "in", tmp_path / "out").output
    for extension in ("png", "jpg", "webp"):
        told = video(tmp_path / "in" / f"a.{extension}", tmp_path / "out", code=1).output
        assert "this is a photo, not a clip; the command run takes it" in told
    arguments = ["run", str(tmp_path / "in"), str(tmp_path / "photos"), *MINE[:4], "--quiet"]
    assert "skipped clips: 1; the command video takes them" in CliRunner().invoke(cli, arguments).output


@pytest.mark.parametrize(
    ("option", "value"),
    [("--plate-threshold", "5"), ("--hide", "sign=x"), ("--padding", "face=-1"), ("--min-size", "x")],
)
def test_a_refused_value_names_its_option(tmp_path: Path, option: str, value: str) -> None:
    source = clips.make(tmp_path / "a.mp4", 2)
    result = CliRunner().invoke(cli, ["video", str(source), str(tmp_path / "out"), *MINE, option, value])
    assert result.exit_code == 2
    assert f"{option}: " in result.output


def test_a_stream_from_a_folder_to_files(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for i in range(3):
        Image.fromarray(clips.picture(i)).save(tmp_path / "in" / f"{i}.png")
    arguments = ["stream", str(tmp_path / "in"), str(tmp_path / "out"), "--seconds", "3", "--delay", "0.1", *MINE]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    assert "3 frames written, 0 dropped, 0 without a result; hidden: 3 plates" in result.output
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 3


def test_a_stream_of_what_is_none_says_what_is(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["stream", "nowhere", str(tmp_path / "out"), *MINE])
    assert result.exit_code == 2
    assert "rtsp://" in result.output
