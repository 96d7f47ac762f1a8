"""How pieces of a photo lie on pages."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from anonymize.detectors.candidates import STRIDE
from anonymize.detectors.closer import LEAST_MARGIN, MOST_MARGIN, TALL
from anonymize.detectors.detections import Detections
from anonymize.detectors.pages import GAP, LARGE, MORE, SIDES, Place, pages
from anonymize.regions import Region

SIZE = (960, 640)
IMAGE = np.zeros((640, 960, 3), np.uint8)

boxes = st.tuples(st.integers(0, 900), st.integers(0, 600), st.integers(1, 300), st.integers(1, 300)).map(
    lambda p: (p[0], p[1], min(p[0] + p[2], SIZE[0]), min(p[1] + p[3], SIZE[1]))
)
some_places = st.lists(st.builds(Place, boxes, st.sampled_from([0.25, 1.0, 2.0])), min_size=1, max_size=12)


@given(some_places, st.sampled_from([640, 960, 1920]), st.booleans())
def test_pieces_lie_apart_and_whole_on_pages(some: list[Place], side: int, shrink: bool):
    made = pages(IMAGE, some, side, shrink=shrink)
    shown = [place for page in made for place in page.places]
    pixels = (side / SIZE[0]) ** 2 * SIZE[0] * SIZE[1]
    if shown != [Place((0, 0, *SIZE), side / SIZE[0])]:
        fitting = [place for place in some if max(place.size) <= SIDES[-1]]
        assert set(fitting) <= set(shown)
        assert len(shown) == len(some)
        assert (shrink and pixels > LARGE) or len(fitting) == len(some)
        assert {page.pixels.shape for page in made} <= {(n, n, 3) for n in SIDES}
        assert sum(page.pixels.shape[0] ** 2 for page in made) <= pixels * (MORE if shrink and pixels > LARGE else 1)
    for page in made:
        height, width = page.pixels.shape[:2]
        assert height % STRIDE == width % STRIDE == 0
        spots = [(x, y, x + p.size[0], y + p.size[1]) for (x, y), p in zip(page.corners, page.places, strict=True)]
        for i, a in enumerate(spots):
            assert a[2] <= width
            assert a[3] <= height
            for b in spots[:i]:
                assert max(a[0] - b[2], b[0] - a[2], a[1] - b[3], b[1] - a[3]) >= GAP


def test_pieces_that_need_more_than_the_photo_are_the_photo():
    whole = [Place((0, 0, *SIZE), 1.0)]
    assert pages(IMAGE, [Place((0, 0, 960, 600), 1.0)], 960)[0].places == whole, "larger than a page"
    crowd = [Place((x, y, x + 480, y + 480), 1.0) for x in (0, 240, 480) for y in (0, 160)]
    assert [page.places for page in pages(IMAGE, crowd, 960)] == [whole]
    few = [Place((0, 0, 300, 200), 1.0), Place((600, 400, 900, 600), 1.0)]
    assert [page.places for page in pages(IMAGE, few, 960)] == [few]


def test_of_a_large_photo_a_piece_that_is_too_large_is_shown_smaller():
    large, small = Place((0, 0, 600, 200), 1.0), Place((700, 0, 800, 100), 1.0)
    (page,) = pages(IMAGE, [large, small], 4 * SIZE[0], shrink=True)
    assert set(page.places) == {Place(large.window, 0.5), small}
    assert [page.places for page in pages(IMAGE, [large, small], 4 * SIZE[0])] == [[Place((0, 0, *SIZE), 4.0)]]


def test_a_whole_photo_is_never_shrunk():
    whole = Place((0, 0, *SIZE), 4.0)
    assert [page.places for page in pages(IMAGE, [whole], 4 * SIZE[0], shrink=True)] == [[whole]]


def test_a_thing_with_its_margin_fits_a_page():
    for kind in ("face", "plate"):
        assert max(TALL[kind] + 2 * MOST_MARGIN, LEAST_MARGIN) <= SIDES[-1], kind


def test_few_small_pieces_are_a_small_page():
    (page,) = pages(IMAGE, [Place((0, 0, 100, 100), 1.0), Place((200, 0, 300, 90), 1.0)], 960)
    assert page.pixels.shape == (SIDES[0], SIDES[0], 3)


@given(some_places, st.sampled_from([640, 960, 1920]))
def test_what_lies_on_a_page_comes_back_to_where_it_was(some: list[Place], side: int):
    for page in pages(IMAGE, some, side):
        spots = [(x, y, x + p.size[0], y + p.size[1]) for (x, y), p in zip(page.corners, page.places, strict=True)]
        found = Detections.of([Region("face", tuple(map(float, spot)), 0.9, {}) for spot in spots])
        numbers = page.owners(found.boxes)
        assert numbers.tolist() == list(range(len(spots)))
        tolerance = 1 / min(place.scale for place in page.places)  # a size is whole px
        windows = [place.window for place in page.places]
        np.testing.assert_allclose(page.back(found, numbers).boxes, windows, atol=tolerance)
