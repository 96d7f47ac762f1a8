"""Calls of other people's code that end, or are given up after some seconds, so that one photo cannot hold a run up."""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from .errors import DetectionError

T = TypeVar("T")
END_SECONDS = 30  # that the process waits at its end for calls that still run
MOST_HANGING = 2  # calls of one detector that were given up and still run; then further ones fail at once
_SOON = 0.01  # s: beside others a call has more of them than it has left, so it is looked at again

_idle: list[_Worker] = []  # threads that wait for a call; native libraries keep buffers for each thread that calls them
_busy: set[_Worker] = set()
_hanging: list[tuple[object, _Worker]] = []
_is_ending = False  # the process
_exit_code: int | None = None
_guard = threading.Lock()
_here = threading.local()  # of a worker's thread: its worker


class Budget:
    """Seconds for one photo, which several calls share.

    Args:
        seconds: the limit, without the time in `paused`, and as long as it would take alone: of a second in which n
            photos are worked on side by side, each has used 1/n. 0: none.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self.used = seconds, 0.0


def call(work: Callable[[], T], budget: Budget, owner: Any) -> T:
    """`work()`, in a thread of its own, for at most what is left of a budget, and of that of the call it is made in.

    A thread cannot be ended from outside: a call that is given up goes on, its answer is dropped, and the process does
    not wait for it at its end. For others it waits, END_SECONDS at most: Python ends a thread that comes back from
    native code then, which C++ answers with an abort of the process. See `note_exit_code` for what still runs then.

    Args:
        work: what to do; whatever it raises is raised here.
        budget: how long. Without a limit, no thread is used.
        owner: whose call it is, with a `name`.

    Raises:
        DetectionError: it took longer, earlier calls of this owner were given up and still run, or the process ends.
    """
    if not budget.seconds:
        return work()
    outer: _Worker | None = getattr(_here, "worker", None)
    seconds = min(budget.seconds - budget.used, outer.left() if outer else math.inf)
    too_long = DetectionError(f"{owner.name} took longer than {budget.seconds:g} s for this photo (max_seconds)")
    if seconds <= 0:
        raise too_long
    with _guard:
        if _is_ending:
            raise DetectionError(f"{owner.name} was not asked: the program ends")
        _hanging[:] = [(o, w) for o, w in _hanging if not w.done.is_set()]
        if sum(o is owner for o, _ in _hanging) >= MOST_HANGING:
            raise DetectionError(
                f"{owner.name} was not asked about this photo: {MOST_HANGING} others that took it too long "
                "(max_seconds) still keep it busy; run again to search this one"
            )
        worker = _idle.pop() if _idle else _Worker()
        worker.start(partial(copy_context().run, work), seconds, is_outermost=outer is None)
        _busy.add(worker)
    try:
        answer = worker.answer()
    finally:  # Ctrl+C, too
        photos, worker.photos = worker.photos, 0  # what is given up and goes on is no photo any more
        _clock.share(-photos)
    budget.used += seconds - worker.left()
    with _guard:
        _busy.discard(worker)
        if answer is None:
            _hanging.append((owner, worker))
        else:
            _idle.append(worker)
    if answer is None:
        raise too_long
    value, error = answer
    if error is not None:
        raise error
    return value


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Within: time does not count for the call that this thread works on (waiting for a turn is not the photo's)."""
    worker: _Worker | None = getattr(_here, "worker", None)
    if worker is None:
        yield
        return
    photos = worker.photos
    worker.paused_at = _clock.share(-photos)
    try:
        yield
    finally:
        worker.free += _clock.share(photos) - worker.paused_at
        worker.paused_at = None


@contextlib.contextmanager
def note_exit_code() -> Iterator[None]:
    """Around a whole program: should a call still run at its end, the process is left at once, with this exit code."""
    global _exit_code
    try:
        yield
        _exit_code = 0
    except SystemExit as e:
        _exit_code = e.code if isinstance(e.code, int) else int(e.code is not None)
        raise
    except BaseException:
        _exit_code = 1
        raise


@atexit.register
def _end() -> None:
    """Let calls come to their end, for some seconds; whoever would begin another one is refused."""
    global _is_ending
    with _guard:
        _is_ending, busy = True, tuple(_busy)
        given_up = [worker for _, worker in _hanging]
    until = time.monotonic() + END_SECONDS
    for worker in busy:
        worker.done.wait(max(min(worker.left(), until - time.monotonic()), 0.0))
    if _exit_code is not None and not all(worker.done.is_set() for worker in (*busy, *given_up)):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_exit_code)  # what still runs could come back from native code before Python is gone


class _Clock:
    """Seconds that go by the slower, the more photos share the machine. Thread-safe."""

    def __init__(self) -> None:
        self._guard, self._photos = threading.Lock(), 0
        self._seconds, self._looked = 0.0, time.monotonic()

    def share(self, photos: int = 0) -> float:
        """What it says; from now on, so many more or fewer photos are worked on."""
        with self._guard:
            now = time.monotonic()
            self._seconds += (now - self._looked) / max(self._photos, 1)
            self._looked = now
            self._photos += photos
            return self._seconds


_clock = _Clock()


class _Worker:
    """A thread that does one call after the other, and ends with the process, or after a call that was given up."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.paused_at: float | None = None
        self.free = 0.0  # seconds that do not count
        self.photos = 0  # 1, where its call is not made within another one, which stands for the photo
        self._started = self._seconds = 0.0
        self._calls: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()
        self._answer: tuple[Any, BaseException | None] = None, None
        self._is_given_up = False
        threading.Thread(target=self._loop, name="detector", daemon=True).start()

    def start(self, work: Callable[[], Any], seconds: float, *, is_outermost: bool) -> None:
        self.done.clear()
        self.free, self.photos = 0.0, int(is_outermost)
        self._started, self._seconds = _clock.share(self.photos), seconds
        self._calls.put(work)

    def answer(self) -> tuple[Any, BaseException | None] | None:
        """What the call gave or raised; None where it was given up."""
        while not self.done.wait(max(left := self.left(), _SOON)):
            if left <= 0:
                self._is_given_up = True
                self._calls.put(lambda: None)  # wakes it, had it come to its end just now
                return None
        answer, self._answer = self._answer, (None, None)
        return answer

    def left(self) -> float:
        """Seconds that the call still has."""
        now, since = _clock.share(), self.paused_at
        return self._seconds + self.free + (now - since if since is not None else 0.0) - (now - self._started)

    def _loop(self) -> None:
        _here.worker = self
        while not self._is_given_up:
            work = self._calls.get()
            try:
                self._answer = work(), None
            except BaseException as e:  # SystemExit, too: it would end this thread only
                self._answer = None, e
            del work
            self.done.set()
