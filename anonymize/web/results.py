"""What the page shows of many records: pure functions, records and settings in, tables out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from ..records import Record
from ..risk import SUSPICIOUS, risk_of
from ..settings import MIN_THRESHOLD, Settings
from ..thresholds import compare, hiding_scores
from .elements import bullets

NAMES = {"face": ("face", "faces"), "plate": ("license plate", "license plates")}
STATUSES = ("failed", "nothing found", "worth a look", "nothing suspicious", "approved")  # worst first
_LEAST = 0.02  # score; less is noise
HEIGHTS = ["<8", "8–16", "16–32", "32–64", "64–128", ">128"]
_TABLE = ("photo", "status", "faces", "plates", "lowest score", "best not hidden", "note")


def count_text(counts: dict[str, int]) -> str:
    """`3 faces and 1 license plate`."""
    words = []
    for kind, (one, many) in NAMES.items():
        words.append(f"{counts.get(kind, 0) or 'no'} {one if counts.get(kind, 0) == 1 else many}")
    other = sum(n for kind, n in counts.items() if kind not in NAMES)
    if other:
        words.append(f"{other} more")
    return ", ".join(words[:-1]) + " and " + words[-1]


def warning_list(sentences: Iterable[str]) -> str:
    """What a person should know before photos go out, as HTML; empty where there is nothing."""
    items = bullets(sentences)
    return f'<div class="az-warn">{items}</div>' if items else ""


def judge(record: Record, settings: Settings) -> tuple[str, float]:
    """One of STATUSES, whether a person should look at a photo, and its risk: by the rule of the review's queue."""
    if record.error:
        return "failed", 1.0
    risk = risk_of(record, settings)
    if record.is_approved(settings):  # somebody looked, and decided
        return "approved", risk
    if not record.hidden(settings):
        return "nothing found", risk
    return "worth a look" if risk >= SUSPICIOUS else "nothing suspicious", risk


def table(known: list[Record], settings: Settings, words: list[str]) -> pd.DataFrame:
    """One row a photo, in the records' order. `words`: their status."""
    rows = []
    for record, word in zip(known, words, strict=True):
        hidden = record.hidden(settings)
        rest = [r.score for r in record.regions if r.kind in settings.kinds and r not in hidden]
        rows.append(
            (
                record.path,
                word,
                sum(r.kind == "face" for r in hidden),
                sum(r.kind == "plate" for r in hidden),
                round(min((r.score for r in hidden), default=0.0), 3) or None,
                round(max(rest, default=0.0), 3) or None,
                record.error or "",
            )
        )
    return pd.DataFrame(rows, columns=list(_TABLE))


def scores(known: list[Record], settings: Settings) -> pd.DataFrame:
    """How many candidates of each kind have which score: columns score (bin's middle), kind, regions."""
    edges = np.linspace(0, 1, 21)
    found = [(r.kind, r.score) for record in known for r in record.regions if r.score >= _LEAST]
    return _histogram(found, settings, edges, score=(edges[:-1] + edges[1:]) / 2)


def heights(known: list[Record], settings: Settings) -> pd.DataFrame:
    """How tall the hidden regions are, px: columns height, kind, regions."""
    found = [(r.kind, r.height) for record in known for r in record.hidden(settings) if r.score >= _LEAST]
    return _histogram(found, settings, np.array([0, 8, 16, 32, 64, 128, 1e9]), height=HEIGHTS)


def _histogram(found: list[tuple[str, float]], settings: Settings, edges: np.ndarray, **bins: Any) -> pd.DataFrame:
    """`found`: kinds and values. `bins`: the name of what these are, and one for each bin."""
    parts = []
    for kind in settings.kinds:
        regions, _ = np.histogram([value for k, value in found if k == kind], edges)
        parts.append(pd.DataFrame({**bins, "kind": kind, "regions": regions}))
    return pd.concat(parts, ignore_index=True)


# The slider of a threshold has these places, of which the lowest is first (app.js has the same).
PLACES = [float(f"{10 ** (-3 + 3 * i / 200):.2g}") for i in range(201)]


def at_places(scores: Any) -> list[int]:
    """How many regions of these scores are hidden with the slider at each of PLACES."""
    found = np.sort(scores)
    return (len(found) - np.searchsorted(found, PLACES, side="left")).tolist()


def counts(known: list[Record], settings: Settings) -> dict[str, list[int]]:
    """For each kind, how many regions are hidden with the slider at each of PLACES."""
    every = {kind: [np.zeros(0), *(hiding_scores(r, settings, kind) for r in known)] for kind in settings.kinds}
    return {kind: at_places(np.concatenate(found)) for kind, found in every.items()}


def explore(known: list[Record], settings: Settings, kind: str) -> pd.DataFrame:
    """What other thresholds of one kind would do: columns threshold, regions (hidden), photos (with one), changed."""
    scores, now = [hiding_scores(r, settings, kind) for r in known], settings.kind(kind).threshold
    rows = [(float(t), *compare(scores, now, float(t))) for t in np.geomspace(MIN_THRESHOLD, 1.0, 31)]
    return pd.DataFrame(rows, columns=["threshold", "regions", "photos", "changed"])


def threshold_effect(known: list[Record], settings: Settings, kind: str, threshold: float) -> str:
    """What one other threshold of a kind would do to these photos, in a sentence (HTML)."""
    scores, now = [hiding_scores(r, settings, kind) for r in known], settings.kind(kind).threshold
    total, _, changed = compare(scores, now, threshold)
    more = total - compare(scores, now, now)[0]
    words = f"{abs(more)} {'more' if more > 0 else 'fewer'} than now" if more else "as many as now"
    one, many = NAMES.get(kind, (kind, kind))
    photos = "no photo changes" if not changed else "1 photo changes" if changed == 1 else f"{changed} photos change"
    return f"<p><strong>{total} {one if total == 1 else many}</strong> hidden, {words}; {photos}.</p>"
