"""An export that is audited, in the background: an audit takes seconds per photo, longer than a browser waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from anonymize.web.job_view import audit_words
from anonymize.web.jobs import AuditProgress

Values = dict[str, Any]


class Exporting:
    """Starts at once.

    Args:
        work: writes and audits; what it returns is the answer.
        failed: the answer to what it raises.
    """

    def __init__(self, work: Callable[[AuditProgress], Values], failed: Callable[[Exception], Values]) -> None:
        self._progress, self._answer = AuditProgress(), Values()
        self._work, self._failed = work, failed
        self._thread = threading.Thread(target=self._run, name="audited export", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._answer = self._work(self._progress)
        except Exception as e:
            self._answer = self._failed(e)

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def cancel(self) -> None:
        """Audit no more photos after the one in work."""
        self._progress.stop.set()

    def values(self) -> Values:
        """How far it is, and its answer at the end."""
        if self.is_running:
            p = self._progress
            return {"running": {"text": " · ".join(audit_words(p)), "share": p.done / max(p.of, 1)}}
        return self._answer
