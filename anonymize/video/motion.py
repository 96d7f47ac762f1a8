"""How the picture moves from frame to frame: where things go in frames in which nobody found them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Image = NDArray[np.uint8]

WIDTH = 256  # px, of the picture in which motion is looked for
GRID = (5, 8)  # cells, rows and columns; a cell's motion is the median of its pixels', so small things do not count


@dataclass(frozen=True, eq=False)
class Motion:
    """The picture's own motion (the camera's, mostly) through a clip.

    Attributes:
        shifts: float16 (frames, *GRID, 2): x, y px of the clip that each cell of a frame moves by until the next
            frame; of the last frame 0.
        cuts: frames with which another scene begins; nothing is followed across.
        width, height: the clip's, px.
    """

    shifts: NDArray[np.float16]
    cuts: frozenset[int]
    width: int
    height: int

    @classmethod
    def still(cls, frames: int, width: int, height: int, cuts: Iterable[int] = ()) -> Motion:
        """Of a camera that stands still."""
        return cls(np.zeros((frames, *GRID, 2), np.float16), frozenset(cuts), width, height)

    @property
    def frames(self) -> int:
        return len(self.shifts)

    def shift(self, frame: int, x: float, y: float) -> tuple[float, float]:
        """By how much the picture at (x, y) px moves from a frame to the next one; between cells, their mix."""
        if not 0 <= frame < len(self.shifts):
            return 0.0, 0.0
        rows, columns = GRID
        u = min(max(x / self.width * columns - 0.5, 0.0), columns - 1.0)
        v = min(max(y / self.height * rows - 0.5, 0.0), rows - 1.0)
        i, j = min(int(v), rows - 2), min(int(u), columns - 2)
        a, b = v - i, u - j
        cells = self.shifts[frame, i : i + 2, j : j + 2].astype(np.float64)
        mixed = (1 - a) * ((1 - b) * cells[0, 0] + b * cells[0, 1]) + a * ((1 - b) * cells[1, 0] + b * cells[1, 1])
        return float(mixed[0]), float(mixed[1])

    def pan(self) -> Floats:
        """How far the whole picture has moved until each frame, (frames, 2) px: the medians of `shifts`, added up."""
        steps = np.median(self.shifts.reshape(len(self.shifts), -1, 2).astype(np.float64), axis=1)
        return np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)[:-1]])

    def scene(self, frame: int) -> tuple[int, int]:
        """First frame, and the one after the last, of the scene that a frame is in."""
        before = max((c for c in self.cuts if c <= frame), default=0)
        after = min((c for c in self.cuts if c > frame), default=self.frames)
        return before, min(after, self.frames)


def joined(parts: Sequence[Motion]) -> Motion:
    """The motion of a clip from that of its segments."""
    starts = np.cumsum([0, *(p.frames for p in parts)]).tolist()
    cuts = {c + start for p, start in zip(parts, starts, strict=False) for c in p.cuts}
    return Motion(np.concatenate([p.shifts for p in parts]), frozenset(cuts), parts[0].width, parts[0].height)
