"""The first tab: one photo in, what is hidden shown and corrected, the clean photo out."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ..corrections import parse
from ..errors import AnonymizeError
from ..settings import Settings
from .controls import Controls, settings_from
from .elements import element
from .photo_session import PhotoSession
from .photo_view import COLUMNS, empty, rows, summary, view
from .sessions import GoneError
from .site import Site, name_of, session_of
from .telling import message_of

Shown = tuple[Any, ...]
_SKIPPED: Shown = (gr.skip(), gr.skip(), gr.skip(), gr.skip())


def show(photo: PhotoSession, settings: Settings) -> Shown:
    """Values for `PhotoTab.outputs`."""
    photo.show(settings)
    return view(photo), summary(photo), rows(photo), gr.update(visible=True)


def failure(problem: str, photo: PhotoSession | None = None) -> Shown:
    """The same after a failure: the photo as it was, if there is one, and what is wrong."""
    value: dict[str, Any] = {**(view(photo) if photo else {"id": ""}), "problem": problem}
    value["turn"] = time.monotonic_ns()  # Gradio hands on only what differs, and the page waits for an answer
    return value, *_SKIPPED[1:]


@dataclass(frozen=True)
class PhotoHandlers:
    """What the tab does when something happens. `values` are those of `Controls.all`, `id` the photo that is shown."""

    site: Site

    def _failure(self, error: Exception, photo: PhotoSession | None = None) -> Shown:
        return failure(message_of(error, self.site.policy.own_machine), photo)

    def open(self, request: gr.Request, event: gr.EventData, *values: Any) -> Shown:
        """A photo came in: look at it."""
        data = event._data or {}
        try:
            session = session_of(request)
            id, file = str(data.get("id")), str(data.get("file"))
            is_name = re.fullmatch("[0-9a-f]{32}", id) and re.fullmatch(r"photo\.[a-z0-9]{1,5}", file)
            path = session.folder / id / file if is_name else None
            if path is None or not path.is_file():
                raise GoneError("That photo is no longer here; please add it again.")
            settings = settings_from(values, self.site.policy)
            name, who = str(data.get("name")), name_of(request, self.site.policy)
            return *show(self.site.pool.open(session, path, name, settings, who), settings), id
        except (AnonymizeError, OSError) as e:
            return *self._failure(e), ""

    def adjust(self, request: gr.Request, id: str, *values: Any) -> Shown:
        """A slider or an effect: the same regions, shown otherwise."""
        return self._again(request, id, values, detect=False)

    def look_again(self, request: gr.Request, id: str, *values: Any) -> Shown:
        """Other detectors."""
        return self._again(request, id, values, detect=True)

    def _again(self, request: gr.Request, id: str, values: tuple[Any, ...], detect: bool) -> Shown:
        if not id:
            return _SKIPPED
        photo = None
        try:
            photo = session_of(request).get(PhotoSession, id)
            settings = settings_from(values, self.site.policy)
            if detect:
                self.site.pool.look_again(photo, settings)
            return show(photo, settings)
        except (AnonymizeError, OSError) as e:
            return self._failure(e, photo)

    def correct(self, request: gr.Request, event: gr.EventData, id: str) -> Shown:
        """A correction from the picture."""
        photo = None
        try:
            photo = session_of(request).get(PhotoSession, id)
            what, given = parse(event._data or {})
            photo.correct(what, **given)
            return show(photo, photo.settings)
        except (AnonymizeError, OSError) as e:
            return self._failure(e, photo)


@dataclass(frozen=True)
class PhotoTab:
    """What another tab needs to show a photo here."""

    outputs: list[Any]
    current: gr.State


def build(site: Site) -> PhotoTab:
    """Draw the tab; called inside gr.Blocks."""
    with gr.Row(elem_classes="az-main"):
        with gr.Column(scale=7, min_width=320, elem_classes="az-left"):
            kept = (
                "It stays on this computer." if site.policy.own_machine else "It is deleted from here after your visit."
            )
            viewer = element("viewer", "opened", "corrected", value={}, label=kept, elem_id="az-photo")
            found = "Everything that was found"
            with gr.Accordion(found, open=False, visible=False, elem_classes="az-card") as details:
                table = gr.Dataframe(
                    headers=COLUMNS,
                    datatype=["str", "number", "number", "str", "str", "str"],
                    interactive=False,
                    column_widths=["80px", "75px", "105px", "200px", "95px", "260px"],
                    label="Regions, best first",
                    show_label=False,
                    max_height=360,
                    wrap=True,
                )
        with gr.Column(scale=3, min_width=300, elem_classes="az-right"):
            result = gr.HTML(empty(), elem_id="az-result", js_on_load=None)
            controls = Controls(site.policy)
    tab = PhotoTab([viewer, result, table, details], gr.State(""))
    _wire(PhotoHandlers(site), tab, viewer, controls)
    return tab


def _wire(do: PhotoHandlers, tab: PhotoTab, viewer: Any, controls: Controls) -> None:
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    now, known = [tab.current, *controls.all], tab.outputs
    viewer.opened(do.open, controls.all, [*known, tab.current], concurrency_id="look", **private)
    viewer.corrected(do.correct, [tab.current], known, queue=False, trigger_mode="multiple", **private)
    for control in controls.live:
        event = control.input if control in (controls.face, controls.plate) else control.change
        event(do.adjust, now, known, queue=False, trigger_mode="always_last", **private)
    for control in controls.detection:
        event = control.release if isinstance(control, gr.Slider) else control.change
        event(do.look_again, now, known, concurrency_id="look", **{**private, "show_progress": "minimal"})
