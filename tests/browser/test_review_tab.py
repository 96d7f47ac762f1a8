"""The Review tab in a real browser, over drawn photos: keys, the queue, undo, what is seen before it is approved."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from screenshots import NARROW, open_tab

from review.store import ReviewStore
from tests.support.review_site import FACE, make, served

SCREEN = {"width": 1440, "height": 900}
COUNT = 8
TO_PAGE = """([x, y]) => { const s = document.querySelector('.az-review .az-boxes');
  const p = new DOMPoint(x, y).matrixTransform(s.getScreenCTM()); return [p.x, p.y]; }"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    home = tmp_path_factory.mktemp("review")
    make(home, COUNT)
    with served(home) as url:
        yield home, url


@pytest.fixture
def records(site: tuple[Path, str]) -> Path:
    """Fresh records: what earlier tests decided is gone."""
    return make(site[0], COUNT)


@pytest.fixture
def open_review(new_page: Callable[..., Page], site: tuple[Path, str], records: Path) -> Callable[..., Page]:
    def opened(**options: Any) -> Page:
        page = new_page(site[1], **{"viewport": SCREEN, **options})
        to_review(page)
        painted(page, "00.jpg")
        return page

    return opened


@pytest.fixture
def review(open_review: Callable[..., Page]) -> Page:
    return open_review()


def to_review(page: Page) -> None:
    page.get_by_role("tab", name="One photo").wait_for()  # the page is drawn
    open_tab(page, "Review")


def painted(page: Page, name: str) -> None:
    """The photo is there, and was for long enough to be approved."""
    page.locator(f".az-review[data-painted='{name}']").wait_for()
    expect(page.locator("#rv-approve")).to_be_enabled()


def statuses(records: Path) -> list[str]:
    return [r.review for r in ReviewStore(records)]


def decisions(records: Path) -> list[str]:
    return [d["what"] for r in ReviewStore(records) for d in r.decisions]


def until(page: Page, condition: Callable[[], bool]) -> None:
    for _ in range(100):
        if condition():
            return
        page.wait_for_timeout(100)
    raise AssertionError("it did not happen in time")


def middle(page: Page, box: tuple[float, float, float, float]) -> tuple[float, float]:
    x, y = page.evaluate(TO_PAGE, [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
    return x, y


def test_a_held_key_approves_one_photo(review: Page, records: Path) -> None:
    for _ in range(30):  # the first press, and what the keyboard repeats
        review.keyboard.down("a")
        review.wait_for_timeout(30)
    review.keyboard.up("a")
    painted(review, "01.jpg")
    assert statuses(records).count("approved") == 1


def test_enter_that_is_held_on_the_button_approves_one_photo(review: Page, records: Path) -> None:
    review.locator("#rv-approve").focus()
    for _ in range(30):
        review.keyboard.down("Enter")
        review.wait_for_timeout(30)
    review.keyboard.up("Enter")
    painted(review, "01.jpg")
    assert statuses(records).count("approved") == 1


def test_nothing_is_approved_before_it_was_painted(open_review: Callable[..., Page], records: Path) -> None:
    page = open_review()
    held: list[Any] = []
    is_held = True
    # Photos that are not there yet.
    page.route("**/media?*", lambda route: held.append(route) if is_held else route.continue_())
    page.reload()
    to_review(page)
    page.get_by_role("button", name="Possible plate").wait_for()  # all but the photo is there
    expect(page.locator("#rv-approve")).to_be_disabled()
    page.keyboard.press("a")
    page.wait_for_timeout(500)
    assert decisions(records) == []
    is_held = False
    for route in held:
        route.continue_()
    painted(page, "00.jpg")
    page.keyboard.press("a")
    until(page, lambda: decisions(records) == ["approve"])


def test_a_photo_that_cannot_be_shown_cannot_be_approved(open_review: Callable[..., Page], records: Path) -> None:
    page = open_review()
    page.route("**/media?*", lambda route: route.fulfill(status=404, body="gone"))
    page.reload()
    to_review(page)
    expect(page.get_by_text("This photo cannot be shown, so it cannot be approved.")).to_be_visible()
    page.keyboard.press("a")
    page.wait_for_timeout(500)
    expect(page.locator("#rv-approve")).to_be_disabled()
    assert decisions(records) == []


def test_undo_takes_an_approval_back_and_shows_its_photo(review: Page, records: Path) -> None:
    for name in ("01.jpg", "02.jpg"):
        review.keyboard.press("a")
        painted(review, name)
    review.keyboard.press("u")
    painted(review, "01.jpg")
    expect(review.locator("#rv-progress")).to_contain_text(f"1 of {COUNT} reviewed")
    review.keyboard.press("u")
    painted(review, "00.jpg")
    assert statuses(records) == ["pending"] * COUNT
    review.keyboard.press("a")
    painted(review, "01.jpg")
    review.keyboard.press("ArrowLeft")  # gone back to: what is undone is this photo's
    painted(review, "00.jpg")
    review.keyboard.press("u")
    until(review, lambda: statuses(records) == ["pending"] * COUNT)


def test_arrows_buttons_and_the_list_walk(review: Page, records: Path) -> None:
    review.keyboard.press("ArrowRight")
    painted(review, "01.jpg")
    review.keyboard.press("ArrowLeft")
    painted(review, "00.jpg")
    review.get_by_role("button", name="Following photo").click()
    painted(review, "01.jpg")
    review.get_by_role("button", name="Previous photo").click()
    painted(review, "00.jpg")
    review.locator(".rv-list").get_by_text("05.jpg").click()
    painted(review, "05.jpg")
    expect(review.locator(".rv-list [aria-current=true]")).to_contain_text("05.jpg")
    review.keyboard.press("n")
    painted(review, "06.jpg")
    assert decisions(records) == []


def test_a_reason_points_to_its_box_and_one_more_key_corrects_it(review: Page, records: Path) -> None:
    reasons = review.locator(".rv-reasons button")
    expect(reasons).to_have_count(1)
    expect(reasons.first).to_have_text(re.compile(r"^Possible plate, \d+ %$"))
    width = review.locator(".az-review .az-stage").evaluate("e => e.clientWidth")
    reasons.first.click()
    box = review.locator(".az-review .az-region.selected")
    assert box.bounding_box()["width"] > width / 5  # of an eighth of the photo
    review.keyboard.press("h")
    until(review, lambda: decisions(records) == ["accept"])


def test_a_drag_that_begins_on_a_box_draws_and_uncovers_nothing(review: Page, records: Path) -> None:
    x, y = middle(review, FACE)
    review.mouse.move(x, y)
    review.mouse.down()
    review.mouse.move(x + 60, y + 30, steps=4)
    review.mouse.up()
    until(review, lambda: decisions(records) == ["add"])


def test_a_correction_takes_two_actions(review: Page, records: Path) -> None:
    review.mouse.click(*middle(review, FACE))
    review.keyboard.press("x")
    until(review, lambda: decisions(records) == ["reject"])
    x, y = middle(review, (40, 300, 80, 320))
    review.mouse.move(x, y)
    review.mouse.down()
    review.mouse.move(x + 40, y + 20, steps=4)
    review.mouse.up()  # one more is drawn in one stroke
    until(review, lambda: decisions(records) == ["reject", "add"])
    (drawn,) = [r for r in ReviewStore(records)["00.jpg"].regions if r.status == "manual"]
    review.locator(f'.az-review rect[data-id="{drawn.id}"]').first.wait_for()  # recorded is not yet drawn
    x, y = middle(review, drawn.box)
    review.mouse.click(x, y)
    review.mouse.move(x, y)
    review.mouse.down()
    review.mouse.move(x + 60, y, steps=4)
    review.mouse.up()
    until(review, lambda: decisions(records) == ["reject", "add", "move"])
    review.wait_for_timeout(500)  # the answer is drawn, too
    corner = review.locator(".az-review .az-corner[data-corner=se]").bounding_box()
    x, y = corner["x"] + corner["width"] / 2, corner["y"] + corner["height"] / 2
    review.mouse.move(x, y)
    review.mouse.down()
    review.mouse.move(x + 30, y + 30, steps=4)
    review.mouse.up()
    until(review, lambda: decisions(records) == ["reject", "add", "move", "move"])
    (moved,) = [r for r in ReviewStore(records)["00.jpg"].regions if r.status == "manual"]
    assert moved.width > drawn.width


def test_a_photo_with_fewer_pixels_than_the_screen_is_approved_when_it_is_seen_again(
    open_review: Callable[..., Page],
) -> None:
    """It is replaced by itself at full size, which the browser has by then, before it is painted."""
    review = open_review(device_scale_factor=2)
    for _ in range(2):
        review.locator("#rv-following").click()
        painted(review, "01.jpg")
        review.locator("#rv-previous").click()
        painted(review, "00.jpg")


def test_a_key_that_is_held_shows_the_clean_photo_or_the_bare_original(review: Page) -> None:
    before, boxes = review.locator(".az-review .az-before"), review.locator(".az-review .az-boxes")
    review.keyboard.down("c")
    expect(before).to_be_hidden()
    expect(boxes).to_be_hidden()
    clean = review.locator(".az-review .az-after")
    expect(clean).to_be_visible()
    assert clean.evaluate("e => e.naturalWidth") > 0
    review.keyboard.up("c")
    expect(before).to_be_visible()
    expect(boxes).to_be_visible()
    review.keyboard.down("o")
    expect(before).to_be_visible()
    expect(boxes).to_be_hidden()
    review.keyboard.up("o")
    expect(boxes).to_be_visible()


def test_all_is_seen_without_scrolling(review: Page) -> None:
    assert review.evaluate("document.documentElement.scrollHeight") <= SCREEN["height"]
    for part in (".az-review .az-stage", "#rv-approve", ".rv-reasons button", ".rv-keys", ".rv-list", "#rv-progress"):
        box = review.locator(part).first.bounding_box()
        assert box["y"] >= 0, part
        assert box["y"] + box["height"] <= SCREEN["height"], part


def test_progress_and_time_left(review: Page) -> None:
    for n in range(1, 6):
        review.keyboard.press("a")
        painted(review, f"{n:02}.jpg")
    expect(review.locator("#rv-progress")).to_have_text(f"5 of {COUNT} reviewed, less than a minute left")


def swipe(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """A finger over the screen, as the browser gets it."""
    touch = page.context.new_cdp_session(page)
    for kind, at in (("touchStart", start), ("touchMove", end), ("touchEnd", None)):
        points = [] if at is None else [{"x": at[0], "y": at[1]}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        page.wait_for_timeout(80)


def test_a_finger_draws_only_when_a_kind_was_chosen(open_review: Callable[..., Page], records: Path) -> None:
    page = open_review(viewport=NARROW, has_touch=True, is_mobile=True)
    stage = page.locator(".az-review .az-stage")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    a, b = (box["x"] + 60, box["y"] + 150), (box["x"] + 120, box["y"] + 190)
    swipe(page, a, b)
    swipe(page, b, (b[0], b[1] - 120))
    page.wait_for_timeout(500)
    assert decisions(records) == []
    assert stage.evaluate("e => getComputedStyle(e).touchAction") == "pan-y"  # the page scrolls
    page.get_by_role("button", name="Draw a plate").tap()
    assert stage.evaluate("e => getComputedStyle(e).touchAction") == "none"
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    swipe(page, (box["x"] + 60, box["y"] + 150), (box["x"] + 120, box["y"] + 190))
    until(page, lambda: decisions(records) == ["add"])
    assert stage.evaluate("e => getComputedStyle(e).touchAction") == "pan-y"  # drawn: a finger scrolls again


def test_a_phone_shows_everything_without_scrolling_sideways(open_review: Callable[..., Page]) -> None:
    page = open_review(viewport=NARROW, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    box = page.locator("#rv-approve").bounding_box()
    assert box["y"] + box["height"] <= NARROW["height"]  # always at hand


@pytest.mark.parametrize("scheme", ["light", "dark", "phone"])
def test_axe_finds_nothing(open_review: Callable[..., Page], scheme: str) -> None:
    phone = {"viewport": NARROW, "has_touch": True, "is_mobile": True}
    page = open_review(**(phone if scheme == "phone" else {"color_scheme": scheme}))
    for summary in page.locator(".rv-more summary").all():
        summary.click()
    page.locator(".rv-reasons button").first.click()
    problems = [(v["id"], [n["target"] for n in v["nodes"]][:3]) for v in Axe().run(page).response["violations"]]
    assert [p for p in problems if any(".az-review" in str(t) or "rv" in str(t) for t in p[1])] == []


def test_names_and_words_of_others_are_text(open_review: Callable[..., Page]) -> None:
    """A photo's name comes from its maker, a kind from any reviewer."""
    evil = "<img src=x onerror=alert(1)>"

    def change(route: Any) -> None:
        answer = route.fetch()
        value = answer.json()
        photo = value["photo"]
        photo.update(photo=evil, id=evil, about=evil, problem=evil, kinds=[*photo["kinds"], evil])
        photo["regions"][0].update(kind=evil, why=evil)
        photo["reasons"] = [{"text": evil, "why": evil, "region": "", "box": None}]
        value["list"][0].update(photo=evil, elsewhere=evil)
        route.fulfill(response=answer, json={**value, "note": evil, "text": evil})

    page = open_review()
    page.route("**/review/api/open", change)
    page.reload()
    to_review(page)
    expect(page.locator(".rv-reasons")).to_contain_text(evil)
    expect(page.locator(".rv-list")).to_contain_text(evil)
    assert page.locator(".az-review img[src=x]").count() == 0


def test_a_link_opens_a_batch_at_a_photo(review: Page, records: Path) -> None:
    batch = review.locator("#rv-source").input_value()
    open_tab(review, "About")
    review.evaluate("([batch]) => window.anonymize.openReview({ batch, photo: '03.jpg' })", [batch])
    painted(review, "03.jpg")
    review.keyboard.press("ArrowRight")
    painted(review, "04.jpg")
    review.get_by_role("button", name="Back to Many photos").click()
    expect(review.get_by_role("tab", name="Many photos")).to_have_attribute("aria-selected", "true")
