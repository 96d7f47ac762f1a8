"""Elements of the page that Gradio has no component for, filled by the scripts in static/."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from ..regions import Region
from ..settings import Settings

STATIC = Path(__file__).parent / "static"
SCRIPTS = ("tools.js", "editor.js", "app.js", "intake.js", "photo.js", "batch.js", "player.js", "video.js", "review.js")


def script() -> str:
    """The page's own scripts, named by their content so that a browser never keeps an old one; in this order."""
    versions = {name: hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12] for name in SCRIPTS}
    return "".join(f'<script src="web/{name}?{version}"></script>' for name, version in versions.items())


def editor_region(region: Region, settings: Settings, why: str) -> dict[str, Any]:
    """A region as the picture editor shows it, JSON-ready.

    Its `state` is what a person decided, else "hidden", "suspect" (of a kind that is hidden), or "carrier" (a vehicle
    or a person, there to be seen: it cannot be hidden by a click on it).
    """
    hides = settings.hides(region)
    found = "hidden" if hides else "suspect" if region.kind in settings.kinds else "carrier"
    return {
        "id": region.id,
        "kind": region.kind,
        "box": [round(v, 2) for v in region.box],
        "score": round(region.score, 4),
        "status": region.status,
        "state": found if region.status == "auto" else region.status,
        "hidden": hides,
        "why": why,
    }


def element(
    name: str, *events: str, value: Any = "", label: str = "", data: Mapping[str, str] | None = None, **options: Any
) -> gr.HTML:
    """A gr.HTML that `window.anonymize.NAME` fills.

    Gradio waits for a component's own `head` before it runs its script; one in the page's head may come too late.

    Args:
        name: the function in one of SCRIPTS, and with "az-" before it the element's class.
        events: what the element may trigger; each becomes a method of the component.
        value: JSON-ready; the script sees it as props.value.
        label: for the script, in data-label. data: more of the kind.
    """
    given = "".join(f' data-{k}="{html.escape(v)}"' for k, v in {"label": label, **(data or {})}.items())
    return gr.HTML(
        value,
        html_template=f'<div class="az-{name}"{given}></div>',
        js_on_load=f"window.anonymize.{name}({{element, props, trigger, watch}}) /* {' '.join(map(repr, events))} */",
        head=script(),
        apply_default_css=False,
        **options,
    )
