"""The real server, with the real default detectors, in a real Chromium (Debian's: apt-get install chromium)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

from screenshots import CHROMIUM, FLAGS, WIDE, answering, free_port, server

from tests.support.web_site import photo as drawn

if not Path(CHROMIUM).exists():  # said once, for the whole folder
    collect_ignore_glob = ["test_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("browser")
            item.add_marker("weights")


@dataclass(frozen=True)
class Quick:
    """A server whose detectors find at once what `quick_server.REGIONS` says, and wait while there is a file `hold`."""

    address: str
    hold: Path

    @contextmanager
    def holding(self) -> Iterator[None]:
        self.hold.touch()
        try:
            yield
        finally:
            self.hold.unlink(missing_ok=True)


@pytest.fixture
def street(tmp_path: Path) -> Path:
    """A photo for the quick server."""
    return drawn(tmp_path / "street.jpg", size=(800, 600), quality=90)


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    with server() as url:
        yield url


@pytest.fixture(scope="session")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Quick]:
    """The app with detectors that need no time and can be held up (tests/support/quick_server.py)."""
    port, folder = free_port(), tmp_path_factory.mktemp("quick")
    with answering(port, ["-m", "tests.support.quick_server", str(port), str(folder)]) as address:
        yield Quick(address, folder / "hold")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=60_000)  # a busy machine is slow, and that is no failure
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def new_page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Open pages, each in its own browser profile. What they ask of another host, and errors, fail the test."""
    contexts, asked, errors = [], [], []

    def open_page(url: str = "", **options: Any) -> Any:
        context = browser.new_context(**{"viewport": WIDE, "accept_downloads": True, **options})
        context.set_default_timeout(60_000)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda r: asked.append(r.url))
        page.on("pageerror", lambda e: errors.append(str(e)))
        page.goto(url or request.getfixturevalue("address"))
        return page

    yield open_page
    for context in contexts:
        context.close()
    elsewhere = {u for u in asked if not u.startswith(("http://127.0.0.1:", "data:", "blob:"))}
    assert not elsewhere
    assert not errors


@pytest.fixture
def page(new_page: Any) -> Any:
    return new_page()
