"""The attack campaign against a running server: python -m bench.attacks record | campaign [--count 10000] [--seed 0]

`record` drives the page in Chromium and writes what it sends to tests/recorded/page.json. `campaign` changes recordings
of the page and of FiftyOne's App at random, sends them to a running server, and prints what became of it.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from screenshots import CHROMIUM, FLAGS, photos

from tests.support import traffic
from tests.support.attacked import serve
from tests.support.mutations import campaign


def page_steps(page: Any) -> list[tuple[str, Callable[[], object]]]:
    """What a visitor does on the page."""
    tab = lambda name: page.get_by_role("tab", name=name).click()  # noqa: E731

    def slide() -> None:
        slider = page.get_by_label("Faces", exact=True).first
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
        page.locator(".az-review .az-before").wait_for()  # of the records that the server was started with

    def decide() -> None:
        page.locator(".az-review .az-region").first.click()
        for press in ("x", "a", "n", "f", "u"):
            page.keyboard.press(press)
            page.wait_for_timeout(700)

    def export() -> None:
        page.get_by_text("Export", exact=True).click()
        page.locator("#rv-export").click()

    return [
        ("photo", lambda: page.set_input_files("#az-photo .az-drop input[type=file]", str(photos()[1]))),
        ("result", lambda: page.wait_for_selector(".az-stage:visible", timeout=180_000)),
        ("slider", slide),
        ("correct", lambda: page.get_by_role("button", name="Correct").click()),
        ("misses", lambda: page.get_by_label("Show possible misses").check()),
        ("region", lambda: page.locator("rect.az-region.on").first.click()),
        ("review", review),
        ("decide", decide),
        ("export", export),
        ("batch", batch),  # after the review, which would open this run's own batch instead
        ("models", lambda: tab("Models")),
        ("about", lambda: tab("About")),
    ]


def record() -> None:
    from playwright.sync_api import sync_playwright

    missed = []
    with tempfile.TemporaryDirectory() as home, serve(Path(home), "own") as site, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_context(viewport={"width": 1440, "height": 950}).new_page()
        page.set_default_timeout(30_000)
        address = f"http://127.0.0.1:{site.port}"
        names = {"photos": str(site.target.photo.parent), "home": home, "origin": address}
        seen = traffic.recorded(page, address, names)
        page.goto(address, timeout=120_000)
        page.wait_for_selector(".az-drop-title")
        for name, step in page_steps(page):
            try:
                step()
                page.wait_for_timeout(1500)
            except Exception as e:
                missed.append(f"{name}: {str(e).splitlines()[0]}")
            print(f"{name}: {len(seen)} requests", flush=True)
        config = site.json("GET", "/config")
        # A review of that run's own batch is a choice that no other run offers.
        found = [r for r in traffic.unique(seen) if not re.search(r'"review-[\w-]+-[0-9a-f]{8}"', r.body or "")]
        kept = [traffic.by_name(r, config) for r in found]
    traffic.save(kept)
    print(f"{len(seen)} requests, {len(kept)} of them different, in {traffic.FILE.name}")
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
