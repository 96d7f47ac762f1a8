"""Whatever strangers' files hold, what reads them answers or raises an error of the tree: nothing else, no hang."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from anonymize import records
from anonymize.detectors.spec import parse
from anonymize.errors import AnonymizeError
from anonymize.evaluate import ground_truth
from anonymize.records import Header, Record
from anonymize.regions import Region
from anonymize.settings import Settings
from anonymize.training.data_yaml import read_data
from anonymize.web import policy, users
from anonymize.web.job_intake import Intake
from anonymize.web.policy import Policy
from tests.support.hostile import NASTY, campaign, changed, odd, text_of, torn
from tests.support.web_site import photo, visitor

FACE = Region(
    "face",
    (10, 10, 30, 30),
    0.9,
    {"a": 0.9},
    corners=((10, 10), (30, 10), (30, 30), (10, 30)),
    landmarks=((1, 1), (2, 1), (1.5, 2), (1, 3), (2, 3)),
    status="accepted",
)
RECORD = Record(
    "a/1.png",
    "ab" * 32,
    64,
    48,
    (FACE, Region("plate", (1, 1, 9, 4), 0.1)),
    {"a": {"w": "00"}},
    "d",
    decisions=({"who": "ana", "when": "2026-01-01T00:00:00+00:00", "what": "accept", "region": FACE.id},),
    error=None,
)
HEADER = Header("/photos", Settings(), {"a": {"w": "00"}}, review=Settings())
PHOTOS = ["1.png", "a/2.png"]
COCO = {
    "images": [{"id": 1, "file_name": "1.png", "width": 64, "height": 48}, {"id": 2, "file_name": "a/2.png"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [11, 11, 18, 18], "area": 324, "iscrowd": 0},
        {
            "id": 2,
            "image_id": 2,
            "category_id": 2,
            "bbox": [0.5, 2, 10, 10],
            "ignore": 1,
            "segmentation": [[1, 1, 5, 1, 5, 5]],
        },
    ],
    "categories": [{"id": 1, "name": "face"}, {"id": 2, "name": "license plate", "supercategory": ""}],
}
VOC = (
    b'<?xml version="1.0"?><annotation><folder>x</folder><filename>1.png</filename><size><width>64</width><height>48'
    b"</height><depth>3</depth></size><object><name>face</name><difficult>0</difficult><bndbox><xmin>10</xmin><ymin>10"
    b"</ymin><xmax>30</xmax><ymax>30</ymax></bndbox></object></annotation>"
)
YOLO = b"0 0.5 0.5 0.25 0.25\n1 0.1 0.2 0.05 0.04\n0 0.1 0.1 0.3 0.1 0.3 0.3 0.1 0.3\n"
USERS = f"# people\nana:{users.hash_password('a long password')}\n".encode()


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def answers(call: Any, *arguments: Any) -> Any:
    """What a call returns; None where it refuses with an error of the tree."""
    try:
        return call(*arguments)
    except AnonymizeError:
        return None


# --- records ----------------------------------------------------------------------------------------------------------


def read_records(lines: bytes) -> None:
    with folder() as home:
        path = home / "records.jsonl"
        path.write_bytes(lines)
        read = answers(records.read, path)
        if read is None:
            return
        header, known = read
        for record in known.values():
            answers(header.source, record)
            record.hidden(header.settings)
            record.is_approved(header.review or header.settings)
        with records.lock(path):
            answers(records.write, path, header, known.values())
        assert records.read(path) == read or any(v != v for v in numbers(read))  # NaN is not itself


def numbers(value: Any) -> Iterator[float]:
    for token in str(value).replace("nan", " nan ").split():
        with contextlib.suppress(ValueError):
            yield float(token)


@campaign
@given(changed([HEADER.to_dict(), RECORD.to_dict(), Record("b.png", error="broken").to_dict()]))
def test_records_with_odd_values(values: Any) -> None:
    read_records(b"".join(text_of(v) + b"\n" for v in values))


@campaign
@given(torn(b"".join(text_of(v) + b"\n" for v in (HEADER.to_dict(), RECORD.to_dict()))))
def test_torn_records(lines: bytes) -> None:
    read_records(lines)


@campaign
@given(changed(Settings().with_kind("screen").to_dict()), changed(FACE.to_dict()))
def test_settings_and_regions_with_odd_values(settings: Any, region: Any) -> None:
    if isinstance(found := answers(Settings.from_dict, settings), Settings):
        assert Settings.from_dict(json.loads(json.dumps(found.to_dict()))) == found
        found.export_hash()
    answers(Region.from_dict, region)


# --- annotations ------------------------------------------------------------------------------------------------------


def read_truth(source: Path, home: Path) -> None:
    found = answers(ground_truth.read, source, home, PHOTOS)
    for annotated in found.photos.values() if found else ():
        for truth in answers(annotated.at, 64, 48) or ():
            assert all(-1e7 < v < 1e7 for v in truth.box)
            assert truth.box[0] < truth.box[2]
            assert truth.box[1] < truth.box[3]


@campaign
@given(changed(COCO).map(text_of) | torn(text_of(COCO)))
def test_coco(data: bytes) -> None:
    with folder() as home:
        (home / "coco.json").write_bytes(data)
        read_truth(home / "coco.json", home)


@campaign
@given(torn(VOC) | st.sampled_from(NASTY).map(lambda b: VOC.replace(b"face", b)))
def test_voc(data: bytes) -> None:
    with folder() as home:
        (home / "voc").mkdir()
        (home / "voc" / "1.xml").write_bytes(data)
        read_truth(home / "voc", home)


DATA = {"path": ".", "train": "images/train", "val": ["images/train"], "nc": 2, "names": {0: "face", 1: "plate"}}


@campaign
@given(torn(YOLO) | st.just(YOLO), torn(yaml.safe_dump(DATA).encode()) | changed(DATA).map(text_of) | st.just(b""))
def test_yolo_and_data_yaml(labels: bytes, data: bytes) -> None:
    with folder() as home:
        for name in ("images/train", "labels/train"):
            (home / name).mkdir(parents=True)
        photo(home / "images" / "train" / "1.png")
        (home / "labels" / "train" / "1.txt").write_bytes(labels)
        (home / "labels" / "train" / "classes.txt").write_text("face\nplate\n")
        (home / "data.yaml").write_bytes(data)
        answers(ground_truth.read, home / "labels" / "train", home / "images" / "train", ["1.png"])
        answers(ground_truth.read, home / "data.yaml", home / "images" / "train", ["1.png"])
        answers(read_data, home / "data.yaml")


# --- zips -------------------------------------------------------------------------------------------------------------

NAMES = st.text(max_size=20) | st.sampled_from(
    (
        "../../x.png",
        "/etc/x.png",
        "C:\\x.png",
        "a" * 300 + ".png",
        "字" * 120 + ".png",
        "a/b/c/d/e/f.jpg",
        ".png",
        "a\nb.png",
        "con.png",
        "a.png/b.png",
        "x.png\x00.txt",
        "..",
        "\udcff.jpg",
        "__MACOSX/._a.png",
        " .png",
        "a.png.",
    )
)


@st.composite
def zips(draw: st.DrawFn) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in draw(st.lists(NAMES, min_size=1, max_size=4)):
            with contextlib.suppress(ValueError, UnicodeError, IndexError):
                how = draw(
                    st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
                )
                archive.writestr(name, draw(st.binary(max_size=40)) * draw(st.sampled_from((1, 5000))), how)
    return out.getvalue()


@campaign
@given(zips() | zips().flatmap(torn))
def test_zips(data: bytes) -> None:
    with folder() as home:
        (home / "up.zip").write_bytes(data)
        outside = home / "outside"
        intake = Intake(home / "batch" / "deep", Policy())
        answers(intake.take, home / "up.zip", "up.zip", 100_000)
        assert not outside.exists()
        there = [p for p in home.rglob("*") if p.is_file() and p.name != "up.zip"]
        assert all(p.is_relative_to(intake.inputs) for p in there)
        assert sum(p.stat().st_size for p in there) <= 100_000


@campaign
@given(NAMES)
def test_names_of_uploads(name: str) -> None:
    with folder() as home:
        (home / "up").write_bytes(b"x")
        intake = Intake(home / "batch", Policy())
        answers(intake.take, home / "up", name, 100)
        assert {p for p in home.rglob("*") if p.is_file()} <= {home / "up", *intake.inputs.rglob("*")}


# --- users, keys, names of detectors ----------------------------------------------------------------------------------


@campaign
@given(torn(USERS) | st.binary(max_size=200))
def test_users_and_keys(data: bytes) -> None:
    with folder() as home:
        path = home / "users.txt"
        path.write_bytes(data)
        for name, hashed in (answers(users.read_users, path) or {}).items():
            assert name.strip() == name
            assert users.verify("wrong", hashed) is False
        answers(policy.read_keys, path)


@campaign
@given(st.text(max_size=60) | st.text("abcplates@-+:?<>0123456789()[] ", max_size=60))
def test_specifications_of_detectors(text: str) -> None:
    answers(parse, text)


# --- bodies of the API ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with visitor(tmp_path_factory.mktemp("data")) as opened:
        yield opened


BODY = (
    b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n\x89PNG'
    b'\r\n\r\n--x\r\nContent-Disposition: form-data; name="effect"\r\n\r\nblur\r\n--x--\r\n'
)
TYPES = (
    "multipart/form-data; boundary=x",
    "multipart/form-data",
    "application/json",
    "text/plain",
    "",
    "x",
    "image/png",
)


def test_bodies_of_the_api(client: Any) -> None:
    @campaign
    @given(st.sampled_from(("detect", "anonymize")), torn(BODY) | changed(COCO).map(text_of), st.sampled_from(TYPES))
    def once(path: str, body: bytes, kind: str) -> None:
        answer = client.post(f"/api/v1/{path}", content=body, headers={"content-type": kind})
        assert 400 <= answer.status_code < 500, answer.text
        assert "Traceback" not in answer.text
        assert answer.json()

    once()


def test_fields_of_the_api(client: Any, tmp_path: Path) -> None:
    data = photo(tmp_path / "a.png").read_bytes()
    names = (
        "preset",
        "face_threshold",
        "kernel",
        "mosaic_blocks",
        "padding",
        "fill",
        "effect",
        "mask",
        "keep_metadata",
        "iou_threshold",
        "face_detector",
        "no_such",
    )

    @campaign
    @given(st.dictionaries(st.sampled_from(names), odd.map(str) | st.text(max_size=12), min_size=1, max_size=3))
    def once(fields: dict[str, str]) -> None:
        fields = {k: v.encode("utf-8", "replace").decode() for k, v in fields.items()}
        answer = client.post("/api/v1/anonymize", files={"image": ("a.png", data)}, data=fields)
        assert answer.status_code < 500, (fields, answer.text)
        assert answer.json()

    once()


def test_the_seeds_are_read() -> None:
    """Else everything would be refused for a reason of no interest."""
    with folder() as home:
        lines = b"".join(text_of(v) + b"\n" for v in (HEADER.to_dict(), RECORD.to_dict()))
        (home / "r.jsonl").write_bytes(lines)
        (home / "coco.json").write_bytes(text_of(COCO))
        (home / "voc").mkdir()
        (home / "voc" / "1.xml").write_bytes(VOC)
        (home / "users.txt").write_bytes(USERS)
        assert records.read(home / "r.jsonl")[1] == {"a/1.png": RECORD}
        counts = [len(ground_truth.read(home / n, home, PHOTOS).photos) for n in ("coco.json", "voc")]
        assert counts == [2, 1]
        assert list(itertools.chain(users.read_users(home / "users.txt"))) == ["ana"]
