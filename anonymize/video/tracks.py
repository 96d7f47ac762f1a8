"""Tracks: one face or plate through a clip. What is hidden in one frame is hidden in all in which the track runs.

Pure: detections by frame in, tracks out, and of tracks the regions of each frame. No pixels, no settings but to choose:
tracks of lower scores are made, too, so that another threshold needs no new detection.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError
from ..regions import STATUSES, Box, Region, Status
from ..settings import Settings
from .association import LEVELS, Detections, chains
from .closing import DETECTED, DRAWN, EXTENDED, FILLED, Path, close
from .motion import Motion

SOURCES = {DETECTED: "detected", FILLED: "filled", EXTENDED: "extended", DRAWN: "drawn"}
RATES = 1.0, 240.0  # frames per second that are believed: seconds before and after a track have to end somewhere
SMOOTH = 4  # frames on each side, by whose boxes it is known where a box's edges should be
TREMBLE = 0.1  # of the size; what edges tremble by at most
_LETTERS = "dfem"  # of SOURCES, as records have them


@dataclass(frozen=True, eq=False)
class Track:
    """One thing through the frames in which it can be seen, without a gap.

    Attributes:
        kind: as a Region's. first: the frame of the first box.
        boxes: float64 (frames, 4), px: as detected; where a frame was not searched or nothing was found, where the
            thing should be, grown by how little that is known.
        sources: uint8 (frames,), of SOURCES. scores: float64 (frames,), 0 where nothing was detected.
        status: as a Region's: "manual" is drawn.
        id: stable through review; made from kind, frame and box when not given.

    Raises:
        SettingsError: no frames; boxes, sources and scores of different length; or what a Region refuses.
    """

    kind: str
    first: int
    boxes: NDArray[np.float64]
    sources: NDArray[np.uint8]
    scores: NDArray[np.float64]
    status: Status = "auto"
    id: str = ""

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "boxes", np.asarray(self.boxes, np.float64).reshape(-1, 4))
        set_(self, "sources", np.asarray(self.sources, np.uint8).reshape(-1))
        set_(self, "scores", np.asarray(self.scores, np.float64).reshape(-1))
        if not len(self.boxes) or not len(self.boxes) == len(self.sources) == len(self.scores):
            raise SettingsError("a track has a box, a source and a score for each of its frames, one or more")
        if self.first < 0 or not np.isfinite(self.boxes).all() or (self.boxes[:, :2] > self.boxes[:, 2:]).any():
            raise SettingsError(f"not the boxes of a track from frame {self.first}: {self.boxes[:3].tolist()} …")
        if not ((self.scores >= 0) & (self.scores <= 1)).all() or self.sources.max() >= len(SOURCES):
            raise SettingsError("a track's scores lie in 0–1, its sources are " + ", ".join(SOURCES.values()))
        if self.status not in STATUSES or not self.kind:
            raise SettingsError(f"a status is one of {', '.join(STATUSES)}; received {self.status!r}")
        if not self.id:
            text = "{} {} {:.2f} {:.2f} {:.2f} {:.2f}".format(self.kind, self.first, *self.boxes[0])
            set_(self, "id", hashlib.blake2s(text.encode(), digest_size=6).hexdigest())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Track) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.id, self.first, len(self.boxes)))

    @property
    def last(self) -> int:
        """The last frame, in which it still is."""
        return self.first + len(self.boxes) - 1

    @property
    def frames(self) -> range:
        return range(self.first, self.last + 1)

    @property
    def score(self) -> float:
        """The best of its scores."""
        return float(self.scores.max())

    @cached_property
    def hidden_boxes(self) -> NDArray[np.float64]:
        """What is hidden in each frame, (frames, 4): each box and where its edges should be by those of the frames
        around it, whichever is farther out. So a mask does not tremble, and a face of which half is behind a post for
        some frames is hidden whole."""
        expected, spread = _expected(self.boxes)
        spread = np.minimum(spread, TREMBLE * np.tile(self.boxes[:, 2:] - self.boxes[:, :2], 2))
        low = np.minimum(self.boxes[:, :2], (expected - spread)[:, :2])
        return np.concatenate([low, np.maximum(self.boxes[:, 2:], (expected + spread)[:, 2:])], axis=1)

    def box(self, frame: int) -> Box | None:
        """What is hidden in a frame; None where the track does not run."""
        if frame not in self.frames:
            return None
        x1, y1, x2, y2 = self.hidden_boxes[frame - self.first].tolist()
        return x1, y1, x2, y2

    def source(self, frame: int) -> str:
        return SOURCES[int(self.sources[frame - self.first])]

    def is_hidden(self, settings: Settings) -> bool:
        """Whether an export hides it, in all its frames: what a person decided, else whether the settings hide any of
        its detections."""
        if self.status != "auto":
            return self.status != "rejected"
        kind = settings.kinds.get(self.kind)
        if kind is None:
            return False
        found = self.sources == DETECTED
        sizes = (self.boxes[:, 2:] - self.boxes[:, :2])[found]
        hides = (self.scores[found] >= kind.threshold) & (sizes.min(axis=1) >= kind.min_size)
        if kind.max_size > 0:
            hides &= sizes.max(axis=1) <= kind.max_size
        return bool(hides.any())

    def replace(self, **changes: Any) -> Track:
        """A copy with some fields changed; the id stays."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` is its exact inverse."""
        out: dict[str, Any] = {"id": self.id, "kind": self.kind, "first": self.first, "boxes": self.boxes.tolist()}
        out["sources"] = "".join(_LETTERS[s] for s in self.sources.tolist())
        out["scores"] = self.scores.tolist()
        return {**out, "status": self.status} if self.status != "auto" else out

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Track:
        try:
            values = {**data, "sources": [_LETTERS.index(s) for s in data["sources"]]}
            return cls(**values)
        except (KeyError, TypeError, ValueError) as e:
            raise SettingsError(f"not a track: {data!s:.80} ({e})") from e


def _expected(boxes: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Edges (frames, 4) as a straight line through the SMOOTH frames on each side has them, and how far the frames lie
    from it (root mean square)."""
    n = len(boxes)
    t = np.arange(n, dtype=np.float64)[:, None]
    moments = np.concatenate([np.ones((n, 1)), t, t * t, boxes, boxes * t, boxes * boxes], axis=1)
    total = np.concatenate([np.zeros((1, moments.shape[1])), np.cumsum(moments, axis=0)])
    at = np.arange(n)
    size = np.minimum(SMOOTH, np.minimum(at, n - 1 - at))
    sums = total[at + size + 1] - total[at - size]
    count, mean_t = sums[:, :1], sums[:, 1:2] / sums[:, :1]
    mean = sums[:, 3:7] / count
    across = sums[:, 2:3] / count - mean_t**2
    slope = np.where(across > 0, (sums[:, 7:11] / count - mean_t * mean) / np.maximum(across, 1e-9), 0)
    left = sums[:, 11:15] / count - mean**2 - slope**2 * across
    return mean + slope * (t - mean_t), np.sqrt(np.maximum(left, 0))


def check_thresholds(settings: Settings) -> None:
    """Raise SettingsError for thresholds below which nothing begins a track: what they ask for would not be hidden."""
    for name, kind in settings.kinds.items():
        if kind.threshold < LEVELS[-1]:
            raise SettingsError(
                f"in clips nothing is followed below a score of {LEVELS[-1]}; the threshold of {name} is "
                f"{kind.threshold}, which only photos can have"
            )


def make_tracks(
    detections: Iterable[Sequence[Region] | None],
    frame_rate: float,
    motion: Motion,
    kinds: Iterable[str] = ("face", "plate"),
) -> tuple[Track, ...]:
    """Tracks of what was found in a clip's frames.

    Each detection of `association.LEVELS[-1]` and more is in exactly one track, and in its frame inside of what that
    track hides; fainter ones only continue tracks.

    Args:
        detections: for each frame its regions, or None where it was not searched.
        frame_rate: frames per second. motion: of the whole clip. kinds: those that are followed.

    Returns:
        Tracks in order of their first frames, without gaps; before and after what was found they go on for a while.
    """
    frame_rate = min(max(frame_rate, RATES[0]), RATES[1])
    rows = {kind: (array("q"), array("d")) for kind in kinds}
    searched = array("q")
    for frame, regions in enumerate(detections):
        if regions is not None:
            searched.append(frame)
            for region in regions:
                if region.kind in rows:
                    frames, values = rows[region.kind]
                    frames.append(frame)
                    values.extend((*_outward(region.box), region.score))
    tracks: list[Track] = []
    for kind, (frames, values) in rows.items():
        places = np.array(searched, np.int64), np.array(frames, np.int64)
        found = Detections(*places, np.array(values, np.float64).reshape(-1, 5), motion.width)
        tracks += _of_kind(kind, found, frame_rate, motion)
    return tuple(sorted(tracks, key=lambda t: (t.first, t.id)))


def _outward(box: Box) -> Box:
    """In hundredths of a px, as records have it; never smaller."""
    low, high = np.floor(np.array(box[:2]) * 100) / 100, np.ceil(np.array(box[2:]) * 100) / 100
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _of_kind(kind: str, found: Detections, frame_rate: float, motion: Motion) -> Iterator[Track]:
    for chain in chains(found, frame_rate, motion):
        path = Path(found.frames[chain], found.rows[chain, :4], found.rows[chain, 4])
        first, boxes, sources = close(path, frame_rate, motion)
        scores = np.zeros(len(boxes))
        scores[path.frames - first] = path.scores
        x1, y1, x2, y2 = path.boxes[0].tolist()  # the name is of what was seen first
        yield Track(kind, first, boxes, sources, scores, id=f"{path.frames[0]}-{Region(kind, (x1, y1, x2, y2)).id}")


def regions_at(tracks: Iterable[Track], frame: int, settings: Settings) -> tuple[Region, ...]:
    """All that must be hidden in a frame; each region has its track's id and is hidden by any settings."""
    out = []
    for track in tracks:
        if track.first <= frame <= track.last and track.is_hidden(settings):
            status: Status = "manual" if track.status == "manual" else "accepted"
            box = track.box(frame)
            assert box is not None
            out.append(Region(track.kind, box, track.score, status=status, id=track.id))
    return tuple(out)
