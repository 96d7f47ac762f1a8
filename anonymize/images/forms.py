"""Form: what a photo is besides its pixels; and the steps between Pillow's images and arrays that all formats share."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import UnreadableImageError, UnsupportedImageError
from . import metadata

Pixels = NDArray[Any]  # uint8 or uint16, (H, W) or (H, W, C)

CHANNELS = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_BAND = 1 << 22  # pixels that are converted at once, so that a large photo needs no second copy


@dataclass(frozen=True, eq=False)
class Form:
    """Everything but the pixels that writing a photo in the form that it came in needs.

    Attributes:
        format: "JPEG" | "PNG" | "WEBP" | "TIFF" | "BMP" | "HEIF".
        mode: what the channels of the pixels are: "L", "LA", "RGB", "RGBA" or "CMYK" (0 is no ink).
        bits: a stored sample's: 1, 2, 4, 8, 10, 12 or 16; with a palette those of an index.
        icc: the color profile, or b"".
        palette: (N, 3) RGB or (N, 4) RGBA, uint8; None for a photo without one.
        indices: (H, W) uint8, upright: each pixel's place in the palette; None without a palette.
        fields: tag -> value of the safe EXIF fields that are there (metadata.read).
        dpi: dots per inch (x, y) of the upright photo, or None.
        options: what only its own format knows (quantization, compression …).
    """

    format: str
    mode: str
    bits: int = 8
    icc: bytes = b""
    palette: NDArray[np.uint8] | None = None
    indices: NDArray[np.uint8] | None = None
    fields: Mapping[int, Any] = field(default_factory=dict)
    dpi: tuple[float, float] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_premultiplied(self) -> bool:
        """Whether colors are stored multiplied by alpha (TIFF 6.0, ExtraSamples 1; HEIF's `prem`)."""
        return self.options.get("extra") == (1,) or str(self.options.get("kind", "")).startswith("RGBa")


@dataclass(frozen=True, eq=False)
class Decoded:
    """What a format's reader makes of a file.

    Attributes:
        pixels: upright. form: with everything but icc, fields and dpi.
        exif: the file's EXIF block; empty where it is broken. info: what else it carries, by Pillow's names.
        is_turned: height and width were swapped. is_first: the file holds further pictures, which are not written.
    """

    pixels: Pixels
    form: Form
    exif: Image.Exif
    info: Mapping[Any, Any]
    is_turned: bool = False
    is_first: bool = False

    @classmethod
    def turned(
        cls,
        pixels: Pixels,
        form: Form,
        exif: Image.Exif,
        info: Mapping[Any, Any],
        turn: int | None = None,
        is_first: bool = False,
    ) -> Decoded:
        """Of pixels as they are stored; turn: their orientation, where EXIF does not say it."""
        turn = metadata.orientation(exif) if turn is None else turn
        indices = None if form.indices is None else upright(form.indices, turn)
        return cls(upright(pixels, turn), replace(form, indices=indices), exif, info, turn in range(5, 9), is_first)


Guard = Callable[[int, int], None]  # raises for a width and height that may not be decoded


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """The pixels as the EXIF orientation (1–8; EXIF 2.32, 4.6.4) says that they are to be seen."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def bands(height: int, width: int) -> Iterator[slice]:
    """Slices of rows, of some millions of pixels each."""
    step = max(1, _BAND // width)
    return (slice(y, min(y + step, height)) for y in range(0, height, step))


def to_array(image: Image.Image) -> Pixels:
    """Pillow's pixels as a native array; 1-bit images as 0 and 255. The image is closed: it is a second copy."""
    image.load()
    first = np.asarray(image.crop((0, 0, 1, 1)))
    dtype = np.uint8 if first.dtype == bool else first.dtype.newbyteorder("=")
    out = np.empty((image.height, image.width, *first.shape[2:]), dtype)
    for rows in bands(*out.shape[:2]):
        band = np.asarray(image.crop((0, rows.start, image.width, rows.stop)))
        out[rows] = band * np.uint8(255) if band.dtype == bool else band
    image.close()
    return out


def read_plain(image: Image.Image, format_: str, **options: Any) -> tuple[Pixels, Form]:
    """Pixels and form of what Pillow decodes without a loss."""
    mode = "L" if image.mode in ("1", "I;16", "I;16B") else image.mode
    if mode not in ("L", "LA", "RGB", "RGBA", "CMYK"):
        raise UnsupportedImageError(f"images of mode {image.mode} cannot be written in the form that they came in")
    bits = {"1": 1, "I;16": 16, "I;16B": 16}.get(image.mode, 8)
    return to_array(image), Form(format_, mode, bits, options=options)


def read_palette(image: Image.Image, format_: str, bits: int, **options: Any) -> tuple[Pixels, Form]:
    image.load()
    palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    transparency = image.info.get("transparency")
    if transparency is not None:
        alpha = np.full(len(palette), 255, np.uint8)
        if isinstance(transparency, bytes):
            given = np.frombuffer(transparency[: len(palette)], np.uint8)
            alpha[: len(given)] = given
        else:
            alpha[int(transparency)] = 0
        palette = np.column_stack([palette, alpha])
    return read_indices(to_array(image), palette, format_, bits, **options)


def read_indices(
    indices: NDArray[np.uint8], palette: NDArray[np.uint8], format_: str, bits: int, **options: Any
) -> tuple[Pixels, Form]:
    """Pixels and form of indices into a palette, (N, 3) or (N, 4)."""
    if int(indices.max()) >= len(palette):
        raise UnreadableImageError("the image is damaged: it uses colors that its palette does not have")
    mode = CHANNELS[palette.shape[1]]
    return palette[indices], Form(format_, mode, bits, palette=palette, indices=indices, options=options)


def _to_indices(pixels: Pixels, form: Form) -> NDArray[np.uint8]:
    """Indices into the palette: those of the pixels' colors where it has them, else of the nearest ones.

    Of entries of one color the first is taken, so that the indices tell no more than the pixels do.
    """
    assert form.palette is not None
    assert form.indices is not None
    palette = form.palette
    _, first, same = np.unique(palette, axis=0, return_index=True, return_inverse=True)
    out = first[same.ravel()].astype(np.uint8)[form.indices]
    wide = palette.astype(np.int32)
    for rows in bands(*out.shape):
        changed = (palette[out[rows]] != pixels[rows]).any(axis=2)
        colors, place = np.unique(_pack(pixels[rows][changed]), return_inverse=True)
        nearest = np.empty(len(colors), np.uint8)
        for i in range(0, len(colors), 4096):
            some = colors[i : i + 4096].view(np.uint8).reshape(-1, 4)[:, : palette.shape[1]]
            distances = ((some[:, None].astype(np.int32) - wide[None]) ** 2).sum(axis=2)
            nearest[i : i + 4096] = distances.argmin(axis=1)
        out[rows][changed] = nearest[place]
    return out


def _pack(colors: NDArray[np.uint8]) -> NDArray[np.uint32]:
    four = np.zeros((len(colors), 4), np.uint8)
    four[:, : colors.shape[1]] = colors
    return four.view(np.uint32).ravel()


def as_image(pixels: Pixels, mode: str) -> Image.Image:
    """A Pillow image around the pixels, with no info of its own."""
    return Image.frombuffer(mode, (pixels.shape[1], pixels.shape[0]), np.ascontiguousarray(pixels), "raw", mode, 0, 1)


def to_stored_image(pixels: Pixels, form: Form) -> Image.Image:
    """A Pillow image of the stored mode: indices and palette, 1 bit, 16 bit gray, or the pixels as they are."""
    if form.palette is not None:
        image = as_image(_to_indices(pixels, form), "P")
        image.putpalette(form.palette[:, :3].tobytes())
        return image
    if form.bits == 1:
        return as_image(np.where(pixels >= 128, np.uint8(255), np.uint8(0)), "L").convert("1", dither=Image.Dither.NONE)
    return as_image(pixels, "I;16" if form.bits == 16 else form.mode)


def encode_image(image: Image.Image, format_: str, **options: Any) -> bytes:
    # In memory: Pillow writing to a file itself does not notice a write that a full disk cut short.
    out = io.BytesIO()
    image.save(out, format_, **options)
    return out.getvalue()
