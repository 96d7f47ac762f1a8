"""Shapes are rounded outward, soft edges lie outside, doubtful corners hide more."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from anonymize import masks
from anonymize.masks import SOLID_FEATHER
from anonymize.regions import Region
from anonymize.settings import MASKS, Kernel, Kind, Settings
from tests.support.shapes import H, W, kinds, many, one, regions, tilted


@many
@given(regions(), kinds)
def test_mask_is_one_on_what_coverage_counts_and_falls_off_outside_only(region: Region, kind: Kind) -> None:
    (x1, y1, x2, y2), alpha = masks.mask(region, kind, W, H)
    covered = masks.coverage([region], Settings(kinds={region.kind: kind}), W, H)
    assert alpha.dtype == np.float32
    assert alpha.shape == (y2 - y1, x2 - x1)
    whole = np.zeros((H, W), np.float32)
    whole[y1:y2, x1:x2] = alpha
    np.testing.assert_array_equal(whole == 1, covered)
    if not covered.any():
        assert (x1, y1, x2, y2) == (0, 0, 0, 0)
        return
    away = cv2.distanceTransform((~covered).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    feather = min(kind.kernel.feather, SOLID_FEATHER if kind.effect == "solid" else 1000)
    assert not whole[away >= 1.03 * (feather + 1)].any()
    assert whole[away < 0.97 * (feather + 1)].all()
    if feather:  # smoothstep of the distance, which is known within 3 %
        near, far = (np.clip(1 - away * k / (feather + 1), 0, 1) for k in (0.97, 1.03))
        assert (whole <= near**2 * (3 - 2 * near) + 1e-5).all()
        assert (whole >= far**2 * (3 - 2 * far) - 1e-5).all()


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("feather", [0, 1, 9, 25])
def test_the_feather_falls_from_one_to_nothing_along_every_line_outward(mask: str, feather: int) -> None:
    kind = Kind(mask=mask, kernel=Kernel(feather=feather))
    _, alpha = masks.mask(tilted(100, 100, 60, 25, 15), kind, 200, 200)
    h, w = alpha.shape
    for line in (
        alpha[h // 2, w // 2 :],
        alpha[h // 2, w // 2 :: -1],
        alpha[h // 2 :, w // 2],
        alpha[h // 2 :: -1, w // 2],
    ):
        soft = line[line < 1]
        assert line[0] == 1
        assert (np.diff(line) <= 0).all()
        assert len(soft) >= feather
        assert feather < 9 or np.abs(np.diff(line)).max() < 2 / feather  # no step


@many
@given(regions(), st.sampled_from(("rectangle", "ellipse")), st.sampled_from((0.0, 0.1, 0.8)))
def test_the_box_is_hidden_whole_by_rectangle_and_ellipse(region: Region, mask: str, padding: float) -> None:
    covered = masks.coverage([region], one(mask=mask, padding=padding), W, H)
    x1, y1, x2, y2 = region.pixels(W, H)
    assert covered[y1:y2, x1:x2].all()
    if mask == "rectangle":
        x1, y1, x2, y2 = region.pad(padding).pixels(W, H)
        assert covered[y1:y2, x1:x2].all()
        assert covered.sum() <= (x2 - x1 + 1) * (y2 - y1 + 1)


def test_an_ellipse_is_the_smallest_around_the_box_and_reaches_as_far_as_grow() -> None:
    face = Region("face", (300, 300, 500, 600))
    tight = masks.coverage([face], one(mask="ellipse", padding=0.0), 800, 900)
    assert tight.sum() == pytest.approx(math.pi / 2 * face.area, rel=0.02)
    wide = masks.coverage([face], one(mask="ellipse", padding=0.5), 800, 900)
    assert wide[450, 200:600].all()  # the grown box's left and right end, at mid height
    assert wide[150:750, 400].all()
    assert not wide[450, 195]
    assert not wide[155, 205]  # but not its corner


def brute_polygon(corners: np.ndarray) -> np.ndarray:
    """Pixels that hold a point of the polygon, from 15 x 15 samples in each."""
    steps = (np.arange(15) + 0.5) / 15
    ys, xs = (np.arange(H)[:, None] + steps).ravel(), (np.arange(W)[:, None] + steps).ravel()
    inside = np.ones((ys.size, xs.size), dtype=bool)
    for (px, py), (qx, qy) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        inside &= (qx - px) * (ys[:, None] - py) - (qy - py) * (xs[None, :] - px) >= 0
    return inside.reshape(H, 15, W, 15).any(axis=(1, 3))


@hypothesis_settings(max_examples=25, deadline=None)
@given(st.floats(20, 70), st.floats(20, 60), st.floats(8, 70), st.floats(0.2, 0.6), st.floats(-90, 90))
@example(20.0, 20.0, 10.0, 0.5, 0.0)  # corners on pixels' edges: 14, 17, 26, 23
def test_a_quad_hides_every_pixel_that_it_touches_and_hardly_more(
    x: float, y: float, w: float, aspect: float, degrees: float
) -> None:
    plate = tilted(x, y, w, w * aspect, degrees)
    covered = masks.coverage([plate], one(mask="quad", padding=0.1), W, H)
    grown = plate.pad(0.1).corners
    assert grown is not None
    touched = brute_polygon(np.array(grown))
    assert not (touched & ~covered).any()
    assert not (covered & ~cv2.dilate(touched.astype(np.uint8), np.ones((3, 3))).astype(bool)).any()
    # The pixel of each corner is hidden: on an edge between two pixels that is the one on the plate's side.
    for px, py in np.array(grown) + (np.mean(grown, axis=0) - grown) * 1e-6:
        if 0 <= px < W and 0 <= py < H:
            assert covered[int(py), int(px)]


@pytest.mark.parametrize(
    ("name", "corners"),
    [
        ("none", None),
        ("crossed", ((20, 20), (80, 50), (80, 20), (20, 50))),
        ("counter-clockwise", ((20, 50), (80, 50), (80, 20), (20, 20))),
        ("dent", ((20, 20), (80, 20), (40, 30), (20, 50))),
        ("a point", ((50, 30),) * 4),
        ("a line", ((20, 20), (80, 50), (80, 50), (20, 20))),
        ("sliver", ((20, 20), (22, 20), (80, 50), (78, 50))),
        ("elsewhere", ((20, 60), (80, 60), (80, 75), (20, 75))),
        ("a corner of the box", ((20, 20), (45, 20), (45, 35), (20, 35))),
        ("far too large", ((-100, -100), (200, -100), (200, 200), (-100, 200))),
    ],
)
def test_doubtful_corners_hide_the_whole_rectangle(name: str, corners: tuple | None) -> None:
    plate = Region("plate", (20, 20, 80, 50), corners=corners)
    got = masks.coverage([plate], one(mask="quad"), W, H)
    np.testing.assert_array_equal(got, masks.coverage([plate], one(mask="rectangle"), W, H), err_msg=name)


def test_corners_that_reach_far_out_of_the_photo_and_lie_beside_the_box_are_doubtful() -> None:
    plate = Region("plate", (0, 0, W, H), corners=((5 * W, -20), (11 * W, 5 * H), (5 * W, 11 * H), (-20, 5 * H)))
    assert masks.coverage([plate], one(mask="quad"), W, H).all()


def test_a_plate_cut_by_the_edge_of_the_photo_still_follows_its_corners() -> None:
    whole = tilted(0, 40, 60, 20, 20)
    plate = whole.replace(box=whole.clip(W, H).box)
    got = masks.coverage([plate], one(mask="quad", padding=0.0), W, H)
    assert got[:, 0].any()
    assert got.sum() < masks.coverage([plate], one(mask="rectangle", padding=0.0), W, H).sum()
