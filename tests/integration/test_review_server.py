"""The review in FiftyOne: its dataset follows the records, and the mounted App gives nothing to whom it must not.

One FiftyOne serves all tests here: it takes seconds to start.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from anonymize import images, records
from anonymize.errors import StaleDecisionError
from anonymize.evaluate.ground_truth import Annotations, Photo, Truth
from anonymize.records import Header, Record
from anonymize.regions import Region
from anonymize.settings import Settings
from review.documents import changes
from review.guarded.server import FAILED, ReviewServer
from review.loopback import COOKIE, build
from review.queue import Queue
from review.reviews import Review, Reviews, User
from review.store import ReviewStore
from review.tab_handlers import ONLY_LOOKED_AT

JSON_PATCH = {"content-type": "application/json-patch+json"}
SECRET = "kept out of sight"
SETTINGS = Settings().with_kind("face", threshold=0.5).with_kind("plate", threshold=0.25)
FACE = Region("face", (10, 10, 30, 34), 0.9, {"one": 0.9})
FAINT = Region("plate", (50, 50, 80, 60), 0.2, {"two": 0.2})
HOSTILE = '"><img src=x onerror=alert(1)>$where.jpg'


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, fiftyone_home: Path) -> Path:
    """A folder with photos, links and secrets; records name all of them, as a hostile file would."""
    home = tmp_path_factory.mktemp("photos")
    root = home / "in"
    (root / "sub").mkdir(parents=True)
    (home / "secret.txt").write_text(SECRET)
    (home / "away").mkdir()
    (home / "away" / "secret.jpg").write_text(SECRET)
    (root / "notes.txt").write_text(SECRET)
    for name in ("a.jpg", "sub/b.jpg", HOSTILE, "caf\udce9.jpg"):
        Image.new("RGB", (100, 80), "teal").save(os.fsencode(root / name), "JPEG")
    Image.new("RGB", (100, 80), "red").save(root / "c.tif")
    (root / "link.jpg").symlink_to(home / "secret.txt")
    (root / "folder").symlink_to(home / "away")
    names = ["a.jpg", "sub/b.jpg", HOSTILE, records.escape("caf\udce9.jpg"), "c.tif"]
    names += ["link.jpg", "folder/secret.jpg", "../secret.txt", "sub/../../secret.txt", "gone.jpg"]
    hashes = {"a.jpg": images.sha256(root / "a.jpg")}
    known = [Record(n, hashes.get(n, "00"), 100, 80, (FACE, FAINT), detectors={"one": {}}) for n in names]
    records.write(home / "records.jsonl", Header(records.escape(root), SETTINGS), known)
    return home


@pytest.fixture(scope="module")
def reviews(photos: Path) -> Reviews:
    return Reviews()


@pytest.fixture(scope="module")
def review(reviews: Reviews, photos: Path) -> Review:
    truth = Annotations({"a.jpg": Photo((Truth("face", (10, 10, 30, 34)), Truth("plate", (50, 50, 80, 60))))})
    return reviews.open(photos / "records.jsonl", truth=truth)


@pytest.fixture(scope="module")
def other(reviews: Reviews, photos: Path) -> Review:
    """Another visitor's upload."""
    folder = photos / "upload"
    folder.mkdir()
    Image.new("RGB", (100, 80), "red").save(folder / "theirs.jpg")
    records.write(
        photos / "theirs.jsonl", Header(str(folder), SETTINGS), [Record("theirs.jpg", "00", 100, 80, (FACE,))]
    )
    return reviews.open(photos / "theirs.jsonl", owner="bob")


@pytest.fixture(scope="module")
def client(reviews: Reviews, review: Review, other: Review) -> Iterator[TestClient]:
    server = ReviewServer(reviews, who=lambda _: User("ana", "ana"))
    app = Starlette(routes=[Mount("/review", server)])
    _ = review.dataset
    with TestClient(app, raise_server_exceptions=False, follow_redirects=False) as c:
        yield c


def sample_id(review: Review, path: str = "a.jpg") -> str:
    return str(review.dataset.samples.find_one({"photo": path})["_id"])


def nothing_in(response: object, *, codes: tuple[int, ...] = (403, 404, 405, 409)) -> None:
    assert response.status_code in codes, (response.status_code, response.text[:200])
    for word in (SECRET, "root:", "Traceback", "site-packages", str(Path.home()), "theirs"):
        assert word not in response.text


# --- the dataset ---


def test_the_dataset_shows_the_very_records(review: Review, client: TestClient):
    found = {
        d["photo"]: (d["regions_hash"], changes(d, review.store[d["photo"]])) for d in review.dataset.samples.find()
    }
    assert found == {r.path: (r.content_hash(), []) for r in review.store}


def test_views_colors_and_evaluation_patches(review: Review, client: TestClient):
    dataset = review.dataset.dataset
    counts = {name: len(dataset.load_saved_view(name)) for name in dataset.list_saved_views()}
    assert counts["missed (fn)"] == counts["leaks"] == 1
    assert counts["false positives (fp)"] == 0
    assert counts["missed (fn), 32 px and more"] == counts["false positives (fp) of one"] == 0
    assert (counts["missed (fn), under 16 px"], counts["only by one"]) == (1, 10)
    (folded,) = [g for g in dataset.app_config.sidebar_groups if g.name == "bookkeeping"]
    assert {"faint", "regions_hash", "state", "filepath"} <= set(folded.paths)
    assert counts["1 pending, riskiest first"] == len(found := list(review.store))
    scheme = dataset.app_config.color_scheme
    (hidden,) = [f for f in scheme.fields if f["path"] == "hidden"]
    shades = {v["value"]: v["color"] for v in hidden["valueColors"]}
    assert scheme.color_by == "value"
    assert len({shades["tp"], shades["fp"], shades["fn"]}) == 3
    patches = dataset.match({"photo": "a.jpg"}).to_evaluation_patches("eval")
    assert sorted(patches.values("type")) == ["fn", "tp"]
    assert dataset.first().metadata.width == 100
    assert len(found) == 10


def test_opening_the_same_records_updates_and_never_duplicates(review: Review, client: TestClient):
    import fiftyone as fo

    before = {d["photo"]: d["_id"] for d in review.dataset.samples.find()}
    again = Queue(ReviewStore(review.store.path))
    from review.dataset import ReviewDataset

    second = ReviewDataset(again, review.truth)
    assert second.update() == 0
    again.store.decide("sub/b.jpg", "flag", who="bob")
    assert second.update() == 1
    assert {d["photo"]: d["_id"] for d in second.samples.find()} == before
    assert fo.list_datasets().count(review.name) == 1
    assert second.samples.find_one({"photo": "sub/b.jpg"})["review"] == "flagged"
    again.store.decide("sub/b.jpg", "undo", who="bob")
    assert review.dataset.update() == 1


# --- photos ---


def media(client: TestClient, path: str, **more: object):
    return client.get("/review/media", params={"filepath": path}, **more)


def test_a_photo_of_the_review_is_shown(client: TestClient, photos: Path):
    for name in ("a.jpg", "sub/b.jpg", HOSTILE):
        response = media(client, f"{photos}/in/{name}")
        assert response.status_code == 200
        assert response.headers["content-type"] == "image/jpeg"
        assert response.headers["x-content-type-options"] == "nosniff"
    assert media(client, f"{photos}/in/" + records.escape("caf\udce9.jpg")).status_code == 200
    tiff = media(client, f"{photos}/in/c.tif")  # no browser shows it: decoded here
    assert tiff.headers["content-type"] == "image/jpeg"


@pytest.mark.parametrize(
    "attack",
    [
        "/etc/passwd",
        "//etc/passwd",
        "{root}/../secret.txt",
        "{root}/sub/../../secret.txt",
        "{root}/%2e%2e/secret.txt",
        "{root}/..%2fsecret.txt",
        "{root}/../../../../../../../etc/passwd",
        "{root}/link.jpg",
        "{root}/folder/secret.jpg",
        "{root}/notes.txt",
        "{root}/gone.jpg",
        "{root}/sub",
        "{root}/",
        "{root}",
        "{root}/a.jpg/",
        "{root}/./a.jpg",
        "{root}//a.jpg",
        "{root}/a.jpg\0.png",
        "{home}/records.jsonl",
        "{home}/upload/theirs.jpg",
        "file:///etc/passwd",
        "file://{root}/a.jpg",
        "../secret.txt",
        "a.jpg",
        "~/.bashrc",
        "",
        "http://127.0.0.1/",
        "{root}/\\x2e\\x2e/secret.txt",
        "{root}/" + "a" * 5000,
    ],
)
def test_any_other_file_is_refused(client: TestClient, photos: Path, attack: str):
    path = attack.format(root=f"{photos}/in", home=str(photos))
    nothing_in(media(client, path))
    nothing_in(client.get(f"/review/media?filepath={quote(quote(path, safe=''), safe='')}"))
    nothing_in(client.get(f"/review/media?filepath={quote(str(photos))}%2Fin%2Fa.jpg&filepath={quote(path, safe='')}"))


def test_ways_around_the_parameter_are_refused(client: TestClient, photos: Path):
    good = quote(f"{photos}/in/a.jpg")
    attacks = [
        "/review/media/etc/passwd",
        "/review//media?filepath=/etc/passwd",
        "/review/media;x?filepath=/etc/passwd",
    ]
    attacks += ["/review/media/../media?filepath=/etc/passwd", "/review/%2e%2e/media?filepath=/etc/passwd"]
    for attack in attacks:
        nothing_in(client.get(attack))
    for method in ("post", "put", "delete", "patch"):
        nothing_in(getattr(client, method)(f"/review/media?filepath={good}"))


def test_another_visitors_upload_is_theirs(client: TestClient, reviews: Reviews, other: Review, photos: Path):
    nothing_in(media(client, f"{photos}/upload/theirs.jpg"))
    nothing_in(client.get("/review/open", params={"name": other.name}))
    nothing_in(client.get(f"/review/datasets/{other.name}"))
    theirs = Starlette(routes=[Mount("/review", ReviewServer(reviews, who=lambda _: User("bob", "bob")))])
    assert media(TestClient(theirs), f"{photos}/upload/theirs.jpg").status_code == 200


# --- FiftyOne's routes ---


def test_the_app_is_there_and_debug_is_off(client: TestClient, review: Review):
    page = client.get("/review/open", params={"name": review.name})
    assert page.headers["location"] == f"/review/datasets/{review.name}?proxy=/review/"
    page = client.get(page.headers["location"])
    assert page.status_code == 200
    assert '<div id="root"' in page.text
    assert "default-src 'self'" in page.headers["content-security-policy"]
    nothing_in(client.post("/review/tagging", json={"dataset": review.name, "view": 7}))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/review/datasets/../../etc/passwd"),
        ("GET", "/review/datasets/%2e%2e/%2e%2e/etc/passwd"),
        ("GET", "/review/datasets/<script>alert(1)</script>"),
        ("GET", "/review/datasets/another"),
        ("GET", "/review/plugins/@anonymize/review/__init__.py"),
        ("GET", "/review/plugins/fiftyone.yml"),
        ("GET", "/review/plugins/../../../../etc/passwd"),
        ("GET", "/review/runtime-assets/x"),
        ("GET", "/review/screenshot/x"),
        ("POST", "/review/screenshot/x"),
        ("GET", "/review/features"),
        ("POST", "/review/tag"),
        ("POST", "/review/geo"),
        ("POST", "/review/embeddings/plot"),
        ("GET", "/review/ontologies"),
        ("POST", "/review/frames"),
        ("DELETE", "/review/graphql"),
        ("GET", "/review/graphql"),
        ("GET", "/review/operators/execute"),
        ("POST", "/review/operators/execute/generator"),
        ("POST", "/review/operators/subscribe-execution-store"),
        ("GET", "/review/events"),
        ("PUT", "/review/datasets/x"),
    ],
)
def test_a_route_that_a_review_does_not_need_is_not_there(client: TestClient, method: str, path: str):
    nothing_in(client.request(method, path, json={} if method != "GET" else None))


RECORDED = json.loads((Path(__file__).parents[1] / "recorded" / "fiftyone.json").read_text("utf-8"))
QUERY = RECORDED["queries"]["DatasetPageQuery"]
SAMPLES = RECORDED["queries"]["paginateSamplesQuery"]


def graphql(client: TestClient, query: str, **variables: object):
    return client.post("/review/graphql", json={"query": query, "variables": variables})


def page_of(client: TestClient, name: str, **more: object):
    return graphql(client, QUERY, name=name, view=[], extendedView=[], **more)


def samples_of(client: TestClient, name: str, view: list):
    return graphql(client, SAMPLES, dataset=name, view=view, filter={"group": None})


def test_graphql_serves_this_review_alone(client: TestClient, review: Review, other: Review):
    import fiftyone as fo

    fo.Dataset("somebody-elses-work", overwrite=True)
    good = page_of(client, review.name)
    assert good.json()["data"]["dataset"]["name"] == review.name
    assert good.json()["data"]["dataset"]["info"] == {}
    assert "somebody" not in good.text
    assert str(review.store.path.parent) not in good.text
    nothing_in(page_of(client, "somebody-elses-work"))
    nothing_in(graphql(client, QUERY + " ", name=review.name, view=[], extendedView=[]))
    nothing_in(graphql(client, "query { dataset(name: $name, view: []) { name } }", name=review.name))
    nothing_in(graphql(client, 'query { d: dataset(name: "x", view: []) { name } }'))
    for query in (
        "{ __schema { types { name } } }",
        'mutation { deleteSavedView(viewName: "x", datasetName: "x") }',
        'mutation { createSavedView(viewName: "x", datasetName: "x", viewStages: []) { id } }',
        'mutation M { setDatasetColorScheme(datasetName: "x") { id } }',
        "subscription { x }",
        "query A { version } query B { version }",
        "query { ...F } fragment F on Query { ...F }",
        'query { ...F } fragment F on Query { dataset(name: "somebody-elses-work", view: []) { name } }',
        "{{{{",
        'mutation { setView(subscription: "s", datasetName: "somebody-elses-work", view: []) }',
    ):
        nothing_in(graphql(client, query))
    nothing_in(client.post("/review/graphql", json=[{"query": QUERY}]))
    nothing_in(client.post("/review/graphql", content=b"\xff\x00"))
    nothing_in(client.post("/review/graphql", content=b"[" * 100_000))


@pytest.mark.parametrize(
    "stage",
    [
        {"_cls": "fiftyone.core.stages.Mongo", "kwargs": [["pipeline", [{"$match": {}}]]]},
        {"_cls": "fiftyone.core.stages.Concat", "kwargs": []},
        {"_cls": "os.system", "kwargs": [["command", "id"]]},
        {"_cls": "fiftyone.core.stages.Match", "kwargs": [["filter", {"$where": "sleep(1)"}]]},
        {
            "_cls": "fiftyone.core.stages.Match",
            "kwargs": [["filter", {"$expr": {"$function": {"body": "f", "args": []}}}]],
        },
        {"_cls": "fiftyone.core.stages.Match", "kwargs": [["filter", {"a": {"$lookup": {"from": "datasets"}}}]]},
    ],
)
def test_views_run_no_code_and_join_nothing(client: TestClient, review: Review, stage: dict):
    nothing_in(samples_of(client, review.name, [stage]))
    nothing_in(client.post("/review/tagging", json={"dataset": review.name, "view": [stage]}))
    good = {"_cls": "fiftyone.core.stages.Limit", "kwargs": [["limit", 1]]}
    assert len(samples_of(client, review.name, [good]).json()["data"]["samples"]["edges"]) == 1


def operate(client: TestClient, review: Review, name: object, at: str = "execute", **more: object):
    body = {"operator_uri": name, "dataset_name": review.name, "params": {}, **more}
    return client.post(f"/review/operators/{at}", json=body)


def test_only_the_reviews_own_operators_run(client: TestClient, review: Review):
    for uri in (
        "@voxel51/operators/delete_dataset",
        "@voxel51/operators/list_files",
        "@voxel51/panels/data_quality",
        "",
        None,
    ):
        nothing_in(operate(client, review, uri))
    nothing_in(operate(client, review, "@anonymize/review/next", dataset_name="somebody-elses-work"))
    nothing_in(operate(client, review, "@anonymize/review/panel", params={"__method__": "resolve_panel_config"}))
    nothing_in(operate(client, review, "@anonymize/review/export", request_delegation=True))
    listed = client.post("/review/operators", json={"dataset_name": review.name}).json()["operators"]
    uris = {o["uri"] for o in listed}
    assert {"@anonymize/review/approve", "@anonymize/review/panel"} <= uris
    assert {u for u in uris if not u.startswith("@anonymize/review/")} <= {"@voxel51/operators/get_label_schemas"}


def test_operators_decide_in_the_visitors_name(client: TestClient, review: Review):
    sample = sample_id(review)
    told = operate(client, review, "@anonymize/review/flag", current_sample=sample, params={"reviewer": "mallory"})
    assert told.status_code == 200
    decision = review.store["a.jpg"].decisions[-1]
    assert (decision["what"], decision["who"]) == ("flag", "ana")
    assert review.dataset.samples.find_one({"photo": "a.jpg"})["review"] == "flagged"
    operate(client, review, "@anonymize/review/undo", current_sample=sample)
    assert review.store["a.jpg"].review == "pending"
    label = review.dataset.samples.find_one({"photo": "a.jpg"})["candidates"]["detections"][0]
    chosen = [{"label_id": str(label["_id"]), "sample_id": sample, "field": "candidates"}]
    operate(client, review, "@anonymize/review/accept", selected_labels=chosen)
    assert [r.status for r in review.store["a.jpg"].regions] == ["auto", "accepted"]
    operate(client, review, "@anonymize/review/undo", current_sample=sample)
    drawn = {"kind": "plate", "x1": 1, "y1": 1, "x2": 9, "y2": 5}
    operate(client, review, "@anonymize/review/add", current_sample=sample, params=drawn)
    assert review.store["a.jpg"].regions[0].box == (1, 1, 9, 5)
    operate(client, review, "@anonymize/review/undo", current_sample=sample)
    preview = operate(client, review, "@anonymize/review/preview", current_sample=sample).json()
    assert preview["result"]["image"].startswith("data:image/jpeg;base64,")
    panel = operate(client, review, "@anonymize/review/panel", params={"__method__": "on_load", "panel_id": "p"})
    assert "0 of 10 approved" in panel.text


def test_what_an_operator_says_names_no_folder(
    client: TestClient, review: Review, photos: Path, monkeypatch: pytest.MonkeyPatch
):
    from review.plugin.operators import Next

    def fail(*_: object) -> None:
        raise RuntimeError(f"cannot read {photos}/records.jsonl")

    monkeypatch.setattr(Next, "act", fail)
    failed = operate(client, review, "@anonymize/review/next")
    assert failed.json()["error"] == FAILED
    asked = operate(client, review, "@anonymize/review/export", at="resolve-type", target="inputs")
    gone = operate(client, review, "@anonymize/review/preview", current_sample=sample_id(review, "gone.jpg"))
    assert "gone.jpg" in gone.text
    for answer in (failed, asked, gone):
        for word in (str(photos), "Traceback", "site-packages", str(Path(__file__).parents[2])):
            assert word not in answer.text


# --- drawing ---


def patch(client: TestClient, review: Review, changes: list, path: str = "a.jpg", field: str = ""):
    dataset = review.dataset.dataset._doc.id
    sample = review.dataset.samples.find_one({"photo": path})
    seen = base64.b64encode(sample["last_modified_at"].isoformat().encode()).decode()  # as the App sends it back
    url = f"/review/dataset/{dataset}/sample/{sample['_id']}{field}"
    return client.patch(url, json=changes, headers={"If-Match": f'"{seen}"', **JSON_PATCH})


def test_a_box_drawn_in_the_app_is_in_the_records_when_it_is_acknowledged(client: TestClient, review: Review):
    label = {"_cls": "Detection", "label": "plate", "bounding_box": [0.5, 0.5, 0.1, 0.1], "_id": {"$oid": "f" * 24}}
    response = patch(client, review, [{"op": "add", "path": "/hidden/detections/-", "value": label}])
    assert response.status_code == 200
    fresh = ReviewStore(review.store.path)["a.jpg"]  # what another process, or this one after a kill, reads
    assert fresh.regions[0].box == (50, 40, 60, 48)
    assert (fresh.regions[0].status, fresh.decisions[-1]["who"]) == ("manual", "ana")
    moved = [{"op": "replace", "path": "/bounding_box", "value": [0.5, 0.5, 0.2, 0.1]}]
    assert patch(client, review, moved, field="/hidden.detections/" + "f" * 24).status_code == 200
    assert ReviewStore(review.store.path)["a.jpg"].regions[0].box == (50, 40, 70, 48)
    review.store.decide("a.jpg", "undo", who="ana")
    review.store.decide("a.jpg", "undo", who="ana")
    review.refresh("a.jpg")
    assert review.store["a.jpg"].regions == (FACE, FAINT)


def test_a_status_that_is_set_and_set_again_in_the_app_is_the_records(client: TestClient, review: Review):
    """A drawn box that is rejected is no region any more, but the App shows it: accepted again, it is one again."""
    label = {"_cls": "Detection", "label": "plate", "bounding_box": [0.2, 0.5, 0.1, 0.1], "_id": {"$oid": "e" * 24}}

    def send(*changes: tuple[str, str, str | None]) -> list[tuple[str, str]]:
        sent = [{"op": op, "path": at, **({} if value is None else {"value": value})} for op, at, value in changes]
        response = patch(client, review, sent)
        assert response.status_code == 200
        return [(r.id, r.status) for r in ReviewStore(review.store.path)["a.jpg"].regions]

    assert patch(client, review, [{"op": "add", "path": "/candidates/detections/-", "value": label}]).status_code == 200
    sample = review.dataset.samples.find_one({"photo": "a.jpg"})
    at = [f"/candidates/detections/{n}" for n in range(len(sample["candidates"]["detections"]))]
    assert [str(found["_id"]) for found in sample["candidates"]["detections"]][-1] == "e" * 24
    drawn, faint = at[-1], at[0]
    rejected = send(("replace", f"{drawn}/status", "rejected"))
    assert rejected == [(FACE.id, "auto"), (FAINT.id, "auto")]
    assert not [d for d in review.dataset.save_edits("ana") if d]  # nor is it drawn again by itself
    accepted = send(("replace", f"{drawn}/status", "accepted"), ("remove", f"{drawn}/tags/0", None))
    assert accepted == [("e" * 24, "manual"), (FACE.id, "auto"), (FAINT.id, "auto")]
    assert "rejected" in dict(send(("replace", f"{faint}/status", "rejected"))).values()
    again = send(("replace", f"{faint}/status", "accepted"), ("remove", f"{faint}/tags/0", None))
    assert again == [("e" * 24, "manual"), (FACE.id, "auto"), (FAINT.id, "accepted")]
    for _ in range(5):
        review.store.decide("a.jpg", "undo", who="ana")
    review.refresh("a.jpg")
    assert review.store["a.jpg"].regions == (FACE, FAINT)


def test_a_page_that_is_loaded_anew_shows_what_was_decided_elsewhere(client: TestClient, review: Review):
    review.store.decide("c.tif", "flag", who="bob")
    assert review.dataset.samples.find_one({"photo": "c.tif"})["review"] == "pending"
    assert client.get(f"/review/datasets/{review.name}").status_code == 200
    assert review.dataset.samples.find_one({"photo": "c.tif"})["review"] == "flagged"
    review.store.decide("c.tif", "undo", who="bob")
    review.refresh("c.tif")


def test_drawing_on_a_photo_that_changed_meanwhile_is_refused(client: TestClient, review: Review):
    review.store.decide("sub/b.jpg", "reject", who="bob", id=FACE.id)  # FiftyOne does not know it yet
    label = {"_cls": "Detection", "label": "plate", "bounding_box": [0.5, 0.5, 0.1, 0.1]}
    response = patch(client, review, [{"op": "add", "path": "/hidden/detections/-", "value": label}], path="sub/b.jpg")
    assert response.status_code == 409
    assert "changed meanwhile (last: reject by bob" in response.json()["error"]
    assert ReviewStore(review.store.path)["sub/b.jpg"].decisions[-1]["what"] == "reject"
    shown = review.dataset.samples.find_one({"photo": "sub/b.jpg"})
    assert [d["status"] for f in ("hidden", "candidates") for d in shown[f]["detections"]] == ["rejected", "auto"]
    with pytest.raises(StaleDecisionError, match="gone"):
        review.dataset.sync("0" * 24, "ana")


@pytest.mark.parametrize(
    "change",
    [
        {"op": "replace", "path": "/filepath", "value": "/etc/passwd"},
        {"op": "replace", "path": "/record", "value": "{}"},
        {"op": "add", "path": "/hidden/detections/0/mask_path", "value": "/etc/passwd"},
        {"op": "add", "path": "/hidden/detections/-", "value": {"_cls": "Detection", "mask_path": "/etc/passwd"}},
        {"op": "copy", "from": "/record", "path": "/hidden/detections/0/label"},
        {"op": "replace", "path": "/hidden/detections/../../filepath", "value": "x"},
        {"op": "replace", "path": "", "value": {}},
        "not a change",
    ],
)
def test_a_patch_touches_labels_only(client: TestClient, review: Review, change: object):
    before = review.dataset.samples.find_one({"photo": "a.jpg"})
    nothing_in(patch(client, review, [change]))
    assert review.dataset.samples.find_one({"photo": "a.jpg"}) == before


def test_masks_are_never_written(client: TestClient, review: Review):
    dataset, sample = review.dataset.dataset._doc.id, sample_id(review)
    body = {"field": "hidden", "detection_id": "f" * 24}
    nothing_in(client.post(f"/review/dataset/{dataset}/sample/{sample}/commit-mask", json=body))
    nothing_in(patch(client, review, [{"op": "add", "path": "/mask_path", "value": "/x"}], field="/hidden/" + "f" * 24))


def test_a_public_demo_and_who_is_no_reviewer_have_no_fiftyone(reviews: Reviews, review: Review, photos: Path):
    nobody = ReviewServer(reviews, who=lambda _: User("ana", "ana", is_reviewer=False))
    public = ReviewServer(reviews, who=lambda _: User("ana", "ana"), read_only=True)
    for server in (nobody, public):
        with TestClient(Starlette(routes=[Mount("/review", server)]), follow_redirects=False) as reader:
            for method, path in ROUTES:
                if path.startswith("/review"):
                    nothing_in(reader.request(method, path.replace("name=x", f"name={review.name}")))
            nothing_in(page_of(reader, review.name))
            nothing_in(operate(reader, review, "@anonymize/review/next"))
            assert media(reader, f"{photos}/in/a.jpg").status_code == 200
            assert reader.get("/review/fiftyone.jpg").headers["content-type"] == "image/jpeg"
    refused = reader.get("/review/export", params={"name": review.name})
    assert (refused.status_code, refused.text) == (403, ONLY_LOOKED_AT)


def test_a_visitors_records_never_reach_the_shared_app(reviews: Reviews, other: Review, client: TestClient):
    import fiftyone as fo

    for read_only in (False, True):
        server = ReviewServer(reviews, who=lambda _: User("bob", "bob"), read_only=read_only)
        with TestClient(Starlette(routes=[Mount("/review", server)]), follow_redirects=False) as bob:
            mine = bob.get("/review/open", params={"name": other.name})
            assert mine.status_code == (403 if read_only else 503)
            assert read_only or "photos of one visitor stay out of it" in mine.text
            nothing_in(bob.get(f"/review/datasets/{other.name}"))
            nothing_in(page_of(bob, other.name))
    assert not other.is_shown
    assert other.name not in fo.list_datasets()


# --- who may come in ---

GETS = ["", "open?name=x", "media?filepath=/etc/passwd", "plugins", "fiftyone", "datasets/x", "assets/index.js"]
POSTS = ["graphql", "events", "event", "operators", "operators/execute", "aggregate", "values", "tagging", "sort"]
ROUTES = [
    *(("GET", f"/review/{path}") for path in GETS),
    *(("POST", f"/review/{path}") for path in POSTS),
    ("PATCH", f"/review/dataset/{'0' * 24}/sample/{'0' * 24}"),
    ("GET", "/"),
    ("GET", "/start"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_the_secret_nothing_answers(method: str, path: str):
    app = TestClient(build("the secret"), base_url="http://127.0.0.1:7861", follow_redirects=False)
    nothing_in(app.request(method, path))
    nothing_in(app.request(method, path, cookies={COOKIE: "a guess"}))
    nothing_in(app.request(method, path, cookies={COOKIE: "the secret"}, headers={"host": "evil.example"}))
    forged = {"origin": "https://evil.example"}
    nothing_in(app.request(method, path, cookies={COOKIE: "the secret"}, headers=forged))


def test_the_address_from_the_terminal_opens_the_review(photos: Path):
    app = TestClient(build("the secret"), base_url="http://127.0.0.1:7861", follow_redirects=False)
    nothing_in(app.get("/start?key=a-guess"))
    response = app.get("/start?key=the%20secret&name=n")
    assert response.status_code == 303
    assert "httponly" in response.headers["set-cookie"].lower()
    assert "samesite=strict" in response.headers["set-cookie"].lower()


def test_why_fiftyone_cannot_start_is_said(tmp_path: Path):
    """A machine without the database: everything but the App goes on."""
    import subprocess
    import sys

    code = (
        "import sys, json; sys.modules['fiftyone'] = None\n"
        "from anonymize.errors import ReviewError\n"
        "from review.dataset import fiftyone\n"
        "try: fiftyone()\n"
        "except ReviewError as e: print(e)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("FiftyOne cannot start: ")
    assert json.dumps(done.stdout)


def test_the_page_s_own_login_stands_before_every_route(tmp_path: Path):
    from anonymize.web.policy import Policy
    from tests.support.passwords import team
    from tests.support.web_site import visitor

    policy = Policy(users=team(ana="a long password"))
    mounts = {"/review": ReviewServer(Reviews())}
    with visitor(tmp_path / "data", policy, mounts=mounts, warm_up=False) as app:
        for method, path in ROUTES:
            response = app.request(method, path)
            nothing_in(response, codes=(401,) if path.startswith("/review") else (200, 303, 401, 403, 404))
        signed_in = app.get("/review/media?filepath=/etc/passwd", auth=("ana", "a long password"))
        nothing_in(signed_in, codes=(404,))
