"""What every detector that wraps others does with them: ask, check that they answered, and lose none of the answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..errors import DetectionError
from ..regions import Region, suppress
from ..settings import UNLIKELY, Settings
from . import Detector, Image


def named(region: Region, name: str) -> Region:
    """The region as a vote of the detector that wraps the one that found it; the vote stays what the inner one said."""
    return region.replace(detector_scores={name: max(region.detector_scores.values(), default=region.score)})


def ask(detector: Detector, images: Sequence[Image]) -> list[list[Region]]:
    """A detector's answers, one for each image.

    Raises:
        DetectionError: it gave another number of them; an image that was not looked at is not an empty one.
    """
    if not images:
        return []
    answers = detector.detect(images)
    if len(answers) != len(images):
        raise DetectionError(f"{detector.name} gave {len(answers)} answers for {len(images)} images")
    return answers


def merge_detections(found: Sequence[Region], name: str, settings: Settings) -> list[Region]:
    """What several looks at one image found, best first: overlaps suppressed, at most max_regions a kind.

    Raises:
        DetectionError: so many likely ones that some may be left out. A later step, such as an ensemble's fusing, would
            bring their number down again and hide it.
    """
    kept = suppress(found, settings.iou_threshold, settings.max_regions)
    for kind, count in Counter(r.kind for r in kept if r.score >= UNLIKELY).items():
        if count >= settings.max_regions:
            raise DetectionError(f"{name}: {count} regions of kind {kind} are as many as are kept; raise max_regions")
    return kept
