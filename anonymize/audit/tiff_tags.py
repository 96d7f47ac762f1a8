"""A TIFF's tags: one directory, tags that say how pixels are stored, and not a byte that belongs to none of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..images import metadata
from .boxes import gaps, profile_fault

# TIFF 6.0 and its ICC tag (34675): what says how the pixels are stored.
_STRUCTURE = frozenset(
    (254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, 338, 339, 34675)
)
_RESOLUTION = frozenset((282, 283, 296))
_NAMES: Mapping[int, str] = {
    270: "an image description", 271: "the camera's maker", 272: "the camera's model", 305: "a program's name",
    306: "a date", 315: "an artist's name", 330: "further pictures (SubIFDs)", 513: "a thumbnail", 700: "XMP",
    33432: "a copyright notice", 33723: "IPTC", 34377: "Photoshop data", 34665: "an EXIF directory",
    34853: "a GPS position", 37510: "a user's comment", 37724: "Photoshop layers",
}  # fmt: skip
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_EXIF, _ICC, _LARGEST_GAP = 34665, 34675, 15  # libtiff and tifffile align what they write


@dataclass
class _File:
    data: bytes
    order: str
    used: list[tuple[int, int]]

    def number(self, at: int, size: int) -> int:
        if at + size > len(self.data):
            raise ValueError("a number lies outside the file")
        return int.from_bytes(self.data[at : at + size], self.order)  # type: ignore[arg-type]

    def directory(self, at: int) -> tuple[dict[int, list[int] | bytes], int]:
        """Tag -> numbers, or bytes where it has such; and where the next directory is."""
        count = self.number(at, 2)
        self.used.append((at, at + 2 + 12 * count + 4))
        tags: dict[int, list[int] | bytes] = {}
        total = 0
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, many = self.number(entry, 2), self.number(entry + 2, 2), self.number(entry + 4, 4)
            size = _SIZES[kind]
            start = entry + 8 if size * many <= 4 else self.number(entry + 8, 4)
            if start + size * many > len(self.data):
                raise ValueError(f"tag {tag} lies outside the file")
            total += size * many
            if total > len(self.data):
                raise ValueError("tags lie over each other")
            if size * many > 4:
                self.used.append((start, start + size * many))
            raw = self.data[start : start + size * many]
            whole = kind in (3, 4, 13)
            tags[tag] = [self.number(start + i * size, size) for i in range(many)] if whole else raw
        return tags, self.number(at + 2 + 12 * count, 4)


def walk(data: bytes, keep: tuple[str, ...]) -> Iterator[str]:
    """What a TIFF carries that an export does not write, in words."""
    file = _File(data, "little" if data.startswith(b"II") else "big", [(0, 8)])
    tags, following = file.directory(file.number(4, 4))
    if following:
        yield "a second page, or a thumbnail"
    kept = {tag for name in keep for tag in metadata.TAGS[name]}
    for tag, value in tags.items():
        if tag == _ICC and isinstance(value, bytes):
            yield from profile_fault(value)
        elif tag == _EXIF and kept and isinstance(value, list):
            deeper, _ = file.directory(value[0])
            for inner in deeper.keys() - kept:
                yield f"the EXIF tag {inner}, which was not to be kept"
        elif tag in _STRUCTURE or tag in kept:
            continue
        elif tag not in _RESOLUTION:
            shown = value[:24].decode("latin-1") if isinstance(value, bytes) else ""
            named = _NAMES.get(tag, f"a tag {tag}")
            yield f"{named}: “{shown}”" if shown.isprintable() and shown else named
        elif "resolution" not in keep and not _is_neutral(tag, value):
            yield "a resolution, which was not to be kept"
    offsets, lengths = tags.get(273), tags.get(279)
    if not isinstance(offsets, list) or not isinstance(lengths, list) or len(offsets) != len(lengths):
        raise ValueError("the places of its pixels are not said")
    file.used += [(start, start + length) for start, length in zip(offsets, lengths, strict=True)]
    yield from _unused(file)


def _is_neutral(tag: int, value: list[int] | bytes) -> bool:
    """Resolutions of 1 per no unit, or of 1 per inch, which encoders write for lack of any."""
    if tag == 296:
        return True
    return isinstance(value, bytes) and value[:4] == value[4:]


def _unused(file: _File) -> Iterator[str]:
    """Bytes that no tag leads to."""
    last = max(end for _, end in file.used)
    if last > len(file.data) or any(start > len(file.data) for start, _ in file.used):
        raise ValueError("pixels lie outside the file")
    for a, b in gaps(file.used, 0, len(file.data)):
        if b - a > _LARGEST_GAP or any(file.data[a:b]):
            yield f"{b - a} bytes after the end of the image" if a >= last else "bytes that belong to no tag"
