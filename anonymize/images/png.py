"""PNG: exact in all its depths, and read from the chunks that hold the picture alone.

Pillow has no 16-bit color: OpenCV reads and writes it. Only what belongs to the pixels is written.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import PngImagePlugin

from ..errors import UnreadableImageError, UnsupportedImageError
from . import metadata
from .forms import Decoded, Form, Guard, Pixels, as_image, bands, read_palette, read_plain, to_stored_image

MAGIC = b"\x89PNG\r\n\x1a\n"
# Chunks that say how numbers become colors, and their exact lengths (PNG 1.2, 4.2.2; PNG 3, 11.3.2.6). Like an ICC
# profile they belong to the pixels; every other ancillary chunk stays behind.
_COLOR = {b"cHRM": 32, b"gAMA": 4, b"sRGB": 1, b"cICP": 4}
# Each pass of an interlaced PNG: where it begins, x and y, and its steps (PNG 1.2, 2.6)
_ADAM7 = (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)
_TEXTS = frozenset((b"tEXt", b"zTXt", b"iTXt"))
_MOST_METADATA = 1 << 24  # bytes that a compressed chunk may grow to
_TRUNCATED = "the PNG is cut off; copy it again from its source"


def _chunks(data: Any) -> Iterator[tuple[bytes, bytes]]:
    """Kind and body of each chunk; the checksums of those that the picture is made of are checked.

    Raises:
        UnreadableImageError: damaged, or cut off.
    """
    at = len(MAGIC)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind = bytes(data[at + 4 : at + 8])
        if at + 12 + length > len(data):
            break
        body = bytes(data[at + 8 : at + 8 + length])
        at += 12 + length
        if kind[:1].isupper() and zlib.crc32(body, zlib.crc32(kind)) != int.from_bytes(data[at - 4 : at], "big"):
            raise UnreadableImageError("the PNG is damaged: a checksum does not fit; copy it again from its source")
        yield kind, body
        if kind == b"IEND":
            return
    raise UnreadableImageError(_TRUNCATED)


def _file(chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
    out = [MAGIC]
    for kind, body in chunks:
        out += [len(body).to_bytes(4, "big"), kind, body, zlib.crc32(body, zlib.crc32(kind)).to_bytes(4, "big")]
    return b"".join(out)


def size(data: Any) -> tuple[int, int]:
    """Width and height.

    Raises:
        UnreadableImageError: there is no header.
    """
    for kind, body in _chunks(data):
        if kind == b"IHDR" and len(body) == 13:
            return int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big")
        break
    raise UnreadableImageError("the PNG is damaged: its header is missing; copy it again from its source")


def read(data: bytes, guard: Guard) -> Decoded:
    """The picture, whole.

    Raises:
        UnreadableImageError: damaged, or cut off. UnsupportedImageError: animated.
    """
    guard(*size(data))
    chunks = list(_chunks(data))
    first = dict(reversed(chunks))
    if b"acTL" in first:
        raise UnsupportedImageError("the PNG is animated, and only one frame could be hidden; split it into images")
    bits, colors = first[b"IHDR"][8], first[b"IHDR"][9]
    options: dict[str, Any] = {"color": [(k, first[k]) for k, n in _COLOR.items() if len(first.get(k, b"")) == n]}
    key = first.get(b"tRNS", b"")
    picture = [(b"IHDR", first[b"IHDR"])]
    if colors == 3:
        picture.append((b"PLTE", first.get(b"PLTE", b"")))
        if 0 < len(key) <= len(first.get(b"PLTE", b"")) // 3:
            picture.append((b"tRNS", key))
    elif len(key) == {0: 2, 2: 6}.get(colors):
        options["key"] = key  # the one color that is transparent
    idat = b"".join(body for kind, body in chunks if kind == b"IDAT")
    if bits == 16 and colors != 0:
        idat = _whole(idat, first[b"IHDR"])
    file = _file([*picture, (b"IDAT", idat), (b"IEND", b"")])
    pixels, form = _decode(file, bits, colors, options)
    exif = metadata.parse(first[b"eXIf"] if b"eXIf" in first else _profile(chunks))
    info: dict[str, Any] = {"chunks": chunks, "icc_profile": _icc(first.get(b"iCCP", b""))}
    if len(density := first.get(b"pHYs", b"")) == 9 and density[8] == 1:
        info["dpi"] = tuple(int.from_bytes(density[i : i + 4], "big") * 0.0254 for i in (0, 4))
    return Decoded.turned(pixels, form, exif, info)


def _decode(file: bytes, bits: int, colors: int, options: dict[str, Any]) -> tuple[Pixels, Form]:
    if bits == 16 and colors != 0:
        mode, order = {2: ("RGB", [2, 1, 0]), 4: ("LA", [0, 3]), 6: ("RGBA", [2, 1, 0, 3])}[colors]
        pixels = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is None:
            raise UnreadableImageError("the PNG is damaged: it cannot be decoded; copy it again from its source")
        return np.ascontiguousarray(pixels[:, :, order]), Form("PNG", mode, 16, options=options)
    image = PngImagePlugin.PngImageFile(io.BytesIO(file))
    if colors == 3:
        return read_palette(image, "PNG", bits, **options)
    pixels, form = read_plain(image, "PNG", **options)
    return pixels, replace(form, bits=bits)


def _whole(idat: bytes, head: bytes) -> bytes:
    """The compressed pixels of a deep PNG, which are neither too few nor too many: libpng warns of that on stderr.

    Raises:
        UnreadableImageError: they are.
    """
    width, height = (int.from_bytes(head[i : i + 4], "big") for i in (0, 4))
    pixel = 2 * {2: 3, 4: 2, 6: 4}[head[9]]
    passes = _ADAM7 if head[12] else ((0, 0, 1, 1),)
    sizes = ((-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in passes)
    missing = sum(rows * (1 + columns * pixel) for columns, rows in sizes if columns > 0 and rows > 0)
    unpacker, rest = zlib.decompressobj(), idat
    while not unpacker.eof and missing >= 0 and (out := unpacker.decompress(rest, 1 << 20)):
        missing, rest = missing - len(out), unpacker.unconsumed_tail
    if missing or not unpacker.eof:
        raise UnreadableImageError("the PNG is damaged: its picture is not whole; copy it again from its source")
    return idat[: len(idat) - len(unpacker.unused_data)]


def _inflate(data: bytes) -> bytes:
    """What a chunk holds compressed; nothing where that is broken or would fill the memory."""
    unpacker = zlib.decompressobj()
    try:
        out = unpacker.decompress(data, _MOST_METADATA)
    except zlib.error:
        return b""
    return b"" if unpacker.unconsumed_tail else out


def _icc(body: bytes) -> bytes:
    _name, _, rest = body.partition(b"\0")
    return _inflate(rest[1:])


def _profile(chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
    """EXIF as ImageMagick writes it: a text of a name, a length and hexadecimal digits, a line each."""
    for kind, body in chunks:
        keyword, _, text = body.partition(b"\0")
        if kind not in _TEXTS or keyword not in (b"Raw profile type exif", b"Raw profile type APP1"):
            continue
        if kind == b"zTXt":
            text = _inflate(text[1:])
        elif kind == b"iTXt":
            is_packed, (_, _, text) = text[:1] == b"\1", (text[2:].split(b"\0", 2) + [b"", b""])[:3]
            text = _inflate(text) if is_packed else text
        with_header = text.strip().split(b"\n", 2)[2:]
        try:
            block = bytes.fromhex(b"".join(with_header).decode("ascii"))
        except ValueError:
            continue
        if block.startswith((b"Exif\0\0", b"II*\0", b"MM\0*")):
            return block
    return b""


def key_alpha(pixels: Pixels, form: Form) -> NDArray[np.uint8] | None:
    """How opaque the pixels are where one color is transparent: (H, W), 0 or 255; None where none is.

    That is PNG's tRNS without a palette. Of its 16 bits a sample those count that samples have (PNG 3, 11.3.1.1).
    """
    if "key" not in form.options:
        return None
    most = 2**form.bits - 1
    color = (np.frombuffer(form.options["key"], ">u2") & most) * (255 // most if form.bits < 8 else 1)
    alpha = np.empty(pixels.shape[:2], np.uint8)
    for rows in bands(pixels.shape[0], pixels.shape[1]):
        is_clear = pixels[rows] == color
        alpha[rows] = np.where(is_clear.all(axis=2) if is_clear.ndim == 3 else is_clear, 0, 255)
    return alpha


def write(pixels: Pixels, form: Form, fields: dict[int, Any], dpi: tuple[float, float] | None) -> bytes:
    size_, idat = _compress(pixels, form)
    depth = bytes([form.bits, 3 if form.palette is not None else {"L": 0, "LA": 4, "RGB": 2, "RGBA": 6}[form.mode]])
    chunks = [(b"IHDR", size_ + depth + b"\0\0\0"), *form.options["color"]]
    if form.icc:
        chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(form.icc)))
    if form.palette is not None:
        chunks.append((b"PLTE", form.palette[:, :3].tobytes()))
        if form.palette.shape[1] == 4:
            chunks.append((b"tRNS", form.palette[:, 3].tobytes()))
    if "key" in form.options:
        chunks.append((b"tRNS", form.options["key"]))
    if dpi:
        chunks.append((b"pHYs", b"".join(round(v / 0.0254).to_bytes(4, "big") for v in dpi) + b"\1"))
    if fields:
        chunks.append((b"eXIf", metadata.write(fields).tobytes().removeprefix(b"Exif\0\0")))
    return _file([*chunks, *((b"IDAT", body) for body in idat), (b"IEND", b"")])


def _compress(pixels: Pixels, form: Form) -> tuple[bytes, list[bytes]]:
    """Width and height, and the IDAT chunks, as a library compresses them."""
    if pixels.dtype == np.uint16 and form.mode in ("RGB", "RGBA"):
        order = [2, 1, 0, 3][: pixels.shape[2]]
        ok, out = cv2.imencode(".png", pixels[:, :, order], [cv2.IMWRITE_PNG_COMPRESSION, 6])
        if not ok:
            raise ValueError("the PNG could not be encoded")
        chunks = list(_chunks(out.tobytes()))
    else:
        params: dict[str, Any] = {}
        if pixels.dtype == np.uint16 and form.mode == "LA":
            # PNG filters and compresses bytes: two 16-bit samples a pixel are the stream of four 8-bit ones.
            image = as_image(pixels.astype(">u2").view(np.uint8), "RGBA")
        elif form.palette is None and form.bits in (2, 4):
            # Likewise few-bit gray is the stream of few-bit indices.
            image, params = as_image(pixels // (255 // (2**form.bits - 1)), "P"), {"bits": form.bits}
        else:
            image = to_stored_image(pixels, form)
            params = {"bits": form.bits} if form.palette is not None else {}
        chunks = [(kind, body) for kind, body, *_ in PngImagePlugin.getchunks(image, **params)]
    return dict(chunks)[b"IHDR"][:8], [body for kind, body in chunks if kind == b"IDAT"]
