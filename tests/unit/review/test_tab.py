"""What the Review tab's handlers do, without Gradio."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from anonymize import records
from anonymize.records import Header, Record
from anonymize.regions import Region
from anonymize.settings import Settings
from review.reviews import Reviews, User
from review.tab import ReviewHandlers

SETTINGS = Settings().with_kind("face", threshold=0.5).with_kind("plate", threshold=0.25)
FACE = Region("face", (20, 20, 60, 70), 0.9, {"one": 0.9})
FAINT = Region("plate", (90, 60, 130, 75), 0.2, {"two": 0.2})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    found = {"a.png": (FACE,), "b.png": (FAINT,)}
    known = [Record(name, "00", 160, 100, regions, {"one": {}}) for name, regions in found.items()]
    for record in known:
        (tmp_path / "in" / record.path).touch()
    records.write(tmp_path / "r.jsonl", Header(str(tmp_path / "in"), SETTINGS), known)
    return tmp_path / "r.jsonl"


def handlers(own_machine: bool = True, read_only: bool = False) -> ReviewHandlers:
    return ReviewHandlers(Reviews(), lambda _: User("key", "ana"), lambda _: [], own_machine, read_only)


def opened(do: ReviewHandlers, path: Path) -> tuple[str, dict[str, Any]]:
    value, side, name, face, plate, explored = do.begin(None, None, str(path))  # type: ignore[arg-type]
    assert "0 of 2 approved" in side
    assert (face, plate) == (0.5, 0.25)
    assert "| plate, now |" in explored
    return name, value


def send(do: ReviewHandlers, name: str, value: dict[str, Any], what: str, **more: Any) -> dict[str, Any]:
    event = SimpleNamespace(_data={"what": what, "photo": value["photo"], "hash": value["hash"], **more})
    shown: dict[str, Any] = do.decide(None, event, name)[0]  # type: ignore[arg-type]
    return shown


def test_a_photo_is_corrected_approved_and_the_next_one_comes(path: Path):
    do = handlers()
    name, value = opened(do, path)
    assert value["photo"] == "b.png"  # the riskiest
    value = send(do, name, value, "accept", region=FAINT.id)
    assert [r["state"] for r in value["regions"]] == ["accepted"]
    value = send(do, name, value, "add", kind="face", box=[10, 10, 30, 30])
    assert [r["state"] for r in value["regions"]] == ["manual", "accepted"]
    value = send(do, name, value, "undo")
    value = send(do, name, value, "approve")
    assert (value["photo"], value["text"]) == ("a.png", "Approved: b.png.")
    value = send(do, name, value, "flag")
    assert "Nothing is left to review" in value["text"]
    _, known = records.read(path)
    assert [d["who"] for d in known["b.png"].decisions] == ["ana"] * 4
    assert (known["a.png"].review, known["b.png"].review) == ("flagged", "approved")


def test_what_is_stale_or_makes_no_sense_is_a_problem_and_changes_nothing(path: Path):
    do = handlers()
    name, value = opened(do, path)
    before = path.read_bytes()
    wrong = {"accept": {"region": "gone"}, "fly": {}, "move": {"region": FAINT.id}, "add": {"box": 7}}
    for what, more in wrong.items():
        assert send(do, name, value, what, **more)["problem"], what
    assert "changed meanwhile" in send(do, name, {**value, "hash": "other"}, "approve")["problem"]
    assert do.act(None, "no such", {"what": "next"})[0]["problem"]  # type: ignore[arg-type]
    assert path.read_bytes() == before


def test_other_thresholds_make_approvals_pending(path: Path):
    do = handlers()
    name, value = opened(do, path)
    send(do, name, value, "approve")
    assert "| plate, then | 0.1 | 1 | 1 |" in do.explore(None, name, 0.5, 0.1)  # type: ignore[arg-type]
    value, side, _ = do.use_thresholds(None, name, 0.5, 0.1)  # type: ignore[arg-type]
    assert "0 of 2 approved" in side


def test_a_sample_is_only_looked_at(path: Path):
    do = handlers(read_only=True)
    name, value = opened(do, path)
    before = path.read_bytes()
    assert send(do, name, value, "approve")["problem"]
    assert "problem" in do.export(None, name, False)  # type: ignore[arg-type]
    assert do.use_thresholds(None, name, 0.5, 0.1)[0]["problem"]  # type: ignore[arg-type]
    assert send(do, name, value, "next")["photo"] == "a.png"
    assert path.read_bytes() == before


def test_a_path_is_opened_on_ones_own_machine_only(path: Path):
    value = handlers(own_machine=False).begin(None, None, str(path))[0]  # type: ignore[arg-type]
    assert "Hide faces and plates in some photos first" in value["problem"]
