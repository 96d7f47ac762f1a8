"""What the order and the figures of a queue need of each photo, in arrays: a row each, as in the records file.

So a million photos are ordered in memory, and a record is read again only when its photo is shown or changes. Looking
at all of them once takes minutes to half an hour; of many photos the rows are kept beside the records (.NAME.queue) and
count as long as a photo's line is the same, under the same settings.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anonymize.disk import write_whole
from anonymize.records import queue_beside
from anonymize.records_file import RecordsFile, pack, unpack
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
        self._seen: OrderedDict[str, tuple[int, Seen]] = OrderedDict()
        self._items: OrderedDict[str, tuple[tuple[int, ...], Item]] = OrderedDict()
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
        seen = self._see(path)
        risk = risk_of(suspected(seen, self._frames(path)))
        peak = max(risk, self.rows["peak"][row]) if seen.decided else risk
        self.rows[row] = self._records.crc(row), risk, peak, STATUSES.index(seen.status), seen.has_carrier
        if seen.decided:
            self.decided[row] = seen.decided
        else:
            self.decided.pop(row, None)

    def _see(self, path: str) -> Seen:
        crc = self._records.crc(self._records.row(path))
        held = self._seen.get(path)
        if held is None or held[0] != crc:
            record = self._records[path]
            held = self._seen[path] = crc, see(record, self._settings)
            for kind, low in self._low.items():
                found = scores_under(record, low, kind).astype(np.float32)
                self.scores[kind][self._records.row(path)] = found.tobytes()
            while len(self._seen) > HELD:
                self._seen.popitem(last=False)
        return held[1]

    def _frames(self, path: str) -> list[Seen]:
        return [self._see(n) for n in neighbors(path, self._records)]

    def item(self, path: str) -> Item:
        """A photo with its reasons."""
        records = self._records
        near = neighbors(path, records)
        crcs = tuple(records.crc(records.row(n)) for n in (path, *near))
        held = self._items.get(path)
        if held is None or held[0] != crcs:
            seen, frames = self._see(path), self._frames(path)
            held = self._items[path] = crcs, to_item(records[path], self._settings, seen, frames)
            while len(self._items) > HELD:
                self._items.popitem(last=False)
        return held[1]

    def flat(self, kind: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """All photos' scores of a kind in a row, and where each photo's begin and the last one's end, (N + 1,)."""
        of_kind = self.scores.get(kind, [])
        ends = np.cumsum([0, *(len(s) // 4 for s in of_kind)], dtype=np.int64)
        return np.frombuffer(b"".join(of_kind), np.float32), ends

    # --- what is kept beside the file ---

    @property
    def _key(self) -> bytes:
        """What the numbers depend on but for the records."""
        text = [VERSION, self._settings.to_dict(), dict(CANDIDATE), dict(EMPTY), BESIDE]
        return hashlib.sha256(json.dumps(text, sort_keys=True).encode()).digest()

    def _keep(self, count: int) -> None:
        arrays = {
            "key": np.frombuffer(self._key, np.uint8),
            "names": _bytes("\n".join(self._records.names[:count])),
            "rows": self.rows[:count],
            "decided": _bytes(json.dumps({row: d for row, d in self.decided.items() if row < count})),
        }
        for n, of_kind in enumerate(self.scores.values()):
            arrays[f"scores{n}"] = np.frombuffer(b"".join(of_kind[:count]), np.float32)
            arrays[f"counts{n}"] = np.array([len(s) // 4 for s in of_kind[:count]], np.int32)
        with suppress(OSError):
            write_whole(queue_beside(self._records.path), pack(arrays))

    def _recall(self) -> None:
        """Take what is kept, where it is of these settings."""
        of_kinds = [f"{what}{n}" for n in range(len(self.scores)) for what in ("scores", "counts")]
        kept = unpack(queue_beside(self._records.path), ["key", "names", "rows", "decided", *of_kinds])
        if kept is None or bytes(kept["key"]) != self._key or kept["rows"].dtype != ROW:
            return
        self.names = bytes(kept["names"]).decode().split("\n")
        self.rows = kept["rows"]
        self.rows["peak"] = self.rows["risk"]
        self.decided = {int(row): tuple(d) for row, d in json.loads(bytes(kept["decided"])).items()}
        self.scores = {k: _split(kept[f"scores{n}"], kept[f"counts{n}"]) for n, k in enumerate(self.scores)}


def _bytes(text: str) -> NDArray[Any]:
    return np.frombuffer(text.encode(), np.uint8)


def _split(flat: NDArray[Any], counts: NDArray[Any]) -> list[bytes]:
    data, ends = flat.tobytes(), (4 * np.cumsum([0, *counts.tolist()])).tolist()
    return [data[a:b] for a, b in pairwise(ends)]
