"""All that reads strangers' bytes, one function each, with small valid files for a campaign to begin with.

Each function takes any bytes. It ends where they are read, or refused with an error of the project's tree; whatever
else it raises is a finding. `tests/integration/test_hostile_files.py` and `bench/fuzz.py` call them.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from anonymize import records
from anonymize.audit import certificate, containers, folder
from anonymize.detectors.spec import parse
from anonymize.errors import AnonymizeError
from anonymize.evaluate import ground_truth
from anonymize.hiding import warning_texts
from anonymize.records import Header, Record
from anonymize.regions import Region
from anonymize.risk import risk_of
from anonymize.settings import Settings
from anonymize.training.data_yaml import read_data
from anonymize.web import policy, users
from anonymize.web.job_intake import Intake
from anonymize.web.policy import Policy
from tests.support import clip_readers, fuzzing
from tests.support.hostile import text_of
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
    detectors={"a": {"w": "00"}},
    detection="d",
    decisions=(
        {
            "who": "ana",
            "when": "2026-01-01T00:00:00+00:00",
            "what": "move",
            "region": FACE.id,
            "before": FACE.replace(box=(40, 10, 60, 30), status="auto").to_dict(),
            "after": FACE.to_dict(),
        },
    ),
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
DATA = {"path": ".", "train": "images/train", "val": ["images/train"], "nc": 2, "names": {0: "face", 1: "plate"}}
USERS = f"# people\nana:{users.hash_password('a long password', 1 << 10)}\n".encode()
BODY = (
    b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n\x89PNG'
    b'\r\n\r\n--x\r\nContent-Disposition: form-data; name="effect"\r\n\r\nblur\r\n--x--\r\n'
)
PATHS = ("detect", "anonymize", "streams/a/frames", "videos")
TYPES = (
    "multipart/form-data; boundary=x",
    "multipart/form-data",
    "application/json",
    "text/plain",
    "",
    "x",
    "image/png",
)


@contextlib.contextmanager
def empty_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def answers(call: Any, *arguments: Any) -> Any:
    """What a call returns; None where it refuses with an error of the tree."""
    try:
        return call(*arguments)
    except AnonymizeError:
        return None


def numbers(value: Any) -> Iterator[float]:
    for token in str(value).replace("nan", " nan ").split():
        with contextlib.suppress(ValueError):
            yield float(token)


def read_records(lines: bytes) -> None:
    with empty_folder() as home:
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
            warning_texts(record, header.settings)
            risk_of(record, header.settings)
        with records.lock(path):
            answers(records.write, path, header, known.values())
        assert records.read(path) == read or any(v != v for v in numbers(read))  # NaN is not itself


def read_settings(data: bytes) -> None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(found := answers(Settings.from_dict, value), Settings):
        assert Settings.from_dict(json.loads(json.dumps(found.to_dict()))) == found
        found.export_hash()
    answers(Region.from_dict, value)


def read_truth(source: Path, home: Path) -> None:
    found = answers(ground_truth.read, source, home, PHOTOS)
    for annotated in found.photos.values() if found else ():
        for truth in answers(annotated.at, 64, 48) or ():
            assert all(-1e7 < v < 1e7 for v in truth.box)
            assert truth.box[0] < truth.box[2]
            assert truth.box[1] < truth.box[3]


def read_coco(data: bytes) -> None:
    with empty_folder() as home:
        (home / "coco.json").write_bytes(data)
        read_truth(home / "coco.json", home)


def read_voc(data: bytes) -> None:
    with empty_folder() as home:
        (home / "voc").mkdir()
        (home / "voc" / "1.xml").write_bytes(data)
        read_truth(home / "voc", home)


def read_yolo(labels: bytes, data: bytes = text_of(DATA)) -> None:
    with empty_folder() as home:
        for name in ("images/train", "labels/train"):
            (home / name).mkdir(parents=True)
        photo(home / "images" / "train" / "1.png")
        (home / "labels" / "train" / "1.txt").write_bytes(labels)
        (home / "labels" / "train" / "classes.txt").write_text("face\nplate\n")
        (home / "data.yaml").write_bytes(data)
        answers(ground_truth.read, home / "labels" / "train", home / "images" / "train", ["1.png"])
        answers(ground_truth.read, home / "data.yaml", home / "images" / "train", ["1.png"])
        answers(read_data, home / "data.yaml")


def read_zip(data: bytes) -> None:
    with empty_folder() as home:
        (home / "up.zip").write_bytes(data)
        outside = home / "outside"
        intake = Intake(home / "batch" / "deep", Policy())
        answers(intake.take, home / "up.zip", "up.zip", 100_000)
        assert not outside.exists()
        there = [p for p in home.rglob("*") if p.is_file() and p.name != "up.zip"]
        assert all(p.is_relative_to(intake.inputs) for p in there)
        assert sum(p.stat().st_size for p in there) <= 100_000


def read_users(data: bytes) -> None:
    with empty_folder() as home:
        path = home / "users.txt"
        path.write_bytes(data)
        for name, hashed in (answers(users.read_users, path) or {}).items():
            assert name.strip() == name
            assert users.verify("wrong", hashed) is False
        answers(policy.read_keys, path)


def read_output(data: bytes) -> None:
    """What an audit reads beside photos: an export's memory, its summary, a certificate; and a photo's container."""
    containers.check(data)
    with empty_folder() as home:
        for name in ("exports.jsonl", "summary.json", "records.jsonl", "certificate.json", "1.png.json", "1.png"):
            (home / name).write_bytes(data)
        found = answers(folder.read, home, home / "no such file" if data[:1] == b"\0" else None)
        for path in found.photos if found else ():
            list(folder.check(found, path))
        answers(certificate.verify, home / "certificate.json")


def read_spec(data: bytes) -> None:
    answers(parse, data.decode("utf-8", "replace"))


@functools.cache
def client() -> Any:
    """A server that stays up."""
    return visitor(Path(tempfile.mkdtemp(prefix="fuzz-"))).__enter__()


def request(path: str, body: bytes, kind: str, opened: Any = None) -> None:
    answer = (opened or client()).post(f"/api/v1/{path}", content=body, headers={"content-type": kind})
    assert answer.status_code < 500, answer.text
    assert "Traceback" not in answer.text
    assert answer.json()


def read_request(data: bytes) -> None:
    """A body of the API; its first byte chooses where it goes, and as what."""
    first, body = data[:1] or b"\0", data[1:]
    request(PATHS[first[0] % 2 if first[0] < 128 else 2 + first[0] % 2], body, TYPES[first[0] // 2 % len(TYPES)])


def _zip(how: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", how) as archive:
        archive.writestr("a/1.png", bytes(300))
        archive.writestr("../2.jpg", b"x")
    return out.getvalue()


def _images() -> dict[str, tuple[Callable[[bytes], Any], list[bytes]]]:
    return {f"image-{name.lower()}": (fuzzing.decode, files) for name, files in fuzzing.seeds().items()}


def targets() -> Mapping[str, tuple[Callable[[bytes], Any], list[bytes]]]:
    """Name -> the function, and valid files to begin with."""
    lines = b"".join(text_of(v) + b"\n" for v in (HEADER.to_dict(), RECORD.to_dict()))
    memory = text_of({"path": "1.png", "shows": "ab", "sha256": "cd", "file": [1, 2]}) + b"\n"
    small = io.BytesIO()
    fuzzing.Image.new("RGB", (8, 8)).save(small, "PNG")
    whole = re.sub(rb"\x89PNG\r\n", lambda _: small.getvalue(), BODY, count=1)
    files = [f for kinds in fuzzing.seeds().values() for f in kinds[:2]]
    return {
        **_images(),
        **clip_readers.targets(),
        "records": (read_records, [lines]),
        "settings": (read_settings, [text_of(Settings().with_kind("screen").to_dict()), text_of(FACE.to_dict())]),
        "coco": (read_coco, [text_of(COCO)]),
        "voc": (read_voc, [VOC]),
        "yolo": (read_yolo, [YOLO]),
        "data-yaml": (functools.partial(read_yolo, YOLO), [yaml.safe_dump(DATA).encode(), text_of(DATA)]),
        "zip": (read_zip, [_zip(zipfile.ZIP_STORED), _zip(zipfile.ZIP_DEFLATED)]),
        "users": (read_users, [USERS]),
        "spec": (read_spec, [b"plates@640+safelicensing", b"tiled(plates@1280)", b"yolo:a.onnx@640", b"a.b:C"]),
        "output": (read_output, [memory, text_of({"settings": Settings().to_dict(), "records": "r"}), *files]),
        "api": (
            read_request,
            [bytes([n]) + body for n in (0, 1, 4, 5, 128, 129) for body in (BODY, whole, text_of(COCO))],
        ),
    }
