"""Three steps over many items at the same time: threads read ahead, the caller's thread works, threads finish."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")


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
    stop: threading.Event | None = None,
) -> Generator[D]:
    """`read`, `work` and `finish` for each item, in order; an exception of any step ends it.

    Args:
        items: what to do.
        read, finish: run in threads. work: runs in the calling thread, on as many items as are read, `batch` at most.
        threads: how many. At most 2 * threads + 1 items are in flight.
        size: of an item; the sizes of all in flight stay within `room`, except that one item may always be.
        stop: when set, items in flight are finished and no further one begins.
    """
    waiting = deque(items)
    reading: deque[tuple[Future[B], int]] = deque()
    finishing: deque[tuple[Future[D], int]] = deque()
    used = 0
    with ThreadPoolExecutor(threads) as pool:
        try:
            while waiting or reading or finishing:
                if stop and stop.is_set():
                    waiting.clear()
                while waiting and len(reading) + len(finishing) <= 2 * threads:
                    needed = size(waiting[0])
                    if used and used + needed > room:
                        break
                    used += needed
                    reading.append((pool.submit(read, waiting.popleft()), needed))
                if reading:
                    some = [reading.popleft()]
                    while reading and len(some) < batch and reading[0][0].done():
                        some.append(reading.popleft())
                    done = work([ahead.result() for ahead, _ in some])
                    for one, (_, needed) in zip(done, some, strict=True):
                        finishing.append((pool.submit(finish, one), needed))
                    del some, done, one  # whole photos, while the next is waited for
                # Take what is done; wait for one only when there is nothing else to do.
                while finishing and (finishing[0][0].done() or not reading):
                    behind, needed = finishing.popleft()
                    yield behind.result()
                    used -= needed
                    if waiting and not reading:
                        break
        finally:
            for unread, _ in reading:
                unread.cancel()


def give_back_memory() -> None:
    """Return freed memory to the system: glibc keeps what threads that are gone had used. Elsewhere nothing is done."""
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)
