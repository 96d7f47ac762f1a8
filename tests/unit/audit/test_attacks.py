"""Attacks: what they can undo, whom they recognize, and that neither is claimed where nothing is left."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from anonymize import effects
from anonymize.audit import attacks
from anonymize.audit.plate_reader import Reader, Reading, distance, is_same
from anonymize.audit.rest_risk import MEASURED, of_batch, of_photo, wilson
from anonymize.records import Record
from anonymize.regions import Region
from anonymize.settings import Settings

PLATE = Region("plate", (20, 20, 120, 44), 0.9)


def written(text: str = "AB1234") -> np.ndarray:
    out = np.full((64, 140, 3), 255, np.uint8)
    cv2.putText(out, text, (24, 40), cv2.FONT_HERSHEY_SIMPLEX, 0.75, (0, 0, 0), 2)
    return out


class Matching:
    """Reads a crop that is nearly the one that it knows."""

    def __init__(self, known: np.ndarray) -> None:
        self.known = known.astype(float)

    def __call__(self, rgb: np.ndarray) -> Reading:
        same = rgb.shape == self.known.shape and float(np.abs(rgb - self.known).mean()) < 20
        return Reading("AB1234", 0.97) if same else Reading("", 0.0)


def test_a_known_blur_is_undone() -> None:
    sharp = written()
    soft = cv2.GaussianBlur(sharp, (0, 0), 2.0)
    again = attacks.deconvolved(soft, 2.0)
    error = lambda image: float(np.abs(image.astype(float) - sharp).mean())  # noqa: E731
    assert error(again) < 0.6 * error(soft)
    assert again.shape == sharp.shape


@pytest.mark.parametrize("with_original", [True, False])
def test_plates_that_can_be_read_are_leaks(with_original: bool) -> None:
    source = written()
    reader = Matching(attacks.crop(source, PLATE))
    record = Record("a.png", width=140, height=64, regions=(PLATE,))
    original = source if with_original else None
    (found,) = attacks.read_plates(source, original, record, Settings(), reader)  # type: ignore[arg-type]
    assert (found.check, found.level, found.box) == ("plates", "leak", PLATE.box)
    hidden = effects.apply(source, [PLATE], Settings())
    assert not list(attacks.read_plates(hidden, original, record, Settings(), reader))  # type: ignore[arg-type]


def test_what_a_blur_hides_is_read_after_it_was_undone() -> None:
    source = written()
    weak = Settings().with_kind("plate", effect="blur", kernel="0,2,0").replace(allow_weak=True)
    with pytest.warns(UserWarning, match="allow_weak"):
        soft = effects.apply(source, [PLATE], weak)
    tries = list(attacks.variants(soft, PLATE, weak))
    assert len(tries) == 2
    apart = [float(np.abs(t.astype(float) - attacks.crop(source, PLATE)).mean()) for t in tries]
    assert apart[1] < apart[0]
    assert len(list(attacks.variants(soft, PLATE, Settings()))) == 1


def test_readings_that_give_a_plate_away() -> None:
    assert distance("AB1234", "AB1234") == 0
    assert distance("AB1234", "AB124") == 1
    assert is_same("AB1234", "A81234")
    assert not is_same("AB1234", "XY9876")
    assert not is_same("AB", "AB")
    assert Reading("AB1234", 0.95).is_plate
    assert not Reading("STREET", 0.99).is_plate


def test_the_reader_joins_what_a_network_says() -> None:
    """Blanks and repeated characters fall away; other characters than letters and digits do not count."""
    steps = [1, 1, 0, 1, 2, 0, 3, 3]
    chances = np.full((1, len(steps), 5), 0.01, np.float32)
    for i, best in enumerate(steps):
        chances[0, i, best] = 0.9
    reader = Reader(lambda batch: {"out": chances}, ["a", "-", "7"])
    reading = reader(np.zeros((20, 50, 3), np.uint8))
    assert reading.text == "AA7"
    assert reading.score == pytest.approx(0.9)


def faces(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [cv2.resize(rng.integers(0, 255, (24, 24, 3), np.uint8), (80, 80)) for _ in range(count)]


def test_faces_are_matched_where_they_can_be_seen_only() -> None:
    region = Region("face", (20, 20, 60, 60), 0.9)
    record = Record("a.png", width=80, height=80, regions=(region,))
    open_, closed = attacks.Gallery(), attacks.Gallery()
    for i, face in enumerate(faces(12)):
        open_.add(f"{i}.png", cv2.GaussianBlur(face, (0, 0), 1), face, record, Settings())
        closed.add(f"{i}.png", effects.apply(face, [region], Settings()), face, record, Settings())
    said, found = attacks.match_faces(open_)
    assert len(found) > 8, said
    said, found = attacks.match_faces(closed)
    assert found == [], said
    assert attacks.match_faces(attacks.Gallery())[1] == []


def test_chance() -> None:
    assert attacks.by_chance(0, 20) == pytest.approx(1.0)
    assert attacks.by_chance(1, 20) == pytest.approx(1 - 0.95**20)
    assert attacks.by_chance(10, 20) < 1e-6


def test_the_rest_risk_has_the_interval_of_what_was_measured() -> None:
    assert wilson(2, 104) == pytest.approx((0.0053, 0.0674), abs=1e-4)
    _, photos, leaked = MEASURED[0]
    low, high = wilson(leaked, photos)
    assert wilson(0, 0) == (0.0, 1.0)
    quiet = of_photo(Record("a.jpg", width=100, height=100), Settings())
    assert (quiet.low, quiet.high) == (low, high)
    below = 0.9 * Settings().kind("face").threshold
    faint = tuple(Region("face", (x, 10, x + 60, 70), below) for x in range(0, 700, 70))
    risky = of_photo(Record("a.jpg", width=800, height=100, regions=faint), Settings())
    assert risky.estimate > quiet.estimate
    assert of_batch([quiet, risky]).estimate == pytest.approx((quiet.estimate + risky.estimate) / 2)
    assert quiet.low <= quiet.estimate <= quiet.high
    assert sum(photos for _, photos, _ in MEASURED) == 517
    shares = [leaked / photos for _, photos, leaked in MEASURED]
    assert shares == sorted(shares)
