"""Elements of the page that Gradio has no component for, filled by static/app.js."""

from __future__ import annotations

import hashlib
import html
from pathlib import Path
from typing import Any

import gradio as gr

STATIC = Path(__file__).parent / "static"


def script() -> str:
    """The page's own script, named by its content so that a browser never keeps an old one."""
    version = hashlib.sha256((STATIC / "app.js").read_bytes()).hexdigest()[:12]
    return f'<script src="/web/app.js?{version}"></script>'


def element(name: str, *events: str, value: Any = "", label: str = "", **options: Any) -> gr.HTML:
    """A gr.HTML that `window.anonymize.NAME` fills.

    Gradio waits for a component's own `head` before it runs its script; one in the page's head may come too late.

    Args:
        name: the function in app.js, and with "az-" before it the element's class.
        events: what the element may trigger; each becomes a method of the component.
        value: JSON-ready; the script sees it as props.value.
        label: for the script, in data-label.
    """
    return gr.HTML(
        value,
        html_template=f'<div class="az-{name}" data-label="{html.escape(label)}"></div>',
        js_on_load=f"window.anonymize.{name}({{element, props, trigger, watch}}) /* {' '.join(map(repr, events))} */",
        head=script(),
        apply_default_css=False,
        **options,
    )
