"""FiftyOne's own App, driven in a real browser behind the guard: nothing that it sends is refused.

`RECORD=1` writes what it sent to tests/recorded/fiftyone.json, which the unit tests take as what the App sends. A new
FiftyOne that sends more is refused here, with the key in the server's log; then look at `review/guarded/requests.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect
from screenshots import free_port

from anonymize import images, records
from anonymize.records import Header, Record
from anonymize.regions import Region
from anonymize.settings import Settings
from review.store import ReviewStore

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests" / "recorded" / "fiftyone.json"
UUID = r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"
ID = r"(?<![0-9a-f])[0-9a-f]{24}(?![0-9a-f])"
SECONDS = 60_000


@pytest.fixture
def path(tmp_path: Path, zidane: Path, bus: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    known = []
    for source in (zidane, bus):
        (folder / source.name).write_bytes(source.read_bytes())
        photo = images.load(folder / source.name, Settings())
        face = Region("face", (300, 60, 400, 180), 0.99, {"one": 0.99})
        plate = Region("plate", (50, 50, 120, 80), 0.11 - 0.05 * len(known), {"two": 0.1})  # other risks
        known.append(
            Record(
                source.name, photo.sha256, photo.width, photo.height, (face, plate), detectors={"one": {}, "two": {}}
            )
        )
    records.write(tmp_path / "records.jsonl", Header(str(folder)), known)
    return tmp_path / "records.jsonl"


@pytest.fixture
def served(path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    port = free_port()
    command = [sys.executable, "-m", "review", "serve", str(path), "--port", str(port)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        link = next(found[0] for line in server.stdout if (found := re.search(r"http://\S+", line)))
        while server.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        yield link, server
    finally:
        server.kill()
        server.wait()


class App:
    """FiftyOne's page as a person uses it, and what it sent."""

    def __init__(self, page: Any, link: str) -> None:
        self.page, self.pictures = page, 0
        self.unanswered: set[Any] = set()
        self.sent: list[tuple[str, str, Any]] = []
        self.refused: list[str] = []
        page.set_default_timeout(SECONDS)
        expect.set_options(timeout=SECONDS)
        page.on("request", self._note)
        page.on("requestfinished", lambda request: self.unanswered.discard(request))
        page.on("requestfailed", lambda request: self.unanswered.discard(request))
        page.on("response", lambda r: r.status >= 400 and self.refused.append(f"{r.status} {urlsplit(r.url).path}"))
        page.goto(link, timeout=3 * SECONDS)
        expect(self("looker")).to_have_count(2)
        if page.get_by_role("button", name="Dismiss").count():
            page.get_by_role("button", name="Dismiss").click()

    def _note(self, request: Any) -> None:
        if request.method in ("POST", "PATCH"):
            self.sent.append((request.method, request.url, request.post_data))
            if not request.url.endswith("/events"):  # a stream, answered as long as the page is open
                self.unanswered.add(request)

    def __call__(self, name: str) -> Any:
        return self.page.locator(f'[data-cy="{name}"]').locator("visible=true")

    def sends(self, what: str, do: Callable[[], Any]) -> None:
        """Do it, and wait until the App has sent a request in which this is, and all that it asked is answered."""
        before = len(self.sent)
        do()
        until(self.page, lambda: any(what in f"{m} {u} {body}" for m, u, body in self.sent[before:]))
        until(self.page, lambda: not self.unanswered)
        self.look()

    def settle(self) -> None:
        """Wait until nothing has been asked and not answered for a second."""
        quiet = 0
        while quiet < 10:
            self.page.wait_for_timeout(100)
            quiet = 0 if self.unanswered else quiet + 1

    def look(self) -> None:
        """For a person's eyes, where PICTURES names a folder."""
        self.pictures += 1
        if folder := os.environ.get("PICTURES"):
            self.page.wait_for_timeout(1000)
            self.page.screenshot(path=Path(folder) / f"app-{self.pictures:02}.png")

    def run(self, name: str) -> None:
        """As the palette offers it."""
        search = self.page.get_by_placeholder("Search operations")

        def opened() -> bool:
            if not search.is_visible():  # the App does not listen yet after what went before
                self.page.keyboard.press("`")
            return search.is_visible()

        until(self.page, opened)
        search.fill(name)
        offered = self.page.get_by_role("dialog").get_by_text(name)
        expect(offered.first).to_be_visible()
        self.page.keyboard.press("Enter")

    def middle(self, thing: Any, right: float = 0) -> tuple[float, float]:
        """Where it is, once it moves no more: the sidebar is laid out anew when an answer comes."""
        at: list[Any] = [None]

        def still() -> bool:
            at.append(thing.bounding_box())
            return at[-1] is not None and at[-1] == at[-2]

        until(self.page, still)
        return at[-1]["x"] + at[-1]["width"] / 2 + right, at[-1]["y"] + at[-1]["height"] / 2

    def drag(self, *points: tuple[float, float]) -> None:
        self.page.mouse.move(*points[0])
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*point, steps=8)
        self.page.mouse.up()


@pytest.fixture
def app(browser: Any, served: tuple[str, Any]) -> Iterator[App]:
    context = browser.new_context(viewport={"width": 1400, "height": 950})
    yield App(context.new_page(), served[0])
    context.close()


@pytest.mark.timeout(900)
def test_the_app_s_flows_work_and_nothing_it_sends_is_refused(app: App, path: Path, served: tuple[str, Any]) -> None:
    try:
        grid(app)
        tags(app)
        annotate(app, path)
        queue(app, path)
        palette(app, path)
    finally:
        app.look()
        if os.environ.get("RECORD"):
            record(app.sent)
    # By design: tags are not the records', where a status is a decision; nothing else is refused.
    # 412: the sample was changed since the App read it; it reads it anew and sends its change again.
    assert {said for said in app.refused if not said.startswith("412 ")} == {"403 /review/tag"}
    served[1].terminate()  # the open page, with its stream of events, does not hold it up
    served[1].wait(60)


def grid(app: App) -> None:
    """Filters of a field's values and of a range, sorting, saved views, selected samples."""
    page = app.page
    app("sidebar-field-arrow-enabled-review").click()
    app("selector-sidebar-search-review").click()
    chosen = app("selector-results-container-sidebar-search-review").get_by_text("pending")
    app.sends('"values":["pending"]', chosen.click)
    app("sidebar-field-arrow-enabled-risk").click()
    handle = app("numeric-filter-risk").locator(".MuiSlider-thumb").first
    app.sends('"range":', lambda: app.drag(app.middle(handle), app.middle(handle, 60)))
    expect(app("looker")).to_have_count(1)
    app("clear-filters-primitives").click()
    expect(app("looker")).to_have_count(2)
    app("selector-Sort by").click()
    app.sends("stages.SortBy", app("selector-result-risk").click)
    app("saved-views-selection").first.click()
    app.sends('"savedViewSlug":"1-pending-riskiest-first"', page.get_by_text("1 pending, riskiest first").first.click)
    app("btn-clear-view-bar").first.click()
    expect(app("looker")).to_have_count(2)
    app.settle()  # the photos of the view before are replaced, with their checkboxes
    app("looker").first.hover()
    box = page.locator('[data-cy="looker"] input[type=checkbox]').first  # drawn on a canvas, too small for a pointer
    app.sends("setSelectedSamples", lambda: box.evaluate("e => e.click()"))


def tags(app: App) -> None:
    app.sends("/tagging", app("action-tag-sample-labels").first.click)
    app("sample-tag-input").fill("mine")
    app.page.keyboard.press("Enter")
    app.sends("/review/tag ", app.page.get_by_text("Apply", exact=True).first.click)
    app.page.keyboard.press("Escape")


def annotate(app: App, path: Path) -> None:
    """A box is drawn, moved, named and deleted; each is in the records, and the App comes to rest."""

    def made() -> list[str]:
        return [d["what"] for r in ReviewStore(path) for d in r.decisions]

    app("looker").first.click()
    app.sends("mainSampleQuery", lambda: app.page.keyboard.press("ArrowRight"))
    app.sends("setSampleMutation", lambda: app.page.keyboard.press("ArrowLeft"))
    app("annotate").click()
    app("detection-mode").click()
    app.page.wait_for_timeout(1000)
    app.sends("PATCH", lambda: app.drag((500, 500), (560, 540)))
    until(app.page, lambda: made() == ["add"])
    app.sends("bounding_box", lambda: app.drag((530, 520), (600, 560)))
    until(app.page, lambda: made() == ["add", "move"])
    given = app("root_label_container").get_by_role("combobox")
    other = "face" if "plate" in given.evaluate("e => e.value || e.innerText") else "plate"
    given.click()
    app.sends(f'"value":"{other}"', app.page.get_by_role("option", name=other).click)
    until(app.page, lambda: made() == ["add", "move", "set-kind"])
    app.page.wait_for_timeout(3000)
    before, size = len(app.sent), path.stat().st_size
    app.page.wait_for_timeout(6000)  # the App saves every other second what differs from what it reads
    assert [one for one in app.sent[before:] if one[0] == "PATCH"] == []
    assert path.stat().st_size == size
    app("label-menu-trigger").click(force=True)
    app.sends('"op":"remove"', app("label-menu-delete").click)
    until(app.page, lambda: made() == ["add", "move", "set-kind", "reject"])
    # FiftyOne's undo would draw the box again and save nothing: it is not there, nor by its key.
    app.page.wait_for_timeout(1500)
    assert app.page.locator('[data-cy="undo-button"]').count() == 1
    expect(app("undo-button")).to_have_count(0)
    picture = app.page.locator("canvas").first
    before = picture.screenshot()
    app.page.keyboard.press("Control+z")
    app.page.wait_for_timeout(1000)
    assert picture.screenshot() == before
    app("explore").click()


def queue(app: App, path: Path) -> None:
    """The panel beside the photo: approve, flag and undo."""

    def states() -> list[str]:
        return sorted(r.review for r in ReviewStore(path))

    app("panel-tab-panel").click()
    for button, then in (
        ("Approve, next", ["approved", "pending"]),
        ("Flag, next", ["approved", "flagged"]),
        ("Undo", ["approved", "pending"]),
    ):
        app.page.get_by_role("button", name=button, exact=True).click()
        until(app.page, lambda then=then: states() == then)
        app.look()
    app("panel-tab-fo-sample-modal-plugin").click()


def palette(app: App, path: Path) -> None:
    app.page.wait_for_timeout(1000)
    app.run("Review: approve")
    until(app.page, lambda: [r.review for r in ReviewStore(path)] == ["approved"] * 2)
    app.settle()  # its answer lays the App out anew, and a form that is open then is closed
    app.run("Review: export")
    execute = app.page.get_by_role("dialog").get_by_role("button", name="Execute").first
    app.sends("/operators/execute ", execute.click)
    until(
        app.page,
        lambda: len(list(path.with_name("records-approved").rglob("*.jpg"))) == 2,
        lambda: f"{app.refused[-3:]} {[url for _, url, _ in app.sent[-5:]]} {app.page.locator('body').inner_text()}",
    )


def until(page: Any, condition: Callable[[], bool], seen: Callable[[], str] = str) -> None:
    for _ in range(SECONDS // 500):
        if condition():
            return
        page.wait_for_timeout(500)
    raise AssertionError(f"it did not happen in time {seen()}")


def record(sent: list[tuple[str, str, Any]]) -> None:
    """Add what has a new shape, without names, numbers and folders of this machine."""
    kept = json.loads(RECORDED.read_text("utf-8"))
    seen: dict[str, int] = {}
    known = {_shape(*one) for one in kept["sent"]}
    for method, url, data in sent:
        at = url.partition("/review")[2]
        if at == "/tag":  # refused by design
            continue
        text = re.sub(r"review-[\w-]+-[0-9a-f]{8}", "DATASET", json.dumps([method, at, json.loads(data)]))
        text = re.sub(UUID, lambda m: f"uuid-{seen.setdefault(m[0], len(seen))}", text)
        one = json.loads(re.sub(ID, lambda m: f"{seen.setdefault(m[0], len(seen)):024x}", text))
        if at == "/graphql":
            query = one[2]["query"]
            one[2]["query"] = query.split("(")[0].split("{")[0].split()[1]
            kept["queries"][one[2]["query"]] = query
        if _shape(*one) not in known:
            known.add(_shape(*one))
            kept["sent"].append(one)
    RECORDED.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _shape(method: str, at: str, body: Any) -> str:
    def of(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: of(inner) for key, inner in value.items()}
        return sorted({str(of(inner)) for inner in value}) if isinstance(value, list) else type(value).__name__

    told = [body.get(key) for key in ("query", "operator_uri")] if isinstance(body, dict) else []
    return json.dumps([method, re.sub(ID, "ID", at), told, of(body)], sort_keys=True)
