"""The Models tab: what finds faces and plates, what is on this machine, and fetching what is not."""

from __future__ import annotations

import functools
import html
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from markdown_it import MarkdownIt

from .. import weights
from ..errors import AnonymizeError, SettingsError
from ..settings import PRESETS
from ..weights.registry import Model, registry, registry_path
from .detector_pool import progress_text
from .policy import MB
from .site import Site
from .telling import message_of

_FINDS = {
    "face": "faces",
    "plate": "license plates",
    "face+plate": "faces and license plates",
    "vehicle": "vehicles, to find plates",
    "corners": "plates' corners, for masks that follow them",
    "text": "text, for attacks in an audit",
}
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")


def models() -> list[Model]:
    """Those that can be fetched and checked."""
    return [m for m in registry().values() if m.sha256]


@dataclass(frozen=True)
class ModelHandlers:
    """What the tab does when something happens."""

    site: Site

    def table(self) -> str:
        """All models, as HTML."""
        folder = self.site.pool.weights_dir
        return "".join(_model(m, weights.is_installed(m, cache=folder)) for m in registry().values())

    def missing(self) -> tuple[Any, Any]:
        """Those that are not here yet; nothing to choose where all are."""
        missing = [m.name for m in models() if not weights.is_installed(m, cache=self.site.pool.weights_dir)]
        return gr.update(visible=bool(missing)), gr.update(choices=missing, value=next(iter(missing), None))

    def load(self) -> tuple[Any, ...]:
        """The page is opened."""
        return self.table(), *self.missing()

    def fetch(self, name: str | None) -> Iterator[tuple[Any, ...]]:
        """Fetch a model, saying how far it is; every failure ends in a sentence."""
        waiting, own = (gr.skip(), gr.skip(), gr.skip()), self.site.policy.own_machine
        if name not in {m.name for m in models()}:
            yield _line("Choose a model first."), *waiting
            return
        seen: dict[str, Any] = {"doing": f"fetching {name}", "error": None}
        thread = threading.Thread(target=self._fetch, args=(name, seen), daemon=True)
        thread.start()
        while thread.is_alive():
            yield _line(f"{seen['doing'].capitalize()} …"), *waiting
            time.sleep(0.5)
        if seen["error"]:
            yield _line(f"{name} could not be fetched. {message_of(seen['error'], own)}", True), *waiting
        else:
            yield _line(f"{name} was fetched and verified."), self.table(), *self.missing()

    def _fetch(self, name: str, seen: dict[str, Any]) -> None:
        def report(what: str, done: int, total: int | None) -> None:
            seen["doing"] = progress_text(what, done, total)

        try:
            weights.fetch(name, cache=self.site.pool.weights_dir, progress=report)
        except (AnonymizeError, OSError) as e:
            seen["error"] = e


def build(site: Site) -> None:
    """Draw the tab; called inside gr.Blocks."""
    do = ModelHandlers(site)
    with gr.Group(elem_classes="az-card"):
        gr.HTML(
            "<h2>What finds faces and plates</h2><p>The detectors are neural networks. They run on this machine; once "
            "fetched, they need no network. Open a line to read about it.</p>",
            js_on_load=None,
        )
        status = gr.HTML(_ready(site), js_on_load=None)
        known = gr.HTML(do.table(), js_on_load=None, elem_id="az-models")
        with gr.Row(elem_classes="az-row-end") as fetching:
            choice = gr.Dropdown([m.name for m in models()], value=None, label="Model to fetch", scale=2)
            button = gr.Button("Fetch it", variant="primary", scale=1)
    if table := measured_table(registry_path().with_name("measured.json")):
        gr.HTML(table, js_on_load=None, elem_classes="az-card az-text", elem_id="az-measured")
    if site.policy.own_machine:
        with gr.Group(elem_classes="az-card"):
            gr.HTML(_OWN_MODEL, js_on_load=None)
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    button.click(do.fetch, [choice], [status, known, fetching, choice], concurrency_id="fetch", **private)
    gr.on(None, do.load, [], [known, fetching, choice], queue=False, **private)  # when the page is opened


_OWN_MODEL = (
    "<h2>Your own model</h2><p>Under “Advanced settings”, type <code>yolo:</code> and the path of a <code>.onnx</code> "
    "file as the detector, for example <code>yolo:/home/me/plates.onnx</code>. Models that can run code of their own "
    "(<code>.pt</code>) need <code>python app.py --trust</code>.</p>"
)


def _line(text: str, problem: bool = False) -> str:
    return f'<p role="status" class="az-status{" problem" if problem else ""}">{html.escape(text)}</p>'


def _ready(site: Site) -> str:
    s = site.policy.defaults
    preset = next((n for n, p in PRESETS.items() if p.face_detector == s.face_detector), None)
    used = f"<strong>{preset.capitalize()}</strong>, which combines several of these" if preset else "your own choice"
    names = f"{html.escape(s.face_detector)} · {html.escape(s.plate_detector)}"
    return f"<p>Default: {used}.</p><p class='az-small'><code>{names}</code></p>"


def _model(m: Model, here: bool) -> str:
    size = f"{m.bytes / MB:.1f} MB" if m.bytes else "size not known"
    state = "on this machine" if here else "not fetched yet" if m.sha256 else "not offered: it cannot be checked"
    cells = (_FINDS[m.task], size, m.license, state)
    line = f"<strong>{html.escape(m.name)}</strong>" + "".join(f"<span>{html.escape(c)}</span>" for c in cells)
    return f'<details class="az-model"><summary>{line}</summary><div class="az-text">{card(m.name)}</div></details>'


@functools.cache
def card(name: str) -> str:
    """A model's card as HTML: its section of models/README.md, else models/NAME.md; a sentence where it has none."""
    folder = registry_path().parent
    try:
        section = re.search(
            rf"^## {re.escape(name)}\n(.*?)(?=^## |\Z)", (folder / "README.md").read_text("utf-8"), re.M | re.S
        )
        own = folder / f"{name}.md"
        text = section[1] if section else own.read_text("utf-8")
    except OSError:
        return "<p>It has no card.</p>"
    drawn: str = _MARKDOWN.render(text)
    drawn = re.sub(r"<thead>\s*<tr>\s*(<th></th>\s*)+</tr>\s*</thead>", "", drawn)
    drawn = re.sub(r"<(/?)h[1-6]>", r"<\1h3>", drawn)
    return re.sub(r'<a href="(?!https?:)[^"]*">(.*?)</a>', r"\1", drawn)  # files beside it are not served


def measured_table(path: Path) -> str:
    """What `python -m bench.presets … --json models/measured.json` wrote, as HTML; empty where there is no such file.

    Raises:
        SettingsError: the file is broken.
    """
    if not path.is_file():
        return ""
    try:
        data = json.loads(path.read_text("utf-8"))
        rows = "".join(_measured_row(row) for row in data["rows"])
        told = f"{int(data['photos'])} street photos, every face ({int(data['true']['face'])}) and plate "
        told += f"({int(data['true']['plate'])}) marked by hand, many of them small"
    except (KeyError, TypeError, ValueError) as e:
        raise SettingsError(f"{path} is broken: {e!r}") from e
    heads = ("faces missed", "false faces a photo", "plates missed", "false plates a photo", "time a photo")
    head = "".join(f'<th scope="col">{h}</th>' for h in ("choice or detector", *heads))
    return (
        f"<h2>How good they are</h2><p>Measured on {told}. “Missed”: less than 90 % of it was covered; in brackets, "
        "where the true share lies in 95 of 100 cases. A lower threshold misses less and over-blurs more. "
        f'Times are for comparison only.</p><div class="az-scroll" tabindex="0" role="region" '
        f'aria-label="Measured"><table class="az-compare"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody>'
        "</table></div>"
    )


def _measured_row(row: dict[str, Any]) -> str:
    name = html.escape(str(row["name"]))
    if row["preset"]:
        name = f"<strong>{name.capitalize()}</strong>"
    cells = []
    for kind in ("face", "plate"):
        k = row["kinds"].get(kind)
        if k:
            cells += [f"{k['missed']:.1%} ({k['low']:.0%}–{k['high']:.0%})", f"{k['false_positives']:.2f}"]
            name += "" if row["preset"] else f" from {k['threshold']:g}"
        else:
            cells += ["–", "–"]
    cells.append(f"{row['ms'] / 1000:.2f} s")
    return f'<tr><th scope="row">{name}</th>' + "".join(f"<td>{c}</td>" for c in cells) + "</tr>"
