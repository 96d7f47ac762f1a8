"""What FiftyOne's App sent in a real browser comes through, and nothing that differs from it by a key or a class."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from anonymize.records import Header, Record
from anonymize.regions import Region
from anonymize.settings import Settings
from review.documents import to_document
from review.guarded import offered, patches, queries, shapes
from review.guarded import requests as shape
from review.guarded.offered import RefusedError
from review.guarded.proxy import as_json
from review.items import rank

RECORDED = json.loads((Path(__file__).parents[1] / "recorded" / "fiftyone.json").read_text("utf-8"))
SENT = [
    (path, {**body, "query": RECORDED["queries"][body["query"]]} if path == "/graphql" else body)
    for method, path, body in RECORDED["sent"]
    if method == "POST"
]
OURS = {"DATASET", *(f"{n:024x}" for n in range(1000))}  # the recording numbers what was an id
CLASSES = (
    "subprocess.Popen",
    "os.system",
    "fiftyone.core.stages.Mongo",
    "fiftyone.core.stages.Concat",
    "builtins.eval",
)


def is_let_in(path: str, body: Any) -> bool:
    try:
        shape.check(path, body, OURS)
    except RefusedError:
        return False
    return True


def test_every_recorded_request_comes_through():
    assert len(SENT) > 20
    for path, body in SENT:
        shape.check(path, body, OURS)


# Below these keys are values: of the database's comparisons, of the panel. FiftyOne looks no class up there.
FREE = ("kwargs", "filters", "panel_state", "state", "match")


def places(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every dictionary and list in it."""
    if isinstance(value, dict | list):
        yield here
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*here, key))


def at(value: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        value = value[key]
    return value


def test_no_class_comes_through_at_any_place_of_any_request():
    """A class as a key, as a stage and as a state, put into every dictionary and list that the App sends."""
    tried = 0
    for path, body in SENT:
        for place in places(body):
            for name in CLASSES:
                stage = {"_cls": name, "kwargs": [["args", ["touch", "x"]]]}
                for changed in (
                    {name: {"args": ["touch", "x"]}},
                    stage,
                    {"_CLS": name},
                    {"extended": {name: {"args": []}}},
                    {"extendedStages": {name: {"args": []}}},
                ):
                    other = copy.deepcopy(body)
                    target = at(other, place)
                    target.update(changed) if isinstance(target, dict) else target.append(changed)
                    is_free = any(key in FREE for key in place) and not changed.keys() & {"_cls", "_CLS"}
                    assert is_free or not is_let_in(path, other), (path, place, changed)
                    tried += 1
    assert tried > 10_000


WORDS = (
    "",
    "x",
    "../../etc/passwd",
    "file:///etc/passwd",
    "http://127.0.0.1/",
    "$where",
    "__class__",
    "\0",
    "DATASET2",
)


def mutated(body: Any, chance: random.Random) -> Any:
    """One key, class, path, name or type changed."""
    other = copy.deepcopy(body)
    target = at(other, chance.choice(list(places(other))))
    keys = list(target) if isinstance(target, dict) else list(range(len(target)))
    value = chance.choice([*WORDS, None, 7, -1.5, True, [], {}, [[]], {"$where": "1"}, {"_cls": "os.system"}, *CLASSES])
    if keys and chance.random() < 0.7:
        target[chance.choice(keys)] = value
    elif isinstance(target, dict):
        target[chance.choice([*WORDS, *CLASSES, "_cls", "extended", "view", "mask_path"])] = value
    else:
        target.append(value)
    return other


def keys_of(value: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """The keys of every dictionary, with those that they are under."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield above, key
            yield from keys_of(inner, (*above, key))
    elif isinstance(value, list):
        for inner in value:
            yield from keys_of(inner, above)


@pytest.mark.parametrize("seed", range(4))
def test_mutated_requests_bring_no_key_and_no_class_that_the_app_does_not_send(seed: int):
    chance = random.Random(seed)
    there = [*(vars(shape) | vars(queries) | vars(shapes)).values(), *queries.QUERIES.values()]
    models = [m for m in there if isinstance(m, type) and issubclass(m, BaseModel)]
    known = {field.alias or name for model in models for name, field in model.model_fields.items()}
    known |= offered.CALCULATIONS | {"query", "variables", "operationName", "fiftyone.core.stages.SortBy"}
    let_in = 0
    for _ in range(2_500):
        path, body = chance.choice(SENT)
        other = mutated(body, chance)
        try:
            shape.check(path, other, OURS)  # anything but this error is a 500
        except RefusedError:
            continue
        let_in += 1
        for above, key in keys_of(other):
            assert key in known or set(above) & set(FREE), (path, above, key)
            assert key not in ("_cls", "_CLS", *CLASSES) or key == "_cls" or set(above) & set(FREE)
        for name in CLASSES:
            assert f'"_cls": "{name}"' not in json.dumps(other)
    assert let_in > 50  # a value of the same type may be another


@pytest.mark.parametrize(
    "body",
    [
        None,
        7,
        "x",
        [],
        {},
        {"query": 7},
        {"query": "{ version }"},
        {"query": ["a"]},
        {"variables": {}},
        [{"query": "x"}],
    ],
)
def test_anything_else_is_refused(body: Any):
    for path in ("/graphql", *shape.ROUTES, "/aggregate", "/tag", "/event", "/frames", "/media", ""):
        assert not is_let_in(path, body)


def test_another_dataset_is_refused_wherever_it_is_named():
    for path, body in SENT:
        text = json.dumps(body)
        if '"DATASET"' in text:
            assert not is_let_in(path, json.loads(text.replace('"DATASET"', '"another"'))), path


@pytest.mark.parametrize(
    "body", [b'{"query": "\\ud800"}', b'{"a\\udfff": 1}', b'{"a": NaN}', b'{"a": [Infinity]}', b"[" * 100_000]
)
def test_what_is_no_text_or_number_is_refused(body: bytes):
    with pytest.raises(RefusedError):
        as_json(body)


PATCHES = [body for method, _, body in RECORDED["sent"] if method == "PATCH"]
DRAWN = {"_cls": "Detection", "label": "face", "bounding_box": [0.1, 0.1, 0.2, 0.2], "_id": {"$oid": "f" * 24}}
AT = "/hidden/detections/0"


def is_patch(body: Any, is_of_label: bool = False) -> bool:
    try:
        patches.check(body, is_of_label=is_of_label)
    except RefusedError:
        return False
    return True


def test_every_recorded_patch_comes_through_and_none_with_another_key():
    assert {change["op"] for body in PATCHES for change in body} == {"add", "remove", "replace"}
    for body in PATCHES:
        patches.check(body, is_of_label=False)
        for place in places(body):
            changed = copy.deepcopy(body)
            here = at(changed, place)
            if isinstance(here, dict):
                here["mask_path"] = "/etc/passwd"
            else:
                here.append({"_cls": "subprocess.Popen"})
            assert not is_patch(changed), place


def test_a_whole_label_has_the_keys_of_our_documents():
    face = Region("face", (10, 10, 30, 30), 0.9, {"one": 0.9}, status="accepted")
    record = Record("a.jpg", "0" * 64, 100, 80, (face,))
    (item,) = rank([record], Settings())
    document = to_document(record, item, Header("/in"), Settings())
    (label,) = document["hidden"]["detections"]
    label = {**label, "_id": {"$oid": str(label["_id"])}, "eval": "tp", "eval_id": ""}
    assert is_patch([{"op": "add", "path": "/candidates/detections/-", "value": label}])
    for key, value in label.items():
        is_kept = key in ("_id", "_cls")  # what a label is stays
        assert is_patch([{"op": "replace", "path": f"{AT}/{key}", "value": value}]) != is_kept


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"{AT}/bounding_box", None),
        (f"{AT}/bounding_box", [0, 0, 1]),
        (f"{AT}/bounding_box", ["0", 0, 1, 1]),
        (f"{AT}/bounding_box/0", None),
        (f"{AT}/bounding_box/0", ""),
        (f"{AT}/bounding_box/4", 0.5),
        (f"{AT}/bounding_box/-", 0.5),
        (f"{AT}/status/0", "x"),
        (f"{AT}/tags/0", {"$ne": 1}),
        (f"{AT}/bounding_box/0", 1e9),
        (f"{AT}/rank/0", 1),
        (f"{AT}/label", {"$where": "1"}),
        (f"{AT}/label", "x" * 5000),
        (f"{AT}/attributes", {"x": {"_cls": "subprocess.Popen"}}),
        (f"{AT}/mask", "x"),
        (f"{AT}/instance", {"_cls": "Instance"}),
        (f"{AT}/_id", {"$oid": "f" * 24}),
        (f"{AT}/tags", [{"$ne": 1}]),
        (AT, {**DRAWN, "_cls": "Polyline"}),
        (AT, {**DRAWN, "points": []}),
        (AT, {k: v for k, v in DRAWN.items() if k != "bounding_box"}),
        (AT, {**DRAWN, "_id": "f" * 24}),
        ("/hidden", {"_cls": "Detections", "detections": []}),
        ("/hidden/detections", []),
        ("/context/detections/0/label", "face"),
        ("/ground_truth/detections/0", DRAWN),
        ("/label", "face"),
        ("", DRAWN),
    ],
)
def test_a_patch_that_the_app_does_not_send_is_refused(path: str, value: Any):
    assert is_patch([{"op": "add", "path": AT, "value": DRAWN}, {"op": "remove", "path": AT}])
    assert not is_patch([{"op": "replace", "path": path, "value": value}])


def test_a_patch_of_one_label_stays_in_it():
    assert is_patch([{"op": "replace", "path": "/bounding_box", "value": [0, 0, 1, 1]}], is_of_label=True)
    assert not is_patch([{"op": "replace", "path": f"{AT}/label", "value": "face"}], is_of_label=True)
    assert not is_patch([{"op": "remove", "path": f"{AT}/bounding_box"}])
    assert not is_patch([{"op": "test", "path": f"{AT}/label", "value": "face"}])
    assert not is_patch([{"op": "remove", "path": AT}] * 1001)
    assert not is_patch({"op": "remove", "path": AT})
