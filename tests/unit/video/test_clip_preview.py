"""The small copy that people look at: every frame is the one that was asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anonymize import Predictor
from anonymize.errors import ClipError, StoppedError
from anonymize.video.clip_preview import LONG_SIDE, plays, write_preview, writing
from anonymize.video.passes import detect
from anonymize.video.reader import Frame, open_clip
from tests.support import clips


@pytest.mark.parametrize(
    "times", [None, [1600 + 16 * i + (i % 3) * 5 for i in range(40)]], ids=["even", "uneven, from 4 s on"]
)
def test_each_frame_is_had_by_its_number(tmp_path: Path, times: list[int] | None) -> None:
    clip = open_clip(clips.make(tmp_path / "a.mp4", 40, size=(128, 64), times=times))
    preview = write_preview(tmp_path / "preview.mp4", clip)
    for number in (0, 1, 23, 24, 25, 39):
        found = clips.bar(preview.still(number))
        assert found is not None
        assert abs(found[0] - (8 + 2 * number)) <= 1
        assert preview.seconds(number) == pytest.approx(list(clip.frames())[number].seconds)
    with pytest.raises(ClipError, match="frames 0 to 39"):
        preview.still(40)


def test_it_shows_the_clip_upright_and_small(tmp_path: Path) -> None:
    turned = clips.make(tmp_path / "a.mp4", 3, size=(96, 64), matrix=[0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30])
    clip = open_clip(turned)
    preview = write_preview(tmp_path / "preview.mp4", clip)
    assert preview.still(0).shape == (clip.height, clip.width, 3)
    large = np.zeros((1000, 2001, 3), np.uint8)
    clip = open_clip(clips.make(tmp_path / "b.mkv", 1, size=(2001, 1000), codec="ffv1", pictures=[large]))
    assert write_preview(tmp_path / "preview.mp4", clip).still(0).shape == (640, LONG_SIDE, 3)


def test_it_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    clip, target = open_clip(clips.make(tmp_path / "a.mp4")), tmp_path / "out" / "preview.mp4"
    seen: list[int] = []

    def see(frame: Frame) -> None:
        seen.append(frame.index)
        if frame.index == 3:
            raise StoppedError("stopped")

    with pytest.raises(StoppedError):
        write_preview(target, clip, see)
    assert seen == [0, 1, 2, 3]
    assert not list(target.parent.iterdir())


def test_frames_are_seen_as_they_are_searched(tmp_path: Path) -> None:
    clip, seen = open_clip(clips.make(tmp_path / "a.mp4")), list[int]()
    with writing(tmp_path / "preview.mp4", clip) as writer:

        def see(frame: Frame) -> None:
            seen.append(frame.index)
            writer.add(frame)

        detect(clip, "a.mp4", Predictor(detectors=[clips.BarDetector()]), tmp_path / "parts", seen=see)
    assert seen == list(range(8))
    assert len(writer.preview.times) == 8


def test_what_browsers_play(tmp_path: Path) -> None:
    assert plays(clips.make(tmp_path / "a.mp4"))
    assert not plays(clips.make(tmp_path / "a.mkv"))
    assert not plays(clips.make(tmp_path / "b.mp4", codec="libx265"))
    assert not plays(clips.make(tmp_path / "c.mp4", pixel_format="yuv420p10le"))
