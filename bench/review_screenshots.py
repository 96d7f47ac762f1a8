"""Write the review's screenshots: python -m bench.review_screenshots [FOLDER]

FiftyOne's fp/fn view over drawn plates and signs, its queue panel, and the page's Review tab over the demo's sample.
Needs Debian's chromium (`apt-get install chromium`).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from anonymize import evaluate, records
from anonymize.engine import detect
from anonymize.evaluate.ground_truth import read as read_annotations
from anonymize.predictor import Predictor
from anonymize.settings import Settings
from models.recipes.plates.scenes import scene
from review import sample

sys.path.insert(0, str(Path(__file__).parent))

from screenshots import CHROMIUM, FLAGS, ROOT, server

SIZE, SMALL = {"width": 1440, "height": 900}, {"width": 1180, "height": 820}
GRID = {"x": 300, "y": 74, "width": 1140, "height": 490}  # of FiftyOne's page: the photos beside its filters
# Pictures that are drawn, and those of them with most hits, false positives and misses, which are kept.
DRAWN, SHOWN = 24, 8
HEIGHTS = (44, 26, 8)  # px, of the plates in each: the last is hard to find
# A network by itself at a low threshold: it takes signs for plates, and has not seen such small ones.
SETTINGS = (
    Settings().replace(face_detector="none", plate_detector="safelicensing@640").with_kind("plate", threshold=0.1)
)


def _name(n: int) -> str:
    """Not numbered in a row: those would be frames of a ride."""
    return f"{'abcdefgh'[n % 8]}{'abcdefgh'[n // 8]}.png"


def draw(folder: Path) -> Path:
    """Pictures with drawn plates and signs before cuts of the sample, and their annotations."""
    coco: dict[str, list[dict[str, object]]] = {"images": [], "annotations": []}
    coco["categories"] = [{"id": 2, "name": "plate"}]
    grounds = [np.asarray(Image.open(p).convert("RGB").resize((640, 480))) for p in sample.cut(folder / "cuts")]
    (folder / "photos").mkdir()
    for n in range(DRAWN):
        rng = np.random.default_rng(n)
        boxes = []
        for i, height in enumerate(HEIGHTS):
            x, y = rng.uniform(10, 420), 40 + 140 * i + rng.uniform(0, 80)
            boxes.append((x, y, x + 4.2 * height, y + height))
        picture, corners = scene(grounds[n % len(grounds)], np.array(boxes), np.zeros((0, 4)), rng, turn=0.0)
        Image.fromarray(picture).save(folder / "photos" / _name(n))
        coco["images"].append({"id": n, "file_name": _name(n), "width": 640, "height": 480})
        for plate in corners:
            (x1, y1), (x2, y2) = plate.min(0).tolist(), plate.max(0).tolist()
            one = {"id": len(coco["annotations"]), "image_id": n, "category_id": 2, "iscrowd": 0}
            coco["annotations"].append({**one, "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)})
    (folder / "annotations.json").write_text(json.dumps(coco))
    return folder / "annotations.json"


def make(home: Path) -> tuple[Path, Path]:
    """Records of the drawn pictures in which most is to be seen, and their annotations."""
    annotations, path = draw(home), home / "drawn.jsonl"
    detect(home / "photos", path, Predictor(SETTINGS))
    header, known = records.read(path)
    truth = read_annotations(annotations, home / "photos", sorted(known))
    found = evaluate.evaluate(known.values(), truth, SETTINGS, curves=False).photos

    def variety(photo: evaluate.PhotoResult) -> tuple[int, int]:
        false = len(photo.detections) - len(photo.matches)
        missed = len(photo.truths) - len(photo.matches)
        return (len(photo.matches) > 0) + (false > 0) + (missed > 0), min(false, 2)

    best = {p.path for p in sorted(found, key=variety, reverse=True)[:SHOWN]}
    records.write(path, header, [r for r in known.values() if r.path in best])
    return path, annotations


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
        page.screenshot(path=target / "review-fiftyone.jpg", quality=88, clip=GRID)
        page.set_viewport_size(SMALL)
        page.locator('[title*="panel" i], [data-cy*="new-panel"]').first.click()
        page.get_by_text("Review queue").click()
        page.wait_for_timeout(4000)
        page.screenshot(path=target / "review-queue-panel.jpg", quality=88)
    finally:
        child.terminate()
        child.wait(20)


def tab(page: Page, records: Path, target: Path) -> None:
    with server() as address:
        page.goto(address)
        page.get_by_role("tab", name="Review").click()
        page.locator("#rv-path").fill(str(records))
        page.locator("#rv-open").click()
        page.locator(".az-review[data-painted]").wait_for()
        page.wait_for_timeout(1500)
        page.get_by_text("Getting ready").wait_for(state="hidden", timeout=120_000)
        page.screenshot(path=target / "review-tab.jpg", quality=88)


def main() -> None:
    target = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "screenshots")
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home, sync_playwright() as driver:
        os.environ.setdefault("FIFTYONE_DATABASE_DIR", f"{home}/db")
        records, annotations = make(Path(home))
        shown = sample.make(Path(home) / "sample", Predictor(Settings().replace(other_detectors=("coco",))))
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        fiftyone(browser.new_page(viewport=SIZE), records, annotations, target)
        tab(browser.new_page(viewport=SIZE), shown, target)
        browser.close()


if __name__ == "__main__":
    main()
