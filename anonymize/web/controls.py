"""The controls that choose settings, the same on each tab: components in, Settings out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import gradio as gr

from ..detectors.spec import STRIDE, Named, names, parse
from ..effects import MAX_MOSAIC_BLOCKS
from ..errors import SettingsError
from ..settings import PRESETS, SAFE_METADATA, Kernel, Settings
from ..weights.registry import registry
from .elements import element
from .policy import Policy

EFFECT_CHOICES = [("Soft fill", "inpaint"), ("Blur", "blur"), ("Mosaic", "pixelate"), ("Solid color", "solid")]
_FILLS = [("Black", "black"), ("White", "ffffff"), ("Magenta", "ff00ff")]
_PRESETS = [("Fast", "fast"), ("Balanced", "balanced"), ("Thorough", "thorough")]
KEEP = {
    "copyright": "copyright", "datetime": "date and time", "exposure": "exposure time", "focal-length": "focal length",
    "iso": "ISO", "f-number": "aperture", "make": "camera make", "model": "camera model",
    "resolution": "print resolution",
}  # fmt: skip


class Controls:
    """The components of one tab. Made inside gr.Blocks, in the order in which they stand on the page.

    Attributes:
        live: changing one shows the same regions otherwise. detection: changing one needs the detectors again.
    """

    def __init__(self, policy: Policy) -> None:
        s = policy.defaults
        with gr.Group(elem_classes="az-card"):
            gr.HTML("<h2>What to hide</h2>", js_on_load=None)
            self.preset = gr.Radio(
                _PRESETS,
                value=next((n for n, p in PRESETS.items() if p.face_detector == s.face_detector), None),
                label="Search depth",
                info="Thorough misses the fewest, hides some extra, and is slower.",
                elem_classes="az-pills",
            )
            self.face = threshold("Faces", s.kind("face").threshold)
            self.plate = threshold("License plates", s.kind("plate").threshold)
        with gr.Group(elem_classes="az-card"):
            self._effects(s)
        with gr.Accordion("Advanced settings", open=False, elem_classes="az-card"):
            self._advanced(s)
            gr.HTML("<h3>Detection</h3><p>Changing these searches the photo again.</p>", js_on_load=None)
            self.face_detector = _detector("face", s.face_detector, policy)
            self.plate_detector = _detector("plate", s.plate_detector, policy)
            about = "Boxes that overlap by more than this count as one."
            self.iou_threshold = gr.Slider(0.1, 0.9, s.iou_threshold, step=0.05, label="Overlap", info=about)
        chosen = [self.face, self.plate, self.face_detector, self.plate_detector]
        options: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        self.preset.input(_apply_preset, [self.preset], chosen, **options)

    def _effects(self, s: Settings) -> None:
        face, plate = s.kind("face"), s.kind("plate")
        about = (
            "Soft fill looks like a blur, but is made of what lies around. It and a solid color show nothing of what "
            "they hide. A blur or mosaic keeps a trace: a plate can be guessed from it."
        )
        gr.HTML(f"<h2>How to hide it</h2><p>{about}</p>", js_on_load=None)
        pills = "az-pills az-face-effect"
        self.face_effect = gr.Radio(EFFECT_CHOICES, value=face.effect, label="Faces", elem_classes=pills)
        self.plate_effect = gr.Radio(
            EFFECT_CHOICES, value=plate.effect, label="License plates", elem_classes="az-pills"
        )
        self.mosaic_blocks = gr.Slider(
            1,
            MAX_MOSAIC_BLOCKS,
            face.mosaic_blocks,
            step=1,
            label="Mosaic coarseness",
            info="Tiles across a face or plate. Fewer tiles hide more.",
        )
        share = "As a share of the box, on each side"
        self.padding = gr.Slider(0, 0.5, face.padding, step=0.01, label="Padding", info=share)

    def _advanced(self, s: Settings) -> None:
        face = s.kind("face")
        label = "Color of the solid effect"
        self.fill = gr.Dropdown(_FILLS, value=face.fill, label=label, allow_custom_value=True)
        with gr.Row():
            odd, auto, k = "Odd number; 0 = automatic", "0 = automatic", face.kernel
            self.size = gr.Number(k.size, label="Blur kernel, px", info=odd, precision=0, minimum=0)
            self.sigma = gr.Number(k.sigma, label="Blur sigma, px", info=auto, minimum=0)
            beyond = "Feather beyond the hidden area"
            self.feather = gr.Slider(0, 60, k.feather, step=1, label="Soft edge, px", info=beyond)
        self.keep = gr.CheckboxGroup(
            [(KEEP[name], name) for name in SAFE_METADATA],
            value=list(s.keep_metadata),
            label="Keep in the file",
            info="All other metadata (place, camera, comments, thumbnails) is removed.",
        )
        weak = "Blur without the mosaic (not safe)"
        self.weak = gr.Checkbox(s.allow_weak, label=weak, info="This can be undone.")

    @property
    def live(self) -> list[Any]:
        return [
            self.face, self.plate, self.face_effect, self.plate_effect, self.mosaic_blocks, self.padding, self.fill,
            self.size, self.sigma, self.feather, self.keep, self.weak,
        ]  # fmt: skip

    @property
    def detection(self) -> list[Any]:
        return [self.face_detector, self.plate_detector, self.iou_threshold]

    @property
    def all(self) -> list[Any]:
        return [*self.live, *self.detection]


def settings_from(values: Sequence[Any], policy: Policy) -> Settings:
    """Settings from the values of `Controls.all`, in that order.

    Raises:
        SettingsError: a value that is out of its range; a choice that this server does not offer.
    """
    (
        face, plate, face_effect, plate_effect, mosaic_blocks, padding, fill, size, sigma, feather, keep, weak,
        face_detector, plate_detector, iou_threshold,
    ) = values  # fmt: skip
    for name in (face_detector, plate_detector):
        check_detector(str(name), policy)
    try:
        same = {
            "mosaic_blocks": int(mosaic_blocks),
            "padding": float(padding),
            "fill": str(fill).lstrip("#"),
            "kernel": Kernel(int(size or 0), float(sigma or 0), int(feather or 0)),
        }
        chosen = policy.defaults.replace(
            face_detector=str(face_detector),
            plate_detector=str(plate_detector),
            iou_threshold=float(iou_threshold),
            keep_metadata=tuple(keep or ()),
            allow_weak=bool(weak),
        )
        chosen = chosen.with_kind("face", threshold=float(face), effect=face_effect, **same)
        return chosen.with_kind("plate", threshold=float(plate), effect=plate_effect, **same)
    except TypeError as e:
        raise SettingsError("One of the settings is not a number.") from e


def _apply_preset(name: str) -> tuple[float, float, str, str]:
    p = PRESETS[name]
    return p.face_threshold, p.plate_threshold, p.face_detector, p.plate_detector


def check_detector(name: str, policy: Policy) -> None:
    """On a server for others, only the registry's detectors: a spec may otherwise name a path or a module to import.

    Raises:
        SettingsError: this server does not offer that one.
    """
    if policy.own_machine or name in offered_detectors(policy):
        return
    with suppress(SettingsError):
        match parse(name):
            case Named(low=None):
                return
            case Named(low=int(side), high=None) if 64 <= side <= 4096:
                return
    raise SettingsError(
        f"This server offers the detectors {', '.join(names())} and none, each but the last also with @ and a long "
        f"side, a multiple of {STRIDE} px up to 4096; not {name[:60]!r}."
    )


def offered_detectors(policy: Policy) -> list[str]:
    """The detectors that the page offers; on a server for others, the only ones whose weights it fetches."""
    s = policy.defaults
    of_presets = [d for p in PRESETS.values() for d in (p.face_detector, p.plate_detector)]
    of_table = [n for n, m in registry().items() if n in names() and m.sha256]
    return list(dict.fromkeys([s.face_detector, s.plate_detector, *s.other_detectors, *of_presets, *of_table, "none"]))


def threshold(label: str, value: float) -> gr.HTML:
    return element("threshold", "input", value=value, label=label)


def _detector(task: str, value: str, policy: Policy) -> gr.Dropdown:
    names = [n for n, m in registry().items() if task in m.tasks and m.sha256]
    presets = {getattr(p, f"{task}_detector"): f"{name}: {p.help}" for name, p in PRESETS.items()}
    choices = [(presets.get(n, n), n) for n in dict.fromkeys([value, *presets, *names, "none"])]
    return gr.Dropdown(
        choices,
        value=value,
        label=f"Detector for {task}s",
        allow_custom_value=policy.own_machine,
        info="NAME@1280 searches a larger picture: slower, finds smaller ones." if policy.own_machine else None,
    )
