"""Drawn scenes with known boxes: faces and plates that move over real pictures, turn, pass behind posts, are blurred by
their motion and get small. Faces and backgrounds are pictures that installed packages carry."""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from anonymize.evaluate.clip_annotations import ClipTruth, TrueTrack
from anonymize.regions import areas, intersections

ROOT = Path(__file__).parents[2]
Image = NDArray[np.uint8]
FACES = (
    ("skimage", "data/astronaut.png", (179, 57, 270, 177)),
    ("ultralytics", "assets/zidane.jpg", (916, 101, 1054, 284)),
    ("ultralytics", "assets/zidane.jpg", (544, 257, 665, 437)),
)
BACKGROUNDS = (
    ("sklearn", "datasets/images/china.jpg"), ("skimage", "data/rocket.jpg"), ("skimage", "data/motorcycle_left.png"),
    ("gradio", "media_assets/images/tower.jpg"), ("skimage", "data/brick.png"), ("skimage", "data/coffee.png"),
)  # fmt: skip
HEAD = 0.35  # of a face's sides, that a head reaches beyond it
COUNTED, SEEN = 0.6, 0.25  # share of a thing that can be seen: from which it counts, and from which it is there at all
SMALLEST = {"face": 8.0, "plate": 6.0}  # px high, from which it counts
TURNED = np.radians(65)  # of a thing that is turned farther nothing can be seen


def picture(package: str, name: str) -> Image:
    spec = importlib.util.find_spec(package)
    assert spec is not None, f"{package} is not installed"
    assert spec.origin is not None
    bgr = cv2.imread(str(Path(spec.origin).parent / name), cv2.IMREAD_COLOR)
    assert bgr is not None, name
    return np.ascontiguousarray(bgr[..., ::-1])


@functools.lru_cache
def heads() -> tuple[tuple[Image, float], ...]:
    """Each face's picture with the hair around it, and the share of its height that is the face."""
    out = []
    for package, name, (x1, y1, x2, y2) in FACES:
        dx, dy = HEAD * (x2 - x1), HEAD * (y2 - y1)
        photo = picture(package, name)
        out.append(
            (photo[max(round(y1 - dy), 0) : round(y2 + dy), round(x1 - dx) : round(x2 + dx)], 1 / (1 + 2 * HEAD))
        )
    return tuple(out)


def plate(rng: Generator) -> Image:
    recipes = str(ROOT / "models" / "recipes")
    if recipes not in sys.path:
        sys.path.insert(0, recipes)
    from plates.synth import LAYOUTS, draw_plate

    return np.asarray(draw_plate(LAYOUTS[int(rng.integers(8))], rng))


@dataclass(frozen=True, eq=False)
class Thing:
    """One that moves.

    Attributes:
        sprite: its picture, a plate or a head. part: share of the sprite's height that is annotated.
        x, y, height, yaw: float (frames,), px of the background and radians: of the annotated part.
    """

    kind: str
    sprite: Image
    part: float
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    height: NDArray[np.float64]
    yaw: NDArray[np.float64]

    @property
    def aspect(self) -> float:
        return self.sprite.shape[1] / self.sprite.shape[0]

    def box(self, frame: int) -> NDArray[np.float64]:
        h = self.height[frame]
        w = h * self.aspect * max(float(np.cos(self.yaw[frame])), 0.05)
        return np.array([self.x[frame] - w / 2, self.y[frame] - h / 2, self.x[frame] + w / 2, self.y[frame] + h / 2])


@dataclass(frozen=True, eq=False)
class Scene:
    """Frames that are drawn when they are asked for, and what is in them."""

    background: Image
    things: tuple[Thing, ...]
    posts: NDArray[np.float64]  # (N, 2): left and right edges, px of the background
    camera: NDArray[np.float64]  # (frames, 2): the frame's upper left corner in the background
    width: int
    height: int
    rate: float = 30.0

    @property
    def frames(self) -> int:
        return len(self.camera)

    def draw(self) -> Iterator[Image]:
        for n in range(self.frames):
            yield self.frame(n)

    def frame(self, n: int) -> Image:
        left, top = self.camera[n]
        view = np.array([[1, 0, -left], [0, 1, -top]], np.float64)
        out = cv2.warpAffine(self.background, view, (self.width, self.height), flags=cv2.INTER_LINEAR).astype(
            np.float32
        )
        for thing in self.things:
            _paste(out, thing, n, self.camera)
        for a, b in self.posts - left:
            x1, x2 = max(round(a), 0), max(round(b), 0)
            out[:, x1:x2] = np.linspace(40, 95, x2 - x1 if x2 > x1 else 1)[None, : out[:, x1:x2].shape[1], None]
        noise = np.random.default_rng(n).normal(0, 3, out.shape[:2])[..., None]
        return np.clip(out + noise, 0, 255).astype(np.uint8)

    def truth(self) -> ClipTruth:
        tracks = []
        for number, thing in enumerate(self.things):
            boxes, ignored = {}, set()
            for n in range(self.frames):
                box, share = self._seen(thing, n)
                for other in self.things[number + 1 :]:  # drawn over it
                    over = intersections(thing.box(n)[None], other.box(n)[None])[0, 0]
                    share -= over / areas(thing.box(n)[None])[0]
                if share >= SEEN:
                    boxes[n] = box
                    if share < COUNTED or thing.height[n] < SMALLEST[thing.kind] or abs(thing.yaw[n]) > TURNED:
                        ignored.add(n)
            tracks.append(TrueTrack(str(number), thing.kind, boxes, frozenset(ignored)))
        return ClipTruth(tuple(tracks), (self.width, self.height), self.frames)

    def _seen(self, thing: Thing, n: int) -> tuple[tuple[float, float, float, float], float]:
        """Its box in the frame, and the share of it that can be seen there."""
        box = thing.box(n) - np.tile(self.camera[n], 2)
        inside = np.clip(box, 0, [self.width, self.height] * 2)
        w, h = box[2:] - box[:2]
        covered = np.zeros(max(round(inside[2]) - round(inside[0]), 0), bool)
        for a, b in self.posts - self.camera[n, 0] - round(inside[0]):
            covered[max(round(a), 0) : max(round(b), 0)] = True
        open_ = 1 - float(covered.mean()) if len(covered) else 0.0
        share = open_ * max(inside[2] - inside[0], 0) * max(inside[3] - inside[1], 0) / (w * h)
        x1, y1, x2, y2 = inside.tolist()
        return (x1, y1, max(x2, x1 + 0.01), max(y2, y1 + 0.01)), float(share)


def _paste(out: NDArray[np.float32], thing: Thing, n: int, camera: NDArray[np.float64]) -> None:
    """Draw a thing into a frame, blurred by its own motion."""
    box = thing.box(n) - np.tile(camera[n], 2)
    center, size = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / thing.part
    before = thing.box(max(n - 1, 0)) - np.tile(camera[max(n - 1, 0)], 2)
    way = center - (before[:2] + before[2:]) / 2
    reach = size / 2 + np.abs(way) + 3
    x1, y1 = np.maximum(np.floor(center - reach).astype(int), 0)
    x2, y2 = np.minimum(np.ceil(center + reach).astype(int), (out.shape[1], out.shape[0]))
    if x2 - x1 < 2 or y2 - y1 < 2:
        return
    h, w = thing.sprite.shape[:2]
    near = 1 + 0.12 * np.sin(thing.yaw[n])  # the nearer side is taller
    wide, tall = size / 2
    corners = np.array([(-wide, -tall * near), (wide, -tall / near), (wide, tall / near), (-wide, tall * near)])
    target = (corners + center - (x1, y1)).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(np.array([(0, 0), (w, 0), (w, h), (0, h)], np.float32), target)
    alpha = np.ones((h, w), np.float32)
    if thing.kind == "face":
        yy, xx = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
        alpha = np.clip((1 - xx**2 - yy**2) * 6, 0, 1).astype(np.float32)
    shape = (int(x2 - x1), int(y2 - y1))
    shrink = max(1.0, 2 * tall / h)
    soft = cv2.GaussianBlur(thing.sprite, (0, 0), max(h / (2 * tall) / 2.5, 0.3)) if shrink == 1 else thing.sprite
    color = cv2.warpPerspective(soft.astype(np.float32), matrix, shape, borderMode=cv2.BORDER_REPLICATE)
    cover = cv2.warpPerspective(alpha, matrix, shape)
    if (length := float(np.hypot(*way)) / 2) > 1:  # the shutter is open for half the time
        k = int(length) | 1
        kernel, half = np.zeros((k, k), np.float32), way / np.hypot(*way) * (k // 2)
        ends = [tuple(np.round(k // 2 + sign * half).astype(int).tolist()) for sign in (-1, 1)]
        cv2.line(kernel, ends[0], ends[1], 1.0)
        kernel /= kernel.sum()
        color, cover = cv2.filter2D(color * cover[..., None], -1, kernel), cv2.filter2D(cover, -1, kernel)
        color = color / np.maximum(cover, 1e-3)[..., None]
    place = out[y1:y2, x1:x2]
    place += (color - place) * cover[..., None]


def scene(seed: int, frames: int = 90, width: int = 640, height: int = 360, things: int = 3) -> Scene:
    """A scene by its number."""
    rng = np.random.default_rng(seed)
    back = picture(*BACKGROUNDS[seed % len(BACKGROUNDS)])
    big = (round(width * 1.4), round(height * 1.3))
    factor = max(big[0] / back.shape[1], big[1] / back.shape[0])
    back = cv2.resize(back, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)[: big[1], : big[0]]
    t = np.linspace(0, 1, frames)
    pan = rng.uniform(-0.35, 0.35) * width * t + rng.uniform(0, 4) * np.sin(t * rng.uniform(10, 60))
    x = 0.2 * width + pan * 0.5
    y = 0.12 * height + rng.uniform(0, 5) * np.sin(t * rng.uniform(10, 80))
    camera = np.stack([x, y], axis=1)
    posts = [(p, p + rng.uniform(8, 45)) for p in rng.uniform(0.1, 0.9, int(rng.integers(0, 3))) * big[0]]
    made = tuple(_thing(rng, frames, big, t) for _ in range(things))
    return Scene(back, made, np.array(posts).reshape(-1, 2), camera, width, height)


def _thing(rng: Generator, frames: int, size: tuple[int, int], t: NDArray[np.float64]) -> Thing:
    kind = "face" if rng.random() < 0.5 else "plate"
    if kind == "face":
        sprite, part = heads()[int(rng.integers(len(FACES)))]
    else:
        sprite, part = plate(rng), 1.0
    first, last = np.sort(rng.uniform(0.1, 0.9, 2))
    a, b = rng.uniform(0, 1, 2) if rng.random() < 0.5 else (-0.1, 1.1)
    if rng.random() < 0.5:
        a, b = b, a
    x = size[0] * (a + (b - a) * t) + rng.uniform(0, 12) * np.sin(t * rng.uniform(3, 20))
    y = size[1] * (first + (last - first) * t) + rng.uniform(0, 8) * np.sin(t * rng.uniform(3, 30))
    low, high = (10, 70) if kind == "face" else (7, 32)
    h0, h1 = np.exp(rng.uniform(np.log(low), np.log(high), 2))
    height = np.exp(np.log(h0) + np.log(h1 / h0) * t)
    yaw = rng.uniform(0, 1.35) * np.sin(t * rng.uniform(1, 8) + rng.uniform(0, 6)) if rng.random() < 0.7 else 0 * t
    return Thing(kind, sprite, part, x, y, height, yaw)
