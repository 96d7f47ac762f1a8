"""What the handlers of the first two tabs do, without Gradio."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from anonymize.detectors import FakeDetector
from anonymize.settings import Settings
from anonymize.web.detector_pool import DetectorPool
from anonymize.web.job_handlers import JobHandlers
from anonymize.web.job_queue import JobQueue
from anonymize.web.jobs import Job
from anonymize.web.policy import Policy
from anonymize.web.sessions import Sessions, new_secret
from anonymize.web.site import Site
from anonymize.web.tab_batch import Results, Running
from anonymize.web.tab_photo import PhotoHandlers
from tests.support.web_site import DOUBTFUL, FACE, PLATE, photo, wait_for

OUTPUTS = 4 + 2 + 15  # of a photo and its settings


def values(face: float = 0.5) -> list[Any]:
    """Of `Controls.all`, in its order."""
    s = Settings()
    live = [face, 0.25, "inpaint", "blur", 6, 0.15, "black", 0, 0, 0, [], False]
    return [*live, s.face_detector, s.plate_detector, s.iou_threshold]


@pytest.fixture
def site(tmp_path: Path) -> Any:
    pool = DetectorPool(detectors=[FakeDetector([FACE, DOUBTFUL, PLATE])])
    jobs = JobQueue(pool)
    yield Site(Policy(), Sessions(tmp_path / "sessions"), pool, jobs)
    jobs.close()


@pytest.fixture
def request_(site: Site) -> Any:
    state = {"session": site.sessions.of(new_secret()), "secret": "", "user": "ana"}
    return SimpleNamespace(scope={"state": state})


def event(**data: Any) -> Any:
    return SimpleNamespace(_data=data)


def session(request: Any) -> Any:
    return request.scope["state"]["session"]


def test_a_photo_is_opened_shown_otherwise_and_corrected(site: Site, request_: Any):
    do = PhotoHandlers(site)
    path = photo(session(request_).make_folder() / "photo.png")
    opened = event(id=path.parent.name, file="photo.png", name="a.png")
    value, card, table, _, id = do.open(request_, opened, *values())
    assert id == path.parent.name
    assert "1 face and 1 license plate hidden" in card
    assert len(value["regions"]) == len(table) == 3
    assert do.adjust(request_, id, *values(0.1))[0]["version"] == value["version"] + 1
    sent = event(what="add", kind="face", box=[5, 5, 25, 25], photo=None)
    added = do.correct(request_, sent, id)[0]
    assert [r["state"] for r in added["regions"]].count("manual") == 1
    assert added["undo"]
    assert not do.correct(request_, event(what="undo"), id)[0]["undo"]
    again = do.look_again(request_, id, *values())[0]
    assert again["id"] == id


def test_what_goes_wrong_with_a_photo_is_said(site: Site, request_: Any):
    do = PhotoHandlers(site)
    for given in ({}, {"id": "../x", "file": "photo.png"}, {"id": "0" * 32, "file": "photo.png"}):
        assert "no longer here" in do.open(request_, event(**given), *values())[0]["problem"]
    assert do.correct(request_, event(what="undo"), "gone")[0]["problem"]
    path = photo(session(request_).make_folder() / "photo.png")
    opened = event(id=path.parent.name, file="photo.png", name="a.png")
    assert "Threshold is at least" in do.open(request_, opened, *values(face=7.0))[0]["problem"]
    value = do.open(request_, opened, *values())[0]
    wrong = do.correct(request_, event(what="move", region="gone", box=[1, 2, 3, 4]), value["id"])[0]
    assert wrong["problem"]
    assert wrong["regions"] == value["regions"]


def fill(site: Site, request: Any, tmp_path: Path) -> Job:
    job = Job("0" * 32, session(request).make_folder(), site.policy)
    job.take(photo(tmp_path / "a.png"), "a.png", 0)
    session(request).add(job)
    return job


def test_a_batch_is_run_looked_at_corrected_and_applied_again(site: Site, request_: Any, tmp_path: Path):
    do, job = JobHandlers(site, OUTPUTS), fill(site, request_, tmp_path)
    started = do.begin(request_, job.id, "", *values())
    assert len(started) == len(fields(Running)) + 2
    wait_for(lambda: job.state == "done")
    ticked = do.tick(request_, job.id, "all", "face")
    assert len(ticked) == len(fields(Running)) + len(fields(Results))
    assert "1 of 1 photos · done" in ticked[0]
    assert "a.png" in do.show_only(request_, job.id, "nothing suspicious")
    assert "No photo is" in do.show_only(request_, job.id, "failed")
    assert "1 more than now" in do.move(request_, job.id, "face", 0.1)
    assert do.explore_kind(request_, job.id, "plate")[1] == 0.25
    text, _, value, *shown = do.correct(request_, event(number="0"), job.id)
    id, preset = shown[3:5]
    assert (text, value["id"], preset) == ("", id, "balanced")
    assert shown[5:] == values()  # its own settings, not those that the tab had
    PhotoHandlers(site).correct(request_, event(what="reject", region=FACE.id), id)
    _, card, told, face, plate = do.back(request_, job.id, "all")
    assert (face, plate) == (0.5, 0.25)
    assert told["counts"]["face"][0] == 1
    assert "No faces and 1 license plate hidden" in card
    assert job.records[0].decisions[0]["who"] == "ana"
    do.apply_again(request_, job.id, *values(0.1))
    wait_for(lambda: job.state == "done")
    assert job.summary.hidden == {"face": 1, "plate": 1}


def test_what_goes_wrong_with_a_batch_is_said(site: Site, request_: Any):
    do = JobHandlers(site, OUTPUTS)
    assert "Choose some photos first" in do.begin(request_, "", "", *values())[0]
    assert "no folder" in do.begin(request_, "", "/no/such/folder", *values())[0]
    ticked, again = do.tick(request_, "gone", "all", "face"), do.apply_again(request_, "x", *values())
    for answer in (do.halt(request_, "gone"), ticked, again):
        assert "no longer here" in answer[0]
    assert "no longer here" in do.show_only(request_, "gone", "all")
    assert len(do.correct(request_, event(number="x"), "gone")) == OUTPUTS + 2
    assert [v for v in do.back(request_, "", "all") if isinstance(v, str)] == []  # no batch is no problem
    assert "no longer here" in do.back(request_, "gone", "all")[1]
    assert len(do.walk(request_, event(id="gone", number=0, what="next"))) == OUTPUTS + 2
    assert len(do.restore(request_)) == len(fields(Running)) + len(fields(Results)) + 3 + 15
    assert len(PhotoHandlers(site).restore(request_)) == OUTPUTS


def test_what_cannot_be_used_is_said_beside_its_field(site: Site, request_: Any, tmp_path: Path):
    job, good = fill(site, request_, tmp_path), values()
    wrong = {6: ("reddish", "black"), 12: ("no+such++thing", Settings().face_detector)}
    for place, (typed, last) in wrong.items():
        given = [*good[:place], typed, *good[place + 1 :]]
        for do in (JobHandlers(site, OUTPUTS).check, PhotoHandlers(site).look_again):
            answer = do(request_, job.id if do.__name__ == "check" else "", *given)[-5:]
            assert last in answer, do
            assert sum(isinstance(a, str) and "The last value is back" in a for a in answer) == 1
    assert all(a == "" or not isinstance(a, str) for a in JobHandlers(site, OUTPUTS).check(request_, "", *good))


def test_other_photos_instead_of_more(site: Site, request_: Any, tmp_path: Path):
    do, job = JobHandlers(site, OUTPUTS), fill(site, request_, tmp_path)
    answer = do.clear(request_, job.id)
    assert len(answer) == len(fields(Running)) + len(fields(Results)) + 1
    assert job.closed
    assert do.ready(event(id="1", photos=2))[:2] == ("1", "")
    assert do.use("plate", 0.1, 0.5, 0.25) == (0.5, 0.1)
