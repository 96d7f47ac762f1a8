"""What was found in a clip, segment by segment.

A segment is one file, so a killed run goes on with the next segment, and an hour of video takes no more memory than a
minute.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..disk import AnyPath, replacing
from ..errors import RecordsError
from ..records_file import arrays_of
from .motion import GRID, Motion

AT_HAND = 12  # segments that are in memory


@dataclass(frozen=True, eq=False)
class Found:
    """What was found in a run of frames.

    Attributes:
        searched: bool (frames,), which frames detectors saw.
        rows: float64 (N, 7): frame (from 0 in this run), number of the kind, box in px, score; in order of frames.
        kinds: names of the kinds. motion: of these frames.
        detection: `Predictor.detection_hash`. others: likely kinds that nobody hides, and so nobody follows.
    """

    searched: NDArray[np.bool_]
    rows: NDArray[np.float64]
    kinds: tuple[str, ...]
    motion: Motion
    detection: str = ""
    others: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        return len(self.searched)

    def save(self, path: AnyPath) -> None:
        """Write a file that appears whole or not at all."""
        with replacing(path) as temporary, open(temporary, "xb") as file:
            np.savez_compressed(
                file,
                searched=self.searched,
                rows=self.rows,
                kinds=np.array(self.kinds),
                shifts=self.motion.shifts,
                cuts=np.array(sorted(self.motion.cuts), np.int64),
                size=np.array([self.motion.width, self.motion.height]),
                detection=np.array(self.detection),
                others=np.array(self.others, str),
            )

    @classmethod
    def load(cls, path: AnyPath) -> Found:
        """Raises RecordsError: not such a file."""
        data = arrays_of(path)
        try:
            if not data:
                raise ValueError("it is damaged")
            width, height = data["size"].tolist()
            motion = Motion(data["shifts"], frozenset(data["cuts"].tolist()), width, height)
            kinds = tuple(map(str, data["kinds"].tolist()))
            others = tuple(map(str, data["others"].tolist()))
            rows = data["rows"]
            if rows.shape[1:] != (7,) or not np.isin(rows[:, 1], np.arange(len(kinds))).all():
                raise ValueError("its rows are none")
            return cls(data["searched"], rows, kinds, motion, str(data["detection"]), others)
        except (KeyError, ValueError, TypeError) as e:
            raise RecordsError(f"{path} is not what was found in a clip: {e}") from e


class Segments:
    """What was found in a clip: those of its segments that lie in files are never in memory together.

    Args:
        parts: of `Search.take`, or files of `Found.save`, in order.

    Attributes:
        frames, kinds, warnings: of all of them. searched: bool (frames,), which frames were. motion: of the clip.

    Raises:
        RecordsError: none, not such files, or not of one detection.
    """

    def __init__(self, parts: Sequence[Path | Found]) -> None:
        self._load = lru_cache(AT_HAND)(lambda n: p if isinstance(p := parts[n], Found) else Found.load(p))
        self._starts = [0]
        self._counts: list[NDArray[np.int64]] = []  # of detections, by kind
        searched, others, cuts, same = [], set[str](), set[int](), set[tuple[object, ...]]()
        for number in range(len(parts)):
            found = self._load(number)
            same.add((found.kinds, found.detection, found.motion.width, found.motion.height))
            cuts |= {cut + self.frames for cut in found.motion.cuts}
            others |= set(found.others)
            searched.append(found.searched)
            self._counts.append(np.bincount(found.rows[:, 1].astype(np.int64), minlength=len(found.kinds)))
            self._starts.append(self.frames + found.frames)
        if len(same) != 1:
            raise RecordsError("segments of one clip are of one detection, one or more; detect it again")
        size = found.motion.width, found.motion.height
        self.searched: NDArray[np.bool_] = np.concatenate(searched)
        self.kinds, self.motion = found.kinds, Motion(self, frozenset(cuts), *size)  # type: ignore[arg-type]
        told = f"found, and not hidden: {', '.join(sorted(others))} (--hide KIND hides them)"
        self.warnings = (told,) if others else ()

    @property
    def frames(self) -> int:
        return self._starts[-1]

    def between(self, kind: str, first: int, stop: int) -> tuple[int, NDArray[np.float64]]:
        """How many detections of a kind come before a run of frames; and those in it.

        Returns:
            Rows (N, 6): frame, x1, y1, x2, y2, score; boxes in hundredths of a px, as records have it; never smaller.
        """
        column, before, found = self.kinds.index(kind), 0, [np.zeros((0, 6))]
        for number, (start, end) in enumerate(pairwise(self._starts)):
            if end <= first:
                before += int(self._counts[number][column])
            elif start < stop:
                rows = self._load(number).rows
                rows = rows[rows[:, 1] == column] + (start, 0, 0, 0, 0, 0, 0)
                a, b = np.searchsorted(rows[:, 0], (first, stop)).tolist()
                before += a
                low, high = np.floor(rows[a:b, 2:4] * 100) / 100, np.ceil(rows[a:b, 4:6] * 100) / 100
                found.append(np.hstack([rows[a:b, :1], low, high, rows[a:b, 6:]]))
        return before, np.concatenate(found)

    def __len__(self) -> int:
        return self.frames

    def __getitem__(self, frames: int | slice) -> NDArray[np.float16]:
        """The motion's `shifts`."""
        if isinstance(frames, slice):
            every = [self[frame] for frame in range(*frames.indices(self.frames))]
            return np.array(every, np.float16).reshape(-1, *GRID, 2)
        number = bisect_right(self._starts, frames) - 1
        return self._load(number).motion.shifts[frames - self._starts[number]]
