"""What coded pictures carry besides pictures, codec by codec; whole clips: tests/integration/test_audit_clips.py."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from PIL import Image

from anonymize.audit import streams
from anonymize.audit.clips import in_picture
from tests.support import clips

GPS = bytes(range(16)) + b"48.137N 11.575E"


def obu(kind: int, body: bytes) -> bytes:
    return bytes([kind << 3 | 2, len(body)]) + body


def av1(path: Path) -> Iterator[bytes]:
    clips.make(path, 4, codec="libsvtav1", options={"preset": "12"})
    with av.open(str(path)) as container:
        yield bytes(container.streams.video[0].codec_context.extradata or b"")
        yield from (bytes(p) for p in container.demux(container.streams.video[0]) if p.size)


def test_metadata_of_av1_are_told_and_colors_are_not(tmp_path: Path) -> None:
    extra, *packets = av1(tmp_path / "a.mp4")
    assert not [*streams.head("av1", extra), *(w for p in packets for w in streams.packet("av1", extra, p))]
    picture = packets[0]
    for unit in (obu(5, b"\4\xb5" + GPS), obu(5, b"\6" + GPS), obu(9, GPS), obu(15, GPS + b"\x80")):
        assert len(list(streams.packet("av1", extra, unit + picture))) == 1
        assert len(list(streams.head("av1", extra + unit))) == 1
    for unit in (obu(5, b"\1" + bytes(5)), obu(15, bytes(20) + b"\x80")):
        assert not list(streams.packet("av1", extra, unit + picture))
    with pytest.raises(ValueError, match="longer"):
        list(streams.packet("av1", extra, picture[:-3]))


def test_frames_of_mjpeg_are_looked_at_as_photos() -> None:
    clean, camera = io.BytesIO(), io.BytesIO()
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    Image.new("RGB", (32, 32), "teal").save(clean, "JPEG")
    Image.new("RGB", (32, 32), "teal").save(camera, "JPEG", exif=exif)
    assert not list(in_picture("mjpeg", b"", clean.getvalue()))
    (said,) = in_picture("mjpeg", b"", camera.getvalue())
    assert said.startswith("in a frame, ")


@pytest.mark.parametrize("start", [b"\0\0\1", b"\0\0\0\1"])
def test_units_behind_start_codes_are_read_too(start: bytes) -> None:
    message = b"\6\5" + bytes([len(GPS)]) + GPS + b"\x80"
    picture = start + b"\x65" + bytes(range(1, 60))
    assert not list(streams.packet("h264", b"", picture))
    (said,) = streams.packet("h264", b"", start + message + picture)
    assert "48.137N" in said
    assert list(streams.head("h264", start + message)) == [said]


def test_messages_that_are_escaped_or_long_are_read_to_their_end() -> None:
    zeros = b"\0\0\3\0\0\3" + b"48.137N"  # what stands for four zeros
    message = b"\6\5" + bytes([16 + 11]) + bytes(range(1, 17)) + zeros + b"\x80"
    (said,) = streams.packet("h264", b"", b"\0\0\1" + message)
    assert "48.137N" in said
    long = b"\6\5\xff\x0a" + bytes(range(1, 17)) + b"x" * 249 + b"\x01\x01\x10\x80"
    assert len(list(streams.packet("h264", b"", b"\0\0\1" + long))) == 1
    with pytest.raises(ValueError, match="longer"):
        list(streams.packet("h264", b"", b"\0\0\1" + b"\6\5\xff\xffabc\x80"))


def test_what_lies_behind_a_header_is_told() -> None:
    head = b"\1d\0\x0a\xff\xe1\0\4gd\0\x0a\1\0\4h\xef\6\xf2\xfd\xf8\xf8\0"
    assert not list(streams.head("h264", head))
    assert list(streams.head("h264", head + b"M-AB 1234"))


WORDS = b"GPS 48.1371N 11.5754E M-AB 1234"
X264 = bytes.fromhex("dc45e9bde6d948b7962cd820d923eeef") + (
    b"x264 - core 164 - H.264/MPEG-4 AVC codec - Copyleft 2003-2022 - http://www.videolan.org/x264.html - options:"
)


def message(kind: int, body: bytes) -> bytes:
    return bytes([6, kind, len(body)]) + body + b"\x80"


@pytest.mark.parametrize("kind", [0, 1, 6, 45, 47, 128, 132, 137, 144, 147])
def test_messages_of_any_type_carry_no_words(kind: int) -> None:
    (said,) = streams.packet("h264", b"", b"\0\0\1" + message(kind, WORDS))
    assert "48.1371N" in said
    assert list(streams.packet("h264", b"", b"\0\0\1" + message(kind, b"AB12")))


@pytest.mark.parametrize(
    ("codec", "head", "rest"),
    [("h264", b"\x09", b"\xf0"), ("h264", b"\x0a", b""), ("h264", b"\x0b", b"")]
    + [("hevc", b"\x46\1", b"\x50"), ("hevc", b"\x48\1", b""), ("hevc", b"\x4a\1", b"")],
)
def test_units_that_separate_carry_nothing(codec: str, head: bytes, rest: bytes) -> None:
    assert not list(streams.packet(codec, b"", b"\0\0\1" + head + rest))
    (said,) = streams.packet(codec, b"", b"\0\0\1" + head + rest + WORDS)
    assert "48.1371N" in said


def test_bytes_before_pictures_and_in_delimiters_are_told() -> None:
    assert len(list(streams.packet("h264", b"", WORDS + b"\0\0\0\1\x65abc"))) == 1
    assert len(list(streams.packet("av1", b"", obu(2, WORDS)))) == 1
    assert len(list(streams.packet("av1", b"", obu(5, b"\2" + WORDS[:24] + b"\x80")))) == 1


def test_options_of_encoders_are_known_names_with_numbers() -> None:
    def told(options: bytes) -> list[str]:
        body = X264 + options
        return list(streams._message(5, body))

    assert not told(b" cabac=1 deblock=1:0:0 analyse=0x3:0x113 me=hex rc=crf crf=23.0")
    for words in (b" gps=48.1371,11.5754", b" me=M-AB1234", b" driver", b" crf=Max_Mustermann"):
        assert told(words)
