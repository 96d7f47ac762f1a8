"""What was found in a clip, from and as regions of each frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from anonymize.regions import Region
from anonymize.video import tracks
from anonymize.video.found import Found, Segments
from anonymize.video.motion import Motion
from anonymize.video.tracks import Track

Regions = Sequence[Region]


def found_of(
    regions: Iterable[Regions | None], motion: Motion, kinds: Sequence[str] = ("face", "plate"), first: int = 0
) -> Found:
    """Of the regions of each frame, None where nobody looked; `motion` is of all frames, these begin with `first`."""
    every = list(regions)
    rows = [
        (frame, kinds.index(r.kind), *r.box, r.score)
        for frame, found in enumerate(every)
        for r in found or ()
        if r.kind in kinds
    ]
    stop = first + len(every)
    cuts = frozenset(cut - first for cut in motion.cuts if first <= cut < stop)
    own = Motion(motion.shifts[first:stop], cuts, motion.width, motion.height)
    searched = np.array([r is not None for r in every], bool)
    return Found(searched, np.array(rows, np.float64).reshape(-1, 7), tuple(kinds), own)


def regions_of(found: Found) -> list[tuple[Region, ...] | None]:
    """For each frame what was found, or None where nobody looked."""
    out: list[tuple[Region, ...] | None] = []
    for frame in range(found.frames):
        rows = found.rows[found.rows[:, 0] == frame].tolist()
        regions = tuple(Region(found.kinds[int(k)], (a, b, c, d), score) for _, k, a, b, c, d, score in rows)
        out.append(regions if found.searched[frame] else None)
    return out


def make_tracks(
    regions: Iterable[Regions | None], rate: float, motion: Motion, kinds: Sequence[str] = ("face", "plate")
) -> tuple[Track, ...]:
    """`tracks.make_tracks` of regions by frame."""
    return tracks.make_tracks(Segments([found_of(regions, motion, kinds)]), rate)
