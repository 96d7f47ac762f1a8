"""Write screenshots of every tab, light and dark, wide and narrow: python -m bench.screenshots [FOLDER] [--readme]

`--readme` writes those of the README instead, into docs/. Starts the server itself, and needs Debian's chromium
(`apt-get install chromium`). Photos: bus.jpg and zidane.jpg of the package ultralytics (AGPL-3.0).
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDE = ViewportSize(width=1280, height=900)
NARROW = ViewportSize(width=390, height=844)


def photos() -> list[Path]:
    spec = find_spec("ultralytics")
    assert spec is not None
    assert spec.origin is not None
    return sorted((Path(spec.origin).parent / "assets").glob("*.jpg"))


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def server(*options: str) -> AbstractContextManager[str]:
    """`python app.py` on a free port; its address once it answers."""
    port = free_port()
    return answering(port, ["app.py", "--port", str(port), *options])


@contextmanager
def answering(port: int, arguments: list[str]) -> Iterator[str]:
    """Python with these arguments serves the app while this is entered; its address once it answers."""
    process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(720):
            try:
                urllib.request.urlopen(f"{address}/healthz", timeout=5).read()
                break
            except OSError:
                time.sleep(0.25)
        else:
            raise TimeoutError("the server does not answer within three minutes")
        yield address
    finally:
        process.terminate()
        process.wait(20)


def page(browser: Browser, address: str, dark: bool = False, narrow: bool = False) -> Page:
    context = browser.new_context(
        viewport=NARROW if narrow else WIDE, color_scheme="dark" if dark else "light", has_touch=narrow
    )
    opened = context.new_page()
    opened.goto(address)
    opened.wait_for_selector(".az-drop-title")
    return opened


def show_photo(opened: Page, photo: Path) -> None:
    opened.set_input_files("#az-photo .az-drop input[type=file]", str(photo))
    opened.wait_for_selector(".az-stage:visible", timeout=180_000)
    opened.wait_for_function(
        "document.querySelector('.az-after').complete && document.querySelector('.az-after').naturalWidth"
    )
    opened.wait_for_timeout(1700)  # the divider sweeps


def open_tab(opened: Page, name: str) -> None:
    opened.get_by_role("tab", name=name).click()
    opened.wait_for_timeout(300)


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)

    def shoot(opened: Page, name: str, full: bool = True) -> None:
        opened.wait_for_timeout(400)
        opened.screenshot(path=folder / f"{name}.png", full_page=full)
        print(folder / f"{name}.png")

    bus, zidane = photos()[:2]
    clip = make_clip(folder / ".walk.mp4", bus)
    with server() as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for look, dark, narrow in (("light", False, False), ("dark", True, False), ("phone", False, True)):
            opened = page(browser, address, dark, narrow)
            shoot(opened, f"{look}-1-empty")
            opened.set_input_files("#az-photo .az-drop input[type=file]", str(zidane))
            opened.locator(".az-preview").wait_for()
            shoot(opened, f"{look}-1-searching", full=False)
            show_photo(opened, zidane)
            shoot(opened, f"{look}-2-photo")
            opened.get_by_role("button", name="Correct").click()
            opened.get_by_label("Show possible misses").check()
            opened.locator("rect.az-region.on").first.focus()
            opened.keyboard.press("Enter")
            shoot(opened, f"{look}-3-correct")
            open_tab(opened, "Many photos")
            broken = folder / ".broken.jpg"
            broken.write_bytes(b"not a photo")
            opened.set_input_files("#az-batch-upload input[type=file]", [str(p) for p in (bus, zidane, broken)])
            opened.get_by_text("3 photos are ready.").wait_for()
            broken.unlink()
            shoot(opened, f"{look}-4-batch-ready")
            opened.get_by_role("button", name="Hide faces and plates").click()
            opened.locator("#az-batch-result a.az-download").wait_for(timeout=180_000)
            opened.wait_for_timeout(1500)
            for title in ("Scores and sizes", "Try another threshold"):
                opened.get_by_role("button", name=title).click()
            opened.wait_for_timeout(1200)
            shoot(opened, f"{look}-5-batch-done")
            opened.locator(".az-thumb button").first.click()
            opened.locator(".az-stage:visible").wait_for()
            opened.get_by_role("button", name="Advanced settings").first.click()
            opened.get_by_role("slider", name="Feather").first.scroll_into_view_if_needed()
            shoot(opened, f"{look}-5-of-batch", full=False)
            open_tab(opened, "Video")
            opened.set_input_files("#az-video .az-drop input[type=file]", str(clip))
            opened.locator("#az-video-result a.az-download[href]").wait_for(timeout=600_000)
            opened.locator('.az-player .az-stage[data-plays="yes"]').wait_for()
            opened.locator(".az-tracks .az-go").first.click()
            opened.wait_for_timeout(1500)
            shoot(opened, f"{look}-5-video")
            opened.locator("#az-video .az-modes button").last.click()
            opened.locator("#az-video rect.az-region").first.wait_for()
            shoot(opened, f"{look}-5-video-correct")
            for name in ("Models", "About"):
                open_tab(opened, name)
                shoot(opened, f"{look}-{'6' if name == 'Models' else '7'}-{name.lower()}")
            opened.context.close()
        browser.close()
    clip.unlink()


def make_clip(path: Path, photo: Path, frames: int = 50) -> Path:
    """Two seconds of a walk over a photo."""
    import av
    import numpy as np

    with Image.open(photo) as picture:
        street = np.asarray(picture.convert("RGB"))
    height, width = (side * 9 // 10 // 2 * 2 for side in street.shape[:2])
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(frames):
            y, x = (street.shape[0] - height) * i // frames, (street.shape[1] - width) * i // frames
            part = np.ascontiguousarray(street[y : y + height, x : x + width])
            out.mux(stream.encode(av.VideoFrame.from_ndarray(part, "rgb24")))
        out.mux(stream.encode(None))
    return path


def write_before_after(folder: Path) -> None:
    """before-after.jpg: a part of bus.jpg with what is found, and as the default hides it."""
    from anonymize import images
    from anonymize.hiding import hide_record
    from anonymize.predictor import Predictor
    from anonymize.preview import save_preview

    predictor = Predictor()
    with Image.open(photos()[0]) as street, tempfile.TemporaryDirectory() as temporary:
        street.crop((0, 290, 810, 890)).save(Path(temporary) / "bus.png")
        photo = images.load(Path(temporary) / "bus.png", predictor.settings)
    record = predictor.record(photo, "bus.png")
    hidden = record.hidden(predictor.settings)
    save_preview(photo, hide_record(photo, record, predictor.settings), hidden, folder / "before-after.jpg")


def write_readme(folder: Path) -> None:
    """app-photo.jpg and app-batch.jpg: one photo, and six of which one is damaged and one shows nobody's face."""
    bus, zidane = photos()[:2]
    with server() as address, sync_playwright() as driver, tempfile.TemporaryDirectory() as temporary:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        opened = page(browser, address)
        show_photo(opened, bus)
        opened.set_viewport_size({"width": 1280, "height": 760})
        opened.locator("#az-photo .az-divider").focus()
        for key in ["Home", *["ArrowRight"] * 13]:  # between the two men
            opened.keyboard.press(key)
        opened.evaluate("document.activeElement.blur()")
        opened.wait_for_timeout(400)
        opened.screenshot(path=folder / "app-photo.jpg", quality=88)
        many = [Path(temporary) / f"street-{i}.jpg" for i in range(1, 6)]
        with Image.open(bus) as street, Image.open(zidane) as stand:
            parts = [street, stand, street.crop((0, 330, 420, 900)), street.crop((180, 330, 810, 900))]
            for target, picture in zip(many, [*parts, street.crop((60, 130, 560, 390))], strict=True):
                picture.save(target, quality=92)
        damaged = Path(temporary) / "damaged.jpg"
        damaged.write_bytes(b"not a photo")
        open_tab(opened, "Many photos")
        opened.set_input_files("#az-batch-upload input[type=file]", [str(p) for p in (*many, damaged)])
        opened.get_by_text("6 photos are ready.").wait_for()
        opened.get_by_role("button", name="Hide faces and plates").click()
        opened.locator("#az-batch-result a.az-download").wait_for(timeout=180_000)
        opened.set_viewport_size({"width": 1280, "height": 1080})
        opened.mouse.move(0, 0)
        opened.wait_for_timeout(1500)
        opened.evaluate("scrollTo(0, 0)")
        opened.screenshot(path=folder / "app-batch.jpg", quality=88)
        browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "screenshots")
    parser.add_argument("--readme", action="store_true")
    given = parser.parse_args()
    if given.readme:
        write_before_after(ROOT / "docs")
        write_readme(ROOT / "docs")
    else:
        write(given.folder)
