"""Two stages: vehicles first, then plates inside each of them, enlarged.

Finds small plates of vehicles far away; misses plates of vehicles that were not found and plates without a vehicle. One
stage is better on close-ups, two on streets: measure both (`compare`) on photos like yours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..regions import Region
from ..settings import Settings
from . import Detector, Image
from .candidates import check
from .wrapper import ask, merge_detections, named

MARGIN = 0.1  # of the vehicle's box on each side: bumpers and plates reach beyond loose boxes
HEAD = 0.45  # of a person's height, from the top: standing or sitting, the face is there
SMALLEST = 16  # px; a crop with a shorter side shows a plate of two pixels or a face of four


class TwoStage:
    """A detector of vehicles and one of plates, as one detector. Or of persons and faces: see `person_guided`.

    Args:
        vehicles: gives regions of kind `carrier` (others, such as persons, pass through).
        plates: gives regions of any kind; it sees one crop for each vehicle.
        settings: vehicle_threshold, iou_threshold, max_regions.
        margin: a crop is the vehicle's box grown by this fraction on each side.
        carrier: the kind that is looked into. part: of its height, from the top.
        prefix: of the detector's name, before the inner one's.
    """

    def __init__(
        self,
        vehicles: Detector,
        plates: Detector,
        settings: Settings,
        *,
        margin: float = MARGIN,
        carrier: str = "vehicle",
        part: float = 1.0,
        prefix: str = "two-stage",
    ) -> None:
        self.name = f"{prefix}:{plates.name}"
        self.weights: Mapping[str, str] = {**vehicles.weights, **plates.weights}
        self.kinds: frozenset[str] | None = getattr(plates, "kinds", None)
        self._vehicles, self._plates, self._settings, self._margin = vehicles, plates, settings, margin
        self._carrier, self._part = carrier, part

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        """What was found inside the vehicles, and the vehicles themselves, so that review can rank. See `Detector`."""
        images = [check(image) for image in images]
        found = ask(self._vehicles, images)
        return [self._inside(image, regions) for image, regions in zip(images, found, strict=True)]

    def _inside(self, image: Image, found: Sequence[Region]) -> list[Region]:
        s, (height, width) = self._settings, image.shape[:2]
        looked_into = [r for r in found if r.kind == self._carrier and r.score >= s.vehicle_threshold]
        windows = [self._window(r, width, height) for r in looked_into]
        windows = [w for w in dict.fromkeys(windows) if min(w[2] - w[0], w[3] - w[1]) >= SMALLEST]
        crops = [image[y1:y2, x1:x2] for x1, y1, x2, y2 in windows]
        plates = []
        for (x, y, _, _), regions in zip(windows, ask(self._plates, crops), strict=True):
            plates += [named(r.shift(x, y), self.name) for r in regions]
        return merge_detections([*plates, *found], self.name, s)

    def _window(self, region: Region, width: int, height: int) -> tuple[int, int, int, int]:
        x1, y1, x2, y2 = region.box
        top = region.replace(box=(x1, y1, x2, y1 + (y2 - y1) * self._part))
        return top.pad(self._margin).pixels(width, height)


def person_guided(persons: Detector, faces: Detector, settings: Settings) -> TwoStage:
    """Faces where the head of each person should be, enlarged: small faces that no whole photo shows well."""
    return TwoStage(persons, faces, settings, carrier="person", part=HEAD, prefix="person-guided")
