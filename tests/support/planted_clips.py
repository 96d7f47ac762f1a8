"""Leaks of every kind, planted into an exported clip as a bug of the exporter would leave them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from anonymize import disk
from anonymize.detectors import FakeDetector
from anonymize.json_lines import read_lines, to_line
from anonymize.predictor import Predictor
from anonymize.regions import Region
from anonymize.settings import Settings
from anonymize.video import batch
from anonymize.video.writer import Encoding
from tests.support import clips

FACE = Region("face", (20.0, 12.0, 60.0, 52.0), 0.9)


@dataclass
class Case:
    """One exported clip. Attributes: home: has `in` and `out`. name: of the clip. output: of what was written."""

    home: Path
    name: str
    output: Path

    @property
    def folder(self) -> Path:
        return self.home / "out"

    def remember(self) -> None:
        """The export's memory fits the file that is there."""
        memory = self.folder / "clips.jsonl"
        lines = read_lines(memory)
        stat = self.output.stat()
        lines[-1] |= {"stamp": [stat.st_size, stat.st_mtime_ns], "sha256": disk.sha256(self.output)}
        memory.write_bytes(b"".join(map(to_line, lines)))

    def write(self, data: bytes) -> None:
        self.output.write_bytes(data)
        self.remember()

    def write_again(self, *, change: Callable[[int, np.ndarray], np.ndarray] | None = None, **more: Any) -> None:
        """The clip encoded anew with changed pictures, or with more in its container."""
        with av.open(str(self.output)) as source:
            pictures = [f.to_ndarray(format="rgb24") for f in source.decode(video=0)]
        if change:
            pictures = [change(i, p.copy()) for i, p in enumerate(pictures)]
        size = pictures[0].shape[1], pictures[0].shape[0]
        clips.make(self.output, len(pictures), size=size, pictures=pictures, **more)
        self.remember()


def noise() -> list[np.ndarray]:
    """Pictures with something to hide in them."""
    grain = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    return [np.roll(grain, i, axis=1) for i in range(8)]


def make(home: Path, name: str = "a.mp4", *, codec: str = "h264", settings: Settings | None = None) -> Case:
    """A clip, exported with one face hidden in all frames."""
    (home / "in").mkdir(parents=True)
    clips.make(home / "in" / name, 8, pictures=noise())
    predictor = Predictor(settings or Settings(), detectors=[FakeDetector([FACE])])
    done = batch.run(home / "in", home / "out", predictor, encoding=Encoding(codec), every=1)
    assert done.ok, done.failures
    (output,) = (p for p in (home / "out").iterdir() if p.suffix in (".mp4", ".mkv", ".mov", ".webm"))
    return Case(home, name, output)


def _shown(case: Case, frames: Sequence[int]) -> None:
    originals = noise()
    x1, y1, x2, y2 = map(int, FACE.box)

    def change(index: int, picture: np.ndarray) -> np.ndarray:
        if index in frames:
            picture[y1:y2, x1:x2] = originals[index][y1:y2, x1:x2]
        return picture

    case.write_again(change=change)


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + kind + body


def _in_free(case: Case) -> None:
    data = case.output.read_bytes()
    assert data.count(b"\0\0\0\x08free") == 1  # with +faststart it stands before the pictures: their places would move
    case.write(data + _box(b"free", b"plate M-AB 1234"))


@dataclass(frozen=True)
class Leak:
    """A kind of leak. Attributes: name: of it. check: that has to find it. plant: puts it in. clip, codec: it needs."""

    name: str
    check: str
    plant: Callable[[Case], Any]
    clip: str = "a.mp4"
    codec: str = "h264"


_EBML_TAGS = bytes.fromhex("1254c367") + b"\x80"
_ATTACHED = bytes.fromhex("1941a469") + b"\x89" + b"a picture"
LEAKS: Sequence[Leak] = (
    Leak("a face in all frames", "destroyed", lambda c: _shown(c, range(8))),
    Leak("a face in one frame", "destroyed", lambda c: _shown(c, [4])),
    Leak("a title", "metadata", lambda c: c.write_again(metadata={"title": "M-AB 1234"})),
    Leak("telemetry", "metadata", lambda c: c.write_again(data=b"48.1, 11.5")),
    Leak("text in a free box", "metadata", _in_free),
    Leak("a box of one's own", "metadata", lambda c: c.write(c.output.read_bytes() + _box(b"uuid", bytes(16) + b"x"))),
    Leak(
        "data behind the pictures", "metadata", lambda c: c.write(c.output.read_bytes() + _box(b"mdat", b"M-AB 1234"))
    ),
    Leak("bytes behind the end", "metadata", lambda c: c.write(c.output.read_bytes() + b"M-AB 1234")),
    Leak("bytes behind a Matroska", "metadata", lambda c: c.write(c.output.read_bytes() + b"M-AB 1234"), "a.mkv"),
    Leak("an attached file", "metadata", lambda c: c.write(c.output.read_bytes() + _ATTACHED), "a.mkv"),
    Leak("a title in a Matroska", "metadata", lambda c: c.write_again(metadata={"title": "M-AB 1234"}), "a.mkv"),
    Leak("a frame fewer", "memory", lambda c: _fewer(c)),
    Leak("the original in its place", "memory", lambda c: c.output.write_bytes((c.home / "in" / c.name).read_bytes())),
    Leak(
        "a clip that no export wrote",
        "memory",
        lambda c: (c.folder / "b.mp4").write_bytes((c.home / "in" / c.name).read_bytes()),
    ),
    Leak("a second picture", "metadata", lambda c: _second_picture(c)),
    Leak("a second picture in a Matroska", "metadata", lambda c: _second_picture(c), "a.mkv"),
    Leak("a block of no track", "metadata", lambda c: _stray_block(c), "a.mkv"),
    Leak("pictures that an edit list cuts away", "metadata", lambda c: _cut_away(c)),
    Leak("tracks taken out of the record", "memory", lambda c: _without_tracks(c)),
    Leak("a place in each picture", "metadata", lambda c: _in_pictures(c, _unit(b"\6" + _sei(5, _GPS)))),
    Leak("captions", "metadata", lambda c: _in_pictures(c, _unit(b"\6" + _sei(4, b"\xb5\0\x31GA94M-AB 1234")))),
    Leak(
        "a message behind an encoder's", "metadata", lambda c: _in_pictures(c, _unit(b"\6" + _X264 + _sei(19, b"M-AB")))
    ),
    Leak(
        "more in an encoder's words", "metadata", lambda c: _in_pictures(c, _unit(b"\6" + _X264 + _sei(5, _LIKE_X264)))
    ),
    Leak("a unit of no known type", "metadata", lambda c: _in_pictures(c, _unit(b"\x18M-AB 1234"))),
    Leak("a second view", "metadata", lambda c: _in_pictures(c, _unit(b"\x74" + bytes(60)))),
    Leak("text in padding", "metadata", lambda c: _in_pictures(c, _unit(b"\x0c\xff\xffM-AB 1234\x80"))),
    Leak("a place in a Matroska's", "metadata", lambda c: _in_pictures(c, _unit(b"\6" + _sei(5, _GPS))), "a.mkv"),
    Leak("a place in HEVC", "metadata", lambda c: _in_pictures(c, _unit(b"\x50\1" + _sei(5, _GPS))), codec="hevc"),
    Leak("a second layer of HEVC", "metadata", lambda c: _in_pictures(c, _unit(b"\2\x09" + bytes(60))), codec="hevc"),
)


_GPS = bytes(range(16)) + b"48.137N 11.575E M-AB 1234"  # behind an identifier
_ID_X264 = bytes.fromhex("dc45e9bde6d948b7962cd820d923eeef")
_LIKE_X264 = _ID_X264 + b"x264 - core 165 - M-AB 1234 - options: cabac=1"


def _sei(kind: int, body: bytes) -> bytes:
    """A message of coded pictures, with the end of its unit."""
    return bytes([kind, len(body)]) + body + b"\x80"


_X264 = b"x264 - core 165 - H.264/MPEG-4 AVC codec - Copyleft 2003-2025 - http://www.videolan.org/x264.html"
_X264 += b" - options: crf=20.0"
_WORDS = b"\6" + _sei(5, _ID_X264 + _X264)[:-1]


def _unit(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def _in_pictures(case: Case, unit: bytes) -> None:
    """A unit in front of each coded picture."""
    mixed = case.home / f"mixed{case.output.suffix}"
    with av.open(str(case.output)) as clean, av.open(str(mixed), "w", options={"fflags": "+bitexact"}) as out:
        stream = out.add_stream_from_template(clean.streams.video[0])
        stream.metadata.clear()
        for packet in clean.demux(clean.streams.video[0]):
            if packet.size:
                other = av.Packet(unit + bytes(packet))
                other.pts, other.dts, other.time_base = packet.pts, packet.dts, packet.time_base
                other.is_keyframe, other.duration, other.stream = packet.is_keyframe, packet.duration, stream
                out.mux_one(other)
    case.write(mixed.read_bytes())


def _second_picture(case: Case) -> None:
    """The original beside the clean picture, in one file."""
    mixed = case.home / f"mixed{case.output.suffix}"
    with (
        av.open(str(case.output)) as clean,
        av.open(str(case.home / "in" / case.name)) as original,
        av.open(str(mixed), "w", options={"fflags": "+bitexact"}) as out,
    ):
        packets = []
        for source in (clean, original):
            stream = out.add_stream_from_template(source.streams.video[0])
            stream.metadata.clear()
            for packet in source.demux(source.streams.video[0]):
                if packet.size:
                    packet.stream, packet.dts = stream, packet.pts
                    packets.append(packet)
        for packet in sorted(packets, key=lambda p: p.pts * p.time_base):
            out.mux_one(packet)
    case.write(mixed.read_bytes())


def _stray_block(case: Case) -> None:
    data = case.output.read_bytes()
    block = b"\xa3\x8d\x89\0\0\x80M-AB 1234"
    case.write(data + bytes.fromhex("1f43b675") + bytes([0x80 | 3 + len(block)]) + b"\xe7\x81\0" + block)


def _cut_away(case: Case) -> None:
    """The original's frames in front, and a table that says to begin behind them."""
    with av.open(str(case.output)) as source:
        pictures = [*noise(), *(f.to_ndarray(format="rgb24") for f in source.decode(video=0))]
    long = clips.make(case.home / "long.mp4", len(pictures), pictures=pictures, options={"bf": "0"})
    data = bytearray(long.read_bytes())
    at, length = data.index(b"elst") + 12, data.index(b"mdhd") + 20  # of version 0
    whole, half = (int.from_bytes(data[i : i + 4], "big") // 2 for i in (at, length))
    data[at : at + 8] = struct.pack(">II", whole, half)  # for how long, and from where on in the media
    case.write(bytes(data))


def _fewer(case: Case) -> None:
    with av.open(str(case.output)) as source:
        pictures = [f.to_ndarray(format="rgb24") for f in source.decode(video=0)][:-1]
    clips.make(case.output, len(pictures), size=(96, 64), pictures=pictures)
    case.remember()


def _without_tracks(case: Case) -> None:
    from anonymize.video import clip_records

    path = case.folder / f"{case.name}.tracks.jsonl"
    header, record = clip_records.read(path)
    clip_records.write(path, header, record.replace(tracks=()))
