"""The second tab: many photos in, progress, results to look through, all clean photos out as a zip."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gradio as gr

from .controls import Controls, threshold
from .elements import element, prose, script
from .policy import Policy
from .results import HEIGHTS, STATUSES

# The id of the batch, for scripts; while it is worked on its progress has it, afterward also its card.
_SHOWN = "document.querySelector('#az-batch-progress [data-batch], #az-batch-result [data-batch]')?.dataset.batch"
_COLORS = {"face": "#1c8f83", "plate": "#e8963a"}


class BatchTab:
    """The tab's components. Made inside gr.Blocks.

    Args:
        others: titles of further tabs that a batch can be opened in (review).

    Attributes:
        id: of the batch. upload, folder: what it is of.
        start, stop, progress, timer: its run. audit, cancel, audited: a look for leaks in what it wrote.
        card: what came of it, with the downloads. results: holds what stands below it.
        status: which photos the gallery shows. kind, probe, moved, use, thresholds: what other thresholds would do.
        controls: what and how to hide. again: applies them anew, where they changed. counts: what their sliders tell.
    """

    def __init__(self, policy: Policy, others: Iterable[str] = ()) -> None:
        self.id = gr.State("")
        with gr.Row(elem_classes="az-main"):
            with gr.Column(scale=7, min_width=320, elem_classes="az-left"):
                self.upload = element("uploader", "ready", "cleared", value={}, elem_id="az-batch-upload")
                self.folder = _folder(policy.own_machine)
                with gr.Row():
                    self.start = gr.Button("Hide faces and plates", elem_id="az-batch-start")
                    self.stop = gr.Button("Stop", variant="stop", visible=False, elem_id="az-batch-stop")
                self.progress = gr.HTML("", js_on_load=None, elem_id="az-batch-progress")
                self.card = gr.HTML(prose("no-batch"), js_on_load=None, elem_id="az-batch-result")
                with gr.Column(visible=False) as self.results:
                    self._gallery(policy, others)
                    self._tables(policy)
            with gr.Column(scale=3, min_width=300, elem_classes="az-right"):
                self.again = gr.Button("Apply changed settings", visible=False, elem_id="az-batch-again")
                self.controls = Controls(policy, of="batch")
                self.counts = element("told", value={})
        self.timer = gr.Timer(1.0, active=False)

    def _gallery(self, policy: Policy, others: Iterable[str]) -> None:
        shown = ["all", *STATUSES]
        self.status = gr.Radio(shown, value="all", label="Show", elem_classes="az-pills", elem_id="az-batch-filter")
        self.gallery = gr.HTML(
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
                button = gr.Button(f"Open in {title}", elem_id=f"az-open-{title.lower()}")
                button.click(None, js=js, api_visibility="private")
            # It takes seconds a photo, so it is for those whose machine it is.
            self.audit = gr.Button("Look for leaks", visible=policy.own_machine, elem_id="az-batch-audit")
            self.cancel = gr.Button("Cancel", variant="stop", visible=False, elem_id="az-batch-audit-cancel")
        self.audited = gr.HTML("", js_on_load=None, elem_id="az-batch-audited")

    def _tables(self, policy: Policy) -> None:
        with gr.Accordion("Table", open=False, elem_classes="az-card"):
            widths = ["260px", "135px", "75px", "75px", "90px", "110px", "200px"]
            self.photos = _frame("Photos", wrap=True, max_height=420, column_widths=widths)
        with gr.Accordion("Scores and sizes", open=False, elem_classes="az-card"), gr.Row():
            self.scores = _plot("score", "Scores of everything seen", "score")
            self.heights = _plot("height", "Heights of what is hidden", "height, px", sort=HEIGHTS, x_label_angle=-40)
        with gr.Accordion("Try another threshold", open=False, elem_classes="az-card"):
            kinds = [("Faces", "face"), ("License plates", "plate")]
            self.kind = gr.Radio(kinds, value="face", label="Of", elem_classes="az-pills")
            self.probe = threshold("Threshold", policy.defaults.kind("face").threshold)
            self.moved = gr.HTML("", js_on_load=None, elem_id="az-moved")
            self.use = gr.Button("Use this", size="sm", elem_id="az-use")
            self.thresholds = _frame("Other thresholds", max_height=320)

    @property
    def running(self) -> list[Any]:
        """What follows a batch, and an audit of it."""
        return [self.progress, self.start, self.stop, self.timer, self.again, self.audited, self.audit, self.cancel]

    @property
    def explored(self) -> list[Any]:
        return [self.thresholds, self.probe, self.moved]

    @property
    def shown(self) -> list[Any]:
        """What shows a batch and what came of it."""
        tables = [self.results, self.gallery, self.photos, self.scores, self.heights, *self.explored]
        return [*self.running, *tables, self.card, self.counts]

    @property
    def whole(self) -> list[Any]:
        return [*self.shown, self.id, self.upload, self.controls.preset, *self.controls.all]


def _folder(own_machine: bool) -> gr.Textbox:
    if not own_machine:
        return gr.Textbox(visible=False)
    return gr.Textbox(
        label="Or a folder on this computer",
        placeholder="/home/me/photos",
        info="Its photos are only read.",
        elem_id="az-folder",
    )


def _frame(label: str, **options: Any) -> gr.Dataframe:
    return gr.Dataframe(interactive=False, label=label, show_label=False, **options)


def _plot(x: str, title: str, x_title: str, **options: Any) -> gr.BarPlot:
    same = {"y": "regions", "color": "kind", "color_map": _COLORS, "height": 220, "y_title": "regions"}
    return gr.BarPlot(x=x, title=title, x_title=x_title, **same, **options)
