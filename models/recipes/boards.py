"""Boards with words and numbers, as shops and streets have them: what is most often taken for a plate and is none."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Boxes = NDArray[np.float64]
HEIGHTS = (10.0, 75.0)  # px
FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_COMPLEX_SMALL,
)
WORDS = (
    *("MARKET", "FLORIST", "DENTIST", "SHOES", "GARAGE", "COFFEE", "BREAD", "FISH", "SCHOOL", "STATION", "CINEMA"),
    *("ENTRANCE", "PRIVATE", "CLOSED", "RENT", "FOR SALE", "LUNCH", "MENU", "TOYS", "OPTICIAN", "SALON", "TATTOO"),
    *("REPAIRS", "WINE", "PUB", "TEA ROOM", "LAUNDRY", "TICKETS", "PLATFORM", "DANGER", "NO ENTRY", "SLOW", "PAY HERE"),
)
NUMBERS = (
    "{} %",
    "{0}:00-2{1}:30",
    "No {}",
    "LINE {}",
    "{} km",
    "PHONE {}{}{}{}",
    "A{}",
    "FLOOR {}",
    "{} EUR",
    "{}m",
    "-{} %",
)


def text_of(rng: Generator) -> str:
    """A word, a number as signs have it, or both."""
    number = str(rng.choice(NUMBERS)).format(*(int(n) for n in rng.integers(1, 99, 4)))
    word = str(rng.choice(WORDS))
    return (word, word.title(), number, f"{word} {number}")[int(rng.integers(4))]


def board(rng: Generator, height: int = 64) -> Image:
    """One board, RGB (height, W, 3)."""
    width = round(height * float(rng.uniform(1.3, 5.5)))
    ground, ink = rng.uniform(170, 255, 3), rng.uniform(0, 90, 3)
    if rng.random() < 0.4:
        ground, ink = ink, ground
    colour = [float(v) for v in ink]
    out = np.empty((height, width, 3), np.uint8)
    out[:] = ground
    if rng.random() < 0.6:
        line = int(rng.integers(1, 5))
        cv2.rectangle(out, (line, line), (width - 1 - line, height - 1 - line), colour, line, cv2.LINE_AA)
    lines = 1 + int(rng.random() < 0.35)
    for n in range(lines):
        text, font = text_of(rng), FONTS[int(rng.integers(len(FONTS)))]
        (w, h), _ = cv2.getTextSize(text, font, 1.0, 2)
        scale = min(float(rng.uniform(0.4, 0.75)) * height / lines / h, float(rng.uniform(0.6, 0.92)) * width / w)
        at = (round((width - w * scale) / 2), round(height * (n + 0.5) / lines + h * scale / 2))
        cv2.putText(out, text, at, font, scale, colour, max(1, round(scale * float(rng.uniform(1, 3)))), cv2.LINE_AA)
    return out


def hang(image: Image, avoid: Boxes, rng: Generator) -> bool:
    """Hang one board somewhere, in place, a little out of true; False where what is to be avoided (N, 4) is."""
    size = np.array(image.shape[1::-1])
    drawn = board(rng)
    tall = float(np.exp(rng.uniform(*np.log(HEIGHTS))))
    half = np.array([tall * drawn.shape[1] / drawn.shape[0], tall]) / 2
    middle = rng.uniform(0, size)
    if len(avoid) and ((avoid[:, :2] < middle + 1.3 * half) & (avoid[:, 2:] > middle - 1.3 * half)).all(1).any():
        return False
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half * (1 + rng.uniform(-0.12, 0.12, (4, 2)))
    turn = float(rng.normal(0, 0.08))
    corners = corners @ np.array([(np.cos(turn), np.sin(turn)), (-np.sin(turn), np.cos(turn))]) + middle
    h, w = drawn.shape[:2]
    small = cv2.resize(drawn, None, fx=max(tall / h, 0.02), fy=max(tall / h, 0.02), interpolation=cv2.INTER_AREA)
    h, w = small.shape[:2]
    source = np.array([(0, 0), (w, 0), (w, h), (0, h)], np.float32)
    warp = cv2.getPerspectiveTransform(source, corners.astype(np.float32))
    light = float(rng.uniform(0.5, 1.0)) * (0.5 + float(image.mean()) / 255)
    shown = cv2.warpPerspective(np.clip(small * light, 0, 255).astype(np.uint8), warp, tuple(size.tolist()))
    mask = cv2.warpPerspective(np.full((h, w), 255, np.uint8), warp, tuple(size.tolist()), flags=cv2.INTER_LINEAR)
    share = mask.astype(np.float32)[..., None] / 255
    image[:] = (shown * share + image * (1 - share)).astype(np.uint8)
    return True
