import numpy as np
import pytest
from PIL import Image

from anonymize import images
from anonymize.errors import DetectionError, UnsupportedImageError
from anonymize.predictor import Predictor
from anonymize.settings import Settings
from anonymize.web import api_streams
from anonymize.web.api_streams import Streams
from tests.support import clips


def send(streams, predictor, index=0, *, key=("ann", "gate"), size=clips.SIDE, rate=25.0):
    return streams.add(key, images.from_array(clips.picture(index, size)), predictor, rate)


def predictor(blind=()):
    return Predictor(Settings(), detectors=[clips.BarDetector(blind)])


def test_what_was_seen_before_is_hidden_where_it_is_missed():
    streams, one = Streams(), predictor(blind=[3, 4])
    found = [send(streams, one, i) for i in range(6)]
    assert [number for number, _ in found] == list(range(6))
    for i, (_, regions) in enumerate(found):
        x1, y1, x2, y2 = clips.bar(clips.picture(i))
        assert any(a <= x1 and b <= y1 and c >= x2 and d >= y2 for a, b, c, d in (r.box for r in regions)), i


def test_streams_of_two_names_or_people_are_two():
    streams, one = Streams(), predictor()
    for key in (("ann", "gate"), ("ann", "yard"), ("bob", "gate")):
        assert send(streams, one, key=key)[0] == 0
    assert send(streams, one, 1)[0] == 1


def test_another_size_begins_anew():
    streams, one = Streams(), predictor()
    send(streams, one)
    assert send(streams, one, 1)[0] == 1
    assert send(streams, one, 2, size=(128, 96))[0] == 0


def test_a_failure_has_no_answer_and_the_stream_begins_anew():
    class Failing(clips.BarDetector):
        def detect(self, images):
            if self.seen == 1:
                self.seen += 1
                raise RuntimeError("out of order")
            return super().detect(images)

    streams, one = Streams(), Predictor(Settings(), detectors=[Failing()])
    send(streams, one)
    with pytest.raises(DetectionError):
        send(streams, one, 1)
    assert send(streams, one, 2)[0] == 0


def test_silent_streams_go_and_so_do_too_many(monkeypatch):
    monkeypatch.setattr(api_streams, "MOST", 2)
    streams, one = Streams(), predictor()
    for name in "abc":
        send(streams, one, key=("", name))
    assert {name for _, name in streams._by_key} == {"b", "c"}
    monkeypatch.setattr(api_streams, "IDLE", -1.0)
    send(streams, one, key=("", "d"))
    assert {name for _, name in streams._by_key} == {"d"}


def test_transparency_is_no_camera():
    photo = images.from_array(np.zeros((64, 96, 4), np.uint8))
    with pytest.raises(UnsupportedImageError):
        Streams().add(("", "a"), photo, predictor(), 25.0)


class Looking(clips.BarDetector):
    """Keeps what it was shown."""

    shown = ()

    def detect(self, images):
        self.shown = list(images)
        return super().detect(images)


def test_what_shows_through_one_transparent_color_is_no_camera(tmp_path):
    """It is seen only on white or black, where no detector would look."""
    picture = Image.fromarray(clips.picture(0))
    picture.save(tmp_path / "keyed.png", transparency=picture.getpixel((0, 0)))
    photo = images.load(tmp_path / "keyed.png", Settings())
    assert photo.mode == "RGB"
    with pytest.raises(UnsupportedImageError):
        Streams().add(("", "a"), photo, predictor(), 25.0)


def test_few_bits_stored_in_sixteen_are_not_black():
    looking = Looking()
    deep = images.from_array(clips.picture(0).astype(np.uint16))
    (_, regions) = Streams().add(("", "a"), deep, Predictor(Settings(), detectors=[looking]), 25.0)
    assert (looking.shown[0] == clips.picture(0)).all()
    assert regions
