"""A closer look: where it is taken, how the pieces lie in one picture, and what comes back of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from anonymize.detectors import FakeDetector, Image
from anonymize.detectors.calibrated import Calibrated, Calibration
from anonymize.detectors.closer import TALL, Closer, places, together
from anonymize.detectors.detections import Detections
from anonymize.detectors.ensemble import Ensemble, combine
from anonymize.detectors.pages import Place
from anonymize.errors import DetectionError, SettingsError
from anonymize.regions import Region
from anonymize.settings import Settings

S = Settings()
SIZE = (960, 640)
IMAGE = np.zeros((640, 960, 3), np.uint8)


def region(kind: str, box: Sequence[float], score: float = 0.5) -> Region:
    x1, y1, x2, y2 = box
    return Region(kind, (x1, y1, x2, y2), score, {"first": score})


class Bright(FakeDetector):
    """Finds the white rectangle in each of its pictures, and keeps these."""

    def __init__(self, kind: str = "face") -> None:
        super().__init__(name=f"bright@{SIZE[0]}")
        self.kind, self.kinds, self.seen = kind, frozenset({kind}), list[Image]()

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        out = []
        for image in images:
            self.seen.append(image)
            y, x = np.nonzero((image == 255).all(axis=2))
            box = (float(x.min()), float(y.min()), float(x.max()) + 1, float(y.max()) + 1) if len(x) else None
            out.append([Region(self.kind, box, 0.9, {self.name: 0.9})] if box else [])
        return out


def closer(inner: FakeDetector, side: int = 960, kind: str = "face") -> Closer:
    return Closer([(side, Calibrated(inner, {kind: Calibration(0.0, 1.0)}, side))], S)


def windows(some: Sequence[Region], *kinds: str) -> list[tuple[int, int, int, int]]:
    return [place.window for place in places(Detections.of(some), kinds, SIZE, SIZE[0])]


def test_where_something_may_be_is_looked_at_again_with_what_is_around_it():
    (around,) = windows([region("face", (100, 100, 110, 120))], "face")
    assert around[0] < 90
    assert around[3] > 130
    assert windows([region("face", (100, 100, 110, 120))], "plate") == []
    assert windows([region("face", (100, 100, 110, 120), 0.001)], "face") == []
    assert windows([region("id-card", (100, 100, 110, 120))], "id-card") == []
    (edge,) = windows([region("face", (-2, 600, 10, 639))], "face")
    assert edge[0] == 0
    assert edge[3] == SIZE[1]


@pytest.mark.parametrize(("tall", "scale"), [(20, 2.0), (30, 1.0), (90, 0.5), (200, 0.125)])
def test_what_is_larger_is_shown_smaller(tall: int, scale: float):
    found = Detections.of([region("face", (100, 100, 100 + tall, 100 + tall))])
    (place,) = places(found, {"face"}, SIZE, 2 * SIZE[0])
    assert place.scale == scale
    assert tall * scale <= TALL["face"]


def test_faces_are_looked_for_at_the_heads_of_persons_and_plates_on_vehicles():
    person, vehicle = region("person", (100, 100, 140, 220)), region("vehicle", (400, 300, 560, 400))
    (head,) = windows([person, vehicle], "face")
    assert head[1] < 100
    assert 120 < head[3] < 200
    (car,) = windows([person, vehicle], "plate")
    assert (car[0] < 400, car[1] < 300, car[2] > 560, car[3] > 400) == (True,) * 4
    assert len(windows([person, vehicle], "face", "plate")) == 2


def test_windows_that_show_the_same_become_one():
    assert together([(0, 0, 100, 100), (10, 10, 90, 90), (300, 0, 320, 20)]) == [(0, 0, 100, 100), (300, 0, 320, 20)]
    assert together([(0, 0, 100, 100), (50, 0, 150, 100)]) == [(0, 0, 150, 100)]


def test_no_window_grows_by_joining_beyond_a_page_but_what_lies_within_another_goes():
    near = [(0, 0, 100, 100), (50, 0, 150, 100), (10, 10, 90, 90)]
    assert sorted(together(near, 120)) == [(0, 0, 100, 100), (50, 0, 150, 100)]
    assert together([(0, 0, 300, 300), (20, 20, 100, 100)], 120) == [(0, 0, 300, 300)]


@pytest.mark.parametrize("side", [960, 1920])
def test_what_a_piece_shows_comes_back_in_the_photos_pixels(side: int):
    image = IMAGE.copy()
    image[400:420, 700:740] = 255
    inner = Bright()
    found = (
        closer(inner, side)
        .at([[Place(w, side / 960) for w in ((20, 30, 120, 90), (680, 380, 760, 440))]])
        .detect([image])
    )
    assert inner.seen[0].size < 0.5 * image.size * (side / 960) ** 2
    assert np.allclose(found[0][0].box, (700, 400, 740, 420), atol=1.5)


def test_nowhere_to_look_is_no_look():
    inner = Bright()
    assert closer(inner).at([[]]).detect([IMAGE]) == [[]]
    assert inner.seen == []


def test_alone_it_looks_at_the_whole_photo():
    image = IMAGE.copy()
    image[400:420, 700:740] = 255
    (found,) = closer(Bright()).detect([image])
    assert np.allclose(found[0].box, (700, 400, 740, 420), atol=1)


def test_a_photo_is_seen_at_as_many_scales_as_it_has_detail_for():
    small, large = Bright(), Bright()
    calibrated = [Calibrated(d, {"face": Calibration(0.0, 1.0)}, n) for d, n in ((small, 320), (large, 640))]
    both = Closer([(320, calibrated[0]), (640, calibrated[1])], S)
    assert both.name == "closer:bright@320-640"
    for width, looks in ((400, (1, 0)), (800, (1, 1))):
        both.at([[Place((0, 0, 40, 40), 1.0)]]).detect([np.zeros((200, width, 3), np.uint8)])
        assert (len(small.seen), len(large.seen)) == looks
        assert both.input_side(width) == (640 if looks[1] else 320)


def test_the_height_that_a_piece_shows_is_what_the_score_is_calibrated_by():
    image = IMAGE.copy()
    image[400:464, 700:764] = 255
    calibration = Calibration(0.0, 1.0, size=1.0)
    detector = Closer([(960, Calibrated(Bright(), {"face": calibration}, 960))], S)
    for scale in (0.5, 1.0):
        (found,) = detector.at([[Place((640, 340, 840, 540), scale)]]).detect([image])
        assert found[0].score == pytest.approx(calibration.probability(0.9, 64 * scale), abs=0.02)


def test_an_ensemble_says_where_and_silence_counts_only_there():
    first = FakeDetector(
        [region("face", (100, 100, 130, 140), 0.5), region("face", (500, 200, 700, 420), 0.004)], "first"
    )
    inner = Bright()
    found = Ensemble([first, closer(inner)], S).detect([IMAGE])[0]
    assert len(inner.seen) == 1
    scores = {round(r.box[0]): r.score for r in found}
    assert scores[500] == pytest.approx(0.004)  # nobody looked there again
    assert scores[100] == pytest.approx(combine([0.5], absent=1))


def test_a_closer_look_that_fails_is_no_empty_answer():
    class Broken(Bright):
        def detect(self, images: Sequence[Image]) -> list[list[Region]]:
            raise ValueError("broken")

    first = FakeDetector([region("face", (100, 100, 130, 140))], "first")
    with pytest.raises(DetectionError, match="broken"):
        Ensemble([first, closer(Broken())], S).detect([IMAGE])


def test_where_nobody_looks_first_nobody_looks_closer():
    plates = closer(Bright("plate"), kind="plate")
    coarse = Bright("vehicle")
    coarse.name = "coco"
    assert Ensemble([coarse, plates], S).kinds == {"vehicle", "plate"}
    for others in ([], [Bright("face")]):
        with pytest.raises(SettingsError, match="where a plate may be"):
            Ensemble([*others, plates], S)
