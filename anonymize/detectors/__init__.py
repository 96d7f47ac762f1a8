"""Detectors: images in, regions out.

A detector is anything with a name and `detect`. Composed detectors wrap others and are detectors themselves.
A name is looked up in `TABLE`; `NAME@1280` asks for another long side, `yolo:PATH` loads a person's own weights and
`package.module:Class` a person's own detector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..regions import Region

Image = NDArray[np.uint8]  # RGB, (H, W, 3), 0–255, upright


@runtime_checkable
class Detector(Protocol):
    """Finds regions in images.

    Attributes:
        name: as the table or the caller knows it, long side included ("safelicensing@1280").
        weights: name -> sha256 of each weights file that it uses; empty when there is none.
    """

    name: str
    weights: Mapping[str, str]

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        """One list of regions per image, in the images' order, each in its image's pixels.

        Regions carry their score (0–1) and `votes={name: score}`; candidates are kept down to the floor score
        (`settings.MIN_THRESHOLD`), overlaps suppressed.

        Raises:
            DetectionError: the detector could not look at an image. It never returns [] for a failure.
        """
        ...


class FakeDetector:
    """Returns the regions it was given, for every image: for tests and for trying an export without weights.

    Args:
        regions: one list for all images, or a function of the image.
    """

    weights: Mapping[str, str] = {}

    def __init__(self, regions: Sequence[Region] = (), name: str = "fake") -> None:
        self.name = name
        self.regions = list(regions)

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        return [[r.clip(i.shape[1], i.shape[0]) for r in self.regions] for i in images]
