import numpy as np
import pytest

from anonymize.errors import ClipError
from anonymize.video.orientation import Orientation
from anonymize.video.reader import open_clip
from tests.support import clips


def bar(rgb):
    """Where the bright bar of a drawn frame begins, px."""
    return int(np.argmax(rgb[rgb.shape[0] * 3 // 8, :, 2] > 180))


def test_frames_come_in_order_with_their_numbers_and_times(tmp_path):
    clip = open_clip(clips.make(tmp_path / "a.mp4", 8))
    frames = list(clip.frames())
    assert [f.index for f in frames] == list(range(8))
    assert [f.seconds for f in frames] == pytest.approx([i / 25 for i in range(8)])
    assert [bar(f.rgb) for f in frames] == pytest.approx([8 + 2 * i for i in range(8)], abs=1)
    assert (clip.width, clip.height, clip.frame_rate, clip.codec, clip.bit_depth) == (96, 64, 25, "h264", 8)


def test_a_start_leaves_out_the_frames_before_it(tmp_path):
    clip = open_clip(clips.make(tmp_path / "a.mp4", 8))
    late = list(clip.frames(5))
    assert [f.index for f in late] == [5, 6, 7]
    assert bar(late[0].rgb) == pytest.approx(18, abs=1)


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("mirror", [False, True])
def test_frames_are_upright(tmp_path, turns, mirror):
    a, b, c, d = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)][turns]
    turned = Orientation(-a, -b, c, d) if mirror else Orientation(a, b, c, d)
    clip = open_clip(clips.make(tmp_path / "a.mp4", 2, matrix=turned.matrix()))
    assert clip.orientation == turned
    assert (clip.width, clip.height) == ((64, 96) if turns % 2 else (96, 64))
    frame = next(clip.frames())
    straight = clips.picture(0)
    expected = np.rot90(straight[:, ::-1] if mirror else straight, -turns)
    assert np.abs(frame.rgb.astype(int) - expected).mean() < 6


def test_what_is_no_clip_is_an_error_that_says_why(tmp_path):
    text = tmp_path / "a.mp4"
    text.write_text("no clip")
    with pytest.raises(ClipError, match="cannot be read"):
        open_clip(text)
    with pytest.raises(ClipError, match="no such file"):
        open_clip(tmp_path / "b.mp4")


def test_a_playlist_opens_no_other_file(tmp_path):
    clips.make(tmp_path / "a.ts", 4)
    playlist = tmp_path / "a.m3u8"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(ClipError):
        open_clip(playlist)
