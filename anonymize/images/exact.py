"""PNG and TIFF: exact in all their depths, which takes more than one library.

Pillow has no 16-bit color: OpenCV reads and writes such PNGs, tifffile such TIFFs. Only what belongs to the pixels is
written: PNG's color chunks and TIFF's structural tags.
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
from PIL import Image, ImageFile, PngImagePlugin, TiffImagePlugin

from ..errors import UnreadableImageError, UnsupportedImageError
from . import metadata
from .forms import Form, Pixels, as_image, bands, encode_image, read_palette, read_plain, to_stored_image, upright

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
# PNG chunks that say how numbers become colors, and their exact lengths (PNG 1.2, 4.2.2; PNG 3, 11.3.2.6). Like an ICC
# profile they belong to the pixels; every other ancillary chunk stays behind.
_PNG_COLOR = {b"cHRM": 32, b"gAMA": 4, b"sRGB": 1, b"cICP": 4}
_TIFF_LOSSLESS = {"raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "group3", "group4", "tiff_ccitt"}


# PNG


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(PNG_MAGIC)
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if at + 12 + length > len(data):
            break
        kind = data[at + 4 : at + 8]
        yield kind, data[at + 8 : at + 8 + length]
        if kind == b"IEND":
            return
        at += 12 + length
    raise UnreadableImageError("the PNG is truncated")


def _png(chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
    out = [PNG_MAGIC]
    for kind, body in chunks:
        out += [len(body).to_bytes(4, "big"), kind, body, zlib.crc32(body, zlib.crc32(kind)).to_bytes(4, "big")]
    return b"".join(out)


def read_png(image: Any, data: bytes) -> tuple[Pixels, Form]:
    chunks = list(_png_chunks(data))
    first = dict(reversed(chunks))
    if b"acTL" in first:
        raise UnsupportedImageError("the PNG is animated, and only one frame could be hidden; split it into images")
    bits, colors = first[b"IHDR"][8], first[b"IHDR"][9]
    color = [(k, first[k]) for k, length in _PNG_COLOR.items() if len(first.get(k, b"")) == length]
    options: dict[str, Any] = {"color": color}
    if b"eXIf" in first:
        image.info["exif"] = first[b"eXIf"]  # it may stand behind the pixels
    image.info["chunks"] = chunks  # for metadata.names; Pillow mixes keywords that a file chose with names of its own
    key = first.get(b"tRNS", b"")
    if colors in (0, 2) and len(key) == (2 if colors == 0 else 6):
        options["key"] = key  # the one color that is transparent
    if colors == 3:
        return read_palette(image, "PNG", bits, **options)
    if bits < 16 or colors == 0:
        pixels, form = read_plain(image, "PNG", **options)
        return pixels, replace(form, bits=bits)
    # Pillow has no 16-bit color. OpenCV reads it, given nothing but the pixels (it would apply tRNS).
    idat = b"".join(body for kind, body in chunks if kind == b"IDAT")
    bare = _png([(b"IHDR", first[b"IHDR"]), (b"IDAT", idat), (b"IEND", b"")])
    deep: Any = cv2.imdecode(np.frombuffer(bare, np.uint8), cv2.IMREAD_UNCHANGED)
    if deep is None or deep.dtype != np.uint16:
        raise UnreadableImageError("the PNG's pixels are truncated or broken")
    mode = {2: "RGB", 4: "LA", 6: "RGBA"}[colors]
    order = {"RGB": [2, 1, 0], "LA": [0, 3], "RGBA": [2, 1, 0, 3]}[mode]
    return np.ascontiguousarray(deep[:, :, order]), Form("PNG", mode, 16, options=options)


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


def write_png(pixels: Pixels, form: Form, fields: dict[int, Any], dpi: tuple[float, float] | None) -> bytes:
    size, idat = _png_pixels(pixels, form)
    depth = bytes([form.bits, 3 if form.palette is not None else {"L": 0, "LA": 4, "RGB": 2, "RGBA": 6}[form.mode]])
    chunks = [(b"IHDR", size + depth + b"\0\0\0"), *form.options["color"]]
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
    return _png([*chunks, *((b"IDAT", body) for body in idat), (b"IEND", b"")])


def _png_pixels(pixels: Pixels, form: Form) -> tuple[bytes, list[bytes]]:
    """Width and height, and the IDAT chunks, as a library compresses them."""
    if pixels.dtype == np.uint16 and form.mode in ("RGB", "RGBA"):
        order = [2, 1, 0, 3][: pixels.shape[2]]
        ok, out = cv2.imencode(".png", pixels[:, :, order], [cv2.IMWRITE_PNG_COMPRESSION, 6])
        if not ok:
            raise ValueError("the PNG could not be encoded")
        chunks = list(_png_chunks(out.tobytes()))
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


# TIFF


class TiffImageFile(TiffImagePlugin.TiffImageFile):
    def _setup(self) -> None:
        try:
            super()._setup()
        except (SyntaxError, KeyError) as e:
            raise UnsupportedImageError(f"TIFFs of this kind are not supported ({e})") from e

    def load_prepare(self) -> None:
        # Pillow's own limit of pixels is global; ours was checked when this is called.
        if self._im is None:
            self.im = Image.core.new(self.mode, self._tile_size)  # type: ignore[attr-defined]
        ImageFile.ImageFile.load_prepare(self)


def read_tiff(image: Any, data: bytes) -> tuple[Pixels, Form]:
    tags = image.tag_v2
    bits, photometric = tuple(tags.get(258, (1,))), tags.get(262, 0)
    extra, kinds = tuple(tags.get(338, ())), set(tags.get(339, (1,)))
    compression = image.info.get("compression", "raw")
    # JPEG in a TIFF is written losslessly: larger, but exact. So are compressions that are not widely read.
    options: dict[str, Any] = {"compression": compression if compression in _TIFF_LOSSLESS else "tiff_adobe_deflate"}
    if tags.get(317) == 2 and compression in ("tiff_lzw", "tiff_adobe_deflate", "tiff_deflate"):
        options["predictor"] = True
    if kinds == {1}:
        if photometric == 3 and len(bits) == 1:
            return read_palette(image, "TIFF", 8, **options)
        by_pillow = {
            (0, (1,), ()), (1, (1,), ()), (0, (8,), ()), (1, (8,), ()), (1, (16,), ()), (1, (8, 8), (2,)),
            (2, (8,) * 3, ()), (6, (8,) * 3, ()), (2, (8,) * 4, ()), (2, (8,) * 4, (2,)), (5, (8,) * 4, ()),
        }  # fmt: skip
        if (photometric, bits, extra) in by_pillow and not (len(bits) == 2 and tags.get(284) == 2):  # a plane each
            return read_plain(image, "TIFF", **options)
        mode = {(1, 2): "LA", (2, 3): "RGB", (2, 4): "RGBA", (5, 4): "CMYK"}.get((photometric, len(bits)))
        if mode == "RGBA" and not extra:
            extra = (2,)  # a fourth channel without a name is taken for alpha, as everywhere
        if mode and set(bits) in ({8}, {16}) and len(extra) == (mode[-1] == "A"):
            pixels = _tiff_array(data, compression, mode)
            return upright(pixels, tags.get(274, 1)), Form("TIFF", mode, bits[0], options={**options, "extra": extra})
    raise UnsupportedImageError(
        f"TIFFs of this kind ({'/'.join(map(str, bits))} bits, photometric {photometric}, sample format "
        f"{'/'.join(map(str, sorted(kinds)))}) cannot be written in the form that they came in"
    )


def _tiff_array(data: bytes, compression: str, mode: str) -> Pixels:
    """16-bit color and premultiplied alpha, which Pillow would change."""
    if compression == "tiff_lzw":
        pixels: Any = cv2.imdecode(
            np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED
        )  # tifffile has no LZW of its own
        if pixels is None or pixels.dtype != np.uint16 or mode not in ("RGB", "RGBA"):
            raise UnsupportedImageError("LZW TIFFs of this kind cannot be read; save it with Deflate or uncompressed")
        return pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]]
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        page = tiff.pages[0]
        pixels = np.asarray(page.asarray())
        if page.planarconfig == 2:
            pixels = np.moveaxis(pixels, 0, 2)
    if pixels.shape[2:] != (len(mode),):  # tags that contradict each other
        raise UnreadableImageError("the TIFF's pixels are truncated or broken")
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def write_tiff(pixels: Pixels, form: Form, fields: dict[int, Any], dpi: tuple[float, float] | None) -> bytes:
    if "extra" in form.options:
        return _write_deep_tiff(pixels, form, fields, dpi)
    compression = form.options["compression"]
    # libtiff, which compresses, cannot write a further directory: then only the fields of the first one are kept
    info = metadata.write(fields if compression == "raw" else metadata.first_directory(fields))
    if form.options.get("predictor") and form.bits >= 8 and form.palette is None:
        info[317] = 2
    options: dict[str, Any] = {"dpi": dpi} if dpi else {}
    image = to_stored_image(pixels, form)
    return encode_image(image, "TIFF", compression=compression, icc_profile=form.icc or None, exif=info, **options)


def _write_deep_tiff(pixels: Pixels, form: Form, fields: dict[int, Any], dpi: tuple[float, float] | None) -> bytes:
    """What Pillow cannot write. Compressed ones get Deflate; of the fields those of the first directory are kept."""
    import tifffile

    compressed = form.options["compression"] != "raw"
    out = io.BytesIO()
    tifffile.imwrite(
        out,
        pixels,
        photometric={"L": "minisblack", "RGB": "rgb", "CMYK": "separated"}[form.mode.removesuffix("A")],
        extrasamples=form.options["extra"] or None,
        planarconfig="contig",
        compression="zlib" if compressed else None,
        predictor=compressed,
        metadata=None,
        software=False,
        iccprofile=form.icc or None,
        resolution=dpi,
        resolutionunit="INCH" if dpi else "NONE",
        extratags=[(t, 2, 0, v, True) for t, v in metadata.first_directory(fields).items()],
    )
    return out.getvalue()
