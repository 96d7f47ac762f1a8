"""JPEGs of every kind that encoders write: subsamplings, colors, progressive scans."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from PIL import Image, ImageCms

from anonymize.images import blocks

_LUMA = np.add.outer(np.arange(8), np.arange(8)).astype(np.int32) * 2 + 3
_CHROMA = _LUMA + 4
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# name -> colors and the sampling of each component
KINDS: dict[str, tuple[str, tuple[tuple[int, int], ...]]] = {
    "gray": ("L", ((1, 1),)),
    "444": ("YCbCr", ((1, 1), (1, 1), (1, 1))),
    "422": ("YCbCr", ((2, 1), (1, 1), (1, 1))),
    "440": ("YCbCr", ((1, 2), (1, 1), (1, 1))),
    "420": ("YCbCr", ((2, 2), (1, 1), (1, 1))),
    "411": ("YCbCr", ((4, 1), (1, 1), (1, 1))),
    "441": ("YCbCr", ((1, 4), (1, 1), (1, 1))),
    "rgb": ("RGB", ((1, 1), (1, 1), (1, 1))),
    "cmyk": ("CMYK", ((1, 1),) * 4),
    "ycck": ("YCCK", ((2, 2), (1, 1), (1, 1), (2, 2))),
}


def picture(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """RGB, (H, W, 3): soft shapes, edges and some noise."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (9, 12, 3)).astype(np.uint8)
    pixels = cv2.resize(small, size, interpolation=cv2.INTER_CUBIC).astype(int) + rng.integers(-6, 7, size[::-1] + (3,))
    pixels[size[1] // 3 : size[1] // 2, size[0] // 4 : size[0] // 2] = (200, 30, 60)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def encode(rgb: np.ndarray, kind: tuple[str, tuple[tuple[int, int], ...]], *, progressive: bool = False) -> bytes:
    """A JPEG of RGB pixels."""
    colors, sampling = kind
    pixels = rgb
    if colors == "L":
        pixels = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    elif len(sampling) == 4:
        pixels = np.asarray(Image.fromarray(rgb).convert("CMYK")).copy()
        pixels[:, :, 3] = rgb[:, :, 0] // 2  # some black, which Pillow's conversion has none of
    height, width = pixels.shape[:2]
    adobe = {"RGB": 0, "CMYK": 0, "YCCK": 2}.get(colors)
    tables = tuple(_CHROMA if i in (1, 2) else _LUMA for i in range(len(sampling)))
    source = blocks.Source(b"", 1, width, height, sampling, tables, colors, adobe, progressive)
    source = replace(source, file=blocks._blank(source))
    return blocks.write(source, pixels, [((0, 0, width, height), np.ones((height, width), bool))])


def make(kind: str, size: tuple[int, int], *, progressive: bool = False) -> bytes:
    return encode(picture(size), KINDS[kind], progressive=progressive)


def cells(plane: np.ndarray) -> np.ndarray:
    """A component's coefficients, (rows, columns, 8, 8)."""
    return plane.reshape(plane.shape[0] // 8, 8, -1, 8).swapaxes(1, 2)


def with_exif(data: bytes, exif: Image.Exif) -> bytes:
    body = exif.tobytes()
    return data[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + data[2:]
