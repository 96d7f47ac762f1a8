"""A small copy of a clip for people: any browser plays it, and any frame of it is had at once.

It shows what the clip shows, so it is as private as the clip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..disk import AnyPath, replacing
from ..errors import ClipError
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


@dataclass
class PreviewWriter:
    """A copy that is being written, frame by frame (`writing`)."""

    path: Path
    clip: Clip
    out: Any
    stream: Any
    convert: Any
    times: list[int] = field(default_factory=list)

    def add(self, frame: Frame) -> None:
        native = import_av().VideoFrame.from_ndarray(frame.rgb, "rgb24")
        width, height = self.stream.width, self.stream.height
        picture = self.convert.reformat(native, width=width, height=height, format="yuv420p")
        picture.pts, picture.time_base = frame.pts, self.clip.time_base
        self.times.append(frame.pts)
        self.out.mux(self.stream.encode(picture))

    @property
    def preview(self) -> Preview:
        return Preview(self.path, np.array(self.times, np.int64), self.clip.time_base)


@contextmanager
def writing(path: AnyPath, clip: Clip) -> Iterator[PreviewWriter]:
    """Writes the copy of a clip; the file appears when this ends without an error."""
    av = import_av()
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with replacing(path) as temporary, av.open(str(temporary), "w", format="mp4", container_options=options) as out:
        stream = out.add_stream("libx264", rate=clip.frame_rate, options=_OPTIONS)
        stream.width, stream.height, stream.pix_fmt = *_small(clip), "yuv420p"
        stream.codec_context.time_base = stream.time_base = clip.time_base
        stream.codec_context.sample_aspect_ratio = 1 / clip.aspect if clip.orientation.is_turned else clip.aspect
        yield PreviewWriter(Path(path), clip, out, stream, av.video.reformatter.VideoReformatter())
        out.mux(stream.encode(None))


def write_preview(path: AnyPath, clip: Clip, seen: Callable[[Frame], None] = lambda _: None) -> Preview:
    """The copy of a whole clip.

    Args:
        seen: called with each frame; what it raises ends the writing, and nothing of the copy is kept.

    Raises:
        ClipError: the clip cannot be read.
    """
    with writing(path, clip) as writer:
        for frame in clip.frames():
            seen(frame)
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
