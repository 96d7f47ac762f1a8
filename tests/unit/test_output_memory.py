"""The memory of an output folder: what is there is known, what others did is seen, and it does not grow."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from anonymize.errors import RecordsError
from anonymize.output_memory import OutputMemory


def memory(folder: Path) -> OutputMemory:
    def place(entry: object) -> Path:
        path = folder / entry["path"]  # type: ignore[index]
        if not path.is_relative_to(folder) or ".." in path.parts:
            raise ValueError("it leads elsewhere")
        return path

    return OutputMemory(folder / "memory.jsonl", place)


def test_a_file_is_whole_until_somebody_touches_it(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    with memory(tmp_path) as open_:
        file.write_bytes(b"clean")
        open_.put("a.jpg", file, "hash")
    with memory(tmp_path) as later:
        assert (later.shows("a.jpg"), later.shows("b.jpg")) == ("hash", "")
        assert later.is_whole("a.jpg", file)
        assert not later.is_whole("b.jpg", tmp_path / "b.jpg")
        os.utime(file, ns=(0, 0))
        assert not later.is_whole("a.jpg", file)


def test_lines_that_later_ones_replace_go_when_it_is_opened(tmp_path: Path) -> None:
    with memory(tmp_path) as open_:
        for shows in ("?", "one", "?", "two"):
            open_.put("a.jpg", tmp_path / "a.jpg", shows, sha256="s")
        open_.put("b.jpg", tmp_path / "b.jpg", "one")
        open_.put("b.jpg", tmp_path / "b.jpg", "")
    with memory(tmp_path) as later:
        assert later.shows("a.jpg") == "two"
    (line,) = (tmp_path / "memory.jsonl").read_text().splitlines()
    assert json.loads(line) == {"path": "a.jpg", "shows": "two", "stamp": None, "sha256": "s"}


def test_a_copy_by_hard_links_leaves_the_original_alone(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with memory(first) as open_:
        open_.put("a.jpg", first / "a.jpg", "one")
    second.mkdir()
    os.link(first / "memory.jsonl", second / "memory.jsonl")
    before = (first / "memory.jsonl").read_bytes()
    with memory(second) as open_:
        open_.put("a.jpg", second / "a.jpg", "two")
    assert (first / "memory.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    "line", ['{"path": "../a.jpg", "shows": "x"}', '{"path": "a.jpg", "shows": 3}', '{"shows": "x"}', "[]"]
)
def test_what_this_program_did_not_write_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "memory.jsonl").write_text(line + "\n")
    with pytest.raises(RecordsError), memory(tmp_path):
        pass
