"""The Video tab in a real browser: a clip dropped, watched, cancelled, corrected, and what is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from screenshots import NARROW, open_tab

from tests.browser.test_page import violations
from tests.support import clips
from tests.support.quick_server import REGIONS

SIZE, FRAMES = (800, 600), 30
DONE = "#az-video-result a.az-download[href]"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, bus: Path) -> Path:
    """A walk over a photo of a street, with sound."""
    with Image.open(bus) as photo:
        street = np.asarray(photo.convert("RGB").resize((1000, 750)))
    seen = [np.ascontiguousarray(street[i : i + SIZE[1], 2 * i : 2 * i + SIZE[0]]) for i in range(FRAMES)]
    path = tmp_path_factory.mktemp("clip") / "street.mp4"
    return clips.make(path, FRAMES, size=SIZE, pictures=seen, audio=["aac"])


def add(page: Page, clip: Path) -> None:
    page.locator(".az-clips .az-drop-title").wait_for()
    page.set_input_files("#az-video .az-drop input[type=file]", str(clip))


def whole(page: Page) -> None:
    page.locator(DONE).wait_for()
    page.locator('.az-player .az-stage[data-plays="yes"]').wait_for()


def frames(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [f.to_ndarray(format="rgb24").astype(int) for f in container.decode(video=0)]


def detail(pixels: np.ndarray) -> float:
    return float(np.abs(np.diff(pixels, axis=1)).mean())


def test_a_clip_from_the_drop_to_the_download(new_page: Any, quick: Any, clip: Path) -> None:
    page = new_page(quick.address)
    page.get_by_role("tab", name="Video").click()
    expect(page).to_have_url(f"{quick.address}/#video")
    card = page.locator("#az-video-result")
    with quick.holding():
        add(page, clip)
        expect(page.locator("#az-video .az-status")).to_contain_text("Searching for faces and plates")
        expect(page.locator("#az-video .az-preview")).to_be_visible()  # the clip is seen at once
        expect(card).to_contain_text("Nothing to download yet")
        page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#az-video .az-status")).to_have_text("Stopped before all of it was searched.")
    page.get_by_role("button", name="Go on").click()
    whole(page)
    expect(card).to_contain_text("2 faces and 1 license plate hidden")
    # A slider hides one more; until that is written there is nothing to download.
    would = page.locator(".az-would:visible")
    expect(would.first).to_have_text("2 hidden; 1 more from 0.15")
    before = page.locator(DONE).get_attribute("href")
    page.get_by_label("Faces: score").locator("visible=true").fill("0.1")
    page.keyboard.press("Tab")
    expect(card).to_contain_text("3 faces")
    expect(page.locator(f'#az-video-result a[href="{before}"]')).to_have_count(0)
    whole(page)
    # Both clips play, together.
    page.locator(".az-play").click()
    page.wait_for_function("document.querySelector('.az-player video.az-after').currentTime > 0.2")
    gap = "Math.abs(document.querySelector('.az-player video.az-after').currentTime"
    page.wait_for_function(f"{gap} - document.querySelector('.az-player video.az-before').currentTime) < 0.2")
    page.locator(".az-play").click()
    # A track is rejected, and a click on it leads to it.
    row = page.locator('.az-tracks li[data-kind="face"]', has_text="score 0.80")
    expect(row.locator("img")).to_have_js_property("complete", True)
    row.locator(".az-go").click()
    expect(page.locator(".az-tracks li.chosen")).to_have_count(1)
    row.get_by_role("button", name="Do not hide").click()
    expect(card).to_contain_text("2 faces")
    whole(page)
    with page.expect_download() as waiting:
        page.locator(DONE).click()
    assert waiting.value.suggested_filename == "street-anonymized.mp4"
    new, old = frames(waiting.value.path()), frames(clip)
    assert len(new) == len(old) == FRAMES
    for region, hides in zip(REGIONS, (True, False, True, True, False), strict=True):
        x1, y1, x2, y2 = (round(v) for v in region.box)
        for a, b in zip(old, new, strict=True):
            part, was = b[y1:y2, x1:x2], a[y1:y2, x1:x2]
            if hides:
                assert np.abs(part - was).mean() > 4 or detail(part) < 0.7 * detail(was)
            else:
                assert np.abs(part - was).mean() < 6
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download the record").click()
    assert waiting.value.suggested_filename == "street.tracks.jsonl"
    # As it was left, after a reload.
    page.reload()
    whole(page)
    expect(page.get_by_label("Faces: score").locator("visible=true")).to_have_value("0.1")
    expect(page.locator(".az-tracks li.off")).to_have_count(2)


def test_a_phone_s_toolbars_leave_room_and_its_list_shows_many(new_page: Any, quick: Any, clip: Path) -> None:
    page = new_page(f"{quick.address}/#video", viewport=NARROW, has_touch=True, is_mobile=True)
    add(page, clip)
    whole(page)
    page.get_by_role("button", name="Correct").locator("visible=true").click()
    page.locator("#az-video rect.az-region.on").first.wait_for()
    picture = page.locator("#az-video .az-stage:visible").bounding_box()
    tools = page.locator("#az-video .az-bar .az-button:visible, #az-video .az-bar .az-check:visible")
    middles = sorted(box["y"] + box["height"] / 2 for tool in tools.all() if (box := tool.bounding_box()))
    assert picture is not None
    above = [m for m in middles if m < picture["y"]]
    assert len(above) >= 11
    rows = [m for i, m in enumerate(above) if i == 0 or m - above[i - 1] > 12]
    assert len(rows) <= 5  # four, or one more with a wider font; before, seven
    list_, row = (page.locator(f"#az-video {s}").first for s in (".az-tracks", ".az-tracks li"))
    most = list_.evaluate("e => parseFloat(getComputedStyle(e).maxHeight)")
    assert most >= 6 * row.evaluate("e => e.offsetHeight")


def test_a_box_is_drawn_on_a_frame_and_reaches_to_the_end(new_page: Any, quick: Any, clip: Path) -> None:
    page = new_page(f"{quick.address}/#video")
    add(page, clip)
    whole(page)
    page.locator(".az-seek").fill("10")
    page.get_by_role("button", name="Correct").locator("visible=true").click()
    editor = page.locator("#az-video .az-body[data-frame='10']")
    stage = editor.locator(".az-stage")
    expect(editor.locator("rect.az-region.on")).to_have_count(3)
    page.get_by_role("button", name="Draw another area").locator("visible=true").click()
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 300, box["y"] + 250)
    page.mouse.down()
    page.mouse.move(box["x"] + 380, box["y"] + 310, steps=4)
    page.mouse.up()
    expect(page.locator("#az-video-result")).to_contain_text("1 more")
    chosen = page.locator(".az-chosen")
    expect(chosen).to_contain_text("Drawn area")
    chosen.get_by_role("button", name="Hide to the end").click()
    expect(chosen.get_by_role("button", name="Hide to the end")).to_have_count(0)
    drawn = page.locator(".az-tracks li.chosen")
    expect(drawn).to_contain_text("0:00.4–0:01.1")
    page.get_by_role("button", name="Undo").last.click()
    expect(chosen.get_by_role("button", name="Hide to the end")).to_be_visible()
    # Where to look first leads to the frame.
    page.locator(".az-look button").first.click()
    expect(page.locator("#az-video .az-body rect.az-region.suspect").first).to_be_visible()
    page.get_by_role("button", name="Watch").click()
    whole(page)


def test_the_player_stays_in_view_beside_its_sliders(new_page: Any, quick: Any, clip: Path) -> None:
    page = new_page(f"{quick.address}/#video", viewport={"width": 1300, "height": 800})
    add(page, clip)
    whole(page)
    page.get_by_role("slider", name="License plates").locator("visible=true").first.scroll_into_view_if_needed()
    stage = page.locator(".az-player .az-stage").bounding_box()
    assert stage is not None
    assert stage["y"] >= 0
    assert stage["y"] + stage["height"] <= 800
    possible = page.locator(".az-possible")
    assert possible.get_attribute("open") is None  # what is not hidden is not in the way
    possible.locator("summary").click()
    expect(possible.locator("li.off").first).to_be_visible()


DROP = """([bytes, name, at]) => {
  const drop = new Event("drop", { bubbles: true, cancelable: true });
  drop.dataTransfer = { items: [], files: [new File([new Uint8Array(bytes)], name)] };
  document.querySelector(at).dispatchEvent(drop);
}"""


def test_a_clip_on_another_tab_and_what_is_no_clip(new_page: Any, quick: Any, clip: Path) -> None:
    page, data = new_page(quick.address), list(clip.read_bytes())
    page.locator(".az-drop-title").first.wait_for()
    page.evaluate(DROP, [data, "drive.mov", "#az-header"])
    expect(page.locator(".az-offer-clips")).to_contain_text("drive.mov is a video.")
    page.get_by_role("button", name="Open it in Video").click()
    expect(page).to_have_url(f"{quick.address}/#video")
    whole(page)
    page.get_by_role("tab", name="Many photos").click()
    page.evaluate(DROP, [data, "drive.mp4", "body"])
    expect(page.locator("#az-batch-upload .az-offer-clips")).to_contain_text("drive.mp4 is a video.")
    page.get_by_role("tab", name="Video").click()
    page.evaluate(DROP, [[1, 2, 3], "broken.mp4", "body"])
    problems = page.locator("#az-video .az-problems li")
    expect(problems).to_contain_text("broken.mp4: it cannot be read")
    page.evaluate(DROP, [[1, 2, 3], "photo.jpg", "body"])
    expect(problems).to_have_text("photo.jpg is no video. Photos go to One photo or Many photos.")
    expect(page.locator(DONE)).to_be_visible()  # the clip before it stays
    # Another one beside it; then the first one is not wanted any more.
    page.evaluate(DROP, [data, "second.mp4", "body"])
    expect(page.locator(".az-cliplist li")).to_have_count(2)
    whole(page)
    page.locator(".az-cliplist button", has_text="drive.mov").click()
    page.get_by_role("button", name="Remove this clip").click()
    expect(page.locator(".az-cliplist")).to_be_hidden()
    expect(page.locator(DONE)).to_be_visible()


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_axe_finds_nothing_in_the_video_tab(new_page: Any, quick: Any, clip: Path, look: str) -> None:
    options: dict[str, Any] = {"color_scheme": "dark" if look == "dark" else "light", "reduced_motion": "reduce"}
    if look == "phone":
        options |= {"viewport": NARROW, "has_touch": True, "is_mobile": True}
    page = new_page(quick.address, **options)
    page.locator(".az-drop-title").first.wait_for()
    open_tab(page, "Video")
    page.locator(".az-clips .az-drop-title").wait_for()
    problems = violations(page, "empty")
    with quick.holding():
        add(page, clip)
        page.get_by_text("Searching for faces and plates").wait_for()
        problems += violations(page, "searching")
    whole(page)
    problems += violations(page, "done")
    page.locator(".az-tracks .az-go").first.click()
    page.get_by_role("button", name="Correct").locator("visible=true").click()
    page.locator("#az-video rect.az-region").first.wait_for()
    problems += violations(page, "correcting")
    assert not problems
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_another_search_depth_searches_a_finished_clip_again(new_page: Any, quick: Any, clip: Path) -> None:
    page = new_page(quick.address)
    page.get_by_role("tab", name="Video").click()
    add(page, clip)
    whole(page)
    before = page.locator(DONE).get_attribute("href")
    with quick.holding():
        page.get_by_text("Thorough", exact=True).locator("visible=true").first.click()
        expect(page.locator("#az-video .az-status")).to_contain_text("Searching for faces and plates")
        expect(page.locator(f'#az-video-result a[href="{before}"]')).to_have_count(0)
    whole(page)


def test_leaks_are_looked_for(new_page: Any, quick: Any, clip: Path) -> None:
    page = new_page(f"{quick.address}/#video")
    add(page, clip)
    button = page.get_by_role("button", name="Look for leaks").locator("visible=true")
    whole(page)
    button.click()
    card = page.locator("#az-video-result")
    expect(card).to_contain_text("Audit: no leak found", timeout=60_000)
    expect(card).to_contain_text(f"All {FRAMES} frames were read")
    expect(page.locator(DONE)).to_have_count(1)  # it can still be downloaded
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download report and certificate").locator("visible=true").click()
    assert waiting.value.suggested_filename == "audit-of-street.zip"
    assert violations(page, "audited") == []
