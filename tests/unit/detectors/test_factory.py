"""From specs to detectors: which are wrapped in which, and what each network is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anonymize.detectors import FakeDetector, create, models, parse
from anonymize.detectors.calibrated import Calibrated
from anonymize.detectors.factory import _Builder
from anonymize.detectors.multi_scale import MultiScale
from anonymize.errors import UnknownNameError
from anonymize.settings import PRESETS, Settings

S = Settings()


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("plates+coco", "plates@640+coco@640"),
        ("two-stage", "two-stage:safelicensing@320!"),
        ("two-stage:plates@96", "two-stage:plates@96!"),
        ("tiled:plates + coco", "tiled:plates@640+coco@640"),
        ("two-stage:tiled:plates@64", "two-stage:tiled:plates@64!"),
        ("street+closer:plates@64-128", "street@640+closer:plates@64-128"),
        ("in-context:plates@64+two-stage:fastanpr", "in-context:plates@64+two-stage:fastanpr@320!"),
    ],
)
def test_what_a_spec_is_built_of(spec: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fakes that bear the networks' names; `!` marks those that see crops."""

    def network(self: _Builder, name: str, long_side: int, in_crops: bool, as_is: bool = False) -> FakeDetector:
        return FakeDetector(name=f"{name}@{long_side}" + "!" * in_crops)

    monkeypatch.setattr(_Builder, "network", network)
    assert create(spec, S).name == name


def test_an_unknown_part_is_refused_with_the_valid_names() -> None:
    for name in ("retinaface-mobilenet+nothing", "two-stage:nothing"):
        with pytest.raises(UnknownNameError, match="retinaface-mobilenet"):
            create(name, S)


def test_a_network_as_published_is_not_calibrated() -> None:
    for is_calibrated in (True, False):
        detector = create("plates@320-640", S, is_calibrated=is_calibrated)
        assert isinstance(detector, MultiScale)
        assert detector.name == "plates@320-640"
        assert [isinstance(d, Calibrated) for _, d in detector._detectors] == [is_calibrated] * 2


@pytest.mark.weights
@pytest.mark.parametrize(("spec", "is_calibrated"), [("closer:coco@320", True), ("closer:plates@320", False)])
def test_a_closer_look_of_a_network_without_a_calibration_keeps_its_scores(
    spec: str, is_calibrated: bool, bus: Path
) -> None:
    found = create(spec, S, is_calibrated=is_calibrated).detect([np.asarray(Image.open(bus))])[0]
    assert all(list(r.detector_scores.values()) == [r.score] for r in found)
    assert (spec == "closer:coco@320") == any(r.kind == "person" for r in found)


@pytest.mark.weights
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_can_be_made(preset: str) -> None:
    p = PRESETS[preset]
    for name in (p.face_detector, p.plate_detector):
        detector = create(name, S)
        assert set(detector.weights) == set(models(parse(name)))
