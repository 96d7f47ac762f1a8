"""Corners for plates: a small network looks at each found plate alone and says where its four corners are.

A quadrilateral hides an oblique plate with less of what is around it. Where the network is in doubt there are no
corners, and an export hides the whole box.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .. import weights
from ..errors import AnonymizeError, DetectionError
from ..regions import Box, Point, Region
from ..settings import Settings
from ..weights.registry import model
from .candidates import Floats, check, tensor
from .detector import Detector, Image, kinds_of
from .runtime import Network, Outputs, open_network
from .wrapper import detect_all

MODEL = "plates-corners"  # in models/registry.toml
INPUT = (96, 48)  # px, width and height of what the network sees
MARGIN = 0.25  # around the box: of the mean of the side and the longer side
FILL = 114  # gray, beyond the photo's edge
SURE = 0.5  # corners count from this probability that all four are off by less than a quadrilateral grows (10 % a side)
MIN_SCORE = 0.02  # regions that score less are hidden by no usual setting; they keep their boxes
AT_ONCE = 32  # crops in one call of the network


def window(box: Box) -> tuple[int, int, int, int]:
    """What the network sees of a photo: the box and what is around it.

    Long plates get more on the sides that are short: that is where a box that does not fit cuts their corners off.

    Returns:
        (x1, y1, x2, y2), whole px, half-open, rounded outward; it may reach beyond the photo.
    """
    x1, y1, x2, y2 = box
    w, h = x2 - x1, y2 - y1
    dx, dy = (MARGIN * (side + max(w, h)) / 2 for side in (w, h))
    left, top = math.floor(x1 - dx), math.floor(y1 - dy)
    return left, top, max(math.ceil(x2 + dx), left + 1), max(math.ceil(y2 + dy), top + 1)


def cut(image: Image, place: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """A window of an image, stretched to INPUT: RGB uint8 (48, 96, 3)."""
    x1, y1, x2, y2 = place
    height, width = image.shape[:2]
    a, b, c, d = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
    piece = image[b : max(d, b), a : max(c, a)]
    if piece.size == 0:
        return np.full((INPUT[1], INPUT[0], 3), FILL, np.uint8)
    if (a, b, c, d) != place:
        piece = cv2.copyMakeBorder(piece, b - y1, y2 - d, a - x1, x2 - c, cv2.BORDER_CONSTANT, value=(FILL,) * 3)
    is_smaller = piece.shape[1] >= INPUT[0] and piece.shape[0] >= INPUT[1]
    return cv2.resize(piece, INPUT, interpolation=cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR)


def decode(outputs: Outputs) -> tuple[Floats, Floats]:
    """The network's outputs -> corners and how sure they are.

    Args:
        outputs: two arrays. (N, 12, h, w): for each corner a map whose softmax over all cells says how much a cell
            counts, then for each corner x and y from each cell's center to it, in cells. (N, 4, 1, 1): a logit for each
            corner.

    Returns:
        (N, 4, 2) in shares of the crop's width and height, TL TR BR BL; and (N,), 0–1, of the least sure corner.

    Raises:
        DetectionError: other arrays, or numbers that are none.
    """
    maps, logits = outputs.values()
    if maps.ndim != 4 or maps.shape[1] != 12 or logits.shape[:2] != (len(maps), 4):
        raise DetectionError(f"a corner network gives (N, 12, h, w) and (N, 4); received {maps.shape}, {logits.shape}")
    n, _, height, width = maps.shape
    flat = maps.reshape(n, 12, -1).astype(np.float64)
    weight = np.exp(flat[:, :4] - flat[:, :4].max(-1, keepdims=True))
    weight /= weight.sum(-1, keepdims=True)
    y, x = np.divmod(np.arange(height * width), width)
    votes = flat[:, 4:].reshape(n, 4, 2, -1) + (np.stack([x, y]) + 0.5)
    corners = np.einsum("nck,ncdk->ncd", weight, votes) / (width, height)
    sure = 1 / (1 + np.exp(-logits.reshape(n, 4).min(axis=1).astype(np.float64)))
    if not (np.isfinite(corners).all() and np.isfinite(sure).all()):
        raise DetectionError(f"{MODEL}: the network gave numbers that are none")
    return corners, sure


class Corners:
    """The network that knows corners.

    Attributes:
        weights: name -> sha256.
    """

    def __init__(self, network: Network, weights: Mapping[str, str]) -> None:
        self._network, self.weights = network, dict(weights)

    def find(self, image: Image, boxes: Sequence[Box]) -> list[tuple[tuple[Point, ...], float]]:
        """Look at plates of one photo, all at once.

        Args:
            image: RGB uint8 (H, W, 3).
            boxes: of plates, px.

        Returns:
            For each box TL TR BR BL in px (they may lie outside of the photo), and the probability, 0–1, that all four
            are off by so little that a quadrilateral grown by a tenth hides them.

        Raises:
            DetectionError: the network failed.
        """
        places = [window(box) for box in boxes]
        out: list[tuple[tuple[Point, ...], float]] = []
        for start in range(0, len(places), AT_ONCE):
            some = places[start : start + AT_ONCE]
            try:
                batch = np.concatenate([tensor(cut(image, place), divisor=255.0) for place in some])
                corners, sure = decode(self._network(batch))
            except AnonymizeError:
                raise
            except Exception as e:  # whatever a runtime throws, out of memory included
                raise DetectionError(f"{MODEL} failed: {e!r}") from e
            low = np.array([place[:2] for place in some])
            size = np.array([place[2:] for place in some]) - low
            points = corners * size[:, None] + low[:, None]
            out += [(tuple((x, y) for x, y in four), p) for four, p in zip(points.tolist(), sure.tolist(), strict=True)]
        return out


def load(settings: Settings, *, weights_dir: Path | None = None) -> Corners:
    """The registry's corner network; loaded once, fetched and verified first where it is not there.

    Raises:
        WeightsError: it is not to be had, or not what the registry says.
    """
    path = weights.onnx(MODEL, cache=weights_dir)
    return open_corners(path, settings.device, model(MODEL).sha256)


@functools.lru_cache(maxsize=2)
def open_corners(path: Path, device: str, digest: str) -> Corners:
    return Corners(open_network(path, device), {MODEL: digest})


class WithCorners:
    """A detector whose regions of one kind get corners where they have none.

    Args:
        detector: gives the regions; what they are, and their boxes and scores, stay.
        corners: knows corners; it sees all regions of a photo at once.
        kind: of the regions that get corners.
        min_score: score from which a region is looked at.
    """

    def __init__(
        self, detector: Detector, corners: Corners, *, kind: str = "plate", min_score: float = MIN_SCORE
    ) -> None:
        self.name = detector.name
        self.weights: Mapping[str, str] = {**detector.weights, **corners.weights}
        self.kinds = kinds_of(detector)
        self._detector, self._corners = detector, corners
        self._kind, self._min_score = kind, min_score

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        """See `Detector.detect`. Its regions, in their order; some have corners now.

        Raises:
            DetectionError: also when the second look fails.
        """
        images = [check(image) for image in images]
        answers = detect_all(self._detector, images)
        return [self._look(image, found) for image, found in zip(images, answers, strict=True)]

    def _look(self, image: Image, found: Sequence[Region]) -> list[Region]:
        out = list(found)
        wanted = [
            i for i, r in enumerate(found) if r.kind == self._kind and r.corners is None and r.score >= self._min_score
        ]
        seen = self._corners.find(image, [found[i].box for i in wanted])
        for i, (corners, sure) in zip(wanted, seen, strict=True):
            if sure >= SURE:
                out[i] = found[i].replace(corners=corners)
        return out
