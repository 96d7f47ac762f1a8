"""The second tab: many photos in, progress, results to look through, all clean photos out as a zip."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import gradio as gr
import pandas as pd

from ..errors import AnonymizeError
from .batch import Batch
from .controls import Controls, threshold
from .elements import element, script
from .files import session_of
from .results import HEIGHTS, counted, explore, heights, if_moved, scores, status, table
from .sessions import new_id
from .tab_photo import PhotoTab, shown_in
from .telling import told

if TYPE_CHECKING:
    from .ui import Site

_FILTERS = ["all", "failed", "nothing found", "worth a look", "fine"]
_COLOURS = {"face": "#1c8f83", "plate": "#e8963a"}
_ORDER = {"failed": 0, "nothing found": 1, "worth a look": 2, "fine": 3}


def build(site: Site, photo: PhotoTab, tabs: gr.Tabs, others: Iterable[str] = ()) -> None:
    """Draw the tab. `others`: titles of further tabs that a batch can be opened in (review)."""
    own = site.policy.own_machine
    batch_id = gr.State("")
    with gr.Row(elem_classes="az-main"):
        with gr.Column(scale=7, min_width=320, elem_classes="az-left"):
            upload = element("uploader", "ready", "cleared", elem_id="az-batch-upload")
            if own:
                folder = gr.Textbox(
                    label="Or a folder on this computer",
                    placeholder="/home/me/photos",
                    info="Its photos are only read.",
                    elem_id="az-folder",
                )
            else:
                folder = gr.Textbox(visible=False)
            with gr.Row():
                start = gr.Button("Hide faces and plates", elem_id="az-batch-start")
                stop = gr.Button("Stop", variant="stop", visible=False, elem_id="az-batch-stop")
            progress = gr.HTML("", js_on_load=None, elem_id="az-batch-progress")
            result = gr.HTML(_empty(), js_on_load=None, elem_id="az-batch-result")
            with gr.Column(visible=False) as results:
                chosen = gr.Radio(
                    _FILTERS, value="all", label="Show", elem_classes="az-pills", elem_id="az-batch-filter"
                )
                gallery = gr.HTML(
                    "",
                    head=script(),
                    js_on_load="window.anonymize.clicks({element, trigger}) /* 'chosen' */",
                    elem_id="az-gallery",
                    apply_default_css=False,
                )
                for title in others:
                    gr.Button(f"Open in {title}", elem_id=f"az-open-{title.lower()}").click(
                        lambda id=title.lower(): gr.Tabs(selected=id), None, tabs, api_visibility="private"
                    )
                with gr.Accordion("Table", open=False, elem_classes="az-card"):
                    photos = gr.Dataframe(
                        interactive=False,
                        label="Photos",
                        show_label=False,
                        wrap=True,
                        max_height=420,
                        column_widths=["260px", "115px", "75px", "75px", "90px", "110px", "220px"],
                    )
                with gr.Accordion("Scores and sizes", open=False, elem_classes="az-card"), gr.Row():
                    score_plot = gr.BarPlot(
                        x="score",
                        y="regions",
                        color="kind",
                        color_map=_COLOURS,
                        title="Scores of everything seen",
                        height=220,
                        x_title="score",
                        y_title="regions",
                    )
                    height_plot = gr.BarPlot(
                        x="height",
                        y="regions",
                        color="kind",
                        color_map=_COLOURS,
                        title="Heights of what is hidden",
                        height=220,
                        sort=HEIGHTS,
                        x_title="height, px",
                        x_label_angle=-40,
                        y_title="regions",
                    )
                with gr.Accordion("What if the threshold moved?", open=False, elem_classes="az-card"):
                    kind = gr.Radio(
                        [("Faces", "face"), ("License plates", "plate")],
                        value="face",
                        label="Of",
                        elem_classes="az-pills",
                    )
                    probe = threshold("Would hide from a score of", site.policy.defaults.kind("face").threshold)
                    moved = gr.HTML("", js_on_load=None, elem_id="az-moved")
                    use = gr.Button("Use this", size="sm", elem_id="az-use")
                    what_if = gr.Dataframe(
                        interactive=False, label="Other thresholds", show_label=False, max_height=320
                    )
        with gr.Column(scale=3, min_width=300, elem_classes="az-right"):
            again = gr.Button("Apply changed settings", visible=False, elem_id="az-batch-again")
            controls = Controls(site.policy)
    timer = gr.Timer(1.0, active=False)

    running = [progress, start, stop, timer]
    finished = [results, gallery, photos, score_plot, height_plot, what_if, probe, moved, result, again]

    def find(request: gr.Request, id: str) -> Batch:
        return session_of(request).get(Batch, id)

    def watch(batch: Batch) -> tuple[Any, ...]:
        busy = batch.state in ("waiting", "running")
        return (
            doing(batch, site.batches.before(batch)),
            gr.update(interactive=not busy, variant="primary" if batch.state == "empty" else "secondary"),
            gr.update(visible=busy, interactive=not batch.stop.is_set()),
            gr.update(active=busy),
        )

    def over(batch: Batch, which: str, of: str) -> tuple[Any, ...]:
        if batch.state in ("waiting", "running"):
            return tuple(gr.skip() for _ in finished)
        known, settings = batch.records, batch.settings
        return (
            gr.update(visible=bool(known)),
            pictures(batch, which),
            table(known, settings),
            scores(known, settings),
            heights(known, settings),
            rounded(explore(known, settings, of)),
            settings.kind(of).threshold,
            if_moved(known, settings, of, settings.kind(of).threshold),
            summary(batch),
            gr.update(visible=bool(known)),
        )

    def nothing(text: str) -> tuple[Any, ...]:
        return said(text), gr.skip(), gr.skip(), gr.skip()

    def ready(event: gr.EventData) -> tuple[str, str, Any, str]:
        """What came in last is what starts: a folder that was named earlier is forgotten."""
        data = event._data or {}
        return str(data.get("id") or ""), "", gr.update(variant="primary" if data.get("photos") else "secondary"), ""

    def cleared(request: gr.Request, id: str) -> tuple[Any, ...]:
        """Other photos instead of more: what there was is stopped and deleted."""
        session_of(request).remove(id)
        skipped = (gr.skip() for _ in finished[1:-2])
        off, hidden = gr.update(visible=False), gr.update(visible="hidden")  # unmounted, a plot would fail
        first = "", gr.update(interactive=True, variant="secondary"), off, gr.update(active=False)
        return *first, hidden, *skipped, _empty(), off, ""

    def begin(request: gr.Request, id: str, path: str, *values: Any) -> tuple[Any, ...]:
        try:
            session = session_of(request)
            settings = controls.settings(values)
            if path and path.strip() and own:
                batch = Batch(new_id(), session.make_folder(), site.policy)
                batch.use_folder(path)
                session.add(batch)
            elif id:
                batch = find(request, id)
            else:
                return *nothing("Choose some photos first."), id, gr.skip()
            site.batches.start(batch, settings)
            return *watch(batch), batch.id, gr.skip() if batch.records else ""
        except (AnonymizeError, OSError) as e:
            return *nothing(told(e, own)), id, gr.skip()

    def apply_again(request: gr.Request, id: str, *values: Any) -> tuple[Any, ...]:
        try:
            batch, settings = find(request, id), controls.settings(values)
            found_with = [getattr(batch.settings, n) for n in ("face_detector", "plate_detector", "iou_threshold")]
            same = found_with == [getattr(settings, n) for n in ("face_detector", "plate_detector", "iou_threshold")]
            site.batches.start(batch, settings, again=same)
            return watch(batch)
        except (AnonymizeError, OSError) as e:
            return nothing(told(e, own))

    def tick(request: gr.Request, id: str, which: str, of: str) -> tuple[Any, ...]:
        try:
            batch = find(request, id)
            return *watch(batch), *over(batch, which, of)
        except (AnonymizeError, OSError) as e:
            skipped = tuple(gr.skip() for _ in finished)
            return (
                said(told(e, own)),
                gr.update(interactive=True),
                gr.update(visible=False),
                gr.update(active=False),
                *skipped,
            )

    def halt(request: gr.Request, id: str) -> tuple[Any, ...]:
        try:
            batch = find(request, id)
            batch.stop.set()
            return watch(batch)
        except (AnonymizeError, OSError) as e:
            return nothing(told(e, own))

    def show_only(request: gr.Request, id: str, which: str) -> Any:
        try:
            return pictures(find(request, id), which)
        except (AnonymizeError, OSError) as e:
            return said(told(e, own))

    def explore_kind(request: gr.Request, id: str, of: str) -> Any:
        try:
            batch = find(request, id)
            now = batch.settings.kind(of).threshold
            said = if_moved(batch.records, batch.settings, of, now)
            return rounded(explore(batch.records, batch.settings, of)), now, said
        except AnonymizeError:
            return gr.skip(), gr.skip(), gr.skip()

    def move(request: gr.Request, id: str, of: str, to: float) -> Any:
        try:
            batch = find(request, id)
            return if_moved(batch.records, batch.settings, of, float(to))
        except (AnonymizeError, TypeError, ValueError):
            return gr.skip()

    def correct(request: gr.Request, event: gr.EventData, id: str) -> tuple[Any, ...]:
        try:
            batch = find(request, id)
            record = batch.record(int((event._data or {}).get("number", -1)))
            session = session_of(request)
            work = site.studio.reopen(session, batch.source_of(record), record, batch.settings, batch.keeping(record))
            return said(""), gr.Tabs(selected="photo"), *shown_in(work, batch.settings), work.id
        except (AnonymizeError, OSError, TypeError, ValueError) as e:
            return said(told(e, own)), *(gr.skip() for _ in range(len(photo.outputs) + 2))

    def back(request: gr.Request, id: str, which: str) -> tuple[Any, ...]:
        """The tab is looked at again: photos may have been corrected meanwhile."""
        try:
            batch = find(request, id)
            if batch.state not in ("done", "stopped") or not batch.corrected:
                return gr.skip(), gr.skip()
            batch.refresh()
            return pictures(batch, which), summary(batch)
        except AnonymizeError:
            return gr.skip(), gr.skip()

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
    upload.ready(ready, None, [batch_id, progress, start, folder], **private)
    upload.cleared(cleared, [batch_id], [*running, *finished, batch_id], **private)
    folder.input(lambda path: gr.update(variant="primary" if path else "secondary"), folder, start, **private)
    start.click(begin, [batch_id, folder, *controls.all], [*running, batch_id, result], **private)
    again.click(apply_again, [batch_id, *controls.all], running, **private)
    stop.click(halt, [batch_id], running, **private)
    timer.tick(tick, [batch_id, chosen, kind], [*running, *finished], **private)
    gallery.chosen(correct, [batch_id], [progress, tabs, *photo.outputs, photo.current], **private)
    tabs.select(back, [batch_id, chosen], [gallery, result], **private)
    chosen.change(show_only, [batch_id, chosen], gallery, **private)
    kind.change(explore_kind, [batch_id, kind], [what_if, probe, moved], **private)
    probe.input(move, [batch_id, kind, probe], moved, trigger_mode="always_last", **private)
    use.click(
        lambda of, to, face, plate: (to, plate) if of == "face" else (face, to),
        [kind, probe, controls.face, controls.plate],
        [controls.face, controls.plate],
        **private,
    )


def said(text: str) -> str:
    return f'<p class="az-status" role="status">{html.escape(text)}</p>'


def doing(batch: Batch, before: int) -> str:
    """The progress of a batch, as HTML."""
    s = batch.summary
    if batch.state == "waiting":
        where = f"{before} other batches are in front of it" if before > 1 else "it begins in a moment"
        return said(f"Your batch waits: {where}.")
    if batch.state == "failed":
        return f'<p class="az-status problem" role="alert">{html.escape(batch.problem)}</p>'
    if batch.state == "empty":
        return ""
    done, all_ = batch.finished, max(s.photos, 1)
    left = batch.seconds_left
    words = [f"{done} of {s.photos} photos"]
    if batch.state == "running":
        if left is not None:
            words.append(f"{duration(left)} left")
            words.append(f"{60 * done / max(1e-3, _elapsed(batch)):.0f} a minute")
        if batch.stop.is_set():
            words.append("stopping after the photo in hand")
    else:
        words.append("stopped" if batch.state == "stopped" else f"done in {duration(s.seconds)}")
    words.append(counted(dict(s.hidden)) + " hidden")
    if s.failures:
        words.append(f"{len(s.failures)} failed")
    percent = 100 * done / all_
    return (
        f'<div class="az-progress" role="progressbar" aria-label="Photos done" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{percent:.0f}"><div style="width:{percent:.1f}%"></div></div>'
        f'<p class="az-status" role="status">{html.escape(" · ".join(words))}</p>'
    )


def _elapsed(batch: Batch) -> float:
    import time

    return time.monotonic() - batch.started


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def pictures(batch: Batch, which: str) -> str:
    """The clean photos as HTML, those first that a person should look at."""
    known = batch.records
    all_ = [(i, r, status(r, batch.settings)) for i, r in enumerate(known)]
    kept = sorted((t for t in all_ if which in ("all", t[2])), key=lambda t: _ORDER[t[2]])
    if not kept:
        return (
            "<p "
            f'class="az-note">{"There are no photos yet." if not known else f"No photo is “{html.escape(which)}”."}</p>'
        )
    cells = []
    for i, record, word in kept:
        name = html.escape(record.path)
        kind = word.replace(" ", "-")
        if record.error:
            picture = f'<div class="az-nopicture">{html.escape(record.error)}</div>'
        else:
            source = f"/batches/{batch.id}/thumb/{i}.jpg?v={batch.written}"
            picture = (
                f'<button type="button" data-number="{i}" data-event="open"><img loading="lazy" src="{source}" '
                f'alt="Look at {name} and correct it"></button>'
            )
        cells.append(
            f'<li class="az-thumb {kind}">{picture}<span class="az-name" title="{name}">{name}</span>'
            f'<span class="az-word">{word}</span></li>'
        )
    return f'<ul class="az-gallery">{"".join(cells)}</ul>'


def summary(batch: Batch) -> str:
    s = batch.summary
    if not batch.records:
        return _empty()
    parts = [f"<h2>Hidden: {html.escape(counted(dict(s.hidden)))}</h2>"]
    if s.done:
        parts.append(
            f'<p><a class="az-button az-primary az-download" href="/batches/{batch.id}/clean.zip" download>Download '
            f"{s.done} clean "
            f"photo{'s' if s.done != 1 else ''}</a></p><p class='az-small'>A zip with the photos, what was hidden "
            "in each, and a summary.</p>"
        )
    if s.failures:
        items = "".join(
            f"<li><strong>{html.escape(p)}</strong>: {html.escape(e)}</li>" for p, e in list(s.failures.items())[:20]
        )
        parts.append(
            f'<details class="az-warn" open><summary>{len(s.failures)} failed and '
            f"{'has' if len(s.failures) == 1 else 'have'} no clean photo</summary><ul>{items}</ul></details>"
        )
    words = [status(r, batch.settings) for r in batch.records]
    empty, narrow = words.count("nothing found"), words.count("worth a look")
    look = [f"<strong>{empty}</strong> in which nothing was found"] * bool(empty)
    look += [f"<strong>{narrow}</strong> where it was a narrow decision"] * bool(narrow)
    if look:
        parts.append(f"<p>Please look at {' and '.join(look)}: there something may have been missed.</p>")
    return f'<div class="az-card az-result">{"".join(parts)}</div>'


def _empty() -> str:
    return (
        '<div class="az-card az-result"><h2>A whole folder at once</h2><p>Add photos or a zip, start, and download '
        "all clean photos "
        "together. Photos in which nothing was found, or that could not be read, are listed first.</p></div>"
    )


def rounded(frame: pd.DataFrame) -> pd.DataFrame:
    out = frame.assign(threshold=[float(f"{v:.2g}") for v in frame["threshold"]])
    return out.rename(
        columns={"regions": "regions hidden", "photos": "photos with one", "changed": "photos that change"}
    )
