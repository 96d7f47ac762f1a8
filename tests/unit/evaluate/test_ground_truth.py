"""Ground truth in three formats, written by the tests; and everything that may not be passed over in silence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anonymize import labels
from anonymize.detectors import yolo
from anonymize.errors import AnnotationError
from anonymize.evaluate.ground_truth import Annotations, Photo, Truth, read

PHOTOS = ["a.jpg", "sub/b.png", "c.heic"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "images"  # the readers are given the photos' names and open none of them


def coco(tmp_path: Path, **changes) -> Path:
    data = {
        "images": [
            {"id": 7, "file_name": "a.jpg", "width": 100, "height": 80},
            {"id": 8, "file_name": "sub/b.png", "width": 200, "height": 100},
        ],
        "categories": [{"id": 1, "name": "face"}, {"id": 2, "name": "License_Plate"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 1, "bbox": [10.5, 20, 30, 40], "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 2, "bbox": [0, 0, 5, 5], "iscrowd": 1},
            {"id": 3, "image_id": 7, "category_id": 2, "bbox": [0, 0, 6, 5], "ignore": 1},
        ],
    }
    data |= changes
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(data))
    return path


def test_coco(tmp_path, folder):
    got = read(coco(tmp_path), folder, PHOTOS)
    assert got == Annotations(
        {
            "a.jpg": Photo(
                (
                    Truth("face", (10.5, 20, 40.5, 60), False, "1"),
                    Truth("plate", (0, 0, 5, 5), True, "2"),
                    Truth("plate", (0, 0, 6, 5), True, "3"),
                ),
                (100, 80),
            ),
            "sub/b.png": Photo((), (200, 100)),
        },
        unannotated=("c.heic",),
    )
    assert got.kinds == ("face", "plate")


@pytest.mark.parametrize("name", ["sub/b.png", "b.png", "elsewhere/b.png", "sub\\b.png", "/images/sub/b.png"])
def test_coco_finds_photos_by_path_else_by_their_only_name(tmp_path, folder, name):
    name = name if not name.startswith("/") else str(tmp_path) + name
    images = [{"id": 7, "file_name": name, "width": 100, "height": 80}]
    got = read(coco(tmp_path, images=images), folder, PHOTOS)
    assert list(got.photos) == ["sub/b.png"]
    assert got.missing == ()


def test_missing_photos_are_withheld_later_and_unknown_classes_counted(tmp_path, folder):
    images = [
        {"id": 7, "file_name": "a.jpg", "width": 100, "height": 80},
        {"id": 8, "file_name": "gone.jpg", "width": 100, "height": 80},
    ]
    names = [{"id": 1, "name": "head"}, {"id": 2, "name": "plate"}]
    got = read(coco(tmp_path, images=images, categories=names), folder, PHOTOS)
    assert got.missing == ("gone.jpg",)
    assert got.photos["gone.jpg"].truths == ()
    assert got.unknown == {"head": 1}
    assert [t.id for t in got.photos["a.jpg"].truths] == ["2", "3"]


BOX = {"id": 1, "image_id": 7, "category_id": 1, "bbox": [0, 0, 5, 5]}
IMAGE = {"id": 7, "file_name": "a.jpg", "width": 100, "height": 80}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"annotations": [BOX | {"image_id": 99}]}, "boxes of image 99, which it does not list"),
        ({"annotations": [BOX | {"category_id": 9}]}, "category 9, which is not listed"),
        ({"annotations": [BOX | {"bbox": [0, 0, 0, 5]}]}, "box 1 has no area"),
        (
            {"annotations": [BOX | {"bbox": [0, 0, float("nan"), 5]}]},
            r"annotations\[0\].bbox\[2\]: Input should be a fin",
        ),
        ({"annotations": [BOX, BOX | {"bbox": [0, 0, 5]}]}, r"annotations\[1\].bbox\[3\]: Field required"),
        ({"annotations": [{"id": 1, "image_id": 7, "category_id": 1}]}, r"annotations\[0\].bbox: Field required"),
        # "10" + "20" would be 1020, and the box a strip through the whole photo.
        (
            {"annotations": [BOX | {"bbox": ["10", "20", "5", "5"]}]},
            r"bbox\[0\].*valid number; received '10' \(and 3 more",
        ),
        ({"annotations": [BOX | {"bbox": [0, 0, True, 5]}]}, r"bbox\[2\].*valid number"),
        ({"images": [IMAGE | {"width": "100"}]}, r"images\[0\].width.*valid number; received '100'"),
        ({"annotations": [BOX | {"bbox": {"x": 0}}]}, r"annotations\[0\].bbox: Input should be a valid"),
        ({"images": [IMAGE, IMAGE]}, "two images with one id"),
        ({"categories": [{"id": 1, "name": "face"}, {"id": 1, "name": "plate"}]}, "two categories with one id"),
        ({"images": [IMAGE, IMAGE | {"id": 8}]}, "a.jpg is annotated twice"),
        ({"images": [IMAGE | {"file_name": "other.jpg"}]}, "none of the 1 photos"),
        ({"images": []}, "images: List should have at least 1 item"),
    ],
)
def test_broken_coco(tmp_path, folder, changes, says):
    with pytest.raises(AnnotationError, match=says):
        read(coco(tmp_path, **changes), folder, PHOTOS)


def test_name_of_two_photos_is_refused(tmp_path, folder):
    with pytest.raises(AnnotationError, match=r"'a\.jpg' fits several files: x/a\.jpg, y/a\.jpg"):
        read(coco(tmp_path), folder, ["x/a.jpg", "y/a.jpg", "sub/b.png"])


@pytest.mark.parametrize("text", ["", "not json", "[1, 2]", '{"images": 3}', "\ufffe"])
def test_not_coco(tmp_path, folder, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(AnnotationError, match=r"x\.json"):
        read(tmp_path / "x.json", folder, PHOTOS)


def test_nothing_there(tmp_path, folder):
    with pytest.raises(AnnotationError, match="there are no annotations at"):
        read(tmp_path / "nowhere", folder, PHOTOS)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("layout", ["beside images", "folder of labels", "split first"])
def test_yolo(tmp_path, folder, layout):
    split = layout == "split first"  # train/images, train/labels, as Roboflow exports them
    root = tmp_path / "train" if split else tmp_path
    write(tmp_path / "data.yaml", "names: {0: face, 1: license-plate}\n")
    write(root / "labels" / "a.txt", "0 0.5 0.5 0.2 0.4\n1 0.1 0.1 0.1 0.1\n\n")
    write(root / "labels" / "sub" / "b.txt", "1 0.1 0.1 0.9 0.1 0.9 0.2 0.1 0.2\n")  # an outline
    source = root / "labels" if layout == "folder of labels" else tmp_path / "data.yaml"
    got = read(source, root / "images", PHOTOS)
    assert [(t.kind, t.box, t.ignore) for t in got.photos["a.jpg"].at(100, 50)] == [
        ("face", (40, 15, 60, 35), False),
        ("plate", (5, 2.5, 15, 7.5), False),
    ]
    assert [t.box for t in got.photos["sub/b.png"].at(1000, 100)] == [(100, 10, 900, 20)]
    assert got.photos["c.heic"] == Photo((), (1, 1)), "no label file: nothing is there"
    assert (got.missing, got.unannotated) == ((), ())


def test_yolo_key_points_are_no_outline(tmp_path, folder):
    write(tmp_path / "data.yaml", "names: [face]\nkpt_shape: [5, 3]\n")
    write(tmp_path / "labels" / "a.txt", "0 0.5 0.5 0.2 0.4 " + "0.01 0.99 2 " * 5)
    (truth,) = read(tmp_path / "data.yaml", folder, PHOTOS).photos["a.jpg"].at(100, 50)
    assert truth.box == (40, 15, 60, 35)


def test_yolo_classes_txt_and_missing_photo(tmp_path, folder):
    write(tmp_path / "labels" / "classes.txt", "face\nplate\n")
    write(tmp_path / "labels" / "a.txt", "1 0.5 0.5 0.2 0.4")
    write(tmp_path / "labels" / "gone.txt", "1 0.5 0.5 0.2 0.4")
    got = read(tmp_path / "labels", folder, PHOTOS)
    assert got.missing == ("gone.jpg",)
    assert got.photos["a.jpg"].truths[0].kind == "plate"


@pytest.mark.parametrize(
    ("yaml", "label", "says"),
    [
        ("names: [face]", "1 0.5 0.5 0.2 0.4", "class 1 has no name"),
        ("names: [face]", "0 0.5 0.5 0.2", "line 1: it has 4 columns"),
        ("names: [face]", "\n0 0.5 0.5 0.2 x", "line 2: could not convert"),
        ("names: [face]", "0 0.5 0.5 0 0.2", "has no area"),
        # A box with a score and a track's number, or a triangle: nobody knows.
        ("names: [face]", "0 0.5 0.5 0.2 0.4 0.9 1", "line 1: it has 7 columns; a label has 5 columns, or 9, 11"),
        ("names: [face]", "0 0.5 0.5 0.2 0.4 0.9", "line 1: it has 6 columns"),
        ("names: [face]", "0 50 50 20 40", "line 1: 50 is no fraction of the photo"),
        ("names: [face]", "0 0.5 0.5 0.2 1.2", "1.2 is no fraction"),
        ("names: [face]", "0 0.5 0.5 -0.2 0.4", "-0.2 is no fraction"),
        ("names: [face]", "0 0.5 0.5 nan 0.4", "not finite"),
        ("names: [face]", "0.5 0.5 0.5 0.2 0.4", "class 0.5 has no name"),
        ("names: [face]", "-1 0.5 0.5 0.2 0.4", "class -1 has no name"),
        ("names: [face]\nkpt_shape: [4, 3]", "0 0.5 0.5 0.2 0.4 0.1 0.1", "5 columns, or 17 with key points"),
        ("names: {0: face, 2: plate}", "0 0.5 0.5 0.2 0.4", "without gaps; 1 has none"),
        ("names: [face]\nnc: 2", "0 0.5 0.5 0.2 0.4", "nc is 2, but names has 1 classes"),
        ("names: face", "0 0.5 0.5 0.2 0.4", "names is a list, or class number: name"),
        ("nc: 1", "0 0.5 0.5 0.2 0.4", "has no `names`"),
        ("names: [face", "0 0.5 0.5 0.2 0.4", "is not YAML"),
        (None, "0 0.5 0.5 0.2 0.4", "neither .xml files nor a data.yaml"),
    ],
)
def test_broken_yolo(tmp_path, folder, yaml, label, says):
    base = tmp_path / "far" / "from" / "any"
    if yaml is not None:
        write(base / "labels" / "data.yaml", yaml)
    write(base / "labels" / "a.txt", label)
    with pytest.raises(AnnotationError, match=says):
        read(base / "labels", folder, PHOTOS)


def test_yolo_without_labels(tmp_path, folder):
    write(tmp_path / "data.yaml", "names: [face]")
    with pytest.raises(AnnotationError, match="no YOLO label files"):
        read(tmp_path / "data.yaml", folder, PHOTOS)


def voc(name: str = "a.jpg", difficult: str = "0", box: str = "11 21 40 60", size: bool = True) -> str:
    x1, y1, x2, y2 = box.split()
    extent = "<size><width>100</width><height>80</height><depth>3</depth></size>" if size else ""
    return (
        f"<annotation><filename>{name}</filename>{extent}"
        f"<object><name>Number plate</name><difficult>{difficult}</difficult>"
        f"<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object></annotation>"
    )


def test_voc(tmp_path, folder):
    write(tmp_path / "xml" / "a.xml", voc())
    write(tmp_path / "xml" / "sub" / "b.xml", voc("wrong name.png", difficult="1", size=False))
    write(tmp_path / "xml" / "other.xml", voc("c.heic"))
    got = read(tmp_path / "xml", folder, PHOTOS)
    # xmin 11 is the eleventh column, 10 counted from zero; xmax 40 is the last column inside, so the box ends at 40.
    assert got.photos["a.jpg"] == Photo((Truth("plate", (10, 20, 40, 60), False, "0"),), (100, 80))
    assert got.photos["sub/b.png"] == Photo((Truth("plate", (10, 20, 40, 60), True, "0"),), None)
    assert set(got.photos) == set(PHOTOS)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<annotation", "a.xml is not a Pascal VOC file"),
        (voc().replace("xmin", "left"), "object 0: xmin: Field required"),
        (voc(box="x 1 2 3"), "xmin: Input should be a valid number.*received 'x'"),
        (voc(box="inf 1 2 3"), "xmin: Input should be a finite number"),
        (
            voc().replace("<annotation>", '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><annotation>'),
            "EntitiesForbidden",
        ),
    ],
)
def test_broken_voc(tmp_path, folder, text, says):
    write(tmp_path / "xml" / "a.xml", text)
    with pytest.raises(AnnotationError, match=says):
        read(tmp_path / "xml", folder, PHOTOS)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(
            (n, "plate")
            for n in ("plate", "license-plate", "license_plate", "License_Plate", "number plate", "Licence  Plate")
        ),
        *((n, "face") for n in ("face", " Face", "human_face")),
        *((n, None) for n in ("head", "person", "car", "", "interface")),
        ("ID Card", "id-card"),
    ],
)
def test_class_names(name, kind):
    assert labels.meant(name, ["id-card"]) == kind


@pytest.mark.parametrize("name", [*labels.KINDS, "License_Plate", "id-card"])
def test_detectors_and_ground_truth_understand_a_class_name_alike(name):
    """What a network calls `lp` and what a data set calls so are the same thing; else every one would be a miss."""
    assert labels.meant(name, ["vehicle", "person", "id-card"]) == yolo.kind_of(name)
    assert labels.meant(name) == (kind if (kind := yolo.kind_of(name)) in ("face", "plate") else None)


def test_turned_boxes_are_refused_and_resized_ones_scaled():
    photo = Photo((Truth("face", (10, 10, 20, 30)),), (100, 80))
    assert photo.at(50, 40)[0].box == (5, 5, 10, 15)
    with pytest.raises(AnnotationError, match=r"for a photo of 100x80 px, but it is 80x100 px, upright"):
        photo.at(80, 100)


def test_fractions_come_back_as_whole_pixels():
    """Written with six decimals and read as float32, 1/3 of 300 px must not become 101 columns."""
    x1, x2 = 1 / 3, 2 / 3
    photo = Photo((Truth("face", (float(f"{x1:.6f}"), 0, float(f"{x2:.6f}"), 1)),), (1, 1))
    assert photo.at(300, 10)[0].box == (100, 0, 200, 10)
