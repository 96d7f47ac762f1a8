"""The page: theme, header and tabs. Each tab is a file; app.py may hand in more of them (review)."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

import gradio as gr

from ..video.batch import EXTENSIONS
from . import job_handlers, tab_about
from .elements import STATIC, element, prose, samples
from .policy import Policy
from .site import Site
from .tab_models import ModelsTab
from .tab_photo import PhotoTab
from .tab_video import VideoTab

TITLE = "anonymize: hide faces and license plates"

# Fonts that every system has: the page asks no other host for anything.
_SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Consolas", "monospace")
# By Gradio's names: in the light, in the dark.
_COLORS = {
    "body_background_fill": ("#f4f6f8", "#10151b"),
    "block_background_fill": ("#ffffff", "#171e26"),
    "block_label_text_color": ("#334155", "#cbd5e1"),
    "block_title_text_color": ("#1b2430", "#e8edf3"),
    "body_text_color": ("#1b2430", "#e8edf3"),
    "body_text_color_subdued": ("#52606f", "#a8b4c2"),
    "block_info_text_color": ("#52606f", "#a8b4c2"),
    "input_placeholder_color": ("#5d6b7b", "#9aa7b6"),
    "button_primary_background_fill": ("*primary_600", "*primary_600"),
    "button_primary_background_fill_hover": ("*primary_700", "*primary_500"),
    "slider_color": ("*primary_600", "*primary_400"),
}


def theme() -> gr.themes.Base:
    # White on it, and it on white: both at least 4.5:1.
    teal = gr.themes.Color(
        "#effaf8", "#d3f1ec", "#a8e2d9", "#72cdc1", "#3fb3a5", "#1c8f83", "#0b6b60", "#0a574f", "#0a463f", "#083a35",
        "#04211e",
    )  # fmt: skip
    looks: dict[str, Any] = {"radius_size": "lg", "font": _SANS, "font_mono": _MONO}
    colors = {n: light for n, (light, _) in _COLORS.items()} | {f"{n}_dark": dark for n, (_, dark) in _COLORS.items()}
    return gr.themes.Base(primary_hue=teal, secondary_hue=teal, neutral_hue="slate", **looks).set(
        background_fill_primary_dark="#171e26",
        background_fill_secondary_dark="#10151b",
        block_border_width="0px",
        block_title_text_weight="600",
        button_primary_text_color="#ffffff",
        **colors,
    )


def build(
    site: Site,
    more: Mapping[str, Callable[[], object]] | None = None,
    client: Callable[..., Any] | None = None,
) -> gr.Blocks:
    """The page.

    Args:
        site: the server's parts.
        more: title -> a function that draws a further tab (called inside gr.Blocks).
        client: what gradio_client calls as /anonymize.
    """
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(60, int(site.policy.keep_seconds))) as page:
        gr.HTML(_header(site.policy), elem_id="az-header", js_on_load=None)
        element("starting", elem_id="az-starting")
        with gr.Tabs(elem_id="az-tabs") as tabs:
            with _tab("One photo", "photo"):
                photo = PhotoTab(site)
            with _tab("Many photos", "batch"):
                job_handlers.build(site, photo, tabs, more or ())
            if has_video():
                with _tab("Video", "video"):
                    VideoTab(site)
            for title, draw in (more or {}).items():
                with _tab(title, title.lower()):
                    draw()
            with _tab("Models", "models"):
                ModelsTab(site)
            with _tab("About", "about"):
                tab_about.build(site)
        address = element("address", "went", elem_id="az-address")
        known = ("photo", "batch", "video", *(title.lower() for title in more or ()), "models", "about")

        def go(event: gr.EventData) -> Any:
            """Back, or an address that names a tab."""
            id = (event._data or {}).get("id")
            return gr.Tabs(selected=id) if id in known else gr.skip()

        address.went(go, None, tabs, queue=False, show_progress="hidden", api_visibility="private")
    if client is not None:
        with page:
            gr.api(client, api_name="anonymize", concurrency_limit=2)
    page.queue(default_concurrency_limit=max(2, site.policy.defaults.jobs), max_size=200, api_open=True)
    return page


def has_video() -> bool:
    """Whether what reads and follows clips is installed."""
    return all(find_spec(name) is not None for name in ("av", "cv2", "supervision", "trackers"))


def _tab(title: str, id: str) -> gr.Tab:
    """A tab that has an address: `/#id`."""
    tab = gr.Tab(title, id=id, elem_id=f"az-tab-{id}")
    tab.select(None, js=f"() => window.anonymize.at({id!r})", api_visibility="private")
    return tab


def head(policy: Policy) -> str:
    facts = {
        "most": str(policy.most_upload),
        "types": ",".join(policy.defaults.image_extensions),
        "samples": "|".join(samples()),
        "most-clip": str(policy.most_clip),
        "clips": ",".join(EXTENSIONS) if has_video() else "",
    }
    metas = "".join(f'<meta name="anonymize-{name}" content="{html.escape(v)}">' for name, v in facts.items())
    return (
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="web/icon.svg" type="image/svg+xml">'
        + metas
    )


def css() -> str:
    return (STATIC / "app.css").read_text("utf-8")


def _header(policy: Policy) -> str:
    where = (
        "A public demo: use only photos that you may share."
        if policy.public
        else "Runs on this computer. Your photos stay here."
        if policy.own_machine
        else "Runs on your team's server."
    )
    return prose("header", where=where, leave=prose("leave") if policy.has_login else "")
