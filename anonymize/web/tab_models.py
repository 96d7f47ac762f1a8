"""The Models tab: what finds faces and plates, what is on this machine, and fetching what is not."""

from __future__ import annotations

import html
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr
import pandas as pd

from .. import weights
from ..detectors import TABLE
from ..errors import AnonymizeError
from ..settings import PRESETS
from ..weights.registry import Model, registry
from .policy import MB

if TYPE_CHECKING:
    from .ui import Site

_COLUMNS = ["model", "finds", "on this machine", "size, MB", "looks at, px", "licence", "comes from"]
# Measured on 58 street photos with 170 faces and 89 plates, drawn by hand; "missed" = less than 90 % covered.
# Times: a photo of 1,024 px on 2 busy cores.
_MEASURED = pd.DataFrame(
    [
        ("YuNet, 1024", "face", 0.60, 10.0, 0.14, 54),
        ("RetinaFace mobilenet, 1024", "face", 0.50, 30.6, 0.17, 84),
        ("RetinaFace mobilenet, 2048", "face", 0.50, 10.6, 0.52, 310),
        ("CenterFace, 1024", "face", 0.20, 7.6, 1.28, 204),
        ("MTCNN", "face", 0.90, 40.6, 0.07, 349),
        ("safelicensing, 640", "plate", 0.25, 38.2, 0.17, 83),
        ("safelicensing, 1280", "plate", 0.10, 22.5, 0.48, 314),
        ("fastanpr, 1280", "plate", 0.25, 31.5, 0.14, 306),
        ("pyplatex, 1280", "plate", 0.25, 31.5, 0.33, 312),
    ],
    columns=["detector, picture size", "finds", "threshold", "missed, %", "false alarms a photo", "ms a photo"],
)


def models() -> list[Model]:
    """Those that can be fetched and checked."""
    return [m for m in registry().values() if m.sha256]


def build(site: Site) -> None:
    with gr.Group(elem_classes="az-card"):
        gr.HTML(
            "<h2>What finds faces and plates</h2><p>The detectors are small programs that were trained on other "
            "people's photos. "
            "They run on this machine; once fetched, they need no network.</p>",
            js_on_load=None,
        )
        status = gr.HTML(_ready(site), js_on_load=None)
        table = gr.Dataframe(
            lambda: _table(site), interactive=False, label="Models", show_label=False, wrap=True, elem_id="az-models"
        )
        with gr.Row(elem_classes="az-row-end"):
            choice = gr.Dropdown([m.name for m in models()], label="Model to fetch", scale=2)
            button = gr.Button("Fetch it", variant="primary", scale=1)
    with gr.Group(elem_classes="az-card"):
        gr.HTML(
            "<h2>How good they are</h2><p>Measured on 58 street photos in which every face (170) and plate (89) was "
            "marked by hand, many of "
            "them small. A lower threshold misses less and hides more that is harmless.</p>",
            js_on_load=None,
        )
        gr.Dataframe(_MEASURED, interactive=False, label="Measured", show_label=False, wrap=True)
    if site.policy.own_machine:
        with gr.Group(elem_classes="az-card"):
            gr.HTML(
                "<h2>Your own model</h2><p>Under “More choices”, type <code>yolo:</code> and the path of a "
                "<code>.onnx</code> file as the "
                "detector, for example <code>yolo:/home/me/plates.onnx</code>. Models that can run code of their "
                "own (<code>.pt</code>) need "
                "<code>python app.py --trust</code>.</p>",
                js_on_load=None,
            )

    def fetch(name: str) -> Iterator[tuple[Any, Any]]:
        if name not in {m.name for m in models()}:
            yield _said("Choose a model first."), gr.skip()
            return
        seen: dict[str, Any] = {"bytes": 0, "all": None, "error": None}

        def report(_: str, done: int, total: int | None) -> None:
            seen["bytes"], seen["all"] = done, total

        def work() -> None:
            try:
                weights.fetch(name, cache=site.studio.weights_dir, progress=report)
            except AnonymizeError as e:
                seen["error"] = e

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        while thread.is_alive():
            total = f" of {seen['all'] / MB:.1f}" if seen["all"] else ""
            yield _said(f"Fetching {name}: {seen['bytes'] / MB:.1f}{total} MB …"), gr.skip()
            time.sleep(0.5)
        if seen["error"]:
            yield _said(f"{name} could not be fetched. {seen['error']}", True), gr.skip()
        else:
            yield _said(f"{name} is here and its bytes are the right ones."), _table(site)

    button.click(
        fetch, [choice], [status, table], api_visibility="private", show_progress="hidden", concurrency_id="fetch"
    )


def _said(text: str, problem: bool = False) -> str:
    return f'<p role="status" class="az-status{" problem" if problem else ""}">{html.escape(text)}</p>'


def _ready(site: Site) -> str:
    s = site.policy.defaults
    preset = next((n for n, p in PRESETS.items() if p.face_detector == s.face_detector), None)
    used = f"the choice <strong>{preset}</strong>" if preset else "your own choice"
    names = f"{html.escape(s.face_detector)} · {html.escape(s.plate_detector)}"
    return (
        f"<p>In use at first: {used}, which brings several of these together.</p><p "
        f"class='az-small'><code>{names}</code></p>"
    )


def _table(site: Site) -> pd.DataFrame:
    rows = []
    for m in models():
        source = m.sources[0]
        if source.startswith("pypi:"):
            source = f"package {source[5:].split('#')[0]}"
        elif source.startswith("installed:"):
            source = f"installed with {source[10:].split('#')[0]}"
        elif source.startswith("https://"):
            source = "/".join(source.split("/")[2:5])
        else:
            source = "this project"
        here = weights.installed(m, cache=site.studio.weights_dir)
        used = "" if m.name in TABLE else " (helps to find)"
        rows.append((m.name, m.task + used, "yes" if here else "no", round(m.bytes / MB, 1), m.size, m.licence, source))
    return pd.DataFrame(rows, columns=_COLUMNS)
