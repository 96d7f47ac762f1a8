"""What tests of runs of the engine share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from anonymize.detectors import FakeDetector
from anonymize.predictor import Predictor
from anonymize.regions import Region
from anonymize.settings import Settings

FACE = Region("face", (10, 10, 30, 30), 0.9, landmarks=((15, 16), (25, 16), (20, 20), (16, 25), (24, 25)))


WEAK = Region("plate", (40, 30, 50, 34), 0.07)


MAGENTA = Settings().with_kind("face", effect="solid", fill="ff00ff").with_kind("plate", effect="solid", fill="ff00ff")


class Counting(FakeDetector):
    """Counts the images that it was shown; fails where it is told to."""

    def __init__(self, regions: list[Region], fail_on: int | None = None) -> None:
        super().__init__(regions, name="counting")
        self.seen, self.fail_on = 0, fail_on

    def detect(self, images):  # type: ignore[no-untyped-def]
        self.seen += len(images)
        if self.fail_on is not None and self.seen == self.fail_on:
            raise RuntimeError("out of memory")
        return super().detect(images)


def predictor(*found: Region, settings: Settings = MAGENTA, fail_on: int | None = None) -> tuple[Predictor, Counting]:
    detector = Counting(list(found) or [FACE, WEAK], fail_on)
    return Predictor(settings, detectors=[detector]), detector


def magenta(path: Path) -> np.ndarray:
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return (pixels[..., 0] > 205) & (pixels[..., 1] < 70) & (pixels[..., 2] > 205)


def outputs(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.suffix in (".jpg", ".png"))
