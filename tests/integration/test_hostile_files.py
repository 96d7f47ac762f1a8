"""Whatever strangers' files hold, what reads them answers or raises an error of the tree: nothing else, no hang."""

from __future__ import annotations

import contextlib
import io
import itertools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from anonymize import records
from anonymize.evaluate import ground_truth
from anonymize.records import Record
from anonymize.settings import Settings
from anonymize.web import users
from anonymize.web.job_intake import Intake
from anonymize.web.policy import Policy
from tests.support import readers
from tests.support.hostile import NASTY, campaign, changed, odd, text_of, torn
from tests.support.readers import (
    BODY,
    COCO,
    DATA,
    FACE,
    HEADER,
    PHOTOS,
    RECORD,
    TYPES,
    USERS,
    VOC,
    YOLO,
    answers,
    empty_folder,
)
from tests.support.web_site import photo, visitor

# --- records ----------------------------------------------------------------------------------------------------------


@campaign
@given(changed([HEADER.to_dict(), RECORD.to_dict(), Record("b.png", error="broken").to_dict()]))
def test_records_with_odd_values(values: Any) -> None:
    readers.read_records(b"".join(text_of(v) + b"\n" for v in values))


@campaign
@given(torn(b"".join(text_of(v) + b"\n" for v in (HEADER.to_dict(), RECORD.to_dict()))))
def test_torn_records(lines: bytes) -> None:
    readers.read_records(lines)


@campaign
@given(changed(Settings().with_kind("screen").to_dict()), changed(FACE.to_dict()))
def test_settings_and_regions_with_odd_values(settings: Any, region: Any) -> None:
    readers.read_settings(text_of(settings))
    readers.read_settings(text_of(region))


# --- annotations ------------------------------------------------------------------------------------------------------


@campaign
@given(changed(COCO).map(text_of) | torn(text_of(COCO)))
def test_coco(data: bytes) -> None:
    readers.read_coco(data)


@campaign
@given(torn(VOC) | st.sampled_from(NASTY).map(lambda b: VOC.replace(b"face", b)))
def test_voc(data: bytes) -> None:
    readers.read_voc(data)


@campaign
@given(torn(YOLO) | st.just(YOLO), torn(yaml.safe_dump(DATA).encode()) | changed(DATA).map(text_of) | st.just(b""))
def test_yolo_and_data_yaml(labels: bytes, data: bytes) -> None:
    readers.read_yolo(labels, data)


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
    readers.read_zip(data)


@campaign
@given(NAMES)
def test_names_of_uploads(name: str) -> None:
    with empty_folder() as home:
        (home / "up").write_bytes(b"x")
        intake = Intake(home / "batch", Policy())
        answers(intake.take, home / "up", name, 100)
        assert {p for p in home.rglob("*") if p.is_file()} <= {home / "up", *intake.inputs.rglob("*")}


# --- users, keys, names of detectors ----------------------------------------------------------------------------------


@campaign
@given(torn(USERS) | st.binary(max_size=200))
def test_users_and_keys(data: bytes) -> None:
    readers.read_users(data)


@campaign
@given(st.text(max_size=60) | st.text("abcplates@-+:?<>0123456789()[] ", max_size=60))
def test_specifications_of_detectors(text: str) -> None:
    readers.read_spec(text.encode("utf-8", "replace"))


# --- bodies of the API ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with visitor(tmp_path_factory.mktemp("data")) as opened:
        yield opened


def test_bodies_of_the_api(client: Any) -> None:
    @campaign
    @given(st.sampled_from(("detect", "anonymize")), torn(BODY) | changed(COCO).map(text_of), st.sampled_from(TYPES))
    def once(path: str, body: bytes, kind: str) -> None:
        readers.request(path, body, kind, client)

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
    with empty_folder() as home:
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


@pytest.mark.parametrize("name", sorted(readers.targets()))
def test_a_guided_campaign_begins_with_files_that_are_read(name: str) -> None:
    """`bench.fuzz` changes these, and everything cut out of them."""
    read, files = readers.targets()[name]
    for data in files:
        for part in (data, data[: len(data) // 2], data[len(data) // 3 :], b""):
            read(part)
