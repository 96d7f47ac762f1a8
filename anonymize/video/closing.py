"""Where a thing is in the frames in which it was not found: between two that show it, before the first, after the last.

Between two frames it goes from one place to the other, carried by the picture's own motion. Before and after, it goes
on as it went, until it has left the picture, another scene begins, or half a second is over; a flash of light is no
scene. What is not known is hidden, too: boxes grow with the time to the nearest frame in which the thing was found.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .association import LEVELS, Detections, size_in
from .motion import Motion

Floats = NDArray[np.float64]
DETECTED, FILLED, EXTENDED, DRAWN = range(4)

BEYOND = 0.5  # seconds that a track goes on before its first and after its last detection, in the picture
LEAVING = 1.5  # the same where it leaves, or enters, the picture within that time
BLINK = 0.2  # seconds; what a scene lasts at most that is none: a flash of light, which looks like two cuts
# A large thing is seen surely, or it is a texture: one that was found surely (LEVELS[0]) fewer times than this goes on
# for a shorter time, the larger it is; at least for this share.
FEW, SHORTEST = 4, 0.2
RECENT = 0.35  # seconds, from which the speed at an end is taken
OTHERWISE = 2.0  # sizes, by which a thing may have gone otherwise than straight between two detections
UNSTEADY = 0.8  # a speed that changed by more than this share of itself within that time is none
GROWTH, MOST = 0.5, 0.35  # of the size, on each side: a second, and at most
DRIFT, MOST_DRIFT = 0.25, 0.75  # the same: of the way that a thing goes by itself, and at most of the size


def close(found: Detections, frame_rate: float, motion: Motion) -> tuple[int, Floats, NDArray[np.uint8], Floats]:
    """The way of one thing without gaps, and beyond its ends: first frame, boxes, sources, scores."""
    frames, state = found.frames.tolist(), _state(found.boxes)
    is_doubtful = int((found.scores >= LEVELS[0]).sum()) < FEW
    beyond = {}
    for step in (1, -1):
        large = size_in(float(state[::step][-1, 2:].min()), motion.width) if is_doubtful else 1.0
        share = max(1 / large, SHORTEST)
        beyond[step] = _beyond(frames[::step], state[::step], step, frame_rate, motion, share)
    first = min([frames[0], *(f for f, _ in beyond[-1])])
    last = max([frames[-1], *(f for f, _ in beyond[1])])
    count, at = last + 1 - first, found.frames - first
    boxes, sources, scores = np.zeros((count, 4)), np.full(count, EXTENDED, np.uint8), np.zeros(count)
    sources[at[0] : at[-1]] = FILLED
    boxes[at], sources[at], scores[at] = found.boxes, DETECTED, found.scores
    for frame, box in (*beyond[-1], *beyond[1]):
        boxes[frame - first] = box
    recent = int(RECENT * frame_rate) + 2  # detections of which a speed is taken, at most
    for i in range(len(frames) - 1):
        before, after = slice(max(i + 1 - recent, 0), i + 1), slice(min(i + recent, len(frames) - 1), i, -1)
        speeds = (
            _speed(frames[before], state[before], 1, frame_rate, motion),
            _speed(frames[after], state[after], -1, frame_rate, motion),
        )
        for frame, box in _between(frames[i], frames[i + 1], state[i], state[i + 1], speeds, frame_rate, motion):
            boxes[frame - first] = box
    return first, boxes, sources, scores


def _state(boxes: Floats) -> Floats:
    """Boxes (N, 4) as centers and sizes."""
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)


def _grown(state: Floats, seconds: float, way: Floats) -> Floats:
    """A box around a center and a size, grown by what is not known, rounded outward as records have it."""
    doubt = min(GROWTH * seconds, MOST) * state[2:] + np.minimum(DRIFT * way, MOST_DRIFT * state[2:])
    size = state[2:] / 2 + doubt
    return np.concatenate([np.floor((state[:2] - size) * 100) / 100, np.ceil((state[:2] + size) * 100) / 100])


def _carried(center: Floats, frame: int, step: int, motion: Motion) -> Floats:
    """A place one frame on, or back, as the picture moves there."""
    shift = np.array(motion.shift(frame if step > 0 else frame - 1, *center))
    return center + step * shift


def _between(
    a: int,
    b: int,
    before: Floats,
    after: Floats,
    speeds: tuple[Floats | None, Floats | None],
    frame_rate: float,
    motion: Motion,
) -> list[tuple[int, Floats]]:
    """The frames between two in which the thing was found: straight, and as it went before and after, if that is known;
    all of it is hidden."""
    center = before[:2]
    carried = []
    for frame in range(a, b):
        center = _carried(center, frame, 1, motion)
        carried.append(center)
    own = after[:2] - center  # what the thing moved by itself
    out = []
    for n, center in enumerate(carried[:-1], 1):
        t, left = n / (b - a), b - a - n
        size, nearest = (1 - t) * before[2:] + t * after[2:], min(n, left)
        straight = t * own
        ways = [straight, _bent(t, own, speeds, b - a)]
        # As it would go on, and have come, for a while: the two detections may be of two things.
        for speed, steps, origin in ((speeds[0], n, 0.0), (speeds[1], left, own)):
            if speed is not None and steps <= BEYOND * frame_rate:
                ways.append(straight + np.clip(origin + speed * steps - straight, -OTHERWISE * size, OTHERWISE * size))
        doubt = nearest / frame_rate, np.abs(own) * nearest / (b - a)
        boxes = np.array([_grown(np.concatenate([center + way, size]), *doubt) for way in ways])
        out.append((a + n, np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])))
    return out


def _bent(t: float, way: Floats, speeds: tuple[Floats | None, Floats | None], frames: int) -> Floats:
    """How far a thing has come at `t`, 0–1, that begins and ends at these speeds (Hermite); straight where unknown."""
    v0, v1 = (way if v is None else v * frames * sign for v, sign in zip(speeds, (1, -1), strict=True))
    return (t - 2 * t**2 + t**3) * v0 + (3 * t**2 - 2 * t**3) * way + (t**3 - t**2) * v1


def _beyond(
    frames: list[int], state: Floats, step: int, frame_rate: float, motion: Motion, share: float
) -> list[tuple[int, Floats]]:
    """Frames after the last (step 1) or before the first (-1; frames and state are then given in reverse).

    Args:
        share: of BEYOND and LEAVING, that it goes on for.
    """
    end, speed = frames[-1], _speed(frames, state, step, frame_rate, motion)
    speed = np.zeros(2) if speed is None else speed
    begin, stop = motion.scene(end)
    center, size = state[-1, :2], state[-1, 2:]
    out: list[tuple[int, Floats]] = []
    leaving, beyond = round(share * LEAVING * frame_rate), max(round(share * BEYOND * frame_rate), 2)
    for n in range(1, leaving + 1):
        frame = end + step * n
        if not begin <= frame < stop:
            begin, stop = motion.scene(frame)
            if not 0 <= frame < motion.frames or stop - begin > BLINK * frame_rate:
                break
        center = _carried(center, frame - step, step, motion) + speed
        if (center + size / 2 <= 0).any() or (center - size / 2 >= (motion.width, motion.height)).any():
            return out
        out.append((frame, _grown(np.concatenate([center, size]), n / frame_rate, np.abs(speed) * n)))
    return out[:beyond]


def _speed(frames: list[int], state: Floats, step: int, frame_rate: float, motion: Motion) -> Floats | None:
    """px a frame, beside the picture's own motion, in the direction of `step`; None where too little was seen, or where
    it was another one a moment ago: boxes tremble, and what trembles does not go anywhere."""
    end = frames[-1]
    recent = [i for i, f in enumerate(frames) if abs(end - f) <= RECENT * frame_rate]
    if len(recent) < 3:
        return None
    first, middle, last = recent[0], recent[len(recent) // 2], recent[-1]
    before = _own(frames, state, first, middle, step, motion)
    after = _own(frames, state, middle, last, step, motion)
    fastest = max(float(np.hypot(*before)), float(np.hypot(*after)))
    if float(np.hypot(*(after - before))) > UNSTEADY * fastest:
        return None
    return _own(frames, state, first, last, step, motion)


def _own(frames: list[int], state: Floats, a: int, b: int, step: int, motion: Motion) -> Floats:
    """px a frame from one detection to another, beside the picture's own motion."""
    center = state[a, :2]
    for frame in range(frames[a], frames[b], step):
        center = _carried(center, frame, step, motion)
    return (state[b, :2] - center) / abs(frames[b] - frames[a])
