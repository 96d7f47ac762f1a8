"""What the page says of one photo: the picture's regions, the table, the card beside it. Pure but for the photo."""

from __future__ import annotations

import html
from typing import Any

import pandas as pd

from ..effects import MAX_MOSAIC_BLOCKS, Weakness, warn_reversible
from ..regions import Region
from ..settings import Settings
from .controls import KEEP
from .elements import editor_region
from .photo_session import OTHER, PhotoSession
from .results import NAMES, count_text

_SHOWN_FROM = 0.05  # candidates with less say nothing
_MOST_SHOWN = 150
COLUMNS = ["what", "score", "height, px", "found by", "hidden?", "why"]


def regions(photo: PhotoSession) -> list[Region]:
    """The regions that the page shows: all that are hidden or decided on, then the best of the others."""
    settings = photo.settings
    decided = [r for r in photo.record.regions if r.status != "auto" or settings.hides(r)]
    others = [
        r
        for r in photo.record.regions
        if r.status == "auto" and not settings.hides(r) and r.score >= _SHOWN_FROM and r.kind in settings.kinds
    ]
    return [*decided, *others[: max(0, _MOST_SHOWN - len(decided))]]


def why(region: Region, settings: Settings) -> str:
    """Why a region is hidden or not, in a sentence."""
    kind = settings.kind(region.kind)
    if region.status == "manual":
        return "You drew it."
    if region.status == "accepted":
        return "You chose to hide it."
    if region.status == "rejected":
        return "You chose not to hide it."
    if region.kind not in settings.kinds:
        return "This kind is not hidden."
    by = " and ".join(f"{name} ({score:.2f})" for name, score in region.detector_scores.items()) or "a detector"
    score = f"Found by {by}. Its score {region.score:.3g} "
    if settings.hides(region):
        return score + f"reaches the threshold {kind.threshold:.3g}."
    if region.score < kind.threshold:
        return score + f"is below the threshold {kind.threshold:.3g}."
    return score + "is high enough, but its size is outside the chosen range."


def view(photo: PhotoSession) -> dict[str, Any]:
    """What the picture on the page needs, JSON-ready."""
    return {
        "id": photo.id,
        "name": photo.name,
        "width": photo.record.width,
        "height": photo.record.height,
        "version": photo.version,
        "before": f"/photos/{photo.id}/before.jpg",
        "after": f"/photos/{photo.id}/after.jpg?v={photo.version}",
        "undo": photo.can_undo,
        "kinds": [*photo.settings.kinds, OTHER],
        "regions": [editor_region(r, photo.settings, why(r, photo.settings)) for r in regions(photo)],
    }


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
                why(r, settings),
            )
            for r in regions(photo)
        ],
        columns=COLUMNS,
    )


def empty() -> str:
    return (
        '<div class="az-card az-result"><h2>Add a photo to begin</h2>'
        "<p>Faces and license plates are found and hidden at once. You see the result, correct it where needed, and "
        "download "
        "the clean photo. Place and camera are removed from the file.</p></div>"
    )


def summary(photo: PhotoSession) -> str:
    """The card beside the picture: what is hidden, the download, what to beware of, what was removed from the file."""
    settings, counts = photo.settings, photo.counts
    parts = [f"<h2>{html.escape(count_text(counts).capitalize())} hidden</h2>"]
    if not counts:
        parts.append(
            "<p class='az-note'>Nothing is hidden at these settings. Look at the photo: if a face or a plate is in "
            "it, move a "
            "slider to the left, or draw a box around it (Correct).</p>"
        )
    if photo.saved:
        parts.append(
            "<p class='az-note'>This photo belongs to a batch. Boxes that you draw, move or switch off here count "
            "there, too. Sliders and effects count only here; those of the batch are under “Many photos”.</p>"
        )
    base = f"/photos/{photo.id}"
    parts.append(
        f'<p><a class="az-button az-primary az-download" href="{base}/clean" download>Download the clean photo</a></p>'
        f'<p class="az-small"><a class="az-link" href="{base}/report.json" download>What was hidden (JSON)</a> · '
        f'<a class="az-link" href="{base}/all.zip" download>both as a zip</a></p>'
    )
    if warnings := warn_reversible(settings):
        items = "".join(f"<li>{html.escape(weakness_text(w))}</li>" for w in warnings)
        note = "What is hidden may be recovered"
        parts.append(f'<details class="az-warn" open><summary>{note}</summary><ul>{items}</ul></details>')
    parts.append(removed_table(photo))
    return f'<div class="az-card az-result">{"".join(parts)}</div>'


# Each weakness of the settings in words, with the page's names of the controls.
_WEAK = {
    "weak-blur": "a Gaussian blur without the mosaic can be undone; blurred faces were re-identified {value:.1%} of "
    "the time (Revelio, arXiv 2506.12344). Switch off “Blur without the mosaic”.",
    "many-blocks": "more than {most} tiles leave too much to see (Panoramax's limit); used: {value}.",
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
