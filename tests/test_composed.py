"""Names of composed detectors: what they are made of, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from anonymize.detectors import FakeDetector, create, models_of
from anonymize.detectors.calibrated import Calibrated
from anonymize.detectors.composed import compose, is_composed
from anonymize.detectors.ensemble import Ensemble
from anonymize.detectors.second_opinion import SecondOpinion
from anonymize.errors import SettingsError, UnknownNameError
from anonymize.settings import PRESETS, Settings

S = Settings()


def made(name: str) -> Any:
    """Composed of fakes that bear their names; `!` marks those that will see crops."""

    def make(part: str, *, in_crops: bool = False, is_raw: bool = False) -> Any:
        return compose(part, S, make) if is_composed(part) else FakeDetector(name=part + "!" * in_crops + "=" * is_raw)

    return make(name)


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("a+b", "a+b"),
        ("two-stage:a", "two-stage:a!"),
        ("two-stage:safelicensing", "two-stage:safelicensing@320!"),
        ("person-guided:centerface@640", "person-guided:centerface@640!"),
        ("a + tiled:b", "a+tiled:b"),
        ("a+b?c", "a+b?c!"),
        ("flipped:a+b", "flipped:a+b"),
        ("raw:plates@640+b", "plates@640=+b"),
        ("on-vehicles:a+two-stage:b", "on-vehicles:a+two-stage:b!"),
        ("upright:on-vehicles:a+b", "upright:on-vehicles:a+b"),
    ],
)
def test_names(name: str, means: str) -> None:
    assert made(name).name == means


def test_what_binds_to_what() -> None:
    assert isinstance(made("a+b?c"), SecondOpinion)
    assert isinstance(made("flipped:a+b"), Ensemble)


@pytest.mark.parametrize("name", ["a+", "+a", "a++b", "a?", "two-stage:", "tiled:", "on-vehicles:"])
def test_a_missing_part_is_said(name: str) -> None:
    with pytest.raises(SettingsError, match="names no detector"):
        made(name)


def test_raw_is_for_networks_that_are_calibrated_at_all() -> None:
    as_published, known = create("raw:plates@320-640", S), create("plates@320-640", S)
    assert as_published.name == known.name
    assert models_of("raw:plates@320-640") == ["plates"]
    for detector, is_calibrated in ((as_published, False), (known, True)):
        assert [isinstance(d, Calibrated) for _, d in detector._detectors] == [is_calibrated] * 2  # type: ignore[attr-defined]
    for name in ("raw:two-stage:plates", "raw:yolo:a.onnx", "raw:a.b:C"):
        with pytest.raises(SettingsError, match="raw"):
            create(name, S)


def test_an_unknown_part_is_refused_with_the_valid_names() -> None:
    for name in ("retinaface-mobilenet+nothing", "two-stage:nothing"):
        with pytest.raises(UnknownNameError, match="retinaface-mobilenet"):
            create(name, S)
        with pytest.raises(UnknownNameError, match="retinaface-mobilenet"):
            models_of(name)


def test_the_models_that_a_name_needs() -> None:
    assert models_of("none") == []
    assert models_of("centerface@1280") == ["centerface"]
    assert models_of("on-vehicles:fastanpr@1280-2560+two-stage:safelicensing") == ["fastanpr", "coco", "safelicensing"]
    assert models_of("my.module:Class") == []
    assert models_of("two-stage") == ["coco", "safelicensing"]
    assert models_of("upright:fastanpr+centerface") == [
        *("coco", "retinaface-mobilenet", "plates"),
        *("fastanpr", "centerface"),
    ]
    assert models_of("plates + two-stage") == ["plates", "coco", "safelicensing"]
    for own in ("yolo:best.onnx", "my.module:Class", "tiled:yolo:best.onnx"):
        assert models_of(f"{own}+plates@640") == ["plates"], own


@pytest.mark.weights
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_can_be_made(preset: str) -> None:
    p = PRESETS[preset]
    for name in (p.face_detector, p.plate_detector):
        detector = create(name, S)
        assert set(detector.weights) == set(models_of(name))
