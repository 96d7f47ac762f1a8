"""Which detections are of one thing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anonymize.video.association import chains
from anonymize.video.found import Found, Segments
from anonymize.video.motion import Motion

RATE = 30.0


def of(rows: Sequence[tuple[int, float, float, float]], searched: Sequence[int] = range(60)) -> list[list[int]]:
    """Chains of squares (frame, x, side, score), each as the places of its squares."""
    boxes = [(frame, x, 50, x + side, 50 + side, score) for frame, x, side, score in rows]
    every_row = np.array([(frame, 0, *box) for frame, *box in boxes], np.float64).reshape(-1, 7)
    of_frame = np.isin(np.arange(60), np.array(searched))
    found = Segments([Found(of_frame, every_row, ("face",), Motion.still(60, 640, 360))])
    every = chains(found, "face", RATE)
    return sorted([boxes.index((f, *row)) for f, row in zip(c.frames, c.rows.tolist(), strict=True)] for c in every)


def test_what_moves_on_is_one_thing_from_its_first_frame_to_its_last() -> None:
    assert of([(n, 10 + 3 * n, 20, 0.9) for n in range(10)]) == [list(range(10))]
    assert of([(0, 10, 20, 0.9), (1, 12, 20, 0.9)]) == [[0, 1]]


def test_two_things_are_two() -> None:
    rows = [(n, x, 20, 0.9) for n in range(6) for x in (10, 200)]
    assert of(rows) == [[0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11]]


def test_faint_candidates_continue_a_chain_and_begin_none() -> None:
    assert of([(0, 10, 20, 0.9), (1, 11, 20, 0.006), (2, 12, 20, 0.9)]) == [[0, 1, 2]]
    assert of([(0, 10, 20, 0.9), (1, 11, 20, 0.004), (2, 12, 20, 0.9)]) == [[0, 2]]
    assert of([(n, 10, 20, 0.01) for n in range(9)]) == []
    assert of([(4, 10, 20, 0.02)]) == [[0]]


def test_sure_ones_choose_first() -> None:
    rows = [(n, 10, 20, 0.9) for n in range(5)] + [(n, 14, 20, 0.03) for n in range(5)]
    rows.sort()
    assert of(rows) == [[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]]


def test_one_of_another_size_in_between_is_another_thing() -> None:
    rows = [(n, 10, 20, 0.9) for n in range(4)] + [(4, 0, 70, 0.9)] + [(n, 10, 20, 0.9) for n in range(5, 9)]
    assert of(rows) == [[0, 1, 2, 3, 5, 6, 7, 8], [4]]


def test_long_after_it_only_what_is_sure_is_the_same_thing() -> None:
    assert of([(0, 10, 20, 0.3), (1, 10, 20, 0.3), (22, 10, 20, 0.3), (23, 10, 20, 0.3)]) == [[0, 1, 2, 3]]
    assert of([(0, 10, 20, 0.3), (1, 10, 20, 0.05), (22, 10, 20, 0.3), (23, 10, 20, 0.3)]) == [[0, 1], [2, 3]]
    assert of([(0, 10, 20, 0.3), (1, 10, 20, 0.05), (14, 10, 20, 0.05), (15, 10, 20, 0.3)]) == [[0, 1, 2, 3]]


def test_a_false_detection_beside_a_thing_that_was_not_found_is_not_it() -> None:
    rows = [(n, 10 + n, 20, 0.9) for n in range(6)] + [(6, 50, 20, 0.9)] + [(n, 10 + n, 20, 0.9) for n in range(7, 12)]
    assert of(rows) == [[0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11], [6]]


def test_where_frames_are_skipped_things_may_have_gone_farther() -> None:
    every_fifth = [(n, 10 + 9 * n, 20, 0.9) for n in range(0, 60, 5)]
    assert of(every_fifth, range(0, 60, 5)) == [list(range(12))]


def test_nothing_makes_no_chains() -> None:
    assert of([]) == []
    assert of([], []) == []
