"""Leaks of every kind, planted into an export as a bug of the exporter would leave them: its memory fits the file."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from anonymize import engine, images, records
from anonymize.audit import Audit, Options, audit_folder
from anonymize.detectors import FakeDetector, models, parse
from anonymize.images import formats
from anonymize.predictor import Predictor
from anonymize.regions import Region
from anonymize.settings import Settings

FORMATS = ("jpg", "png", "webp", "tif", "bmp", "heic")
SIDE = 400  # px; larger photos are made smaller, to be quick
FACES = (Region("face", (775, 60, 960, 330), 0.9), Region("face", (300, 180, 470, 420), 0.9))  # of zidane.jpg
QUIET = Options(is_looking=False, is_attacking=False)


@dataclass
class Case:
    """One exported photo that a leak is planted into.

    Attributes:
        home: a folder of its own, with `in` and `out`. name: of the photo. regions: all that is to be hidden in it.
        open: the one that a leak opens. settings: of the export.
    """

    home: Path
    name: str
    regions: Sequence[Region]
    settings: Settings

    @property
    def source(self) -> Path:
        return self.home / "in" / self.name

    @property
    def output(self) -> Path:
        return self.home / "out"

    @property
    def file(self) -> Path:
        return self.output / self.name

    @property
    def open(self) -> Region:
        """The region that a leak opens: the first."""
        return self.regions[0]

    def export(self, regions: Sequence[Region] | None = None) -> None:
        found = self.regions if regions is None else regions
        shutil.rmtree(self.output, ignore_errors=True)
        detector = FakeDetector([r.replace(score=max(r.score, 0.9)) for r in found])
        named = (self.settings.face_detector, self.settings.plate_detector)
        detector.weights = {m: "" for name in named for m in models(parse(name))}  # who chose does not look again
        done = engine.run(self.home / "in", self.output, Predictor(self.settings, detectors=[detector]))
        assert done.ok, done.failures

    def write(self, data: bytes) -> None:
        """Other bytes in the photo's place; the export's memory says that it wrote them."""
        self.file.write_bytes(data)
        self.remember()

    def remember(self) -> None:
        """The export's memory fits the file that is there."""
        memory = self.output / "exports.jsonl"
        lines = [json.loads(line) for line in memory.read_text().splitlines()]
        for line in lines:
            there = self.output / line["path"]
            if there.is_file():
                stat = there.stat()
                line |= {"stamp": [stat.st_size, stat.st_mtime_ns], "sha256": images.sha256(there)}
        memory.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def change(self, change: Callable[[np.ndarray, np.ndarray], None]) -> None:
        """Change the written pixels, given the original's, and write them in the same form."""
        written = images.load(self.file, self.settings)
        pixels = written.pixels.copy()
        change(pixels, images.load(self.source, self.settings).pixels)
        self.write(formats.encode(pixels, written.form, self.settings.keep_metadata))

    def audit(self, *, against: bool = False, looking: bool = False, weights_dir: Path | None = None) -> Audit:
        options = Options(
            is_looking=looking, is_attacking=False, is_moving=False, is_reporting=False, weights_dir=weights_dir
        )
        return audit_folder(self.output, against=self.home / "in" if against else None, options=options)


def make(
    home: Path,
    photo: Path,
    extension: str,
    regions: Sequence[Region],
    *,
    settings: Settings | None = None,
    name: str = "",
    side: int = SIDE,
) -> Case:
    """A photo in another format, made smaller, exported with its regions hidden."""
    with Image.open(photo) as opened:
        image = opened.convert("RGB")
    share = min(1.0, side / max(image.size))
    image = image.resize((round(image.width * share), round(image.height * share)), Image.Resampling.LANCZOS)
    name = name or f"photo.{extension}"
    target = home / "in" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if extension == "heic":
        import pillow_heif

        pillow_heif.register_heif_opener()
    _save(image, target)
    small = [r.scale(share) for r in regions]
    case = Case(home, name, [r for r in small if min(r.width, r.height) >= 10] or small, settings or Settings())
    case.export()
    return case


def _save(image: Image.Image, target: Path) -> None:
    options: dict[str, Any] = {"quality": 90} if target.suffix in (".jpg", ".webp") else {}
    image.save(target, **options)


# Pixels


def _inside(case: Case, pixels: np.ndarray) -> tuple[slice, slice]:
    x1, y1, x2, y2 = case.open.pixels(pixels.shape[1], pixels.shape[0])
    return slice(y1, y2), slice(x1, x2)


def open_region(case: Case) -> None:
    case.change(lambda out, source: out.__setitem__(_inside(case, out), source[_inside(case, out)]))


def half_open(case: Case) -> None:
    def change(out: np.ndarray, source: np.ndarray) -> None:
        rows, columns = _inside(case, out)
        columns = slice(columns.start, (columns.start + columns.stop) // 2)
        out[rows, columns] = source[rows, columns]

    case.change(change)


def weak_blur(case: Case) -> None:
    def change(out: np.ndarray, source: np.ndarray) -> None:
        at = _inside(case, out)
        out[at] = cv2.GaussianBlur(source[at], (0, 0), max(1.0, 0.03 * max(source[at].shape[:2])))

    case.change(change)


def rows_kept(case: Case) -> None:
    def change(out: np.ndarray, source: np.ndarray) -> None:
        rows, columns = _inside(case, out)
        for row in range(rows.start + 2, rows.stop - 2, 4):
            out[row : row + 2, columns] = source[row : row + 2, columns]

    case.change(change)


def changed_outside(case: Case) -> None:
    """A square far from what is hidden is drawn over."""

    def change(out: np.ndarray, source: np.ndarray) -> None:
        free = np.ones(out.shape[:2], bool)
        for region in case.regions:
            x1, y1, x2, y2 = region.pad(0.6).pixels(out.shape[1], out.shape[0])
            free[max(0, y1 - 12) : y2 + 12, max(0, x1 - 12) : x2 + 12] = False
        found = cv2.erode(free.view(np.uint8), np.ones((25, 25), np.uint8), borderValue=0)
        y, x = np.argwhere(found)[len(np.argwhere(found)) // 2]
        out[y - 6 : y + 6, x - 6 : x + 6] = 255 - out[y - 6 : y + 6, x - 6 : x + 6]

    case.change(change)


def missed(case: Case) -> None:
    """The detectors did not see it: neither the records nor the pixels know of it."""
    case.export([r for r in case.regions if r is not case.open])


# What a file carries


def _jpeg(segment: bytes) -> Callable[[Case], None]:
    """A segment after the first marker."""
    return lambda case: case.write((data := case.file.read_bytes())[:2] + segment + data[2:])


def _segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


def _exif(gps: bool = True, thumbnail: bytes = b"") -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    if gps:
        exif[0x8825] = {1: "N", 2: (48.0, 8.0, 14.0), 3: "E", 4: (11.0, 34.0, 31.0)}
    block = exif.tobytes()
    return block + thumbnail


def _small_jpeg(case: Case) -> bytes:
    out = io.BytesIO()
    with Image.open(case.source) as image:
        image.convert("RGB").resize((80, 60)).save(out, "JPEG")
    return out.getvalue()


def gain_map(case: Case) -> None:
    """A second picture behind the first, and an MPF index, as phones write gain maps and previews."""
    data = case.file.read_bytes()
    case.write(data[:2] + _segment(0xE2, b"MPF\0" + bytes(40)) + data[2:] + _small_jpeg(case))


def _appended(make_tail: Callable[[Case], bytes]) -> Callable[[Case], None]:
    return lambda case: case.write(case.file.read_bytes() + make_tail(case))


def _png_chunk(kind: bytes, body: bytes) -> Callable[[Case], None]:
    chunk = len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
    return lambda case: case.write((data := case.file.read_bytes())[:33] + chunk + data[33:])


def png_behind_pixels(case: Case) -> None:
    """Bytes in the last IDAT, behind the end of the compressed stream."""
    data = case.file.read_bytes()
    at = data.rindex(b"IDAT") - 4
    length = int.from_bytes(data[at : at + 4], "big")
    body = data[at + 8 : at + 8 + length] + b"PLATE B-AB 1234"
    chunk = len(body).to_bytes(4, "big") + b"IDAT" + body + zlib.crc32(b"IDAT" + body).to_bytes(4, "big")
    case.write(data[:at] + chunk + data[at + 12 + length :])


def _webp_chunk(kind: bytes, body: bytes) -> Callable[[Case], None]:
    def plant(case: Case) -> None:
        body_ = body + b"\0" * (len(body) % 2)
        data = case.file.read_bytes() + kind + struct.pack("<I", len(body)) + body_
        case.write(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])

    return plant


def _tiff_tag(tag: int, text: bytes) -> Callable[[Case], None]:
    """A text tag in a directory written anew at the end of the file."""

    def plant(case: Case) -> None:
        data = case.file.read_bytes()
        data += b"\0" * (len(data) % 2)
        order = "<" if data[:2] == b"II" else ">"
        (at,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, at)
        entries = [data[at + 2 + 12 * i : at + 14 + 12 * i] for i in range(count)]
        entries.append(struct.pack(order + "HHII", tag, 2, len(text), len(data)))
        entries.sort(key=lambda e: struct.unpack_from(order + "H", e)[0])
        place = len(data) + len(text) + len(text) % 2
        new = struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4)
        out = data + text + b"\0" * (len(text) % 2) + new
        case.write(out[:4] + struct.pack(order + "I", place) + out[8:])

    return plant


def tiff_second_page(case: Case) -> None:
    with Image.open(case.file) as first, Image.open(case.source) as second:
        out = io.BytesIO()
        first.save(out, "TIFF", save_all=True, append_images=[second.resize((64, 48))])
    case.write(out.getvalue())


def bmp_gap(case: Case) -> None:
    """Bytes between the header and the pixels."""
    data = case.file.read_bytes()
    (start,) = struct.unpack_from("<I", data, 10)
    tail = b"B-AB 1234"
    size, place = struct.pack("<I", len(data) + len(tail)), struct.pack("<I", start + len(tail))
    data = data[:2] + size + data[6:10] + place + data[14:]
    case.write(data[:start] + tail + data[start:])


def _heic(**options: object) -> Callable[[Case], None]:
    def plant(case: Case) -> None:
        import pillow_heif

        opened = pillow_heif.open_heif(case.file)
        out = io.BytesIO()
        opened.save(out, quality=90, **options)
        case.write(out.getvalue())

    return plant


def heic_message(case: Case) -> None:
    """A message behind the coded picture, in its own unit."""
    data, body = case.file.read_bytes(), bytes(range(16)) + b"48.137N 11.575E"
    unit = b"\x50\1\5" + bytes([len(body)]) + body + b"\x80"
    unit = len(unit).to_bytes(4, "big") + unit
    at = data.rindex(b"mdat") - 4
    head = data[:at].rindex((len(data) - at - 8).to_bytes(4, "big"))  # the picture's length, among the places of items
    for place in (head, at):
        longer = int.from_bytes(data[place : place + 4], "big") + len(unit)
        data = data[:place] + longer.to_bytes(4, "big") + data[place + 4 :]
    case.write(data + unit)


# What lies in the folder


def swapped(case: Case) -> None:
    """Two photos of one size in each other's place."""
    other = case.home / "in" / f"other{case.source.suffix}"
    with Image.open(case.source) as image:
        turned = image.convert("RGB").transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        _save(turned, other)
    case.export()
    a, b = case.file, case.output / other.name
    a.rename(a.with_suffix(".x"))
    b.rename(a)
    a.with_suffix(".x").rename(b)


def original_in_place(case: Case) -> None:
    shutil.copyfile(case.source, case.file)


def stray_photo(case: Case) -> None:
    shutil.copyfile(case.source, case.output / f"stray{case.source.suffix}")


def link(case: Case) -> None:
    case.file.unlink()
    os.symlink(case.source, case.file)


def record_edited(case: Case) -> None:
    """A region is taken out of the records after the export."""
    path = case.output / "records.jsonl"
    header, known = records.read(path)
    kept = [r.replace(regions=r.regions[1:]) for r in known.values()]
    records.write(path, header, kept)


def plate_name(case: Case) -> None:
    _renamed(case, f"M-AB 1234{case.source.suffix}")


def plate_folder(case: Case) -> None:
    _renamed(case, f"KA 01 AB 1234/photo{case.source.suffix}")


def _renamed(case: Case, name: str) -> None:
    before, case.name = case.source, name
    case.source.parent.mkdir(parents=True, exist_ok=True)
    before.rename(case.source)
    case.export()


@dataclass(frozen=True)
class Leak:
    """A kind of leak.

    Attributes:
        name: of it. check: the audit's check that has to find it. plant: puts it into a case.
        formats: extensions that it can be in. needs_original: found by comparing with it only. level: of the finding.
    """

    name: str
    check: str
    plant: Callable[[Case], None]
    formats: tuple[str, ...] = FORMATS
    needs_original: bool = False
    level: str = "leak"


_XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>B-AB 1234</x:xmpmeta>"
_FREE = (24).to_bytes(4, "big") + b"free" + b"license M-AB 123"
_UUID = (40).to_bytes(4, "big") + b"uuid" + bytes(32)
LEAKS: Sequence[Leak] = (
    Leak("a face or plate that the detectors missed", "recognizable", missed),
    Leak("a region that is not hidden", "destroyed", open_region),
    Leak("a region of which half is hidden", "destroyed", half_open),
    Leak("a weak blur", "destroyed", weak_blur),
    Leak("rows of original pixels", "destroyed", rows_kept),
    Leak("pixels changed outside", "unchanged", changed_outside, needs_original=True),
    Leak("EXIF with a GPS position", "metadata", _jpeg(_segment(0xE1, _exif())), ("jpg",)),
    Leak("EXIF with a thumbnail", "metadata", _jpeg(_segment(0xE1, _exif(False, b"\xff\xd8\xff\xd9"))), ("jpg",)),
    Leak("XMP", "metadata", _jpeg(_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + _XMP)), ("jpg",)),
    Leak("a JFIF thumbnail", "metadata", _jpeg(_segment(0xE0, b"JFXX\0\x13\2\2" + bytes(12))), ("jpg",)),
    Leak("a comment", "metadata", _jpeg(_segment(0xFE, b"plate M-AB 1234")), ("jpg",)),
    Leak("a C2PA box", "metadata", _jpeg(_segment(0xEB, b"JP\0\1\0\0\0\1" + bytes(20))), ("jpg",)),
    Leak("Photoshop data", "metadata", _jpeg(_segment(0xED, b"Photoshop 3.0\x008BIM" + bytes(20))), ("jpg",)),
    Leak("an unknown segment", "metadata", _jpeg(_segment(0xE7, b"maker note")), ("jpg",)),
    Leak("a gain map", "metadata", gain_map, ("jpg",)),
    Leak("a picture behind the end", "metadata", _appended(_small_jpeg)),
    Leak("text behind the end", "metadata", _appended(lambda _: b"M-AB 1234")),
    Leak("a text chunk", "metadata", _png_chunk(b"tEXt", b"Comment\0M-AB 1234"), ("png",)),
    Leak("XMP in a chunk", "metadata", _png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + _XMP), ("png",)),
    Leak("EXIF in a chunk", "metadata", _png_chunk(b"eXIf", _exif()[6:]), ("png",)),
    Leak("an unknown chunk", "metadata", _png_chunk(b"caBX", b"jumb"), ("png",)),
    Leak("bytes behind the pixels' stream", "metadata", png_behind_pixels, ("png",)),
    Leak("EXIF in a WebP", "metadata", _webp_chunk(b"EXIF", _exif()), ("webp",)),
    Leak("XMP in a WebP", "metadata", _webp_chunk(b"XMP ", _XMP), ("webp",)),
    Leak("an unknown chunk in a WebP", "metadata", _webp_chunk(b"SECR", b"M-AB 1234"), ("webp",)),
    Leak("a description tag", "metadata", _tiff_tag(270, b"M-AB 1234\0"), ("tif",)),
    Leak("an XMP tag", "metadata", _tiff_tag(700, _XMP), ("tif",)),
    Leak("an unknown tag", "metadata", _tiff_tag(65000, b"M-AB 1234\0"), ("tif",)),
    Leak("a second page", "metadata", tiff_second_page, ("tif",)),
    Leak("bytes before the pixels", "metadata", bmp_gap, ("bmp",)),
    Leak("EXIF in a HEIC", "metadata", _heic(exif=_exif()), ("heic",)),
    Leak("XMP in a HEIC", "metadata", _heic(xmp=_XMP), ("heic",)),
    Leak("a thumbnail in a HEIC", "metadata", _heic(thumbnails=[64]), ("heic",)),
    Leak("a place in a HEIC's picture", "metadata", heic_message, ("heic",)),
    Leak("a free box with text", "metadata", _appended(lambda _: _FREE), ("heic",)),
    Leak("a box of one's own", "metadata", _appended(lambda _: _UUID), ("heic",)),
    Leak("two photos swapped", "memory", swapped),
    Leak("the original in the place of the export", "memory", original_in_place),
    Leak("a photo that no export wrote", "memory", stray_photo),
    Leak("a link to the original", "memory", link),
    Leak("records edited after the export", "memory", record_edited),
    Leak("a plate in the file's name", "names", plate_name, level="look"),
    Leak("a plate in a folder's name", "names", plate_folder, level="look"),
)


def is_found(audit: Audit, leak: Leak) -> bool:
    """Whether the check that is for a leak of this kind found it."""
    return any(f.check == leak.check and f.level == leak.level for p in audit.photos for f in p.findings)
