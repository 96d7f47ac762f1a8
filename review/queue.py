"""The queue: which photo a person should look at next, and why; how far the review is."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice, pairwise

import numpy as np
from numpy.typing import NDArray

from anonymize.settings import PRESETS, Settings

from .items import Item
from .queue_index import STATUSES, Index, Told
from .store import ReviewStore

CLAIM_SECONDS = 600.0  # a photo that was handed to one person is not handed to another for so long
PAUSE_SECONDS = 600.0  # a longer gap between two decisions is a pause, not work


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


class Queue:
    """The photos of a review in the order in which people should look, kept up with what is decided.

    Safe for several threads. What was computed of a photo is kept until its record or the settings change. A photo
    keeps its place when its risk falls, because somebody corrected it: so the next one is the one behind it, and going
    back finds what was there. It moves forward when its risk grows, because a neighbor frame was corrected.

    Args:
        store: the records.
        told: called with (photos looked at, of how many) while many are looked at for the first time.
    """

    def __init__(self, store: ReviewStore, told: Told | None = None) -> None:
        self.store, self._told = store, told
        self._settings: Settings | None = None
        self._index: Index
        self._order: NDArray[np.intp] = np.zeros(0, np.intp)  # rows, in the queue's order
        self._places: NDArray[np.intp] = self._order  # each row's place in it
        self._claims: dict[str, tuple[str, float]] = {}
        self._guard = store.records.guard  # so that the file is not looked at anew in the middle of an answer

    def _update(self) -> Index:
        records, settings = self.store.refresh(), self.store.settings
        if self._settings != settings:
            self._index = Index(records, settings, self._told)
            self._settings = settings
        index = self._index
        if index.update():
            self._order = np.lexsort((-index.rows["peak"], index.rows["state"] == STATUSES.index("error")))
            self._places = np.empty_like(self._order)
            self._places[self._order] = np.arange(len(self._order))
        return index

    def __len__(self) -> int:
        with self._guard:
            return len(self._update())

    def items(self, start: int = 0, stop: int | None = None) -> list[Item]:
        """Photos, riskiest first: all, or those from one place to before another."""
        with self._guard:
            index = self._update()
            return [index.item(self.store.records.names[row]) for row in self._order[start:stop].tolist()]

    def item(self, path: str) -> Item | None:
        """One photo, if it is there."""
        with self._guard:
            index = self._update()
            return index.item(path) if path in self.store.records else None

    def place(self, path: str) -> int | None:
        """Where a photo stands in the order, from 0 on."""
        with self._guard:
            self._update()
            return int(self._places[self.store.records.row(path)]) if path in self.store.records else None

    def pending(self, limit: int | None = None) -> list[Item]:
        return list(islice(self.behind(None), limit))

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
                if item.path not in taken and item.path != after:
                    self.claim(item.path, who)
                    return item
            return None

    def behind(self, path: str | None) -> Iterator[Item]:
        """Pending photos in order, beginning behind this one; those before it come last, then it."""
        with self._guard:
            index, place = self._update(), self.place(path) if path is not None else None
            start = 0 if place is None else place + 1
            rows = np.concatenate([self._order[start:], self._order[:start]])
            rows = rows[index.rows["state"][rows] == STATUSES.index("pending")]
            names = self.store.records.names
        for row in rows:
            with self._guard:
                item = index.item(names[row])
            yield item

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
            scores, ends = self._update().flat(kind)
        found = np.concatenate([[0], np.cumsum(scores >= np.float32(threshold))])
        return int(np.count_nonzero(np.diff(found[ends]))), int(found[-1])

    @property
    def note(self) -> str:
        """What makes this order weaker than it could be, or "".

        Without vehicles and persons nobody can say where something was missed without a trace. And where people look
        anyway, a second more of a machine is cheap: with the preset `thorough` fewer photos leak, and these come
        sooner (docs/benchmarks.md has the curves).
        """
        with self._guard:
            index = self._update()
            if not len(index):
                return ""
            has_carriers = index.rows["has_carrier"].any()
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

    def count(self, status: str) -> int:
        """How many photos are "pending", "approved", "flagged" or have an "error"."""
        with self._guard:
            return int(np.count_nonzero(self._update().rows["state"] == STATUSES.index(status)))

    def decided(self) -> dict[str, tuple[str, str]]:
        """Photos with a decision that stands: path -> (who, when) of the last one."""
        with self._guard:
            return {self.store.records.names[row]: d for row, d in self._update().decided.items()}

    def progress(self) -> Progress:
        with self._guard:
            index = self._update()
            states = index.rows["state"]
            counts = np.bincount(states, minlength=len(STATUSES)).tolist()
            count = dict(zip(STATUSES, counts, strict=True))
            finished = (STATUSES.index("approved"), STATUSES.index("flagged"))
            pace = _pace(d for row, d in index.decided.items() if states[row] in finished)
        left = None if pace is None else pace * count["pending"]
        return Progress(len(index), count["approved"], count["flagged"], count["error"], left)


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
