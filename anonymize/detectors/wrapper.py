"""What every detector that wraps others does with them: run them, check their answers, and lose none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .. import labels
from ..errors import AnonymizeError, DetectionError
from ..regions import Region, suppress
from ..settings import UNLIKELY, Settings
from .detector import Detector, Image


def relabel(region: Region, name: str) -> Region:
    """The region with its best score under the name of the detector that wraps the one that found it."""
    return region.replace(detector_scores={name: max(region.detector_scores.values(), default=region.score)})


def detect_all(detector: Detector, images: Sequence[Image]) -> list[list[Region]]:
    """A detector's answers, one for each image, faces and plates under these names ("License_Plate" -> "plate").

    The edge to other people's code: whatever it raises is a failed detection, but for Ctrl+C.

    Raises:
        DetectionError: that, or other answers than a list of regions for each image: one that was not looked at is not
            an empty one.
    """
    if not images:
        return []
    try:
        answers = [list(answer) for answer in detector.detect(images)]
    except (AnonymizeError, KeyboardInterrupt):
        raise
    except BaseException as e:  # SystemExit would end the run, and with exit code 0
        raise DetectionError(f"{detector.name} failed: {e!r}") from e
    if len(answers) != len(images):
        raise DetectionError(f"{detector.name} gave {len(answers)} answers for {len(images)} images")
    for found in answers:
        for i, region in enumerate(found):
            if not isinstance(region, Region):
                raise DetectionError(f"{detector.name} answers with regions; received {region!r:.80}")
            if region.kind not in labels.HIDDEN and (kind := labels.meant(region.kind)):
                found[i] = region.replace(kind=kind, id="")
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
