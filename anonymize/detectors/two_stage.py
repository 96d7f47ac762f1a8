"""Two stages: vehicles first, then plates inside each of them, enlarged.

Finds small plates of vehicles far away; misses plates of vehicles that were not found and plates without a vehicle. One
stage is better on close-ups, two on streets: measure both (`compare`) on photos like yours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..regions import Region
from ..settings import Settings
from .candidates import check
from .detector import Detector, Image, kinds_of
from .wrapper import detect_all, merge_detections, relabel

MARGIN = 0.1  # of the vehicle's box on each side: bumpers and plates reach beyond loose boxes
SMALLEST = 16  # px; a crop with a shorter side shows a plate of two pixels


class TwoStage:
    """A detector of vehicles and one of plates, as one detector.

    Args:
        vehicles: gives regions of kind vehicle (others, such as persons, pass through).
        plates: gives regions of any kind; it sees one crop for each vehicle.
        settings: vehicle_threshold, iou_threshold, max_regions.
        margin: a crop is the vehicle's box grown by this fraction on each side.
    """

    def __init__(
        self,
        vehicles: Detector,
        plates: Detector,
        settings: Settings,
        *,
        margin: float = MARGIN,
    ) -> None:
        self.name = f"two-stage:{plates.name}"
        self.weights: Mapping[str, str] = {**vehicles.weights, **plates.weights}
        self.kinds = kinds_of(plates)
        self._vehicles, self._plates, self._settings, self._margin = vehicles, plates, settings, margin

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        """What was found inside the vehicles, and the vehicles themselves, so that review can rank. See `Detector`."""
        images = [check(image) for image in images]
        found = detect_all(self._vehicles, images)
        return [self._inside(image, regions) for image, regions in zip(images, found, strict=True)]

    def _inside(self, image: Image, found: Sequence[Region]) -> list[Region]:
        s, (height, width) = self._settings, image.shape[:2]
        looked_into = [r for r in found if r.kind == "vehicle" and r.score >= s.vehicle_threshold]
        windows = [r.pad(self._margin).pixels(width, height) for r in looked_into]
        windows = [w for w in dict.fromkeys(windows) if min(w[2] - w[0], w[3] - w[1]) >= SMALLEST]
        crops = [image[y1:y2, x1:x2] for x1, y1, x2, y2 in windows]
        plates = []
        for (x, y, _, _), regions in zip(windows, detect_all(self._plates, crops), strict=True):
            plates += [relabel(r.shift(x, y), self.name) for r in regions]
        return merge_detections([*plates, *found], self.name, s)
