"""What our own weights are made with: folds, labels from teachers, tiles, the loss that ignored places do not enter."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from anonymize.regions import Region
from models.recipes import far, folds, hard, held_out, label, tiles
from models.recipes.boards import hang
from models.recipes.heads import Heads
from models.recipes.label import FACE, PLATE, Label

NONE = np.zeros((0, 4))
NOTHING = np.zeros((0, 5))


def test_folds_hold_neighbors_together_and_are_even():
    assert [folds.fold(f"ro-dayride_type1_001-{n}.jpg") for n in (1, 322, 323, 1291, 1292, 1613)] == [0, 0, 1, 3, 4, 4]
    assert [folds.fold(f"ro-nightride_type3_001-{n}.jpg") for n in (1, 263)] == [0, 4]
    assert len({folds.fold(f"neg-{n:03d}.jpg") for n in range(20, 30)}) == 1
    counts = np.bincount([folds.fold(f"mask-{n:03d}.jpg") for n in range(1, 854)], minlength=5)
    assert len(counts) == 5
    assert counts.min() > 130
    assert {folds.source(n) for n in ("oid-0.jpg", "ro-dayride-1.jpg", "mask-1.jpg", "neg-1.jpg")} == {
        "photos",
        "rides",
        "masks",
        "empty",
    }


def views(*rows: tuple[int, list[float]]) -> list[np.ndarray]:
    out: list[list[list[float]]] = [[], [], [], []]
    for view, row in rows:
        out[view].append(row)
    return [np.array(some, np.float64).reshape(-1, 5) for some in out]


FACE_BOX = [10.0, 10.0, 30.0, 34.0]
PERSON = np.array([[0.0, 0.0, 40.0, 120.0]])


@pytest.mark.parametrize(
    ("seen", "persons", "expected"),
    [
        (views((0, [*FACE_BOX, 0.6]), (2, [*FACE_BOX, 0.4])), PERSON, [False]),  # both, on a person: a face
        (views((0, [*FACE_BOX, 0.6]), (2, [*FACE_BOX, 0.4])), NONE, [True]),  # both, on nobody: doubtful
        (views((0, [*FACE_BOX, 0.95]), (2, [*FACE_BOX, 0.6])), NONE, [False]),  # surer: a face anywhere
        (views((0, [*FACE_BOX, 0.98]), (1, [*FACE_BOX, 0.98])), PERSON, [False]),  # one network in both of its views
        (views((0, [*FACE_BOX, 0.98])), PERSON, [True]),  # one view only
        (views((0, [*FACE_BOX, 0.98])), NONE, []),  # one network, nobody there: a hard negative
        (views((2, [0, 0, 300, 330, 0.9]), (0, [0, 0, 300, 330, 0.2])), NONE, []),  # a car taken for a face
        (views((0, [10, 10, 14, 16, 0.9]), (2, [10, 10, 14, 16, 0.9])), PERSON, [True]),  # too small to say
        (views((0, [*FACE_BOX, 0.2])), PERSON, []),
        (views(*((n, [*FACE_BOX, 0.25]) for n in range(4))), PERSON, [False]),  # all half see one where a head is
        (views(*((n, [10, 80, 30, 104, 0.25]) for n in range(4))), PERSON, [True]),  # and at the knees
    ],
)
def test_faces_that_teachers_agree_on(seen, persons, expected):
    assert [one.ignore for one in label.faces(seen, NONE, persons, NONE, is_marked=False, long_side=896)] == expected


def test_beside_marks_a_face_needs_both_networks_and_on_a_mark_nothing_is_added():
    marks = np.array([[12.0, 12.0, 30.0, 36.0]])
    small, large = [80, 10, 96, 28, 0.98], [80, 60, 100, 84, 0.98]  # what is large and nobody marked is no face
    seen = views(*((n, [*FACE_BOX, 0.9]) for n in (0, 2)), *((n, row) for n in (0, 1) for row in (small, large)))
    persons = np.array([[0.0, 0.0, 120.0, 120.0]])
    found = label.faces(seen, marks, persons, NONE, is_marked=True, long_side=896)
    assert [(one.by, one.ignore, round(one.box[1])) for one in found] == [("mark", False, 12), ("teacher", True, 10)]


def a_crowd() -> tiles.Photo:
    """A white photo with a red face, and two persons: one whose face is known, one who shows none."""
    image = np.full((200, 300, 3), 255, np.uint8)
    image[20:50, 40:64] = (0, 0, 200)  # BGR
    boxes = np.array([[40.0, 20, 64, 50]])
    persons = np.array([[30.0, 10, 74, 190], [200, 20, 260, 190]])
    data = cv2.imencode(".png", image)[1].tobytes()
    return tiles.Photo("mask-1.jpg", data, boxes, np.array([FACE]), np.array([False]), persons=persons)


def test_faces_are_pasted_onto_heads_that_show_none():
    photo, rng = a_crowd(), np.random.default_rng(0)
    image = tiles.decode(photo.data)
    heads = Heads([photo], (), rng)
    same, untouched = heads.paste(photo, image, rng, 0.0)
    assert same is photo
    assert untouched is image
    more, pasted = heads.paste(photo, image, rng, 1.0)
    assert more.classes.tolist() == [FACE, FACE]
    x1, y1, x2, y2 = more.boxes[1]
    assert 200 < (x1 + x2) / 2 < 260
    assert 20 < y1 < y2 < 60
    assert (image[20:, 200:] == 255).all()  # the photo itself stays
    assert pasted[round((y1 + y2) / 2), round((x1 + x2) / 2), 1] < 128  # the face is there
    assert (pasted[:, :200] == image[:, :200]).all()


def test_masked_faces_are_fewer_among_the_pasted():
    photo, rng = a_crowd(), np.random.default_rng(0)
    assert Heads([photo], {("mask-1.jpg", 40, 20)}, rng).count == 0  # half of the bare ones: none
    assert Heads([photo], (), rng).count == 1


def test_wheels_are_no_faces_and_drivers_may_be():
    car = np.array([[0.0, 0.0, 120.0, 60.0]])
    for y, expected in ((36, []), (4, [True])):
        seen = views(*((n, [20, y, 38, y + 20, 0.6]) for n in (0, 1, 2)))
        assert [one.ignore for one in label.faces(seen, NONE, NONE, car, is_marked=False, long_side=896)] == expected


def test_groups_hold_one_box_of_each_view():
    seen = views((0, [*FACE_BOX, 0.5]), (0, [11, 10, 30, 34, 0.4]), (1, [*FACE_BOX, 0.6]), (1, [80, 80, 90, 90, 0.3]))
    assert [sorted(view for view, _ in group) for group in label.groups(seen)] == [[0, 1], [1]]


def test_plates_that_nobody_marked_need_our_network_and_a_public_one():
    both = {"plates@640": np.array([[10, 10, 60, 30, 0.9]]), label.CLEANERS[0]: np.array([[11, 10, 60, 30, 0.5]])}
    car = np.array([[0.0, 0.0, 100.0, 60.0]])
    assert [one.ignore for one in label.unmarked_plates(both, car)] == [False]
    assert [one.ignore for one in label.unmarked_plates(both | {label.CLEANERS[0]: NOTHING}, car)] == [True]
    assert label.unmarked_plates(both, NONE) == []  # lettering on a coat


def test_labels_are_read_as_they_were_written(tmp_path: Path):
    import gzip

    person = Label(label.PERSON, (0.0, 0.0, 20.0, 40.0), by="teacher")
    some = [Label(FACE, (1.0, 2.0, 11.0, 14.0)), Label(PLATE, (-3.0, 2.0, 11.0, 14.0), True, "teacher", 0.5)]
    text = json.dumps(label.to_coco([({"file": "a.jpg", "width": 100, "height": 50}, [*some, person])]))
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(text.encode()))
    assert label.read(tmp_path / "a.json.gz") == {
        "a.jpg": [some[0], Label(PLATE, (0.0, 2.0, 11.0, 14.0), True, "teacher", 0.5)]
    }
    assert label.read(tmp_path / "a.json.gz", [label.PERSON]) == {"a.jpg": [person]}


def test_the_teachers_own_faces_are_no_truth_to_measure_them_with():
    own, theirs = Label(FACE, (0, 0, 9, 9)), Label(FACE, (20, 0, 29, 9), by="teacher")
    plate = Label(PLATE, (40, 0, 49, 9), by="teacher")
    assert [one.ignore for one in held_out.truth([own, theirs, plate], None)] == [False, True, False]
    assert held_out.truth([own, theirs, plate], [theirs]) == [plate, theirs]


def turn(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([(c, -s, 100.0), (s, c, 100.0)])


def test_boxes_after_a_turn_hold_the_ellipse_of_a_face_and_the_rectangle_of_a_plate():
    box = np.array([[-20.0, -10.0, 20.0, 10.0]])
    plate = tiles.mapped(box, np.array([PLATE]), turn(45))[0]
    face = tiles.mapped(box, np.array([FACE]), turn(45))[0]
    assert plate[2] - plate[0] == pytest.approx(60 / np.sqrt(2))
    assert face[2] - face[0] == pytest.approx(2 * np.sqrt((20**2 + 10**2) / 2))
    assert tiles.mapped(box, np.array([PLATE]), turn(90))[0] == pytest.approx([90, 80, 110, 120])


def test_pixels_and_boxes_go_through_the_same_map():
    image = np.zeros((200, 300, 3), np.uint8)
    image[60:100, 120:200] = 255
    rng = np.random.default_rng(3)
    photo = tiles.Photo("oid-a.jpg", b"", np.array([[120.0, 60, 200, 100]]), np.array([PLATE]), np.array([False]))
    for _ in range(20):
        matrix = tiles.window(photo, (200, 300), 128, rng)
        shown = tiles.cut(image, matrix, 128, (0, 0, 0))[:, :, 0] > 127
        box = np.clip(tiles.mapped(photo.boxes, photo.classes, matrix)[0], 0, 128)
        if shown.sum() < 50 or (box <= 0).any() or (box >= 128).any():
            continue
        ys, xs = np.nonzero(shown)
        assert box == pytest.approx([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], abs=2)


def test_what_a_tile_cuts_teaches_only_where_enough_is_left():
    boxes = np.array([[-30.0, 10, 70, 40], [-70.0, 50, 30, 80], [50.0, 90, 54, 93], [200, 200, 230, 230]])
    labels, classes, ignored, _ = tiles.sort_out(boxes, np.full(4, PLATE), np.zeros(4, bool), 128)
    assert labels.tolist() == [[0, 10, 70, 40]]
    assert classes.tolist() == [PLATE]
    assert ignored.tolist() == [[0, 50, 30, 80], [50, 90, 54, 93]]


def test_four_tiles_become_one_of_a_size():
    tile = tiles.Tile(
        np.zeros((32, 32, 3), np.uint8), np.array([[1.0, 2, 9, 8]]), np.array([FACE]), NONE, np.zeros(0, int)
    )
    made = tiles.mosaic([tile] * 4, 66)
    assert made.image.shape == (66, 66, 3)
    assert made.boxes.tolist() == [[1, 2, 9, 8], [33, 2, 41, 8], [1, 34, 9, 40], [33, 34, 41, 40]]


def test_a_seed_makes_the_same_tile_and_leaves_the_photo_as_it_is():
    image = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    photo = tiles.Photo("mask-1.jpg", b"", np.array([[40.0, 30, 80, 90]]), np.array([FACE]), np.array([False]))
    kept = image.copy()
    made = []
    for _ in range(2):
        rng = np.random.default_rng(5)
        plates = tiles.Plates(rng, 20)
        made.append([tiles.make(photo, image, plates, 96, rng) for _ in range(30)])
    assert (image == kept).all()
    for a, b in zip(*made, strict=True):
        assert (a.image == b.image).all()
        assert (a.boxes == b.boxes).all()
        assert len(a.boxes) == len(a.classes)
        assert (a.boxes >= 0).all()
        assert (a.boxes <= 96).all()


def test_ignored_places_do_not_enter_the_loss():
    torch = pytest.importorskip("torch")
    networks = pytest.importorskip("models.recipes.networks")
    points = torch.tensor([[4.0, 4.0], [12.0, 4.0], [20.0, 4.0]])
    ignored = torch.tensor([[1, 0, 8.0, 0.0, 16.0, 8.0]])
    out = networks.teaches(points, ignored, batch=2, classes=2)
    assert out[0].min() == 1
    assert out[1].tolist() == [[1, 1], [0, 1], [1, 1]]


def test_the_learning_rate_falls_to_the_end():
    train = pytest.importorskip("models.recipes.train")
    rates = [train.rate(x) for x in (0, 0.4, 0.6, 0.8, 1.0)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == rates[1] == 1
    assert rates[-1] == 0.01


def test_context_is_fitted_and_never_falls_with_the_score():
    from models.recipes import context

    rng = np.random.default_rng(0)
    x = np.c_[np.ones(400), rng.normal(size=(400, 3))]
    y = x[:, 1] + 2 * x[:, 2] + 0.3 * rng.normal(size=400) > 0
    weights = context.fit(x, y)
    assert weights[1] > 0
    assert weights[2] > weights[1]
    assert context.fit(x, x[:, 1] < 0)[1] == 0
    some = context.Rows(x, y, np.array(["photos", "rides"] * 200), 100)
    alone, full = (context.across(some, used) for used in (2, 4))
    assert context.loss_of(full, y) < context.loss_of(alone, y)
    assert context.missed_at(full, y, 5) < context.missed_at(alone, y, 5)
    assert context.predict(np.array([-9.0, 1, 0, 0]), x, 2.0) == pytest.approx(1 / (1 + np.exp(2 - x[:, 1])))


def test_context_candidates_are_real_or_false_or_left_out():
    from anonymize.regions import Region
    from models.recipes import context

    truth = np.array([[0.0, 0, 40, 10], [100, 0, 140, 10]])
    found = [Region("plate", (x, 0, x + 40, 10), 0.5) for x in (0, 25, 100, 200)] + [
        Region("vehicle", (0, 0, 60, 60), 0.7)
    ]
    rows = list(context.candidates(found, "plate", truth, np.array([False, True]), 640))
    assert rows == [((1.0, 0.0, 0.7, 0.0), True), ((1.0, 0.0, 0.0, 0.0), False)]


def test_halved_weights_compute_nearly_the_same():
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    ort = pytest.importorskip("onnxruntime")
    from models.recipes.export import halved

    weight = np.random.default_rng(0).normal(size=(80, 80)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 80])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 80])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    whole = model.ByteSize()
    x = np.ones((1, 80), np.float32)
    half = onnx.load_from_string(halved(model).SerializeToString())
    assert half.ByteSize() < 0.6 * whole
    found = ort.InferenceSession(half.SerializeToString()).run(None, {"x": x})[0]
    assert found == pytest.approx(x @ weight, abs=0.02)


def test_a_network_errs_where_it_misses_a_label_or_sees_what_no_teacher_half_saw():
    labels = [
        Label(PLATE, (0, 0, 40, 10), False, "mark"),
        Label(PLATE, (100, 0, 140, 10), False, "mark"),
        Label(FACE, (0, 50, 20, 70), True, "teacher"),  # missed, and doubtful
        Label(PLATE, (200, 0, 210, 4), False, "mark"),  # too small to learn from
    ]
    found = [
        Region("plate", (0, 0, 41, 10), 0.9, {}),
        Region("plate", (300, 300, 340, 310), 0.9, {}),
        Region("face", (400, 300, 440, 350), 0.9, {}),
        Region("face", (500, 300, 540, 350), 0.1, {}),
    ]
    missed, false_plate, false_face = (100, 0, 140, 10), (300, 300, 340, 310), (400, 300, 440, 350)
    assert hard.errors(found, labels, "oid-1.jpg") == [false_face, missed]  # a plate there may be one without a mark
    assert hard.errors(found, labels, "neg-1.jpg") == [false_face, missed, false_plate]


def test_tiles_are_cut_around_what_a_network_errs_on():
    ok, image = cv2.imencode(".png", np.zeros((400, 400, 3), np.uint8))
    assert ok
    photo = tiles.Photo("neg-1.png", image.tobytes(), NONE, np.zeros(0, int), np.zeros(0, bool))
    place = np.array([[300.0, 300.0, 320.0, 310.0]])
    counts = []
    for one in (photo, tiles.Photo(photo.name, photo.data, NONE, photo.classes, photo.ignored, hard=place)):
        rng = np.random.default_rng(1)
        centers = [tiles.window(one, (400, 400), 96, rng) @ (310, 305, 1) for _ in range(300)]
        counts.append(sum(bool(((c >= 0) & (c < 96)).all()) for c in centers))
    assert counts[1] > 1.3 * counts[0]


def test_photos_seen_from_farther_away_lie_beside_each_other():
    assert far.LEAST <= far.farther("oid-1.jpg", 0) <= far.MOST
    assert far.farther("oid-1.jpg", 0) != far.farther("oid-1.jpg", 1)
    places = list(far.placed([(600, 400), (400, 300), (300, 300), (900, 700)]))
    assert places == [(0, 0, 0), (0, 600, 0), (0, 0, 400), (1, 0, 0)]
    mark = {"category_id": 2, "bbox": [20, 30, 40, 16]}
    assert far.label(mark, (800, 600), 2.0, 100, 50) == {
        "category_id": 2,
        "bbox": [110, 65, 20, 8],
        "area": 160,
        "iscrowd": 0,
    }
    assert far.label(mark, (800, 600), 3.0, 0, 0)["iscrowd"] == 1  # too small
    assert far.label(mark | {"bbox": [0, 30, 40, 40]}, (800, 600), 2.0, 0, 0)["iscrowd"] == 1  # cut


def test_boards_hang_beside_what_is_to_be_avoided():
    rng = np.random.default_rng(0)
    image = np.full((200, 200, 3), 128, np.uint8)
    avoid = np.array([[0.0, 0, 100, 200]])
    hung = [hang(image, avoid, rng) for _ in range(20)]
    assert 0 < sum(hung) < 20
    assert (image[:, :95] == 128).all()
    assert image[:, 100:].std() > 20
    assert not hang(image, np.array([[0.0, 0, 200, 200]]), rng)


def test_photos_that_chose_a_presets_numbers_are_known_by_name():
    from bench.presets import LABELS, chose

    known = next(iter(label.read(LABELS / "no-plates.json.gz")))
    assert chose([f"folder/{known}", "nobody.jpg"]) == 1
