"""What the Review tab says of a photo, of the queue, of thresholds and of an export: values for JSON.

Addresses in them begin below the review's mount.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from anonymize.audit import audit_folder, report_folder
from anonymize.corrections import gate
from anonymize.engine import export
from anonymize.records import Record, unescape
from anonymize.regions import Region
from anonymize.risk import DOUBTED, SHOWN_REASON, Reason, percent
from anonymize.settings import Settings
from anonymize.web.elements import editor_region, score
from anonymize.web.job_view import audit_looks, audit_reasons, audit_text, photos
from anonymize.web.jobs import AuditProgress

from .documents import FAINT, media_path
from .items import Item
from .reviews import Review

# A link to its App; or, where there is none, a picture of it and how to open it at home; or nothing.
FiftyOne = Literal["link", "picture", "nothing"]
MOST_REASONS = 3
DECIDED = {"manual": "Added by a person", "accepted": "Hidden by a person", "rejected": "Left open by a person"}
STATES = {"pending": "not reviewed"}


def view(review: Review, item: Item) -> dict[str, Any]:
    """What the picture editor shows: the photo, what is hidden, decided and suspected; and why to look."""
    record, settings = review.store[item.path], review.store.settings
    suspected = {r.region: r for r in item.misses if r.region}
    looks = {r.region: r for r in item.doubts if r.p >= DOUBTED} | suspected
    shown = [_region(r, settings, looks.get(r.id)) for r in record.regions]
    hash = record.approval_hash(settings)
    is_gone = not os.path.lexists(review.store.header.source(record))
    gone = "It is no longer in the input. `python -m review forget` takes it out of the records."
    names = {"review": review.name, "photo": item.path, "hash": hash}
    return {
        "id": item.path,
        "photo": item.path,
        "hash": hash,
        "before": picture(review, item.path),
        "whole": picture(review, item.path, is_whole=True),
        "after": "/clean?" + "&".join(f"{k}={quote(v, safe='')}" for k, v in names.items()),
        "width": record.width,
        "height": record.height,
        "kinds": list(settings.kinds),
        "regions": [r for r in shown if _is_shown(r, suspected.get(r["id"]))],
        "problem": item.error or (gone if is_gone else ""),
        "about": _about(item),
        "reasons": [
            {"text": words[:1].upper() + words[1:], "why": reason.text, "region": reason.region, "box": reason.box}
            for words, reason in item.looks[:MOST_REASONS]
        ],
    }


def picture(review: Review, path: str, is_whole: bool = False) -> str:
    """Where a photo is delivered, as it was: no larger than a screen, or whole."""
    address = f"/media?filepath={quote(media_path(review.store.header, Record(path)), safe='')}"
    return address if is_whole else f"{address}&size=screen"


def _is_shown(region: dict[str, Any], reason: Reason | None) -> bool:
    """Neither hundreds of faint candidates nor every vehicle and person: those that are a reason to look."""
    if region["state"] not in ("suspect", "carrier") or (reason is not None and reason.p >= SHOWN_REASON):
        return True
    return region["state"] == "suspect" and region["score"] >= FAINT


def _region(region: Region, settings: Settings, reason: Reason | None) -> dict[str, Any]:
    words = f"Score {score(region.score)}." + (f" {DECIDED[region.status]}." if region.status != "auto" else "")
    if reason is not None:
        said = f"likely not a {reason.kind}, {percent(reason.p)}" if settings.hides(region) else reason.words
        words += f" {said[:1].upper()}{said[1:]}: {reason.text}."
    return editor_region(region, settings, words, reason)


def _about(item: Item) -> str:
    """`Not reviewed · risk 86 % · 16 faces hidden`."""
    hidden = ", ".join(f"{n} {kind}{'s' * (n > 1)}" for kind, n in item.hidden) or "nothing"
    return f"{STATES.get(item.status, item.status).capitalize()} · risk {100 * item.risk:.0f} % · {hidden} hidden"


def in_list(item: Item, elsewhere: Mapping[str, str]) -> dict[str, Any]:
    """A line of the queue. `elsewhere`: the photos that others have open, and who."""
    out = {"photo": item.path, "risk": round(100 * item.risk), "status": item.status}
    return {**out, "elsewhere": elsewhere[item.path]} if item.path in elsewhere else out


def other_thresholds(review: Review, thresholds: Mapping[str, float]) -> list[dict[str, Any]]:
    """What other thresholds would hide over all photos, beside what is hidden now."""
    rows = []
    for kind, threshold in thresholds.items():
        now = review.store.settings.kind(kind).threshold
        for label, t in (("now", now), ("then", threshold)):
            with_some, regions = review.queue.at_threshold(kind, t)
            rows.append({"kind": kind, "which": label, "threshold": t, "photos": with_some, "regions": regions})
    return rows


def export_approved(
    review: Review, allow_unreviewed: bool, says_where: bool, auditing: AuditProgress | None = None
) -> dict[str, Any]:
    """Write what may go out, and say what stayed behind.

    Args:
        allow_unreviewed: also what nobody approved. says_where: name the folder.
        auditing: look for leaks in it, too, and tell this how far that is.
    """
    settings = review.store.settings
    folder = review.output
    done = export(review.store.path, folder, settings, gate=gate(settings, allow_unreviewed), write_detections=False)
    text = f"{photos(done.done)} exported, {len(done.withheld)} kept back"
    text += f", {len(done.gone)} no longer in the input" if done.gone else ""
    text += f", {len(done.failures)} failed" if done.failures else ""
    lines = [f"{text[:1].upper()}{text[1:]}." for text in done.warning_texts()]
    lines += [f"{n} {reason}" for reason, n in Counter(done.withheld.values()).items()]
    lines += [f"{path}: {why}" for path, why in list(done.failures.items())[:20]]
    if auditing and done.done:
        lines += _audited(review, says_where, auditing)
    nobody = review.queue.count("pending") if allow_unreviewed else 0
    link = f"/export?name={quote(review.name)}" + ("&unreviewed=yes" if allow_unreviewed else "")
    return {
        "text": f"{text}.",
        "warning": f"Nobody approved {nobody} of them." if nobody else "",
        "lines": lines,
        "folder": str(folder) if says_where else "",
        "zip": link if done.done else "",
    }


def _audited(review: Review, says_where: bool, auditing: AuditProgress) -> list[str]:
    """What an audit of the exported photos says; those that fail were taken away, and are flagged in the queue."""
    header = review.store.header
    root = Path(unescape(header.root))
    found = audit_folder(
        review.output,
        records_path=review.store.path,
        against=root if root.is_dir() else None,
        settings=review.store.settings,
        progress=auditing.watch,
        stop=auditing.stop,
    )
    lines = [f"{audit_text(found)}."]
    lines += [f"{path}: {why}" for path, why in audit_reasons(found)]
    lines += [text for text in [audit_looks(found, "hide it here and export again")] if text]
    return [*lines, f"The report is {report_folder(review.output) / 'report.html'}"] if says_where else lines
