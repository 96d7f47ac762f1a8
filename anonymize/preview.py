"""A side-by-side picture for people: the photo with boxes and scores, and what was written."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import supervision as sv
from numpy.typing import NDArray
from PIL import Image

from .disk import write_whole
from .images import Photo
from .regions import Region, boxes

LONG_SIDE = 1280  # px of each half: enough to judge by, quick to look through
COLORS = {"face": "#1f77ff", "plate": "#ff7f0e"}
OTHER = "#8c8c8c"


def draw(image: NDArray[np.uint8], regions: Sequence[Region]) -> NDArray[np.uint8]:
    """A copy of an RGB image, uint8 (H, W, 3), with each region's box (or corners), kind and score."""
    kinds = list(dict.fromkeys(r.kind for r in regions))
    palette = sv.ColorPalette.from_hex([COLORS.get(k, OTHER) for k in kinds] or [OTHER])
    found = sv.Detections(xyxy=boxes(regions), class_id=np.array([kinds.index(r.kind) for r in regions], dtype=int))
    scale = max(image.shape[:2]) / LONG_SIDE
    thickness = max(1, round(2 * scale))
    bgr = np.ascontiguousarray(image[:, :, ::-1])  # what supervision's colors are for
    out = sv.BoxAnnotator(palette, thickness=thickness).annotate(bgr, found)
    for region in regions:
        if region.corners is not None:
            corners = np.rint(np.array(region.corners)).astype(np.int32)
            color = sv.Color.from_hex(COLORS.get(region.kind, OTHER)).as_bgr()
            cv2.polylines(out, [corners], isClosed=True, color=color, thickness=thickness, lineType=cv2.LINE_AA)
    labels = [f"{r.kind} {r.score:.2f}" for r in regions]
    label = sv.LabelAnnotator(palette, text_scale=0.4 * max(scale, 1), text_padding=3, smart_position=True)
    return np.ascontiguousarray(label.annotate(out, found, labels)[:, :, ::-1])


def side_by_side(photo: Photo, pixels: NDArray, regions: Sequence[Region]) -> Image.Image:
    """The photo with boxes on the left, its anonymized pixels on the right, each at most LONG_SIDE px."""
    halves = [draw(photo.rgb, regions), replace(photo, pixels=pixels).rgb]
    scale = min(1.0, LONG_SIDE / max(photo.width, photo.height))
    size = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
    gap = 8
    out = Image.new("RGB", (2 * size[0] + gap, size[1]), "white")
    for i, half in enumerate(halves):
        out.paste(Image.fromarray(half).resize(size, Image.Resampling.LANCZOS), (i * (size[0] + gap), 0))
    return out


def save_preview(photo: Photo, pixels: NDArray, regions: Sequence[Region], target: Path) -> None:
    """`side_by_side` as a JPEG at `target`; a photo whose preview fails has one failure, not a half picture."""
    buffer = io.BytesIO()
    side_by_side(photo, pixels, regions).save(buffer, "JPEG", quality=90)
    write_whole(target, buffer.getvalue())
