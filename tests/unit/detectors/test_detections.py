"""Detections as arrays are what the Regions say, and become them again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from anonymize.detectors import FakeDetector
from anonymize.detectors.detections import Detections
from anonymize.detectors.ensemble import Ensemble
from anonymize.regions import Region, suppress
from anonymize.settings import Settings

IMAGE = np.zeros((100, 200, 3), np.uint8)
number = st.floats(0, 50)


def points(count: int) -> st.SearchStrategy[tuple[tuple[float, float], ...] | None]:
    return st.none() | st.tuples(*[st.tuples(number, number)] * count)


some_regions = st.lists(
    st.builds(
        lambda kind, x, y, w, h, *rest: Region(kind, (x, y, x + w, y + h), *rest),
        st.sampled_from(["face", "plate"]),
        *[number] * 4,
        st.sampled_from([0.1, 0.5, 0.9]),
        st.dictionaries(st.sampled_from("ab"), st.floats(0, 1)),
        points(4),
        points(5),
        st.sampled_from(["auto", "accepted", "rejected"]),
    ),
    max_size=8,
)


@given(some_regions, some_regions)
def test_regions_become_rows_and_rows_regions(some: Sequence[Region], others: Sequence[Region]) -> None:
    assert Detections.join(map(Detections.of, (some, others))).regions() == [*some, *others]


@given(some_regions, st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([None, 2]))
def test_rows_are_suppressed_as_regions_are(some: Sequence[Region], iou_threshold: float, limit: int | None) -> None:
    assert Detections.of(some).suppress(iou_threshold, limit).regions() == suppress(some, iou_threshold, limit)


def test_a_wrapping_detector_votes_with_the_best_score() -> None:
    some = [Region("face", (0, 0, 9, 9), 0.4, {"a": 0.2, "b": 0.3}), Region("face", (0, 0, 9, 9), 0.7)]
    assert [dict(r.detector_scores) for r in Detections.of(some).relabel("c").regions()] == [{"c": 0.3}, {"c": 0.7}]


def test_what_a_detector_is_sure_is_hidden_stays_so_in_an_ensemble() -> None:
    """A status beats every threshold; arrays must not lose it on the way."""
    sure = Region("face", (10, 10, 30, 30), 0.1, {"a": 0.1}, status="accepted")
    (found,) = Ensemble([FakeDetector([sure], "a"), FakeDetector(name="b")], Settings()).detect([IMAGE])[0]
    assert found.status == "accepted"
