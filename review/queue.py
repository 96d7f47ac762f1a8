"""The queue: which photo a person should look at next, and why; how far the review is."""

from __future__ import annotations

import re
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise

from anonymize.corrections import standing, status
from anonymize.records import Record
from anonymize.regions import Box, Region
from anonymize.risk import BESIDE, CARRIER, DOUBTED, SHOWN_REASON, Reason, at_least_one, false_positives, misses
from anonymize.settings import PRESETS, Settings
from anonymize.thresholds import Scores, counts_at, hiding_scores

from .store import ReviewStore, Span

CLAIM_SECONDS = 600.0  # a photo that was handed to one person is not handed to another for so long
PAUSE_SECONDS = 600.0  # a longer gap between two decisions is a pause, not work
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
        missed = [(_in_words(r), r) for r in self.misses if r.p >= SHOWN_REASON][:8]
        doubted = [(f"likely not a {r.kind}, {_percent(r.p)}", r) for r in self.doubts if r.p >= DOUBTED][:4]
        return missed + doubted

    @property
    def reasons(self) -> list[str]:
        """The same as sentences, scores and thresholds included."""
        return [f"{words}: {r.text}" for words, r in self.looks]


def _percent(p: float) -> str:
    return f"{100 * p:.0f} %"


def _in_words(reason: Reason) -> str:
    what = {
        "candidate": f"possible {reason.kind}",
        "carrier": f"{CARRIER.get(reason.kind, 'object')} without a {reason.kind}",
        "neighbor": f"{reason.kind} in a neighbor frame",
        "moved": f"{reason.kind} that its box was moved off",
    }[reason.sign]
    return f"{what}, {_percent(reason.p)}"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the review is. `seconds_left` None: too few decisions to tell."""

    photos: int
    approved: int
    flagged: int
    errors: int
    seconds_left: float | None

    @property
    def pending(self) -> int:
        return self.photos - self.approved - self.flagged - self.errors

    @property
    def done(self) -> int:
        return self.approved + self.flagged

    @property
    def words(self) -> str:
        """`12 of 40 reviewed, about 3 minutes left`."""
        text = f"{self.done} of {self.photos - self.errors} reviewed"
        if self.seconds_left is None or not self.pending:
            return text
        minutes = max(1, round(self.seconds_left / 60))
        left = f"about {minutes} minute{'s' * (minutes > 1)}" if self.seconds_left >= 45 else "less than a minute"
        return f"{text}, {left} left"

    def __str__(self) -> str:
        text = f"{self.approved} of {self.photos} approved, {self.pending} pending"
        text += f", {self.flagged} flagged" if self.flagged else ""
        text += f", {self.errors} with errors" if self.errors else ""
        if self.seconds_left is not None and self.pending:
            minutes = self.seconds_left / 60
            text += f", about {minutes:.0f} min left" if minutes >= 1 else ", less than a minute left"
        return text


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is kept of a record: enough for its neighbors, without its hundreds of candidates."""

    item: Item
    size: tuple[int, int]
    hidden: tuple[tuple[str, Box], ...]
    rejected: tuple[Box, ...]
    scores: dict[str, Scores]
    has_carrier: bool


def _see(record: Record, settings: Settings) -> _Seen:
    hidden = record.hidden(settings)
    last = [record.decisions[i] for i in standing(record)[-1:]]
    item = Item(
        path=record.path,
        risk=0.0,
        misses=tuple(r for r in misses(record, settings) if r.p >= 1e-4),
        doubts=tuple(false_positives(record, settings)),
        status=status(record, settings),
        error=record.error or "",
        regions_hash=record.regions_hash(),
        hidden=tuple(sorted(Counter(r.kind for r in hidden).items())),
        decided=(last[0]["who"], last[0]["when"]) if last else None,
    )
    places = tuple((r.kind, r.box) for r in hidden)
    scores = {kind: hiding_scores(record, settings, kind) for kind in settings.kinds}
    has_carrier = any(r.kind in CARRIER.values() for r in record.regions)
    return _Seen(item, (record.width, record.height), places, _rejected_boxes(record.regions), scores, has_carrier)


def _rejected_boxes(regions: Iterable[Region]) -> tuple[Box, ...]:
    return tuple(r.box for r in regions if r.status == "rejected")


_NUMBER = re.compile(r"^(.*?)(\d+)(\D*)$", re.DOTALL)


def sequences(paths: Iterable[str]) -> dict[str, list[str]]:
    """Path -> its neighbor frames (before and after): same name but for the last number, which differs by 1 to 3."""
    runs: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for path in paths:
        if (m := _NUMBER.match(path)) and len(m[2]) < 18:
            runs.setdefault((m[1], m[3]), []).append((int(m[2]), path))
    out: dict[str, list[str]] = {}
    for frames in runs.values():
        frames.sort()
        for (n, a), (k, b) in pairwise(frames):
            if 0 < k - n <= NEIGHBORS:
                out.setdefault(a, []).append(b)
                out.setdefault(b, []).append(a)
    return out


def _near(a: Box, b: Box) -> bool:
    """Whether two boxes may be the same thing in neighboring frames: centers within twice the larger one's sides."""
    w, h = max(a[2] - a[0], b[2] - b[0]), max(a[3] - a[1], b[3] - b[1])
    return abs(a[0] + a[2] - b[0] - b[2]) <= 4 * w and abs(a[1] + a[3] - b[1] - b[3]) <= 4 * h


def beside(here: _Seen, neighbors: Sequence[_Seen]) -> list[Reason]:
    """What neighbor frames hide in places where this one hides nothing of that kind."""
    lost: list[tuple[str, Box, set[int]]] = []
    own = [
        *here.hidden,
        *((kind, box) for box in here.rejected for kind in {k for n in neighbors for k, _ in n.hidden}),
    ]
    for i, neighbor in enumerate(neighbors):
        if neighbor.size != here.size:
            continue
        for kind, box in neighbor.hidden:
            if any(k == kind and _near(b, box) for k, b in own):
                continue
            for k, b, who in lost:
                if k == kind and _near(b, box):
                    who.add(i)
                    break
            else:
                lost.append((kind, box, {i}))
    return [
        Reason(
            BESIDE[min(len(who), 2) - 1],
            f"a neighbor frame has a {kind} here" if len(who) == 1 else f"both neighbor frames have a {kind} here",
            kind,
            box=box,
            sign="neighbor",
        )
        for kind, box, who in lost
    ]


def _with_neighbors(seen: _Seen, neighbors: Sequence[_Seen]) -> Item:
    reasons = list(seen.item.misses)
    for lost in beside(seen, neighbors):
        assert lost.box is not None
        # The same place is counted once, with what speaks for it most.
        same = [r for r in reasons if r.kind == lost.kind and r.box is not None and _near(r.box, lost.box)]
        if same and max(same, key=lambda r: r.p).p >= lost.p:
            best = max(same, key=lambda r: r.p)
            reasons[reasons.index(best)] = replace(best, text=f"{best.text}; {lost.text}")
        else:
            reasons = [r for r in reasons if r not in same] + [lost]
    reasons.sort(key=lambda r: -r.p)
    return replace(seen.item, misses=tuple(reasons), risk=at_least_one(r.p for r in reasons))


def rank(records: Iterable[Record], settings: Settings) -> list[Item]:
    """Photos by falling risk; equal ones in the records' order. Photos with an error come last: they do not go out."""
    return _order({r.path: _see(r, settings) for r in records})


def _order(seen: dict[str, _Seen]) -> list[Item]:
    near = sequences(seen)
    items = [
        _with_neighbors(s, [seen[p] for p in near[path]]) if path in near else _plain(s) for path, s in seen.items()
    ]
    return sorted(items, key=lambda i: (i.status == "error", -i.risk))


def _plain(seen: _Seen) -> Item:
    return replace(seen.item, risk=at_least_one(r.p for r in seen.item.misses))


class Queue:
    """The photos of a review in the order in which people should look, kept up with what is decided.

    Safe for several threads. What was computed of a photo is kept until its record or the settings change. A photo
    keeps its place when its risk falls, because somebody corrected it: so the next one is the one behind it, and going
    back finds what was there. It moves forward when its risk grows, because a neighbor frame was corrected.
    """

    def __init__(self, store: ReviewStore) -> None:
        self.store = store
        self._seen: dict[str, tuple[Span, _Seen]] = {}
        self._settings: Settings | None = None
        self._items: list[Item] = []
        self._peaks: dict[str, float] = {}  # the highest risk that each photo had: its place
        self._claims: dict[str, tuple[str, float]] = {}
        self._guard = threading.RLock()

    def items(self) -> list[Item]:
        """All photos, riskiest first."""
        with self._guard:
            spans, settings = self.store.refresh(), self.store.settings
            if self._settings != settings:
                self._seen, self._peaks, self._settings = {}, {}, settings
            for forgotten in self._seen.keys() - spans.keys():
                del self._seen[forgotten]
            changed = {p: s for p, s in spans.items() if p not in self._seen or self._seen[p][0] != s}
            for path, span in changed.items():
                self._seen[path] = (span, _see(self.store.read(path, span), settings))
            if changed or len(spans) != len(self._items):
                items = _order({p: self._seen[p][1] for p in spans})
                peaks = self._peaks
                self._peaks = {i.path: max(i.risk, peaks.get(i.path, 0.0) if i.decided else 0.0) for i in items}
                self._items = sorted(items, key=lambda i: (i.status == "error", -self._peaks[i.path]))
            return self._items

    def pending(self) -> list[Item]:
        return [i for i in self.items() if i.status == "pending"]

    def next(self, who: str, after: str | None = None) -> Item | None:
        """The riskiest pending photo that nobody else is looking at; None: there is none left.

        Args:
            who: the person; the photo is theirs for `CLAIM_SECONDS`, or until they ask for another. "": one who works
                alone, so nothing is claimed.
            after: the photo that they leave; those behind it in the order come first.
        """
        with self._guard:
            taken = self.elsewhere(who)
            for item in self.behind(after):
                if item.status == "pending" and item.path not in taken and item.path != after:
                    self.claim(item.path, who)
                    return item
            return None

    def behind(self, path: str | None) -> list[Item]:
        """All photos in order, beginning behind this one; it, and those before it, come last."""
        items = self.items()
        start = next((n + 1 for n, i in enumerate(items) if i.path == path), 0)
        return [*items[start:], *items[:start]]

    def claim(self, path: str, who: str) -> None:
        """This person looks at this photo now, and at no other; whoever had it has it no longer."""
        with self._guard:
            self._claims = {p: (w, t) for p, (w, t) in self._claims.items() if w != who}
            if who:
                self._claims[path] = (who, time.monotonic())

    def elsewhere(self, who: str) -> dict[str, str]:
        """Photos that others look at now: path -> who."""
        with self._guard:
            late = time.monotonic() - CLAIM_SECONDS
            return {p: w for p, (w, since) in self._claims.items() if w != who and since > late}

    def at_threshold(self, kind: str, threshold: float) -> tuple[int, int]:
        """How many photos would hide something of this kind at this threshold, and how many regions in all."""
        with self._guard:
            self.items()
            found = counts_at((s.scores[kind] for _, s in self._seen.values() if kind in s.scores), threshold)
        return int((found > 0).sum()), int(found.sum())

    @property
    def note(self) -> str:
        """What makes this order weaker than it could be, or "".

        Without vehicles and persons nobody can say where something was missed without a trace. And where people look
        anyway, a second more of a machine is cheap: with the preset `thorough` fewer photos leak, and these come
        sooner (README has the curves).
        """
        with self._guard:
            self.items()
            if not self._seen:
                return ""
            has_carriers = any(s.has_carrier for _, s in self._seen.values())
        used = self.store.header.settings
        if used.plate_detector in (PRESETS["fast"].plate_detector, PRESETS["balanced"].plate_detector):
            return (
                "Where people look at the photos anyway, detect with the preset Thorough: it misses less, and what "
                "still leaks comes earlier in this order (about a second a photo)."
            )
        if has_carriers:
            return ""
        return (
            "No detector looked for vehicles and persons, so what was missed without a trace is not suspected; "
            "detect with `--detector coco`, too, for a better order."
        )

    def progress(self) -> Progress:
        items = self.items()
        count = Counter(i.status for i in items)
        done = [i.decided for i in items if i.status in ("approved", "flagged") and i.decided]
        pace = _pace(done)
        left = None if pace is None else pace * count["pending"]
        return Progress(len(items), count["approved"], count["flagged"], count["error"], left)


def _pace(done: Iterable[tuple[str, str]]) -> float | None:
    """Seconds a photo, all people together: each one's median gap between decisions, pauses left out."""
    by_person: dict[str, list[float]] = {}
    for who, when in done:
        by_person.setdefault(who, []).append(datetime.fromisoformat(when).timestamp())
    rate = 0.0
    for times in by_person.values():
        times.sort()
        gaps = [b - a for a, b in pairwise(times) if b - a < PAUSE_SECONDS]
        if len(gaps) >= 3:
            rate += 1 / max(statistics.median(gaps), 0.1)
    return 1 / rate if rate else None
