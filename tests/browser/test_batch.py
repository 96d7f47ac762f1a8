"""Many photos in a real browser: one of them corrupt, one run stopped, results looked through and corrected."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect


@pytest.fixture
def photos(tmp_path: Path, bus: Path, zidane: Path) -> list[Path]:
    """Eleven photos and one that is corrupt."""
    found = []
    for i in range(11):
        target = tmp_path / f"photo-{i:02}.jpg"
        with Image.open((bus, zidane)[i % 2]) as picture:
            picture.resize((picture.width // 2, picture.height // 2)).save(target)
        found.append(target)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(found[0].read_bytes()[:2000])
    return [*found, broken]


def begin(page: Page, files: list[Path], ready: str = "") -> None:
    page.get_by_role("tab", name="Many photos").click()
    page.set_input_files("#az-batch-upload input[type=file]", [str(p) for p in files])
    page.get_by_text(ready or f"{len(files)} photos are ready.").wait_for()
    page.get_by_role("button", name="Hide faces and plates").click()


def test_photos_that_come_in_after_a_folder_are_what_starts(page: Page, photos: list[Path], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    page.get_by_role("tab", name="Many photos").click()
    page.locator("#az-folder textarea").fill(str(tmp_path / "other"))
    begin(page, photos[:1], "1 photo is ready.")
    expect(page.locator("#az-folder textarea")).to_have_value("")
    expect(page.locator("#az-batch-progress")).to_contain_text("1 of 1 photos · done", timeout=60_000)


DROP = """([bytes, times]) => { for (; times; times--) {
  const file = new File([new Uint8Array(bytes)], "a.jpg");
  const read = { isFile: true, fullPath: "/in/a.jpg", file: (ok) => ok(file) };
  const error = new DOMException("", "NotReadableError");
  const refused = { isFile: true, fullPath: "/in/b.jpg", file: (ok, no) => no(error) };
  const parts = [[refused, read], []];
  const folder = { isFile: false, fullPath: "/in", createReader: () => ({ readEntries: (ok) => ok(parts.shift()) }) };
  const drop = new Event("drop", { bubbles: true, cancelable: true });
  drop.dataTransfer = { items: [{ webkitGetAsEntry: () => folder }], files: [] };
  document.querySelector("#az-batch-upload .az-drop").dispatchEvent(drop);
}}"""


def test_a_dropped_folder_with_a_file_that_cannot_be_read(page: Page, photos: list[Path]) -> None:
    page.get_by_role("tab", name="Many photos").click()
    page.locator("#az-batch-upload .az-drop").wait_for()
    page.evaluate(DROP, [list(photos[0].read_bytes()), 1])
    page.get_by_text("1 photo is ready.").wait_for()
    told = page.locator("#az-batch-upload .az-problems li")
    expect(told).to_have_text(["in/b.jpg: it cannot be read (NotReadableError)"])


def test_what_is_dropped_while_photos_are_sent_comes_in_too(page: Page, photos: list[Path]) -> None:
    page.get_by_role("tab", name="Many photos").click()
    page.locator("#az-batch-upload .az-drop").wait_for()
    page.evaluate(DROP, [list(photos[0].read_bytes()), 3])
    page.get_by_text("3 photos are ready.").wait_for()
    expect(page.locator("#az-batch-upload .az-problems li")).to_have_count(3)


def test_twelve_photos_one_of_them_corrupt(page: Page, photos: list[Path], tmp_path: Path) -> None:
    begin(page, photos)
    expect(page.locator("#az-batch-progress")).to_contain_text("12 of 12 photos · done", timeout=120_000)
    expect(page.locator("#az-batch-result")).to_contain_text("1 photo could not be processed")
    expect(page.locator(".az-thumb")).to_have_count(12)
    expect(page.locator(".az-thumb").first).to_contain_text("broken.jpg")  # what needs a person comes first
    page.locator("#az-batch-filter").get_by_label("failed").check()
    expect(page.locator(".az-thumb")).to_have_count(1)
    page.locator("#az-batch-filter").get_by_label("all").check()
    expect(page.locator(".az-thumb")).to_have_count(12)
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download 11 clean photos").click()
    archive = zipfile.ZipFile(waiting.value.path())
    clean = [n for n in archive.namelist() if n.endswith(".jpg")]
    assert len(clean) == 11
    assert archive.namelist() == clean  # the photos and nothing else
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download the records").click()
    known = zipfile.ZipFile(waiting.value.path())
    assert {"records.jsonl", "summary.json"} <= set(known.namelist())
    for name in clean:
        source = tmp_path / Path(name).name
        regions = json.loads(known.read(f"{name}.json"))["regions"]
        assert regions
        old = np.asarray(Image.open(source)).astype(int)
        new = np.asarray(Image.open(io.BytesIO(archive.read(name)))).astype(int)
        for region in regions:
            x1, y1, x2, y2 = (round(v) for v in region["box"])
            a, b = old[y1:y2, x1:x2], new[y1:y2, x1:x2]
            assert np.abs(np.diff(b, axis=1)).mean() < 0.5 * np.abs(np.diff(a, axis=1)).mean()


def test_a_photo_of_a_batch_is_corrected(page: Page, photos: list[Path]) -> None:
    begin(page, photos[:2])
    expect(page.locator("#az-batch-progress")).to_contain_text("done", timeout=120_000)
    page.get_by_role("button", name="Look at photo-01.jpg and correct it").click()
    page.locator(".az-stage").wait_for()
    page.get_by_role("button", name="Correct").click()
    boxes = page.locator("rect.az-region.on")
    count = boxes.count()
    boxes.first.focus()
    page.keyboard.press("Delete")
    expect(boxes).to_have_count(count - 1)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Back to the batch").click()
        page.get_by_role("link", name="Download the records").click()
    known = zipfile.ZipFile(waiting.value.path())
    assert len(json.loads(known.read("photo-01.jpg.json"))["regions"]) == count - 1


def test_stop(page: Page, photos: list[Path], tmp_path: Path) -> None:
    many = []
    for i in range(60):
        many.append(tmp_path / f"many-{i}.jpg")
        many[-1].write_bytes(photos[i % 11].read_bytes() + bytes(8) * i)
    begin(page, many)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#az-batch-progress")).to_contain_text("· stopped", timeout=60_000)
    done = int(page.locator("#az-batch-progress").inner_text().split(" of ")[0].split()[-1])
    assert done < 60


def test_starting_over_forgets_the_photos(page: Page, photos: list[Path]) -> None:
    begin(page, photos[:2])
    expect(page.locator("#az-batch-progress")).to_contain_text("done", timeout=120_000)
    page.get_by_role("button", name="Scores and sizes").click()
    thumb = page.locator(".az-thumb img").first.evaluate("e => e.src")
    page.get_by_role("button", name="Start over").click()
    expect(page.locator(".az-gallery")).to_be_hidden()
    expect(page.locator("#az-batch-result")).to_contain_text("A whole folder at once")
    assert page.request.get(str(thumb)).status == 404
    begin(page, photos[:1], "1 photo is ready.")
    expect(page.locator("#az-batch-progress")).to_contain_text("1 of 1 photos · done", timeout=120_000)


def test_another_threshold_is_tried_over_the_batch(page: Page, photos: list[Path]) -> None:
    begin(page, photos[:2])
    expect(page.locator("#az-batch-progress")).to_contain_text("done", timeout=120_000)
    page.get_by_role("button", name="Try another threshold").click()
    said = page.locator("#az-moved")
    would = page.locator(".az-right .az-would:visible").first
    expect(would).to_have_text(re.compile("^[0-9]+ hidden$"))  # nobody touched it
    apply = page.get_by_role("button", name="Apply changed settings")
    expect(apply).to_be_hidden()
    expect(said).to_contain_text("as many as now; no photo changes")
    page.get_by_label("Threshold: score").fill("0.001")
    page.keyboard.press("Tab")
    expect(said).to_contain_text("more than now; 2 photos change")
    page.get_by_role("button", name="Use this").click()
    expect(page.get_by_label("Faces: score").last).to_have_value("0.001")
    expect(would).to_contain_text("more would be hidden")
    apply.click()
    expect(said).to_contain_text("as many as now; no photo changes", timeout=60_000)
    expect(apply).to_be_hidden()
    coarser = page.get_by_role("slider", name="range slider for Mosaic coarseness")
    coarser.focus()
    page.keyboard.press("ArrowLeft")
    expect(apply).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(apply).to_be_hidden()


def test_a_file_that_is_too_large_is_told_so_before_it_is_sent(page: Page, tmp_path: Path) -> None:
    with open(tmp_path / "huge.jpg", "wb") as file:
        file.truncate(201_000_000)
    page.get_by_role("tab", name="Many photos").click()
    page.set_input_files("#az-batch-upload input[type=file]", str(tmp_path / "huge.jpg"))
    expect(page.locator("#az-batch-upload .az-problems")).to_contain_text("huge.jpg is too large: at most 200 MB.")


def test_a_folder_of_this_computer(page: Page, photos: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(photos[0].read_bytes())
    page.get_by_role("tab", name="Many photos").click()
    page.locator("#az-folder").get_by_role("textbox").fill(str(folder))
    page.get_by_role("button", name="Hide faces and plates").click()
    expect(page.locator("#az-batch-progress")).to_contain_text("1 of 1 photos · done", timeout=60_000)
    assert [p.name for p in folder.iterdir()] == ["a.jpg"]


def test_starting_without_photos_says_what_to_do(page: Page) -> None:
    page.get_by_role("tab", name="Many photos").click()
    page.get_by_role("button", name="Hide faces and plates").click()
    expect(page.locator("#az-batch-progress")).to_contain_text("Choose some photos first.")
