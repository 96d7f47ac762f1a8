"""A clean clip looked at for leaks, as `audit` does it: in a folder that has what an export's has, in a process of its
own."""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import disk, images
from ..apart import Here
from ..audit import TO_DO, Options, audit_folder, once
from ..audit.clips import Progress
from ..records import Header, escape, unescape
from ..settings import Settings
from ..video import clip_records
from ..video.batch import RECORD_SUFFIX, SUMMARY_NAME
from ..video.memory import Memory
from .clip_work import Wanted, work
from .elements import bullets, link
from .job_results import write_audit
from .job_view import not_checked

OPTIONS = Options()
SILENT = 3600.0  # seconds; before the first frame and after the last one nothing is told
MOST = 20  # places to look at that are listed
_HIDE = (
    "go to its second in the clip, draw a box around it (Correct), and look for leaks again in the clip that is written"
)


@dataclass(frozen=True)
class ClipAudit:
    """What was found.

    Attributes:
        shows: names what the clip shows that was looked at.
        leaks, looks: in words, each once. not_done: what was not checked, and why. looked_at: frames, of `frames`.
    """

    shows: str
    leaks: tuple[str, ...]
    looks: tuple[str, ...]
    not_done: list[tuple[str, str]]
    looked_at: int
    frames: int


def audit(folder: Path, source: Path, clip: Wanted, *, progress: Progress, stop: threading.Event) -> ClipAudit:
    """Look for leaks in a clean clip.

    Args:
        folder: for what the audit needs and writes; what lies there goes. source: the original. clip: the clean one.
        progress: told after each frame that is looked at.

    Raises:
        ClipError: what looks for them broke off.
    """
    shutil.rmtree(folder, ignore_errors=True)
    output, originals, known = folder / "clean", folder / "originals", folder / "records"
    record, settings, target = clip.record, clip.settings, output / clip.target.name
    for file, place in ((clip.target, target), (source, images.output_path(unescape(record.path), originals))):
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, place)
        except OSError:  # a disk that has no links
            shutil.copyfile(file, place)
    clip_records.write(
        images.output_path(unescape(record.path) + RECORD_SUFFIX, known),
        Header("clips", settings, record.detectors),
        record,
    )
    with Memory(output) as memory:
        hash, quality = record.approval_hash(settings), clip.encoding.quality
        memory.note(record.path, target, clip.shows, hash, quality, settings.to_dict())
    disk.write_json(output / SUMMARY_NAME, {"settings": settings.to_dict(), "clip_records": escape(known)})
    options = replace(OPTIONS, report=folder / "report", name=f"the clip {target.name}")
    asked = output, originals, settings, options
    found = work(_audit, *asked, answers={"looked": progress}, stop=stop, silent=SILENT, grace=0.0)
    return ClipAudit(clip.shows, tuple(found["leaks"]), tuple(found["looks"]), *found["more"])


def report(folder: Path) -> Path:
    """A zip of the last audit's report and certificate."""
    return write_audit(folder / "audit.zip", folder / "report")


def card(found: ClipAudit, address: str) -> str:
    """What an audit found, as HTML. `address` is that of its report."""
    said = f"no leak found, which is no proof; {len(found.looks)} places to look at"
    said = said.replace("1 places", "1 place") if found.looks else "no leak found"
    said = "it failed, and cannot be downloaded" if found.leaks else said
    to_do = f"<p>To do: {TO_DO}, {_HIDE}.</p>" if found.looks else ""
    return (
        f'<div class="az-audit"><h3>Audit: {said}</h3>'
        f'<p class="az-small">All {found.frames} frames were read, {found.looked_at} of them looked at.</p>'
        f"{bullets(found.leaks)}{bullets(found.looks[:MOST])}{to_do}"
        f"{not_checked(found.not_done)}<p>{link(address, 'Download report and certificate')}</p></div>"
    )


def _audit(here: Here, output: Path, originals: Path, settings: Settings, options: Options) -> dict[str, Any]:
    """Over there."""

    def looked(done: int, of: int) -> None:
        here.ask("looked", done, of)

    found = audit_folder(output, against=originals, settings=settings, options=options, frames=looked)
    (clip,) = found.photos
    leaks = [clip.error] if clip.error else once(f.text for f in clip.of("leak"))
    looks = once(f.text for f in clip.of("look"))
    return {"leaks": leaks, "looks": looks, "more": [found.not_done, clip.looked_at, clip.frames]}
