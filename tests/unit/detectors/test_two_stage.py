from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from anonymize.detectors import Detector, FakeDetector, Image
from anonymize.detectors.two_stage import TwoStage
from anonymize.errors import DetectionError
from anonymize.regions import Region
from anonymize.settings import Settings

IMAGE = np.zeros((100, 200, 3), np.uint8)


class BrightSpot:
    """Finds the box around all pixels over 200 as a plate: an honest detector that needs no weights."""

    name = "spot@64"
    weights: Mapping[str, str] = {"spot": "00"}

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        out = []
        for image in images:
            self.seen.append(image.shape[:2])
            y, x = np.nonzero(image.max(axis=2) > 200)
            box = (x.min(), y.min(), x.max() + 1, y.max() + 1) if len(x) else None
            out.append([Region("plate", box, 0.7, {self.name: 0.7})] if box else [])
        return out


def vehicle(box: tuple[float, float, float, float], score: float = 0.9) -> Region:
    return Region("vehicle", box, score, {"coco@640": score})


def test_plates_come_back_in_the_photos_pixels_with_their_vehicle() -> None:
    image = IMAGE.copy()
    image[60:65, 120:140] = 255
    person = Region("person", (0, 0, 10, 20), 0.8)
    plates = BrightSpot()
    detector = TwoStage(FakeDetector([vehicle((100, 40, 160, 80)), person]), plates, Settings(), margin=0.1)
    assert isinstance(detector, Detector)
    (found,) = detector.detect([image])
    assert [(r.kind, r.box) for r in found] == [
        ("vehicle", (100, 40, 160, 80)),
        ("person", (0, 0, 10, 20)),
        ("plate", (120, 60, 140, 65)),
    ]
    assert dict(found[2].detector_scores) == {"two-stage:spot@64": 0.7}
    assert detector.name == "two-stage:spot@64"
    assert detector.weights == {"spot": "00"}
    assert plates.seen == [(48, 72)]  # 40 × 60 and a tenth on each side


def test_one_plate_seen_from_two_vehicles_counts_once_and_weak_vehicles_not_at_all() -> None:
    image = IMAGE.copy()
    image[60:65, 120:140] = 255
    image[10:14, 10:20] = 255
    found = [vehicle((100, 40, 160, 80)), vehicle((110, 55, 170, 95), 0.5), vehicle((0, 0, 40, 30), 0.24)]
    (out,) = TwoStage(FakeDetector(found), BrightSpot(), Settings(vehicle_threshold=0.25)).detect([image])
    assert [r.box for r in out if r.kind == "plate"] == [(120, 60, 140, 65)]
    assert sum(r.kind == "vehicle" for r in out) == 3  # also those that were not looked into


def test_without_a_vehicle_the_plates_detector_is_not_asked() -> None:
    plates = BrightSpot()
    out = TwoStage(FakeDetector([]), plates, Settings()).detect([IMAGE, IMAGE])
    assert out == [[], []]
    assert plates.seen == []


def test_a_crop_is_cut_at_the_photos_edge() -> None:
    plates = BrightSpot()
    TwoStage(FakeDetector([vehicle((150, 50, 200, 100))]), plates, Settings(), margin=0.5).detect([IMAGE])
    assert plates.seen == [(75, 75)]


def test_a_missing_answer_is_a_failure() -> None:
    class Silent(FakeDetector):
        def detect(self, images: Sequence[Image]) -> list[list[Region]]:
            return []

    with pytest.raises(DetectionError, match="0 answers for 1"):
        TwoStage(FakeDetector([vehicle((0, 0, 50, 50))]), Silent(), Settings()).detect([IMAGE])
    with pytest.raises(DetectionError, match="0 answers for 1"):
        TwoStage(Silent(), BrightSpot(), Settings()).detect([IMAGE])
