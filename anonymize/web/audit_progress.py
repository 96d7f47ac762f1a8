"""How far an audit in the background is, for the page that waits for it, and how it is stopped."""

from __future__ import annotations

import threading
import time

from ..audit import Audit


class AuditProgress:
    """An audit that somebody waits for.

    Attributes:
        done, of: files that were looked at, and how many there are; 0 of 0 before the first one.
        failed: of those that were looked at. stop: set it to end after the file in work.
    """

    def __init__(self) -> None:
        self.done = self.of = self.failed = 0
        self.stop = threading.Event()
        self._started = time.monotonic()

    def watch(self, audit: Audit, of: int) -> None:
        """Told by `audit_folder` after each file."""
        if not self.done:
            self._started = time.monotonic()  # what loads the networks takes its time once
        self.done, self.of, self.failed = len(audit.photos), of, len(audit.failed)

    @property
    def seconds_left(self) -> float | None:
        """A guess from the rate so far; None before the second file."""
        if self.done < 2:
            return None
        return (time.monotonic() - self._started) / (self.done - 1) * (self.of - self.done)
