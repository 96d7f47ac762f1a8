"""A cluster's records: Parquet files in OUTPUT/records.parquet, one a shard; each is also the shard's manifest.

A shard's file is its last put: while it is not there, nothing of the shard counts as done. It has a row a photo: the
record as its JSON line, and what must be known of it without reading that. Where a photo was done again, the row of the
later run counts; files sort by run.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import records
from ..disk import AnyPath
from ..errors import RecordsError
from ..extras import extra
from ..json_lines import to_line
from ..records import Header, Record
from ..records_file import RecordsFile
from ..risk import risk_of
from ..settings import Settings
from ..summary import counts_of
from .stores import Store

FOLDER, SUFFIX = "records.parquet", ".parquet"
READERS = 32  # shards that are read at the same time
_HEADER = b"anonymize"  # key of the header among a Parquet file's own metadata


@dataclass(frozen=True, slots=True)
class Row:
    """One photo of a shard.

    Attributes:
        path: escaped, as in the record. source: version of the photo in its store.
        output: version of what was written, or "". beside: version of its detections file, or "".
        shows: the record's `approval_hash`: what the output shows. detection: as the record's.
        error: why there is no output, or "". risk: `risk.risk_of`.
        counts: `summary.counts_of` as JSON.
        record: its JSON line, without the line's end.
    """

    path: str
    source: str
    output: str
    beside: str
    shows: str
    detection: str
    error: str
    risk: float
    counts: str
    record: str

    @classmethod
    def of(cls, record: Record, settings: Settings, source: str, output: str = "", beside: str = "") -> Row:
        return cls(
            record.path,
            source,
            output,
            beside,
            record.approval_hash(settings),
            record.detection,
            record.error or "",
            0.0 if record.error else risk_of(record, settings),
            json.dumps(counts_of(record, settings)),
            to_line(record.to_dict()).decode().rstrip("\n"),
        )


NAMES = tuple(f.name for f in dataclasses.fields(Row))


def write(store: Store, name: str, header: Header, rows: Sequence[Row]) -> None:
    """Publish a shard: from here on it is done."""
    pa, pq = _arrow()
    columns = {n: pa.array([getattr(r, n) for r in rows], None if rows else pa.string()) for n in NAMES}
    table = pa.table(columns, metadata={_HEADER: json.dumps(header.to_dict())})
    data = io.BytesIO()
    pq.write_table(table, data, compression="zstd")
    store.publish(f"{FOLDER}/{name}{SUFFIX}", data.getvalue())


def read(store: Store, name: str, columns: Sequence[str] = NAMES) -> tuple[Header, list[Row]]:
    """A shard's rows; columns that were not asked for are empty.

    Raises:
        FileNotFoundError: it is not there. RecordsError: it is no shard.
    """
    pa, pq = _arrow()
    data = store.read(f"{FOLDER}/{name}{SUFFIX}")
    try:
        table = pq.read_table(io.BytesIO(data), columns=list(columns))
        header = Header.from_dict(json.loads(table.schema.metadata[_HEADER]))
        empty = {n: "" for n in NAMES if n not in columns}
        rows = [Row(**{**empty, **values}) for values in table.to_pylist()]
        if not all(
            isinstance(v, float if n == "risk" else str) for r in rows for n in columns for v in [getattr(r, n)]
        ):
            raise TypeError("a value of another type")
        return header, rows
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as e:
        raise RecordsError(f"{store.url}/{FOLDER}/{name}{SUFFIX} is no shard of records: {e!r}") from e


def _arrow() -> tuple[Any, Any]:
    with extra("cluster", "a cluster's records"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    return pa, pq


def names(store: Store) -> list[str]:
    """All shards, the earliest run's first."""
    found = (name.removeprefix(f"{FOLDER}/") for name in store.files(FOLDER))
    return sorted(n.removesuffix(SUFFIX) for n in found if n.endswith(SUFFIX) and "/" not in n)


@dataclass
class Known:
    """What a store's shards say.

    Attributes:
        rows: path -> its row of the latest run, without the record. shard: path -> where that stands.
        run: number of the latest run, 0: none. superseded: shards of which no row counts any more.
    """

    rows: dict[str, Row]
    shard: dict[str, str]
    run: int
    superseded: list[str]


def known(store: Store) -> Known:
    """Read every shard but for its records.

    Raises:
        RecordsError: one that is no shard.
    """
    light = [n for n in NAMES if n != "record"]
    out = Known({}, {}, 0, [])
    found = names(store)
    with ThreadPoolExecutor(READERS) as pool:
        for name, (_, rows) in zip(found, pool.map(lambda n: read(store, n, light), found), strict=True):
            out.run = max(out.run, run_of(name))
            for row in rows:
                out.rows[row.path], out.shard[row.path] = row, name
    used = set(out.shard.values())
    out.superseded = [n for n in found if n not in used]
    return out


def run_of(name: str) -> int:
    """The run that a shard belongs to.

    Raises:
        RecordsError: a file that no run wrote.
    """
    number = name.partition("-")[0]
    if not number.isdecimal():
        raise RecordsError(f"{name}{SUFFIX} is not a shard of a cluster run; move it away")
    return int(number)


def order(path: str) -> tuple[tuple[bool, str], ...]:
    """The order of one machine's records: by name, a folder's own files before those of its folders."""
    parts = path.split("/")
    return tuple((i + 1 < len(parts), part) for i, part in enumerate(parts))


def lines(store: Store, wanted: Known, paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """(path, its record as a JSON line) in this order, which should be that of the shards: few are held at a time."""
    ordered = list(paths)
    last = {wanted.shard[p]: i for i, p in enumerate(ordered)}  # after which a shard is read no more
    held: dict[str, dict[str, str]] = {}
    for i, path in enumerate(ordered):
        name = wanted.shard[path]
        if name not in held:
            held[name] = {r.path: r.record for r in read(store, name, ("path", "record"))[1]}
        yield path, held[name][path].encode() + b"\n"
        if last[name] == i:
            del held[name]


def gather(place: AnyPath, target: AnyPath, root: AnyPath | None = None) -> int:
    """The shards of a cluster's output as one records file, for review and export; how many photos it has.

    Called again, it takes over what was detected since. What people decided in the file stays.

    Args:
        place: the output (a folder or a URL), or the folder records.parquet in it.
        target: the records file.
        root: where this machine sees the input's photos (a mounted bucket). Default: where the cluster saw them.

    Raises:
        RecordsError: no shards, or a file of another input.
    """
    text = os.fspath(place).rstrip("/")
    store = Store(text.removesuffix(FOLDER).rstrip("/") if text.endswith(f"/{FOLDER}") or text == FOLDER else text)
    found = known(store)
    if not found.rows:
        raise RecordsError(f"{store.url} has no records of a cluster run ({FOLDER}/*{SUFFIX})")
    header, _ = read(store, names(store)[-1], ("path",))
    if root is not None:
        header = dataclasses.replace(header, root=records.escape(os.path.abspath(root)))
    target = Path(target)
    with records.lock(target):
        decided: Mapping[str, Record] = {}
        if target.exists():
            old = RecordsFile(target)
            if old.header.root != header.root:
                raise RecordsError(f"{target} belongs to another input, {old.header.root}")
            header, decided = dataclasses.replace(header, review=old.header.review), old.decided()
            old.close()
        paths = sorted(found.rows, key=order)
        records.rewrite(target, header, _merged(lines(store, found, paths), decided))
    return len(paths)


def _merged(fresh: Iterable[tuple[str, bytes]], decided: Mapping[str, Record]) -> Iterator[bytes]:
    for path, line in fresh:
        if earlier := decided.get(path):
            found = Record.from_dict(json.loads(line))
            line = to_line(_with_decisions(found, earlier).to_dict())
        yield line


def _with_decisions(found: Record, earlier: Record) -> Record:
    """What a cluster found, with what people decided; where it is what they decided on, their record."""
    if found.sha256 == earlier.sha256 and found.detection == earlier.detection and found.error == earlier.error:
        return earlier
    return found.keep_decisions(earlier) if found.error is None else earlier.replace(error=found.error)
