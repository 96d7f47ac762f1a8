"""A text reader that tries on hidden plates: PP-OCR from the registry, one line of text at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .. import weights
from ..detectors.runtime import open_network, parse

NAME = "pp-ocr"
HEIGHT, LEAST, MOST = 48, 96, 960  # px of the input: height, least and most width
PLATE = 4  # characters that a plate has at least
SURE = 0.9  # mean probability of a reading's characters from which it is believed


@dataclass(frozen=True)
class Reading:
    """A line of text. Attributes: text: letters and digits only, in capitals. score: mean probability, 0–1."""

    text: str
    score: float

    @property
    def is_plate(self) -> bool:
        return len(self.text) >= PLATE and self.score >= SURE and any(c.isdigit() for c in self.text)


class Reader:
    """PP-OCR's recognizer.

    Args:
        network: float32 (1, 3, 48, W) -> (1, T, characters), probabilities; the first one is the blank.
        characters: those of the network's outputs after the blank.
    """

    def __init__(self, network: Callable[..., Mapping[str, NDArray[np.float32]]], characters: list[str]) -> None:
        self._network, self._characters = network, ["", *characters, " "]

    def __call__(self, rgb: NDArray[np.uint8]) -> Reading:
        """What is written in a crop, uint8 RGB (H, W, 3)."""
        width = int(np.clip(round(rgb.shape[1] * HEIGHT / max(rgb.shape[0], 1)), LEAST, MOST))
        how = cv2.INTER_AREA if rgb.shape[0] > HEIGHT else cv2.INTER_CUBIC
        line = cv2.resize(rgb, (width, HEIGHT), interpolation=how)[:, :, ::-1]
        batch = (line.astype(np.float32).transpose(2, 0, 1)[None] / 127.5 - 1).astype(np.float32)
        (chances,) = list(self._network(np.ascontiguousarray(batch)).values())[:1]
        best, sure = chances[0].argmax(axis=1), chances[0].max(axis=1)
        kept = [i for i in range(len(best)) if best[i] and (i == 0 or best[i] != best[i - 1])]
        read = [(self._characters[best[i]], float(sure[i])) for i in kept if best[i] < len(self._characters)]
        plain = [(c.upper(), p) for c, p in read if c.isalnum()]
        return Reading("".join(c for c, _ in plain), float(np.mean([p for _, p in plain])) if plain else 0.0)


def load(device: str = "auto", weights_dir: Path | None = None, progress: weights.Progress | None = None) -> Reader:
    """The reader; its weights are fetched from the package index at the first time.

    Raises:
        WeightsError: they cannot be had.
    """
    path = weights.onnx(NAME, cache=weights_dir, progress=progress)
    facts = {p.key: p.value for p in parse(path).metadata_props}
    return Reader(open_network(path, device), facts["character"].split("\n"))


def distance(a: str, b: str) -> int:
    """Edits (Levenshtein) from one text to the other."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


def is_same(a: str, b: str) -> bool:
    """Whether a reading gives a plate away: all but a third of its characters, in order."""
    return min(len(a), len(b)) >= PLATE and distance(a, b) <= max(len(a), len(b)) // 3
