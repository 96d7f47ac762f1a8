"""The last tab: what the tool can and cannot promise, what happens to uploads, licenses."""

from __future__ import annotations

import html
import os
import re
from pathlib import Path

import gradio as gr

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


def prose(name: str) -> str:
    return (Path(__file__).parent / "static" / f"{name}.html").read_text("utf-8")


def uploads(site: Site) -> str:
    policy = site.policy
    minutes = max(1, round(policy.keep_seconds / 60))
    where = "on this computer" if policy.own_machine else "on the server that runs this page"
    one, all_ = policy.most_upload / MB, policy.most_session / MB
    clip = f"{policy.most_clip / MB:,.0f} MB and {policy.most_clip_seconds / 60:.0f} minutes per clip"
    limits = f"<li>Limits: {one:.0f} MB per file, {clip}, {all_ / 1000:g} GB in total.</li>"
    public = (
        "<li><strong>This is a public demo.</strong> Whoever runs the server could look at its memory: use photos "
        "that you may share, or run the app yourself.</li>"
        if policy.public
        else ""
    )
    return f"""<h2>What happens to your photos</h2>
<ul>{public}
<li>They are kept {html.escape(where)}, in a folder of your own that no other visitor can open.</li>
<li>They are deleted {minutes} minutes after you last used them, about two minutes after you close the page, and at once
with this button:</li>
</ul>
<p><button type="button" class="az-button">Delete my photos now</button> <span role="status"></span></p>
<ul>
<li>Nothing is sent to any other server, nothing is counted or tracked, and no file name or picture is written to a
log.</li>
{limits}
</ul>"""


def duplicate(site: Site) -> str:
    """On a Space: the button that makes a copy of it, for the visitor alone."""
    name = os.environ.get("SPACE_ID", "")
    if not (site.policy.space and re.fullmatch(r"[\w.-]+/[\w.-]+", name)):
        return ""
    address = f"https://huggingface.co/spaces/{name}?duplicate=true"
    return f"""<h2>A copy of your own</h2>
<p>A private copy of this Space is yours alone, and takes larger photos and batches if you give it more memory.</p>
<p><a class="az-button" href="{address}" target="_blank" rel="noopener">Duplicate this Space</a></p>"""


def _programs(site: Site) -> str:
    key = " -H 'Authorization: Bearer YOUR-KEY'" if site.policy.api_keys else ""
    return f"""<h2>For programs and cameras</h2>
<p>The same server takes a photo and gives it back clean:</p>
<pre tabindex="0">curl --fail -F image=@photo.jpg{key} -H 'Accept: image/*' \\
  http://127.0.0.1:7860/api/v1/anonymize -o clean.jpg</pre>
<p>Every field, with examples in curl, Python and JavaScript, is on the <a class="az-link" href="api/docs">API's
page</a>, which also works offline.</p>"""
