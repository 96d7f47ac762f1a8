"""What the page keeps and what it never shows: reload, Back, addresses, old results, leaving. With the quick server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect
from screenshots import show_photo

from tests.support.web_site import photo

TITLE = "#az-result h2"
CHOOSE = "#az-photo .az-drop input[type=file]"


# Whether a press in the middle of an element reaches it.
PRESSED = """(node) => { const r = node.getBoundingClientRect();
  return node.contains(document.elementFromPoint(r.x + r.width / 2, r.y + r.height / 2)); }"""


def pills(page: Page, label: str) -> Any:
    return page.locator(".az-face-effect:visible").get_by_label(label)


def test_a_photo_is_as_it_was_left_after_reload_and_in_another_tab(new_page: Any, quick: Any, street: Path) -> None:
    page = new_page(quick.address)
    show_photo(page, street)
    pills(page, "Solid color").check()
    page.get_by_label("Faces: score").first.fill("0.1")
    page.keyboard.press("Tab")
    expect(page.locator(TITLE)).to_contain_text("3 faces")
    page.get_by_role("button", name="Correct").click()
    page.get_by_role("button", name="Draw another area").click()
    box = page.locator(".az-stage").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 300, box["y"] + 300)
    page.mouse.down()
    page.mouse.move(box["x"] + 380, box["y"] + 360, steps=4)
    page.mouse.up()
    expect(page.locator(TITLE)).to_contain_text("1 more")
    asked = []
    page.on("dialog", lambda d: (asked.append(d.type), d.accept()))
    page.reload()
    assert asked == ["beforeunload"]  # a correction that no download has yet
    other = page.context.new_page()
    other.goto(quick.address)
    for opened in (page, other):
        expect(opened.locator(TITLE)).to_have_text("3 faces, 1 license plate and 1 more hidden", timeout=60_000)
        expect(pills(opened, "Solid color")).to_be_checked()
        expect(opened.get_by_label("Faces: score").first).to_have_value("0.1")
    # The other tab changes the photo; this one still downloads what it shows.
    link = page.get_by_role("link", name="Download the clean photo").get_attribute("href")
    shown = page.request.get(f"{quick.address}/{link}").body()
    pills(other, "Mosaic").check()
    expect(other.get_by_role("link", name="Download the clean photo")).not_to_have_attribute("href", link or "")
    assert page.request.get(f"{quick.address}/{link}").body() == shown
    page.get_by_role("link", name="Download the clean photo").click()
    asked.clear()
    page.reload()
    expect(page.locator(TITLE)).to_contain_text("3 faces", timeout=60_000)
    assert not asked  # it was downloaded


def test_tabs_have_addresses_and_back_goes_back(new_page: Any, quick: Any, street: Path) -> None:
    page = new_page(f"{quick.address}/#batch")
    expect(page.locator("#az-batch-upload")).to_be_visible()
    page.get_by_role("tab", name="About").click()
    expect(page).to_have_url(f"{quick.address}/#about")
    page.go_back()
    expect(page.locator("#az-batch-upload")).to_be_visible()
    files = [street, photo(street.with_name("b.jpg"), seed=2, size=(800, 600))]
    page.set_input_files("#az-batch-upload input[type=file]", [str(f) for f in files])
    page.get_by_text("2 photos are ready.").wait_for()
    with quick.holding():
        page.get_by_role("button", name="Hide faces and plates").click()
        page.locator("[data-busy]").first.wait_for()
        asked = []
        page.on("dialog", lambda d: (asked.append(d.type), d.accept()))
        page.reload()
        assert asked == ["beforeunload"]
        page.locator("[data-busy]").first.wait_for(timeout=60_000)  # and it is still watched
    page.locator("#az-batch-result a.az-download").wait_for()
    page.evaluate("scrollTo(0, 400)")
    page.locator(".az-thumb").last.locator(".az-word").click(force=True)  # its caption opens it, too
    page.locator(".az-stage:visible").wait_for()
    page.wait_for_function("scrollY === 0")  # the photo, not what lay below the gallery
    expect(page).to_have_url(f"{quick.address}/")
    page.get_by_role("button", name="Previous photo").click()
    expect(page.get_by_role("button", name="Back to the batch")).to_be_visible()
    page.go_back()
    page.wait_for_function("scrollY === 400")
    asked.clear()
    page.reload()
    expect(page.locator(".az-thumb")).to_have_count(2, timeout=60_000)
    expect(page.get_by_text("2 photos are ready.")).to_be_visible()
    assert not asked


def test_an_old_result_cannot_be_taken_for_the_new_photos(new_page: Any, quick: Any, street: Path) -> None:
    page = new_page(quick.address)
    show_photo(page, street)
    card, download = page.locator("#az-result"), page.get_by_role("link", name="Download the clean photo")
    assert download.evaluate(PRESSED)
    second = photo(street.with_name("second.jpg"), seed=5, size=(800, 600))
    with quick.holding():
        page.set_input_files(CHOOSE, str(second))
        page.get_by_text("Looking for faces and plates").wait_for()
        expect(page.locator(".az-preview")).to_be_visible()  # the photo is shown at once
        assert page.locator(".az-preview").evaluate("(i) => i.naturalWidth") == 800
        expect(card).to_have_attribute("inert", "")
        assert not download.evaluate(PRESSED)
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator(".az-stage")).to_be_visible()
        expect(download).to_be_visible()
    page.set_input_files(CHOOSE, str(photo(street.with_name("upright.jpg"), size=(600, 800))))
    expect(page.locator("#az-photo .az-status.problem")).to_contain_text("no upright photos, please")
    assert download.count() == 0  # the first photo's is gone with its picture
    expect(card).to_contain_text("Add a photo to begin")
    # What is refused before it is sent leaves the photo before it whole.
    show_photo(page, street)
    clip = street.with_name("clip.mp4")
    clip.write_bytes(b"x")
    page.set_input_files(CHOOSE, str(clip))
    expect(page.locator("#az-photo .az-offer-clips")).to_contain_text("clip.mp4 is a video.")
    expect(page.locator(".az-stage")).to_be_visible()
    expect(download).to_be_visible()


def test_what_cannot_be_used_is_said_beside_its_field_and_put_back(new_page: Any, quick: Any, street: Path) -> None:
    page = new_page(quick.address)
    show_photo(page, street)
    page.get_by_role("button", name="Advanced settings").first.click()
    color = page.get_by_label("Color of the solid effect").first
    before = color.input_value()
    color.fill("reddish")
    color.press("Enter")
    note = page.locator(".az-beside .problem").first
    expect(note).to_contain_text("reddish")
    expect(color).to_have_value(before)
    version = page.locator(".az-viewer").get_attribute("data-version")
    size = page.get_by_role("slider", name="Blur kernel size").first
    size.focus()
    for _ in range(40):
        page.keyboard.press("ArrowRight")
    page.wait_for_function(f"document.querySelector('.az-viewer').dataset.version !== '{version}'")
    expect(note).to_have_count(0)
    expect(page.locator("#az-photo .az-status.problem")).to_have_count(0)


DROP = """([bytes, name, times, at]) => {
  const drop = new Event("drop", { bubbles: true, cancelable: true });
  const files = Array.from({ length: times }, (_, i) => new File([new Uint8Array(bytes)], `${i}${name}`));
  drop.dataTransfer = { items: [], files };
  document.querySelector(at).dispatchEvent(drop);
}"""


def test_files_are_taken_wherever_they_are_dropped(new_page: Any, quick: Any, street: Path) -> None:
    page, data = new_page(quick.address), list(street.read_bytes())
    page.locator(".az-drop-title").first.wait_for()
    page.evaluate(DROP, [data, ".jpg", 1, "#az-header"])
    page.locator(".az-stage:visible").wait_for()
    page.evaluate(DROP, [data, ".jpg", 3, "#az-result"])
    expect(page.locator(".az-offer")).to_contain_text("3 files.")
    page.get_by_role("button", name="Open all 3 in Many photos").click()
    page.get_by_text("3 photos are ready.").wait_for()
    page.get_by_role("tab", name="About").click()
    page.evaluate(DROP, [data, ".jpg", 2, "footer, body"])
    page.get_by_text("5 photos are ready.").wait_for()
    page.evaluate(DROP, [data, ".mov", 1, "body"])
    expect(page.locator("#az-batch-upload .az-offer-clips")).to_contain_text("0.mov is a video.")


def test_sliders_say_what_they_would_change_and_possible_misses_are_shown(
    new_page: Any, quick: Any, street: Path
) -> None:
    page = new_page(quick.address, viewport={"width": 1440, "height": 900})
    page.get_by_role("button", name="Two people").click()  # a sample
    page.locator(".az-stage:visible").wait_for()
    show_photo(page, street)
    would = page.locator(".az-would:visible")
    expect(would.first).to_have_text("2 hidden; 1 more from 0.15")
    expect(page.locator(".az-possible")).to_contain_text("1 possible face and 1 possible license plate not hidden")
    page.get_by_role("button", name="show", exact=True).click()
    expect(page.locator("rect.az-region.suspect")).to_have_count(2)
    # The picture stays in view beside the last of its sliders.
    page.get_by_role("button", name="Advanced settings").first.click()
    overlap = page.get_by_role("slider", name="Overlap").first
    overlap.scroll_into_view_if_needed()
    stage, slider = page.locator(".az-stage").bounding_box(), overlap.bounding_box()
    assert stage is not None
    assert slider is not None
    assert 0 <= slider["y"] <= 900
    assert -60 <= stage["y"] <= 450
    # A selected box and its button are seen together.
    page.locator("rect.az-region.on").first.click()
    button = page.get_by_role("button", name="Do not hide this").bounding_box()
    assert button is not None
    assert 0 <= button["y"] <= 900
    page.get_by_label("Faces: score").first.fill("0.15")
    page.keyboard.press("Tab")
    expect(would.first).to_have_text("3 hidden; no more below")


def test_a_batch_that_is_worked_on_opens_in_review_when_it_is_done(new_page: Any, quick: Any, street: Path) -> None:
    page = new_page(quick.address)
    page.get_by_role("tab", name="Many photos").click()
    files = [street, photo(street.with_name("b.jpg"), seed=2, size=(800, 600))]
    page.set_input_files("#az-batch-upload input[type=file]", str(files[0]))
    page.get_by_text("1 photo is ready.").wait_for()
    page.get_by_role("button", name="Hide faces and plates").click()
    expect(page.locator("#az-batch-progress")).to_contain_text("done")
    page.set_input_files("#az-batch-upload input[type=file]", str(files[1]))
    page.get_by_text("2 photos are ready.").wait_for()
    with quick.holding():
        page.get_by_role("button", name="Hide faces and plates").click()
        page.locator("#az-batch-progress [data-busy]").wait_for()
        page.locator("#az-open-review").click()
        expect(page.locator(".rv-top .az-status")).to_contain_text("It opens here when that is done")
        expect(page.locator(".rv-main")).to_be_hidden()
    page.locator(".az-review[data-painted]").wait_for()
    expect(page.locator("#rv-progress")).to_have_text("0 of 2 reviewed")
    for title in page.locator(".rv-more summary").all():  # one section at a time: nothing is cut off
        title.click()
        expect(page.locator(".rv-more details[open]")).to_have_count(1)
        assert page.locator(".rv-more").evaluate("e => e.scrollHeight <= e.clientHeight + 1")


def test_an_audit_says_how_far_it_is_and_is_canceled(new_page: Any, quick: Any, street: Path, tmp_path: Path) -> None:
    photos = [street, *(tmp_path / f"{i}.jpg" for i in range(3))]
    for other in photos[1:]:
        other.write_bytes(street.read_bytes())
    page = new_page(quick.address)
    page.get_by_role("tab", name="Many photos").click()
    page.set_input_files("#az-batch-upload input[type=file]", [str(p) for p in photos])
    page.get_by_text("4 photos are ready.").wait_for()
    page.get_by_role("button", name="Hide faces and plates").click()
    expect(page.locator("#az-batch-progress")).to_contain_text("4 of 4 photos · done")
    cancel = page.locator("#az-batch-audit-cancel")
    expect(cancel).to_be_hidden()
    with quick.holding():
        page.locator("#az-batch-audit").click()
        expect(page.locator("#az-batch-audited [role=progressbar]")).to_be_visible()
        expect(page.locator("#az-batch-audit")).to_be_disabled()
        page.reload()  # it goes on
        expect(page.locator("#az-batch-audited [role=progressbar]")).to_be_visible()
        cancel.click()
        expect(page.locator("#az-batch-audited")).to_contain_text("stopping after the file in work")
    expect(page.locator("#az-batch-audited")).to_contain_text(
        "Audit of 1 photo, canceled before its end: no leak found"
    )
    expect(cancel).to_be_hidden()
    page.locator("#az-batch-audit").click()
    expect(page.locator("#az-batch-audited")).to_contain_text("Audit of 4 photos: no leak found")
    expect(page.locator("#az-batch-audited")).to_contain_text("click its picture above, draw a box around it")
    expect(page.locator(".az-thumb .az-mark.look")).to_have_text(["Audit: to look at"] * 4)

    page.locator("#az-open-review").click()
    page.get_by_text("Export", exact=True).click()
    page.locator("#rv-unreviewed").check()
    page.locator("#rv-audit").check()
    with quick.holding():
        page.locator("#rv-export").click()
        expect(page.locator("#rv-exported progress")).to_be_visible()
        page.locator("#rv-cancel").click()  # before the first photo, or in it
    expect(page.locator("#rv-exported")).to_contain_text("canceled before its")
    expect(page.locator("#rv-exported")).to_contain_text("4 photos exported")
