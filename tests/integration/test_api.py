"""The REST API: one round trip, every bad input a sentence, nothing kept, and its own description holds."""

import base64
import io
import json
import shutil
import threading
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from anonymize import images
from anonymize.detectors import FakeDetector
from anonymize.errors import DetectionError, SettingsError
from anonymize.settings import PRESETS
from anonymize.web.api import PhotoService
from anonymize.web.api_forms import Options
from anonymize.web.controls import check_detector
from anonymize.web.detector_pool import DetectorPool
from anonymize.web.policy import MB, Policy, for_public
from tests.support.web_site import DOUBTFUL, FACE, PLATE, FindsSigns, photo, several_pictures, visitor, wait_for


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def api(data):
    with visitor(data) as client:
        yield client


def post(client, path: Path, to: str = "anonymize", accept: str = "*/*", **options: object):
    files = {"image": (path.name, path.read_bytes())}
    return client.post(f"/api/v1/{to}", files=files, data=options, headers={"Accept": accept})


def test_detect_tells_all_and_which_are_hidden(api, tmp_path):
    answer = post(api, photo(tmp_path / "a.png"), "detect").json()
    assert (answer["width"], answer["height"]) == (200, 150)
    assert {(r["kind"], r["hidden"]) for r in answer["regions"]} == {("face", True), ("plate", True), ("face", False)}
    answer = post(api, photo(tmp_path / "a.png"), "detect", face_threshold="0.1", plate_threshold="0.7").json()
    hidden = {tuple(r["box"]) for r in answer["regions"] if r["hidden"]}
    assert hidden == {FACE.box, DOUBTFUL.box}


def test_a_camera_gets_its_frame_back_in_one_round_trip(api, tmp_path):
    source = photo(tmp_path / "a.png")
    answer = post(api, source, accept="image/*", effect="solid", fill="ff00ff", kernel="0,0,0", mask="rectangle")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-hidden-regions"] == "2"
    before, after = (np.asarray(Image.open(f)) for f in (source, io.BytesIO(answer.content)))
    assert (after[30:80, 40:80] == (255, 0, 255)).all()
    assert (after[110:130, 60:120] == (255, 0, 255)).all()
    assert (after[140:, :30] == before[140:, :30]).all()


def test_json_holds_the_same_picture(api, tmp_path):
    source = photo(tmp_path / "a.jpg", gps=True)
    answer = post(api, source).json()
    assert answer["media_type"] == "image/jpeg"
    assert "GPS position" in answer["removed_metadata"]
    clean = base64.b64decode(answer["image"])
    assert clean == post(api, source, accept="image/*").content
    assert not Image.open(io.BytesIO(clean)).getexif()
    assert b"Spy Camera" not in clean


def test_what_a_run_warns_of_is_in_every_answer(api, tmp_path):
    """Pictures that were left out; kinds that were found and are not hidden."""
    source = several_pictures(tmp_path / "scan.tif")
    said = ["A file holds further pictures (a burst, a second eye, a thumbnail); only the first is written."]
    with visitor(tmp_path / "data", detectors=[FindsSigns()], warm_up=False) as client:
        said.append("Found, and not hidden: 1 sign.")
        for path in ("detect", "anonymize"):
            assert post(client, source, path).json()["warnings"] == said
        assert json.loads(post(client, source, accept="image/*").headers["x-warnings"]) == said
    assert post(api, source, "detect").json()["warnings"] == said[:1]
    plain = photo(tmp_path / "a.png")
    assert post(api, plain).json()["warnings"] == []
    assert "x-warnings" not in post(api, plain, accept="image/*").headers


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "tif", "bmp"])
def test_a_photo_comes_back_in_its_own_format(api, tmp_path, extension):
    source = photo(tmp_path / f"a.{extension}")
    answer = post(api, source, accept="image/*")
    assert Image.open(io.BytesIO(answer.content)).format == Image.open(source).format
    assert Image.open(io.BytesIO(answer.content)).get_format_mimetype() == answer.headers["content-type"]


def test_nothing_is_kept(api, data, tmp_path):
    post(api, photo(tmp_path / "a.jpg"))
    assert not [p for p in data.rglob("*") if p.is_file()]


def test_photos_that_a_killed_server_left_are_deleted_at_the_next_start(tmp_path):
    """With --data the folder outlives the process."""

    class Snapshot:
        name, weights = "snapshot", {}

        def detect(self, images):
            shutil.copytree(tmp_path / "data", tmp_path / "killed", dirs_exist_ok=True)  # while a photo is looked at
            return [[] for _ in images]

    with visitor(tmp_path / "data", detectors=[Snapshot()], warm_up=False) as client:
        assert post(client, photo(tmp_path / "a.jpg")).status_code == 200
    assert [p.name for p in (tmp_path / "killed").rglob("*") if p.is_file()] == ["photo.jpg"]
    with visitor(tmp_path / "killed", warm_up=False):
        assert not [p for p in (tmp_path / "killed").rglob("*") if p.is_file()]


def test_gradio_client_may_give_metadata_as_a_list(tmp_path):
    service = PhotoService(Policy(), DetectorPool(detectors=[FakeDetector([FACE])]), tmp_path / "service")
    image = base64.b64encode(photo(tmp_path / "a.jpg", gps=True).read_bytes()).decode()
    assert service.for_gradio_client(image, {"keep_metadata": ["make"]})["image"]
    with pytest.raises(gr.Error, match="metadata field"):
        service.for_gradio_client(image, {"keep_metadata": ["gps"]})


@pytest.mark.parametrize(
    ("options", "status", "word"),
    [
        ({"face_threshold": "2"}, 422, "face_threshold"),
        ({"face_threshold": "much"}, 422, "face_threshold"),
        ({"effect": "sparkle"}, 422, "effect"),
        ({"kernel": "100,3,19"}, 400, "odd"),
        ({"kernel": "x"}, 400, "SIZE,SIGMA,FEATHER"),
        ({"kernel": "101,3,19"}, 400, "only with blur"),
        ({"fill": "ff00ff", "effect": "blur"}, 400, "only with solid"),
        ({"fill": "reddish"}, 400, "hex"),
        ({"keep_metadata": "gps"}, 400, "metadata field"),
        ({"mosaic_blocks": "0"}, 422, "mosaic_blocks"),
        ({"plate_treshold": "0.1"}, 422, "plate_threshold"),  # what is not known would silently not count
        ({"image_": "x"}, 422, "unknown field"),
        ({"effect": ["blur", "solid"]}, 400, "comes twice"),
    ],
)
def test_bad_options_are_refused_with_a_reason(api, tmp_path, options, status, word):
    answer = post(api, photo(tmp_path / "a.jpg"), **options)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert word in answer.json()["error"]


def test_options_in_the_address_are_refused(api, tmp_path):
    source = photo(tmp_path / "a.jpg")
    for to in ("detect", "anonymize"):
        answer = api.post(f"/api/v1/{to}?effect=solid", files={"image": (source.name, source.read_bytes())})
        assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert api.get("/api/v1/models?task=face").status_code == 400


def test_every_error_has_one_form(api, tmp_path):
    wrong = [api.get(path) for path in ("/api", "/api/v1", "/api/v1/nope", "/api/v2/detect", "/api/v1/detect")]
    wrong += [api.post("/api/v1/anonymize"), api.post("/api/v1/models"), post(api, photo(tmp_path / "a.jpg"), "nope")]
    for answer in wrong:
        assert answer.status_code in (404, 405, 422), answer.request.url
        assert list(answer.json()) == ["error"], answer.request.url


def test_photos_that_wait_for_the_detectors_wait_as_files(tmp_path, monkeypatch):
    """Sixteen requests that are all decoded at once would need sixteen times the memory."""
    held, loaded = threading.Event(), []

    class Held:
        name, weights = "held", {}

        def detect(self, images):
            assert held.wait(60)
            return [[] for _ in images]

    real = images.load

    def load(*args):
        loaded.append(1)
        return real(*args)

    policy = Policy()
    pool = DetectorPool(policy.defaults, detectors=[Held()])
    service = PhotoService(policy, pool, tmp_path / "service")
    monkeypatch.setattr(images, "load", load)
    source = photo(tmp_path / "a.jpg").read_bytes()

    def one():
        service.detect(io.BytesIO(source), "a.jpg", Options())

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(list(service.folder.rglob("photo.jpg"))) == 8 and len(loaded) >= 2)
    assert len(loaded) == 2
    held.set()
    for thread in threads:
        thread.join(60)
    assert len(loaded) == 8


@pytest.mark.parametrize(
    ("name", "content", "status"),
    [("a.jpg", b"", 415), ("a.jpg", b"just text", 415), ("../../etc/passwd", b"root", 415), ("a.exe", b"MZ", 415)],
)
def test_what_is_not_a_photo_is_refused(api, name, content, status):
    answer = api.post("/api/v1/anonymize", files={"image": (name, content)})
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]
    assert "Traceback" not in answer.text


def test_a_truncated_photo_is_refused(api, tmp_path):
    whole = photo(tmp_path / "a.jpg").read_bytes()
    answer = api.post("/api/v1/anonymize", files={"image": ("a.jpg", whole[: len(whole) // 2])})
    assert answer.status_code == 415


def test_a_missing_photo_and_a_body_that_is_no_form(api):
    assert api.post("/api/v1/anonymize").status_code == 422
    for media_type in ("text/plain", "image/jpeg", "application/x-www-form-urlencoded"):  # curl --data-binary
        answer = api.post("/api/v1/anonymize", content=b"pixels=1&pixels=2", headers={"Content-Type": media_type})
        assert answer.status_code == 422
        assert "-F image=@" in answer.json()["error"]
        assert "pixels" not in answer.text


@pytest.mark.parametrize("fields", [{"image": (None, "street.jpg")}, {"photo": ("a.jpg", b"x")}])  # no @; no such field
def test_a_form_without_a_photo_is_told_how_to_send_one(api, fields):
    answer = api.post("/api/v1/anonymize", files=fields)
    assert answer.status_code == 422
    assert "-F image=@street.jpg" in answer.json()["error"]


def test_too_large_a_photo(tmp_path):
    from anonymize.settings import Settings

    policy = Policy(most_upload=MB, defaults=Settings(max_megapixels=0.1))
    with visitor(tmp_path / "data", policy) as client:
        assert post(client, photo(tmp_path / "a.png", size=(500, 400))).status_code == 413
        assert client.post("/api/v1/detect", files={"image": ("a.jpg", b"x" * 3 * MB)}).status_code == 413


def test_a_detector_that_fails_is_an_error_and_never_an_empty_answer(tmp_path):
    class Broken:
        name, weights = "broken", {}

        def detect(self, images):
            raise RuntimeError("out of memory")

    with visitor(tmp_path / "data", detectors=[Broken()]) as client:
        for to in ("detect", "anonymize"):
            answer = post(client, photo(tmp_path / "a.jpg"), to)
            assert answer.status_code == 503
            assert "regions" not in answer.json()
            assert "broken failed" in answer.json()["error"]
    assert issubclass(DetectionError, Exception)


def test_a_public_server_loads_only_detectors_of_its_table(tmp_path):
    with visitor(tmp_path / "data", for_public("0.0.0.0", space=False)) as client:
        for name in ("yolo:/etc/passwd", "os:system", "package.module:Class", "../x", "retinaface-mobilenet@99999"):
            answer = post(client, photo(tmp_path / "a.jpg"), "detect", face_detector=name)
            assert answer.status_code == 400
            assert "offers" in answer.json()["error"]


def test_of_specs_a_public_server_takes_models_of_the_registry_at_bounded_sizes_and_presets():
    public = for_public("0.0.0.0", space=False)
    presets = [d for p in PRESETS.values() for d in (p.face_detector, p.plate_detector)]
    for name in ("none", "plates", "plates@64", "plates@4096", *presets):
        check_detector(name, public)
    wrong = (
        "", "yolo:x.onnx", "yolo:", "os:system", "two-stage:yolo:x.onnx", "tiled:os:system", "plates+os:system",
        "plates+", "plates@32", "plates@4128", "plates@320-1280", "plates+coco", "tiled:plates",
        "two-stage", "two-stage:plates",
    )  # fmt: skip
    for name in wrong:
        with pytest.raises(SettingsError, match="offers"):
            check_detector(name, public)
    check_detector("yolo:x.onnx", Policy())  # one's own machine


def test_a_camera_sends_frames_in_order(api, tmp_path):
    source = photo(tmp_path / "a.png")
    answers = [post(api, source, "streams/gate/frames", rate="5") for _ in range(2)]
    assert [a.json()["frame"] for a in answers] == [0, 1]
    assert all({r["kind"] for r in a.json()["regions"] if r["hidden"]} == {"face", "plate"} for a in answers)
    clean = Image.open(io.BytesIO(base64.b64decode(answers[1].json()["image"])))
    assert (np.asarray(clean)[40:70, 50:70] != np.asarray(Image.open(source))[40:70, 50:70]).any()
    picture = post(api, source, "streams/gate/frames", accept="image/*")
    assert picture.headers["content-type"] == "image/png"
    assert int(picture.headers["x-hidden-regions"]) >= 2
    assert post(api, source, "streams/a%2Fb/frames").status_code in (404, 422)
    assert post(api, source, "streams/gate/frames", rate="0").status_code == 422


def test_models_and_health(api):
    answer = api.get("/api/v1/models").json()
    assert "none" in answer["detectors"]
    assert {"retinaface-mobilenet", "safelicensing"} <= {m["name"] for m in answer["models"]}
    assert api.get("/healthz").json()["status"] in ("ok", "starting")


def test_the_description_is_served_here_and_names_no_other_host(api):
    text = api.get("/api/v1/openapi.json").text
    assert "/api/v1/anonymize" in text
    assert "https://" not in text
    assert set(api.get("/api/v1/openapi.json").json()["paths"]) == {
        "/api/v1/detect", "/api/v1/anonymize", "/api/v1/streams/{name}/frames", "/api/v1/models", "/healthz",
        "/api/v1/videos", *(f"/api/v1/videos/{{id}}{rest}" for rest in ("", "/clean", "/record")),
    }  # fmt: skip


def test_defaults_are_those_of_settings(api, tmp_path):
    answer = post(api, photo(tmp_path / "a.png"), "detect").json()
    policy = Policy()
    for region in answer["regions"]:
        known = {r.box: r for r in (FACE, DOUBTFUL, PLATE)}[tuple(region["box"])]
        assert region["hidden"] == policy.defaults.hides(known)
