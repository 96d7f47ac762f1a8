"""Which detections of different frames are of one thing: ByteTrack, run over a clip in both directions of time.

A tracker that runs forward gives a thing up or takes it for a new one where it is hidden for a while; run backward it
does so elsewhere. What either of them links is one chain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..extras import extra
from .motion import Motion

if TYPE_CHECKING:
    from trackers import ByteTrackTracker

Floats = NDArray[np.float64]
Found = Mapping[int, Floats]  # frame -> (N, 5): x1, y1, x2, y2 px, score
Chain = tuple[tuple[int, int], ...]  # (frame, index in that frame) in order of frames, one a frame

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


def chains(found: Found, frame_rate: float, motion: Motion) -> list[Chain]:
    """Chains of the detections of one kind; every detection of LEVELS[-1] and more is in exactly one.

    Args:
        found: for each frame that was searched what was found there; also where that is nothing.
        frame_rate: frames per second.
        motion: of the clip. Things are followed beside its pan, and never across a cut.
    """
    # Where the camera pans or is shaken, boxes are compared as if it stood still.
    pan = motion.pan()
    apart = np.median(np.diff(sorted(found))) if len(found) > 1 else 1
    buffer = min(BUFFER * float(apart), MOST_BUFFER)
    still = {f: rows - (*pan[f], *pan[f], 0.0) for f, rows in found.items()}
    left = {frame: np.arange(len(rows)) for frame, rows in found.items()}
    out: list[Chain] = []
    for level in LEVELS:
        joined = _Chains()
        for order in (1, -1):
            for scene in _scenes(sorted(found), sorted(motion.cuts)):
                _link(still, left, scene[::order], (level, frame_rate, buffer), joined)
        for frame, rows in left.items():
            for i in rows[found[frame][rows, 4] >= level].tolist():
                joined.add((frame, i))
        of_level = [c for c in joined.chains() if any(found[f][i, 4] >= level for f, i in c)]
        taken: dict[int, list[int]] = {}
        for frame, i in (d for c in of_level for d in c):
            taken.setdefault(frame, []).append(i)
        left = {frame: np.setdiff1d(rows, taken.get(frame, [])) for frame, rows in left.items()}
        out += of_level
    return sorted(out)


def _scenes(frames: Sequence[int], cuts: Sequence[int]) -> list[Sequence[int]]:
    places = np.searchsorted(np.array(frames, dtype=np.int64), np.array(cuts, dtype=np.int64)).tolist()
    edges = [0, *places, len(frames)]
    return [frames[a:b] for a, b in pairwise(edges) if b > a]


def _tracker(level: float, frame_rate: float, buffer: float) -> ByteTrackTracker:
    with extra("video", "following faces and plates through a clip"):
        from trackers import BIoU, ByteTrackTracker

    return ByteTrackTracker(
        lost_track_buffer=round(LOST * 30),  # of 30 frames a second, whatever the clip's
        frame_rate=frame_rate,
        track_activation_threshold=level,
        high_conf_det_threshold=level,
        minimum_consecutive_frames=0,  # a face that is found once is a face
        minimum_iou_threshold=LEAST_OVERLAP,
        iou=BIoU(buffer_ratio=buffer),
    )


def _link(
    found: Found,
    left: Mapping[int, NDArray[np.intp]],
    frames: Sequence[int],
    how: tuple[float, float, float],
    joined: _Chains,
) -> None:
    """Follow what is left of the detections through some frames, forward or backward; join what belongs together."""
    with extra("video", "following faces and plates through a clip"):
        import supervision as sv

    tracker, (level, frame_rate, _) = _tracker(*how), how
    last: dict[int, tuple[int, int]] = {}
    for frame in frames:
        rows = left[frame][found[frame][left[frame], 4] >= JOIN]
        seen = found[frame][rows]
        detections = sv.Detections(xyxy=seen[:, :4], confidence=seen[:, 4], data={"row": rows})
        at = abs(frame - frames[0]) / frame_rate
        followed = tracker.update(detections, timestamp=at)
        if not len(followed):
            continue
        if np.any((followed.tracker_id < 0) & (followed.confidence >= level)):
            # A tracker names a thing when it sees it again; so it is shown what is new again, a moment later.
            followed = tracker.update(detections, timestamp=at + MOMENT)
        for row, name in zip(followed.data["row"].tolist(), followed.tracker_id.tolist(), strict=True):
            if name >= 0:
                joined.add((frame, row))
                if name in last:
                    joined.join(last[name], (frame, row))
                last[name] = (frame, row)


class _Chains:
    """Detections, joined one link after the other; never two of one frame."""

    def __init__(self) -> None:
        self._of: dict[tuple[int, int], dict[int, int]] = {}  # detection -> its chain: frame -> index

    def add(self, one: tuple[int, int]) -> None:
        self._of.setdefault(one, {one[0]: one[1]})

    def join(self, a: tuple[int, int], b: tuple[int, int]) -> None:
        one, other = self._of[a], self._of[b]
        if one is other or not one.keys().isdisjoint(other):
            return
        small, large = sorted((one, other), key=len)
        large.update(small)
        for item in small.items():
            self._of[item] = large

    def chains(self) -> list[Chain]:
        distinct = {id(c): c for c in self._of.values()}
        return [tuple(sorted(c.items())) for c in distinct.values()]
