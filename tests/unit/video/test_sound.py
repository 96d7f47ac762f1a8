"""Sound is copied as it is, but not what is written beside it."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from anonymize.errors import ClipError
from anonymize.predictor import Predictor
from anonymize.video import batch
from anonymize.video.sound import _headers, without_comments
from tests.support import clips

SECRET = b"LOCATION=52.5200,13.4050"
COMMENTS = b"\x03vorbis" + bytes(4) + b"\1\0\0\0" + len(SECRET).to_bytes(4, "little") + SECRET + b"\1"
FIRST, SETUP = b"\x01vorbis" + bytes(23), b"\x05vorbis" + bytes(700)


def test_both_ways_to_join_headers() -> None:
    laced = bytes([2, 30, len(COMMENTS)]) + FIRST + COMMENTS + SETUP
    counted = b"".join(len(h).to_bytes(2, "big") + h for h in (FIRST, COMMENTS, SETUP))
    plain = without_comments("vorbis", laced)
    assert without_comments("vorbis", counted) == plain == without_comments("vorbis", plain)
    assert SECRET not in plain
    assert plain.endswith(SETUP)
    assert FIRST in plain
    long = bytes([2, 30, 255, 255, 5]) + FIRST + COMMENTS.ljust(515, b"x") + SETUP
    assert without_comments("vorbis", long) == plain
    assert without_comments("opus", laced) == laced


@pytest.mark.parametrize("private", [b"", b"\2", b"\0\x1e", bytes([2, 30, 40]) + FIRST, b"\2" + b"\xff" * 40])
def test_damaged_headers_are_an_error(private: bytes) -> None:
    with pytest.raises(ClipError):
        without_comments("vorbis", private)


def test_what_a_sound_says_of_itself_stays_behind(tmp_path: Path) -> None:
    silent, source = clips.make(tmp_path / "silent.mkv", 10), tmp_path / "a.mkv"
    encoder = av.CodecContext.create("vorbis", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48000, "stereo", "fltp"
    encoder.options = {"strict": "experimental"}
    encoder.open()
    noise = np.random.default_rng(1).normal(0, 0.1, (2, 48000 * 4 // 10)).astype(np.float32)
    packets = []
    for at in range(0, noise.shape[1] - 63, 64):
        frame = av.AudioFrame.from_ndarray(noise[:, at : at + 64].copy(), "fltp", "stereo")
        frame.sample_rate, frame.pts = 48000, at
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    sound = tmp_path / "sound.mkv"
    with av.open(str(sound), "w") as out:
        stream = out.add_stream("vorbis", rate=48000, options={"strict": "experimental"}, layout="stereo")
        for coded in packets:
            coded.stream = stream
            out.mux(coded)
    with av.open(str(silent)) as pictures, av.open(str(sound)) as tones, av.open(str(source), "w") as out:
        video = out.add_stream_from_template(pictures.streams.video[0])
        audio = out.add_stream_from_template(tones.streams.audio[0])
        first, _, setup = _headers(audio.codec_context.extradata or b"")
        audio.codec_context.extradata = bytes([2, len(first), len(COMMENTS)]) + first + COMMENTS + setup
        for source_of, target in ((pictures, video), (tones, audio)):
            for packet in source_of.demux():
                if packet.size:
                    packet.stream = target
                    out.mux(packet)
    assert SECRET in source.read_bytes()
    summary = batch.run(source, tmp_path / "out", Predictor(detectors=[clips.BarDetector()]))
    assert summary.ok
    assert SECRET not in (tmp_path / "out" / "a.mkv").read_bytes()
    before, after = (_samples(p) for p in (source, tmp_path / "out" / "a.mkv"))
    assert before.size > 1000
    assert np.array_equal(before, after)


def _samples(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.concatenate([f.to_ndarray().ravel() for f in container.decode(audio=0)])
