"""The controls that choose settings, the same on each tab: components in, Settings out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import gradio as gr

from ..detectors.spec import STRIDE, Named, names, parse
from ..effects import MAX_MOSAIC_BLOCKS
from ..errors import SettingsError
from ..settings import EFFECTS, PRESETS, SAFE_METADATA, Kernel, Kind, Settings
from ..weights.registry import registry
from .elements import Values, element, problem_line
from .policy import Policy

_EFFECT_NAMES = {"inpaint": "Soft fill", "pixelate": "Mosaic", "solid": "Solid color"}
EFFECT_CHOICES = [(_EFFECT_NAMES.get(e, e.replace("-", " ").capitalize()), e) for e in EFFECTS]
_FILLS = [("Black", "black"), ("White", "ffffff"), ("Magenta", "ff00ff")]
_PRESETS = [("Fast", "fast"), ("Balanced", "balanced"), ("Thorough", "thorough")]
KEEP = {
    "copyright": "copyright", "datetime": "date and time", "exposure": "exposure time", "focal-length": "focal length",
    "iso": "ISO", "f-number": "aperture", "make": "camera make", "model": "camera model",
    "resolution": "print resolution",
}  # fmt: skip


class FieldError(SettingsError):
    """A value that a person typed into `field` of `Controls` cannot be used."""

    def __init__(self, field: str, why: object) -> None:
        super().__init__(str(why))
        self.field = field


class Controls:
    """The components of one tab. Made inside gr.Blocks, in the order in which they stand on the page.

    Args:
        of: "photo", "batch" or "video": what the thresholds' sliders tell of.

    Attributes:
        live: changing one shows the same regions otherwise. detection: changing one needs the detectors again.
    """

    def __init__(self, policy: Policy, of: str) -> None:
        s = policy.defaults
        with gr.Group(elem_classes="az-card"):
            gr.HTML("<h2>What to hide</h2>", js_on_load=None)
            self.preset = gr.Radio(
                _PRESETS,
                value=s.preset,
                label="Search depth",
                info="Thorough misses the fewest, hides some extra, and is slower.",
                elem_classes="az-pills",
            )
            self.face = threshold("Faces", s.kind("face").threshold, of=of, kind="face")
            self.plate = threshold("License plates", s.kind("plate").threshold, of=of, kind="plate")
        with gr.Group(elem_classes="az-card"):
            self._effects(s)
        with gr.Accordion("Advanced settings", open=False, elem_classes="az-card"):
            self._advanced(s, of)
            what = {"photo": "photo", "batch": "photos", "video": "clip"}[of]
            gr.HTML(f"<h3>Detection</h3><p>Changing these searches the {what} again.</p>", js_on_load=None)
            self.face_detector = _detector("face", s.face_detector, policy)
            self.plate_detector = _detector("plate", s.plate_detector, policy)
            self.detector_note = _note()
            about = "Boxes that overlap by more than this count as one."
            self.iou_threshold = gr.Slider(0.1, 0.9, s.iou_threshold, step=0.05, label="Overlap", info=about)
        options: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        chosen = [self.face, self.plate, self.face_detector, self.plate_detector]
        self.preset_applied = self.preset.input(_apply_preset, [self.preset], chosen, **options)

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

    def _advanced(self, s: Settings, of: str) -> None:
        face = s.kind("face")
        label = "Color of the solid effect"
        about = "Or six hex digits, such as 0b6b60"
        self.fill = gr.Dropdown(_FILLS, value=face.fill, label=label, info=about, allow_custom_value=True)
        self.fill_note = _note()
        auto, k = "0 = automatic, from the region's size", face.kernel
        self.size = gr.Slider(0, 301, k.size, step=1, label="Blur kernel size, px", info=auto)
        self.sigma = gr.Slider(0, 60, k.sigma, step=0.5, label="Blur sigma, px", info="0 = automatic")
        beyond = "A soft edge beyond the hidden area"
        self.feather = gr.Slider(0, 60, k.feather, step=1, label="Feather, px", info=beyond)
        self.keep = gr.CheckboxGroup(
            [(KEEP[name], name) for name in SAFE_METADATA],
            value=list(s.keep_metadata),
            label="Keep in the file",
            info="All other metadata (place, camera, comments, thumbnails) is removed.",
            visible=of != "video",  # of a clip, none is kept
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

    @property
    def typed(self) -> list[Any]:
        """What a person types, and the notes beside it."""
        return [self.fill, self.fill_note, self.face_detector, self.plate_detector, self.detector_note]

    def show(self, settings: Settings) -> Values:
        """The controls as they stand for these settings."""
        return {self.preset: settings.preset, **dict(zip(self.all, values_of(settings), strict=True))}

    def put_back(self, error: FieldError | None, settings: Settings) -> Values:
        """For `typed`: what is wrong beside its field, which gets its last good value back."""
        out: Values = {self.fill_note: "", self.detector_note: ""}
        if error is None:
            return out
        note = problem_line(f"{error} The last value is back.")
        if error.field == "fill":
            return {**out, self.fill: settings.kind("face").fill, self.fill_note: note}
        detectors = {self.face_detector: settings.face_detector, self.plate_detector: settings.plate_detector}
        return {**out, **detectors, self.detector_note: note}


def values_of(settings: Settings) -> list[Any]:
    """The values of `Controls.all` with which `settings_from` gives these settings."""
    face, plate = settings.kind("face"), settings.kind("plate")
    kernel = face.kernel
    return [
        face.threshold, plate.threshold, face.effect, plate.effect, face.mosaic_blocks, face.padding, face.fill,
        kernel.size, kernel.sigma, kernel.feather, list(settings.keep_metadata), settings.allow_weak,
        settings.face_detector, settings.plate_detector, settings.iou_threshold,
    ]  # fmt: skip


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
        try:
            check_detector(str(name), policy)
            if name != "none":
                parse(str(name))
        except SettingsError as e:
            raise FieldError("detector", e) from e
    try:
        Kind(fill=str(fill).lstrip("#"))
    except SettingsError as e:
        raise FieldError("fill", e) from e
    try:
        same = {
            "mosaic_blocks": int(mosaic_blocks),
            "padding": float(padding),
            "fill": str(fill).lstrip("#"),
            "kernel": Kernel(odd(int(size or 0)), float(sigma or 0), int(feather or 0)),
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


def odd(size: int) -> int:
    """A kernel's size on a slider: one more where it is even, but for 0, which is automatic."""
    return size + 1 if size and size % 2 == 0 else size


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


def threshold(label: str, value: float, **data: str) -> gr.HTML:
    """A slider for thresholds. `data`: what it tells of, `of` "photo" or "batch" and the `kind`; nothing when empty."""
    return element("threshold", "input", value=value, label=label, data=data)


def _note() -> gr.HTML:
    return gr.HTML("", js_on_load=None, elem_classes="az-beside")


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
