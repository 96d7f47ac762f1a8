"""Settings: every choice that a person can make, and every default, once.

The command line, the web app and the REST API read names, defaults, limits and help texts from here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from .errors import SettingsError, UnknownNameError
from .regions import Region

EFFECTS = ("inpaint", "blur", "pixelate", "solid")
# The effects that read a setting of a kind; for the others it does nothing.
READ_BY = {"kernel": ("blur",), "mosaic_blocks": ("blur", "pixelate"), "fill": ("solid",)}
MASKS = ("rectangle", "ellipse", "quad")
DEVICES = ("auto", "cpu", "cuda")
JPEG = ("lossless", "reencode")
# Fields of EXIF that say nothing about a person or a place (EXIF 2.32, tables 4 and 7). Serial numbers, owner, GPS,
# MakerNote, UserComment, ImageDescription and everything else are never offered.
SAFE_METADATA = ("copyright", "datetime", "exposure", "focal-length", "iso", "f-number", "make", "model", "resolution")
MAX_KERNEL = 10_000  # px; as wide as the largest photo
RENDER_VERSION = 4  # counted up when effects or writing change: then every photo is exported and approved anew
# Of regions with a lower score nearly none is real (scores are calibrated): of more than `max_regions` these may be
# left out. That a likelier one would have to be is an error.
UNLIKELY = 0.05
MIN_THRESHOLD = 0.001  # also the floor down to which candidates are stored (understand.ai's range)


def _option(default: Any, help: str, **limits: Any) -> Any:
    metadata = {"help": help, **limits}
    if isinstance(default, (dict, list)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def option_help(name: str, cls: type | None = None) -> str:
    """A setting's help text and default (each kind's where they differ), for command line and web."""
    f = next(f for f in dataclasses.fields(cls or Settings) if f.name == name)
    default = f.default
    if isinstance(default, tuple):
        default = ",".join(default)
    of_kinds = {kind: getattr(k, name) for kind, k in _default_kinds().items()} if cls is Kind else {}
    if any(value != default for value in of_kinds.values()):
        default = ", ".join(f"{kind}={value}" for kind, value in of_kinds.items())
    return f"{f.metadata['help']} [{default}]" if default not in ("", None) else str(f.metadata["help"])


def _check(value: object) -> None:
    """Check a dataclass's fields against the limits in their metadata ("ge", "le", "choices")."""
    for f in dataclasses.fields(value):  # type: ignore[arg-type]
        given = getattr(value, f.name)
        choices = f.metadata.get("choices")
        if choices and given not in choices:
            raise UnknownNameError(f.name, given, choices)
        for of in (bool, str):
            if isinstance(f.default, of) and not isinstance(given, of):
                raise SettingsError(f"{f.name} cannot be {given!r}")
        low, high = f.metadata.get("ge"), f.metadata.get("le")
        if low is None and high is None:
            continue
        if isinstance(given, bool) or not isinstance(given, (int, float)):
            raise SettingsError(f"{f.name} is a number; received {given!r}")
        if abs(given) == math.inf:  # an infinite least size would hide nothing
            raise SettingsError(f"{f.name} is a finite number; received {given}")
        if (low is not None and not given >= low) or (high is not None and not given <= high):
            upper = "" if high is None else f" and at most {high}"
            raise SettingsError(f"{f.name} is at least {low}{upper}; received {given}")


def _check_names(cls: type, data: Mapping[str, Any], what: str) -> None:
    if not isinstance(data, Mapping):
        raise SettingsError(f"settings are name -> value; received {data!r:.80}")
    names = [f.name for f in dataclasses.fields(cls)]
    for name in data:
        if name not in names:
            raise UnknownNameError(what, name, names)


@dataclass(frozen=True, slots=True)
class Kernel:
    """A Gaussian kernel, as in understand.ai's anonymizer: `SIZE,SIGMA,FEATHER`.

    Attributes:
        size: px, odd, the kernel's side; 0 = chosen from the region's size.
        sigma: px, the standard deviation; 0 = chosen from the region's size (size 0) or by OpenCV's rule (size > 0).
        feather: px, width of the soft edge, which lies outside the region.
    """

    size: int = 0
    sigma: float = 0.0
    feather: int = 9

    def __post_init__(self) -> None:
        if self.size < 0 or (self.size and self.size % 2 == 0):
            raise SettingsError(f"the kernel's size is an odd number of pixels, or 0; received {self.size}")
        if not 0 <= self.sigma <= MAX_KERNEL or not 0 <= self.feather <= MAX_KERNEL or self.size > MAX_KERNEL:
            raise SettingsError(f"a kernel's numbers are at least 0 and at most {MAX_KERNEL}; received {self}")

    @classmethod
    def parse(cls, text: str) -> Kernel:
        """`"101,3,19"` -> Kernel(101, 3.0, 19).

        Raises:
            SettingsError: not three numbers, or an even size.
        """
        try:
            size, sigma, feather = text.split(",")
            return cls(int(size), float(sigma), int(feather))
        except SettingsError:
            raise
        except ValueError as e:
            raise SettingsError(f"a kernel is SIZE,SIGMA,FEATHER such as 101,3,19; received {text!r}") from e

    def __str__(self) -> str:
        return f"{self.size},{self.sigma:g},{self.feather}"


@dataclass(frozen=True, slots=True)
class Kind:
    """How regions of one kind are chosen and hidden."""

    threshold: float = _option(0.5, "lowest score that is hidden", ge=MIN_THRESHOLD, le=1.0)
    padding: float = _option(0.1, "padding on each side, as a share of the region's width and height", ge=0.0, le=2.0)
    effect: str = _option(
        "inpaint",
        "how regions are hidden: inpaint (a soft fill made of what lies around; shows nothing of the region), blur and "
        "pixelate (a coarse mosaic of the region, from which a plate can be guessed), solid (one color)",
        choices=EFFECTS,
    )
    mask: str = _option(
        "rectangle",
        "shape of the hidden area; quad follows a plate's corners, or the rectangle where these are uncertain",
        choices=MASKS,
    )
    kernel: Kernel = _option(
        Kernel(),
        "SIZE,SIGMA,FEATHER in px: the Gaussian of blur, 0,0 follows the region's size; the soft edge of each effect",
    )
    mosaic_blocks: int = _option(6, "blur and pixelate: mosaic blocks across the region's longer side", ge=1, le=64)
    fill: str = _option("black", "color for the solid effect: black, or six hex digits such as ff00ff")
    min_size: float = _option(0.0, "do not hide regions whose shorter side is below this many px (0: hide all)", ge=0.0)
    max_size: float = _option(0.0, "do not hide regions whose longer side is above this many px (0: no limit)", ge=0.0)

    def __post_init__(self) -> None:
        kernel: Kernel | str = self.kernel  # text is taken too, as options and JSON write it
        if isinstance(kernel, str):
            object.__setattr__(self, "kernel", Kernel.parse(kernel))
        elif not isinstance(kernel, Kernel):
            raise SettingsError(f"a kernel is SIZE,SIGMA,FEATHER such as 101,3,19; received {kernel!r}")
        _check(self)
        if re.fullmatch("#[0-9a-fA-F]{6}", self.fill):  # as color pickers copy it
            object.__setattr__(self, "fill", self.fill[1:])
        if self.fill != "black" and not re.fullmatch("[0-9a-fA-F]{6}", self.fill):
            raise SettingsError(f"a fill is black or six hex digits such as ff00ff; received {self.fill!r}")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Kind:
        _check_names(cls, data, "setting of a kind")
        return cls(**data)


def unread(name: str, kinds: Iterable[Kind]) -> str | None:
    """Why a setting that was given for these kinds does nothing, or None: a person would believe that it did.

    Of a kernel this is about size and sigma; each effect has the feather.
    """
    given = [k for k in kinds if name != "kernel" or k.kernel.size or k.kernel.sigma]
    readers = READ_BY.get(name, EFFECTS)
    if not given or any(k.effect in readers for k in given):
        return None
    what = "size and sigma of a kernel do" if name == "kernel" else f"{name} does"
    chosen = " and ".join(sorted({k.effect for k in given}))
    return f"{what} nothing with the effect {chosen}, only with {' and '.join(readers)}"


@dataclass(frozen=True, slots=True)
class Preset:
    """Detectors and the thresholds that fit them.

    A preset's scores are probabilities. Each threshold is one round number for all photos (docs/benchmarks.md: leaks,
    times, over-blurred area). Every preset lives on weights from the package index or from models/.
    """

    face_detector: str
    plate_detector: str
    face_threshold: float
    plate_threshold: float
    help: str


# Each is one spec for both kinds: no network sees a photo whole twice at like sizes. The smaller looks of `street` are
# for what fills a photo: there, plates are too large for the finer one.
_QUICK = "in-context:street@960-1920+coco@320+closer:street@416-832+closer:centerface@1280-2560"
_STREETS = (
    "in-context:street@320+street@1280-2560+coco@320+closer:street@640-1280"
    "+closer:centerface@1600-3200+closer:retinaface-mobilenet@1536-3072"
)
_THOROUGH = (
    "in-context:street@640-1280+retinaface-mobilenet@1536-3072+centerface@1280-2560+coco@640"
    "+closer:centerface@2560-5120+closer:retinaface-mobilenet@2304-4608+closer:street@1920-3840"
)
PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "fast": Preset(_QUICK, _QUICK, 0.2, 0.15, "quickest; misses more of what is small"),
        "balanced": Preset(_STREETS, _STREETS, 0.2, 0.15, "default; for street photos"),
        "thorough": Preset(_THOROUGH, _THOROUGH, 0.2, 0.05, "misses the fewest, hides some extra, slower"),
    }
)
_BALANCED = PRESETS["balanced"]


def _default_kinds() -> dict[str, Kind]:
    return {
        "face": Kind(threshold=_BALANCED.face_threshold, padding=0.1, mask="ellipse"),
        # A quad is tighter, but one corner out of place shows a letter; measured on street photos, quads leak far more.
        "plate": Kind(threshold=_BALANCED.plate_threshold, padding=0.1, mask="rectangle"),
    }


@dataclass(frozen=True)
class Settings:
    """All choices of one run. Frozen: change them with `replace` or `with_kind`.

    `kinds` names what is hidden; a kind that is not in it (vehicle, person) only helps to find and to rank.
    """

    face_detector: str = _option(
        _BALANCED.face_detector,
        "detector for faces, NAME, NAME@LONG_SIDE, A+B, or none (what others find is hidden all the same)",
    )
    plate_detector: str = _option(
        _BALANCED.plate_detector,
        "detector for plates, NAME, NAME@LONG_SIDE, A+B, yolo:PATH, or none (what others find is hidden all the same)",
    )
    other_detectors: tuple[str, ...] = _option((), "further detectors, for kinds of your own")
    vehicle_threshold: float = _option(
        0.25, "two-stage: lowest score of a vehicle that is searched for plates", ge=MIN_THRESHOLD, le=1.0
    )
    iou_threshold: float = _option(
        0.45, "IoU above which the weaker of two overlapping regions is dropped (NMS)", ge=0.0, le=1.0
    )
    max_regions: int = _option(300, "max. regions per kind and photo", ge=1, le=10_000)
    kinds: Mapping[str, Kind] = field(default_factory=_default_kinds, metadata={"help": "settings of each hidden kind"})
    allow_weak: bool = _option(False, "blur without the mosaic, and any number of blocks (not safe)")
    keep_metadata: tuple[str, ...] = _option((), "safe metadata fields to keep: " + ", ".join(SAFE_METADATA))
    jpeg: str = _option(
        "lossless",
        "lossless (a JPEG is encoded anew only in the blocks that something hidden touches, and whole where its data "
        "cannot be kept) or reencode (always whole)",
        choices=JPEG,
    )
    image_extensions: tuple[str, ...] = _option(
        ("jpg", "jpeg", "jpe", "jfif", "png", "webp", "tif", "tiff", "bmp", "heic", "heif", "hif"),
        "extensions of the files to process",
    )
    max_megapixels: float = _option(100.0, "refuse larger photos before decoding them", ge=0.1, le=1000.0)
    device: str = _option("auto", "auto, cpu or cuda", choices=DEVICES)
    max_seconds: float = _option(
        600.0,
        "seconds that a detector may take for one photo, were it alone, which then fails; 0: no limit",
        ge=0.0,
        le=86_400.0,
    )
    jobs: int = _option(0, "photos that are read, searched, and written at a time; 0: one per core", ge=0, le=256)

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        for name in ("face_detector", "plate_detector"):
            if not getattr(self, name):  # as good as none, but nobody said so
                raise SettingsError(f"{name} is a detector's name, or none; received {getattr(self, name)!r}")
        for name in ("other_detectors", "keep_metadata", "image_extensions"):
            given = getattr(self, name)
            if not isinstance(given, (list, tuple)) or not all(isinstance(v, str) for v in given):
                raise SettingsError(f"{name} is a list of names; received {given!r}")
            set_(self, name, tuple(given))
        extensions = tuple(e.lower().strip(". ") for e in self.image_extensions)
        set_(self, "image_extensions", extensions)
        if not extensions or not all(re.fullmatch(r"\w+", e) for e in extensions):
            raise SettingsError(f"image_extensions are one or more such as jpg or png; received {extensions}")
        if not isinstance(self.kinds, Mapping):
            raise SettingsError(f"kinds are name -> settings; received {self.kinds!r}")
        kinds = {k: v if isinstance(v, Kind) else Kind.from_dict(v) for k, v in self.kinds.items()}
        set_(self, "kinds", kinds)
        _check(self)
        for name in self.keep_metadata:
            if name not in SAFE_METADATA:
                raise UnknownNameError("metadata field", name, SAFE_METADATA)

    def hides(self, region: Region) -> bool:
        """Whether an export hides this region: what a person decided, else its kind's threshold and size limits."""
        if region.status in ("accepted", "manual"):
            return True
        kind = self.kinds.get(region.kind)
        if region.status == "rejected" or kind is None:
            return False
        if min(region.width, region.height) < kind.min_size:
            return False
        return region.score >= kind.threshold and not 0 < kind.max_size < max(region.width, region.height)

    def kind(self, name: str) -> Kind:
        """How a kind is hidden; one without settings of its own (drawn by a person) is hidden as a plate is."""
        return self.kinds.get(name) or self.kinds.get("plate") or Kind()

    @property
    def detectors(self) -> list[str]:
        """The detectors that are named, each once; one that is named `none` is none."""
        names = (self.face_detector, self.plate_detector, *self.other_detectors)
        return [n for n in dict.fromkeys(names) if n and n != "none"]

    def replace(self, **changes: Any) -> Settings:
        _check_names(Settings, changes, "setting")
        return dataclasses.replace(self, **changes)

    def with_kind(self, name: str, **changes: Any) -> Settings:
        """A copy in which one kind's settings differ; a kind that is new starts from Kind's own defaults."""
        _check_names(Kind, changes, "setting of a kind")
        kind = dataclasses.replace(self.kinds.get(name, Kind()), **changes)
        return self.replace(kinds={**self.kinds, name: kind})

    def with_choices(self, of: Settings) -> Settings:
        """A copy with what a review chooses: another one's kinds and metadata; where it finds and reads stays."""
        return self.replace(kinds=of.kinds, allow_weak=of.allow_weak, keep_metadata=of.keep_metadata)

    def with_preset(self, name: str) -> Settings:
        """A copy with a preset's detectors and thresholds; everything else stays.

        Raises:
            UnknownNameError: no such preset; the message lists those that exist.
        """
        if name not in PRESETS:
            raise UnknownNameError("preset", name, PRESETS)
        p = PRESETS[name]
        found = self.replace(face_detector=p.face_detector, plate_detector=p.plate_detector)
        return found.with_kind("face", threshold=p.face_threshold).with_kind("plate", threshold=p.plate_threshold)

    @property
    def preset(self) -> str | None:
        """The preset whose detectors these are; thresholds may be others."""
        detectors = self.face_detector, self.plate_detector
        return next((n for n, p in PRESETS.items() if (p.face_detector, p.plate_detector) == detectors), None)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` is its exact inverse."""
        out = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        out["kinds"] = {
            name: {f.name: getattr(kind, f.name) for f in dataclasses.fields(kind)} | {"kernel": str(kind.kernel)}
            for name, kind in self.kinds.items()
        }
        return {k: list(v) if isinstance(v, tuple) else v for k, v in out.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Settings:
        _check_names(cls, data, "setting")
        return cls(**data)

    def _hash(self, *names: str) -> str:
        everything = self.to_dict()
        return hashlib.sha256(json.dumps([everything[n] for n in names], sort_keys=True).encode()).hexdigest()[:16]

    def detection_hash(self) -> str:
        """A hash of all settings that decide which regions are found and stored (not which of them are hidden)."""
        names = (
            "face_detector",
            "plate_detector",
            "other_detectors",
            "vehicle_threshold",
            "iou_threshold",
            "max_regions",
        )
        return self._hash(*names)

    def export_hash(self) -> str:
        """A hash of all settings that decide which pixels an export writes (not the device, not the number of jobs)."""
        return self._hash("kinds", "allow_weak", "keep_metadata", "jpeg") + f"-{RENDER_VERSION}"
