"""Marks are cleaned by agreement of detectors, and become labels that lose nothing on the way."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from anonymize.errors import AnnotationError, SettingsError
from models.recipes.plates.data_set import build, from_coco, paint_over, sorted_alarms, tile, yolo_lines
from models.recipes.plates.marks import Marked, clean, read_marks

NONE = np.zeros((0, 4))
CAR = np.array([(100.0, 100.0, 300.0, 250.0)])
PLATE = (180.0, 200.0, 220.0, 212.0)  # in the car's lower part


def seen(*boxes):
    return np.array([(*b[:4], b[4]) for b in boxes], float).reshape(-1, 5)


def shifted(box, by, score):
    return (*(v + by for v in box), score)


def test_a_plate_on_a_vehicle_that_two_detectors_see_is_added():
    marked = clean("a.jpg", NONE, {"a": seen((*PLATE, 0.6)), "b": seen(shifted(PLATE, 1, 0.5))}, CAR, 640)
    assert marked.notes == ("added",)
    assert marked.plates.tolist() == [list(PLATE)]  # the first detector's box, which is the tightest


def test_what_one_detector_sees_is_ignored_not_added():
    marked = clean("a.jpg", NONE, {"a": seen((*PLATE, 0.6)), "b": seen()}, CAR, 640)
    assert marked.notes == ("ignored",)
    assert marked.ignored.tolist() == [list(PLATE)]
    assert not len(marked.plates)


def test_a_sign_off_the_road_stays_a_negative_and_unanimity_makes_it_doubtful():
    sign = (400.0, 40.0, 440.0, 60.0)
    two = {"a": seen((*sign, 0.9)), "b": seen((*sign, 0.9)), "c": seen()}
    assert clean("a.jpg", NONE, two, CAR, 640).notes == ()
    three = {**two, "c": seen((*sign, 0.9))}
    assert clean("a.jpg", NONE, three, CAR, 640).notes == ("ignored",)


def test_lettering_on_a_vehicle_whose_plate_is_marked_is_ignored():
    label = np.array([(120.0, 220.0, 160.0, 232.0)])
    marked = clean("a.jpg", label, {"a": seen((*PLATE, 0.9)), "b": seen((*PLATE, 0.9))}, CAR, 640)
    assert marked.plates.tolist() == label.tolist()
    assert marked.notes == ("ignored",)


def test_a_marked_plate_is_not_added_again():
    labels = np.array([PLATE])
    marked = clean("a.jpg", labels, {"a": seen(shifted(PLATE, 2, 0.9)), "b": seen((*PLATE, 0.9))}, CAR, 640)
    assert marked.notes == ()
    assert len(marked.plates) == 1


def test_a_loose_mark_takes_the_union_of_those_who_agree():
    loose = np.array([(160.0, 190.0, 250.0, 225.0)])
    candidates = {"a": seen((*PLATE, 0.9)), "b": seen(shifted(PLATE, 1, 0.9))}
    marked = clean("a.jpg", loose, candidates, CAR, 640)
    assert marked.notes == ("tightened",)
    assert marked.plates.tolist() == [[180.0, 200.0, 221.0, 213.0]]


def test_a_close_up_is_never_tightened():
    loose = np.array([(160.0, 190.0, 250.0, 225.0)])
    candidates = {"a": seen((*PLATE, 0.9)), "b": seen(shifted(PLATE, 1, 0.9))}
    assert clean("a.jpg", loose, candidates, CAR, 300).notes == ()


def test_painting_over_is_flat_and_leaves_the_rest():
    photo = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    out = paint_over(photo, np.array([(10.0, 5.0, 30.0, 15.0)]))
    assert np.ptp(out[5:15, 10:30].reshape(-1, 3), axis=0).max() == 0
    out[5:15, 10:30] = photo[5:15, 10:30]
    assert np.array_equal(out, photo)


def test_labels_are_boxes_unless_corners_are_known():
    assert yolo_lines(np.array([(10.0, 20.0, 30.0, 40.0)]), 100, 200) == "0 0.2 0.15 0.2 0.1\n"


def test_labels_with_corners_are_relative_and_those_outside_are_unknown():
    corners = np.array([[(10.0, 20.0), (30.0, 20.0), (30.0, 40.0), (-1.0, 40.0)]])
    line = yolo_lines(np.array([(-1.0, 20.0, 30.0, 40.0)]), 100, 200, corners)
    numbers = [float(v) for v in line.split()]
    assert numbers[5:] == [0.1, 0.1, 2, 0.3, 0.1, 2, 0.3, 0.2, 2, 0, 0, 0]
    assert numbers[1:5] == [0.15, 0.15, 0.3, 0.1]  # cut at the edge


def test_labels_of_a_plate_that_is_mostly_outside_are_dropped():
    assert yolo_lines(np.array([(-15.0, 20.0, 10.0, 30.0)]), 100, 100) == ""


def test_marks_are_read_with_photos_that_have_none(tmp_path):
    coco = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
        "annotations": [
            {"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4]},
            {"image_id": 1, "category_id": 1, "bbox": [5, 5, 5, 5]},
            {"image_id": 1, "category_id": 2, "bbox": [6, 6, 6, 6], "iscrowd": 1},
        ],
    }
    (tmp_path / "c.json").write_text(json.dumps(coco))
    marks = read_marks(tmp_path / "c.json")
    assert {k: v.tolist() for k, v in marks.items()} == {"a.jpg": [[1, 2, 4, 6]], "b.jpg": []}
    (tmp_path / "c.json").write_text("{}")
    with pytest.raises(AnnotationError, match="not COCO"):
        read_marks(tmp_path / "c.json")


def test_a_data_set_is_whole_and_the_same_for_one_seed(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    marked = []
    for name, width in (("a", 320), ("b", 900)):
        cv2.imwrite(str(photos / f"{name}.jpg"), rng.integers(0, 255, (240, width, 3), np.uint8))
        marked.append(Marked(f"{name}.jpg", np.array([(50.0, 100.0, 90.0, 112.0)]), NONE, NONE))
    counts = build(tmp_path / "out", photos, marked[:2], marked[:1], size=320, drawn=3, drawn_test=3, seed=1)
    assert counts == {"whole": 2, "tiles": 0, "crops": 1, "drawn": 3, "val": 1, "test": 3, "plates": 2}
    for split, n in (("train", 6), ("val", 1), ("test", 3)):
        images = sorted(p.stem for p in (tmp_path / "out" / split / "images").iterdir())
        assert images == sorted(p.stem for p in (tmp_path / "out" / split / "labels").iterdir())
        assert len(images) == n
    crop = cv2.imread(str(tmp_path / "out" / "train" / "images" / "b-crop.jpg"))
    assert crop.shape == (240, 320, 3)  # native size
    label = (tmp_path / "out" / "train" / "labels" / "b-crop.txt").read_text().split()
    assert float(label[3]) * 320 == pytest.approx(40, abs=0.01)
    assert float(label[4]) * 240 == pytest.approx(12, abs=0.01)
    assert sum("turned" in p.stem for p in (tmp_path / "out" / "test" / "images").iterdir()) == 1
    build(tmp_path / "again", photos, marked[:2], marked[:1], size=320, drawn=3, drawn_test=3, seed=1)
    for path in (tmp_path / "out" / "train").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(tmp_path / "out")).read_bytes()


def test_a_tile_keeps_its_plates_where_they_are_and_paints_over_halves():
    photo = np.zeros((100, 250, 3), np.uint8)
    photo[..., 0], photo[..., 1] = np.arange(100)[:, None], np.arange(250)  # each pixel says where it lies
    boxes = np.array([(140.0, 40.0, 160.0, 50.0), (100.0, 40.0, 130.0, 52.0), (2.0, 2.0, 12.0, 8.0)])
    halves = 0
    for seed in range(40):
        crop, left = tile(photo, boxes, 64, np.random.default_rng(seed))
        assert crop.shape == (64, 64, 3)
        y, x = (int(crop[..., i].max()) - 63 for i in (0, 1))
        cut = np.clip(boxes - (x, y, x, y), 0, 64)
        share = np.prod(cut[:, 2:] - cut[:, :2], axis=1) / np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        assert np.array_equal(left, boxes[share >= 0.6] - (x, y, x, y))
        for x1, y1, x2, y2 in cut[(share > 0.05) & (share < 0.6)].astype(int):
            halves += 1
            assert np.ptp(crop[y1:y2, x1:x2].reshape(-1, 3), axis=0).max() == 0
    assert halves


def test_tiles_hold_wide_plates_whole(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    cv2.imwrite(str(photos / "a.jpg"), np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8))
    marked = [Marked("a.jpg", np.array([(10.0, 100.0, 390.0, 190.0)]), NONE, NONE)]
    build(tmp_path / "out", photos, marked, marked, size=400, tiles=200, drawn=0, drawn_test=0)
    labels = sorted((tmp_path / "out" / "train" / "labels").iterdir())
    assert len(labels) >= 3
    for label in labels:
        whole = cv2.imread(str(tmp_path / "out" / "train" / "images" / f"{label.stem}.jpg")).shape == (150, 200, 3)
        found = [float(v) for v in label.read_text().split()[1:5]]
        assert not (whole and found) or found == pytest.approx([0.5, 145 / 300, 0.95, 0.3])
    assert [float(v) for v in labels[0].read_text().split()[1:5]] == pytest.approx([0.5, 145 / 300, 0.95, 0.3])


def test_an_earlier_models_false_positives_teach_and_what_it_is_sure_of_is_painted_over(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    photo = np.full((300, 300, 3), 90, np.uint8)
    photo[200:210, 200:240] = (255, 0, 0)  # a sign, which the earlier model doubts
    photo[40:50, 200:240] = (0, 255, 0)  # a plate that nobody marked
    cv2.imwrite(str(photos / "a.png"), photo[:, :, ::-1])
    marked = [Marked("a.png", np.array([(30.0, 30.0, 70.0, 42.0)]), NONE, NONE)]
    found = np.array([(31.0, 30.0, 70.0, 42.0), (200.0, 200.0, 240.0, 210.0), (198.0, 38.0, 242.0, 52.0)])
    counts = build(
        tmp_path / "out", photos, marked, marked, size=300, tiles=64, drawn=0, drawn_test=0,
        alarms=lambda _: (found, np.array([0.9, 0.3, 0.8])),
    )  # fmt: skip
    assert (counts["false positives"], counts["likely plates"]) == (1, 1)
    tiles = [cv2.imread(str(p))[:, :, ::-1].astype(int) for p in (tmp_path / "out" / "train" / "images").iterdir()]
    assert any(((t[..., 0] > 180) & (t[..., 1] < 80)).any() for t in tiles)
    assert not any(((t[..., 1] > 230) & (t[..., 0] < 80)).any() for t in tiles)  # in its mean color now


def test_what_an_earlier_model_found_is_sorted():
    plates = np.array([(0.0, 0.0, 40.0, 10.0)])
    found = np.array(
        [(2.0, 0.0, 40.0, 10.0), (100.0, 0.0, 140.0, 10.0), (200.0, 0.0, 240.0, 10.0), (0.0, 50.0, 9.0, 60.0)]
    )
    wrong, likely = sorted_alarms(plates, found, np.array([0.9, 0.2, 0.7, 0.05]))
    assert wrong.tolist() == [[100.0, 0.0, 140.0, 10.0]]
    assert likely.tolist() == [[200.0, 0.0, 240.0, 10.0]]
    wrong, likely = sorted_alarms(NONE, found[1:2], np.array([0.2]))
    assert len(wrong) == 1


def test_hard_negatives_need_tiles(tmp_path):
    with pytest.raises(SettingsError, match="tiles"):
        from_coco(tmp_path, tmp_path / "c.json", tmp_path / "out", hard_negatives="plates")


def test_the_whole_way_without_detectors(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    images, marks = [], []
    for i in range(4):
        cv2.imwrite(str(photos / f"ride{i % 2}-{i}.jpg"), np.full((60, 80, 3), 90 + i, np.uint8))
        images.append({"id": i, "file_name": f"ride{i % 2}-{i}.jpg"})
        marks.append({"image_id": i, "category_id": 2, "bbox": [10, 20, 30, 10]})
    coco = tmp_path / "c.json"
    coco.write_text(json.dumps({"images": images, "annotations": marks}))
    options = {"drawn": 1, "is_cleaned": False}
    counts = from_coco(photos, coco, tmp_path / "out", held_out=("ride1-*",), **options)
    assert (counts["whole"], counts["val"], counts["drawn"]) == (2, 2, 1)
    assert sorted(p.name for p in (tmp_path / "out" / "val" / "images").iterdir()) == ["ride1-1.jpg", "ride1-3.jpg"]
    with pytest.raises(AnnotationError, match="held out"):
        from_coco(photos, coco, tmp_path / "again", held_out=("nothing",), **options)
