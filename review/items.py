"""One photo of the queue: what may have been missed in it, and in its neighbor frames' light."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace

from anonymize.corrections import standing, status
from anonymize.records import Record
from anonymize.regions import Box
from anonymize.risk import (
    BESIDE,
    CARRIER,
    DOUBTED,
    SHOWN_REASON,
    Reason,
    at_least_one,
    false_positives,
    misses,
    percent,
)
from anonymize.settings import Settings

NEIGHBORS = 3  # frames whose numbers differ by at most this much are neighbors


@dataclass(frozen=True, slots=True)
class Item:
    """One photo in the queue.

    Attributes:
        risk: probability that something leaks if it goes out as it is, 0–1.
        misses, doubts: suspected misses and suspected false positives, likeliest first.
        status: "pending" | "approved" | "flagged" | "error". error: why, or "".
        regions_hash: of what this was computed from; a decision names it.
        hidden: kind -> how many regions an export hides. decided: (who, when) of the last decision that stands.
    """

    path: str
    risk: float
    misses: tuple[Reason, ...]
    doubts: tuple[Reason, ...]
    status: str
    error: str
    regions_hash: str
    hidden: tuple[tuple[str, int], ...]
    decided: tuple[str, str] | None

    @property
    def looks(self) -> list[tuple[str, Reason]]:
        """What to look for, each in a few words and as a reason: misses first, then false positives."""
        missed = [(r.words, r) for r in self.misses if r.p >= SHOWN_REASON][:8]
        doubted = [(f"likely not a {r.kind}, {percent(r.p)}", r) for r in self.doubts if r.p >= DOUBTED][:4]
        return missed + doubted

    @property
    def reasons(self) -> list[str]:
        """The same as sentences, scores and thresholds included."""
        return [f"{words}: {r.text}" for words, r in self.looks]


@dataclass(frozen=True, slots=True)
class Seen:
    """What is kept of a record: enough for its place and its neighbors, without its hundreds of candidates."""

    misses: tuple[Reason, ...]
    status: str
    decided: tuple[str, str] | None
    size: tuple[int, int]
    hidden: tuple[tuple[str, Box], ...]
    rejected: tuple[Box, ...]
    has_carrier: bool


def see(record: Record, settings: Settings) -> Seen:
    last = [record.decisions[i] for i in standing(record)[-1:]]
    return Seen(
        misses=tuple(r for r in misses(record, settings) if r.p >= 1e-4),
        status=status(record, settings),
        decided=(last[0]["who"], last[0]["when"]) if last else None,
        size=(record.width, record.height),
        hidden=tuple((r.kind, r.box) for r in record.hidden(settings)),
        rejected=tuple(r.box for r in record.regions if r.status == "rejected"),
        has_carrier=any(r.kind in CARRIER.values() for r in record.regions),
    )


_NUMBER = re.compile(r"^(.*?)(\d+)(\D*)$", re.DOTALL)


def neighbors(path: str, known: Container[str]) -> list[str]:
    """The frames before and after: same name but for the last number, which differs by 1 to 3; the nearest ones."""
    found = _NUMBER.match(path)
    if not found or len(found[2]) >= 18:
        return []
    before, digits, after = found.groups()
    out = []
    for sign in (-1, 1):
        numbers = (int(digits) + sign * step for step in range(1, NEIGHBORS + 1))
        names = (f"{before}{text}{after}" for n in numbers if n >= 0 for text in (f"{n:0{len(digits)}}", str(n)))
        out += [name for name in names if name in known][:1]
    return out


def sequences(paths: Iterable[str]) -> dict[str, list[str]]:
    """Path -> its neighbor frames (before and after), of those that have some."""
    known = dict.fromkeys(paths)
    return {path: near for path in known if (near := neighbors(path, known))}


def is_near(a: Box, b: Box) -> bool:
    """Whether two boxes may be the same thing in neighboring frames: centers within twice the larger one's sides."""
    w, h = max(a[2] - a[0], b[2] - b[0]), max(a[3] - a[1], b[3] - b[1])
    return abs(a[0] + a[2] - b[0] - b[2]) <= 4 * w and abs(a[1] + a[3] - b[1] - b[3]) <= 4 * h


def beside(here: Seen, frames: Sequence[Seen]) -> list[Reason]:
    """What neighbor frames hide in places where this one hides nothing of that kind."""
    lost: list[tuple[str, Box, set[int]]] = []
    kinds = {kind for neighbor in frames for kind, _ in neighbor.hidden}
    own = [*here.hidden, *((kind, box) for box in here.rejected for kind in kinds)]
    for i, neighbor in enumerate(frames):
        if neighbor.size != here.size:
            continue
        for kind, box in neighbor.hidden:
            if any(k == kind and is_near(b, box) for k, b in own):
                continue
            for k, b, who in lost:
                if k == kind and is_near(b, box):
                    who.add(i)
                    break
            else:
                lost.append((kind, box, {i}))
    words = "a neighbor frame has a", "both neighbor frames have a"
    which = ((kind, box, min(len(who), 2) - 1) for kind, box, who in lost)
    return [Reason(BESIDE[n], f"{words[n]} {kind} here", kind, box=box, sign="neighbor") for kind, box, n in which]


def suspected(seen: Seen, frames: Sequence[Seen]) -> tuple[Reason, ...]:
    """What may have been missed, likeliest first, neighbor frames looked at."""
    reasons = list(seen.misses)
    for lost in beside(seen, frames):
        assert lost.box is not None
        # The same place is counted once, with what speaks for it most.
        same = [r for r in reasons if r.kind == lost.kind and r.box is not None and is_near(r.box, lost.box)]
        best = max(same, key=lambda r: r.p, default=None)
        if best is not None and best.p >= lost.p:
            reasons[reasons.index(best)] = replace(best, text=f"{best.text}; {lost.text}")
        else:
            reasons = [r for r in reasons if r not in same] + [lost]
    return tuple(sorted(reasons, key=lambda r: -r.p))


def risk_of(reasons: Iterable[Reason]) -> float:
    return at_least_one(r.p for r in reasons)


def to_item(record: Record, settings: Settings, seen: Seen, frames: Sequence[Seen]) -> Item:
    """One photo in the queue, as a person is shown it."""
    found = suspected(seen, frames)
    return Item(
        path=record.path,
        risk=risk_of(found),
        misses=found,
        doubts=tuple(false_positives(record, settings)),
        status=seen.status,
        error=record.error or "",
        regions_hash=record.content_hash(),
        hidden=tuple(sorted(Counter(kind for kind, _ in seen.hidden).items())),
        decided=seen.decided,
    )


def rank(records: Iterable[Record], settings: Settings) -> list[Item]:
    """Photos by falling risk; equal ones in the records' order. Photos with an error come last: they do not go out."""
    known = {r.path: r for r in records}
    seen = {path: see(r, settings) for path, r in known.items()}
    items = [to_item(r, settings, seen[p], [seen[n] for n in neighbors(p, seen)]) for p, r in known.items()]
    return sorted(items, key=lambda i: (i.status == "error", -i.risk))
