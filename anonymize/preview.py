"""Pictures for people: as JPEG, and side by side: the photo with boxes and scores, and what was written."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .disk import write_whole
from .images import Photo
from .regions import Region

LONG_SIDE = 1280  # px of each half: enough to judge by, quick to look through
COLORS = {"face": (31, 119, 255), "plate": (255, 127, 14)}  # RGB
OTHER = (140, 140, 140)


def to_jpeg(picture: Image.Image | NDArray[Any], quality: int, **options: Any) -> bytes:
    """A picture (or RGB pixels) as a JPEG file's bytes. `options`: as Pillow's."""
    out = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(out, "JPEG", quality=quality, **options)
    return out.getvalue()


def shrink(rgb: NDArray[np.uint8], side: int) -> tuple[NDArray[np.uint8], float]:
    """An RGB picture with a longer side of at most so many px, and its factor, at most 1."""
    height, width = rgb.shape[:2]
    factor = min(1.0, side / max(height, width))
    if factor == 1:
        return np.ascontiguousarray(rgb), factor
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.array(Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)), factor


def draw(image: NDArray[np.uint8], regions: Sequence[Region]) -> NDArray[np.uint8]:
    """A copy of an RGB image, uint8 (H, W, 3), with each region's box (and corners), kind and score."""
    out = image.copy()
    scale = max(1.0, max(image.shape[:2]) / LONG_SIDE)
    font, height, thickness = cv2.FONT_HERSHEY_SIMPLEX, 0.4 * scale, max(1, round(2 * scale))
    for region in regions:
        color = COLORS.get(region.kind, OTHER)
        x1, y1, x2, y2 = (round(v) for v in region.box)
        cv2.rectangle(out, (x1, y1), (x2, y2), color, thickness)
        if region.corners is not None:
            corners = np.rint(np.array(region.corners)).astype(np.int32)
            cv2.polylines(out, [corners], isClosed=True, color=color, thickness=thickness, lineType=cv2.LINE_AA)
        label = f"{region.kind} {region.score:.2f}"
        (width, above), below = cv2.getTextSize(label, font, height, round(scale))
        left = max(0, min(x1, image.shape[1] - width))
        bottom = y1 if y1 > above + below else min(y2 + above + below, image.shape[0])  # above the box, else under it
        cv2.rectangle(out, (left, bottom - above - below), (left + width, bottom), color, cv2.FILLED)
        cv2.putText(out, label, (left, bottom - below), font, height, (255, 255, 255), round(scale), cv2.LINE_AA)
    return out


def side_by_side(photo: Photo, pixels: NDArray, regions: Sequence[Region]) -> Image.Image:
    """The photo with boxes on the left, its anonymized pixels on the right, each at most LONG_SIDE px."""
    left, right = draw(photo.rgb, regions), replace(photo, pixels=pixels).rgb
    halves = [shrink(half, LONG_SIDE)[0] for half in (left, right)]
    gap = np.full((len(halves[0]), 8, 3), 255, np.uint8)
    return Image.fromarray(np.hstack([halves[0], gap, halves[1]]))


def save_preview(photo: Photo, pixels: NDArray, regions: Sequence[Region], target: Path) -> None:
    """`side_by_side` as a JPEG at `target`; a photo whose preview fails has one failure, not a half picture."""
    write_whole(target, to_jpeg(side_by_side(photo, pixels, regions), 90))
