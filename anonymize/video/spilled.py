"""Arrays that lie in a file without a name instead of in memory: what was found in hours of video, box by box."""

from __future__ import annotations

import os
import tempfile
import threading
import weakref
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..disk import AnyPath

IN_MEMORY = 1 << 20  # bytes; what is less stays in memory
ROWS = 2048  # of a table, that wait in memory until they are written


class Spill:
    """A file for arrays, which goes with the last of them, or with the process. Thread-safe.

    Args:
        folder: where it lies; where nothing can be written there, in the system's folder for such files.
    """

    def __init__(self, folder: AnyPath | None = None) -> None:
        place = os.fspath(folder) if folder is not None and os.access(folder, os.W_OK) else None
        self._file: Any = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY, dir=place)  # noqa: SIM115
        self._guard, self._end = threading.Lock(), 0
        weakref.finalize(self, self._file.close)

    def put(self, values: NDArray[Any]) -> Spilled:
        data = values.tobytes()
        with self._guard:
            self._file.seek(self._end)
            self._file.write(data)
            at, self._end = self._end, self._end + len(data)
        return Spilled(self, at, values.shape, values.dtype)

    def read(self, at: int, size: int) -> bytes:
        with self._guard:
            self._file.seek(at)
            return bytes(self._file.read(size))


@dataclass(frozen=True, eq=False, slots=True)
class Spilled:
    """Where an array lies."""

    spill: Spill
    at: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def load(self, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """The rows from `start` to before `stop`; never counted from the end."""
        start, stop, _ = slice(start, stop).indices(self.shape[0])
        row = self.dtype.itemsize * int(np.prod(self.shape[1:]))
        data = self.spill.read(self.at + start * row, max(stop - start, 0) * row)
        return np.frombuffer(data, self.dtype).reshape(-1, *self.shape[1:])

    def __reduce__(self) -> tuple[Any, ...]:  # elsewhere, and in another process, it is an array
        return np.asarray, (self.load(),)


class Table:
    """Rows of numbers, ascending by the first of each, that are added and then read by ranges of that.

    Args:
        spill: where they lie. columns: how many numbers a row has.
    """

    def __init__(self, spill: Spill, columns: int) -> None:
        self._spill, self._columns = spill, columns
        self._waiting = array("d")
        self._parts: list[tuple[float, float, Spilled]] = []  # first and last row's first number

    def add(self, row: Sequence[float]) -> None:
        self._waiting.extend(row)
        if len(self._waiting) >= ROWS * self._columns:
            self._write()

    def _write(self) -> None:
        if self._waiting:
            rows = np.array(self._waiting, np.float64).reshape(-1, self._columns)
            self._parts.append((rows[0, 0], rows[-1, 0], self._spill.put(rows)))
            self._waiting = array("d")

    def between(self, first: float, stop: float) -> tuple[int, NDArray[np.float64]]:
        """How many rows come before, and those whose first number is from `first` to below `stop`."""
        self._write()
        before, found = 0, [np.zeros((0, self._columns))]
        for low, high, part in self._parts:
            if high < first:
                before += part.shape[0]
            elif low < stop:
                rows = part.load()
                a, b = np.searchsorted(rows[:, 0], (first, stop)).tolist()
                before += a
                found.append(rows[a:b])
        return before, np.concatenate(found)
