"""Which detections of different frames are of one thing: ByteTrack, run over a clip in both directions of time.

A tracker that runs forward gives a thing up or takes it for a new one where it is hidden for a while; run backward it
does so elsewhere. What either of them links is one chain. Long clips are followed window by window, and chains go on
from one window to the next: of hours, what is open of them is in memory, and no more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..extras import extra
from .found import Segments

if TYPE_CHECKING:
    from trackers import ByteTrackTracker

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

# Scores from which detections may begin a chain. The surer ones choose first; what they leave chooses then. A score
# below the last one never begins a chain; it may continue one, down to JOIN.
LEVELS = (0.1, 0.02)
JOIN = 0.005
LOST = 1.0  # seconds after which a thing that is not found is given up
# Boxes are compared grown by this share of their size on each side: small things move farther than their width. The
# second one is where frames are skipped: the first for each frame from one search to the next, but no more than this.
BUFFER, MOST_BUFFER = 0.75, 3.0
LEAST_OVERLAP = 0.1  # IoU of the grown boxes
MOMENT = 1e-6  # seconds
# Sides of a thing differ by no more than this factor from one detection to the next. After so many seconds without it,
# only what is surer than LEVELS[0] before and after is taken for the same thing.
LIKE, DOUBTFUL = 2.2, 0.5
# Nor do they move by more than so many sizes, surer and fainter than LEVELS[0], and picture widths a second.
FAR, FAR_DOUBTFUL, FASTEST = 1.5, 0.5, 1.5
# What is larger than this share of the picture's width is found surely, or it is a texture: to continue a chain it has
# to be surer than JOIN, ten times at twice that size, and comes back sooner.
LARGE, SEEN_BETTER = 0.05, float(np.log2(10))
WINDOW, OVERLAP = 60.0, 6.0  # seconds


@dataclass(frozen=True, eq=False)
class Detections:
    """What was found of one kind in some frames.

    Attributes:
        frames: (N,), of each detection, ascending. rows: (N, 5): x1, y1, x2, y2 px, score.
        width: of the picture, px.
    """

    frames: Places
    rows: Floats
    width: int

    @property
    def boxes(self) -> Floats:
        return self.rows[:, :4]

    @property
    def scores(self) -> Floats:
        return self.rows[:, 4]

    def take(self, places: Places) -> Detections:
        """Only these detections."""
        return Detections(self.frames[places], self.rows[places], self.width)

    def beside(self, pan: Floats, first: int) -> Detections:
        """The same where the camera does not pan; `pan` is of the frames from `first` on."""
        moved = pan[self.frames - first]
        return Detections(self.frames, self.rows - np.pad(np.tile(moved, 2), ((0, 0), (0, 1))), self.width)


def chains(found: Segments, kind: str, frame_rate: float) -> Iterator[Detections]:
    """Chains of detections of a kind, never two of one frame; in no order.

    Every detection of LEVELS[-1] and more is in exactly one. Things are followed beside the pan of the clip's motion,
    and never across a cut.

    Args:
        frame_rate: frames per second.
    """
    motion = found.motion
    searched = np.flatnonzero(found.searched)
    apart = np.median(np.diff(searched)) if len(searched) > 1 else 1
    follow = _Follow(frame_rate, min(BUFFER * float(apart), MOST_BUFFER), sorted(motion.cuts))
    windows = list(_windows(searched, frame_rate))
    del searched
    whole: dict[int, list[tuple[Detections, Detections]]] = {}  # number of a chain -> what it is so far
    open_: dict[int, int] = {}  # detection in the overlap with the window before -> number of its chain
    count, seen, moved = 0, 0, np.zeros(2)
    for n, (first, own, stop) in enumerate(windows):
        # Where the camera pans or is shaken, boxes are compared as if it stood still.
        pan = motion.pan(seen, stop, moved)[first - seen :]
        before, rows = found.between(kind, first, stop)
        here = Detections(rows[:, 0].astype(np.int64), rows[:, 1:], motion.width)
        still = here.beside(pan, first)
        goes_on: dict[int, int] = {}
        taken: set[int] = set()
        for chain in sorted(follow(still, first + np.flatnonzero(found.searched[first:stop])), key=len, reverse=True):
            frames = here.frames[chain]
            mine = chain[(frames >= own.start) & (frames < own.stop)]
            places = (chain + before).tolist()
            votes = Counter(open_[i] for i in places if i in open_ and open_[i] not in taken)
            number, count = (votes.most_common(1)[0][0], count) if votes else (count, count + 1)
            whole.setdefault(number, []).append((here.take(mine), still.take(mine)))
            taken.add(number)
            goes_on.update(dict.fromkeys(places, number))
        following = windows[n + 1][0] if n + 1 < len(windows) else stop
        seen, moved = following, pan[following - first - 1]
        shared = before + int(np.searchsorted(here.frames, following))
        open_ = {place: number for place, number in goes_on.items() if place >= shared}
        for number in whole.keys() - open_.values():
            yield from _pieces(whole.pop(number), frame_rate)


def _pieces(parts: list[tuple[Detections, Detections]], frame_rate: float) -> Iterator[Detections]:
    """A chain of several windows as one or more; what never reaches LEVELS[-1] is none.

    Args:
        parts: as found, and beside the pan.
    """
    shown, still = map(_together, zip(*parts, strict=True))
    for piece in _alike(np.arange(len(still.frames)), still, frame_rate):
        if len(piece) and shown.scores[piece].max() >= LEVELS[-1]:
            yield shown.take(piece)


def _together(parts: Sequence[Detections]) -> Detections:
    frames, rows = np.concatenate([p.frames for p in parts]), np.concatenate([p.rows for p in parts])
    return Detections(frames, rows, parts[0].width)


def _alike(chain: Places, found: Detections, frame_rate: float) -> list[Places]:
    """A chain as one or more, in each of which a detection is like the one before: of nearly its size; and not long
    after it, unless both are sure. One that lies beside the way of the others is none of them."""
    is_off = _off(chain, found, frame_rate)
    pieces: list[list[int]] = []
    for place in chain[~is_off].tolist():
        for piece in reversed(pieces):
            if _is_next(piece[-1], place, found, frame_rate):
                piece.append(place)
                break
        else:
            pieces.append([place])
    return [np.array(p, np.int64) for p in (*pieces, *chain[is_off].reshape(-1, 1).tolist())]


def _off(chain: Places, found: Detections, frame_rate: float) -> NDArray[np.bool_]:
    """Detections that are farther from the line between their neighbors in time than these are large: false ones, that
    were taken for a thing where it was not found."""
    out = np.zeros(len(chain), bool)
    if len(chain) < 3:
        return out
    frames, boxes = found.frames[chain], found.boxes[chain]
    centers, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    t = (frames[1:-1] - frames[:-2]) / (frames[2:] - frames[:-2])
    middle = centers[:-2] + t[:, None] * (centers[2:] - centers[:-2])
    far = np.abs(centers[1:-1] - middle) > np.maximum(sizes[:-2], sizes[2:])
    out[1:-1] = far.any(axis=1) & (frames[2:] - frames[:-2] <= DOUBTFUL * frame_rate)
    return out


def _is_next(before: int, place: int, found: Detections, frame_rate: float) -> bool:
    """Whether a detection may be of the same thing as an earlier one: of nearly its size and place, and soon after."""
    a, b = found.rows[before], found.rows[place]
    seconds = float(found.frames[place] - found.frames[before]) / frame_rate
    sizes = np.maximum(np.array([a[2:4] - a[:2], b[2:4] - b[:2]]), 1.0)
    if (sizes.max(axis=0) > LIKE * sizes.min(axis=0)).any():
        return False
    score, longest, far = float(min(a[4], b[4])), LOST, FAR
    if score < LEVELS[0]:
        large = size_in(float(sizes.min(axis=1).max()), found.width)
        if score < JOIN * min(large, 2.0) ** SEEN_BETTER:
            return False
        longest, far = DOUBTFUL / min(large, 10.0), FAR_DOUBTFUL
    way = np.abs(a[:2] + a[2:4] - b[:2] - b[2:4]) / 2
    return seconds <= longest and bool((way <= far * sizes.max(axis=0) + FASTEST * found.width * seconds).all())


def size_in(side: float, width: int) -> float:
    """How many times as large a thing is as those that detectors miss for want of pixels; at least 1.

    Args:
        side: px, of its shorter side. width: of the picture, px.
    """
    return max(side / (LARGE * max(width, 1)), 1.0)


def _windows(searched: Places, frame_rate: float) -> Iterator[tuple[int, range, int]]:
    """Windows of frames: the first, those whose detections it decides on, and the one after the last."""
    if not len(searched):
        return
    begin, end = int(searched[0]), int(searched[-1]) + 1
    length, overlap = max(round(WINDOW * frame_rate), 4), max(round(OVERLAP * frame_rate), 2)
    start, own = begin, begin
    while True:
        stop = min(start + length, end)
        if stop == end:
            yield start, range(own, end), end
            return
        yield start, range(own, stop - overlap // 2), stop
        start, own = stop - overlap, stop - overlap // 2


@dataclass(frozen=True)
class _Follow:
    """Chains within one window.

    Attributes:
        buffer: by which boxes are grown. cuts: ascending.
    """

    frame_rate: float
    buffer: float
    cuts: Sequence[int]

    def __call__(self, found: Detections, searched: Places) -> list[Places]:
        """Args: searched: the window's frames that were; also those in which nothing was found."""
        frames = searched.tolist()
        edges = [*np.searchsorted(found.frames, searched).tolist(), len(found.frames)]
        left = {f: np.arange(a, b) for f, (a, b) in zip(frames, pairwise(edges), strict=True)}
        out: list[Places] = []
        for level in LEVELS:
            joined = _Chains(found.frames)
            for order in (1, -1):
                for scene in self._scenes(frames):
                    self._link(found, left, scene[::order], level, joined)
            for places in left.values():
                for i in places[found.scores[places] >= level].tolist():
                    joined.add(i)
            of_level = [c for c in joined.chains() if found.scores[c].max() >= level]
            taken = np.concatenate([*of_level, np.zeros(0, np.int64)])
            left = {frame: np.setdiff1d(places, taken) for frame, places in left.items()}
            out += of_level
        return out

    def _scenes(self, frames: Sequence[int]) -> list[Sequence[int]]:
        places = np.searchsorted(np.array(frames, np.int64), np.array(self.cuts, np.int64)).tolist()
        return [frames[a:b] for a, b in pairwise([0, *places, len(frames)]) if b > a]

    def _tracker(self, level: float) -> ByteTrackTracker:
        with extra("video", "following faces and plates through a clip"):
            from trackers import BIoU, ByteTrackTracker

        return ByteTrackTracker(
            lost_track_buffer=round(LOST * 30),  # of 30 frames a second, whatever the clip's
            frame_rate=self.frame_rate,
            track_activation_threshold=level,
            high_conf_det_threshold=level,
            minimum_consecutive_frames=0,  # a face that is found once is a face
            minimum_iou_threshold=LEAST_OVERLAP,
            iou=BIoU(buffer_ratio=self.buffer),
        )

    def _link(
        self, found: Detections, left: Mapping[int, Places], frames: Sequence[int], level: float, joined: _Chains
    ) -> None:
        """Follow what is left of the detections through frames, forward or backward; join what belongs together."""
        with extra("video", "following faces and plates through a clip"):
            import supervision as sv

        tracker = self._tracker(level)
        last: dict[int, int] = {}
        for frame in frames:
            places = left[frame][found.scores[left[frame]] >= JOIN]
            seen = found.rows[places]
            detections = sv.Detections(xyxy=seen[:, :4], confidence=seen[:, 4], data={"place": places})
            at = abs(frame - frames[0]) / self.frame_rate
            followed = tracker.update(detections, timestamp=at)
            if not len(followed):
                continue
            if np.any((followed.tracker_id < 0) & (followed.confidence >= level)):
                # A tracker names a thing when it sees it again; so it is shown what is new again, a moment later.
                followed = tracker.update(detections, timestamp=at + MOMENT)
            for place, name in zip(followed.data["place"].tolist(), followed.tracker_id.tolist(), strict=True):
                if name >= 0:
                    joined.add(place)
                    if name in last:
                        joined.join(last[name], place)
                    last[name] = place


class _Chains:
    """Detections, joined one link after the other; never two of one frame.

    Args:
        frames: of each detection.
    """

    def __init__(self, frames: Places) -> None:
        self._frames = frames
        self._of: dict[int, dict[int, int]] = {}  # detection -> its chain: frame -> detection

    def add(self, one: int) -> None:
        if one not in self._of:
            self._of[one] = {int(self._frames[one]): one}

    def join(self, a: int, b: int) -> None:
        one, other = self._of[a], self._of[b]
        if one is other or not one.keys().isdisjoint(other):
            return
        small, large = sorted((one, other), key=len)
        large.update(small)
        for detection in small.values():
            self._of[detection] = large

    def chains(self) -> list[Places]:
        distinct = {id(c): c for c in self._of.values()}
        return [np.array(sorted(c.values()), np.int64) for c in distinct.values()]
