"""Decisions: what people say about a photo's regions and about the photo. Pure; `book` keeps them in the records file.

A decision names who, when and what, and carries what it changed, so that undo is one more decision.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from anonymize.errors import RecordsError, SettingsError, StaleDecisionError, UnknownNameError
from anonymize.records import Record
from anonymize.regions import Box, Point, Region
from anonymize.settings import Settings


def status(record: Record, settings: Settings) -> str:
    """ "approved" | "flagged" | "error" | "pending": an approval of other regions or settings is pending again."""
    if record.error:
        return "error"
    if record.review == "flagged":
        return "flagged"
    return "approved" if record.is_approved(settings) else "pending"


def gate(settings: Settings, allow_unreviewed: bool = False) -> Callable[[Record], str | None]:
    """For Engine.export: why a photo may not go out, or None. A flagged photo never goes out."""

    def reason(record: Record) -> str | None:
        state = status(record, settings)
        if state == "approved" or state == "error" or (allow_unreviewed and state == "pending"):
            return None  # a photo with an error has no output anyway, and counts as failed
        if record.review == "approved":
            return "its regions or the settings changed after it was approved"
        return "flagged" if state == "flagged" else "not approved"

    return reason


# Each action: (record, its arguments) -> the region before, the region after; None where there is none.
Change = tuple[Region | None, Region | None]


def _find(record: Record, region: str) -> Region:
    for r in record.regions:
        if r.id == region:
            return r
    raise StaleDecisionError(f"{record.path} has no region {region!r} (any more)")


def _accept(record: Record, *, region: str) -> Change:
    r = _find(record, region)
    return r, r.replace(status="accepted")


def _reject(record: Record, *, region: str) -> Change:
    r = _find(record, region)
    return r, r.replace(status="rejected")


def _reset(record: Record, *, region: str) -> Change:
    r = _find(record, region)
    return r, r.replace(status="auto" if r.detector_scores else "manual")


def _set_kind(record: Record, *, region: str, kind: str) -> Change:
    r = _find(record, region)
    # A person who names a kind says that the region is one: it counts whatever the threshold.
    return r, r.replace(kind=kind, status="manual" if r.status == "manual" else "accepted")


def _move(record: Record, *, region: str, box: Box, corners: Sequence[Point] | None = None) -> Change:
    r = _find(record, region)
    # Where a person put the box, landmarks and corners of the earlier one no longer lie.
    moved = r.replace(box=box, corners=corners, landmarks=None)
    return r, _inside(record, moved.replace(status="manual" if r.status == "manual" else "accepted"))


def _add(record: Record, *, box: Box, kind: str, corners: Sequence[Point] | None = None, region: str = "") -> Change:
    if any(r.id == region for r in record.regions):
        raise SettingsError(f"{record.path} already has a region {region!r}")
    drawn = Region(kind, box, corners=corners, status="manual", id=region)  # type: ignore[arg-type]
    taken = {r.id for r in record.regions}
    number = 2
    while drawn.id in taken:  # the same box drawn over an automatic one
        drawn = drawn.replace(id=f"{drawn.id.partition('-')[0]}-{number}")
        number += 1
    return None, _inside(record, drawn)


def _inside(record: Record, region: Region) -> Region:
    """Cut at the photo's edges.

    Raises:
        SettingsError: nothing of it lies in the photo, so it would hide nothing.
    """
    inside = region.clip(record.width, record.height)
    if inside.area <= 0:
        raise SettingsError(f"the box {region.box} has no part in the photo ({record.width}x{record.height} px)")
    return inside


ON_REGIONS: Mapping[str, Callable[..., Change]] = {
    "accept": _accept,
    "reject": _reject,
    "reset": _reset,
    "set-kind": _set_kind,
    "move": _move,
    "add": _add,
}
ON_PHOTOS = ("approve", "flag", "unflag", "undo")
ACTIONS = (*ON_REGIONS, *ON_PHOTOS)


def _put(record: Record, before: Region | None, after: Region | None) -> Record:
    """The record with one region replaced in place, put first (drawn: score 1), or taken away."""
    if before is None and after is not None:
        return record.replace(regions=(after, *record.regions))
    kept = [after if before is not None and r.id == before.id else r for r in record.regions]
    return record.replace(regions=tuple(r for r in kept if r is not None))


def standing(record: Record) -> list[int]:
    """Indices of the decisions that no later one undid, oldest first (undos themselves left out)."""
    undone = {d["undoes"] for d in record.decisions if d["what"] == "undo"}
    return [i for i, d in enumerate(record.decisions) if d["what"] != "undo" and i not in undone]


def decide(record: Record, what: str, *, who: str, settings: Settings, when: str = "", **given: Any) -> Record:
    """The record after one more decision. Pure; `Book.decide` writes it down.

    Args:
        what: one of ACTIONS. accept, reject, reset: `region` (its id). set-kind: `region`, `kind`. move: `region`,
            `box`, optionally `corners`. add: `box`, `kind`, optionally `corners`. approve, flag, unflag, undo: nothing;
            all: optionally `note`, a person's own words.
        who: the person's name. when: ISO 8601; now when not given.
        settings: those that an approval binds to.

    Raises:
        UnknownNameError: no such action. StaleDecisionError: the region is gone, or someone else decided after `who`.
        RecordsError: an approval of a photo with an error; an undo of nothing. SettingsError: a value is wrong.
    """
    if what not in ACTIONS:
        raise UnknownNameError("decision", what, ACTIONS)
    note = given.pop("note", None)
    decision: dict[str, Any] = {
        "who": who,
        "when": when or datetime.now(UTC).isoformat(timespec="milliseconds"),
        "what": what,
        **({"note": str(note)} if note else {}),
    }
    state = {"review": record.review, "approved_hash": record.approved_hash}
    if what in ON_REGIONS:
        try:
            before, after = ON_REGIONS[what](record, **given)
        except TypeError as e:
            raise SettingsError(f"{what}: {e}") from e
        record = _put(record, before, after)
        decision |= {"region": (after or before).id}  # type: ignore[union-attr]
        decision |= {"before": before and before.to_dict(), "after": after and after.to_dict()}
    elif given:
        raise SettingsError(f"{what} takes no {', '.join(given)}")
    elif what == "undo":
        record, decision["undoes"] = _undo(record, who)
    else:
        if what == "approve" and record.error:
            raise RecordsError(f"{record.path} cannot be approved: {record.error}")
        decision |= {"state": state}
        if what == "approve":
            record = record.replace(review="approved", approved_hash=record.approval_hash(settings))
        else:
            record = record.replace(review="flagged" if what == "flag" else "pending", approved_hash="")
    return record.replace(decisions=(*record.decisions, decision))


def _undo(record: Record, who: str) -> tuple[Record, int]:
    left = standing(record)
    if not left:
        raise RecordsError(f"{record.path}: there is no decision to undo")
    last = record.decisions[left[-1]]
    if last["who"] != who:
        raise StaleDecisionError(f"{record.path}: the last decision is {last['who']}'s ({last['what']}), not {who}'s")
    if "state" in last:
        return record.replace(**last["state"]), left[-1]
    before, after = (r and Region.from_dict(r) for r in (last["before"], last["after"]))
    if after is not None and after not in record.regions:
        raise StaleDecisionError(f"{record.path}: the region changed since, so {last['what']} cannot be undone")
    if before is None:
        return _put(record, after, None), left[-1]
    return _put(record, before, before), left[-1]


def person() -> str:
    """Who decides where nobody is logged in: the account's name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's number without a name
        return f"uid {os.getuid()}"


def last_words(record: Record) -> str:
    if not record.decisions:
        return ""
    last = record.decisions[-1]
    return f" (last: {last['what']} by {last['who']}, {last['when']})"
