"""How the picture moves from frame to frame: where things go in frames in which nobody found them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Image = NDArray[np.uint8]

WIDTH = 192  # px, of the picture in which motion is looked for
GRID = (5, 8)  # cells, rows and columns; a cell's motion is the median of its pixels', so small things do not count
# A frame begins another scene when it and the one before, brought to its place by the flow, are no more alike than this
# (correlation), seen this small (px). A flash or a lens that is opened changes the light, not what lies where.
ALIKE, TINY = 0.35, (32, 20)
CHUNK = 4096  # frames that are worked on at a time
FASTEST = 95  # percentile of the pixels' motion that counts as a frame's


@dataclass(frozen=True, eq=False)
class Motion:
    """The picture's own motion (the camera's, mostly) through a clip.

    Attributes:
        shifts: float16 (frames, *GRID, 2): x, y px of the clip that each cell of the frame before moved by until this
            one; 0 for the first. Or what gives parts of such an array.
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
        if not 0 <= frame < len(self.shifts) - 1:
            return 0.0, 0.0
        rows, columns = GRID
        u = min(max(x / self.width * columns - 0.5, 0.0), columns - 1.0)
        v = min(max(y / self.height * rows - 0.5, 0.0), rows - 1.0)
        i, j = min(int(v), rows - 2), min(int(u), columns - 2)
        a, b = v - i, u - j
        cells = self.shifts[frame + 1][i : i + 2, j : j + 2].astype(np.float64)
        mixed = (1 - a) * ((1 - b) * cells[0, 0] + b * cells[0, 1]) + a * ((1 - b) * cells[1, 0] + b * cells[1, 1])
        return float(mixed[0]), float(mixed[1])

    def pan(self, first: int, stop: int, before: Floats) -> Floats:
        """How far the whole picture has moved until each frame from `first` to before `stop`, (frames, 2) px: the
        medians of `shifts`, added up.

        Args:
            before: how far until the frame before the first.
        """
        parts = [before[None]]
        for n in range(first, stop, CHUNK):
            shifts = self.shifts[n : min(n + CHUNK, stop)].astype(np.float64)
            parts.append(np.median(shifts.reshape(-1, GRID[0] * GRID[1], 2), axis=1))
        pan: Floats = np.cumsum(np.concatenate(parts), axis=0)[1:]
        return pan

    def scene(self, frame: int) -> tuple[int, int]:
        """First frame, and the one after the last, of the scene that a frame is in."""
        before = max((c for c in self.cuts if c <= frame), default=0)
        after = min((c for c in self.cuts if c > frame), default=self.frames)
        return before, min(after, self.frames)


class Watch:
    """Looks at a clip's frames, one after the other.

    Args:
        width, height: the clip's, px.
    """

    def __init__(self, width: int, height: int) -> None:
        self._size = width, height
        rows, columns = GRID
        self._small = WIDTH, rows * max(2, round(WIDTH * height / width / rows))
        self._cell = self._small[1] // rows, WIDTH // columns
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._last: Image | None = None
        self._shifts: list[NDArray[np.float16]] = []
        self._cuts: set[int] = set()

    def see(self, rgb: Image) -> tuple[float, bool]:
        """Look at the next frame: how far things moved since the one before, as a share of the picture's width, and
        whether it begins another scene."""
        step = max(1, self._size[0] // (2 * WIDTH))  # of a large frame, a part of the pixels will do
        now = cv2.cvtColor(
            cv2.resize(rgb[::step, ::step], self._small, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY
        )
        last, self._last = self._last, now
        if last is None:
            self._shifts.append(np.zeros((*GRID, 2), np.float16))
            return 0.0, False
        flow = self._flow.calc(last, now, None)
        moved = float(np.percentile(np.abs(flow).max(axis=2), FASTEST)) / WIDTH
        if is_cut := _correlation(last, now, flow) < ALIKE:
            flow, moved = np.zeros_like(flow), 1.0
            self._cuts.add(len(self._shifts))
        self._shifts.append(self._cells(flow))
        return moved, is_cut

    def _cells(self, flow: NDArray[np.float32]) -> NDArray[np.float16]:
        (rows, columns), (h, w) = GRID, self._cell
        cells = np.median(flow.reshape(rows, h, columns, w, 2), axis=(1, 3))
        return (cells * np.divide(self._size, self._small)).astype(np.float16)

    def take(self) -> Motion:
        """The motion of the frames seen since the last `take`."""
        shifts = np.array(self._shifts, np.float16).reshape(-1, *GRID, 2)
        out = Motion(shifts, frozenset(self._cuts), *self._size)
        self._shifts, self._cuts = [], set()
        return out


def _correlation(last: Image, now: Image, flow: NDArray[np.float32]) -> float:
    """How alike two pictures are, -1 to 1, the first one moved by the flow."""
    height, width = now.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    moved = cv2.remap(last, x - flow[..., 0], y - flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    a, b = (cv2.resize(i, TINY, interpolation=cv2.INTER_AREA).astype(np.float64) for i in (moved, now))
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a * a).sum() * (b * b).sum()))
    if spread < a.size:  # a picture of one color, black most often: nothing to compare
        return 1.0 if abs(float(moved.mean()) - float(now.mean())) < 8 else 0.0
    return float((a * b).sum()) / spread
