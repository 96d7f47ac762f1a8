"""What each file of an output folder shows, kept in a file of JSON lines there."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from .disk import remove_leftovers, stamp, write_whole
from .errors import RecordsError
from .json_lines import JsonLines, lock, read_lines, to_line

LOCKED = "exports.jsonl"  # whose lock is the folder's, whatever is written into it
WRITING = "?"  # what a file shows while it is written: nothing that it could be taken for


NOTHING: Mapping[str, Any] = MappingProxyType({})


class Entry(NamedTuple):
    """What is known of a file. `shows`: of what, a hash; "": it was taken away. `more`: as `OutputMemory` keeps it."""

    shows: str
    stamp: Any
    more: Mapping[str, Any] = NOTHING


class OutputMemory:
    """The memory of an output folder.

    It makes a repeated run touch only what changed, and keeps this program from ever removing a file that it did not
    write. A context manager: while it is open no other process may write in the folder.

    Args:
        file: where it is kept. place: the file that an entry is of; it raises for one that leads elsewhere.
        keeps: what of an entry is held in memory besides; of a million photos nothing is.
        beside: a further folder that is written together with this one.

    Attributes:
        known: path of a photo or clip -> its last entry.
    """

    def __init__(
        self,
        file: Path,
        place: Callable[[Mapping[str, Any]], Path],
        keeps: tuple[str, ...] = (),
        beside: Path | None = None,
    ) -> None:
        self._file, self._place, self._keeps, self._beside = file, place, keeps, beside
        self.known: dict[str, Entry] = {}
        self._guard = threading.Lock()
        self._open = contextlib.ExitStack()
        self._log: JsonLines

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(lock(self._file.with_name(LOCKED)))
            self._tidy()
            self._log = stack.enter_context(JsonLines(self._file))
            for folder in filter(None, (self._file.parent, self._beside)):
                remove_leftovers(folder)  # of a killed run
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()  # which raises, whatever went wrong before, where the memory itself is gone

    def _tidy(self) -> None:
        """Read it; one with more lines than files is written anew, the last line of each.

        So is one that has another name, too (a copy by hard links): that is somebody else's.
        """
        lines = self.read()
        kept = {e["path"]: e for e in lines}
        kept = {path: e for path, e in kept.items() if e["shows"]}  # what was taken away need not be known
        if len(kept) < len(lines) or (self._file.exists() and self._file.stat().st_nlink > 1):
            write_whole(self._file, b"".join(map(to_line, kept.values())))

    def read(self) -> list[dict[str, Any]]:
        """Read what the files show; the lines that say so.

        Raises:
            RecordsError: it is not what this program wrote.
        """
        lines = read_lines(self._file) if self._file.exists() else []
        try:
            self.known = {e["path"]: self._entry(e) for e in lines}
            for entry in {e["path"]: e for e in lines}.values():
                self._place(entry)
                entry["shows"].endswith("")  # raises for what is no text
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise RecordsError(f"{self._file} is not what this program wrote; move it away") from e
        return lines

    def shows(self, path: str) -> str:
        """What the file of a photo or clip shows; "" where there is none of ours."""
        return self.known[path].shows if path in self.known else ""

    def is_whole(self, path: str, file: Path) -> bool:
        """Whether the file is as it was noted last, untouched since."""
        return bool(self.shows(path)) and self.known[path].stamp == stamp(file)

    def place(self, path: str) -> Path:
        """Where the file of a photo or clip lies that is known."""
        return self._place({"path": path, **self.known[path].more})

    def lost(self, paths: Iterable[str]) -> list[str]:
        """Those of these photos or clips whose file another program removed, or changed, after it was noted."""
        return [p for p in paths if not self.is_whole(p, self.place(p))]

    def left_over(
        self, what: str, looked_at: Iterable[str], source: Callable[[str], Path], ours: str
    ) -> dict[str, str]:
        """Photos or clips of earlier runs that lie here, were not looked at, and of which there is something to say.

        Args:
            what: they are. looked_at: paths. source: path -> its file in the input. ours: this run's `export_hash`.

        Returns:
            Path -> what is to be said.
        """
        out = {}
        for path in sorted(self.known.keys() - set(looked_at)):
            shows, _, more = self.known[path]
            if not shows or not os.path.lexists(self.place(path)):
                continue
            if not os.path.lexists(source(path)):
                out[path] = f"its {what} is no longer in the input"
            elif not str(more.get("approval", shows)).endswith(ours):
                out[path] = "it was written with other settings"
        return out

    def put(self, path: str, file: Path | None, shows: str, **more: Any) -> None:
        """From now on the file shows this; "", or no file: it is gone."""
        entry = {"path": path, "shows": shows, "stamp": None if file is None else stamp(file), **more}
        with self._guard:
            self._log.append(entry)
            self.known[path] = self._entry(entry)

    def _entry(self, entry: Mapping[str, Any]) -> Entry:
        more = {name: entry[name] for name in self._keeps if name in entry}
        return Entry(entry["shows"], entry.get("stamp"), more or NOTHING)
