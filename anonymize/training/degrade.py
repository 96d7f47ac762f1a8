"""What cameras and weather do to photos, as augmentation: one `numpy.random.Generator` decides."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray


def degrade(photo: NDArray[np.uint8], rng: Generator, amount: float = 1.0) -> NDArray[np.uint8]:
    """What cameras and weather do: motion blur, defocus, rain, night, noise, low JPEG quality. A new image, same shape.

    Args:
        photo: uint8 (H, W, 3), RGB or BGR (nothing here minds).
        amount: multiplies every chance; 0 returns the photo.
    """
    out = photo
    if rng.random() < 0.12 * amount:  # motion
        length = int(rng.integers(3, 10))
        kernel = np.zeros((length, length), np.float32)
        angle, middle = float(rng.normal(0, 0.35)), (length - 1) / 2
        dx, dy = np.cos(angle) * middle, np.sin(angle) * middle
        ends = [(round(middle - dx), round(middle - dy)), (round(middle + dx), round(middle + dy))]
        cv2.line(kernel, ends[0], ends[1], 1.0)
        out = cv2.filter2D(out, -1, kernel / kernel.sum())
    elif rng.random() < 0.12 * amount:
        out = cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.5, 1.6)))
    if rng.random() < 0.12 * amount:  # night: dark, and the lights stay
        level = (np.arange(256) / 255.0) ** float(rng.uniform(1.3, 2.4)) * float(rng.uniform(0.35, 0.95))
        out = cv2.LUT(out, np.clip(level * 255, 0, 255).astype(np.uint8))
    elif rng.random() < 0.15 * amount:
        level = (np.arange(256) / 255.0) ** float(rng.uniform(0.6, 1.4)) * 255
        out = cv2.LUT(out, np.clip(level, 0, 255).astype(np.uint8))
    if rng.random() < 0.06 * amount:  # rain
        streaks = np.zeros(out.shape[:2], np.uint8)
        height, width = out.shape[:2]
        slope = float(rng.normal(0, 0.25))
        for x, y, n in zip(
            rng.integers(0, width, 160),
            rng.integers(0, height, 160),
            rng.integers(6, max(height // 14, 8), 160),
            strict=True,
        ):
            cv2.line(streaks, (int(x), int(y)), (int(x + slope * n), int(y + n)), 110, 1, cv2.LINE_AA)
        out = cv2.add(out, cv2.merge([streaks] * 3) // 2)
    if rng.random() < 0.15 * amount:
        small = rng.normal(0, float(rng.uniform(2, 11)), (*out.shape[:2], 1)).astype(np.float32)
        out = np.clip(out + small, 0, 255).astype(np.uint8)
    if rng.random() < 0.3 * amount:
        _, data = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(22, 80))])
        out = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return out if out is not photo else photo.copy()
