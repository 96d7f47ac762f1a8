"""The Review tab of the page: the queue, one photo with its regions, decisions, the threshold explorer, the gated
export.

It needs no FiftyOne: corrections go to the records through the same store. FiftyOne's App is one link away, where it
may be.
"""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from anonymize.corrections import parse
from anonymize.errors import AnonymizeError, ReadOnlyError, RecordsError
from anonymize.settings import Settings
from anonymize.web.elements import element
from anonymize.web.telling import message_of

from .dataset import dataset_name
from .guarded.offered import ONLY_LOOKED_AT
from .queue import Item
from .reviews import Review, Reviews, User
from .tab_view import FiftyOne, empty, explorer, export_approved, side, view

KEYS = (
    "Drag draws · click selects · wheel zooms · A approve · F flag · N next · U undo · H hide · X false alarm · K kind"
)
Sources = Callable[[Any], Sequence[tuple[str, Path, str | None]]]
Values = tuple[Any, ...]


@dataclass(frozen=True)
class ReviewHandlers:
    """What the tab does when something happens; `name` is the review that is open.

    Attributes:
        reviews: the open ones, shared with the mount.
        who: the visitor of a gr.Request, as the guard knows them.
        sources: (label, records file, owner) of what a visitor may open: their batches.
        own_machine: the visitor is at this machine: any records file may be opened by its path, exports stay in
            folders.
        read_only: what belongs to everybody is only looked at (a public demo's sample).
        mount: where `ReviewServer` is mounted; it delivers the photos.
    """

    reviews: Reviews
    who: Callable[[Any], User]
    sources: Sources
    own_machine: bool
    read_only: bool = False
    mount: str = "/review"

    def _find(self, request: gr.Request, name: str, decide: bool = False) -> tuple[Review, User]:
        """The review; `decide`: to decide on, not only to look at."""
        user = self.who(request)
        review = self.reviews.find(name, user)
        if decide and self._is_sample(review):
            raise ReadOnlyError(ONLY_LOOKED_AT)
        return review, user

    def _is_sample(self, review: Review) -> bool:
        return self.read_only and review.owner is None

    def _next(self, review: Review, user: User, after: str | None = None) -> Item | None:
        """The next photo, claimed for this visitor; a sample's are everybody's, so that all visitors see all of it."""
        claims = "" if self._is_sample(review) else user.name + user.key
        return review.queue.next(claims, after=after)

    def _page(self, review: Review, user: User, item: Item | None, **words: str) -> Values:
        """Values for the editor and the side."""
        fiftyone: FiftyOne = "picture" if self.read_only else "link" if user.is_reviewer else "nothing"
        return fresh(view(review, item, self.mount, **words)), side(review, item, self.mount, fiftyone)

    def _message(self, error: Exception) -> str:
        return message_of(error, self.own_machine)

    def offer(self, request: gr.Request, chosen: str | None, known: Sequence[str]) -> tuple[Any, list[str]]:
        """What may be opened now."""
        now = choices_of(self.sources(request), chosen, known)
        return gr.update(**now), [name for _, name in now["choices"]]

    def begin(self, request: gr.Request, chosen: str | None, given: str) -> Values:
        """Open a batch, or a records file by its path."""
        try:
            user = self.who(request)
            if self.own_machine and given and given.strip():
                review = self.reviews.open(Path(given.strip()).expanduser())
            else:
                found = [s for s in self.sources(request) if dataset_name(s[1]) == chosen]
                if not found:
                    raise RecordsError("Hide faces and plates in some photos first (Many photos), then open them here.")
                review = self.reviews.open(found[0][1], owner=found[0][2])
            settings = review.store.settings
            thresholds = settings.kind("face").threshold, settings.kind("plate").threshold
            item = self._next(review, user)
            return *self._page(review, user, item), review.name, *thresholds, explorer(review, {})
        except (AnonymizeError, OSError) as e:
            return fresh({"problem": self._message(e)}), empty(), "", gr.skip(), gr.skip(), ""

    def decide(self, request: gr.Request, event: gr.EventData, name: str) -> Values:
        """A decision from the picture, or the wish for the next photo."""
        return self.act(request, name, dict(event._data or {}))

    def act(self, request: gr.Request, name: str, data: dict[str, Any]) -> Values:
        """The same, with what the picture sent."""
        try:
            review, user = self._find(request, name)
        except (AnonymizeError, OSError) as e:
            return fresh({"problem": self._message(e)}), gr.skip()
        at = str(data.get("photo") or "")
        if data.get("what") == "next":
            return self._page(review, user, self._next(review, user, after=at or None))
        try:
            what, given = parse(data)
            self._find(request, name, decide=True)
            review.store.decide(at, what, who=user.name, expected=str(data.get("hash")), **given)
            # Its sample in FiftyOne stays as it is: who looks at it there saw that, and is told before they decide.
        except (AnonymizeError, OSError) as e:
            return self._page(review, user, item_of(review, at), problem=self._message(e))
        if what in ("approve", "flag"):
            done = "Approved" if what == "approve" else "Flagged"
            return self._page(review, user, self._next(review, user, after=at), text=f"{done}: {at}.")
        return self._page(review, user, item_of(review, at))

    def use_thresholds(self, request: gr.Request, name: str, face: float, plate: float) -> Values:
        """Other thresholds for this review, from now on."""
        try:
            review, user = self._find(request, name, decide=True)
            settings = review.store.settings.with_kind("face", threshold=face).with_kind("plate", threshold=plate)
            review.store.use(settings)
            return *self._page(review, user, self._next(review, user)), explorer(review, {})
        except (AnonymizeError, OSError) as e:
            return fresh({"problem": self._message(e)}), gr.skip(), gr.skip()

    def explore(self, request: gr.Request, name: str, face: float, plate: float) -> str:
        """What they would do."""
        try:
            return explorer(self._find(request, name)[0], {"face": face, "plate": plate})
        except AnonymizeError:
            return ""

    def export(self, request: gr.Request, name: str, unreviewed: bool) -> str:
        """Write what may go out."""
        try:
            review, _ = self._find(request, name, decide=True)
            return export_approved(review, unreviewed, self.mount, self.own_machine)
        except (AnonymizeError, OSError) as e:
            return f"<p class='az-status problem'>{html.escape(self._message(e))}</p>"


def build(do: ReviewHandlers) -> None:
    """Draw the tab; called inside gr.Blocks."""
    opened, known = gr.State(""), gr.State([])
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    with gr.Row(elem_classes="az-main"):
        with gr.Column(scale=7, min_width=320):
            with gr.Row():
                source = gr.Dropdown([], label="Batch", elem_id="rv-source", scale=3)
                path = gr.Textbox(
                    label="Or a records file",
                    placeholder="out/records.jsonl",
                    visible=do.own_machine,
                    elem_id="rv-path",
                    scale=3,
                )
                start = gr.Button("Open", variant="primary", elem_id="rv-open", scale=1)
            editor = element("review", "decided", value={}, elem_id="rv-editor")
            with gr.Row():
                for name, text in (("approve", "Approve, next (A)"), ("flag", "Flag, next (F)"), ("next", "Next (N)")):
                    variant = "primary" if name == "approve" else "secondary"
                    # Buttons do what keys do: the editor knows the photo and its hash.
                    press = f"() => document.dispatchEvent(new KeyboardEvent('keydown', {{key: '{name[0]}'}}))"
                    gr.Button(text, variant=variant, elem_id=f"rv-{name}").click(None, js=press, **private)
            gr.Markdown(KEYS)
        with gr.Column(scale=3, min_width=300):
            about = gr.HTML(empty(), js_on_load=None, elem_id="rv-side", elem_classes="rv-side")
            thresholds, explored = _thresholds(do, opened, [editor, about], private)
            unreviewed = gr.Checkbox(label="Export unreviewed photos, too (not safe)", elem_id="rv-unreviewed")
            export = gr.Button("Export approved photos", elem_id="rv-export")
            exported = gr.HTML("", js_on_load=None, elem_id="rv-exported")
    start.click(do.begin, [source, path], [editor, about, opened, *thresholds, explored], **private)
    editor.decided(do.decide, [opened], [editor, about], queue=False, trigger_mode="multiple", **private)
    export.click(do.export, [opened, unreviewed], exported, api_visibility="private")
    gr.Timer(4.0).tick(do.offer, [source, known], [source, known], **private)


def _thresholds(
    do: ReviewHandlers, opened: gr.State, page: list[Any], private: dict[str, Any]
) -> tuple[list[gr.Slider], gr.Markdown]:
    defaults = Settings()
    with gr.Accordion("Thresholds over all photos", open=False):
        sliders = [
            gr.Slider(0.001, 1, defaults.kind(kind).threshold, label=label, elem_id=f"rv-{kind}")
            for kind, label in (("face", "Faces from"), ("plate", "Plates from"))
        ]
        explored = gr.Markdown("")
        use = gr.Button("Apply (resets approvals)", elem_id="rv-use")
    for slider in sliders:
        slider.release(do.explore, [opened, *sliders], explored, **private)
    use.click(do.use_thresholds, [opened, *sliders], [*page, explored], **private)
    return sliders, explored


def choices_of(
    found: Sequence[tuple[str, Path, str | None]], chosen: str | None, known: Sequence[str] = ()
) -> dict[str, Any]:
    """What may be opened, as a list's choices: what is new comes to the front, else what is chosen stays.

    They are known by their records file: labels may be alike, and a batch's number may change while the page is open.

    Args:
        known: the names that were offered last.
    """
    choices = [(label, dataset_name(path)) for label, path, _ in found]
    names = [name for _, name in choices]
    is_kept = chosen in names and set(names) <= set(known)
    return {"choices": choices, "value": chosen if is_kept else names[-1] if names else None}


def item_of(review: Review, path: str) -> Item | None:
    return next((i for i in review.queue.items() if i.path == path), None)


def fresh(value: dict[str, Any]) -> dict[str, Any]:
    """An answer for the editor, which waits for one: Gradio hands on only what differs from what it has."""
    return {**value, "turn": time.monotonic_ns()}
