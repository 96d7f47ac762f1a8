from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from anonymize.detectors import Detector, FakeDetector, Image
from anonymize.detectors.corners import WithCorners
from anonymize.errors import DetectionError
from anonymize.regions import Region

IMAGE = np.zeros((120, 200, 3), np.uint8)
BOX = (60.0, 40.0, 100.0, 50.0)
CORNERS = ((61.0, 40.0), (100.0, 42.0), (99.0, 50.0), (60.0, 48.0))


class Eye:
    """Finds what it was told, in the photo's pixels, inside of whichever crop it sees."""

    name = "eye@128"
    weights: Mapping[str, str] = {"eye": "11"}

    def __init__(self, *regions: Region, answers: int | None = None) -> None:
        self.regions, self.answers, self.seen = regions, answers, [(0, 0)][:0]

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        out = []
        for image in images:
            self.seen.append(image.shape[:2])
            y, x = image[0, 0, :2]  # the test's photo says where each pixel lies
            out.append([r.shift(-float(x), -float(y)) for r in self.regions])
        return out[: self.answers]


@pytest.fixture
def photo() -> Image:
    image = IMAGE.copy()
    image[..., 0] = np.arange(120)[:, None]
    image[..., 1] = np.arange(200)
    return image


def plate(box: tuple[float, ...] = BOX, score: float = 0.8, **more: object) -> Region:
    return Region("plate", box, score, {"a": score}, **more)  # type: ignore[arg-type]


def test_a_plate_gets_the_corners_that_a_second_look_finds(photo: Image) -> None:
    eye = Eye(plate((61, 40, 100, 50), corners=CORNERS))
    detector = WithCorners(FakeDetector([plate()], name="a"), eye)
    assert isinstance(detector, Detector)
    (found,) = detector.detect([photo])
    assert found == [plate(corners=CORNERS)]  # box, score, votes and id stay
    assert eye.seen == [(30, 60)]  # a quarter of the width on each side
    assert detector.weights == {"eye": "11"}
    assert detector.name == "a"


def test_the_crop_ends_at_the_photos_edge(photo: Image) -> None:
    at_the_edge = plate((0, 0, 40, 10))
    corners = ((-2.0, 0.0), (40.0, 1.0), (40.0, 10.0), (-2.0, 9.0))
    eye = Eye(plate((0, 0, 40, 10), corners=corners))
    (found,) = WithCorners(FakeDetector([at_the_edge]), eye).detect([photo])
    assert found[0].corners == corners
    assert eye.seen == [(20, 50)]


@pytest.mark.parametrize(
    "seen",
    [
        (),
        (plate((61, 40, 100, 50)),),  # found, its corners doubtful
        (plate((101, 40, 140, 50), corners=CORNERS),),  # another plate beside it
        (plate((61, 40, 100, 90), corners=CORNERS),),  # IoU below a half
        (Region("face", BOX, 0.9, corners=CORNERS),),
    ],
)
def test_in_doubt_there_are_no_corners_and_the_region_stays(photo: Image, seen: tuple[Region, ...]) -> None:
    (found,) = WithCorners(FakeDetector([plate()]), Eye(*seen)).detect([photo])
    assert found == [plate()]


def test_a_faint_candidate_that_fits_better_does_not_win(photo: Image) -> None:
    wrong = tuple((x + 5, y) for x, y in CORNERS)
    eye = Eye(plate(BOX, 0.01, corners=wrong), plate((62, 40, 100, 50), 0.9, corners=CORNERS))
    (found,) = WithCorners(FakeDetector([plate()]), eye).detect([photo])
    assert found[0].corners == CORNERS


def test_only_regions_without_corners_that_may_be_hidden_are_looked_at(photo: Image) -> None:
    own = ((0.0, 0.0), (9.0, 0.0), (9.0, 9.0), (0.0, 9.0))
    regions = [plate(score=0.01), Region("face", BOX, 0.9), plate(corners=own), Region("vehicle", BOX, 0.9)]
    eye = Eye(plate(corners=CORNERS))
    (found,) = WithCorners(FakeDetector(regions), eye).detect([photo])
    assert found == regions
    assert eye.seen == []


def test_each_photo_keeps_its_own_regions(photo: Image) -> None:
    assert WithCorners(FakeDetector([plate()]), Eye()).detect([]) == []
    both = WithCorners(FakeDetector([plate()]), Eye(plate(corners=CORNERS))).detect([photo, photo])
    assert [[r.corners for r in found] for found in both] == [[CORNERS], [CORNERS]]


def test_a_second_look_that_does_not_answer_is_a_failure_not_a_plate_without_corners(photo: Image) -> None:
    with pytest.raises(DetectionError, match="answers"):
        WithCorners(FakeDetector([plate()]), Eye(answers=0)).detect([photo])


def test_what_is_no_photo_is_refused() -> None:
    with pytest.raises(DetectionError):
        WithCorners(FakeDetector([plate()]), Eye()).detect([np.zeros((4, 4), np.uint8)])
