"""Drawn plates: seeded, with corners that are where the plate is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from anonymize.training.degrade import degrade
from models.recipes.plates import scenes
from models.recipes.plates.scenes import rotate, scene
from models.recipes.plates.synth import LAYOUTS, contact_sheet, draw_plate, paste, pose_in_box, project, text_of, wear

GRAY = np.full((240, 320, 3), 90, np.uint8)
VERMILION = np.array([250, 60, 20], np.uint8)


def painted(corners, size=(240, 320), blur=0.0):
    """A gray photo with a plain orange plate in it."""
    photo = np.full((*size, 3), 90, np.uint8)
    plate = np.empty((96, 400, 3), np.uint8)
    plate[:] = VERMILION
    paste(photo, plate, np.array(corners, float), np.full(3, 255, np.float32), blur)
    return photo


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_every_layout_has_its_shape_and_readable_contrast(layout):
    plate = draw_plate(layout, np.random.default_rng(3), height=80)
    assert plate.shape == (80, round(80 * layout.aspect), 3)
    assert plate.dtype == np.uint8
    gray = plate.mean(axis=2)
    inner = gray[16:-16, gray.shape[1] // 5 : -gray.shape[1] // 8]
    assert np.percentile(inner, 97) - np.percentile(inner, 3) > 60  # ink on paper, in every row of colors


def test_one_seed_draws_one_plate():
    one, same, other = (
        wear(draw_plate(LAYOUTS[0], np.random.default_rng(s)), np.random.default_rng(s)) for s in (1, 1, 2)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_text_follows_its_pattern():
    text = text_of("LL-DD", np.random.default_rng(0))
    assert text[:2].isalpha()
    assert text[2] == "-"
    assert text[3:].isdigit()
    assert len(text) == 5
    texts = {text_of("LLL DDD", np.random.default_rng(s)) for s in range(20)}
    assert len(texts) == 20  # random, so that nobody's plate is drawn again and again


def test_a_plate_seen_straight_on_is_its_rectangle():
    assert np.allclose(project(4.0, 0, 0, 0), [(-2, -0.5), (2, -0.5), (2, 0.5), (-2, 0.5)])


def test_a_turned_plate_is_narrower_and_its_far_side_lower():
    corners = project(4.0, 0.8, 0, 0)
    assert np.ptp(corners[:, 0]) < 3.2
    left, right = corners[3, 1] - corners[0, 1], corners[2, 1] - corners[1, 1]
    assert abs(left - right) > 0.05


@pytest.mark.parametrize("box", [(10, 20, 130, 50), (5, 5, 35, 25), (100, 40, 112, 46)])
def test_a_pose_meets_its_box_exactly(box):
    _, corners = pose_in_box(box, np.random.default_rng(5))
    assert np.allclose([*corners.min(0), *corners.max(0)], box)


def test_a_plate_is_pasted_where_its_corners_say():
    corners = np.array([(60.5, 80.25), (200.0, 95.5), (195.25, 140.0), (58.0, 120.75)])
    photo = painted(corners)
    orange = (photo[..., 0].astype(int) - photo[..., 2]) / 230.0  # share of each pixel that the plate covers
    exact = cv2.contourArea(corners.astype(np.float32))
    assert orange.sum() == pytest.approx(exact, rel=0.02)
    y, x = np.mgrid[:240, :320] + 0.5
    m = cv2.moments(corners.astype(np.float32)[:, None])
    assert (orange * x).sum() / orange.sum() == pytest.approx(m["m10"] / m["m00"], abs=0.15)
    assert (orange * y).sum() / orange.sum() == pytest.approx(m["m01"] / m["m00"], abs=0.15)


def test_a_plate_may_reach_over_the_edge_or_lie_outside():
    assert painted([(-40, 100), (60, 100), (60, 130), (-40, 130)])[110, 0, 0] > 200
    assert np.array_equal(painted([(-90, 10), (-10, 10), (-10, 30), (-90, 30)]), GRAY)


def test_a_rotated_photo_takes_its_corners_along():
    corners = np.array([[(140.0, 100.0), (220.0, 100.0), (220.0, 130.0), (140.0, 130.0)]])
    photo, turned = rotate(painted(corners[0]), corners, np.pi / 6)
    orange = (photo[..., 0].astype(int) - photo[..., 2]) > 115
    inside = np.zeros(orange.shape, np.uint8)
    cv2.fillConvexPoly(inside, np.round((turned[0] - 0.5) * 16).astype(np.int32), 1, cv2.LINE_8, 4)
    assert (orange & (inside > 0)).sum() / (orange | (inside > 0)).sum() > 0.93
    assert turned[0, 1, 1] > turned[0, 0, 1]  # clockwise: the right end went down


def test_a_scene_replaces_every_plate_and_nothing_happens_to_the_source():
    photo = np.random.default_rng(0).integers(60, 120, (240, 320, 3), np.uint8)
    before = photo.copy()
    boxes = np.array([(40.0, 60.0, 120.0, 84.0), (200.0, 150.0, 236.0, 170.0)])
    drawn, corners = scene(photo, boxes, np.zeros((0, 4)), np.random.default_rng(4), turn=0.0)
    assert np.array_equal(photo, before)
    assert corners.shape == (2, 4, 2)
    assert np.allclose(np.concatenate([corners.min(1), corners.max(1)], axis=1), boxes)
    for x1, y1, x2, y2 in boxes.astype(int):
        assert np.abs(drawn[y1:y2, x1:x2].astype(int) - before[y1:y2, x1:x2]).mean() > 10


def test_one_seed_draws_one_scene():
    boxes = np.array([(40.0, 60.0, 120.0, 84.0)])
    (a, ca), (b, cb), (c, _) = (scene(GRAY, boxes, boxes * 0, np.random.default_rng(s)) for s in (8, 8, 9))
    assert np.array_equal(a, b)
    assert np.array_equal(ca, cb)
    assert not np.array_equal(a, c)


def test_distractors_leave_the_plates_alone():
    avoid = np.array([(100.0, 60.0, 220.0, 120.0)])
    photo = GRAY.copy()
    rng = np.random.default_rng(1)
    for _ in range(60):
        scenes.distract(photo, avoid, rng)
    assert np.array_equal(photo[60:120, 100:220], GRAY[60:120, 100:220])
    assert not np.array_equal(photo, GRAY)


def test_degrading_keeps_shape_and_can_be_switched_off():
    rng = np.random.default_rng(2)
    photo = rng.integers(0, 255, (64, 96, 3), np.uint8)
    assert np.array_equal(degrade(photo, rng, amount=0), photo)
    seen = [degrade(photo, rng) for _ in range(30)]
    assert all(s.shape == photo.shape and s.dtype == np.uint8 for s in seen)
    assert sum(not np.array_equal(s, photo) for s in seen) > 10


def test_the_contact_sheet_shows_every_layout_twice():
    sheet = contact_sheet(1, columns=6, cell=(60, 32))
    rows = -(-len(LAYOUTS) * 2 // 6)
    assert sheet.shape == (rows * 32, 360, 3)
    tiles = sheet.reshape(rows, 32, 6, 60, 3).swapaxes(1, 2).reshape(-1, 32 * 60 * 3)[: len(LAYOUTS) * 2]
    assert (tiles.std(axis=1) > 8).all()
