"""Close-ups: what is cut out, and what the networks say of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from anonymize.audit import close_up
from anonymize.detectors import FakeDetector, upright
from anonymize.detectors.detector import Image
from anonymize.errors import WeightsError
from anonymize.probability import log_odds
from anonymize.regions import Region
from anonymize.settings import Settings


@pytest.mark.parametrize(
    "box", [(40, 30, 60, 50), (0, 0, 20, 10), (90, 60, 100, 80), (5, 5, 95, 75), (50.3, 20.7, 58.9, 28.2)]
)
@pytest.mark.parametrize("zoom", [2.0, 4.0])
def test_a_region_stands_in_the_middle_of_its_close_up(box: tuple[float, float, float, float], zoom: float) -> None:
    rgb = np.full((80, 100, 3), 40, np.uint8)
    x1, y1, x2, y2 = map(round, box)
    rgb[y1:y2, x1:x2] = 250
    region = Region("face", box)
    picture, inside = close_up.cut(rgb, region, zoom)
    assert picture.shape == (close_up.SIDE, close_up.SIDE, 3)
    assert max(inside.width, inside.height) == pytest.approx(close_up.SIDE / zoom, rel=0.02)
    a, b, c, d = (round(v) for v in inside.box)
    px = close_up.SIDE / (zoom * max(region.width, region.height)) * 1.5  # boxes are rounded to whole pixels
    inner = picture[int(b + px) : int(d - px), int(a + px) : int(c - px)]
    assert inner.min() > 200
    outside = picture.copy()
    outside[int(b - px) : int(d + px) + 1, int(a - px) : int(c + px) + 1] = 0
    assert outside.max() <= close_up.FILL


class Sees:
    """Sees what is bright, as far as it is one thing."""

    def __init__(self, score: float, shift: float = 0.0) -> None:
        self.weights: dict[str, str] = {}
        self.name, self._score, self._shift = "sees", score, shift

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        out = []
        for image in images:
            ys, xs = np.nonzero(image[:, :, 0] > 200)
            box = (xs.min() + self._shift, ys.min(), xs.max() + self._shift, ys.max())
            out.append([Region("face", tuple(map(float, box)), self._score), Region("plate", (0, 0, 320, 320), 0.9)])
        return out


def test_the_mean_of_log_odds_counts_every_yes_and_every_no() -> None:
    rgb = np.full((80, 100, 3), 40, np.uint8)
    rgb[20:40, 10:26] = 250
    face = Region("face", (10, 20, 26, 40), 0.5)

    def odds(*networks: Sees | FakeDetector) -> float | None:
        return close_up.closely(rgb, {"face": networks})(face)

    assert odds(Sees(0.9), Sees(0.6)) == pytest.approx((log_odds(0.9) + log_odds(0.6)) / 2)
    assert odds(Sees(0.9), Sees(0.9, shift=200)) == pytest.approx((log_odds(0.9) + log_odds(0)) / 2)  # another thing
    assert odds(Sees(0.9), FakeDetector([])) == pytest.approx((log_odds(0.9) + log_odds(0)) / 2)
    assert close_up.closely(rgb, {"plate": (Sees(0.9),)})(face) is None


class SeesUpright(Sees):
    """Sees what is bright, where it is brighter above than below."""

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        found = super().detect(images)
        for image, regions in zip(images, found, strict=True):
            ys, xs = np.nonzero(image[:, :, 0] > 200)
            middle, inside = (ys.min() + ys.max()) // 2, slice(xs.min(), xs.max() + 1)
            if image[ys.min() : middle, inside].mean() <= image[middle : ys.max() + 1, inside].mean() + 5:
                regions.clear()
        return found


@pytest.mark.parametrize("turns", range(4))
def test_a_photo_that_lies_otherwise_is_shown_upright(turns: int) -> None:
    rgb = np.full((90, 100, 3), 40, np.uint8)
    rgb[20:30, 10:26] = 250
    rgb[30:44, 10:26] = 215
    face = Region("face", (10, 20, 26, 44), 0.5)
    lying = np.ascontiguousarray(np.rot90(rgb, -turns))
    there = upright.turn_back(face, turns, lying.shape[1], lying.shape[0])
    networks = {"face": (SeesUpright(0.9), SeesUpright(0.9))}
    assert close_up.closely(lying, networks, (0, turns))(there) == pytest.approx(log_odds(0.9))
    if turns:
        unturned = close_up.closely(lying, networks)(there)
        assert unturned is not None
        assert unturned < 0


def test_one_network_alone_is_no_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(spec: str, *_: object, **__: object) -> FakeDetector:
        if spec.split("@")[0] not in there:
            raise WeightsError("offline")
        return FakeDetector([], spec)

    monkeypatch.setattr(close_up, "create", create)
    there = {"street", "centerface", "plates", "mtcnn"}
    assert {kind: len(v) for kind, v in close_up.load(Settings()).items()} == {"face": 2, "plate": 2}
    there = {"street", "plates", "mtcnn"}  # scores of MTCNN are no probabilities
    assert {kind: len(v) for kind, v in close_up.load(Settings()).items()} == {"plate": 2}
    faces = Settings().replace(kinds={"face": Settings().kind("face")})
    assert close_up.load(faces) == {}
