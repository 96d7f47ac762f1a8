"""Decisions: what people say about a photo's regions and about the photo, kept in its records file.

A decision names who, when and what, and carries what it changed, so that undo is one more decision. It is appended and
written through to the disk before it is acknowledged. It names the photo's `regions_hash` that the person saw: where
that is no longer the photo's, it is refused (StaleDecisionError) and nothing is written.
"""

from __future__ import annotations

import dataclasses
import getpass
import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from anonymize import records
from anonymize.errors import RecordsError, SettingsError, StaleDecisionError, UnknownNameError
from anonymize.records import Header, Record
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


_PATH = re.compile(rb'\{"path":("(?:[^"\\]|\\.)*")')

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
    return r, r.replace(status="auto" if r.votes else "manual")


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


# Where a record's last line stands in the file: (offset, length). It changes with the record, and with a rewrite.
Span = tuple[int, int]


class Book:
    """A records file that people decide on: knows where each photo's last line stands, reads a record when asked.

    So 10,000 photos with hundreds of candidates each need little memory; looking again costs what was appended.
    Safe for several threads and processes: a decision holds the file's lock, reads what others wrote meanwhile, is
    checked against it, appended, and written through to the disk.

    Args:
        path: the records file.
        settings: those that approvals bind to; those of the file (a review's choice, else the detection's) when not
            given.

    Raises:
        RecordsError: not a records file.
    """

    def __init__(self, path: Path, settings: Settings | None = None) -> None:
        self.path = path
        self._given = settings
        self._spans: dict[str, Span] = {}
        self._header: Header | None = None
        self._file: BinaryIO | None = None
        self._end = 0
        self._guard = threading.RLock()
        self.refresh()

    @property
    def header(self) -> Header:
        assert self._header is not None  # set by the constructor's refresh
        return self._header

    @property
    def settings(self) -> Settings:
        return self._given or self.header.review or self.header.settings

    def use(self, settings: Settings) -> None:
        """Other thresholds or effects from now on, for everybody who opens these records: kept in the file.

        What was approved under the earlier ones is pending again (and approved again when those come back).

        Raises:
            RecordsError: the file is busy.
        """
        with self._guard, records.locked(self.path):
            spans = self.refresh()
            chosen = None if settings == self.header.settings else settings
            self._rewrite(dataclasses.replace(self.header, review=chosen), spans)
            self._given = None

    def gone(self) -> list[str]:
        """Photos that are no longer in the input folder; none, where the folder itself is not there (a drive)."""
        if not Path(records.unescape(self.header.root)).is_dir():
            return []
        return [p for p in self.refresh() if not os.path.lexists(self.header.source(Record(p)))]

    def forget(self, paths: Sequence[str] = ()) -> list[str]:
        """Take photos that are no longer in the input out of the records, decisions and all; which ones.

        Args:
            paths: only these; all that are gone when empty.

        Raises:
            RecordsError: one of them is not in the records, or its photo is still there; nothing was forgotten.
        """
        with self._guard, records.locked(self.path):
            spans, gone = self.refresh(), set(self.gone())
            for path in paths:
                if path not in spans:
                    raise RecordsError(f"{self.path} has no photo {path!r}")
                if path not in gone:
                    raise RecordsError(f"{path} is still in {self.header.root}, or that folder is not there")
            wanted = gone.intersection(paths or gone)
            if wanted:
                self._rewrite(self.header, {p: s for p, s in spans.items() if p not in wanted})
            return sorted(wanted)

    def _rewrite(self, header: Header, spans: Mapping[str, Span]) -> None:
        """The last line of each of these photos, as it is, under this header."""
        assert self._file is not None
        file = self._file.fileno()
        records.rewrite(self.path, header, (os.pread(file, size, start) for start, size in spans.values()))
        self.refresh()

    def refresh(self) -> Mapping[str, Span]:
        """Look at what others wrote since: path -> where its last line stands, in order of first appearance.

        Raises:
            RecordsError: the file is gone, or is no records file.
        """
        with self._guard:
            try:
                now = os.stat(self.path)
                is_ours = self._file is not None and os.path.samestat(os.fstat(self._file.fileno()), now)
                if not is_ours or now.st_size < self._end:  # rewritten, or cut by another program
                    self._reopen()
                assert self._file is not None
                self._file.seek(self._end)
                fresh = self._file.read(now.st_size - self._end) if now.st_size > self._end else b""
            except OSError as e:
                raise RecordsError(f"cannot read records {self.path}: {e}") from e
            start = 0
            while end := fresh.find(b"\n", start) + 1:  # a line that is being written counts at the next look
                self._take(fresh[start:end])
                start = end
            if self._header is None:
                raise RecordsError(f"{self.path} is not a records file: it has no header")
            return dict(self._spans)

    def _reopen(self) -> None:
        # The old file stays open until here, so that a new one cannot have its number.
        old, self._file = self._file, open(self.path, "rb")  # noqa: SIM115 - held for the next reading
        if old is not None:
            old.close()
        self._end, self._spans, self._header = 0, {}, None

    def _take(self, line: bytes) -> None:
        try:
            if self._header is None:
                self._header = Header.from_dict(json.loads(line))
            else:
                # Records begin with their path: the rest is parsed when it is asked for.
                path = _PATH.match(line)
                name = json.loads(path.group(1)) if path else json.loads(line)["path"]
                self._spans[name] = (self._end, len(line))
        except (KeyError, TypeError, ValueError) as e:
            raise RecordsError(f"{self.path} has a broken line: {line[:80]!r} ({e!r})") from e
        self._end += len(line)

    def read(self, path: str, span: Span) -> Record:
        """The record that `refresh` found at this place.

        Raises:
            RecordsError: its line is broken, or the file was rewritten since.
        """
        with self._guard:
            assert self._file is not None
            line = os.pread(self._file.fileno(), span[1], span[0])
        try:
            record = Record.from_dict(json.loads(line))
        except (KeyError, TypeError, ValueError) as e:
            raise RecordsError(f"{self.path} has a broken line for {path}: {e!r}") from e
        if record.path != path:
            raise RecordsError(f"{self.path} was rewritten meanwhile; look again")
        return record

    def __getitem__(self, path: str) -> Record:
        with self._guard:
            span = self.refresh().get(path)
            if span is None:
                raise RecordsError(f"{self.path} has no photo {path!r}")
            return self.read(path, span)

    def __iter__(self) -> Iterator[Record]:
        """Every photo's record as it is now, one after the other."""
        for path, span in self.refresh().items():
            yield self.read(path, span)

    def decide(self, path: str, what: str, *, who: str, expected: str | None = None, **given: Any) -> Record:
        """One decision on one photo, written through to the disk when this returns.

        Args:
            path: the record's path. what, given: as for `decide`.
            expected: the `regions_hash` of what the person saw; None only where nobody looked (a script's bulk call).

        Raises:
            StaleDecisionError: the photo changed meanwhile; nothing was written. RecordsError: no such photo, or the
                file is busy (a detection is writing it).
        """
        with self._guard, records.locked(self.path):
            record = self[path]
            if expected is not None and record.regions_hash() != expected:
                raise StaleDecisionError(f"{path} changed meanwhile{last_words(record)}; look at it again")
            changed = decide(record, what, who=who, settings=self.settings, **given)
            with records.Writer(self.path, self.header) as writer:
                writer.write(changed)
                writer.sync()
            return self[path]

    def __enter__(self) -> Book:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def last_words(record: Record) -> str:
    if not record.decisions:
        return ""
    last = record.decisions[-1]
    return f" (last: {last['what']} by {last['who']}, {last['when']})"
