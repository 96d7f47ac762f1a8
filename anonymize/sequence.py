"""Photos of a series, seconds apart: what is hidden in one is hidden in its neighbors, too.

A plate that is readable in the next photo undoes the hiding of this one. So a candidate takes over the score of what
lies nearly at its place, in nearly its size, in the photo before or after, where that is higher. It holds for any
threshold, nothing is ever hidden less, and doing it again changes nothing.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import engine, images, records
from .disk import AnyPath, write_json
from .engine import Summary
from .outputs import SUMMARY_NAME, Output
from .predictor import Predictor
from .records import Record, escape, unescape
from .regions import Region, boxes
from .settings import Settings
from .summary import Progress, counts_of

APART = 10.0  # seconds between photos of one series, where their EXIF says when they were taken
# A candidate's center may be off by this share of the sides, and its sides by this factor.
NEAR, LIKE = 0.75, 1.5
FAINTEST = 0.01  # score from which a candidate is one


@dataclass(frozen=True)
class Followed:
    """What `follow` did. `photos`: changed. `regions`: whose score was raised."""

    photos: int = 0
    regions: int = 0


def series(known: Iterable[Record], times: Mapping[str, float]) -> list[list[Record]]:
    """Photos that follow each other: of one folder and one shape, by the time when they were taken, else by name.

    Args:
        times: path -> seconds, of those that say it.
    """
    folders: dict[tuple[str, int, int], list[Record]] = {}
    for record in known:
        if record.error is None:
            folders.setdefault((record.path.rpartition("/")[0], record.width, record.height), []).append(record)
    out: list[list[Record]] = []
    for photos in folders.values():
        timed = all(r.path in times for r in photos)
        photos.sort(key=lambda r: (times[r.path] if timed else 0.0, _natural(r.path)))
        for n, record in enumerate(photos):
            if n and not (timed and times[record.path] - times[photos[n - 1].path] > APART):
                out[-1].append(record)
            else:
                out.append([record])
    return out


def _natural(path: str) -> list[tuple[int, str]]:
    """So that photo 9 comes before photo 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path)]


def raise_scores(photos: Sequence[Record]) -> list[Record]:
    """The photos of one series, in order, with the scores of their candidates raised to those of their neighbors.

    What a person decided stays as it is; what one drew or accepted counts 1, what one rejected nothing.
    """
    out, before = list(photos), list[Record]()
    while out != before:  # what a photo takes over from one side, it may hand on to the other
        before = list(out)
        for order in (range(1, len(out)), range(len(out) - 2, -1, -1)):
            for n in order:
                out[n] = _beside(out[n], out[n - order.step])
    return out


def _beside(record: Record, neighbor: Record) -> Record:
    sure = [r for r in neighbor.regions if r.status != "rejected"]
    faint = [r for r in record.regions if r.status == "auto" and r.score >= FAINTEST]
    if not sure or not faint:
        return record
    scores = np.array([r.score if r.status == "auto" else 1.0 for r in sure])
    same = _same(faint, sure)
    best = np.where(same, scores, 0.0).max(axis=1).tolist()
    higher = {r.id: score for r, score in zip(faint, best, strict=True) if score > r.score}
    if not higher:
        return record
    regions = [r.replace(score=higher[r.id]) if r.status == "auto" and r.id in higher else r for r in record.regions]
    return record.replace(regions=tuple(sorted(regions, key=lambda r: -r.score)))


def _same(some: Sequence[Region], others: Sequence[Region]) -> np.ndarray:
    """Which regions may be of one thing, as bool (N, M)."""
    a, b = boxes(some)[:, None], boxes(others)[None]
    size, other = a[..., 2:] - a[..., :2], b[..., 2:] - b[..., :2]
    off = np.abs(a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2
    is_near = (off <= NEAR * np.minimum(size, other)).all(axis=-1)
    is_like = (np.maximum(size, other) <= LIKE * np.minimum(size, other)).all(axis=-1)
    of_kind = np.array([[r.kind == o.kind for o in others] for r in some], bool)
    return np.asarray(is_near & is_like & of_kind)


def follow(known: Mapping[str, Record], root: AnyPath) -> dict[str, Record]:
    """Records of photos below `root`, all series of them with raised scores; in the order in which they were given."""
    times = {}
    for path in known:
        if (when := images.taken(Path(root) / unescape(path))) is not None:
            times[path] = when
    changed = {r.path: r for photos in series(known.values(), times) for r in raise_scores(photos)}
    return {path: changed.get(path, record) for path, record in known.items()}


def follow_file(path: AnyPath) -> Followed:
    """`follow` for a records file; what changed is added to it.

    Raises:
        RecordsError: not a records file.
    """
    with records.lock(path):
        header, known = records.read(path)
        after = follow(known, unescape(header.root))
        changed = [r for name, r in after.items() if r != known[name]]
        with records.Writer(path, header) as writer:
            for record in changed:
                writer.write(record)
    pairs = ((a.score, b.score) for r in changed for a, b in zip(_by_id(r), _by_id(known[r.path]), strict=True))
    return Followed(len(changed), sum(a != b for a, b in pairs))


def _by_id(record: Record) -> list[Region]:
    return sorted(record.regions, key=lambda r: r.id)


def detect(
    source: AnyPath,
    records_path: AnyPath,
    predictor: Predictor,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
    followed: Callable[[Followed], None] = lambda done: None,
) -> Summary:
    """As `engine.detect`, and then `follow_file`; the summary counts what the raised scores hide.

    Args and errors: as `engine.detect`. `followed`: called with what the second step did.
    """
    path, settings = Path(records_path), predictor.settings
    found = images.find(source, settings)
    summary = engine.detect(found, path, predictor, dry_run=dry_run, progress=progress)
    if dry_run or summary.stopped or not summary.photos:
        return summary
    followed(follow_file(path))
    summary = _counted_anew(summary, found, records.read(path)[1], settings)
    write_json(path.with_suffix(f".{SUMMARY_NAME}"), summary.to_file(settings, escape(os.path.abspath(path))))
    if progress:
        progress(summary)
    return summary


def _counted_anew(summary: Summary, found: images.Found, known: Mapping[str, Record], settings: Settings) -> Summary:
    """The summary of a detection, by the records as they are now."""
    counts: dict[str, Any] = {"hidden": Counter(), "not_hidden": Counter(), "warnings": {}, "riskiest": []}
    summary = dataclasses.replace(summary, done=0, worth_a_look=0, **counts)
    for record in (known[escape(path)] for path in found.paths):
        if record.error is None:
            summary.add(record.path, **counts_of(record, settings))
    return summary


def run(
    source: AnyPath,
    output: AnyPath,
    predictor: Predictor | None = None,
    *,
    records_path: AnyPath | None = None,
    dry_run: bool = False,
    **given: Any,
) -> Summary:
    """As `engine.run`, in three steps: nothing is written before all photos are searched and followed.

    Args and errors: as `engine.run`.
    """
    predictor = predictor or Predictor()
    predictor.check_hides()
    settings = predictor.settings
    path = Path(output) / engine.RECORDS_NAME if records_path is None else Path(records_path)
    Output(output, settings, preview=given.get("preview")).check(images.find(source, settings, exclude=output), path)
    watched = {name: given.get(name) for name in ("progress", "stop")}
    found = engine.detect(source, path, predictor, exclude=output, dry_run=dry_run, **watched)
    if dry_run or found.stopped or not found.photos:
        return found
    follow_file(path)
    done = engine.export(path, output, settings, **given)
    done.skipped, done.seconds = found.skipped, done.seconds + found.seconds
    return done
