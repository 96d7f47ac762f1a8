"""What every detector that wraps another one does with it: ask it, and check that it answered."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import DetectionError
from ..regions import Region
from . import Detector, Image


def named(region: Region, name: str) -> Region:
    """The region as a vote of the detector that wraps the one that found it; the vote stays what the inner one said."""
    return region.replace(votes={name: max(region.votes.values(), default=region.score)})


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
