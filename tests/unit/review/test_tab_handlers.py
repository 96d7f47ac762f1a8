"""What the Review tab asks for, and what it is answered."""

from __future__ import annotations

import io
import json
import re
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import ExifTags, Image

from anonymize import records
from anonymize.images import sha256
from anonymize.records import Header, Record
from anonymize.regions import Region
from anonymize.settings import Settings
from review import photos
from review.reviews import Reviews, User
from review.tab_handlers import PREPARING, ReviewHandlers, Source, shared

SETTINGS = Settings().with_kind("face", threshold=0.5).with_kind("plate", threshold=0.25)
FACE = Region("face", (20, 20, 60, 70), 0.9, {"one": 0.9})


def faint(score: float) -> Region:
    return Region("plate", (90, 60, 130, 75), score, {"two": score})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Four photos, the riskiest first: b, c, d have a plate that may have been missed; a has nothing suspicious."""
    (tmp_path / "in").mkdir()
    found = {"a.png": (FACE,), "b.png": (faint(0.24),), "c.png": (faint(0.2),), "d.png": (faint(0.15),)}
    known = [Record(name, "00", 160, 100, regions, detectors={"one": {}}) for name, regions in found.items()]
    for record in known:
        (tmp_path / "in" / record.path).touch()
    records.write(tmp_path / "r.jsonl", Header(str(tmp_path / "in"), SETTINGS), known)
    return tmp_path / "r.jsonl"


class Tab:
    """A visitor's tab: each request names what the last answer showed."""

    def __init__(
        self,
        path: Path,
        reviews: Reviews | None = None,
        user: str = "ana",
        sources: Sequence[Source] | None = None,
        **options: Any,
    ) -> None:
        own, there = {"own_machine": True, **options}, sources or [shared(path, "r")]
        self.handlers = ReviewHandlers(
            reviews or Reviews(), lambda _: User(f"key {user}", user), lambda _: there, **own
        )
        self.status, self.page = 0, dict[str, Any]()
        self.open()

    def ask(self, what: str, /, **data: Any) -> dict[str, Any]:
        self.status, answer = self.handlers.answer(None, what, data)
        if "review" in answer:
            self.page = answer
        return answer

    def export(self) -> dict[str, Any]:
        """Of all photos, with an audit, which is waited for."""
        answer = self.ask("export", review=self.page["review"], unreviewed=True, audit=True)
        while "running" in answer:
            time.sleep(0.01)
            answer = self.ask("exported", review=self.page["review"])
        return answer

    def open(self, **data: str) -> dict[str, Any]:
        (batch,) = self.ask("batches")["batches"]
        return self.ask("open", batch=batch["id"], **data)

    @property
    def photo(self) -> str | None:
        return self.page["photo"] and self.page["photo"]["photo"]

    def decide(self, what: str, /, **more: Any) -> dict[str, Any]:
        given = {"review": self.page["review"], "photo": self.photo or "", "what": what}
        if what != "undo":
            given["hash"] = self.page["photo"]["hash"]
        return self.ask("decide", **{**given, **more})

    def go(self, what: str, photo: str = "") -> dict[str, Any]:
        return self.ask(what, review=self.page["review"], photo=photo or self.photo)


def statuses(path: Path) -> dict[str, str]:
    return {name: r.review for name, r in records.read(path)[1].items() if r.review != "pending"}


def test_a_photo_is_corrected_approved_and_the_next_one_comes(path: Path):
    tab = Tab(path)
    assert (tab.photo, tab.page["place"]) == ("b.png", 1)
    assert [i["photo"] for i in tab.page["list"]] == ["b.png", "c.png", "d.png", "a.png"]
    plate = tab.page["photo"]["regions"][0]["id"]
    tab.decide("accept", region=plate)
    assert [r["state"] for r in tab.page["photo"]["regions"]] == ["accepted"]
    tab.decide("add", kind="face", box=[10, 10, 30, 30])
    assert [r["state"] for r in tab.page["photo"]["regions"]] == ["manual", "accepted"]
    assert tab.page["place"] == 1  # a photo that is corrected keeps its place
    tab.decide("approve")
    assert (tab.photo, tab.page["text"], tab.page["progress"]["text"]) == (
        "c.png",
        "Approved: b.png",
        "1 of 4 reviewed",
    )
    tab.decide("flag")
    tab.decide("approve")
    assert (tab.photo, tab.decide("approve")["photo"]) == ("a.png", None)
    assert statuses(path) == {"b.png": "approved", "c.png": "flagged", "d.png": "approved", "a.png": "approved"}


def test_undo_goes_back_to_the_photo_that_it_undoes(path: Path):
    tab = Tab(path)
    tab.decide("add", kind="plate", box=[1, 1, 40, 20])
    tab.decide("approve")
    tab.decide("approve")
    assert tab.photo == "d.png"
    tab.decide("undo")  # nothing was decided on this one: the last decision is taken back, and its photo shown
    assert (tab.photo, tab.page["text"]) == ("c.png", "Undone: c.png")
    assert statuses(path) == {"b.png": "approved"}
    tab.decide("undo")
    assert (tab.photo, statuses(path)) == ("b.png", {})
    tab.decide("undo")
    assert (tab.photo, tab.page["photo"]["regions"][0]["state"]) == ("b.png", "suspect")
    before = path.read_bytes()
    assert tab.decide("undo")["error"] == "There is nothing of yours to undo."
    assert path.read_bytes() == before


def test_undo_of_a_photo_that_was_gone_back_to_is_of_that_photo(path: Path):
    tab = Tab(path)
    tab.decide("approve")
    tab.decide("approve")
    tab.go("show", "b.png")
    tab.decide("undo")
    assert (tab.photo, statuses(path)) == ("b.png", {"c.png": "approved"})


def test_what_others_decided_is_not_undone(path: Path):
    reviews = Reviews()
    Tab(path, reviews, "bob").decide("approve")
    tab = Tab(path, reviews)
    tab.go("show", "b.png")
    assert tab.decide("undo")["error"]
    assert statuses(path) == {"b.png": "approved"}


def test_an_approval_is_of_what_was_shown(path: Path):
    tab = Tab(path)
    seen = tab.page["photo"]["hash"]
    Tab(path, user="bob").decide("add", kind="face", box=[1, 1, 30, 30])
    answer = tab.decide("approve", hash=seen)
    assert (tab.status, "changed meanwhile" in answer["error"]) == (409, True)
    assert answer["photo"]["photo"] == "b.png"
    assert answer["photo"]["hash"] != seen  # what is there now is shown
    tab.ask("use", review=tab.page["review"], face=0.4, plate=0.25)
    assert "thresholds" in tab.decide("approve", photo="b.png", hash=answer["photo"]["hash"])["error"]
    assert tab.decide("approve", hash="")["error"]
    assert statuses(path) == {}


def test_walking_back_and_forth_decides_nothing(path: Path):
    tab = Tab(path)
    before = path.read_bytes()
    for photo in ("c.png", "d.png", "c.png", "a.png"):
        assert tab.go("show", photo)["photo"]["photo"] == photo
    assert tab.go("next")["photo"]["photo"] == "b.png"  # behind the last the first one comes
    assert tab.go("next")["photo"]["photo"] == "c.png"
    assert tab.go("show", "no.png")["error"]
    assert path.read_bytes() == before


def test_a_batch_is_opened_at_a_photo(path: Path):
    tab = Tab(path)
    assert tab.open(photo="d.png")["photo"]["photo"] == "d.png"
    assert tab.open(photo="no.png")["error"]


def test_on_ones_own_machine_nothing_is_kept_from_anybody(path: Path):
    """An earlier tab of the same person had the only photo that was left for ten minutes."""
    reviews = Reviews()
    Tab(path, reviews)
    assert Tab(path, reviews).photo == "b.png"


def test_elsewhere_each_person_has_a_photo_and_another_may_take_it_over(path: Path):
    reviews = Reviews()
    ana, bob = (Tab(path, reviews, user, own_machine=False) for user in ("ana", "bob"))
    assert (ana.photo, bob.photo) == ("b.png", "c.png")
    assert Tab(path, reviews, "ana", own_machine=False).photo == "b.png"  # ana's second tab is ana
    assert bob.page["list"][0]["elsewhere"] == "ana"
    for _ in range(3):
        bob.decide("approve")
    assert bob.photo is None  # what is left is open at ana's
    assert [i["elsewhere"] for i in bob.page["list"] if i["status"] == "pending"] == ["ana"]
    bob.go("show", "b.png")
    assert (bob.photo, "elsewhere" in bob.page["list"][0]) == ("b.png", False)
    assert ana.go("next")["photo"] is None
    assert ana.page["list"][0]["elsewhere"] == "bob"


def test_reasons_are_few_and_in_words_and_say_where(path: Path):
    many = [Region("plate", (40 * n, 5, 40 * n + 30, 18), 0.2 - n / 100, {"two": 0.2 - n / 100}) for n in range(4)]
    header, known = records.read(path)
    records.write(path, header, [known["b.png"].replace(regions=tuple(many)), *list(known.values())[2:]])
    reasons = Tab(path).page["photo"]["reasons"]
    assert len(reasons) == 3
    assert reasons[0]["text"].startswith("Possible plate, ")
    assert reasons[0]["text"].endswith(" %")
    assert reasons[0]["box"] == many[0].box
    assert (reasons[0]["region"], "threshold" in reasons[0]["why"]) == (many[0].id, True)


def test_pictures_that_come_next_are_named(path: Path):
    tab = Tab(path)

    def names() -> list[str]:
        return [address.rpartition("%2F")[2].removesuffix("&size=screen") for address in tab.page["ahead"]]

    assert names()[:3] == ["c.png", "d.png", "a.png"]
    tab.go("show", "d.png")
    assert "c.png" in names()  # going back, too


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_photo_comes_at_a_screen_s_size_and_whole_for_who_zooms_in(tmp_path: Path, orientation: int):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    picture = Image.new("RGB", (3000, 1500), "teal")
    picture.paste("white", (0, 0, 1500, 1500))
    picture.save(tmp_path / "a.jpg", exif=exif)
    known = Record("a.jpg", "00", 3000, 1500, (), detectors={"one": {}})
    records.write(tmp_path / "r.jsonl", Header(str(tmp_path), SETTINGS), [known])
    review = Reviews().open(tmp_path / "r.jsonl")
    with Image.open(io.BytesIO(photos.answer(tmp_path / "a.jpg", review, is_small=True).body)) as small:
        assert small.size == ((2000, 1000) if orientation == 1 else (1000, 2000))
        assert small.getpixel((10, 10))[0] > 200  # upright: what was on the left is now above
        assert small.getpixel((small.width - 10, small.height - 10))[0] < 60
        assert not small.getexif()
    assert photos.answer(tmp_path / "a.jpg", review).path == tmp_path / "a.jpg"
    picture.resize((300, 150)).save(tmp_path / "b.jpg")
    assert photos.answer(tmp_path / "b.jpg", review, is_small=True).path == tmp_path / "b.jpg"


@pytest.mark.parametrize(
    ("what", "more"),
    [("accept", {"region": "gone"}), ("fly", {}), ("move", {"region": "x"}), ("add", {"box": [1, 2]})],
)
def test_what_makes_no_sense_is_an_error_and_changes_nothing(path: Path, what: str, more: dict[str, Any]):
    tab = Tab(path)
    before = path.read_bytes()
    assert tab.decide(what, **more)["error"]
    assert (tab.status, tab.photo) == (409, "b.png")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("what", "data", "status"),
    [
        ("decide", {"review": "r", "photo": "b.png", "what": "approve", "hsah": "x"}, 400),
        ("decide", {"review": "r", "photo": 7, "what": "approve"}, 400),
        ("decide", {"review": "r", "photo": "b.png"}, 400),
        ("explore", {"review": "r", "face": "low", "plate": 1.0}, 400),
        ("open", [], 400),
        ("open", {"scope": "x"}, 400),
        ("open", {"self": "x"}, 400),
        ("open", {"batch": "no such"}, 409),
        ("show", {"review": "no such", "photo": "b.png"}, 409),
        ("fly", {}, 404),
    ],
)
def test_odd_requests_are_refused(path: Path, what: str, data: Any, status: int):
    handlers = Tab(path).handlers
    found, answer = handlers.answer(None, what, data)
    assert (found, list(answer)) == (status, ["error"])


def test_other_thresholds_make_approvals_pending(path: Path):
    tab = Tab(path)
    tab.decide("approve")
    rows = tab.ask("explore", review=tab.page["review"], face=0.5, plate=0.1)["rows"]
    assert [(r["kind"], r["which"], r["regions"]) for r in rows[2:]] == [("plate", "now", 0), ("plate", "then", 3)]
    assert tab.ask("explore", review=tab.page["review"], face=0.5, plate=7.0)["error"]
    tab.ask("use", review=tab.page["review"], face=0.5, plate=0.1)
    assert tab.page["progress"]["text"] == "0 of 4 reviewed"
    assert tab.page["thresholds"] == {"face": 0.5, "plate": 0.1}


def test_a_box_and_its_reason_say_one_number(path: Path):
    tab = Tab(path)
    (reason, *_), regions = tab.page["photo"]["reasons"], {r["id"]: r for r in tab.page["photo"]["regions"]}
    assert f"{100 * regions[reason['region']]['sure']:.0f} %" in reason["text"]
    seen = tab.ask("show", review=tab.page["review"], photo="a.png")["photo"]["regions"][0]
    assert "sure" not in seen, "its score"


def test_a_box_says_one_number_in_one_photo_and_in_review(tmp_path: Path):
    """A chance where there is a reason to look at it, else its score."""
    from anonymize.web.photo_session import PhotoSession
    from anonymize.web.photo_view import view

    doubted = Region("plate", (20, 60, 60, 70), 0.26, {"one": 0.26, "two": 0.001})
    known = Record("a.png", "00", 160, 100, (FACE, faint(0.2), doubted), detectors={"one": {}})
    records.write(tmp_path / "r.jsonl", Header(str(tmp_path), SETTINGS), [known])
    (tmp_path / "a.png").touch()
    there = {r["id"]: r for r in Tab(tmp_path / "r.jsonl").page["photo"]["regions"]}
    display: Any = None
    photo = PhotoSession("1", "a.png", tmp_path / "a.png", tmp_path, known, display, SETTINGS, "ana")
    here = view(photo)["regions"]
    assert {r["id"]: r.get("sure") for r in here} == {id: r.get("sure") for id, r in there.items()}
    assert len({r.get("sure") for r in here}) == 3  # of the sure face, the suspected and the doubted plate
    suspected = next(r for r in here if r["state"] == "suspect")
    for shown in (suspected, there[suspected["id"]]):
        assert re.search(rf"Possible (license )?plate, {100 * suspected['sure']:.0f} %", shown["why"])
        assert "Score 0.20" in shown["why"]


def test_a_sample_is_only_looked_at(path: Path):
    tab = Tab(path, own_machine=False, read_only=True)
    before = path.read_bytes()
    assert tab.decide("approve")["error"]
    assert tab.decide("undo")["error"]
    assert tab.status == 403
    assert tab.ask("export", review=tab.page["review"])["error"]
    assert tab.ask("use", review=tab.page["review"], face=0.5, plate=0.1)["error"]
    assert tab.go("next")["photo"]["photo"] == "c.png"
    assert path.read_bytes() == before


def test_a_path_is_opened_on_ones_own_machine_only(path: Path):
    assert Tab(path).ask("open", records=f" {path} ")["photo"]["photo"] == "b.png"
    answer = Tab(path, own_machine=False).ask("open", records=str(path))
    assert answer == {"error": "That batch is not there."}


def test_a_batch_that_is_worked_on_opens_when_it_is_ready(path: Path):
    batch = Source("batch", "Batch 2", path, is_temporary=True, is_ready=False)
    sources = [shared(path, "r"), batch]
    tab = Tab(path, sources=sources)
    assert tab.ask("open", batch="batch") == {"preparing": PREPARING}
    assert tab.status == 200  # nothing failed
    sources[1] = replace(batch, is_ready=True)
    assert tab.ask("open", batch="batch")["photo"]["photo"] == "b.png"
    assert len(tab.ask("batches")["batches"]) == 2


def test_an_export_is_audited_when_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anonymize import images
    from anonymize.audit import second_look
    from anonymize.errors import AuditError

    monkeypatch.setenv("ANONYMIZE_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(second_look, "choose", lambda *_, **__: second_look.Looker((), {"none": "a test"}))
    monkeypatch.setattr("anonymize.audit.load_reader", lambda *_: (_ for _ in ()).throw(AuditError("a test")))
    (tmp_path / "real").mkdir()
    Image.new("RGB", (100, 80), "teal").save(tmp_path / "real" / "a.png")
    found = (Region("face", (10, 10, 30, 34), 0.9),)
    known = [Record("a.png", images.sha256(tmp_path / "real" / "a.png"), 100, 80, found, detectors={"one": {}})]
    records.write(tmp_path / "real.jsonl", Header(str(tmp_path / "real"), SETTINGS), known)
    tab = Tab(tmp_path / "real.jsonl")
    plain = tab.ask("export", review=tab.page["review"], unreviewed=True)
    assert not any("Audit" in line for line in plain["lines"])
    told = tab.export()
    assert "Audit of 1 photo: no leak found, which is no proof." in told["lines"], told
    assert any(line.endswith("report.html") for line in told["lines"])
    assert told["folder"].startswith(str(tmp_path))
    # A batch lies in a temporary folder, which says nothing to a person and goes with the page.
    batch = Source("batch", "Your batch", tmp_path / "real.jsonl", is_temporary=True)
    told = Tab(tmp_path / "real.jsonl", sources=[batch]).export()
    assert told["zip"]
    assert str(tmp_path) not in json.dumps(told)


def test_an_audited_export_says_how_far_it_is_and_can_be_canceled(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anonymize.audit import Audit, PhotoAudit

    begun, go_on = threading.Event(), threading.Event()

    def audit(*_: Any, progress: Any, stop: threading.Event, **__: Any) -> Audit:
        found = Audit("out", "out", "", "", "1", "now", photos=[PhotoAudit("a.png")])
        progress(found, 4)
        begun.set()
        assert go_on.wait(10)
        found.stopped = stop.is_set()
        return found

    monkeypatch.setattr("review.tab_view.audit_folder", audit)
    for name in "abcd":
        Image.new("RGB", (160, 100), "teal").save(path.parent / "in" / f"{name}.png")
    header, known = records.read(path)
    hashes = {r.path: sha256(path.parent / "in" / r.path) for r in known.values()}
    records.write(path, header, [r.replace(sha256=hashes[r.path]) for r in known.values()])
    tab = Tab(path)
    assert tab.ask("exported", review=tab.page["review"]) == {}
    assert "running" in tab.ask("export", review=tab.page["review"], unreviewed=True, audit=True)
    assert begun.wait(10)
    running = tab.ask("exported", review=tab.page["review"])["running"]
    assert running == {"text": "Looked at 1 of 4", "share": 0.25}
    assert "already" in tab.ask("export", review=tab.page["review"])["error"]
    assert "stopping" in tab.ask("cancel", review=tab.page["review"])["running"]["text"]
    go_on.set()
    while "running" in (told := tab.ask("exported", review=tab.page["review"])):
        time.sleep(0.01)
    assert "Audit of 1 photo, canceled before its end: no leak found, which is no proof." in told["lines"]
    assert tab.status == 200


def test_an_export_waits_for_that_of_no_other_review(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = path.with_name("copy.jsonl")
    copy.write_bytes(path.read_bytes())
    tab = Tab(path)
    other = tab.handlers.answer({}, "open", {"records": str(copy)})[1]["review"]
    begun, go_on = threading.Event(), threading.Event()

    def export(review: Any, *_: Any) -> dict[str, Any]:
        if review.name == other:
            return {"text": "written"}
        begun.set()
        return {"text": "waited"} if go_on.wait(10) else {"error": "nobody told it to go on"}

    monkeypatch.setattr("review.tab_handlers.export_approved", export)
    ask = partial(tab.handlers.answer, {}, "export")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, {"review": tab.page["review"]})
        assert begun.wait(10)
        assert "already" in ask({"review": tab.page["review"]})[1]["error"]
        assert ask({"review": other}) == (200, {"text": "written"})
        go_on.set()
        assert first.result() == (200, {"text": "waited"})
    assert ask({"review": tab.page["review"]})[0] == 200


def test_an_audited_export_that_fails_says_so(path: Path) -> None:
    path.with_name("r-approved").touch()  # a file where the folder should be
    assert "r-approved" in Tab(path).export()["error"]
