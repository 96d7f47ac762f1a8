"""Tracks: what is hidden in one frame is hidden as long as the thing is there."""

from __future__ import annotations

import pickle
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as run
from hypothesis import strategies as st

from anonymize.errors import SettingsError
from anonymize.regions import Region
from anonymize.settings import Settings
from anonymize.video import association
from anonymize.video.association import JOIN, LEVELS
from anonymize.video.closing import BLINK, DETECTED, EXTENDED
from anonymize.video.found import Segments
from anonymize.video.motion import Motion
from anonymize.video.spilled import Spill
from anonymize.video.tracks import Shown, Track, regions_at
from anonymize.video.tracks import make_tracks as tracks_of
from tests.support.found import found_of, make_tracks

RATE, WIDTH, HEIGHT = 30.0, 640, 360
Frames = list[tuple[Region, ...] | None]


def still(frames: int, cuts: tuple[int, ...] = ()) -> Motion:
    return Motion.still(frames, WIDTH, HEIGHT, cuts)


def walking(frames: int, found: dict[int, float], step: float = 4.0, kind: str = "face") -> Frames:
    """One thing that moves right by `step` px a frame, found in some frames with these scores."""
    out: Frames = [() for _ in range(frames)]
    for frame, score in found.items():
        x = 20 + step * frame
        out[frame] = (Region(kind, (x, 100, x + 24, 130), score),)
    return out


def inside(inner: tuple[float, ...], outer: tuple[float, ...]) -> bool:
    return inner[0] >= outer[0] and inner[1] >= outer[1] and inner[2] <= outer[2] and inner[3] <= outer[3]


def hidden(tracks: tuple[Track, ...], frames: int, settings: Settings) -> list[tuple[Region, ...]]:
    return [regions_at(tracks, frame, settings) for frame in range(frames)]


def test_a_face_that_is_sure_in_one_frame_is_hidden_in_all() -> None:
    found = walking(60, dict.fromkeys(range(10, 50), 0.06) | {30: 0.9})
    tracks = make_tracks(found, RATE, still(60))
    assert len(tracks) == 1
    for frame in range(10, 50):
        (region,) = regions_at(tracks, frame, Settings())
        assert inside(found[frame][0].box, region.box)  # type: ignore[index]


def test_a_face_that_is_sure_in_no_frame_is_not() -> None:
    found = walking(60, dict.fromkeys(range(10, 50), 0.06))
    assert not any(hidden(make_tracks(found, RATE, still(60)), 60, Settings()))


def test_frames_in_which_it_was_not_found_are_filled_where_it_is() -> None:
    seen = walking(60, dict.fromkeys(range(60), 0.9))
    gaps = [r if n % 9 in (0, 1, 2) else () for n, r in enumerate(seen)]
    tracks = make_tracks(gaps, RATE, still(60))
    assert len(tracks) == 1
    assert {tracks[0].source(n) for n in (3, 4, 5)} == {"filled"}
    for frame in range(57):
        (region,) = regions_at(tracks, frame, Settings())
        assert inside(seen[frame][0].box, region.box)  # type: ignore[index]


def test_frames_that_were_not_searched_are_filled_too() -> None:
    seen = walking(60, dict.fromkeys(range(60), 0.9))
    every_fourth = [r if n % 4 == 0 else None for n, r in enumerate(seen)]
    tracks = make_tracks(every_fourth, RATE, still(60))
    assert len(tracks) == 1
    for frame in range(60):
        assert any(inside(seen[frame][0].box, r.box) for r in regions_at(tracks, frame, Settings()))  # type: ignore[index]


def test_a_track_goes_on_before_and_after_what_was_found() -> None:
    seen = walking(90, dict.fromkeys(range(90), 0.9), step=2.0)
    middle = [r if 40 <= n < 50 else () for n, r in enumerate(seen)]
    (track,) = make_tracks(middle, RATE, still(90))
    assert (track.first, track.last) == (25, 64)  # half a second on each side
    assert (track.source(39), track.source(40), track.source(50)) == ("extended", "detected", "extended")
    for frame in track.frames:
        assert inside(seen[frame][0].box, track.box(frame) or ())  # type: ignore[index]


def test_where_it_may_have_gone_on_otherwise_that_is_hidden_too() -> None:
    """It moves on by 6 px a frame; what is found after the gap is another thing, which stands."""
    seen = walking(60, dict.fromkeys(range(60), 0.9), step=6.0)
    found = [r if n <= 20 else () for n, r in enumerate(seen)]
    found[26:] = [(Region("face", (148, 100, 172, 130), 0.9),)] * 34
    tracks = make_tracks(found, RATE, still(60))
    for frame in range(21, 26):
        assert any(inside(seen[frame][0].box, r.box) for r in regions_at(tracks, frame, Settings()))  # type: ignore[index]


def test_a_frame_rate_that_cannot_be_is_not_believed() -> None:
    found = walking(600, {300: 0.9}, step=0.0)
    assert [(t.first, t.last) for t in make_tracks(found, 90_000.0, still(600))] == [(180, 420)]
    assert [(t.first, t.last) for t in make_tracks(found, 0.0, still(600))] == [(298, 302)]


def test_what_leaves_the_picture_is_followed_to_its_edge() -> None:
    seen = walking(200, dict.fromkeys(range(200), 0.9), step=5.0)
    early = [r if n < 90 else () for n, r in enumerate(seen)]
    (track,) = make_tracks(early, RATE, still(200))
    gone = next(n for n in range(200) if 20 + 5 * n >= WIDTH)
    assert track.last >= gone - 1 > 89 + 0.5 * RATE


def test_what_the_camera_moves_is_followed_as_the_picture_moves() -> None:
    frames = 40
    motion = still(frames)
    motion.shifts[5:15, ..., 0] = 12.0  # a jolt to the right
    x = 100 + np.cumsum(motion.shifts[:, 0, 0, 0].astype(float))
    seen: Frames = [(Region("plate", (v, 200, v + 40, 212), 0.9),) for v in x]
    gaps = [r if n in (3, 4, 16, 17) else () for n, r in enumerate(seen)]
    (track,) = make_tracks(gaps, RATE, motion)
    for frame in range(frames):
        if track.box(frame):
            assert inside(seen[frame][0].box, track.box(frame) or ())  # type: ignore[index]


def test_nothing_goes_across_a_cut() -> None:
    found = walking(40, dict.fromkeys(range(40), 0.9), step=0.0)
    tracks = make_tracks(found, RATE, still(40, (20,)))
    assert sorted((t.first, t.last) for t in tracks) == [(0, 19), (20, 39)]


def test_what_a_flash_blinds_the_detector_for_stays_hidden() -> None:
    found = walking(60, dict.fromkeys([*range(20), *range(22, 60)], 0.9))
    tracks = make_tracks(found, RATE, still(60, cuts=(20, 22)))
    for frame in range(60):
        x = 20 + 4.0 * frame
        assert any(inside((x, 100, x + 24, 130), r.box) for r in regions_at(tracks, frame, Settings())), frame


def test_two_that_cross_stay_hidden() -> None:
    right = walking(60, dict.fromkeys(range(60), 0.9), step=4.0)
    left: Frames = [(Region("face", (280 - 4 * n, 102, 304 - 4 * n, 132), 0.8),) for n in range(60)]
    both: Frames = [(*(a or ()), *(b or ())) for a, b in zip(right, left, strict=True)]
    shown = [b if n % 3 else () for n, b in enumerate(both)]
    tracks = make_tracks(shown, RATE, still(60))
    for frame in range(60):
        for region in both[frame] or ():
            assert any(inside(region.box, r.box) for r in regions_at(tracks, frame, Settings()))


def test_a_thing_that_comes_once_is_a_track() -> None:
    (track,) = make_tracks(walking(60, {30: 0.9}), RATE, still(60))
    assert (track.first, track.last, track.score) == (15, 45, 0.9)


def of_texture(frames: int, scores: dict[int, float], side: float) -> Frames:
    """What looks like a face in some frames and lies a little elsewhere in each."""
    shake = np.random.default_rng(0).uniform(-0.1, 0.1, (frames, 2)) * side
    out: Frames = [() for _ in range(frames)]
    for n, score in scores.items():
        x, y = 200 + shake[n, 0], 100 + shake[n, 1]
        out[n] = (Region("face", (x, y, x + side, y + side), score),)
    return out


def test_one_false_alarm_of_a_large_texture_does_not_hide_it_for_long() -> None:
    faint = dict.fromkeys(range(120), 0.01)
    large = make_tracks(of_texture(120, faint | {60: 0.9}, 110), RATE, still(120))
    assert sum(bool(r) for r in hidden(large, 120, Settings())) <= 12
    small = make_tracks(of_texture(120, faint | {60: 0.9}, 20), RATE, still(120))
    assert sum(bool(r) for r in hidden(small, 120, Settings())) == 120  # small faces are seen as faintly as this


def test_a_large_face_that_is_found_again_and_again_is_followed_as_any_other() -> None:
    found = of_texture(120, dict.fromkeys(range(40, 60, 3), 0.5), 110)
    (track,) = make_tracks(found, RATE, still(120))
    assert (track.first, track.last) == (40 - 15, 58 + 15)


def test_a_plate_of_which_a_part_was_found_in_some_frames_is_hidden_whole() -> None:
    seen = walking(40, dict.fromkeys(range(40), 0.9), kind="plate")
    found = list(seen)
    for n in (19, 20, 21):
        x1, y1, x2, y2 = seen[n][0].box  # type: ignore[index]
        found[n] = (Region("plate", (x1 + 8, y1, x2, y2), 0.9),)
    (track,) = make_tracks(found, RATE, still(40))
    for n in (19, 20, 21):
        assert (track.box(n) or (99,))[0] < seen[n][0].box[0] + 4  # type: ignore[index]


def test_what_people_decided_holds_for_all_frames() -> None:
    (track,) = make_tracks(walking(20, dict.fromkeys(range(20), 0.9)), RATE, still(20))
    assert not any(hidden((track.replace(status="rejected"),), 20, Settings()))
    (faint,) = make_tracks(walking(20, dict.fromkeys(range(20), 0.06)), RATE, still(20))
    assert all(hidden((faint.replace(status="accepted"),), 20, Settings()))


def test_a_size_limit_counts_for_the_whole_life() -> None:
    found: Frames = [(Region("face", (100, 100, 104 + n, 104 + n), 0.9),) for n in range(20)]
    tracks = make_tracks(found, RATE, still(20))
    assert all(hidden(tracks, 20, Settings().with_kind("face", min_size=20)))
    assert not any(hidden(tracks, 20, Settings().with_kind("face", min_size=30)))


def test_kinds_that_are_not_followed_make_no_tracks() -> None:
    assert make_tracks(walking(20, {3: 0.9}, kind="person"), RATE, still(20)) == ()
    assert len(make_tracks(walking(20, {3: 0.9}, kind="person"), RATE, still(20), ("person",))) == 1


def test_a_track_survives_json() -> None:
    (track,) = make_tracks(walking(30, dict.fromkeys(range(0, 30, 3), 0.7)), RATE, still(30))
    assert Track.from_dict(track.to_dict()) == track
    drawn = track.replace(status="manual", id="x")
    assert Track.from_dict(drawn.to_dict()) == drawn != track


@pytest.mark.parametrize(
    "changes",
    [
        {"boxes": []},
        {"boxes": [[5, 5, 1, 9]]},
        {"scores": [2.0]},
        {"sources": "q"},
        {"status": "perhaps"},
        {"first": -1},
        {"more": 1},
        {"boxes": [["a", 0, 1, 1]]},
    ],
)
def test_what_is_no_track_is_refused(changes: dict[str, object]) -> None:
    good = {"kind": "face", "first": 0, "boxes": [[0, 0, 1, 1]], "sources": "d", "scores": [0.5]}
    assert Track.from_dict(good).last == 0
    with pytest.raises(SettingsError):
        Track.from_dict(good | changes)


@pytest.mark.parametrize("seconds", [1.0, 2.5])
def test_long_clips_are_followed_window_by_window(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    right = walking(300, {n: 0.06 if n % 50 else 0.9 for n in range(300) if n % 7 < 5}, step=2.0)
    left: Frames = [(Region("face", (600 - 2 * n, 200, 624 - 2 * n, 230), 0.8),) for n in range(300)]
    both: Frames = [(*(a or ()), *(b or ())) for a, b in zip(right, left, strict=True)]
    whole = make_tracks(both, RATE, still(300))
    monkeypatch.setattr(association, "WINDOW", seconds)
    monkeypatch.setattr(association, "OVERLAP", 0.5)
    assert make_tracks(both, RATE, still(300)) == whole
    parts = [found_of(both[n : n + 70], still(300), first=n) for n in range(0, 300, 70)]
    assert tracks_of(Segments(parts), RATE) == whole
    assert [(t.first, t.last) for t in whole] == [(0, 299), (0, 299)]


def test_a_run_of_frames_hides_what_the_whole_track_hides() -> None:
    found = walking(120, {n: 0.9 if n % 20 else 0.3 for n in range(120) if n % 9 < 6}, step=3.0)
    tracks = make_tracks(found, RATE, still(120))
    (track,) = tracks
    for first, stop in ((0, 5), (3, 9), (40, 41), (100, 120), (0, 120)):
        assert track.hidden_between(first, stop) == pytest.approx(track.hidden_boxes[first:stop], abs=1e-6)
        shown = Shown(tracks, range(first, stop), Settings())
        for frame in range(first, stop):
            (here,) = shown.regions_at(frame)
            assert here.box == pytest.approx(track.hidden_boxes[frame], abs=1e-6)
            assert regions_at(tracks, frame, Settings())[0].id == here.id == track.id
    assert Shown(tracks, range(200, 210), Settings()).regions_at(205) == ()


@pytest.mark.parametrize("seed", range(20))
def test_a_frame_hides_the_same_to_the_last_bit_whoever_asks(seed: int) -> None:
    """What was written is compared with the record frame by frame: a pixel more or less is a leak there."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 2000, 2) + np.cumsum(rng.normal(0, seed % 4, (40, 2)), axis=0)
    boxes = np.concatenate([corners, corners + rng.uniform(4, 300, 2)], axis=1).round(seed % 3)
    track = Track("face", 100, boxes, np.zeros(40), np.full(40, 0.9))
    whole = track.hidden_boxes
    for first in range(100, 140):
        for stop in range(first + 1, 141):
            assert np.array_equal(track.hidden_between(first, stop), whole[first - 100 : stop - 100])
    if seed % 4 == 0:  # it stands still
        assert np.array_equal(whole, boxes)


def test_a_thing_that_moves_evenly_is_hidden_where_it_is() -> None:
    boxes = np.arange(30)[:, None] * 1.1 + np.array([20.0, 21, 75, 70])
    track = Track("face", 0, boxes.round(2), np.zeros(30), np.full(30, 0.9))
    assert track.hidden_boxes == pytest.approx(boxes, abs=1e-6)
    assert (track.hidden_boxes[:, :2] <= track.boxes[:, :2]).all()
    assert (track.hidden_boxes[:, 2:] >= track.boxes[:, 2:]).all()


def test_a_track_in_a_file_is_the_same_track() -> None:
    (track,) = make_tracks(walking(60, dict.fromkeys(range(60), 0.9)), RATE, still(60))
    there = track.spilled(Spill())
    assert there == track == pickle.loads(pickle.dumps(there))
    assert there.replace(status="rejected").to_dict() == track.replace(status="rejected").to_dict()
    assert (there.score, there.last, there.source(30)) == (track.score, track.last, track.source(30))
    assert there.found_box(30).tolist() == track.boxes[30].tolist()


numbers = st.floats(0, 300, allow_nan=False)
regions = st.builds(
    lambda kind, x, y, w, h, score: Region(kind, (x, y, x + 1 + w / 4, y + 1 + h / 4), score),
    st.sampled_from(["face", "plate"]), numbers, numbers, numbers, numbers, st.floats(0, 1),
)  # fmt: skip
clips = st.lists(st.none() | st.lists(regions, max_size=4).map(tuple), min_size=1, max_size=14)


@run(max_examples=40, deadline=None)
@given(clips, st.sets(st.integers(1, 20), max_size=2), st.sampled_from([60.0, 0.1]))
def test_every_detection_lies_in_what_is_hidden_in_its_frame_and_no_track_has_a_gap(
    clip: Frames, cuts: set[int], window: float
) -> None:
    motion = still(len(clip), tuple(cuts))
    with mock.patch.multiple(association, WINDOW=window, OVERLAP=window / 4):
        tracks = make_tracks(clip, RATE, motion)
    low = Settings().with_kind("face", threshold=JOIN).with_kind("plate", threshold=JOIN)
    for frame, found in enumerate(clip):
        shown = regions_at(tracks, frame, low)
        for region in found or ():
            if region.score >= LEVELS[-1]:
                assert any(r.kind == region.kind and inside(region.box, r.box) for r in shown)
    for track in tracks:
        assert 0 <= track.first <= track.last < len(clip)
        begin, end = motion.scene(track.first + int(np.flatnonzero(track.sources == DETECTED)[0]))
        for frame, source in zip(track.frames, track.sources.tolist(), strict=True):
            start, stop = motion.scene(frame)
            assert begin <= frame < end or (source == EXTENDED and stop - start <= BLINK * RATE)
        assert all(inside(b, h) for b, h in zip(track.boxes.tolist(), track.hidden_boxes.tolist(), strict=True))


@run(max_examples=25, deadline=None)
@given(clips, st.floats(0.02, 1), st.floats(0.02, 1))
def test_a_lower_threshold_hides_no_less_and_the_whole_life_of_a_track(clip: Frames, a: float, b: float) -> None:
    tracks = make_tracks(clip, RATE, still(len(clip)))
    low, high = (Settings().with_kind("face", threshold=t).with_kind("plate", threshold=t) for t in sorted((a, b)))
    for frame in range(len(clip)):
        assert set(regions_at(tracks, frame, high)) <= set(regions_at(tracks, frame, low))
    for track in tracks:
        shown = {any(r.id == track.id for r in regions_at((track,), f, high)) for f in track.frames}
        assert len(shown) == 1
    for frame, found in enumerate(clip):
        for region in found or ():
            if high.hides(region) and region.score >= LEVELS[-1]:
                assert any(inside(region.box, r.box) for r in regions_at(tracks, frame, high))
