"""What people say of a clip: its tracks corrected, each once for all its frames. Pure: a record in, a record out.

As with photos (`anonymize.corrections`), every change is one more decision, with who, when and what it changed; undo is
a decision too; what changes nothing is none. A whole clip is approved and flagged by the same functions as a photo.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..corrections import append_decision, approve, flag, in_order, to_undo, unflag
from ..errors import SettingsError, StaleDecisionError, UnknownNameError
from ..regions import Box, Status
from ..settings import Settings
from .closing import DRAWN
from .records import ClipRecord
from .tracks import Track


def accept(record: ClipRecord, *, who: str, track: str, when: str = "", note: str = "") -> ClipRecord:
    """Hide a track in all its frames, whatever its scores.

    Args:
        track: its id. who, when, note: as for photos.

    Raises:
        StaleDecisionError: the track is not there (any more). All functions here raise it.
    """
    t = find(record, track)
    return _decide(record, "accept", who, t, t.replace(status=_hidden_status(t)), when, note)


def reject(record: ClipRecord, *, who: str, track: str, when: str = "", note: str = "") -> ClipRecord:
    """Never hide a track; one that a person drew goes away."""
    t = find(record, track)
    return _decide(record, "reject", who, t, None if t.status == "manual" else t.replace(status="rejected"), when, note)


def reset(record: ClipRecord, *, who: str, track: str, when: str = "", note: str = "") -> ClipRecord:
    """Let the threshold decide on a track again; one that a person drew stays."""
    t = find(record, track)
    after = t if t.status == "manual" else t.replace(status="auto")
    return _decide(record, "reset", who, t, after, when, note)


def set_kind(record: ClipRecord, *, who: str, track: str, kind: str, when: str = "", note: str = "") -> ClipRecord:
    """Say what a track is; so it is one, and hidden whatever its scores."""
    t = find(record, track)
    return _decide(record, "set-kind", who, t, t.replace(kind=kind, status=_hidden_status(t)), when, note)


def draw(
    record: ClipRecord, *, who: str, kind: str, boxes: Mapping[int, Box], when: str = "", note: str = ""
) -> ClipRecord:
    """Draw a track that was missed: boxes in some frames, and between them where the boxes go from one to the next.

    Args:
        boxes: frame -> box, px, from any corner to the opposite one.

    Raises:
        SettingsError: no boxes, one that lies outside the picture, or a frame that the clip has not.
    """
    if not boxes:
        raise SettingsError("draw at least one box")
    drawn = _between(record, {frame: np.array(_inside(record, frame, box)) for frame, box in boxes.items()})
    name, taken, number = drawn.replace(kind=kind, id="").id, {t.id: t for t in record.tracks}, 1
    track = drawn.replace(kind=kind, id=name)
    while (there := taken.get(track.id)) is not None:
        if there == track:
            return record
        number += 1
        track = track.replace(id=f"{name}-{number}")
    return _decide(record, "draw", who, None, track, when, note)


def extend(
    record: ClipRecord, *, who: str, track: str, frame: int, box: Box, when: str = "", note: str = ""
) -> ClipRecord:
    """Let a track begin earlier or end later: from its end to this box it goes straight. From then on it is hidden.

    In a frame that it has, the box is hidden in addition to its own: what was hidden stays so.
    """
    t = find(record, track)
    end = min(max(frame, t.first), t.last)
    shown = t.box(end)
    assert shown is not None
    new = np.array(_inside(record, frame, box))
    if end == frame:
        new = np.concatenate([np.minimum(new[:2], shown[:2]), np.maximum(new[2:], shown[2:])])
        boxes, sources = t.boxes.copy(), t.sources.copy()
        boxes[frame - t.first] = new
        sources[frame - t.first] = DRAWN if sources[frame - t.first] else sources[frame - t.first]
        longer = t.replace(boxes=boxes, sources=sources)
    else:
        added = _between(record, {end: np.array(shown), frame: new})
        keep = slice(1, None) if frame > end else slice(None, -1)
        parts = [(t.boxes, t.sources, t.scores), (added.boxes[keep], added.sources[keep], added.scores[keep])]
        boxes, sources, scores = (np.concatenate(p) for p in zip(*(parts if frame > end else parts[::-1]), strict=True))
        longer = t.replace(first=min(t.first, frame), boxes=boxes, sources=sources, scores=scores)
    return _decide(record, "extend", who, t, longer.replace(status=_hidden_status(t)), when, note)


def undo(record: ClipRecord, *, who: str, when: str = "", note: str = "") -> ClipRecord:
    """Take the last decision that stands back.

    Raises:
        RecordsError: there is none. StaleDecisionError: it is another person's, or the track changed since.
    """
    place = to_undo(record, who)
    last = record.decisions[place]
    if "state" in last:
        record = record.replace(**last["state"])
    else:
        there = {t.id: t for t in record.tracks}.get(last["track"])
        before, after = (_track(said, there) for said in (last["before"], last["after"]))
        if there != after:
            raise StaleDecisionError(f"{record.path}: the track changed since, so {last['what']} cannot be undone")
        record = _put(record, after, before)
    return append_decision(record, "undo", who, when, note, undoes=place)


ACTIONS: Mapping[str, Callable[..., ClipRecord]] = {
    "accept": accept, "reject": reject, "reset": reset, "set-kind": set_kind, "draw": draw, "extend": extend,
    "approve": approve, "flag": flag, "unflag": unflag, "undo": undo,
}  # fmt: skip


def decide(record: ClipRecord, what: str, *, who: str, settings: Settings, **given: Any) -> ClipRecord:
    """One of ACTIONS by its name, as forms, keys and commands have it; `settings`: those that an approval binds to."""
    if what not in ACTIONS:
        raise UnknownNameError("decision", what, ACTIONS)
    if what == "approve":
        given["settings"] = settings
    try:
        return ACTIONS[what](record, who=who, **given)
    except TypeError as e:
        raise SettingsError(f"{what}: {e}") from e


def find(record: ClipRecord, track: str) -> Track:
    """The track with this id. Raises StaleDecisionError: it is not there (any more)."""
    for t in record.tracks:
        if t.id == track:
            return t
    raise StaleDecisionError(f"{record.path} has no track {track!r} (any more)")


def _hidden_status(track: Track) -> Status:
    return "manual" if track.status == "manual" else "accepted"


def _inside(record: ClipRecord, frame: int, box: Box) -> Box:
    """A box in order, cut at the picture's edges."""
    if not 0 <= frame < record.frames:
        raise SettingsError(f"the clip has frames 0 to {record.frames - 1}; received {frame}")
    x1, y1, x2, y2 = in_order(box)
    x1, x2 = (min(max(v, 0.0), float(record.width)) for v in (x1, x2))
    y1, y2 = (min(max(v, 0.0), float(record.height)) for v in (y1, y2))
    if x2 - x1 < 1 or y2 - y1 < 1:
        raise SettingsError("Draw the box over the picture, at least one pixel wide and high.")
    return x1, y1, x2, y2


def _between(record: ClipRecord, boxes: Mapping[int, np.ndarray]) -> Track:
    """A drawn track through these boxes."""
    frames = sorted(boxes)
    every = np.arange(frames[0], frames[-1] + 1)
    sides = np.array([boxes[f] for f in frames], dtype=np.float64)
    path = np.stack([np.interp(every, frames, side) for side in sides.T], axis=1)
    sources = np.full(len(every), DRAWN, np.uint8)
    return Track("face", frames[0], path.round(2), sources, np.zeros(len(every)), status="manual")


def _decide(
    record: ClipRecord, what: str, who: str, before: Track | None, after: Track | None, when: str, note: str
) -> ClipRecord:
    if before == after:
        return record
    change = {"before": _said(before, after), "after": _said(after, before)}
    name = (after or before).id  # type: ignore[union-attr]
    return append_decision(_put(record, before, after), what, who, when, note, track=name, **change)


def _said(track: Track | None, other: Track | None) -> dict[str, Any] | None:
    """A track as a decision has it: whole, unless all that changed is what it is and whether it is hidden."""
    if track is None:
        return None
    if other is None or track.replace(kind=other.kind, status=other.status) != other:
        return track.to_dict()
    return {"kind": track.kind, "status": track.status}


def _track(said: Mapping[str, Any] | None, there: Track | None) -> Track | None:
    """The inverse of `_said`, with the track that is there now."""
    if said is None or there is None or "boxes" in said:
        return Track.from_dict(said) if said and "boxes" in said else None
    return there.replace(**said)


def _put(record: ClipRecord, before: Track | None, after: Track | None) -> ClipRecord:
    """One track replaced, added or taken away."""
    kept = [t for t in record.tracks if before is None or t.id != before.id]
    kept += [] if after is None else [after]
    return record.replace(tracks=tuple(sorted(kept, key=lambda t: (t.first, t.id))))
