"""What a correction does to a record. The page and the review differ today; here stands how."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anonymize.records import Record
from anonymize.regions import Region
from anonymize.settings import Settings
from anonymize.web.work import Display, Work
from review.decisions import decide

SETTINGS = Settings().with_kind("face", threshold=0.5)
FACE = Region("face", (10, 10, 30, 30), 0.9, {"fake": 0.9})
RECORD = Record("a.jpg", "00", 100, 80, (FACE,), {"fake": {}})


def by(what: str, record: Record = RECORD, **given: object) -> Record:
    return decide(record, what, who="ana", settings=SETTINGS, **given)


@pytest.fixture
def work(tmp_path: Path) -> Work:
    display = Display.of(np.zeros((80, 100, 3), np.uint8))
    return Work("1", "a.jpg", tmp_path / "a.jpg", tmp_path, RECORD, display, SETTINGS)


def test_a_moved_box_on_the_page_is_the_persons_own_with_the_full_score(work: Work):
    work.move(FACE.id, (12, 12, 34, 34))
    (moved,) = work.record.regions
    assert (moved.status, moved.score, moved.detector_scores) == ("manual", 1.0, {"fake": 0.9})


def test_a_moved_box_in_the_review_is_accepted_with_its_score():
    (moved,) = by("move", region=FACE.id, box=(12, 12, 34, 34)).regions
    assert (moved.status, moved.score, moved.detector_scores) == ("accepted", 0.9, {"fake": 0.9})


def test_a_box_drawn_on_the_page_has_an_invented_detector_score_and_a_reset_takes_it_for_found(work: Work):
    drawn = work.draw("plate", (50, 50, 60, 60))
    assert drawn.detector_scores == {"you": 1.0}
    reset = by("reset", work.record, region=drawn.id)
    assert [r.status for r in reset.regions if r.id == drawn.id] == ["auto"]


def test_a_box_drawn_in_the_review_has_no_detector_score_and_a_reset_leaves_it_drawn():
    drawn = by("add", box=(50, 50, 60, 60), kind="plate")
    assert (drawn.regions[0].status, drawn.regions[0].detector_scores) == ("manual", {})
    assert by("reset", drawn, region=drawn.regions[0].id).regions[0].status == "manual"


def test_a_drawn_box_that_is_not_wanted_goes_away_on_the_page_and_is_rejected_in_the_review(work: Work):
    drawn = work.draw("plate", (50, 50, 60, 60))
    work.decide(drawn.id, hide=False)
    assert work.record.regions == (FACE,)
    added = by("add", box=(50, 50, 60, 60), kind="plate")
    assert by("reject", added, region=added.regions[0].id).regions[0].status == "rejected"


def test_only_the_review_writes_who_when_and_what(work: Work):
    work.decide(FACE.id, hide=False)
    assert work.record.decisions == ()
    assert [d["who"] for d in by("reject", region=FACE.id).decisions] == ["ana"]
