"""A small copy of a clip for people: any browser plays it, and any frame of it is had at once.

It shows what the clip shows, so it is as private as the clip.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from ..disk import AnyPath, replacing
from ..errors import ClipError, StoppedError
from .reader import Clip, Frame, import_av, open_clip, opened

LONG_SIDE = 1280  # px
_KEY = 24  # frames from one that is whole to the next: so many are decoded to show one
_OPTIONS = {"preset": "ultrafast", "tune": "fastdecode", "crf": "25", "g": str(_KEY), "bf": "0"}


@dataclass(frozen=True, eq=False)
class Preview:
    """A written copy.

    Attributes:
        path: an MP4. times: int64 (frames,), when each frame is shown, in units of the time base.
    """

    path: Path
    times: NDArray[np.int64]
    time_base: Fraction

    def seconds(self, frame: int) -> float:
        return float(int(self.times[frame]) * self.time_base)

    def still(self, frame: int) -> NDArray[np.uint8]:
        """One frame, uint8 RGB (h, w, 3).

        Raises:
            ClipError: there is no such frame.
        """
        if not 0 <= frame < len(self.times):
            raise ClipError(f"the clip has frames 0 to {len(self.times) - 1}; received {frame}")
        with opened(self.path) as (container, stream):
            stream.thread_type = "NONE"  # of a few small frames
            wanted = round(int(self.times[frame]) * self.time_base / stream.time_base)
            container.seek(wanted, stream=stream)
            for native in container.decode(stream):
                if native.pts is not None and native.pts >= wanted:
                    out: NDArray[np.uint8] = native.to_ndarray(format="rgb24")
                    return out
        raise ClipError("that frame is not in the preview")


class PreviewWriter:
    """Writes a copy, frame by frame; in a `with`: the file appears when that ends without an error.

    Args:
        path: the file. clip: whose frames come.
    """

    def __init__(self, path: AnyPath, clip: Clip) -> None:
        self._path, self._clip = Path(path), clip
        self._times: list[int] = []
        self._stack = ExitStack()

    def __enter__(self) -> PreviewWriter:
        av, clip = import_av(), self._clip
        with ExitStack() as stack:
            temporary = stack.enter_context(replacing(self._path))
            options = {"movflags": "+faststart", "fflags": "+bitexact"}
            self._out = stack.enter_context(av.open(str(temporary), "w", format="mp4", container_options=options))
            self._stream = self._out.add_stream("libx264", rate=clip.frame_rate, options=_OPTIONS)
            self._size = _small(clip)
            self._stream.width, self._stream.height, self._stream.pix_fmt = *self._size, "yuv420p"
            self._stream.codec_context.time_base = self._stream.time_base = clip.time_base
            shape = clip.aspect if not clip.orientation.is_turned else 1 / clip.aspect
            self._stream.codec_context.sample_aspect_ratio = shape
            self._convert = av.video.reformatter.VideoReformatter()
            self._stack = stack.pop_all()
        return self

    def add(self, frame: Frame) -> None:
        av = import_av()
        width, height = self._size
        picture = self._convert.reformat(
            av.VideoFrame.from_ndarray(frame.rgb, "rgb24"), width=width, height=height, format="yuv420p"
        )
        picture.pts, picture.time_base = frame.pts, self._clip.time_base
        self._times.append(frame.pts)
        self._out.mux(self._stream.encode(picture))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._out.mux(self._stream.encode(None))
        self._stack.__exit__(kind, error, trace)

    @property
    def preview(self) -> Preview:
        return Preview(self._path, np.array(self._times, np.int64), self._clip.time_base)


@dataclass(frozen=True)
class Watched(Clip):
    """A clip whose frames are shown to somebody as they are read.

    Attributes:
        seen: called with each frame; what it raises ends the reading.
    """

    seen: Callable[[Frame], None] = field(kw_only=True, repr=False, compare=False)

    @classmethod
    def of(cls, clip: Clip, seen: Callable[[Frame], None]) -> Watched:
        return cls(**{f.name: getattr(clip, f.name) for f in fields(clip)}, seen=seen)

    def frames(self, start: int = 0) -> Iterator[Frame]:
        for frame in super().frames(start):
            self.seen(frame)
            yield frame


def write_preview(path: AnyPath, clip: Clip, stop: threading.Event | None = None) -> Preview:
    """The copy of a whole clip.

    Raises:
        StoppedError: as asked. ClipError: the clip cannot be read.
    """
    with PreviewWriter(path, clip) as writer:
        for frame in clip.frames():
            if stop and stop.is_set():
                raise StoppedError("stopped; nothing of the copy is kept")
            writer.add(frame)
    return writer.preview


def _small(clip: Clip) -> tuple[int, int]:
    """Width and height of the copy: even, as H.264 needs them."""
    factor = min(1.0, LONG_SIDE / max(clip.width, clip.height))
    width, height = (max(2, round(side * factor / 2) * 2) for side in (clip.width, clip.height))
    return width, height


def plays(path: Path) -> bool:
    """Whether browsers play a file: its container, codec, and pixel format."""
    clip = open_clip(path)
    if path.suffix.lower() not in (".mp4", ".m4v", ".mov", ".webm") or clip.pixel_format not in ("yuv420p", "yuvj420p"):
        return False
    return clip.codec in ("h264", "vp9", "av1")
