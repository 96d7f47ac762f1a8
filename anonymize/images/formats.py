"""Formats: bytes to pixels and their form, and pixels in that form to bytes again.

What is lossless (PNG, TIFF, BMP, lossless WebP) comes back exactly. A JPEG is written with its source's quantization
tables and chroma subsampling. Lossy WebP and HEIC do not tell how they were quantized, so they are written finer than
any usual source: at the qualities below a decoded photo and its second generation differ by a PSNR of at least 44 dB
(WebP) and 52 dB (HEIC), measured on sources of quality 30 to 90.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import IO, Any

import cv2
import numpy as np
from PIL import BmpImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from ..errors import ImageTooLargeError, UnreadableImageError, UnsupportedImageError
from . import metadata, profiles
from .exact import PNG_MAGIC, TiffImageFile, read_png, read_tiff, write_png, write_tiff
from .forms import Form, Pixels, encode_image, read_palette, read_plain, to_stored_image, upright

WEBP_QUALITY, HEIC_QUALITY = 95, 90


def header(file: IO[bytes]) -> Any:
    """The photo in a file as Pillow (or pillow-heif) opens it: size and form are known, no pixel is decoded.

    Raises:
        UnsupportedImageError: a format that is none of ours.
        Exception: whatever the parser raises for a broken file.
    """
    head = file.read(16)
    file.seek(0)
    if head.startswith(b"\xff\xd8\xff"):
        return JpegImagePlugin.JpegImageFile(file)  # the primary picture; those of an MPO stay behind
    if head.startswith(PNG_MAGIC):
        return PngImagePlugin.PngImageFile(file)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WebPImagePlugin.WebPImageFile(file)
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return TiffImageFile(file)
    if head.startswith(b"BM"):
        return BmpImagePlugin.BmpImageFile(file)
    if head[4:8] == b"ftyp" and head[8:12] not in (b"avif", b"avis"):
        import pillow_heif

        if pillow_heif.is_supported(file):
            # the largest HDR picture keeps its 10 or 12 bits, scaled up to 16
            return pillow_heif.open_heif(file, convert_hdr_to_8bit=False, hdr_to_16bit=True)
    if head.startswith(b"GIF8") or head[4:8] == b"ftyp":
        raise UnsupportedImageError("GIF, AVIF and video files are not supported; convert it to PNG, JPEG or HEIC")
    raise UnreadableImageError("the file is not an image of a known format")


def decode(data: bytes, max_pixels: float) -> tuple[Pixels, Form, tuple[str, ...]]:
    """A photo's bytes as upright pixels, their form, and the names of what is dropped.

    Raises:
        ImageTooLargeError: more than `max_pixels`; nothing was decoded.
        UnsupportedImageError: several pages or frames, or a form that could not be kept.
        Exception: whatever a decoder raises for a broken file.
    """
    # Other packages switch Pillow's tolerance for truncated files on; then gray would stand where a face might be.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    opened = header(io.BytesIO(data))
    width, height = opened.size
    if width * height > max_pixels:
        raise ImageTooLargeError(
            f"{width} x {height} pixels are {width * height / 1e6:.1f} megapixels; the limit is {max_pixels / 1e6:g}"
        )
    if not width * height:
        raise UnreadableImageError("the image has no pixels")
    if not isinstance(opened, Image.Image):
        return _read_heif(opened)
    if getattr(opened, "n_frames", 1) > 1 or opened.info.get("default_image"):
        raise UnsupportedImageError(
            "the file holds several pages or frames, of which only one could be hidden; split it into single images"
        )
    is_tiff = opened.format == "TIFF"  # Pillow turns TIFFs itself, so does read_tiff; their tags are read from the file
    exif = opened.getexif() if is_tiff else Image.Exif()
    if is_tiff:
        opened.info.pop("dpi", None)  # Pillow says 1 where the tags say nothing; they are in `exif`
    fields, removed = metadata.read(exif), metadata.names(opened.info, exif)
    read = {"JPEG": _read_jpeg, "PNG": read_png, "WEBP": _read_webp, "TIFF": read_tiff, "BMP": _read_bmp}
    pixels, form = read[str(opened.format)](opened, data)
    turn = 1
    if not is_tiff:
        exif = metadata.parse(opened.info.get("exif", b""))
        fields, removed, turn = metadata.read(exif), metadata.names(opened.info, exif), metadata.orientation(exif)
    dpi = metadata.resolution(opened.info, exif)
    icc, notes = _profile(opened.info)
    form = replace(
        form,
        icc=icc,
        indices=None if form.indices is None else upright(form.indices, turn),
        fields=fields,
        dpi=dpi[::-1] if dpi and turn >= 5 else dpi,
        options=_turn_jpeg(form.options, turn) if form.format == "JPEG" else form.options,
    )
    return upright(pixels, turn), form, (*removed, *notes)


def _profile(info: Mapping[Any, Any]) -> tuple[bytes, tuple[str, ...]]:
    """What is kept of the color profile, and a name for what is not."""
    raw = info.get("icc_profile") or b""
    kept = profiles.colors(raw)
    return kept, ("notes in the color profile",) if kept != raw else ()


def encode(pixels: Pixels, form: Form, keep: Iterable[str] = ()) -> bytes:
    """The bytes of a file with these pixels in that form, and of all metadata only the fields named in `keep`."""
    fields = metadata.choose(form.fields, keep)
    dpi = form.dpi if "resolution" in keep else None
    write = {
        "JPEG": _write_jpeg,
        "PNG": write_png,
        "WEBP": _write_webp,
        "TIFF": write_tiff,
        "BMP": _write_bmp,
        "HEIF": _write_heif,
    }
    return write[form.format](pixels, form, fields, dpi)


# JPEG


def _read_jpeg(image: Any, _data: bytes) -> tuple[Pixels, Form]:
    layers = image.layer  # a (component, horizontal, vertical sampling, table) each
    tables = image.quantization
    ids = bytes(c if isinstance(c, int) else ord(c) for c, *_ in layers)
    is_rgb = len(layers) == 3 and (
        image.info.get("adobe_transform") == 0 or (ids == b"RGB" and "jfif" not in image.info)
    )
    sampling = tuple((h, v) for _, h, v, _ in layers)
    progressive = bool(image.info.get("progressive"))
    if image.info.get("jfif_unit") not in (1, 2):
        image.info.pop("dpi", None)  # where there is none Pillow takes that of EXIF, or 72
    pixels, form = read_plain(image, "JPEG", progressive=progressive, keep_rgb=is_rgb, sampling=sampling)
    # Scans may define tables late, so they are complete only now.
    each = [list(tables[t]) for *_, t in layers]
    while len(each) > 1 and each[-1] == each[-2]:
        each.pop()  # the encoder repeats the last table for further components
    return pixels, replace(form, options={**form.options, "qtables": each})


def _turn_jpeg(options: Mapping[str, Any], turn: int) -> dict[str, Any]:
    """The tables and the sampling as the upright picture has them: a quarter turn swaps their axes."""
    if turn < 5:
        return dict(options)
    tables = [np.reshape(t, (8, 8)).T.ravel().tolist() for t in options["qtables"]]
    return {**options, "qtables": tables, "sampling": tuple((v, h) for h, v in options["sampling"])}


def _write_jpeg(pixels: Pixels, form: Form, fields: dict[int, Any], dpi: tuple[float, float] | None) -> bytes:
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


# WebP


def _read_webp(image: Any, data: bytes) -> tuple[Pixels, Form]:
    at, kinds = 12, set()
    while at + 8 <= len(data):
        kinds.add(data[at : at + 4])
        at += 8 + (int.from_bytes(data[at + 4 : at + 8], "little") + 1) // 2 * 2
    if kinds & {b"ANIM", b"ANMF"}:
        raise UnsupportedImageError("the WebP is animated, and only one frame could be hidden; split it into images")
    return read_plain(image, "WEBP", lossless=b"VP8L" in kinds)


def _write_webp(pixels: Pixels, form: Form, fields: dict[int, Any], dpi: tuple[float, float] | None) -> bytes:
    lossless = form.options["lossless"]
    return encode_image(
        to_stored_image(pixels, form),
        "WEBP",
        lossless=lossless,
        quality=75 if lossless else WEBP_QUALITY,  # of a lossless file only the effort
        exact=True,  # the colors of transparent pixels, too
        icc_profile=form.icc,
        exif=metadata.write(fields, dpi) if fields or dpi else b"",
    )


# BMP


def _read_bmp(image: Any, _data: bytes) -> tuple[Pixels, Form]:
    return read_palette(image, "BMP", 8) if image.mode == "P" else read_plain(image, "BMP")


def _write_bmp(pixels: Pixels, form: Form, _fields: dict[int, Any], dpi: tuple[float, float] | None) -> bytes:
    if form.mode == "RGBA" and form.palette is None:  # Pillow writes an alpha that no one reads, itself included
        ok, out = cv2.imencode(".bmp", pixels[:, :, [2, 1, 0, 3]])
        if not ok:
            raise ValueError("the BMP could not be encoded")
        return bytes(out.tobytes())
    return encode_image(to_stored_image(pixels, form), "BMP", dpi=dpi or (0, 0))


# HEIC


def _read_heif(file: Any) -> tuple[Pixels, Form, tuple[str, ...]]:
    """libheif turns the picture upright itself. Depth maps, gain maps and thumbnails stay behind."""
    if len(file) > 1:
        raise UnsupportedImageError("the HEIC holds several pictures, of which only one could be hidden; split it")
    picture = file[0]
    kind, _, depth = picture.mode.partition(";")
    if kind not in ("L", "LA", "RGB", "RGBA", "RGBa"):
        raise UnsupportedImageError(f"HEIC pictures of mode {picture.mode} cannot be written in the form they came in")
    pixels = np.ascontiguousarray(np.asarray(picture)[:, : picture.size[0]])
    info, exif = picture.info, metadata.parse(picture.info.get("exif") or b"")
    options = {"kind": kind + (";16" if depth else ""), "chroma": info.get("chroma"), "nclx": info.get("nclx_profile")}
    fields, dpi = metadata.read(exif), metadata.resolution({}, exif)
    icc, notes = _profile(info)
    form = Form("HEIF", kind.upper(), info["bit_depth"], icc, fields=fields, dpi=dpi, options=options)
    dropped = ["depth map"] * bool(info.get("depth_images")) + ["auxiliary pictures"] * bool(info.get("aux"))
    return pixels, form, (*metadata.names(info, exif), *dropped, *notes)


def _write_heif(pixels: Pixels, form: Form, fields: dict[int, Any], dpi: tuple[float, float] | None) -> bytes:
    import pillow_heif

    options: dict[str, Any] = {"quality": HEIC_QUALITY, "bit_depth": form.bits}
    if form.options["chroma"] in (420, 422, 444):
        options["chroma"] = form.options["chroma"]
    if form.options["nclx"]:
        options["nclx_profile"] = form.options["nclx"]
    if form.icc:
        options["icc_profile"] = form.icc
    if fields or dpi:
        options["exif"] = metadata.write(fields, dpi).tobytes()
    out = io.BytesIO()
    size = (pixels.shape[1], pixels.shape[0])
    pillow_heif.encode(form.options["kind"], size, np.ascontiguousarray(pixels).tobytes(), out, **options)
    return out.getvalue()
