"""ClipRecord: what is known of one clip; and its file, which joins detecting, review and export.

The first line is a header as photos' records have one, with the clip in it; then a line for each track and one for
each decision. The file is written whole or not at all: a clip has a few hundred tracks, and an hour of them some
megabytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..disk import AnyPath, replacing
from ..errors import RecordsError, SettingsError
from ..json_lines import each_line, to_line
from ..records import DECIDED, Header, Review, is_canonical
from ..regions import NEARLY_ALL, Region, areas, intersections
from ..settings import Settings
from .closing import DETECTED
from .tracks import Track, regions_at

SCHEMA = 1  # of clips; the header's own is photos'
# IoU with a rejected track, above which a new one is the same thing: the mean over its detections, and their least
SAME, APART = 0.5, 0.1
_TYPES: Mapping[str, Any] = {
    **dict.fromkeys(("path", "sha256", "detection", "pictures", "review", "approved_hash"), str),
    **dict.fromkeys(("width", "height", "frames", "searched"), int),
    "frame_rate": (int, float),
    "detectors": dict,
    **dict.fromkeys(("warnings", "cuts"), list),
    "error": (str, type(None)),
}


@dataclass(frozen=True)
class ClipRecord:
    """One clip: where it is, what was found, what people decided. Fields without a word here are as a `Record`'s.

    Attributes:
        width, height: px, as displayed.
        frames: how many it has. frame_rate: frames per second, as most of them follow each other.
        tracks: in order of their first frames; fainter ones than any settings hide, too.
        searched: frames that detectors saw; the others are filled. cuts: frames with which another scene begins.
        kinds: those that were followed; no others can be hidden.
        pictures: a hash of when the frames are shown and of a part of their pixels, as they were searched.
        approved_hash: `approval_hash` at the approval; when it differs now, the clip is pending again.
    """

    path: str
    sha256: str = ""
    width: int = 0
    height: int = 0
    frames: int = 0
    frame_rate: float = 0.0
    tracks: tuple[Track, ...] = ()
    searched: int = 0
    cuts: tuple[int, ...] = ()
    detectors: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    detection: str = ""
    review: Review = "pending"
    decisions: tuple[Mapping[str, Any], ...] = ()
    approved_hash: str = ""
    error: str | None = None
    warnings: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    pictures: str = ""

    def replace(self, **changes: Any) -> ClipRecord:
        return dataclasses.replace(self, **changes)

    def hidden(self, settings: Settings) -> list[Track]:
        """The tracks that an export with these settings hides."""
        return [t for t in self.tracks if t.is_hidden(settings)]

    def regions_at(self, frame: int, settings: Settings) -> tuple[Region, ...]:
        """All that must be hidden in a frame."""
        return regions_at(self.tracks, frame, settings)

    def tracks_hash(self) -> str:
        """A hash of the clip and all its tracks."""
        out = hashlib.sha256(self.sha256.encode())
        for track in self.tracks:
            out.update(to_line(track.to_dict()))
        return out.hexdigest()[:16]

    def approval_hash(self, settings: Settings) -> str:
        """What an approval binds to: the clip, its tracks, and the settings that decide its pixels."""
        return f"{self.tracks_hash()}-{settings.export_hash()}"

    def is_approved(self, settings: Settings) -> bool:
        return self.review == "approved" and self.approved_hash == self.approval_hash(settings) and self.error is None

    def keep_decisions(self, earlier: ClipRecord | None) -> ClipRecord:
        """This new detection, with what people decided on `earlier`, the same clip's last record.

        Tracks that a person drew, accepted or rejected stay. A new automatic track goes where one that was rejected is
        the same thing in all frames in which it was found, or where one that is hidden covers nearly all of it in all
        of its frames: what such a track leaves open, in time or place, is hidden, too.
        """
        if earlier is None or earlier.sha256 != self.sha256:
            return self
        decided = [t for t in earlier.tracks if t.status != "auto"]
        fresh = [t for t in self.tracks if not any(_is_settled(t, d) for d in decided)]
        taken = {t.id for t in decided}  # one that a person made longer keeps its id
        while any(t.id in taken for t in fresh):
            fresh = [t.replace(id=f"{t.id}-again") if t.id in taken else t for t in fresh]
        return self.replace(
            tracks=tuple(sorted([*decided, *fresh], key=lambda t: (t.first, t.id))),
            review=earlier.review,
            decisions=earlier.decisions,
            approved_hash=earlier.approved_hash,
        )

    def to_dict(self) -> dict[str, Any]:
        """All but tracks and decisions, which have lines of their own."""
        out = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("tracks", "decisions")}
        return {**out, "warnings": list(self.warnings), "cuts": list(self.cuts), "kinds": list(self.kinds)}

    @classmethod
    def from_dict(
        cls, data: Mapping[str, Any], tracks: Sequence[Track] = (), decisions: Sequence[Mapping[str, Any]] = ()
    ) -> ClipRecord:
        if not isinstance(data, Mapping) or "path" not in data:
            raise RecordsError(f"not a clip's record: {data!r:.80}")
        names = {f.name for f in dataclasses.fields(cls)} - {"tracks", "decisions"}
        if unknown := set(data) - names:
            raise RecordsError(f"a clip's record has no field {sorted(unknown)[0]!r}")
        for name, of in _TYPES.items():
            if name in data and not isinstance(data[name], of):
                raise RecordsError(f"a clip's {name} cannot be {data[name]!r}")
        if not is_canonical(data["path"]):
            raise RecordsError(f"{data['path']!r} is no path as records write it")
        for decision in decisions:
            if not all(isinstance(decision.get(k), str) for k in DECIDED):
                raise RecordsError(f"a decision has {', '.join(DECIDED)}; received {decision!r:.80}")
        values = {**data, "warnings": tuple(map(str, data.get("warnings", ())))}
        values["cuts"] = tuple(map(int, data.get("cuts", ())))
        values["kinds"] = tuple(map(str, data.get("kinds", ())))
        record = cls(**values, tracks=tuple(tracks), decisions=tuple(decisions))
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


def write(path: AnyPath, header: Header, record: ClipRecord) -> None:
    """Write a clip's file: a temporary file, then a rename; through to the disk."""
    first = {**header.to_dict(), "video": SCHEMA, "clip": record.to_dict()}
    with replacing(path) as temporary, open(temporary, "xb") as file:
        file.write(to_line(first))
        file.writelines(to_line({"track": t.to_dict()}) for t in record.tracks)
        file.writelines(to_line({"decision": d}) for d in record.decisions)
        # Its last line: a file that was cut off is no record of a clip with fewer tracks.
        file.write(to_line({"tracks": len(record.tracks), "decisions": len(record.decisions)}))
        file.flush()
        os.fsync(file.fileno())


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
        counts = _read_lines(lines, tracks, decisions)
        if counts != {"tracks": len(tracks), "decisions": len(decisions)}:
            raise RecordsError(f"{path} was cut off: detect the clip again")
        return Header.from_dict(first), ClipRecord.from_dict(first["clip"], tracks, decisions)
    except (KeyError, TypeError, ValueError) as e:
        what = e if isinstance(e, SettingsError) else repr(e)
        raise RecordsError(f"{path} is not a clip's record: {what}") from e


def _read_lines(
    lines: Iterator[dict[str, Any]], tracks: list[Track], decisions: list[Mapping[str, Any]]
) -> Mapping[str, Any]:
    """The counts of the last line; {} where there is none."""
    for line in lines:
        if "track" in line:
            tracks.append(Track.from_dict(line["track"]))
        elif "decision" in line:
            decisions.append(line["decision"])
        else:
            return line if next(lines, None) is None else {}
    return {}
