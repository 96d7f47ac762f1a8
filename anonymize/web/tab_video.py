"""The Video tab: clips in, what is hidden shown and corrected track by track, clean clips out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from ..video.writer import Encoding, codecs
from .clip_handlers import ClipHandlers
from .clip_view import empty
from .controls import Controls
from .elements import element
from .site import Site

_NAMES = {
    "h264": "H.264 (plays everywhere)", "same": "as in the original", "hevc": "HEVC", "vp9": "VP9", "av1": "AV1",
    "ffv1": "FFV1 (lossless, large)", "mjpeg": "MJPEG",
}  # fmt: skip
_QUALITIES = [("Best", "14"), ("Good", "20"), ("Small file", "28")]


@dataclass(frozen=True)
class VideoTab:
    """The tab's components.

    Attributes:
        viewer: player, frames and tracks. card: what is hidden, and the downloads. timer: runs while there is work.
        current: id of the clip that is shown. controls: what and how to hide. form: codec, quality and sound.
    """

    viewer: gr.HTML
    card: gr.HTML
    timer: gr.Timer
    current: gr.State
    controls: Controls
    form: list[Any]

    @property
    def outputs(self) -> list[Any]:
        """For `ClipHandlers.show`."""
        return [self.viewer, self.card, self.timer, self.current]

    @property
    def chosen(self) -> list[Any]:
        return [*self.controls.all, *self.form]

    @property
    def whole(self) -> list[Any]:
        """For `ClipHandlers.restore`."""
        return [*self.outputs, self.controls.preset, *self.chosen]


def build(site: Site) -> VideoTab:
    """Draw the tab; called inside gr.Blocks."""
    with gr.Row(elem_classes="az-main"):
        with gr.Column(scale=7, min_width=320, elem_classes="az-left az-stays"):
            own = site.policy.own_machine
            kept = "It stays on this computer." if own else "It is deleted from here after your visit."
            viewer = element("clips", "opened", "corrected", "chosen", value={}, label=kept, elem_id="az-video")
        with gr.Column(scale=3, min_width=300, elem_classes="az-right"):
            card = gr.HTML(empty(), elem_id="az-video-result", js_on_load=None)
            controls = Controls(site.policy, of="video")
            form = _form()
    tab = VideoTab(viewer, card, gr.Timer(1.0, active=False), gr.State(""), controls, form)
    _wire(ClipHandlers(site), tab)
    return tab


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


def _wire(do: ClipHandlers, tab: VideoTab) -> None:
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
    controls, viewer, current = tab.controls, tab.viewer, tab.current
    many: dict[str, Any] = {"trigger_mode": "multiple", **private}
    gr.on(None, do.restore, None, tab.whole, **private)  # when the page is opened
    viewer.opened(do.opened, [current, *tab.chosen], tab.outputs, **many)
    viewer.chosen(do.choose, [current], tab.whole, **many)
    viewer.corrected(do.correct, [current], tab.outputs, **many)
    tab.timer.tick(do.tick, [current], tab.outputs, **private)
    known = [*tab.outputs, *controls.typed]
    # Of a person only: what an answer puts into a control is no further wish.
    for control in [*controls.live, *controls.detection, *tab.form]:
        event = control.release if control is controls.iou_threshold else control.input
        event(do.adjust, [current, *tab.chosen], known, trigger_mode="always_last", **private)
    controls.preset_applied.then(do.adjust, [current, *tab.chosen], known, **private)
