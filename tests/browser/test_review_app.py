"""FiftyOne's own App, driven in a real browser behind the guard: nothing that it sends is refused.

`RECORD=1` writes what it sent to tests/recorded/fiftyone.json, which the unit tests take as what the App sends. A new
FiftyOne that sends more is refused here, with the key in the server's log; then look at `review/guarded/requests.py`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

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
        found = (Region("face", (300, 60, 400, 180), 0.99, {"one": 0.99}), Region("plate", (50, 50, 120, 80), 0.2))
        known.append(Record(source.name, photo.sha256, photo.width, photo.height, found, {"one": {}}))
    records.write(tmp_path / "records.jsonl", Header(str(folder)), known)
    return tmp_path / "records.jsonl"


@pytest.fixture
def link(path: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "review", "serve", str(path), "--port", "7898"]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        yield next(found[0] for line in server.stdout if (found := re.search(r"http://\S+", line)))
    finally:
        server.kill()
        server.wait()


def test_the_app_s_flows_work_and_nothing_it_sends_is_refused(browser: Any, link: str, path: Path) -> None:
    page = browser.new_context(viewport={"width": 1400, "height": 950}).new_page()
    page.set_default_timeout(SECONDS)
    sent: list[tuple[str, str, Any]] = []
    refused: list[str] = []
    page.on("request", lambda r: r.method in ("POST", "PATCH") and sent.append((r.method, r.url, r.post_data)))
    # 412: the sample was changed since the App read it; it reads it anew and sends its change again.
    page.on("response", lambda r: r.status not in (412,) and r.status >= 400 and refused.append(f"{r.status} {r.url}"))
    item = page.locator

    def run(name: str) -> None:  # as the palette offers it
        page.keyboard.press("`")
        page.wait_for_timeout(1500)
        page.keyboard.type(name)
        page.wait_for_timeout(1500)
        page.keyboard.press("Enter")

    page.goto(link, timeout=3 * SECONDS)
    expect(item('[data-cy="looker"]')).to_have_count(2)
    if page.get_by_role("button", name="Dismiss").count():
        page.get_by_role("button", name="Dismiss").click()
    item('[data-cy="sidebar-field-arrow-enabled-risk"]').click()  # the sidebar
    item('[data-cy="sidebar-field-arrow-enabled-hidden"]').click()
    item('[data-cy="saved-views-selection"]').first.click()  # a saved view: filters, sorts
    page.get_by_text("1 pending, riskiest first").first.click()
    expect(item('[data-cy="looker"]')).to_have_count(2)
    item('[data-cy="btn-clear-view-bar"]').first.click()
    item('[data-cy="action-tag-sample-labels"]').first.click()
    page.keyboard.press("Escape")
    item('[data-cy="looker"]').first.click()  # the modal
    page.wait_for_timeout(3000)
    run("Review: approve")
    until(page, lambda: any(r.review == "approved" for r in ReviewStore(path)))
    page.get_by_text("Annotate", exact=True).first.click()
    item('[data-cy*="detection"]').first.click()
    page.mouse.move(500, 500)
    page.mouse.down()
    page.mouse.move(560, 540, steps=5)
    page.mouse.up()
    until(page, lambda: any(d["what"] == "add" for r in ReviewStore(path) for d in r.decisions))
    page.get_by_text("Review queue").first.click()  # the panel
    page.get_by_role("button", name="Approve, next").first.click()
    until(page, lambda: sum(d["what"] == "approve" for r in ReviewStore(path) for d in r.decisions) >= 2)
    run("Review: export")
    page.get_by_role("button", name="Execute").first.click()
    until(page, lambda: any(path.with_name("records-approved").rglob("*.jpg")))
    page.context.close()
    assert not refused
    if os.environ.get("RECORD"):
        record(sent)


def until(page: Any, condition: Callable[[], bool]) -> None:
    for _ in range(SECONDS // 500):
        if condition():
            return
        page.wait_for_timeout(500)
    raise AssertionError("it did not happen in time")


def record(sent: list[tuple[str, str, Any]]) -> None:
    """Add what has a new shape, without names, numbers and folders of this machine."""
    kept = json.loads(RECORDED.read_text("utf-8"))
    seen: dict[str, int] = {}
    known = {_shape(*one) for one in kept["sent"]}
    for method, url, data in sent:
        at = url.partition("/review")[2]
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
