"""Files that appear whole or not at all, and the hashes of files."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

AnyPath = str | os.PathLike[str]
_LEFTOVER = ".anonymize-*.tmp"


@contextmanager
def replacing(target: AnyPath, *, is_locked: bool = False) -> Iterator[Path]:
    """A temporary file's path beside `target`, for the caller to write; it becomes the target when all went well.

    A link at `target` is replaced; what it leads to stays as it is. Missing folders are made.

    Args:
        is_locked: nobody else writes this target now: the temporary file has one name, and a killed run's is replaced.

    Raises:
        OSError: the folder cannot be made or written. Whatever the caller raises; then nothing is left.
    """
    target = Path(target)
    name = f".{target.name}.tmp" if is_locked else _LEFTOVER.replace("*", secrets.token_hex(8))
    temporary = target.with_name(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary.unlink(missing_ok=True)
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_whole(target: AnyPath, data: bytes, verify: Callable[[Path], None] = lambda _: None) -> None:
    """Write a file that appears at `target` whole or not at all, as `replacing` does.

    Args:
        verify: looks at the temporary file and raises where it may not become the target.
    """
    with replacing(target) as temporary:
        with open(temporary, "xb") as file:
            file.write(data)
        verify(temporary)


def to_json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def write_json(target: AnyPath, value: Any) -> None:
    write_whole(target, to_json(value))


def told(error: OSError) -> str:
    """What the system refused, as a sentence with the path: not "[Errno 20] Not a directory: 'a/b'"."""
    if not error.filename or not error.strerror or not isinstance(error.filename, (str, bytes)):
        return error.strerror or str(error)
    path = Path(os.fsdecode(error.filename))
    because = error.strerror
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        file = next((p for p in (path, *path.parents) if p.is_file()), None)
        because = f"{str(file)!r} is a file; a folder is needed" if file else because
    return f"{str(path)!r} cannot be read or written: {because}"


def remove_leftovers(folder: AnyPath) -> int:
    """Delete the temporary files that a killed run left below `folder`; how many there were.

    Only for a folder into which no other run is writing.
    """
    leftovers = list(Path(folder).rglob(_LEFTOVER))
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    return len(leftovers)


def stamp(path: AnyPath) -> list[int] | None:
    """Size and time of a file, not of what a link leads to: another file in its place has others. None: not there."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


def sha256(path: AnyPath) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
