"""Decisions: pure changes of a record, stale ones refused, written through, safe between processes, undone singly."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from anonymize import corrections, records
from anonymize.corrections import decide, gate, standing, status
from anonymize.errors import RecordsError, SettingsError, StaleDecisionError, UnknownNameError
from anonymize.records import Header, Record
from anonymize.regions import Region
from anonymize.settings import Settings
from review.store import ReviewStore

SETTINGS = Settings().with_kind("face", threshold=0.5).with_kind("plate", threshold=0.25)
FACE = Region("face", (10, 10, 30, 30), 0.9, detector_scores={"fake": 0.9})
SIGN = Region("plate", (50, 50, 90, 60), 0.8, detector_scores={"fake": 0.8})
FAINT = Region("plate", (5, 60, 25, 66), 0.05, detector_scores={"fake": 0.05})
RECORD = Record("a/1.jpg", "00", 100, 80, (FACE, SIGN, FAINT), detectors={"fake": {}})


def by(what: str, record: Record = RECORD, who: str = "ana", **given: object) -> Record:
    return decide(record, what, who=who, settings=SETTINGS, **given)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "records.jsonl"
    records.write(path, Header("/photos", SETTINGS), [RECORD, RECORD.replace(path="b.jpg")])
    return path


def test_what_each_decision_does_to_what_is_hidden():
    assert [r.id for r in RECORD.hidden(SETTINGS)] == [FACE.id, SIGN.id]
    assert SIGN.id not in [r.id for r in by("reject", id=SIGN.id).hidden(SETTINGS)]
    assert FAINT.id in [r.id for r in by("accept", id=FAINT.id).hidden(SETTINGS)]
    added = by("add", box=(70, 10, 80, 20), kind="face")
    assert added.hidden(SETTINGS)[0].box == (70, 10, 80, 20)
    assert added.hidden(SETTINGS)[0].status == "manual"
    moved = by("move", id=FACE.id, box=(12, 12, 34, 34)).hidden(SETTINGS)[0]
    assert (moved.id, moved.box, moved.status) == (FACE.id, (12, 12, 34, 34), "accepted")
    other = by("set-kind", id=FAINT.id, kind="face").hidden(SETTINGS)
    assert [(r.kind, r.status) for r in other if r.id == FAINT.id] == [("face", "accepted")]
    reset = by("reset", by("reject", id=SIGN.id), id=SIGN.id)
    assert reset.regions == RECORD.regions


def test_a_box_beyond_the_edge_is_cut_and_one_outside_is_refused():
    assert by("add", box=(90, 70, 500, 500), kind="plate").regions[0].box == (90, 70, 100, 80)
    with pytest.raises(SettingsError, match="over the photo"):
        by("add", box=(200, 200, 300, 300), kind="plate")


def test_drawing_the_same_box_twice_makes_one_region_beside_what_was_found_there():
    once = by("add", box=FACE.box, kind="face")
    assert len({r.id for r in once.regions}) == 4
    assert by("add", once, box=FACE.box, kind="face") is once


def test_a_decision_says_who_when_and_what():
    (decision,) = by("flag", note="ask the owner").decisions
    assert (decision["who"], decision["what"], decision["note"]) == ("ana", "flag", "ask the owner")
    assert decision["when"].endswith("+00:00")


def test_an_approval_is_pending_again_when_a_region_or_a_setting_changes():
    approved = by("approve")
    assert status(approved, SETTINGS) == "approved"
    assert status(by("reject", approved, id=SIGN.id), SETTINGS) == "pending"
    for other in (
        SETTINGS.with_kind("plate", threshold=0.9),
        SETTINGS.with_kind("face", effect="solid"),
        SETTINGS.with_kind("face", padding=0.2),
    ):
        assert status(approved, other) == "pending"
        assert gate(other)(approved) == "its regions or the settings changed after it was approved"


def test_the_gate_lets_only_approved_photos_out():
    closed, opened = gate(SETTINGS), gate(SETTINGS, allow_unreviewed=True)
    assert closed(RECORD) == "not approved"
    assert closed(by("approve")) is None
    assert closed(by("flag")) == opened(by("flag")) == "flagged"
    assert opened(RECORD) is None
    assert closed(by("unflag", by("flag"))) == "not approved"


def test_undo_goes_back_one_decision_at_a_time_and_is_a_decision_itself():
    record = RECORD
    steps = [
        ("reject", {"id": SIGN.id}),
        ("add", {"box": (70, 10, 80, 20), "kind": "face"}),
        ("approve", {}),
        ("move", {"id": FACE.id, "box": (12, 12, 34, 34)}),
        ("flag", {}),
    ]
    states = [record]
    for what, given in steps:
        record = by(what, record, **given)
        states.append(record)
    for earlier in reversed(states[:-1]):
        record = by("undo", record)
        assert (record.regions, record.review, record.approved_hash) == (
            earlier.regions,
            earlier.review,
            earlier.approved_hash,
        )
    assert len(record.decisions) == 10
    assert standing(record) == []
    with pytest.raises(RecordsError, match="no decision to undo"):
        by("undo", record)


def test_nobody_undoes_another_persons_decision():
    with pytest.raises(StaleDecisionError, match="ana's"):
        by("undo", by("flag"), who="bob")


def test_what_cannot_be_decided_is_refused():
    with pytest.raises(UnknownNameError, match="valid: accept, add"):
        by("delete")
    with pytest.raises(StaleDecisionError, match="no region"):
        by("accept", id="gone")
    with pytest.raises(RecordsError, match="cannot be approved"):
        by("approve", RECORD.replace(error="unreadable"))
    with pytest.raises(SettingsError):
        by("accept", box=(0, 0, 1, 1))
    with pytest.raises(SettingsError):
        by("approve", id=FACE.id)


def test_a_decision_on_a_photo_that_changed_meanwhile_is_refused_and_not_written(path: Path):
    ana, bob = ReviewStore(path), ReviewStore(path)
    seen = ana["b.jpg"].content_hash()
    bob.decide("b.jpg", "reject", who="bob", expected=seen, id=SIGN.id)
    before = path.read_bytes()
    with pytest.raises(StaleDecisionError, match="last: reject by bob"):
        ana.decide("b.jpg", "approve", who="ana", expected=seen)
    assert path.read_bytes() == before
    ana.decide("b.jpg", "approve", who="ana", expected=ana["b.jpg"].content_hash())
    assert status(bob["b.jpg"], bob.settings) == "approved"


def test_a_decision_that_changes_nothing_is_not_written(path: Path):
    store = ReviewStore(path)
    store.decide("b.jpg", "move", who="ana", id=FACE.id, box=(12, 12, 34, 34))
    size = path.stat().st_size
    again = store.decide("b.jpg", "move", who="ana", id=FACE.id, box=(12, 12, 34, 34))
    assert (again, path.stat().st_size) == (store["b.jpg"], size)


def test_an_approval_is_of_the_settings_that_the_person_saw(path: Path):
    """Another reviewer hides less meanwhile: what nobody looked at is not approved."""
    ana, bob = ReviewStore(path), ReviewStore(path)
    seen = ana["b.jpg"].approval_hash(ana.settings)
    bob.use(bob.settings.with_kind("face", threshold=0.99))
    before = path.read_bytes()
    with pytest.raises(StaleDecisionError, match="thresholds or effects changed"):
        ana.decide("b.jpg", "approve", who="ana", expected=seen)
    assert path.read_bytes() == before
    ana.decide("b.jpg", "approve", who="ana", expected=ana["b.jpg"].approval_hash(ana.settings))
    assert status(bob["b.jpg"], bob.settings) == "approved"


def test_only_what_changed_stands_elsewhere(path: Path):
    store = ReviewStore(path)
    before = {name: store.refresh().line(name) for name in ("a/1.jpg", "b.jpg")}
    store.decide("b.jpg", "flag", who="ana")
    assert store.refresh().line("a/1.jpg") == before["a/1.jpg"]
    assert store.refresh().line("b.jpg") != before["b.jpg"]
    records.write(path, store.header, list(store))  # a rewrite, as a new detection makes it
    assert store["b.jpg"].review == "flagged"
    assert [r.path for r in store] == ["a/1.jpg", "b.jpg"]


def test_names_with_quotes_and_backslashes_are_found(tmp_path: Path):
    names = ['a"b.jpg', "a\\\\b.jpg", "ü,{}:.jpg", "\\xff.jpg"]
    records.write(tmp_path / "r.jsonl", Header("/p", SETTINGS), [RECORD.replace(path=n) for n in names])
    store = ReviewStore(tmp_path / "r.jsonl")
    assert [store[n].path for n in names] == names


def test_a_line_that_is_still_being_written_counts_later(path: Path):
    store = ReviewStore(path)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"path": "c.j')
    assert set(store.refresh()) == {"a/1.jpg", "b.jpg"}
    path.write_bytes(whole)
    store.decide("a/1.jpg", "approve", who="ana")
    assert status(ReviewStore(path)["a/1.jpg"], store.settings) == "approved"


def test_no_records_no_book(tmp_path: Path):
    with pytest.raises(RecordsError, match="cannot read"):
        ReviewStore(tmp_path / "nothing.jsonl")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(RecordsError, match="no header"):
        ReviewStore(tmp_path / "empty.jsonl")
    with pytest.raises(RecordsError, match="no photo"):
        ReviewStore.__getitem__(_store(tmp_path), "zzz.jpg")


def _store(folder: Path) -> ReviewStore:
    records.write(folder / "r.jsonl", Header("/photos", SETTINGS), [RECORD])
    return ReviewStore(folder / "r.jsonl")


def _draw(path: Path, who: str) -> None:
    store = ReviewStore(path)
    for i in range(10):
        store.decide("a/1.jpg", "add", who=who, box=(i, i, i + 5, i + len(who)), kind="face")


def test_processes_that_decide_at_once_lose_nothing(path: Path):
    context = multiprocessing.get_context("fork")
    people = [context.Process(target=_draw, args=(path, "p" * (3 + i))) for i in range(3)]
    for p in people:
        p.start()
    for p in people:
        p.join(60)
    assert [p.exitcode for p in people] == [0, 0, 0]
    record = ReviewStore(path)["a/1.jpg"]
    assert len(record.decisions) == 30
    assert len(record.regions) == 3 + 30
    assert len({r.id for r in record.regions}) == 33


def test_a_busy_file_is_said_and_nothing_is_lost(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("anonymize.json_lines.LOCK_SECONDS", 0.1)
    with records.lock(path), pytest.raises(RecordsError, match="busy"):
        # another store of another thread would wait in the same way: the lock is not the caller's
        ReviewStore(path).decide("a/1.jpg", "flag", who="ana")


def test_kill_9_loses_nothing_that_was_acknowledged(path: Path):
    code = (
        "import sys; from pathlib import Path; from review.store import ReviewStore\n"
        f"book = ReviewStore(Path({str(path)!r}))\n"
        "for i in range(10**6):\n"
        "    book.decide('a/1.jpg', 'add', who='ana', box=(0, 0, 5 + i / 1000, 5), kind='face')\n"
        "    print(i, flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(0.3)
    os.kill(child.pid, signal.SIGKILL)
    acknowledged = [int(line) for line in child.stdout.read().splitlines() if line.isdigit()]
    child.wait()
    record = ReviewStore(path)["a/1.jpg"]
    assert len(record.decisions) >= max(acknowledged, default=0) + 1


def test_who_decides_has_a_name():
    assert corrections.person()


def test_where_review_cannot_work_it_says_so(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(os, "pread")  # as on Windows
    with pytest.raises(RecordsError, match="needs Linux or macOS; on Windows it works in WSL"):
        ReviewStore(path)
