"""Noise, regions of all shapes and settings of all kinds, for what tests masks and effects."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from anonymize.regions import Region
from anonymize.settings import EFFECTS, MASKS, Kernel, Kind, Settings

W, H = 96, 80
MAGENTA = {"effect": "solid", "fill": "ff00ff"}


def noise(*shape: int, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def one(**kind: object) -> Settings:
    """Settings in which every kind is hidden in the same way."""
    return Settings(kinds={name: Kind(**kind) for name in ("face", "plate")})


def tilted(cx: float, cy: float, w: float, h: float, degrees: float, **more: object) -> Region:
    """A plate turned by an angle, with the box around it."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    corners = tuple((cx + (a * w * c - b * h * s) / 2, cy + (a * w * s + b * h * c) / 2) for a, b in signs)
    xs, ys = zip(*corners, strict=True)
    return Region("plate", (min(xs), min(ys), max(xs), max(ys)), corners=corners, **more)  # type: ignore[arg-type]


@st.composite
def regions(draw: st.DrawFn) -> Region:
    if draw(st.booleans()):
        x, y = draw(st.floats(-20, W + 20)), draw(st.floats(-20, H + 20))
        return tilted(x, y, draw(st.floats(0, 60)), draw(st.floats(0, 30)), draw(st.floats(-90, 90)))
    x, y = draw(st.floats(-150, W + 50)), draw(st.floats(-150, H + 50))
    w, h = draw(st.one_of(st.just(0.0), st.floats(0, 200))), draw(st.one_of(st.just(0.0), st.floats(0, 200)))
    return Region(draw(st.sampled_from(("face", "plate"))), (x, y, x + w, y + h))


kinds = st.builds(
    Kind,
    effect=st.sampled_from(EFFECTS),
    mask=st.sampled_from(MASKS),
    padding=st.sampled_from((0.0, 0.1, 0.5)),
    kernel=st.builds(
        Kernel, st.sampled_from((0, 1, 3, 101)), st.sampled_from((0.0, 0.1, 3.0, 40.0)), st.sampled_from((0, 1, 9, 300))
    ),
    mosaic_blocks=st.integers(1, 64),
    fill=st.sampled_from(("black", "ff00ff")),
)
many = hypothesis_settings(max_examples=150, deadline=None)
