import io
import os
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image, ImageCms

from anonymize.errors import ClipError, SettingsError, UnknownNameError, UnsupportedClipError
from anonymize.video import writer
from anonymize.video.reader import open_clip
from anonymize.video.writer import Encoding, codecs, form_of, join, write_segment
from tests.support import clips


def written(source, encoding, folder, length=4):
    """A clip written again as it is, in segments."""
    clip = open_clip(source)
    form = form_of(clip, encoding)
    frames = list(clip.frames())
    segments = []
    for start in range(0, len(frames), length):
        segments.append(folder / f"part{start}")
        write_segment(segments[-1], [(f.pts, f.native) for f in frames[start : start + length]], clip, form, encoding)
    target = folder / f"out{form.extension or source.suffix}"
    join(clip, form, encoding, segments, target, frames[-1].duration)
    return clip, target


def times(path):
    return [f.seconds for f in open_clip(path).frames()]


def packets(path, index):
    """Times and bytes of one stream of sound."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[index]
        return [(float(p.pts * p.time_base), bytes(p)) for p in container.demux(stream) if p.size]


@pytest.mark.parametrize("codec", ["same", "h264", "hevc", "vp9", "av1", "ffv1"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_each_codec_keeps_frames_times_and_sound(tmp_path, codec, suffix):
    source = clips.make(tmp_path / f"a{suffix}", 10, audio=["aac", "libopus"])
    clip, target = written(source, Encoding(codec), tmp_path)
    out = open_clip(target)
    assert out.codec == (clip.codec if codec == "same" else codec)
    assert times(target) == pytest.approx(times(source), abs=1e-3 if suffix == ".mkv" else 1e-9)
    assert target.suffix == suffix
    for index in range(2):
        before, after = packets(source, index), packets(target, index)
        assert [data for _, data in after] == [data for _, data in before]
        assert [t for t, _ in after] == pytest.approx([t for t, _ in before], abs=2e-3)
    for before, after in zip(clip.frames(), out.frames(), strict=True):
        assert np.abs(before.rgb.astype(int) - after.rgb).mean() < (0.01 if codec == "ffv1" else 4)


def test_variable_timestamps_stay(tmp_path):
    uneven = [48, 50, 90, 91, 200, 333, 334, 900]
    source = clips.make(tmp_path / "a.mp4", 8, times=uneven, audio=["aac"])
    _, target = written(source, Encoding(), tmp_path)
    assert times(target) == times(source)
    assert times(source)[0] == pytest.approx(0.12)


def test_a_stream_that_begins_anywhere_begins_at_zero_with_its_sound(tmp_path):
    source = clips.make(tmp_path / "a.ts", 8, audio=["aac"], container_options={"output_ts_offset": "10"})
    with av.open(str(source)) as container:
        assert container.start_time > 1_000_000
    _, target = written(source, Encoding(), tmp_path)
    assert target.name == "out.mp4"
    assert times(target) == times(source)
    assert times(target)[0] < 0.1
    assert abs(packets(target, 0)[0][0] - times(target)[0]) < 0.04 + 0.03  # a frame, and the encoder's lead-in


@pytest.mark.parametrize(
    ("form", "codec", "depth"), [("yuv420p10le", "h264", 10), ("yuv422p10le", "hevc", 10), ("yuv420p12le", "hevc", 12)]
)
def test_bit_depth_stays(tmp_path, form, codec, depth):
    source = clips.make(tmp_path / "a.mkv", 4, codec="ffv1", pixel_format=form)
    _, target = written(source, Encoding(codec), tmp_path)
    assert open_clip(target).bit_depth == depth
    assert open_clip(target).pixel_format == form


def test_what_would_lose_bits_or_color_is_refused_and_says_what_would_not(tmp_path):
    clip = open_clip(clips.make(tmp_path / "a.mkv", 2, codec="ffv1", pixel_format="yuv422p12le"))
    with pytest.raises(UnsupportedClipError, match=r"h264 cannot keep its 12 bits.*hevc, ffv1"):
        form_of(clip, Encoding())


@pytest.mark.parametrize("colors", [(2, 1, 1, 1), (1, 9, 16, 9), (1, 9, 18, 9), (2, 2, 2, 2)])
@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1", "ffv1"])
def test_range_and_primaries_stay(tmp_path, colors, codec):
    form = "yuv420p10le" if colors[1] == 9 and codec != "vp9" else "yuv420p"
    source = clips.make(tmp_path / "a.mkv", 3, colors=colors, pixel_format=form)
    assert open_clip(source).colors == colors
    _, target = written(source, Encoding(codec), tmp_path)
    assert open_clip(target).colors == colors


def test_rotation_stays(tmp_path):
    one = 1 << 16
    source = clips.make(tmp_path / "a.mp4", 3, matrix=(0, one, 0, -one, 0, 0, 0, 0, 1 << 30))
    clip, target = written(source, Encoding(), tmp_path)
    assert open_clip(target).orientation == clip.orientation
    assert (open_clip(target).width, open_clip(target).height) == (64, 96)


@pytest.mark.parametrize(("codec", "size"), [("h264", (98, 64)), ("vp9", (97, 63)), ("ffv1", (97, 63))])
def test_an_odd_size_stays_or_grows_by_a_pixel(tmp_path, codec, size):
    source = clips.make(tmp_path / "a.mkv", 3, codec="ffv1", size=(97, 63))
    clip, target = written(source, Encoding(codec), tmp_path)
    out = open_clip(target)
    assert (out.width, out.height) == size
    before, after = next(clip.frames()).rgb, next(out.frames()).rgb
    assert np.abs(before.astype(int) - after[:63, :97]).mean() < 5


def test_nothing_else_of_the_container_comes_along(tmp_path):
    source = tmp_path / "a.mkv"
    told = {"title": "Secret title", "location": "+48.1+011.5/", "comment": "Secret comment", "artist": "Somebody"}
    clips.make(source, 4, audio=["aac"], metadata=told)
    with av.open(str(source)) as container:
        assert "Secret title" in str(container.metadata)
    for encoding in (Encoding(), Encoding("ffv1")):
        _, target = written(source, encoding, tmp_path)
        data = target.read_bytes()
        for secret in (b"Secret", b"+48", b"Somebody"):
            assert secret not in data
        with av.open(str(target)) as container:
            assert set(container.metadata) <= {"encoder", "major_brand", "minor_version", "compatible_brands"}
            assert container.metadata.get("encoder", "Lavf").startswith("Lavf")


def test_sound_is_dropped_where_that_is_asked_for(tmp_path):
    source = clips.make(tmp_path / "a.mp4", 4, audio=["aac"])
    _, target = written(source, Encoding(audio="drop"), tmp_path)
    assert open_clip(target).audio == ()


def test_a_container_that_does_not_take_the_codec_gets_another_name(tmp_path):
    source = clips.make(tmp_path / "a.webm", 4, codec="libvpx-vp9", audio=["libopus"])
    assert form_of(open_clip(source), Encoding()).extension == ".mp4"
    assert form_of(open_clip(source), Encoding("same")).extension == ""


def test_wrong_encodings_are_refused():
    with pytest.raises(UnknownNameError, match="h264"):
        Encoding("h265")
    with pytest.raises(SettingsError, match="0–51"):
        Encoding(quality=52)
    with pytest.raises(UnknownNameError, match="drop"):
        Encoding(audio="mute")
    assert "h264" in codecs()


def test_a_written_clip_that_lacks_a_frame_is_no_clip(tmp_path):
    source = clips.make(tmp_path / "a.mp4", 6, options={"bf": "0"})
    clip = open_clip(source)
    form = form_of(clip, Encoding())
    for wrong in ([0, 16, 32, 48, 64], [0, 16, 32, 48, 64, 80, 96], [0, 16, 32, 48, 64, 81]):
        with pytest.raises(ClipError, match="other frames"):
            writer._verify(source, form, wrong, Fraction(1, 400))
    writer._verify(source, form, [0, 16, 32, 48, 64, 80], Fraction(1, 400))


def test_what_an_encoder_refuses_is_said(tmp_path):
    """SVT-AV1 takes at most 240 frames a second."""
    if "av1" not in codecs():
        pytest.skip("no encoder for AV1 here")
    clip = open_clip(clips.make(tmp_path / "a.mp4", 3, rate=400))
    form = form_of(clip, Encoding("av1"))
    with pytest.raises(UnsupportedClipError, match="refuses 96 x 64 px at 400 frames a second; choose another codec"):
        write_segment(tmp_path / "0", ((f.pts, f.native) for f in clip.frames()), clip, form, Encoding("av1"))


def test_no_encoder_writes_on_the_terminal(tmp_path):
    """In a process of its own: SVT-AV1 looks once what it may say."""
    clips.make(tmp_path / "a.mp4", 3)
    code = (
        "import sys; from pathlib import Path; from anonymize.video.reader import open_clip\n"
        "from anonymize.video.writer import Encoding, codecs, form_of, write_segment\n"
        "clip = open_clip(Path(sys.argv[1]))\n"
        "for name in {*codecs()} - {'mjpeg'}:\n"
        "    encoding = Encoding(name); form = form_of(clip, encoding)\n"
        "    frames = ((f.pts, f.native) for f in clip.frames())\n"
        "    write_segment(sys.argv[1] + name, frames, clip, form, encoding)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "SVT_LOG"}
    ran = subprocess.run([sys.executable, "-c", code, tmp_path / "a.mp4"], capture_output=True, env=environment)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")


def test_a_color_profile_of_a_clip_of_jpegs_stays_behind(tmp_path):
    """Screens' profiles name the machine; FFmpeg would write them into each frame."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        stream = out.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
        for i in range(3):
            data = io.BytesIO()
            Image.fromarray(clips.picture(i, (96, 64))).save(data, "JPEG", icc_profile=profile)
            packet = av.Packet(data.getvalue())
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 10), True
            packet.pts = packet.dts = i
            out.mux(packet)
    assert b"ICC_PROFILE" in (tmp_path / "a.mkv").read_bytes()
    _, target = written(tmp_path / "a.mkv", Encoding("same"), tmp_path)
    assert b"ICC_PROFILE" not in target.read_bytes()
    for before, after in zip(open_clip(tmp_path / "a.mkv").frames(), open_clip(target).frames(), strict=True):
        assert np.abs(before.rgb.astype(int) - after.rgb).mean() < 6
