"""Small clips, made with PyAV itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from anonymize.regions import Region

SIDE = (96, 64)  # px; width and height of a clip that nothing else is said of


def picture(index: int, size: tuple[int, int] = SIDE) -> np.ndarray:
    """A smooth drawn picture whose bright bar says which frame it is: its left edge lies at 8 + 2 * index px."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    out = np.stack([x * 160 // width + 20, y * 160 // height + 20, np.full_like(x, 90)], axis=-1).astype(np.uint8)
    out[height // 4 : height // 2, 8 + 2 * index : 24 + 2 * index] = (250, 250, 240)
    return out


def make(
    path: Path,
    frames: int = 8,
    *,
    size: tuple[int, int] = SIDE,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    rate: int = 25,
    ticks: int = 16,
    times: Sequence[int] | None = None,
    audio: Sequence[str] = (),
    matrix: Sequence[int] | None = None,
    colors: tuple[int, int, int, int] | None = None,
    options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    pictures: Sequence[np.ndarray] | None = None,
    interlaced: str = "",
    data: bytes = b"",
    aspect: Fraction | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """A clip of drawn frames.

    Args:
        times: timestamps in 1/(ticks * rate) s, one a frame. Default: evenly.
        audio: codecs, one for each stream of a tone.
        interlaced: "tff" or "bff", the field that comes first.
        data: of each packet of a data stream (MP4 and MPEG-TS).
        colors: range, primaries, transfer, matrix, as numbers of H.273.
        pictures: RGB, instead of `picture`.
    """
    with av.open(str(path), "w", container_options=container_options or {}) as out:
        out.metadata.update(metadata or {})
        stream: Any = out.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = *size, pixel_format
        stream.codec_context.time_base = stream.time_base = Fraction(1, ticks * rate)
        if colors:
            for name, value in zip(("color_range", "color_primaries", "color_trc", "colorspace"), colors, strict=True):
                setattr(stream.codec_context, name, value)
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if matrix:
            stream.set_display_matrix(matrix)
        fields = _field_filter(interlaced, size, pixel_format) if interlaced else None
        telemetry = out.add_data_stream("bin_data") if data else None
        tones = [out.add_stream(name, rate=48000) for name in audio]
        for index in range(frames):
            shown = pictures[index] if pictures is not None else picture(index, size)
            frame = av.VideoFrame.from_ndarray(shown, "rgb24").reformat(format=pixel_format)
            frame.pts = times[index] if times is not None else ticks * index
            if fields:
                frame = fields(frame)
            frame.time_base = Fraction(1, ticks * rate)
            out.mux(stream.encode(frame))
            if telemetry:
                _add_data(out, telemetry, data, Fraction(index, rate))
        out.mux(stream.encode(None))
        for tone in tones:
            _add_tone(out, tone, frames / rate)
    return path


def _add_data(out: Any, stream: Any, data: bytes, seconds: Fraction) -> None:
    packet = av.Packet(data)
    packet.stream, packet.time_base = stream, Fraction(1, 1000)
    packet.pts = packet.dts = round(1000 * seconds)
    out.mux(packet)


def _field_filter(order: str, size: tuple[int, int], pixel_format: str) -> Any:
    graph = av.filter.Graph()
    source = graph.add_buffer(width=size[0], height=size[1], format=pixel_format, time_base=Fraction(1, 400))
    fields, sink = graph.add("setfield", order), graph.add("buffersink")
    source.link_to(fields)
    fields.link_to(sink)
    graph.configure()

    def marked(frame: Any) -> Any:
        graph.vpush(frame)  # the graph has to live as long as its ends
        return graph.vpull()

    return marked


def _add_tone(out: Any, stream: Any, seconds: float) -> None:
    samples = np.arange(int(48000 * seconds))
    wave = (0.2 * np.sin(samples * 2 * np.pi * 440 / 48000)).astype(np.float32)
    resampler = av.AudioResampler(stream.codec_context.format, stream.codec_context.layout, 48000)
    for start in range(0, len(wave), 1024):
        frame = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], "flt", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        for part in resampler.resample(frame):
            out.mux(stream.encode(part))
    out.mux(stream.encode(None))


def bar(rgb: np.ndarray) -> tuple[int, int, int, int] | None:
    """The box of the bright bar that `picture` draws; None where it cannot be seen."""
    bright = (rgb > 190).all(axis=2)
    if bright.sum() < 8:
        return None
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


class BarDetector:
    """Finds the bright bar of drawn pictures, as a plate; counts the pictures that it saw.

    Args:
        blind: numbers of pictures, as they are asked for, in which it finds nothing. score: of what it finds.
    """

    name = "bar"
    weights: Mapping[str, str] = {"bar": "0" * 64}
    kinds = frozenset({"plate", "face"})

    def __init__(self, blind: Sequence[int] = (), score: float = 0.9) -> None:
        self.seen, self._blind, self._score = 0, set(blind), score

    def detect(self, images: Sequence[np.ndarray]) -> list[list[Region]]:
        out = []
        for image in images:
            found = bar(image)
            out.append([Region("plate", found, self._score)] if found and self.seen not in self._blind else [])
            self.seen += 1
        return out


def frames(path: Path) -> list[tuple[float, list[bytes]]]:
    """Time and planes of each frame of a clip, rounded to microseconds."""
    with av.open(str(path)) as container:
        return [(round(f.time, 6), [bytes(p) for p in f.planes]) for f in container.decode(video=0)]
