"""What detectors are shown of a photo in memory, and what makes an earlier answer count no more."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
import pytest
from PIL import Image

from anonymize import finder, images, settings
from anonymize.detectors import FakeDetector
from anonymize.finder import Finder
from anonymize.regions import Region
from anonymize.settings import Settings
from anonymize.weights.registry import registry


class Contrast(FakeDetector):
    """Finds a face wherever the picture is not of one colour, as a person would."""

    def detect(self, images: Sequence[np.ndarray]) -> list[list[Region]]:
        return [[Region("face", (0, 0, 8, 8), 0.9)] if np.ptp(i.astype(int)) > 50 else [] for i in images]


def found(path: Path) -> int:
    photo = images.load(path, Settings())
    return len(Finder(detectors=[Contrast()]).record(photo, path.name).regions)


def ramp(width: int = 64, height: int = 48) -> np.ndarray:
    return np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))


@pytest.mark.parametrize("colour", [0, 255])
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_what_shows_through_transparency_alone_is_seen(tmp_path: Path, mode: str, colour: int) -> None:
    alpha = Image.fromarray(ramp())
    plain = Image.new(mode[:-1], alpha.size, colour if mode == "LA" else (colour,) * 3)
    plain.putalpha(alpha)
    plain.save(tmp_path / "cut.png")
    assert found(tmp_path / "cut.png") == 1


def test_what_lies_under_transparent_pixels_is_seen_too(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([ramp()] * 3 + [np.zeros_like(ramp())])).save(tmp_path / "under.png")
    assert found(tmp_path / "under.png") == 1


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_few_bits_stored_in_sixteen_are_not_black(tmp_path: Path, bits: int) -> None:
    grey = ramp().astype(np.uint16) << (bits - 8)
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    cv2.imwrite(str(tmp_path / "colour.png"), np.dstack([grey] * 3))
    cv2.imwrite(str(tmp_path / "alpha.png"), np.dstack([grey] * 3 + [np.full_like(grey, 65535)]))
    assert [found(p) for p in sorted(tmp_path.iterdir())] == [1, 1, 1]


def test_a_plain_photo_is_looked_at_once_as_it_is(bus: Path) -> None:
    photo = images.load(bus, Settings())
    (view,) = photo.views()
    assert np.array_equal(view, photo.rgb)


def test_views_on_white_and_black_are_what_a_viewer_shows(tmp_path: Path) -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    _, *shown = images.load(tmp_path / "a.png", Settings()).views()
    for view, ground in zip(shown, (255, 0), strict=True):
        back = Image.new("RGBA", (30, 20), (ground, ground, ground, 255))
        back.alpha_composite(Image.fromarray(rgba))
        assert np.abs(view.astype(int) - np.asarray(back.convert("RGB"))).max() <= 1


def test_another_calibration_or_way_of_looking_searches_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of before mean something else than thresholds of now."""

    class Own(FakeDetector):
        weights: Mapping[str, str] = MappingProxyType({"plates": "0" * 64})

    before = Finder(detectors=[Own()]).detection_hash
    assert Finder(detectors=[Own()]).detection_hash == before
    known = registry()
    changed = dataclasses.replace(known["plates"], calibration=(1.0, 2.0))
    with monkeypatch.context() as m:
        m.setattr(finder, "registry", lambda: {**known, "plates": changed})
        assert Finder(detectors=[Own()]).detection_hash != before
    monkeypatch.setattr(settings, "FINDING", settings.FINDING + 1)
    assert Finder(detectors=[Own()]).detection_hash != before
