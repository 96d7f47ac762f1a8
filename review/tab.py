"""The Review tab of the page: the queue, one photo with its regions, decisions, the threshold explorer, the gated
export.

It needs no FiftyOne: corrections go to the records through the same book. FiftyOne's App is one link away, where it
may be.
"""

from __future__ import annotations

import html
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr

from anonymize.engine import Engine
from anonymize.errors import AnonymizeError, ReadOnlyError, RecordsError
from anonymize.records import Record

from .dataset import dataset_name
from .decisions import ON_REGIONS, gate
from .documents import FAINT, media_path
from .policy import ONLY_LOOKED_AT
from .queue import Item
from .reviews import Review, Reviews, Visitor
from .risk import SHOWN_REASON

EDITOR = (Path(__file__).parent / "editor.js").read_text(encoding="utf-8")
STYLE = """<style>
.rv-editor svg { width: 100%; max-height: 72vh; touch-action: none; cursor: crosshair; background: #10151b;
border-radius: 8px; } .rv-say { min-height: 1.5em; margin: 0 0 .4em; } .rv-problem { color: #b3003c; font-weight: 600; }
.rv-region, .rv-drawing { vector-effect: non-scaling-stroke; stroke-width: 2; fill: transparent; cursor: pointer; }
.rv-hidden { stroke: #12b8a6; fill: #12b8a633; } .rv-manual, .rv-accepted { stroke: #9d4edd; fill: #9d4edd33; }
.rv-carrier { stroke: #ff9f1c; stroke-width: 1; stroke-dasharray: 1 5; pointer-events: none; }
.rv-suspect { stroke: #ff9f1c; stroke-dasharray: 5 3; } .rv-rejected { stroke: #9aa0a6; stroke-dasharray: 2 3; }
.rv-chosen { stroke-width: 4; stroke: #fff; } .rv-drawing { stroke: #fff; stroke-dasharray: 4 2; }
.rv-side li { margin: .25em 0; } .rv-side table { width: 100%; font-size: .9em; } .rv-side td { padding: .15em .4em
.15em 0; } .rv-side code { overflow-wrap: anywhere; }
</style>"""
KEYS = "Drag draws · click selects · wheel zooms · A approve · F flag · N next · U undo · H hide · X nothing · K kind"
Sources = Callable[[Any], Sequence[tuple[str, Path, str | None]]]


def build(
    reviews: Reviews,
    who: Callable[[Any], Visitor],
    sources: Sources,
    *,
    own_machine: bool,
    read_only: bool = False,
    mount: str = "/review",
) -> None:
    """Draw the tab; called inside gr.Blocks.

    Args:
        reviews: the open ones, shared with the mount.
        who: the visitor of a gr.Request, as the guard knows them.
        sources: (label, records file, owner) of what a visitor may open: their batches.
        own_machine: the visitor is at this machine: any records file may be opened by its path, exports stay in
        folders. mount: where `ReviewServer` is mounted; it delivers the photos.
    """
    gr.HTML(STYLE, js_on_load=None, padding=False)
    opened, known = gr.State(""), gr.State([])
    with gr.Row(elem_classes="az-main"):
        with gr.Column(scale=7, min_width=320):
            with gr.Row():
                source = gr.Dropdown([], label="Batch", elem_id="rv-source", scale=3)
                path = gr.Textbox(
                    label="Or a records file",
                    placeholder="out/records.jsonl",
                    visible=own_machine,
                    elem_id="rv-path",
                    scale=3,
                )
                start = gr.Button("Open", variant="primary", elem_id="rv-open", scale=1)
            editor = gr.HTML(
                {},
                html_template='<div class="rv-editor"></div>',
                js_on_load=f"({EDITOR})({{element, props, trigger, watch}}) /* trigger('decided') */",
                apply_default_css=False,
                elem_id="rv-photo",
            )
            with gr.Row():
                approve = gr.Button("Approve, next (A)", variant="primary", elem_id="rv-approve")
                flag = gr.Button("Flag, next (F)", elem_id="rv-flag")
                skip = gr.Button("Next (N)", elem_id="rv-next")
                undo = gr.Button("Undo (U)", elem_id="rv-undo")
            with gr.Row():
                hide = gr.Button("Hide selected (H)", elem_id="rv-hide")
                reject = gr.Button("Selected is nothing (X)", elem_id="rv-reject")
                kind = gr.Dropdown(["face", "plate"], value="plate", label="Draw a", elem_id="rv-kind")
            gr.Markdown(KEYS)
        with gr.Column(scale=3, min_width=300):
            side = gr.HTML(_empty(), js_on_load=None, elem_id="rv-side", elem_classes="rv-side")
            with gr.Accordion("Thresholds over all photos", open=False):
                face = gr.Slider(0.001, 1, 0.5, label="Faces from", elem_id="rv-face")
                plate = gr.Slider(0.001, 1, 0.25, label="Plates from", elem_id="rv-plate")
                explored = gr.Markdown("")
                use = gr.Button("Use these; approvals become pending", elem_id="rv-use")
            unreviewed = gr.Checkbox(label="Export unreviewed photos, too (not safe)", elem_id="rv-unreviewed")
            export = gr.Button("Export approved photos", elem_id="rv-export")
            exported = gr.HTML("", js_on_load=None, elem_id="rv-exported")

    shown = [editor, side]

    def find(request: gr.Request, name: str) -> tuple[Review, Visitor]:
        visitor = who(request)
        return reviews.find(name, visitor), visitor

    def find_mine(request: gr.Request, name: str) -> tuple[Review, Visitor]:
        """To decide on, not only to look at."""
        review, visitor = find(request, name)
        if is_sample(review):
            raise ReadOnlyError(ONLY_LOOKED_AT)
        return review, visitor

    def is_sample(review: Review) -> bool:
        return read_only and review.owner is None

    def wrapper(review: Review, visitor: Visitor) -> str:
        """Whose photo the next one is; a sample's are everybody's, so that all visitors see all of it."""
        return "" if is_sample(review) else visitor.name + visitor.key

    def page(review: Review, visitor: Visitor, item: Item | None, of: str, **said: str) -> tuple[Any, ...]:
        fiftyone = "picture" if read_only else "link" if visitor.is_reviewer else ""
        return fresh(view(review, item, of, mount, **said)), told(review, item, mount, fiftyone)

    def offer(request: gr.Request, chosen: str | None, known: Sequence[str]) -> tuple[Any, list[str]]:
        now = offered(sources(request), chosen, known)
        return gr.update(**now), [name for _, name in now["choices"]]

    def begin(request: gr.Request, chosen: str | None, given: str, of: str) -> tuple[Any, ...]:
        try:
            visitor = who(request)
            if own_machine and given and given.strip():
                review = reviews.open(Path(given.strip()).expanduser())
            else:
                found = [s for s in sources(request) if dataset_name(s[1]) == chosen]
                if not found:
                    raise RecordsError("Hide faces and plates in some photos first (Many photos), then open them here.")
                review = reviews.open(found[0][1], owner=found[0][2])
            kinds = list(review.book.settings.kinds)
            item = review.queue.next(wrapper(review, visitor))
            first = of if of in kinds else kinds[0]
            settings = review.book.settings
            return (
                *page(review, visitor, item, first),
                review.name,
                gr.update(choices=kinds, value=first),
                settings.kind("face").threshold,
                settings.kind("plate").threshold,
                explorer(review, {}),
            )
        except (AnonymizeError, OSError) as e:
            return fresh({"problem": str(e)}), _empty(), "", gr.skip(), gr.skip(), gr.skip(), ""

    def decide(request: gr.Request, event: gr.EventData, name: str, of: str) -> tuple[Any, ...]:
        return act(request, name, of, dict(event._data or {}))

    def act(request: gr.Request, name: str, of: str, data: dict[str, Any]) -> tuple[Any, ...]:
        try:
            review, visitor = find(request, name)
        except AnonymizeError as e:
            return fresh({"problem": str(e)}), gr.skip()
        at = str(data.get("photo") or "")
        what = str(data.get("what") or "")
        asks = wrapper(review, visitor)
        try:
            if what == "next":
                return page(review, visitor, review.queue.next(asks, after=at or None), of)
            given: dict[str, Any] = {}
            if what in ON_REGIONS:
                given = {k: data[k] for k in ("region", "kind", "box") if k in data}
                if what == "add":
                    given["kind"] = str(data.get("kind") or of)
                    given["box"] = tuple(round(float(v), 2) for v in data["box"])
            find_mine(request, name)
            review.book.decide(at, what, who=visitor.name, expected=str(data.get("hash")), **given)
            # Its sample in FiftyOne stays as it is: who looks at it there saw that, and is told before they decide.
        except (AnonymizeError, KeyError, TypeError, ValueError) as e:
            item = item_of(review, at)
            return page(review, visitor, item, of, problem=str(e))
        if what in ("approve", "flag"):
            return page(review, visitor, review.queue.next(asks, after=at), of, text=f"{at}: {what} noted.")
        return page(review, visitor, item_of(review, at), of)

    def use_thresholds(request: gr.Request, name: str, of: str, f: float, p: float) -> tuple[Any, ...]:
        try:
            review, visitor = find_mine(request, name)
            settings = review.book.settings.with_kind("face", threshold=f).with_kind("plate", threshold=p)
            review.book.use(settings)
            return *page(review, visitor, review.queue.next(wrapper(review, visitor)), of), explorer(review, {})
        except AnonymizeError as e:
            return fresh({"problem": str(e)}), gr.skip(), gr.skip()

    def explore(request: gr.Request, name: str, f: float, p: float) -> str:
        try:
            return explorer(find(request, name)[0], {"face": f, "plate": p})
        except AnonymizeError:
            return ""

    def write(request: gr.Request, name: str, anything: bool) -> str:
        try:
            review, _ = find_mine(request, name)
            return exporting(review, anything, mount, own_machine)
        except (AnonymizeError, OSError) as e:
            return f"<p class='rv-problem'>{html.escape(str(e))}</p>"

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    start.click(begin, [source, path, kind], [*shown, opened, kind, face, plate, explored], **private)
    editor.decided(decide, [opened, kind], shown, queue=False, trigger_mode="multiple", **private)
    # Buttons do what keys do: the editor knows the photo, its hash and what is selected.
    for button, key in ((approve, "a"), (flag, "f"), (skip, "n"), (undo, "u"), (hide, "h"), (reject, "x")):
        button.click(
            None, js=f"() => document.dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}'}}))", **private
        )
    kind.input(
        None, [editor, kind], editor, js="(value, kind) => (value && value.photo ? {...value, kind} : value)", **private
    )
    for slider in (face, plate):
        slider.release(explore, [opened, face, plate], explored, **private)
    use.click(use_thresholds, [opened, kind, face, plate], [*shown, explored], **private)
    export.click(write, [opened, unreviewed], exported, api_visibility="private")
    here = gr.Timer(4.0)
    here.tick(offer, [source, known], [source, known], **private)


def offered(
    found: Sequence[tuple[str, Path, str | None]], chosen: str | None, known: Sequence[str] = ()
) -> dict[str, Any]:
    """What may be opened, as a list's choices: what is new comes to the front, else what is chosen stays.

    They are known by their records file: labels may be alike, and a batch's number may change while the page is open.

    Args:
        known: the names that were offered last.
    """
    choices = [(label, dataset_name(path)) for label, path, _ in found]
    names = [name for _, name in choices]
    is_kept = chosen in names and set(names) <= set(known)
    return {"choices": choices, "value": chosen if is_kept else names[-1] if names else None}


def item_of(review: Review, path: str) -> Item | None:
    return next((i for i in review.queue.items() if i.path == path), None)


def _state(record: Record, region: Any, settings: Any) -> str:
    if region.status != "auto":
        return str(region.status)
    # A vehicle or a person is there to be seen: hidden by a click on it, it would vanish as a whole.
    return "hidden" if settings.hides(region) else "suspect" if region.kind in settings.kinds else "carrier"


def fresh(value: dict[str, Any]) -> dict[str, Any]:
    """An answer for the editor, which waits for one: Gradio hands on only what differs from what it has."""
    return {**value, "turn": time.monotonic_ns()}


def view(review: Review, item: Item | None, of: str, mount: str, problem: str = "", text: str = "") -> dict[str, Any]:
    """What the editor shows: the photo, what is hidden, what was decided, what is suspected."""
    said = {"problem": problem, "text": text}
    if item is None:
        return {**said, "text": f"{text} Nothing is left to review. {review.queue.progress()}".strip()}
    record, settings = review.book[item.path], review.book.settings
    if not os.path.lexists(review.book.header.source(record)):
        gone = "is no longer in the input. `python -m review forget` takes it out of the records; N goes on."
        said["problem"] = problem or f"{item.path} {gone}"
    suspected = {r.region: r for r in item.misses if r.region}
    doubted = {r.region: r for r in item.doubts if r.p >= 0.5}
    regions = []
    for r in record.regions:
        state = _state(record, r, settings)
        reason = suspected.get(r.id)
        is_told = reason is not None and reason.p >= SHOWN_REASON
        if state in ("suspect", "carrier") and not is_told and (state == "carrier" or r.score < FAINT):
            continue
        words = f"{r.kind}, score {r.score:.2f}: {state}"
        if reason:
            words = f"{words}. {100 * reason.p:.0f} %: {reason.text}"
        elif r.id in doubted:
            words += f". {100 * doubted[r.id].p:.0f} % nothing: {doubted[r.id].text}"
        regions.append({"id": r.id, "kind": r.kind, "box": list(r.box), "state": state, "text": words})
    regions.sort(
        key=lambda r: ("carrier", "suspect").index(r["state"]) if r["state"] in ("carrier", "suspect") else 2
    )  # what lies on top may be clicked: hidden ones
    where = quote(media_path(review.book.header, record), safe="")
    return {
        **said,
        "photo": item.path,  # not "path": Gradio takes that for a file of its own
        "hash": record.approval_hash(settings),
        "src": f"{mount}/media?filepath={where}",
        "width": record.width,
        "height": record.height,
        "regions": regions,
        "kind": of,
        "kinds": list(settings.kinds),
    }


def _empty() -> str:
    return "<p>Open a batch or a records file. The photos that are likeliest to leak something come first.</p>"


def told(review: Review, item: Item | None, mount: str, fiftyone: str = "link") -> str:
    """Progress, why this photo, what comes next.

    Args:
        fiftyone: `link`: to its App. `picture`: of it, for where there is none, and how to have it at home.
    """
    lines = [f"<p><strong>{html.escape(str(review.queue.progress()))}</strong></p>"]
    if item is not None:
        hidden = ", ".join(f"{n} {kind}{'s' * (n > 1)}" for kind, n in item.hidden) or "nothing"
        lines.append(
            f"<p><code>{html.escape(item.path)}</code><br>{item.status}, risk {item.risk:.2f}; hides "
            f"{html.escape(hidden)}</p>"
        )
        lines.append("<ul>" + "".join(f"<li>{html.escape(r)}</li>" for r in item.reasons) + "</ul>")
    rows = [
        f"<tr><td>{i.risk:.2f}</td><td><code>{html.escape(i.path)}</code></td></tr>" for i in review.queue.pending()[:8]
    ]
    if review.queue.note:
        lines.append(f"<p>{html.escape(review.queue.note)}</p>")
    lines.append(f"<table><caption>Next</caption>{''.join(rows)}</table>" if rows else "")
    if fiftyone == "picture":
        lines.append(
            f"<p>At home FiftyOne shows the same review, its regions and where they are wrong: "
            f'<code>python -m review records.jsonl</code></p><img src="{mount}/fiftyone.jpg" alt="FiftyOne\'s App with '
            'found plates in teal, false positives in amber, missed ones in magenta" style="width: 100%" loading="lazy">'
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
    for kind in review.book.settings.kinds:
        now = review.book.settings.kinds[kind].threshold
        for label, t in (("now", now), ("then", thresholds.get(kind, now))):
            photos, regions = review.queue.at_threshold(kind, t)
            lines.append(f"| {kind}, {label} | {t:.3g} | {photos} | {regions} |")
    return "\n".join(lines)


def exporting(review: Review, allow_unreviewed: bool, mount: str, own_machine: bool) -> str:
    """Write what may go out, and say what stayed behind."""
    settings = review.book.settings
    folder = review.output
    done = Engine(settings, detectors=()).export(
        review.book.path, folder, gate=gate(settings, allow_unreviewed), write_detections=False
    )
    text = f"{done.done} photos exported ({done.done - done.unchanged} written anew), {len(done.withheld)} withheld"
    text += f", {len(done.gone)} no longer in the input" if done.gone else ""
    text += f", {len(done.failures)} FAILED" if done.failures else ""
    lines = [f"<p>{html.escape(text)}.</p>"]
    if allow_unreviewed:
        nobody = sum(i.status == "pending" for i in review.queue.items())
        lines.append(f"<p class='rv-problem'>{nobody} of them were approved by nobody.</p>")
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
