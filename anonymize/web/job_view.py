"""What the page says of a job: progress, the gallery, the card above it, the table of thresholds. HTML and frames."""

from __future__ import annotations

import html
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from ..audit import SYSTEM, THUMBNAILS, TO_DO, Audit, PhotoAudit, once
from ..records import Record, first_of
from .elements import bullets, download, link, problem_line, prose, status_line, warning
from .job_results import HEIF
from .jobs import AuditProgress, Job
from .results import STATUSES, count_text, warning_list

MOST_COMING = 60  # of the photos that are shown as they are done


def progress(job: Job, before: int) -> str:
    """The progress of a batch, as HTML."""
    s = job.summary
    if job.state == "waiting":
        where = f"{before} other batches come first" if before > 1 else "it starts in a moment"
        return f'<div data-busy data-batch="{job.id}">{status_line(f"Your batch is waiting: {where}.")}</div>'
    if job.state == "failed":
        return problem_line(job.problem)
    if job.state == "empty":
        return ""
    if job.state == "done" and not s.photos:
        return problem_line("There are no photos in this folder.")
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
    if done or job.state != "running":  # "no faces" would be wrong before one photo is searched
        words.append(count_text(dict(s.hidden)) + " hidden")
    if s.failures:
        words.append(f"{len(s.failures)} failed")
    if job.problem:  # why it stopped
        words.append(job.problem)
    bar = _bar(done / all_, words, "Photos done", job.state == "running")
    return f'<div data-batch="{job.id}">{bar}</div>'


def _bar(share: float, words: Sequence[str], label: str, is_busy: bool) -> str:
    percent, busy = 100 * share, " data-busy" if is_busy else ""
    return (
        f'<div class="az-progress"{busy} role="progressbar" aria-label="{label}" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{percent:.0f}"><div style="width:{percent:.1f}%"></div></div>'
        f"{status_line(' · '.join(words))}"
    )


def photos(number: int, what: str = "") -> str:
    """`1 photo`, `3 clean photos`."""
    return f"{number} {what}photo{'s' * (number != 1)}"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def order(job: Job) -> list[int]:
    """The numbers of a batch's photos, those first that a person should look at."""
    judged = job.judged()
    return sorted(range(len(judged)), key=lambda i: (STATUSES.index(judged[i][0]), -judged[i][1]))


def pictures(job: Job, which: str) -> str:
    """The clean photos as HTML, those first that a person should look at; while it runs, those that came last."""
    known, words = job.records, job.statuses()
    audits = {p.path: p for p in job.audited.photos} if job.audited else {}
    if job.state in ("waiting", "running"):
        done = range(len(known))[-MOST_COMING:]
        cells = "".join(_cell(job, i, known[i], words[i], opens=False) for i in reversed(done))
        return f'<ul class="az-gallery">{cells}</ul>'
    kept = [i for i in order(job) if which in ("all", words[i])]
    if not kept:
        text = f"No photo is “{html.escape(which)}”." if known else "There are no photos yet."
        return f'<p class="az-note">{text}</p>'
    cells = "".join(_cell(job, i, known[i], words[i], audit=audits.get(known[i].path)) for i in kept)
    return f'<ul class="az-gallery">{cells}</ul>'


def _cell(job: Job, number: int, record: Record, word: str, opens: bool = True, audit: PhotoAudit | None = None) -> str:
    name, kind, mark = html.escape(record.path), word.replace(" ", "-"), _mark(audit)
    if record.error:
        picture = f'<div class="az-nopicture">{html.escape(record.error)}</div>'
    elif record.review == "flagged":
        word, picture = "flagged in Review", '<div class="az-nopicture">Kept back.</div>'
    else:
        source = f"batches/{job.id}/thumb/{number}.jpg?v={job.shows(number)}"
        picture = f'<img loading="lazy" src="{source}" alt="{"Look at " * opens}{name}{" and correct it" * opens}">'
        if opens:
            picture = f'<button type="button" data-number="{number}" data-event="open">{picture}</button>'
    return (
        f'<li class="az-thumb {kind}" title="{name}">{picture}<span class="az-name">{name}</span>'
        f'<span class="az-word">{word}</span>{mark}</li>'
    )


def _mark(audit: PhotoAudit | None) -> str:
    """What an audit says of a photo, for its caption; "" where it says nothing."""
    if audit is None or (audit.ok and not audit.of("look")):
        return ""
    reasons = "; ".join(once(f.text for f in audit.of("look"))) if audit.ok else audit.why
    level, said = ("look", "Audit: to look at") if audit.ok else ("leak", "Audit: failed")
    return f'<span class="az-word az-mark {level}" title="{html.escape(reasons)}">{said}</span>'


def summary(job: Job) -> str:
    s = job.summary
    if not job.records:
        return prose("no-batch")
    parts = [f"<h2>{html.escape(count_text(dict(s.hidden)).capitalize())} hidden</h2>"]
    if s.done:
        parts.append(_downloads(job))
    parts.append(warning_list(f"{text[:1].upper()}{text[1:]}." for text in s.warning_texts()))
    if s.withheld:
        parts.append(f"<p>{photos(len(s.withheld))} kept back, because somebody flagged it in Review.</p>")
    if s.failures:
        parts.append(warning(f"{photos(len(s.failures))} could not be processed", list(s.failures.items())[:20]))
    words = job.statuses()
    nothing, doubtful = words.count("nothing found"), words.count("worth a look")
    look = [f"<strong>{photos(nothing)}</strong> in which nothing was found"] * bool(nothing)
    look += [f"<strong>{photos(doubtful)}</strong> in which something may have been missed"] * bool(doubtful)
    if look:
        first = "It comes" if nothing + doubtful == 1 else "They come"
        parts.append(f"<p>Please look at {' and '.join(look)}. {first} first.</p>")
    return f'<div class="az-card az-result" data-batch="{job.id}">{"".join(parts)}</div>'


def _downloads(job: Job) -> str:
    base, jpeg, button = f"batches/{job.id}", "", f"Download {photos(job.summary.done, 'clean ')}"
    if any(Path(r.path).suffix.lower() in HEIF for r in job.records):
        jpeg = f" · {link(f'{base}/clean-jpeg.zip', 'The same with HEIC as JPEG')}"
    return (
        f'{download(f"{base}/clean.zip", button)}<p class="az-small">A zip with the photos and nothing else.{jpeg}</p>'
        f'<p class="az-small">{link(f"{base}/records.zip", "Download the records")}: where '
        "faces and plates are, with scores, file names, hashes and decisions. They help to check the photos, and say "
        "more about the originals than the clean photos do: do not publish them.</p>"
    )


def audit_words(auditing: AuditProgress) -> list[str]:
    """How far an audit is, in words."""
    if not auditing.of:
        words = ["Looking for leaks; the first audit fetches its networks"]
    else:
        words = [f"Looked at {auditing.done} of {auditing.of}"]
    if (left := auditing.seconds_left) is not None:
        words.append(f"{duration(left)} left")
    if auditing.failed:
        words.append(f"{auditing.failed} failed")
    return [*words, "stopping after the file in work"] if auditing.stop.is_set() else words


def audit_text(found: Audit) -> str:
    """What an audit found, in words."""
    if found.stopped and not found.photos:
        return "The audit was canceled before its first photo"
    begin = f"Audit of {found.counted}" + (", canceled before its end" if found.stopped else "")
    if failed := found.failed:
        return f"{begin}: {photos(len(failed))} failed, {sum(p.quarantined for p in failed)} taken out"
    to_look = len(found.to_look_at)
    return f"{begin}: no leak found, which is no proof" + (f"; {photos(to_look)} to look at" if to_look else "")


def audit_looks(found: Audit, then: str) -> str:
    """The files that a person should look at, the first of them, and what to do, in words; "" for none.

    Args:
        then: how what is a face or a plate is hidden there.
    """
    return f"To look at: {first_of(found.to_look_at)}: {TO_DO}, {then}." if found.to_look_at else ""


def audit_card(job: Job) -> str:
    """How far an audit is, or what the last one found and where its report is, as HTML."""
    if auditing := job.auditing:
        return _bar(auditing.done / max(auditing.of, 1), audit_words(auditing), "Looked at", is_busy=True)
    found = job.audited
    if found is None:
        return job.audit_problem and problem_line(job.audit_problem)
    looks = audit_looks(found, "click its picture above, draw a box around it, and look for leaks again")
    return (
        f'<div class="az-card"><h3>{audit_text(found)}</h3>{bullets(audit_reasons(found))}'
        f"{f'<p>{html.escape(looks)}</p>' if looks else ''}{not_checked(found.not_done)}"
        f"<p>{link(f'batches/{job.id}/audit.zip', 'Download report and certificate')}</p></div>"
    )


def audit_reasons(found: Audit) -> list[tuple[str, str]]:
    """The files that an audit did not pass, the first of each kind, and why."""
    reasons = [(p.path, p.why) for p in found.failed[:20]]
    reasons += [(path, f"a file of the operating system; {THUMBNAILS}") for path in found.thumbnails[:20]]
    reasons += [(path, f"a file of the operating system; {SYSTEM}") for path in found.of_system[:20]]
    return reasons + [(path, "no export wrote this file, and nobody looked at it") for path in found.strays[:20]]


def not_checked(not_done: Iterable[tuple[str, str]]) -> str:
    """The checks that were not done, and why: of these, silence says nothing."""
    rows = bullets(f"{checks}: {reason}" for checks, reason in not_done)
    return f"<p>Not checked:</p>{rows}" if rows else ""


def threshold_table(frame: pd.DataFrame) -> pd.DataFrame:
    out = frame.assign(threshold=[float(f"{v:.2g}") for v in frame["threshold"]])
    return out.rename(
        columns={"regions": "regions hidden", "photos": "photos with one", "changed": "photos that change"}
    )
