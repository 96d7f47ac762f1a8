"""The Video tab: clips in, what is hidden shown and corrected track by track, clean clips out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from ..corrections import find, parse
from ..errors import AnonymizeError, SettingsError
from ..settings import Settings
from ..video.clip_corrections import ACTIONS
from ..video.clip_records import ClipRecord
from ..video.writer import Encoding, codecs
from .clip_session import ClipSession
from .clip_view import summary, view
from .controls import Controls, FieldError, settings_from
from .elements import Values, element, kept, prose
from .photo_session import OTHER
from .site import Site, answered, session_of

_NAMES = {
    "h264": "H.264 (plays everywhere)", "same": "as in the original", "hevc": "HEVC", "vp9": "VP9", "av1": "AV1",
    "ffv1": "FFV1 (lossless, large)", "mjpeg": "MJPEG",
}  # fmt: skip
_QUALITIES = [("Best", "14"), ("Good", "20"), ("Small file", "28")]


class VideoTab:
    """The tab: its components, and what it does when something happens. Made inside gr.Blocks.

    Among the handlers' arguments, `id` is the clip that is shown, `values` are those of `chosen`.

    Attributes:
        viewer: player, frames and tracks. card: what is hidden, and the downloads. timer: runs while there is work.
        current: id of the clip that is shown. controls: what and how to hide. form: codec, quality and sound.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        with gr.Row(elem_classes="az-main"):
            with gr.Column(scale=7, min_width=320, elem_classes="az-left az-stays"):
                events = ("opened", "corrected", "chosen")
                self.viewer = element("clips", *events, value={}, label=kept(site.policy), elem_id="az-video")
            with gr.Column(scale=3, min_width=300, elem_classes="az-right"):
                self.card = gr.HTML(prose("no-clip"), elem_id="az-video-result", js_on_load=None)
                self.controls = Controls(site.policy, of="video")
                self.form = _form()
        self.timer, self.current = gr.Timer(1.0, active=False), gr.State("")
        self._wire()

    @property
    def outputs(self) -> list[Any]:
        return [self.viewer, self.card, self.timer, self.current]

    @property
    def chosen(self) -> list[Any]:
        return [*self.controls.all, *self.form]

    @property
    def whole(self) -> list[Any]:
        return [*self.outputs, self.controls.preset, *self.chosen]

    # --- what happens ---

    def _clips(self, request: gr.Request) -> list[ClipSession]:
        """Of this visitor, in the order in which they came."""
        return sorted(session_of(request).of_kind(ClipSession), key=lambda c: c.made)

    def _start(self, clip: ClipSession) -> Any:
        return lambda: self.site.jobs.submit(clip, lambda: clip.work(self.site.pool.predictor))

    def _choices(self, values: Sequence[Any]) -> tuple[Settings, Encoding]:
        form = len(self.form)
        return settings_from(values[:-form], self.site.policy), encoding_from(values[-form:])

    def show(self, request: gr.Request, clip: ClipSession | None, problem: str = "") -> Values:
        """For `VideoTab.outputs`."""
        every = self._clips(request)
        is_busy = any(c.is_busy for c in every)  # first: what ends meanwhile is shown by one more tick
        value = view(clip, every, self.site.jobs.before(clip) if clip else 0)
        if problem:  # Gradio hands on only what differs, and the page waits for an answer
            value |= {"problem": problem, "turn": time.monotonic_ns()}
        shown: Values = {self.viewer: value, self.card: summary(clip), self.timer: gr.update(active=is_busy)}
        return {**shown, self.current: clip.id if clip else ""}

    def _failed(self, error: Exception, request: gr.Request, *given: Any) -> Values:
        """What is wrong, and the clip that is shown: the first text that the handler was given names it."""
        id = next(value for value in given if isinstance(value, str))
        clip = next((c for c in self._clips(request) if c.id == id), None)
        return self.show(request, clip, self.site.message(error))

    def restore(self, request: gr.Request) -> Values:
        """The page is opened: the clips of this visitor as they left them. For `VideoTab.whole`."""
        clips = session_of(request).of_kind(ClipSession)
        return self._show_whole(request, clips[-1]) if clips else {self.viewer: gr.skip()}

    def _show_whole(self, request: gr.Request, clip: ClipSession) -> Values:
        form = clip.encoding.codec, str(clip.encoding.quality), clip.encoding.audio
        controls = {**self.controls.show(clip.settings), **dict(zip(self.form, form, strict=True))}
        return {**self.show(request, clip), **controls}

    @answered(_failed)
    def opened(self, request: gr.Request, event: gr.EventData, id: str, *values: Any) -> Values:
        """A clip came in: it is searched when it is its turn. The first of several is shown."""
        data, session = event._data or {}, session_of(request)
        clip = session.get(ClipSession, str(data.get("id")))
        clip.settings, clip.encoding = self._choices(values)
        clip.go_on(self._start(clip))
        return self.show(request, session.get(ClipSession, id) if data.get("index") and id else clip)

    @answered(_failed)
    def tick(self, request: gr.Request, id: str) -> Values:
        """A second went by."""
        return self.show(request, session_of(request).get(ClipSession, id))

    @answered(_failed)
    def choose(self, request: gr.Request, event: gr.EventData, id: str) -> Values:
        """Another clip is looked at, or one is stopped, goes on, or is not wanted any more. For `VideoTab.whole`."""
        data = event._data or {}
        what, chosen = data.get("what"), str(data.get("id"))
        clip = session_of(request).get(ClipSession, chosen)
        if what == "remove":
            session_of(request).remove(chosen)
            left = self._clips(request)
            kept = next((c for c in left if c.id == id), left[-1] if left else None)
            return self._show_whole(request, kept) if kept else self.show(request, None)
        if what == "show":
            return self._show_whole(request, clip)
        if what == "stop":
            clip.halt()
        elif what == "audit":
            clip.look_for_leaks(self._start(clip))
        elif what == "start":
            clip.go_on(self._start(clip))
        else:
            raise SettingsError(f"a clip cannot be {what!r}")
        return self.show(request, clip)

    def adjust(self, request: gr.Request, id: str, *values: Any) -> Values:
        """A slider, an effect, detectors, or how it is written. For `VideoTab.outputs` and `Controls.typed`."""
        last, put_back = self.site.policy.defaults, self.controls.put_back
        try:
            clip = session_of(request).get(ClipSession, id) if id else None
            last = clip.settings if clip else last
            settings, encoding = self._choices(values)
            if clip is None:
                return put_back(None, last)
            clip.ask(self._start(clip), settings, encoding)
            return {**self.show(request, clip), **put_back(None, settings)}
        except FieldError as e:
            return put_back(e, last)
        except (AnonymizeError, OSError) as e:
            return {**self._failed(e, request, id), **put_back(None, last)}

    @answered(_failed)
    def correct(self, request: gr.Request, event: gr.EventData, id: str) -> Values:
        """A correction from a frame or from the list of tracks."""
        clip = session_of(request).get(ClipSession, id)
        what, given = correction(event._data or {}, clip.found, clip.settings.kinds)
        clip.correct(what, self._start(clip), **given)
        return self.show(request, clip)

    def _wire(self) -> None:
        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
        controls, viewer, current = self.controls, self.viewer, self.current
        many: dict[str, Any] = {"trigger_mode": "multiple", **private}
        gr.on(None, self.restore, None, self.whole, **private)  # when the page is opened
        viewer.opened(self.opened, [current, *self.chosen], self.outputs, **many)
        viewer.chosen(self.choose, [current], self.whole, **many)
        viewer.corrected(self.correct, [current], self.outputs, **many)
        self.timer.tick(self.tick, [current], self.outputs, **private)
        known = [*self.outputs, *controls.typed]
        # Of a person only: what an answer puts into a control is no further wish.
        for control in [*controls.live, *controls.detection, *self.form]:
            event = control.release if control is controls.iou_threshold else control.input
            event(self.adjust, [current, *self.chosen], known, trigger_mode="always_last", **private)
        controls.preset_applied.then(self.adjust, [current, *self.chosen], known, **private)


def _form() -> list[Any]:
    default = Encoding()
    with gr.Group(elem_classes="az-card"):
        gr.HTML("<h2>The file</h2>", js_on_load=None)
        codec = gr.Dropdown(
            [(_NAMES[name], name) for name in ("h264", "same", *(c for c in codecs() if c != "h264"))],
            value=default.codec,
            label="Codec",
            info="Size, frame rate, and colors stay as they are.",
        )
        quality = gr.Radio(_QUALITIES, value=str(default.quality), label="Quality", elem_classes="az-pills")
        sounds = [("Keep", "keep"), ("Leave out", "drop")]
        audio = gr.Radio(sounds, value=default.audio, label="Sound", elem_classes="az-pills")
    return [codec, quality, audio]


def encoding_from(values: Sequence[Any]) -> Encoding:
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
    what, given = parse(data, ACTIONS, ClipRecord.PART)
    if given.get("kind", OTHER) not in kinds and "kind" in given:
        given["kind"] = OTHER
    box = given.pop("box", None)
    if what not in ("draw", "extend"):
        return what, given
    try:
        frame = int(data["frame"])
    except (KeyError, TypeError, ValueError) as e:
        raise SettingsError("a correction names a frame") from e
    if box is None and what == "extend":  # as it is at its nearer end
        track = find(record, given.get("id", ""))
        box = track.box(min(max(frame, track.first), track.last))
    if box is None or len(box) != 4:
        raise SettingsError("a box is four numbers")
    return what, {**given, "boxes": {frame: box}} if what == "draw" else {**given, "frame": frame, "box": box}
