"""Arrays in a file instead of in memory."""

from __future__ import annotations

import gc
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from anonymize import Region
from anonymize.video import association, found, spilled
from anonymize.video.found import Segments
from anonymize.video.motion import Motion
from anonymize.video.spilled import Spill
from anonymize.video.tracks import make_tracks
from tests.support.found import found_of


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


def test_following_a_long_clip_takes_no_more_memory_than_a_short_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(association, "WINDOW", 4.0)
    monkeypatch.setattr(association, "OVERLAP", 1.0)
    monkeypatch.setattr(spilled, "IN_MEMORY", 1000)
    monkeypatch.setattr(found, "AT_HAND", 2)

    def moving(frame: int) -> list[Region] | None:
        x = frame % 260
        return None if frame % 5 else [Region("face", (x, 40, x + 30, 80), 0.9)]

    def saved(frames: int) -> list[Path]:
        files = []
        for first in range(0, frames, 50):
            files.append(tmp_path / f"{frames}-{first}.npz")
            part = [moving(frame) for frame in range(first, min(first + 50, frames))]
            found_of(part, Motion.still(len(part), 320, 180), ("face",)).save(files[-1])
        return files

    def highest(frames: int) -> int:
        files = saved(frames)
        gc.collect()
        tracemalloc.start()
        try:
            tracks = make_tracks(Segments(files), 30.0)
            assert len(tracks) > frames // 300
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    highest(200)  # what is imported and cached once
    assert highest(2400) < 1.5 * highest(600)  # in memory, motion alone would more than double it
