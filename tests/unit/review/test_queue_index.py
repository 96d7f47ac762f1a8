"""What is kept of a queue beside its records saves looking, and changes no order."""

from __future__ import annotations

from pathlib import Path

import pytest

from anonymize import records
from anonymize.records import Header, Record, queue_beside
from anonymize.regions import Region
from anonymize.settings import Settings
from review import queue_index
from review.items import rank
from review.queue import Queue
from review.store import ReviewStore

SETTINGS = Settings().with_kind("face", threshold=0.5).with_kind("plate", threshold=0.25)
CAR = Region("vehicle", (400, 300, 800, 620), 0.9)


def photo(n: int, score: float, **more: object) -> Record:
    found = [Region("face", (100, 100, 160, 160), score, {"fake": score})]
    found += [Region("plate", (500, 500, 600, 530), 0.9)] if n % 3 == 0 else []
    return Record(f"ride/f_{n:03}.jpg", f"{n}", 1000, 800, (*found, CAR), detectors={"fake": {}}, **more)


@pytest.fixture
def known() -> list[Record]:
    return [photo(n, (37 * n % 100) / 100) for n in range(12)] + [photo(40, 0.2), photo(41, 0.3, error="truncated")]


@pytest.fixture
def path(tmp_path: Path, known: list[Record], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(queue_index, "MANY", 1)
    records.write(tmp_path / "r.jsonl", Header("/p", SETTINGS), known)
    return tmp_path / "r.jsonl"


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Photos that were looked at."""
    out: list[str] = []
    plain = queue_index.see
    monkeypatch.setattr(queue_index, "see", lambda record, of: (out.append(record.path), plain(record, of))[1])
    return out


def figures(queue: Queue) -> list[object]:
    scores = [queue.at_threshold(kind, t) for kind in ("face", "plate", "vehicle") for t in (0.001, 0.3, 0.9)]
    places = [queue.place(i.path) for i in queue.items()]
    return [queue.items(), places, len(queue), queue.progress(), queue.decided(), queue.note, scores]


def test_the_order_is_that_of_all_records(path: Path, known: list[Record]) -> None:
    assert Queue(ReviewStore(path)).items() == rank(known, SETTINGS)


def test_a_second_look_looks_at_nothing(path: Path, looked: list[str]) -> None:
    first = Queue(ReviewStore(path))
    ReviewStore(path).decide("ride/f_004.jpg", "flag", who="ana")
    wanted = figures(first)
    assert queue_beside(path).exists()
    looked.clear()
    again = Queue(ReviewStore(path))
    assert len(again) == 14
    assert looked == []
    assert figures(again) == wanted


def test_only_what_is_another_is_looked_at(path: Path, known: list[Record], looked: list[str]) -> None:
    queue = Queue(ReviewStore(path))
    len(queue)
    looked.clear()
    known[5] = photo(5, 0.45)
    del known[8]
    records.write(path, Header("/p", SETTINGS), [photo(60, 0.4), *reversed(known)])  # written anew, in another order
    for each in (queue, Queue(ReviewStore(path))):
        assert sorted(i.path for i in each.items()) == sorted(r.path for r in [photo(60, 0.4), *known])
        assert {i.path: i.risk for i in each.items()} == {
            i.path: i.risk for i in rank([photo(60, 0.4), *known], SETTINGS)
        }
    looked.clear()
    assert len(Queue(ReviewStore(path))) == 14
    assert looked == []


def test_other_settings_and_damage_mean_a_new_look(path: Path, known: list[Record], looked: list[str]) -> None:
    len(Queue(ReviewStore(path)))
    kept = queue_beside(path).read_bytes()
    other = SETTINGS.with_kind("face", threshold=0.2)
    looked.clear()
    assert Queue(ReviewStore(path, other)).items() == rank(known, other)
    assert len(set(looked)) == 14
    for damage in (b"", b"no", kept[:200], kept[:-200]):
        queue_beside(path).write_bytes(damage)
        assert Queue(ReviewStore(path)).items() == rank(known, SETTINGS)


def test_a_slice_and_what_lies_behind_are_the_order(path: Path) -> None:
    queue = Queue(ReviewStore(path))
    items = queue.items()
    assert queue.items(3, 6) == items[3:6]
    pending = [i for i in items if i.status == "pending"]
    assert queue.pending(4) == pending[:4]
    at = items[4].path
    assert list(queue.behind(at)) == [i for i in [*items[5:], *items[:5]] if i.status == "pending"]
    assert (queue.item("nothing.jpg"), queue.place("nothing.jpg"), queue.count("error")) == (None, None, 1)
