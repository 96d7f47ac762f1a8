"""Arrays in a file instead of in memory."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from anonymize import Region
from anonymize.video import association, spilled
from anonymize.video.motion import GRID, Motion
from anonymize.video.spilled import Spill, Table
from anonymize.video.tracks import make_tracks


def test_arrays_come_back_whole_and_in_part(tmp_path: Path) -> None:
    spill = Spill(tmp_path)
    first, second = np.arange(12.0).reshape(6, 2), np.array([3, 1, 2], np.uint8)
    a, b = spill.put(first), spill.put(second)
    assert np.array_equal(a.load(), first)
    assert np.array_equal(b.load(), second)
    assert np.array_equal(a.load(2, 4), first[2:4])
    assert a.load(5, 99).shape == (1, 2)
    assert a.load(9).shape == (0, 2)
    assert b.load().dtype == np.uint8


def test_in_another_process_it_is_an_array() -> None:
    there = pickle.loads(pickle.dumps(Spill().put(np.arange(4.0))))
    assert isinstance(there, np.ndarray)
    assert there.tolist() == [0, 1, 2, 3]


def test_what_is_much_lies_in_a_file_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spilled, "IN_MEMORY", 100)
    spill = Spill(tmp_path)
    values = np.arange(1000.0)
    tracemalloc.start()
    try:
        kept = [spill.put(values) for _ in range(100)]
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()
    assert all(np.array_equal(k.load(), values) for k in kept)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_takes_nothing_is_not_needed(tmp_path: Path) -> None:
    assert Spill(tmp_path / "none").put(np.ones(3)).load().tolist() == [1, 1, 1]


def test_a_table_gives_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spilled, "ROWS", 4)
    table = Table(Spill(), 2)
    frames = [0, 0, 1, 3, 3, 3, 7, 9, 9, 12]
    for n, frame in enumerate(frames):
        table.add((frame, n))
    for first in range(14):
        for stop in range(first, 14):
            before, rows = table.between(first, stop)
            assert before == sum(f < first for f in frames) or not len(rows)
            assert rows[:, 1].tolist() == [n for n, f in enumerate(frames) if first <= f < stop]
    table.add((20, 10))
    assert table.between(12, 99)[1].tolist() == [[12, 9], [20, 10]]


def test_following_a_long_clip_takes_no_more_memory_than_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(association, "WINDOW", 4.0)
    monkeypatch.setattr(association, "OVERLAP", 1.0)
    monkeypatch.setattr(spilled, "IN_MEMORY", 1000)
    monkeypatch.setattr(spilled, "ROWS", 10)

    def moving(frames: int) -> Iterator[list[Region] | None]:
        for frame in range(frames):
            x = frame * 3 % 260
            yield None if frame % 5 else [Region("face", (x, 40, x + 30, 80), 0.9)]

    def highest(frames: int) -> int:
        still = np.broadcast_to(np.zeros((1, *GRID, 2), np.float16), (frames, *GRID, 2))
        tracemalloc.start()
        try:
            tracks = make_tracks(moving(frames), 30.0, Motion(still, frozenset(), 320, 180), ("face",))
            assert len(tracks) > frames // 100
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    highest(200)  # what is imported and cached once
    assert highest(2400) < 1.3 * highest(600)
