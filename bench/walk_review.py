"""How long it takes to clear 100 photos in which nothing is wrong, by keyboard: python -m bench.walk_review

Drawn photos of 12 megapixels, no detector. `app`: from the key that approves a photo to the next photo's being painted.
A person's look is `--look`; a photo can be approved 0.15 s after it was painted. Needs Debian's chromium (`apt-get
install chromium`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.support.review_site import make, served

from .screenshots import CHROMIUM, FLAGS, open_tab

# When each photo was painted, and when the key before it was pressed: measured in the page, where the person is.
WATCH = """() => { window.times = []; let pressed = 0;
  addEventListener("keydown", (e) => { if (e.key === "a") pressed = performance.now(); }, true);
  const host = document.querySelector(".az-review");
  new MutationObserver(() => { if (host.dataset.painted && pressed) { times.push(performance.now() - pressed);
  pressed = 0; } }).observe(host, { attributes: true, attributeFilter: ["data-painted"] }); }"""


def walk(photos: int, look: float, size: tuple[int, int]) -> dict[str, float | int]:
    with tempfile.TemporaryDirectory() as home:
        make(Path(home), photos, size)
        with served(Path(home)) as address, sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.set_default_timeout(120_000)
            page.goto(address)
            page.locator(".az-drop-title").first.wait_for()
            open_tab(page, "Review")
            page.locator(".az-review[data-painted]").wait_for()
            page.evaluate(WATCH)
            started = time.perf_counter()
            for n in range(photos):
                page.locator("#rv-approve:enabled").wait_for()
                page.wait_for_timeout(1000 * look)
                page.keyboard.press("a")
                page.get_by_text(f"{n + 1} of {photos} reviewed").wait_for()
            seconds = time.perf_counter() - started
            waits = [ms / 1000 for ms in page.evaluate("times")]
            browser.close()
    return {
        "photos": photos,
        "megapixels": round(size[0] * size[1] / 1e6, 1),
        "keys": photos,
        "clicks": 0,
        "seconds": round(seconds, 1),
        "look, s a photo": look,
        "app, median s a photo": round(statistics.median(waits), 3),
        "app, 95 %": round(sorted(waits)[int(0.95 * len(waits))], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--look", type=float, default=0.5, help="seconds that the robot looks at a photo [%(default)s]")
    parser.add_argument("--size", type=int, nargs=2, default=(4000, 3000), metavar=("WIDTH", "HEIGHT"))
    given = parser.parse_args()
    print(json.dumps(walk(given.photos, given.look, tuple(given.size)), indent=1))


if __name__ == "__main__":
    main()
