"""Write the review's screenshots: python -m bench.review_screenshots [FOLDER]

FiftyOne's fp/fn view, its queue panel, and the page's Review tab, over cuts of the two photos that ultralytics carries.
Needs Debian's chromium (`apt-get install chromium`). The marks are drawn by hand.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from anonymize.engine import Engine
from anonymize.settings import Settings

sys.path.insert(0, str(Path(__file__).parent))

from screenshots import CHROMIUM, FLAGS, ROOT, photos, server

# Faces and the bus's plate, [x, y, width, height] px, and cuts (x1, y1, x2, y2) of the photos.
MARKS = {
    "zidane": [("face", [938, 100, 124, 186]), ("face", [532, 236, 132, 216])],
    "bus": [("face", [119, 408, 42, 60]), ("face", [266, 412, 40, 48])],
}
CUTS = {
    "zidane": [(0, 0, 1280, 720), (420, 60, 1180, 600), (800, 0, 1280, 480)],
    "bus": [(0, 0, 810, 1080), (0, 300, 420, 900), (30, 330, 810, 800), (400, 300, 810, 900)],
}
SIZE = {"width": 1440, "height": 900}


def make(home: Path) -> tuple[Path, Path]:
    """Photos, their records and their annotations; all but some marks are found, so that something is to be seen."""
    coco: dict[str, list[dict[str, object]]] = {"images": [], "annotations": []}
    coco["categories"] = [{"id": 1, "name": "face"}]
    (home / "photos").mkdir()
    for file in photos():
        for n, (x1, y1, x2, y2) in enumerate(CUTS[file.stem]):
            name, number = f"{file.stem}-{'abcd'[n]}.jpg", len(coco["images"]) + 1
            Image.open(file).crop((x1, y1, x2, y2)).save(home / "photos" / name, quality=95)
            coco["images"].append({"id": number, "file_name": name, "width": x2 - x1, "height": y2 - y1})
            for _, (x, y, w, h) in MARKS[file.stem]:
                if x1 <= x and y1 <= y and x + w <= x2 and y + h <= y2:
                    one = {"id": len(coco["annotations"]) + 1, "image_id": number, "category_id": 1, "iscrowd": 0}
                    coco["annotations"].append({**one, "bbox": [x - x1, y - y1, w, h], "area": w * h})
    (home / "annotations.json").write_text(json.dumps(coco))
    settings = Settings().replace(
        face_detector="retinaface-mobilenet@224", plate_detector="none", other_detectors=("coco",)
    )
    settings = settings.with_kind("face", threshold=0.2)
    Engine(settings).detect(home / "photos", home / "records.jsonl")
    return home / "records.jsonl", home / "annotations.json"


def fiftyone(page: Page, records: Path, annotations: Path, target: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "review",
        "serve",
        str(records),
        "--annotations",
        str(annotations),
        "--port",
        "7898",
    ]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        address = next(m[0] for line in child.stdout if (m := re.search(r"http://\S+", line)))
        for _ in range(100):
            try:
                page.goto(address)
                break
            except Exception:
                page.wait_for_timeout(200)
        page.get_by_text("Dismiss").click(timeout=60_000)
        page.wait_for_timeout(3000)
        page.screenshot(path=target / "review-fiftyone.png", clip={"x": 0, "y": 0, "width": 1440, "height": 480})
        page.locator('[title*="panel" i], [data-cy*="new-panel"]').first.click()
        page.get_by_text("Review queue").click()
        page.wait_for_timeout(4000)
        page.screenshot(path=target / "review-queue-panel.png")
    finally:
        child.terminate()
        child.wait(20)


def tab(page: Page, records: Path, target: Path) -> None:
    with server() as address:
        page.goto(address)
        page.get_by_role("tab", name="Review").click()
        page.locator("#rv-path input, #rv-path textarea").fill(str(records))
        page.locator("#rv-open").click()
        page.locator(".rv-editor image").wait_for()
        page.wait_for_timeout(1500)
        page.screenshot(path=target / "review-tab.png")


def main() -> None:
    target = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "screenshots")
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home, sync_playwright() as driver:
        os.environ.setdefault("FIFTYONE_DATABASE_DIR", f"{home}/db")
        records, annotations = make(Path(home))
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        fiftyone(browser.new_page(viewport=SIZE), records, annotations, target)
        tab(browser.new_page(viewport=SIZE), records, target)
        browser.close()


if __name__ == "__main__":
    main()
