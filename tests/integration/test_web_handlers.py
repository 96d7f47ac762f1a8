"""What the handlers of the first two tabs do, without Gradio."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
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
from anonymize.web.tab_batch import BatchTab
from anonymize.web.tab_photo import PhotoTab
from tests.support.web_site import DOUBTFUL, FACE, PLATE, photo, wait_for


def values(face: float = 0.5) -> list[Any]:
    """Of `Controls.all`, in its order."""
    s = Settings()
    live = [face, 0.25, "inpaint", "blur", 6, 0.15, "black", 0, 0, 0, [], False]
    return [*live, s.face_detector, s.plate_detector, s.iou_threshold]


@pytest.fixture
def site(tmp_path: Path) -> Any:
    pool = DetectorPool(detectors=[FakeDetector([FACE, DOUBTFUL, PLATE])])
    jobs = JobQueue(pool)
    yield Site(Policy(), Sessions(tmp_path / "sessions", Policy()), pool, jobs)
    jobs.close()


@pytest.fixture
def do(site: Site) -> JobHandlers:
    with gr.Blocks():
        return JobHandlers(site, BatchTab(site.policy), PhotoTab(site), gr.Tabs())


@pytest.fixture
def one(do: JobHandlers) -> PhotoTab:
    return do.photo


@pytest.fixture
def request_(site: Site) -> Any:
    state = {"session": site.sessions.of(new_secret()), "user": "ana"}
    return SimpleNamespace(scope={"state": state})


def event(**data: Any) -> Any:
    return SimpleNamespace(_data=data)


def session(request: Any) -> Any:
    return request.scope["state"]["session"]


def test_a_photo_is_opened_shown_otherwise_and_corrected(one: PhotoTab, request_: Any):
    path = photo(session(request_).make_folder() / "photo.png")
    opened = event(id=path.parent.name, file="photo.png", name="a.png")
    shown = one.open(request_, opened, *values())
    value, id = shown[one.viewer], shown[one.current]
    assert id == path.parent.name
    assert "1 face and 1 license plate hidden" in shown[one.card]
    assert len(value["regions"]) == len(shown[one.table]) == 3
    assert one.adjust(request_, id, *values(0.1))[one.viewer]["version"] == value["version"] + 1
    sent = event(what="add", kind="face", box=[5, 5, 25, 25], photo=None)
    added = one.correct(request_, sent, id)[one.viewer]
    assert [r["state"] for r in added["regions"]].count("manual") == 1
    assert added["undo"]
    assert not one.correct(request_, event(what="undo"), id)[one.viewer]["undo"]
    again = one.look_again(request_, id, *values())[one.viewer]
    assert again["id"] == id


def test_what_goes_wrong_with_a_photo_is_said(one: PhotoTab, request_: Any):
    for given in ({}, {"id": "../x", "file": "photo.png"}, {"id": "0" * 32, "file": "photo.png"}):
        assert "no longer here" in one.open(request_, event(**given), *values())[one.viewer]["problem"]
    assert one.correct(request_, event(what="undo"), "gone")[one.viewer]["problem"]
    path = photo(session(request_).make_folder() / "photo.png")
    opened = event(id=path.parent.name, file="photo.png", name="a.png")
    assert "Threshold is at least" in one.open(request_, opened, *values(face=7.0))[one.viewer]["problem"]
    value = one.open(request_, opened, *values())[one.viewer]
    sent = event(what="move", region="gone", box=[1, 2, 3, 4])
    wrong = one.correct(request_, sent, value["id"])[one.viewer]
    assert wrong["problem"]
    assert wrong["regions"] == value["regions"]


def fill(site: Site, request: Any, tmp_path: Path) -> Job:
    job = Job("0" * 32, session(request).make_folder(), site.policy)
    job.take(photo(tmp_path / "a.png"), "a.png", 0)
    session(request).add(job)
    return job


def test_a_batch_is_run_looked_at_corrected_and_applied_again(
    site: Site, do: JobHandlers, one: PhotoTab, request_: Any, tmp_path: Path
):
    tab, job = do.tab, fill(site, request_, tmp_path)
    started = do.begin(request_, job.id, "", *values())
    assert started.keys() == {*tab.running, tab.id, tab.card}
    wait_for(lambda: job.state == "done")
    ticked = do.tick(request_, job.id, "all", "face", *values())
    assert ticked.keys() == set(tab.shown)
    assert "1 of 1 photos · done" in ticked[tab.progress]
    assert "a.png" in do.show_only(request_, job.id, "nothing suspicious")[tab.gallery]
    assert "No photo is" in do.show_only(request_, job.id, "failed")[tab.gallery]
    assert "1 more than now" in do.move(request_, job.id, "face", 0.1)[tab.moved]
    assert do.explore_kind(request_, job.id, "plate")[tab.probe] == 0.25
    opened = do.correct(request_, event(number="0"), job.id)
    assert opened.keys() == {tab.progress, do.tabs, *one.whole}
    id = opened[one.current]
    assert (opened[tab.progress], opened[one.viewer]["id"], opened[one.controls.preset]) == ("", id, "balanced")
    # its own settings, not those that the tab had
    assert [opened[control] for control in one.controls.all] == values()
    one.correct(request_, event(what="reject", region=FACE.id), id)
    back = do.back(request_, job.id, "all", *values(0.1))
    assert not back[tab.again]["visible"]  # the controls have the batch's own thresholds again
    assert (back[tab.controls.face], back[tab.controls.plate]) == (0.5, 0.25)
    assert back[tab.counts]["counts"]["face"][0] == 1
    assert "No faces and 1 license plate hidden" in back[tab.card]
    assert job.records[0].decisions[0]["who"] == "ana"
    do.apply_again(request_, job.id, *values(0.1))
    wait_for(lambda: job.state == "done")
    assert job.summary.hidden == {"face": 1, "plate": 1}
    assert do.restore(request_).keys() == set(tab.whole)


def test_settings_are_applied_where_they_are_others(site: Site, do: JobHandlers, request_: Any, tmp_path: Path):
    tab, job = do.tab, fill(site, request_, tmp_path)
    assert not do.differ(request_, job.id, *values(0.1))[tab.again]["visible"]  # nothing is done yet
    do.begin(request_, job.id, "", *values())
    wait_for(lambda: job.state == "done")
    others = [values(0.1), [*values()[:2], "pixelate", *values()[3:]], [*values()[:-1], 0.3], values(7.0)]
    for given, is_other in [(values(), False), *((o, True) for o in others), (values(), False)]:
        for answer in (do.differ(request_, job.id, *given), do.tick(request_, job.id, "all", "face", *given)):
            assert answer[tab.again]["visible"] == is_other
    assert not do.restore(request_)[tab.again]["visible"]
    job.state = "stopped"  # some photos may show what was chosen before
    assert do.differ(request_, job.id, *values())[tab.again]["visible"]
    job.state = "running"
    assert not do.differ(request_, job.id, *values(0.1))[tab.again]["visible"]
    assert not do.watch(job)[tab.again]["visible"]
    assert not do.differ(request_, "gone", *values())[tab.again]["visible"]


def test_what_goes_wrong_with_a_batch_is_said(do: JobHandlers, one: PhotoTab, request_: Any):
    tab = do.tab
    assert "Choose some photos first" in do.begin(request_, "", "", *values())[tab.progress]
    assert "no folder" in do.begin(request_, "", "/no/such/folder", *values())[tab.progress]
    ticked, again = do.tick(request_, "gone", "all", "face", *values()), do.apply_again(request_, "x", *values())
    opened = do.correct(request_, event(number="x"), "gone")
    for answer in (do.halt(request_, "gone"), ticked, again, opened):
        assert "no longer here" in answer[tab.progress]
    for answer in (do.audit(request_, "gone"), do.cancel_audit(request_, "gone")):
        assert "no longer here" in answer[tab.audited]
    for answer in (do.explore_kind(request_, "gone", "face"), do.move(request_, "gone", "face", 0.1)):
        assert "no longer here" in answer[tab.moved]
    assert "no longer here" in do.show_only(request_, "gone", "all")[tab.gallery]
    assert not [v for v in do.back(request_, "", "all").values() if isinstance(v, str)]  # no batch is no problem
    assert "no longer here" in do.back(request_, "gone", "all")[tab.card]
    walked = do.walk(request_, event(id="gone", number=0, what="next"))
    assert "no longer here" in walked[one.viewer]["problem"]
    for answer in (do.restore(request_), one.restore(request_)):
        assert list(answer.values()) == [gr.skip()]


def test_what_cannot_be_used_is_said_beside_its_field(
    site: Site, do: JobHandlers, one: PhotoTab, request_: Any, tmp_path: Path
):
    job, good = fill(site, request_, tmp_path), values()
    wrong = {6: ("reddish", "black"), 12: ("no+such++thing", Settings().face_detector)}
    for place, (typed, last) in wrong.items():
        given = [*good[:place], typed, *good[place + 1 :]]
        for answer in (do.check(request_, job.id, *given), one.look_again(request_, "", *given)):
            assert last in answer.values()
            assert sum("The last value is back" in str(a) for a in answer.values()) == 1
    assert set(do.check(request_, "", *good).values()) == {""}


def test_other_photos_instead_of_more(site: Site, do: JobHandlers, request_: Any, tmp_path: Path):
    tab, job = do.tab, fill(site, request_, tmp_path)
    answer = do.clear(request_, job.id)
    assert answer.keys() <= {*tab.shown, tab.id}
    assert answer[tab.id] == answer[tab.progress] == ""
    assert job.closed
    ready = do.ready(event(id="1", photos=2))
    assert (ready[tab.id], ready[tab.progress]) == ("1", "")
    assert do.use("plate", 0.1) == {tab.controls.plate: 0.1}
