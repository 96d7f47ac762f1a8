"""The server below a prefix."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from anonymize.errors import SettingsError
from anonymize.web.policy import Policy
from anonymize.web.root_path import RootPath, check
from tests.support.passwords import team
from tests.support.web_site import photo, visitor


@pytest.mark.parametrize("is_stripped", [False, True])
def test_the_page_and_its_parts_are_below_the_prefix(tmp_path: Path, is_stripped: bool):
    """Whether the proxy takes the prefix off or not."""
    at = "" if is_stripped else "/a/photos"
    with visitor(tmp_path / "data", root_path="/a/photos", warm_up=False) as inner:
        client = TestClient(RootPath(inner.app, "/a/photos"), base_url="http://localhost", follow_redirects=False)
        page = client.get(f"{at}/")
        assert "path=/a/photos/;" in page.headers["set-cookie"].lower() + ";"
        assert '"root":"http://localhost/a/photos"' in page.text.replace(" ", "")
        for loaded in ("web/review.js", "web/icon.svg", "healthz", "api/docs", "config"):
            assert client.get(f"{at}/{loaded}").status_code == 200, loaded
        sent = client.post(f"{at}/photos?name=a.jpg", content=photo(tmp_path / "a.jpg").read_bytes())
        assert sent.status_code == 200
        assert client.get(f"{at}/docs").headers["location"] == "/a/photos/api/docs"


def test_a_login_leads_below_the_prefix(tmp_path: Path):
    policy = Policy(users=team(ada="correct horse"))
    with visitor(tmp_path / "data", policy, root_path="/p", warm_up=False) as inner:
        client = TestClient(RootPath(inner.app, "/p"), base_url="http://localhost", follow_redirects=False)
        refused = client.get("/p/photos", headers={"accept": "text/html"})
        assert refused.headers["location"] == "/p/login?next=/photos"
        assert 'action="/p/login?next=/photos"' in client.get("/p/login?next=/photos").text
        welcome = client.post("/p/login?next=/photos", data={"user": "ada", "password": "correct horse"})
        assert welcome.headers["location"] == "/p/photos"
        assert client.get("/p/config").status_code == 200
        assert client.get("/p").headers["location"] == "/p/"


def test_a_redirect_elsewhere_stays_as_it_is():
    async def away(scope, receive, send):  # type: ignore[no-untyped-def]
        await send({"type": "http.response.start", "status": 302, "headers": [(b"location", b"https://x.example/y")]})
        await send({"type": "http.response.body", "body": b""})

    client = TestClient(RootPath(away, "/p"), follow_redirects=False)
    assert client.get("/p/x").headers["location"] == "https://x.example/y"


@pytest.mark.parametrize("prefix", ["", "/", "photos", "//evil.example", "/a b", "/../x", "/a/./b", "/a?b", "/é"])
def test_what_is_no_prefix_is_refused(prefix: str):
    with pytest.raises(SettingsError):
        check(prefix)
    assert check("/photos/") == "/photos"
