"""What the page says of a job: progress, the gallery, the card above it, the table of thresholds. HTML and frames."""

from __future__ import annotations

import html
import time

import pandas as pd

from .jobs import Job
from .results import STATUSES, count_text


def status_line(text: str) -> str:
    return f'<p class="az-status" role="status">{html.escape(text)}</p>'


def progress(job: Job, before: int) -> str:
    """The progress of a batch, as HTML."""
    s = job.summary
    if job.state == "waiting":
        where = f"{before} other batches come first" if before > 1 else "it starts in a moment"
        return status_line(f"Your batch is waiting: {where}.")
    if job.state == "failed":
        return f'<p class="az-status problem" role="alert">{html.escape(job.problem)}</p>'
    if job.state == "empty":
        return ""
    done, all_ = job.finished, max(s.photos, 1)
    left = job.seconds_left
    words = [f"{done} of {s.photos} photos"]
    if job.state == "running":
        if left is not None:
            words.append(f"{duration(left)} left")
            words.append(f"{60 * done / max(1e-3, (time.monotonic() - job.started)):.0f} a minute")
        if job.stop.is_set():
            words.append("stopping after the current photo")
    else:
        words.append("stopped" if job.state == "stopped" else f"done in {duration(s.seconds)}")
    words.append(count_text(dict(s.hidden)) + " hidden")
    if s.failures:
        words.append(f"{len(s.failures)} failed")
    if job.problem:  # why it stopped
        words.append(html.escape(job.problem))
    percent = 100 * done / all_
    return (
        f'<div class="az-progress" role="progressbar" aria-label="Photos done" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{percent:.0f}"><div style="width:{percent:.1f}%"></div></div>'
        f'<p class="az-status" role="status">{html.escape(" · ".join(words))}</p>'
    )


def photos(number: int, what: str = "") -> str:
    """`1 photo`, `3 clean photos`."""
    return f"{number} {what}photo{'s' * (number != 1)}"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def pictures(job: Job, which: str) -> str:
    """The clean photos as HTML, those first that a person should look at."""
    known = job.records
    all_ = zip(range(len(known)), known, job.statuses(), strict=True)
    kept = sorted((t for t in all_ if which in ("all", t[2])), key=lambda t: STATUSES.index(t[2]))
    if not kept:
        text = f"No photo is “{html.escape(which)}”." if known else "There are no photos yet."
        return f'<p class="az-note">{text}</p>'
    cells = []
    for i, record, word in kept:
        name = html.escape(record.path)
        kind = word.replace(" ", "-")
        if record.error:
            picture = f'<div class="az-nopicture">{html.escape(record.error)}</div>'
        else:
            source = f"/batches/{job.id}/thumb/{i}.jpg?v={job.written}"
            picture = (
                f'<button type="button" data-number="{i}" data-event="open"><img loading="lazy" src="{source}" '
                f'alt="Look at {name} and correct it"></button>'
            )
        cells.append(
            f'<li class="az-thumb {kind}">{picture}<span class="az-name" title="{name}">{name}</span>'
            f'<span class="az-word">{word}</span></li>'
        )
    return f'<ul class="az-gallery">{"".join(cells)}</ul>'


def summary(job: Job) -> str:
    s = job.summary
    if not job.records:
        return empty()
    parts = [f"<h2>{html.escape(count_text(dict(s.hidden)).capitalize())} hidden</h2>"]
    if s.done:
        parts.append(
            f'<p><a class="az-button az-primary az-download" href="/batches/{job.id}/clean.zip" download>Download '
            f"{photos(s.done, 'clean ')}</a></p><p class='az-small'>A zip with the photos, what was hidden in each, "
            "and a summary.</p>"
        )
    if s.failures:
        items = "".join(
            f"<li><strong>{html.escape(p)}</strong>: {html.escape(e)}</li>" for p, e in list(s.failures.items())[:20]
        )
        parts.append(
            f'<details class="az-warn" open><summary>{photos(len(s.failures))} could not be processed</summary>'
            f"<ul>{items}</ul></details>"
        )
    words = job.statuses()
    nothing, doubtful = words.count("nothing found"), words.count("worth a look")
    look = [f"<strong>{nothing}</strong> in which nothing was found"] * bool(nothing)
    look += [f"<strong>{doubtful}</strong> that are close calls"] * bool(doubtful)
    if look:
        parts.append(f"<p>Please look at {' and '.join(look)}: something may have been missed there.</p>")
    return f'<div class="az-card az-result">{"".join(parts)}</div>'


def empty() -> str:
    return (
        '<div class="az-card az-result"><h2>A whole folder at once</h2><p>Add photos or a zip, start, and download all '
        "clean photos together. Photos in which nothing was found, or that could not be read, are listed first.</p>"
        "</div>"
    )


def threshold_table(frame: pd.DataFrame) -> pd.DataFrame:
    out = frame.assign(threshold=[float(f"{v:.2g}") for v in frame["threshold"]])
    return out.rename(
        columns={"regions": "regions hidden", "photos": "photos with one", "changed": "photos that change"}
    )
