"""The attack campaign against a running server: python -m bench.attacks record | campaign [--count 10000] [--seed 0]

`record` drives the page and FiftyOne's App in Chromium and writes what they send to tests/recorded/page.json. `campaign`
changes those recordings at random, sends them, and prints what became of them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from screenshots import CHROMIUM, FLAGS, photos

from tests import traffic
from tests.attacked import serve
from tests.mutations import campaign


def app_steps(page: Any) -> list[tuple[str, Callable[[], object]]]:
    """What a reviewer does in FiftyOne's App."""
    find, key, wait = page.locator, page.keyboard, page.wait_for_timeout

    def draw() -> None:
        find('[data-cy="create-detections"],[data-cy*="detection"]').first.click()
        page.mouse.move(500, 500)
        page.mouse.down()
        page.mouse.move(560, 540, steps=5)
        page.mouse.up()
        wait(2500)

    def panel() -> None:
        find('[data-cy="new-panel-btn"]').first.click()
        wait(500)
        page.get_by_text("Review queue").first.click()

    def search() -> None:
        find('[data-cy="selector-sidebar-search-review"]').click()
        wait(1000)
        key.type("pend")
        wait(1500)
        key.press("Enter")

    def sort() -> None:
        find('[data-cy="selector-Sort by"]').first.click()
        wait(500)
        key.type("risk")
        wait(500)
        key.press("Enter")

    def saved_view() -> None:
        find('[data-cy="saved-views-selection"]').first.click()
        page.get_by_text("1 pending, riskiest first").first.click()

    def select() -> None:
        find('[data-cy="looker"]').first.hover()
        find('[data-cy="looker-checkbox-input-"]').first.click(force=True)

    def escape() -> None:
        key.press("Escape")
        wait(500)
        key.press("Escape")

    return [
        ("panel", panel),
        ("next", lambda: page.get_by_text("Next", exact=True).first.click()),
        ("approve", lambda: page.get_by_text("Approve", exact=False).first.click()),
        ("samples", lambda: find('[data-cy="panel-tab-samples"]').first.click()),
        ("open filter", lambda: find('[data-cy="sidebar-field-arrow-enabled-review"]').click()),
        ("filter", search),
        ("open number", lambda: find('[data-cy="sidebar-field-arrow-enabled-risk"]').click()),
        ("open labels", lambda: find('[data-cy="sidebar-field-arrow-enabled-hidden"]').click()),
        ("sort", sort),
        ("saved view", saved_view),
        ("clear", lambda: find('[data-cy="btn-clear-view-bar"]').first.click()),
        ("select", select),
        ("tag", lambda: find('[data-cy="action-tag-sample-labels"]').first.click()),
        ("away", escape),
        ("patches", lambda: find('[data-cy="action-clips-patches"]').click()),
        ("patches of hidden", lambda: find('[data-cy="popout"] >> text=hidden').first.click()),
        ("clear again", lambda: find('[data-cy="btn-clear-view-bar"]').first.click()),
        ("modal", lambda: find('[data-cy="looker"]').first.click()),
        ("next photo", lambda: key.press("ArrowRight")),
        ("annotate", lambda: page.get_by_text("Annotate", exact=True).first.click()),
        ("draw", draw),
        ("close", escape),
    ]


def page_steps(page: Any, records: Path) -> list[tuple[str, Callable[[], object]]]:
    """What a visitor does on the page."""
    tab = lambda name: page.get_by_role("tab", name=name).click()  # noqa: E731

    def slide() -> None:
        slider = page.locator("#az-photo input[type=range]").first
        slider.focus()
        for _ in range(3):
            slider.press("ArrowRight")

    def batch() -> None:
        tab("Many photos")
        page.set_input_files("#az-batch-upload input[type=file]", [str(p) for p in photos()[:2]])
        page.get_by_text("photos are ready").first.wait_for()
        page.get_by_role("button", name="Hide faces and plates").click()
        page.locator("#az-batch-progress").get_by_text("done").first.wait_for(timeout=120_000)

    def review() -> None:
        tab("Review")
        page.locator("#rv-path input, #rv-path textarea").fill(str(records))
        page.locator("#rv-open").click()
        page.locator(".rv-editor image").wait_for()

    def decide() -> None:
        page.locator(".rv-editor svg").first.click()
        for press in ("x", "a", "n", "f", "u"):
            page.keyboard.press(press)
            page.wait_for_timeout(700)

    return [
        ("photo", lambda: page.set_input_files("#az-photo .az-drop input[type=file]", str(photos()[1]))),
        ("result", lambda: page.wait_for_selector(".az-stage:visible", timeout=180_000)),
        ("slider", slide),
        ("correct", lambda: page.get_by_role("button", name="Correct").click()),
        ("misses", lambda: page.get_by_label("Show what was not hidden").check()),
        ("region", lambda: page.locator("rect.az-region.on").first.click()),
        ("batch", batch),
        ("review", review),
        ("decide", decide),
        ("export", lambda: page.locator("#rv-export").click()),
        ("models", lambda: tab("Models")),
        ("about", lambda: tab("About")),
    ]


def record() -> None:
    from playwright.sync_api import sync_playwright

    with (
        tempfile.TemporaryDirectory() as home,
        serve(Path(home), "own") as site,
        sync_playwright() as driver,
    ):
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        address = f"http://127.0.0.1:{site.port}"
        names = {
            "dataset": site.target.dataset, "photos": str(site.target.photo.parent), "home": home, "origin": address,
        }  # fmt: skip
        found: list[traffic.Recording] = []
        missed = []
        for start in (f"/review/open?name={site.target.dataset}", "/"):
            page = browser.new_context(viewport={"width": 1440, "height": 950}).new_page()
            page.set_default_timeout(10_000)
            seen = traffic.recorded(page, address, names)
            page.goto(address + start, wait_until="commit", timeout=120_000)
            page.wait_for_timeout(9000)
            steps = page_steps(page, Path(home) / "records.jsonl") if start == "/" else app_steps(page)
            for name, step in steps:
                try:
                    step()
                    page.wait_for_timeout(1500)
                except Exception as e:
                    missed.append(f"{name}: {str(e).splitlines()[0]}")
                print(f"{name}: {len(seen)} requests", flush=True)
            found += seen
            page.context.close()
    kept = traffic.unique(found)
    traffic.save(kept)
    print(f"{len(found)} requests, {len(kept)} of them different, in {traffic.FILE.name}")
    for line in missed:
        print(f"not done: {line}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["record", "campaign"])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mode", choices=["own", "team", "public"], default="own")
    args = parser.parse_args()
    if args.what == "record":
        record()
        return
    with tempfile.TemporaryDirectory() as home:
        figures = campaign(Path(home), args.mode, args.count, args.seed)
    print(json.dumps(figures, indent=1, ensure_ascii=False))
    sys.exit(bool(figures["wrong"]))


if __name__ == "__main__":
    main()
