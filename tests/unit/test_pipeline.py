from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymize.pipeline import run_pipeline


def run(items: list[int], size: Callable[[int], int] = lambda _: 1, room: int = 100, threads: int = 2, **steps):  # type: ignore[no-untyped-def]
    same = lambda x: x  # noqa: E731
    read, work, finish = (steps.get(name, same) for name in ("read", "work", "finish"))
    more = {name: steps[name] for name in ("stop", "batch", "at_once") if name in steps}
    return run_pipeline(
        items, read, lambda some: [work(i) for i in some], finish, threads=threads, size=size, room=room, **more
    )


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 4), st.integers(1, 60))
def test_everything_comes_out_once_and_in_order(items: list[int], threads: int, room: int) -> None:
    done = list(
        run(items, lambda i: i, room, threads, read=lambda i: i + 1, work=lambda i: 2 * i, finish=lambda i: i - 1)
    )
    assert done == [2 * (i + 1) - 1 for i in items]


@settings(deadline=None)
@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 3))
def test_what_is_in_flight_stays_within_the_room(items: list[int], threads: int) -> None:
    lock, room = threading.Lock(), 60
    inside: list[int] = []
    most = [0, 0]

    def read(i: int) -> int:
        with lock:
            inside.append(i)
            most[0], most[1] = max(most[0], sum(inside)), max(most[1], len(inside))
        return i

    def finish(i: int) -> int:
        with lock:
            inside.remove(i)
        return i

    assert list(run(items, lambda i: i, room, threads, read=read, finish=finish)) == items
    assert most[0] <= max([room, *items])
    assert most[1] <= 2 * threads + 1


def test_the_steps_run_at_the_same_time() -> None:
    """One photo is read, another worked on and a third finished at one moment: each step waits for the other two."""
    meeting = threading.Barrier(3, timeout=60)

    def meet_at(item: int) -> Callable[[int], int]:
        def step(i: int) -> int:
            if i == item:
                meeting.wait()
            return i

        return step

    assert list(run([0, 1, 2, 3], threads=4, read=meet_at(2), work=meet_at(1), finish=meet_at(0))) == [0, 1, 2, 3]


@pytest.mark.parametrize("step", ["read", "work", "finish"])
def test_an_exception_ends_it(step: str) -> None:
    def fail(i: int) -> int:
        if i == 3:
            raise ValueError("three")
        return i

    done = []
    with pytest.raises(ValueError, match="three"):
        done.extend(run(list(range(100)), **{step: fail}))


def test_nothing_is_worked_on_after_what_failed() -> None:
    """Whoever waits for the results may hear of it late."""
    worked = []

    def work(i: int) -> int:
        worked.append(i)
        if i == 1:
            raise ValueError("one")
        return i

    results = run(list(range(9)), work=work)
    assert next(results) == 0
    time.sleep(0.2)  # all that is in flight could be worked on
    with pytest.raises(ValueError, match="one"):
        next(results)
    assert worked == [0, 1]


def test_as_many_threads_work_as_are_asked_for() -> None:
    """One by default, for what is not made for several; with more, as many items are worked on at one moment."""
    names = set(run(list(range(20)), work=lambda _: threading.current_thread().name))
    assert len(names) == 1
    meeting = threading.Barrier(3, timeout=60)

    def meet(i: int) -> int:
        meeting.wait()
        return -i

    assert list(run(list(range(9)), threads=4, at_once=3, work=meet)) == [-i for i in range(9)]


def test_a_consumer_that_leaves_cancels_what_was_not_begun() -> None:
    began: list[int] = []
    for _ in run(list(range(1000)), read=lambda i: began.append(i) or i):
        break
    assert len(began) < 10


def test_what_is_read_is_worked_on_together_and_comes_out_in_order() -> None:
    """All wait in the room while the first is worked on; then as many as may are taken at once."""
    seen: list[int] = []
    read = threading.Semaphore(0)

    def work(some: list[int]) -> list[int]:
        if not seen:
            for _ in range(6):
                assert read.acquire(timeout=60)
        seen.append(len(some))
        return some

    done = run_pipeline(
        list(range(6)), lambda i: read.release() or i, work, lambda i: i, threads=3, size=lambda _: 1, room=9, batch=4
    )
    assert list(done) == list(range(6))
    assert max(seen) > 1
    assert max(seen) <= 4
