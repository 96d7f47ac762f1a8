"""Clips on the page, without a browser: routes and handlers, who may see what, and what is written."""

from __future__ import annotations

import signal
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import gradio as gr
import numpy as np
import psutil
import pytest

from anonymize.audit import Options
from anonymize.errors import ClipError, WorkerError
from anonymize.settings import Settings
from anonymize.video.clip_records import read
from anonymize.video.passes import Step
from anonymize.web import clip_audit, clip_work
from anonymize.web.api_video import job_of
from anonymize.web.clip_session import ClipSession, open_upload
from anonymize.web.clip_view import frame_view, span, track_list
from anonymize.web.detector_pool import DetectorPool
from anonymize.web.job_queue import JobQueue
from anonymize.web.policy import Policy
from anonymize.web.sessions import GoneError, Sessions, new_secret
from anonymize.web.site import Site
from anonymize.web.tab_video import VideoTab
from tests.support import clips
from tests.support.web_site import another, visitor, wait_for

FORM = ["h264", "20", "keep"]


class Hold(clips.BarDetector):
    """Waits while `held`."""

    held = False

    def detect(self, images: Any) -> Any:
        wait_for(lambda: not self.held, 30)
        return super().detect(images)


def values(plate: float = 0.25, effect: str = "solid", **other: str) -> list[Any]:
    """Of `Controls.all` and `VideoTab.form`."""
    s = Settings()
    live = [0.5, plate, effect, effect, 6, 0.1, "ff00ff", 0, 0, 0, [], False]
    return [
        *live,
        s.face_detector,
        s.plate_detector,
        s.iou_threshold,
        *({**dict(zip("cqa", FORM, strict=True)), **other}).values(),
    ]


@pytest.fixture
def detector() -> Hold:
    return Hold()


@pytest.fixture
def site(tmp_path: Path, detector: Hold) -> Any:
    pool, jobs = DetectorPool(detectors=[detector]), None
    jobs = JobQueue(pool)
    sessions = Sessions(tmp_path / "sessions", Policy())
    yield Site(Policy(), sessions, pool, jobs)
    detector.held = False
    sessions.close()
    jobs.close()


@pytest.fixture
def request_(site: Site) -> Any:
    return SimpleNamespace(scope={"state": {"session": site.sessions.of(new_secret()), "user": "ana"}})


def page(site: Site) -> VideoTab:
    with gr.Blocks():
        return VideoTab(site)


def event(**data: Any) -> Any:
    return SimpleNamespace(_data=data)


def session(request: Any) -> Any:
    return request.scope["state"]["session"]


def added(request: Any, **options: Any) -> ClipSession:
    folder = session(request).make_folder()
    clip = open_upload(clips.make(folder / "clip.mp4", 30, **options), "drive.mp4", Policy())
    session(request).add(clip)
    return clip


def shown(frame: np.ndarray, index: int) -> str:
    """What a frame shows where `clips.picture` draws its bar."""
    height = len(frame)
    bar = frame[height // 4 : height // 2, 8 + 2 * index : 24 + 2 * index].reshape(-1, 3).mean(axis=0)
    return "bar" if (bar > 190).all() else "magenta" if bar[0] > 180 and bar[1] < 90 else "else"


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]


def test_a_clip_is_searched_written_corrected_and_written_again(site: Site, request_: Any, detector: Hold) -> None:
    do, clip = page(site), added(request_, audio=["aac"])
    answer = do.opened(request_, event(id=clip.id, index=0), "", *values())
    assert (answer[do.viewer]["id"], answer[do.current], answer[do.timer]["active"]) == (clip.id, clip.id, True)
    wait_for(lambda: clip.state == "done")
    answer = do.tick(request_, clip.id)
    value, card = answer[do.viewer], answer[do.card]
    assert not answer[do.timer]["active"]
    assert "No faces and 1 license plate hidden" in card
    assert f"videos/{clip.id}/clean?shows={clip.shows}" in card
    assert value["clean"] == f"videos/{clip.id}/watch?shows={clip.shows}"
    frames = decoded(clip.clean_file(clip.shows))
    assert [shown(f, i) for i, f in enumerate(frames)] == ["magenta"] * 30
    seen, first = detector.seen, clip.shows
    # What a person rejects is in the open, in every frame; nothing is searched again.
    assert clip.record is not None
    track = clip.record.tracks[0].id
    answer = do.correct(request_, event(what="reject", track=track), clip.id)
    assert answer[do.viewer]["clean"] == ""
    assert 'aria-disabled="true"' in answer[do.card]
    with pytest.raises(GoneError):
        clip.clean_file(clip.shows)
    wait_for(lambda: clip.state == "done")
    assert [shown(f, i) for i, f in enumerate(decoded(clip.clean_file(clip.shows)))] == ["bar"] * 30
    do.correct(request_, event(what="undo"), clip.id)
    wait_for(lambda: clip.state == "done")
    assert clip.shows == first
    assert detector.seen == seen


def test_settings_that_hide_the_same_write_nothing_anew_and_others_do(site: Site, request_: Any) -> None:
    do, clip = page(site), added(request_)
    do.opened(request_, event(id=clip.id), "", *values())
    wait_for(lambda: clip.state == "done")
    shows = clip.shows
    do.adjust(request_, clip.id, *values(plate=0.3))
    assert (clip.shows, clip.state) == (shows, "done")
    for other in (values(plate=0.95), values(effect="pixelate"), values(c="ffv1"), values(a="drop")):
        value = do.adjust(request_, clip.id, *other)[do.viewer]
        assert value["clean"] == ""
        wait_for(lambda: clip.state == "done")
        assert clip.clean is not None
    do.adjust(request_, clip.id, *values(c="ffv1"))
    wait_for(lambda: clip.state == "done")
    assert clip.clean_file(clip.shows).name == "drive-anonymized.mp4"
    assert clip.clean_file(clip.shows, played=True).name == "preview.mp4"  # no browser plays FFV1
    kept = do.adjust(request_, clip.id, *values(c="none"))
    assert "none" in kept[do.viewer]["problem"]
    assert clip.encoding.codec == "ffv1"


def test_it_is_stopped_and_goes_on(site: Site, request_: Any, detector: Hold) -> None:
    do, clip = page(site), added(request_)
    detector.held = True
    do.opened(request_, event(id=clip.id), "", *values())
    wait_for(lambda: clip.state == "searching")
    assert do.tick(request_, clip.id)[do.viewer]["before"] == ""
    do.choose(request_, event(what="stop", id=clip.id), clip.id)
    detector.held = False
    wait_for(lambda: clip.state == "stopped")
    do.adjust(request_, clip.id, *values(plate=0.3))  # what was stopped does not begin by itself
    assert do.tick(request_, clip.id)[do.viewer]["state"] == "stopped"
    do.choose(request_, event(what="start", id=clip.id), clip.id)
    wait_for(lambda: clip.state == "done")
    assert do.tick(request_, clip.id)[do.viewer]["clean"]


class Killing(clips.BarDetector):
    """Kills the process that reads the clip, once, in the middle of it."""

    signal = 0

    def detect(self, images: Any) -> Any:
        if self.signal and self.seen == 7:
            readers = [p for p in psutil.Process().children() if "anonymize.apart" in p.cmdline()]
            for process in readers:
                process.send_signal(self.signal)
            self.signal = 0
        return super().detect(images)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_clip_that_kills_what_reads_it_is_an_error_of_this_clip(tmp_path: Path, number: signal.Signals) -> None:
    detector = Killing()
    pool = DetectorPool(detectors=[detector])
    site = Site(Policy(), Sessions(tmp_path / "sessions", Policy()), pool, JobQueue(pool))
    visit = SimpleNamespace(scope={"state": {"session": site.sessions.of(new_secret()), "user": "ana"}})
    do, clip = page(site), added(visit)
    detector.signal = number
    do.opened(visit, event(id=clip.id), "", *values())
    wait_for(lambda: not clip.is_busy)
    assert job_of("", clip).state == "failed"
    assert "broke off on this one" in clip.problem
    assert number.name in clip.problem
    assert clip.clean is None
    assert not list(clip.folder.rglob("*.tmp"))  # a part of what a browser would have played
    do.choose(visit, event(what="start", id=clip.id), clip.id)  # the server lives, and tries it again when asked
    wait_for(lambda: clip.state == "done")
    assert [shown(f, i) for i, f in enumerate(decoded(clip.clean_file(clip.shows)))] == ["magenta"] * 30
    site.sessions.close()
    site.jobs.close()


def test_a_file_that_kills_what_opens_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: Any, **__: Any) -> None:
        raise WorkerError("it crashed (SIGSEGV)")

    monkeypatch.setattr(clip_work.WORKERS, "call", dies)
    with pytest.raises(ClipError, match="SIGSEGV"):
        open_upload(clips.make(tmp_path / "clip.mp4", 3), "a.mp4", Policy())


def test_what_was_asked_for_last_is_what_is_written(site: Site, request_: Any, detector: Hold) -> None:
    do, clip = page(site), added(request_)
    detector.held = True
    do.opened(request_, event(id=clip.id), "", *values())
    wait_for(lambda: clip.state == "searching")
    for effect in ("pixelate", "inpaint", "solid"):
        do.adjust(request_, clip.id, *values(effect=effect))
    detector.held = False
    wait_for(lambda: clip.state == "done")
    assert shown(decoded(clip.clean_file(clip.shows))[3], 3) == "magenta"
    restored = do.restore(request_)
    assert [restored[component] for component in do.chosen] == values()


def test_a_box_is_drawn_and_extended_through_the_clip(site: Site, request_: Any) -> None:
    do, clip = page(site), added(request_)
    do.opened(request_, event(id=clip.id), "", *values())
    wait_for(lambda: clip.state == "done")
    do.correct(request_, event(what="draw", kind="other", frame=10, box=[80, 50, 92, 60]), clip.id)
    assert clip.record is not None
    drawn = next(t for t in clip.record.tracks if t.status == "manual")
    do.correct(request_, event(what="extend", track=drawn.id, frame=0), clip.id)
    do.correct(request_, event(what="extend", track=drawn.id, frame=29, box=[60, 50, 72, 60]), clip.id)
    wait_for(lambda: clip.state == "done")
    frames = decoded(clip.clean_file(clip.shows))
    magenta = [f[55, x] for f, x in ((frames[0], 86), (frames[10], 86), (frames[29], 66))]
    assert all(p[0] > 180 and p[1] < 90 for p in magenta)
    assert frames[29][55, 90][1] > 90
    for wrong in (
        {"what": "draw", "frame": 99, "box": [1, 1, 9, 9]},
        {"what": "fly"},
        {"what": "extend", "track": "x"},
    ):
        assert do.correct(request_, event(**wrong), clip.id)[do.viewer]["problem"]


def test_where_to_look_first(site: Site, request_: Any) -> None:
    do, clip = page(site), added(request_)
    do.opened(request_, event(id=clip.id), "", *values(plate=0.95))
    wait_for(lambda: clip.state == "done")
    told = track_list(clip)
    assert told["hidden"] == sum(t["hidden"] for t in told["tracks"])  # none of them follow the same thing
    assert told["look"][0]["text"] == "Possible license plate not hidden, score 0.90"
    assert [(t["hidden"], t["first"], t["last"]) for t in told["tracks"]] == [(False, 0, 29)]
    assert told["times"] == {"first": 0.0, "step": pytest.approx(0.04)}
    (region,) = frame_view(clip, 4)["regions"]
    assert region["state"] == "suspect"
    assert "score 0.90 at best" in region["why"].lower()


def test_one_visitors_clip_is_nobody_elses(tmp_path: Path) -> None:
    with visitor(tmp_path / "data", detectors=[clips.BarDetector()]) as ana:
        data = clips.make(tmp_path / "a.mp4", 12).read_bytes()
        id = ana.post("/videos?name=a.mp4", content=data).json()["id"]
        guard: Any = ana.app
        own: ClipSession = next(s.things[id] for s in guard.sessions._by_key.values() if id in s.things)
        own.go_on(lambda: None)
        own.work(DetectorPool(detectors=[clips.BarDetector()]).predictor)
        assert own.state == "done"
        assert own.record is not None
        track = own.record.tracks[0].id
        paths = [
            "before.mp4", f"watch?shows={own.shows}", f"clean?shows={own.shows}", "record", "tracks.json",
            "frames/3.json", "frames/3-original.jpg", "frames/3-clean.jpg", f"thumbs/{track}.jpg",
        ]  # fmt: skip
        for path in paths:
            assert ana.get(f"/videos/{id}/{path}").status_code == 200, path
            assert another(ana).get(f"/videos/{id}/{path}").status_code == 404, path
        part = ana.get(f"/videos/{id}/watch?shows={own.shows}", headers={"Range": "bytes=10-19"})
        assert (part.status_code, len(part.content)) == (206, 10)
        assert ana.get(f"/videos/{id}/clean?shows=0000").status_code == 404
        assert ana.get(f"/videos/{id}/frames/12-clean.jpg").status_code == 400
        (tmp_path / "kept.jsonl").write_bytes(ana.get(f"/videos/{id}/record").content)
        assert read(tmp_path / "kept.jsonl")[1] == own.record
        folder = own.folder
        ana.post("/visit/forget")
        assert not folder.exists()
        assert ana.get(f"/videos/{id}/before.mp4").status_code == 404


def test_what_is_no_clip_is_refused_in_a_sentence(tmp_path: Path) -> None:
    rules = Policy(most_clip=200_000, most_clip_seconds=1.0, most_clips=2)
    with visitor(tmp_path / "data", rules, detectors=[clips.BarDetector()]) as ana:

        def told(name: str, data: bytes) -> tuple[int, str]:
            answer = ana.post(f"/videos?name={name}", content=data)
            return answer.status_code, answer.json().get("error", "")

        good = clips.make(tmp_path / "a.mp4", 8).read_bytes()
        assert told("a.txt", good)[0] == 415
        assert told("a.mp4", b"") == (415, "a.mp4: the file is empty.")
        assert told("a.mp4", b"no clip at all" * 20)[0] == 415
        assert told("a.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n")[0] == 415
        long = clips.make(tmp_path / "long.mp4", 40).read_bytes()
        assert told("long.mp4", long) == (
            415, "long.mp4: it is longer than the 1 seconds that this server takes; cut it into parts."
        )  # fmt: skip
        assert told("large.mp4", bytes(300_000))[0] == 413
        assert not list((tmp_path / "data").rglob("clip.*"))
        assert [told("a.mp4", good)[0] for _ in range(3)] == [200, 200, 413]


def test_a_clip_by_rest(tmp_path: Path) -> None:
    path = clips.make(tmp_path / "ride.mp4", 12)
    with visitor(tmp_path / "data", detectors=[clips.BarDetector()]) as ana:

        def send(data: dict[str, str], name: str = "ride.mp4") -> Any:
            return ana.post("/api/v1/videos", files={"video": (name, path.read_bytes())}, data=data)

        answer = send({"effect": "solid", "fill": "ff00ff", "quality": "10"})
        assert answer.status_code == 202
        at = f"/api/v1/videos/{answer.json()['id']}"
        wait_for(lambda: ana.get(at).json()["state"] in ("done", "failed"))
        told = ana.get(at).json()
        assert (told["state"], told["hidden"], told["frames"], told["problem"]) == ("done", {"plate": 1}, 12, "")
        (tmp_path / "clean.mp4").write_bytes(another(ana).get(f"{at}/clean").content)
        assert [shown(f, i) for i, f in enumerate(decoded(tmp_path / "clean.mp4"))] == ["magenta"] * 12
        (tmp_path / "kept.jsonl").write_bytes(ana.get(f"{at}/record").content)
        assert len(read(tmp_path / "kept.jsonl")[1].tracks) == 1
        assert ana.delete(at).status_code == 204
        assert [ana.get(f"{at}{rest}").status_code for rest in ("", "/clean", "/record")] == [404] * 3
        assert not list((tmp_path / "data").rglob("clip.*"))
        for data, name, status in (
            ({}, "a.txt", 415), ({"keep_metadata": "datetime"}, "a.mp4", 400), ({"codec": "none"}, "a.mp4", 400),
            ({"qualty": "3"}, "a.mp4", 422), ({"audio": "silence"}, "a.mp4", 422),
        ):  # fmt: skip
            wrong = send(data, name)
            assert (wrong.status_code, bool(wrong.json()["error"])) == (status, True)
        assert ana.get("/api/v1/videos").status_code == 405
    keys = Policy(api_keys=("k" * 20,))
    with visitor(tmp_path / "other", keys, detectors=[clips.BarDetector()]) as ana:
        assert ana.post("/api/v1/videos", files={"video": ("a.mp4", path.read_bytes())}).status_code == 401


def test_an_audit_of_a_clip_and_one_that_fails_is_taken_away(
    site: Site, request_: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANONYMIZE_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(clip_audit, "OPTIONS", Options(is_looking=False, is_attacking=False))
    do, clip = page(site), added(request_)
    asked = event(what="audit", id=clip.id)
    assert "Wait until" in do.choose(request_, asked, clip.id)[do.viewer]["problem"]
    with pytest.raises(GoneError):
        clip.audit_zip()
    do.opened(request_, event(id=clip.id), "", *values())
    wait_for(lambda: not clip.is_busy)
    assert do.tick(request_, clip.id)[do.viewer]["audits"]
    do.choose(request_, asked, clip.id)
    wait_for(lambda: not clip.is_busy)
    assert (clip.state, clip.problem) == ("done", "")
    assert clip.audited is not None
    looked = clip.audited.looked_at
    assert clip.step == Step("audit", looked, looked)  # told after the last one
    clip.state = "auditing"
    value = do.tick(request_, clip.id)[do.viewer]
    assert f"{looked} of {looked} frames looked at" in value["said"]
    assert value["done"] == 1
    clip.state = "done"
    card = do.tick(request_, clip.id)[do.card]
    assert "Audit: no leak found" in card
    assert "All 30 frames were read" in card
    assert "Not checked:" in card
    assert "/clean?shows=" in card
    written = zipfile.ZipFile(clip.audit_zip()).namelist()
    assert written == ["audit.json", "certificate.html", "certificate.json", "report.html"]
    assert "Audit of the clip " in zipfile.ZipFile(clip.audit_zip()).read("report.html").decode()
    # Other settings: what was audited is another clip.
    do.adjust(request_, clip.id, *values(effect="pixelate"))
    assert "Audit:" not in do.tick(request_, clip.id)[do.card]
    wait_for(lambda: not clip.is_busy)
    assert clip.clean is not None
    bad, shows = clip.clean, clip.shows
    bad.write_bytes(clips.make(tmp_path / "open.mp4", 30, metadata={"comment": "12 Rose Street"}).read_bytes())
    do.choose(request_, asked, clip.id)
    wait_for(lambda: not clip.is_busy)
    answer = do.tick(request_, clip.id)
    value, card = answer[do.viewer], answer[do.card]
    assert clip.state == "failed"
    assert "found leaks" in value["problem"]
    assert "it failed, and cannot be downloaded" in card
    assert 'aria-disabled="true"' in card
    assert not bad.exists()
    with pytest.raises(GoneError):
        clip.clean_file(shows)
    do.choose(request_, event(what="start", id=clip.id), clip.id)  # the same is not written again
    wait_for(lambda: not clip.is_busy)
    assert clip.clean is None
    do.adjust(request_, clip.id, *values(effect="solid"))
    wait_for(lambda: not clip.is_busy)
    assert clip.clean is not None


def test_the_advice_of_an_audit_is_about_the_clip() -> None:
    card = clip_audit.card(clip_audit.ClipAudit("1", (), ("a face", "a plate"), [("Names", "none")], 9, 9), "a.zip")
    assert "draw a box around it (Correct)" in card
    assert "in review" not in card
    assert "<li>Names: none</li>" in card


def test_only_whose_machine_it_is_may_ask_for_an_audit(site: Site, request_: Any) -> None:
    do, clip = page(site), added(request_)
    do.opened(request_, event(id=clip.id), "", *values())
    wait_for(lambda: not clip.is_busy)
    clip.policy = Policy(public=True)
    assert not do.tick(request_, clip.id)[do.viewer]["audits"]
    assert do.choose(request_, event(what="audit", id=clip.id), clip.id)[do.viewer]["problem"]
    assert clip.state == "done"


def test_short_times_are_told_in_tenths() -> None:
    assert span(3.2, 3.9) == "0:03.2–0:03.9"
    assert span(0.0, 0.0) == "0:00.0"
    assert span(59.96, 60.04) == "0:59.9–1:00.0"
    assert span(3.0, 75.5) == "0:03–1:15"
