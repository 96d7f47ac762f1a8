"""Annotations of clips: what other programs wrote, read strictly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from anonymize.errors import AnnotationError
from anonymize.evaluate.clip_annotations import read_coco_video, read_cvat, read_mot

MOT = "1,1,10,20,30,40,1,2,1\n2,1,11,20,30,40,0,2,0.5\n\n1, 7, 1, 2, 3.5, 4, 1, 1\n"


def mot(folder: Path, text: str, labels: str = "face\nlicense plate\n") -> Any:
    (folder / "labels.txt").write_text(labels)
    (folder / "a.txt").write_text(text)
    return read_mot(folder / "a.txt", folder / "labels.txt")


def test_mot(tmp_path: Path) -> None:
    clip = mot(tmp_path, MOT)
    assert (clip.name, clip.size, clip.frames) == ("a", None, None)
    plate, face = clip.tracks
    assert (plate.id, plate.kind, plate.boxes) == ("1", "license plate", {0: (10, 20, 40, 60), 1: (11, 20, 41, 60)})
    assert plate.ignored == {1}
    assert (face.kind, face.boxes) == ("face", {0: (1, 2, 4.5, 6)})


def test_mots_folders_name_the_clip(tmp_path: Path) -> None:
    (tmp_path / "ride" / "gt").mkdir(parents=True)
    (tmp_path / "ride" / "gt" / "gt.txt").write_text(MOT)
    (tmp_path / "labels.txt").write_text("face\nplate\n")
    assert read_mot(tmp_path / "ride" / "gt" / "gt.txt", tmp_path / "labels.txt").name == "ride"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("1,1,10,20,30,40,1", "7 columns"),
        ("0,1,10,20,30,40,1,1", "numbered from 1"),
        ("1,1,10,20,0,40,1,1", "no area"),
        ("1,1,10,20,nan,40,1,1", "no area"),
        ("1,1,10,20,30,40,1,3", "class 3 has no name"),
        ("1,1,10,20,30,forty,1,1", "forty"),
        ("1.5,1,10,20,30,40,1,1", "1.5"),
        ("1,1,10,20,30,40,1,1\n1,1,10,20,30,40,1,1", "line 2: it has two boxes in frame 0"),
        ("1,1,10,20,30,40,1,1\n2,1,10,20,30,40,1,2", "'face', and a 'license plate'"),
    ],
)
def test_mot_that_is_none(tmp_path: Path, line: str, why: str) -> None:
    with pytest.raises(AnnotationError, match=why):
        mot(tmp_path, line)


def test_mot_needs_the_names_of_its_classes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(MOT)
    with pytest.raises(AnnotationError, match=r"labels\.txt"):
        read_mot(tmp_path / "a.txt", tmp_path / "labels.txt")


CVAT = """<?xml version="1.0"?><annotations><version>1.1</version>
<meta><task><size>20</size><original_size><width>640</width><height>360</height></original_size></task>
<source>ride.mp4</source></meta>
<track id="0" label="face"><box frame="0" xtl="0" ytl="0" xbr="10" ybr="10" outside="0" occluded="0" keyframe="1"/>
<box frame="4" xtl="8" ytl="4" xbr="18" ybr="14" outside="0" occluded="1" keyframe="1"/>
<box frame="5" xtl="8" ytl="4" xbr="18" ybr="14" outside="1" occluded="0" keyframe="1"/>
<box frame="9" xtl="1" ytl="1" xbr="2" ybr="2" outside="0" occluded="0" keyframe="1">
<attribute name="ignore">true</attribute></box></track></annotations>"""


def cvat(folder: Path, text: str) -> Any:
    (folder / "x.xml").write_text(text)
    return read_cvat(folder / "x.xml")


def test_cvat(tmp_path: Path) -> None:
    clip = cvat(tmp_path, CVAT)
    assert (clip.name, clip.size, clip.frames) == ("ride.mp4", (640, 360), 20)
    (thing,) = clip.tracks
    assert (thing.kind, sorted(thing.boxes), thing.ignored) == ("face", [0, 1, 2, 3, 4, 9], {9})
    assert thing.boxes[2] == (4, 2, 14, 12)


@pytest.mark.parametrize(
    ("was", "now", "why"),
    [
        ('label="face"', "", "no label"),
        ("<box frame", "<polygon frame", "no|made of"),
        ('frame="9"', "", "frame"),
        ('xtl="8"', 'xtl="eight"', "eight"),
        ('xbr="10"', 'xbr="0"', "no area"),
        ('frame="4"', 'frame="0"', "two boxes"),
        ('occluded="1"', 'occluded="1" rotation="30"', "rotated"),
        ("</annotations>", "", "not CVAT"),
        ("<track", '<image id="0"/><track', "export as CVAT for video"),
    ],
)
def test_cvat_that_is_none(tmp_path: Path, was: str, now: str, why: str) -> None:
    with pytest.raises(AnnotationError, match=why):
        cvat(tmp_path, CVAT.replace(was, now, 1))


def coco(**changes: Any) -> dict[str, Any]:
    good = {
        "videos": [{"id": 1, "name": "a", "width": 640, "height": 360}, {"id": 2, "file_name": "b.mp4"}],
        "categories": [{"id": 1, "name": "face"}],
        "images": [{"id": 10 + n, "video_id": 1, "frame_id": n} for n in range(3)],
        "annotations": [
            {"id": 1, "image_id": 10, "category_id": 1, "instance_id": 5, "bbox": [1, 2, 3, 4]},
            {"id": 2, "image_id": 12, "category_id": 1, "track_id": 5, "bbox": [2, 2, 3, 4], "iscrowd": 1},
            {"id": 3, "video_id": 2, "category_id": 1, "bboxes": [None, [1, 1, 2, 2], None]},
        ],
    }
    return {**good, **changes}


def read_coco(folder: Path, data: dict[str, Any]) -> Any:
    (folder / "a.json").write_text(json.dumps(data))
    return read_coco_video(folder / "a.json")


def test_coco_of_both_forms(tmp_path: Path) -> None:
    first, second = read_coco(tmp_path, coco())
    assert (first.name, first.size, first.frames) == ("a", (640, 360), 3)
    assert first.tracks[0].boxes == {0: (1, 2, 4, 6), 2: (2, 2, 5, 6)}
    assert first.tracks[0].ignored == {2}
    assert (second.name, second.size, second.frames) == ("b.mp4", None, None)
    assert second.tracks[0].boxes == {1: (1, 1, 3, 3)}


BOX = {"id": 1, "image_id": 10, "category_id": 1, "instance_id": 5, "bbox": [1, 2, 3, 4]}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"videos": []}, "videos"),
        ({"annotations": [{**BOX, "image_id": 99}]}, "99"),
        ({"annotations": [{**BOX, "category_id": 9}]}, "9"),
        ({"annotations": [{**BOX, "bbox": ["1", 2, 3, 4]}]}, "bbox"),
        ({"annotations": [{**BOX, "bbox": [1, 2, 0, 4]}]}, "no area"),
        ({"annotations": [{k: v for k, v in BOX.items() if k != "instance_id"}]}, "instance_id"),
        ({"annotations": [{k: v for k, v in BOX.items() if k != "image_id"}]}, "image_id"),
        ({"annotations": [BOX, {**BOX, "id": 2}]}, "two boxes"),
        ({"images": [{"id": 10, "video_id": 1, "frame_id": 4}], "annotations": [BOX]}, "some frames only"),
        ({"images": [{"id": 10, "video_id": 1}], "annotations": [BOX]}, "frame_id"),
        ({"videos": [{"id": 1}], "annotations": []}, "no name"),
    ],
)
def test_coco_that_is_none(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(AnnotationError, match=why):
        read_coco(tmp_path, coco(**changes))
