"""The controls that choose settings, the same on each tab: components in, Settings out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from ..detectors import STRIDE, TABLE
from ..effects import MAX_MOSAIC_BLOCKS
from ..errors import SettingsError
from ..settings import PRESETS, SAFE_METADATA, Kernel, Settings
from ..weights.registry import registry
from .elements import element
from .policy import Policy

EFFECTS = [("Blur", "blur"), ("Mosaic", "pixelate"), ("Solid colour", "solid")]
_FILLS = [("Average colour of the place", "mean"), ("Black", "black"), ("White", "ffffff"), ("Magenta", "ff00ff")]
_PRESETS = [("Fast", "fast"), ("Balanced", "balanced"), ("Thorough", "thorough")]
KEEP = {
    "copyright": "copyright", "datetime": "date and time", "exposure": "exposure time", "focal-length": "focal length",
    "iso": "ISO", "f-number": "aperture", "make": "camera make", "model": "camera model",
    "resolution": "print resolution",
}  # fmt: skip


class Controls:
    """The components of one tab. Made inside gr.Blocks, in the order in which they stand on the page.

    Attributes:
        live: changing one shows the same regions otherwise. finding: changing one needs the detectors again.
    """

    def __init__(self, policy: Policy) -> None:
        s = self.defaults = policy.defaults
        self.policy = policy
        face, plate = s.kind("face"), s.kind("plate")
        with gr.Group(elem_classes="az-card"):
            gr.HTML("<h2>What to hide</h2>", js_on_load=None)
            self.preset = gr.Radio(
                _PRESETS,
                value=next((n for n, p in PRESETS.items() if p.face_detector == s.face_detector), None),
                label="How hard to look",
                info="Thorough misses least, hides more that is harmless, and takes its time.",
                elem_classes="az-pills",
            )
            self.face = threshold("Faces", face.threshold)
            self.plate = threshold("License plates", plate.threshold)
        with gr.Group(elem_classes="az-card"):
            gr.HTML("<h2>How to hide it</h2>", js_on_load=None)
            self.face_effect = gr.Radio(
                EFFECTS, value=face.effect, label="Faces", elem_classes="az-pills az-face-effect"
            )
            self.plate_effect = gr.Radio(EFFECTS, value=plate.effect, label="License plates", elem_classes="az-pills")
            self.mosaic_blocks = gr.Slider(
                1,
                MAX_MOSAIC_BLOCKS,
                face.mosaic_blocks,
                step=1,
                label="How much detail is left",
                info="tiles across a face or plate; fewer hide more",
            )
            self.padding = gr.Slider(
                0, 0.5, face.padding, step=0.01, label="Extra margin", info="part of the size, added on each side"
            )
        with gr.Accordion("More choices", open=False, elem_classes="az-card"):
            self.fill = gr.Dropdown(
                _FILLS, value=face.fill, label="Colour of the solid effect", allow_custom_value=True
            )
            with gr.Row():
                self.size = gr.Number(
                    face.kernel.size, label="Blur kernel, px", info="odd; 0: fitting", precision=0, minimum=0
                )
                self.sigma = gr.Number(face.kernel.sigma, label="Blur sigma, px", info="0: fitting", minimum=0)
                self.feather = gr.Slider(
                    0, 60, face.kernel.feather, step=1, label="Soft edge, px", info="outside what is hidden"
                )
            self.keep = gr.CheckboxGroup(
                [(KEEP[name], name) for name in SAFE_METADATA],
                value=list(s.keep_metadata),
                label="Keep in the file",
                info="Everything else about the picture (place, camera, comments, thumbnails) is removed.",
            )
            self.weak = gr.Checkbox(
                s.allow_weak, label="Blur without the mosaic (not safe)", info="What is hidden so can be recovered."
            )
            gr.HTML("<h3>Finding</h3><p>Changing these looks at the photo again.</p>", js_on_load=None)
            self.face_detector = _detector("face", s.face_detector, policy)
            self.plate_detector = _detector("plate", s.plate_detector, policy)
            self.iou_threshold = gr.Slider(
                0.1,
                0.9,
                s.iou_threshold,
                step=0.05,
                label="Overlap",
                info="boxes that overlap by more than this count as one",
            )

        self.preset.input(
            _apply_preset,
            [self.preset],
            [self.face, self.plate, self.face_detector, self.plate_detector],
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )

    @property
    def live(self) -> list[Any]:
        return [
            self.face, self.plate, self.face_effect, self.plate_effect, self.mosaic_blocks, self.padding, self.fill,
            self.size, self.sigma, self.feather, self.keep, self.weak,
        ]  # fmt: skip

    @property
    def finding(self) -> list[Any]:
        return [self.face_detector, self.plate_detector, self.iou_threshold]

    @property
    def all(self) -> list[Any]:
        return [*self.live, *self.finding]

    def settings(self, values: Sequence[Any]) -> Settings:
        """Settings from the values of `all`, in that order.

        Raises:
            SettingsError: a value that is out of its range; a choice that this server does not offer.
        """
        (
            face, plate, face_effect, plate_effect, mosaic_blocks, padding, fill, size, sigma, feather, keep, weak,
            face_detector, plate_detector, iou_threshold,
        ) = values  # fmt: skip
        for name in (face_detector, plate_detector):
            check_detector(str(name), self.policy)
        try:
            kernel = Kernel(int(size or 0), float(sigma or 0), int(feather or 0))
            same = {
                "mosaic_blocks": int(mosaic_blocks),
                "padding": float(padding),
                "fill": str(fill).lstrip("#"),
                "kernel": kernel,
            }
            return (
                self.defaults.replace(
                    face_detector=str(face_detector),
                    plate_detector=str(plate_detector),
                    iou_threshold=float(iou_threshold),
                    keep_metadata=tuple(keep or ()),
                    allow_weak=bool(weak),
                )
                .with_kind("face", threshold=float(face), effect=face_effect, **same)
                .with_kind("plate", threshold=float(plate), effect=plate_effect, **same)
            )
        except TypeError as e:
            raise SettingsError("One of the settings is not a number.") from e


def _apply_preset(name: str) -> tuple[float, float, str, str]:
    p = PRESETS[name]
    return p.face_threshold, p.plate_threshold, p.face_detector, p.plate_detector


def check_detector(name: str, policy: Policy) -> None:
    """On a server for others, only detectors of the table: a name may otherwise be a path or a module to import.

    Raises:
        SettingsError: this server does not offer that one.
    """
    if policy.own_machine or name in (*TABLE, *offered(policy)):
        return
    base, at, side = name.partition("@")
    is_side = side.isascii() and side.isdigit() and 64 <= int(side[:5]) <= 4096 and int(side) % STRIDE == 0
    if not (base in TABLE and at and is_side):
        raise SettingsError(
            f"This server offers the detectors {', '.join(TABLE)} and none, each but the last also with @ and a long "
            f"side, a multiple of {STRIDE} px up to 4096; not {name[:60]!r}."
        )


def offered(policy: Policy) -> list[str]:
    """The detectors that the page offers; on a server for others, the only ones whose weights it fetches."""
    s = policy.defaults
    of_presets = [d for p in PRESETS.values() for d in (p.face_detector, p.plate_detector)]
    of_table = [n for n, m in registry().items() if n in TABLE and m.sha256]
    return list(dict.fromkeys([s.face_detector, s.plate_detector, *s.other_detectors, *of_presets, *of_table, "none"]))


def threshold(label: str, value: float) -> gr.HTML:
    return element("threshold", "input", value=value, label=label)


def _detector(task: str, value: str, policy: Policy) -> gr.Dropdown:
    names = [n for n, m in registry().items() if m.task == task and n in TABLE and m.sha256]
    presets = {getattr(p, f"{task}_detector"): f"{name}: {p.help}" for name, p in PRESETS.items()}
    choices = [(presets.get(n, n), n) for n in dict.fromkeys([value, *presets, *names, "none"])]
    return gr.Dropdown(
        choices,
        value=value,
        label=f"Detector for {task}s",
        allow_custom_value=policy.own_machine,
        info="NAME@1280 looks at a larger picture: slower, finds smaller ones." if policy.own_machine else None,
    )
