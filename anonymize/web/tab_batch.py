"""The second tab: many photos in, progress, results to look through, all clean photos out as a zip."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from .controls import Controls, threshold
from .elements import element, script
from .job_handlers import JobHandlers
from .job_view import empty
from .results import HEIGHTS, STATUSES
from .site import Site
from .tab_photo import PhotoTab

_SHOWN = "document.querySelector('#az-batch-result [data-batch]')?.dataset.batch"  # the id of the batch, for scripts
_COLORS = {"face": "#1c8f83", "plate": "#e8963a"}


@dataclass(frozen=True)
class Running:
    """The components that follow a batch, and an audit of it, in the order of `JobHandlers.watch`."""

    progress: gr.HTML
    start: gr.Button
    stop: gr.Button
    timer: gr.Timer
    audited: gr.HTML
    audit: gr.Button
    cancel: gr.Button


@dataclass(frozen=True)
class Results:
    """The components that show a finished batch, in the order of `JobHandlers.results`."""

    column: gr.Column
    gallery: gr.HTML
    photos: gr.Dataframe
    scores: gr.BarPlot
    heights: gr.BarPlot
    thresholds: gr.Dataframe
    probe: gr.HTML
    moved: gr.HTML
    card: gr.HTML
    again: gr.Button
    told: gr.HTML


@dataclass(frozen=True)
class Choices:
    """What a person chooses among the results."""

    status: gr.Radio
    kind: gr.Radio
    use: gr.Button


def build(site: Site, photo: PhotoTab, tabs: gr.Tabs, others: Iterable[str] = ()) -> None:
    """Draw the tab. `others`: titles of further tabs that a batch can be opened in (review)."""
    batch_id = gr.State("")
    with gr.Row(elem_classes="az-main"):
        with gr.Column(scale=7, min_width=320, elem_classes="az-left"):
            upload = element("uploader", "ready", "cleared", value={}, elem_id="az-batch-upload")
            folder = _folder(site.policy.own_machine)
            with gr.Row():
                start = gr.Button("Hide faces and plates", elem_id="az-batch-start")
                stop = gr.Button("Stop", variant="stop", visible=False, elem_id="az-batch-stop")
            progress = gr.HTML("", js_on_load=None, elem_id="az-batch-progress")
            card = gr.HTML(empty(), js_on_load=None, elem_id="az-batch-result")
            shown, choices, audit = _results(site, others)
        with gr.Column(scale=3, min_width=300, elem_classes="az-right"):
            again = gr.Button("Apply changed settings", visible=False, elem_id="az-batch-again")
            controls = Controls(site.policy, of="batch")
            told = element("told", value={})
    results = Results(**shown, card=card, again=again, told=told)
    running = Running(progress, start, stop, gr.Timer(1.0, active=False), *audit)
    do = JobHandlers(site, len(photo.whole))
    _wire_run(do, batch_id, upload, folder, running, results, controls)
    _wire_results(do, batch_id, running, results, choices, controls, photo, tabs)


def _folder(own_machine: bool) -> gr.Textbox:
    if not own_machine:
        return gr.Textbox(visible=False)
    return gr.Textbox(
        label="Or a folder on this computer",
        placeholder="/home/me/photos",
        info="Its photos are only read.",
        elem_id="az-folder",
    )


def _results(site: Site, others: Iterable[str]) -> tuple[dict[str, Any], Choices, list[Any]]:
    """The components of `Results` that stand below the card, the choices among them, and those of an audit."""
    with gr.Column(visible=False) as column:
        shown = ["all", *STATUSES]
        status = gr.Radio(shown, value="all", label="Show", elem_classes="az-pills", elem_id="az-batch-filter")
        gallery = gr.HTML(
            "",
            head=script(),
            js_on_load="window.anonymize.clicks({element, trigger}) /* 'chosen' */",
            elem_id="az-gallery",
            apply_default_css=False,
        )
        with gr.Row(elem_id="az-batch-actions"):  # what else can be done with the whole batch
            for title in others:
                # Review's own script opens this batch there.
                js = f"() => window.anonymize.open{title}({{ batch: {_SHOWN}, photo: '' }})"
                gr.Button(f"Open in {title}", elem_id=f"az-open-{title.lower()}").click(
                    None, js=js, api_visibility="private"
                )
            # It takes seconds a photo, so it is for those whose machine it is.
            audit = gr.Button("Look for leaks", visible=site.policy.own_machine, elem_id="az-batch-audit")
            cancel = gr.Button("Cancel", variant="stop", visible=False, elem_id="az-batch-audit-cancel")
        audited = gr.HTML("", js_on_load=None, elem_id="az-batch-audited")
        with gr.Accordion("Table", open=False, elem_classes="az-card"):
            widths = ["260px", "135px", "75px", "75px", "90px", "110px", "200px"]
            photos = _frame("Photos", wrap=True, max_height=420, column_widths=widths)
        with gr.Accordion("Scores and sizes", open=False, elem_classes="az-card"), gr.Row():
            scores = _plot("score", "Scores of everything seen", "score")
            heights = _plot("height", "Heights of what is hidden", "height, px", sort=HEIGHTS, x_label_angle=-40)
        with gr.Accordion("Try another threshold", open=False, elem_classes="az-card"):
            kinds = [("Faces", "face"), ("License plates", "plate")]
            kind = gr.Radio(kinds, value="face", label="Of", elem_classes="az-pills")
            probe = threshold("Threshold", site.policy.defaults.kind("face").threshold)
            moved = gr.HTML("", js_on_load=None, elem_id="az-moved")
            use = gr.Button("Use this", size="sm", elem_id="az-use")
            thresholds = _frame("Other thresholds", max_height=320)
    frames = {"photos": photos, "scores": scores, "heights": heights, "thresholds": thresholds}
    shown_below = {"column": column, "gallery": gallery, **frames, "probe": probe, "moved": moved}
    return shown_below, Choices(status, kind, use), [audited, audit, cancel]


def _frame(label: str, **options: Any) -> gr.Dataframe:
    return gr.Dataframe(interactive=False, label=label, show_label=False, **options)


def _plot(x: str, title: str, x_title: str, **options: Any) -> gr.BarPlot:
    same = {"y": "regions", "color": "kind", "color_map": _COLORS, "height": 220, "y_title": "regions"}
    return gr.BarPlot(x=x, title=title, x_title=x_title, **same, **options)


def _list(components: Running | Results) -> list[Any]:
    return [getattr(components, f.name) for f in fields(components)]


_PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}


def _wire_run(
    do: JobHandlers, id: gr.State, upload: Any, folder: Any, running: Running, results: Results, controls: Controls
) -> None:
    now, shown = _list(running), _list(results)
    upload.ready(do.ready, None, [id, running.progress, running.start, folder], **_PRIVATE)
    upload.cleared(do.clear, [id], [*now, *shown, id], **_PRIVATE)
    folder.input(do.name_folder, folder, running.start, **_PRIVATE)
    running.start.click(do.begin, [id, folder, *controls.all], [*now, id, results.card], **_PRIVATE)
    results.again.click(do.apply_again, [id, *controls.all], now, **_PRIVATE)
    running.stop.click(do.halt, [id], now, **_PRIVATE)
    running.audit.click(do.audit, [id], now, **_PRIVATE)
    running.cancel.click(do.cancel_audit, [id], now, **_PRIVATE)
    for typed in (controls.fill, controls.face_detector, controls.plate_detector):
        typed.input(do.check, [id, *controls.all], controls.typed, **_PRIVATE)
    whole = [*now, *shown, id, upload, controls.preset, *controls.all]
    gr.on(None, do.restore, None, whole, **_PRIVATE)  # when the page is opened


def _wire_results(
    do: JobHandlers,
    id: gr.State,
    running: Running,
    results: Results,
    choices: Choices,
    controls: Controls,
    photo: PhotoTab,
    tabs: gr.Tabs,
) -> None:
    kind, probe = choices.kind, results.probe
    explored = [results.thresholds, probe, results.moved]
    running.timer.tick(do.tick, [id, choices.status, kind], [*_list(running), *_list(results)], **_PRIVATE)
    opened, thresholds = [running.progress, tabs, *photo.whole], [controls.face, controls.plate]
    results.gallery.chosen(do.correct, [id], opened, **_PRIVATE)
    photo.viewer.walked(do.walk, None, opened, trigger_mode="multiple", **_PRIVATE)
    again = [results.gallery, results.card, results.told, *thresholds]
    tabs.select(do.back, [id, choices.status], again, **_PRIVATE)
    choices.status.change(do.show_only, [id, choices.status], results.gallery, **_PRIVATE)
    kind.change(do.explore_kind, [id, kind], explored, **_PRIVATE)
    probe.input(do.move, [id, kind, probe], results.moved, trigger_mode="always_last", **_PRIVATE)
    choices.use.click(do.use, [kind, probe, *thresholds], thresholds, **_PRIVATE)
