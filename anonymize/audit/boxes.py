"""A HEIC's boxes (ISO/IEC 14496-12, 23008-12): one picture, its alpha, and how both are coded; nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from mmap import mmap

from ..images import metadata, profiles

Bytes = bytes | mmap
_TOP = (b"ftyp", b"meta", b"mdat")
_META = (b"hdlr", b"pitm", b"iloc", b"iinf", b"iprp", b"iref")
_PROPERTIES = (b"hvcC", b"ispe", b"colr", b"pixi", b"auxC", b"clap", b"irot", b"imir")
_ALPHA = (b"urn:mpeg:hevc:2015:auxid:1", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha")


def children(data: Bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, begin and end of each box's content."""
    at = start
    while at < end:
        size, name, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if size < head or at + size > end:
            raise ValueError("a box is longer than what it lies in")
        yield name, at + head, at + size
        at += size


def text(raw: bytes) -> str:
    """A name from a file, for people."""
    return "".join(chr(c) if 32 <= c < 127 else f"\\x{c:02x}" for c in raw[:32])


def named(what: str, data: Bytes, start: int = 0, end: int | None = None) -> str:
    """What something is called and, where there is anything in it, how that begins, for people."""
    raw = bytes(data[start : min(start + 32, len(data) if end is None else end)])
    return f"{what}: “{text(raw)}”" if raw else what


def gaps(used: Iterable[tuple[int, int]], start: int, end: int) -> Iterator[tuple[int, int]]:
    """What of a range none of these ranges covers, of those that begin in it."""
    at = start
    for a, b in sorted(u for u in used if start <= u[0] <= end):
        if a > at:
            yield at, a
        at = max(at, b)
    if at < end:
        yield at, end


def exif_fault(block: bytes, keep: tuple[str, ...]) -> str | None:
    """What is wrong with an EXIF block: it has to be the one that the export writes for the fields that it has.

    Args:
        keep: names of safe metadata that the settings keep.
    """
    if not keep:
        return "an EXIF block, and no field was to be kept"
    exif = metadata.parse(block)
    fields = metadata.choose(metadata.read(exif), keep)
    dpi = metadata.resolution({}, exif) if "resolution" in keep else None
    bare = block.removeprefix(b"Exif\0\0")
    if any(metadata.write(fields, d).tobytes().removeprefix(b"Exif\0\0") == bare for d in (None, dpi)):
        return None
    return "an EXIF block with more than the fields that were to be kept"


def profile_fault(icc: bytes) -> Iterator[str]:
    if profiles.colors(icc) != icc:
        yield "a color profile with more than what colors need"


def walk(data: bytes, keep: tuple[str, ...], coded: Callable[[bytes, list[bytes]], Iterator[str]]) -> Iterator[str]:
    """What a HEIC carries that an export does not write, in words.

    Args:
        keep: names of safe metadata. coded: what a coded picture carries, given all headers of pictures, too.
    """
    meta, media = None, []
    for name, start, end in children(data, 0, len(data)):
        if name == b"meta":
            meta = (start, end)
        elif name == b"mdat":
            media.append((start, end))
        if name not in _TOP:
            yield named(f"a box {text(name)}", data, start, end)
    if meta is None:
        raise ValueError("no meta box")
    kinds: dict[int, bytes] = {}
    codings: list[bytes] = []
    places: dict[int, list[tuple[int, int]]] = {}
    for name, start, end in children(data, meta[0] + 4, meta[1]):
        if name == b"iinf":
            kinds = dict(_items(data, start, end))
        elif name == b"iloc":
            places = _places(data, start)
        elif name == b"iprp":
            yield from _properties(data, start, end, codings)
        elif name == b"iref":
            yield from _references(data, start, end)
        elif name not in _META:
            yield f"a box {text(name)} among the metadata"
    for item, kind in kinds.items():
        raw = b"".join(data[a:b] for a, b in places.get(item, ()))
        if kind == b"Exif":
            skip = 4 + int.from_bytes(raw[:4], "big")
            if fault := exif_fault(raw[skip:], keep):
                yield fault
        elif kind == b"mime":
            yield "XMP, or another text"
        elif kind == b"hvc1":
            yield from coded(raw, codings)
        elif kind != b"grid":
            yield f"an item of type {text(kind)}"
    yield from _unused(data, media, [place for each in places.values() for place in each])


def _items(data: bytes, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Item -> its type."""
    first = start + (6 if data[start] == 0 else 8)
    for name, at, _ in children(data, first, end):
        if name != b"infe":
            raise ValueError("a list of items with something else in it")
        wide = 4 if data[at] == 3 else 2
        yield int.from_bytes(data[at + 4 : at + 4 + wide], "big"), data[at + 6 + wide : at + 10 + wide]


def _places(data: bytes, at: int) -> dict[int, list[tuple[int, int]]]:
    """Item -> where its bytes are, in the file."""
    version = data[at]
    sizes = [data[at + 4] >> 4, data[at + 4] & 15, data[at + 5] >> 4, data[at + 5] & 15 if version else 0]
    at += 6

    def number(size: int) -> int:
        nonlocal at
        at += size
        if at > len(data):
            raise ValueError("a list of items is longer than the file")
        return int.from_bytes(data[at - size : at], "big")

    out: dict[int, list[tuple[int, int]]] = {}
    pieces = 0
    for _ in range(number(4 if version == 2 else 2)):
        item = number(4 if version == 2 else 2)
        method = number(2) & 15 if version else 0
        number(2)
        base = number(sizes[2])
        if method:
            raise ValueError("an item lies elsewhere than in the file's own media data")
        out[item] = []
        pieces += (count := number(2))
        if pieces > len(data):  # each may take no byte at all
            raise ValueError("more pieces of items than bytes")
        for _ in range(count):
            number(sizes[3])
            start = base + number(sizes[0])
            out[item].append((start, start + number(sizes[1])))
    return out


def _properties(data: bytes, start: int, end: int, codings: list[bytes]) -> Iterator[str]:
    """Those that are not on the list; to `codings` go the hvcC ones."""
    for name, a, b in children(data, start, end):
        for kind, at, stop in children(data, a, b) if name == b"ipco" else ():
            if kind not in _PROPERTIES:
                yield f"a property {text(kind)}"
            elif kind == b"auxC" and data[at + 4 : stop].split(b"\0")[0] not in _ALPHA:
                yield f"an auxiliary picture: {text(data[at + 4 : stop])}"
            elif kind == b"hvcC":
                codings.append(data[at:stop])


def _references(data: bytes, start: int, end: int) -> Iterator[str]:
    names = {b"thmb": "a thumbnail", b"cdsc": "a description", b"tmap": "a gain map"}
    for kind, _, _ in children(data, start + 4, end):
        if kind not in (b"auxl", b"dimg", b"prem", b"cdsc"):
            yield names.get(kind, f"a reference {text(kind)}")


def _unused(data: bytes, media: list[tuple[int, int]], used: list[tuple[int, int]]) -> Iterator[str]:
    """Media data that belong to no item."""
    if any(gap for start, end in media for gap in gaps(used, start, end)):
        yield "media data that belong to no picture"
    if any(not any(start <= a and b <= end for start, end in media) for a, b in used):
        yield "a picture's bytes lie outside the media data"
