from __future__ import annotations

import tracemalloc
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anonymize.detectors import FakeDetector, Image
from anonymize.detectors.tiled import ONE_LOOK, OVERLAP, Piece, Tiled, Window, is_cut, merge_pieces, search, windows
from anonymize.errors import DetectionError, SettingsError
from anonymize.regions import Region
from anonymize.settings import Settings

S = Settings()
LEFT, RIGHT = (0, 0, 100, 100), (80, 0, 180, 100)  # two windows of a photo of 180 x 100 px


class Bright:
    """Finds the box around all bright pixels, if it is at most `most` px wide: large things need the whole photo."""

    name = "bright"
    weights: Mapping[str, str] = {}

    def __init__(self, most: int = 100_000, least: float = 0.0) -> None:
        self.most, self.least = most, least
        self.seen: list[tuple[int, int]] = []

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        out = []
        for image in images:
            self.seen.append((image.shape[1], image.shape[0]))
            y, x = np.nonzero(image[:, :, 0])
            box = (x.min(), y.min(), x.max() + 1, y.max() + 1) if len(x) else None
            good = box and box[2] - box[0] <= self.most and (box[2] - box[0]) / max(image.shape) >= self.least
            out.append([Region("plate", box, 0.7, {"bright": 0.6})] if box and good else [])
        return out


def photo(box: tuple[int, int, int, int], width: int = 500, height: int = 200) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = 255
    return image


def piece(box: tuple[float, ...], score: float, window: Window, kind: str = "plate") -> Piece:
    region = Region(kind, box, score)
    return Piece(region, window, is_cut(region, window, (180, 100)))


def merged(*pieces: Piece) -> list[tuple[tuple[float, ...], float]]:
    return [(r.box, r.score) for r in merge_pieces(pieces, S.iou_threshold)]


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(64, 300))
def test_each_size_of_windows_covers_the_photo_and_the_last_is_the_photo(width: int, height: int, tile: int) -> None:
    found = list(windows(width, height, tile))
    assert found[-1] == (0, 0, width, height)
    assert len(found) == len(set(found))
    smallest = [w for w in found if max(w[2] - w[0], w[3] - w[1]) <= tile]
    for axis, length in ((0, width), (1, height)):
        spans = sorted({(w[axis], w[axis + 2]) for w in smallest})
        assert spans[0][0] == 0
        assert spans[-1][1] == length
        for (a, b), (c, _) in pairwise(spans):
            assert b - c >= int(OVERLAP * (b - a)) - 1


def test_between_the_windows_and_a_very_long_photo_there_are_larger_windows() -> None:
    sides = [x2 - x1 for x1, _, x2, _ in windows(100_000, 100, 1000)]
    assert sorted(set(sides)) == [999, 7693, 55556, 100_000]
    assert sides[-1] == 100_000


def test_what_is_too_small_in_the_whole_photo_is_found_in_a_tile() -> None:
    (found,) = Tiled(Bright(least=0.08), S, tile=100).detect([photo((210, 90, 220, 96))])
    assert [r.box for r in found] == [(210, 90, 220, 96)]
    assert dict(found[0].detector_scores) == {"tiled:bright": 0.6}


@pytest.mark.parametrize("x", range(60, 200, 7))
def test_an_object_on_a_seam_is_one_region_wherever_it_lies(x: int) -> None:
    box = (x, 90, x + 60, 110)  # as large as three overlaps: some tiles see pieces only
    (found,) = Tiled(Bright(), S, tile=100).detect([photo(box)])
    assert [r.box for r in found] == [box]


def test_a_piece_lends_what_was_seen_whole_its_score() -> None:
    assert merged(piece((70, 10, 100, 30), 0.9, LEFT), piece((85, 10, 130, 30), 0.1, RIGHT)) == [
        ((70, 10, 130, 30), 0.9)  # the right window shows the thing whole: it sees less of it, not something else
    ]
    whole = piece((85, 10, 130, 30), 0.1, RIGHT)
    assert merged(piece((84, 10, 100, 30), 0.9, LEFT), whole) == [((84, 10, 130, 30), 0.9)]


def test_a_piece_does_not_take_the_place_of_what_was_seen_whole() -> None:
    whole = piece((85, 10, 110, 30), 0.6, RIGHT)
    assert merged(piece((85, 10, 100, 30), 0.9, LEFT), whole) == [((85, 10, 110, 30), 0.9)]


def test_a_faint_huge_candidate_is_not_joined_with_a_piece_inside_it() -> None:
    small, huge = piece((90, 40, 100, 50), 0.9, LEFT), piece((85, 5, 175, 95), 0.01, RIGHT)
    assert sorted(merged(small, huge)) == [(huge.region.box, 0.01), (small.region.box, 0.9)]
    everything = piece((1, 1, 179, 99), 0.01, (0, 0, 180, 100))
    assert sorted(merged(small, everything)) == [(everything.region.box, 0.01), (small.region.box, 0.9)]


def test_a_faint_piece_adds_nothing_to_a_likely_one_and_counts_for_itself() -> None:
    """It shows another part: were it dropped, that part would be in the open where the piece reaches the threshold."""
    likely = piece((40, 10, 100, 30), 0.9, LEFT)
    faint = [((40, 10, 100, 30), 0.9), ((80, 5, 180, 35), 0.4)]
    assert merged(likely, piece((80, 5, 180, 35), 0.4, RIGHT)) == faint
    assert merged(likely, piece((80, 11, 101, 29), 0.4, RIGHT)) == faint[:1]


def test_pieces_alone_are_put_together() -> None:
    assert is_cut(Region("plate", (40, 10, 100, 30)), LEFT, (180, 100))
    assert not is_cut(Region("plate", (40, 10, 80, 30)), LEFT, (180, 100))
    assert not is_cut(Region("plate", (0, 10, 40, 30)), LEFT, (180, 100))  # the photo's own edge is no seam
    left, right = piece((40, 10, 100, 30), 0.5, LEFT), piece((80, 10, 140, 30), 0.4, RIGHT)
    assert merged(left, right) == [((40, 10, 140, 30), 0.5)]
    beside = piece((80, 60, 140, 80), 0.4, RIGHT)
    assert sorted(merged(left, beside)) == [((40, 10, 100, 30), 0.5), ((80, 60, 140, 80), 0.4)]
    face = piece((80, 10, 140, 30), 0.4, RIGHT, kind="face")
    assert sorted(merged(left, face)) == [((40, 10, 100, 30), 0.5), ((80, 10, 140, 30), 0.4)]


def test_a_photo_of_one_look_is_shown_as_it_is_and_a_larger_one_in_windows() -> None:
    inner = Bright()
    ordinary = photo((10, 10, 20, 20), ONE_LOOK, 30)
    search(inner, [ordinary, ordinary], S)
    assert inner.seen == [(ONE_LOOK, 30)] * 2
    inner.seen.clear()
    search(inner, [photo((10, 10, 20, 20), ONE_LOOK + 1, 30), ordinary], S)
    assert inner.seen == [(2561, 30), (2561, 30), (ONE_LOOK + 1, 30), (ONE_LOOK, 30)]


@pytest.mark.parametrize("x", range(8_000, 9_000, 90))
def test_what_is_small_in_a_long_photo_is_found_wherever_it_lies(x: int) -> None:
    long = photo((x, 3, x + 60, 23), 16_000, 40)
    (found,) = search(Bright(least=0.01), [long], S)
    assert [r.box for r in found] == [(x, 3, x + 60, 23)]
    assert Bright(least=0.01).detect([long]) == [[]]


def test_as_many_likely_regions_as_are_kept_may_not_be_all() -> None:
    """Each window finds one; together they are as many as are kept."""
    fake, three = FakeDetector([Region("face", (10, 10, 20, 20), 0.9)]), Settings(max_regions=3)
    assert len(search(fake, [photo((0, 0, 1, 1), 190, 100)], three, tile=190)[0]) == 1
    with pytest.raises(DetectionError, match="raise max_regions"):
        search(fake, [photo((0, 0, 1, 1), 250, 100)], three, tile=110)


def test_impossible_tiles_are_refused() -> None:
    with pytest.raises(SettingsError, match="tile"):
        Tiled(Bright(), S, tile=63)


def test_the_many_tiles_of_a_large_photo_fit_into_memory() -> None:
    found = [Piece(Region("face", (i, 0, i + 1, 1), 0.01), (0, 0, 4000, 9), is_cut=i % 100 == 0) for i in range(4000)]
    tracemalloc.start()
    try:
        assert len(merge_pieces(found, 0.45)) == 4000
        assert tracemalloc.get_traced_memory()[1] < 40e6  # all overlaps at once: 128 MB and more
    finally:
        tracemalloc.stop()
