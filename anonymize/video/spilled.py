"""Arrays that lie in a file without a name instead of in memory: tracks through hours of video, box by box."""

from __future__ import annotations

import os
import tempfile
import threading
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..disk import AnyPath

IN_MEMORY = 1 << 20  # bytes; what is less stays in memory


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
