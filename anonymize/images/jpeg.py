"""JPEG: read whole or refused, written with its source's coefficients, or its quantization tables and subsampling.

The decoder (libjpeg-turbo, through simplejpeg) gets the picture alone: metadata stays out, so that nothing broken in it
can refuse a photo, and every warning that is left is about the picture. A damaged one is refused: half a face may be
found by nobody and known by somebody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL.JpegImagePlugin import zigzag_index

from ..errors import UnreadableImageError, UnsupportedImageError
from . import blocks, metadata
from .forms import Decoded, Form, Guard, Pixels, encode_image, to_stored_image, upright
from .segments import COMMENT, DQT, PROGRESSIVE, SEQUENTIAL, Jpeg, size, tables, take_apart

_PROFILE = 65519  # bytes of a color profile in one segment
_SPACES = {1: "GRAY", 3: "RGB", 4: "CMYK"}
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
# Marker and first bytes of what else a segment may be -> its name
_CARRIED = (
    *((0xE0, b"JFXX\0", "thumbnails"), (0xE1, b"http://ns.adobe.com/", "xmp"), (0xE2, b"MPF\0", "mp")),
    *((0xED, b"Photoshop 3.0\0", "photoshop"), (COMMENT, b"", "comment")),
)


def read(data: bytes, guard: Guard) -> Decoded:
    """The picture, whole.

    Raises:
        UnreadableImageError: it is damaged or cut off; how much of it can be read is said where that can be told.
        UnsupportedImageError: 12 bits, lossless, or scans without end.
    """
    guard(*size(data))
    jpeg = take_apart(data)
    if jpeg.frame not in SEQUENTIAL | PROGRESSIVE or jpeg.bits != 8 or len(jpeg.components) not in _MODES:
        raise UnsupportedImageError(
            f"JPEGs of this kind ({jpeg.bits} bits, {len(jpeg.components)} colors, process {jpeg.frame - 0xC0}) are "
            "not read; save it as an ordinary JPEG or a PNG"
        )
    pixels = _pixels(jpeg)
    known = {number: values for _, number, values in jpeg.tables}
    try:
        each = [[known[c[3]][i] for i in zigzag_index] for c in jpeg.components]
    except KeyError:
        raise UnreadableImageError("the JPEG is damaged: a table is missing; copy it again from its source") from None
    exif = metadata.parse(next((b for m, b in jpeg.applications if m == 0xE1 and b[:6] == b"Exif\0\0"), b""))
    turn = metadata.orientation(exif)
    sampling = tuple((h, v) for _, h, v, _ in jpeg.components)
    if turn >= 5:  # a quarter turn swaps the axes of tables and sampling
        each = [np.reshape(t, (8, 8)).T.ravel().tolist() for t in each]
        sampling = tuple((v, h) for h, v in sampling)
    source = _source(jpeg, turn, each, sampling)
    while len(each) > 1 and each[-1] == each[-2]:
        each.pop()  # the encoder repeats the last table for further components
    options: dict[str, Any] = {"progressive": jpeg.frame in PROGRESSIVE, "keep_rgb": jpeg.is_rgb, "sampling": sampling}
    options |= {"qtables": each, "source": source}
    form = Form("JPEG", _MODES[len(jpeg.components)], options=options)
    return Decoded(upright(pixels, turn), form, exif, _info(jpeg), is_turned=turn >= 5)


def _source(
    jpeg: Jpeg, turn: int, steps: list[list[int]], sampling: tuple[tuple[int, int], ...]
) -> blocks.Source | None:
    """What keeping the coefficients needs, or None where that cannot be. steps, sampling: each component's, upright."""
    colors = {1: "L", 4: "YCCK" if jpeg.adobe else "CMYK"}.get(len(sampling), "RGB" if jpeg.is_rgb else "YCbCr")
    source = blocks.Source(
        jpeg.file(),
        turn,
        *((jpeg.height, jpeg.width) if turn >= 5 else (jpeg.width, jpeg.height)),
        sampling if len(sampling) > 1 else ((1, 1),),  # alone, a component is whole whatever it says
        tuple(np.array(t, np.int32).reshape(8, 8) for t in steps),
        colors,
        {"RGB": 0, "YCCK": 2, "CMYK": jpeg.adobe}.get(colors),
        jpeg.frame in PROGRESSIVE,
    )
    one_each = len({number for _, number, _ in jpeg.tables}) == len({t[1:] for t in jpeg.tables})
    return source if one_each and jpeg.is_complete and source.is_possible else None


def check(data: bytes, width: int, height: int) -> None:
    """That a JPEG within another format is whole, and no larger than it may be.

    Raises:
        UnreadableImageError: it is not. UnsupportedImageError: gray with alpha.
    """
    jpeg = take_apart(data)
    if len(jpeg.components) == 2:
        raise UnsupportedImageError("JPEGs with two colors are not read; save it with LZW or Deflate")
    if not (0 < jpeg.width <= width and 0 < jpeg.height <= height) or len(jpeg.components) not in _SPACES:
        raise UnreadableImageError("a JPEG in the picture is damaged; copy the file again from its source")
    _pixels(jpeg)


def _pixels(jpeg: Jpeg) -> Pixels:
    pixels, warning = _decode(jpeg.file(), jpeg)
    if "extraneous" in warning and (last := jpeg.picture[-1].rstrip(b"\0")) != jpeg.picture[-1]:
        # Cameras fill up with zeros. So does what rescues a file's first part: then too little is left without them.
        jpeg.picture[-1] = last + b"\0" * last.endswith(b"\xff")
        pixels, again = _decode(jpeg.file(), jpeg)
        warning = again and warning
    if "subsampling" in warning:
        raise UnsupportedImageError(
            "JPEGs with a chroma subsampling as no camera writes it are not read; save it anew with another program"
        )
    if pixels is None:
        raise UnreadableImageError(_damage(jpeg, warning))
    if jpeg.frame in SEQUENTIAL | PROGRESSIVE and (rows := _readable(jpeg)) is not None:
        raise UnreadableImageError(_wrong_below(rows))
    if pixels.shape[2] == 4:
        return np.subtract(255, pixels, out=pixels)  # Adobe's way: 255 is no ink
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels


def _decode(file: bytes, jpeg: Jpeg) -> tuple[Pixels | None, str]:
    """All pixels, or None and the decoder's last warning."""
    try:
        return simplejpeg.decode_jpeg(file, _SPACES[len(jpeg.components)], fastdct=False, fastupsample=False), ""
    except ValueError as e:
        return None, str(e) or "error"


def _damage(jpeg: Jpeg, warning: str) -> str:
    if "premature end" not in warning.lower():
        rows = None
        with suppress(ValueError):
            rows = _readable(jpeg)
        if rows is not None:
            return _wrong_below(rows)
        return "the JPEG is damaged: parts of its picture are missing or wrong; copy it again from its source"
    if jpeg.frame in PROGRESSIVE:
        return "the JPEG is cut off: only a coarse version of its picture can be read; copy it again from its source"
    share = 0.0
    with suppress(ValueError):
        # what was never decoded is 128
        is_there: NDArray[np.bool_] = np.any(_raw(jpeg.picture, len(jpeg.components), 8) != 128, axis=(1, 2))
        share = (int(np.flatnonzero(is_there)[-1]) + 1) / len(is_there) if is_there.any() else 0.0
    return (
        f"the JPEG is cut off: only the upper {min(share, 0.99):.0%} of it can be read; copy it again from its source"
    )


def _wrong_below(share: float) -> str:
    return (
        f"the JPEG is damaged: its picture is wrong below the upper {min(share, 0.99):.0%} at the latest; "
        "copy it again from its source"
    )


def _readable(jpeg: Jpeg) -> float | None:
    """The share of the height above the first place that no picture has; None: there is no such place.

    Of 64 bytes that are overwritten the decoder says nothing in two of five cases: its codes fall into step again. But
    what they said themselves is far out of the range of 8 bits, and so are most means of blocks from there on, since
    each is stored as a difference to the last one's. The decoder clips both in silence.
    """
    for means_alone in (True, False):
        faint, most = _faint(jpeg, means_alone)
        is_right = cv2.inRange(faint, tuple(128.0 - most), tuple(128.0 + most))
        if cv2.countNonZero(is_right) < is_right.size:
            return int(is_right.all(axis=1).argmin()) / len(is_right)
    return None


def _faint(jpeg: Jpeg, means_alone: bool) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The picture in the JPEG's own components, at a fraction of its contrast, so that what is out of range shows; and
    how far from 128 a picture's values are at most, a number each component.

    A block's mean lies in the range of 8 bits (encoders overshoot by less than a quarter, against ringing); details
    are at most twice that: black and white noise at quality 1 reaches 1.9 times. Where a table is too fine to be
    divided its means are left out.

    Args:
        means_alone: the means at 2/3 of their contrast, a pixel a block; else all at 1/4.
    """
    most, picture = np.full(len(jpeg.components), 127, np.uint8), []
    for part in jpeg.picture:
        if part[:2] != bytes([0xFF, DQT]):
            picture.append(part)
            continue
        body = b""
        for precision, number, values in tables(part[4:]):
            mean = max(values[0] * 2 // 3 if means_alone else values[0] // 4, 1) if values[0] > 1 else 0
            details = [0 if means_alone else v // 4 for v in values[1:]]
            limit = 128 * (1.25 * mean / max(values[0], 1) + 2 / 4 * any(details)) + 2
            most[[c[3] == number for c in jpeg.components]] = min(int(limit), 127)
            width = 1 + (precision > 0)
            body += bytes([precision << 4 | number]) + b"".join(v.to_bytes(width, "big") for v in (mean, *details))
        picture.append(part[:2] + (len(body) + 2).to_bytes(2, "big") + body)
    return _raw(picture, len(jpeg.components), 8 if means_alone else 1), most


def _raw(picture: list[bytes], components: int, part: int) -> NDArray[np.uint8]:
    """The components as they are stored, at a part of the size (1, 8), whatever is damaged."""
    file = Jpeg(picture=picture).file(adobe=0)
    least = 1 if part > 1 else 0  # px; 0 is the photo's own size, 1 the smallest that there is
    return simplejpeg.decode_jpeg(file, _SPACES[components], min_height=least, min_width=least, strict=False)


def _info(jpeg: Jpeg) -> Mapping[str, Any]:
    """What else the file carries, under the names that `metadata.names` and `metadata.resolution` know."""
    info: dict[str, Any] = {}
    profile: dict[int, bytes] = {}
    for marker, body in jpeg.applications:
        if marker == 0xE0 and body.startswith(b"JFIF\0"):
            if len(body) >= 14 and body[12] * body[13]:
                info["thumbnails"] = True
            unit, density = body[7], tuple(int.from_bytes(body[i : i + 2], "big") for i in (8, 10))
            if unit in (1, 2):
                info["dpi"] = tuple(v * (1 if unit == 1 else 2.54) for v in density)
        elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0") and len(body) > 14:
            profile.setdefault(body[12], body[14:])
        elif body[:6] != b"Exif\0\0" or marker == COMMENT:
            known = (name for of, start, name in _CARRIED if of == marker and body.startswith(start))
            info[next(known, "further")] = True
    rest = jpeg.rest.lstrip(b"\0\xff")
    info["mp"] = info.get("mp", False) or rest.startswith(b"\xd8\xff")
    info["further"] = info.get("further", False) or bool(rest and not info["mp"])
    info["icc_profile"] = b"".join(part for _, part in sorted(profile.items()))
    return info


def write(pixels: Pixels, form: Form, fields: dict[int, Any], dpi: tuple[float, float] | None) -> bytes:
    # Pillow writes 4:4:4, 4:2:2 and 4:2:0; all else (4:1:1, an upright 4:4:0) gets its chroma in full.
    subsampling = {((2, 1), (1, 1), (1, 1)): 1, ((2, 2), (1, 1), (1, 1)): 2}.get(form.options["sampling"], 0)
    options = {
        "qtables": form.options["qtables"],
        "subsampling": subsampling,
        "keep_rgb": form.options["keep_rgb"],
        "icc_profile": form.icc,
        "exif": metadata.write(fields) if fields else b"",
        "dpi": dpi or (0, 0),
    }
    image = to_stored_image(pixels, form)
    if form.options["progressive"]:
        with suppress(OSError):  # Pillow reserves two bytes a pixel for it, which noise at the finest tables exceeds
            return encode_image(image, "JPEG", progressive=True, **options)
    return encode_image(image, "JPEG", **options)


def write_kept(
    pixels: Pixels, form: Form, fields: dict[int, Any], dpi: tuple[float, float] | None, changed: Sequence[blocks.Piece]
) -> bytes | None:
    """As `write`; but where nothing changed, with the source's coefficients. None where they cannot be kept."""
    source: blocks.Source | None = form.options.get("source")
    if source is None:
        return None
    segments = []
    if source.colors in ("L", "YCbCr"):
        density = b"".join(round(v).to_bytes(2, "big") for v in dpi) if dpi else b"\0\1\0\1"
        segments.append((0xE0, b"JFIF\0\1\1" + bytes([dpi is not None]) + density + b"\0\0"))
    if fields:
        segments.append((0xE1, metadata.write(fields).tobytes()))
    parts = [form.icc[i : i + _PROFILE] for i in range(0, len(form.icc), _PROFILE)]
    for i, part in enumerate(parts):
        segments.append((0xE2, b"ICC_PROFILE\0" + bytes([i + 1, len(parts)]) + part))
    try:
        return blocks.write(source, pixels, changed, segments)
    except RuntimeError:  # libjpeg's: numbers that the decoder passes over and no code is for
        return None
