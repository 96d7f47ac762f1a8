"""Between an image and a network: fitting the one into the other, and candidates back into the image. Pure functions.

A network's input is the image resized so that its long side has a given length, then padded to multiples of 32 (the
largest stride of all networks here). The image is never cropped, and a small one is enlarged: that finds many more of
the small faces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import DetectionError
from ..regions import suppress_boxes
from ..settings import MIN_THRESHOLD, UNLIKELY, Settings
from .detections import Detections, objects
from .detector import Image

STRIDE = 32
# px, the least width of an input: on a processor with AMX, answers of YOLO networks are wrong, or no numbers, where a
# map is one cell wide (openvino 2026.4, in bfloat16 and 8-bit integers).
LEAST_WIDTH = 2 * STRIDE
# Candidates that go into the suppression, for each region that may come out. A face or plate draws about ten of them.
CANDIDATES_PER_REGION = 10

Floats = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where an image lies in a network's input.

    Attributes:
        pixels: uint8 (H, W, 3) RGB, H and W multiples of 32; what the network gets to see.
        scale: (x, y), input pixels for one image pixel.
        offset: (x, y), input pixels left of and above the image.
        size: (width, height) of the image, px.
    """

    pixels: Image
    scale: tuple[float, float]
    offset: tuple[int, int]
    size: tuple[int, int]

    def to_image(self, points: Floats) -> Floats:
        """Points (..., 2) in the input's pixels -> the same in the image's."""
        return (points - np.array(self.offset)) / np.array(self.scale)


@dataclass(frozen=True, slots=True)
class Candidates:
    """What a network says about one kind, in its input's pixels, before overlaps are suppressed.

    Attributes:
        boxes: (N, 4) x1 y1 x2 y2.
        scores: (N,) 0–1.
        landmarks: (N, 5, 2) left eye, right eye, nose, left and right mouth corner as seen, or None.
        corners: (N, 4, 2) top left, top right, bottom right, bottom left in reading order, NaN where they are doubtful;
            or None.
    """

    boxes: Floats
    scores: Floats
    landmarks: Floats | None = None
    corners: Floats | None = None


def check(image: object) -> Image:
    """The image, if a detector can look at it.

    Raises:
        DetectionError: not a uint8 array of shape (H, W, 3) with at least one pixel.
    """
    if isinstance(image, np.ndarray):
        if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size:
            return image
        raise DetectionError(f"an image is uint8 (H, W, 3) with H, W >= 1; received {image.dtype} {image.shape}")
    raise DetectionError(f"an image is a numpy array; received {type(image).__name__}")


def letterbox(
    image: Image, long_side: int, *, fill: int = 0, center: bool = False, target: tuple[int, int] | None = None
) -> Letterbox:
    """Resize and pad an image to a network's input.

    Args:
        image: uint8 (H, W, 3).
        long_side: px, a multiple of 32; the image's longer side becomes exactly this.
        fill: value of the padding, 0–255.
        center: padding on both sides (as ultralytics pads), else right and below.
        target: (height, width) px of a network with a fixed input, which then counts instead of long_side.
    """
    height, width = image.shape[:2]
    most_h, most_w = target or (long_side, long_side)
    factor = min(most_h / height, most_w / width)
    w, h = min(max(round(width * factor), 1), most_w), min(max(round(height * factor), 1), most_h)
    if (w, h) != (width, height):
        # Beyond a factor of two, linear interpolation skips source pixels: small things vanish or not by chance.
        image = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA if factor < 0.5 else cv2.INTER_LINEAR)
    to_h, to_w = target or (-(-h // STRIDE) * STRIDE, max(-(-w // STRIDE) * STRIDE, LEAST_WIDTH))
    left, top = ((to_w - w) // 2, (to_h - h) // 2) if center else (0, 0)
    if (to_w, to_h) != (w, h):
        pixels = np.full((to_h, to_w, 3), fill, np.uint8)
        pixels[top : top + h, left : left + w] = image
    else:
        pixels = image
    return Letterbox(pixels, (w / width, h / height), (left, top), (width, height))


def tensor(pixels: Image, *, mean: Sequence[float] = (0.0, 0.0, 0.0), divisor: float = 1.0) -> NDArray[np.float32]:
    """uint8 (H, W, 3) -> contiguous float32 (1, 3, H, W), (value - mean) / divisor."""
    return Scaling(tuple(mean), divisor).apply(pixels[None])


@dataclass(frozen=True, slots=True)
class Scaling:
    """What a network takes instead of pixels: (value - mean) / divisor of each channel.

    Attributes:
        mean: Of each channel, in the order in which the network takes them.
        divisor: After the mean is gone.
        is_bgr: Blue comes first.
        channels_last: float32 (N, H, W, 3) instead of (N, 3, H, W).
    """

    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    divisor: float = 1.0
    is_bgr: bool = False
    channels_last: bool = False

    def apply(self, pixels: Image) -> NDArray[np.float32]:
        """uint8 (N, H, W, 3) RGB -> contiguous float32 of the network's form."""
        if self.is_bgr:
            pixels = pixels[..., ::-1]
        if not self.channels_last:
            pixels = pixels.transpose(0, 3, 1, 2)
        out = np.ascontiguousarray(pixels, dtype=np.float32)
        if any(self.mean):
            mean = np.array(self.mean, np.float32)
            out -= mean if self.channels_last else mean[:, None, None]
        if self.divisor != 1.0:
            out *= np.float32(1.0 / self.divisor)
        return out


def above_threshold(scores: Floats, floor: float = MIN_THRESHOLD) -> NDArray[np.intp]:
    """Indices of the scores (N,) that reach the floor; NaN too, so that `detections` can complain about it."""
    return np.flatnonzero(~(scores < floor))


def detections(
    kind: str,
    found: Candidates,
    frame: Letterbox,
    name: str,
    settings: Settings,
    floor: float = MIN_THRESHOLD,
    likely: float = UNLIKELY,
) -> Detections:
    """Candidates of one kind in the image's pixels: floor score, clipped, overlaps suppressed, best first.

    Args:
        kind: what the candidates are.
        found: the candidates.
        frame: where the image lies in the network's input.
        name: the detector's, for `detector_scores`.
        settings: iou_threshold and max_regions.
        floor: score below which a candidate is nothing.
        likely: score from which none is left out for being one too many: there can be more than max_regions of these.
            Whoever brings them together knows what their scores are worth, and refuses if too many remain.

    Raises:
        DetectionError: a score or a box that is not a finite number: comparing would drop it in silence.
    """
    scores = np.asarray(found.scores, np.float64)
    if not np.isfinite(scores).all():
        raise DetectionError(f"{name}: the network gave scores that are not numbers")
    keep = above_threshold(scores, floor)
    most = max(settings.max_regions * CANDIDATES_PER_REGION, int((scores[keep] >= likely).sum()))
    if keep.size > most:
        keep = keep[np.argpartition(-scores[keep], most)[:most]]
    boxes = frame.to_image(np.asarray(found.boxes, np.float64)[keep].reshape(-1, 2, 2)).reshape(-1, 4)
    if not np.isfinite(boxes).all():
        raise DetectionError(f"{name}: the network gave boxes that are not numbers")
    boxes = np.clip(boxes, 0.0, np.array(frame.size * 2, np.float64))
    seen = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])  # the others lie in the padding
    boxes, keep = boxes[seen], keep[seen]
    limit = max(settings.max_regions, int((scores[keep] >= likely).sum()))
    chosen = suppress_boxes(boxes, scores[keep], settings.iou_threshold, limit)
    chosen = chosen[(np.arange(len(chosen)) < settings.max_regions) | (scores[keep[chosen]] >= likely)]
    keep = keep[chosen]
    scores = np.minimum(scores[keep], 1.0)

    def points(all_points: Floats | None, count: int) -> Floats:
        if all_points is None:
            return np.full((len(keep), count, 2), np.nan)
        return frame.to_image(np.asarray(all_points, np.float64)[keep])

    return Detections(
        objects([kind] * len(keep)),
        boxes[chosen],
        scores,
        objects({name: score} for score in scores.tolist()),
        objects(["auto"] * len(keep)),
        points(found.corners, 4),
        points(found.landmarks, 5),
    )
