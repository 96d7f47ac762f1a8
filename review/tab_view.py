"""What the Review tab says of a photo, of the queue, of thresholds and of an export."""

from __future__ import annotations

import html
import os
from typing import Any, Literal
from urllib.parse import quote

from anonymize.corrections import gate
from anonymize.engine import export
from anonymize.regions import Region
from anonymize.risk import DOUBTED, SHOWN_REASON, Reason
from anonymize.web.elements import editor_region

from .documents import FAINT, media_path
from .queue import Item
from .reviews import Review

FiftyOne = Literal["link", "picture", "nothing"]


def view(review: Review, item: Item | None, mount: str, problem: str = "", text: str = "") -> dict[str, Any]:
    """What the picture editor shows: the photo, what is hidden, what was decided, what is suspected."""
    said = {"problem": problem, "text": text}
    if item is None:
        return {**said, "text": f"{text} Nothing is left to review. {review.queue.progress()}".strip()}
    record, settings = review.store[item.path], review.store.settings
    if not os.path.lexists(review.store.header.source(record)):
        gone = "is no longer in the input. `python -m review forget` removes it from the records; N goes on."
        said["problem"] = problem or f"{item.path} {gone}"
    suspected = {r.region: r for r in item.misses if r.region}
    doubted = {r.region: r for r in item.doubts if r.p >= DOUBTED}
    shown = [editor_region(r, settings, _why(r, suspected.get(r.id), doubted.get(r.id))) for r in record.regions]
    where = quote(media_path(review.store.header, record), safe="")
    return {
        **said,
        "id": item.path,
        "photo": item.path,  # not "path": Gradio takes that for a file of its own
        "hash": record.approval_hash(settings),
        "before": f"{mount}/media?filepath={where}",
        "width": record.width,
        "height": record.height,
        "kinds": list(settings.kinds),
        "regions": [r for r in shown if _is_shown(r, suspected.get(r["id"]))],
    }


def _is_shown(region: dict[str, Any], reason: Reason | None) -> bool:
    """Neither hundreds of faint candidates nor every vehicle and person: those that are a reason to look."""
    if region["state"] not in ("suspect", "carrier") or (reason is not None and reason.p >= SHOWN_REASON):
        return True
    return region["state"] == "suspect" and region["score"] >= FAINT


def _why(region: Region, suspected: Reason | None, doubted: Reason | None) -> str:
    words = f"Score {region.score:.2f}."
    if region.status != "auto":
        words += f" {DECIDED[region.status]}."
    if suspected:
        return f"{words} {100 * suspected.p:.0f} % likely a leak: {suspected.text}."
    return f"{words} {100 * doubted.p:.0f} % likely a false alarm: {doubted.text}." if doubted else words


DECIDED = {"manual": "Added by a person", "accepted": "Hidden by a person", "rejected": "Left open by a person"}


def empty() -> str:
    return "<p>Choose a batch; the riskiest photos come first.</p>"


def side(review: Review, item: Item | None, mount: str, fiftyone: FiftyOne = "link") -> str:
    """Progress, why this photo, what comes next.

    Args:
        fiftyone: a link to its App; or, where there is none, a picture of it and how to open it at home; or nothing.
    """
    lines = [f"<p><strong>{html.escape(str(review.queue.progress()))}</strong></p>"]
    if item is not None:
        hidden = ", ".join(f"{n} {kind}{'s' * (n > 1)}" for kind, n in item.hidden) or "nothing"
        state = {"pending": "not reviewed"}.get(item.status, item.status).capitalize()
        about = f"{state} · risk {100 * item.risk:.0f} % · {hidden} hidden"
        lines.append(f"<p><code>{html.escape(item.path)}</code><br>{html.escape(about)}</p>")
        lines.append("<ul>" + "".join(f"<li>{html.escape(r)}</li>" for r in item.reasons) + "</ul>")
    rows = [
        f"<tr><td>{100 * i.risk:.0f} %</td><td><code>{html.escape(i.path)}</code></td></tr>"
        for i in review.queue.pending()[:8]
    ]
    if review.queue.note:
        lines.append(f"<p>{html.escape(review.queue.note)}</p>")
    lines.append(f"<table><caption>Next</caption>{''.join(rows)}</table>" if rows else "")
    if fiftyone == "picture":
        lines.append(
            "<p>At home, FiftyOne shows the same review, its regions and where they are wrong: "
            f'<code>python -m review records.jsonl</code></p><img src="{mount}/fiftyone.jpg" alt="FiftyOne\'s App with '
            'plates that were found in teal, false positives in amber, misses in magenta" style="width: 100%" '
            'loading="lazy">'
        )
    elif fiftyone == "link" and review.owner is None:
        link = f"{mount}/open?name={quote(review.name)}"
        lines.append(
            f'<p><a href="{link}" target="_blank" rel="noopener">Open in FiftyOne</a> (takes some seconds)</p>'
        )
    return "".join(lines)


def explorer(review: Review, thresholds: dict[str, float]) -> str:
    """What other thresholds would hide over all photos."""
    lines = ["| | from | photos with some | regions |", "|---|---|---|---|"]
    for kind in review.store.settings.kinds:
        now = review.store.settings.kinds[kind].threshold
        for label, t in (("now", now), ("then", thresholds.get(kind, now))):
            photos, regions = review.queue.at_threshold(kind, t)
            lines.append(f"| {kind}, {label} | {t:.3g} | {photos} | {regions} |")
    return "\n".join(lines)


def export_approved(review: Review, allow_unreviewed: bool, mount: str, own_machine: bool) -> str:
    """Write what may go out, and say what stayed behind."""
    settings = review.store.settings
    folder = review.output
    done = export(review.store.path, folder, settings, gate=gate(settings, allow_unreviewed), write_detections=False)
    text = f"{done.done} photos exported ({done.done - done.unchanged} written anew), {len(done.withheld)} withheld"
    text += f", {len(done.gone)} no longer in the input" if done.gone else ""
    text += f", {len(done.failures)} FAILED" if done.failures else ""
    lines = [f"<p>{html.escape(text)}.</p>"]
    if allow_unreviewed:
        nobody = sum(i.status == "pending" for i in review.queue.items())
        lines.append(f"<p class='az-status problem'>{nobody} of them were approved by nobody.</p>")
    why: dict[str, int] = {}
    for reason in done.withheld.values():
        why[reason] = why.get(reason, 0) + 1
    lines.append("<ul>" + "".join(f"<li>{n} {html.escape(reason)}</li>" for reason, n in why.items()) + "</ul>")
    failed = list(done.failures.items())[:20]
    lines.append("<ul>" + "".join(f"<li>{html.escape(p)}: {html.escape(e)}</li>" for p, e in failed) + "</ul>")
    if own_machine:
        lines.append(f"<p>They are in <code>{html.escape(str(folder))}</code></p>")
    link = f"{mount}/export?name={quote(review.name)}" + ("&amp;unreviewed=yes" if allow_unreviewed else "")
    lines.append(f'<p><a href="{link}" download>Download as ZIP</a></p>')
    return "".join(lines)
