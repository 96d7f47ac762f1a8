"""A stream: frames in, the same frames out with every region hidden, after a bounded delay. No result, no frame.

One thread reads; what cannot be worked on in time is dropped there, whole frames, counted. The calling thread searches,
hides and writes. A frame whose search failed is dropped, too, with all that wait beside it. A source or a sink that
breaks is opened again.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import AnonymizeError, ClipError, DetectionError, PathError, WriteError
from ..predictor import Predictor
from ..regions import Region
from .detect import Every
from .live import Live
from .orientation import orientation_of
from .planes import Hider, planar_format
from .reader import Look
from .stream_sinks import Sink, sink_of
from .stream_sources import Arrived, Source, source_of, wait

if TYPE_CHECKING:
    import av

_QUEUE = 2  # frames that wait to be searched
_GIVE_UP = 20  # searches that fail one after the other: then something is wrong with the detector, not with a frame


@dataclass
class Told:
    """What a stream did so far; every frame that came in is in one of these.

    Attributes:
        written: frames with a result that went out. waiting: frames that wait for their result now.
        dropped: frames that came faster than they could be searched, or that the sink could not take.
        failed: frames without a result.
        reconnects: how often the source was opened again. hidden: kind -> regions in the frames that went out.
        delay: seconds between a frame's coming and its going, the last one's.
        trouble: why the source gives no frames now, or why the sink took none; "" while all is well.
    """

    written: int = 0
    waiting: int = 0
    dropped: int = 0
    failed: int = 0
    reconnects: int = 0
    hidden: Counter[str] = field(default_factory=Counter)
    delay: float = 0.0
    trouble: str = ""


Progress = Callable[[Told], None]


def run(
    source: str | Source,
    sink: str | Sink,
    predictor: Predictor,
    *,
    delay: float = 1.0,
    every: Every = "auto",
    quality: int = 23,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Told:
    """Anonymize a stream until `stop` is set, or a source that is a folder is no longer there.

    Args:
        source, sink: as `source_of` and `sink_of` take them, or such objects.
        predictor: finds; its settings say what is hidden and how.
        delay: seconds that a frame waits for further ones, so that what is found in those is hidden in it, too. 0: it
            goes out at once, and what is found later is not hidden in it.
        every: search every n-th frame, or "auto". quality: 0 (best) to 51.
        progress: called after each frame.

    Raises:
        SettingsError: no such source or sink, or no detector looks for what is to be hidden. PathError: the sink is
            the source. DetectionError: the detector fails again and again.
    """
    predictor.check_hides()
    if isinstance(source, str) and isinstance(sink, str) and _is_one_folder(source, sink):
        raise PathError(f"the sink {sink!r} is the source, whose photos are never overwritten; choose another folder")
    opened = source_of(source, predictor.settings) if isinstance(source, str) else source
    target = sink_of(sink, rate=opened.rate, quality=quality) if isinstance(sink, str) else sink
    work = _Work(opened, target, predictor, delay, every, progress or (lambda _: None), stop or threading.Event())
    try:
        return work.run()
    finally:
        target.close()


def _is_one_folder(source: str, sink: str) -> bool:
    return os.path.isdir(source) and os.path.isdir(sink) and os.path.samefile(source, sink)


@dataclass
class _Waiting:
    native: Any
    came: float
    name: str
    look: Look


@dataclass
class _Work:
    source: Source
    sink: Sink
    predictor: Predictor
    delay: float
    every: Every
    progress: Progress
    stop: threading.Event

    def __post_init__(self) -> None:
        self.told, self.hider = Told(), Hider(self.predictor.settings)
        self.came: queue.Queue[tuple[Arrived, float] | None] = queue.Queue(_QUEUE)
        self.waiting: deque[_Waiting] = deque()
        self.live: Live | None = None
        self.form: tuple[Any, ...] = ()  # of the last picture
        self.look: Look
        self.started = time.monotonic()
        self.failed = 0  # searches, one after the other
        self.ended: Exception | None = None  # what the reader's thread ended with

    def run(self) -> Told:
        reader = threading.Thread(target=self._read, daemon=True)
        reader.start()
        try:
            while True:
                try:
                    came = self.came.get(timeout=max(0.05, min(0.5, self.delay)))
                except queue.Empty:
                    if self.stop.is_set() and not reader.is_alive():
                        break
                else:
                    if came is None:
                        break
                    self._add(*came)
                self._hurry()
                self._tell()
            self._finish()
            if self.ended:
                raise self.ended
        finally:
            self.stop.set()
            with suppress(queue.Empty):  # a reader that waits for a place has to see the end
                while True:
                    self.came.get_nowait()
            reader.join(timeout=15)
        self.told.waiting = 0
        return self.told

    # --- the reader's thread ---

    def _read(self) -> None:
        try:
            self._read_again_and_again()
        except Exception as e:  # one that no further try mends; the caller's thread raises it
            self.ended = e
        with suppress(queue.Full):
            self.came.put(None, timeout=5)

    def _read_again_and_again(self) -> None:
        tries = 0
        while not self.stop.is_set():
            try:
                for arrived in self.source.frames(self.stop):
                    tries, self.told.trouble = 0, ""
                    self._put(arrived)
                self.told.trouble = "the source ended"
            except ClipError as e:
                self.told.trouble = f"the source: {e}"
            if self.stop.is_set() or not self.source.is_live:
                break
            wait(self.stop, tries)
            tries += 1
            self.told.reconnects += 1

    def _put(self, arrived: Arrived) -> None:
        item = arrived, time.monotonic()
        if self.source.is_live:
            try:
                self.came.put_nowait(item)
            except queue.Full:
                self.told.dropped += 1
            return
        while not self.stop.is_set():
            with suppress(queue.Full):
                self.came.put(item, timeout=0.2)
                return

    # --- the caller's thread ---

    def _add(self, arrived: Arrived, came: float) -> None:
        native = arrived.native
        if native is None:
            self.told.failed += 1
        elif self._answer(lambda: self._search(native, came, arrived.name)):
            self.failed = 0

    def _search(self, native: av.VideoFrame, came: float, name: str) -> list[tuple[Region, ...]]:
        planar = planar_format(native.format.name)
        form = native.width, native.height, int(native.color_trc), orientation_of(native)
        if self.live is None or self.form != form:
            self._finish()
            self.form, self.look = form, Look(*form[2:])
            self.live = self._begin(*form[1::-1] if form[3].is_turned else form[:2])
        rgb = self.look.rgb(native)
        if native.format.name != planar:
            native = native.reformat(format=planar)
        self.waiting.append(_Waiting(native, came, name, self.look))
        return self.live.add(rgb)

    def _answer(self, ask: Callable[[], list[tuple[Region, ...]]]) -> bool:
        """Write the frames that have an answer now; whether there was no error."""
        try:
            answers = ask()
        except AnonymizeError as e:
            self._fail(e)
            return False
        self._write(answers)
        return True

    def _begin(self, width: int, height: int) -> Live:
        rate = max(1.0, self.source.rate)
        ahead = round(self.delay * rate)
        # A third of the delay between two looks for tracks, so that a frame waits for no longer than it in all.
        step = max(1, ahead // 3)
        return Live(
            self.predictor, width, height, rate, ahead=max(0, ahead - step + 1) if ahead else 0, step=step,
            every=self.every if ahead else 1,
        )  # fmt: skip

    def _hurry(self) -> None:
        """Frames that waited for the whole delay go out with what is known now."""
        if self.waiting and self.live and time.monotonic() - self.waiting[0].came > self.delay:
            self._answer(self.live.finish)

    def _finish(self) -> None:
        """Nothing follows on this picture."""
        if self.live is not None and self.waiting:
            self._answer(self.live.finish)
        self.live = None

    def _fail(self, error: AnonymizeError) -> None:
        """No result, no frame: none of those that wait goes out."""
        self.told.failed += max(1, len(self.waiting))
        self.waiting.clear()
        self.live = None
        self.failed += 1
        if self.failed >= _GIVE_UP:
            raise DetectionError(f"{self.failed} searches failed one after the other: {error}") from error

    def _write(self, answers: list[tuple[Region, ...]]) -> None:
        for regions in answers:
            frame = self.waiting.popleft()
            native, turn = frame.native, frame.look.orientation
            native = self.hider.hide(native, [turn.stored(r, native.width, native.height) for r in regions])
            try:
                self.sink.write(native, round(1000 * (frame.came - self.started)), frame.name)
            except WriteError as e:
                self.told.dropped += 1
                self.told.trouble = f"the sink: {e}"
                continue
            self.told.written += 1
            self.told.delay = time.monotonic() - frame.came
            self.told.hidden.update(r.kind for r in regions)

    def _tell(self) -> None:
        self.told.waiting = len(self.waiting)
        self.progress(self.told)
