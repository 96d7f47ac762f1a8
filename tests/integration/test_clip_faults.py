"""Faults while clips are searched and written: each clip comes out whole and hidden, or fails by name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anonymize import json_lines
from anonymize.errors import RecordsError
from anonymize.predictor import Predictor
from anonymize.settings import Settings
from anonymize.video import batch
from anonymize.video.batch import ClipSummary
from anonymize.video.reader import open_clip
from tests.support import clips

ROOT = Path(__file__).parents[2]
NAMES = ("a.mp4", "b.mkv", "c.mp4")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "in"
    source.mkdir()
    for name in NAMES:
        clips.make(source / name, 6)
    return source


def run(source: Path, output: Path, detector: Any = None, settings: Settings = Settings(), **given: Any) -> ClipSummary:
    predictor = Predictor(settings, detectors=[detector or clips.BarDetector()])
    return batch.run(source, output, predictor, every=1, **given)


def are_hidden(output: Path, *names: str) -> bool:
    """Whether these clips are there and play, nothing else does, and none shows the bar."""
    assert sorted(p.name for p in output.iterdir() if p.suffix in (".mp4", ".mkv")) == sorted(names)
    return not any(clips.bar(f.rgb) for name in names for f in open_clip(output / name).frames())


def at(step: str, path: str, act: Callable[[], Any]) -> Callable[[ClipSummary], None]:
    """A progress function that acts once, at the first frame of a clip's step."""
    done: list[bool] = []

    def told(summary: ClipSummary) -> None:
        if not done and summary.now and (summary.now[0], summary.now[1].name) == (path, step):
            done.append(True)
            act()

    return told


class Odd:
    """Finds the bar; in the second clip it sees it does what `fail` says."""

    name = "odd"
    weights = clips.BarDetector.weights
    kinds = clips.BarDetector.kinds

    def __init__(self, fail: Callable[[], Any]) -> None:
        self._bar, self._fail, self._seen = clips.BarDetector(), fail, 0

    def detect(self, images: list[np.ndarray]) -> Any:
        self._seen += len(images)
        return self._fail() if self._seen == 7 else self._bar.detect(images)


def _raise(error: BaseException) -> Any:
    raise error


@pytest.mark.parametrize(
    "fail",
    [
        lambda: _raise(MemoryError()),
        lambda: _raise(RuntimeError("out of memory")),
        lambda: _raise(SystemExit(0)),
        list,
        lambda: None,
        lambda: [[None]],
        lambda: threading.Event().wait(60),
    ],
    ids=["memory", "error", "exit", "too few answers", "nothing", "no regions", "hangs"],
)
def test_a_detector_that_goes_wrong_fails_one_clip_by_name(
    fail: Callable[[], Any], folder: Path, tmp_path: Path
) -> None:
    done = run(folder, tmp_path / "out", Odd(fail), Settings(max_seconds=1.0))
    assert list(done.failures) == ["b.mkv"]
    assert not done.ok
    assert are_hidden(tmp_path / "out", "a.mp4", "c.mp4")
    assert run(folder, tmp_path / "out").ok
    assert are_hidden(tmp_path / "out", *NAMES)


def test_a_clip_that_goes_away_or_changes_in_a_run_fails_by_name(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    gone = run(folder, out, progress=at("render", "b.mkv", (folder / "b.mkv").unlink))
    assert gone.ok or list(gone.failures) == ["b.mkv"]
    assert are_hidden(out, *sorted({*NAMES} - {*gone.failures}))
    clips.make(folder / "b.mkv", 6)
    changed = run(folder, out, progress=at("detect", "b.mkv", lambda: clips.make(folder / "b.mkv", 9)))
    assert changed.ok or list(changed.failures) == ["b.mkv"]
    assert are_hidden(out, *sorted({*NAMES} - {*changed.failures}))
    assert run(folder, out).ok
    assert are_hidden(out, *NAMES)


def test_an_output_that_goes_away_or_changes_is_a_failure_by_name(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    gone = run(folder, out, progress=at("detect", "c.mp4", (out / "a.mp4").unlink))
    assert list(gone.failures) == ["a.mp4"]
    assert "meanwhile" in gone.failures["a.mp4"]

    def replace() -> None:
        shutil.copyfile(folder / "a.mp4", out / "a.mp4")

    assert list(run(folder, out, progress=at("detect", "a.mp4", lambda: None)).failures) == []
    (out / "c.mp4").unlink()
    replaced = run(folder, out, progress=at("render", "c.mp4", replace))
    assert list(replaced.failures) == ["a.mp4"]
    assert run(folder, out).failures or are_hidden(out, *NAMES)


def test_an_output_folder_that_goes_away_is_no_success(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    away = iter(range(9))
    for step in ("detect", "render", "join"):
        shutil.rmtree(out, ignore_errors=True)
        with pytest.raises(RecordsError, match="removed or replaced"):
            run(folder, out, progress=at(step, "b.mkv", lambda: out.rename(tmp_path / f"away{next(away)}")))
        assert run(folder, out).ok
    assert are_hidden(out, *NAMES)


def test_two_runs_on_one_output_never_mix(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "LOCK_SECONDS", 0.1)
    out, refused = tmp_path / "out", []

    def second() -> None:
        with pytest.raises(RecordsError, match="is busy") as told:
            run(folder, out)
        refused.append(told)

    assert run(folder, out, progress=at("render", "a.mp4", second)).ok
    assert refused
    assert are_hidden(out, *NAMES)


@pytest.mark.parametrize("seconds", [-(10**8), 10**8])
def test_a_clock_that_jumps_changes_nothing(seconds: int, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(folder, out)
    for path in [*folder.iterdir(), *out.glob("*.jsonl")]:
        when = path.stat().st_mtime + seconds
        os.utime(path, (when, when))
    detector = clips.BarDetector()
    assert run(folder, out, detector).unchanged == 3
    assert detector.seen == 0


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda _: b"", lambda _: b"PK\3\4" + bytes(90)]
)
@pytest.mark.parametrize("kind", ["found", "frames"])
def test_what_a_killed_run_left_damaged_is_made_again(
    kind: str, damage: Callable[[bytes], bytes], folder: Path, tmp_path: Path
) -> None:
    out, stop = tmp_path / "out", threading.Event()
    run(folder / "a.mp4", out, progress=at("join", "a.mp4", stop.set), stop=stop)
    if not (parts := sorted((out / ".a.mp4.parts").rglob(f"{kind}-*/*"))):
        run(folder / "a.mp4", out)
        stopped = threading.Event()
        shutil.rmtree(out)
        run(folder / "a.mp4", out, progress=at("render", "a.mp4", stopped.set), stop=stopped)
        parts = sorted((out / ".a.mp4.parts").rglob(f"{kind}-*/*"))
    for part in parts:
        part.write_bytes(damage(part.read_bytes()))
    for record in out.glob("*.tracks.jsonl"):
        record.unlink()
    for _ in range(2):  # at most one run fails for it, by name
        done = run(folder / "a.mp4", out)
        assert done.ok or list(done.failures) == ["a.mp4"]
    assert done.ok
    assert are_hidden(out, "a.mp4")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 40 KB."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60k", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield place
    subprocess.run(["umount", place], check=True)


def _video(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "anonymize", "video", *map(str, arguments), "--every", "1", "--quiet"]
    command += [
        "--face-detector",
        "tests.support.clips:BarDetector",
        "--plate-detector",
        "tests.support.clips:BarDetector",
    ]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=200)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a file system")
def test_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in NAMES:
        clips.make(tmp_path / "in" / name, 12, size=(320, 240), pictures=list(_noise()))
    result = _video(tmp_path / "in", small_disk / "out", "--quality", "1")
    assert result.returncode == 1
    assert "space" in result.stderr.lower()
    assert "Traceback" not in result.stderr
    assert not [p for p in (small_disk / "out").iterdir() if p.suffix in (".mp4", ".mkv")]
    assert not list(small_disk.rglob("*.tmp"))
    subprocess.run(["mount", "-o", "remount,size=40m", small_disk], check=True)
    again = _video(tmp_path / "in", small_disk / "out", "--quality", "1")
    assert again.returncode == 0, again.stderr
    assert are_hidden(small_disk / "out", *NAMES)


def _noise() -> Iterator[np.ndarray]:
    grain = np.random.default_rng(0).integers(0, 120, (240, 320, 3), np.uint8)
    for index in range(12):
        shown = grain.copy()
        shown[60:120, 8 + 2 * index : 64 + 2 * index] = (250, 250, 240)
        yield shown


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a file system")
def test_a_read_only_output(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(folder / "a.mp4", out)
    if subprocess.run(["mount", "--bind", out, out], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", out], check=True)
        before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
        result = _video(folder, out)
        assert result.returncode == 1
        assert "Read-only file system" in result.stderr
        assert "Traceback" not in result.stderr
        assert before == {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    finally:
        subprocess.run(["umount", out], check=True)


def test_a_name_that_is_too_long_for_its_record_fails_by_name(folder: Path, tmp_path: Path) -> None:
    long = "漢" * 80 + ".mp4"
    shutil.copyfile(folder / "a.mp4", folder / long)
    done = run(folder, tmp_path / "out")
    assert list(done.failures) == [long]
    assert "too long" in done.failures[long]
    assert are_hidden(tmp_path / "out", *NAMES)


def test_names_that_are_no_text_come_out_under_their_name(folder: Path, tmp_path: Path) -> None:
    names = [b"\xff\xfe.mp4", "漢".encode() * 76 + b".mp4", b"new\nline.mp4", b"concat:x.mp4", b"%s{0}.mp4"]
    for name in names:
        shutil.copyfile(folder / "a.mp4", os.fsencode(folder) + b"/" + name)
    assert run(folder, tmp_path / "out").ok
    assert {*names} <= set(os.listdir(os.fsencode(tmp_path / "out")))
    assert run(folder, tmp_path / "out").unchanged == len(NAMES) + len(names)
