"""What the clips of an output folder show (clips.jsonl)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import disk, images
from ..errors import AuditError, ClipError
from ..output_memory import WRITING, OutputMemory
from ..outputs import QUARANTINED
from ..records import escape, unescape

MEMORY_NAME = "clips.jsonl"


class Memory(OutputMemory):
    """The memory of a folder of clips; a clean clip may have another name than its source."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        keeps = ("output", "sha256", "approval", "quality", "settings")
        super().__init__(folder / MEMORY_NAME, lambda entry: place(entry, folder), keeps)

    def is_current(self, path: str, target: Path, shows: str) -> bool:
        is_shown = self.shows(path) == shows and self.known[path].more["output"] == self._name(target)
        return is_shown and self.is_whole(path, target)

    def begin(self, path: str, target: Path, shows: str) -> None:
        """The clip is about to be written: what an earlier run wrote in its place goes.

        Raises:
            ClipError: there is a file of another program in its place. AuditError: an audit took the same clip away.
        """
        if self.shows(path) == QUARANTINED + shows:
            raise AuditError("an audit put it in quarantine; correct its tracks, or release it")
        self.remove(path)
        if os.path.lexists(target):
            raise ClipError("the output has a file in its place that this program did not write; move it away")
        self.put(path, target, WRITING, output=self._name(target), sha256="")

    def note(
        self, path: str, target: Path, shows: str, approval: str, quality: int, settings: Mapping[str, Any]
    ) -> None:
        """A clip is written.

        Args:
            path: of its record. shows: what decides its frames.
            approval: the record's `approval_hash`. quality: `Encoding.quality`. settings: by which it was written; an
                audit finds them here, whatever else is written into the folder later.
        """
        own = {"approval": approval, "quality": quality, "settings": settings}
        self.put(path, target, shows, output=self._name(target), sha256=disk.sha256(target), **own)

    def put(self, path: str, file: Path | None, shows: str, **more: Any) -> None:
        self._log.check_in_place()
        super().put(path, file, shows, **more)

    def remove(self, path: str) -> None:
        if (shown := self.shows(path)) and not shown.startswith(QUARANTINED):
            self.place(path).unlink(missing_ok=True)
            self.put(path, None, "", **self.known[path].more)

    def _name(self, target: Path) -> str:
        return escape(target.relative_to(self._folder))


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Path of a clip's record -> what is remembered of it; {} where no clip was written.

    Raises:
        RecordsError: it is not what this program wrote.
    """
    return {entry["path"]: entry for entry in Memory(folder).read()}


def place(entry: Mapping[str, Any], folder: Path) -> Path:
    """Where a clip of `read` lies.

    Raises:
        PathError: outside of the folder.
    """
    return images.output_path(unescape(str(entry["output"])), folder)
