"""A records file read record by record is what it is read whole; what is kept beside it is used only where it fits."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from anonymize import records, records_file
from anonymize.errors import RecordsError
from anonymize.records import Header, Record, lines_beside
from anonymize.records_file import RecordsFile
from anonymize.regions import Region

FACE = Region("face", (1, 2, 3, 4), 0.8)
NAMES = ["a.jpg", "b/ü 1.jpg", 'c"d.jpg', "e\\\\f.jpg", "\\xff.jpg", "b/.x/…jpg"]


def record(name: str, **more: object) -> Record:
    return Record(name, "12", 10, 20, (FACE,), detectors={"fake": {}}, detection="d", **more)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Six photos, the first of them written twice."""
    with records.Writer(tmp_path / "r.jsonl", Header("/photos")) as writer:
        for name in NAMES:
            writer.write(record(name))
        writer.write(record(NAMES[0], review="flagged"))
    return tmp_path / "r.jsonl"


def test_it_is_what_the_whole_file_is(path: Path) -> None:
    header, known = records.read(path)
    found = RecordsFile(path)
    assert (found.header, dict(found), list(found), len(found)) == (header, known, NAMES, 6)
    assert found.get("nothing.jpg") is None
    assert found.decided() == {}
    drawn = record("z.jpg", decisions=({"who": "ana", "when": "", "what": "flag"},))
    with records.Writer(path, header) as writer:
        writer.write(drawn)
    path.write_bytes(path.read_bytes() + b'{"path":"y.jpg","decisions":[],"sha256":"1"}\n')  # in another order
    assert RecordsFile(path).decided() == {"z.jpg": drawn}
    with pytest.raises(KeyError):
        found["nothing.jpg"]


@pytest.mark.parametrize("cut", [1, 2, 40])
def test_a_last_line_without_its_end(path: Path, cut: int) -> None:
    path.write_bytes(path.read_bytes()[:-cut])
    assert dict(RecordsFile(path)) == records.read(path)[1]
    waiting = RecordsFile(path, is_written=True)
    assert waiting[NAMES[0]].review == "pending"
    with records.Writer(path, waiting.header) as writer:
        writer.write(record("z.jpg"))
    waiting.refresh()
    assert waiting["z.jpg"] == record("z.jpg")


def test_what_others_write_meanwhile_is_seen(path: Path) -> None:
    found = RecordsFile(path)
    with records.Writer(path, found.header) as writer:
        writer.write(record("z.jpg"))
    assert "z.jpg" not in found
    found.refresh()
    assert (found["z.jpg"], found.generation) == (record("z.jpg"), 1)
    records.write(path, found.header, [record("y.jpg")])
    assert found["a.jpg"].review == "flagged"  # as it was at the last look
    found.refresh()
    assert (list(found), found.generation) == (["y.jpg"], 2)


def test_a_rewrite_has_a_line_a_photo_and_is_left_out_where_that_is_so(path: Path) -> None:
    found = RecordsFile(path)
    known = dict(found)
    found.rewrite(found.header)
    assert (dict(found), path.read_bytes().count(b"\n")) == (known, 7)
    before = path.stat()
    found.rewrite(found.header)
    assert os.path.samestat(before, path.stat())
    os.link(path, path.with_name("copy.jsonl"))  # somebody else's, which is not written through
    found.rewrite(found.header)
    assert not path.samefile(path.with_name("copy.jsonl"))
    found.rewrite(Header("/photos", detectors={"other": {}}), {NAMES[1]})
    assert (found.header.detectors, set(found)) == ({"other": {}}, set(NAMES) - {NAMES[1]})


def test_what_is_kept_beside_it_saves_reading(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records_file, "KEPT", 3)
    known = dict(RecordsFile(path))
    assert lines_beside(path).exists()
    with records.Writer(path, Header("/photos")) as writer:
        writer.write(record("z.jpg"))
    read: list[bytes] = []
    plain = RecordsFile._take
    monkeypatch.setattr(RecordsFile, "_take", lambda self, line: (read.append(line), plain(self, line))[1])
    again = RecordsFile(path)
    assert len(read) == 1
    assert dict(again) == {**known, "z.jpg": record("z.jpg")}
    again.rewrite(again.header)
    assert len(read) == 1 + 8
    assert dict(RecordsFile(path)) == dict(again)


def test_what_is_kept_and_does_not_fit_is_not_believed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records_file, "KEPT", 3)
    RecordsFile(path)
    kept = lines_beside(path).read_bytes()
    lines = path.read_bytes().splitlines(keepends=True)
    others = [lines[0], *reversed(lines[1:])]
    for content in (others, lines[:-2], [lines[0].replace(b"photos", b"sotohp"), *lines[1:]]):
        path.write_bytes(b"".join(content))
        lines_beside(path).write_bytes(kept)
        assert dict(RecordsFile(path)) == records.read(path)[1]
    for damage in (b"", b"no", kept[:100], kept[:-100]):
        path.write_bytes(b"".join(lines))
        lines_beside(path).write_bytes(damage)
        assert dict(RecordsFile(path)) == records.read(path)[1]
    for values in ({}, {"end": "x", "names": [], "sample": 1}, {"end": 1, "names": ["a.jpg"], "sample": ""}):
        records_file.keep(lines_beside(path), records_file.VERSION, values, spans=np.zeros(6, np.int64))
        assert dict(RecordsFile(path)) == records.read(path)[1]


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b"{broken",
        b'{"sha256":"1"}',
        *(json.dumps({"path": p}).encode() for p in ("/a.jpg\\", "./a.jpg", "a//b.jpg", 3, "a\nb.jpg")),
    ],
)
def test_a_line_that_is_no_photos_is_refused(path: Path, line: bytes) -> None:
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(RecordsError):
        dict(RecordsFile(path))


@pytest.mark.parametrize(
    "line",
    [
        b'{"path":"a.jpg","regions":[{}]}',
        b'{"path":"a.jpg","sha256":1}',
        b'{"path":"a.jpg","path":"b.jpg"}',
        b'{"path":"a.jpg","error":"\\ud800"}',
        b'{"path":"a.jpg","error":"x}',
    ],
)
def test_a_broken_record_is_an_error_when_it_is_asked_for(path: Path, line: bytes) -> None:
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(RecordsError):
        RecordsFile(path)["a.jpg"]
