"""What other networks see: leaks, what to look at, and what is hidden or was rejected."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest

from anonymize import images
from anonymize.audit import close_up, second_look
from anonymize.audit.plate_reader import Reader, Reading
from anonymize.detectors import FakeDetector
from anonymize.errors import WeightsError
from anonymize.records import Record
from anonymize.regions import Region
from anonymize.settings import Settings

SETTINGS = Settings()
NONE = np.zeros((100, 100), np.float32)


def check(*seen: Region, record: Record | None = None, touched: np.ndarray = NONE) -> list[tuple[str, float | None]]:
    return [(f.level, f.score) for f in second_look.check(seen, record, touched, SETTINGS)]


def test_the_surest_come_first_and_each_thing_once() -> None:
    sure, same = Region("face", (10, 10, 40, 50), 0.95), Region("face", (12, 12, 40, 50), 0.6)
    other, faint = Region("plate", (60, 60, 90, 70), 0.5), Region("plate", (0, 90, 9, 95), 0.2)
    assert check(same, other, faint, sure) == [("leak", 0.95), ("look", 0.5)]


def test_what_passes_is_not_called_recognizable_for_certain() -> None:
    sure, doubtful = Region("face", (10, 10, 40, 50), 0.95), Region("plate", (60, 60, 90, 70), 0.47)
    leak, look = second_look.check([sure, doubtful], None, NONE, SETTINGS)
    assert (leak.level, leak.text) == ("leak", "a face can be recognized, 95% sure")
    assert (look.level, look.text) == ("look", "this may be a recognizable plate, 47% sure")


def test_hidden_and_rejected_ones_are_no_alarm() -> None:
    touched = NONE.copy()
    touched[10:50, 10:40] = 1
    seen = Region("face", (10, 10, 40, 50), 0.99)
    assert check(seen, touched=touched) == []
    half = NONE.copy()
    half[10:30, 10:40] = 1
    assert check(seen, touched=half) == [("look", 0.99)]
    assert check(seen, touched=NONE + 0.5) == [("leak", 0.99)]  # a soft edge shows what is under it
    rejected = Record("a.jpg", width=100, height=100, regions=(seen.replace(status="rejected"),))
    assert check(seen, record=rejected) == [("note", 0.99)]


def test_small_things_keep_no_leak_from_being_told() -> None:
    face, speck = Region("face", (10, 10, 60, 80), 0.97), Region("face", (30, 30, 38, 38), 0.98)
    rejected = Record("a.jpg", width=100, height=100, regions=(speck.replace(status="rejected"),))
    assert check(face, record=rejected) == [("leak", 0.97)]
    assert check(face, speck) == [("look", 0.98), ("leak", 0.97)]
    row = [Region("face", (x, y, x + 4, y + 4), 0.98) for y in (85, 92) for x in range(0, 100, 5)]
    levels = [level for level, _ in check(face, *row)]
    assert (levels.count("leak"), levels.count("look")) == (1, second_look.MOST)


def test_a_small_leak_in_a_large_one_does_not_stand_for_it() -> None:
    """The report's picture would show the speck, and a person would hide that alone."""
    small, large = Region("face", (30, 30, 50, 50), 0.99), Region("face", (10, 10, 90, 90), 0.95)
    found = list(second_look.check([large, small], None, NONE, SETTINGS))
    assert [(f.level, f.box) for f in found] == [("leak", small.box), ("leak", large.box)]
    near = Region("face", (12, 12, 88, 90), 0.93)
    assert check(large, small, near) == [("leak", 0.99), ("leak", 0.95)]


def test_small_ones_and_other_kinds_are_no_leak() -> None:
    assert check(Region("face", (10, 10, 20, 20), 0.99)) == [("look", 0.99)]
    assert check(Region("vehicle", (10, 10, 60, 60), 0.99)) == []


def test_networks_that_chose_do_not_look_alone() -> None:
    looker = second_look.choose(["retinaface-mobilenet", "centerface"], SETTINGS, names=["tests.support.cli:Faces"])
    assert list(looker.weights) == ["faces"]
    photo = images.from_array(np.zeros((50, 60, 3), np.uint8))
    assert [r.kind for r in second_look.look(photo, looker, SETTINGS)] == ["face", "screen"]
    assert second_look.look(photo, second_look.Looker((), {}), SETTINGS) == []


def test_every_view_of_a_photo_is_looked_at() -> None:
    """What is transparent is seen on white and on black, too."""
    looker = second_look.Looker((FakeDetector([Region("face", (1, 1, 20, 20), 0.8)]),), {})
    photo = images.from_array(np.zeros((50, 60, 4), np.uint8))
    assert len(second_look.look(photo, looker, SETTINGS)) == 1


def test_a_kind_that_no_other_network_looked_for_is_not_called_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence of the networks that hid it, or of none, is no finding."""

    def create(spec: str, *_: object, **__: object) -> FakeDetector:
        if any(name in spec for name in lacking):
            raise WeightsError(f"cannot get the weights of {spec}. offline")
        return FakeDetector([], spec)

    monkeypatch.setattr(second_look, "create", create)
    monkeypatch.setattr(close_up, "create", create)
    lacking = ("mtcnn", "yunet", "r50", "resnet50")
    used = ["retinaface-mobilenet", "centerface", "street", "plates"]
    assert second_look.choose(used, SETTINGS).unchecked == {
        "face": "only networks that chose what was hidden, at another size"
    }
    assert second_look.choose(["street"], SETTINGS).unchecked == {}
    lacking = ("yunet", "r50", "resnet50")
    looker = second_look.choose(used, SETTINGS)  # one did not choose, so the kind is checked; of the other it is said
    assert (looker.unchecked, looker.again) == ({}, {"retinaface-mobilenet@896"})
    assert "faces: mtcnn, retinaface-mobilenet (which chose, too; at another size)" in looker.said
    lacking = ("mtcnn", *lacking)
    lacking = (*lacking, "retinaface", "centerface", "street")
    assert second_look.choose(used, SETTINGS).unchecked == {"face": "no network could be had"}


def test_a_plate_that_can_be_read_is_a_leak_and_a_lamp_that_networks_take_for_one_is_looked_at() -> None:
    plate = Region("plate", (10, 10, 60, 30), 0.99)

    def said(score: float, text: str, sure: float = 0.6, box: tuple[float, float, float, float] = plate.box) -> str:
        region = plate.replace(score=score, box=box)
        found = second_look.check([region], None, NONE, SETTINGS, lambda _: [Reading(text, sure)])
        (finding,) = found
        return finding.level

    assert said(0.99, "") == "look"  # a lamp, a logo
    assert said(0.998, "") == "leak"
    assert said(0.999, "", box=(10, 10, 250, 70)) == "look"  # as large as the reader needs: a sticker, a word on a wall
    assert said(0.999, "AB123", box=(10, 10, 250, 70)) == "leak"
    assert said(0.81, "AB123") == "leak"
    assert said(0.9, "260") == "look"  # a truck's model
    assert said(0.985, "F99") == "leak"
    assert said(0.99, "TOYOTA", 0.99) == "look"
    assert said(0.95, "OHAUS4RAD", 0.99) == "look"  # on a firm's car
    assert said(0.99, "POLICE131444", 0.99) == "look"
    assert said(0.5, "B52CNW", 0.95) == "leak"
    assert said(0.5, "B52CNW", 0.6) == "look"
    assert said(0.99, "AB123", box=(10, 10, 30, 32)) == "leak"  # of two lines
    assert said(0.998, "", box=(10, 10, 30, 32)) == "look"
    assert said(0.99, "AB123", box=(10, 10, 30, 16)) == "look"  # too small


def test_a_plate_of_two_lines_is_read_line_by_line() -> None:
    rows = np.arange(40, dtype=np.uint8)[:, None, None].repeat(60, 1).repeat(3, 2)
    seen = []

    def reader(piece: np.ndarray) -> Reading:
        seen.append((int(piece[0, 0, 0]), len(piece)))
        return Reading("", 0.0)

    read = second_look.reading(rows, second_look.Looker((), {}, reader=cast(Reader, reader)))
    assert read is not None
    read(Region("plate", (0, 0, 60, 40), 0.9))
    assert seen[-2:] == [(0, 20), (20, 20)]
    seen.clear()
    read(Region("plate", (0, 10, 60, 20), 0.9))
    assert len(seen) == len(second_look.CROPS)


def test_without_a_reader_the_networks_word_counts() -> None:
    plate = Region("plate", (10, 10, 60, 30), 0.96)
    assert second_look.reading(np.zeros((40, 70, 3), np.uint8), second_look.Looker((), {})) is None
    assert check(plate) == [("leak", 0.96)]


def test_close_ups_decide_what_the_first_look_only_suspects() -> None:
    face, plate = Region("face", (10, 10, 40, 50), 0.99), Region("plate", (10, 10, 60, 30), 0.999)

    def said(region: Region, odds: float | None, *read: Reading) -> str:
        found = list(second_look.check([region], None, NONE, SETTINGS, lambda _: list(read), lambda _: odds))
        return found[0].level if found else "nothing"

    bars = second_look.CLOSE
    assert said(face, bars.face) == said(face.replace(score=0.5), bars.face) == "leak"
    assert said(face, bars.face - 0.1) == said(face, -3.0) == "look"
    assert said(face, -5.0) == "nothing"  # a wheel
    assert said(face.replace(box=(10, 10, 20, 24)), 5.0) == "look"  # too small
    assert said(face, None) == "leak"  # no network is shown close-ups: votes count
    assert said(plate, bars.unread) == "leak"
    assert said(plate, bars.unread - 0.1) == said(plate, -9.0) == "look"
    large = plate.replace(box=(10, 10, 250, 70))  # it would be read
    assert (said(large, bars.tall), said(large, bars.tall - 0.1)) == ("leak", "look")
    assert said(plate, 3.0, Reading("NEWS", 0.95)) == "look"  # a name's frame, a brand
    assert said(plate, 3.0, Reading("NEWS", 0.6)) == "leak"
    well, long, short = Reading("B52CNW", 0.95), Reading("B52CNW", 0.6), Reading("B52C", 0.95)
    for reading, bar in ((well, bars.well), (long, bars.long), (short, bars.short)):
        assert (said(plate, bar, reading), said(plate, bar - 0.1, reading)) == ("leak", "look")


def test_after_many_leaks_votes_count() -> None:
    """A folder of originals shows hundreds: a photo does not wait for a close-up of each."""
    asked = []
    row = [Region("face", (x, y, x + 17, y + 17), 0.98) for y in range(0, 80, 18) for x in range(0, 80, 18)]
    found = second_look.check(row, None, NONE, SETTINGS, None, lambda r: asked.append(r) or 5.0)
    assert [f.level for f in found] == ["leak"] * 25
    assert len(asked) == second_look.MOST
