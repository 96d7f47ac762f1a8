"""How a photo lies: its quarter turns until it is upright, from one cheap look.

Networks learn from upright photos and see little on others: of plates on phone pictures on their side nearly all
leak. EXIF says how a photo lies, if it was kept and if the camera knew. So each photo is looked at, 256 px small, by
the first layers of a network that knows vehicles and people; what they see is weighed by numbers that
`models/recipes/upright.py` fitted. Most photos are upright and show it at the first look. Others are looked at in all
four turns, and detectors then see them in every turn that may be the right one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .. import weights
from ..errors import WeightsError
from ..regions import Point, Region
from ..settings import Settings
from ..weights.registry import model, registry_path
from .candidates import check, tensor
from .detector import Image
from .runtime import Network, lift_size, open_network, parse

NETWORK = "coco"  # the registry's model whose first layers look
FILE = "upright.json"  # beside the registry
LAYERS = ("/model.6/cv2/act/Mul_output_0", "/model.9/cv2/act/Mul_output_0")  # their maps, strides 16 and 32
SIDE = 256  # px; the photo is squeezed into a square, so that all four turns have one shape
GRID = 2  # the maps are averaged in as many rows and columns: above and below are told apart
TURNED = 0.1  # probability from which the photo is searched turned

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Upright:
    """Tells how photos lie.

    Attributes:
        network: (N, 3, SIDE, SIDE) -> the maps of LAYERS.
        numbers: One for each feature; what speaks for a copy being upright, beside the other three, is their scalar
            product.
        alone: The same for a copy of which the others are not known.
        bound: What is above it, by `alone`, is upright.
        weights: Name -> sha256.
    """

    network: Network
    numbers: Floats
    alone: Floats
    bound: float
    weights: Mapping[str, str]

    def turns(self, image: Image) -> tuple[int, ...]:
        """Quarter turns (0–3, counterclockwise) that may make an image upright, the likeliest first; at least one."""
        small = shrink(image)
        came = features(self.network, small, (0,))
        if float(came[0] @ self.alone) > self.bound:
            return (0,)
        others = features(self.network, small, (1, 2, 3))
        return choose(softmax(np.vstack([came, others]) @ self.numbers))


def load(settings: Settings, *, weights_dir: Path | None = None, progress: weights.Progress | None = None) -> Upright:
    """What tells how photos lie.

    Raises:
        WeightsError: The network's weights cannot be had, or the fitted numbers are of other ones.
    """
    fitted = registry_path().parent / FILE
    content = fitted.read_bytes()
    data = json.loads(content)
    network, digest = open_layers(settings, weights_dir=weights_dir, progress=progress)
    if data["sha256"] != digest:
        raise WeightsError(f"{fitted} was fitted to another {NETWORK}; fit it anew (models/recipes/upright.py)")
    numbers, alone = (np.array(data[name], np.float32) for name in ("numbers", "alone"))
    hashes = {NETWORK: digest, FILE: hashlib.sha256(content).hexdigest()}
    return Upright(network, numbers, alone, data["bound"], hashes)


def open_layers(
    settings: Settings, *, weights_dir: Path | None = None, progress: weights.Progress | None = None
) -> tuple[Network, str]:
    """The network's first layers, and the hash of its weights.

    Raises:
        WeightsError: The weights cannot be had.
    """
    import onnx

    entry = model(NETWORK)
    path = weights.onnx(entry, cache=weights_dir, progress=progress)
    extractor = onnx.utils.Extractor(parse(path))
    part = extractor.extract_model([extractor.graph.input[0].name], list(LAYERS))
    lift_size(part)
    # Exact: what tells how a photo lies was fitted to these numbers, and 8-bit integers turned a third of drawn signs.
    return open_network(path, settings.device, model=part, exact=True), entry.sha256


def shrink(image: Image) -> Image:
    """An image as it is looked at, uint8 (SIDE, SIDE, 3)."""
    step = max(1, min(check(image).shape[:2]) // (4 * SIDE))  # of a large photo, a quarter of the pixels will do
    return cv2.resize(image[::step, ::step], (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def features(network: Network, small: Image, turns: Sequence[int] = range(4)) -> Floats:
    """What the layers see in a small image after each of these quarter turns, float32 (turns, N)."""
    maps = network(np.concatenate([tensor(turn(small, k), divisor=255.0) for k in turns]))
    return np.hstack([_means(maps[name]).reshape(len(turns), -1) for name in LAYERS])


def _means(maps: Floats) -> Floats:
    """Maps (N, C, h, w) averaged over the cells of a grid, (N, C, GRID, GRID)."""
    n, c, h, w = maps.shape
    return maps.reshape(n, c, GRID, h // GRID, GRID, w // GRID).mean(axis=(3, 5), dtype=np.float32)


def softmax(amounts: Floats) -> Floats:
    """Amounts (…, 4) of what speaks for each turn -> their probabilities."""
    out = np.exp(amounts - amounts.max(axis=-1, keepdims=True))
    return out / out.sum(axis=-1, keepdims=True)


def choose(probabilities: Floats) -> tuple[int, ...]:
    """The turns that are searched, likeliest first: that one, all that may be right as well, and always as it came: a
    collage, a scan or a mirror may hold what lies otherwise than most of the photo."""
    order = np.argsort(-probabilities, kind="stable").tolist()
    return tuple(k for i, k in enumerate(order) if i == 0 or k == 0 or probabilities[k] >= TURNED)


def turn(image: Image, turns: int) -> Image:
    """An image after quarter turns counterclockwise; itself after none."""
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def turn_back(region: Region, turns: int, width: int, height: int) -> Region:
    """A region of the turned image, in the pixels of the image as it came, which is `width` x `height` px."""
    if turns == 0:
        return region

    def back(point: Point) -> Point:
        x, y = point
        return ((width - y, x), (width - x, height - y), (y, height - x))[turns - 1]

    def points(given: tuple[Point, ...] | None) -> tuple[Point, ...] | None:
        return given and tuple(map(back, given))

    (ax, ay), (bx, by) = back(region.box[:2]), back(region.box[2:])
    box = (min(ax, bx), min(ay, by), max(ax, bx), max(ay, by))
    return region.replace(box=box, corners=points(region.corners), landmarks=points(region.landmarks), id="")


def turn_all_back(found: Sequence[Region], turns: int, image: Image) -> list[Region]:
    """Regions of an image that was turned, in its own pixels as it came."""
    height, width = image.shape[:2]
    return [turn_back(r, turns, width, height) for r in found]
