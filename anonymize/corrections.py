"""What people say about a photo: its regions corrected, the photo approved or flagged. Pure: a record in, a record out.

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
from typing import Any, Protocol, TypeVar

from .errors import RecordsError, SettingsError, StaleDecisionError, UnknownNameError
from .records import Record
from .regions import Box, Point, Region
from .settings import Settings


class Reviewed(Protocol):
    """What people review as a whole: a photo's record, or a clip's."""

    @property
    def path(self) -> str: ...
    @property
    def error(self) -> str | None: ...
    @property
    def review(self) -> str: ...
    @property
    def approved_hash(self) -> str: ...
    @property
    def decisions(self) -> tuple[Mapping[str, Any], ...]: ...
    def approval_hash(self, settings: Settings) -> str: ...
    def is_approved(self, settings: Settings) -> bool: ...
    def replace(self: R, **changes: Any) -> R: ...


R = TypeVar("R", bound=Reviewed)


def accept(record: Record, *, who: str, region: str, when: str = "", note: str = "") -> Record:
    """Hide a region whatever its score.

    Args:
        region: its id. who: the person's name.
        when: ISO 8601; now when not given. note: the person's own words. All functions here take these three.

    Raises:
        StaleDecisionError: the region is not there (any more).
    """
    r = find(record, region)
    return _decide_region(record, "accept", who, r, r.replace(status=_hidden_status(r)), when, note)


def reject(record: Record, *, who: str, region: str, when: str = "", note: str = "") -> Record:
    """Never hide a region; one that a person drew goes away."""
    r = find(record, region)
    after = None if r.status == "manual" else r.replace(status="rejected")
    return _decide_region(record, "reject", who, r, after, when, note)


def reset(record: Record, *, who: str, region: str, when: str = "", note: str = "") -> Record:
    """Let the threshold decide on a region again; one that a person drew stays."""
    r = find(record, region)
    return _decide_region(
        record, "reset", who, r, r.replace(status="manual" if r.status == "manual" else "auto"), when, note
    )


def set_kind(record: Record, *, who: str, region: str, kind: str, when: str = "", note: str = "") -> Record:
    """Say what a region is; so it is one, and hidden whatever its score."""
    r = find(record, region)
    return _decide_region(record, "set-kind", who, r, r.replace(kind=kind, status=_hidden_status(r)), when, note)


def move(
    record: Record,
    *,
    who: str,
    region: str,
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
    r = find(record, region)
    # Where a person put the box, landmarks and corners of the earlier one no longer lie.
    moved = r.replace(box=in_order(box), corners=corners, landmarks=None, status=_hidden_status(r))
    return _decide_region(record, "move", who, r, _inside(record, moved), when, note)


def add(
    record: Record,
    *,
    who: str,
    box: Box,
    kind: str,
    corners: Sequence[Point] | None = None,
    region: str = "",
    when: str = "",
    note: str = "",
) -> Record:
    """Draw a region that was missed. The same box drawn twice is one.

    Args:
        box: as for `move`. region: its id; made when not given.

    Raises:
        SettingsError: less than one pixel of it lies in the photo; the id is taken.
    """
    taken = {r.id: r for r in record.regions}
    if region in taken:
        raise SettingsError(f"{record.path} already has a region {region!r}")
    drawn = Region(kind, in_order(box), corners=corners, status="manual", id=region)  # type: ignore[arg-type]
    drawn = _inside(record, drawn)
    name, number = drawn.id, 1
    while (there := taken.get(drawn.id)) is not None:
        if there == drawn:
            return record
        number += 1  # found here and not hidden, or moved away from here
        drawn = drawn.replace(id=f"{name}-{number}")
    return _decide_region(record, "add", who, None, drawn, when, note)


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


def undo(record: Record, *, who: str, when: str = "", note: str = "") -> Record:
    """Take the last decision that stands back.

    Raises:
        RecordsError: there is none. StaleDecisionError: it is another person's, or the region changed since.
    """
    place = to_undo(record, who)
    last = record.decisions[place]
    if "state" in last:
        record = record.replace(**last["state"])
    else:
        before, after = (r and Region.from_dict(r) for r in (last["before"], last["after"]))
        there = {r.id: r for r in record.regions}
        if there.get((after or before).id) != after:
            raise StaleDecisionError(f"{record.path}: the region changed since, so {last['what']} cannot be undone")
        record = _put(record, after, before)
    return append_decision(record, "undo", who, when, note, undoes=place)


def to_undo(record: Reviewed, who: str) -> int:
    """The index of the decision that an undo takes back. Errors as `undo`."""
    left = standing(record)
    if not left:
        raise RecordsError(f"{record.path}: there is no decision to undo")
    last = record.decisions[left[-1]]
    if last["who"] != who:
        raise StaleDecisionError(f"{record.path}: the last decision is {last['who']}'s ({last['what']}), not {who}'s")
    return left[-1]


ON_REGIONS: Mapping[str, Callable[..., Record]] = {
    "accept": accept, "reject": reject, "reset": reset, "set-kind": set_kind, "move": move, "add": add,
}  # fmt: skip
ON_PHOTOS: Mapping[str, Callable[..., Record]] = {"approve": approve, "flag": flag, "unflag": unflag, "undo": undo}
ACTIONS: Mapping[str, Callable[..., Record]] = {**ON_REGIONS, **ON_PHOTOS}


def decide(record: Record, what: str, *, who: str, settings: Settings, **given: Any) -> Record:
    """One of ACTIONS by its name, as forms, keys and commands have it.

    Args:
        settings: those that an approval binds to. given: the action's other arguments.

    Raises:
        UnknownNameError: no such action. SettingsError: arguments that it does not take. Else as the action.
    """
    if what not in ACTIONS:
        raise UnknownNameError("decision", what, ACTIONS)
    if what == "approve":
        given["settings"] = settings
    try:
        inspect.signature(ACTIONS[what]).bind(record, who=who, **given)
    except TypeError as e:
        raise SettingsError(f"{what}: {e}") from e
    return ACTIONS[what](record, who=who, **given)


def parse(data: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """A correction as the picture editor sends it: the action's name and its arguments, for `decide`.

    Raises:
        SettingsError: it is none.
    """
    what = str(data.get("what"))
    if what not in ACTIONS:
        raise UnknownNameError("decision", what, ACTIONS)
    given: dict[str, Any] = {}
    if what in ON_REGIONS:
        given = {name: str(data[name]) for name in ("region", "kind") if name in data}
    if "box" in data:
        try:
            given["box"] = tuple(round(float(v), 2) for v in data["box"])
        except (TypeError, ValueError) as e:
            raise SettingsError(f"a box is four numbers; received {data['box']!r}") from e
    return what, given


def find(record: Record, region: str) -> Region:
    """The region with this id.

    Raises:
        StaleDecisionError: it is not there (any more).
    """
    for r in record.regions:
        if r.id == region:
            return r
    raise StaleDecisionError(f"{record.path} has no region {region!r} (any more)")


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


def _hidden_status(region: Region) -> Any:
    """The status of a region that a person wants hidden: what was drawn stays drawn."""
    return "manual" if region.status == "manual" else "accepted"


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


def _decide_region(
    record: Record, what: str, who: str, before: Region | None, after: Region | None, when: str, note: str
) -> Record:
    if before == after:
        return record
    change = {"before": before and before.to_dict(), "after": after and after.to_dict()}
    name = (after or before).id  # type: ignore[union-attr]
    return append_decision(_put(record, before, after), what, who, when, note, region=name, **change)


def _decide_review(record: R, what: str, who: str, when: str, note: str, **state: str) -> R:
    earlier = {"review": record.review, "approved_hash": record.approved_hash}
    return append_decision(record.replace(**state), what, who, when, note, state=earlier)


def append_decision(record: R, what: str, who: str, when: str, note: str, **more: Any) -> R:
    """One more decision, whatever it changed."""
    decision = {"who": who, "when": when or datetime.now(UTC).isoformat(timespec="milliseconds"), "what": what}
    words = {"note": str(note)} if note else {}
    return record.replace(decisions=(*record.decisions, {**decision, **words, **more}))


def _put(record: Record, before: Region | None, after: Region | None) -> Record:
    """One region replaced in its place, put first (drawn: score 1), or taken away."""
    if before is None:
        return record.replace(regions=(after, *record.regions))
    kept = [after if r.id == before.id else r for r in record.regions]
    return record.replace(regions=tuple(r for r in kept if r is not None))
