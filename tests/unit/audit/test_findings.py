"""What an audit found, in words."""

from __future__ import annotations

from anonymize.audit import Audit, Finding, PhotoAudit

OPEN = Finding("recognizable", "leak", "a face can be recognized")
CHANGED = Finding("memory", "leak", "the file was changed")
LOOK = Finding("recognizable", "look", "this may be a face")


def audit(*photos: PhotoAudit) -> Audit:
    return Audit("out", "out", "", "", "1", "now", photos=list(photos))


def test_why_a_photo_failed_says_each_reason_once() -> None:
    failed = PhotoAudit("a.png", findings=[OPEN, CHANGED, OPEN, LOOK, OPEN])
    assert failed.why == "a face can be recognized (3 times); the file was changed"
    assert PhotoAudit("a.png", error="it is gone").why == "it is gone"
    assert PhotoAudit("a.png", findings=[LOOK]).why == ""


def test_checks_that_were_not_done_for_one_reason_are_said_together() -> None:
    found = audit()
    found.skipped |= {"plates": "not for clips", "unchanged": "no originals", "faces": "not for clips"}
    assert [reason for _, reason in found.not_done] == ["no originals", "not for clips"]
    assert found.not_done[1][0] == "Attack: a face recognizer; Attack: a plate reader"


def test_what_to_do_fits_what_is_to_be_looked_at() -> None:
    photo, clip = PhotoAudit("a.png", findings=[LOOK]), PhotoAudit("a.mp4", findings=[LOOK], is_clip=True)
    assert audit(photo, PhotoAudit("b.mp4", is_clip=True)).to_do.endswith("hide it in review and export again")
    assert audit(clip, PhotoAudit("b.png")).to_do.endswith("hide it in review and write the clip again")
    assert audit(photo, clip).to_do.endswith("hide it in review and export or write the clip again")


def test_the_surest_is_looked_at_first_and_what_the_detection_left_open_last() -> None:
    def look(name: str, check: str, score: float | None) -> PhotoAudit:
        return PhotoAudit(name, findings=[Finding(check, "look", "a face", score=score)])

    found = audit(
        look("open", "open", 0.9), look("faint", "recognizable", 0.2), PhotoAudit("well"),
        look("sure", "recognizable", 0.8), look("fact", "names", None),
    )  # fmt: skip
    assert found.to_look_at == ["fact", "sure", "faint", "open"]
