"""A person's walk through the page: clicks, keys and seconds of each task. `python -m bench.walk`

Starts the server itself, and needs Debian's chromium (`apt-get install chromium`). A click is a press of the mouse, one
stroke that draws a box, or one choice of files; a key is a key that is pressed. Seconds are the machine's own: a robot
does not think. Photos: ultralytics' own. Exit code 1 where a task takes more than `MOST` clicks, or the first
thumbnail longer than `FIRST_WITHIN`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from .screenshots import CHROMIUM, FLAGS, WIDE, photos, server

LONG = 600_000  # ms; a busy machine is slow, and that is no failure
MOST = {"one photo": 2, "two corrections": 4, "twenty photos": 3}
FIRST_WITHIN = 3.0  # photos' time, from the start of a batch to its first thumbnail


@dataclass
class Task:
    """What one task took. seconds: name -> s. photos_to_first: the first thumbnail, in times that a photo takes."""

    name: str
    clicks: int = 0
    keys: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    photos_to_first: float = 0.0


class Walk:
    """A page on which what a person does is counted."""

    def __init__(self, page: Page) -> None:
        self.page, self.tasks = page, list[Task]()
        self._started = 0.0

    @contextmanager
    def task(self, name: str) -> Iterator[None]:
        self.tasks.append(Task(name))
        self._started = time.perf_counter()
        yield
        self.mark("whole")

    def mark(self, name: str) -> None:
        """A moment of the task that is worth its seconds."""
        self.tasks[-1].seconds[name] = round(time.perf_counter() - self._started, 2)

    def click(self, target: Locator, **options: object) -> None:
        self.tasks[-1].clicks += 1
        target.click(**options)  # type: ignore[arg-type]

    def press(self, key: str) -> None:
        self.tasks[-1].keys += 1
        self.page.keyboard.press(key)

    def choose(self, selector: str, files: list[Path]) -> None:
        """The files of one choice (or one drop)."""
        self.tasks[-1].clicks += 1
        self.page.set_input_files(selector, [str(f) for f in files])

    def draw(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """One stroke over the photo; places are fractions of it."""
        self.tasks[-1].clicks += 1
        box = self.page.locator(".az-stage:visible").bounding_box()
        assert box is not None
        at = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in (start, end)]
        self.page.mouse.move(*at[0])
        self.page.mouse.down()
        self.page.mouse.move((at[0][0] + at[1][0]) / 2, (at[0][1] + at[1][1]) / 2)
        self.page.mouse.move(*at[1])
        self.page.mouse.up()

    def download(self, link: Locator) -> None:
        with self.page.expect_download() as waiting:
            self.click(link)
        waiting.value.path()


def one_photo(walk: Walk, photo: Path) -> None:
    """A photo in, its clean copy out; then a false alarm switched off and a plate drawn."""
    page = walk.page
    download = page.get_by_role("link", name="Download the clean photo")
    with walk.task("one photo"):
        walk.choose("#az-photo .az-drop input[type=file]", [photo])
        download.wait_for()
        walk.mark("result")
        walk.download(download)
    title = page.locator("#az-result h2")
    box = page.locator(".az-stage:visible").bounding_box()
    report = page.request.get(str(page.get_by_role("link", name="What was hidden").get_attribute("href"))).json()
    assert box is not None
    x1, y1, x2, y2 = report["regions"][0]["box"]
    at = (x1 + x2) / 2 / report["width"] * box["width"], (y1 + y2) / 2 / report["height"] * box["height"]
    with walk.task("two corrections"):
        walk.click(page.locator(".az-stage:visible"), position={"x": at[0], "y": at[1]})
        walk.click(page.get_by_role("button", name="Do not hide this"))
        expect(title).to_contain_text("1 face ")
        walk.click(page.get_by_role("button", name="Draw a plate"))
        walk.draw((0.40, 0.70), (0.60, 0.80))
        expect(title).to_contain_text("1 license plate")


def twenty_photos(walk: Walk, folder: Path) -> None:
    """Twenty photos in, one zip out."""
    page, files = walk.page, []
    for i in range(20):
        files.append(folder / f"street-{i:02}.jpg")
        with Image.open(photos()[i % 2]) as source:
            source.crop((i, i, source.width, source.height)).save(files[-1], quality=92)
    page.get_by_role("tab", name="Many photos").click()
    with walk.task("twenty photos"):
        walk.choose("#az-batch-upload input[type=file]", files)
        page.get_by_text("20 photos are ready.").wait_for()
        walk.mark("sent")
        walk.click(page.get_by_role("button", name="Hide faces and plates"))
        page.wait_for_function("[...document.querySelectorAll('.az-thumb img')].some((i) => i.naturalWidth)")
        walk.mark("first thumbnail")
        link = page.locator("#az-batch-result a.az-download")
        link.wait_for()
        walk.mark("result")
        walk.download(link.first)
    seconds = walk.tasks[-1].seconds
    each = (seconds["result"] - seconds["sent"]) / len(files)
    walk.tasks[-1].photos_to_first = round((seconds["first thumbnail"] - seconds["sent"]) / each, 1)


def walk_all(browser: Browser, address: str, folder: Path) -> list[Task]:
    context = browser.new_context(viewport=WIDE, accept_downloads=True, base_url=address)
    context.set_default_timeout(LONG)
    expect.set_options(timeout=LONG)
    walk = Walk(context.new_page())
    walk.page.goto(address)
    walk.page.wait_for_function("fetch('/healthz').then((a) => a.json()).then((a) => a.status === 'ok')")
    one_photo(walk, photos()[1])
    twenty_photos(walk, folder)
    context.close()
    return walk.tasks


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    given = parser.parse_args()
    with server() as address, sync_playwright() as driver, tempfile.TemporaryDirectory() as temporary:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        tasks = walk_all(browser, address, Path(temporary))
        browser.close()
    print(f"{'task':<20}{'clicks':>8}{'keys':>6}  seconds")
    for task in tasks:
        seconds = ", ".join(f"{name} {value:.1f}" for name, value in task.seconds.items())
        print(f"{task.name:<20}{task.clicks:>8}{task.keys:>6}  {seconds}")
        if task.photos_to_first:
            print(f"{'':<36}the first thumbnail after {task.photos_to_first} photos' time")
    if given.json:
        given.json.write_text(json.dumps([asdict(t) for t in tasks], indent=1) + "\n")
    return int(any(t.clicks > MOST.get(t.name, t.clicks) or t.photos_to_first > FIRST_WITHIN for t in tasks))


if __name__ == "__main__":
    sys.exit(main())
