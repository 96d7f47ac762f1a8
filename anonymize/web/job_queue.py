"""The threads in which all visitors' jobs run, and who waits."""

from __future__ import annotations

import collections
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from ..cpus import cores
from ..errors import SettingsError
from ..settings import Settings
from .detector_pool import DetectorPool
from .jobs import Job
from .sessions import Closeable


class JobQueue:
    """The threads in which all visitors' jobs run, first come, first served."""

    def __init__(self, pool: DetectorPool, at_once: int = 0) -> None:
        self.pool = pool
        self._pool = ThreadPoolExecutor(at_once or cores(), thread_name_prefix="batch")
        self._waiting: collections.deque[str] = collections.deque()

    def start(self, job: Job, settings: Settings, *, again: bool = False) -> None:
        """Detect and hide; with `again`, only write anew what other settings or corrections change.

        Raises:
            SettingsError: it is running already, or has no photos.
        """
        with job.lock:
            if job.state in ("waiting", "running"):
                raise SettingsError("This batch is already being worked on.")
            if job.auditing:
                raise SettingsError("Leaks are being looked for in these photos; please wait, or cancel it.")
            if not job.count and job.source is None:
                raise SettingsError("Add some photos first.")
            job.is_other_choice = settings.export_hash() != job.settings.export_hash()
            job.settings, job.state, job.problem, job.audited, job.audit_problem = settings, "waiting", "", None, ""
            job.stop.clear()
        self.submit(job, lambda: job.work(lambda: self.pool.predictor(settings), again))

    def audit(self, job: Job) -> None:
        """Look for leaks in what a job wrote.

        Raises:
            GoneError: nothing has been written. SettingsError: it is being looked at already.
        """
        job.begin_audit()
        self.submit(job, job.audit)

    def submit(self, job: Closeable, work: Callable[[], None]) -> None:
        """Do a job's work when it is its turn; `work` never raises."""
        self._waiting.append(job.id)
        self._pool.submit(self._work, job.id, work)

    def before(self, job: Closeable) -> int:
        """How many jobs are in front of this one."""
        try:
            return self._waiting.index(job.id)
        except ValueError:
            return 0

    def _work(self, id: str, work: Callable[[], None]) -> None:
        self._waiting.remove(id)
        work()

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
