import threading

import numpy as np
import pytest

from anonymize.errors import ChangedSourceError, ClipError, DetectionError, StoppedError
from anonymize.predictor import Predictor
from anonymize.settings import Settings
from anonymize.video import passes
from anonymize.video.passes import detect, render
from anonymize.video.planes import samples
from anonymize.video.reader import open_clip
from anonymize.video.writer import Encoding
from tests.support import clips


@pytest.fixture(autouse=True)
def _short_segments(monkeypatch):
    monkeypatch.setattr(passes, "FRAMES_A_SEGMENT", 4)


def both(source, folder, *, detector=None, encoding=Encoding(), settings=Settings(), every=1, **told):
    predictor = Predictor(settings, detectors=[detector or clips.BarDetector()])
    clip = open_clip(source)
    record = detect(clip, source.name, predictor, folder / "parts", every=every, **told)
    return record, render(clip, record, folder / f"out{source.suffix}", settings, encoding, folder / "parts", **told)


def test_in_no_frame_what_was_found_can_be_seen(tmp_path):
    source = clips.make(tmp_path / "a.mp4", 14)
    record, out = both(source, tmp_path)
    assert record.frames == record.searched == 14
    before, after = list(open_clip(source).frames()), list(open_clip(out).frames())
    assert [f.pts for f in after] == [f.pts for f in before]
    assert all(clips.bar(f.rgb) for f in before)
    assert not any(clips.bar(f.rgb) for f in after)


def test_what_a_detector_misses_in_some_frames_is_hidden_in_them(tmp_path):
    source = clips.make(tmp_path / "a.mp4", 14)
    _, out = both(source, tmp_path, detector=clips.BarDetector(blind=[5, 6, 9]))
    assert not any(clips.bar(f.rgb) for f in open_clip(out).frames())


def test_lossless_outside_of_masks(tmp_path):
    source = clips.make(tmp_path / "a.mp4", 6)
    record, out = both(source, tmp_path, encoding=Encoding("ffv1"))
    for before, after in zip(open_clip(source).frames(), open_clip(out).frames(), strict=True):
        (region,) = record.regions_at(before.index, Settings())
        x1, y1, x2, y2 = region.pad(0.2).box
        for old, new in zip(samples(before.native), samples(after.native), strict=True):
            changed = np.argwhere(old != new) * (64 // old.shape[0])
            assert len(changed)
            assert (changed.min(axis=0) >= np.array([y1 - 12, x1 - 12])).all()
            assert (changed.max(axis=0) <= np.array([y2 + 12, x2 + 12])).all()


@pytest.mark.parametrize("after", [1, 3, 4, 9, 13])
@pytest.mark.parametrize("name", ["detect", "render"])
def test_stopped_and_called_again_it_gives_the_same(tmp_path, name, after):
    source, lossless = clips.make(tmp_path / "a.mp4", 14), Encoding("ffv1")  # x264 is not always the same to the byte
    _, undisturbed = both(source, tmp_path / "one", encoding=lossless)
    stop, detector = threading.Event(), clips.BarDetector()

    def told(step):
        if step.name == name and step.frame == after:
            stop.set()

    with pytest.raises(StoppedError):
        both(source, tmp_path / "two", detector=detector, encoding=lossless, progress=told, stop=stop)
    assert not (tmp_path / "two" / "out.mp4").exists()
    _, out = both(source, tmp_path / "two", detector=detector, encoding=lossless)
    assert out.read_bytes() == undisturbed.read_bytes()
    searched_twice = after % 4 if name == "detect" else 0
    assert detector.seen == 14 + searched_twice


def test_rendered_again_with_other_settings_nothing_is_detected(tmp_path):
    source, detector = clips.make(tmp_path / "a.mp4", 6), clips.BarDetector()
    record, out = both(source, tmp_path, detector=detector)
    seen = detector.seen
    unhidden = Settings().with_kind("plate", threshold=0.95)
    render(open_clip(source), record, out, unhidden, Encoding(), tmp_path / "parts")
    assert all(clips.bar(f.rgb) for f in open_clip(out).frames())
    assert detector.seen == seen


def test_a_clip_that_changed_since_is_refused(tmp_path):
    source = clips.make(tmp_path / "a.mp4", 6)
    record, out = both(source, tmp_path)
    out.unlink()
    clips.make(source, 7)
    with pytest.raises(ChangedSourceError):
        render(open_clip(source), record, out, Settings(), Encoding(), tmp_path / "parts")
    assert not out.exists()


def test_fewer_frames_than_were_searched_are_no_clip(tmp_path):
    source = clips.make(tmp_path / "a.mp4", 6)
    record, out = both(source, tmp_path)
    out.unlink()
    for frames in (5, 7):
        with pytest.raises((ChangedSourceError, DetectionError)):
            render(open_clip(source), record.replace(frames=frames), out, Settings(), Encoding(), tmp_path / "parts")
    assert not out.exists()


def test_as_many_frames_that_are_others_are_no_clip(tmp_path, monkeypatch):
    source = clips.make(tmp_path / "a.mp4", 9)
    clip = open_clip(source)
    record = detect(clip, "a.mp4", Predictor(Settings(), detectors=[clips.BarDetector()]), tmp_path / "parts", every=1)
    other = open_clip(clips.make(tmp_path / "b.mp4", 9, pictures=[clips.picture(n + (n > 6)) for n in range(9)]))
    monkeypatch.setattr(passes.Clip, "frames", lambda _self, *_, of=passes.Clip.frames: of(other))  # as if damaged
    with pytest.raises(ChangedSourceError, match="read otherwise"):
        render(clip, record, tmp_path / "out.mp4", Settings(), Encoding(), tmp_path / "parts")
    assert not (tmp_path / "out.mp4").exists()
    assert not list((tmp_path / "parts").glob("frames-*"))


def test_nobody_looked_is_not_nothing_found(tmp_path):
    source = clips.make(tmp_path / "a.mp4", 6)
    record, out = both(source, tmp_path)
    out.unlink()
    for wrong in (record.replace(detectors={}), record.replace(error="it failed")):
        with pytest.raises(DetectionError):
            render(open_clip(source), wrong, out, Settings(), Encoding(), tmp_path / "parts")
    assert not out.exists()


def test_a_detector_that_fails_leaves_no_clip(tmp_path):
    class Failing(clips.BarDetector):
        def detect(self, images):
            if self.seen == 9:
                raise RuntimeError("out of order")
            return super().detect(images)

    with pytest.raises(DetectionError):
        both(clips.make(tmp_path / "a.mp4", 14), tmp_path, detector=Failing())
    assert not (tmp_path / "out.mp4").exists()


def test_a_cut_off_clip_gives_what_is_whole_and_says_so(tmp_path):
    whole = clips.make(tmp_path / "whole.mkv", 50, size=(320, 240), options={"bf": "0", "g": "10"})
    source = tmp_path / "a.mkv"
    source.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    record, out = both(source, tmp_path)
    assert 4 < record.frames < 50
    assert [w.split(":")[0] for w in record.warnings] == ["incomplete"]
    after = list(open_clip(out).frames())
    assert len(after) == record.frames
    assert not any(clips.bar(f.rgb) for f in after)


def test_no_frames_at_all_is_an_error(tmp_path):
    source = tmp_path / "a.mp4"
    whole = clips.make(tmp_path / "whole.mp4", 6, container_options={"movflags": "faststart"}).read_bytes()
    source.write_bytes(whole[: whole.index(b"mdat") + 4])
    with pytest.raises(ClipError):
        open_clip(source)


def test_a_frame_rate_that_is_nonsense_lets_no_frame_go(tmp_path, monkeypatch):
    monkeypatch.setattr(passes, "FRAMES_A_SEGMENT", 250)
    times = np.cumsum([33, 34, 33] * 20).tolist()  # ms; as browsers record, so that the file says 1,000 frames a second
    still = clips.picture(4)
    blank = still.copy()
    blank[16:32] = 90
    shown = [still if 20 <= n < 40 else blank for n in range(60)]
    source = clips.make(tmp_path / "a.mkv", 60, rate=1000, ticks=1, times=times, pictures=shown)
    assert open_clip(source).frame_rate == 1000
    record, out = both(source, tmp_path, every="auto")
    assert not any(clips.bar(f.rgb) for f in open_clip(out).frames())
    assert 29 < record.frame_rate < 31
    assert record.searched < 60


def test_a_kind_that_was_not_followed_is_no_clip(tmp_path):
    source = clips.make(tmp_path / "a.mp4", 6)
    record, out = both(source, tmp_path)
    out.unlink()
    with pytest.raises(DetectionError, match="screen"):
        render(open_clip(source), record, out, Settings().with_kind("screen"), Encoding(), tmp_path / "parts")
    assert not out.exists()


def test_another_name_for_what_is_hidden_is_an_error(tmp_path):
    source = clips.make(tmp_path / "a.mp4", 4)
    record, out = both(source, tmp_path)
    wrong = record.replace(tracks=tuple(t.replace(kind=t.kind.title(), id="") for t in record.tracks))
    assert wrong.tracks
    with pytest.raises(DetectionError, match="calls a"):
        render(open_clip(source), wrong, out, Settings(), Encoding(), tmp_path / "parts")
