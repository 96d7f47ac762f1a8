"""The first tab: one photo in, what is hidden shown and corrected, the clean photo out."""

from __future__ import annotations

import html
import math
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr
import pandas as pd

from ..effects import warn_reversible
from ..errors import AnonymizeError
from ..regions import Region
from ..settings import Settings
from .controls import KEEP, Controls
from .elements import element
from .files import session_of
from .results import NAMES, counted
from .sessions import GoneError
from .telling import told
from .work import OTHER, Work

if TYPE_CHECKING:
    from .ui import Site

_SHOWN_FROM = 0.05  # candidates with less say nothing
_MOST_SHOWN = 150
_COLUMNS = ["what", "score", "height, px", "found by", "hidden?", "why"]


@dataclass(frozen=True)
class PhotoTab:
    """What another tab needs to show a photo here."""

    outputs: list[Any]
    current: gr.State


def build(site: Site) -> PhotoTab:
    with gr.Row(elem_classes="az-main"):
        with gr.Column(scale=7, min_width=320, elem_classes="az-left"):
            kept = (
                "It stays on this computer." if site.policy.own_machine else "It is deleted from here after your visit."
            )
            viewer = element("viewer", "opened", "corrected", value={}, label=kept, elem_id="az-photo")
            with gr.Accordion(
                "Everything that was found", open=False, visible=False, elem_classes="az-card"
            ) as details:
                table = gr.Dataframe(
                    headers=_COLUMNS,
                    datatype=["str", "number", "number", "str", "str", "str"],
                    interactive=False,
                    column_widths=["80px", "75px", "105px", "200px", "95px", "260px"],
                    label="Regions, best first",
                    show_label=False,
                    max_height=360,
                    wrap=True,
                )
        with gr.Column(scale=3, min_width=300, elem_classes="az-right"):
            result = gr.HTML(_empty(), elem_id="az-result", js_on_load=None)
            controls = Controls(site.policy)
    current = gr.State("")

    outputs = [viewer, result, table, details]

    def show(work: Work, settings: Settings) -> tuple[Any, ...]:
        return shown_in(work, settings)

    def failed(error: Exception, work: Work | None = None) -> tuple[Any, ...]:
        value: dict[str, Any] = {**view(work)} if work else {"id": ""}
        value["problem"] = told(error, site.policy.own_machine)
        value["turn"] = time.monotonic_ns()  # Gradio hands on only what differs, and the page waits for an answer
        return value, gr.skip(), gr.skip(), gr.skip()

    def find(request: gr.Request, id: str) -> Work:
        return session_of(request).get(Work, id)

    def opened(request: gr.Request, event: gr.EventData, *values: Any) -> tuple[Any, ...]:
        data = event._data or {}
        try:
            session = session_of(request)
            id, file = str(data.get("id")), str(data.get("file"))
            if not (re.fullmatch("[0-9a-f]{32}", id) and re.fullmatch(r"photo\.[a-z0-9]{1,5}", file)):
                raise GoneError("That photo is no longer here; please add it again.")
            path = session.folder / id / file
            if not path.is_file():
                raise GoneError("That photo is no longer here; please add it again.")
            settings = controls.settings(values)
            return *show(site.studio.open(session, path, str(data.get("name")), settings), settings), id
        except (AnonymizeError, OSError) as e:
            return *failed(e), ""

    def changed(request: gr.Request, id: str, *values: Any) -> tuple[Any, ...]:
        if not id:
            return tuple(gr.skip() for _ in outputs)
        work = None
        try:
            work = find(request, id)
            return show(work, controls.settings(values))
        except (AnonymizeError, OSError) as e:
            return failed(e, work)

    def look_again(request: gr.Request, id: str, *values: Any) -> tuple[Any, ...]:
        if not id:
            return tuple(gr.skip() for _ in outputs)
        work = None
        try:
            work, settings = find(request, id), controls.settings(values)
            site.studio.look_again(work, settings)
            return show(work, settings)
        except (AnonymizeError, OSError) as e:
            return failed(e, work)

    def corrected(request: gr.Request, event: gr.EventData, id: str) -> tuple[Any, ...]:
        work = None
        try:
            work = find(request, id)
            correct(work, event._data or {})
            return show(work, work.settings)
        except (AnonymizeError, OSError, TypeError, ValueError) as e:
            return failed(e, work)

    viewer.opened(
        opened,
        controls.all,
        [*outputs, current],
        show_progress="hidden",
        api_visibility="private",
        concurrency_id="look",
    )
    viewer.corrected(
        corrected,
        [current],
        outputs,
        show_progress="hidden",
        api_visibility="private",
        queue=False,
        trigger_mode="multiple",
    )
    for control in controls.live:
        event = control.input if control in (controls.face, controls.plate) else control.change
        event(
            changed,
            [current, *controls.all],
            outputs,
            show_progress="hidden",
            api_visibility="private",
            queue=False,
            trigger_mode="always_last",
        )
    for control in controls.finding:
        event = control.release if isinstance(control, gr.Slider) else control.change
        event(
            look_again,
            [current, *controls.all],
            outputs,
            api_visibility="private",
            concurrency_id="look",
            show_progress="minimal",
        )
    return PhotoTab(outputs, current)


def shown_in(work: Work, settings: Settings) -> tuple[Any, ...]:
    """Values for `PhotoTab.outputs`."""
    work.show(settings)
    return view(work), summary(work), rows(work), gr.update(visible=True)


def correct(work: Work, data: dict[str, Any]) -> None:
    """One correction, as the picture on the page sends it.

    Raises:
        SettingsError, GoneError: it makes no sense any more. TypeError, ValueError: it is not one.
    """
    action, id = data.get("action"), str(data.get("id"))
    if action == "undo":
        work.undo()
    elif action == "auto":
        work.leave_to_score(id)
    elif action in ("hide", "show"):
        work.decide(id, action == "hide")
    elif action in ("draw", "move"):
        x1, y1, x2, y2 = (float(v) for v in data.get("box") or ())
        if not all(map(math.isfinite, (x1, y1, x2, y2))):
            raise ValueError("A box has four numbers.")
        if action == "move":
            work.move(id, (x1, y1, x2, y2))
        else:
            kind = str(data.get("kind"))
            work.draw(kind if kind in work.settings.kinds else OTHER, (x1, y1, x2, y2))
    else:
        raise ValueError(f"There is no correction {action!r}.")


def shown(work: Work) -> list[Region]:
    """The regions that the page shows: all that are hidden or decided on, then the best of the others."""
    settings = work.settings
    decided = [r for r in work.record.regions if r.status != "auto" or settings.hides(r)]
    others = [
        r
        for r in work.record.regions
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
        return score + f"reaches the limit {kind.threshold:.3g}."
    if region.score < kind.threshold:
        return score + f"is below the limit {kind.threshold:.3g}."
    return score + "is high enough, but its size is outside the chosen range."


def view(work: Work) -> dict[str, Any]:
    """What the picture on the page needs, JSON-ready."""
    return {
        "id": work.id,
        "name": work.name,
        "width": work.record.width,
        "height": work.record.height,
        "version": work.version,
        "before": f"/photos/{work.id}/before.jpg",
        "after": f"/photos/{work.id}/after.jpg?v={work.version}",
        "undo": work.can_undo,
        "regions": [
            {
                "id": r.id,
                "kind": r.kind,
                "box": [round(v, 1) for v in r.box],
                "score": round(r.score, 4),
                "status": r.status,
                "hidden": work.settings.hides(r),
                "why": why(r, work.settings),
            }
            for r in shown(work)
        ],
    }


def rows(work: Work) -> pd.DataFrame:
    settings = work.settings
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
            for r in shown(work)
        ],
        columns=_COLUMNS,
    )


def _empty() -> str:
    return (
        '<div class="az-card az-result"><h2>Add a photo to begin</h2>'
        "<p>Faces and license plates are found and hidden at once. You see the result, correct it where needed, and "
        "download "
        "the clean photo. Nothing about the place or the camera stays in the file.</p></div>"
    )


def summary(work: Work) -> str:
    """The card beside the picture: what is hidden, the download, what to beware of, what was removed from the file."""
    settings, counts = work.settings, work.counts
    parts = [f"<h2>Hidden: {html.escape(counted(counts))}</h2>"]
    if not counts:
        parts.append(
            "<p class='az-note'>Nothing is hidden at these settings. Look at the photo: if a face or a plate is in "
            "it, move a "
            "slider to the left, or draw a box around it (Correct).</p>"
        )
    if work.saved:
        parts.append(
            "<p class='az-note'>This photo belongs to a batch. Boxes that you draw, move or switch off here count "
            "there, too. Sliders and effects count only here; those of the batch are under “Many photos”.</p>"
        )
    base = f"/photos/{work.id}"
    parts.append(
        f'<p><a class="az-button az-primary az-download" href="{base}/clean" download>Download the clean photo</a></p>'
        f'<p class="az-small"><a class="az-link" href="{base}/report.json" download>What was hidden (JSON)</a> · '
        f'<a class="az-link" href="{base}/all.zip" download>both as a zip</a></p>'
    )
    if warnings := warn_reversible(settings):
        # With the settings as they come there is one thing to know; more than that, and a person should read it.
        worse = len(warnings) > len(warn_reversible(Settings()))
        note = "What is hidden may be recovered" if worse else "Is this safe? One thing to know"
        items = "".join(f"<li>{html.escape(plain(w))}</li>" for w in warnings)
        parts.append(f'<details class="az-warn"{" open" * worse}><summary>{note}</summary><ul>{items}</ul></details>')
    parts.append(carried(work))
    return f'<div class="az-card az-result">{"".join(parts)}</div>'


# What the engine calls its settings, as the page does.
_CONTROLS = {
    "face:": "Faces:",
    "plate:": "License plates:",
    "Switch allow_weak off": "Switch off “Blur without the mosaic”",
    "because allow_weak is set": "because the blur without the mosaic is on",
    "Set padding to 0.1": "Set “Extra margin” to 0.1",
    "mosaic blocks": "tiles",
    "what blur leaves": "what a blur leaves",
    "what pixelate leaves": "what a mosaic leaves",
}


def plain(warning: str) -> str:
    """A warning of the engine in the page's words."""
    for engine, page in _CONTROLS.items():
        warning = warning.replace(engine, page)
    return warning


def carried(work: Work) -> str:
    """What the file carries besides the picture, before and after."""
    if not work.removed:
        return "<p class='az-small'>The file carried no hidden information (place, camera, comments).</p>"
    rows = "".join(f"<tr><td>{html.escape(name)}</td><td>removed</td></tr>" for name in work.removed)
    kept = ", ".join(KEEP[name] for name in work.settings.keep_metadata)
    rows += f"<tr><td>kept, as you chose</td><td>{html.escape(kept)}</td></tr>" if kept else ""
    return (
        f'<details class="az-removed"><summary>Removed from the file: {len(work.removed)}</summary>'
        f'<table class="az-compare"><tr><th>in your file</th><th>in the clean one</th></tr>{rows}</table></details>'
    )
