"""One detector at several sizes of the photo: as many as the photo has detail for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TypeVar

from ..errors import SettingsError
from ..settings import Settings
from .detections import Detections
from .detector import Detector, Image, kinds_of
from .wrapper import Finder, find_all, merge_found

# A larger size is looked at where the photo's long side is at least this many times the size before: below, it would
# only enlarge what was seen already.
MIN_GAIN = 1.65
Sized = TypeVar("Sized")


class MultiScale(Finder):
    """The same network at rising sizes. A 1,024 px photo is seen at the first, a 12-megapixel one at all of them.

    Small things are found at the larger sizes, things that fill the photo at the smaller ones. Give it `Calibrated`
    detectors: the same score means less for what is larger in the network's input.

    Args:
        detectors: (long side in px, detector), by rising long side.
        settings: iou_threshold, max_regions.

    Raises:
        SettingsError: none, or long sides that do not rise.
    """

    def __init__(self, detectors: Sequence[tuple[int, Detector]], settings: Settings) -> None:
        sides = [side for side, _ in detectors]
        if not sides or any(b <= a for a, b in pairwise(sides)):
            raise SettingsError(f"several scales need rising long sides; received {sides}")
        self._detectors, self._settings = tuple(detectors), settings
        first = detectors[0][1]
        self.name = first.name if len(sides) == 1 else f"{first.name.rpartition('@')[0]}@{sides[0]}-{sides[-1]}"
        self.weights: Mapping[str, str] = {k: v for _, d in detectors for k, v in d.weights.items()}
        self.kinds = kinds_of(first)

    def input_side(self, long_side: int) -> int:
        """The largest long side, px, at which a photo of this long side is looked at."""
        return max(side for side, d in self._detectors if d in self.select(long_side))

    def find(self, images: Sequence[Image]) -> list[Detections]:
        """See `Finder`."""
        chosen = [self.select(max(image.shape[:2])) for image in images]
        found: list[list[Detections]] = [[] for _ in images]
        for _, detector in self._detectors:
            numbers = [i for i, some in enumerate(chosen) if detector in some]
            for i, one in zip(numbers, find_all(detector, [images[i] for i in numbers]), strict=True):
                found[i].append(one.relabel(self.name))
        # One alone has suppressed its own already.
        return [some[0] if len(some) == 1 else merge_found(some, self.name, self._settings) for some in found]

    def select(self, long_side: int) -> list[Detector]:
        """The detectors that a photo of this long side, px, is worth."""
        return worth(self._detectors, long_side)


def worth(sized: Sequence[tuple[int, Sized]], long_side: int) -> list[Sized]:
    """Of (long side of the input, what has it), by rising side, those that a photo of this long side, px, is worth."""
    before = [0, *(side for side, _ in sized)]
    return [one for (_, one), least in zip(sized, before, strict=False) if long_side >= MIN_GAIN * least]


def octaves(low: int, high: int) -> list[int]:
    """Long sides from `low` on, each twice the one before, up to `high`.

    Raises:
        SettingsError: `high` is less than twice `low`.
    """
    if high < 2 * low:
        raise SettingsError(f"LOW-HIGH: high is at least twice low; received {low}-{high}")
    sides = [low]
    while sides[-1] * 2 <= high:
        sides.append(sides[-1] * 2)
    return sides
