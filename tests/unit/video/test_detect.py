"""The first pass: which frames are searched, and what is kept of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from anonymize import Predictor, Settings
from anonymize.errors import DetectionError, RecordsError, SettingsError
from anonymize.regions import Region
from anonymize.video.detect import Every, Search
from anonymize.video.found import Found, Segments
from tests.support.found import regions_of

from .test_motion import HEIGHT, WIDTH, at, picture

RATE = 30.0
BIG = picture(1)


class Scripted:
    """Finds in the n-th image that it is shown what the frame's corner says: its number."""

    name, weights, kinds = "scripted", {"script": "0" * 64}, frozenset({"face", "plate"})

    def __init__(self, script: dict[int, Sequence[Region]]) -> None:
        self.script, self.seen = script, list[int]()

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Region]]:
        numbers = [int(i[0, 0, 0]) for i in images]
        self.seen += numbers
        return [list(self.script.get(n, ())) for n in numbers]


def frames(count: int, step: int = 0, cut: int = -1) -> list[NDArray[np.uint8]]:
    out = [at(BIG if n < cut or cut < 0 else picture(2), step * n, 0) for n in range(count)]
    for n, frame in enumerate(out):
        frame[0, 0] = n
    return out


def face(x: float, score: float = 0.9) -> Region:
    return Region("face", (x, 20, x + 20, 45), score)


def search(
    pictures: Sequence[NDArray[np.uint8]], script: dict[int, Sequence[Region]], every: Every, *taken: int
) -> tuple[list[Found], Scripted]:
    detector = Scripted(script)
    predictor = Predictor(Settings(face_detector="none", plate_detector="none"), detectors=[detector])
    searching, out = Search(predictor, WIDTH, HEIGHT, RATE, every), []
    for n, rgb in enumerate(pictures):
        searching.add(rgb)
        if n in taken:
            out.append(searching.take())
    return [*out, searching.take()], detector


def test_every_frame_is_searched_unless_told_otherwise() -> None:
    (found,), detector = search(frames(8), {n: [face(n)] for n in range(8)}, 1)
    assert detector.seen == list(range(8))
    assert [r and r[0].box[0] for r in regions_of(found)] == list(range(8))


def test_every_third_and_always_the_first_and_the_last() -> None:
    (found,), detector = search(frames(9), {3: [face(5)]}, 3)
    assert detector.seen == [0, 3, 6, 8]
    kept = regions_of(found)
    assert kept == [(), None, None, (face(5),), None, None, (), None, ()]
    assert found.searched.tolist() == [n in (0, 3, 6, 8) for n in range(9)]


def test_a_still_picture_is_searched_from_time_to_time_and_a_moving_one_always() -> None:
    script = {n: [face(40)] for n in range(24)}
    assert search(frames(16), script, "auto")[1].seen == [0, 5, 10, 15]
    assert search(frames(16, step=8), script, "auto")[1].seen == list(range(16))


def test_a_frame_rate_that_cannot_be_skips_no_more_frames() -> None:
    detector = Scripted({})
    predictor = Predictor(Settings(face_detector="none", plate_detector="none"), detectors=[detector])
    searching = Search(predictor, WIDTH, HEIGHT, 2250.0, "auto")
    for rgb in frames(31):
        searching.add(rgb)
    assert detector.seen == [0, 10, 20, 30]


def test_where_something_comes_or_goes_no_frame_is_skipped() -> None:
    script = {n: [face(40), *([face(150)] if 7 <= n <= 12 else [])] for n in range(50)}
    seen = search(frames(50), script, "auto")[1].seen
    assert {6, 7, 8, 9, 10, 11, 12, 13, 14, 15} <= set(seen)
    assert set(range(16, 28)) <= set(seen)  # for half a second it may come back in any
    assert not {1, 2, 3, 4, 36, 37, 38} & set(seen)


def test_the_frames_on_both_sides_of_a_cut_are_searched() -> None:
    seen = search(frames(16, cut=8), {}, 6)[1].seen
    assert {0, 6, 7, 8, 14, 15} == set(seen)


def test_segments_make_one_clip(tmp_path: Path) -> None:
    script = {n: [face(n), Region("plate", (5, 5, 30, 12), 0.5)] for n in range(12)}
    (whole,), _ = search(frames(12, step=2), script, 1)
    parts, _ = search(frames(12, step=2), script, 1, 3, 7)
    for n, part in enumerate(parts):
        part.save(tmp_path / f"{n}.npz")
    for again in (Segments(parts), Segments([tmp_path / f"{n}.npz" for n in range(3)])):
        for kind in whole.kinds:
            for first, stop in ((0, 12), (3, 5), (9, 12)):
                before, rows = again.between(kind, first, stop)
                assert before == first
                assert np.array_equal(rows, Segments([whole]).between(kind, first, stop)[1])
                assert rows[:, 0].tolist() == list(range(first, stop))
        assert np.array_equal(again.motion.shifts[:], whole.motion.shifts)
        assert (again.kinds, again.motion.cuts) == (whole.kinds, whole.motion.cuts)
        assert again.searched.tolist() == [True] * 12


def test_a_broken_segment_is_refused_and_segments_of_two_detections_too(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no such thing")
    with pytest.raises(RecordsError):
        Found.load(tmp_path / "x")
    (found,), _ = search(frames(3), {}, 1)
    other = Found(found.searched, found.rows, found.kinds, found.motion, "other")
    with pytest.raises(RecordsError):
        Segments([found, other])
    with pytest.raises(RecordsError):
        Segments([])


def test_faint_candidates_and_kinds_that_are_not_hidden_are_not_kept() -> None:
    script = {0: [face(10, 0.004), face(60, 0.02), Region("vehicle", (0, 0, 9, 9), 0.9)]}
    (found,), _ = search(frames(1), script, 1)
    assert regions_of(found) == [(face(60, 0.02),)]


def test_as_many_as_are_kept_is_an_error() -> None:
    detector = Scripted({0: [face(30 * n) for n in range(5)]})
    settings = Settings(face_detector="none", plate_detector="none", max_regions=3)
    searching = Search(Predictor(settings, detectors=[detector]), WIDTH, HEIGHT, RATE)
    searching.add(frames(1)[0])
    with pytest.raises(DetectionError, match="max_regions"):
        searching.take()


@pytest.mark.parametrize("every", [1, 3, "auto"])
def test_frames_are_searched_one_at_a_time_and_in_order(every: Every) -> None:
    busy = threading.Lock()

    class Slow(Scripted):
        def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Region]]:
            assert busy.acquire(blocking=False)
            time.sleep(0.01)
            busy.release()
            return super().detect(images)

    detector = Slow({})
    settings = Settings(face_detector="none", plate_detector="none")
    searching = Search(Predictor(settings, detectors=[detector]), WIDTH, HEIGHT, RATE, every)
    for rgb in frames(20, step=8):
        searching.add(rgb)
    found = searching.take()
    assert np.flatnonzero(found.searched).tolist() == detector.seen == sorted(detector.seen)


@pytest.mark.parametrize("every", [0, -1, 31])
def test_every_is_a_number_or_auto(every: int) -> None:
    with pytest.raises(SettingsError):
        Search(Predictor(Settings(), detectors=[]), WIDTH, HEIGHT, RATE, every)


def test_how_the_picture_lies_is_looked_at_once_a_second() -> None:
    class Lying:
        weights: dict[str, str] = {}  # noqa: RUF012
        looks = 0

        def turns(self, image: NDArray[np.uint8]) -> tuple[int, ...]:
            self.looks += 1
            return (0,)

    lying, detector = Lying(), Scripted({})
    predictor = Predictor(Settings(), detectors=[detector], upright=lying)  # type: ignore[arg-type]
    searching = Search(predictor, WIDTH, HEIGHT, RATE)
    for rgb in frames(60):
        searching.add(rgb)
    searching.take()
    assert (len(detector.seen), lying.looks) == (60, 2)
