"""Clips as they also come: each the right result, or an error that says what is wrong. The list is in docs/video.md."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from anonymize.errors import ClipError, UnsupportedClipError
from anonymize.predictor import Predictor
from anonymize.regions import Region
from anonymize.settings import Settings
from anonymize.video import batch
from anonymize.video.reader import open_clip
from anonymize.video.writer import Encoding, form_of
from tests.support import clips


def run(source, folder, **given):
    """The one clip's output; all its frames hide the bar."""
    predictor = Predictor(Settings(), detectors=[clips.BarDetector()])
    summary = batch.run(source, folder, predictor, every=1, **given)
    assert not summary.failures, summary.failures
    (target,) = [p for p in folder.iterdir() if p.suffix in (".mp4", ".mkv", ".mov", ".webm")]
    assert not any(clips.bar(f.rgb) for f in open_clip(target).frames())
    return summary, target


def times(path):
    return [f.seconds for f in open_clip(path).frames()]


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("one.mp4", {"frames": 1}),
        ("two-sounds.mp4", {"audio": ["aac", "aac"]}),
        ("vfr.mp4", {"times": [0, 3, 40, 41, 90, 200, 201, 500]}),
        ("rotated.mp4", {"matrix": (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)}),
        ("deep.mp4", {"codec": "libx265", "pixel_format": "yuv420p10le"}),
        ("hdr.mp4", {"codec": "libx265", "pixel_format": "yuv420p10le", "colors": (1, 9, 16, 9)}),
        ("mjpeg.avi", {"codec": "mjpeg", "pixel_format": "yuvj420p"}),
        ("rgb.mkv", {"codec": "libx264rgb", "pixel_format": "rgb24"}),
        ("gray.mkv", {"codec": "ffv1", "pixel_format": "gray"}),
        ("vp9.webm", {"codec": "libvpx-vp9", "audio": ["libopus"]}),
        ("av1.mp4", {"codec": "libsvtav1"}),
        ("ts.ts", {"audio": ["aac"]}),
        ("mpeg.mpg", {"codec": "mpeg2video", "ticks": 1}),
    ],
)
def test_odd_but_whole(tmp_path, name, given):
    source = clips.make(tmp_path / name, **{"frames": 8, **given})
    clip = open_clip(source)
    summary, target = run(source, tmp_path / "out")
    out = open_clip(target)
    assert summary.ok
    assert times(target) == pytest.approx(times(source), abs=1e-3 if target.suffix == ".mkv" else 1e-6)
    assert (out.width, out.height, out.orientation) == (clip.width, clip.height, clip.orientation)
    assert (out.bit_depth, out.audio) == (clip.bit_depth, clip.audio)


@pytest.mark.parametrize("order", ["tff", "bff"])
@pytest.mark.parametrize("codec", ["h264", "ffv1"])
def test_interlaced_stays_interlaced(tmp_path, order, codec):
    source = clips.make(
        tmp_path / "a.mkv", 6, codec="mpeg2video", interlaced=order, ticks=1, options={"flags": "+ildct+ilme"}
    )
    clip = open_clip(source)
    assert clip.field_order == {"tff": 2, "bff": 3}[order]
    _, target = run(source, tmp_path / "out", encoding=Encoding(codec))
    assert all(f.native.interlaced_frame for f in open_clip(target).frames())
    assert open_clip(target).field_order == clip.field_order
    with pytest.raises(UnsupportedClipError, match=r"interlaced.*h264, ffv1"):
        form_of(clip, Encoding("vp9"))


def test_detectors_see_no_comb(tmp_path):
    woven = np.zeros((64, 96, 3), np.uint8)
    woven[::2] = 200
    source = clips.make(
        tmp_path / "a.mkv", 2, codec="ffv1", pixel_format="yuv444p", interlaced="tff", pictures=[woven] * 2
    )
    rgb = next(open_clip(source).frames()).rgb[4:-4].astype(int)
    assert np.ptp(rgb) <= 2


def test_sound_only_is_an_error(tmp_path):
    source = tmp_path / "a.mp4"
    with av.open(str(source), "w") as out:
        clips._add_tone(out, out.add_stream("aac", rate=48000), 0.2)
    with pytest.raises(ClipError, match="no moving picture"):
        open_clip(source)


def test_no_frames_is_an_error(tmp_path):
    source = tmp_path / "a.mkv"
    with av.open(str(source), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        out.start_encoding()
    with pytest.raises(ClipError):
        open_clip(source)


def test_data_that_pyav_does_not_know_is_an_error_that_says_what_to_do(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    Image.new("RGB", (64, 48)).save(photo := tmp_path / "a.jpg", exif=exif)
    with av.open(str(source := tmp_path / "a.mov"), "w") as out:
        stream = out.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        packet = av.Packet(photo.read_bytes())
        packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1, 10)
        out.mux(packet)
    with pytest.raises(UnsupportedClipError, match=r"PyAV cannot read .* save the clip anew"):
        open_clip(source)


def test_cover_art_is_no_picture(tmp_path):
    source = clips.make(tmp_path / "a.mp4", 6, options={"bf": "0"})
    covered = tmp_path / "b.mp4"
    with av.open(str(source)) as given, av.open(str(covered), "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        art = out.add_stream("mjpeg", rate=1)
        art.width, art.height, art.pix_fmt = 96, 64, "yuvj420p"
        art.disposition = av.stream.Disposition.attached_pic
        for packet in given.demux(given.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
        frame = av.VideoFrame.from_ndarray(clips.picture(0), "rgb24").reformat(format="yuvj420p")
        frame.pts, frame.time_base = 0, Fraction(1)
        out.mux(art.encode(frame))
        out.mux(art.encode(None))
    assert open_clip(covered).dropped == ("cover art",)
    _, target = run(covered, tmp_path / "out")
    with av.open(str(target)) as container:
        assert [s.type for s in container.streams] == ["video"]


@pytest.mark.parametrize("suffix", [".mp4", ".ts"])
def test_data_streams_stay_behind(tmp_path, suffix):
    source = clips.make(tmp_path / f"a{suffix}", 6, data=b"GPS 48.13 11.57")
    assert b"48.13" in source.read_bytes()
    summary, target = run(source, tmp_path / "out")
    assert summary.dropped == {"data": 1}
    assert b"48.13" not in target.read_bytes()
    with av.open(str(target)) as container:
        assert [s.type for s in container.streams] == ["video"]


def test_subtitles_and_chapters_stay_behind(tmp_path):
    source = tmp_path / "a.mkv"
    subtitles = tmp_path / "a.srt"
    subtitles.write_text("1\n00:00:00,000 --> 00:00:01,000\nSecret words\n")
    plain = clips.make(tmp_path / "b.mp4", 6, options={"bf": "0"})
    with av.open(str(plain)) as a, av.open(str(subtitles)) as b, av.open(str(source), "w") as out:
        streams = {0: out.add_stream_from_template(a.streams.video[0])}
        text = out.add_stream_from_template(b.streams.subtitles[0])
        out.set_chapters(
            [{"id": 1, "start": 0, "end": 100, "time_base": Fraction(1, 1000), "metadata": {"title": "Secret"}}]
        )
        for packet in a.demux():
            if packet.dts is not None:
                packet.stream = streams[0]
                out.mux(packet)
        for packet in b.demux():
            if packet.dts is not None:
                packet.stream = text
                out.mux(packet)
    assert b"Secret" in source.read_bytes()
    assert set(open_clip(source).dropped) == {"subtitles", "chapters"}
    _, target = run(source, tmp_path / "out")
    assert b"Secret" not in target.read_bytes()


def test_a_second_picture_is_left_out_and_said(tmp_path):
    source = tmp_path / "a.mkv"
    with (
        av.open(str(clips.make(tmp_path / "b.mp4", 6, options={"bf": "0"}))) as given,
        av.open(str(source), "w") as out,
    ):
        streams = [out.add_stream_from_template(given.streams.video[0]) for _ in range(2)]
        for packet in given.demux(given.streams.video[0]):
            if packet.dts is not None:
                data, at = bytes(packet), (packet.pts, packet.dts, packet.time_base, packet.is_keyframe)
                for stream in streams:
                    copy = av.Packet(data)
                    copy.stream = stream
                    copy.pts, copy.dts, copy.time_base, copy.is_keyframe = at
                    out.mux(copy)
    summary, target = run(source, tmp_path / "out")
    assert "another camera" in summary.warnings["a.mkv"][0]
    with av.open(str(target)) as container:
        assert len(container.streams) == 1


def test_what_an_edit_list_cuts_away_stays_away(tmp_path):
    source = clips.make(tmp_path / "a.mp4", 20, audio=["aac"], options={"bf": "0", "g": "20"})
    data = bytearray(source.read_bytes())
    at = data.index(b"elst") + 4  # version and flags, count; duration, media time, rate
    version, count, duration, media = struct.unpack(">IIIi", data[at : at + 16])
    assert (version, count, media) == (0, 1, 0)
    with av.open(str(source)) as container:
        scale = container.streams.video[0].time_base.denominator
    data[at + 8 : at + 16] = struct.pack(">Ii", duration - 200, scale * 5 // 25)  # ms, and five frames
    source.write_bytes(data)
    assert len(times(source)) == 15
    _, target = run(source, tmp_path / "out")
    assert times(target) == pytest.approx(times(source), abs=1e-6)
    assert sum(1 for _ in av.open(str(target)).demux(video=0)) - 1 == 15  # packets, too, and one that ends them


@pytest.mark.parametrize("name", ["a.mkv", "a.webm"])
def test_a_matroska_that_begins_late_is_whole(tmp_path, name):
    form = {} if name == "a.mkv" else {"codec": "libvpx-vp9"}
    source = clips.make(tmp_path / name, 8, times=[16 * (75 + n) for n in range(8)], **form)
    frames = list(open_clip(source).frames())  # raises for one of which a part is missing
    assert len(frames) == 8
    assert frames[0].seconds == pytest.approx(3, abs=0.01)


def test_a_cut_off_mp4_gives_what_is_whole(tmp_path):
    whole = clips.make(
        tmp_path / "whole.mp4", 40, size=(320, 240), options={"g": "10"}, container_options={"movflags": "faststart"}
    )
    source = tmp_path / "a.mp4"
    source.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    summary, target = run(source, tmp_path / "out")
    assert list(summary.incomplete) == ["a.mp4"]
    assert 5 < len(times(target)) < 40


def test_a_cut_off_mp4_without_its_index_is_an_error(tmp_path):
    whole = clips.make(tmp_path / "whole.mp4", 40)
    source = tmp_path / "a.mp4"
    source.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    with pytest.raises(ClipError, match="cut off"):
        open_clip(source)


def test_damage_in_the_middle_is_said_and_never_shown(tmp_path):
    rng = np.random.default_rng(0)
    grain = [np.clip(clips.picture(i % 30, (160, 96)) + rng.integers(-20, 20, (96, 160, 1)), 0, 255) for i in range(40)]
    whole = clips.make(
        tmp_path / "whole.mkv",
        40,
        size=(160, 96),
        options={"g": "8", "bf": "0"},
        pictures=[g.astype(np.uint8) for g in grain],
    )
    data = bytearray(whole.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = rng.integers(0, 256, 3000, dtype=np.uint8).tobytes()
    source = tmp_path / "a.mkv"
    source.write_bytes(data)
    summary, target = run(source, tmp_path / "out")
    assert "damaged" in summary.incomplete["a.mkv"]
    assert len(times(target)) < 40


def test_a_picture_that_changes_its_size_is_refused(tmp_path):
    a, b = clips.make(tmp_path / "a.ts", 4), clips.make(tmp_path / "b.ts", 4, size=(128, 96))
    source = tmp_path / "c.ts"
    source.write_bytes(a.read_bytes() + b.read_bytes())
    predictor = Predictor(Settings(), detectors=[clips.BarDetector()])
    summary = batch.run(source, tmp_path / "out", predictor, every=1)
    assert "changes within the clip" in summary.failures["c.ts"]
    assert not (tmp_path / "out" / "c.ts.mp4").exists()


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "ffv1"), ("a.webm", "libvpx-vp9")])
def test_transparency_is_refused(tmp_path, name, codec):
    source = clips.make(tmp_path / name, 2, codec=codec, pixel_format="yuva420p")
    with pytest.raises(UnsupportedClipError, match="transparency"):
        form_of(open_clip(source), Encoding())


def test_a_picture_over_the_limit_is_not_decoded(tmp_path):
    with pytest.raises(UnsupportedClipError, match="limit"):
        open_clip(clips.make(tmp_path / "a.mp4", 1), max_megapixels=0.001)


def test_4k(tmp_path):
    source = clips.make(tmp_path / "a.mp4", 2, size=(3840, 2160), options={"preset": "ultrafast"})
    _, target = run(source, tmp_path / "out")
    assert (open_clip(target).width, open_clip(target).height) == (3840, 2160)


def test_hdr_looks_ordinary_to_detectors(tmp_path):
    """A face in PQ has half the contrast of an ordinary one; tone mapped it has all."""
    source = clips.make(tmp_path / "a.mkv", 1, codec="ffv1", pixel_format="yuv444p16le", colors=(2, 9, 16, 0))
    frame = next(open_clip(source).frames())
    assert frame.rgb.dtype == np.uint8
    assert frame.rgb.std() > 20


def test_pixels_that_are_not_square_keep_their_shape(tmp_path):
    source = clips.make(tmp_path / "a.mkv", 3, aspect=Fraction(4, 3))
    _, target = run(source, tmp_path / "out")
    assert open_clip(target).aspect == open_clip(source).aspect == Fraction(4, 3)


def test_a_region_lies_right_in_a_rotated_clip(tmp_path):
    one = 1 << 16
    source = clips.make(tmp_path / "a.mp4", 2, matrix=(0, one, 0, -one, 0, 0, 0, 0, 1 << 30))

    class Corner(clips.BarDetector):
        def detect(self, images):
            return [[Region("plate", (40, 0, 64, 20), 0.9)] for _ in images]

    settings = Settings().with_kind("plate", effect="solid", fill="ff00ff")
    batch.run(source, tmp_path / "out", Predictor(settings, detectors=[Corner()]), every=1)
    rgb = next(open_clip(tmp_path / "out" / "a.mp4").frames()).rgb
    assert (np.abs(rgb[4:14, 46:60].astype(int) - (255, 0, 255)) < 40).all()
    assert not (np.abs(rgb[50:, :].astype(int) - (255, 0, 255)) < 60).all(axis=2).any()


def test_dolby_vision_without_a_base_layer_is_refused_and_with_one_is_not(tmp_path):
    def dolby(name, colors):
        path = clips.make(tmp_path / name, 3, codec="libx265", pixel_format="yuv420p10le", colors=colors)
        path.write_bytes(path.read_bytes().replace(b"hev1", b"dvh1"))
        assert open_codec(path) == "dvh1"
        return path

    def open_codec(path):
        with av.open(str(path)) as container:
            return container.streams.video[0].codec_context.codec_tag

    with pytest.raises(UnsupportedClipError, match="Dolby Vision"):
        open_clip(dolby("five.mp4", (1, 2, 2, 2)))
    assert open_clip(dolby("eight.mp4", (1, 9, 16, 9))).bit_depth == 10
