"""What people say about a photo or a clip: regions corrected, the whole approved or flagged. A record in, a record out.

Every change is one more decision, with who, when, and what it changed, so that undo is a decision too. A region that a
detector found keeps its box's score and its detectors' scores whatever a person decides, so a reset gives it back to
the threshold; one that a person drew has no detector scores, and goes away when it is rejected. What changes nothing is
no decision.
"""

from __future__ import annotations

import getpass
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from .errors import RecordsError, SettingsError, StaleDecisionError, UnknownNameError
from .records import Record, Reviewed
from .regions import Box, Point, Region, Status
from .settings import Settings

R = TypeVar("R", bound=Reviewed)


def accept(record: R, *, who: str, id: str, when: str = "", note: str = "") -> R:
    """Hide a region, or a clip's track in all its frames, whatever its score.

    Args:
        id: the region's or track's. who: the person's name.
        when: ISO 8601; now when not given. note: the person's own words. All functions here take these three.

    Raises:
        StaleDecisionError: it is not there (any more).
    """
    found = find(record, id)
    return record_change(record, "accept", who, found, found.replace(status=hidden_status(found)), when, note)


def reject(record: R, *, who: str, id: str, when: str = "", note: str = "") -> R:
    """Never hide it; what a person drew goes away."""
    found = find(record, id)
    after = None if found.status == "manual" else found.replace(status="rejected")
    return record_change(record, "reject", who, found, after, when, note)


def reset(record: R, *, who: str, id: str, when: str = "", note: str = "") -> R:
    """Let the threshold decide on it again; what a person drew stays."""
    found = find(record, id)
    after = found if found.status == "manual" else found.replace(status="auto")
    return record_change(record, "reset", who, found, after, when, note)


def set_kind(record: R, *, who: str, id: str, kind: str, when: str = "", note: str = "") -> R:
    """Say what it is; so it is one, and hidden whatever its score."""
    found = find(record, id)
    return record_change(
        record, "set-kind", who, found, found.replace(kind=kind, status=hidden_status(found)), when, note
    )


def move(
    record: Record,
    *,
    who: str,
    id: str,
    box: Box,
    corners: Sequence[Point] | None = None,
    when: str = "",
    note: str = "",
) -> Record:
    """Move or resize a region; from then on it is hidden whatever its score.

    Args:
        box: px of the photo, from any corner to the opposite one; cut at the photo's edges.

    Raises:
        SettingsError: less than one pixel of it lies in the photo.
    """
    r = find(record, id)
    # Where a person put the box, landmarks and corners of the earlier one no longer lie.
    moved = r.replace(box=in_order(box), corners=corners, landmarks=None, status=hidden_status(r))
    return record_change(record, "move", who, r, _inside(record, moved), when, note)


def add(
    record: Record,
    *,
    who: str,
    box: Box,
    kind: str,
    corners: Sequence[Point] | None = None,
    id: str = "",
    when: str = "",
    note: str = "",
) -> Record:
    """Draw a region that was missed. The same box drawn twice is one.

    Args:
        box: as for `move`. id: the region's; made when not given.

    Raises:
        SettingsError: less than one pixel of it lies in the photo; the id is taken.
    """
    if id in {r.id for r in record.regions}:
        raise SettingsError(f"{record.path} already has a region {id!r}")
    drawn = Region(kind, in_order(box), corners=corners, status="manual", id=id)  # type: ignore[arg-type]
    return record_addition(record, "add", who, _inside(record, drawn), when, note)


def approve(record: R, *, who: str, settings: Settings, when: str = "", note: str = "") -> R:
    """Let a photo go out as it is; bound to its regions and these settings.

    Raises:
        RecordsError: the photo has an error.
    """
    if record.error:
        raise RecordsError(f"{record.path} cannot be approved: {record.error}")
    return _decide_review(
        record, "approve", who, when, note, review="approved", approved_hash=record.approval_hash(settings)
    )


def flag(record: R, *, who: str, when: str = "", note: str = "") -> R:
    """Keep a photo back, for somebody to look at."""
    return _decide_review(record, "flag", who, when, note, review="flagged", approved_hash="")


def unflag(record: R, *, who: str, when: str = "", note: str = "") -> R:
    """Put a flagged photo back into the queue."""
    return _decide_review(record, "unflag", who, when, note, review="pending", approved_hash="")


def undo(record: R, *, who: str, when: str = "", note: str = "") -> R:
    """Take the last decision that stands back.

    Raises:
        RecordsError: there is none. StaleDecisionError: it is another person's, or the region changed since.
    """
    left = standing(record)
    if not left:
        raise RecordsError(f"{record.path}: there is no decision to undo")
    last = record.decisions[left[-1]]
    if last["who"] != who:
        raise StaleDecisionError(f"{record.path}: the last decision is {last['who']}'s ({last['what']}), not {who}'s")
    if "state" in last:
        record = record.replace(**last["state"])
    else:
        there = next((p for p in record.parts if p.id == last[record.PART]), None)
        before, after = (record.restore_part(said, there) for said in (last["before"], last["after"]))
        if there != after:
            raise StaleDecisionError(
                f"{record.path}: the {record.PART} changed since, so {last['what']} cannot be undone"
            )
        record = record.put(after, before)
    return append_decision(record, "undo", who, when, note, undoes=left[-1])


OF_WHOLE: Mapping[str, Callable[..., Record]] = {"approve": approve, "flag": flag, "unflag": unflag, "undo": undo}
ACTIONS: Mapping[str, Callable[..., Record]] = {
    "accept": accept, "reject": reject, "reset": reset, "set-kind": set_kind, "move": move, "add": add, **OF_WHOLE,
}  # fmt: skip


def decide(
    record: R,
    what: str,
    *,
    who: str,
    settings: Settings,
    actions: Mapping[str, Callable[..., Any]] = ACTIONS,
    **given: Any,
) -> R:
    """One of ACTIONS by its name, as forms, keys and commands have it.

    Args:
        settings: those that an approval binds to. given: the action's other arguments.
        actions: those of a clip are others.

    Raises:
        UnknownNameError: no such action. SettingsError: arguments that it does not take. Else as the action.
    """
    if what not in actions:
        raise UnknownNameError("decision", what, actions)
    if what == "approve":
        given["settings"] = settings
    try:
        inspect.signature(actions[what]).bind(record, who=who, **given)
    except TypeError as e:
        raise SettingsError(f"{what}: {e}") from e
    return actions[what](record, who=who, **given)


def parse(
    data: Mapping[str, Any], actions: Mapping[str, Callable[..., Any]] = ACTIONS, part: str = Record.PART
) -> tuple[str, dict[str, Any]]:
    """A correction as the picture editor sends it: the action's name and its arguments, for `decide`.

    Args:
        actions, part: of a clip others, and a "track".

    Raises:
        SettingsError: it is none.
    """
    what = str(data.get("what"))
    if what not in actions:
        raise UnknownNameError("decision", what, actions)
    given: dict[str, Any] = {}
    if what not in OF_WHOLE:
        given = {into: str(data[name]) for name, into in ((part, "id"), ("kind", "kind")) if name in data}
    if "box" in data:
        try:
            given["box"] = tuple(round(float(v), 2) for v in data["box"])
        except (TypeError, ValueError, OverflowError) as e:
            raise SettingsError(f"a box is four numbers; received {data['box']!r}") from e
    return what, given


def find(record: Reviewed, id: str) -> Any:
    """The region, or the clip's track, with this id.

    Raises:
        StaleDecisionError: it is not there (any more).
    """
    for part in record.parts:
        if part.id == id:
            return part
    raise StaleDecisionError(f"{record.path} has no {record.PART} {id!r} (any more)")


def standing(record: Reviewed) -> list[int]:
    """Indices of the decisions that no later one undid, oldest first (undos themselves left out)."""
    undone = {d["undoes"] for d in record.decisions if d["what"] == "undo"}
    return [i for i, d in enumerate(record.decisions) if d["what"] != "undo" and i not in undone]


def status(record: Reviewed, settings: Settings) -> str:
    """ "approved" | "flagged" | "error" | "pending": an approval of other regions or settings is pending again."""
    if record.error:
        return "error"
    if record.review == "flagged":
        return "flagged"
    return "approved" if record.is_approved(settings) else "pending"


def gate(settings: Settings, allow_unreviewed: bool = False) -> Callable[[Reviewed], str | None]:
    """For an export: why a photo may not go out, or None. A flagged photo never goes out."""

    def reason(record: Reviewed) -> str | None:
        state = status(record, settings)
        if state == "approved" or state == "error" or (allow_unreviewed and state == "pending"):
            return None  # a photo with an error has no output anyway, and counts as failed
        if record.review == "approved":
            return "its regions or the settings changed after it was approved"
        return "flagged" if state == "flagged" else "not approved"

    return reason


def person() -> str:
    """Who decides where nobody is logged in: the account's name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's number without a name
        return f"uid {os.getuid()}"


def last_words(record: Reviewed) -> str:
    """Who decided last, to go with an error; empty where nobody did."""
    if not record.decisions:
        return ""
    last = record.decisions[-1]
    return f" (last: {last['what']} by {last['who']}, {last['when']})"


def hidden_status(part: Any) -> Status:
    """The status of what a person wants hidden: what was drawn stays drawn."""
    return "manual" if part.status == "manual" else "accepted"


def in_order(box: Box) -> Box:
    if len(box) != 4:
        raise SettingsError(f"a box is four numbers (x1, y1, x2, y2); received {box}")
    x1, y1, x2, y2 = box
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _inside(record: Record, region: Region) -> Region:
    inside = region.clip(record.width, record.height)
    if inside.width < 1 or inside.height < 1:
        raise SettingsError("Draw the box over the photo, at least one pixel wide and high.")
    return inside


def record_change(record: R, what: str, who: str, before: Any, after: Any, when: str, note: str) -> R:
    """A part changed, added (no `before`) or taken away (no `after`); what changes nothing is no decision."""
    if before == after:
        return record
    change = {"before": record.describe_part(before, after), "after": record.describe_part(after, before)}
    return append_decision(
        record.put(before, after), what, who, when, note, **{record.PART: (after or before).id}, **change
    )


def record_addition(record: R, what: str, who: str, drawn: Any, when: str, note: str) -> R:
    """A region or track drawn, under an id of its own; the same one drawn twice is one."""
    taken, name, number = {p.id: p for p in record.parts}, drawn.id, 1
    while (there := taken.get(drawn.id)) is not None:
        if there == drawn:
            return record
        number += 1  # found here and not hidden, or moved away from here
        drawn = drawn.replace(id=f"{name}-{number}")
    return record_change(record, what, who, None, drawn, when, note)


def _decide_review(record: R, what: str, who: str, when: str, note: str, **state: str) -> R:
    earlier = {"review": record.review, "approved_hash": record.approved_hash}
    return append_decision(record.replace(**state), what, who, when, note, state=earlier)


def append_decision(record: R, what: str, who: str, when: str, note: str, **more: Any) -> R:
    """One more decision, whatever it changed."""
    decision = {"who": who, "when": when or datetime.now(UTC).isoformat(timespec="milliseconds"), "what": what}
    words = {"note": str(note)} if note else {}
    return record.replace(decisions=(*record.decisions, {**decision, **words, **more}))
