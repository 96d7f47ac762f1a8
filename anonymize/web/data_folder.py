"""The folder of one server: locked while it runs, deleted when it stops, swept by the next one when it was killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

PREFIX = "anonymize-server-"
_LOCK = ".lock"


@contextlib.contextmanager
def data_folder(parent: Path | None = None) -> Iterator[Path]:
    """A new folder, mode 700, that is deleted at the end. What servers that are gone left beside it is deleted first.

    Args:
        parent: where it is made; the system's folder for temporary files by default.

    Raises:
        OSError: it cannot be made.
    """
    parent = (parent or Path(tempfile.gettempdir())).absolute()
    parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    sweep(parent)
    folder, lock = _create(parent)
    try:
        yield folder
    finally:
        _delete(folder, lock)


def sweep(parent: Path) -> int:
    """Delete the folders of servers that are gone; how many those were."""
    swept = 0
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or (hasattr(os, "getuid") and found.st_uid != os.getuid()):
                continue  # a link, or somebody else's
            lock = FileLock(folder / _LOCK)
            lock.acquire(blocking=False)
        except (Timeout, OSError):  # its server lives; another one sweeps it
            continue
        _delete(folder, lock)
        swept += 1
    return swept


def _create(parent: Path) -> tuple[Path, FileLock]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        lock = FileLock(folder / _LOCK)
        # Another server that starts now may have taken it for a dead one's; the lock then makes the folder again.
        with contextlib.suppress(Timeout, FileNotFoundError):
            lock.acquire(blocking=False)
            folder.chmod(0o700)
            return folder, lock


def _delete(folder: Path, lock: FileLock) -> None:
    """The lock goes last: a server that is killed here leaves a folder that the next one sweeps."""
    for entry in folder.iterdir() if folder.is_dir() else ():
        if entry.name != _LOCK:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
    if os.name == "nt":  # there an open file cannot be deleted
        lock.release()
    shutil.rmtree(folder, ignore_errors=True)
    lock.release()


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """SIGTERM and SIGINT end the block in order, once: its clean-up is not broken off by a second one."""
    stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        if not stopping:
            stopping = True
            raise SystemExit(0)

    before = {s: signal.signal(s, stop) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
