"""Close-ups of what may be a face or a plate: evidence that it is one.

What looks like a face at one size is often a wheel, a lamp, or a tree at another. So what networks see in a whole photo
is cut out, nearer and farther, and shown to every network that looks for its kind, also to those that chose what to
hide: the question is no longer where something is, but what it is. A real face or plate is one to nearly all of them,
and in both. What decides is the mean of their log-odds, so that each one's "no" counts as much as its "yes".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .. import weights
from ..detectors import Detector, create
from ..detectors.upright import turn
from ..errors import AnonymizeError
from ..probability import log_odds
from ..regions import Region, boxes, iou
from ..settings import Settings
from ..weights.registry import registry

SIDE = 320  # px of a close-up
ZOOMS: Mapping[str, tuple[float, float]] = {"face": (2.0, 4.0), "plate": (2.5, 5.0)}  # its width, of the longer side
SAME = 0.3  # IoU of what it sees with what it was shown
FEWEST = 2  # networks that have to be there
FILL = 114  # gray, beyond the photo's edge

Closely = Callable[[Region], float | None]
CloseUp = tuple[NDArray[np.uint8], Region]


def load(
    settings: Settings, *, weights_dir: Path | None = None, progress: weights.Progress | None = None
) -> dict[str, tuple[Detector, ...]]:
    """Kind -> the networks that are shown close-ups: all that can be had, and whose scores are probabilities."""
    out: dict[str, tuple[Detector, ...]] = {}
    for kind in ZOOMS.keys() & settings.kinds.keys():
        made = []
        for model in registry().values():
            if kind not in model.classes.values() or not model.calibration:
                continue
            try:
                made.append(create(f"{model.name}@{SIDE}", settings, weights_dir=weights_dir, progress=progress))
            except AnonymizeError:
                continue  # the first look has said so
        if len(made) >= FEWEST:
            out[kind] = tuple(made)
    return out


def closely(rgb: NDArray[np.uint8], networks: Mapping[str, Sequence[Detector]], turns: Sequence[int] = (0,)) -> Closely:
    """What the networks say of a region's close-ups: the mean of their log-odds; None: none looks for its kind.

    Args:
        turns: quarter turns that may make the photo upright (`Upright.turns`); the one counts in which they say most.
    """

    def look(region: Region) -> float | None:
        asked = networks.get(region.kind, ())
        if not asked:
            return None
        near, far = (cut(rgb, region, zoom) for zoom in ZOOMS[region.kind])
        return max(_odds(asked, near, far, k) for k in turns)

    return look


def _odds(networks: Sequence[Detector], near: CloseUp, far: CloseUp, turns: int) -> float:
    """The mean of what the networks say of two close-ups after quarter turns; the farther one is mirrored then."""
    pictures = [turn(near[0], turns), np.ascontiguousarray(turn(far[0], turns)[:, ::-1])]
    shown = [_turned(near[1], turns), _turned(far[1], turns)]  # in the middle, so a mirror leaves it
    answers = [zip(network.detect(pictures), shown, strict=True) for network in networks]
    return float(np.mean([log_odds(_seen(found, box)) for answer in answers for found, box in answer]))


def _turned(region: Region, turns: int) -> Region:
    """A region in the middle of a square picture, after quarter turns of that."""
    x1, y1, x2, y2 = region.box
    return region.replace(box=(y1, x1, y2, x2)) if turns % 2 else region


def cut(rgb: NDArray[np.uint8], region: Region, zoom: float) -> CloseUp:
    """A close-up, (SIDE, SIDE, 3), with a region in its middle, and that region in it.

    Args:
        zoom: its width, of the region's longer side.
    """
    x1, y1, x2, y2 = region.box
    half = zoom * max(region.width, region.height, 1.0) / 2
    cx, cy, scale = (x1 + x2) / 2, (y1 + y2) / 2, SIDE / (2 * half)
    left, top, right, bottom = round(cx - half), round(cy - half), round(cx + half), round(cy + half)
    height, width = rgb.shape[:2]
    a, b, c, d = max(left, 0), max(top, 0), min(max(right, left + 1), width), min(max(bottom, top + 1), height)
    piece = cv2.copyMakeBorder(
        rgb[b:d, a:c], b - top, max(bottom - d, 0), a - left, max(right - c, 0), cv2.BORDER_CONSTANT, value=(FILL,) * 3
    )
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    wide, tall = scale * region.width / 2, scale * region.height / 2
    middle = SIDE / 2
    box = (middle - wide, middle - tall, middle + wide, middle + tall)
    return cv2.resize(piece, (SIDE, SIDE), interpolation=how), Region(region.kind, box)


def _seen(found: Sequence[Region], box: Region) -> float:
    """The highest score of what a network sees in a region's place."""
    of_kind = [r for r in found if r.kind == box.kind]
    if not of_kind:
        return 0.0
    shared = iou(boxes([box]), boxes(of_kind))[0]
    return max((r.score for r, s in zip(of_kind, shared.tolist(), strict=True) if s >= SAME), default=0.0)
