"""What a correction does to a record: the same wherever a person makes it."""

from __future__ import annotations

import pytest

from anonymize.corrections import ACTIONS, accept, add, decide, move, parse, reject, reset, set_kind, standing, undo
from anonymize.errors import SettingsError, StaleDecisionError, UnknownNameError
from anonymize.records import Record
from anonymize.regions import Region
from anonymize.settings import Settings

SETTINGS = Settings().with_kind("face", threshold=0.5)
FACE = Region("face", (10, 10, 30, 30), 0.9, {"fake": 0.9}, corners=((10, 10), (30, 10), (30, 30), (10, 30)))
FAINT = Region("face", (50, 10, 70, 30), 0.1, {"fake": 0.1})
RECORD = Record("a.jpg", "00", 100, 80, (FACE, FAINT), detectors={"fake": {}})
BOX = (50.0, 50.0, 60.0, 60.0)


def drawn(record: Record = RECORD) -> Record:
    return add(record, who="ana", box=BOX, kind="plate")


def test_a_moved_box_keeps_its_score_and_is_hidden_whatever_it_is():
    record = move(RECORD, who="ana", id=FAINT.id, box=(80, 34, 52, 12))  # from the lower right corner
    moved = record.regions[1]
    assert (moved.box, moved.status) == ((52, 12, 80, 34), "accepted")
    assert (moved.score, moved.detector_scores) == (0.1, {"fake": 0.1})
    assert moved in record.hidden(SETTINGS)
    assert move(RECORD, who="ana", id=FACE.id, box=BOX).regions[0].corners is None


def test_a_drawn_box_has_no_detector_score_so_a_reset_cannot_take_it_for_found():
    region = drawn().regions[0]
    assert (region.status, region.score, region.detector_scores) == ("manual", 1.0, {})
    assert reset(drawn(), who="ana", id=region.id).regions[0].status == "manual"
    assert accept(drawn(), who="ana", id=region.id).regions[0].status == "manual"


def test_a_drawn_box_stays_the_persons_own_when_it_is_moved_or_named():
    record = move(drawn(), who="ana", id=drawn().regions[0].id, box=(1, 1, 9, 9))
    record = set_kind(record, who="ana", id=record.regions[0].id, kind="face")
    assert (record.regions[0].status, record.regions[0].kind) == ("manual", "face")


def test_a_drawn_box_that_is_not_wanted_goes_away_and_undo_brings_it_back():
    """Kept as rejected, it would settle its place: what a detector finds there later would not be hidden."""
    region = drawn().regions[0]
    record = reject(drawn(), who="ana", id=region.id)
    assert record.regions == RECORD.regions
    assert undo(record, who="ana").regions == drawn().regions
    found = RECORD.replace(regions=(Region("plate", BOX, 0.9, {"fake": 0.9}),), decisions=())
    assert found.keep_decisions(record).hidden(SETTINGS) == list(found.regions)


def test_a_rejected_region_is_found_again_by_a_reset_with_its_score():
    record = reject(RECORD, who="ana", id=FACE.id)
    assert record.hidden(SETTINGS) == []
    assert reset(record, who="ana", id=FACE.id).regions == RECORD.regions


@pytest.mark.parametrize("decide", [accept, reject])
@pytest.mark.parametrize("score", [0.9, 0.1])
def test_a_reset_after_a_new_detection_goes_by_its_score(decide, score):
    decided = decide(RECORD, who="ana", id=FACE.id)
    x1, y1, x2, y2 = FACE.box
    anew = [FACE.replace(box=(x1, y1, x2 - 1, y2), score=score / n, detector_scores={"new": score}) for n in (1, 2)]
    again = RECORD.replace(regions=tuple(r.replace(id=str(n)) for n, r in enumerate(anew))).keep_decisions(decided)
    expected = (FACE.replace(score=score, detector_scores={"new": score}),)
    assert reset(again, who="ana", id=FACE.id).regions == expected
    assert undo(again, who="ana").regions == expected


def test_every_change_is_a_decision_and_what_changes_nothing_is_none():
    record = reject(RECORD, who="ana", id=FACE.id, note="a poster")
    (decision,) = record.decisions
    told = [decision[name] for name in ("who", "what", "region", "note")]
    assert told == ["ana", "reject", FACE.id, "a poster"]
    assert decision["when"].endswith("+00:00")
    assert ("status" in decision["before"], decision["after"]["status"]) == (False, "rejected")
    assert reject(record, who="bob", id=FACE.id) is record
    once = drawn()
    assert drawn(once) is once


def test_a_second_box_can_be_drawn_where_the_first_one_was_moved_away():
    """With the keyboard a box is always drawn in the middle, then moved."""
    record = drawn(move(drawn(), who="ana", id=drawn().regions[0].id, box=(1, 1, 9, 9)))
    assert {r.box for r in record.regions if r.status == "manual"} == {(1, 1, 9, 9), BOX}
    assert len({r.id for r in record.regions}) == 4


def test_a_box_drawn_over_a_faint_one_is_hidden():
    record = add(RECORD, who="ana", box=FAINT.box, kind="face")
    assert record.regions[0] in record.hidden(SETTINGS)
    assert FAINT in record.regions


@pytest.mark.parametrize("box", [(300, 300, 400, 400), (5, 5, 5.2, 40), (1, 2, 3), (float("nan"), 1, 9, 9)])
def test_a_box_that_would_hide_nothing_is_refused(box: tuple[float, ...]):
    for what in ("add", "move"):
        given = {"kind": "face"} if what == "add" else {"id": FACE.id}
        with pytest.raises(SettingsError):
            decide(RECORD, what, who="ana", settings=SETTINGS, box=box, **given)


def test_a_box_is_cut_at_the_photos_edges():
    assert add(RECORD, who="ana", box=(-50, -50, 10, 10), kind="face").regions[0].box == (0, 0, 10, 10)


def test_undo_of_what_changed_since_is_refused():
    record = accept(RECORD, who="ana", id=FAINT.id)
    other = record.replace(regions=(FACE,))
    with pytest.raises(StaleDecisionError, match="changed since"):
        undo(other, who="ana")
    assert standing(undo(record, who="ana")) == []


def test_what_the_picture_editor_sends():
    sent = {"what": "add", "kind": "plate", "box": [50, 50, "60.004", 60], "photo": "a.jpg", "hash": "0"}
    assert parse(sent) == ("add", {"kind": "plate", "box": (50.0, 50.0, 60.0, 60.0)})
    assert parse({"what": "reject", "region": 7}) == ("reject", {"id": "7"})
    assert parse({"what": "undo", "region": ""}) == ("undo", {})
    for wrong in ({}, {"what": "delete"}, {"what": "__init__"}):
        with pytest.raises(UnknownNameError):
            parse(wrong)
    names = "accept reject reset set-kind move add approve flag unflag undo"
    assert list(ACTIONS) == names.split()
