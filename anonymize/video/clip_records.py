"""ClipRecord: what is known of one clip; and its file, which joins detecting, review and export.

The first line is a header as photos' records have one, with the clip in it; then a line for each track and one for
each decision. The file is written whole or not at all: a clip has a few hundred tracks, and an hour of them some
megabytes. Their boxes lie in a file in memory's stead (`spilled`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..disk import AnyPath
from ..errors import RecordsError, SettingsError
from ..json_lines import each_line, to_line, write_lines
from ..records import Header, Reviewed, check_decisions
from ..regions import NEARLY_ALL, Region, areas, intersections
from ..settings import Settings
from .closing import DETECTED, DRAWN, FILLED
from .spilled import Spill
from .tracks import Track, regions_at

SCHEMA = 1  # of clips; the header's own is photos'
# IoU with a rejected track, above which a new one is the same thing: the mean over its detections, and their least
SAME, APART = 0.5, 0.1
# How much of the smaller of two boxes lies in the other, above which both are around one thing: the mean over frames
# that both tracks have, of those amid these at most so many.
INSIDE, LOOKED_AT = 0.5, 200
_ORDER = (
    "path", "sha256", "width", "height", "frames", "frame_rate", "searched", "cuts", "detectors", "detection", "review",
    "approved_hash", "error", "warnings", "kinds", "pictures",
)  # fmt: skip


@dataclass(frozen=True)
class ClipRecord(Reviewed):
    """One clip: where it is, what was found, what people decided.

    Attributes:
        frames: how many it has. frame_rate: frames per second, as most of them follow each other.
        tracks: in order of their first frames; fainter ones than any settings hide, too.
        searched: frames that detectors saw; the others are filled. cuts: frames with which another scene begins.
        kinds: those that were followed; no others can be hidden.
        pictures: a hash of when the frames are shown and of a part of their pixels, as they were searched.
    """

    PART, NAME = "track", "clip's record"
    FORGOTTEN = "is another file than the one that people decided on; nothing of what they decided holds for it"

    frames: int = 0
    frame_rate: float = 0.0
    tracks: tuple[Track, ...] = ()
    searched: int = 0
    cuts: tuple[int, ...] = ()
    kinds: tuple[str, ...] = ()
    pictures: str = ""

    def with_parts(self, parts: Iterable[Track]) -> Self:
        return self.replace(tracks=tuple(sorted(parts, key=lambda t: (t.first, t.id))))

    def put(self, before: Track | None, after: Track | None) -> Self:
        kept = [t for t in self.tracks if before is None or t.id != before.id]
        return self.with_parts([*kept, *([] if after is None else [after])])

    def describe_part(self, part: Track | None, other: Track | None) -> dict[str, Any] | None:
        """Whole, unless all that changed is what it is and whether it is hidden."""
        if part is None or other is None or part.replace(kind=other.kind, status=other.status) != other:
            return super().describe_part(part, other)
        return {"kind": part.kind, "status": part.status}

    def restore_part(self, said: Mapping[str, Any] | None, there: Track | None) -> Track | None:
        if said is None or there is None or "boxes" in said:
            return Track.from_dict(said) if said and "boxes" in said else None
        return there.replace(**said)

    def hidden(self, settings: Settings) -> list[Track]:
        return [t for t in self.tracks if t.is_hidden(settings)]

    def distinct(self, settings: Settings) -> list[Track]:
        """Of each thing that is hidden the surest track: where another one follows the same thing, it is left out."""
        tracks = sorted(self.hidden(settings), key=lambda t: (t.status == "auto", -t.score, t.first, t.id))
        first, last = (np.array([getattr(t, end) for t in tracks], np.int64) for end in ("first", "last"))
        kept = np.zeros(len(tracks), bool)
        for n, track in enumerate(tracks):  # a long clip has thousands, few of them at the same time
            beside = np.flatnonzero(kept & (first <= track.last) & (last >= track.first))
            kept[n] = not any(self._is_same(track, tracks[i]) for i in beside)
        return [track for track, is_kept in zip(tracks, kept, strict=True) if is_kept]

    def _is_same(self, a: Track, b: Track) -> bool:
        if (found := self._compared.get((a.id, b.id))) is None:
            found = self._compared[a.id, b.id] = _is_same(a, b)
        return found

    @cached_property
    def _compared(self) -> dict[tuple[str, str], bool]:
        """Which tracks were found to follow the same thing: a page asks at each of its looks."""
        return {}

    def regions_at(self, frame: int, settings: Settings) -> tuple[Region, ...]:
        """All that must be hidden in a frame."""
        return regions_at(self.tracks, frame, settings)

    def content_hash(self) -> str:
        out = hashlib.sha256(self.sha256.encode())
        for track in self.tracks:
            for part in (*track.to_json(), b"\n"):
                out.update(part)
        return out.hexdigest()[:16]

    def is_settled(self, fresh: Sequence[Track], decided: Sequence[Track]) -> NDArray[np.bool_]:
        return np.array([[_is_settled(t, d) for d in decided] for t in fresh])

    def answering_for(self, part: Track, gone: Sequence[Track]) -> Track:
        if part.status == "manual" or (part.sources == DRAWN).any():  # a person's own boxes have no scores
            return part
        scores = np.zeros_like(part.scores)
        for track in gone:
            found = track.sources == DETECTED
            at = track.first - part.first + np.flatnonzero(found)
            scores[at] = np.maximum(scores[at], track.scores[found])
        unseen = np.where(part.sources == DETECTED, FILLED, part.sources)
        return part.replace(scores=scores, sources=np.where(scores > 0, DETECTED, unseen).astype(part.sources.dtype))

    def to_dict(self) -> dict[str, Any]:
        """All but tracks and decisions, which have lines of their own."""
        values = {name: getattr(self, name) for name in _ORDER}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}

    @classmethod
    def from_dict(
        cls, data: Mapping[str, Any], tracks: Sequence[Track] = (), decisions: Sequence[Mapping[str, Any]] = ()
    ) -> ClipRecord:
        values = cls.check_values(
            data, frames=int, searched=int, frame_rate=(int, float), cuts=list, kinds=list, pictures=str
        )
        values["cuts"], values["kinds"] = tuple(map(int, data.get("cuts", ()))), tuple(map(str, data.get("kinds", ())))
        record = cls(**{**values, "decisions": check_decisions(decisions)}, tracks=tuple(tracks))
        if outside := [t.id for t in tracks if t.last >= record.frames]:
            raise RecordsError(f"track {outside[0]} goes on after the clip's last frame")
        return record


def _is_settled(fresh: Track, decided: Track) -> bool:
    """Whether what a person decided on a track holds for all of a new one."""
    rejects = decided.status == "rejected"
    frames = fresh.first + np.flatnonzero(fresh.sources == DETECTED) if rejects else np.array(fresh.frames)
    if fresh.kind != decided.kind or not len(frames) or frames[0] < decided.first or frames[-1] > decided.last:
        return False
    a, b = (t.hidden_boxes[frames - t.first] for t in (fresh, decided))
    shared = np.array([intersections(x[None], y[None])[0, 0] for x, y in zip(a, b, strict=True)])
    if not rejects:
        return bool((shared >= NEARLY_ALL * areas(a)).all())
    same = shared / np.maximum(areas(a) + areas(b) - shared, 1e-9)
    return bool(same.mean() > SAME and same.min() > APART)


def _is_same(a: Track, b: Track) -> bool:
    """Whether two tracks follow one thing, at the same time or one after the other.

    Two things that cross have boxes in each other for some frames, too; so where both were detected counts alone. What
    both only were expected in says that one track ends where the other begins.
    """
    first, stop = max(a.first, b.first), min(a.last, b.last) + 1
    if a.kind != b.kind or first >= stop:
        return False
    first += max(0, stop - first - LOOKED_AT) // 2
    stop = min(stop, first + LOOKED_AT)
    (x, found_x), (y, found_y) = a.found_between(first, stop), b.found_between(first, stop)
    if (both := found_x & found_y).any():
        x, y = x[both], y[both]
    sides = (np.minimum(x[:, 2:], y[:, 2:]) - np.maximum(x[:, :2], y[:, :2])).clip(0)
    return bool((sides.prod(axis=1) / np.maximum(np.minimum(areas(x), areas(y)), 1e-9)).mean() > INSIDE)


def write(path: AnyPath, header: Header, record: ClipRecord) -> None:
    """Write a clip's file: a temporary file, then a rename; through to the disk."""
    write_lines(path, _lines(header, record))


def _lines(header: Header, record: ClipRecord) -> Iterator[bytes]:
    yield to_line({**header.to_dict(), "video": SCHEMA, "clip": record.to_dict()})
    for track in record.tracks:
        yield b'{"track":'
        yield from track.to_json()  # in pieces: a track may last for an hour
        yield b"}\n"
    yield from (to_line({"decision": d}) for d in record.decisions)
    # Its last line: a file that was cut off is no record of a clip with fewer tracks.
    yield to_line({"tracks": len(record.tracks), "decisions": len(record.decisions)})


def read(path: AnyPath) -> tuple[Header, ClipRecord]:
    """A clip's file.

    Raises:
        RecordsError: no such file, not a clip's, another schema, a broken line, or one that is missing.
    """
    lines = each_line(path)
    try:
        first = next(lines, {})
        if first.get("video") != SCHEMA:
            raise RecordsError(f"{path} is not a clip's record of schema {SCHEMA}: detect the clip again")
        tracks: list[Track] = []
        decisions: list[Mapping[str, Any]] = []
        spill = Spill(os.path.dirname(os.fspath(path)) or ".")
        counts: Mapping[str, Any] = {}
        for line in lines:
            if "track" in line:
                tracks.append(Track.from_dict(line["track"]).spilled(spill))
            elif "decision" in line:
                decisions.append(line["decision"])
            else:
                counts = line if next(lines, None) is None else {}  # it is the last one
                break
        if counts != {"tracks": len(tracks), "decisions": len(decisions)}:
            raise RecordsError(f"{path} was cut off: detect the clip again")
        return Header.from_dict(first), ClipRecord.from_dict(first["clip"], tracks, decisions)
    except (KeyError, TypeError, ValueError) as e:
        what = e if isinstance(e, SettingsError) else repr(e)
        raise RecordsError(f"{path} is not a clip's record: {what}") from e
