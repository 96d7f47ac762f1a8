"""The first of two passes over a clip: what is in its frames, and how the picture moves. No pixels are kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

import numpy as np

from ..errors import DetectionError, SettingsError
from ..hiding import max_regions_reached, not_hidden
from ..predictor import Predictor
from ..records import Record
from ..regions import Region, boxes, iou
from .association import JOIN
from .found import Found
from .motion import Image, Watch

Every = int | Literal["auto"]
MOST_EVERY = 30

# "auto": a frame may go unsearched while things have moved by less than this since the last one that was searched, as a
# share of the picture's width; and for at most so many seconds.
STILL, UNSEARCHED = 0.02, 0.17
RATES = 1.0, 60.0  # frames per second that are believed, whatever a file says
SAME, SURE = 0.3, 0.1  # IoU at which, and score from which, a thing found in one frame is missed in the next
MISSING = 0.5  # seconds for which every frame is searched after a thing was not found again
AHEAD = 2  # frames that may be read before the search of one has ended; searched is one at a time, in order
LOOK = 1.0  # seconds after which it is looked again how the picture lies


class Search:
    """Searches a clip's frames, one after the other: `add` each, `take` what was found after each segment.

    Args:
        predictor: finds. Followed are the kinds that its settings hide.
        width, height: the clip's, px. frame_rate: frames per second, as the clip says.
        every: search every n-th frame; "auto": as the picture moves, and never skip where something comes or goes.
            The first and last frame of a segment, and that after a cut, are always searched.
    """

    def __init__(self, predictor: Predictor, width: int, height: int, frame_rate: float, every: Every = 1) -> None:
        if every != "auto" and not 1 <= every <= MOST_EVERY:
            raise SettingsError(f"every n-th frame is searched, n from 1 to {MOST_EVERY}, or auto; received {every}")
        self._predictor, self._every, self._rate = predictor, every, min(max(frame_rate, RATES[0]), RATES[1])
        self._kinds = tuple(predictor.settings.kinds)
        self._longest = max(1, int(UNSEARCHED * self._rate)) if every == "auto" else every
        self._watch = Watch(width, height)
        self._pool = ThreadPoolExecutor(1, "search")
        self._searching: deque[tuple[int, Future[list[tuple[Region, ...]]]]] = deque()
        self._waiting: list[tuple[int, Image]] = []  # frames that nobody has searched yet
        self._found: dict[int, tuple[Region, ...]] = {}
        self._last: tuple[Region, ...] | None = None  # of the last frame that was searched
        self._frames = 0  # of this segment
        self._moved = 0.0  # since the last frame that was searched
        self._at = 0.0  # seconds; when that was shown
        self._misses = 0  # frames for which something is looked for that was not found again
        self._looks: list[tuple[int, ...]] = []  # how the picture lay the last times
        self._since = 0  # frames since then

    def look(self, rgb: Image) -> None:
        """Look at a frame that an earlier run searched, so that it is known how the picture moves from it on."""
        self._watch.see(rgb)
        self._watch.take()

    def add(self, rgb: Image, seconds: float | None = None) -> None:
        """The next frame, uint8 RGB (H, W, 3), upright.

        Args:
            seconds: when it is shown. What a clip says of its frame rate may be nonsense, as browsers' 1,000.

        Raises:
            DetectionError: a detector failed, or found as many regions as are kept; in this frame or one of the last.
        """
        moved, is_cut = self._watch.see(rgb)
        if is_cut:
            self._search_waiting()
            self._last, self._looks, self._misses = None, [], 0
        self._moved += moved
        self._waiting.append((self._frames, rgb))
        self._frames += 1
        is_moving = self._every == "auto" and self._moved > STILL
        is_late = self._every == "auto" and seconds is not None and seconds - self._at >= UNSEARCHED
        longest = 1 if self._misses > 0 else self._longest
        self._misses -= 1
        if self._last is None or is_moving or is_late or len(self._waiting) >= longest:
            self._search_waiting()
            self._at = seconds or 0.0

    def take(self) -> Found:
        """What was found since the last `take`."""
        self._search_waiting()
        self._finish(0)
        searched = np.zeros(self._frames, bool)
        searched[list(self._found)] = True
        rows = [
            (frame, self._kinds.index(r.kind), *r.box, r.score)
            for frame, regions in sorted(self._found.items())
            for r in regions
            if r.score >= JOIN and r.kind in self._kinds
        ]
        every = np.array(rows, np.float64).reshape(-1, 7)
        all_found = Record("", regions=tuple(r for regions in self._found.values() for r in regions))
        others = tuple(sorted(not_hidden(all_found, self._predictor.settings)))
        out = Found(searched, every, self._kinds, self._watch.take(), self._predictor.detection_hash, others)
        self._found, self._frames, self._last = {}, 0, None
        return out

    def close(self) -> None:
        """Nothing follows: wait for what is still searched, so that no detector works on after a stop."""
        self._pool.shutdown()

    def _search_waiting(self) -> None:
        """Search the last of the waiting frames; where something came or went since the one before, the others too."""
        if not self._waiting:
            return
        last, others = self._last, self._waiting[:-1]
        if self._every != "auto":
            self._begin(self._waiting[-1])
            self._waiting, self._last, self._moved = [], (), 0.0
            return
        (found,) = self._search(self._waiting[-1:])
        if last is not None:
            is_gone = _misses(last, found)
            if is_gone:
                self._misses = round(MISSING * self._rate)
            if is_gone or _misses(found, last):
                self._search(others)
        self._waiting, self._last, self._moved = [], found, 0.0

    def _search(self, frames: Sequence[tuple[int, Image]]) -> list[tuple[Region, ...]]:
        for one in frames:
            self._begin(one)
        self._finish(0)
        return [self._found[frame] for frame, _ in frames]

    def _begin(self, one: tuple[int, Image]) -> None:
        """Search a frame while the next ones are read."""
        self._finish(AHEAD - 1)
        frame, rgb = one
        self._searching.append((frame, self._pool.submit(self._predictor.predict, [rgb], turns=self._turns(rgb))))

    def _finish(self, most: int) -> None:
        """Wait until at most so many frames still have no result."""
        while len(self._searching) > most:
            frame, searching = self._searching.popleft()
            (regions,) = searching.result()
            if reason := max_regions_reached(regions, self._predictor.settings):
                raise DetectionError(reason)
            self._found[frame] = regions

    def _turns(self, rgb: Image) -> tuple[int, ...]:
        """How the picture lies, from time to time; all turns of the last two looks are searched."""
        self._since += 1
        if not self._looks or self._since * self._longest >= LOOK * self._rate:
            self._looks = [*self._looks[-1:], self._predictor.turns_of(rgb)]
            self._since = 0
        return tuple(dict.fromkeys(k for look in reversed(self._looks) for k in look))


def _misses(first: Sequence[Region], then: Sequence[Region]) -> bool:
    """Whether something that is sure in one frame is nowhere near in the other."""
    sure = [r for r in first if r.score >= SURE]
    if not sure:
        return False
    near = iou(boxes(sure), boxes(then))
    same = np.array([[a.kind == b.kind for b in then] for a in sure], bool).reshape(near.shape)
    return not bool(((near >= SAME) & same).any(axis=1).all())
