"""What the clips of an output folder show (clips.jsonl)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .. import disk, images
from ..errors import AuditError, ClipError, RecordsError
from ..json_lines import JsonLines, lock, read_lines
from ..outputs import QUARANTINED
from ..records import escape, unescape

MEMORY_NAME = "clips.jsonl"
_WRITING = "?"  # what a file shows while it is written


class Memory:
    """What the clips of an output folder show, so that a repeated run touches only what changed.

    And so that this program removes only files that it wrote. A context manager: while it is open no other process may
    write here.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, dict[str, Any]] = {}
        self._open = ExitStack()
        self._log: JsonLines

    def __enter__(self) -> Memory:
        file = self._folder / MEMORY_NAME
        with ExitStack() as stack:
            stack.enter_context(lock(file))
            self._known = read(self._folder)
            self._log = stack.enter_context(JsonLines(file))
            disk.remove_leftovers(self._folder)  # of a killed run
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)

    def is_current(self, path: str, target: Path, shows: str) -> bool:
        known = self._known.get(path, {})
        name = self._name(target)
        return (known.get("output"), known.get("shows"), known.get("stamp")) == (name, shows, _stamp(target))

    def lost(self, paths: Iterable[str]) -> list[str]:
        """Those of these clips whose file is no longer as it was noted."""
        return [p for p in paths if _stamp(place(self._known[p], self._folder)) != self._known[p]["stamp"]]

    def begin(self, path: str, target: Path, shows: str) -> None:
        """The clip is about to be written: what an earlier run wrote in its place goes.

        Raises:
            ClipError: there is a file of another program in its place. AuditError: an audit took the same clip away.
        """
        if self._known.get(path, {}).get("shows") == QUARANTINED + shows:
            raise AuditError("an audit put it in quarantine; correct its tracks, or release it")
        self.remove(path)
        if os.path.lexists(target):
            raise ClipError("the output has a file in its place that this program did not write; move it away")
        self.note(path, target, _WRITING)

    def note(self, path: str, target: Path, shows: str, approval: str = "", quality: int = 0) -> None:
        """A clip is written.

        Args:
            path: of its record. shows: what decides its frames.
            approval: the record's `approval_hash`, by which an audit knows the settings. quality: `Encoding.quality`.
        """
        digest = "" if shows == _WRITING else disk.sha256(target)
        self._append(
            {
                "path": path,
                "output": self._name(target),
                "shows": shows,
                "stamp": _stamp(target),
                "sha256": digest,
                "approval": approval,
                "quality": quality,
            }
        )

    def _append(self, entry: dict[str, Any]) -> None:
        self._log.check_in_place()
        self._log.append(entry)
        self._known[str(entry["path"])] = entry

    def note_quarantine(self, path: str) -> None:
        """An audit takes this clip away: the same one is not written again."""
        known = self._known[path]
        self._append({**known, "shows": QUARANTINED + known["shows"].removeprefix(QUARANTINED), "stamp": None})

    def note_gone(self, path: str) -> None:
        """There is no file in a clip's place any more."""
        self._append({**self._known[path], "shows": "", "stamp": None})

    def note_back(self, path: str) -> None:
        """A clip came back from quarantine."""
        known = self._known[path]
        stamp = _stamp(place(known, self._folder))
        self._append({**known, "shows": known["shows"].removeprefix(QUARANTINED), "stamp": stamp})

    def remove(self, path: str) -> None:
        known = self._known.get(path)
        if known and known["shows"] and not known["shows"].startswith(QUARANTINED):
            place(known, self._folder).unlink(missing_ok=True)
            self.note_gone(path)

    def _name(self, target: Path) -> str:
        return escape(target.relative_to(self._folder))


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Path of a clip's record -> what is remembered of it; {} where no clip was written.

    Raises:
        RecordsError: it is not what this program wrote.
    """
    file = folder / MEMORY_NAME
    out: dict[str, dict[str, Any]] = {}
    for entry in read_lines(file) if file.exists() else ():
        if not all(isinstance(entry.get(k), str) for k in ("path", "output", "shows")):
            raise RecordsError(f"{file} is not what this program wrote; move it away")
        out[entry["path"]] = entry
    return out


def place(entry: Mapping[str, Any], folder: Path) -> Path:
    """Where a clip of `read` lies.

    Raises:
        PathError: outside of the folder.
    """
    return images.output_path(unescape(str(entry["output"])), folder)


def _stamp(path: Path) -> list[int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]
