"""What lies in an output beside its photos: what is this program's, by name and by content, and what is not."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from anonymize import engine, records_file
from anonymize.audit import Finding, Options, PhotoAudit, audit_folder, folder, quarantine
from anonymize.detectors import FakeDetector
from anonymize.errors import AuditError
from anonymize.predictor import Predictor
from anonymize.regions import Region
from tests.conftest import draw

OPTIONS = Options(is_looking=False, is_attacking=False, is_moving=False, is_reporting=False)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    Image.fromarray(draw(180, 120)).save(tmp_path / "in" / "a.png")
    detector = FakeDetector([Region("face", (30, 24, 78, 84), 0.9)])
    assert engine.run(tmp_path / "in", tmp_path / "out", Predictor(detectors=[detector])).ok
    return tmp_path / "out"


@pytest.mark.parametrize(
    "name",
    ["b.gif", "more/notes", "a.png.json", "summary.json", *(f".records.jsonl.{n}" for n in ("lock", "lines", "queue"))],
)
def test_files_of_others_fail_the_audit(output: Path, name: str) -> None:
    assert audit_folder(output, options=OPTIONS).ok
    (output / name).parent.mkdir(exist_ok=True)
    shutil.copy(output.parent / "in" / "a.png", output / name)
    audit = audit_folder(output, options=OPTIONS)
    assert audit.strays == [name]
    assert not audit.failed
    assert not audit.ok


def test_a_link_to_a_folder_fails_the_audit(output: Path) -> None:
    """It is not entered, so nobody knows what it shows: the originals, here."""
    (output / "more").symlink_to(output.parent / "in", target_is_directory=True)
    audit = audit_folder(output, options=OPTIONS)
    assert audit.strays == ["more"]
    assert not audit.ok


OF_SYSTEM = {
    ".DS_Store": b"\0\0\0\1Bud1", "a/Thumbs.db": b"\xd0\xcf\x11\xe0" + bytes(2044), ".localized": b"",
    "desktop.ini": b"\r\n[.ShellClassInfo]", "._a.png": b"\0\5\x16\7" + bytes(60), "@eaDir/a.png/SYNOINDEX": b"name",
    "#recycle/desktop.ini": b"[x]", ".fseventsd/no_log": b"",
}  # fmt: skip


@pytest.mark.parametrize("name", OF_SYSTEM)
def test_files_of_the_operating_system_are_told_and_do_not_fail_it(output: Path, name: str) -> None:
    (output / name).parent.mkdir(exist_ok=True, parents=True)
    (output / name).write_bytes(OF_SYSTEM[name])
    audit = audit_folder(output, options=OPTIONS)
    assert (audit.of_system, audit.strays, [p.path for p in audit.photos]) == ([name], [], ["a.png"])
    assert audit.ok


BEFORE = {"Thumbs.db": b"\xd0\xcf\x11\xe0" + bytes(1532), "._a.png": b"\0\5\x16\7" + bytes(100)}
WHOLE = ["@eaDir/a.png/SYNOPHOTO_THUMB_M", "#recycle/a"]


@pytest.mark.parametrize(
    ("name", "form"),
    [(n, f) for n in (*BEFORE, *WHOLE) for f in ("JPEG", "PNG", "WEBP", "GIF")]
    + [(n, f) for n in WHOLE for f in ("TIFF", "BMP")],
)
def test_thumbnails_that_the_operating_system_keeps_fail_it(output: Path, name: str, form: str) -> None:
    """They may be of the originals, if these ever lay there."""
    small = io.BytesIO()
    Image.open(output.parent / "in" / "a.png").resize((96, 64)).save(small, form)
    (output / name).parent.mkdir(exist_ok=True, parents=True)
    (output / name).write_bytes(BEFORE.get(name, b"") + small.getvalue())
    audit = audit_folder(output, options=OPTIONS)
    assert (audit.thumbnails, audit.of_system, audit.strays) == ([name], [], [])
    assert not audit.failed
    assert not audit.ok


@pytest.mark.parametrize("folder_", ["@eaDir", "#recycle", "$RECYCLE.BIN/S-1-5", ".Trashes", ".fseventsd"])
@pytest.mark.parametrize("content", [b"RIFF....AVI LIST", b"G" + bytes(187), b"\0\0\1\xba", b"PK\3\4", b"P6 8 8 255\n"])
def test_in_a_folder_of_the_operating_system_only_what_is_known_passes(
    output: Path, folder_: str, content: bytes
) -> None:
    (output / folder_).mkdir(parents=True)
    (output / folder_ / "a.dat").write_bytes(content)
    audit = audit_folder(output, options=OPTIONS)
    assert (audit.of_system, audit.thumbnails, audit.strays) == ([], [], [f"{folder_}/a.dat"])
    assert not audit.ok


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "desktop.ini"])
def test_a_photo_under_a_name_of_the_operating_system_is_a_strangers_file(output: Path, name: str) -> None:
    shutil.copy(output.parent / "in" / "a.png", output / name)
    audit = audit_folder(output, options=OPTIONS)
    assert (audit.of_system, audit.strays) == ([], [name])
    assert not audit.ok


def test_json_that_says_other_things_than_what_was_hidden_is_not_ours(output: Path) -> None:
    (output / "a.png.json").write_text('{"image": "a.png", "thumbnail": "…"}', "utf-8")
    assert audit_folder(output, options=OPTIONS).strays == ["a.png.json"]


def test_records_of_another_name_are_ours(output: Path) -> None:
    records = output / "photos.jsonl"
    (output / "records.jsonl").rename(records)
    (output / ".photos.jsonl.lock").touch()
    assert audit_folder(output, records_path=records, options=OPTIONS).ok
    shutil.copy(output.parent / "in" / "a.png", output / "records.jsonl")
    assert audit_folder(output, records_path=records, options=OPTIONS).strays == ["records.jsonl"]


def test_what_is_kept_beside_large_records_is_ours(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from review import queue_index
    from review.queue import Queue
    from review.store import ReviewStore

    monkeypatch.setattr(records_file, "KEPT", 0)
    monkeypatch.setattr(queue_index, "MANY", 0)
    assert len(Queue(ReviewStore(output / "records.jsonl"))) == 1
    kept = {p.name for p in output.iterdir() if p.suffix in (".lines", ".queue")}
    assert kept == {".records.jsonl.lines", ".records.jsonl.queue"}
    assert audit_folder(output, options=OPTIONS).ok
    with zipfile.ZipFile(output / ".records.jsonl.queue", "a") as archive:
        archive.write(output.parent / "in" / "a.png", "a.png")
    assert audit_folder(output, options=OPTIONS).strays == [".records.jsonl.queue"]


def test_only_the_file_that_was_exported_comes_back(output: Path, tmp_path: Path) -> None:
    place, exported = tmp_path / "quarantine", (output / "a.png").read_bytes()
    failed = PhotoAudit("a.png", findings=[Finding("recognizable", "leak", "a face")])
    assert quarantine.put(folder.read(output), [failed], place) == ["a.png"]
    shutil.copy(tmp_path / "in" / "a.png", place / "a.png")
    with pytest.raises(AuditError, match="changed, or replaced"):
        quarantine.release(output, place=place)
    assert not (output / "a.png").exists()
    (place / "a.png").unlink()
    (tmp_path / "elsewhere.png").write_bytes(exported)
    (place / "a.png").symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(AuditError, match="changed, or replaced"):
        quarantine.release(output, place=place)
    (place / "a.png").unlink()
    (place / "a.png").write_bytes(exported)
    assert quarantine.release(output, place=place) == ["a.png"]
    assert audit_folder(output, options=OPTIONS).ok
