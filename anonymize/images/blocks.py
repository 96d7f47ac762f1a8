"""A JPEG changed where something is hidden and nowhere else: all other blocks keep their coefficients, bit by bit.

A block that anything hidden touches is made of the new pixels alone. Of the source nothing but quantization tables,
sampling and the coefficients of the other blocks goes on; they are coded afresh, with the standard's Huffman tables
where the source has them, as most cameras do, else with their own. So no byte of the source is ever copied.

Reading and writing of coefficients is libjpeg-turbo's, through pyjpegio; it only ever sees a file that the strict
decoder has accepted. A turned photo is turned by its coefficients where whole blocks allow it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL.JpegImagePlugin import zigzag_index

from .forms import Pixels

Piece = tuple[tuple[int, int, int, int], NDArray[np.bool_]]  # a box (x1, y1, x2, y2) and its pixels that change
# The coefficients of one component as they are coded, quantized: (8 * rows, 8 * columns), a block in each 8 x 8.
Plane = NDArray[np.int32]

_AT_ONCE = 4096  # blocks of new pixels
_MOST_BLOCKS = 10  # of an MCU (T.81, B.2.3)
_LARGEST = 1023  # of a coefficient, whose code has 10 bits (T.81, table F.2)
# A block that the photo's edge cuts is filled up by the encoder, usually with its last pixels. How far it may be from
# that: so many times the noise of its quantization. Of 99 edges of photos 97 stay below, cropped ones reach 49.
_FILLED = 2.0
_X = np.arange(8)
# The orthonormal DCT, which is JPEG's: coefficients = _DCT @ block @ _DCT.T
_DCT = np.cos((2 * _X[None] + 1) * _X[:, None] * np.pi / 16) * np.where(_X == 0, 8**-0.5, 0.5)[:, None]
_ODD = np.where(_X % 2, -1, 1).astype(np.int32)


@dataclass(frozen=True, eq=False)
class Source:
    """A JPEG whose coefficients can be kept.

    Attributes:
        file: the picture alone (segments of metadata are gone). turn: its EXIF orientation.
        width, height: upright, px. sampling: (horizontal, vertical) of each component, upright.
        tables: each component's quantization, (8, 8), upright.
        colors: what the components are: "L", "RGB", "YCbCr", "CMYK" or "YCCK".
        adobe: the color transform that an Adobe segment names, which has to stay; None: there need be none.
        progressive: how it is coded.
    """

    file: bytes
    turn: int
    width: int
    height: int
    sampling: tuple[tuple[int, int], ...]
    tables: tuple[NDArray[np.int32], ...]
    colors: str
    adobe: int | None
    progressive: bool

    @property
    def steps(self) -> list[tuple[int, int]]:
        """How many pixels of the photo, across and down, a sample of each component stands for."""
        across, down = (max(s[i] for s in self.sampling) for i in (0, 1))
        return [(across // h, down // v) for h, v in self.sampling]

    @property
    def is_possible(self) -> bool:
        """Whether this shape can be written anew, and turned without a part of a block in a wrong place."""
        across, down = (max(s[i] for s in self.sampling) for i in (0, 1))
        flips = self.turn in (2, 3, 6, 7) and self.width % (8 * across)
        flops = self.turn in (3, 4, 7, 8) and self.height % (8 * down)
        return (
            not flips
            and not flops
            and all(across % h == 0 and down % v == 0 for h, v in self.sampling)
            and (len(self.sampling) == 1 or sum(h * v for h, v in self.sampling) <= _MOST_BLOCKS)
            and all(t.min() > 0 for t in self.tables)
            and find_spec("jpegio") is not None
        )


def write(
    source: Source, pixels: Pixels, changed: Sequence[Piece], segments: Iterable[tuple[int, bytes]] = ()
) -> bytes:
    """The picture as a file.

    Args:
        pixels: the photo's, upright, with what is hidden in it. changed: where they are not the source's.
        segments: (marker, body) of what else is to be in it.

    Raises:
        RuntimeError: libjpeg cannot write these coefficients (a hostile file may hold some that no code is for).
    """
    stored = jpeg = _open(source.file)
    if source.turn > 1:
        jpeg = _open(_blank(source))  # with the standard's tables
        for plane, old in zip(jpeg.coef_arrays, stored.coef_arrays, strict=True):
            plane[...] = _upright(old, source.turn)
    planes = jpeg.coef_arrays
    beyond = _shows_beyond(source, planes)
    every = [_touched(changed, plane, step) for plane, step in zip(planes, source.steps, strict=True)]
    for touched in every:
        touched[:, -1] |= beyond[0]
        touched[-1] |= beyond[1]
    pixels = _in_whole_units(source, pixels, every)
    for i, (plane, touched) in enumerate(zip(planes, every, strict=True)):
        _renew(plane, touched, source, i, pixels)
        component = jpeg.comp_info[i]
        component.component_id, component.dc_tbl_no, component.ac_tbl_no = i + 1, i > 0, i > 0
    jpeg.progressive_mode, jpeg.arith_code, jpeg.restart_interval = source.progressive, False, 0
    # Tables of its own cost twice the time of all the rest, and make such a file 2 % smaller.
    jpeg.optimize_coding, jpeg.markers = source.progressive or not _is_standard(stored), []
    with _file() as target:
        jpeg.write(target)
        picture = Path(target).read_bytes()
    head = [_segment(marker, body) for marker, body in segments]
    if source.adobe is not None:
        head.append(_segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([source.adobe])))
    return b"".join([picture[:2], *head, picture[2:]])


def read(source: Source) -> list[Plane]:
    """The coefficients of each component, upright.

    Raises:
        RuntimeError: libjpeg cannot read them.
    """
    return [_upright(plane, source.turn) for plane in _open(source.file).coef_arrays]


def _open(data: bytes) -> Any:
    import jpegio

    with _file(data) as path:
        return jpegio.read(path)


def _upright(plane: Plane, turn: int) -> Plane:
    """Turned as `forms.upright` turns pixels."""
    if turn == 1:
        return plane
    blocks = plane.reshape(plane.shape[0] // 8, 8, -1, 8).swapaxes(1, 2)
    if turn >= 5:
        blocks = blocks.transpose(1, 0, 3, 2)
    if turn in (2, 3, 6, 7):
        blocks = blocks[:, ::-1] * _ODD
    if turn in (3, 4, 7, 8):
        blocks = blocks[::-1] * _ODD[:, None]
    return blocks.swapaxes(1, 2).reshape(8 * blocks.shape[0], 8 * blocks.shape[1])


def _touched(changed: Iterable[Piece], plane: Plane, step: tuple[int, int]) -> NDArray[np.bool_]:
    """Which blocks of a component stand for a pixel that changes, (rows, columns)."""
    out = np.zeros((plane.shape[0] // 8, plane.shape[1] // 8), dtype=bool)
    across, down = 8 * step[0], 8 * step[1]
    for (x1, y1, x2, y2), mask in changed:
        room = y1 % down, -y2 % down, x1 % across, -x2 % across
        whole = cv2.copyMakeBorder(mask.view(np.uint8), *room, cv2.BORDER_CONSTANT)
        cells = whole.reshape(whole.shape[0] // down, down, -1, across)
        out[y1 // down : -(-y2 // down), x1 // across : -(-x2 // across)] |= cells.any(axis=(1, 3))
    return out


def _shows_beyond(source: Source, planes: Iterable[Plane]) -> tuple[bool, bool]:
    """Whether the blocks at the right and at the lower edge hold more of a picture than the photo shows.

    A photo that was cropped without loss does: up to 15 px that nobody sees and no detector looks at.
    """
    out = [False, False]
    for plane, table, (across, down) in zip(planes, source.tables, source.steps, strict=True):
        for axis, (size, step) in enumerate(((source.width, across), (source.height, down))):
            if not (used := -(-size // step) % 8):
                continue
            # Turned where it is the lower edge, so that what is beyond lies to the right.
            edge, steps = (plane[-8:].T, table.T) if axis else (plane[:, -8:], table)
            samples = _DCT.T @ (edge.reshape(-1, 8, 8) * steps) @ _DCT
            filled = samples[:, :, used:] - samples[:, :, used - 1 : used]
            apart = np.sqrt((filled**2).mean(axis=(1, 2)).max())
            out[axis] |= bool(apart > _FILLED * np.sqrt((steps.astype(float) ** 2).mean() / 12))
    return out[0], out[1]


def _renew(plane: Plane, touched: NDArray[np.bool_], source: Source, component: int, pixels: Pixels) -> None:
    """Make the touched blocks of a component anew, of the pixels alone; in place.

    Args:
        pixels: of whole MCUs.
    """
    across, down = source.steps[component]
    height, width = pixels.shape[:2]
    cells = pixels.reshape(height // (8 * down), 8 * down, width // (8 * across), 8 * across, *pixels.shape[2:])
    blocks = plane.reshape(touched.shape[0], 8, touched.shape[1], 8)
    rows, columns = np.nonzero(touched)
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE], columns[start : start + _AT_ONCE]
        colors = _component(cells[some[0], :, some[1]], source.colors, component)
        samples = colors.reshape(-1, 8, down, 8, across).mean(axis=(2, 4)) - 128
        coefficients = np.rint(_DCT @ samples @ _DCT.T / source.tables[component])
        blocks[some[0], :, some[1]] = np.clip(coefficients, -_LARGEST, _LARGEST)


def _in_whole_units(source: Source, pixels: Pixels, touched: Sequence[NDArray[np.bool_]]) -> Pixels:
    """Pixels of whole MCUs: without those at the edge that are not, or, where these change, with them, filled up.

    Encoders fill up with the last ones. To copy a photo for it costs as much as to decode it.
    """
    across, down = (8 * max(s[i] for s in source.sampling) for i in (0, 1))
    height, width = source.height // down * down, source.width // across * across
    for blocks, (step_across, step_down) in zip(touched, source.steps, strict=True):
        if blocks[height // (8 * step_down) :].any() or blocks[:, width // (8 * step_across) :].any():
            room = -source.height % down, -source.width % across
            return cv2.copyMakeBorder(pixels, 0, room[0], 0, room[1], cv2.BORDER_REPLICATE)
    return pixels[:height, :width]


def _is_standard(jpeg: Any) -> bool:
    """Whether a JPEG's Huffman tables are those that the standard gives as an example (T.81, K.3)."""
    own = [*jpeg.dc_huff_tables, *jpeg.ac_huff_tables]
    known = _standard_tables(len(jpeg.coef_arrays) > 1)
    return len(own) == len(known) and all(
        np.array_equal(table[part], of[part]) for table, of in zip(own, known, strict=True) for part in of
    )


@functools.lru_cache(maxsize=2)
def _standard_tables(colors: bool) -> list[Any]:
    """Those of an encoder that was not asked for others."""
    picture = np.zeros((8, 8, 3 if colors else 1), np.uint8)
    jpeg = _open(simplejpeg.encode_jpeg(picture, colorspace="RGB" if colors else "GRAY", colorsubsampling="444"))
    return [*jpeg.dc_huff_tables, *jpeg.ac_huff_tables]


def _component(pixels: Pixels, colors: str, i: int) -> NDArray[np.float64]:
    """One component of pixels, as the JPEG stores it (JFIF 1.02; inks as Adobe does, 255 being none)."""
    values = pixels.astype(np.float64)
    if colors == "L":
        return values
    if colors == "RGB":
        return values[..., i]
    if colors == "CMYK" or i == 3:
        return 255 - values[..., i]
    weights = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))[i]
    return values[..., :3] @ np.array(weights) + (128 if i else 0)


def _segment(marker: int, body: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + (len(body) + 2).to_bytes(2, "big") + body


def _blank(source: Source) -> bytes:
    """A JPEG of the source's shape with the standard's Huffman tables, all of whose coefficients are 0."""
    distinct: list[list[int]] = []
    frame, scan, codes = b"", b"", b""
    alone = len(source.sampling) == 1
    for i, ((h, v), table) in enumerate(zip(source.sampling, source.tables, strict=True)):
        values = table.ravel().tolist()
        if values not in distinct:
            distinct.append(values)
        frame += bytes([i + 1, 0x11 if alone else h << 4 | v, distinct.index(values)])
        scan += bytes([i + 1, 0x11 if i else 0])
    tables = b""
    for n, values in enumerate(distinct):
        wide = max(values) > 255
        order = np.argsort(zigzag_index)  # place in the scan -> place in the block
        tables += bytes([wide << 4 | n]) + b"".join(values[p].to_bytes(1 + wide, "big") for p in order)
    known = _standard_tables(not alone)
    for i, table in enumerate(known):
        number = i * 0x10 if alone else (i // 2) * 0x10 + i % 2
        codes += bytes([number, *table["counts"], *table["symbols"][: table["counts"].sum()]])
    shape = source.height.to_bytes(2, "big") + source.width.to_bytes(2, "big")
    across, down = (1, 1) if alone else tuple(max(s[i] for s in source.sampling) for i in (0, 1))
    units = -(-source.width // (8 * across)) * -(-source.height // (8 * down))
    # A block's codes: its mean is the last one's, and nothing more is in it.
    unit = "".join(("0000" if i else "001010") * (1 if alone else h * v) for i, (h, v) in enumerate(source.sampling))
    bits = np.tile(np.frombuffer(unit.encode(), np.uint8) & 1, units)
    data = np.packbits(np.pad(bits, (0, -len(bits) % 8), constant_values=1)).tobytes()
    count = bytes([len(source.sampling)])
    head = _segment(0xDB, tables) + _segment(0xC1, b"\x08" + shape + count + frame) + _segment(0xC4, codes)
    return b"\xff\xd8" + head + _segment(0xDA, count + scan + b"\0\x3f\0") + data + b"\xff\xd9"


@contextlib.contextmanager
def _file(data: bytes = b"") -> Iterator[str]:
    """A path for what only takes paths. On Linux nothing reaches a disk; elsewhere a private folder, for a moment."""
    if hasattr(os, "memfd_create"):
        number = os.memfd_create("jpeg")
        with os.fdopen(number, "wb") as file:
            file.write(data)
            file.flush()
            yield f"/proc/self/fd/{number}"
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "jpeg"
        path.write_bytes(data)
        yield str(path)
