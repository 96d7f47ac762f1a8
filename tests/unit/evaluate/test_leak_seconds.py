"""How long faces and plates of a clip can be seen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anonymize import Settings
from anonymize.errors import AnnotationError
from anonymize.evaluate.clip_annotations import ClipTruth, TrueTrack
from anonymize.evaluate.clip_truth import ClipAnnotations, read
from anonymize.evaluate.leak_seconds import ClipResult, KindTime, flickers_of, measure, summary
from anonymize.regions import Region

SETTINGS = Settings()
BOX = (40.0, 40.0, 80.0, 60.0)


def shown(frames: set[int]) -> list[tuple[Region, ...]]:
    """What is hidden in 60 frames: the plate at BOX, but in these."""
    return [() if n in frames else (Region("plate", BOX, 0.9),) for n in range(60)]


def result(leaks: set[int], ignored: frozenset[int] = frozenset(), first: int = 0) -> ClipResult:
    track = TrueTrack("1", "plate", dict.fromkeys(range(first, 60), BOX), ignored)
    hidden = shown(leaks)
    return measure("a.mp4", lambda n: hidden[n], ClipTruth((track,)), SETTINGS, (200, 100, 60), 30.0)


def test_seconds_and_flickers_are_counted() -> None:
    time = result({3, 4, 5, 20}).kinds["plate"]
    assert time == KindTime(2.0, pytest.approx(4 / 30), 2, 1, 1)
    assert result(set()).kinds["plate"] == KindTime(2.0, 0.0, 0, 1, 0)


def test_a_leak_at_an_end_or_of_half_a_second_is_no_flicker() -> None:
    assert result({0, 1, 2}).kinds["plate"].flickers == 0
    assert result({58, 59}).kinds["plate"].flickers == 0
    assert result(set(range(10, 25))).kinds["plate"].flickers == 0
    assert result(set(range(10, 24))).kinds["plate"].flickers == 1


def test_ignored_frames_count_neither_way() -> None:
    time = result({3, 4}, frozenset({4, 5})).kinds["plate"]
    assert (time.seconds, time.visible) == (pytest.approx(58 / 30), pytest.approx(1 / 30))
    assert result(set(range(60)), frozenset(range(60))).kinds["plate"] == KindTime()


def test_a_box_that_is_nearly_hidden_does_not_leak_and_the_rest_is_false_area() -> None:
    track = TrueTrack("1", "face", {0: (0, 0, 20, 20)})
    for width, leaks in ((18, False), (17, True)):
        hidden = Region("plate", (0, 0, width, 20), 0.9)
        exact = SETTINGS.with_kind("plate", padding=0.0)
        got = measure("a", lambda n: (hidden,), ClipTruth((track,)), exact, (100, 50, 1), 30.0)  # noqa: B023
        assert (got.kinds["face"].visible > 0) is leaks
        assert got.false_area == 0
        assert got.true_area == pytest.approx(400 / 5000)
    wide = measure("a", lambda n: (Region("plate", (0, 0, 40, 20), 0.9),), ClipTruth((track,)), exact, (100, 50, 1), 30)
    assert wide.false_area == pytest.approx(400 / 5000)


def test_flickers_are_runs_between_hidden_frames() -> None:
    leaks = {0: True, 1: False, 2: True, 3: True, 4: False, 6: True, 7: False, 8: True}
    assert list(flickers_of(leaks, 30)) == [range(2, 4), range(6, 7)]
    assert list(flickers_of({}, 30)) == []


def test_boxes_of_a_clip_of_another_shape_or_length_are_refused() -> None:
    track = TrueTrack("1", "plate", {10: (0, 0, 20, 10)})
    with pytest.raises(AnnotationError, match="frames"):
        ClipTruth((track,)).at(100, 100, 10)
    with pytest.raises(AnnotationError, match="frames"):
        ClipTruth((track,), frames=30).at(100, 100, 20)
    with pytest.raises(AnnotationError, match="100x200"):
        ClipTruth((track,), (200, 100)).at(100, 200, 20)
    assert ClipTruth((track,), (200, 100)).at(400, 200, 20)[0].boxes == {10: (0, 0, 40, 20)}


def test_clips_count_by_their_time_and_intervals_are_over_clips() -> None:
    one = ClipResult("a", 300, 10.0, {"face": KindTime(10, 1, 2, 3, 1)}, 0.02, 0.1)
    two = ClipResult("b", 300, 10.0, {"face": KindTime(30, 0, 0, 1, 0)}, 0.04, 0.1)
    failed = ClipResult("c", error="broken")
    alone = summary([one], ClipAnnotations({}))
    assert (alone.leaks["face"].value, alone.leaks["face"].interval) == (0.1, None)
    both = summary([one, two, failed], ClipAnnotations({}, unannotated=("d",), unknown={"cat": 2}))
    assert both.leaks["face"].value == pytest.approx(1 / 40)
    low, high = both.leaks["face"].interval or (1, 0)
    assert low == 0 < 1 / 40 < high == pytest.approx(0.1)
    assert both.kinds["face"] == KindTime(40, 1, 2, 4, 1)
    assert both.false_area.value == pytest.approx(0.03)
    assert (both.withheld, both.unannotated, both.unknown) == ({"c": "broken"}, 1, {"cat": 2})
    assert json.loads(json.dumps(both.to_dict()))["kinds"]["face"]["leaks"]["value"] == pytest.approx(1 / 40)
    assert summary([failed], ClipAnnotations({})).false_area.value is None


def write_mot(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("1,1,10,20,30,40,1,1\n1,2,10,20,30,40,1,2\n")


def test_annotations_find_their_clips(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("face\ncat\n")
    write_mot(tmp_path / "ride" / "gt" / "gt.txt")
    write_mot(tmp_path / "x" / "walk.txt")
    found = read(tmp_path, tmp_path, ["clips/ride.mp4", "x/walk.mkv", "y/walk.mkv", "other.mp4"])
    assert set(found.clips) == {"clips/ride.mp4", "x/walk.mkv"}
    assert found.unannotated == ("other.mp4", "y/walk.mkv")
    assert found.unknown == {"cat": 2}
    assert read(tmp_path, tmp_path, ["clips/ride.mp4", "x/walk.mkv"], ("cat",)).unknown == {}


def test_one_file_takes_the_names_of_classes_beside_it(tmp_path: Path) -> None:
    write_mot(tmp_path / "walk.txt")
    with pytest.raises(AnnotationError, match=r"labels\.txt"):
        read(tmp_path / "walk.txt", tmp_path, ["walk.mp4"])
    (tmp_path / "labels.txt").write_text("face\nplate\n")
    (truth,) = read(tmp_path / "walk.txt", tmp_path, ["walk.mp4"]).clips.values()
    assert [(t.kind, t.boxes) for t in truth.tracks] == [
        ("face", {0: (10, 20, 40, 60)}), ("plate", {0: (10, 20, 40, 60)}),
    ]  # fmt: skip


def test_annotations_of_no_clip_here_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("face\nplate\n")
    write_mot(tmp_path / "walk.txt")
    with pytest.raises(AnnotationError, match="none of the 1 clips"):
        read(tmp_path, tmp_path, ["other.mp4"])
    with pytest.raises(AnnotationError, match="no annotations"):
        read(tmp_path / "nothing", tmp_path, ["other.mp4"])
    write_mot(tmp_path / "x" / "walk.txt")
    with pytest.raises(AnnotationError, match="twice"):
        read(tmp_path, tmp_path, ["walk.mp4"])


def test_a_name_that_fits_two_clips_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("face\nplate\n")
    write_mot(tmp_path / "walk.txt")
    with pytest.raises(AnnotationError, match="several"):
        read(tmp_path, tmp_path, ["x/walk.mp4", "y/walk.mp4"])
