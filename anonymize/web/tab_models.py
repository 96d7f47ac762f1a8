"""The Models tab: what finds faces and plates, what is on this machine, and fetching what is not."""

from __future__ import annotations

import functools
import html
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from markdown_it import MarkdownIt

from .. import weights
from ..errors import AnonymizeError, SettingsError
from ..settings import Settings
from ..weights.registry import Model, registry, registry_path
from .detector_pool import progress_text
from .elements import Values, problem_line, prose, status_line
from .policy import MB
from .site import Site

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


class ModelsTab:
    """The tab: its components, and what it does when something happens. Made inside gr.Blocks."""

    def __init__(self, site: Site) -> None:
        self.site = site
        with gr.Group(elem_classes="az-card"):
            gr.HTML(prose("models"), js_on_load=None)
            self.status = gr.HTML(default(site.policy.defaults), js_on_load=None)
            self.known = gr.HTML(self._table(), js_on_load=None, elem_id="az-models")
            with gr.Row(elem_classes="az-row-end") as self.fetching:
                self.choice = gr.Dropdown([m.name for m in models()], value=None, label="Model to fetch", scale=2)
                button = gr.Button("Fetch it", variant="primary", scale=1)
        if table := measured_table(registry_path().with_name("measured.json")):
            gr.HTML(table, js_on_load=None, elem_classes="az-card az-text", elem_id="az-measured")
        if site.policy.own_machine:
            with gr.Group(elem_classes="az-card"):
                gr.HTML(prose("own-model"), js_on_load=None)
        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        shown = [self.known, self.fetching, self.choice]
        button.click(self.fetch, [self.choice], [self.status, *shown], concurrency_id="fetch", **private)
        gr.on(None, self.load, [], shown, queue=False, **private)  # when the page is opened

    def _is_here(self, model: Model) -> bool:
        return weights.is_installed(model, cache=self.site.pool.weights_dir)

    def _table(self) -> str:
        """All models, as HTML."""
        return "".join(_model(m, self._is_here(m)) for m in registry().values())

    def load(self) -> Values:
        """The models as they are now, and those to choose from that are not here yet."""
        missing = [m.name for m in models() if not self._is_here(m)]
        choice = gr.update(choices=missing, value=next(iter(missing), None))
        return {self.known: self._table(), self.fetching: gr.update(visible=bool(missing)), self.choice: choice}

    def fetch(self, name: str | None) -> Iterator[Values]:
        """Fetch a model, saying how far it is; every failure ends in a sentence."""
        if name not in {m.name for m in models()}:
            yield {self.status: status_line("Choose a model first.")}
            return
        seen: dict[str, Any] = {"doing": f"fetching {name}", "error": None}
        thread = threading.Thread(target=self._fetch, args=(name, seen), daemon=True)
        thread.start()
        while thread.is_alive():
            yield {self.status: status_line(f"{seen['doing'].capitalize()} …")}
            time.sleep(0.5)
        if seen["error"]:
            yield {self.status: problem_line(f"{name} could not be fetched. {self.site.message(seen['error'])}")}
        else:
            yield {self.status: status_line(f"{name} was fetched and verified."), **self.load()}

    def _fetch(self, name: str, seen: dict[str, Any]) -> None:
        def report(what: str, done: int, total: int | None) -> None:
            seen["doing"] = progress_text(what, done, total)

        try:
            weights.fetch(name, cache=self.site.pool.weights_dir, progress=report)
        except (AnonymizeError, OSError) as e:
            seen["error"] = e


def default(s: Settings) -> str:
    """What searches when nobody chooses, as HTML."""
    combined = f"<strong>{s.preset.capitalize()}</strong>, which combines several of these" if s.preset else ""
    names = " · ".join(dict.fromkeys(map(html.escape, (s.face_detector, s.plate_detector))))
    return f"<p>Default: {combined or 'your own choice'}.</p><p class='az-small'><code>{names}</code></p>"


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
    return prose("measured", told=told, head=head, rows=rows)


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
