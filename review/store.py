"""The records file that people decide on, read record by record, and written to decision by decision.

A decision is appended and written through to the disk before it is acknowledged. It names what the person saw, a hash
of the photo's regions and settings: where these are others now, it is refused (StaleDecisionError), nothing is written.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from anonymize import records
from anonymize.corrections import decide, last_words
from anonymize.errors import RecordsError, StaleDecisionError
from anonymize.records import Header, Record
from anonymize.records_file import RecordsFile
from anonymize.settings import Settings


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
        self._guard = threading.RLock()
        self.records = RecordsFile(path, is_written=True)

    @property
    def header(self) -> Header:
        return self.records.header

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
            known = self.refresh()
            chosen = None if settings == self.header.settings else settings
            known.rewrite(dataclasses.replace(self.header, review=chosen))
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
            known, gone = self.refresh(), set(self.missing_photos())
            for path in paths:
                if path not in known:
                    raise RecordsError(f"{self.path} has no photo {path!r}")
                if path not in gone:
                    raise RecordsError(f"{path} is still in {self.header.root}, or that folder is not there")
            wanted = gone.intersection(paths or gone)
            if wanted:
                known.rewrite(self.header, wanted)
            return sorted(wanted)

    def refresh(self) -> RecordsFile:
        """Look at what others wrote since: the records by path, in order of first appearance.

        Raises:
            RecordsError: the file is gone, or is no records file.
        """
        self.records.refresh()
        return self.records

    def __getitem__(self, path: str) -> Record:
        with self._guard:
            if path not in self.refresh():
                raise RecordsError(f"{self.path} has no photo {path!r}")
            return self.records[path]

    def __iter__(self) -> Iterator[Record]:
        """Every photo's record as it is now, one after the other."""
        return map(self.records.__getitem__, self.refresh())

    def decide(self, path: str, what: str, *, who: str, expected: str | None = None, **given: Any) -> Record:
        """One decision on one photo, written through to the disk when this returns.

        Args:
            path: the record's path. what, given: as for `decide`.
            expected: the `approval_hash` of what the person saw, its regions and settings; the `content_hash` where
                settings were not shown; None only where nobody looked (a script's bulk call).

        Raises:
            StaleDecisionError: the photo changed meanwhile; nothing was written. RecordsError: no such photo, or the
                file is busy (a detection is writing it).
        """
        with self._guard, records.lock(self.path):
            record = self[path]
            is_seen = expected in (None, record.content_hash(), record.approval_hash(self.settings))
            if expected is not None and not is_seen:
                if expected.startswith(record.content_hash()):
                    raise StaleDecisionError(f"{path}: thresholds or effects changed meanwhile; look at it again")
                raise StaleDecisionError(f"{path} changed meanwhile{last_words(record)}; look at it again")
            changed = decide(record, what, who=who, settings=self.settings, **given)
            if changed == record:
                return record
            with records.Writer(self.path, self.header) as writer:
                writer.write(changed)
                writer.sync()
            return self[path]
