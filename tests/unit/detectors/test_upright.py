from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anonymize import images
from anonymize.detectors import upright
from anonymize.detectors.upright import Upright, choose, features, shrink, softmax, turn, turn_back
from anonymize.errors import DetectionError, WeightsError
from anonymize.predictor import Predictor
from anonymize.regions import Region
from anonymize.settings import Settings


class Maps:
    """A network whose maps are the brightness of the copies, at the maps' sizes."""

    metadata, size = {}, None

    def __init__(self) -> None:
        self.looks: list[int] = []

    def __call__(self, batch):
        self.looks.append(len(batch))
        return {
            name: batch[:, :1].reshape(-1, 1, cells, 256 // cells, cells, 256 // cells).mean((3, 5))
            for name, cells in zip(upright.LAYERS, (16, 8), strict=True)
        }


# Brightness in the upper and lower half of both maps: what is brighter above is upright, as the sky is.
NUMBERS = np.array([9, 9, -9, -9, 9, 9, -9, -9], np.float32)
SKY = Upright(Maps(), NUMBERS, np.zeros(8, np.float32), 0.0, {"sky": "00"})  # no first look is enough


class BrightSpot:
    """Sees a plate where pixels are white, surely where the photo's first row is marked."""

    name, weights, kinds = "spot", {"spot": "00"}, frozenset({"plate"})

    def __init__(self) -> None:
        self.looks = 0

    def detect(self, images):
        out = []
        for image in images:
            self.looks += 1
            ys, xs = np.nonzero(image[:, :, 2] == 255)
            box = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
            out.append([Region("plate", box, 0.95 if (image[0, :, 1] == 200).all() else 0.2, {"spot": 0.5})])
        return out


def photo(sky: int = 255) -> np.ndarray:
    image = np.zeros((40, 60, 3), np.uint8)
    image[:20, :, 0] = sky
    image[0, :, 1] = 200
    image[10:14, 20:32, 2] = 255
    return image


@pytest.mark.parametrize("turns", range(4))
def test_a_photo_on_its_side_is_searched_upright_and_its_regions_lie_where_they_are(turns: int) -> None:
    came, spot = turn(photo(), turns), BrightSpot()
    predictor = Predictor(detectors=[spot], upright=SKY)
    (found,) = predictor.predict([came])
    ys, xs = np.nonzero(came[:, :, 2] == 255)
    assert [(r.box, r.score) for r in found] == [((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1), 0.95)]
    assert spot.looks == (2 if turns else 1)
    assert predictor.predict_photo(images.from_array(came)) == found


def test_where_it_is_not_clear_all_likely_turns_are_searched_and_the_best_counts() -> None:
    spot = BrightSpot()
    (found,) = Predictor(detectors=[spot], upright=SKY).predict([turn(photo(sky=0), 1)])
    assert spot.looks == 4
    assert [r.score for r in found] == [0.95]


@pytest.mark.parametrize(
    ("bound", "turns", "looks", "answer"),
    [(35.0, 0, [1], (0,)), (37.0, 0, [1, 3], (0,)), (35.0, 1, [1, 3], (3, 0)), (-1.0, 1, [1], (0,))],
)
def test_what_the_first_look_shows_upright_needs_no_other(bound, turns, looks, answer) -> None:
    maps = Maps()  # 4 * 9 speak for a photo that is white above and black below, 0 for one on its side
    how = Upright(maps, NUMBERS, NUMBERS, bound, {})
    assert (how.turns(turn(photo(), turns)), maps.looks) == (answer, looks)


def test_a_first_look_at_the_bound_is_not_enough() -> None:
    maps = Maps()
    assert Upright(maps, NUMBERS, np.zeros(8, np.float32), 0.0, {}).turns(photo()) == (0,)
    assert maps.looks == [1, 3]


def test_given_detectors_see_a_photo_as_it_came() -> None:
    (found,) = Predictor(detectors=[BrightSpot()]).predict([turn(photo(), 1)])
    assert found[0].score == 0.2


def test_a_turn_is_searched_that_may_be_right_and_the_photo_as_it_came_always() -> None:
    """A collage, a scan or a mirror holds what lies otherwise than the photo."""
    assert choose(np.array([0.97, 0.01, 0.01, 0.01])) == (0,)
    assert choose(np.array([0.85, 0.15, 0.0, 0.0])) == (0, 1)
    assert choose(np.array([0.02, 0.0, 0.98, 0.0])) == (2, 0)
    assert choose(np.array([0.0, 0.3, 0.3, 0.4])) == (3, 1, 2, 0)
    assert softmax(np.zeros(4)).tolist() == [0.25] * 4


def test_turned_copies_have_the_same_features_in_another_order() -> None:
    big = np.random.default_rng(0).integers(0, 255, (3000, 2000, 3), np.uint8)
    for image in (photo(), big[:300, :200]):
        came = features(Maps(), shrink(image))
        assert features(Maps(), shrink(turn(image, 1))) == pytest.approx(np.roll(came, -1, axis=0), abs=1e-2)
        assert np.array_equal(features(Maps(), shrink(image), (0, 3)), came[[0, 3]])
    assert features(Maps(), shrink(big)).shape == (4, 8)


def test_a_failed_look_is_a_failed_detection() -> None:
    broken = replace(SKY, network=lambda batch: {})
    with pytest.raises(DetectionError, match="how the photo lies"):
        Predictor(detectors=[BrightSpot()], upright=broken).predict([photo()])


def test_other_numbers_search_every_photo_anew() -> None:
    hashes = {
        Predictor(detectors=[BrightSpot()], upright=how).detection_hash
        for how in (None, SKY, replace(SKY, weights={"sky": "01"}))
    }
    assert len(hashes) == 3


def test_numbers_of_another_network_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / upright.FILE).write_text(json.dumps({"sha256": "other", "numbers": [0.0]}))
    monkeypatch.setattr(upright, "registry_path", lambda: tmp_path / "registry.toml")
    with pytest.raises(WeightsError, match="fitted to another"):
        upright.load(Settings())


def test_corners_keep_their_reading_order() -> None:
    plate = Region("plate", (10, 10, 30, 20), corners=((10, 10), (30, 10), (30, 20), (10, 20)))
    back = turn_back(plate, 1, 60, 40)
    assert back.box == (40, 10, 50, 30)
    assert back.corners == ((50, 10), (50, 30), (40, 30), (40, 10))


def test_real_photos_are_put_upright(bus: Path, zidane: Path) -> None:
    how = upright.load(Settings())
    alone = []
    for path in (bus, zidane):
        rgb = images.load(path, Settings()).rgb
        assert [how.turns(turn(rgb, turns))[0] for turns in range(4)] == [0, 3, 2, 1]
        alone.append(features(how.network, shrink(rgb)) @ how.alone)
    assert np.max(np.array(alone)[:, 1:]) < how.bound < np.max(np.array(alone)[:, 0])
