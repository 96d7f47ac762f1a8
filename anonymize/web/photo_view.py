"""What the page says of one photo: the picture's regions, the table, the card beside it. Pure but for the photo."""

from __future__ import annotations

import html
from collections import Counter
from itertools import islice
from typing import Any

import pandas as pd

from ..effects import MAX_MOSAIC_BLOCKS, Weakness, warn_reversible
from ..hiding import warning_texts
from ..regions import Region
from ..risk import Reason, percent
from ..settings import Settings
from .controls import KEEP
from .elements import download, editor_region, link, reasons, score, warning
from .job_results import HEIF
from .photo_session import OTHER, PhotoSession
from .results import NAMES, count_text, counts, warning_list

_SHOWN_FROM = 0.05  # candidates with less say nothing
_MOST_SHOWN = 150
POSSIBLE = 0.03  # probability from which something that is not hidden is a possible face or plate
DECIDED = {"manual": "You drew it.", "accepted": "You chose to hide it.", "rejected": "You chose not to hide it."}
COLUMNS = ["what", "score", "height, px", "found by", "hidden?", "why"]


def _reasons(photo: PhotoSession) -> dict[str, Reason]:
    """Region -> why a person should look at it: as the review says it."""
    record, settings = photo.record, photo.settings
    if not (photo.reasons and photo.reasons[0] is record and photo.reasons[1] == settings):
        photo.reasons = record, settings, reasons(record, settings)
    return photo.reasons[2]  # asked for several times for each answer


def possible(photo: PhotoSession) -> list[Region]:
    """What is not hidden and may be a face or a plate, likeliest first: of the review's reasons the better ones."""
    record, settings = photo.record, photo.settings
    known = {r.id: r for r in record.regions}
    found = [(known[id], r) for id, r in _reasons(photo).items() if r.p >= POSSIBLE and known[id].kind == r.kind]
    return [region for region, reason in found if not settings.hides(region)][:_MOST_SHOWN]


def regions(photo: PhotoSession) -> list[Region]:
    """The regions that the picture shows: all that are hidden or decided on, then what is possible."""
    settings = photo.settings
    decided = [r for r in photo.record.regions if r.status != "auto" or settings.hides(r)]
    return [*decided, *possible(photo)]


def why(region: Region, settings: Settings, reason: Reason | None = None) -> str:
    """Why a region is hidden or not, in a sentence or two. `reason`: to look at it."""
    kind = settings.kind(region.kind)
    if region.status != "auto":
        return DECIDED[region.status]
    if region.kind not in settings.kinds:
        return "This kind is not hidden."
    scored, chance = f"score {score(region.score)}", "" if reason is None else percent(reason.p)
    what, from_ = NAMES.get(region.kind, (region.kind,))[0], f"Hidden from {kind.threshold:g}."
    if settings.hides(region):
        by = f" by {len(region.detector_scores)} detectors" if len(region.detector_scores) > 1 else ""
        return f"Found{by}, {scored}. {from_}" + (f" Likely not a {what}, {chance}." if chance else "")
    if region.score < kind.threshold:
        return (
            f"Possible {what}, {chance}. {scored.capitalize()}. {from_}"
            if chance
            else f"{scored.capitalize()}. {from_}"
        )
    return f"{scored.capitalize()}. Its size is outside the chosen range."


def view(photo: PhotoSession) -> dict[str, Any]:
    """What the picture on the page needs, JSON-ready."""
    shown, looks, settings = regions(photo), _reasons(photo), photo.settings
    return {
        "id": photo.id,
        "name": photo.name,
        "width": photo.record.width,
        "height": photo.record.height,
        "version": photo.version,
        "before": f"photos/{photo.id}/before.jpg",
        "after": f"photos/{photo.id}/after.jpg?v={photo.version}",
        "shows": photo.shows,
        "undo": photo.can_undo,
        "counts": counts([photo.record], photo.settings),
        "batch": photo.batch and {"id": photo.batch[0], "number": photo.batch[1]},
        "kinds": [*photo.settings.kinds, OTHER],
        "regions": [editor_region(r, settings, why(r, settings, looks.get(r.id)), looks.get(r.id)) for r in shown],
    }


def _listed(photo: PhotoSession) -> list[Region]:
    """The regions of the table: those of the picture, then the best of the others."""
    shown = regions(photo)
    known = {r.id for r in shown}
    others = (
        r
        for r in photo.record.regions
        if r.id not in known and r.score >= _SHOWN_FROM and r.kind in photo.settings.kinds
    )
    return [*shown, *islice(others, max(0, _MOST_SHOWN - len(shown)))]


def rows(photo: PhotoSession) -> pd.DataFrame:
    settings = photo.settings
    return pd.DataFrame(
        [
            (
                NAMES.get(r.kind, (r.kind,))[0],
                round(r.score, 3),
                round(r.height),
                ", ".join(r.detector_scores) or "",
                "yes" if settings.hides(r) else "no",
                why(r, settings, _reasons(photo).get(r.id)),
            )
            for r in _listed(photo)
        ],
        columns=COLUMNS,
    )


def summary(photo: PhotoSession) -> str:
    """The card beside the picture: what is hidden, the download, what to beware of, what was removed from the file."""
    settings, found = photo.settings, photo.record.count_hidden(photo.settings)
    parts = [f"<h2>{html.escape(count_text(found).capitalize())} hidden</h2>"]
    if not found:
        parts.append(
            "<p class='az-note'>Nothing is hidden at these settings. Look at the photo: if it shows a face or a plate, "
            "move a slider to the left, or draw a box around it (Correct).</p>"
        )
    parts += [warning_list(warning_texts(photo.record, settings)), _possible_text(photo), _downloads(photo)]
    if photo.saved:
        parts.append(
            "<p class='az-note'>This photo belongs to a batch. Corrections count there, too. Sliders and effects count "
            "only here; those of the batch are under “Many photos”.</p>"
        )
    parts += [reversible(settings), removed_table(photo)]
    return f'<div class="az-card az-result">{"".join(parts)}</div>'


def _possible_text(photo: PhotoSession) -> str:
    """`5 possible faces not hidden: show`; the link shows their boxes (app.js)."""
    found = Counter(r.kind for r in possible(photo))
    if not found:
        return ""
    words = [f"{n} possible {NAMES.get(kind, (kind, kind))[n != 1]}" for kind, n in found.items()]
    return (
        f'<p class="az-possible">{html.escape(" and ".join(words))} not hidden: '
        '<button type="button" class="az-link" data-shows="misses">show</button></p>'
    )


def _downloads(photo: PhotoSession) -> str:
    base, shown = f"photos/{photo.id}", f"?shows={photo.shows}"
    small = link(f"{base}/report.json{shown}", "What was hidden (JSON)")
    if photo.path.suffix.lower() in HEIF:
        small = f"{link(f'{base}/clean-as.jpg{shown}', 'The same as JPEG')} · {small}"
    return f'{download(f"{base}/clean{shown}", "Download the clean photo")}<p class="az-small">{small}</p>'


# Each weakness of the settings in words, with the page's names of the controls.
_WEAK = {
    "weak-blur": "a Gaussian blur without the mosaic can be undone; blurred faces were re-identified {value:.1%} of "
    "the time (Revelio, arXiv 2506.12344). Switch off “Blur without the mosaic”.",
    "many-blocks": "more than {most} tiles leave too much to see (Panoramax's limit); used: {value}.",
    "matched": "a recognizer that knows faces under a {value} found 9 in 10 of them again. A soft fill or a solid "
    "color shows nothing.",
    "short-text": "what a {value} leaves of a short text can be guessed by drawing every candidate the same way. "
    "A soft fill or a solid color shows nothing.",
    "tight": "detectors draw tight boxes; more than a tenth of 15 in 100 real plates stayed open without padding, and "
    "of 3 in 100 with 0.1. Set “Padding” to 0.1 or more.",
}


def weakness_text(weak: Weakness) -> str:
    """A weakness of the settings in the page's words."""
    value = {"pixelate": "mosaic"}.get(str(weak.value), weak.value)
    about = {"face": "Faces", "plate": "License plates"}.get(weak.kind, weak.kind)
    return f"{about}: {_WEAK[weak.code].format(value=value, most=MAX_MOSAIC_BLOCKS)}"


def reversible(settings: Settings) -> str:
    """What of these settings leaves something to see, as HTML; empty where nothing does."""
    return warning("What is hidden may be recovered", [weakness_text(w) for w in warn_reversible(settings)])


def removed_table(photo: PhotoSession) -> str:
    """What the file carries besides the picture, before and after."""
    if not photo.removed:
        return "<p class='az-small'>No metadata to remove.</p>"
    rows = "".join(f"<tr><td>{html.escape(name)}</td><td>removed</td></tr>" for name in photo.removed)
    kept = ", ".join(KEEP[name] for name in photo.settings.keep_metadata)
    rows += f"<tr><td>kept, as you chose</td><td>{html.escape(kept)}</td></tr>" if kept else ""
    return (
        f'<details class="az-removed"><summary>Removed from the file: {len(photo.removed)}</summary>'
        f'<table class="az-compare"><tr><th>in your file</th><th>in the clean one</th></tr>{rows}</table></details>'
    )
