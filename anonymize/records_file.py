"""A records file that is not read whole: where each photo's last line stands, and records parsed when asked for.

Of a large file this is kept beside it (.NAME.lines), so that the next look begins where the last one ended. It is only
a copy: whoever writes the file anew removes it, and where it does not fit, the file is read again.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import threading
import zipfile
import zlib
from array import array
from collections.abc import Container, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .disk import AnyPath, told, write_whole
from .errors import RecordsError
from .json_lines import to_line, value_of
from .records import Header, Record, is_canonical, lines_beside, rewrite

VERSION = 2  # counted up when what is kept beside a file means something else
KEPT = 50_000  # lines that are read anew before they are kept beside the file
_PATH = re.compile(rb'\{"path":"((?:[^"\\]|\\.)*)"')
_PLAIN = re.compile(r"(?:\w[\w-]*(?:\.[\w-]+)*/)*\w[\w-]*(?:\.[\w-]+)*", re.ASCII)  # a path that needs no closer look
_KEPT_NAME = re.compile(r"(?:values|spans|rows|(?:scores|counts)\d+)\.npy")
_SAMPLES = 64  # lines that tell whether what is kept fits


class RecordsFile(Mapping[str, Record]):
    """The records of a file by path, in order of first appearance; each is parsed when it is asked for.

    A million photos with hundreds of candidates each need little memory; looking again costs what was appended.
    Thread-safe. Others may append meanwhile (`refresh` sees it), or write the file anew.

    Args:
        path: the records file.
        is_written: another process may be writing it: a last line without its end counts at the next look.

    Attributes:
        names: paths, a row each, in order of first appearance.
        guard: held while several things are asked of the same state of the file.
        taken: paths in the order in which their lines were read, since `generation` last changed.
        generation: counted up when the file is another one: all rows are new.

    Raises:
        RecordsError: no such file, not a records file, another schema, a line that is no record's.
    """

    def __init__(self, path: AnyPath, *, is_written: bool = False) -> None:
        self.path, self._is_written = Path(path), is_written
        self.generation = 0
        self._file: BinaryIO | None = None
        self.guard = threading.RLock()
        self._clear()
        self.refresh()

    def _clear(self) -> None:
        self._header: Header | None = None
        self._end = self._kept = self._lines = 0
        self.names: list[str] = []
        self.taken: list[str] = []
        self._rows: dict[str, int] = {}
        self._spans = array("q")  # of each row's last line: where it starts, its size, its CRC-32

    @property
    def header(self) -> Header:
        assert self._header is not None  # set by the constructor's refresh
        return self._header

    def refresh(self) -> None:
        """Look at what was written since.

        Raises:
            RecordsError: the file is gone, or is no records file.
        """
        with self.guard:
            try:
                now = os.stat(self.path)
                is_ours = self._file is not None and os.path.samestat(os.fstat(self._file.fileno()), now)
                if not is_ours or now.st_size < self._end:  # rewritten, or cut by another program
                    self._reopen()
                assert self._file is not None
                if now.st_size > self._end:
                    self._file.seek(self._end)
                    for line in self._file:
                        if not line.endswith(b"\n") and (self._is_written or value_of(line) is None):
                            break
                        self._take(line)
            except OSError as e:
                raise RecordsError(f"cannot read records: {told(e)}") from e
            if self._header is None:
                raise RecordsError(f"{self.path} is not a records file: it has no header")
            if len(self.taken) - self._kept > KEPT:
                self._keep()

    def _reopen(self) -> None:
        # The old file stays open until here, so that a new one cannot have its number.
        old, self._file = self._file, open(self.path, "rb")  # noqa: SIM115 - held for the next reading
        if old is not None:
            old.close()
        self._clear()
        self.generation += 1
        self._recall()

    def _take(self, line: bytes) -> None:
        try:
            if self._header is None:
                self._header = Header.from_dict(json.loads(line))
            else:
                # Records begin with their path: the rest is parsed when it is asked for.
                path = _PATH.match(line)
                if path is None:
                    name = json.loads(line)["path"]
                else:
                    raw = path.group(1)
                    name = json.loads(b'"%b"' % raw) if b"\\" in raw else raw.decode()
                if not _PLAIN.fullmatch(name) and not is_canonical(name):
                    raise ValueError(f"{name!r} is no path as records write it")
                self._put(name, self._end, len(line), zlib.crc32(line))
        except RecordsError as e:
            raise RecordsError(f"{self.path}: {e}") from e
        except (KeyError, TypeError, ValueError, RecursionError) as e:
            raise RecordsError(f"{self.path} has a broken line: {line[:80]!r} ({e!r})") from e
        self._end += len(line)

    def _put(self, name: str, start: int, size: int, crc: int) -> None:
        row = self._rows.setdefault(name, len(self.names))
        if row == len(self.names):
            self.names.append(name)
        self._spans[3 * row : 3 * row + 3] = array("q", (start, size, crc))
        self.taken.append(self.names[row])
        self._lines += 1

    # --- what is kept beside the file ---

    def _keep(self) -> None:
        values = {"end": self._end, "lines": self._lines, "names": self.names}
        sample = self._sample(self._end, self._spans)
        keep(lines_beside(self.path), VERSION, {**values, "sample": sample}, spans=np.array(self._spans))
        self._kept = len(self.taken)

    def _recall(self) -> None:
        """Take what is kept, where it fits the file."""
        assert self._file is not None
        values, arrays = recall(lines_beside(self.path), VERSION) or ({}, {})
        with suppress(LookupError, TypeError, ValueError):  # something else
            end, names, spans = values["end"], values["names"], array("q", arrays["spans"].tobytes())
            if len(spans) != 3 * len(names) or os.fstat(self._file.fileno()).st_size < end:
                return
            if self._sample(end, spans) != values["sample"]:
                return
            self._header = Header.from_dict(json.loads(self._file.readline()))
            self._end, self._lines, self._kept = end, values["lines"], len(names)
            self.names, self.taken, self._spans = names, list(names), spans
            self._rows = {name: row for row, name in enumerate(names)}

    def _sample(self, end: int, spans: array[int]) -> str:
        """A hash of the header, of some of these lines, and of where they end."""
        count = len(spans) // 3
        digest = hashlib.sha256(str((end, count)).encode())
        digest.update(self._bytes(0, min(spans[::3], default=0)))
        for row in np.linspace(0, count - 1, min(_SAMPLES, count)).astype(int):
            digest.update(self._bytes(*spans[3 * row : 3 * row + 2]))
        return digest.hexdigest()

    # --- records ---

    def _bytes(self, start: int, size: int) -> bytes:
        assert self._file is not None
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), size, start)
        with self.guard:
            self._file.seek(start)
            return self._file.read(size)

    def line(self, path: str) -> bytes:
        """A photo's last line, its end included."""
        row = self._rows[path]
        line = self._bytes(*self._spans[3 * row : 3 * row + 2])
        return line if line.endswith(b"\n") else line + b"\n"

    def rewrite(self, header: Header, forgotten: Container[str] = ()) -> None:
        """Write the file anew under this header, a line a photo; not where it is so already. The caller holds its lock.

        Args:
            forgotten: photos that are left out.
        """
        with self.guard:
            is_so = header == self.header and self._lines == len(self.names) and not forgotten
            if is_so and not self.path.is_symlink() and self.path.stat().st_nlink == 1:
                return
            rewrite(self.path, header, self._handed_over(forgotten))
            self.refresh()

    def _handed_over(self, forgotten: Container[str]) -> Iterator[bytes]:
        yield from (self.line(n) for n in self.names if n not in forgotten)
        self.close()  # Windows replaces no file that is open

    def row(self, path: str) -> int:
        """A photo's row.

        Raises:
            KeyError: there is none.
        """
        return self._rows[path]

    def crc(self, row: int) -> int:
        """Of a row's last line, CRC-32: where it is another, so is the record."""
        return self._spans[3 * row + 2]

    def crcs(self) -> NDArray[np.int64]:
        """Those of all rows."""
        return np.array(self._spans).reshape(-1, 3)[:, 2]

    def __getitem__(self, path: str) -> Record:
        """A photo's record.

        Raises:
            KeyError: there is none. RecordsError: its line is broken, or the file was written anew.
        """
        with self.guard:
            line = self.line(path)
        value = value_of(line)
        try:
            if value is None:
                raise ValueError("it is no JSON object")
            record = Record.from_dict(value)
        except (KeyError, TypeError, ValueError, RecursionError) as e:
            raise RecordsError(f"{self.path} has a broken line for {path}: {line[:80]!r} ({e!r})") from e
        if record.path != path:
            raise RecordsError(f"{self.path} was rewritten meanwhile; look again")
        return record

    def decided(self) -> dict[str, Record]:
        """The records that people decided on; the others are only glanced at."""
        some = (name for name in self.names if not self.line(name).endswith(b'"decisions":[]}\n'))
        return {name: record for name in some if (record := self[name]).decisions}

    def mentions(self, kind: str) -> bool:
        """Whether a region of this kind is in any record, without parsing them."""
        said = to_line({"kind": kind})[1:-2]
        return any(said in self.line(name) for name in self.names)

    def __contains__(self, path: object) -> bool:
        return path in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(list(self.names))

    def __len__(self) -> int:
        return len(self.names)

    def close(self) -> None:
        with self.guard:
            if self._file is not None:
                self._file.close()
                self._file = None


def is_kept(file: Path) -> bool:
    """Whether a file is what is kept beside a records file: numbers and paths, under the names that they have there."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.namelist()
    except (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile):
        return False
    return bool(members) and all(_KEPT_NAME.fullmatch(name) for name in members)


def keep(file: Path, key: int | str, values: Mapping[str, Any], **arrays: NDArray[Any]) -> None:
    """Keep what JSON takes, and arrays, in a file. Where it may not be written, all is made anew next time.

    Args:
        key: says what these mean, and what they depend on.
    """
    out = io.BytesIO()
    said = np.frombuffer(json.dumps([key, values]).encode(), np.uint8)
    np.savez(out, values=said, **arrays)  # type: ignore[arg-type]
    with suppress(OSError):
        write_whole(file, out.getvalue())


def recall(file: Path, key: int | str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]] | None:
    """What was kept under this key; None: it is not there, or it is something else."""
    arrays = arrays_of(file)
    try:
        known, values = json.loads(bytes(arrays.pop("values")))
    except (KeyError, TypeError, ValueError):
        return None
    return (values, arrays) if known == key else None


def arrays_of(path: AnyPath) -> dict[str, NDArray[Any]]:
    """The arrays of a file of NumPy's; none, where it is not there or damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except Exception:  # zipfile and NumPy raise whatever damaged bytes lead them to
        return {}
