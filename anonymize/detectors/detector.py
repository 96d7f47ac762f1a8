"""What a detector is: images in, regions out. `FakeDetector` is one that needs no weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .. import labels
from ..regions import Region

Image = NDArray[np.uint8]  # RGB, (H, W, 3), 0–255, upright


@runtime_checkable
class Detector(Protocol):
    """Finds regions in images.

    Of a class that a spec names, no two threads call a detector at once, but for a call that was given up.

    A detector may also have `kinds`, a frozenset of the kinds that it looks for. One that finds anything but faces,
    plates, vehicles and persons needs it: a kind that is neither named there nor hidden is an error.

    Attributes:
        name: As records keep it, long side included ("safelicensing@1280").
        weights: Name -> sha256 of each weights file that it uses; empty when there is none.
    """

    name: str
    weights: Mapping[str, str]

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        """Find the regions in each image.

        Args:
            images: uint8 RGB arrays (H, W, 3), upright.

        Returns:
            One list per image, in the images' order, in each image's pixels. Regions carry their score (0–1) and
            `detector_scores={name: score}`; candidates are kept down to `settings.MIN_THRESHOLD`, overlaps suppressed.

        Raises:
            DetectionError: The detector could not look at an image. It never returns [] for a failure.
        """
        ...


class FakeDetector:
    """Returns the regions it was given, for every image: for tests and for trying an export without weights.

    Args:
        regions: Found in every image, clipped at its edges.
        name: The detector's name.
    """

    weights: Mapping[str, str] = {}

    def __init__(self, regions: Sequence[Region] = (), name: str = "fake") -> None:
        self.name = name
        self.regions = list(regions)

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        return [[r.clip(i.shape[1], i.shape[0]) for r in self.regions] for i in images]


def kinds_of(*detectors: Detector) -> frozenset[str] | None:
    """The kinds that detectors look for; None where that is not known of each."""
    named = [getattr(d, "kinds", None) for d in detectors]
    if None in named:
        return None
    return frozenset(labels.meant(kind) or kind for kinds in named for kind in kinds or ())
