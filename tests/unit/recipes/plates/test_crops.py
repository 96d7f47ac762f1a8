from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from anonymize.detectors.plate_corners import INPUT, window
from anonymize.errors import AnnotationError, SettingsError
from models.recipes.plates.crops import (
    DRAWN,
    NOTHING,
    REAL,
    Crops,
    backgrounds,
    drawn_crop,
    empty_crop,
    fingerprint,
    framed,
    make,
    moved,
    real_crop,
    shard,
    sheet,
)  # fmt: skip

NONE = np.zeros((0, 4))


@pytest.fixture
def street() -> np.ndarray:
    """A gray street, (240, 320, 3), with a white plate in it."""
    photo = np.full((240, 320, 3), 90, np.uint8)
    photo[100:112, 150:198] = 240
    return photo


@pytest.fixture
def photos(tmp_path: Path, street: np.ndarray) -> Path:
    for kind in ("images", "labels"):
        (tmp_path / "set" / kind).mkdir(parents=True)
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / "set" / "images" / f"{name}.png"), street)
    (tmp_path / "set" / "labels" / "a.txt").write_text("0 0.54375 0.44166667 0.15 0.05\n")
    return tmp_path / "set" / "images"


def test_backgrounds_know_the_plates_that_labels_name(photos: Path, tmp_path: Path) -> None:
    a, b = backgrounds(photos)
    assert (a.path.name, b.path.name) == ("a.png", "b.png")
    assert a.plates * (320, 240, 320, 240) == pytest.approx(np.array([[150, 100, 198, 112]]), abs=0.01)
    assert b.plates.shape == (0, 4)
    (photos / "b.txt").write_text("plate here\n")
    with pytest.raises(AnnotationError, match="labels"):
        backgrounds(photos)
    (tmp_path / "empty").mkdir()
    with pytest.raises(AnnotationError, match="no photos"):
        backgrounds(tmp_path / "empty")


def test_a_drawn_plate_lies_where_its_corners_say(street: np.ndarray) -> None:
    """What is inside of the corners differs from the gray street far more than what is outside."""
    inside, outside = [], []
    for seed in range(40):
        image, kind, corners, size = drawn_crop(street, NONE, np.random.default_rng(seed))
        assert (kind, image.shape) == (DRAWN, (INPUT[1], INPUT[0], 3))
        assert min(size) >= 1
        mask = np.zeros(image.shape[:2], np.uint8)
        cv2.fillConvexPoly(mask, np.round(corners * INPUT).astype(np.int32), 1)
        far = cv2.dilate(mask, np.ones((17, 17), np.uint8)) == 0
        if mask.any() and far.sum() > 50:
            level = np.median(image[far], axis=0)
            inside.append(np.abs(image[mask == 1] - level).mean())
            outside.append(np.abs(image[far] - level).mean())
    assert np.median(inside) > 3 * np.median(outside)


def test_a_real_plate_fills_its_box(street: np.ndarray) -> None:
    for seed in range(10):
        image, kind, corners, size = real_crop(street, (150, 100, 198, 112), np.random.default_rng(seed))
        assert kind == REAL
        assert np.ptp(corners, axis=0) * size == pytest.approx(np.array((48, 12)), abs=1e-6)
        x, y = corners.mean(0) * INPUT
        if 0 < x < INPUT[0] and 0 < y < INPUT[1] and image.max() > 150:
            assert image[int(y), int(x)].mean() > image[0, 0].mean()


def test_places_without_a_plate_touch_none(street: np.ndarray) -> None:
    plates = np.array([(150.0, 100.0, 198.0, 112.0)])
    plain = street.copy()
    plain[:] = 90
    plain[100:112, 150:198] = (255, 0, 255)
    for seed in range(30):
        image, kind, corners, _ = empty_crop(plain, plates, np.random.default_rng(seed))
        assert kind == NOTHING
        assert not corners.any()
        center = image[INPUT[1] // 2, INPUT[0] // 2].astype(int)
        assert not (center[0] > 200 and center[1] < 60 and center[2] > 200)


def test_boxes_are_moved_but_stay_on_the_plate() -> None:
    rng = np.random.default_rng(0)
    boxes = np.array([moved((100, 100, 200, 130), rng) for _ in range(400)])
    assert (boxes[:, 2] > boxes[:, 0] + 29).all()
    assert (boxes[:, 3] > boxes[:, 1] + 8.9).all()
    off = np.abs(boxes - (100, 100, 200, 130)) / (100, 30, 100, 30)
    assert 0.02 < np.median(off) < 0.1
    assert off.max() > 0.2  # some are loose or cut


def test_a_holder_lies_around_its_plate() -> None:
    plate = np.full((40, 160, 3), 255, np.uint8)
    corners = np.array([(10.0, 10.0), (90.0, 14.0), (90.0, 36.0), (10.0, 32.0)])
    out, outer = framed(plate, corners, np.random.default_rng(0))
    assert out.shape[0] > 40
    assert out.shape[1] > 160
    low, high = outer.min(0), outer.max(0)
    assert (low < corners.min(0)).all()
    assert (high > corners.max(0)).all()


def test_one_seed_makes_one_shard_and_a_stopped_run_goes_on(photos: Path, tmp_path: Path) -> None:
    places = backgrounds(photos)
    one, again = shard(places, (3, 0), 40), shard(places, (3, 0), 40)
    assert np.array_equal(one.images, again.images)
    assert np.array_equal(one.corners, again.corners)
    assert len(one) == 40
    assert {DRAWN, REAL} <= set(one.kinds.tolist())
    kept = Crops.join([one, again])
    folder = tmp_path / "crops"
    folder.mkdir()
    fields = {n: getattr(kept, n) for n in Crops.__dataclass_fields__}
    np.savez(folder / "7-0000.npz", made_of=fingerprint(places), **fields)
    (found,) = make(places, fingerprint(places), folder, 1000, 7)  # what is there is taken, not made again
    assert np.array_equal(found.images, kept.images)


def test_crops_of_other_photos_or_labels_are_refused(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.recipes.plates.crops.SHARD", 4)

    def made(where: Path) -> int:
        places = backgrounds(where)
        return sum(len(part) for part in make(places, fingerprint(places), tmp_path / "crops", 4, 7))

    assert made(photos) == 4
    moved = photos.parent.rename(tmp_path / "moved") / "images"
    assert made(moved) == 4  # taken along to another machine
    label = moved.parent / "labels" / "a.txt"
    was = label.read_text()
    label.write_text("0 0.5 0.5 0.15 0.05\n")
    with pytest.raises(SettingsError, match="other photos or labels"):
        made(moved)
    label.write_text(was)
    assert made(moved) == 4
    (moved / "b.png").write_bytes((moved / "a.png").read_bytes() + b"changed")
    with pytest.raises(SettingsError, match="other photos or labels"):
        made(moved)


def test_the_window_is_wider_on_the_short_side() -> None:
    left, top, right, bottom = window((100, 100, 200, 120))
    assert (100 - left, right - 200) == (25, 25)
    assert (100 - top, bottom - 120) == (15, 15)
    assert window((5, 5, 5, 5)) == (5, 5, 6, 6)


def test_a_sheet_shows_corners_only_where_they_are_known() -> None:
    images = np.full((2, INPUT[1], INPUT[0], 3), 60, np.uint8)
    corners = np.array([[(0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8)], [(np.nan, 0.2)] * 4], np.float32)
    crops = Crops(images, np.zeros(2, np.int64), corners, np.ones((2, 2), np.float32))
    drawn = sheet(crops, columns=2)
    half = drawn.shape[1] // 2
    assert drawn[:, :half].max() == 255
    assert drawn[:, half:].max() == 60
