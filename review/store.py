"""The records file that people decide on, read record by record, and written to decision by decision.

A decision is appended and written through to the disk before it is acknowledged. It names what the person saw, a hash
of the photo's regions and settings: where these are others now, it is refused (StaleDecisionError), nothing is written.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from anonymize import records
from anonymize.corrections import decide, last_words
from anonymize.errors import RecordsError, StaleDecisionError
from anonymize.records import Header, Record
from anonymize.settings import Settings

_PATH = re.compile(rb'\{"path":("(?:[^"\\]|\\.)*")')

# Where a record's last line stands in the file: (offset, length). It changes with the record, and with a rewrite.
Span = tuple[int, int]


class ReviewStore:
    """A records file that people decide on: knows where each photo's last line stands, reads a record when asked.

    So 10,000 photos with hundreds of candidates each need little memory; looking again costs what was appended.
    Safe for several threads and processes: a decision holds the file's lock, reads what others wrote meanwhile, is
    checked against it, appended, and written through to the disk.

    Args:
        path: the records file.
        settings: those that approvals bind to; those of the file (a review's choice, else the detection's) when not
            given.

    Raises:
        RecordsError: not a records file; Windows, which replaces no file that is open, as other reviewers' may be.
    """

    def __init__(self, path: Path, settings: Settings | None = None) -> None:
        if not hasattr(os, "pread"):
            raise RecordsError("Review needs Linux or macOS; on Windows it works in WSL")
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
        with self._guard, records.lock(self.path):
            spans = self.refresh()
            chosen = None if settings == self.header.settings else settings
            self._rewrite(dataclasses.replace(self.header, review=chosen), spans)
            self._given = None

    def missing_photos(self) -> list[str]:
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
        with self._guard, records.lock(self.path):
            spans, gone = self.refresh(), set(self.missing_photos())
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
        except (KeyError, TypeError, ValueError, RecursionError) as e:
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
        except (KeyError, TypeError, ValueError, RecursionError) as e:
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
            expected: the `approval_hash` of what the person saw, its regions and settings; the `regions_hash` where
                settings were not shown; None only where nobody looked (a script's bulk call).

        Raises:
            StaleDecisionError: the photo changed meanwhile; nothing was written. RecordsError: no such photo, or the
                file is busy (a detection is writing it).
        """
        with self._guard, records.lock(self.path):
            record = self[path]
            is_seen = expected in (None, record.regions_hash(), record.approval_hash(self.settings))
            if expected is not None and not is_seen:
                if expected.startswith(record.regions_hash()):
                    raise StaleDecisionError(f"{path}: thresholds or effects changed meanwhile; look at it again")
                raise StaleDecisionError(f"{path} changed meanwhile{last_words(record)}; look at it again")
            changed = decide(record, what, who=who, settings=self.settings, **given)
            if changed == record:
                return record
            with records.Writer(self.path, self.header) as writer:
                writer.write(changed)
                writer.sync()
            return self[path]

    def __enter__(self) -> ReviewStore:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
