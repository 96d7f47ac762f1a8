"""TIFF: exact in all its depths, and read from the tags that say how its pixels are stored alone.

One decoder for all of them (tifffile): two have two ideas of orientation, planes and alpha. It gets a directory of one
page that has those tags only. What is not plain or deflated it decodes with imagecodecs, which is an extra.
"""

from __future__ import annotations

import io
import logging
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import UnreadableImageError, UnsupportedImageError
from ..extras import extra
from . import jpeg, metadata
from .forms import Decoded, Form, Guard, Pixels, encode_image, read_indices, to_stored_image

_LOSSLESS = {1: "raw", 2: "tiff_ccitt", 3: "group3", 4: "group4", 5: "tiff_lzw", 8: "tiff_adobe_deflate",
             32773: "packbits", 32946: "tiff_adobe_deflate"}  # fmt: skip
_JPEG, _LZMA, _ZSTD = 7, 34925, 50000
_PLAIN_CODES = (1, 8, 32946)  # uncompressed and Deflate
# TIFF 6.0 and its supplements: field type -> struct's code
_TYPES = {1: "B", 2: "B", 3: "H", 4: "I", 5: "II", 6: "b", 7: "B", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I",
          16: "Q", 17: "q", 18: "Q"}  # fmt: skip
_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _OFFSETS, _ORIENTATION = 256, 257, 258, 259, 262, 273, 274
_SAMPLES, _COUNTS, _PLANES, _PREDICTOR, _COLORMAP, _TILE_WIDTH, _TILE_LENGTH = 277, 279, 284, 317, 320, 322, 323
_TILE_OFFSETS, _TILE_COUNTS, _EXTRA, _FORMAT, _TABLES, _SUBSAMPLING, _ICC = 324, 325, 338, 339, 347, 530, 34675
_FILL_ORDER, _SUBFILE, _OLD_SUBFILE, _SUB_DIRECTORIES = 266, 254, 255, 330
_XMP, _IPTC, _PHOTOSHOP, _DNG = 700, 33723, 34377, 50706
_STRUCTURE = frozenset((
    _WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, 266, _OFFSETS, _SAMPLES, 278, _COUNTS, _PLANES, 292, 293,
    _PREDICTOR, _COLORMAP, _TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_COUNTS, 332, _EXTRA, _FORMAT, _TABLES, 529,
    _SUBSAMPLING, 531, 532,
))  # fmt: skip
_PLAIN = frozenset((_SUBFILE, _OLD_SUBFILE, _ORIENTATION, 282, 283, 296))  # and the resolution
_BASE = {0: "L", 1: "L", 2: "RGB", 3: "P", 5: "CMYK", 6: "RGB"}  # photometric interpretation -> what the channels are
_BLOCK = 64  # JPEG's largest blocks, to which some writers fill strips up
_MOST_ENTRIES, _MOST_PAGES = 4096, 100_000
_BROKEN = "the TIFF is damaged: its picture cannot be decoded whole; copy it again from its source"
_CUT = "the TIFF is cut off; copy it again from its source"

# What it says of a file's tags names no photo; what matters is checked here and raised.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
logging.getLogger("tifffile").propagate = False


@dataclass(frozen=True)
class _Directory:
    """A page's tags.

    Attributes:
        data: the file. order: struct's sign of its byte order. is_big: BigTIFF, with 64-bit offsets.
        entries: tag -> (field type, count, where its values begin, the entry's own bytes); of a tag that is there
            twice the first.
        next: where the next page's directory is, or 0.
    """

    data: Any
    order: str
    is_big: bool
    entries: Mapping[int, tuple[int, int, int, bytes]]
    next: int

    def raw(self, tag: int) -> bytes:
        """A tag's values as they are stored; b"" where it is not there.

        Raises:
            UnreadableImageError: they lie outside of the file, or are of no known type.
        """
        if tag not in self.entries:
            return b""
        kind, count, at, _ = self.entries[tag]
        length = struct.calcsize(self.order + _TYPES[kind]) * count if kind in _TYPES else 0
        if not length or at + length > len(self.data):
            raise UnreadableImageError(_CUT if length else _BROKEN)
        return bytes(self.data[at : at + length])

    def values(self, tag: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        raw = self.raw(tag)
        if not raw:
            return default
        kind, count, _, _ = self.entries[tag]
        if kind in (11, 12):
            raise UnreadableImageError(_BROKEN)
        return struct.unpack(self.order + _TYPES[kind] * count, raw)

    def value(self, tag: int, default: int = 0) -> int:
        return self.values(tag, (default,))[0]

    def alone(self) -> bytes:
        """The file with this directory as its only one, and of its tags only those about pixels."""
        kept = [entry for tag, (_, _, _, entry) in sorted(self.entries.items()) if tag in _STRUCTURE]
        end = len(self.data) + len(self.data) % 2
        at, count, long = (8, "Q", "Q") if self.is_big else (4, "H", "I")
        offset = struct.pack(self.order + long, end)
        return b"".join([
            bytes(self.data[:at]), offset, memoryview(self.data)[at + len(offset) :], bytes(end - len(self.data)),
            struct.pack(self.order + count, len(kept)), *kept, bytes(len(offset)),
        ])  # fmt: skip


def _directories(data: Any) -> Iterator[_Directory]:
    """The pages' directories; one that is broken, or was there already, ends them.

    Raises:
        UnreadableImageError: the first one is broken.
    """
    order, is_big = "<" if bytes(data[:2]) == b"II" else ">", bytes(data[2:4]) in (b"+\0", b"\0+")
    at, seen = _number(data, 8 if is_big else 4, order + ("Q" if is_big else "I")), set[int]()
    while at and at not in seen and len(seen) < _MOST_PAGES:
        seen.add(at)
        try:
            directory = _directory(data, at, order, is_big)
        except UnreadableImageError:
            if len(seen) == 1:
                raise
            return
        yield directory
        at = directory.next
    if not seen:
        raise UnreadableImageError(_BROKEN)


def _number(data: Any, at: int, code: str) -> int:
    try:
        return int(struct.unpack(code, data[at : at + struct.calcsize(code)])[0])
    except struct.error:
        raise UnreadableImageError(_CUT) from None


def _directory(data: Any, at: int, order: str, is_big: bool) -> _Directory:
    counter, long, entry_size = ("Q", "Q", 20) if is_big else ("H", "I", 12)
    count = _number(data, at, order + counter)
    at += struct.calcsize(counter)
    if not 0 < count <= _MOST_ENTRIES:
        raise UnreadableImageError(_BROKEN)
    entries: dict[int, tuple[int, int, int, bytes]] = {}
    room = struct.calcsize(long)
    for start in range(at, at + count * entry_size, entry_size):
        tag, kind, number = (_number(data, start + i, order + c) for i, c in ((0, "H"), (2, "H"), (4, long)))
        place = start + entry_size - room
        size_ = struct.calcsize(order + _TYPES.get(kind, "B")) * number
        where = place if size_ <= room else _number(data, place, order + long)
        entries.setdefault(tag, (kind, number, where, bytes(data[start : start + entry_size])))
    at += count * entry_size
    return _Directory(data, order, is_big, entries, _number(data, at, order + long) if at + room <= len(data) else 0)


def size(data: Any) -> tuple[int, int]:
    """Width and height of the first page, as it is stored.

    Raises:
        UnreadableImageError: there is no directory.
    """
    first = next(_directories(data))
    return first.value(_WIDTH), first.value(_LENGTH)


def read(data: bytes, guard: Guard) -> Decoded:
    """The first page, where all others are its thumbnail, overview or mask.

    Raises:
        UnreadableImageError: damaged, or cut off. UnsupportedImageError: several pages, or a kind that cannot be kept.
    """
    guard(*size(data))
    pages = list(_directories(data))
    first = pages[0]
    is_raw = bytes(data[8:10]) == b"CR" or _DNG in first.entries
    if is_raw or (_is_small(first) and len(pages) + (_SUB_DIRECTORIES in first.entries) > 1):
        raise UnsupportedImageError("raw files of cameras are not read; export it as TIFF or JPEG with a raw converter")
    if not all(_is_small(p) or _is_smaller(p, first) for p in pages[1:]):
        raise UnsupportedImageError(
            f"the TIFF holds {len(pages)} pages, of which only one could be hidden; save each as a file of its own"
        )
    pixels, form = _read_page(first)
    exif = metadata.parse(data)
    dpi = metadata.resolution({}, exif)
    for tag in (_STRUCTURE | _PLAIN) & set(exif):  # what every TIFF has is no metadata
        del exif[tag]
    info = {
        "dpi": dpi,
        "icc_profile": first.raw(_ICC),
        "xmp": _XMP in first.entries,
        "photoshop": _IPTC in first.entries or _PHOTOSHOP in first.entries,
        "mp": len(pages) > 1 or _SUB_DIRECTORIES in first.entries,
    }
    turn = first.value(_ORIENTATION, 1)
    return Decoded.turned(pixels, form, exif, info, turn, is_first=len(pages) > 1)


def _is_small(page: _Directory) -> bool:
    """Whether a page says that it is a reduced picture or a mask of another one."""
    try:
        return bool(page.value(_SUBFILE) & 5) or page.value(_OLD_SUBFILE) == 2
    except UnreadableImageError:
        return False


def _is_smaller(page: _Directory, first: _Directory) -> bool:
    """Whether a page looks like a thumbnail of the first: of its shape, and half as large at most."""
    try:
        (w, h), (width, height) = ((p.value(_WIDTH), p.value(_LENGTH)) for p in (page, first))
    except UnreadableImageError:
        return False
    scale = max(w / width, h / height)
    return scale <= 0.5 and abs(width * scale - w) <= 2 and abs(height * scale - h) <= 2


def _read_page(page: _Directory) -> tuple[Pixels, Form]:
    photometric, samples = page.value(_PHOTOMETRIC, -1), page.value(_SAMPLES, 1)
    bits, formats = set(page.values(_BITS, (1,))), set(page.values(_FORMAT, (1,)))
    extra = page.values(_EXTRA)
    mode = _BASE.get(photometric, "")
    channels = {"P": 1}.get(mode, len(mode))
    if not extra and samples == channels + 1 and mode in ("L", "RGB"):
        extra = (2,)  # one more channel without a name is taken for alpha, as everywhere
    depth = bits.pop() if len(bits) == 1 else 0
    is_known = mode and samples == channels + len(extra) and len(extra) <= (mode in ("L", "RGB")) and formats == {1}
    if not is_known or depth not in {"L": (8, 16) if extra else (1, 8, 16), "P": (1, 2, 4, 8)}.get(mode, (8, 16)):
        raise UnsupportedImageError(
            f"TIFFs of this kind ({samples} x {depth or 'mixed'} bits, photometric {photometric}, sample format "
            f"{'/'.join(map(str, sorted(formats)))}) are not read; save it with 8 or 16 bits as RGB or grayscale"
        )
    pixels = _pixels(page, samples, depth)
    compression = page.value(_COMPRESSION, 1)
    # JPEG in a TIFF is written losslessly: larger, but exact. So are compressions that are not widely read.
    options: dict[str, Any] = {"compression": _LOSSLESS.get(compression, "tiff_adobe_deflate")}
    if page.value(_PREDICTOR, 1) == 2 and compression in (5, 8, 32946):
        options["predictor"] = True
    if mode == "P":
        return read_indices(pixels.astype(np.uint8), _palette(page), "TIFF", 8, **options)
    if depth == 1:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    if photometric == 0:
        gray = pixels if pixels.ndim == 2 else pixels[:, :, 0]
        np.subtract(np.iinfo(pixels.dtype).max, gray, out=gray)
    mode += "A" * len(extra)
    if extra not in ((), (2,)) or (depth == 16 and mode != "L"):
        options["extra"] = extra
    return pixels, Form("TIFF", mode, depth, options=options)


def _palette(page: _Directory) -> Pixels:
    colors = np.array(page.values(_COLORMAP), np.int64)
    if not colors.size or colors.size % 3:
        raise UnreadableImageError(_BROKEN)
    # 16 bits each; some writers put 8 there, as libtiff knows
    colors = colors.reshape(3, -1).T >> (8 if colors.max() > 255 else 0)
    return np.ascontiguousarray(colors.astype(np.uint8))


def _pixels(page: _Directory, samples: int, depth: int) -> Pixels:
    """(H, W) or (H, W, C), as stored but for YCbCr, which comes as RGB; writable."""
    import tifffile

    compression = page.value(_COMPRESSION, 1)
    if compression not in {*_LOSSLESS, _JPEG, _LZMA, _ZSTD}:
        raise UnsupportedImageError(
            f"TIFFs with compression {compression} are not read; save it uncompressed, or with LZW or Deflate"
        )
    if not {page.value(_PLANES, 1), page.value(_FILL_ORDER, 1), page.value(_PREDICTOR, 1)} <= {1, 2}:
        raise UnreadableImageError(_BROKEN)
    _check_segments(page, compression)
    is_ycbcr = page.value(_PHOTOMETRIC) == 6 and compression != _JPEG
    if is_ycbcr or compression not in _PLAIN_CODES or depth not in (8, 16) or page.value(_FILL_ORDER, 1) != 1:
        with extra("tiff", f"a TIFF of this kind (compression {compression})"):
            import imagecodecs
    if is_ycbcr:
        # Only libtiff knows what its chroma is subsampled by.
        pixels = imagecodecs.tiff_decode(page.alone(), asrgb=True)[:, :, :3]
    else:
        with tifffile.TiffFile(io.BytesIO(page.alone())) as file:
            first = file.pages[0]
            if len(first.dataoffsets) != np.prod(first.chunked):
                raise UnreadableImageError(_CUT)
            pixels = first.asarray(maxworkers=1, squeeze=False)
            # (planes, depth, height, width, samples)
            pixels = np.moveaxis(pixels, 0, 4)[0, :, :, 0] if pixels.shape[0] > 1 else pixels[0, 0]
    if pixels.shape != (page.value(_LENGTH), page.value(_WIDTH), samples):  # tags that contradict each other
        raise UnreadableImageError(_BROKEN)
    if pixels.dtype.newbyteorder("=") not in ((np.uint16,) if depth == 16 else (np.uint8, np.bool_)):
        raise UnreadableImageError(_BROKEN)
    pixels = pixels[:, :, 0] if samples == 1 else pixels
    return np.require(pixels.astype(pixels.dtype.newbyteorder("="), copy=False), requirements=["C", "W"])


def _check_segments(page: _Directory, compression: int) -> None:
    """That all strips or tiles are there and hold no more than the picture, and those that are JPEGs are whole."""
    is_tiled = _TILE_OFFSETS in page.entries
    offsets = page.values(_TILE_OFFSETS if is_tiled else _OFFSETS)
    counts = page.values(_TILE_COUNTS if _TILE_COUNTS in page.entries else _COUNTS)
    area = page.value(_WIDTH) * page.value(_LENGTH)
    tile = page.value(_TILE_WIDTH) * page.value(_TILE_LENGTH) if is_tiled else 1
    if not offsets or 0 in offsets or 0 in counts or not 0 < tile <= 4 * max(area, 1 << 20):
        raise UnreadableImageError("the TIFF is damaged: parts of its picture are empty; copy it again from its source")
    if counts and (len(counts) != len(offsets) or max(map(sum, zip(offsets, counts, strict=True))) > len(page.data)):
        raise UnreadableImageError(_CUT)
    if compression != _JPEG:
        return
    tables = page.raw(_TABLES)[2:-2]
    most = (page.value(_TILE_WIDTH), page.value(_TILE_LENGTH)) if is_tiled else size(page.data)
    for start, count in zip(offsets, counts, strict=True):
        segment = bytes(page.data[start : start + count])
        jpeg.check(segment[:2] + tables + segment[2:], most[0] + _BLOCK, most[1] + _BLOCK)


def write(pixels: Pixels, form: Form, fields: dict[int, Any], dpi: tuple[float, float] | None) -> bytes:
    if "extra" in form.options:
        return _write_deep(pixels, form, fields, dpi)
    compression = form.options["compression"]
    # libtiff, which compresses, cannot write a further directory: then only the fields of the first one are kept
    info = metadata.write(fields if compression == "raw" else metadata.first_directory(fields))
    if form.options.get("predictor") and form.bits >= 8 and form.palette is None:
        info[_PREDICTOR] = 2
    options: dict[str, Any] = {"dpi": dpi} if dpi else {}
    image = to_stored_image(pixels, form)
    data = encode_image(image, "TIFF", compression=compression, icc_profile=form.icc or None, exif=info, **options)
    return _without_memory(data)


def _without_memory(data: bytes) -> bytes:
    """The file with a zero where libtiff, for its directory to begin at an even place, leaves what the memory held."""
    first = next(_directories(data))
    ends = map(sum, zip(first.values(_OFFSETS), first.values(_COUNTS), strict=True))
    at = _number(data, 4, first.order + "I")
    start = max((end for end in ends if end <= at), default=at)
    return data[:start] + bytes(at - start) + data[at:] if at - start == 1 else data


def _write_deep(pixels: Pixels, form: Form, fields: dict[int, Any], dpi: tuple[float, float] | None) -> bytes:
    """What Pillow cannot write; of the fields those of the first directory are kept."""
    import tifffile

    compression = {"raw": None, "tiff_lzw": "lzw"}.get(form.options["compression"], "zlib")
    out = io.BytesIO()
    tifffile.imwrite(
        out,
        pixels,
        photometric={"L": "minisblack", "RGB": "rgb", "CMYK": "separated"}[form.mode.removesuffix("A")],
        extrasamples=form.options["extra"] or None,
        planarconfig="contig",
        compression=compression,
        predictor=compression is not None,
        metadata=None,
        software=False,
        iccprofile=form.icc or None,
        resolution=dpi,
        resolutionunit="INCH" if dpi else "NONE",
        extratags=[(t, 2, 0, v, True) for t, v in metadata.first_directory(fields).items()],
    )
    return out.getvalue()
