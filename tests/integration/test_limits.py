"""Disk and addresses: visitors without cookies cannot fill the disk, and a full one is a sentence, never a failure."""

from __future__ import annotations

import errno
import io
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from anonymize.errors import DetectionError, SettingsError, WeightsUnavailableError
from anonymize.settings import Settings
from anonymize.web import limits, telling
from anonymize.web.controls import check_detector, offered_detectors
from anonymize.web.detector_pool import DetectorPool
from anonymize.web.limits import Inflow, is_full, room_on_disk
from anonymize.web.policy import MB, Policy, for_public
from anonymize.web.sessions import DiskFullError, Sessions, TooManyError, new_secret
from anonymize.web.telling import message_of, without_paths
from tests.support.web_site import another, photo, visitor

Usage = namedtuple("Usage", "total used free")
FULL = OSError(errno.ENOSPC, "No space left on device", "/data/anonymize-server-x/sessions/y/photo.jpg")


def public(**changes: Any) -> Policy:
    return Policy(host="0.0.0.0", public=True, **changes)


def used(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder on a disk of 120 kB."""
    data = tmp_path / "data"
    monkeypatch.setattr(
        limits.shutil,  # type: ignore[attr-defined]
        "disk_usage",
        lambda folder: Usage(120_000, used(data), 120_000 - used(data)),
    )
    return data


def test_the_floor_fits_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, demo = Policy().least_free, for_public("0.0.0.0", space=False).least_free
    for total, of_own, of_demo in (
        (100 * MB, 20 * MB, 20 * MB),
        (10_000 * MB, 1000 * MB, 1000 * MB),
        (100_000 * MB, 1000 * MB, 5000 * MB),
        (10**13, 1000 * MB, 10_000 * MB),
    ):
        monkeypatch.setattr(shutil, "disk_usage", lambda folder, total=total: Usage(total, 0, total))
        assert room_on_disk(tmp_path / "not" / "there", own) == total - of_own
        assert room_on_disk(tmp_path, demo) == total - of_demo
        assert room_on_disk(tmp_path, 0) == total
        monkeypatch.setattr(shutil, "disk_usage", lambda folder, total=total: Usage(total, total, 0))
        assert room_on_disk(tmp_path, own) == 0


def test_uploads_without_a_cookie_leave_the_floor_free(small_disk: Path) -> None:
    with visitor(small_disk, public()) as client:
        answers = [another(client).post("/photos?name=a.jpg", content=b"x" * 30_000) for _ in range(6)]
        assert [a.status_code for a in answers] == [200] * 3 + [507] * 3
        assert answers[-1].json()["error"] == limits.NO_DISK
        assert used(small_disk) <= 96_000
        form = {"image": ("a.jpg", b"x" * 30_000)}
        assert another(client).post("/api/v1/anonymize", files=form).status_code == 507
        assert client.get("/healthz").status_code == 200
        assert another(client).post("/photos?name=a.jpg", content=b"x" * 1000).status_code == 200


def test_uploads_in_flight_count(small_disk: Path) -> None:
    inflow = Inflow(public(), small_disk)
    with inflow.coming("a", 60_000):
        assert inflow.refusal("b", 30_000) is None
        assert inflow.refusal("b", 40_000) == (507, limits.NO_DISK)
    assert inflow.refusal("b", 40_000) is None


def test_one_address_has_a_share_whatever_its_cookies(tmp_path: Path) -> None:
    with visitor(tmp_path / "data", public(most_address=100_000, most_session=60_000)) as client:
        codes = [another(client).post("/photos?name=a.jpg", content=b"x" * 40_000).status_code for _ in range(4)]
        assert codes == [200, 200, 413, 413]
        assert used(tmp_path / "data") == 80_000


def test_one_address_has_so_many_visits_with_photos(tmp_path: Path) -> None:
    with visitor(tmp_path / "data", public(most_visits=2)) as client:
        visitors = [another(client) for _ in range(3)]
        codes = [v.post("/photos?name=a.jpg", content=b"x").status_code for v in visitors]
        assert codes == [200, 200, 429]
        assert visitors[2].post("/batches").status_code == 429
        assert visitors[0].post("/photos?name=b.jpg", content=b"x").status_code == 200
        visitors[0].post("/visit/forget")
        assert visitors[2].post("/photos?name=a.jpg", content=b"x").status_code == 200


def test_addresses_do_not_share(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path / "s", Policy(most_visits=1, most_address=1000, least_free=0))
    first, second, other = (sessions.of(new_secret(), who) for who in ("a", "a", "b"))
    (first.make_folder() / "photo.jpg").write_bytes(b"x" * 900)
    with pytest.raises(TooManyError):
        second.make_folder()
    other.make_folder()
    assert (first.room(), second.room(), other.room()) == (100, 100, 1000)


def test_one_address_sends_so_much_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with visitor(tmp_path / "data", public(bytes_a_minute=100_000)) as client:
        codes = [another(client).post("/photos?name=a.jpg", content=b"x" * 40_000).status_code for _ in range(3)]
        assert codes == [200, 200, 429]
    inflow, now = Inflow(public(bytes_a_minute=100, least_free=0), tmp_path), [0.0]
    monkeypatch.setattr(limits.time, "monotonic", lambda: now[0])  # type: ignore[attr-defined]
    with inflow.coming("a", 100):
        assert inflow.refusal("a", 1)
        assert inflow.refusal("b", 1) is None
        now[0] = 61
        assert inflow.refusal("a", 100) is None


def test_one_address_has_so_many_requests_at_once(tmp_path: Path) -> None:
    with visitor(tmp_path / "data", public(most_at_once=1)) as client:
        inflow = client.app._inflow  # type: ignore[attr-defined]
        with inflow.coming("testclient", 0):
            assert client.get("/config").status_code == 429
            assert client.get("/healthz").status_code == 200
        assert client.get("/config").status_code == 200
        assert not inflow._now


def full(*args: Any, **options: Any) -> Any:
    raise FULL


class Unwritable(io.BytesIO):
    write = full


@pytest.mark.parametrize("where", ["write", "folder", "thread"])
def test_a_disk_that_is_full_all_the_same_is_507(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    with visitor(tmp_path / "data", public()) as client:
        assert client.post("/photos?name=a.jpg", content=b"x").status_code == 200
        id = client.post("/batches").json()["id"]
        form = {"image": ("a.jpg", photo(tmp_path / "a.jpg").read_bytes())}
        if where == "write":
            monkeypatch.setattr("anonymize.web.files.open", lambda *_: Unwritable(), raising=False)
        elif where == "thread":
            monkeypatch.setattr("anonymize.web.files.run_in_threadpool", full)
        else:
            monkeypatch.setattr(Path, "mkdir", full)
        answers = [client.post("/photos?name=a.jpg", content=b"x" * 3_000_000)]
        if where == "write":
            answers.append(client.post(f"/batches/{id}/files?name=a.jpg", content=b"x" * 3_000_000))
        else:
            answers.append(client.post("/batches"))
        if where == "folder":
            answers.append(client.post("/api/v1/anonymize", files=form))
        assert [a.status_code for a in answers] == [507] * len(answers)
        assert {a.json()["error"] for a in answers} == {limits.NO_DISK}
        assert not list((tmp_path / "data").rglob("*.part"))


def test_a_form_that_the_disk_cannot_hold_is_507(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("starlette.formparsers.MultiPartParser.parse", full)
    with visitor(tmp_path / "data", public()) as client:
        answer = client.post("/api/v1/anonymize", files={"image": ("a.jpg", b"x")})
        assert (answer.status_code, answer.json()) == (507, {"error": limits.NO_DISK})


def test_what_full_means() -> None:
    wrapped = SettingsError("it could not be written")
    wrapped.__cause__ = FULL
    assert is_full(FULL)
    assert is_full(wrapped)
    assert is_full(DiskFullError()) is False
    assert not is_full(OSError(errno.EACCES, "no"))


# What visitors are told


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("cannot read /home/me/.cache/anonymize/yunet.onnx: no", "cannot read …: no"),
        ("the output '/srv/my photos/out' is a file", "the output '…' is a file"),
        (r"C:\Users\me\x.onnx is not a network", "… is not a network"),
        ("put the file at ~/x (or file:///etc/passwd)", "put the file at … (or …)"),
        (f"{Path.home()}/a/b.pt failed", "… failed"),
        ("a/b.jpg and/or 1/2 of 3 MB/s", "a/b.jpg and/or 1/2 of 3 MB/s"),
    ],
)
def test_no_path_of_this_machine_is_told(text: str, plain: str) -> None:
    assert without_paths(text) == plain
    assert message_of(DetectionError(text), own_machine=False) == plain
    assert message_of(DetectionError(text), own_machine=True) == text


def test_a_folder_with_spaces_is_not_told_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "_FOLDERS", ("/home/ada lovelace",))
    assert "lovelace" not in without_paths("cannot read /home/ada lovelace/x.onnx: no")


@pytest.mark.parametrize("error", [OSError(2, "No such file", "/etc/x"), RuntimeError("/etc/x"), FULL])
def test_errors_that_are_not_ours_are_not_told(error: Exception) -> None:
    assert "/" not in message_of(error, own_machine=False)


@pytest.mark.parametrize(
    "name",
    [
        "yunet@12345",
        "yunet@100",
        "yunet@",
        "yunet@٦٤",
        "yunet@640@640",
        "yolo:/etc/passwd",
        "os:system",
        "two-stage@640",
    ]
    + ["tiled:yunet", "a+b", "/etc/passwd", "raw:yunet", "yunet@64-4096", "yunet@" + "9" * 5000],
)
def test_only_what_is_offered_may_be_named(name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_detector(name, public())
    assert "/" not in str(caught.value).replace(repr(name[:60]), "")


def test_what_is_offered_may_be_named() -> None:
    for name in [*offered_detectors(public()), "yunet@640"]:
        check_detector(name, public())
    check_detector("yolo:/home/me/x.onnx", Policy())


def test_only_what_is_offered_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def create(name: str, *args: Any, **options: Any) -> Any:
        asked.append(name)
        raise WeightsUnavailableError(f"cannot get the weights. Put the file at {tmp_path}")

    monkeypatch.setattr("anonymize.web.detector_pool.create", create)
    policy = public()
    pool = DetectorPool(policy.defaults, weights_dir=tmp_path / "weights")
    from starlette.testclient import TestClient

    from anonymize.web.application import assemble

    guard = assemble(policy, pool, tmp_path / "data", warm_up=False)
    form = {"image": ("a.jpg", photo(tmp_path / "a.jpg").read_bytes())}
    with TestClient(guard, base_url="http://localhost") as client:
        for name in ("yunet@640", "retinaface-r50", "yunet"):
            answer = client.post(
                "/api/v1/anonymize", files=form, data={"face_detector": name, "plate_detector": "none"}
            )
            assert answer.status_code in (400, 503)
            assert str(tmp_path) not in answer.text
    assert asked == ["yunet"]
    assert Settings() == policy.defaults
