"""A public demo has a sample in Review, to be looked at; what visitors bring stays theirs."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

import app
from anonymize import FakeDetector, Predictor, Region
from anonymize.corrections import status
from anonymize.errors import SettingsError
from anonymize.web.detector_pool import DetectorPool
from anonymize.web.jobs import Job
from anonymize.web.policy import Policy, for_public
from review import sample
from review.queue import Queue
from review.reviews import User, registry
from review.store import ReviewStore
from review.tab_handlers import ReviewHandlers, Source
from tests.support.passwords import team, write_users
from tests.support.web_site import another, visitor, wait_for

FACE = Region("face", (40, 30, 80, 80), 0.9, {"fake": 0.9})
DOUBTFUL = Region("face", (120, 20, 150, 60), 0.2, {"fake": 0.2})
PUBLIC = for_public("127.0.0.1", space=False)


def test_the_sample_is_a_review_on_its_way_and_is_made_once(tmp_path: Path):
    predictor = Predictor(detectors=[FakeDetector([FACE, DOUBTFUL])])
    path = sample.make(tmp_path, predictor)
    store = ReviewStore(path)
    assert len(list(store)) == 7
    assert all(store.header.source(r).is_file() for r in store)
    assert str(Queue(store).progress()).startswith("2 of 7 approved, 5 pending")
    before = path.read_bytes(), [p.stat().st_mtime_ns for p in sorted((tmp_path / "photos").iterdir())]
    assert sample.make(tmp_path, predictor) == path
    again = ReviewStore(path)
    assert [status(r, again.settings) for r in again].count("approved") == 2
    assert before[1] == [p.stat().st_mtime_ns for p in sorted((tmp_path / "photos").iterdir())]


def test_a_public_demo_offers_it_to_everybody_to_look_at(tmp_path: Path):
    shared: list[Path] = []
    pool = DetectorPool(PUBLIC.defaults, detectors=[FakeDetector([FACE])])
    parts = app.review_parts(PUBLIC, shared)
    assert parts["mounts"]["/review"].read_only
    with app.sample(pool, tmp_path / "sample", shared), visitor(tmp_path / "data", PUBLIC, **parts) as ana:
        wait_for(lambda: shared)
        bob = another(ana)
        for client in (ana, bob):
            client.get("/")
            photo = tmp_path / "sample" / "photos" / "bus-a.jpg"
            shown = client.get("/review/media", params={"filepath": str(photo)})
            assert shown.headers["content-type"] == "image/jpeg"
        # Other tests of this process have reviews open, too.
        (review,) = (r for r in registry.of(User("anybody", "anybody")) if r.store.path == shared[0])
        (batch,) = ana.post("/review/api/batches", json={}).json()["batches"]
        shown = ana.post("/review/api/open", json={"batch": batch["id"]}).json()
        seen = {"review": shown["review"], "photo": shown["photo"]["photo"], "hash": shown["photo"]["hash"]}
        refused = ana.post("/review/api/decide", json={**seen, "what": "approve"})
        assert (refused.status_code, "only to be looked at" in refused.json()["error"]) == (403, True)
        elsewhere = {"origin": "https://evil.example"}
        assert ana.post("/review/api/decide", json={**seen, "what": "approve"}, headers=elsewhere).status_code == 403
        assert ana.get("/review/api/batches").status_code == 403  # what other sites' pages can ask for
        clean = ana.get("/review" + shown["photo"]["after"])
        assert clean.headers["content-type"] == "image/jpeg"
        assert ana.get("/review/clean", params={"review": shown["review"], "photo": "../x.jpg"}).status_code == 404
        refused = ana.get("/review/export", params={"name": review.name})
        assert (refused.status_code, "only to be looked at" in refused.text) == (403, True)


def test_only_the_named_users_of_a_team_may_open_fiftyone(tmp_path: Path):
    users = write_users(tmp_path / "users.txt", ana="a:long:password", bob="another password")

    def rules(*given: str) -> Policy:
        return app.policy(app.options(["--auth", str(users), *given]))

    assert [rules("--reviewers", "ana").may_review(name) for name in ("ana", "bob", None, "")] == [
        True,
        False,
        False,
        False,
    ]
    assert not rules().may_review("ana")
    assert Policy().may_review(None)  # the person at this machine
    assert not PUBLIC.may_review("ana")
    for wrong in (["--reviewers", "eve"], ["--reviewers", "ana", "--public"]):
        with pytest.raises(SettingsError, match="reviewers"):
            rules(*wrong)
    parts = app.review_parts(rules("--reviewers", "ana"), [])
    scope = {"session": SimpleNamespace(key="k"), "user": "bob"}
    assert not parts["mounts"]["/review"].who({"state": scope}).is_reviewer
    assert parts["mounts"]["/review"].who({"state": {**scope, "user": "ana"}}).is_reviewer


def test_the_link_to_fiftyone_is_for_who_may_follow_it(tmp_path: Path):
    path = sample.make(tmp_path, Predictor(detectors=[FakeDetector([FACE])]))

    def offered(is_reviewer: bool, owner: str | None = None, **options: bool) -> str:
        source = Source("s", "Sample", path, owner)
        user = User("key", "ana", is_reviewer)
        handlers = ReviewHandlers(registry, lambda _: user, lambda _: [source], **{"own_machine": False, **options})
        return str(handlers.answer(None, "open", {"batch": "s"})[1]["fiftyone"])

    assert offered(True) == "link"
    assert offered(False) == "nothing"
    assert offered(True, owner="key") == "nothing"
    assert offered(False, read_only=True) == "picture"


@pytest.mark.parametrize(
    ("policy", "owner"),
    [(PUBLIC, "their session"), (Policy(users=team(ana="a long password")), "their session"), (Policy(), None)],
)
def test_what_visitors_bring_is_opened_as_theirs_alone(policy: Policy, owner: str | None, tmp_path: Path):
    """On a public demo and a team's server batches have an owner, and an owned review never reaches FiftyOne."""
    job = SimpleNamespace(id="job 1", records=[1], output=tmp_path, state="done", made=1.0)
    session = SimpleNamespace(key="their session", of_kind=lambda kind: [job] if kind is Job else [])
    shared, own = app.sources_of(policy, [tmp_path / "Sample.jsonl"], session)
    assert (shared.label, shared.records, shared.owner) == ("Sample", tmp_path / "Sample.jsonl", None)
    assert own == Source("job 1", "Batch 1: 1 photo", tmp_path / "records.jsonl", owner, is_temporary=True)


def test_what_may_be_opened_can_be_told_apart(tmp_path: Path):
    """Sessions give what was used last at the end."""
    first, second, busy = (
        SimpleNamespace(id=f"job {n}", records=[1, 2], output=tmp_path / str(n), state=state, made=float(n))
        for n, state in enumerate(("done", "stopped", "running"))
    )
    session = SimpleNamespace(key="k", of_kind=lambda _: [second, busy, first])
    shared = [tmp_path / "may" / "records.jsonl", tmp_path / "june" / "records.jsonl", tmp_path / "other.jsonl"]
    found = app.sources_of(Policy(), shared, session)
    assert [s.label for s in found] == [
        "may/records", "june/records", "other", "Batch 1: 2 photos", "Batch 2: 2 photos", "Batch 3"
    ]  # fmt: skip
    assert [s.is_ready for s in found] == [True] * 5 + [False]  # while it grows, nobody opens it
    assert found[3].records == tmp_path / "0" / "records.jsonl"
    assert len({s.id for s in found}) == 6


def test_a_sample_that_cannot_be_made_is_said_and_the_server_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture):
    broken = SimpleNamespace(defaults=PUBLIC.defaults, predictor=lambda _: Predictor(detectors=[FakeDetector([])]))
    (tmp_path / "file").write_text("in its place")
    shared: list[Path] = []
    with app.sample(broken, tmp_path / "file", shared):
        wait_for(lambda: not any(t.name == "sample" for t in threading.enumerate()))
    assert shared == []
    assert "no sample for Review" in capsys.readouterr().err
