"""Everything that can be wrong with an input, in one folder, through the command line as a user runs it."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import draw
from tests.support.engine import magenta

ROOT = Path(__file__).parents[2]
MINE = ["--face-detector", "tests.support.cli:Faces", "--plate-detector", "none", "--quiet"]
SOLID = ["--effect", "solid", "--fill", "ff00ff"]


def run(*arguments: object, user: int | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "anonymize", "run", *map(os.fspath, arguments), *MINE, *SOLID]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=ROOT, user=user)


def bomb() -> bytes:
    """A PNG whose header says 60,000 x 60,000."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.fixture
def bad(folder: Path) -> dict[str, str]:
    """Adds bad photos to the folder: escaped name -> what the line about it must say."""
    whole = (folder / "1.jpg").read_bytes()
    (folder / "empty.jpg").touch()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    (folder / "text.jpg").write_text("this is not a photo")
    (folder / "bomb.png").write_bytes(bomb())
    (folder / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "pipe.jpg").unlink(missing_ok=True)
    os.mkfifo(folder / "pipe.jpg")
    (folder / "loop").symlink_to(folder)
    frames = [Image.fromarray(draw(seed=i)) for i in range(2)]
    frames[0].save(folder / "two.tif", save_all=True, append_images=frames[1:])
    return {
        "empty.jpg": "empty",
        "truncated.jpg": "truncated",
        "text.jpg": "not",
        "bomb.png": "megapixels",
        "gone.jpg": "not there",
        "pipe.jpg": "regular",
        "two.tif": "pages",
    }


def test_each_bad_photo_is_one_clear_line_and_the_others_go_on(
    folder: Path, tmp_path: Path, bad: dict[str, str]
) -> None:
    odd = [os.fsdecode(b"caf\xe9\n.jpg"), "new\nline.jpg"]
    for name in odd:
        (folder / name).write_bytes((folder / "1.jpg").read_bytes())
    result = run(folder, tmp_path / "out")
    assert result.returncode == 1
    lines = {line.split(": ")[1]: line for line in result.stderr.splitlines() if line.startswith("failed: ")}
    assert set(lines) == set(bad)
    for name, words in bad.items():
        assert words in lines[name], lines[name]
    assert f"{len(bad)} of {len(bad) + 6} photos failed" in result.stderr
    assert "Traceback" not in result.stderr
    written = [p for p in (tmp_path / "out").rglob("*") if p.suffix in (".jpg", ".png", ".tif")]
    assert {os.fsencode(p.relative_to(tmp_path / "out")) for p in written} == {
        b"1.jpg", b"1.png", b"a/1.jpg", b"b/1.jpg", *map(os.fsencode, odd),
    }  # fmt: skip
    assert all(magenta(p)[10:30, 10:30].all() for p in written)
    for name in bad:
        (folder / name).unlink()
    again = run(folder, tmp_path / "out")
    assert again.returncode == 0, again.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="drops privileges, so it needs them")
def test_a_photo_that_may_not_be_read(folder: Path, tmp_path: Path) -> None:
    (folder / "1.jpg").chmod(0)
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.getuid() and not path.stat().st_mode & 1 and path.is_relative_to("/tmp"):
            path.chmod(path.stat().st_mode | 0o055)
    out = tmp_path / "out"
    out.mkdir()
    os.chown(out, 65534, 65534)
    code = f"""
import os
from pathlib import Path
from anonymize import images
from anonymize.engine import run
from tests.support.engine import predictor
images.load({str(folder / "1.png")!r}, predictor()[0].settings)  # whatever is imported late, while it may be read
os.setgid(65534); os.setuid(65534)
summary = run({str(folder)!r}, Path({str(out)!r}), predictor()[0])
print(summary.failures)
"""
    probe = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "1.jpg" in probe.stdout, probe.stderr
    assert "permission" in probe.stdout
    assert sorted(p.name for p in out.rglob("*.jpg")) == ["1.jpg", "1.jpg"]  # a/ and b/


def test_output_equal_to_input_and_inside_it(folder: Path) -> None:
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    for wrong in (folder, folder / "a" / ".."):
        result = run(folder, wrong)
        assert result.returncode == 2
        assert result.stderr.startswith("error: ")
    assert before == {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert run(folder, folder / "out").returncode == 0
    assert run(folder, folder / "out").returncode == 0
    assert not (folder / "out" / "out").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A file system of 200 KB."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk(folder: Path, small_disk: Path, tmp_path: Path) -> None:
    for i in range(12):
        Image.fromarray(draw(400, 300, seed=i)).save(folder / f"large{i}.png")
    out = small_disk / "out"
    result = run(folder, out, "--records", tmp_path / "r.jsonl", "--no-write-detections")
    assert result.returncode == 1
    assert "space" in result.stderr.lower()
    assert "Traceback" not in result.stderr
    photos = [p for p in out.rglob("*") if p.suffix in (".png", ".jpg")]
    assert 0 < len(photos) < 16
    for path in photos:  # those that are there are whole and anonymized
        assert magenta(path)[10:30, 10:30].all()
    assert not list(out.rglob("*.tmp"))
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    again = run(folder, out, "--records", tmp_path / "r.jsonl", "--no-write-detections")
    assert again.returncode == 0, again.stderr
    assert len([p for p in out.rglob("*") if p.suffix in (".png", ".jpg")]) == 16
