"""Detectors: images in, regions out.

`parse` reads a spec (`spec` has the grammar), `create` builds the detector that it names. Scores of models whose
calibration the registry knows are probabilities, whatever the network said; `detector_scores` are what it said.

Importing this package loads numpy only; what comes from `factory` brings the back ends, and these their libraries.
"""

from typing import TYPE_CHECKING, Any

from .detector import Detector, FakeDetector, Image
from .spec import Spec, models, parse

if TYPE_CHECKING:
    from .factory import at_once, build, create

__all__ = ["Detector", "FakeDetector", "Image", "Spec", "at_once", "build", "create", "models", "parse"]


def __getattr__(name: str) -> Any:
    if name not in ("at_once", "build", "create"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import factory

    return getattr(factory, name)
