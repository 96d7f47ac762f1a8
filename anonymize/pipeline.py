"""Three steps over many items at the same time: some threads read ahead, some work, some finish."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Generic, TypeVar

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
GIVE_BACK = 50  # photos after which freed memory goes back: of 300 sizes, `balanced` keeps 250 MB less


@dataclass
class _Flying(Generic[B, D]):
    """An item in flight: it is read, then worked on, then finished."""

    size: int
    read: Future[B]
    finished: Future[Future[D]] = field(default_factory=Future)


def run_pipeline(
    items: Iterable[A],
    read: Callable[[A], B],
    work: Callable[[list[B]], list[C]],
    finish: Callable[[C], D],
    *,
    threads: int,
    size: Callable[[A], int],
    room: int,
    batch: int = 1,
    at_once: int = 1,
    stop: threading.Event | None = None,
) -> Generator[D]:
    """`read`, `work` and `finish` for each item, in order; an exception of any step ends it.

    Args:
        items: what to do.
        work: on as many items as are read, `batch` at most.
        threads: that read and finish. At most 2 * threads + 1 items are in flight.
        size: of an item; the sizes of all in flight stay within `room`, except that one item may always be.
        at_once: threads that work.
        stop: when set, items in flight are finished and no further one begins.
    """
    waiting = deque(items)
    flying: deque[_Flying[B, D]] = deque()
    unworked: deque[_Flying[B, D]] = deque()
    taking, broken = threading.Lock(), threading.Event()

    def step() -> None:
        """The next item that nobody works on, with those after it that are read; nothing where others took them."""
        with taking:
            some = [unworked.popleft()] if unworked and not broken.is_set() else []
        if not some:
            return
        wait([some[0].read])
        with taking:
            while unworked and len(some) < batch and unworked[0].read.done():
                some.append(unworked.popleft())
        try:
            for one, done in zip(some, work([one.read.result() for one in some]), strict=True):
                one.finished.set_result(pool.submit(finish, done))
        except BaseException as e:  # whoever waits for it raises it; until then nobody begins another one
            broken.set()
            for one in some:
                if not one.finished.done():
                    one.finished.set_exception(e)

    with ThreadPoolExecutor(threads) as pool, ThreadPoolExecutor(at_once) as workers:
        try:
            while waiting or flying:
                if stop and stop.is_set():
                    waiting.clear()
                while waiting and len(flying) <= 2 * threads:
                    needed = size(waiting[0])
                    if flying and sum(one.size for one in flying) + needed > room:
                        break
                    flying.append(_Flying(needed, pool.submit(read, waiting.popleft())))
                    with taking:
                        unworked.append(flying[-1])
                    workers.submit(step)
                if flying:
                    yield flying.popleft().finished.result().result()
        finally:
            with taking:
                unworked.clear()
            for one in flying:
                one.read.cancel()


def give_back_memory() -> None:
    """Return freed memory to the system: glibc keeps what threads that are gone had used. Elsewhere nothing is done."""
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)
