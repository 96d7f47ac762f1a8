"""One photo, from the upload to a download whose pixels are checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin
from playwright.sync_api import Page, expect
from screenshots import show_photo

from tests.support.web_site import photo

RESULT = "#az-result"


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def outside(regions: list[dict[str, Any]], shape: tuple[int, ...], margin: int) -> np.ndarray:
    """Where no effect may reach: boxes grown by what an ellipse around them, the feather and `margin` px can cover."""
    free = np.ones(shape[:2], dtype=bool)
    for region in regions:
        x1, y1, x2, y2 = region["box"]
        dx, dy = 0.25 * (x2 - x1) + 12 + margin, 0.25 * (y2 - y1) + 12 + margin
        free[max(0, int(y1 - dy)) : int(y2 + dy) + 1, max(0, int(x1 - dx)) : int(x2 + dx) + 1] = False
    return free


def download(page: Page, name: str, folder: Path) -> Path:
    with page.expect_download() as waiting:
        page.get_by_role("link", name=name).click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def version(page: Page) -> int:
    return int(page.locator(".az-viewer").get_attribute("data-version") or -1)


def wait_for_another(page: Page, before: int) -> None:
    """Wait until the viewer shows a later picture than `before`."""
    page.wait_for_function(f"Number(document.querySelector('.az-viewer').dataset.version) > {before}")


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Press, draw and let go; places are fractions of the photo."""
    box = page.locator(".az-stage").bounding_box()
    assert box is not None
    at = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in (start, end)]
    page.mouse.move(*at[0])
    page.mouse.down()
    page.mouse.move((at[0][0] + at[1][0]) / 2, (at[0][1] + at[1][1]) / 2)
    page.mouse.move(*at[1])
    page.mouse.up()


def test_from_upload_to_a_download_that_is_checked(page: Page, bus: Path, tmp_path: Path) -> None:
    source = tmp_path / "street photo.png"
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "Ada Lovelace, 12 St James's Square")
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Spy Camera"
    Image.open(bus).save(source, pnginfo=info, exif=exif)
    show_photo(page, source)
    expect(page.locator(RESULT)).to_contain_text("faces")
    expect(page.locator(RESULT)).to_contain_text("Removed from the file")
    # a slider: more faces are hidden, the picture is another one, no detector runs
    before = version(page)
    slider = page.get_by_label("Faces", exact=True).first
    slider.focus()
    counted = page.locator(f"{RESULT} h2").inner_text()
    page.keyboard.press("Home")
    expect(page.locator(f"{RESULT} h2")).not_to_have_text(counted)
    wait_for_another(page, before)
    page.get_by_label("Faces: score", exact=False).first.fill("0.5")
    page.keyboard.press("Tab")
    expect(page.locator(f"{RESULT} h2")).to_have_text(counted)
    # a missed region is drawn, and stays when the slider moves
    page.get_by_role("button", name="Correct").click()
    page.get_by_role("button", name="Draw another area").click()
    drag(page, (0.40, 0.70), (0.60, 0.80))
    expect(page.locator(f"{RESULT} h2")).to_contain_text("1 more")
    for threshold in ("0.001", "0.9"):  # each hides others: the picture that is downloaded is the last
        before = version(page)
        page.get_by_label("License plates: score").first.fill(threshold)
        page.keyboard.press("Tab")
        wait_for_another(page, before)
        expect(page.locator(f"{RESULT} h2")).to_contain_text("1 more")
    clean = download(page, "Download the clean photo", tmp_path)
    assert clean.name == "street photo-anonymized.png"
    regions = json.loads(download(page, "What was hidden (JSON)", tmp_path).read_text())["regions"]
    drawn = [r for r in regions if r.get("status") == "manual"]
    assert len(drawn) == 1
    assert np.allclose(drawn[0]["box"], (0.40 * 810, 0.70 * 1080, 0.60 * 810, 0.80 * 1080), atol=4)
    old, new = pixels(source), pixels(clean)
    free = outside(regions, old.shape, 0)
    assert free.mean() > 0.5
    assert (old[free] == new[free]).all()
    for region in regions:
        x1, y1, x2, y2 = (round(v) for v in region["box"])
        a, b = old[y1:y2, x1:x2], new[y1:y2, x1:x2]
        # what is left is a few tiles: the difference between neighboring pixels is gone
        assert np.abs(np.diff(b, axis=1)).mean() < 0.35 * np.abs(np.diff(a, axis=1)).mean(), region
    assert b"Lovelace" not in clean.read_bytes()
    assert b"Spy Camera" not in clean.read_bytes()
    assert not Image.open(clean).info.get("Comment")


def test_a_jpeg_stays_within_its_rounding_and_loses_its_metadata(page: Page, zidane: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Spy Camera"
    exif[ExifTags.IFD.GPSInfo] = {1: "N", 2: (52.0, 30.0, 0.0)}
    source = tmp_path / "z.jpg"
    Image.open(zidane).save(source, quality=92, exif=exif)
    show_photo(page, source)
    page.locator(RESULT).get_by_text("Removed from the file").click()
    expect(page.locator(RESULT)).to_contain_text("GPS position")
    clean = download(page, "Download the clean photo", tmp_path)
    regions = json.loads(download(page, "What was hidden (JSON)", tmp_path).read_text())["regions"]
    assert len(regions) in (2, 3, 4)  # two men, a blurred head in the crowd, and what may be taken for a face
    old, new = pixels(source), pixels(clean)
    free = outside(regions, old.shape, 16)
    assert free.mean() > 0.5
    assert np.abs(old[free] - new[free]).max() <= 12
    assert np.abs(old[free] - new[free]).mean() < 0.5
    assert b"Spy Camera" not in clean.read_bytes()
    assert not Image.open(clean).getexif()


def test_switch_off_move_undo(page: Page, zidane: Path) -> None:
    show_photo(page, zidane)
    page.get_by_role("button", name="Correct").click()
    title = page.locator(f"{RESULT} h2")
    expect(title).to_contain_text("faces")
    every = page.locator("rect.az-region.on").count()
    expect(title).to_contain_text(f"{every} faces")
    page.locator("rect.az-region.on").first.click()
    page.get_by_role("button", name="Do not hide this").click()
    expect(title).to_contain_text(f"{every - 1} face")
    page.get_by_role("button", name="Reset to automatic").click()
    expect(title).to_contain_text(f"{every} faces")
    region = page.locator("rect.az-region.on").first
    x = float(region.get_attribute("x") or 0)
    box = region.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 40, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    expect(page.locator("rect.az-region.accepted")).to_have_count(1)
    moved = [float(r.get_attribute("x") or 0) for r in page.locator("rect.az-region").all()]
    assert any(v > x + 20 for v in moved)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("rect.az-region.accepted")).to_have_count(0)


def test_the_clean_picture_is_what_a_photo_opens_with(new_page: Any, quick: Any, street: Path) -> None:
    """With the divider in the middle both faces would lie on the original's side."""
    still = new_page(quick.address, reduced_motion="reduce")
    show_photo(still, street)
    divider = still.get_by_role("slider", name="Compare")
    expect(divider).to_have_attribute("aria-valuenow", "0")
    expect(still.locator(".az-before")).to_have_css("visibility", "hidden")
    expect(still.locator(".az-tag.left")).to_be_hidden()
    page = new_page(quick.address)
    page.locator(".az-drop-title").first.wait_for()
    page.evaluate("""new MutationObserver(() => {
      const now = Number(document.querySelector('.az-divider').getAttribute('aria-valuenow'));
      window.farthest = Math.max(window.farthest || 0, now);
    }).observe(document.querySelector('.az-viewer'), {subtree: true, attributes: true})""")
    show_photo(page, street)
    page.wait_for_function("window.farthest > 40 && document.querySelector('.az-divider').ariaValueNow === '0'")


def test_a_click_on_what_is_hidden_selects_it(new_page: Any, quick: Any, street: Path) -> None:
    page = new_page(quick.address, reduced_motion="reduce")
    show_photo(page, street)
    box = page.locator(".az-stage").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 0.05 * box["width"], box["y"] + 0.95 * box["height"])  # nothing there: the divider
    expect(page.get_by_role("slider", name="Compare")).to_have_attribute("aria-valuenow", "5")
    page.mouse.click(box["x"] + 140 / 800 * box["width"], box["y"] + 150 / 600 * box["height"])
    expect(page.locator("rect.az-region.selected")).to_have_count(1)
    page.get_by_role("button", name="Do not hide this").click()
    expect(page.locator(f"{RESULT} h2")).to_contain_text("1 face ")


def test_everything_by_keyboard(page: Page, zidane: Path) -> None:
    show_photo(page, zidane)
    divider = page.get_by_role("slider", name="Compare")
    expect(divider).to_have_attribute("aria-valuenow", "0")
    divider.focus()
    page.keyboard.press("ArrowRight")
    expect(divider).to_have_attribute("aria-valuenow", "2")
    page.get_by_role("button", name="Correct").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Draw a plate").focus()
    page.keyboard.press("Enter")
    page.locator(".az-stage").focus()
    page.keyboard.press("Enter")
    title = page.locator(f"{RESULT} h2")
    expect(title).to_contain_text("1 license plate")
    drawn = page.locator("rect.az-region.selected")
    expect(drawn).to_be_focused()
    x = float(drawn.get_attribute("x") or 0)
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(f"Number(document.querySelector('rect.az-region.selected')?.getAttribute('x')) < {x}")
    page.locator("rect.az-region.selected").focus()
    page.keyboard.press("Delete")
    expect(title).to_contain_text("no license plates")


def test_another_search_depth_searches_again(new_page: Any, quick: Any, street: Path) -> None:
    page = new_page(quick.address)
    show_photo(page, street)
    with page.expect_response(lambda r: "queue/join" in r.url) as answer:
        page.get_by_text("Thorough", exact=True).locator("visible=true").first.click()
    assert answer.value.ok


def test_what_is_not_a_photo_is_said_plainly(page: Page, tmp_path: Path, zidane: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"this is text")
    for _ in range(2):  # the same answer twice: it may not look as if the second one were still awaited
        page.set_input_files("#az-photo .az-drop input[type=file]", str(broken))
        expect(page.locator("#az-photo .az-status.problem")).to_contain_text("This is not an image")
    assert "Traceback" not in page.content()
    show_photo(page, zidane)  # and the page goes on working
    expect(page.locator(RESULT)).to_contain_text("faces and no license plates hidden")


def test_another_visitor_sees_nothing_of_it(new_page: Any, zidane: Path) -> None:
    mine, other = new_page(), new_page()
    show_photo(mine, zidane)
    links = [mine.locator(f".az-{which}").evaluate("e => e.src") for which in ("before", "after")]
    links.append(mine.get_by_role("link", name="Download the clean photo").evaluate("e => e.href"))
    for link in links:
        assert mine.request.get(link).status == 200
        assert other.request.get(link).status == 404


def test_closing_the_page_takes_leave(page: Page) -> None:
    page.locator(".az-drop-title").first.wait_for()
    with page.expect_request("**/visit/leave"):
        page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide'))")


@pytest.mark.parametrize("kind", ["inpaint", "blur", "pixelate", "solid"])
def test_effects_change_the_picture(page: Page, zidane: Path, kind: str) -> None:
    show_photo(page, zidane)
    names = {"inpaint": "Soft fill", "blur": "Blur", "pixelate": "Mosaic", "solid": "Solid color"}
    other = "pixelate" if kind == "blur" else "blur"
    faces = page.locator(".az-face-effect").first
    faces.get_by_label(names[other]).check()
    page.wait_for_timeout(600)
    before = version(page)
    faces.get_by_label(names[kind]).check()
    wait_for_another(page, before)


def test_labels_in_a_crowd_do_not_lie_over_each_other(quick: Any, new_page: Any, tmp_path: Path) -> None:
    page = new_page(quick.address)
    show_photo(page, photo(tmp_path / "crowd.jpg", size=(1600, 600)))
    page.get_by_role("button", name="Correct").click()
    seen = """() => [...document.querySelectorAll(".az-label")].filter((t) => t.style.display !== "none")
      .map((t) => { const b = t.getBoundingClientRect(); return [b.left, b.top + 2, b.right, b.bottom - 2]; })"""
    expect(page.locator(".az-region")).to_have_count(200)
    for zoomed in (False, True):
        if zoomed:
            few = len(page.evaluate(seen))
            for _ in range(4):
                page.get_by_role("button", name="Zoom in").click()
        labels = page.evaluate(seen)
        clashes = [
            (a, b)
            for i, a in enumerate(labels)
            for b in labels[:i]
            if a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
        ]
        assert not clashes
        assert len(labels) > 20
    assert len(labels) > few, "with more room, more of them are seen"
    page.locator(".az-region").nth(7).focus()
    page.keyboard.press("Enter")
    expect(page.locator(".az-label.selected")).to_be_visible()
