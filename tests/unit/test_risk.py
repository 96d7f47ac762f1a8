"""What may leak where a person changed what was found."""

from __future__ import annotations

import pytest

from anonymize.corrections import add, approve, move, reject, undo
from anonymize.hiding import warning_texts, warnings_of
from anonymize.predictor import DETECTION_VERSION
from anonymize.records import Record
from anonymize.regions import Box, Region
from anonymize.risk import SHOWN_REASON, SUSPICIOUS, misses, moved_off, risk_of, worth_a_look
from anonymize.settings import Settings

SETTINGS = Settings()
FACE = Region("face", (100, 100, 200, 200), 0.9, {"a": 0.9})
FAINT = Region("face", (300, 300, 320, 320), 0.05, {"a": 0.05})
RECORD = Record("a.jpg", "12", 800, 600, (FACE, FAINT), detectors={"a": {}}, detection=f"{DETECTION_VERSION}-d")


@pytest.mark.parametrize("box", [(400, 100, 500, 200), (100, 100, 200, 155)], ids=["away", "55 % left"])
def test_a_box_that_is_moved_off_what_was_found_is_a_reason_to_look(box: Box) -> None:
    before = risk_of(RECORD, SETTINGS)
    moved = move(RECORD, who="ana", id=FACE.id, box=box)
    (found, shared), *_ = moved_off(moved, SETTINGS)
    assert found.box == FACE.box
    assert shared < 0.9
    assert risk_of(moved, SETTINGS) > max(SUSPICIOUS, before)
    assert misses(moved, SETTINGS)[0].box == FACE.box
    assert "in the open now" in warning_texts(moved, SETTINGS)[0]


def test_what_is_still_hidden_or_was_decided_is_none() -> None:
    smaller = move(RECORD, who="ana", id=FACE.id, box=(104, 104, 196, 196))  # its padding hides the rest
    away = move(RECORD, who="ana", id=FACE.id, box=(400, 100, 500, 200))
    faint = move(RECORD, who="ana", id=FAINT.id, box=(500, 300, 520, 320))  # nobody hid it before
    drawn = add(RECORD, who="ana", box=(10, 10, 60, 60), kind="face")
    settled = [
        smaller, faint, undo(away, who="ana"), reject(away, who="ana", id=FACE.id),
        add(away, who="ana", box=FACE.box, kind="face"), RECORD,
        move(drawn, who="ana", id=drawn.regions[0].id, box=(300, 10, 360, 60)),
    ]  # fmt: skip
    for record in settled:
        assert moved_off(record, SETTINGS) == []
        assert warnings_of(record, SETTINGS) == []
    assert warnings_of(away, SETTINGS) == ["moved-off"]
    assert warnings_of(approve(away, who="ana", settings=SETTINGS), SETTINGS) == []


def test_what_is_worth_a_look_says_why_until_a_person_approved_it() -> None:
    moved = move(RECORD, who="ana", id=FACE.id, box=(400, 100, 500, 200))
    risk, reasons = worth_a_look(moved, SETTINGS) or (0.0, [])
    assert risk == risk_of(moved, SETTINGS)
    assert reasons[0] == misses(moved, SETTINGS)[0]
    assert reasons[0].sentence == f"face that its box was moved off, {100 * reasons[0].p:.0f} %: {reasons[0].text}"
    assert [r for r in reasons[1:] if r.p < SHOWN_REASON] == []
    for settled in (RECORD, moved.replace(error="gone"), approve(moved, who="ana", settings=SETTINGS)):
        assert worth_a_look(settled, SETTINGS) is None
    small = [Region("face", (60 * n, 10, 60 * n + 9, 19), 0.011, {"a": 0.011}) for n in range(200)]
    risk, reasons = worth_a_look(RECORD.replace(regions=tuple(small)), SETTINGS) or (0.0, [])
    assert (risk >= SUSPICIOUS, len(reasons)) == (True, 1)  # each is nothing by itself: the likeliest is told
