"""WebP: lossless comes back exactly; lossy does not tell how it was quantized, so it is written finer than usual."""

from __future__ import annotations

import io
from typing import Any

from PIL import WebPImagePlugin

from ..errors import UnreadableImageError, UnsupportedImageError
from . import metadata
from .forms import Decoded, Form, Guard, Pixels, encode_image, read_plain, to_stored_image

QUALITY = 95  # a decoded photo of quality 30 to 90 and its second generation differ by a PSNR of at least 44 dB
_HEAD = 12
_BROKEN = "the WebP is damaged or cut off; copy it again from its source"


def _chunks(data: Any) -> dict[bytes, bytes]:
    """Kind -> body, of several chunks of one kind the first; no further than the file says that it goes.

    Raises:
        UnreadableImageError: the picture is cut off.
    """
    found: dict[bytes, bytes] = {}
    at, end = _HEAD, 8 + int.from_bytes(data[4:8], "little")
    while at + 8 <= min(end, len(data)):
        kind, length = bytes(data[at : at + 4]), int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + length > len(data):
            if kind in (b"VP8 ", b"VP8L", b"ALPH", b"ANMF"):
                raise UnreadableImageError(_BROKEN)
            break  # metadata behind the picture
        found.setdefault(kind, bytes(data[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    return found


def _file(chunks: dict[bytes, bytes]) -> bytes:
    """The picture alone."""
    picture: list[tuple[bytes, bytes]] = [
        (kind, chunks[kind]) for kind in (b"ALPH", b"VP8 ", b"VP8L") if kind in chunks
    ]
    if b"VP8L" in chunks:
        picture = [(b"VP8L", chunks[b"VP8L"])]
    elif b"ALPH" in chunks:
        picture.insert(0, (b"VP8X", b"\x10\0\0\0" + chunks.get(b"VP8X", b"")[4:10].ljust(6, b"\0")))
    body = b"WEBP"
    for kind, data in picture:
        body += kind + len(data).to_bytes(4, "little") + data + b"\0" * (len(data) % 2)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def size(data: Any) -> tuple[int, int]:
    """Width and height.

    Raises:
        UnreadableImageError: there is no picture.
    """
    chunks = _chunks(data)
    if len(head := chunks.get(b"VP8L", b"")) >= 5:
        number = int.from_bytes(head[1:5], "little")
        return (number & 0x3FFF) + 1, (number >> 14 & 0x3FFF) + 1
    if len(head := chunks.get(b"VP8 ", b"")) >= 10:
        return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF
    if len(head := chunks.get(b"VP8X", b"")) >= 10:  # animated
        return int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
    raise UnreadableImageError(_BROKEN)


def read(data: bytes, guard: Guard) -> Decoded:
    """The picture, whole.

    Raises:
        UnreadableImageError: damaged, or cut off. UnsupportedImageError: animated.
    """
    guard(*size(data))
    chunks = _chunks(data)
    if chunks.keys() & {b"ANIM", b"ANMF"}:
        raise UnsupportedImageError("the WebP is animated, and only one frame could be hidden; split it into images")
    image = WebPImagePlugin.WebPImageFile(io.BytesIO(_file(chunks)))
    guard(*image.size)
    pixels, form = read_plain(image, "WEBP", lossless=b"VP8L" in chunks)
    info = {
        "icc_profile": chunks.get(b"ICCP", b""),
        "xmp": b"XMP " in chunks,
        "further": bool(chunks.keys() - {b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ICCP", b"XMP ", b"EXIF"}),
    }
    return Decoded.turned(pixels, form, metadata.parse(chunks.get(b"EXIF", b"")), info)


def write(pixels: Pixels, form: Form, fields: dict[int, Any], dpi: tuple[float, float] | None) -> bytes:
    lossless = form.options["lossless"]
    return encode_image(
        to_stored_image(pixels, form),
        "WEBP",
        lossless=lossless,
        quality=75 if lossless else QUALITY,  # of a lossless file only the effort
        exact=True,  # the colors of transparent pixels, too
        icc_profile=form.icc,
        exif=metadata.write(fields, dpi) if fields or dpi else b"",
    )
