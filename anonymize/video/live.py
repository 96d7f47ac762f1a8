"""Tracks while frames still come: what must be hidden in a frame, said as soon as enough that follows was seen."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ..detectors import Image
from ..predictor import Predictor
from ..regions import Region, boxes, iou
from ..settings import Settings
from .detect import Every, Search
from .found import Found, Segments
from .tracks import Shown, Track, check_thresholds, make_tracks

HISTORY = 2.0  # s of frames before those that are given out, of which tracks are made
SAME = 0.3  # IoU with something that was hidden a frame ago, from which a doubtful thing is that thing


class Live:
    """Frames in, one after the other; out comes for each frame what is hidden in it.

    A frame waits for `ahead` further ones, so that what is found in those is hidden in it, too. With 0 its answer comes
    at once, and what is found later is not hidden in it. No pixels are kept.

    Args:
        predictor: finds; its settings say what is hidden.
        width, height: of the frames, px. rate: frames per second.
        ahead: frames that a frame waits for. step: frames after which tracks are made anew; a frame waits for at most
            ahead + step - 1 further ones.
        every: search every n-th frame, or "auto".

    Raises:
        SettingsError: a threshold that no track reaches.
    """

    def __init__(
        self,
        predictor: Predictor,
        width: int,
        height: int,
        rate: float,
        *,
        ahead: int = 0,
        step: int = 1,
        every: Every = 1,
    ) -> None:
        check_thresholds(predictor.settings)
        self._settings: Settings = predictor.settings
        self._search = Search(predictor, width, height, rate, every)
        self._rate, self._ahead, self._step = rate, ahead, step
        self._history = max(1, round(HISTORY * rate))
        self._parts: deque[Found] = deque()  # of the window
        self._start = 0  # the window's first frame
        self._count, self._given = 0, 0  # frames that came in, that were answered
        self._last: tuple[Region, ...] = ()  # hidden in the last frame that was answered

    def add(self, rgb: Image) -> list[tuple[Region, ...]]:
        """The next frame, uint8 RGB (H, W, 3).

        Returns:
            What is hidden in the frames that now have an answer, in order: none, one or several.

        Raises:
            DetectionError: a detector failed; there is no answer for this frame, and there will be none for those that
                wait: begin anew.
        """
        self._search.add(rgb)
        self._count += 1
        return self._answers(self._count - self._ahead) if self._count % self._step == 0 else []

    def finish(self) -> list[tuple[Region, ...]]:
        """What is hidden in the frames that still wait; nothing follows."""
        return self._answers(self._count)

    def _answers(self, end: int) -> list[tuple[Region, ...]]:
        """For the frames up to `end`, of what was found until now."""
        part = self._search.take()
        if part.frames:
            self._parts.append(part)
        if end <= self._given:
            return []
        tracks = make_tracks(Segments(tuple(self._parts)), self._rate)
        hidden = [t for t in tracks if t.is_hidden(self._settings) or self._was_hidden(t)]
        hidden = [t.replace(status="accepted") if t.status == "auto" else t for t in hidden]
        shown = Shown(hidden, range(self._given - self._start, end - self._start), self._settings)
        out = [shown.regions_at(frame - self._start) for frame in range(self._given, end)]
        self._last = out[-1]
        self._given = end
        while self._parts and self._start + self._parts[0].frames <= self._given - self._history:
            self._start += self._parts.popleft().frames
        return out

    def _was_hidden(self, track: Track) -> bool:
        """Whether a doubtful track is of something that was hidden in the last frame that was answered."""
        if self._given == 0 or (box := track.box(self._given - 1 - self._start)) is None:
            return False
        same: Sequence[Region] = [r for r in self._last if r.kind == track.kind]
        return bool(same) and float(iou(boxes([Region(track.kind, box)]), boxes(same)).max()) >= SAME
