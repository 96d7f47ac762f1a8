"""Synthetic license plates with known corners: drawn, worn, and bent into perspective. `scenes` puts them into photos.

Every plate carries random text. The layouts follow proportions and colors of many countries (ISO 7591 sizes and the
countries' own), not their exact fonts: what a detector has to learn is the shape, the contrast and the row of glyphs.

Everything is driven by one `numpy.random.Generator`, so one seed draws one data set, on any machine.
Images are RGB uint8 (H, W, 3). Corners are (4, 2) float64, px, in reading order TL TR BR BL, where the pixel in column
0 covers 0..1 (as the boxes of `regions`).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Color = tuple[int, int, int]

WHITE, BLACK, YELLOW, BLUE, GREEN, RED = (
    (238, 238, 232), (18, 18, 20), (244, 196, 30), (20, 60, 160), (20, 110, 70), (170, 25, 30)
)  # fmt: skip
LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"
ARABIC = "ابحدرسصطعقكلمنهوى"
ARABIC_DIGITS = "٠١٢٣٤٥٦٧٨٩"


@dataclass(frozen=True, slots=True)
class Layout:
    """How one country's plates look.

    Attributes:
        name: what it resembles.
        aspect: width / height.
        papers: background colors to choose from.
        inks: text color for each paper.
        rows: patterns, one for each row, "|" between alternatives; L letter, D digit, C a made-up ideograph, A Arabic
            letter, N Eastern Arabic digit, s one word of small print, anything else itself.
        heights: share of the plate's height that each row's glyphs take.
        band: side and color of a colored strip ("left", "right", "top") or None.
        frame: whether a line runs around the edge.
    """

    name: str
    aspect: float
    papers: tuple[Color, ...]
    inks: tuple[Color, ...]
    rows: tuple[str, ...]
    heights: tuple[float, ...] = (0.68,)
    band: tuple[str, Color] | None = None
    frame: bool = True


_EU = ("left", (15, 55, 150))
LAYOUTS: tuple[Layout, ...] = (
    Layout("eu", 4.64, (WHITE,), (BLACK,), ("LL DDD LL|LL-DDD-LL|L LL DDDD|LL DD LLL|L DD LLL|DDDD LLL",), band=_EU),
    Layout("eu-plain", 4.64, (WHITE,), (BLACK,), ("LLL-DDD|LL DDDDD|L DDDDDD|DDD LL DDD",)),
    Layout("be", 4.64, (WHITE,), (RED,), ("D-LLL-DDD",), band=_EU),
    Layout("nl", 4.64, (YELLOW,), (BLACK,), ("LL-DDD-L|DD-LLL-D|L-DDD-LL",), band=_EU),
    Layout("uk", 4.68, (WHITE, YELLOW), (BLACK, BLACK), ("LLDD LLL|L DDD LLL",), (0.7,), frame=False),
    Layout("ru", 4.64, (WHITE,), (BLACK,), ("L DDD LL DD",), band=("right", WHITE)),
    Layout("ua", 4.64, (WHITE,), (BLACK,), ("LL DDDD LL",), band=("left", (40, 110, 200))),
    Layout("ch", 4.4, (WHITE,), (BLACK,), ("LL DDDDDD|LL·DDDDD",), frame=False),
    Layout("tr", 4.64, (WHITE,), (BLACK,), ("DD LLL DD|DD LL DDDD",), band=("left", BLUE)),
    Layout("il", 4.6, (YELLOW,), (BLACK,), ("DD-DDD-DD|DDD-DD-DDD",), band=("left", BLUE)),
    Layout("kr", 4.7, (WHITE, GREEN), (BLACK, WHITE), ("DDDC DDDD|DDC DDDD",)),
    Layout("in", 4.17, (WHITE, YELLOW, GREEN), (BLACK, BLACK, WHITE), ("LL DD LL DDDD|LLDDLLDDDD",), (0.6,)),
    Layout("cn", 3.14, (BLUE, (120, 200, 140), YELLOW), (WHITE, BLACK, BLACK),
           ("CL·DDDDD|CL·LDDDD|CLDDDDDD",), (0.65,)),
    Layout("br-mercosul", 3.08, (WHITE,), (BLACK,), ("LLLDLDD|LL DDD LL",), (0.58,), band=("top", (10, 50, 140))),
    Layout("br", 3.08, ((165, 168, 170), (150, 25, 30)), (BLACK, WHITE), ("s", "LLL·DDDD"), (0.14, 0.56)),
    Layout("my", 4.4, (BLACK,), (WHITE,), ("LLL DDDD|L DDDD L",), (0.7,), frame=False),
    Layout("vintage", 4.6, (BLACK, (60, 60, 62)), (WHITE, (200, 200, 200)), ("LLL DDD|LL DD DD|DDDD LL",), (0.62,)),
    Layout("au", 2.78, (WHITE, YELLOW, (30, 60, 40)), (BLUE, BLACK, WHITE),
           ("LLL·DDD|DLL DLL|LL DD LL", "s"), (0.6, 0.12)),
    Layout("us", 2.0, (WHITE, (205, 220, 240), (245, 225, 170), (215, 235, 215), (30, 45, 95)),
           ((25, 35, 90), (20, 40, 110), (120, 30, 25), (20, 80, 50), (240, 220, 120)),
           ("s", "LLL DDDD|DLLLDDD|LLL·DDD|DDD LLL|LL DDDDD", "s"), (0.13, 0.48, 0.1)),
    Layout("ca", 2.0, (WHITE,), (BLUE,), ("s", "LLLL·DDD|LL DDD L", "s"), (0.12, 0.46, 0.1)),
    Layout("jp", 2.0, (WHITE, YELLOW, GREEN), (GREEN, BLACK, WHITE), ("CC DDD", "C DD-DD"), (0.26, 0.48)),
    Layout("tw", 2.1, (WHITE,), (BLACK,), ("LLL-DDDD|DDDD-LL",), (0.58,)),
    Layout("th", 2.27, (WHITE,), (BLACK,), ("DCC DDDD", "CCCC"), (0.5, 0.24)),
    Layout("mx", 2.0, (WHITE,), (BLACK,), ("s", "LLL-DD-DD|LLL-DDD-L", "s"), (0.16, 0.42, 0.12)),
    Layout("sa", 2.0, (WHITE,), (BLACK,), ("NNNN AAA", "DDDD LLL"), (0.36, 0.36), band=("right", (215, 225, 220))),
    Layout("ae", 4.5, (WHITE,), (BLACK,), ("L DDDDD|AA DDDDD",), (0.55,)),
    Layout("eg", 2.0, (WHITE,), (BLACK,), ("NNNN AAA",), (0.45,), band=("top", (60, 130, 200))),
    Layout("ir", 4.64, (WHITE,), (BLACK,), ("NN A NNN NN",), band=("left", BLUE)),
    Layout("eu-two-row", 1.55, (WHITE, YELLOW), (BLACK, BLACK), ("LL DD|LLL", "DDDD|LL DDD"), (0.36, 0.36)),
    Layout("uk-two-row", 1.4, (YELLOW, WHITE), (BLACK, BLACK), ("LLDD", "LLL"), (0.38, 0.38), frame=False),
    Layout("moto", 1.27, (WHITE, YELLOW), (BLACK, BLACK), ("LL·DD|DDD", "LLL|DDDD"), (0.36, 0.36)),
    Layout("in-two-row", 1.7, (WHITE, YELLOW, BLACK), (BLACK, BLACK, YELLOW), ("LL DD LL|LLDD", "DDDD"), (0.34, 0.38)),
    Layout("vn-moto", 1.36, (WHITE, BLUE), (BLACK, WHITE), ("DD-LD", "DDD.DD"), (0.35, 0.4)),
    Layout("cn-two-row", 1.6, (YELLOW, BLUE), (BLACK, WHITE), ("C·L", "DDDDD"), (0.28, 0.46)),
    Layout("us-moto", 1.75, (WHITE, (205, 220, 240)), (BLUE, BLACK), ("s", "DDLLDD|LLDDD"), (0.14, 0.5)),
)  # fmt: skip


@functools.lru_cache
def _font(size: int, bold: bool) -> object:
    # matplotlib (which ultralytics needs anyway) carries DejaVu: the same glyphs on every machine.
    from matplotlib import get_data_path
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(
        str(Path(get_data_path()) / "fonts" / "ttf" / name), size, layout_engine=ImageFont.Layout.BASIC
    )


def text_of(pattern: str, rng: Generator) -> str:
    """Random text for a row's pattern; a private-use character stands for a made-up ideograph."""
    alphabets = {"L": LETTERS, "D": "0123456789", "C": "\ue000", "A": ARABIC, "N": ARABIC_DIGITS}
    chosen = str(rng.choice(pattern.split("|")))
    if chosen == "s":
        return "".join(rng.choice(list(LETTERS), int(rng.integers(4, 12))))
    return "".join(str(rng.choice(list(alphabets[c]))) if c in alphabets else c for c in chosen)


def glyphs(text: str, height: int, rng: Generator, bold: bool) -> NDArray[np.uint8]:
    """Text as a mask, uint8 0–255, (height, some width)."""
    from PIL import Image as Pil
    from PIL import ImageDraw

    font = _font(48, bold)
    pieces = []
    for character in text:
        if character == "\ue000":  # strokes in a square: an ideograph to the eye of a small network
            cell = np.zeros((48, 46), np.uint8)
            for _ in range(int(rng.integers(5, 9))):
                a, b = (int(v) for v in rng.integers(4, 42, 2))
                ends = ((4, a), (42, a)) if rng.random() < 0.5 else ((b, 4), (b + int(rng.integers(-6, 7)), 44))
                cv2.line(cell, ends[0], ends[1], 255, 4, cv2.LINE_AA)
        else:
            width = max(int(font.getlength(character)) + 4, 8)  # type: ignore[attr-defined]
            canvas = Pil.new("L", (width, 64))
            ImageDraw.Draw(canvas).text((2, 2), character, fill=255, font=font)  # type: ignore[arg-type]
            cell = np.asarray(canvas)[10:54]  # capitals and digits of DejaVu stand between these lines at size 48
            cell = cv2.resize(cell, (cell.shape[1], 48), interpolation=cv2.INTER_LINEAR)
        pieces.append(cell)
    line = np.concatenate(pieces, axis=1)
    line = line[:, np.flatnonzero(line.max(0) > 40).min() : np.flatnonzero(line.max(0) > 40).max() + 1]
    return cv2.resize(line, (max(line.shape[1] * height // 48, 1), height), interpolation=cv2.INTER_AREA)


def draw_plate(layout: Layout, rng: Generator, height: int = 96) -> Image:
    """A clean plate, seen straight on.

    Returns:
        RGB uint8 (height, round(height * aspect), 3).
    """
    width = round(height * layout.aspect)
    i = int(rng.integers(len(layout.papers)))
    paper = np.clip(np.array(layout.papers[i]) + rng.normal(0, 7, 3), 0, 255)
    ink = np.clip(np.array(layout.inks[i]) + rng.normal(0, 9, 3), 0, 255)
    plate = np.empty((height, width, 3), np.float32)
    plate[:] = paper
    if layout.name in ("us", "ca", "mx", "us-moto") and rng.random() < 0.6:  # a picture behind the text
        tint = np.clip(paper + rng.normal(0, 45, 3), 0, 255)
        ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None, None] ** float(rng.uniform(0.5, 3))
        plate += (tint - paper).astype(np.float32) * ramp
    left, right, top, bottom = 0.03 * width, 0.97 * width, 0.06 * height, 0.94 * height
    if layout.band:
        side, color = layout.band
        size = round({"top": 0.2 * height}.get(side, 0.42 * height))
        if side == "left":
            plate[:, :size], left = color, size + 0.02 * width
            cv2.circle(
                plate, (size // 2, height // 3), max(size // 4, 1), (225, 200, 60), max(size // 14, 1), cv2.LINE_AA
            )
        elif side == "right":
            plate[:, -size:], right = color, width - size - 0.02 * width
            cv2.line(plate, (width - size, 0), (width - size, height), ink.tolist(), 2)
        else:
            plate[:size], top = color, size + 0.03 * height
    bold, squeeze = bool(rng.random() < 0.7), float(rng.uniform(0.62, 1.0))
    used = sum(layout.heights) * height
    gap = max((bottom - top - used) / (len(layout.rows) + 1), 0.0)
    y = top + gap
    for pattern, share in zip(layout.rows, layout.heights, strict=True):
        h = max(round(share * height), 3)
        letters = glyphs(text_of(pattern, rng), h, rng, bold)
        room = (right - left) * float(rng.uniform(0.84, 0.97) if pattern != "s" else rng.uniform(0.3, 0.7))
        w = max(min(round(letters.shape[1] * squeeze), round(room)), 2) if pattern != "s" else max(round(room), 2)
        alpha = cv2.resize(letters, (w, h), interpolation=cv2.INTER_AREA).astype(np.float32)[..., None] / 255
        x0, y0 = round((left + right - w) / 2), round(min(y, height - h))
        place = plate[y0 : y0 + h, x0 : x0 + w]
        place += (ink.astype(np.float32) - place) * alpha
        y += h + gap
    if layout.frame and rng.random() < 0.7:
        line = max(height // 32, 1)
        cv2.rectangle(plate, (line, line), (width - 1 - line, height - 1 - line), ink.tolist(), line, cv2.LINE_AA)
    return np.clip(plate, 0, 255).astype(np.uint8)


def wear(plate: Image, rng: Generator) -> Image:
    """Dirt, fading, shadows, glare, bolts and dealers' frames; same shape."""
    height, width = plate.shape[:2]
    out = plate.astype(np.float32)

    def blotches(cells: int) -> NDArray[np.float32]:
        small = rng.random((cells, max(round(cells * width / height), 1)), dtype=np.float32)
        return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]

    if rng.random() < 0.4:  # dirt
        amount = np.clip(blotches(int(rng.integers(3, 9))) - float(rng.uniform(0.3, 0.8)), 0, 1) * float(
            rng.uniform(0.5, 1.6)
        )
        mud = np.array(rng.choice([(95, 80, 62), (70, 66, 62), (140, 128, 110)]), np.float32)
        out += (mud - out) * np.clip(amount, 0, 0.9)
    if rng.random() < 0.3:  # faded
        out += (out.mean() - out) * float(rng.uniform(0.1, 0.5))
    if rng.random() < 0.3:  # the shadow of a bumper
        edge, soft = float(rng.uniform(0.1, 0.9)) * height, float(rng.uniform(2, 20))
        rows = np.arange(height, dtype=np.float32)[:, None, None]
        cols = np.arange(width, dtype=np.float32)[None, :, None] * float(rng.normal(0, 0.15))
        out *= 1 - float(rng.uniform(0.25, 0.7)) / (1 + np.exp((rows + cols - edge) / soft))
    if rng.random() < 0.18:  # glare
        yy, xx = np.mgrid[:height, :width].astype(np.float32)
        d = (xx - rng.uniform(0, width)) ** 2 + (yy - rng.uniform(0, height)) ** 2
        out += 255 * float(rng.uniform(0.4, 1.1)) * np.exp(-d / (2 * (rng.uniform(0.2, 0.8) * height) ** 2))[..., None]
    if rng.random() < 0.4:
        for x in (0.12, 0.88):
            center = (round(width * x), round(height * float(rng.choice([0.15, 0.5, 0.85]))))
            cv2.circle(out, center, max(height // 24, 1), [float(rng.uniform(30, 190))] * 3, -1, cv2.LINE_AA)
    return np.clip(out, 0, 255).astype(np.uint8)


def project(aspect: float, yaw: float, pitch: float, roll: float, distance: float = 5.0) -> NDArray[np.float64]:
    """A plate of height 1 seen by a pinhole camera.

    Args:
        aspect: width / height.
        yaw, pitch, roll: rotations about the vertical, the horizontal and the viewing axis, radians.
        distance: from the camera, in plate widths (small: strong perspective).

    Returns:
        Corners (4, 2), centerd near (0, 0), in plate heights.
    """
    a = aspect / 2
    points = np.array([(-a, -0.5, 0), (a, -0.5, 0), (a, 0.5, 0), (-a, 0.5, 0)])
    cy, sy, cp, sp, cr, sr = (f(v) for v in (yaw, pitch, roll) for f in (np.cos, np.sin))
    turn = (
        np.array([(cr, -sr, 0), (sr, cr, 0), (0, 0, 1)])
        @ np.array([(1, 0, 0), (0, cp, -sp), (0, sp, cp)])
        @ np.array([(cy, 0, sy), (0, 1, 0), (-sy, 0, cy)])
    )
    x, y, z = (points @ turn.T).T
    depth = distance * aspect
    return np.stack([x, y], axis=1) * (depth / (depth + z))[:, None]


def pose(layout: Layout, rng: Generator, roll: float) -> NDArray[np.float64]:
    yaw = float(np.clip(rng.normal(0, 0.5), -1.15, 1.15))
    pitch = float(np.clip(rng.normal(0.1, 0.2), -0.6, 0.6))
    return project(layout.aspect, yaw, pitch, float(rng.normal(0, roll)), float(rng.uniform(2.5, 9)))


def pose_in_box(
    box: Sequence[float], rng: Generator, roll: float = 0.08, tries: int = 24
) -> tuple[Layout, NDArray[np.float64]]:
    """A layout and a pose whose corners have just this bounding box (x1, y1, x2, y2): the best of some random ones.

    What still differs is stretched, so the box is met exactly.
    """
    x1, y1, x2, y2 = box
    wanted = np.log(max(x2 - x1, 1e-6) / max(y2 - y1, 1e-6))
    best: tuple[float, Layout, NDArray[np.float64]] | None = None
    for _ in range(tries):
        layout = LAYOUTS[int(rng.integers(len(LAYOUTS)))]
        corners = pose(layout, rng, roll)
        w, h = np.ptp(corners, axis=0)
        off = abs(np.log(w / h) - wanted)
        if best is None or off < best[0]:
            best = (off, layout, corners)
        if off < 0.06:
            break
    assert best is not None
    _, layout, corners = best
    low, size = corners.min(0), np.ptp(corners, axis=0)
    return layout, (corners - low) / size * (x2 - x1, y2 - y1) + (x1, y1)


def paste(photo: Image, plate: Image, corners: NDArray[np.float64], light: NDArray[np.float32], blur: float) -> None:
    """Warp a plate into a photo, in place, anti-aliased.

    Args:
        photo: RGB uint8, changed.
        plate: RGB uint8.
        corners: (4, 2) px of the photo; they may lie outside.
        light: (3,) what white becomes there, 0–255.
        blur: px, sigma of the photo's own softness.
    """
    height, width = photo.shape[:2]
    pad = 3 + int(2 * blur)
    x1, y1 = np.maximum(np.floor(corners.min(0)).astype(int) - pad, 0)
    x2, y2 = np.minimum(np.ceil(corners.max(0)).astype(int) + pad, (width, height))
    if x2 <= x1 or y2 <= y1:
        return
    fine = 2  # drawn twice as large, then averaged
    tall = max(float(np.linalg.norm(corners[3] - corners[0])), float(np.linalg.norm(corners[2] - corners[1])), 1.0)
    wide = max(float(np.linalg.norm(corners[1] - corners[0])), float(np.linalg.norm(corners[2] - corners[3])), 1.0)
    h = int(np.clip(round(tall * fine), 4, plate.shape[0]))
    w = int(np.clip(round(wide * fine), 4, plate.shape[1]))
    small = cv2.resize(plate, (w, h), interpolation=cv2.INTER_AREA).astype(np.float32)
    source = np.array([(0, 0), (w, 0), (w, h), (0, h)], np.float32) - 0.5  # cv2 counts from pixels' centers
    target = ((corners - (x1, y1)) * fine - 0.5).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(source, target)
    size = (int(x2 - x1) * fine, int(y2 - y1) * fine)
    color = cv2.warpPerspective(small, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    alpha = np.zeros((size[1], size[0]), np.float32)
    cv2.fillConvexPoly(alpha, np.round(target * 16).astype(np.int32), 1.0, cv2.LINE_8, 4)
    half = (size[0] // fine, size[1] // fine)
    color, alpha = (cv2.resize(a, half, interpolation=cv2.INTER_AREA) for a in (color, alpha))
    if blur > 0.3:
        color, alpha = (cv2.GaussianBlur(a, (0, 0), blur) for a in (color, alpha))
    place = photo[y1:y2, x1:x2]
    mixed = place + (color * (light / 255.0) - place) * alpha[..., None]
    photo[y1:y2, x1:x2] = np.clip(mixed, 0, 255).astype(np.uint8)


def contact_sheet(seed: int, columns: int = 6, cell: tuple[int, int] = (200, 96)) -> Image:
    """Two plates of every layout, clean and worn in perspective, on a gray sheet: what the generator draws."""
    rng = np.random.default_rng(seed)
    tiles = []
    for layout in LAYOUTS:
        for worn in (False, True):
            tile = np.full((cell[1], cell[0], 3), 90, np.uint8)
            plate = draw_plate(layout, rng)
            corners = project(layout.aspect, 0, 0, 0) if not worn else pose(layout, rng, 0.15)
            size = min((cell[0] - 16) / np.ptp(corners[:, 0]), (cell[1] - 16) / np.ptp(corners[:, 1]))
            corners = corners * size
            corners = corners - (corners.min(0) + corners.max(0)) / 2 + (cell[0] / 2, cell[1] / 2)
            paste(tile, wear(plate, rng) if worn else plate, corners, np.full(3, 255, np.float32), 0.0)
            tiles.append(tile)
    tiles += [np.full_like(tiles[0], 90)] * (-len(tiles) % columns)
    return np.concatenate([np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)])
