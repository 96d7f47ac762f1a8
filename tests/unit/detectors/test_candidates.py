"""Fitting images into networks and candidates back: hand-written arrays, no weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymize.detectors.candidates import Candidates, Letterbox, check, detections, letterbox, tensor
from anonymize.errors import DetectionError
from anonymize.probability import expit
from anonymize.settings import UNLIKELY, Settings

EMPTY = Letterbox(np.zeros((32, 64, 3), np.uint8), (1.0, 1.0), (0, 0), (60, 30))


def image(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 200, np.uint8)


@pytest.mark.parametrize(
    ("shape", "side", "expected"),
    [
        ((480, 640), 640, (480, 640)),
        ((270, 480), 640, (384, 640)),  # enlarged to 360 rows, padded to 384
        ((1080, 810), 640, (640, 480)),
        ((1, 1), 64, (64, 64)),
        ((5, 2000), 1024, (32, 1024)),
        ((2000, 1), 1024, (1024, 64)),  # no map is one cell wide
        ((9000, 6000), 96, (96, 64)),
    ],
)
def test_the_long_side_is_exact_and_the_rest_is_padded_to_32(
    shape: tuple[int, int], side: int, expected: tuple[int, int]
) -> None:
    frame = letterbox(image(*shape), side)
    assert frame.pixels.shape == (*expected, 3)
    corner = np.array([[shape[1], shape[0]]]) * np.array(frame.scale) + np.array(frame.offset)
    assert max(corner[0]) == pytest.approx(side)


@pytest.mark.parametrize(
    ("shape", "target"), [((480, 640), (640, 640)), ((640, 480), (640, 640)), ((90, 30), (64, 96))]
)
def test_a_fixed_input_holds_the_whole_image(shape: tuple[int, int], target: tuple[int, int]) -> None:
    frame = letterbox(image(*shape), 640, target=target, center=True)
    assert frame.pixels.shape == (*target, 3)
    ends = np.array([[0, 0], [shape[1], shape[0]]]) * frame.scale + np.array(frame.offset)
    assert (ends[0] >= 0).all()
    assert (ends[1] <= target[::-1]).all()


def test_padding_lies_right_and_below_or_around() -> None:
    right = letterbox(image(10, 64), 64, fill=7).pixels
    assert (right[:10] == 200).all()
    assert (right[10:] == 7).all()
    around = letterbox(image(10, 64), 64, fill=7, center=True).pixels
    assert (around[11:21] == 200).all()
    assert (around[:11] == 7).all()
    assert (around[21:] == 7).all()


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([32, 64, 320]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_to_image_undoes_the_fitting(height: int, width: int, side: int, center: bool) -> None:
    frame = letterbox(image(height, width), side, center=center)
    points = np.array([[0.0, 0.0], [width, height], [width / 3, height / 7]])
    placed = points * np.array(frame.scale) + np.array(frame.offset)
    np.testing.assert_allclose(frame.to_image(placed), points, atol=1e-9)


def test_tensor_is_channels_first_less_the_mean() -> None:
    pixels = np.array([[[10, 20, 30], [11, 21, 31]]], np.uint8)
    out = tensor(pixels, mean=(1, 2, 3), divisor=2)
    assert out.shape == (1, 3, 1, 2)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out[0, :, 0, 1], [5, 9.5, 14])


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        "photo.jpg",
        [[1, 2, 3]],
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 1), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 3), np.uint16),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
    ],
)
def test_what_is_no_rgb_image_is_refused(wrong: object) -> None:
    with pytest.raises(DetectionError, match="an image is"):
        check(wrong)


def test_regions_are_clipped_floored_suppressed_and_carry_their_vote() -> None:
    boxes = np.array([(-5, -5, 10, 10), (-4, -5, 10, 10), (40, 20, 80, 50), (61, 0, 64, 9), (0, 0, 9, 9)], float)
    scores = np.array([0.8, 0.9, 0.3, 0.9, 0.0005])
    out = detections("face", Candidates(boxes, scores), EMPTY, "d@64", Settings()).regions()
    assert [r.box for r in out] == [(0, 0, 10, 10), (40, 20, 60, 30)]  # one doubled, one in the padding, one too weak
    assert [dict(r.detector_scores) for r in out] == [{"d@64": 0.9}, {"d@64": 0.3}]


def test_points_come_back_with_their_box() -> None:
    frame = Letterbox(np.zeros((64, 64, 3), np.uint8), (2.0, 2.0), (0, 10), (32, 16))
    marks = np.arange(20, dtype=float).reshape(2, 5, 2)
    corners = np.arange(16, dtype=float).reshape(2, 4, 2)
    boxes = np.array([(0, 10, 8, 18), (20, 20, 40, 40)], float)
    out = detections("plate", Candidates(boxes, np.array([0.1, 0.6]), marks, corners), frame, "d", Settings()).regions()
    assert out[0].box == (10, 5, 20, 15)
    assert out[0].corners == ((4, -0.5), (5, 0.5), (6, 1.5), (7, 2.5))
    assert out[0].landmarks is not None
    assert out[0].landmarks[0] == (5, 0.5)
    assert out[1].landmarks is not None
    assert out[1].landmarks[4] == (4, -0.5)


def test_a_score_beyond_one_by_rounding_is_one() -> None:
    out = detections(
        "face", Candidates(np.array([[0, 0, 5, 5.0]]), np.array([1.0000001])), EMPTY, "d", Settings()
    ).regions()
    assert out[0].score == 1.0


@pytest.mark.parametrize(("box", "score"), [((0, 0, 9, 9), np.nan), ((0, np.nan, 9, 9), 0.5), ((0, 0, np.inf, 9), 0.5)])
def test_what_is_no_number_is_a_failure_and_not_nothing(box: tuple[float, ...], score: float) -> None:
    with pytest.raises(DetectionError, match="not numbers"):
        detections("face", Candidates(np.array([box], float), np.array([score])), EMPTY, "d", Settings())


def test_the_limit_keeps_the_best_of_thousands() -> None:
    rng = np.random.default_rng(0)
    corner = rng.random((20_000, 2)) * (50, 20)
    boxes = np.hstack([corner, corner + 1])
    scores = rng.random(20_000) * UNLIKELY
    out = detections("face", Candidates(boxes, scores), EMPTY, "d", Settings(max_regions=7)).regions()
    assert len(out) == 7
    assert out[0].score == scores.max()


def row_of(count: int) -> np.ndarray:
    return np.array([(3 * i, 0, 3 * i + 2, 2) for i in range(count)], float)


@pytest.mark.parametrize("likely", [UNLIKELY, 0.4])
def test_the_limit_leaves_no_likely_region_out(likely: float) -> None:
    def find(last: float) -> int:
        found = Candidates(row_of(8), np.array([*[0.9] * 7, last]))
        return len(detections("face", found, EMPTY, "d", Settings(max_regions=7), likely=likely))

    assert find(likely - 0.01) == 7
    assert find(likely) == 8


def test_a_likely_region_is_not_crowded_out_by_many_candidates_of_another() -> None:
    boxes = np.vstack([np.tile([[0.0, 0, 2, 2]], (100, 1)), row_of(2)[1:]])
    scores = np.array([0.9] * 100 + [0.3])
    assert len(detections("face", Candidates(boxes, scores), EMPTY, "d", Settings(max_regions=7))) == 2


def test_sigmoid_of_any_logit_is_right_and_warns_of_nothing() -> None:
    logits = np.array([-1e4, -200, -87, -6.9, 0, 6.9, 1e4, np.nan], np.float32)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        got = expit(logits)
    assert got[:7] == pytest.approx([0, 0, 0, 0.0010068, 0.5, 0.9989932, 1], abs=1e-7)
    assert np.isnan(got[7])
