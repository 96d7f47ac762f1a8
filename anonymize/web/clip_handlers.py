"""What the Video tab does when something happens: values of components in, values for components out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ..corrections import find
from ..errors import AnonymizeError, SettingsError, UnknownNameError
from ..video.clip_corrections import ACTIONS
from ..video.clip_records import ClipRecord
from ..video.writer import Encoding
from .clip_session import ClipSession
from .clip_view import summary, view
from .controls import FieldError, put_back, settings_from, values_of
from .photo_session import OTHER
from .sessions import GoneError
from .site import Site, session_of
from .telling import message_of

Values = tuple[Any, ...]
FORM = 3  # of `VideoTab.chosen`, the last ones say how the clip is written


def encoding_from(values: Values) -> Encoding:
    """From the values of `VideoTab.form`.

    Raises:
        SettingsError: a value that is none.
    """
    codec, quality, audio = values
    try:
        number = int(quality)
    except (TypeError, ValueError) as e:
        raise SettingsError(f"The quality is a number; received {quality!r}.") from e
    return Encoding(str(codec), number, str(audio))


def correction(data: Mapping[str, Any], record: ClipRecord, kinds: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """A correction as the page sends it: the action's name and its arguments, for `corrections.decide`.

    Raises:
        SettingsError: it is none. StaleDecisionError: the track is not there (any more).
    """
    what = str(data.get("what"))
    if what not in ACTIONS:
        raise UnknownNameError("decision", what, ACTIONS)
    given: dict[str, Any] = {into: str(data[n]) for n, into in (("track", "id"), ("kind", "kind")) if n in data}
    if given.get("kind", OTHER) not in kinds and "kind" in given:
        given["kind"] = OTHER
    if what not in ("draw", "extend"):
        return what, given
    try:
        frame = int(data["frame"])
        box = tuple(round(float(v), 2) for v in data["box"]) if "box" in data else None
    except (KeyError, TypeError, ValueError) as e:
        raise SettingsError("a correction names a frame, and a box of four numbers") from e
    if box is None and what == "extend":  # as it is at its nearer end
        track = find(record, given["id"])
        box = track.box(min(max(frame, track.first), track.last))
    if box is None or len(box) != 4:
        raise SettingsError("a box is four numbers")
    return what, {**given, "boxes": {frame: box}} if what == "draw" else {**given, "frame": frame, "box": box}


@dataclass(frozen=True)
class ClipHandlers:
    """The handlers. `id` is the clip that is shown, `values` are those of `VideoTab.chosen`."""

    site: Site

    def _clips(self, request: gr.Request) -> list[ClipSession]:
        """Of this visitor, in the order in which they came."""
        return sorted(session_of(request).of_kind(ClipSession), key=lambda c: c.made)

    def _clip(self, request: gr.Request, id: str) -> ClipSession:
        clip: ClipSession = session_of(request).get(ClipSession, id)
        return clip

    def _start(self, clip: ClipSession) -> Any:
        return lambda: self.site.jobs.submit(clip, lambda: clip.work(self.site.pool.predictor))

    def _choices(self, values: Values) -> Any:
        return settings_from(values[:-FORM], self.site.policy), encoding_from(values[-FORM:])

    def show(self, request: gr.Request, clip: ClipSession | None, problem: str = "") -> Values:
        """Values for `VideoTab.outputs`."""
        every = self._clips(request)
        is_busy = any(c.is_busy for c in every)  # first: what ends meanwhile is shown by one more tick
        value = view(clip, every, self.site.jobs.before(clip) if clip else 0)
        if problem:  # Gradio hands on only what differs, and the page waits for an answer
            value |= {"problem": problem, "turn": time.monotonic_ns()}
        return value, summary(clip), gr.update(active=is_busy), clip.id if clip else ""

    def _failed(self, request: gr.Request, id: str, error: Exception) -> Values:
        clip = next((c for c in self._clips(request) if c.id == id), None)
        return self.show(request, clip, message_of(error, self.site.policy.own_machine))

    def restore(self, request: gr.Request) -> Values:
        """The page is opened: the clips of this visitor as they left them. For `VideoTab.whole`."""
        clips = session_of(request).of_kind(ClipSession)
        if not clips:
            return (gr.skip(),) * (4 + 1 + FORM + len(values_of(self.site.policy.defaults)))
        return *self.show(request, clips[-1]), *self._controls(clips[-1])

    def _controls(self, clip: ClipSession) -> Values:
        form = clip.encoding.codec, str(clip.encoding.quality), clip.encoding.audio
        return clip.settings.preset, *values_of(clip.settings), *form

    def opened(self, request: gr.Request, event: gr.EventData, id: str, *values: Any) -> Values:
        """A clip came in: it is searched when it is its turn. The first of several is shown."""
        data = event._data or {}
        try:
            clip = self._clip(request, str(data.get("id")))
            clip.settings, clip.encoding = self._choices(values)
            clip.go_on(self._start(clip))
            shown = self._clip(request, id) if data.get("index") and id else clip
            return self.show(request, shown)
        except (AnonymizeError, OSError) as e:
            return self._failed(request, id, e)

    def tick(self, request: gr.Request, id: str) -> Values:
        """A second went by."""
        try:
            return self.show(request, self._clip(request, id))
        except (AnonymizeError, OSError) as e:
            return self._failed(request, "", e)

    def choose(self, request: gr.Request, event: gr.EventData, id: str) -> Values:
        """Another clip is looked at, or one is stopped, goes on, or is not wanted any more. For `VideoTab.whole`."""
        data = event._data or {}
        what, chosen = data.get("what"), str(data.get("id"))
        skipped = (gr.skip(),) * (1 + FORM + len(values_of(self.site.policy.defaults)))
        try:
            clip = self._clip(request, chosen)
            if what == "remove":
                session_of(request).remove(chosen)
                left = self._clips(request)
                kept = next((c for c in left if c.id == id), left[-1] if left else None)
                return *self.show(request, kept), *(self._controls(kept) if kept else skipped)
            if what == "stop":
                clip.halt()
            elif what == "audit":
                clip.look_for_leaks(self._start(clip))
            elif what == "start":
                clip.go_on(self._start(clip))
            elif what != "show":
                raise SettingsError(f"a clip cannot be {what!r}")
            return *self.show(request, clip), *(self._controls(clip) if what == "show" else skipped)
        except (AnonymizeError, OSError) as e:
            return *self._failed(request, id, e), *skipped

    def adjust(self, request: gr.Request, id: str, *values: Any) -> Values:
        """A slider, an effect, detectors, or how it is written. For `VideoTab.outputs` and `Controls.typed`."""
        last = self.site.policy.defaults
        skipped = (gr.skip(),) * 4
        try:
            if not id:
                self._choices(values)
                return *skipped, *put_back(None, last)
            clip = self._clip(request, id)
            last = clip.settings
            settings, encoding = self._choices(values)
            clip.ask(self._start(clip), settings, encoding)
            return *self.show(request, clip), *put_back(None, settings)
        except FieldError as e:
            return *skipped, *put_back(e, last)
        except (AnonymizeError, OSError) as e:
            return *self._failed(request, id, e), *put_back(None, last)

    def correct(self, request: gr.Request, event: gr.EventData, id: str) -> Values:
        """A correction from a frame or from the list of tracks."""
        try:
            clip = self._clip(request, id)
            if clip.record is None:
                raise GoneError("Wait until the clip has been searched.")
            what, given = correction(event._data or {}, clip.record, clip.settings.kinds)
            clip.correct(what, self._start(clip), **given)
            return self.show(request, clip)
        except (AnonymizeError, OSError) as e:
            return self._failed(request, id, e)
