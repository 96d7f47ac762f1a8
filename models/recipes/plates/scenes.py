"""Photos with drawn plates in them, and with what cameras and weather do: training data with known corners.

Every marked plate of a real photo is replaced by a drawn one of the same size, seen from a random side; some vehicles
get one more; signs, banners, windows and lettering are added that are no plates. Images are RGB uint8 (H, W, 3), boxes
(N, 4) and corners (N, 4, 2) float64, px, all driven by one `numpy.random.Generator`.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from anonymize.training.degrade import degrade

from .synth import LETTERS, Image, draw_plate, glyphs, paste, pose_in_box, project, wear

Corners = NDArray[np.float64]


def erase(photo: Image, box: Sequence[float]) -> None:
    """Fill a box (and a rim) from what lies around it, in place: no plate may be left beside the one drawn over it."""
    height, width = photo.shape[:2]
    x1, y1, x2, y2 = box
    dx, dy = 0.06 * (x2 - x1) + 1, 0.12 * (y2 - y1) + 1
    a, b, c, d = int(max(x1 - dx, 0)), int(max(y1 - dy, 0)), int(min(x2 + dx + 1, width)), int(min(y2 + dy + 1, height))
    rim = max(3, (d - b) // 6)
    top, bottom = photo[max(b - rim, 0) : max(b, 1), a:c], photo[min(d, height - 1) : min(d + rim, height), a:c]
    if c - a < 1 or d - b < 1:
        return
    upper, lower = (part.astype(np.float32).mean(0) for part in (top, bottom))
    soft = max((c - a) // 12, 1) | 1
    upper, lower = (cv2.blur(part[None], (soft, 1))[0] for part in (upper, lower))
    ramp = np.linspace(0, 1, d - b, dtype=np.float32)[:, None, None]
    photo[b:d, a:c] = (upper * (1 - ramp) + lower * ramp).astype(np.uint8)


def light_of(photo: Image, box: Sequence[float], rng: Generator) -> NDArray[np.float32]:
    """What a white plate would look like in this place: the bright end of what is there, with its cast."""
    height, width = photo.shape[:2]
    x1, y1 = int(np.clip(box[0], 0, width - 1)), int(np.clip(box[1], 0, height - 1))
    part = photo[y1 : max(int(box[3]), y1 + 1), x1 : max(int(box[2]), x1 + 1)].reshape(-1, 3).astype(np.float32)
    bright = np.percentile(part, 92, axis=0)
    bright = 0.6 * bright + 0.4 * bright.max()  # plates are nearly gray: keep a part of the cast only
    return np.clip(np.maximum(bright, 45) * rng.uniform(0.85, 1.25), 40, 262).astype(np.float32)


def distract(photo: Image, avoid: Corners, rng: Generator) -> tuple[float, float, float, float] | None:
    """Draw one thing that is no plate but resembles one, in place: a sign, a banner, a lit window, bare text.

    Args:
        avoid: boxes (N, 4) that must stay as they are.

    Returns:
        Its box before perspective, px; None where nothing was drawn.
    """
    height, width = photo.shape[:2]
    kind = str(rng.choice(["sign", "banner", "text", "window", "sticker"]))
    h = float(np.exp(rng.uniform(np.log(0.015), np.log(0.12)))) * height
    aspect = float(rng.uniform(0.7, 2.2) if kind == "sign" else rng.uniform(2.5, 9))
    w = min(h * aspect, 0.9 * width)
    h = w / aspect
    x, y = float(rng.uniform(-0.1 * w, width - 0.9 * w)), float(rng.uniform(0, max(height * 0.75 - h, 1)))
    if len(avoid) and bool(
        np.any((avoid[:, 0] < x + w + 4) & (avoid[:, 2] > x - 4) & (avoid[:, 1] < y + h + 4) & (avoid[:, 3] > y - 4))
    ):
        return None
    canvas_h = 72
    canvas = np.empty((canvas_h, max(round(canvas_h * aspect), 8), 3), np.float32)
    canvas[:] = rng.uniform(0, 255, 3)
    ink = 255.0 - canvas[0, 0] if rng.random() < 0.6 else rng.uniform(0, 255, 3)
    box = (x, y, x + w, y + h)
    if kind == "text":  # lettering straight on what is there
        part = photo[int(max(y, 0)) : int(y + h) + 1, int(max(x, 0)) : int(x + w) + 1]
        if part.size == 0:
            return None
        canvas = cv2.resize(part, (canvas.shape[1], canvas_h)).astype(np.float32)
        ink = np.array([250.0] * 3 if part.mean() < 128 else [20.0] * 3)
    if kind == "window":
        bars = int(rng.integers(2, 9))
        for i in range(bars + 1):
            at = round(i * (canvas.shape[1] - 1) / bars)
            cv2.line(canvas, (at, 0), (at, canvas_h), np.asarray(ink).tolist(), int(rng.integers(1, 6)))
    else:
        rows = int(rng.integers(1, 4)) if kind == "sign" else 1
        for row in range(rows):
            words = " ".join(
                "".join(rng.choice(list(LETTERS + LETTERS.lower()), int(rng.integers(2, 9))))
                for _ in range(int(rng.integers(1, 3)))
            )
            size = round(canvas_h / rows * 0.62)
            alpha = glyphs(words, size, rng, bool(rng.random() < 0.6))
            alpha = cv2.resize(alpha, (round(canvas.shape[1] * 0.88), size)).astype(np.float32)[..., None] / 255
            x0, y0 = round(canvas.shape[1] * 0.06), round(canvas_h * (row + 0.19) / rows)
            place = canvas[y0 : y0 + size, x0 : x0 + alpha.shape[1]]
            place += (np.asarray(ink, np.float32) - place) * alpha[: place.shape[0], : place.shape[1]]
        if kind == "sign" and rng.random() < 0.7:
            line = int(rng.integers(2, 6))
            cv2.rectangle(
                canvas, (line, line), (canvas.shape[1] - line - 1, canvas_h - line - 1), np.asarray(ink).tolist(), line
            )
    corners = project(aspect, float(rng.normal(0, 0.3)), 0.0, float(rng.normal(0, 0.05)))
    corners = corners * h + (x + w / 2, y + h / 2)
    if len(avoid):
        low, high = corners.min(0) - 3, corners.max(0) + 3
        if bool(np.any((avoid[:, :2] < high).all(1) & (avoid[:, 2:] > low).all(1))):
            return None
    light = np.full(3, 255, np.float32) if kind == "text" else light_of(photo, box, rng)
    paste(photo, np.clip(canvas, 0, 255).astype(np.uint8), corners, light, float(rng.uniform(0, 0.9)))
    return box


def rotate(photo: Image, corners: Corners, angle: float) -> tuple[Image, Corners]:
    """Turn a photo about its center, size kept, black outside; corners with it. `angle`: radians, clockwise."""
    height, width = photo.shape[:2]
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([(c, -s), (s, c)])
    center = np.array([width / 2, height / 2])
    shift = center - turn @ center
    pixel = np.c_[turn, shift + turn @ (0.5, 0.5) - 0.5]  # the same map between pixels' centers
    turned = cv2.warpAffine(photo, pixel, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return turned, corners @ turn.T + shift


def scene(
    photo: Image,
    plates: Corners,
    vehicles: Corners,
    rng: Generator,
    *,
    roll: float = 0.08,
    turn: float | None = None,
) -> tuple[Image, Corners]:
    """A photo in which every marked plate is replaced by a drawn one; some more on vehicles; things that are no plates.

    Args:
        photo: RGB uint8 (H, W, 3), left as it is.
        plates: boxes (N, 4) of ALL plates in it, px.
        vehicles: boxes (M, 4), px; those without a plate may get one.
        rng: decides everything.
        roll: standard deviation of the plates' own rotation, radians.
        turn: rotation of the whole photo, radians; None: one of four photos is turned by up to 30°.

    Returns:
        The new photo, same shape, and corners (K, 4, 2).
    """
    out = photo.copy()
    height, width = out.shape[:2]
    drawn: list[Corners] = []

    def draw(box: Sequence[float], light: NDArray[np.float32]) -> None:
        layout, corners = pose_in_box(box, rng, roll)
        tall = box[3] - box[1]
        plate = wear(draw_plate(layout, rng), rng)
        paste(out, plate, corners, light, float(rng.uniform(0.0, min(0.35 + tall / 40, 1.3))))
        drawn.append(corners)

    for box in plates:
        light = light_of(out, box, rng)
        erase(out, box)
        draw(box, light)
    for x1, y1, x2, y2 in vehicles.tolist():
        inside = len(plates) and np.any(
            (plates[:, 0] < x2) & (plates[:, 2] > x1) & (plates[:, 1] < y2) & (plates[:, 3] > y1)
        )
        if inside or x2 - x1 < 40 or rng.random() < 0.55:
            continue
        w = float(rng.uniform(0.12, 0.3)) * (x2 - x1)
        h = w / float(rng.choice([1.4, 2.0, 2.2, 3.0, 3.5, 4.0, 4.5]))
        if h < 6:
            continue
        x = float(np.clip(rng.normal((x1 + x2) / 2, (x2 - x1) / 8), x1, max(x2 - w, x1)))
        y = y1 + float(rng.uniform(0.55, 0.85)) * (y2 - y1)
        box = (x, y, min(x + w, width), min(y + h, height))
        others = np.array([(*c.min(0), *c.max(0)) for c in drawn]).reshape(-1, 4)
        clash = (others[:, 0] < box[2]) & (others[:, 2] > box[0]) & (others[:, 1] < box[3]) & (others[:, 3] > box[1])
        if box[2] - box[0] > 8 and box[3] - box[1] > 5 and not clash.any():
            draw(box, light_of(out, box, rng))
    boxes = np.array([(*c.min(0), *c.max(0)) for c in drawn]).reshape(-1, 4)
    for _ in range(int(rng.poisson(1.2))):
        distract(out, boxes, rng)
    corners = np.array(drawn).reshape(-1, 4, 2)
    if turn is None:
        turn = float(rng.uniform(-np.pi / 6, np.pi / 6)) if rng.random() < 0.25 else 0.0
    if turn:
        out, corners = rotate(out, corners, turn)
        centers = corners.mean(axis=1)
        corners = corners[((centers > 0) & (centers < (width, height))).all(axis=1)]
    return degrade(out, rng), corners
