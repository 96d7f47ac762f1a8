"""A clip's record, and its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anonymize import Settings, corrections
from anonymize.errors import RecordsError
from anonymize.json_lines import to_line
from anonymize.records import Header
from anonymize.records import read as read_photos
from anonymize.video import clip_corrections, clip_records
from anonymize.video.clip_records import ClipRecord, read, write
from anonymize.video.closing import DETECTED, EXTENDED
from anonymize.video.tracks import Track


def track(first: int = 3, frames: int = 10, x: float = 20.0, score: float = 0.9, kind: str = "face") -> Track:
    boxes = np.array([[x + n, 30, x + n + 20, 55.25] for n in range(frames)])
    sources = [0 if n % 3 == 0 else 1 for n in range(frames)]
    return Track(kind, first, boxes, sources, [score if s == 0 else 0 for s in sources])


def clip(*tracks: Track) -> ClipRecord:
    found = {"fake": {"weights": "0" * 64}}
    return ClipRecord(
        "ride/a.mp4",
        "a" * 64,
        320,
        180,
        60,
        29.97,
        tracks,
        20,
        (5,),
        detectors=found,
        detection="hash",
        warnings=("odd",),
    )


HEADER = Header("/clips", Settings(), {"fake": {}})


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    record = corrections.accept(clip(track(), track(30, x=100, kind="plate")), who="ann", id=track().id)
    record = corrections.approve(record, who="ann", settings=Settings())
    write(tmp_path / "a.jsonl", HEADER, record)
    header, again = read(tmp_path / "a.jsonl")
    assert (header, again) == (HEADER, record)
    assert again.is_approved(Settings())
    assert not again.is_approved(Settings().with_kind("face", threshold=0.9))


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write(path, HEADER, clip(track(), track(30)))
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in (lines[:-1], lines[:2], lines[:1], lines[:1] + lines[2:], [b"".join(lines)[:-3]], lines + lines[1:2]):
        path.write_bytes(b"".join(kept))
        with pytest.raises(RecordsError):
            read(path)


def test_files_of_photos_and_of_clips_are_not_confused(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", HEADER, clip(track()))
    with pytest.raises(RecordsError):
        read_photos(tmp_path / "a.jsonl")
    from anonymize.records import Record
    from anonymize.records import write as write_photos

    write_photos(tmp_path / "b.jsonl", HEADER, [Record("a.jpg")])
    with pytest.raises(RecordsError):
        read(tmp_path / "b.jsonl")


@pytest.mark.parametrize(
    "changes", [{"path": "./a"}, {"frames": "9"}, {"more": 1}, {"detectors": []}, {"warnings": "x"}, {"frames": 5}]
)
def test_what_is_no_record_is_refused(changes: dict[str, object]) -> None:
    good = clip().to_dict()
    assert ClipRecord.from_dict(good, [track()]).tracks
    with pytest.raises(RecordsError):
        ClipRecord.from_dict({**good, **changes}, [track()])


def test_regions_of_a_frame_are_those_of_its_tracks() -> None:
    record = clip(track(), track(5, x=100, score=0.05))
    assert [len(record.regions_at(n, Settings())) for n in (2, 3, 12, 13)] == [0, 1, 1, 0]
    assert [t.id for t in record.hidden(Settings())] == [track().id]


def test_a_new_detection_keeps_what_people_decided() -> None:
    old = corrections.reject(clip(track(), track(30, x=100)), who="ann", id=track().id)
    old = clip_corrections.draw(old, who="ann", kind="plate", boxes={40: (5, 5, 40, 15)})
    again = track(3, 12, x=19.0)  # the same thing, a little otherwise
    new = clip(again, track(30, x=100.5, kind="face"), track(20, x=200)).keep_decisions(old)
    assert sorted((t.status, t.first) for t in new.tracks) == [
        ("auto", 20), ("auto", 30), ("manual", 40), ("rejected", 3),
    ]  # fmt: skip
    assert new.decisions == old.decisions
    other = clip(again).replace(sha256="b" * 64)
    assert other.keep_decisions(old) == other.replace(warnings=(*other.warnings, ClipRecord.FORGOTTEN))


@pytest.mark.parametrize("decide", [corrections.accept, corrections.reject])
@pytest.mark.parametrize("score", [0.9, 0.1])
def test_a_reset_after_a_new_detection_goes_by_its_scores(decide: Any, score: float) -> None:
    old = track(3, 12)
    fresh = track(4, 10)
    fresh = fresh.replace(scores=np.where(fresh.scores > 0, score, 0))
    again = clip(fresh).keep_decisions(decide(clip(old), who="ann", id=old.id))
    for free in (corrections.reset(again, who="ann", id=old.id), corrections.undo(again, who="ann")):
        (kept,) = free.tracks
        assert (kept.id, kept.status, kept.score, kept.first, kept.last) == (old.id, "auto", score, old.first, old.last)
        assert (kept.boxes == old.boxes).all()
        assert kept.is_hidden(Settings()) == (score == 0.9)


@pytest.mark.parametrize("decide", [corrections.accept, corrections.reject])
@pytest.mark.parametrize(
    "fresh",
    [
        pytest.param(track(3, 40), id="longer"),
        pytest.param(track(0, 13), id="earlier"),
        pytest.param(track(3, 40).replace(id=track(3, 10).id), id="longer, of the same name"),
        pytest.param(track(3, 10, x=33), id="beside it"),
    ],
)
def test_what_a_decision_did_not_see_is_hidden(decide: Any, fresh: Track) -> None:
    old = decide(clip(track(3, 10)), who="ann", id=track(3, 10).id)
    new = clip(fresh).keep_decisions(old)
    assert len({t.id for t in new.tracks}) == 2
    for frame in fresh.frames:
        assert any(
            r.box[0] <= fresh.box(frame)[0] and r.box[2] >= fresh.box(frame)[2]  # type: ignore[index]
            for r in new.regions_at(frame, Settings())
        )


def test_what_goes_over_to_something_else_is_not_what_was_rejected() -> None:
    old = corrections.reject(clip(track(3, 30)), who="ann", id=track(3, 30).id)
    boxes = track(3, 30).boxes.copy()
    boxes[25:] += 80  # from here on it is somebody else
    swapped = track(3, 30).replace(boxes=boxes, id="other")
    assert clip(swapped).keep_decisions(old).regions_at(30, Settings())


def test_a_long_track_is_written_in_pieces_and_reads_the_same(tmp_path: Path) -> None:
    for long in (track(0, 2500), track(0, 1000).replace(status="accepted"), track(0, 1)):
        assert b"".join(long.to_json()) + b"\n" == to_line(long.to_dict())
    record = clip(track(3, 10)).replace(frames=3000, tracks=(track(0, 2500),))
    write(tmp_path / "a.jsonl", HEADER, record)
    assert read(tmp_path / "a.jsonl")[1] == record


def plate(
    first: int, frames: int, x: float, width: float = 40, found: slice = slice(None), score: float = 0.9
) -> Track:
    """A plate that stands still, detected in some of its frames."""
    sources = np.full(frames, EXTENDED)
    sources[found] = DETECTED
    boxes = np.tile([x, 30, x + width, 50], (frames, 1))
    return Track("plate", first, boxes, sources, np.where(sources == DETECTED, score, 0))


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        (plate(0, 30, 20), plate(5, 20, 16, 50, score=0.8), 1),  # a tight box and a loose one
        (plate(0, 30, 20, 60), plate(40, 15, 20, score=0.8), 2),  # at other times: nobody knows
        (plate(0, 30, 20, found=slice(0, 20)), plate(22, 30, 22, found=slice(8, 30)), 1),  # lost, and found again
        (plate(0, 30, 20, 60), plate(0, 30, 75, 60, score=0.8), 2),  # side by side
        (plate(0, 30, 20), plate(0, 30, 20).replace(kind="face", id="f"), 2),
        (plate(0, 30, 20, found=slice(0, 20)), plate(5, 25, 75, 30, slice(0, 20)), 2),
    ],
)
def test_what_two_tracks_follow_is_counted_once(one: Track, other: Track, wanted: int) -> None:
    record, settings = clip(one, other), Settings()
    assert len(record.hidden(settings)) == 2
    found = record.distinct(settings)
    assert len(found) == wanted
    assert found == record.distinct(settings)
    assert one in found  # the surer one
    drawn = clip(one, other.replace(status="manual")).distinct(settings)
    assert len(drawn) == wanted
    assert drawn[0].status == "manual"
    assert len(clip(one, other.replace(status="rejected")).distinct(settings)) == 1


def test_two_that_cross_are_two() -> None:
    x = np.linspace(0, 200, 40)[:, None]
    there, back = (np.hstack([v, np.full_like(v, 30), v + 40, np.full_like(v, 50)]) for v in (x, x[::-1]))
    values = np.full(40, DETECTED), np.full(40, 0.9)
    tracks = Track("plate", 0, there, *values), Track("plate", 0, back, *values)
    assert len(clip(*tracks).distinct(Settings())) == 2


def test_only_tracks_that_share_frames_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long clip has thousands; comparing all with all took minutes and gigabytes."""
    compared: list[tuple[Track, Track]] = []
    found = clip_records._is_same

    def watched(a: Track, b: Track) -> bool:
        compared.append((a, b))
        return found(a, b)

    monkeypatch.setattr(clip_records, "_is_same", watched)
    record = clip(*(track(first, 5, score=0.9 - first / 1000) for first in (0, 4, 10, 20, 30, 40, 50)))
    assert [t.first for t in record.distinct(Settings())] == [0, 10, 20, 30, 40, 50]
    assert [(a.first, b.first) for a, b in compared] == [(4, 0)]
    assert clip().distinct(Settings()) == []
