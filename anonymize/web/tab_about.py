"""The last tab: what the tool can and cannot promise, what happens to uploads, licenses."""

from __future__ import annotations

import os
import re

import gradio as gr

from .elements import prose
from .policy import MB
from .site import Site

_FORGET = """element.querySelector('button')?.addEventListener('click', async () => {
  await fetch('/visit/forget', { method: 'POST' });
  element.querySelector('[role=status]').textContent = 'Deleted. The page starts afresh …';
  setTimeout(() => location.reload(), 900);
});"""

# The example names the address under which this page was opened.
_HERE = """const example = element.querySelector('pre');
example.textContent = example.textContent.replace('http://127.0.0.1:7860', location.origin);"""


def build(site: Site) -> None:
    with gr.Row(elem_classes="az-main"):
        with gr.Column(min_width=320):
            gr.HTML(prose("promises"), js_on_load=None, elem_classes="az-card az-text")
            gr.HTML(prose("licenses"), js_on_load=None, elem_classes="az-card az-text")
        with gr.Column(min_width=320):
            gr.HTML(uploads(site), js_on_load=_FORGET, elem_classes="az-card az-text")
            gr.HTML(_programs(site), js_on_load=_HERE, elem_classes="az-card az-text")
            if copy := duplicate(site):
                gr.HTML(copy, js_on_load=None, elem_classes="az-card az-text")


def uploads(site: Site) -> str:
    policy = site.policy
    minutes = max(1, round(policy.keep_seconds / 60))
    where = "on this computer" if policy.own_machine else "on the server that runs this page"
    clip = f"{policy.most_clip / MB:,.0f} MB and {policy.most_clip_seconds / 60:.0f} minutes per clip"
    limits = f"{policy.most_upload / MB:.0f} MB per file, {clip}, {policy.most_session / MB / 1000:g} GB in total"
    public = prose("public") if policy.public else ""
    return prose("uploads", where=where, minutes=str(minutes), limits=limits, public=public)


def duplicate(site: Site) -> str:
    """On a Space: the button that makes a copy of it, for the visitor alone."""
    name = os.environ.get("SPACE_ID", "")
    is_named = site.policy.space and re.fullmatch(r"[\w.-]+/[\w.-]+", name)
    return prose("duplicate", space=name) if is_named else ""


def _programs(site: Site) -> str:
    return prose("programs", key=" -H 'Authorization: Bearer YOUR-KEY'" if site.policy.api_keys else "")
