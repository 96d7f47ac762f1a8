"""No request makes FiftyOne's server build an object of a class that a browser names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from anonymize import images, records
from anonymize.records import Header, Record
from anonymize.regions import Region
from anonymize.settings import Settings
from review.guarded.server import ReviewServer
from review.reviews import NOTHING, Review, Reviews, User

FACE = Region("face", (10, 10, 30, 34), 0.9, {"one": 0.9})


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory, fiftyone_home: Path) -> Reviews:
    home = tmp_path_factory.mktemp("walls")
    (home / "in").mkdir()
    Image.new("RGB", (100, 80), "teal").save(home / "in" / "a.jpg")
    known = [Record("a.jpg", images.sha256(home / "in" / "a.jpg"), 100, 80, (FACE,), detectors={"one": {}})]
    records.write(home / "records.jsonl", Header(str(home / "in"), Settings()), known)
    found = Reviews()
    found.open(home / "records.jsonl")
    return found


@pytest.fixture(scope="module")
def review(reviews: Reviews) -> Review:
    return reviews.of(User("ana", "ana"))[0]


@pytest.fixture(scope="module")
def client(reviews: Reviews, review: Review) -> Iterator[TestClient]:
    server = ReviewServer(reviews, who=lambda _: User("ana", "ana"))
    app = Starlette(routes=[Mount("/review", server)])
    with TestClient(app, raise_server_exceptions=False, follow_redirects=False) as c:
        c.get("/review/open", params={"name": review.name})
        yield c


def test_what_fiftyone_fails_at_is_a_request_that_cannot_be_answered(client: TestClient, review: Review):
    stage = {"_cls": "fiftyone.core.stages.Match", "kwargs": [["no such argument", 1]]}
    body = {"dataset": review.name, "filters": {}, "modal": False, "view": [stage]}
    answer = client.post("/review/tagging", json=body)
    assert (answer.status_code, answer.text) == (400, NOTHING)


def named(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """A class in the form that FiftyOne calls a stage."""
    return {"_cls": name, "kwargs": [list(pair) for pair in given.items()]}


def literal(name: str, given: dict[str, Any]) -> str:
    """The same in the text of a query."""
    pairs = ", ".join(f'["{key}", {str(value)!r}]' for key, value in given.items()).replace("'", '"')
    return f'{{_cls: "{name}", kwargs: [{pairs}]}}'


def attacks(name: str, cls: str, given: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every place where FiftyOne takes a class's name from a request."""
    keyed, staged, told = {cls: given}, [named(cls, given)], literal(cls, given)
    base = {"dataset": name, "view": []}
    yield "tagging", {**base, "extended": keyed}
    yield "values", {**base, "path": "photo", "extended": keyed}
    yield "sort", {**base, "filters": {}, "extended": keyed}
    for route in ("tagging", "values", "aggregate", "sort"):
        yield route, {"dataset": name, "view": staged, "path": "photo", "filters": {}}
    yield "aggregate", {**base, "aggregations": staged}
    for operator in ("next", "panel", "preview"):
        run = {"operator_uri": f"@anonymize/review/{operator}", "dataset_name": name, "params": {}}
        yield "operators/execute", {**run, "extended": keyed, "view": [], "filters": {}}
        yield "operators/execute", {**run, "extended": {}, "view": staged, "filters": {}}
        yield "operators/resolve-type", {**run, "extended": keyed, "view": [], "target": "inputs"}
    yield "operators/resolve-placements", {"dataset_name": name, "extended": keyed, "view": []}
    yield "event", {"event": "set_spaces", "subscription": "s", "data": {"spaces": named(cls, given)}}
    start = {"dataset": name, "view": staged}
    yield "events", {"initializer": start, "events": [], "subscription": "s", "polling": True}
    yield "events", {"initializer": {"_CLS": cls, **given}, "events": [], "subscription": "s", "polling": True}

    form = "query Q($form: AggregationForm!) { aggregations(form: $form) { __typename } }"
    inner = {"dataset": name, "mixed": False, "hiddenLabels": [], "paths": ["photo"], "sampleIds": [], "view": []}
    yield "graphql", {"query": form, "variables": {"form": {**inner, "extendedStages": keyed}}}
    yield "graphql", {"query": form, "variables": {"form": {**inner, "view": staged}}}
    many = "query Q($d: String!, $e: BSON, $v: BSONArray!) "
    many += "{ samples(dataset: $d, view: $v, extendedStages: $e) { __typename } }"
    yield "graphql", {"query": many, "variables": {"d": name, "v": [], "e": keyed}}
    yield "graphql", {"query": many, "variables": {"d": name, "v": staged}}
    for text in (
        f'{{ samples(dataset: "{name}", first: 1, view: [{told}]) {{ __typename }} }}',
        f'{{ samples(dataset: "{name}", first: 1, view: {told}) {{ __typename }} }}',
        f'{{ dataset(name: "{name}", view: [{told}]) {{ name }} }}',
        f'{{ schemaForViewStages(datasetName: "{name}", viewStages: [{told}]) {{ __typename }} }}',
        f'query Q($v: BSONArray = [{told}]) {{ dataset(name: "{name}", view: $v) {{ name }} }}',
        f'{{ dataset(name: "{name}", view: []) {{ stages(view: [{told}]) }} }}',
        f'{{ ... @include(if: true) {{ dataset(name: "{name}", view: [{told}]) {{ name }} }} }}',
        f'mutation {{ setView(subscription: "s", datasetName: "{name}", view: [{told}], form: {{}}) }}',
    ):
        yield "graphql", {"query": text}
    form = {"addStages": staged, "sampleIds": [], "labels": []}
    setting = "mutation M($v: BSONArray!, $f: StateForm!, $d: String!) "
    setting += '{ setView(subscription: "s", view: $v, datasetName: $d, form: $f) }'
    yield "graphql", {"query": setting, "variables": {"v": [], "d": name, "f": form}}
    yield "graphql", {"query": setting, "variables": {"v": staged, "d": name, "f": {}}}


@pytest.mark.parametrize("cls", ["subprocess.Popen", "os.system", "pathlib.Path.touch", "Popen"])
def test_no_request_builds_an_object_of_a_class_that_it_names(
    client: TestClient, review: Review, tmp_path: Path, cls: str
):
    made = tmp_path / "made"
    given: dict[str, Any] = {
        "subprocess.Popen": {"args": ["touch", str(made)]},
        "os.system": {"command": f"touch {made}"},
        "pathlib.Path.touch": {"self": str(made)},
        "Popen": {"args": str(made)},
    }[cls]
    let_in = []
    for route, body in attacks(review.name, cls, given):
        answer = client.post(f"/review/{route}", json=body)
        if answer.status_code != 403:
            let_in.append((route, answer.status_code, body))
    assert not let_in
    assert not made.exists()
