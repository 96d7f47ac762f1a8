"""Clips written: segments of encoded frames, each a file that is whole or not there, then all of them as one clip.

A segment begins with a key frame and no frame waits for a later one, so segments of two runs fit together: a run that
was killed goes on at the first segment that is missing. Sound is copied from the source as it is. Nothing else of the
source's container comes along: no metadata, subtitles, chapters, data or cover art.
"""

from __future__ import annotations

import heapq
import itertools
import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cpus import limit
from ..disk import AnyPath, replacing
from ..errors import ClipError, SettingsError, UnknownNameError, UnsupportedClipError
from .planes import planar_format, samples
from .reader import Clip, import_av, opened
from .sound import without_comments

if TYPE_CHECKING:
    import av

AUDIO = ("keep", "drop")
LOSSLESS = ("ffv1",)
INTERLACED = ("h264", "ffv1")
FRAMES_A_SEGMENT = 250  # as many frames as x264 itself puts between two key frames
# Name -> FFmpeg's encoder, and its options at a quality q of 0 (best) to 51, as H.264's CRF
_ENCODERS: dict[str, tuple[str, Any]] = {
    "h264": ("libx264", lambda q: {"crf": str(q), "preset": "veryfast", "bf": "0", "a53cc": "0"}),
    "hevc": (
        "libx265",
        lambda q: {"crf": str(q), "preset": "fast", "a53cc": "0", "x265-params": "bframes=0:open-gop=0:log-level=none"},
    ),
    "vp9": (
        "libvpx-vp9",
        lambda q: {"crf": str(q * 63 // 51), "b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1",
                   "lag-in-frames": "0"},
    ),
    "av1": (
        "libsvtav1",
        lambda q: {"crf": str(max(1, q * 63 // 51)), "preset": "10", "svtav1-params": "pred-struct=1"},
    ),
    "ffv1": ("ffv1", lambda _: {"level": "3", "slicecrc": "1", "g": "1"}),
    "mjpeg": ("mjpeg", lambda _: {}),
}  # fmt: skip
# Containers that are written: extension -> FFmpeg's name. A clip keeps its own where that takes picture and sound.
_CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
_FALLBACK = (".mp4", ".mkv")
_NOT_IN_MOV = ("vp9", "av1")  # FFmpeg says that it can and then refuses
_LEAD = Fraction(1, 10)  # s
_PACKET = struct.Struct("<q?I")  # of a segment's file: pts, is it a key frame, bytes


@dataclass(frozen=True)
class Encoding:
    """How a clip is written.

    Attributes:
        codec: "same" as the source's, or a name of `codecs`.
        quality: 0 (best) to 51 (worst), as H.264's CRF; lossless codecs do not read it.
        audio: "keep" copies every stream of sound, "drop" leaves it out.

    Raises:
        SettingsError: a name that is not valid, or a quality outside 0–51.
    """

    codec: str = "h264"
    quality: int = 20
    audio: str = "keep"

    def __post_init__(self) -> None:
        if not 0 <= self.quality <= 51:
            raise SettingsError(f"the quality of a clip lies in 0–51 (0 is best); received {self.quality}")
        if self.audio not in AUDIO:
            raise UnknownNameError("way with sound", self.audio, AUDIO)
        if self.codec != "same" and self.codec not in codecs():
            raise UnknownNameError("codec", self.codec, ["same", *codecs()])


@lru_cache(maxsize=1)
def codecs() -> tuple[str, ...]:
    """The codecs for which there is an encoder."""
    av = import_av()
    out = []
    for name, (encoder, _) in _ENCODERS.items():
        try:
            av.codec.Codec(encoder, "w")
        except av.codec.codec.UnknownCodecError:
            continue
        out.append(name)
    return tuple(out)


@dataclass(frozen=True)
class Form:
    """The form in which one clip is written.

    Attributes:
        codec: a name of `codecs`. pixel_format: in which it is encoded. planar: in which it is hidden.
        extension: added to the source's name, or "" where it keeps its own.
        container: FFmpeg's name.
        width, height: px as stored; one more than the source's where the encoder needs even numbers.
    """

    codec: str
    pixel_format: str
    planar: str
    extension: str
    container: str
    width: int
    height: int


def form_of(clip: Clip, encoding: Encoding) -> Form:
    """How a clip will be written.

    Raises:
        UnsupportedClipError: no encoder keeps its form; the message says which would.
    """
    codec = clip.codec if encoding.codec == "same" else encoding.codec
    if codec not in codecs():
        raise UnsupportedClipError(
            f"there is no encoder here for its codec, {codec}; choose one of {', '.join(codecs())}"
        )
    if clip.field_order and codec not in INTERLACED:
        raise UnsupportedClipError(f"it is interlaced, which these codecs keep: {', '.join(INTERLACED)}")
    planar = planar_format(clip.pixel_format)
    if (chosen := _pixel_format(planar, codec)) is None:
        others = [c for c in codecs() if _pixel_format(planar, c)]
        raise UnsupportedClipError(
            f"{codec} cannot keep its {clip.bit_depth} bits and colors ({clip.pixel_format}); "
            f"these codecs can: {', '.join(others) or 'none'}"
        )
    if codec == "mjpeg" != clip.codec:
        raise UnsupportedClipError("MJPEG keeps the colors of MJPEG only; choose another codec")
    container, extension = _container(clip, codec, encoding)
    odd = 1 if codec in ("h264", "hevc", "av1") and "420" in chosen else 0
    odd_width = 1 if odd or (codec in ("h264", "hevc") and "422" in chosen) else 0
    width, height = (
        clip.stored_width + clip.stored_width % 2 * odd_width,
        clip.stored_height + clip.stored_height % 2 * odd,
    )
    return Form(codec, chosen, planar, extension, container, width, height)


def _pixel_format(planar: str, codec: str) -> str | None:
    """The pixel format of an encoder that keeps depth and color resolution; None where it has none."""
    av = import_av()
    from av.codec.codec import PixFmtLoss, find_best_pix_fmt_of_list

    formats = [f.name for f in av.codec.Codec(_ENCODERS[codec][0], "w").video_formats or ()]
    plain = planar.replace("yuvj", "yuv")
    for name in (planar, plain):
        if name in formats:
            return name
    if planar.startswith("gray"):  # gray is color without color
        plain = planar.replace("gray", "yuv420p")
    best, loss = find_best_pix_fmt_of_list(formats, plain)
    if (
        best is None
        or loss & (PixFmtLoss.DEPTH | PixFmtLoss.RESOLUTION)
        or (plain.startswith("yuv") and "gbr" in best.name)
    ):
        return None
    return str(best.name)


def _container(clip: Clip, codec: str, encoding: Encoding) -> tuple[str, str]:
    audio = clip.audio if encoding.audio == "keep" else ()
    own = clip.path.suffix.lower()
    for extension in (own, *_FALLBACK):
        name = _CONTAINERS.get(extension)
        # MP4 has no place for full range alone, and FFV1 does not hold it itself.
        is_lossy = codec == "ffv1" and name != "matroska" and (clip.colors[0] == 2 or "yuvj" in clip.pixel_format)
        if name and {codec, *audio} <= _taken(name) and not is_lossy:
            return name, "" if extension == own else extension
    return "matroska", ".mkv"


@lru_cache(maxsize=8)
def _taken(container: str) -> frozenset[str]:
    """The codecs that a container takes."""
    import io

    av = import_av()
    with av.open(io.BytesIO(), "w", format=container) as out:
        return frozenset(out.supported_codecs) - frozenset(_NOT_IN_MOV if container == "mov" else ())


def write_segment(
    path: AnyPath, frames: Iterable[tuple[int, av.VideoFrame]], clip: Clip, form: Form, encoding: Encoding
) -> None:
    """Encode frames (pts, picture), one at least, into a file that appears when all of them are in it.

    Raises:
        UnsupportedClipError: the encoder refuses this clip.
    """
    av = import_av()
    context = av.CodecContext.create(_ENCODERS[form.codec][0], "w")
    _configure(context, clip, form, encoding)
    convert = av.video.reformatter.VideoReformatter()
    with replacing(path) as temporary, open(temporary, "xb") as file:
        for pts, native in frames:
            picture = _fitting(native, form, convert)
            picture.pts, picture.time_base = pts, clip.time_base
            picture.pict_type = 0  # not the source's: the encoder decides
            _encode(file, context, picture, form)
        _encode(file, context, None, form)


def _encode(file: Any, context: Any, picture: av.VideoFrame | None, form: Form) -> None:
    av = import_av()
    try:
        packets = context.encode(picture)
    except av.error.FFmpegError as e:  # a frame rate or a size that it does not have
        rate = float(context.framerate or 0)
        raise UnsupportedClipError(
            f"the encoder of {form.codec} refuses {form.width} x {form.height} px at {rate:g} frames a second; "
            f"choose another codec ({e.strerror or e})"
        ) from e
    for packet in packets:
        data = bytes(packet)
        file.write(_PACKET.pack(packet.pts, packet.is_keyframe, len(data)) + data)


def _fitting(native: av.VideoFrame, form: Form, convert: Any) -> av.VideoFrame:
    """A picture in the size and format of the encoder, its samples as they are where that is possible.

    An encoder of JPEGs writes what hangs on a picture, too: its color profile, with all that is noted in it.
    """
    if form.codec == "mjpeg":
        is_same = _is_same_layout(native.format.name, form.pixel_format)
        return _copied(native if is_same else convert.reformat(native, format=form.pixel_format), form)
    if (native.format.name, native.width, native.height) == (form.pixel_format, form.width, form.height):
        return native
    if _is_same_layout(native.format.name, form.pixel_format):
        return _copied(native, form)
    return convert.reformat(native, format=form.pixel_format)


def _is_same_layout(a: str, b: str) -> bool:
    return a.replace("yuvj", "yuv") == b.replace("yuvj", "yuv") or (a, b) == ("gray", "yuv420p")


def _copied(native: av.VideoFrame, form: Form) -> av.VideoFrame:
    """The same samples in another frame: full range under the name of the limited one, an odd size made even."""
    av = import_av()
    out = av.VideoFrame(form.width, form.height, form.pixel_format)
    source = samples(native)
    for index, target in enumerate(samples(out)):
        if index >= len(source):
            target[...] = 128
            continue
        h, w = source[index].shape
        target[:h, :w] = source[index]
        target[h:, :w] = target[h - 1 : h, :w]
        target[:, w:] = target[:, w - 1 : w]
    for name in ("color_range", "colorspace", "color_primaries", "color_trc"):
        setattr(out, name, getattr(native, name))
    return out


def _configure(context: Any, clip: Clip, form: Form, encoding: Encoding) -> None:
    """Set up an encoder: the same for every segment and for the clip's own header."""
    from av.codec.context import Flags

    context.width, context.height, context.pix_fmt = form.width, form.height, form.pixel_format
    context.time_base, context.framerate = clip.time_base, clip.frame_rate
    context.sample_aspect_ratio = clip.aspect
    context.color_range, context.color_primaries, context.color_trc, context.colorspace = clip.colors
    if clip.pixel_format.startswith(("gbr", "rgb", "bgr", "0")) and form.pixel_format.startswith("yuv"):
        context.color_range, context.colorspace = 1, 5  # as FFmpeg converts RGB
    context.options = _ENCODERS[form.codec][1](encoding.quality)
    context.flags |= Flags.global_header
    context.thread_type, context.thread_count = "AUTO", limit()
    if form.codec not in LOSSLESS:
        context.gop_size = FRAMES_A_SEGMENT
    if form.codec == "mjpeg":
        context.flags |= Flags.qscale
        context.global_quality = 118 * (2 + encoding.quality * 29 // 51)
    if clip.field_order:
        context.field_order = clip.field_order
        context.flags |= Flags.interlaced_dct | Flags.interlaced_me


def join(
    clip: Clip, form: Form, encoding: Encoding, segments: Sequence[Path], target: AnyPath, last_duration: int
) -> None:
    """Put segments and the source's sound together into the finished clip, which appears whole or not at all.

    Args:
        segments: in order. last_duration: of the last frame, in units of the time base.

    Raises:
        ClipError: what was written is not what the segments hold.
    """
    times = array("q", (pts for path in segments for pts, _, _ in _packets(path)))
    if any(b <= a for a, b in itertools.pairwise(times)):
        raise ClipError("frames came out of the encoder in another order")
    with replacing(target) as temporary:
        _mux(clip, form, encoding, segments, temporary, times[1:] + array("q", [times[-1] + last_duration]))
        _verify(temporary, form, times, clip.time_base)


def _packets(path: Path) -> Iterator[tuple[int, bool, bytes]]:
    with open(path, "rb") as file:
        while head := file.read(_PACKET.size):
            pts, is_key, size = _PACKET.unpack(head)
            yield pts, is_key, file.read(size)


def _mux(clip: Clip, form: Form, encoding: Encoding, segments: Sequence[Path], path: Path, ends: Sequence[int]) -> None:
    av = import_av()
    options = {"fflags": "+bitexact"}
    if form.container in ("mp4", "mov"):
        options |= {"movie_timescale": str(clip.time_base.denominator), "movflags": "+faststart"}
    with ExitStack() as stack:  # the index of hours takes memory, so what has no sound is not opened
        has_sound = clip.audio and encoding.audio == "keep"
        source = stack.enter_context(opened(clip.path))[0] if has_sound else None
        out = stack.enter_context(av.open(str(path), "w", format=form.container, options=options))
        stream = out.add_stream(_ENCODERS[form.codec][0], rate=clip.frame_rate)
        _configure(stream.codec_context, clip, form, encoding)
        stream.time_base = clip.time_base
        if not clip.orientation.is_upright:
            stream.set_display_matrix(clip.orientation.matrix())
        audio = {t.index: out.add_stream_from_template(t) for t in (source.streams.audio if source else ())}
        for track in audio.values():
            track.metadata.clear()
            context = track.codec_context
            if context.extradata:
                context.extradata = without_comments(context.codec.canonical_name, context.extradata)
        lead = _LEAD if form.container in ("mp4", "mov") else Fraction(0)  # others have no times before 0
        out.start_encoding()
        for packet in heapq.merge(
            _pictures(stream, segments, ends, clip.time_base),
            _sound(source, audio, clip.offset, lead),
            key=lambda p: (p.dts or 0) * p.time_base,
        ):
            out.mux_one(packet)


def _pictures(stream: Any, segments: Sequence[Path], ends: Sequence[int], time_base: Fraction) -> Iterator[av.Packet]:
    av = import_av()
    following = iter(ends)
    for path in segments:
        for pts, is_key, data in _packets(path):
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, time_base
            packet.pts = packet.dts = pts
            packet.duration = next(following) - pts
            packet.is_keyframe = is_key
            yield packet


def _sound(source: Any, audio: dict[int, Any], offset: Fraction, lead: Fraction) -> Iterator[av.Packet]:
    """The source's packets of sound as they are, as far as they can be read."""
    av = import_av()
    if not audio:
        return
    with suppress(av.error.FFmpegError):
        for packet in source.demux(*(source.streams[i] for i in audio)):
            if not packet.size or packet.pts is None or packet.dts is None or packet.is_corrupt:
                continue
            late = round(offset / packet.time_base)
            packet.pts, packet.dts = packet.pts - late, packet.dts - late
            # What an edit list cuts away does not come back, but for what a decoder of sound needs before its first
            # sample.
            if not packet.is_discard or packet.pts * packet.time_base >= -lead:
                packet.stream = audio[packet.stream_index]
                yield packet


def _verify(path: Path, form: Form, times: Sequence[int], time_base: Fraction) -> None:
    """Raise ClipError where a finished file does not hold as many frames, at these times."""
    wrong, count, first = False, 0, Fraction(0)
    with opened(path) as (container, stream):
        tolerance = max(Fraction(1, 1000), stream.time_base) if form.container in ("matroska", "webm") else 0
        for packet in container.demux(stream):  # one by one: an hour has 100,000
            if not packet.size or packet.pts is None:
                continue
            at = packet.pts * stream.time_base
            first = first if count else at
            wrong |= count >= len(times) or abs((at - first) - (times[count] - times[0]) * time_base) > tolerance
            count += 1
    if wrong or count != len(times):
        raise ClipError("the written clip has other frames or times than it should")
