"""BMP: exact. Pillow reads all of its kinds but run-length codes, of which it misreads those of 4 bits."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, Image

from ..errors import UnreadableImageError, UnsupportedImageError
from .forms import Decoded, Form, Guard, Pixels, encode_image, read_indices, read_palette, read_plain, to_stored_image

_RLE8, _RLE4 = 1, 2
_HEAD = 14
_BROKEN = "the BMP is damaged or cut off; copy it again from its source"


def _field(data: Any, at: int, length: int = 4) -> int:
    return int.from_bytes(data[at : at + length], "little", signed=True)


def size(data: Any) -> tuple[int, int]:
    """Width and height.

    Raises:
        UnreadableImageError: there is no header.
    """
    length = _field(data, _HEAD)
    if len(data) < _HEAD + min(max(length, 12), 40):
        raise UnreadableImageError(_BROKEN)
    if length == 12:
        return _field(data, 18, 2) & 0xFFFF, _field(data, 20, 2) & 0xFFFF
    return max(_field(data, 18), 0), abs(_field(data, 22))


def read(data: bytes, guard: Guard) -> Decoded:
    """The picture, whole.

    Raises:
        UnreadableImageError: damaged, or cut off. UnsupportedImageError: a JPEG or PNG inside.
    """
    guard(*size(data))
    compression = _field(data, 30) if _field(data, _HEAD) >= 40 else 0
    if compression not in (0, _RLE8, _RLE4, 3, 6):
        raise UnsupportedImageError(f"BMPs of kind {compression} are not read; save it as PNG or JPEG")
    image = BmpImagePlugin.BmpImageFile(io.BytesIO(data))
    guard(*image.size)
    if compression in (_RLE8, _RLE4):
        palette = np.array(image.getpalette("RGB") or (), np.uint8).reshape(-1, 3)
        if image.mode == "L":  # Pillow's word for a palette of grays
            palette = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
        indices = _expand(data[_field(data, 10) :], *image.size, compression == _RLE4)
        pixels, form = read_indices(indices, palette, "BMP", 8)
    elif image.mode == "P":
        pixels, form = read_palette(image, "BMP", 8)
    else:
        pixels, form = read_plain(image, "BMP")
    info = {"dpi": dpi} if (dpi := image.info.get("dpi")) else {}
    return Decoded.turned(pixels, form, Image.Exif(), info)


def _expand(data: bytes, width: int, height: int, is_4: bool) -> NDArray[np.uint8]:
    """Indices of run-length codes; rows stand bottom up. What the codes leave out is entry 0.

    Raises:
        UnreadableImageError: they end early, or lead out of the picture.
    """
    out = np.zeros((height, width), np.uint8)
    at = x = y = 0
    while True:
        if at + 2 > len(data):
            raise UnreadableImageError(_BROKEN)
        count, value = data[at], data[at + 1]
        at += 2
        if count == 0 and value == 0:
            x, y = 0, y + 1
            continue
        if count == 0 and value == 1:
            return np.ascontiguousarray(out[::-1])
        if count == 0 and value == 2:
            if at + 2 > len(data):
                raise UnreadableImageError(_BROKEN)
            x, y, at = x + data[at], y + data[at + 1], at + 2
            continue
        if count:  # a run; of 4 bits two indices take turns
            some = np.resize(np.array([value >> 4, value & 15] if is_4 else [value], np.uint8), count)
        else:  # so many indices as they are, filled up to 16 bits
            length = (value + 1) // 2 if is_4 else value
            some = np.frombuffer(data[at : at + length], np.uint8)
            if is_4:
                some = np.stack([some >> 4, some & 15], axis=1).ravel()
            some, at, count = some[:value], at + length + length % 2, value
        if len(some) < count or y >= height or x + count > width + is_4:  # some writers fill a row's last byte
            raise UnreadableImageError(_BROKEN)
        out[y, x : x + count] = some[: width - x]
        x += count


def write(pixels: Pixels, form: Form, _fields: dict[int, Any], dpi: tuple[float, float] | None) -> bytes:
    if form.mode == "RGBA" and form.palette is None:  # Pillow writes an alpha that no one reads, itself included
        ok, out = cv2.imencode(".bmp", pixels[:, :, [2, 1, 0, 3]])
        if not ok:
            raise ValueError("the BMP could not be encoded")
        return bytes(out.tobytes())
    return encode_image(to_stored_image(pixels, form), "BMP", dpi=dpi or (0, 0))
