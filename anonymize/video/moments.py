"""Which moments of a clip a person should look at: where something may be seen that is hidden before or after.

The figures are rules of thumb that put moments in order, not fitted probabilities as a photo's risk has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..regions import Box
from ..risk import at_least_one
from ..settings import Settings
from .clip_records import ClipRecord
from .closing import DETECTED, FILLED
from .tracks import Track

Sign = Literal["begins", "ends", "filled", "candidate"]

# px high, above which a thing that comes out of nowhere was most likely there before; it is then so risky.
LARGE, SUDDEN, GRADUAL = 20.0, 0.5, 0.2
EDGE = 0.5  # of its size: nearer to the picture's edge a thing comes and goes through it
SHORTEST, FILLED_A_SECOND = 0.2, 0.5  # seconds that are filled, from which they count; and the risk of a second
BESIDE, NEAR, AROUND = 1.5, 1.5, 0.5  # factor of a candidate within so many sizes and seconds of a hidden track


@dataclass(frozen=True, slots=True)
class Moment:
    """One frame that a person should look at.

    Attributes:
        frame: its number. p: how much speaks for a leak, 0–1. text: why, in words.
        kind, track: of the track. box: where, px.
        sign: what speaks for it: the track begins or ends in the middle of the picture, was not found for a while, or
            is not hidden.
    """

    frame: int
    p: float
    text: str
    kind: str
    track: str
    box: Box
    sign: Sign


def moments(record: ClipRecord, settings: Settings) -> list[Moment]:
    """All of a clip, likeliest first."""
    hidden = record.hidden(settings)
    out = [m for t in hidden if t.status == "auto" for m in (*_ends(t, record), *_filled(t, record))]
    shown = {t.id for t in hidden}
    for track in record.tracks:
        if track.id not in shown and track.status == "auto" and track.kind in settings.kinds:
            out.append(_candidate(track, hidden, record, settings))
    return sorted(out, key=lambda m: (-m.p, m.frame))


def risk_of(record: ClipRecord, settings: Settings) -> float:
    """How much speaks for a leak anywhere in a clip, 0–1."""
    return at_least_one(m.p for m in moments(record, settings))


def keyframes(record: ClipRecord, settings: Settings, limit: int) -> list[int]:
    """The frames to look at first, at most so many, riskiest first: each the best of its second."""
    best: dict[int, int] = {}
    for moment in moments(record, settings):
        best.setdefault(int(moment.frame / max(record.frame_rate, 1e-6)), moment.frame)
    return list(best.values())[:limit]


def _ends(track: Track, record: ClipRecord) -> Iterator[Moment]:
    """Where it comes out of nowhere, or is gone, in the middle of the picture and of a scene."""
    found = np.flatnonzero(track.sources == DETECTED)
    if not len(found):
        return
    places: tuple[tuple[Sign, int, int], ...] = (("begins", int(found[0]), -1), ("ends", int(found[-1]), 1))
    for sign, at, step in places:
        frame = track.first + at
        border = frame if step < 0 else frame + 1
        if border in (0, record.frames, *record.cuts) or _leaves(track, record, step):
            continue
        x1, y1, x2, y2 = track.found_box(frame).tolist()
        p = SUDDEN if y2 - y1 >= LARGE else GRADUAL
        text = f"a {track.kind} of {y2 - y1:.0f} px {sign} in the middle of the picture"
        yield Moment(
            min(max(frame + step, 0), record.frames - 1), p, text, track.kind, track.id, (x1, y1, x2, y2), sign
        )


def _leaves(track: Track, record: ClipRecord, step: int) -> bool:
    """Whether the last box on a side, found or extended, is at the picture's edge."""
    x1, y1, x2, y2 = track.found_box(track.last if step > 0 else track.first).tolist()
    dx, dy = EDGE * (x2 - x1), EDGE * (y2 - y1)
    return x1 < dx or y1 < dy or x2 > record.width - dx or y2 > record.height - dy


def _filled(track: Track, record: ClipRecord) -> Iterator[Moment]:
    """The middle of each run of frames in which it was not found."""
    is_filled = np.concatenate([[False], track.sources == FILLED, [False]])
    edges = np.flatnonzero(is_filled[1:] != is_filled[:-1])
    for start, stop in edges.reshape(-1, 2).tolist():
        seconds = (stop - start) / record.frame_rate if record.frame_rate else 0.0
        if seconds >= SHORTEST:
            at = (start + stop) // 2
            box = track.box(track.first + at)
            assert box is not None
            text = f"a {track.kind} was not found for {seconds:.1f} s"
            p = min(FILLED_A_SECOND * seconds, SUDDEN)
            yield Moment(track.first + at, p, text, track.kind, track.id, box, "filled")


def _candidate(track: Track, hidden: list[Track], record: ClipRecord, settings: Settings) -> Moment:
    """Where a track that is not hidden is likeliest to be real."""
    at = int(track.scores.argmax())
    frame = track.first + at
    box = track.found_box(frame)
    p, where = track.score, ""
    if any(t.kind == track.kind and _is_beside(box, frame, t, record) for t in hidden):
        p, where = min(BESIDE * p, 1.0), " beside a hidden one"
    threshold = settings.kinds[track.kind].threshold
    text = f"a candidate for a {track.kind}{where} scores {track.score:.3g}, the threshold is {threshold:g}"
    if track.score >= threshold:
        text = f"a {track.kind} (score {track.score:.3g}) that the size limits leave alone"
    x1, y1, x2, y2 = box.tolist()
    return Moment(frame, p, text, track.kind, track.id, (x1, y1, x2, y2), "candidate")


def _is_beside(box: np.ndarray, frame: int, track: Track, record: ClipRecord) -> bool:
    reach = AROUND * record.frame_rate
    if not track.first - reach <= frame <= track.last + reach:
        return False
    other = track.found_box(min(max(frame, track.first), track.last))
    size = NEAR * np.maximum(box[2:] - box[:2], other[2:] - other[:2])
    return bool((np.abs(box[:2] + box[2:] - other[:2] - other[2:]) / 2 <= size).all())
