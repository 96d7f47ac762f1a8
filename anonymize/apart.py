"""Calls that run in a process of their own: what crashes or hangs there is the error of one call, not the end of this
process.

    WORKERS = Workers()
    WORKERS.call(work, given, answers={"step": told})

Over there `work(here, given)` runs; `here.ask("step", 3)` calls `told(3)` in this process, and gives what that returns,
or raises what it raises. What goes there is pickled, `work` by its name. What comes back is JSON and arrays, tuples are
lists: a process that somebody else's file has taken over cannot reach into this one. A process is kept for the next
call. It ends with this one, whatever ends that.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import math
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from . import errors
from .errors import AnonymizeError, WorkerError

SILENT = 600.0  # seconds without a word from over there, after which it hangs
GRACE = 10.0  # seconds that it has to end after it was asked to
_LOOK = 0.2  # seconds between two looks whether it hangs
_TALKS = 2  # of its threads that may ask at the same time
KEPT = 1  # processes that wait for a next call


class Workers:
    """Runs calls in other processes, as many at the same time as there are callers. Thread-safe."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._idle: list[_Process] = []
        self._busy: set[_Process] = set()
        atexit.register(self.close)

    def call(
        self,
        work: Callable[..., Any],
        *given: Any,
        answers: Mapping[str, Callable[..., Any]] | None = None,
        stop: threading.Event | None = None,
        silent: float = SILENT,
        grace: float | None = None,
    ) -> Any:
        """`work(here, *given)` in another process; what it returns, or raises.

        Args:
            answers: what it may ask for, name -> what is called in this process.
            stop: set, it is ended GRACE seconds later, should it still run; whoever asks is told to stop by an answer.
            silent, grace: seconds, instead of SILENT and GRACE.

        Raises:
            WorkerError: the process ended, or hung and was ended.
        """
        limits = silent, GRACE if grace is None else grace
        with self._guard:
            kept = self._idle.pop() if self._idle else None
        if kept:
            with contextlib.suppress(_NeverBeganError):  # it died while it waited: nothing of this call was done
                return self._run(kept, work, given, answers or {}, stop, limits)
        return self._run(_Process(), work, given, answers or {}, stop, limits)

    def _run(self, process: _Process, *asked: Any) -> Any:
        with self._guard:
            self._busy.add(process)
        try:
            return process.call(*asked)
        finally:
            with self._guard:
                self._busy.remove(process)
                is_kept = process.is_ready and len(self._idle) < KEPT
                if is_kept:
                    self._idle.append(process)
            if not is_kept:
                process.end()

    def close(self) -> None:
        """End all processes at once; calls that run raise WorkerError."""
        with self._guard:
            idle, self._idle = self._idle, []
            for process in self._busy:
                process.break_off("nobody waits for it any more, and it was ended")
        for process in idle:
            process.end()


class _NeverBeganError(WorkerError):
    """The process ended before it began with the call."""


class _Process:
    """A process that runs one call after the other."""

    def __init__(self) -> None:
        paths = os.pathsep.join(dict.fromkeys(p for p in (str(Path(__file__).parents[1]), *sys.path) if p))
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
        )
        self._writing = threading.Lock()
        self._counting, self._heard, self._asked = threading.Lock(), 0.0, 0
        self._why = ""  # it was ended by us
        self._refused: list[BaseException] = []  # what answers raised
        self.is_ready = True

    def call(
        self,
        work: Callable[..., Any],
        given: tuple[Any, ...],
        answers: Mapping[str, Callable[..., Any]],
        stop: threading.Event | None,
        limits: tuple[float, float],
    ) -> Any:
        assert self._process.stdout
        self._refused.clear()
        self.is_ready, self._heard, ended = False, time.monotonic(), threading.Event()
        has_begun = False
        watching = threading.Thread(target=self._watch, args=(ended, stop, *limits), daemon=True)
        watching.start()
        try:
            self._send(("call", work, given))
            with ThreadPoolExecutor(_TALKS, "answer") as pool:
                while True:
                    what, number, said = _read(self._process.stdout)
                    if what == "ask":
                        self._count(1)
                        pool.submit(self._answer, number, answers, *said)
                    elif what != "began":
                        break
                    has_begun = True
            error = _error(*said) if what == "raised" else None
        except (EOFError, OSError) as e:  # it is gone
            kind = WorkerError if has_begun or self._why else _NeverBeganError
            raise kind(self._why or self._end_of()) from e
        except (TypeError, ValueError, ArithmeticError, LookupError, MemoryError, RecursionError, SyntaxError) as e:
            self._process.kill()
            raise WorkerError(self._why or "it said what makes no sense, and was ended") from e
        finally:
            ended.set()
            watching.join()
        self.is_ready = True
        if error:
            raise next((e for e in self._refused if type(e).__name__ == said[0]), error)
        return said

    def _answer(self, number: int, answers: Mapping[str, Callable[..., Any]], name: str, asked: Any) -> None:
        try:
            what, said = "answer", answers[name](*asked)
        except BaseException as e:
            what, said = "refuse", e
            self._refused.append(e)
        self._count(-1)
        with contextlib.suppress(OSError):  # it ended meanwhile, which `call` sees
            self._send((what, number, said))

    def _count(self, step: int) -> None:
        with self._counting:
            self._heard, self._asked = time.monotonic(), self._asked + step

    def _send(self, message: tuple[Any, ...]) -> None:
        assert self._process.stdin
        try:
            data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        except Exception:
            if message[0] != "refuse":
                raise
            data = pickle.dumps((*message[:2], RuntimeError(str(message[2]))))
        with self._writing:
            self._process.stdin.write(data)
            self._process.stdin.flush()

    def _watch(self, ended: threading.Event, stop: threading.Event | None, silent: float, grace: float) -> None:
        since: float | None = None
        while not ended.wait(_LOOK):
            now = time.monotonic()
            since = since or (now if stop and stop.is_set() else None)
            if self._asked:  # it waits for us
                continue
            if since is not None and now - max(since, self._heard) > grace:
                self._why = "it did not stop, and was ended"
            elif now - self._heard > silent:
                self._why = f"it said nothing for {silent:.0f} seconds, and was ended"
            if self._why:
                self._process.kill()
                return

    def break_off(self, why: str) -> None:
        """End it in the middle of a call, from another thread."""
        self._why = why
        self._process.kill()

    def _end_of(self) -> str:
        self._process.kill()  # should it talk nonsense
        code = self._process.wait()
        if code >= 0:
            return f"it ended by itself (exit code {code})"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return (
            f"it was ended from outside, perhaps for want of memory ({name})" if -code == 9 else f"it crashed ({name})"
        )

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]


class Here:
    """Over there, the process that called.

    Args:
        target: what it reads.
    """

    def __init__(self, target: IO[bytes]) -> None:
        self._target, self._writing = target, threading.Lock()
        self._numbers = itertools.count()
        self._waiting: dict[int, queue.SimpleQueue[tuple[str, Any]]] = {}

    def ask(self, name: str, *given: Any) -> Any:
        """Call what is called `name` in `answers`, over here."""
        answer: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        number = next(self._numbers)
        self._waiting[number] = answer
        self._send(("ask", number, (name, given)))
        what, said = answer.get()
        if what == "refuse":
            raise said
        return said

    def answered(self, what: str, number: int, said: Any) -> None:
        self._waiting.pop(number).put((what, said))

    def run(self, work: Callable[..., Any], given: tuple[Any, ...]) -> None:
        self._send(("began", 0, None))
        try:
            message = "returned", 0, work(self, *given)
        except BaseException as e:
            message = "raised", 0, _said(e)
        self._send(message)

    def _send(self, message: tuple[Any, ...]) -> None:
        parts = _packed(message)
        with self._writing:
            self._target.writelines(parts)
            self._target.flush()


# --- what comes back ---

_LENGTH = struct.Struct("<I")
MOST_TEXT, MOST_ARRAYS = 2**26, 2**32  # bytes of one message


def _packed(message: Any) -> list[Any]:
    """JSON, and the arrays in it after it."""
    arrays: list[NDArray[Any]] = []

    def placed(value: Any) -> dict[str, Any]:
        if not isinstance(value, np.ndarray):
            raise TypeError(f"{type(value).__name__} is not sent")
        arrays.append(np.ascontiguousarray(value))
        return {"array": len(arrays) - 1, "dtype": value.dtype.str, "shape": value.shape}

    head = json.dumps(message, default=placed).encode()
    return [_LENGTH.pack(len(head)), head, *(a.data for a in arrays)]


def _read(source: IO[bytes]) -> Any:
    """What `_packed` made.

    Raises:
        EOFError: nothing comes any more. ValueError, TypeError: it is something else.
    """
    arrays: dict[int, NDArray[Any]] = {}
    sizes: list[int] = []

    def placed(value: dict[str, Any]) -> Any:
        if value.keys() != {"array", "dtype", "shape"}:
            return value
        dtype = np.dtype(str(value["dtype"]))
        if dtype.hasobject:
            raise ValueError("not an array of numbers")
        shape = [int(n) for n in value["shape"]]
        sizes.append(math.prod(shape) * dtype.itemsize)
        if sum(sizes) > MOST_ARRAYS:
            raise ValueError("more than anybody asked for")
        return arrays.setdefault(int(value["array"]), np.empty(shape, dtype))

    (length,) = _LENGTH.unpack(_whole(source, bytearray(_LENGTH.size)))
    if length > MOST_TEXT:
        raise ValueError("more than anybody asked for")
    message = json.loads(_whole(source, bytearray(length)), object_hook=placed)
    for _, array in sorted(arrays.items()):
        _whole(source, array.data.cast("B") if array.size else bytearray())
    return message


def _whole(source: IO[bytes], into: Any) -> Any:
    """`into`, filled."""
    view, done = memoryview(into), 0
    while done < len(view):
        if not (read := source.readinto(view[done:])):  # type: ignore[attr-defined]
            raise EOFError
        done += read
    return into


def _said(error: BaseException) -> list[Any]:
    """An error as it is sent: of which class, what it says, and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    place = " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(frames))
    return [type(error).__name__, str(error), getattr(error, "errno", None), place]


def _error(name: str, text: str, number: int | None, place: str) -> Exception:
    """An error that was raised over there: of ours, as it was; of the system, with its number."""
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, AnonymizeError):
        out: Exception = kind.__new__(kind)
        out.args = (text,)
    else:
        out = OSError(int(number), text) if number is not None else RuntimeError(f"{name}: {text}")
    out.__dict__["place"] = place
    return out


def main() -> None:
    """The process: it runs what it is sent, until nobody sends any more."""
    source, target = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    here = Here(target)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that called
    while True:
        try:
            what, *said = pickle.load(source)
        except (EOFError, OSError, pickle.UnpicklingError):
            os._exit(0)  # whatever still runs: nobody waits for it
        if what == "call":
            threading.Thread(target=here.run, args=said, daemon=True).start()
        else:
            here.answered(what, *said)


if __name__ == "__main__":
    main()
