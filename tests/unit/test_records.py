import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anonymize import records
from anonymize.errors import AnonymizeError, RecordsError
from anonymize.records import Header, Record, escape, unescape
from anonymize.records_file import RecordsFile
from anonymize.regions import Region
from anonymize.settings import Kind, Settings
from anonymize.video.clip_records import ClipRecord
from anonymize.video.tracks import Track

FACE = Region("face", (1, 2, 3, 4), 0.8)


def test_a_name_that_needs_no_escape_stays() -> None:
    assert escape("städte/kölн 1.jpg") == "städte/kölн 1.jpg"
    assert escape(os.fsdecode(b"a\xff\n.jpg")) == "a\\xff\\x0a.jpg"
    assert escape("a\\xff.jpg") == "a\\\\xff.jpg"


@given(st.binary(max_size=40).filter(lambda b: b"\0" not in b))
def test_any_name_survives_and_is_text(raw: bytes) -> None:
    name = os.fsdecode(raw)
    assert unescape(escape(name)) == name
    assert escape(name).encode("utf-8").decode().isprintable()


def test_a_file_of_records(tmp_path: Path) -> None:
    path = tmp_path / "new" / "r.jsonl"
    header = Header("/photos", Settings(jobs=2), {"fake": {"w": "00"}})
    first = Record(
        "a.jpg", "12", 10, 20, (FACE,), detectors={"fake": {}}, decisions=({"who": "me", "when": "", "what": "flag"},)
    )
    with records.Writer(path, header) as writer:
        writer.write(first)
        writer.write(Record("b.jpg", error="truncated"))
    with records.Writer(path, header) as writer:  # opened again: no second header
        writer.write(first.replace(review="flagged"))
    assert records.read(path) == (
        header,
        {"a.jpg": first.replace(review="flagged"), "b.jpg": Record("b.jpg", error="truncated")},
    )


def test_a_torn_last_line_is_dropped_and_cut_off(tmp_path: Path) -> None:
    path, header = tmp_path / "r.jsonl", Header("/photos")
    with records.Writer(path, header) as writer:
        writer.write(Record("a.jpg"))
        writer.write(Record("b.jpg"))
    whole = path.read_bytes()
    for cut in range(2, 20):  # with the line's end alone missing it is whole
        path.write_bytes(whole[:-cut])
        assert list(records.read(path)[1]) == ["a.jpg"]
    with records.Writer(path, header) as writer:
        writer.write(Record("c.jpg"))
    assert list(records.read(path)[1]) == ["a.jpg", "c.jpg"]


@pytest.mark.parametrize(
    "content",
    ["", "not json\n", "[]\n", '{"schema": 99, "root": "/"}\n', '{"schema": 1}\n', "\udcff"],
    ids=["empty", "text", "list", "schema", "no root", "not utf-8"],
)
def test_what_is_not_a_records_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(RecordsError, match=r"r\.jsonl"):
        records.read(path)
    with pytest.raises(RecordsError, match=r"r\.jsonl"):
        RecordsFile(path)


def test_a_broken_line_in_the_middle_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    lines = [json.dumps(Header("/").to_dict()), "{broken", json.dumps(Record("a.jpg").to_dict()), ""]
    path.write_text("\n".join(lines))
    with pytest.raises(RecordsError, match="line 2"):
        records.read(path)


@pytest.mark.parametrize("field", ["error", "detection", "decisions"])
def test_text_that_could_never_be_written_again_is_refused(tmp_path: Path, field: str) -> None:
    """JSON can name half of a surrogate pair; a review that writes the file anew would fail at it."""
    odd = [{"who": "\ud800", "when": "", "what": ""}] if field == "decisions" else "\ud800"
    lines = [json.dumps(Header("/").to_dict()), json.dumps(Record("a.jpg").to_dict() | {field: odd}), ""]
    (tmp_path / "r.jsonl").write_text("\n".join(lines))
    with pytest.raises(RecordsError, match="line 2"):
        records.read(tmp_path / "r.jsonl")
    paired = lines[1].replace("\\ud800", "\\ud83d\\ude00")
    (tmp_path / "r.jsonl").write_text("\n".join([lines[0], paired, ""]))
    assert "\U0001f600" in str(records.read(tmp_path / "r.jsonl")[1]["a.jpg"])


def test_the_detectors_of_a_header_are_names_and_weights(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text(json.dumps(Header("/").to_dict() | {"detectors": "x"}) + "\n")
    with pytest.raises(RecordsError, match="detectors"):
        records.read(tmp_path / "r.jsonl")


def test_an_approval_binds_to_regions_and_settings() -> None:
    settings = Settings()
    record = Record("a.jpg", "12", 10, 10, (FACE,))
    approved = record.replace(review="approved", approved_hash=record.approval_hash(settings))
    assert approved.is_approved(settings)
    assert not approved.is_approved(settings.with_kind("face", threshold=0.9))
    assert not approved.replace(regions=()).is_approved(settings)
    assert not approved.replace(sha256="13").is_approved(settings)
    assert not approved.replace(error="gone").is_approved(settings)
    assert not approved.replace(review="flagged").is_approved(settings)


def test_detecting_again_keeps_what_people_decided() -> None:
    drawn = Region("plate", (50, 50, 60, 60), status="manual")
    rejected = FACE.replace(status="rejected")
    earlier = Record("a.jpg", "12", regions=(drawn, rejected, Region("face", (70, 70, 80, 80))), review="approved")
    again = Record("a.jpg", "12", regions=(FACE, Region("face", (20, 20, 30, 30), 0.3))).keep_decisions(earlier)
    assert set(again.regions) == {drawn, rejected, Region("face", (20, 20, 30, 30), 0.3)}
    assert not again.is_approved(Settings())
    other = Record("a.jpg", "other", regions=(FACE,)).keep_decisions(earlier)
    assert (other.regions, other.warnings) == ((FACE,), (Record.FORGOTTEN,))
    assert Record("a.jpg", "third").keep_decisions(other).warnings == other.warnings
    assert not Record("a.jpg", "other").keep_decisions(Record("a.jpg", "12", regions=(FACE,))).warnings
    assert Record("a.jpg", "12").keep_decisions(None) == Record("a.jpg", "12")


def test_what_is_found_again_where_a_person_moved_it_away_is_a_region_of_its_own() -> None:
    """With one id for two, a decision on the one would take the other with it."""
    moved = FACE.replace(box=(500, 500, 520, 520), status="manual")
    earlier = Record("a.jpg", "12", regions=(moved,))
    again = Record("a.jpg", "12", regions=(FACE,)).keep_decisions(earlier)
    assert {r.box for r in again.regions} == {FACE.box, moved.box}
    assert len({r.id for r in again.regions}) == 2
    assert moved in again.regions
    assert Record("a.jpg", "12", regions=(FACE,)).keep_decisions(again).regions == again.regions


def test_what_a_kept_box_leaves_open_is_found_again() -> None:
    """A box that a person moved covers 55 % of what is found now: the rest would be in the open."""
    full = Region("face", (0, 0, 100, 100), 0.9)
    moved = full.replace(box=(0, 0, 100, 55), status="accepted")
    again = Record("a.jpg", "12", regions=(full,)).keep_decisions(Record("a.jpg", "12", regions=(moved,)))
    assert {r.box for r in again.hidden(Settings())} == {full.box, moved.box}
    nearly = full.replace(box=(0, 0, 100, 95), status="accepted")
    again = Record("a.jpg", "12", regions=(full,)).keep_decisions(Record("a.jpg", "12", regions=(nearly,)))
    assert again.regions == (nearly,)


def test_a_line_that_does_not_fit_is_taken_back(tmp_path: Path) -> None:
    import resource
    import subprocess
    import sys

    path = tmp_path / "r.jsonl"
    code = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
from pathlib import Path
from anonymize import records
w = records.Writer(Path({str(path)!r}), records.Header("/"))
for i in range(100):
    w.write(records.Record(f"{{i}}.jpg", "x" * 100))
"""
    assert resource.RLIMIT_FSIZE is not None
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "OSError" in done.stderr
    assert path.read_bytes().endswith(b"\n")
    assert len(records.read(path)[1]) > 2


def test_a_line_torn_within_a_character_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    records.write(path, Header("/"), [Record("a.jpg"), Record("zé.jpg")])
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex("é".encode()) + 1])
    assert list(records.read(path)[1]) == ["a.jpg"]


def test_a_whole_last_line_counts_without_its_end(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    records.write(path, Header("/"), [Record("a.jpg"), Record("b.jpg")])
    path.write_bytes(path.read_bytes().rstrip(b"\n"))  # as a script may leave it
    assert list(records.read(path)[1]) == ["a.jpg", "b.jpg"]
    with records.Writer(path, Header("/")) as writer:
        writer.write(Record("c.jpg"))
    assert list(records.read(path)[1]) == ["a.jpg", "b.jpg", "c.jpg"]


def test_a_broken_last_line_that_is_not_torn_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    records.write(path, Header("/"), [Record("a.jpg")])
    path.write_bytes(path.read_bytes() + b"{broken\n")
    with pytest.raises(RecordsError, match="line 3"):
        records.read(path)


def test_what_a_killed_rewrite_left_does_not_come_back(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    records.write(tmp_path / ".r.jsonl.tmp", Header("/old"), [Record("old.jpg")])
    records.write(path, Header("/new"), [Record("a.jpg")])
    header, known = records.read(path)
    assert (header.root, list(known)) == ("/new", ["a.jpg"])
    assert not (tmp_path / ".r.jsonl.tmp").exists()


@pytest.mark.parametrize("data", ["", "ab", [], ["path"], None, 1, {}])
@pytest.mark.parametrize("made", [Region, Record, Header, ClipRecord, Track, Settings, Kind])
def test_what_is_no_object_with_fields_is_an_error_of_the_tree(made: Any, data: Any) -> None:
    if made in (Settings, Kind) and not data and data is not None:
        return  # every field has a default
    with pytest.raises(AnonymizeError):
        made.from_dict(data)
