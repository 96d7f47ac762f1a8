"""What people say of a clip's tracks alone, each once for all its frames. Pure: a record in, a record out.

All but `draw` and `extend` are the functions for photos (`anonymize.corrections`), which take a clip's record, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from .. import corrections
from ..corrections import find, hidden_status, in_order, record_addition, record_change
from ..errors import SettingsError
from ..regions import Box
from .clip_records import ClipRecord
from .closing import DRAWN
from .tracks import Track


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
    return record_addition(record, "draw", who, drawn.replace(kind=kind, id=""), when, note)


def extend(
    record: ClipRecord, *, who: str, id: str, frame: int, box: Box, when: str = "", note: str = ""
) -> ClipRecord:
    """Let a track begin earlier or end later: from its end to this box it goes straight. From then on it is hidden.

    In a frame that it has, the box is hidden in addition to its own: what was hidden stays so.
    """
    t: Track = find(record, id)
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
    return record_change(record, "extend", who, t, longer.replace(status=hidden_status(t)), when, note)


_OF_PHOTOS = ("move", "add")
ACTIONS: Mapping[str, Callable[..., Any]] = {
    **{name: action for name, action in corrections.ACTIONS.items() if name not in _OF_PHOTOS},
    "draw": draw,
    "extend": extend,
}
decide = partial(corrections.decide, actions=ACTIONS)


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
