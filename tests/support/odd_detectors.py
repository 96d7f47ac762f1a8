"""Detectors of people's own that go wrong, as `--face-detector tests.support.odd_detectors:NAME` names them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from anonymize.detectors import FakeDetector, Image
from anonymize.regions import Region

BOX = (10, 10, 30, 30)


class Faces(FakeDetector):
    """Finds one face; on the second photo, in whatever turn, it does what `fail` does."""

    def __init__(self) -> None:
        super().__init__([Region("face", BOX, 0.9)], name=type(self).__name__)
        self._photos: list[bytes] = []  # each as its values in order, which a turn leaves alone

    def detect(self, images: Sequence[Image]) -> Any:
        photo = np.sort(images[0], axis=None).tobytes()
        if photo not in self._photos:
            self._photos.append(photo)
        return self.fail() if self._photos.index(photo) == 1 else super().detect(images)

    def fail(self) -> Any:
        return [[]]


class Spelled(FakeDetector):
    """Writes faces and plates as networks' class names do."""

    def __init__(self) -> None:
        super().__init__([Region("Face", BOX, 0.9), Region("license_plate", (40, 30, 50, 36), 0.9)], name="spelled")


class Unknown(FakeDetector):
    """Finds what nobody hides, and says nothing of it."""

    def __init__(self) -> None:
        super().__init__([Region("visage", BOX, 0.9)], name="unknown")


class Declared(Unknown):
    kinds = frozenset({"visage"})


class Exits(Faces):
    def fail(self) -> Any:
        raise SystemExit(0)


class Hangs(Faces):
    def fail(self) -> Any:
        time.sleep(3600)


class OutOfMemory(Faces):
    def fail(self) -> Any:
        raise MemoryError


class NotNumbers(Faces):
    def fail(self) -> Any:
        return [[Region("face", (float("nan"),) * 4, 0.9)]]


class Nothing(Faces):
    def fail(self) -> Any:
        return None


class Tuples(Faces):
    def fail(self) -> Any:
        return [[("face", BOX, 0.9)]]


class ExitsWhenMade:
    def __init__(self) -> None:
        raise SystemExit(0)
