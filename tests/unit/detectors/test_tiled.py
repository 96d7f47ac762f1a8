from __future__ import annotations

import tracemalloc
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pytest

from anonymize.detectors import Image
from anonymize.detectors.tiled import Piece, Tiled, merge_pieces, tiles, touches_seam
from anonymize.errors import SettingsError
from anonymize.regions import Region
from anonymize.settings import Settings

S = Settings()


class Bright:
    """Finds the box around all bright pixels, if it is at most `most` px wide: large things need the whole photo."""

    name = "bright"
    weights: Mapping[str, str] = {}

    def __init__(self, most: int = 10_000, least: float = 0.0) -> None:
        self.most, self.least, self.seen = most, least, 0

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        out = []
        for image in images:
            self.seen += 1
            y, x = np.nonzero(image.max(axis=2) > 200)
            box = (x.min(), y.min(), x.max() + 1, y.max() + 1) if len(x) else None
            good = box and box[2] - box[0] <= self.most and (box[2] - box[0]) / image.shape[1] >= self.least
            out.append([Region("plate", box, 0.7, {"bright": 0.6})] if box and good else [])
        return out


def photo(box: tuple[int, int, int, int]) -> np.ndarray:
    image = np.zeros((200, 500, 3), np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = 255
    return image


@pytest.mark.parametrize("size", [(100, 100), (101, 100), (1000, 333), (4000, 3000), (129, 5000)])
def test_tiles_cover_everything_and_overlap(size: tuple[int, int]) -> None:
    seen = np.zeros(size[::-1], int)
    windows = list(tiles(*size, 100, 0.2))
    for x1, y1, x2, y2 in windows:
        assert 0 < x2 - x1 <= 100
        assert 0 < y2 - y1 <= 100
        seen[y1:y2, x1:x2] += 1
    assert seen.min() == 1
    xs = sorted({w[0] for w in windows})
    assert all(b - a <= 80 for a, b in pairwise(xs))
    assert len(windows) == len(set(windows))


def test_what_is_too_small_in_the_whole_photo_is_found_in_a_tile() -> None:
    detector = Tiled(Bright(least=0.08), S, tile=100)
    (found,) = detector.detect([photo((210, 90, 220, 96))])
    assert [r.box for r in found] == [(210, 90, 220, 96)]
    assert dict(found[0].detector_scores) == {"tiled:bright": 0.6}


@pytest.mark.parametrize("x", range(60, 200, 7))
def test_an_object_on_a_seam_is_one_region_wherever_it_lies(x: int) -> None:
    box = (x, 90, x + 60, 110)  # as large as three overlaps: some tiles see pieces only
    (found,) = Tiled(Bright(), S, tile=100).detect([photo(box)])
    assert [r.box for r in found] == [box]


def test_pieces_alone_are_put_together() -> None:
    window = (0, 0, 100, 100)
    left, right = (40, 10, 100, 30), (80, 10, 140, 30)
    assert touches_seam(left, window, (200, 100))
    assert not touches_seam((40, 10, 80, 30), window, (200, 100))
    assert not touches_seam((0, 10, 40, 30), window, (200, 100))  # the photo's own edge is no seam
    pieces = [Piece(Region("plate", b, 0.5), True) for b in (left, (60, 10, 140, 30))]
    assert [r.box for r in merge_pieces(pieces)] == [(40, 10, 140, 30)]
    apart = [Piece(Region("plate", left, 0.5), True), Piece(Region("plate", right, 0.5), False)]
    assert len(merge_pieces(apart)) == 2  # a third of each: neighbors
    kinds = [Piece(Region("plate", left, 0.5), True), Piece(Region("face", left, 0.5), True)]
    assert len(merge_pieces(kinds)) == 2


def test_a_small_photo_is_seen_once() -> None:
    inner = Bright()
    Tiled(inner, S, tile=500).detect([photo((10, 10, 20, 20))])
    assert inner.seen == 1


@pytest.mark.parametrize(("tile", "overlap"), [(63, 0.2), (100, -0.1), (100, 0.6)])
def test_impossible_tiles_are_refused(tile: int, overlap: float) -> None:
    with pytest.raises(SettingsError, match="tile"):
        Tiled(Bright(), S, tile=tile, overlap=overlap)


def test_the_many_tiles_of_a_large_photo_fit_into_memory() -> None:
    found = [Piece(Region("face", (i, 0, i + 1, 1), 0.01), is_cut=i % 100 == 0) for i in range(4000)]
    tracemalloc.start()
    try:
        assert len(merge_pieces(found)) == 4000
        assert tracemalloc.get_traced_memory()[1] < 40e6  # all overlaps at once: 128 MB and more
    finally:
        tracemalloc.stop()
