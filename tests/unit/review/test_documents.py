"""FiftyOne samples of records: what a person changed in the App is what differs, and nothing else does."""

from __future__ import annotations

import copy
import json
import os
from types import SimpleNamespace

import pytest
from bson import BSON, ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymize.corrections import decide
from anonymize.errors import SettingsError
from anonymize.evaluate import PhotoResult
from anonymize.evaluate.ground_truth import Annotations, Photo, Truth
from anonymize.records import Header, Record, escape
from anonymize.regions import Region
from anonymize.settings import Settings
from review.dataset import ReviewDataset, keep_label_order
from review.documents import CANDIDATES, CORNERS, HIDDEN, REGION_FIELDS, TRUTH, changes, media_path, to_document
from review.items import rank

SETTINGS = Settings().with_kind("face", threshold=0.5).with_kind("plate", threshold=0.25)
HEADER = Header("/photos", SETTINGS)
WIDTH, HEIGHT = 1000, 700


def document_of(record: Record, result: PhotoResult | None = None) -> dict:
    """Through BSON, as the database gives it back."""
    (item,) = rank([record], SETTINGS)
    return BSON.encode(to_document(record, item, HEADER, SETTINGS, result)).decode()


side = st.floats(0, 1, allow_subnormal=False)


@st.composite
def regions(draw: st.DrawFn) -> Region:
    x1, x2 = sorted((draw(side) * WIDTH, draw(side) * WIDTH))
    y1, y2 = sorted((draw(side) * HEIGHT, draw(side) * HEIGHT))
    point = st.tuples(st.floats(-50, 1100), st.floats(-50, 800))
    return Region(
        draw(st.sampled_from(["face", "plate", "vehicle", "person", "id-card"])),
        (x1, y1, x2, y2),
        score=draw(st.floats(0.001, 1)),
        detector_scores=draw(
            st.dictionaries(st.sampled_from(["a@640", "my.own:Class", "$odd"]), st.floats(0, 1), max_size=2)
        ),
        corners=draw(st.none() | st.tuples(*[point] * 4)),
        landmarks=draw(st.none() | st.tuples(*[point] * 5)),
        status=draw(st.sampled_from(["auto", "auto", "auto", "accepted", "rejected", "manual"])),
        id=draw(st.just("") | st.uuids().map(str)),
    )


names = st.lists(
    st.binary(min_size=1, max_size=8).filter(lambda b: b"/" not in b and b"\0" not in b and b not in (b".", b"..")),
    min_size=1,
    max_size=3,
).map(lambda parts: escape(os.fsdecode(b"/".join(parts))))


@st.composite
def records(draw: st.DrawFn) -> Record:
    found = draw(st.lists(regions(), max_size=8, unique_by=lambda r: r.id))
    record = Record(
        draw(names), "ab" * 32, WIDTH, HEIGHT, tuple(found), detectors={"my.own:Class": {"$w": "00"}}, detection="d"
    )
    if draw(st.booleans()):
        record = decide(record, "flag", who="ana", settings=SETTINGS, note="§ odd \ud800"[:5])
    return record


@settings(max_examples=200, deadline=None)
@given(records())
def test_a_sample_that_nobody_touched_changes_nothing(record: Record):
    document = document_of(record)
    labels = [label["region"] for name in REGION_FIELDS for label in document[name]["detections"]]
    assert sorted(labels + json.loads(document["faint"])) == sorted(r.id for r in record.regions)
    assert changes(document, record) == []


@pytest.mark.parametrize(
    "name", [b"caf\xe9.jpg", "ünï/写真.jpg".encode(), b"a\\b.jpg", b"a\nb.jpg", b"$where.jpg", b"~.jpg"]
)
def test_odd_file_names_reach_the_database(name: bytes):
    record = Record(escape(os.fsdecode(name)), "00", 10, 10)
    document = document_of(record)
    assert document["photo"] == record.path
    assert media_path(HEADER, record).startswith("/photos/")


FACE = Region("face", (100, 100, 200, 220), 0.9, {"a": 0.9})
FAINT = Region("plate", (300, 300, 360, 320), 0.2, {"b": 0.2})
PLATE = Region("plate", (500, 400, 620, 440), 0.8, corners=((500, 405), (615, 400), (620, 435), (505, 440)))
RECORD = Record("a.jpg", "00", WIDTH, HEIGHT, (FACE, PLATE, FAINT), detectors={"a": {}})


def test_regions_stand_in_the_field_that_says_what_becomes_of_them():
    document = document_of(RECORD)
    assert [d["region"] for d in document[HIDDEN]["detections"]] == [FACE.id, PLATE.id]
    assert [d["region"] for d in document[CANDIDATES]["detections"]] == [FAINT.id]
    assert document[HIDDEN]["detections"][0]["bounding_box"] == [0.1, 100 / 700, 0.1, 120 / 700]
    (corners,) = document[CORNERS]["polylines"]
    assert corners["closed"]
    assert corners["points"][0][1] == [0.615, 400 / 700]


def test_hundreds_of_faint_candidates_are_kept_but_not_drawn():
    faint = tuple(Region("face", (i, 600, i + 1.5, 602), 0.002) for i in range(0, 600, 2))
    record = RECORD.replace(regions=(FACE, *faint))
    document = document_of(record)
    assert len(document[CANDIDATES]["detections"]) == 0
    assert json.loads(document["faint"]) == [r.id for r in faint]
    assert changes(document, record) == []


def test_a_crowd_that_an_export_refuses_keeps_its_ground_truth():
    few = SETTINGS.replace(max_regions=1)
    truth = Annotations({"a.jpg": Photo((Truth("face", FACE.box), Truth("face", (0, 0, 50, 50))))})
    dataset = SimpleNamespace(truth=truth, store=SimpleNamespace(settings=few))
    result = ReviewDataset._compare(dataset, RECORD)
    assert [t["eval"] for t in document_of(RECORD, result)[TRUTH]["detections"]] == ["tp", "fn"]


def edited(**by_region: dict | None) -> dict:
    document = copy.deepcopy(document_of(RECORD))
    for field in (HIDDEN, CANDIDATES):
        labels = document[field]["detections"]
        for label in list(labels):
            if label["region"] in by_region:
                change = by_region[label["region"]]
                if change is None:
                    labels.remove(label)
                else:
                    label.update(change)
    return document


def test_what_was_edited_in_the_app_becomes_decisions():
    assert changes(edited(**{FACE.id: {"bounding_box": [0.1, 0.1, 0.2, 0.2]}}), RECORD) == [
        ("move", {"id": FACE.id, "box": (100.0, 70.0, 300.0, 210.0)})
    ]
    assert changes(edited(**{FACE.id: {"label": "plate"}}), RECORD) == [("set-kind", {"id": FACE.id, "kind": "plate"})]
    assert changes(edited(**{FACE.id: None}), RECORD) == [("reject", {"id": FACE.id})]
    assert changes(edited(**{FAINT.id: {"status": "accepted"}}), RECORD) == [("accept", {"id": FAINT.id})]
    assert changes(edited(**{FACE.id: {"status": "rejected"}}), RECORD) == [("reject", {"id": FACE.id})]
    with pytest.raises(SettingsError, match="a status is"):
        changes(edited(**{FACE.id: {"status": "deleted"}}), RECORD)


def test_a_box_drawn_in_the_app_is_named_by_its_label_and_then_known():
    drawn = {"_id": ObjectId(), "_cls": "Detection", "label": "plate", "bounding_box": [0.5, 0.5, 0.7, 0.1]}
    document = edited()
    document[HIDDEN]["detections"].append(drawn)
    (change,) = changes(document, RECORD)
    assert change == ("add", {"box": (500.0, 350.0, 1000.0, 420.0), "kind": "plate", "id": str(drawn["_id"])})
    after = decide(RECORD, change[0], who="ana", settings=SETTINGS, **change[1])
    again = document_of(after)
    assert drawn["_id"] in [d["_id"] for d in again[HIDDEN]["detections"]]
    assert changes(again, after) == []
    assert changes(document, after) == []  # the App's own copy, a moment later: not drawn a second time
    drawn["label"] = None
    with pytest.raises(SettingsError, match="needs a class"):
        changes(document, RECORD)


def test_labels_stay_where_the_app_has_them_while_it_edits():
    document = edited(**{FAINT.id: {"status": "accepted"}})
    after = decide(RECORD, "accept", who="ana", settings=SETTINGS, id=FAINT.id)
    fresh = document_of(after)
    assert FAINT.id in [d["region"] for d in fresh[HIDDEN]["detections"]]
    keep_label_order(fresh, document)
    assert [d["region"] for d in fresh[CANDIDATES]["detections"]] == [FAINT.id]
    assert changes(fresh, after) == []


def test_the_sample_is_what_the_app_has_but_for_rounding():
    """Else the App, which saves what differs from what it reads, sends its own again and again."""
    given = [0.4215686274509804, 0.5164705882352941, 0.09411764705882353, 0.047058823529411764]
    document = edited(**{FACE.id: {"bounding_box": given}})
    drawn = {"_id": ObjectId(), "_cls": "Detection", "label": "plate", "bounding_box": given}
    document[HIDDEN]["detections"].append(drawn)
    after = RECORD
    for what, its in changes(document, RECORD):
        after = decide(after, what, who="ana", settings=SETTINGS, **its)
    fresh = document_of(after)
    keep_label_order(fresh, document)
    shown = fresh[HIDDEN]["detections"]
    assert [label["_id"] for label in shown] == [label["_id"] for label in document[HIDDEN]["detections"]]
    assert shown[-1]["bounding_box"] == given
    assert changes(fresh, after) == changes(document, after) == []
    (face,) = (label for label in shown if label["region"] == FACE.id)
    assert (face["status"], document[HIDDEN]["detections"][0]["status"]) == ("accepted", "auto")  # told, not asked for
    reset = {**face, "status": "auto"}
    fresh[HIDDEN]["detections"][shown.index(face)] = reset
    assert changes(fresh, after) == [("reset", {"id": FACE.id})]
    fresh[HIDDEN]["detections"][shown.index(reset)] = face
    assert face["bounding_box"] == given
    face["bounding_box"] = [given[0] + 0.02 / RECORD.width, *given[1:]]
    assert [what for what, _ in changes(fresh, after)] == ["move"]


def test_hits_misses_and_leaks_beside_the_ground_truth():
    truths = (
        Truth("face", (100, 100, 200, 220)),
        Truth("plate", (300, 300, 360, 320)),
        Truth("face", (0, 0, 5, 5), True),
    )
    result = PhotoResult("a.jpg", (FACE, PLATE), truths, (1.0, 0.0, 0.0), ((0, 0),), ())
    document = document_of(RECORD, result)
    assert [d["eval"] for d in document[HIDDEN]["detections"]] == ["tp", "fp"]
    assert [(d["eval"], d["leak"]) for d in document[TRUTH]["detections"]] == [
        ("tp", False),
        ("fn", True),
        ("ignored", False),
    ]
    assert document[HIDDEN]["detections"][0]["eval_id"] == str(document[TRUTH]["detections"][0]["_id"])
    assert (document["leaks"], document["eval_tp"], document["eval_fp"], document["eval_fn"]) == (1, 1, 1, 1)
