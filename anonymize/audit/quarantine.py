"""Photos and clips that failed an audit leave the output, and come back when a person says so. Nothing is deleted.

The memory of the output is written first: from then on no `run` or `export` takes such a photo for done, or writes the
same one again. Then its record is flagged, so that the review shows why; then the file moves.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .. import disk, records
from ..corrections import flag
from ..disk import replacing
from ..errors import AuditError, RecordsError
from ..images import output_path
from ..outputs import QUARANTINED
from ..records import escape, unescape
from ..video import clip_records
from .findings import PhotoAudit
from .folder import Folder, read

WHO = "audit"  # whose decision a flag is


def put(folder: Folder, failed: Sequence[PhotoAudit], place: Path) -> list[str]:
    """Move photos that failed out of the output, into the same structure below `place`.

    Returns:
        The paths of those that were moved.

    Raises:
        OSError: a file cannot be moved; it stays where it was.
    """
    for photo in failed:
        shows = str(folder.remembered(photo.path).get("shows", ""))
        if shows and not shows.startswith(QUARANTINED):  # else by a killed audit
            # What was changed since is written afresh by the next export, what an export wrote is not.
            is_changed = any(f.check == "memory" for f in photo.findings)
            _note(folder, photo.path, "" if is_changed else QUARANTINED + shows)
        if shows and photo.path in folder.clip_memory:
            with suppress(RecordsError):  # what cannot be read is no record that a review shows
                header, record = clip_records.read(folder.record_file(photo.path))
                flagged = flag(record, who=WHO, note=_why(photo))
                clip_records.write(folder.record_file(photo.path), header, flagged)
        _move_both(folder.file(photo.path), _free(output_path(unescape(photo.path), place)))
        photo.quarantined = True
    _flag(folder, [p for p in failed if p.path in folder.records])
    return [p.path for p in failed]


def _flag(folder: Folder, failed: Sequence[PhotoAudit]) -> None:
    if not failed or folder.records_path is None:
        return
    with records.lock(folder.records_path):
        header, known = records.read(folder.records_path)
        with records.Writer(folder.records_path, header) as writer:
            for photo in failed:
                if photo.path in known:
                    writer.write(flag(known[photo.path], who=WHO, note=_why(photo)))
            writer.sync()


def _why(photo: PhotoAudit) -> str:
    return f"in quarantine: {photo.why}"[:1000]


def release(output: Path, paths: Sequence[str] = (), *, place: Path, records_path: Path | None = None) -> list[str]:
    """Move photos and clips back from quarantine: those named, or all.

    Raises:
        AuditError: one is not there, or is no longer the file that was exported; another file is in its place; its
            record is another one by now.
    """
    folder = read(output, records_path)
    waiting, copies = _waiting(folder), _copies(folder, place)
    if unknown := [p for p in paths if p not in waiting]:
        path = unknown[0]
        raise AuditError(_why_it_stays(folder, path, copies) if path in copies else f"{path} is not in quarantine")
    back = list(paths or waiting)
    for path in back:
        known = {**waiting[path], "shows": str(waiting[path]["shows"]).removeprefix(QUARANTINED)}
        target = folder.file(path)
        # One of an earlier audit may lie there, too.
        whole = (f for f in copies.get(path, ()) if _is_file(f) and disk.sha256(f) == known.get("sha256"))
        source = next(whole, output_path(unescape(path), place))
        if folder.settings_of(path, folder.record(path), known) is None:
            again = "write" if path in folder.clip_memory else "export"
            raise AuditError(f"{path} was corrected since; {again} it again instead")
        if os.path.lexists(target):
            raise AuditError(f"another file is in the place of {path}")
        if not source.is_file():
            raise AuditError(f"{source} is not there")
        if source.is_symlink() or disk.sha256(source) != known.get("sha256"):
            raise AuditError(f"{source} is not the file that was exported: it was changed, or replaced, in quarantine")
        _move_both(source, target)
        _note(folder, path, known["shows"], target)
    return back


def staying(output: Path, *, place: Path, records_path: Path | None = None) -> list[str]:
    """What lies in quarantine and does not come back by `release`: why, and what to do, a sentence each."""
    folder = read(output, records_path)
    waiting, copies = _waiting(folder), _copies(folder, place)
    return [_why_it_stays(folder, path, copies) for path in copies if path not in waiting]


def _waiting(folder: Folder) -> dict[str, Mapping[str, Any]]:
    """What is in quarantine by the output's memory: path -> its line."""
    every = {**folder.memory, **folder.clip_memory}
    return {path: e for path, e in every.items() if str(e.get("shows", "")).startswith(QUARANTINED)}


def _why_it_stays(folder: Folder, path: str, copies: Mapping[str, Sequence[Path]]) -> str:
    """Why copies that lie in quarantine do not come back, and what to do with them."""
    lie = " and ".join(map(str, copies[path]))
    again = "write" if path in folder.clip_memory else "export"
    if folder.remembered(path).get("shows"):
        return f"{path} was written anew since it failed; what is in quarantine is older and stays: delete {lie}"
    return (
        f"{path} was not as it was exported when it failed, so it stays in quarantine: {again} it again, delete {lie}"
    )


def _copies(folder: Folder, place: Path) -> dict[str, list[Path]]:
    """What lies in quarantine of each photo or clip that the memory knows: a copy of each audit that it failed."""
    found: dict[str, list[Path]] = {}
    for parent, _, names in os.walk(place):
        for file in (Path(parent, name) for name in sorted(names)):
            path = escape(file.relative_to(place))
            known = next((p for p in (path, re.sub(r"\.\d+$", "", path)) if folder.remembered(p)), None)
            if known is not None:
                found.setdefault(known, []).append(file)
    return found


def _is_file(file: Path) -> bool:
    return file.is_file() and not file.is_symlink()


def _free(target: Path) -> Path:
    """A place in quarantine in which nothing of an earlier audit lies, neither the file nor what belongs beside it."""
    number, free = 1, target
    while any(os.path.lexists(free.with_name(free.name + ending)) for ending in ("", ".json")):
        number += 1
        free = target.with_name(f"{target.name}.{number}")
    return free


def _note(folder: Folder, path: str, shows: str, file: Path | None = None) -> None:
    """From now on a file shows this by the output's memory; without a file: it is not there."""
    known = folder.remembered(path)
    more = {name: value for name, value in known.items() if name not in ("path", "shows", "stamp")}
    if shows:
        more["sha256"] = more.get("sha256") or disk.sha256(folder.file(path))
    with folder.open_memory(path) as memory:
        memory.put(known["path"], file, shows, **more)


def _move_both(source: Path, target: Path) -> None:
    """A photo or clip, and what lies beside it."""
    for ending in ("", ".json"):
        file = source.with_name(source.name + ending)
        if os.path.lexists(file):
            _move(file, target.with_name(target.name + ending))


def _move(source: Path, target: Path) -> None:
    """One file, whole at every moment in one of both places; never over another one."""
    number = 1
    free = target
    while os.path.lexists(free):
        number += 1
        free = target.with_name(f"{target.name}.{number}")
    free.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(source, free)
    except OSError:  # another disk
        with replacing(free) as temporary:
            shutil.copyfile(source, temporary, follow_symlinks=False)
            if not temporary.is_symlink():
                with open(temporary, "rb") as copied:
                    os.fsync(copied.fileno())
        source.unlink()
