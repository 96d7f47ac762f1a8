"""Tracks: one face or plate through a clip. What is hidden in one frame is hidden in all in which the track runs.

Pure: detections by frame in, tracks out, and of tracks the regions of each frame. No pixels, no settings but to choose:
tracks of lower scores are made, too, so that another threshold needs no new detection.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError
from ..json_lines import to_line
from ..regions import STATUSES, Box, Region, Status
from ..settings import Settings
from .association import LEVELS, chains
from .closing import DETECTED, DRAWN, EXTENDED, FILLED, close
from .found import Segments
from .spilled import Spill, Spilled

SOURCES = {DETECTED: "detected", FILLED: "filled", EXTENDED: "extended", DRAWN: "drawn"}
RATES = 1.0, 240.0  # frames per second that are believed: seconds before and after a track have to end somewhere
SMOOTH = 4  # frames on each side, by whose boxes it is known where a box's edges should be
TREMBLE = 0.1  # of the size; what edges tremble by at most
_LETTERS = "dfem"  # of SOURCES, as records have them
_PIECE = 1000  # frames of a track that are written at a time


class _Rows:
    """A field that holds an array, a row for each frame, or knows where it lies in a file.

    Args:
        dtype: of the array. shape: of a row.
    """

    def __init__(self, dtype: type, *shape: int) -> None:
        self._dtype, self._shape = dtype, shape

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_{name}"

    def __get__(self, track: Any, owner: type | None = None) -> NDArray[Any]:
        if track is None:
            raise AttributeError(self._name)  # so a dataclass sees no default
        return self.of(track)

    def __set__(self, track: Any, values: Any) -> None:
        track.__dict__[self._name] = np.asarray(values, self._dtype).reshape(-1, *self._shape)

    def of(self, track: Any, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        rows = track.__dict__[self._name]
        return rows.load(start, stop) if isinstance(rows, Spilled) else rows[start:stop]

    def spill(self, track: Any, spill: Spill) -> None:
        track.__dict__[self._name] = spill.put(self.of(track))


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
    boxes: _Rows = _Rows(np.float64, 4)
    sources: _Rows = _Rows(np.uint8)
    scores: _Rows = _Rows(np.float64)
    status: Status = "auto"
    id: str = ""
    _length: int = field(init=False, repr=False)
    _score: float = field(init=False, repr=False)  # the best, and the best of a detection
    _found: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        set_, boxes, scores = object.__setattr__, self.boxes, self.scores
        if not len(boxes) or not len(boxes) == len(self.sources) == len(scores):
            raise SettingsError("a track has a box, a source and a score for each of its frames, one or more")
        if self.first < 0 or not np.isfinite(boxes).all() or (boxes[:, :2] > boxes[:, 2:]).any():
            raise SettingsError(f"not the boxes of a track from frame {self.first}: {boxes[:3].tolist()} …")
        if not ((scores >= 0) & (scores <= 1)).all() or self.sources.max() >= len(SOURCES):
            raise SettingsError("a track's scores lie in 0–1, its sources are " + ", ".join(SOURCES.values()))
        set_(self, "_length", len(boxes))
        set_(self, "_score", float(scores.max()))
        set_(self, "_found", float(scores[self.sources == DETECTED].max(initial=-1)))
        if self.status not in STATUSES or not self.kind:
            raise SettingsError(f"a status is one of {', '.join(STATUSES)}; received {self.status!r}")
        if not self.id:
            text = "{} {} {:.2f} {:.2f} {:.2f} {:.2f}".format(self.kind, self.first, *boxes[0])
            set_(self, "id", hashlib.blake2s(text.encode(), digest_size=6).hexdigest())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Track) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.id, self.first, self._length))

    @property
    def last(self) -> int:
        """The last frame, in which it still is."""
        return self.first + self._length - 1

    @property
    def frames(self) -> range:
        return range(self.first, self.last + 1)

    @property
    def score(self) -> float:
        """The best of its scores."""
        return self._score

    def spilled(self, spill: Spill) -> Track:
        """The same track, whose boxes, sources and scores lie in a file."""
        out = copy.copy(self)
        for rows in _ROWS:
            rows.spill(out, spill)
        return out

    @property
    def hidden_boxes(self) -> NDArray[np.float64]:
        """What is hidden in each frame: see `hidden_between`."""
        return self.hidden_between(self.first, self.last + 1)

    def hidden_between(self, first: int, stop: int) -> NDArray[np.float64]:
        """What is hidden in a run of its frames, (frames, 4): each box and where its edges should be by those of the
        frames around it, whichever is farther out. So a mask does not tremble, and a face of which half is behind a
        post for some frames is hidden whole."""
        begin, end = first - self.first, stop - self.first
        low, high = max(begin - SMOOTH, 0), min(end + SMOOTH, self._length)
        near = _BOXES.of(self, low, high)
        at = np.arange(low, high)
        expected, spread = _expected(near, np.minimum(SMOOTH, np.minimum(at, self._length - 1 - at)))
        spread = np.minimum(spread, TREMBLE * np.tile(near[:, 2:] - near[:, :2], 2))
        smaller = np.minimum(near[:, :2], (expected - spread)[:, :2])
        larger = np.maximum(near[:, 2:], (expected + spread)[:, 2:])
        return np.concatenate([smaller, larger], axis=1)[begin - low : end - low]

    def box(self, frame: int) -> Box | None:
        """What is hidden in a frame; None where the track does not run."""
        if frame not in self.frames:
            return None
        x1, y1, x2, y2 = self.hidden_between(frame, frame + 1)[0].tolist()
        return x1, y1, x2, y2

    def found_box(self, frame: int) -> NDArray[np.float64]:
        """Its box in one of its frames, as `boxes` has it."""
        return _BOXES.of(self, frame - self.first, frame - self.first + 1)[0]

    def found_between(self, first: int, stop: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Its boxes in a run of its frames, and whether each was detected."""
        begin, end = first - self.first, stop - self.first
        return _BOXES.of(self, begin, end), _SOURCES.of(self, begin, end) == DETECTED

    def source(self, frame: int) -> str:
        return SOURCES[int(_SOURCES.of(self, frame - self.first, frame - self.first + 1)[0])]

    def is_hidden(self, settings: Settings) -> bool:
        """Whether an export hides it, in all its frames: what a person decided, else whether the settings hide any of
        its detections."""
        if self.status != "auto":
            return self.status != "rejected"
        kind = settings.kinds.get(self.kind)
        if kind is None:
            return False
        if kind.min_size <= 0 and kind.max_size <= 0:
            return self._found >= kind.threshold
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
        out: dict[str, Any] = json.loads(b"".join(self.to_json()))
        return out

    def to_json(self) -> Iterator[bytes]:
        """A line of JSON without its end, some frames at a time: a track may last for an hour."""
        yield to_line({"id": self.id, "kind": self.kind, "first": self.first})[:-2]
        for name, rows in zip(("boxes", "sources", "scores"), _ROWS, strict=True):
            opening, closing, between = ('"', '"', "") if rows is _SOURCES else ("[", "]", ",")
            yield f',"{name}":{opening}'.encode()
            for start in range(0, self._length, _PIECE):
                values = rows.of(self, start, start + _PIECE).tolist()
                said = "".join(_LETTERS[s] for s in values) if rows is _SOURCES else to_line(values)[1:-2].decode()
                yield f"{between if start else ''}{said}".encode()
            yield closing.encode()
        yield f',"status":"{self.status}"}}'.encode() if self.status != "auto" else b"}"

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Track:
        try:
            values = {**data, "sources": [_LETTERS.index(s) for s in data["sources"]]}
            return cls(**values)
        except (KeyError, TypeError, ValueError) as e:
            raise SettingsError(f"not a track: {data!s:.80} ({e})") from e


_BOXES, _SOURCES, _SCORES = _ROWS = tuple(vars(Track)[name] for name in ("boxes", "sources", "scores"))


def _expected(boxes: NDArray[np.float64], size: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Edges (frames, 4) as a straight line through `size` frames on each side has them, and how far the frames lie from
    it (root mean square). What it says of a frame rests on that frame and those beside it alone, to the last bit:
    whoever asks for one frame or for many gets the same boxes."""
    steps = np.arange(-SMOOTH, SMOOTH + 1)
    at = np.clip(np.arange(len(boxes)) + steps[:, None], 0, len(boxes) - 1)
    there = (np.abs(steps)[:, None] <= size)[..., None]
    away = np.where(there, boxes[at] - boxes, 0)  # (steps, frames, 4), from the frame in the middle
    count, across = 2.0 * size[:, None] + 1, (steps**2 @ there[..., 0])[:, None]
    mean = _sum(away) / count
    slope = _sum(away * steps[:, None, None]) / np.maximum(across, 1)
    left = np.where(there, away - mean - slope * steps[:, None, None], 0)
    return boxes + mean.round(6), np.sqrt(_sum(left * left) / count).round(6)


def _sum(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Over the first axis, one after the other: NumPy's own sums go in an order that the array's shape decides."""
    out = np.zeros(values.shape[1:])
    for value in values:
        out += value
    return out


def check_thresholds(settings: Settings) -> None:
    """Raise SettingsError for thresholds below which nothing begins a track: what they ask for would not be hidden."""
    for name, kind in settings.kinds.items():
        if kind.threshold < LEVELS[-1]:
            raise SettingsError(
                f"in clips nothing is followed below a score of {LEVELS[-1]}; the threshold of {name} is "
                f"{kind.threshold}, which only photos can have"
            )


def make_tracks(found: Segments, frame_rate: float, spill: Spill | None = None) -> tuple[Track, ...]:
    """Tracks of what was found in a clip's frames, of each kind that was looked for.

    Each detection of `association.LEVELS[-1]` and more is in exactly one track, and in its frame inside of what that
    track hides; fainter ones only continue tracks.

    Args:
        frame_rate: frames per second. spill: where the tracks lie; of short clips it is in memory.

    Returns:
        Tracks in order of their first frames, without gaps; before and after what was found they go on for a while.
    """
    frame_rate = min(max(frame_rate, RATES[0]), RATES[1])
    spill = spill or Spill()
    tracks = []
    for kind in found.kinds:
        for chain in chains(found, kind, frame_rate):
            x1, y1, x2, y2 = chain.boxes[0].tolist()  # the name is of what was seen first
            name = f"{chain.frames[0]}-{Region(kind, (x1, y1, x2, y2)).id}"
            tracks.append(Track(kind, *close(chain, frame_rate, found.motion), id=name).spilled(spill))
    return tuple(sorted(tracks, key=lambda t: (t.first, t.id)))


class Shown:
    """What must be hidden in a run of frames, worked out once for all of them.

    Args:
        tracks: of the whole clip. frames: the run. settings: what is hidden.
    """

    def __init__(self, tracks: Iterable[Track], frames: range, settings: Settings) -> None:
        self._near = []
        for track in tracks:
            first, stop = max(track.first, frames.start), min(track.last + 1, frames.stop)
            if first < stop and track.is_hidden(settings):
                self._near.append((track, first, track.hidden_between(first, stop).tolist()))

    def regions_at(self, frame: int) -> tuple[Region, ...]:
        """All that must be hidden in a frame; each region has its track's id and is hidden by any settings."""
        out = []
        for track, first, boxes in self._near:
            if first <= frame < first + len(boxes):
                x1, y1, x2, y2 = boxes[frame - first]
                status: Status = "manual" if track.status == "manual" else "accepted"
                out.append(Region(track.kind, (x1, y1, x2, y2), track.score, status=status, id=track.id))
        return tuple(out)


def regions_at(tracks: Iterable[Track], frame: int, settings: Settings) -> tuple[Region, ...]:
    """All that must be hidden in one frame; of many frames, `Shown` knows it sooner."""
    return Shown(tracks, range(frame, frame + 1), settings).regions_at(frame)
