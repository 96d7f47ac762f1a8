"""The first of two passes over a clip: what is in its frames, and how the picture moves. No pixels are kept.

What was found in a segment of the clip is one file, so a killed run goes on with the next segment, and an hour of video
takes no more memory than a minute.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..disk import AnyPath, replacing
from ..errors import DetectionError, RecordsError, SettingsError
from ..hiding import max_regions_reached, not_hidden
from ..predictor import Predictor
from ..records import Record
from ..records_file import unpack
from ..regions import Region, boxes, iou
from .association import JOIN
from .motion import GRID, Image, Motion, Watch, joined

Every = int | Literal["auto"]
MOST_EVERY = 30

# "auto": a frame may go unsearched while things have moved by less than this since the last one that was searched, as a
# share of the picture's width; and for at most so many seconds.
STILL, UNSEARCHED = 0.02, 0.17
RATES = 1.0, 60.0  # frames per second that are believed, whatever a file says
SAME, SURE = 0.3, 0.1  # IoU at which, and score from which, a thing found in one frame is missed in the next
MISSING = 0.5  # seconds for which every frame is searched after a thing was not found again
AHEAD = 2  # frames that may be read before the search of one has ended; searched is one at a time, in order
AT_HAND = 12  # segments whose motion is in memory
LOOK = 1.0  # seconds after which it is looked again how the picture lies


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

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is to be said of it."""
        return _warnings(self.others)

    def regions(self) -> Iterator[tuple[Region, ...] | None]:
        """For each frame what was found, or None where nobody looked; for `make_tracks`."""
        edges = np.searchsorted(self.rows[:, 0], np.arange(self.frames + 1)).tolist()
        for frame in range(self.frames):
            rows = self.rows[edges[frame] : edges[frame + 1]].tolist()
            found = tuple(Region(self.kinds[int(k)], (a, b, c, d), score) for _, k, a, b, c, d, score in rows)
            yield found if self.searched[frame] else None

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
        data = unpack(path, ("searched", "rows", "kinds", "shifts", "cuts", "size", "detection", "others"))
        try:
            if data is None:
                raise ValueError("it is damaged")
            width, height = data["size"].tolist()
            motion = Motion(data["shifts"], frozenset(data["cuts"].tolist()), width, height)
            kinds = tuple(map(str, data["kinds"].tolist()))
            others = tuple(map(str, data["others"].tolist()))
            return cls(data["searched"], data["rows"], kinds, motion, str(data["detection"]), others)
        except (ValueError, TypeError) as e:
            raise RecordsError(f"{path} is not what was found in a clip: {e}") from e


def together(parts: Sequence[Found]) -> Found:
    """What was found in a clip from what was found in its segments, in order.

    Raises:
        RecordsError: none, or not of one detection.
    """
    if len({(p.kinds, p.detection, p.motion.width, p.motion.height) for p in parts}) != 1:
        raise RecordsError("segments of one clip are of one detection, one or more; detect it again")
    starts = np.cumsum([0, *(p.frames for p in parts)]).tolist()
    rows = [p.rows + (start, 0, 0, 0, 0, 0, 0) for p, start in zip(parts, starts, strict=False)]
    searched = np.concatenate([p.searched for p in parts])
    others = tuple(sorted({kind for p in parts for kind in p.others}))
    motion = joined([p.motion for p in parts])
    return Found(searched, np.concatenate(rows), parts[0].kinds, motion, parts[0].detection, others)


class Segments:
    """What was found in a clip, in files of its segments: looked at one after the other, never in memory together.

    Args:
        files: of `Found.save`, in order.

    Attributes:
        frames, kinds, warnings: of all of them. searched: frames that were. motion: of the clip.

    Raises:
        RecordsError: none, not such files, or not of one detection.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files, self._starts, self.searched = files, [0], 0
        self._shifts = lru_cache(AT_HAND)(lambda number: np.asarray(Found.load(files[number]).motion.shifts[:]))
        others, cuts, same = set[str](), set[int](), set[tuple[object, ...]]()
        for found in map(Found.load, files):
            same.add((found.kinds, found.detection, found.motion.width, found.motion.height))
            cuts |= {cut + self.frames for cut in found.motion.cuts}
            others |= set(found.others)
            self.searched += int(found.searched.sum())
            self._starts.append(self.frames + found.frames)
        if len(same) != 1:
            raise RecordsError("segments of one clip are of one detection, one or more; detect it again")
        size = found.motion.width, found.motion.height
        self.kinds, self.motion = found.kinds, Motion(self, frozenset(cuts), *size)  # type: ignore[arg-type]
        self.warnings = _warnings(sorted(others))

    @property
    def frames(self) -> int:
        return self._starts[-1]

    def regions(self) -> Iterator[tuple[Region, ...] | None]:
        """As `Found.regions`."""
        for file in self._files:
            yield from Found.load(file).regions()

    def __len__(self) -> int:
        return self.frames

    def __getitem__(self, frames: int | slice) -> NDArray[np.float16]:
        """The motion's `shifts`."""
        if isinstance(frames, slice):
            every = [self[frame] for frame in range(*frames.indices(self.frames))]
            return np.array(every, np.float16).reshape(-1, *GRID, 2)
        number = bisect_right(self._starts, frames) - 1
        shifts: NDArray[np.float16] = self._shifts(number)[frames - self._starts[number]]
        return shifts


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


def _warnings(others: Sequence[str]) -> tuple[str, ...]:
    return (f"found, and not hidden: {', '.join(others)} (--hide KIND hides them)",) if others else ()


def _misses(first: Sequence[Region], then: Sequence[Region]) -> bool:
    """Whether something that is sure in one frame is nowhere near in the other."""
    sure = [r for r in first if r.score >= SURE]
    if not sure:
        return False
    near = iou(boxes(sure), boxes(then))
    same = np.array([[a.kind == b.kind for b in then] for a in sure], bool).reshape(near.shape)
    return not bool(((near >= SAME) & same).any(axis=1).all())
