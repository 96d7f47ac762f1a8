"""Signs, stickers and shop fronts look like plates; but plates are on vehicles. What is not needs to be surer.

On photos of vehicles a plate network is right about as often beside a vehicle as on one, once its score is known: most
of what is beside is a close-up, whose vehicle does not fit into the photo. On photos without vehicles nearly all that
it finds is a sign. So a plate that no vehicle carries loses odds, most where it is small, less where it could be a
close-up. README has what this costs and gains (`bench/false_plates.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..regions import Region
from ..settings import MIN_THRESHOLD
from . import Detector, Image
from .calibrated import log_odds, sigmoid
from .wrapper import ask

SEEN = 0.05  # score from which a vehicle may carry a plate: a faint one will do
AROUND = 0.1  # of the vehicle's box on each side
CLOSE = 0.25  # of the photo's width: a plate so wide fills the photo as its subject
# Log-odds that a plate without a vehicle loses: to be hidden at a threshold of .15 a small one must be surer than 98 %,
# a close-up than 90 %. From `bench.false_plates` against what leaks on held-out photos.
FAR_LOSS, CLOSE_LOSS = 6.0, 4.0


class ContextRescoring:
    """A detector whose plates are doubted where none of its vehicles carries them.

    Args:
        detector: gives plates, with probabilities as scores, and vehicles (`TwoStage`, or an `Ensemble` with one).
    """

    def __init__(self, detector: Detector) -> None:
        self.name = f"on-vehicles:{detector.name}"
        self.weights: Mapping[str, str] = dict(detector.weights)
        self.kinds: frozenset[str] | None = getattr(detector, "kinds", None)
        self._detector = detector

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        """See `Detector.detect`."""
        answers = ask(self._detector, images)
        return [weigh(found, image.shape[1]) for image, found in zip(images, answers, strict=True)]


def weigh(found: Sequence[Region], width: int) -> list[Region]:
    """Regions of one image, `width` px wide, with the plates that no vehicle carries doubted; best first."""
    vehicles = [r.pad(AROUND).box for r in found if r.kind == "vehicle" and r.score >= SEEN]
    out = []
    for r in found:
        if r.kind == "plate":
            x, y = (r.box[0] + r.box[2]) / 2, (r.box[1] + r.box[3]) / 2
            if not any(x1 <= x < x2 and y1 <= y < y2 for x1, y1, x2, y2 in vehicles):
                loss = CLOSE_LOSS if r.width >= CLOSE * width else FAR_LOSS
                r = r.replace(score=max(sigmoid(log_odds(r.score) - loss), MIN_THRESHOLD))
        out.append(r)
    return sorted(out, key=lambda r: -r.score)
