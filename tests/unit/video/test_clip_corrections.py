"""What people say of a clip's tracks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as run
from hypothesis import strategies as st

from anonymize import Settings, corrections
from anonymize.corrections import gate, status
from anonymize.errors import RecordsError, SettingsError, StaleDecisionError, UnknownNameError
from anonymize.video import clip_corrections
from anonymize.video.clip_corrections import decide
from anonymize.video.clip_records import ClipRecord

from .test_clip_records import clip, track
from .test_tracks import inside

ONE = track().id


def test_one_decision_counts_for_all_frames_and_is_written_down() -> None:
    record = corrections.reject(clip(track()), who="ann", id=ONE, note="a poster")
    assert not any(record.regions_at(n, Settings()) for n in range(60))
    last = record.decisions[-1]
    assert (last["who"], last["what"], last["track"], last["note"]) == ("ann", "reject", ONE, "a poster")
    assert "boxes" not in last["before"]
    faint = corrections.accept(clip(track(score=0.05)), who="ann", id=ONE)
    assert all(faint.regions_at(n, Settings()) for n in range(3, 13))


def test_what_changes_nothing_is_no_decision() -> None:
    once = corrections.accept(clip(track()), who="ann", id=ONE)
    assert corrections.accept(once, who="bob", id=ONE) is once
    assert corrections.reset(clip(track()), who="ann", id=ONE).decisions == ()


def test_a_drawn_track_goes_from_box_to_box_and_goes_away_when_rejected() -> None:
    record = clip_corrections.draw(
        clip(), who="ann", kind="plate", boxes={10: (20, 20, 60, 30), 20: (160, 70, 120, 60)}
    )
    (drawn,) = record.tracks
    assert (drawn.kind, drawn.first, drawn.last, drawn.status) == ("plate", 10, 20, "manual")
    assert drawn.boxes[5].tolist() == [70, 40, 110, 50]
    assert all(record.regions_at(n, Settings()) for n in range(10, 21))
    again = clip_corrections.draw(record, who="ann", kind="plate", boxes={10: (20, 20, 60, 30), 20: (160, 70, 120, 60)})
    assert again is record
    assert corrections.reject(record, who="ann", id=drawn.id).tracks == ()


@pytest.mark.parametrize("frame", [0, 1, 20, 59])
def test_a_track_is_extended_to_a_box_and_hidden_from_then_on(frame: int) -> None:
    before = clip(track(score=0.05))
    record = clip_corrections.extend(before, who="ann", id=ONE, frame=frame, box=(5, 5, 30, 30))
    (longer,) = record.tracks
    assert longer.frames == range(min(frame, 3), max(frame, 12) + 1)
    assert all(record.regions_at(n, Settings()) for n in longer.frames)
    box = longer.box(frame) or (0, 0, 0, 0)
    assert inside((5, 5, 30, 30), box)
    assert corrections.undo(record, who="ann").tracks == before.tracks


def test_within_a_track_more_is_hidden_and_nothing_less() -> None:
    before = clip(track())
    record = clip_corrections.extend(before, who="ann", id=ONE, frame=6, box=(5, 5, 30, 30))
    shown, was = record.tracks[0].box(6), before.tracks[0].box(6)
    assert inside((5, 5, 30, 30), shown or ())
    assert inside(was or (), shown or ())


@pytest.mark.parametrize(
    ("what", "given_"),
    [
        ("draw", {"kind": "face", "boxes": {}}),
        ("draw", {"kind": "face", "boxes": {60: (0, 0, 9, 9)}}),
        ("draw", {"kind": "face", "boxes": {-1: (0, 0, 9, 9)}}),
        ("draw", {"kind": "face", "boxes": {5: (400, 0, 500, 9)}}),
        ("draw", {"kind": "face", "boxes": {5: (1, 2, 3)}}),
        ("extend", {"id": ONE, "frame": 99, "box": (0, 0, 9, 9)}),
        ("accept", {"region": ONE}),
    ],
)
def test_what_cannot_be_is_refused(what: str, given_: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        decide(clip(track()), what, who="ann", settings=Settings(), **given_)


def test_names_are_exact() -> None:
    with pytest.raises(UnknownNameError):
        decide(clip(track()), "accpet", who="ann", settings=Settings(), id=ONE)
    with pytest.raises(StaleDecisionError):
        decide(clip(track()), "accept", who="ann", settings=Settings(), id="gone")


def test_a_clip_is_approved_as_a_photo_is() -> None:
    settings, record = Settings(), clip(track())
    assert gate(settings)(record) == "not approved"
    approved = decide(record, "approve", who="ann", settings=settings)
    assert (status(approved, settings), gate(settings)(approved)) == ("approved", None)
    changed = corrections.reject(approved, who="bob", id=ONE)
    assert status(changed, settings) == "pending"
    assert gate(settings)(changed) == "its regions or the settings changed after it was approved"
    assert gate(settings)(decide(record, "flag", who="ann", settings=settings)) == "flagged"
    with pytest.raises(RecordsError):
        decide(record.replace(error="broken"), "approve", who="ann", settings=settings)


def test_nobody_takes_back_what_another_decided() -> None:
    record = corrections.reject(clip(track()), who="ann", id=ONE)
    with pytest.raises(StaleDecisionError):
        corrections.undo(record, who="bob")
    with pytest.raises(RecordsError):
        corrections.undo(clip(), who="ann")


steps = st.sampled_from(
    [
        ("accept", {"id": ONE}),
        ("reject", {"id": ONE}),
        ("reset", {"id": ONE}),
        ("set-kind", {"id": ONE, "kind": "plate"}),
        ("extend", {"id": ONE, "frame": 0, "box": (1, 1, 20, 20)}),
        ("extend", {"id": ONE, "frame": 40, "box": (1, 1, 20, 20)}),
        ("draw", {"kind": "face", "boxes": {5: (1, 1, 20, 20)}}),
        ("flag", {}),
        ("approve", {}),
    ]
)


@run(max_examples=60, deadline=None)
@given(st.lists(steps, max_size=6))
def test_undo_takes_everything_back(actions: list[tuple[str, dict[str, object]]]) -> None:
    first = record = clip(track(), track(30, x=100))
    for what, arguments in actions:
        record = decide(record, what, who="ann", settings=Settings(), **arguments)
    for _ in range(len(record.decisions)):
        record = corrections.undo(record, who="ann")
    assert (record.tracks, record.review, record.approved_hash) == (first.tracks, first.review, first.approved_hash)
    assert isinstance(record, ClipRecord)
