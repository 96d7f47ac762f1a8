"""What every detector that wraps others does with them: run them, check their answers, and lose none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from .. import labels
from ..errors import AnonymizeError, DetectionError
from ..regions import Region, suppress
from ..settings import UNLIKELY, Settings
from .detections import Detections
from .detector import Detector, Image

T = TypeVar("T")


def relabel(region: Region, name: str) -> Region:
    """The region with its best score under the name of the detector that wraps the one that found it."""
    return region.replace(detector_scores={name: max(region.detector_scores.values(), default=region.score)})


class Finder:
    """A detector that gives arrays, too, to those that wrap it.

    Attributes:
        name, weights: See `Detector`.
    """

    name: str
    weights: Mapping[str, str]

    def find(self, images: Sequence[Image]) -> list[Detections]:
        """`detect`, before Regions are made."""
        raise NotImplementedError

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        """See `Detector.detect`."""
        return [found.regions() for found in self.find(images)]


def find_all(detector: Detector, images: Sequence[Image]) -> list[Detections]:
    """`detect_all`, in arrays."""
    if isinstance(detector, Finder):
        return _answers(detector, detector.find, images)
    return [Detections.of(found) for found in detect_all(detector, images)]


def _answers(detector: Detector, ask: Callable[[Sequence[Image]], Iterable[T]], images: Sequence[Image]) -> list[T]:
    """An answer for each image. The edge to other people's code: whatever it raises is a failed detection."""
    if not images:
        return []
    try:
        answers = list(ask(images))
    except (AnonymizeError, KeyboardInterrupt):
        raise
    except BaseException as e:  # SystemExit would end the run, and with exit code 0
        raise DetectionError(f"{detector.name} failed: {e!r}") from e
    if len(answers) != len(images):
        raise DetectionError(f"{detector.name} gave {len(answers)} answers for {len(images)} images")
    return answers


def detect_all(detector: Detector, images: Sequence[Image]) -> list[list[Region]]:
    """A detector's answers, one for each image, faces and plates under these names ("License_Plate" -> "plate").

    Raises:
        DetectionError: whatever the detector raises, but for Ctrl+C; or other answers than a list of regions for each
            image: one that was not looked at is not an empty one.
    """
    answers = _answers(detector, lambda images: map(list, detector.detect(images)), images)
    meant = dict(zip(labels.HIDDEN, labels.HIDDEN, strict=True))
    for found in answers:
        for i, region in enumerate(found):
            if not isinstance(region, Region):
                raise DetectionError(f"{detector.name} answers with regions; received {region!r:.80}")
            if region.kind not in meant:
                meant[region.kind] = labels.meant(region.kind) or region.kind
            if (kind := meant[region.kind]) != region.kind:
                found[i] = region.replace(kind=kind, id="")
    return answers


def merge_detections(found: Sequence[Region], name: str, settings: Settings) -> list[Region]:
    """What several looks at one image found, best first: overlaps suppressed, at most max_regions a kind.

    Raises:
        DetectionError: so many likely ones that some may be left out. A later step, such as an ensemble's fusing, would
            bring their number down again and hide it.
    """
    kept = suppress(found, settings.iou_threshold, settings.max_regions)
    _refuse_too_many((r.kind for r in kept if r.score >= UNLIKELY), name, settings)
    return kept


def merge_found(found: Sequence[Detections], name: str, settings: Settings) -> Detections:
    """`merge_detections`, in arrays."""
    kept = Detections.join(found).suppress(settings.iou_threshold, settings.max_regions)
    _refuse_too_many(kept.kinds[kept.scores >= UNLIKELY], name, settings)
    return kept


def _refuse_too_many(likely: Iterable[str], name: str, settings: Settings) -> None:
    for kind, count in Counter(likely).items():
        if count >= settings.max_regions:
            raise DetectionError(f"{name}: {count} regions of kind {kind} are as many as are kept; raise max_regions")
