"""Elements of the page that Gradio has no component for, filled by the scripts in static/."""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gradio as gr

from ..records import Record
from ..regions import Region
from ..risk import DOUBTED, Reason, false_positives, misses
from ..settings import Settings
from .policy import Policy

Values = dict[Any, Any]  # component -> its new value; the others stay as they are
BUTTON = "az-button az-primary az-download"
STATIC = Path(__file__).parent / "static"
SCRIPTS = ("tools.js", "editor.js", "app.js", "intake.js", "photo.js", "batch.js", "player.js", "video.js", "review.js")


def script() -> str:
    """The page's own scripts, named by their content so that a browser never keeps an old one; in this order."""
    versions = {name: hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12] for name in SCRIPTS}
    return "".join(f'<script src="web/{name}?{version}"></script>' for name, version in versions.items())


_TEXTS = dict(
    re.findall(r'<template id="([\w-]+)">\n(.*?)</template>', (STATIC / "texts.html").read_text("utf-8"), re.S)
)


def prose(name: str, **places: str) -> str:
    """A text of the page, as HTML. `places`: what stands in place of each {name} in it."""
    text: str = _TEXTS[name]
    for place, value in places.items():
        text = text.replace(f"{{{place}}}", value)
    return text


def status_line(text: str, is_busy: bool = False) -> str:
    """What is being done, as HTML."""
    return f'<p class="az-status{" az-spin" * is_busy}" role="status">{html.escape(text)}</p>'


def problem_line(text: str) -> str:
    """What is wrong, as HTML."""
    return f'<p class="az-status problem" role="alert">{html.escape(text)}</p>'


def bullets(texts: Iterable[str | tuple[str, str]]) -> str:
    """A list as HTML, of texts or of names and what is said of them; empty where there is nothing."""
    pairs = [text if isinstance(text, tuple) else ("", text) for text in texts]
    named = [(f"<strong>{html.escape(name)}</strong>: " if name else "", html.escape(text)) for name, text in pairs]
    return f"<ul>{''.join(f'<li>{name}{text}</li>' for name, text in named)}</ul>" if named else ""


def warning(title: str, texts: Iterable[str | tuple[str, str]]) -> str:
    """A list of what to beware of, under a title; empty where there is nothing."""
    rows = bullets(texts)
    return f'<details class="az-warn" open><summary>{title}</summary>{rows}</details>' if rows else ""


def link(address: str, text: str, look: str = "az-link") -> str:
    """A link that downloads."""
    return f'<a class="{look}" href="{address}" download>{text}</a>'


def download(address: str, text: str) -> str:
    """The button for what somebody came for."""
    return f"<p>{link(address, text, BUTTON)}</p>"


def kept(policy: Policy) -> str:
    """What becomes of a file that is dropped on the page."""
    return "It stays on this computer." if policy.own_machine else "It is deleted from here after your visit."


def score(value: float) -> str:
    """0.463 -> `0.46`; small ones with as many digits as it takes to tell them apart."""
    return f"{value:.2g}" if value < 0.1 else f"{value:.2f}"


def reasons(record: Record, settings: Settings) -> dict[str, Reason]:
    """Region -> why a person should look at it: it may be a miss, or more likely than not a false alarm."""
    doubts = {r.region: r for r in false_positives(record, settings) if r.p >= DOUBTED}
    return doubts | {r.region: r for r in misses(record, settings) if r.region}


def editor_region(region: Region, settings: Settings, why: str, reason: Reason | None = None) -> dict[str, Any]:
    """A region as the picture editor shows it, JSON-ready: a percentage is a chance, a decimal number a score.

    Where there is a reason to look at it, the chance that something is there stands beside its box, as `sure`; else its
    score.

    Its `state` is what a person decided, else "hidden", "suspect" (of a kind that is hidden), or "carrier" (a vehicle
    or a person, there to be seen: it cannot be hidden by a click on it).
    """
    hides = settings.hides(region)
    sure = {} if reason is None else {"sure": round(1 - reason.p if hides else reason.p, 4)}
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
        **sure,
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


# Photos to try the page with, that installed packages carry: no photo of people is part of this project.
# Package, file in it, and what a visitor reads.
_SAMPLES = (
    ("ultralytics", "assets/bus.jpg", "A street"),
    ("ultralytics", "assets/zidane.jpg", "Two people"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "A portrait"),
)


def samples() -> dict[str, Path]:
    """What a visitor reads -> the photo, of those that are installed here."""
    found = {}
    for package, name, title in _SAMPLES:
        spec = find_spec(package)  # imports nothing
        if spec and spec.origin and (path := Path(spec.origin).parent / name).is_file():
            found[title] = path
    return found
