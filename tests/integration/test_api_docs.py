"""The API's page: our own copy of Swagger UI, unchanged, that asks nobody else; and its examples run."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest

from anonymize.web.api import DESCRIPTION
from anonymize.web.elements import STATIC
from anonymize.web.policy import Policy
from tests.support.web_site import photo, visitor

PINNED = {
    "swagger-ui-bundle.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
    "swagger-ui.css": "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with visitor(tmp_path_factory.mktemp("data")) as client:
        yield client


def test_the_page_has_all_it_needs_from_here(site: Any) -> None:
    assert site.get("/docs").headers["location"] == "/api/docs"
    page = site.get("/api/docs")
    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
    parts = re.findall('(?:src|href)="([^"]*)"', page.text)
    assert len(parts) == 5
    for part in parts:
        assert not part.startswith(("/", "http"))  # below a prefix, too
        part = urljoin("/api/docs", part)
        assert site.get(part).status_code == 200, part


@pytest.mark.parametrize("name", PINNED)
def test_swagger_ui_is_what_was_published(name: str) -> None:
    assert hashlib.sha256((STATIC / "swagger" / name).read_bytes()).hexdigest() == PINNED[name]


def test_its_license_is_kept_and_nothing_else_is_served(site: Any) -> None:
    assert "Apache License" in site.get("/api/docs/LICENSE").text
    for name in ("..", "%2e%2e%2fapp.js", "app.js", "../app.js", "x"):
        assert site.get(f"/api/docs/{name}").status_code in (404, 307)


def test_it_is_there_though_the_api_needs_a_key(tmp_path: Path) -> None:
    with visitor(tmp_path, Policy(api_keys=("k" * 16,))) as client:
        assert client.get("/api/docs").status_code == 200
        assert client.get("/api/v1/models").status_code == 401


def test_there_are_examples_in_three_languages_and_pythons_runs(site: Any, tmp_path: Path) -> None:
    blocks = dict(re.findall(r"```(\w+)\n(.*?)```", DESCRIPTION["description"], re.S))
    assert list(blocks) == ["sh", "python", "js"]
    photo(tmp_path / "street.jpg")
    example = blocks["python"].replace("import httpx\n", "").replace("http://127.0.0.1:7860", "")
    example = example.replace('"street.jpg"', repr(str(tmp_path / "street.jpg")))
    example = example.replace('"clean.jpg"', repr(str(tmp_path / "clean.jpg")))
    exec(example, {"httpx": site})
    assert (tmp_path / "clean.jpg").read_bytes()[:2] == b"\xff\xd8"
