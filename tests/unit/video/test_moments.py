"""Which moments of a clip a person should look at."""

from __future__ import annotations

import numpy as np
import pytest

from anonymize import Settings, corrections
from anonymize.video.clip_records import ClipRecord
from anonymize.video.moments import moments, risk_of
from anonymize.video.tracks import Track


def track(sources: str, first: int = 10, x: float = 100.0, score: float = 0.9, height: float = 30.0) -> Track:
    boxes = np.array([[x, 60, x + 24, 60 + height] for _ in sources])
    kinds = ["dfem".index(s) for s in sources]
    return Track("face", first, boxes, kinds, [score if s == "d" else 0 for s in sources])  # type: ignore[arg-type]


def clip(*tracks: Track, cuts: tuple[int, ...] = ()) -> ClipRecord:
    return ClipRecord("a.mp4", "a" * 64, 320, 180, 90, 30.0, tracks, 90, cuts, detectors={"fake": {}}, detection="hash")


def signs(record: ClipRecord) -> list[tuple[str, int]]:
    return [(m.sign, m.frame) for m in moments(record, Settings())]


def test_what_begins_and_ends_in_the_middle_of_the_picture() -> None:
    assert signs(clip(track("eedddee"))) == [("begins", 11), ("ends", 15)]
    assert {m.p for m in moments(clip(track("eedddee")), Settings())} == {0.5}
    assert {m.p for m in moments(clip(track("eedddee", height=10)), Settings())} == {0.2}


def test_what_comes_through_the_edge_or_with_a_scene_is_none() -> None:
    assert signs(clip(track("ddd", x=2))) == []
    assert signs(clip(track("ddd", x=300))) == []
    assert signs(clip(track("ddd", first=0))) == [("ends", 3)]
    assert signs(clip(track("ddd", first=87))) == [("begins", 86)]
    assert signs(clip(track("ddd"), cuts=(10, 13))) == []


def test_where_it_was_not_found_for_a_while() -> None:
    found = moments(clip(track("d" + 9 * "f" + "ddfd"), cuts=(10, 24)), Settings())
    assert [(m.sign, m.frame, m.p) for m in found] == [("filled", 15, pytest.approx(0.15))]
    assert "not found for 0.3 s" in found[0].text


def test_faint_candidates_count_more_beside_a_hidden_track() -> None:
    sure, faint = track("ddd", x=2), track("ddd", x=20, score=0.1)
    alone, beside = clip(faint), clip(sure, faint)
    assert [(m.sign, m.p) for m in moments(alone, Settings())] == [("candidate", pytest.approx(0.1))]
    assert [(m.sign, m.p) for m in moments(beside, Settings())] == [("candidate", pytest.approx(0.15))]
    far = clip(sure, track("ddd", first=60, x=20, score=0.1))
    assert [m.p for m in moments(far, Settings())] == [pytest.approx(0.1)]


def test_what_people_decided_is_no_news() -> None:
    record = clip(track("eedddee"), track("ddd", x=200, score=0.1))
    for t in record.tracks:
        record = corrections.reject(record, who="ann", id=t.id)
    assert moments(record, Settings()) == []
    assert risk_of(record, Settings()) == 0


def test_a_clips_risk_is_that_of_at_least_one_moment() -> None:
    record = clip(track("eedddee"), track("ddd", first=50, x=200, score=0.1))
    assert risk_of(record, Settings()) == pytest.approx(1 - 0.5 * 0.5 * 0.9)
