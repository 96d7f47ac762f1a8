import numpy as np
import pytest

from anonymize.errors import DetectionError, SettingsError
from anonymize.predictor import Predictor
from anonymize.settings import Settings
from anonymize.video.live import Live
from tests.support import clips


class Scripted(clips.BarDetector):
    """The bar with a score for each frame; 0: nothing is found."""

    def __init__(self, scores):
        super().__init__()
        self._scores = scores

    def detect(self, images):
        score = self._scores[min(self.seen, len(self._scores) - 1)]
        (found,) = super().detect(images)
        return [[r.replace(score=score) for r in found] if score else []]


def answers(scores, **given):
    live = Live(Predictor(Settings(), detectors=[Scripted(scores)]), 96, 64, 25, **given)
    out = [live.add(clips.picture(i)) for i in range(len(scores))]
    return [*out, live.finish()]


def hides(regions, index):
    """Whether these regions cover the bar of a drawn frame."""
    x1, y1, x2, y2 = clips.bar(clips.picture(index))
    seen = np.zeros((64, 96), bool)
    for r in regions:
        a, b, c, d = r.pixels(96, 64) if hasattr(r, "pixels") else map(int, r.box)
        seen[b:d, a:c] = True
    return bool(seen[y1:y2, x1:x2].all())


def test_each_frame_has_one_answer_in_order_at_once():
    found = answers([0.9] * 8)
    assert [len(a) for a in found] == [1] * 8 + [0]
    assert all(hides(a[0], i) for i, a in enumerate(found[:-1]))


def test_a_gap_is_closed_at_once():
    found = answers([0.9, 0.9, 0.9, 0, 0, 0.9])
    assert all(hides(a[0], i) for i, a in enumerate(found[:-1]))


def test_what_comes_later_is_hidden_before_where_frames_wait():
    scores = [0, 0, 0, 0.9, 0.9, 0.9, 0.9, 0.9]
    (first,) = answers(scores)[0]
    assert not first
    found = answers(scores, ahead=4, step=2)
    assert [len(a) for a in found] == [0, 0, 0, 0, 0, 2, 0, 2, 4]
    assert all(hides(r, i) for i, r in enumerate(r for a in found for r in a))


def test_a_doubtful_one_stays_hidden_long_after_it_was_sure():
    scores = [0.9] * 5 + [0.05] * 40
    live = Live(Predictor(Settings(), detectors=[Scripted(scores)]), 96, 64, 5)  # history: ten frames
    still = clips.picture(3)
    found = [live.add(still)[0] for _ in scores]
    assert all(hides(r, 3) for r in found)
    assert not Live(Predictor(Settings(), detectors=[Scripted([0.05])]), 96, 64, 5).add(still)[0]


def test_a_detector_that_fails_gives_no_answer():
    class Failing(clips.BarDetector):
        def detect(self, images):
            raise RuntimeError("out of order")

    live = Live(Predictor(Settings(), detectors=[Failing()]), 96, 64, 25)
    with pytest.raises(DetectionError):
        live.add(clips.picture(0))


def test_a_threshold_that_no_track_reaches_is_refused():
    low = Settings().with_kind("plate", threshold=0.005)
    with pytest.raises(SettingsError, match="nothing is followed below"):
        Live(Predictor(low, detectors=[clips.BarDetector()]), 96, 64, 25)
