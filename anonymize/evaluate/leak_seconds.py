"""How much of a clip leaks: not in how many frames, but for how long a face or a plate can be seen.

A true box leaks in a frame when less than 90 % of it would be hidden, as in a photo. A leak of less than half a second
between frames in which the same thing is hidden is a flicker: who looks at the clip frame by frame sees what was
hidden. Intervals are a bootstrap over clips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import masks
from ..regions import Box, Region
from ..settings import Settings
from . import LEAK_COVERAGE, whole_pixels
from .figures import Estimate, ratio, resamples

if TYPE_CHECKING:
    from .clip_annotations import ClipTruth, TrueTrack
    from .clip_truth import ClipAnnotations

FLICKER = 0.5  # s
Regions = Callable[[int], Sequence[Region]]  # frame -> what is hidden in it


@dataclass(frozen=True)
class KindTime:
    """For how long what is annotated of one kind in a clip can be seen.

    Attributes:
        seconds: annotated, of all things together. visible: of those, in which it leaks.
        flickers: leaks of less than FLICKER between hidden frames. things: annotated. leaking: those that ever leak.
    """

    seconds: float = 0.0
    visible: float = 0.0
    flickers: int = 0
    things: int = 0
    leaking: int = 0

    def __add__(self, other: KindTime) -> KindTime:
        return KindTime(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class ClipResult:
    """One clip.

    Attributes:
        kinds: kind -> its times. false_area, true_area: mean share of a frame's area that is hidden outside all
            annotated boxes, and that lies in them, 0–1.
        error: why it is withheld (then nothing of it is counted), or None.
    """

    path: str
    frames: int = 0
    seconds: float = 0.0
    kinds: Mapping[str, KindTime] = field(default_factory=dict)
    false_area: float = 0.0
    true_area: float = 0.0
    error: str | None = None


@dataclass(frozen=True)
class VideoEvaluation:
    """What was measured.

    Attributes:
        kinds: kind -> its times in all clips. leaks: kind -> share of the annotated time that is visible, 0–1.
        false_area, true_area: mean over clips.
        unknown: class name -> boxes of a class that is no kind. unannotated: clips without annotations. Left out.
    """

    clips: tuple[ClipResult, ...]
    kinds: Mapping[str, KindTime]
    leaks: Mapping[str, Estimate]
    false_area: Estimate
    true_area: Estimate
    unknown: Mapping[str, int]
    unannotated: int

    @property
    def withheld(self) -> dict[str, str]:
        """Path -> why there is no output of it."""
        return {c.path: c.error for c in self.clips if c.error is not None}

    def to_dict(self) -> dict[str, Any]:
        return {
            "clips": [{**vars(c), "kinds": {k: vars(t) for k, t in c.kinds.items()}} for c in self.clips],
            "kinds": {k: {**vars(t), "leaks": self.leaks[k].to_dict()} for k, t in self.kinds.items()},
            "false_area": self.false_area.to_dict(),
            "true_area": self.true_area.to_dict(),
            "unknown_classes": dict(self.unknown),
            "unannotated": self.unannotated,
        }


def measure(
    path: str, regions: Regions, truth: ClipTruth, settings: Settings, size: tuple[int, int, int], frame_rate: float
) -> ClipResult:
    """One clip, frame by frame.

    Args:
        regions: what an export hides in each frame; `settings` says how (masks, padding).
        size: width, height (px) and number of frames.

    Raises:
        AnnotationError: boxes for a clip of another shape, or after its end.
    """
    width, height, frames = size
    tracks = truth.at(width, height, frames)
    seen: dict[str, dict[int, bool]] = {t.id: {} for t in tracks}  # thing -> frame -> whether it leaks
    by_frame: dict[int, list[tuple[TrueTrack, Box]]] = {}
    for track in tracks:
        for frame, box in track.boxes.items():
            by_frame.setdefault(frame, []).append((track, box))
    false, true = [], []
    for frame in range(frames):
        hidden = masks.coverage(regions(frame), settings, width, height)
        marked = np.zeros_like(hidden)
        for track, box in by_frame.get(frame, ()):
            place = whole_pixels(box)
            marked[place] = True
            if frame not in track.ignored and (within := hidden[place]).size:
                seen[track.id][frame] = float(within.mean()) < LEAK_COVERAGE
        false.append(float((hidden & ~marked).mean()))
        true.append(float(marked.mean()))
    kinds: dict[str, KindTime] = {}
    for track in tracks:
        kinds[track.kind] = kinds.get(track.kind, KindTime()) + _time(seen[track.id], frame_rate)
    return ClipResult(
        path, frames, frames / frame_rate, kinds, float(np.mean(false or [0])), float(np.mean(true or [0]))
    )


def _time(leaks: Mapping[int, bool], frame_rate: float) -> KindTime:
    visible = sum(leaks.values())
    flickers = sum(1 for run in flickers_of(leaks, frame_rate))
    return KindTime(len(leaks) / frame_rate, visible / frame_rate, flickers, bool(leaks), visible > 0)


def flickers_of(leaks: Mapping[int, bool], frame_rate: float) -> Iterator[range]:
    """The runs of frames in which a thing leaks for less than half a second between frames in which it is hidden.

    Frames in which it is not there, or that are ignored, end a run as they end its sight.
    """
    frames = sorted(leaks)
    hidden = [f for f in frames if not leaks[f]]
    for before, after in pairwise(hidden):
        run = [f for f in range(before + 1, after) if leaks.get(f)]
        if run and len(run) < FLICKER * frame_rate:
            yield range(run[0], run[-1] + 1)


def summary(results: Iterable[ClipResult], annotations: ClipAnnotations) -> VideoEvaluation:
    """All clips together; the time of one counts as much as that of another."""
    clips = tuple(results)
    done = [c for c in clips if c.error is None]
    names = sorted({k for c in done for k in c.kinds})
    kinds = {name: sum((c.kinds.get(name, KindTime()) for c in done), KindTime()) for name in names}
    drawn, one = resamples(len(done)), np.ones(len(done))
    if len(done) == 1:  # which says nothing of how others differ
        drawn = drawn[:0]

    def share(name: str) -> Estimate:
        times = [c.kinds.get(name, KindTime()) for c in done]
        return ratio([t.visible for t in times], [t.seconds for t in times], drawn)

    return VideoEvaluation(
        clips=clips,
        kinds=kinds,
        leaks={k: share(k) for k in names},
        false_area=ratio([c.false_area for c in done], one, drawn),
        true_area=ratio([c.true_area for c in done], one, drawn),
        unknown=annotations.unknown,
        unannotated=len(annotations.unannotated),
    )
