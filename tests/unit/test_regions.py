import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anonymize.errors import SettingsError
from anonymize.regions import Region, boxes, intersections, iou, merge, overlapping, suppress, suppress_boxes

coordinate = st.floats(-50, 200, allow_nan=False)


@st.composite
def regions(draw: st.DrawFn, kind: str = "face") -> Region:
    x1, y1 = draw(coordinate), draw(coordinate)
    box = (x1, y1, x1 + draw(st.floats(0, 100)), y1 + draw(st.floats(0, 100)))
    points = st.tuples(coordinate, coordinate)
    return Region(
        kind,
        box,
        draw(st.floats(0, 1)),
        detector_scores=draw(st.dictionaries(st.text(max_size=5), st.floats(0, 1), max_size=3)),
        corners=draw(st.none() | st.tuples(points, points, points, points)),
        status=draw(st.sampled_from(["auto", "accepted", "rejected", "manual"])),
    )


@given(regions())
def test_a_region_survives_json(region: Region) -> None:
    import json

    assert Region.from_dict(json.loads(json.dumps(region.to_dict()))) == region


@given(regions(), st.integers(1, 120), st.integers(1, 120))
def test_pixels_round_outward_inside_the_image(region: Region, width: int, height: int) -> None:
    x1, y1, x2, y2 = region.pixels(width, height)
    inside = region.clip(width, height).box
    assert 0 <= x1 <= x2 <= width
    assert 0 <= y1 <= y2 <= height
    assert x1 <= inside[0]
    assert inside[2] <= x2
    assert y1 <= inside[1]
    assert inside[3] <= y2
    assert x1 >= inside[0] - 1
    assert x2 <= inside[2] + 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"box": (0, 0, 10)},
        {"box": (10, 0, 0, 10)},
        {"box": (0, 0, float("nan"), 10)},
        {"score": 1.1},
        {"score": float("nan")},
        {"status": "maybe"},
        {"kind": ""},
        {"corners": ((0, 0), (1, 0), (1, 1))},
        {"landmarks": ((0, 0),) * 4},
    ],
)
def test_a_wrong_field_is_refused(wrong: dict) -> None:
    with pytest.raises(SettingsError):
        Region(**{"kind": "face", "box": (0, 0, 1, 1), **wrong})


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(SettingsError, match="color"):
        Region.from_dict({"kind": "face", "box": [0, 0, 1, 1], "color": "red"})


@pytest.mark.parametrize(
    "wrong", [{"box": [0, 0, 1, 10**400]}, {"score": 10**400}, {"corners": [[10**400, 0]] * 4}], ids=lambda w: min(w)
)
def test_a_number_beyond_all_floats_is_refused(wrong: dict) -> None:
    with pytest.raises(SettingsError, match="not a region"):
        Region.from_dict({"kind": "face", "box": [0, 0, 1, 1], **wrong})


def test_grow_moves_each_side_by_the_fraction_and_keeps_the_id() -> None:
    region = Region("plate", (10, 20, 30, 24), corners=((10, 20), (30, 20), (30, 24), (10, 24)))
    grown = region.pad(0.1)
    assert grown.box == pytest.approx((8, 19.6, 32, 24.4))
    assert np.allclose(grown.corners, [(8, 19.6), (32, 19.6), (32, 24.4), (8, 24.4)])
    assert grown.id == region.id


def test_shift_and_scale_move_points_too() -> None:
    region = Region("face", (1, 2, 3, 4), landmarks=((1, 2),) * 5).shift(10, 20).scale(2)
    assert region.box == (22, 44, 26, 48)
    assert region.landmarks == ((22, 44),) * 5


def test_a_drawn_region_keeps_its_id_when_it_moves() -> None:
    drawn = Region("face", (0, 0, 5, 5), status="manual")
    assert drawn.shift(1, 1).id == drawn.id
    found = Region("face", (0, 0, 5, 5))
    assert found.shift(1, 1).id != found.id


def test_iou_by_hand() -> None:
    a, b = np.array([[0.0, 0, 10, 10]]), np.array([[5.0, 0, 15, 10], [20, 20, 30, 30], [3, 3, 3, 3]])
    assert intersections(a, b).tolist() == [[50, 0, 0]]
    assert iou(a, b)[0].tolist() == pytest.approx([50 / 150, 0, 0])
    assert iou(b[2:], b[2:]).tolist() == [[0]]
    assert iou(a, boxes([])).shape == (1, 0)


coordinates = st.one_of(st.integers(0, 9), st.floats(0, 50_000))
some_boxes = st.lists(
    st.tuples(*[coordinates] * 4).map(lambda p: (*map(min, p[:2], p[2:]), *map(max, p[:2], p[2:]))), max_size=9
).map(lambda found: np.array(found, float).reshape(-1, 4))


@given(some_boxes, some_boxes, st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1)))
def test_overlapping_pairs_are_those_of_the_table(a: np.ndarray, b: np.ndarray, iou_threshold: float) -> None:
    b = np.concatenate([b, a, a + 1e-6])
    assert overlapping(a, b, iou_threshold) == tuple(n.tolist() for n in np.nonzero(iou(a, b) > iou_threshold))


def test_suppress_keeps_the_best_of_each_kind() -> None:
    face, weaker = Region("face", (0, 0, 10, 10), 0.9), Region("face", (1, 0, 11, 10), 0.8)
    plate, apart = Region("plate", (0, 0, 10, 10), 0.1), Region("face", (50, 50, 60, 60), 0.2)
    assert suppress([weaker, plate, face, apart], 0.5) == [face, apart, plate]
    assert suppress([weaker, face], 1.0) == [face, weaker]
    assert suppress([weaker, face, apart, plate], 0.5, limit=1) == [face, plate]


@given(st.lists(regions(), max_size=12), st.floats(0, 1))
def test_what_suppress_drops_is_covered_by_something_better(found: list[Region], iou_threshold: float) -> None:
    kept = suppress(found, iou_threshold)
    table = iou(boxes(kept), boxes(kept))
    assert not (table - np.eye(len(kept)) * table > iou_threshold).any()
    for dropped in (r for r in found if r not in kept):
        assert any(k.score >= dropped.score and iou(boxes([k]), boxes([dropped]))[0, 0] > iou_threshold for k in kept)


def test_merge_is_the_box_around_all_with_every_vote() -> None:
    a = Region("plate", (0, 0, 10, 10), 0.4, detector_scores={"x": 0.4, "y": 0.1})
    b = Region("plate", (5, 5, 20, 9), 0.7, detector_scores={"x": 0.7})
    merged = merge([a, b])
    assert (merged.box, merged.score, merged.detector_scores) == ((0, 0, 20, 10), 0.7, {"x": 0.7, "y": 0.1})
    with pytest.raises(SettingsError):
        merge([a, Region("face", (0, 0, 1, 1))])
    with pytest.raises(SettingsError):
        merge([])


def one_by_one(found: np.ndarray, scores: np.ndarray, iou_threshold: float, limit: int) -> list[int]:
    """Non-maximum suppression as its definition reads."""
    kept: list[int] = []
    for i in sorted(range(len(found)), key=lambda i: -scores[i]):
        if len(kept) < limit and all(iou(found[i : i + 1], found[k : k + 1])[0, 0] <= iou_threshold for k in kept):
            kept.append(i)
    return kept


@given(
    st.lists(st.tuples(*[st.integers(0, 20)] * 2, *[st.integers(1, 10)] * 2, st.integers(1, 99)), max_size=40),
    st.sampled_from([0.0, 0.3, 0.45, 0.9, 1.0]),
    st.sampled_from([1, 5, 100]),
)
def test_suppression_is_greedy_best_score_first(
    found: list[tuple[int, int, int, int, int]], iou_threshold: float, limit: int
) -> None:
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h, _ in found], float).reshape(-1, 4)
    scores = np.array([s / 100 for *_, s in found])
    kept = suppress_boxes(boxes, scores, iou_threshold, limit)
    assert kept.tolist() == one_by_one(boxes, scores, iou_threshold, limit)


def test_suppression_goes_on_beyond_one_chunk() -> None:
    rng = np.random.default_rng(0)
    corner = rng.random((1500, 2)) * 60
    boxes = np.hstack([corner, corner + rng.random((1500, 2)) * 20 + 5])
    scores = rng.random(1500)
    for limit in (3, 290, 1500):
        expected = one_by_one(boxes, scores, 0.45, limit)
        assert suppress_boxes(boxes, scores, 0.45, limit).tolist() == expected
    assert len(expected) > 100


def test_corners_stay_only_with_a_box_that_they_nearly_fill() -> None:
    """A quad of a piece would leave the rest of the box in the open."""
    corners = ((0, 0), (60, 0), (60, 20), (0, 20))
    piece = Region("plate", (0, 0, 60, 20), 0.9, corners=corners)
    assert merge([piece, Region("plate", (40, 0, 100, 20), 0.8)]).corners is None
    assert merge([piece, Region("plate", (1, 0, 62, 20), 0.8)]).corners == piece.corners
