"""What the order and the figures of a queue need of each photo, in arrays: a row each, as in the records file.

So a million photos are ordered in memory, and a record is read again only when its photo is shown or changes. Looking
at all of them once takes minutes to half an hour; of many photos the rows are kept beside the records (.NAME.queue) and
count as long as a photo's line is the same, under the same settings.
"""

from __future__ import annotations

import hashlib
import json
from array import array
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
VERSION = 1  # counted up when what is kept means something else

Told = Callable[[int, int], None]


class Index:
    """The rows of one records file under some settings.

    Args:
        records: the file. settings: what is hidden.
        told: called now and then with (photos looked at, of how many), where there are many.

    Attributes:
        risk: each row's. peak: the highest that it had since a person decided on it: its place.
        state: index of its status in STATUSES. carriers: 1 where a vehicle or a person was found.
        decided: row -> (who, when) of the last decision that stands.
        scores: kind -> each row's `hiding_scores`, float32, as bytes.
    """

    def __init__(self, records: RecordsFile, settings: Settings, told: Told | None = None) -> None:
        self._records, self._settings, self._told = records, settings, told
        self._seen: OrderedDict[str, tuple[int, Seen]] = OrderedDict()
        self._items: OrderedDict[str, tuple[tuple[int, ...], Item]] = OrderedDict()
        self._low = {kind: lowest(settings, kind) for kind in settings.kinds}
        self._generation, self._taken = -1, 0
        self._clear()

    def _clear(self) -> None:
        self.risk, self.peak, self.state, self.carriers = array("d"), array("d"), bytearray(), bytearray()
        self._crcs = array(self._records.crcs.typecode)
        self.decided: dict[int, tuple[str, str]] = {}
        self.scores: dict[str, list[bytes]] = {kind: [] for kind in self._settings.kinds}

    def __len__(self) -> int:
        return len(self.state)

    def update(self) -> bool:
        """Look at what changed in the file since; whether anything did."""
        records = self._records
        if self._generation != records.generation:
            known, self._generation, self._taken = self._before(), records.generation, len(records.taken)
            self._clear()
            self._look(self._align(known))
            return True
        fresh, self._taken = records.taken[self._taken :], len(records.taken)
        self._look([records.row(path) for path in fresh])
        return bool(fresh)

    def _look(self, todo: list[int]) -> None:
        for _ in range(len(self), len(self._records)):
            self.risk.append(0.0)
            self.peak.append(0.0)
            self.state.append(0)
            self.carriers.append(0)
            self._crcs.append(0)
            for of_kind in self.scores.values():
                of_kind.append(b"")
        names = self._records.names
        # What is hidden in a frame, or no longer, is news of its neighbors, too.
        near = {self._records.row(n) for row in todo for n in neighbors(names[row], self._records)}
        rows = sorted({*todo, *near})
        since = 0
        for done, row in enumerate(rows):
            self._put(row)
            since += 1
            if self._told and done % 1000 == 0:
                self._told(done, len(rows))
            if since == SAVED:
                self._keep(row + 1)
                since = 0
        if len(rows) > MANY:
            self._keep(len(self))

    def _put(self, row: int) -> None:
        path = self._records.names[row]
        seen = self._see(path)
        risk = risk_of(suspected(seen, self._frames(path)))
        self.risk[row], self.state[row] = risk, STATUSES.index(seen.status)
        self.peak[row] = max(risk, self.peak[row]) if seen.decided else risk
        self.carriers[row], self._crcs[row] = seen.has_carrier, self._records.crcs[row]
        if seen.decided:
            self.decided[row] = seen.decided
        else:
            self.decided.pop(row, None)

    def _see(self, path: str) -> Seen:
        crc = self._records.crcs[self._records.row(path)]
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
        crcs = tuple(records.crcs[records.row(n)] for n in (path, *near))
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
        arrays: dict[str, NDArray[Any]] = {
            "key": np.frombuffer(self._key, np.uint8),
            "names": _bytes("\n".join(self._records.names[:count])),
            "crcs": np.array(self._crcs[:count]),
            "risk": np.array(self.risk[:count]),
            "state": np.frombuffer(bytes(self.state[:count]), np.uint8),
            "carriers": np.frombuffer(bytes(self.carriers[:count]), np.uint8),
            "decided": _bytes(json.dumps({row: d for row, d in self.decided.items() if row < count})),
            "kinds": _bytes(json.dumps(list(self.scores))),
        }
        for n, of_kind in enumerate(self.scores.values()):
            arrays[f"scores{n}"] = np.frombuffer(b"".join(of_kind[:count]), np.float32)
            arrays[f"counts{n}"] = np.array([len(s) // 4 for s in of_kind[:count]], np.int32)
        with suppress(OSError):
            write_whole(queue_beside(self._records.path), pack(arrays))

    def _before(self) -> dict[str, Any] | None:
        """The rows as they were: of the file before it was written anew, else what is kept."""
        if len(self):
            return {
                "names": self._names_before, "crcs": self._crcs, "risk": self.risk, "peak": self.peak,
                "state": self.state, "carriers": self.carriers, "decided": self.decided, "scores": self.scores,
            }  # fmt: skip
        names = ("key", "names", "crcs", "risk", "state", "carriers", "decided", "kinds")
        path = queue_beside(self._records.path)
        found = unpack(path, names)
        if found is None or bytes(found["key"]) != self._key:
            return None
        kinds = json.loads(bytes(found["kinds"]))
        more = unpack(path, [f"{what}{n}" for n in range(len(kinds)) for what in ("scores", "counts")])
        if more is None:
            return None
        scores = {k: _split(more[f"scores{n}"], more[f"counts{n}"]) for n, k in enumerate(kinds)}
        return {
            "names": bytes(found["names"]).decode().split("\n"), "scores": scores, "peak": found["risk"].tolist(),
            **{n: found[n].tolist() for n in ("crcs", "risk", "state", "carriers")},
            "decided": {int(row): tuple(d) for row, d in json.loads(bytes(found["decided"])).items()},
        }  # fmt: skip

    def _align(self, known: dict[str, Any] | None) -> list[int]:
        """Take over the rows of lines that are the same; the others are to be looked at."""
        records = self._records
        self._names_before = records.names
        if known is None:
            return list(range(len(records)))
        count = len(known["names"])
        if known["names"] == records.names[:count]:
            self.risk, self.peak = array("d", known["risk"]), array("d", known["peak"])
            self.state, self.carriers = bytearray(known["state"]), bytearray(known["carriers"])
            self._crcs, self.scores, self.decided = known["crcs"], known["scores"], known["decided"]
            others = np.flatnonzero(np.array(self._crcs) != np.array(records.crcs[:count])).tolist()
            return [*others, *range(count, len(records))]
        rows, todo = {name: i for i, name in enumerate(known["names"])}, []
        for row, name in enumerate(records.names):
            i = rows.get(name)
            is_known = i is not None and known["crcs"][i] == records.crcs[row]
            if not is_known:
                todo.append(row)
            self.risk.append(known["risk"][i] if is_known else 0.0)
            self.peak.append(known["peak"][i] if i is not None else 0.0)
            self.state.append(known["state"][i] if is_known else 0)
            self.carriers.append(known["carriers"][i] if is_known else 0)
            self._crcs.append(records.crcs[row])
            for kind, of_kind in self.scores.items():
                of_kind.append(known["scores"][kind][i] if is_known else b"")
            if is_known and i in known["decided"]:
                self.decided[row] = known["decided"][i]
        return todo


def _bytes(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode(), np.uint8)


def _split(flat: NDArray[np.float32], counts: NDArray[np.int32]) -> list[bytes]:
    data, ends = flat.tobytes(), (4 * np.cumsum([0, *counts.tolist()])).tolist()
    return [data[a:b] for a, b in pairwise(ends)]
