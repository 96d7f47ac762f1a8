"""HEIC: written finer than usual, since it does not tell how it was quantized."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from ..errors import UnsupportedImageError
from . import metadata
from .forms import Decoded, Form, Guard, Pixels

# x265's default takes six times as long for a file that is a quarter smaller and farther from what was to be written:
# a PSNR of 55.9 dB against 57.8 (bench/heic.py).
QUALITY, PRESET = 90, "ultrafast"


def _open(data: Any) -> Any:
    import pillow_heif

    # the largest HDR picture keeps its 10 or 12 bits, scaled up to 16
    return pillow_heif.open_heif(io.BytesIO(data[:]), convert_hdr_to_8bit=False, hdr_to_16bit=True)


def size(data: Any) -> tuple[int, int]:
    """Width and height of the primary picture."""
    width, height = _open(data).size
    return width, height


def read(data: bytes, guard: Guard) -> Decoded:
    """The primary picture; libheif turns it upright itself. Others (a burst's, a second eye's), depth and gain maps and
    thumbnails stay behind.

    Raises:
        UnsupportedImageError: a kind that could not be kept.
    """
    file = _open(data)
    guard(*file.size)
    picture = file[file.primary_index]
    kind, _, depth = picture.mode.partition(";")
    if kind not in ("L", "LA", "RGB", "RGBA", "RGBa"):
        raise UnsupportedImageError(f"HEIC pictures of mode {picture.mode} are not read; save it as PNG or JPEG")
    pixels = np.ascontiguousarray(np.asarray(picture)[:, : picture.size[0]])
    info = dict(picture.info)
    options = {"kind": kind + (";16" if depth else ""), "chroma": info.get("chroma"), "nclx": info.get("nclx_profile")}
    form = Form("HEIF", kind.upper(), info["bit_depth"], options=options)
    info["mp"] = len(file) > 1
    exif = metadata.parse(info.get("exif") or b"")
    return Decoded(pixels, form, exif, info, is_first=len(file) > 1)


def write(pixels: Pixels, form: Form, fields: dict[int, Any], dpi: tuple[float, float] | None) -> bytes:
    import pillow_heif

    options: dict[str, Any] = {"quality": QUALITY, "bit_depth": form.bits, "enc_params": {"preset": PRESET}}
    if form.options["chroma"] in (420, 422, 444):
        options["chroma"] = form.options["chroma"]
    if form.options["nclx"]:
        options["nclx_profile"] = form.options["nclx"]
    if form.icc:
        options["icc_profile"] = form.icc
    if fields or dpi:
        options["exif"] = metadata.write(fields, dpi).tobytes()
    out = io.BytesIO()
    size_ = (pixels.shape[1], pixels.shape[0])
    pillow_heif.encode(form.options["kind"], size_, np.ascontiguousarray(pixels).tobytes(), out, **options)
    return out.getvalue()
