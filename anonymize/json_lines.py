"""Files of JSON lines: whole at every moment, also when a process is killed, and written by one process at a time."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from .disk import AnyPath, replacing, told
from .errors import RecordsError

LOCK_SECONDS = 10.0  # how long a writer waits for another one


def lock(path: AnyPath) -> FileLock:
    """The lock of a file between processes: whoever appends or rewrites holds it, readers need none.

    It is a file of its own beside it, because a rewrite replaces the file itself.

    Raises, when entered:
        RecordsError: another program holds it for longer than LOCK_SECONDS. OSError: it cannot be made in the folder.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return _Lock(path.with_name(f".{path.name}.lock"), timeout=LOCK_SECONDS)


class _Lock(FileLock):
    def acquire(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().acquire(*args, **kwargs)
        except OSError as e:
            file = Path(self.lock_file)
            if isinstance(e, Timeout) and file.exists():
                name = file.name[1 : -len(".lock")]
                raise RecordsError(f"{name} is busy: another program is writing it; try again when it is done") from e
            # The folder is what people know, and the lock waits for a file that no try of it can make.
            why = "no file can be made in it" if isinstance(e, Timeout) else e.strerror or str(e)
            raise OSError(e.errno or errno.EACCES, why, str(file.parent)) from e


def to_line(value: Mapping[str, Any] | Sequence[Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def write_lines(path: AnyPath, lines: Iterable[bytes], *, is_locked: bool = False) -> None:
    """Write a file of such lines anew, whole or not at all, through to the disk. `is_locked`: as for `replacing`."""
    with replacing(path, is_locked=is_locked) as temporary, open(temporary, "xb") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: AnyPath) -> list[dict[str, Any]]:
    """The values of a file of JSON lines (`JsonLines`); a torn last line is left out.

    Raises:
        RecordsError: no such file, a broken line that is not the last.
    """
    return list(each_line(path))


def each_line(path: AnyPath) -> Iterator[dict[str, Any]]:
    """`read_lines`, one after the other."""
    try:
        with open(path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                if (value := value_of(line)) is not None:
                    yield value
                elif line.endswith(b"\n"):  # without its end it is the torn last line of a killed run
                    raise RecordsError(f"{path}: line {number} is broken: {line[:80].decode(errors='replace')!r}")
    except OSError as e:
        raise RecordsError(f"cannot read records: {told(e)}") from e


def value_of(line: bytes) -> dict[str, Any] | None:
    """What a line says; None for a broken one. The beginning of a JSON object is never one itself."""
    try:
        text = line.decode()  # a line may be torn within a character
        value = json.loads(text)
        if "\\u" in text:
            to_line(value)  # half of a surrogate pair could be read, but never be written again
    except (ValueError, RecursionError):  # that: brackets in brackets in brackets
        return None
    return value if isinstance(value, dict) else None


class JsonLines:
    """An append-only file of JSON lines that is whole at every moment, for one process at a time.

    A link is not followed: what it leads to is somebody else's. Opening cuts off the torn last line of a killed
    process. `append` returns when the system has the line, so a killed process loses nothing; a line that does not fit
    on the disk is taken back before the OSError is raised.

    Raises:
        RecordsError: it is a link; when it is written or closed, it is no longer in its place.
    """

    def __init__(self, path: AnyPath) -> None:
        self._path = Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.is_symlink():
            raise RecordsError(f"{path} is a link, through which nothing is written; name the file itself")
        self._file = open(path, "a+b", buffering=0, opener=_follow_no_link)  # noqa: SIM115 - closed by close()
        self._end = self._last_line_end()
        self._file.seek(self._end)
        last = self._file.read()
        if value_of(last) is None:
            self._file.truncate(self._end)
        else:  # whole, but for the line's end: written by hand or by a script
            self._file.write(b"\n")
            self._end += len(last) + 1

    def _last_line_end(self) -> int:
        """Bytes up to and with the last line's end, sought from the end: one decision among 10,000 is quick."""
        end = self._file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(end - 65_536, 0)
            self._file.seek(start)
            found = self._file.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
        return 0

    @property
    def empty(self) -> bool:
        return self._end == 0

    def append(self, value: Mapping[str, Any]) -> None:
        line = to_line(value)
        if not os.fstat(self._file.fileno()).st_nlink:
            raise self._gone()
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._file.name)
        except OSError:
            self._file.truncate(self._end)
            raise
        self._end += len(line)

    def sync(self) -> None:
        """Ask the system to write to the disk itself (what a power cut must not lose: people's decisions)."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), os.stat(self._path, follow_symlinks=False))
        except OSError:
            return False

    def check_in_place(self) -> None:
        """Raise RecordsError where the file is no longer in its place."""
        if not self._is_in_place():
            raise self._gone()

    def __exit__(self, error: object, *_: object) -> None:
        is_there = self._is_in_place()
        self.close()
        if not is_there and error is None:
            raise self._gone()

    def _gone(self) -> RecordsError:
        return RecordsError(f"{self._path} was removed or replaced while it was written; run the same command again")


def _follow_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)
