"""Clips read: what a file says of its picture, and its frames in the order in which they are shown."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..cpus import limit
from ..disk import AnyPath
from ..errors import ClipError, DamagedClipError, ImageError, UnsupportedClipError
from ..extras import extra
from ..images import formats
from .orientation import Orientation, orientation_of, side_data

if TYPE_CHECKING:
    import av

# Only what holds pictures itself. A playlist (HLS, concat, SDP) would read other files and other machines.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,wmv,mxf,ogg,ivf,obu,h264,hevc,mjpeg,nut,"
    "dv,gxf,rm,vob,yuv4mpegpipe,av1,swf,gif"
)
OPTIONS = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
NO_CLIP = "this is a photo, not a clip; the command run takes it"
_DOLBY = ("dvh1", "dvhe", "dva1", "dvav", "dav1")
_UNSAID, _IPT = 2, 15  # of transfer curves and color spaces (ITU-T H.273)
_TOP_FIRST = 2  # AV_FIELD_TT
_ANY_START = 1 << 9  # AVFMT_TS_DISCONT
PQ, HLG = 16, 18  # transfer characteristics of HDR (ITU-T H.273)
SHORT = 1.0  # s; what a file may end before the time that it says itself, without being cut off


@dataclass(frozen=True)
class Clip:
    """What is known of a clip's picture before it is read.

    Attributes:
        path: the file.
        width, height: px, as displayed after rotation. stored_width, stored_height: as stored.
        orientation: from the stored picture to the displayed one.
        frame_rate: average, frames a second.
        frame_count: what the file says, or None. Not to be relied on: a damaged file has fewer.
        time_base: seconds a unit of `Frame.pts`.
        offset: seconds; what is taken off the file's own times, where these begin anywhere (MPEG-TS).
        duration: seconds, as the file says; None where it does not.
        codec: FFmpeg's name ("h264"). pixel_format: FFmpeg's name ("yuv420p"). bit_depth: bits a sample.
        aspect: width of a pixel by its height.
        colors: color_range, color_primaries, color_trc, colorspace as in ITU-T H.273.
        field_order: of interlaced pictures, FFmpeg's number; 0 where each picture is of one moment.
        audio: codecs of the audio streams.
        dropped: what the file carries that no output will ("subtitles", "data (gpmd)", "chapters", "cover art").
    """

    path: Path
    width: int
    height: int
    stored_width: int
    stored_height: int
    orientation: Orientation
    frame_rate: Fraction
    frame_count: int | None
    time_base: Fraction
    offset: Fraction
    duration: float | None
    codec: str
    pixel_format: str
    bit_depth: int
    aspect: Fraction
    colors: tuple[int, int, int, int]
    field_order: int
    audio: tuple[str, ...]
    dropped: tuple[str, ...]

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """The frames from number `start` on, in order; their timestamps grow strictly.

        Raises:
            DamagedClipError: after the last frame, when a part could not be read. ClipError: nothing could be; or the
                picture's size or form changes within the clip.
        """
        with opened(self.path) as (container, stream):
            yield from _Reading(self, container, stream).frames(start)


@dataclass(frozen=True)
class Frame:
    """One picture of a clip.

    Attributes:
        index: its number, from 0. pts: when it is shown, in units of the clip's time base. seconds: the same.
        duration: how long, in those units; what the file says, or the mean.
        native: the decoded picture as stored (not turned), for `hide_frame`.
    """

    index: int
    pts: int
    seconds: float
    duration: int
    native: av.VideoFrame = field(repr=False, compare=False)
    _look: Look = field(repr=False, compare=False)

    @cached_property
    def rgb(self) -> NDArray[np.uint8]:
        """uint8 RGB (H, W, 3), upright; HDR is brought into the range of ordinary pictures. Made at the first call."""
        return self._look.rgb(self.native)


class Look:
    """Makes pictures for detectors and people; one for a reading, for all its threads.

    Args:
        transfer: of the stored pictures' light, as a number of H.273. orientation: from stored to upright.
    """

    def __init__(self, transfer: int, orientation: Orientation) -> None:
        from av.video.reformatter import VideoReformatter

        self.transfer, self.orientation = transfer, orientation
        self._convert, self._lock = VideoReformatter(), threading.Lock()

    def rgb(self, native: av.VideoFrame) -> NDArray[np.uint8]:
        with self._lock:
            is_hdr = self.transfer in (PQ, HLG)
            picture: NDArray[Any] = self._convert.reformat(native, format="rgb48le" if is_hdr else "rgb24").to_ndarray()
        if is_hdr:
            picture = tone_map(picture, self.transfer)
        if native.interlaced_frame:  # what moves would be a comb; a ghost of both moments is still a face
            picture = cv2.sepFilter2D(picture, -1, np.ones(1), np.array([0.25, 0.5, 0.25]))
        return self.orientation.upright(picture)


def tone_map(rgb: NDArray[np.uint16], trc: int) -> NDArray[np.uint8]:
    """HDR as an ordinary picture, as detectors know them: what is brighter than paper (203 cd/m²) is compressed."""
    signal = np.arange(65536) / 65535
    if trc == PQ:  # SMPTE ST 2084
        power = signal ** (1 / 78.84375)
        light = 10000 * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125)
    else:  # ARIB STD-B67, on a screen of 1,000 cd/m²
        scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12)
        light = 1000 * scene**1.2
    light = light / 203
    shown = np.where(light <= 0.8, light, 0.8 + 0.2 * (1 - np.exp(-(light - 0.8) / 0.8))) ** (1 / 2.2)
    return np.rint(255 * np.clip(shown, 0, 1)).astype(np.uint8)[rgb]


class _Reading:
    """One pass over a clip."""

    def __init__(self, clip: Clip, container: Any, stream: Any) -> None:
        self._clip, self._container, self._stream = clip, container, stream
        self._look = Look(clip.colors[2], clip.orientation)
        self._step = max(1, round(1 / (clip.frame_rate * clip.time_base)))
        self._count = self._damaged = 0
        self._last: int | None = None
        self._end = 0.0  # s; where the last packet of any stream ends

    def frames(self, start: int) -> Iterator[Frame]:
        for native in self._decode():
            pts = self._pts(native)
            if self._count >= start:
                seconds, duration = float(pts * self._clip.time_base), native.duration or self._step
                yield Frame(self._count, pts, seconds, int(duration), native, self._look)
            self._count += 1
        if not self._count:
            raise ClipError("no frame of it could be decoded")
        if reason := self._missing():
            raise DamagedClipError(reason)

    def _decode(self) -> Iterator[av.VideoFrame]:
        import av

        for packet in self._packets():
            try:
                natives = self._stream.codec_context.decode(packet)
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                self._damaged += 1
                continue
            for native in natives:
                if native.is_corrupt:
                    self._damaged += 1
                else:
                    yield self._check(native)

    def _packets(self) -> Iterator[av.Packet | None]:
        """The picture's; and in the end None, for which a decoder gives what it still has."""
        import av

        try:
            for packet in self._container.demux():
                if packet.size:
                    self._follow(packet)
                if packet.stream is self._stream:
                    if not packet.size:
                        break
                    yield packet
        except av.error.FFmpegError:  # the rest of the file cannot be taken apart
            self._damaged += 1
        yield None

    def _follow(self, packet: av.Packet) -> None:
        """How far the file's streams reach, and whether a packet of the picture is torn."""
        if packet.pts is not None and packet.time_base:
            self._end = max(self._end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.stream is self._stream and packet.is_corrupt:
            self._damaged += 1

    def _check(self, native: av.VideoFrame) -> av.VideoFrame:
        clip = self._clip
        was = f"{clip.stored_width} x {clip.stored_height} {clip.pixel_format}"
        now = f"{native.width} x {native.height} {native.format.name}"
        if was != now:
            raise UnsupportedClipError(
                f"the picture changes within the clip, at frame {self._count}: {was}, then {now}"
            )
        return native

    def _pts(self, native: av.VideoFrame) -> int:
        pts = native.pts
        if pts is None:
            pts = 0 if self._last is None else self._last + self._step
        else:
            pts -= round(self._clip.offset / self._clip.time_base)
        if self._last is not None and pts <= self._last:
            pts = self._last + 1
        self._last = pts
        return int(pts)

    def _missing(self) -> str:
        reasons = []
        if self._damaged:
            reasons.append(f"{self._damaged} damaged parts were left out")
        duration = self._clip.duration  # Matroska's counts from 0, whenever the first frame is shown
        start = 0.0 if "matroska" in self._container.format.name else (self._container.start_time or 0) / 1_000_000
        if duration is not None and self._end - start < duration - SHORT:
            reasons.append(f"it ends after {self._end - start:.1f} of {duration:.1f} seconds")
        return "; ".join(reasons)


def open_clip(path: AnyPath, *, max_megapixels: float | None = None) -> Clip:
    """What a clip is: its first frame is decoded.

    Args:
        path: a file; no address of a network, and no playlist.
        max_megapixels: a larger picture is refused before it is decoded.

    Raises:
        ClipError: it cannot be read, or has no moving picture. UnsupportedClipError: its form cannot be kept.
        MissingExtraError: PyAV is not installed.
    """
    av = import_av()
    with opened(Path(path)) as (container, stream):
        context = stream.codec_context
        if max_megapixels and context.width * context.height > max_megapixels * 1e6:
            raise UnsupportedClipError(f"{context.width} x {context.height} px is more than the limit allows")
        if stream.metadata.get("alpha_mode") == "1":  # WebM has it beside the picture
            raise UnsupportedClipError("its picture has transparency, which is not kept")
        first = next(decoded(container, stream, av.error.FFmpegError), None)
        if first is None:
            raise ClipError("no frame of it could be decoded")
        if _has_no_base(context.codec_tag, first):
            raise UnsupportedClipError("it is Dolby Vision without a base layer: no other codec has its colors")
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        orientation = orientation_of(first)
        shown = (first.height, first.width) if orientation.is_turned else (first.width, first.height)
        return Clip(
            path=Path(path),
            width=shown[0],
            height=shown[1],
            stored_width=first.width,
            stored_height=first.height,
            orientation=orientation,
            frame_rate=rate,
            frame_count=stream.frames or None,
            time_base=stream.time_base,
            offset=Fraction(container.start_time or 0, 1_000_000)
            if container.format.flags & _ANY_START
            else Fraction(0),
            duration=container.duration / 1_000_000 if container.duration else None,
            codec=context.codec.canonical_name,
            pixel_format=first.format.name,
            bit_depth=max(c.bits for c in first.format.components),
            aspect=stream.sample_aspect_ratio or Fraction(1),
            colors=(int(first.color_range), int(first.color_primaries), int(first.color_trc), int(first.colorspace)),
            field_order=int(context.field_order) or _TOP_FIRST if first.interlaced_frame else 0,
            audio=tuple(
                s.codec_context.codec.canonical_name if s.codec_context else "?" for s in container.streams.audio
            ),
            dropped=_dropped(container, stream),
        )


def import_av() -> Any:
    """PyAV, which says nothing on stderr.

    Raises:
        MissingExtraError: it is not installed.
    """
    os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1: errors only
    with extra("video", "a clip"):
        import av
    return av


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, Any]]:
    import av

    if not path.is_file():
        raise ClipError("there is no such file")
    photo = _photo(path)
    if photo not in (None, "JPEG"):  # a clip of JPEGs begins as a photo does
        raise UnsupportedClipError(NO_CLIP)
    try:
        with av.open(os.fspath(path.absolute()), options=OPTIONS, metadata_errors="ignore") as container:
            stream = _picture(container)
            stream.thread_type, stream.codec_context.thread_count = "AUTO", limit()
            yield container, stream
    except av.error.FFmpegError as e:
        raise ClipError(NO_CLIP if photo else f"it cannot be read: {e.strerror or e}") from e


def _photo(path: Path) -> str | None:
    """The format of a photo, by its first bytes; None of all else."""
    try:
        with open(path, "rb") as file:
            return formats.kind(file.read(4096))
    except ImageError:
        return None
    except OSError as e:
        raise ClipError(f"it cannot be read: {e.strerror}") from e


def _picture(container: Any) -> Any:
    """The stream that is the clip's picture: the first one that moves."""
    for stream in container.streams.video:
        if not _is_cover(stream):
            if stream.codec_context is None:
                raise UnsupportedClipError("there is no decoder for its picture")
            return stream
    raise ClipError("there is no moving picture in it (sound only, or cut off?)")


def _is_cover(stream: Any) -> bool:
    from av.stream import Disposition

    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def decoded(container: Any, stream: Any, torn: type[Exception]) -> Iterator[Any]:
    """A stream's pictures that are whole. Args: torn: the error of a packet after which the next one may be whole."""
    for packet in container.demux(stream):
        try:
            natives = packet.decode()
        except torn:
            continue
        yield from (native for native in natives if not native.is_corrupt)


def _has_no_base(tag: str, first: Any) -> bool:
    """Whether it is Dolby Vision whose picture is none without its own metadata, which no output has (profile 5).

    Of the profiles with a base layer that picture is HDR or an ordinary one, and says so.
    """
    is_dolby = tag in _DOLBY or any(data.type.name.startswith("DOVI") for data in side_data(first))
    return is_dolby and (int(first.color_trc) == _UNSAID or int(first.colorspace) in (_UNSAID, _IPT))


def _dropped(container: Any, picture: Any) -> tuple[str, ...]:
    """What the file carries beside picture and sound."""
    out = []
    for stream in container.streams:
        if stream is picture or stream.type == "audio":
            continue
        if stream.type == "video":
            out.append("cover art" if _is_cover(stream) else "a second picture")
        else:
            out.append({"subtitle": "subtitles", "attachment": "attachments"}.get(stream.type, "data"))
    if container.chapters():
        out.append("chapters")
    return tuple(dict.fromkeys(out))
