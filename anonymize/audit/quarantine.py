"""Photos and clips that failed an audit leave the output, and come back when a person says so. Nothing is deleted.

The memory of the output is written first: from then on no `run` or `export` takes such a photo for done, or writes the
same one again. Then its record is flagged, so that the review shows why; then the file moves.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from .. import disk, records
from ..corrections import flag
from ..disk import replacing
from ..errors import AuditError, RecordsError
from ..images import output_path
from ..outputs import QUARANTINED, Output
from ..records import Record, unescape
from ..video import clip_records
from ..video.memory import Memory
from . import clips
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
    if not failed:
        return []
    settings = folder.settings[0] if folder.settings else None
    moved = []
    for photo in failed:
        if photo.is_clip:
            _put_clip(folder, photo, place)
            moved.append(photo.path)
            continue
        record = folder.records.get(photo.path)
        own = (record and folder.settings_of(record)) or settings
        is_noted = str(folder.memory.get(photo.path, {}).get("shows", "")).startswith(QUARANTINED)  # by a killed audit
        if record is not None and own is not None and not is_noted:
            with Output(folder.path, own, write_detections=False) as output:
                # What was changed since is written afresh by the next export, what an export wrote is not.
                if any(f.check == "memory" for f in photo.findings):
                    output.note_gone(record)
                else:
                    known = folder.memory.get(photo.path, {}).get("sha256")
                    output.note_quarantine(record, known or disk.sha256(folder.file(photo.path)))
        source = folder.file(photo.path)
        for file in (source, source.with_name(source.name + ".json")):
            if os.path.lexists(file):
                _move(file, output_path(unescape(photo.path), place).with_name(file.name))
        photo.quarantined = True
        moved.append(photo.path)
    _flag(folder, [p for p in failed if p.path in folder.records])
    return moved


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


def _put_clip(folder: Folder, clip: PhotoAudit, place: Path) -> None:
    known = folder.clip_memory.get(clip.path, {})
    if shows := str(known.get("shows", "")):
        with Memory(folder.path) as memory:
            if shows.startswith(QUARANTINED):  # by a killed audit
                pass
            elif any(f.check == "memory" for f in clip.findings):
                memory.note_gone(str(known["path"]))
            else:
                memory.note_quarantine(str(known["path"]))
        file = clips.record_file(folder, clip.path)
        with suppress(RecordsError):  # what cannot be read is no record that a review shows
            header, record = clip_records.read(file)
            clip_records.write(file, header, flag(record, who=WHO, note=_why(clip)))
    _move(folder.file(clip.path), output_path(unescape(clip.path), place))
    clip.quarantined = True


def _why(photo: PhotoAudit) -> str:
    why = "; ".join(f.text for f in photo.of("leak")) or photo.error or ""
    return f"in quarantine: {why}"[:1000]


def release(output: Path, paths: Sequence[str] = (), *, place: Path, records_path: Path | None = None) -> list[str]:
    """Move photos and clips back from quarantine: those named, or all.

    Raises:
        AuditError: one is not there, or is no longer the file that was exported; another file is in its place; its
            record is another one by now.
    """
    folder = read(output, records_path)
    waiting = {p: e for p, e in folder.memory.items() if str(e.get("shows", "")).startswith(QUARANTINED)}
    clips_ = {p: e for p, e in folder.clip_memory.items() if str(e["shows"]).startswith(QUARANTINED)}
    if unknown := [p for p in paths if p not in waiting and p not in clips_]:
        raise AuditError(f"{unknown[0]} is not in quarantine")
    back = []
    for path in paths or (*waiting, *clips_):
        if path in clips_:
            _release_clip(folder, path, place)
            back.append(path)
            continue
        source, target = output_path(unescape(path), place), folder.file(path)
        shown = str(waiting[path]["shows"]).removeprefix(QUARANTINED)
        record = folder.records.get(path)
        own = next((s for s in folder.settings if record and record.approval_hash(s) == shown), None)
        if record is None or own is None:
            raise AuditError(f"{path} was corrected since; export it again instead")
        _check_waiting(path, source, target, waiting[path].get("sha256"))
        beside = source.with_name(source.name + ".json")
        _move(source, target)
        if beside.is_file():
            _move(beside, target.with_name(beside.name))
        _note(output, own, record)
        back.append(path)
    return back


def _check_waiting(path: str, source: Path, target: Path, digest: object) -> None:
    if os.path.lexists(target):
        raise AuditError(f"another file is in the place of {path}")
    if not source.is_file():
        raise AuditError(f"{source} is not there")
    if source.is_symlink() or disk.sha256(source) != digest:
        raise AuditError(f"{source} is not the file that was exported: it was changed, or replaced, in quarantine")


def _release_clip(folder: Folder, path: str, place: Path) -> None:
    known = folder.clip_memory[path]
    source, target = output_path(unescape(path), place), folder.file(path)
    _, record = clip_records.read(clips.record_file(folder, path))
    if not any(record.approval_hash(s) == known.get("approval") for s in clips.settings_of(folder, path)):
        raise AuditError(f"{path} was corrected since; write it again instead")
    _check_waiting(path, source, target, known.get("sha256"))
    _move(source, target)
    with Memory(folder.path) as memory:
        memory.note_back(str(known["path"]))


def _note(output: Path, settings: object, record: Record) -> None:
    with Output(output, settings, write_detections=False) as target:  # type: ignore[arg-type]
        target.note_shown(record)


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
