"""The first tab: one photo in, what is hidden shown and corrected, the clean photo out."""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ..corrections import parse
from ..errors import AnonymizeError
from ..settings import Settings
from .controls import Controls, FieldError, put_back, settings_from, values_of
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


def show_with_controls(photo: PhotoSession, settings: Settings) -> Shown:
    """Values for `PhotoTab.whole`: the photo, and the controls as they stand for it."""
    return *show(photo, settings), photo.id, settings.preset, *values_of(settings)


def failure(problem: str, photo: PhotoSession | None = None) -> Shown:
    """The same after a failure: the photo as it was, or none, and what is wrong."""
    said = problem[:1].upper() + problem[1:]
    value: dict[str, Any] = {**(view(photo) if photo else {"id": ""}), "problem": said}
    value["turn"] = time.monotonic_ns()  # Gradio hands on only what differs, and the page waits for an answer
    return (value, *_SKIPPED[1:]) if photo else (value, empty(), gr.skip(), gr.update(visible=False))


@dataclass(frozen=True)
class PhotoHandlers:
    """What the tab does when something happens. `values` are those of `Controls.all`, `id` the photo that is shown."""

    site: Site

    def _failure(self, error: Exception, photo: PhotoSession | None = None) -> Shown:
        return failure(message_of(error, self.site.policy.own_machine), photo)

    def restore(self, request: gr.Request) -> Shown:
        """The page is opened: the photo that this visitor looked at last, as they left it."""
        photos = session_of(request).of_kind(PhotoSession)
        if not photos:
            return (gr.skip(),) * (len(_SKIPPED) + 2 + len(values_of(self.site.policy.defaults)))
        return show_with_controls(photos[-1], photos[-1].settings)

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
            try:
                photo = self.site.pool.open(session, path, name, settings, who)
            except (AnonymizeError, OSError):
                if not path.parent.exists():  # cancelled, and nobody waits for it
                    return *_SKIPPED, gr.skip()
                raise
            if not path.is_file():
                session.remove(id)
                return *_SKIPPED, gr.skip()
            return *show(photo, settings), id
        except (AnonymizeError, OSError) as e:
            return *self._failure(e), ""

    def cancel(self, request: gr.Request, event: gr.EventData) -> None:
        """A photo that is being looked at is not wanted any more: its file goes now, and `open` finds it gone."""
        id = str((event._data or {}).get("id"))
        if re.fullmatch("[0-9a-f]{32}", id):
            session = session_of(request)
            session.remove(id)
            shutil.rmtree(session.folder / id, ignore_errors=True)

    def adjust(self, request: gr.Request, id: str, *values: Any) -> Shown:
        """A slider or an effect: the same regions, shown otherwise."""
        return self._again(request, id, values, detect=False)

    def look_again(self, request: gr.Request, id: str, *values: Any) -> Shown:
        """Other detectors."""
        return self._again(request, id, values, detect=True)

    def _again(self, request: gr.Request, id: str, values: tuple[Any, ...], detect: bool) -> Shown:
        """Values for `PhotoTab.outputs` and `Controls.typed`."""
        photo = None
        last = self.site.policy.defaults
        try:
            if not id:
                settings_from(values, self.site.policy)
                return *_SKIPPED, *put_back(None, last)
            photo = session_of(request).get(PhotoSession, id)
            last = photo.settings
            settings = settings_from(values, self.site.policy)
            if detect:
                self.site.pool.look_again(photo, settings)
            return *show(photo, settings), *put_back(None, settings)
        except FieldError as e:
            return *_SKIPPED, *put_back(e, last)
        except (AnonymizeError, OSError) as e:
            if detect and photo:  # what was chosen cannot be had: what is shown stays, and the choice is put back
                wrong = FieldError("detector", message_of(e, self.site.policy.own_machine))
                return *_SKIPPED, *put_back(wrong, last)
            return *self._failure(e, photo), *put_back(None, last)

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
    """What another tab needs to show a photo here.

    Attributes:
        viewer: the picture; `walked` goes to another photo of its batch. outputs: what shows a photo.
        current: its id. controls: those of this tab.
    """

    viewer: gr.HTML
    outputs: list[Any]
    current: gr.State
    controls: Controls

    @property
    def whole(self) -> list[Any]:
        """For `show_with_controls`."""
        return [*self.outputs, self.current, self.controls.preset, *self.controls.all]


def build(site: Site) -> PhotoTab:
    """Draw the tab; called inside gr.Blocks."""
    own = site.policy.own_machine
    with gr.Row(elem_classes="az-main"):
        with gr.Column(scale=7, min_width=320, elem_classes="az-left az-stays"):
            kept = "It stays on this computer." if own else "It is deleted from here after your visit."
            events = ("opened", "cancelled", "corrected", "walked")
            viewer = element("viewer", *events, value={}, label=kept, elem_id="az-photo")
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
            controls = Controls(site.policy, of="photo")
    tab = PhotoTab(viewer, [viewer, result, table, details], gr.State(""), controls)
    _wire(PhotoHandlers(site), tab)
    return tab


def _wire(do: PhotoHandlers, tab: PhotoTab) -> None:
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    controls, viewer = tab.controls, tab.viewer
    now, known = [tab.current, *controls.all], [*tab.outputs, *controls.typed]
    gr.on(None, do.restore, None, tab.whole, queue=False, **private)  # when the page is opened
    many: dict[str, Any] = {"trigger_mode": "multiple", **private}
    viewer.opened(do.open, controls.all, [*tab.outputs, tab.current], concurrency_id="look", **many)
    viewer.cancelled(do.cancel, None, None, queue=False, **many)
    viewer.corrected(do.correct, [tab.current], tab.outputs, queue=False, **many)
    # Of a person only: what an answer puts into a control is no further wish.
    for control in controls.live:
        control.input(do.adjust, now, known, queue=False, trigger_mode="always_last", **private)
    detecting: dict[str, Any] = {"concurrency_id": "look", **private, "show_progress": "minimal"}
    for control in controls.detection:
        event = control.release if isinstance(control, gr.Slider) else control.input
        event(do.look_again, now, known, **detecting)
    controls.preset_applied.then(do.look_again, now, known, **detecting)
