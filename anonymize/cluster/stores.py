"""Where photos lie and go: a folder, or any store that fsspec knows, by its URL."""

from __future__ import annotations

import os
import posixpath
import re
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from ..disk import AnyPath, write_whole
from ..errors import PathError
from ..extras import extra

T = TypeVar("T")
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
# A put of these appears whole or not at all; elsewhere a file is written under another name, then moved.
PUTS_ARE_WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "memory"})
TRIES = 3  # of a call that fails for another reason than a file that is not there
# What tells two contents of one name apart, by store.
_TAGS = ("ETag", "etag", "generation", "md5Hash", "mtime", "LastModified", "last_modified", "created")


def is_url(place: AnyPath) -> bool:
    return URL.match(os.fspath(place)) is not None


class Store:
    """A folder of files, by relative POSIX paths. Credentials come from the environment, as fsspec's packages read it.

    Args:
        place: a folder, or a URL such as s3://bucket/folder.

    Attributes:
        url: as records' header names it: a URL, or an absolute path. is_local: a folder.

    Raises:
        PathError: fsspec knows no such store, or the package that reads it is not installed.
    """

    def __init__(self, place: AnyPath) -> None:
        with extra("cluster", "a cluster run"):
            import fsspec
        self.is_local = not is_url(place)
        self.url = os.path.abspath(place) if self.is_local else os.fspath(place).rstrip("/")
        try:
            if self.is_local:
                self._fs, self.root = fsspec.filesystem("file"), self.url
            else:
                self._fs, self.root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except (ValueError, ImportError) as e:
            raise PathError(f"{self.url} cannot be opened: {e}") from e
        protocol = self._fs.protocol
        names = {protocol} if isinstance(protocol, str) else set(protocol)
        self._is_whole = bool(names & PUTS_ARE_WHOLE)

    def path(self, name: str) -> str:
        """A file's name as fsspec takes it."""
        return posixpath.join(self.root, name)

    def files(self, below: str = "") -> dict[str, str]:
        """All files: relative path -> version, which is another one when the content is."""
        base = self.path(below).rstrip("/")
        found = _again(lambda: self._fs.find(base, detail=True), missing={})
        cut = len(self.root.rstrip("/")) + 1
        return {name[cut:]: version(info) for name, info in found.items() if len(name) > cut}

    def is_file(self, name: str = "") -> bool:
        return bool(_again(lambda: self._fs.isfile(self.path(name) if name else self.root)))

    def version(self, name: str) -> str:
        """A file's version; "": not there."""
        return _again(lambda: version(self._fs.info(self.path(name))), missing="")

    def read(self, name: str, **part: int) -> bytes:
        """A file's bytes, or those from `start` to `end`, fewer where it has no more.

        Raises:
            OSError: not there (FileNotFoundError), or the store fails.
        """
        data: bytes = _again(lambda: self._fs.cat_file(self.path(name), **part))
        return data

    def publish(self, name: str, data: bytes) -> str:
        """Write a file that appears whole or not at all; its version.

        Raises:
            OSError: the store fails, or the file did not arrive whole.
        """
        target = self.path(name)
        if self.is_local:
            write_whole(target, data)
        elif self._is_whole:
            _again(lambda: self._fs.pipe_file(target, data))
        else:
            _again(lambda: self._publish_by_moving(target, data))
        info = _again(lambda: self._fs.info(target))
        if info["size"] != len(data):
            raise OSError(f"{name} has {info['size']} bytes after {len(data)} were written")
        return version(info)

    def _publish_by_moving(self, target: str, data: bytes) -> None:
        folder = posixpath.dirname(target)
        temporary = posixpath.join(folder, f".anonymize-{secrets.token_hex(8)}.tmp")
        self._fs.makedirs(folder, exist_ok=True)
        try:
            self._fs.pipe_file(temporary, data)
            self._fs.mv(temporary, target)
        finally:
            if self._fs.exists(temporary):
                self._fs.rm_file(temporary)

    def remove(self, name: str) -> None:
        """Delete a file, if it is there."""
        _again(lambda: self._fs.rm_file(self.path(name)), missing=None)


def version(info: Mapping[str, Any]) -> str:
    """What fsspec says of a file, as one text that is another one when the content is."""
    tag = next((info[t] for t in _TAGS if info.get(t)), "")
    if isinstance(tag, datetime):  # some stores list numbers, and tell of one file in dates
        tag = tag.timestamp()
    text = f"{tag:.6f}" if isinstance(tag, float) else str(tag).strip('"')
    return f"{info['size']}-{text}"


_RAISE: Any = object()


def _again(call: Callable[[], T], missing: Any = _RAISE) -> T:
    """A call to a store, tried again when it fails. missing: the answer where nothing is there."""
    for left in range(TRIES - 1, -1, -1):
        try:
            return call()
        except FileNotFoundError:
            if missing is _RAISE:
                raise
            return missing
        except OSError as e:
            if not left or isinstance(e, (PermissionError, IsADirectoryError, NotADirectoryError)):
                raise
            time.sleep(0.5 * (TRIES - left))
    raise AssertionError


def overlap(source: Store, output: Store) -> None:
    """Refuse an output that is the input, or holds it.

    Raises:
        PathError: either.
    """
    if source.is_local != output.is_local:
        return
    real = (lambda s: os.path.realpath(s.url)) if source.is_local else (lambda s: s.url)
    one, other = (real(s).rstrip("/") + "/" for s in (source, output))
    if one == other:
        raise PathError(f"the output {output.url!r} is the input: sources are never overwritten")
    if one.startswith(other):
        raise PathError(f"the input lies in the output {output.url!r}; choose another output")
