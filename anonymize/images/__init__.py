"""Photos: found, read into memory upright, and written in the form that they came in, with nothing else in the file.

`paths` finds them, `formats` and a module for each format decode and encode, `metadata` knows what little may be kept.
This module joins them with the rules: bytes are read once, limits are checked before anything is decoded, a photo is
written whole or not at all.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from .. import disk
from ..disk import AnyPath
from ..errors import ImageTooLargeError, UnreadableImageError, UnsupportedImageError, WriteError
from ..settings import Settings
from . import formats, forms, metadata, png, profiles
from .blocks import Piece
from .formats import ENCODED_ANEW, WARNINGS
from .forms import Form, Pixels
from .paths import Found, check_output, find, is_companion, output_path

__all__ = [
    "ENCODED_ANEW", "WARNINGS", "Form", "Found", "Photo", "Piece", "Pixels", "check_output", "count_pixels", "encode",
    "find", "from_array", "from_pillow", "is_companion", "load", "output_path", "save", "sha256", "to_pillow",
]  # fmt: skip

# No photo form stores a pixel in more than 4 samples of 2 bytes; the rest is room for metadata.
_BYTES_A_PIXEL, _ROOM = 8, 1 << 28
_PILLOW_MODES = {"1": "L", "P": "RGB", "PA": "RGBA", "RGBa": "RGBA", "La": "LA"} | dict.fromkeys(
    ("RGBX", "YCbCr", "HSV"), "RGB"
)


@dataclass(frozen=True, eq=False)
class Photo:
    """One photo in memory.

    Attributes:
        pixels: upright, read-only, in the photo's own depth and channels (`mode`): uint8 or uint16, (H, W) or
            (H, W, C). Palettes are resolved to RGB(A), 1-bit images to 0 and 255.
        sha256: of the file's bytes.
        form: what `save` needs to write the photo as it came in.
        removed_metadata: names of what the file carries and the output will not ("GPS position", "comment").
        warnings: codes of what is to be said of it (`WARNINGS`).
        source: the file that it was read from; `save` refuses to write there.
    """

    pixels: Pixels
    sha256: str
    form: Form
    removed_metadata: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    source: Path | None = None

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def mode(self) -> str:
        """What the channels are: "L", "LA", "RGB", "RGBA" or "CMYK"."""
        return self.form.mode

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """The picture for people: uint8 RGB (H, W, 3), 0–255, upright; made anew at each call unless it is `pixels`.

        16 bits are scaled down. Colors of transparent pixels are taken as they are stored. CMYK goes through its ICC
        profile, or the simple formula where that is not usable.
        """
        return self._rgb(8)

    def views(self) -> Iterator[NDArray[np.uint8]]:
        """What detectors look at: all that any viewer can show of the photo, each like `rgb`.

        First the stored colors, also of transparent pixels, so that a face under an alpha of 0 is found. The deepest
        shadows of 16 bits count when nothing is brighter: many cameras store 10 or 12 bits in 16, which scaled down
        would be black. Where something is transparent, also what is seen on white and on black: letters of the color
        that is stored around them show only there.
        """
        brightest = int((self.pixels[:, :, :-1] if self.mode in ("LA", "RGBA") else self.pixels).max())
        colors = self._rgb(max(brightest.bit_length() - 8, 0))
        yield colors
        alpha = self._alpha()
        if alpha is None or alpha.min() == 255:
            return
        for ground in (255, 0):
            seen = np.empty_like(colors)
            for rows in forms.bands(self.height, self.width):
                weight = alpha[rows][:, :, None].astype(np.uint32)
                through = colors[rows] * (np.uint32(255) if self.form.is_premultiplied else weight)
                seen[rows] = np.minimum((through + ground * (255 - weight) + 127) // 255, 255)
            yield seen

    def _alpha(self) -> NDArray[np.uint8] | None:
        """How opaque each pixel is, (H, W), 0–255; None for a photo that has no transparency."""
        if self.mode not in ("LA", "RGBA"):
            return png.key_alpha(self.pixels, self.form)
        alpha = self.pixels[:, :, -1]
        return (alpha >> 8).astype(np.uint8) if alpha.dtype == np.uint16 else alpha

    def _rgb(self, shift: int) -> NDArray[np.uint8]:
        """As `rgb`; of 16 bits those from bit `shift` on."""
        pixels = self.pixels
        if pixels.dtype == np.uint16:
            pixels = (pixels >> shift).astype(np.uint8)
        if self.mode == "CMYK":
            return _cmyk_to_rgb(pixels, self.form.icc)
        if self.mode in ("RGB", "RGBA"):
            return np.ascontiguousarray(pixels[:, :, :3])
        gray = pixels if pixels.ndim == 2 else pixels[:, :, 0]
        return np.repeat(gray[:, :, None], 3, axis=2)


def _cmyk_to_rgb(pixels: NDArray[np.uint8], icc: bytes) -> NDArray[np.uint8]:
    from PIL import ImageCms

    transform = None
    if icc:
        with suppress(ImageCms.PyCMSError, OSError, ValueError):
            source, target = ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
            transform = ImageCms.buildTransform(source, target, "CMYK", "RGB")
    out = np.empty((*pixels.shape[:2], 3), np.uint8)
    for rows in forms.bands(*pixels.shape[:2]):
        band = np.ascontiguousarray(pixels[rows])
        image = Image.frombuffer("CMYK", (band.shape[1], band.shape[0]), band, "raw", "CMYK", 0, 1)
        done = ImageCms.applyTransform(image, transform) if transform else image.convert("RGB")
        out[rows] = np.asarray(done)
    return out


def load(path: AnyPath, settings: Settings) -> Photo:
    """Read a photo. Hash and pixels come from the same bytes, read once.

    Args:
        path: a regular file, or a link to one; its content decides its format, not its name.
        settings: `max_megapixels` is the limit, checked before anything is decoded; `jpeg` says how one is written.

    Raises:
        UnreadableImageError: not there, not permitted, empty, truncated, or not an image.
        UnsupportedImageError: several pages or frames; a form that could not be kept. The first picture of an MPO, MPF
            JPEG or HEIC is the photo, the others stay behind; so do a TIFF's thumbnails.
        ImageTooLargeError: more megapixels than the limit.
    """
    max_pixels = settings.max_megapixels * 1e6
    data = _bytes(path, max_pixels * _BYTES_A_PIXEL + _ROOM)
    if not data:
        raise UnreadableImageError("the file is empty")
    try:
        read = formats.decode(data, max_pixels)
    except MemoryError as e:
        raise UnreadableImageError("there is not enough memory to decode the image; close other programs") from e
    read.pixels.setflags(write=False)
    anew = read.form.format == "JPEG" and settings.jpeg == "lossless" and read.form.options["source"] is None
    said = (*read.warnings, *[ENCODED_ANEW] * anew)
    return Photo(read.pixels, hashlib.sha256(data).hexdigest(), read.form, read.removed, said, Path(path))


def from_array(pixels: NDArray[Any], mode: str = "") -> Photo:
    """A photo of pixels in memory, upright; they are not copied.

    Args:
        pixels: uint8 or uint16, (H, W) or (H, W, C).
        mode: what the channels are. "": "L", "LA", "RGB" or "RGBA", by their number.

    Raises:
        UnsupportedImageError: another dtype or shape, or no pixel.
    """
    mode = mode or forms.CHANNELS.get(pixels.shape[2] if pixels.ndim == 3 else pixels.ndim - 1, "")
    if pixels.dtype not in (np.uint8, np.uint16) or pixels.ndim not in (2, 3) or not pixels.size or not mode:
        raise UnsupportedImageError(
            "an image is uint8 or uint16, (H, W) or (H, W, C) with at most 4 channels; "
            f"received {pixels.dtype}, {pixels.shape}"
        )
    pixels = np.ascontiguousarray(pixels).view()
    pixels.setflags(write=False)
    form = Form("PNG", mode, 8 * pixels.dtype.itemsize, options={"color": ()})
    return Photo(pixels, hashlib.sha256(pixels.data).hexdigest(), form)


def from_pillow(image: Image.Image) -> Photo:
    """A photo of what a Pillow image shows, turned upright as its EXIF says.

    Raises:
        UnreadableImageError: its file is truncated. UnsupportedImageError: a mode that cannot be looked at.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # as in formats.decode
    try:
        image.load()
    except (OSError, ValueError, SyntaxError) as e:
        raise UnreadableImageError("the image is damaged or cut off; load it again from its source") from e
    turn, icc = metadata.orientation(image.getexif()), image.info.get("icc_profile") or b""
    wanted = _PILLOW_MODES.get(image.mode, image.mode)
    if image.mode in ("L", "RGB", "P") and "transparency" in image.info:
        wanted = "LA" if image.mode == "L" else "RGBA"
    if wanted not in ("L", "LA", "RGB", "RGBA", "CMYK", "I;16"):
        raise UnsupportedImageError(f"images of mode {image.mode} cannot be looked at; convert it to RGB")
    pixels = np.asarray(image if wanted == image.mode else image.convert(wanted))
    photo = from_array(forms.upright(pixels, turn), "L" if wanted == "I;16" else wanted)
    return replace(photo, form=replace(photo.form, icc=profiles.colors(icc) if wanted == "CMYK" else b""))


def to_pillow(photo: Photo) -> Image.Image:
    """A photo's pixels as a Pillow image of its mode, with nothing else; 16-bit colors in 8 bits."""
    if photo.pixels.dtype == np.uint16:
        if photo.mode != "L":
            return Image.fromarray(photo.rgb)
        return forms.as_image(photo.pixels, "I;16")
    return forms.as_image(photo.pixels, photo.mode)


def _bytes(path: AnyPath, limit: float) -> bytes:
    with _readable():
        found = os.stat(path)  # before opening: a named pipe would wait for ever
        if not stat.S_ISREG(found.st_mode):
            is_folder = stat.S_ISDIR(found.st_mode)
            raise UnreadableImageError(_of_folder(path) if is_folder else "this is not a regular file")
        if found.st_size > limit:
            raise ImageTooLargeError(f"the file has {found.st_size / 1e6:.0f} MB; no photo within the limit needs that")
        return Path(path).read_bytes()


def _of_folder(path: AnyPath) -> str:
    """Why a folder is no photo. One that may not be listed stands among the photos of an input (`find`)."""
    try:
        os.scandir(path).close()
    except OSError:
        return "the folder may not be listed"
    return "this is a folder, not a photo; run takes folders"


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except PermissionError as e:
        raise UnreadableImageError("the file may not be read (permission denied)") from e
    except FileNotFoundError as e:
        raise UnreadableImageError("the file is not there") from e
    except OSError as e:
        raise UnreadableImageError(f"the file cannot be read ({e.strerror or e})") from e
    except ValueError as e:  # a null character, a surrogate
        raise UnreadableImageError("no file can have this name") from e


def sha256(path: AnyPath) -> str:
    """The hash that `load` would give, without decoding.

    Raises:
        UnreadableImageError: not there, not permitted, not a regular file.
    """
    with _readable():
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UnreadableImageError("this is not a regular file")
        return disk.sha256(path)


def taken(path: AnyPath) -> float | None:
    """When a photo was taken, in seconds (EXIF, in the camera's own time zone); None where it does not say."""
    try:
        with Image.open(path) as image:
            return metadata.taken(image.getexif())
    except Exception:  # a photo that cannot be read says so where it is needed
        return None


def count_pixels(path: AnyPath) -> int:
    """Width times height from the header alone, to plan memory by; 0 for what cannot be opened (`load` says why)."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return 0
        width, height = _size(path)
    except Exception:  # as in load
        return 0
    return width * height


def _size(path: AnyPath) -> tuple[int, int]:
    with open(path, "rb") as file:
        return formats.size(_Slices(file, os.fstat(file.fileno()).st_size))


@dataclass(frozen=True)
class _Slices:
    """A file's bytes as `formats.size` asks for them. A mapped file would kill the process if it were cut meanwhile."""

    file: IO[bytes]
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: slice) -> bytes:
        start, stop, _ = key.indices(self.length)
        self.file.seek(start)
        return self.file.read(max(stop - start, 0))


def encode(
    photo: Photo, pixels: Pixels, settings: Settings | None, changed: Sequence[Piece] | None
) -> tuple[bytes, bool]:
    """The bytes that `save` writes, and whether a JPEG that was to be kept was encoded anew."""
    settings, form = settings or Settings(), photo.form
    data = None
    if is_to_keep := changed is not None and form.format == "JPEG" and settings.jpeg == "lossless":
        data = formats.encode_kept(pixels, form, settings.keep_metadata, changed or ())
    return data or formats.encode(pixels, form, settings.keep_metadata), is_to_keep and data is None


def save(
    photo: Photo,
    pixels: Pixels,
    target: AnyPath,
    settings: Settings | None = None,
    changed: Sequence[Piece] | None = None,
) -> tuple[str, ...]:
    """Write a photo's changed pixels in the form that it came in, with no metadata but the fields asked for.

    The file appears at `target` whole or not at all: a temporary file in the same folder is written, checked, renamed.
    Its permissions are those of any new file (umask). Missing folders are made.

    Args:
        photo: where the pixels come from; it gives the form.
        pixels: of the shape and dtype of `photo.pixels`.
        target: the file to write; its name says nothing about the format.
        settings: `keep_metadata` names the fields to keep; None: none. With `jpeg` lossless, only what is `changed` of
            a JPEG is encoded anew, where that can be.
        changed: boxes and which of their pixels may differ from `photo.pixels` (`masks.changed`), whether or not they
            do. None: any may.

    Returns:
        Codes of what is to be said of the file (`WARNINGS`).

    Raises:
        WriteError: pixels of another shape, an encoder's failure, a full disk, a folder that may not be written, or
            a target that is the photo's own source.
    """
    target = Path(target)
    if pixels.shape != photo.pixels.shape or pixels.dtype != photo.pixels.dtype:
        raise WriteError(
            f"pixels to write are {photo.pixels.dtype} {photo.pixels.shape}; received {pixels.dtype} {pixels.shape}"
        )
    if photo.source is not None and target.exists() and photo.source.exists() and target.samefile(photo.source):
        raise WriteError("the target is the photo's own source, which is never overwritten")
    try:
        data, is_anew = encode(photo, pixels, settings, changed)
    except Exception as e:  # encoders, as decoders in load
        raise WriteError("the photo could not be encoded in the form that it came in; save it as PNG or JPEG") from e
    try:
        disk.write_whole(target, data, lambda written: _verify(written, photo, len(data)))
    except OSError as e:
        raise WriteError(f"the photo could not be written ({e.strerror or e})") from e
    return (ENCODED_ANEW,) if is_anew else ()


def _verify(path: Path, photo: Photo, length: int) -> None:
    """That the file on the disk is whole and opens as the photo that it should be."""
    if path.stat().st_size != length:
        raise WriteError("the photo was not written whole")
    try:
        size = _size(path)
    except Exception as e:  # as in load
        raise WriteError("the written photo cannot be opened again; its disk may be failing") from e
    if size != (photo.width, photo.height):
        raise WriteError(f"the written photo has {size[0]} x {size[1]} pixels, not {photo.width} x {photo.height}")
