"""The first tab: one photo in, what is hidden shown and corrected, the clean photo out."""

from __future__ import annotations

import re
import shutil
import time
from typing import Any

import gradio as gr

from ..corrections import parse
from ..errors import AnonymizeError
from ..settings import Settings
from .controls import Controls, FieldError, settings_from
from .elements import Values, element, kept, prose
from .photo_session import PhotoSession
from .photo_view import COLUMNS, rows, summary, view
from .sessions import GoneError
from .site import Site, answered, name_of, session_of


class PhotoTab:
    """The tab: its components, and what it does when something happens. Made inside gr.Blocks.

    Among the handlers' arguments, `values` are those of `Controls.all`, `id` the photo that is shown.

    Attributes:
        viewer: the picture; `walked` goes to another photo of its batch. card: what is hidden, and the downloads.
        table: all that was found, in `details`. current: the photo's id. controls: what and how to hide.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        with gr.Row(elem_classes="az-main"):
            with gr.Column(scale=7, min_width=320, elem_classes="az-left az-stays"):
                events = ("opened", "cancelled", "corrected", "walked")
                self.viewer = element("viewer", *events, value={}, label=kept(site.policy), elem_id="az-photo")
                found = "Everything that was found"
                with gr.Accordion(found, open=False, visible=False, elem_classes="az-card") as self.details:
                    self.table = gr.Dataframe(
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
                self.card = gr.HTML(prose("no-photo"), elem_id="az-result", js_on_load=None)
                self.controls = Controls(site.policy, of="photo")
        self.current = gr.State("")
        self._wire()

    @property
    def outputs(self) -> list[Any]:
        return [self.viewer, self.card, self.table, self.details]

    @property
    def whole(self) -> list[Any]:
        return [*self.outputs, self.current, self.controls.preset, *self.controls.all]

    def show(self, photo: PhotoSession, settings: Settings) -> Values:
        """For `outputs`."""
        photo.show(settings)
        there = gr.update(visible=True)
        return {self.viewer: view(photo), self.card: summary(photo), self.table: rows(photo), self.details: there}

    def show_whole(self, photo: PhotoSession, settings: Settings) -> Values:
        """For `whole`: the photo, and the controls as they stand for it."""
        return {**self.show(photo, settings), self.current: photo.id, **self.controls.show(settings)}

    def fail(self, problem: str, photo: PhotoSession | None = None) -> Values:
        """For `outputs`, after a failure: the photo as it was, or none, and what is wrong."""
        value: dict[str, Any] = {**(view(photo) if photo else {"id": ""}), "problem": problem[:1].upper() + problem[1:]}
        value["turn"] = time.monotonic_ns()  # Gradio hands on only what differs, and the page waits for an answer
        nothing = {} if photo else {self.card: prose("no-photo"), self.details: gr.update(visible=False)}
        return {self.viewer: value, **nothing}

    # --- what happens ---

    def restore(self, request: gr.Request) -> Values:
        """The page is opened: the photo that this visitor looked at last, as they left it."""
        photos = session_of(request).of_kind(PhotoSession)
        return self.show_whole(photos[-1], photos[-1].settings) if photos else {self.viewer: gr.skip()}

    def _not_opened(self, error: Exception, *_: Any) -> Values:
        return {**self.fail(self.site.message(error)), self.current: ""}

    @answered(_not_opened)
    def open(self, request: gr.Request, event: gr.EventData, *values: Any) -> Values:
        """A photo came in: look at it."""
        data, session = event._data or {}, session_of(request)
        id, file = str(data.get("id")), str(data.get("file"))
        is_name = re.fullmatch("[0-9a-f]{32}", id) and re.fullmatch(r"photo\.[a-z0-9]{1,5}", file)
        path = session.folder / id / file if is_name else None
        if path is None or not path.is_file():
            raise GoneError("That photo is no longer here; please add it again.")
        settings = settings_from(values, self.site.policy)
        try:
            photo = self.site.pool.open(session, path, str(data.get("name")), settings, name_of(request))
        except (AnonymizeError, OSError):
            if not path.parent.exists():  # cancelled, and nobody waits for it
                return {self.viewer: gr.skip()}
            raise
        if not path.is_file():
            session.remove(id)
            return {self.viewer: gr.skip()}
        return {**self.show(photo, settings), self.current: id}

    def cancel(self, request: gr.Request, event: gr.EventData) -> None:
        """A photo that is being looked at is not wanted any more: its file goes now, and `open` finds it gone."""
        id = str((event._data or {}).get("id"))
        if re.fullmatch("[0-9a-f]{32}", id):
            session = session_of(request)
            session.remove(id)
            shutil.rmtree(session.folder / id, ignore_errors=True)

    def adjust(self, request: gr.Request, id: str, *values: Any) -> Values:
        """A slider or an effect: the same regions, shown otherwise."""
        return self._again(request, id, values, detect=False)

    def look_again(self, request: gr.Request, id: str, *values: Any) -> Values:
        """Other detectors."""
        return self._again(request, id, values, detect=True)

    def _again(self, request: gr.Request, id: str, values: tuple[Any, ...], detect: bool) -> Values:
        """For `PhotoTab.outputs` and `Controls.typed`."""
        photo, last, put_back = None, self.site.policy.defaults, self.controls.put_back
        try:
            photo = session_of(request).get(PhotoSession, id) if id else None
            last = photo.settings if photo else last
            settings = settings_from(values, self.site.policy)
            if photo is None:
                return put_back(None, last)
            if detect:
                self.site.pool.look_again(photo, settings)
            return {**self.show(photo, settings), **put_back(None, settings)}
        except FieldError as e:
            return put_back(e, last)
        except (AnonymizeError, OSError) as e:
            if detect and photo:  # what was chosen cannot be had: what is shown stays, and the choice is put back
                return put_back(FieldError("detector", self.site.message(e)), last)
            return {**self.fail(self.site.message(e), photo), **put_back(None, last)}

    def _not_corrected(self, error: Exception, request: gr.Request, _: gr.EventData, id: str) -> Values:
        photo = next((p for p in session_of(request).of_kind(PhotoSession) if p.id == id), None)
        return self.fail(self.site.message(error), photo)

    @answered(_not_corrected)
    def correct(self, request: gr.Request, event: gr.EventData, id: str) -> Values:
        """A correction from the picture."""
        photo = session_of(request).get(PhotoSession, id)
        what, given = parse(event._data or {})
        photo.correct(what, **given)
        return self.show(photo, photo.settings)

    def _wire(self) -> None:
        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        controls, viewer = self.controls, self.viewer
        now, known = [self.current, *controls.all], [*self.outputs, *controls.typed]
        gr.on(None, self.restore, None, self.whole, queue=False, **private)  # when the page is opened
        many: dict[str, Any] = {"trigger_mode": "multiple", **private}
        viewer.opened(self.open, controls.all, [*self.outputs, self.current], concurrency_id="look", **many)
        viewer.cancelled(self.cancel, None, None, queue=False, **many)
        viewer.corrected(self.correct, [self.current], self.outputs, queue=False, **many)
        # Of a person only: what an answer puts into a control is no further wish.
        for control in controls.live:
            control.input(self.adjust, now, known, queue=False, trigger_mode="always_last", **private)
        detecting: dict[str, Any] = {"concurrency_id": "look", **private, "show_progress": "minimal"}
        for control in controls.detection:
            event = control.release if isinstance(control, gr.Slider) else control.input
            event(self.look_again, now, known, **detecting)
        controls.preset_applied.then(self.look_again, now, known, **detecting)
