"""Sessions: folders that are deleted, and the routes that give a visitor their own files and nobody else's."""

import asyncio
import io
import os
import time

import httpx
import numpy as np
import pytest
from PIL import Image

from anonymize.detectors import FakeDetector
from anonymize.settings import Settings
from anonymize.web import sessions as sessions_module
from anonymize.web.detector_pool import DetectorPool
from anonymize.web.file_names import safe_name
from anonymize.web.photo_session import PhotoSession
from anonymize.web.policy import MB, Policy
from anonymize.web.sessions import FullError, GoneError, Sessions, new_secret
from tests.support.passwords import team
from tests.support.web_site import FACE, another, photo, visitor


class Thing:
    def __init__(self, id):
        self.id, self.closed = id, False

    def close(self):
        self.closed = True


@pytest.fixture
def sessions(tmp_path):
    return Sessions(tmp_path / "sessions", Policy(keep_seconds=100))


def test_a_secret_is_not_in_any_path(sessions):
    secret = new_secret()
    session = sessions.of(secret)
    folder = session.make_folder()
    assert sessions.of(secret) is session
    assert secret not in str(folder)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_what_was_not_used_for_its_time_is_deleted(sessions):
    session = sessions.of(new_secret())
    thing = Thing("x")
    session.add(thing)
    (session.make_folder() / "photo.jpg").write_bytes(b"an original")
    now = session.used
    assert sessions.sweep(now + 99) == 0
    assert session.folder.exists()
    assert sessions.sweep(now + 101) == 1
    assert not session.folder.exists()
    assert thing.closed
    with pytest.raises(GoneError):
        session.add(Thing("late"))


def test_closing_the_page_deletes_unless_another_page_is_open(sessions):
    secret = new_secret()
    session = sessions.of(secret)
    session.make_folder()
    sessions.of(secret).leave()
    later = time.monotonic() + sessions_module.LEAVE_SECONDS + 1
    sessions.of(secret)  # a reload, or another page that is still here
    assert sessions.sweep(later) == 0
    sessions.of(secret).leave()
    assert sessions.sweep(later + 1) == 1
    assert not session.folder.exists()


def test_what_a_killed_server_left_is_deleted_at_the_next_start(tmp_path):
    old = tmp_path / "sessions" / "abc"
    old.mkdir(parents=True)
    (old / "photo.jpg").write_bytes(b"an original")
    Sessions(tmp_path / "sessions", Policy())
    assert not old.exists()


def test_things_are_found_by_kind_and_owner_only(sessions):
    one, two = sessions.of(new_secret()), sessions.of(new_secret())
    one.add(Thing("x"))
    assert one.get(Thing, "x").id == "x"
    for session, kind in ((two, Thing), (one, PhotoSession)):
        with pytest.raises(GoneError):
            session.get(kind, "x")


def test_a_full_folder_takes_no_more(tmp_path):
    with visitor(tmp_path / "data", Policy(most_upload=MB, most_session=50_000)) as client:
        assert client.post("/photos?name=a.jpg", content=b"x" * 40_000).status_code == 200
        answer = client.post("/photos?name=b.jpg", content=b"x" * 20_000)
        assert answer.status_code == 413
        assert "space" in answer.json()["error"]
        assert sum(p.is_file() for p in (tmp_path / "data" / "sessions").rglob("*")) == 1
    assert issubclass(FullError, Exception)


def test_uploads_side_by_side_share_the_room(tmp_path):
    guard = visitor(tmp_path / "data", Policy(most_upload=MB, most_session=50_000)).app
    session = guard.sessions.of(secret := new_secret())

    async def opened():
        transport = httpx.ASGITransport(guard)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            client.cookies.set("anonymize_session", secret)

            async def while_another_comes():
                yield b"x" * 20_000
                assert session.coming == [40_000]
                answers = [await client.post("/photos?name=b.jpg", content=b"x" * n) for n in (20_000, 5_000)]
                assert [a.status_code for a in answers] == [413, 200]
                yield b"x" * 20_000

            long = {"Content-Length": "40000"}
            first = await client.post("/photos?name=a.jpg", content=while_another_comes(), headers=long)
            assert first.status_code == 200

    asyncio.run(opened())
    assert (session.coming, session.room()) == ([], 5_000)


def test_visits_that_brought_nothing_are_not_kept_without_end(tmp_path, monkeypatch):
    """A program without cookies begins one with each request."""
    monkeypatch.setattr(sessions_module, "MOST_IDLE", 10)
    sessions = Sessions(tmp_path / "s", Policy())
    first = sessions.of(secret := new_secret())
    first.add(Thing("x"))
    idle = sessions.of(new_secret())
    for _ in range(100):
        sessions.of(new_secret())
    assert len(sessions) <= 10
    assert sessions.of(secret) is first
    assert first.get(Thing, "x").id == "x"
    with pytest.raises(GoneError):
        idle.add(Thing("late"))


def test_files_that_go_while_they_are_counted_are_no_failure(tmp_path, monkeypatch):
    """Photos of a batch come in side by side: what one upload counts, another one has just renamed."""
    session = Sessions(tmp_path / "s", Policy(most_session=1000)).of(new_secret())
    (session.make_folder() / "kept").write_bytes(b"x" * 100)
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda top: [(folder, [], [*names, "gone"]) for folder, _, names in walk(top)])
    assert session.room() == 900


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ("a.jpg", "a.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\b.png", "b.png"),
        (".htaccess", "htaccess"),
        ("", "photo"),
        ("a\n\x00.jpg", "a__.jpg"),
        ('"><script>.png', "___script_.png"),
        ("Müller am Zaun.jpg", "Müller am Zaun.jpg"),
        ("Gru\u0308\u00dfe.jpg", "Gru\u0308\u00dfe.jpg"),  # macOS: letter and accent apart
        ("\u0939\u093f\u0928\u094d\u0926\u0940.jpg", "\u0939\u093f\u0928\u094d\u0926\u0940.jpg"),  # vowel signs
        ("Trip \u2013 Mon, O'Brien & Co.jpg", "Trip \u2013 Mon, O'Brien & Co.jpg"),
        ("a\u202egpj.exe", "a_gpj.exe"),  # turns the writing around
    ],
)
def test_names_of_visitors_are_made_safe(given, safe):
    assert safe_name(given) == safe


def test_only_photos_come_in(tmp_path):
    with visitor(tmp_path / "data") as client:
        assert client.post("/photos?name=a.exe", content=b"MZ").status_code == 415
        for name, word in (
            ("a.MP4", "is a video"),
            ("b.pdf", "is a PDF"),
            ("c.cr2", "raw file"),
            ("d.zip", "is a zip"),
        ):
            answer = client.post(f"/photos?name={name}", content=b"")
            assert (answer.status_code, name in answer.json()["error"]) == (415, True)
            assert word in answer.json()["error"]
        assert client.post("/photos?name=a.jpg", content=b"").status_code == 400
        assert not [p for p in (tmp_path / "data" / "sessions").rglob("*") if p.is_file()]


@pytest.fixture
def owner(tmp_path):
    """A visitor who has opened a photo, and the photo."""
    with visitor(tmp_path / "data") as client:
        source = photo(tmp_path / "my street.png")
        answer = client.post("/photos?name=my street.png", content=source.read_bytes()).json()
        guard = client.app
        secret = client.cookies["anonymize_session"]
        session = guard.sessions.of(secret)
        settings = Settings().with_kind("face", effect="solid", fill="ff00ff", mask="rectangle")
        path = session.folder / answer["id"] / answer["file"]
        opened = DetectorPool(detectors=[FakeDetector([FACE])]).open(session, path, answer["name"], settings, "ana")
        yield client, opened, source


def test_the_download_is_what_the_engine_wrote(owner):
    client, opened, source = owner
    answer = client.get(f"/photos/{opened.id}/clean")
    assert "my%20street-anonymized.png" in answer.headers["content-disposition"]
    assert answer.content == opened.write().read_bytes()
    before, after = (np.asarray(Image.open(f)) for f in (source, io.BytesIO(answer.content)))
    assert (after[30:80, 40:80] == (255, 0, 255)).all()
    assert (after[:15] == before[:15]).all()
    assert (after[100:] == before[100:]).all()


def test_the_report_says_what_was_hidden(owner):
    client, opened, _ = owner
    report = client.get(f"/photos/{opened.id}/report.json").json()
    assert report["image"] == "my street.png"
    assert [r["box"] for r in report["regions"]] == [list(FACE.box)]


def test_nobody_else_can_fetch_any_of_it(owner, tmp_path):
    client, opened, _ = owner
    other = another(client)
    paths = [
        f"/photos/{opened.id}/{what}" for what in ("before.jpg", "after.jpg", "clean", "report.json", "clean-as.jpg")
    ]
    for path in paths:
        assert client.get(path).status_code == 200, path
        answer = other.get(path)
        assert answer.status_code == 404
        assert answer.json()["error"].startswith("That photo is no longer here.")
    # nor through Gradio, by the path on the disk
    for route in ("/gradio_api/file=", "/file=", "/gradio_api/file/", "/web/"):
        for somebody in (client, other):
            assert somebody.get(f"{route}{opened.path}").status_code == 404


def test_forgetting_deletes_at_once(owner):
    client, opened, _ = owner
    assert opened.path.exists()
    assert client.post("/visit/forget").status_code == 204
    assert not opened.path.exists()
    assert client.get(f"/photos/{opened.id}/clean").status_code == 404


def test_static_files_are_only_ours(tmp_path):
    with visitor(tmp_path / "data") as client:
        assert "anonymize" in client.get("/web/app.js").text
        assert client.get("/samples/0.jpg").headers["content-type"] == "image/jpeg"
        for number in ("99", "-1", "x", "../0"):
            assert client.get(f"/samples/{number}.jpg").status_code in (404, 422)
        for name in ("login.html", "../guard.py", "%2e%2e/guard.py", "app.css%00", "nothing"):
            assert client.get(f"/web/{name}").status_code == 404


def test_only_who_sits_at_the_computer_is_told_that_photos_stay_on_it(tmp_path):
    """With a login it is a server for others, also where it listens to the proxy beside it only."""
    with visitor(tmp_path / "own") as client:
        assert "Runs on this computer" in client.get("/").text
    with visitor(tmp_path / "team", Policy(users=team(ada="pw"))) as client:
        told = client.get("/config", headers={"Authorization": "Basic YWRhOnB3"}).text
        assert "Runs on your team's server" in told
        assert "on this computer" not in told


def test_the_page_names_no_other_host(tmp_path):
    """Nothing is fetched from elsewhere: no fonts, no scripts, no analytics."""
    import re

    with visitor(tmp_path / "data") as client:
        html = client.get("/").text
        loads = re.findall(r"""(?:src|href)=["'](https?://[^"']+)""", html)
        assert not [u for u in loads if "localhost" not in u], loads
        assert client.get("/config").json()["analytics_enabled"] is False
