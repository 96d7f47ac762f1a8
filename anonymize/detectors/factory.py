"""From a detector's spec to a detector: the only module that knows every back end and every wrapper."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .. import weights
from ..errors import AnonymizeError, SettingsError, WeightsError
from ..settings import MIN_THRESHOLD, Settings
from ..weights.registry import Model, model
from . import centerface, mtcnn, retinaface, retinaface_r50, runtime, spec, yolo, yunet
from .calibrated import Calibrated, Calibration
from .candidates import Scaling, letterbox
from .closer import LIKELY, Closer
from .context_rescoring import ContextRescoring
from .detector import Detector, Image
from .ensemble import Ensemble
from .multi_scale import MultiScale, octaves
from .pages import SIDES
from .runtime import Decode, NetworkDetector, Outputs, open_network
from .tiled import Tiled
from .two_stage import TwoStage

# px; long side of a vehicle's crop when none is named. Plates that fill much of the input are missed: on dash-cam
# photos 320 leaked .20 of the plates, 640 .31; on street photos .27 and .39 (safelicensing, threshold .25).
CROP_SIDE = 320


@dataclass(frozen=True)
class BackEnd:
    """How networks of one kind are run.

    Attributes:
        scaling: What the network makes of pixels.
        decode: The network's outputs -> candidates.
        open: (path of the weights, device, scaling=…, pages=…) -> the network.
    """

    scaling: Scaling
    decode: Decode
    open: Callable[..., Callable[[Image], Outputs]] = open_network


# Name in models/registry.toml -> its back end. All others are YOLO networks.
BACK_ENDS: Mapping[str, BackEnd] = MappingProxyType(
    {
        "retinaface-mobilenet": BackEnd(retinaface.SCALING, retinaface.decode),
        "retinaface-r50": BackEnd(retinaface_r50.SCALING, retinaface_r50.decode),
        "centerface": BackEnd(centerface.SCALING, centerface.decode, centerface.open_any_size),
        "mtcnn": BackEnd(mtcnn.SCALING, mtcnn.decode, mtcnn.open_cascade),
        "yunet": BackEnd(yunet.SCALING, yunet.decode),
    }
)
# Weights that only their publisher's pages have -> detectors that need none of these.
ALTERNATIVES = {
    "retinaface-r50": "retinaface-mobilenet@1536, centerface@1280, retinaface-mobilenet@1536+centerface@1280"
}


def create(name: str, settings: Settings, **options: Any) -> Detector:
    """Build the detector that a text names (see `spec` for what can be written).

    Args:
        name: A spec, such as "plates@640+safelicensing".
        settings: As for `build`.
        **options: As for `build`.

    Raises:
        DetectorSpecError: The text is no spec. And whatever `build` raises.
    """
    return build(spec.parse(name), settings, **options)


def at_once(name: str, device: str) -> int:
    """How many photos the detector that a text names may be shown at the same time, by several threads.

    A class of one's own gets one after the other: that it is made for several threads, nobody said.

    Raises:
        DetectorSpecError: The text is no spec. And whatever `runtime.at_once` raises.
    """
    has_own = any(isinstance(leaf, spec.OwnClass) for leaf in spec.leaves(spec.parse(name)))
    return 1 if has_own else runtime.at_once(device)


def build(
    node: spec.Spec,
    settings: Settings,
    *,
    weights_dir: Path | None = None,
    trust: bool = False,
    progress: weights.Progress | None = None,
    is_calibrated: bool = True,
) -> Detector:
    """Build a detector; weights that are not there are fetched and verified first.

    Args:
        node: What to build.
        settings: device, iou_threshold, max_regions, vehicle_threshold.
        weights_dir: Where weights are kept instead of the user's cache folder.
        trust: Unpickle a .pt that the registry does not know.
        progress: Told of weights on their way.
        is_calibrated: Turn scores into probabilities, by the registry's calibration. False: networks as published.

    Raises:
        SettingsError: A size that a network cannot take, or a class of one's own that cannot be made.
        WeightsError: Weights that cannot be had, are not the registry's, not trusted, or not such a network.
    """
    return _Builder(settings, weights_dir, trust, progress, is_calibrated).build(node)


@dataclass(frozen=True)
class _Builder:
    settings: Settings
    weights_dir: Path | None
    trust: bool
    progress: weights.Progress | None
    is_calibrated: bool

    def build(self, node: spec.Spec, in_crops: bool = False) -> Detector:
        """in_crops: it will see crops of vehicles, where a network's scores mean something else."""
        match node:
            case spec.Named(name, None):
                return self.network(name, CROP_SIDE if in_crops else model(name).size, in_crops)
            case spec.Named(name, int(low), None):
                return self.network(name, low, in_crops)
            case spec.Named(name, int(low), int(high)):
                return MultiScale([(n, self.network(name, n, in_crops)) for n in octaves(low, high)], self.settings)
            case spec.OwnWeights():
                return self._own_weights(node)
            case spec.OwnClass():
                return _own_class(node)
            case spec.Tiled(inner):
                return Tiled(self.build(inner, in_crops), self.settings)
            case spec.TwoStage(inner):
                return TwoStage(self.build(spec.Named(spec.VEHICLES)), self.build(inner, in_crops=True), self.settings)
            case spec.Closer(spec.Named(name, low, high)):
                sides = [low or model(name).size] if high is None else octaves(low or 0, high)
                return Closer([(side, self.closely(name, side)) for side in sides], self.settings)
            case spec.Ensemble(parts):
                return Ensemble([self.build(part) for part in parts], self.settings)
            case spec.InContext(inner):
                return ContextRescoring(self.build(inner))
        raise TypeError(f"not a detector's spec: {node!r}")

    def closely(self, name: str, long_side: int) -> Calibrated:
        """A model of the registry that sees pictures as they are; pieces of a photo, at the scale of one size."""
        made = self.network(name, long_side, in_crops=False, as_is=True)
        return made if isinstance(made, Calibrated) else Calibrated(made, {}, long_side)

    def network(self, name: str, long_side: int, in_crops: bool, as_is: bool = False) -> Detector:
        """A model of the registry at one size.

        Args:
            as_is: It sees pictures without resizing; their sides are multiples of 32.
        """
        entry = model(name)
        path, hashes = self._fetch(entry), {name: entry.sha256}
        made: NetworkDetector
        if back_end := BACK_ENDS.get(name):
            made = NetworkDetector(
                f"{name}@{long_side}",
                back_end.open(path, self.settings.device, scaling=back_end.scaling, pages=SIDES if as_is else ()),
                lambda image: letterbox(image, max(image.shape[:2]) if as_is else long_side),
                back_end.decode,
                self.settings,
                hashes,
            )
        else:
            any_size = name == spec.VEHICLES  # its file was exported for one size, which `yolo.cut_head` takes away
            made = yolo.load(
                name, path, self.settings, long_side, hashes, classes=entry.classes, any_size=any_size, as_is=as_is
            )
        made.kinds = frozenset(entry.classes.values())
        by_kind = (in_crops and entry.in_crops) or entry.calibration
        if not by_kind or not self.is_calibrated:
            return made
        floor = LIKELY if as_is else MIN_THRESHOLD
        return Calibrated(made, {kind: Calibration(*n) for kind, n in by_kind.items()}, long_side, floor=floor)

    def _fetch(self, entry: Model) -> Path:
        try:
            if entry.name == "mtcnn":  # three networks, which its package reads itself
                return weights.fetch(entry, cache=self.weights_dir, progress=self.progress)
            return weights.onnx(entry, cache=self.weights_dir, progress=self.progress, trust=self.trust)
        except WeightsError as e:
            if others := ALTERNATIVES.get(entry.name):
                raise type(e)(f"{e}. Detectors that need nothing from there: {others}") from e
            raise

    def _own_weights(self, node: spec.OwnWeights) -> Detector:
        given = Path(node.path).expanduser()
        path = weights.onnx(given, cache=self.weights_dir, trust=self.trust)
        files = [given] if given.is_file() else sorted(f for f in given.iterdir() if f.suffix in (".xml", ".bin"))
        try:
            hashes = {f.name: weights.sha256(f) for f in files}
        except OSError as e:
            raise WeightsError(f"{given} cannot be read: {e}") from e
        return yolo.load(f"yolo:{given.name}", path, self.settings, node.low, hashes)


def _own_class(node: spec.OwnClass) -> Detector:
    try:
        made: Any = getattr(import_module(node.module), node.attribute)()
    except (AnonymizeError, KeyboardInterrupt):
        raise
    except BaseException as e:  # a person's own code may raise anything, SystemExit too
        raise SettingsError(f"{node} cannot be made: {e!r}") from e
    if not isinstance(made, Detector):
        raise SettingsError(f"{node} is not a detector: it needs name, weights and detect(images)")
    return made
