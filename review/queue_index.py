"""What the order and the figures of a queue need of each photo, in arrays: a row each, as in the records file.

So a million photos are ordered in memory, and a record is read again only when its photo is shown or changes. Looking
at all of them once takes minutes to half an hour; of many photos the rows are kept beside the records (.NAME.queue) and
count as long as a photo's line is the same, under the same settings.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anonymize.records import queue_beside
from anonymize.records_file import RecordsFile, keep, recall
from anonymize.risk import BESIDE, CANDIDATE, EMPTY
from anonymize.settings import Settings
from anonymize.thresholds import lowest, scores_under

from .items import Item, Seen, neighbors, risk_of, see, suspected, to_item

STATUSES = ("pending", "approved", "flagged", "error")
HELD = 20_000  # photos whose neighbors' boxes and reasons are held in memory
MANY, SAVED = 2_000, 100_000  # rows that are kept when all are there, and on the way, should this process end
VERSION = 2  # counted up when what is kept means something else
# A row. crc: of the line that it is of. risk: now. peak: the highest since a person decided on it, its place.
# state: index of its status in STATUSES. has_carrier: a vehicle or a person was found.
ROW = np.dtype([("crc", "u4"), ("risk", "f8"), ("peak", "f8"), ("state", "u1"), ("has_carrier", "?")])

Told = Callable[[int, int], None]


class Index:
    """The rows of one records file under some settings.

    Args:
        records: the file. settings: what is hidden.
        told: called now and then with (photos looked at, of how many), where there are many.

    Attributes:
        rows: (N,) of ROW. names: their photos.
        decided: row -> (who, when) of the last decision that stands.
        scores: kind -> each row's `hiding_scores`, float32, as bytes.
    """

    def __init__(self, records: RecordsFile, settings: Settings, told: Told | None = None) -> None:
        self._records, self._settings, self._told = records, settings, told
        # What was made of lines, by path and CRC.
        self._seen, self._items = lru_cache(HELD)(self._look_at), lru_cache(HELD)(self._describe)
        self._low = {kind: lowest(settings, kind) for kind in settings.kinds}
        self._generation, self._taken = -1, 0
        self.names: list[str] = []
        self.rows = np.zeros(0, ROW)
        self.decided: dict[int, tuple[str, str]] = {}
        self.scores: dict[str, list[bytes]] = {kind: [] for kind in settings.kinds}

    def __len__(self) -> int:
        return len(self.rows)

    def update(self) -> bool:
        """Look at what changed in the file since; whether anything did."""
        records = self._records
        if self._generation != records.generation:  # the file is another one
            if not len(self):
                self._recall()
            self._look(self._align())
            self._generation, self._taken = records.generation, len(records.taken)
            return True
        fresh = records.taken[self._taken :]
        more = len(records) - len(self)
        self.rows = np.concatenate([self.rows, np.zeros(more, ROW)])
        for of_kind in self.scores.values():
            of_kind += [b""] * more
        self._look([records.row(path) for path in fresh])
        self._taken += len(fresh)  # not before: what could not be read is looked at again
        return bool(fresh)

    def _align(self) -> list[int]:
        """Take over the rows of lines that are the same; the others, which are to be looked at."""
        records, places = self._records, {name: i for i, name in enumerate(self.names[: len(self)])}
        before = np.array([places.get(name, -1) for name in records.names], np.intp)
        rows = np.zeros(len(before), ROW)
        rows[before >= 0] = self.rows[before[before >= 0]]
        is_same = (before >= 0) & (rows["crc"] == records.crcs())
        for name in ("risk", "state", "has_carrier"):
            rows[name][~is_same] = 0
        kept = list(zip(before.tolist(), is_same.tolist(), strict=True))
        self.decided = {row: self.decided[i] for row, (i, same) in enumerate(kept) if same and i in self.decided}
        self.scores = {kind: [of[i] if same else b"" for i, same in kept] for kind, of in self.scores.items()}
        self.rows, self.names = rows, records.names
        return np.flatnonzero(~is_same).tolist()

    def _look(self, todo: list[int]) -> None:
        names = self._records.names
        # What is hidden in a frame, or no longer, is news of its neighbors, too.
        near = {self._records.row(n) for row in todo for n in neighbors(names[row], self._records)}
        rows = sorted({*todo, *near})
        for done, row in enumerate(rows):
            if self._told and done % 1000 == 0:
                self._told(done, len(rows))
            self._put(row)
            if done % SAVED == SAVED - 1:
                self._keep(row + 1)
        if len(rows) > MANY:
            self._keep(len(self))

    def _put(self, row: int) -> None:
        path = self._records.names[row]
        seen, scores = self._seen(path, self._records.crc(row))
        risk = risk_of(suspected(seen, self._frames(path)))
        peak = max(risk, self.rows["peak"][row]) if seen.decided else risk
        self.rows[row] = self._records.crc(row), risk, peak, STATUSES.index(seen.status), seen.has_carrier
        if seen.decided:
            self.decided[row] = seen.decided
        else:
            self.decided.pop(row, None)
        for kind, found in scores.items():
            self.scores[kind][row] = found

    def _look_at(self, path: str, crc: int) -> tuple[Seen, dict[str, bytes]]:
        record = self._records[path]
        scores = {kind: scores_under(record, low, kind).astype(np.float32) for kind, low in self._low.items()}
        return see(record, self._settings), {kind: found.tobytes() for kind, found in scores.items()}

    def _frames(self, path: str) -> list[Seen]:
        records = self._records
        return [self._seen(n, records.crc(records.row(n)))[0] for n in neighbors(path, records)]

    def item(self, path: str) -> Item:
        """A photo with its reasons."""
        records = self._records
        return self._items(path, tuple(records.crc(records.row(n)) for n in (path, *neighbors(path, records))))

    def _describe(self, path: str, crcs: tuple[int, ...]) -> Item:
        seen, _ = self._seen(path, crcs[0])
        return to_item(self._records[path], self._settings, seen, self._frames(path))

    def flat(self, kind: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """All photos' scores of a kind in a row, and where each photo's begin and the last one's end, (N + 1,)."""
        of_kind = self.scores.get(kind, [])
        ends = np.cumsum([0, *(len(s) // 4 for s in of_kind)], dtype=np.int64)
        return np.frombuffer(b"".join(of_kind), np.float32), ends

    # --- what is kept beside the file ---

    @property
    def _key(self) -> str:
        """What the numbers depend on but for the records."""
        return json.dumps([VERSION, self._settings.to_dict(), dict(CANDIDATE), dict(EMPTY), BESIDE], sort_keys=True)

    def _keep(self, count: int) -> None:
        values = {"names": self.names[:count], "decided": {r: d for r, d in self.decided.items() if r < count}}
        arrays = {"rows": self.rows[:count]}
        for n, of_kind in enumerate(self.scores.values()):
            arrays[f"scores{n}"] = np.frombuffer(b"".join(of_kind[:count]), np.float32)
            arrays[f"counts{n}"] = np.array([len(s) // 4 for s in of_kind[:count]], np.int32)
        keep(queue_beside(self._records.path), self._key, values, **arrays)

    def _recall(self) -> None:
        """Take what is kept, where it is of these settings."""
        values, arrays = recall(queue_beside(self._records.path), self._key) or ({}, {})
        with suppress(LookupError, TypeError, ValueError, AttributeError):  # something else
            rows, names = arrays["rows"], list(values["names"])
            rows["peak"] = rows["risk"]
            decided = {int(row): (who, when) for row, (who, when) in values["decided"].items()}
            scores = {k: _split(arrays[f"scores{n}"], arrays[f"counts{n}"]) for n, k in enumerate(self.scores)}
            self.names, self.rows, self.decided, self.scores = names, rows, decided, scores


def _split(flat: NDArray[Any], counts: NDArray[Any]) -> list[bytes]:
    data, ends = flat.tobytes(), (4 * np.cumsum([0, *counts.tolist()])).tolist()
    return [data[a:b] for a, b in pairwise(ends)]
