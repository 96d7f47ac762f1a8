"""A clip's MP4 or MOV file (ISO/IEC 14496-12): pictures and sound, how they are coded, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .boxes import Bytes, children, gaps, named, text

# Box -> the boxes that may lie in it; what is not named here is a finding.
_TREE: Mapping[bytes, tuple[bytes, ...]] = {
    b"": (b"ftyp", b"moov", b"mdat", b"free", b"wide"),
    b"moov": (b"mvhd", b"trak", b"udta"),
    b"trak": (b"tkhd", b"edts", b"mdia"),
    b"edts": (b"elst",),
    b"mdia": (b"mdhd", b"hdlr", b"minf"),
    b"minf": (b"vmhd", b"smhd", b"hdlr", b"dinf", b"stbl"),
    b"dinf": (b"dref",),
    b"stbl": (
        b"stsd", b"stts", b"stss", b"stsc", b"stsz", b"stco", b"co64", b"ctts", b"cslg", b"sdtp", b"sgpd", b"sbgp",
    ),
}  # fmt: skip
_OF_PICTURES = (
    b"avcC", b"hvcC", b"vpcC", b"av1C", b"glbl", b"esds", b"pasp", b"colr", b"btrt", b"fiel", b"clap", b"gama",
    b"mdcv", b"clli", b"SmDm", b"CoLL",
)  # fmt: skip
_PICTURES = (b"avc1", b"hvc1", b"hev1", b"vp09", b"av01", b"FFV1", b"mp4v", b"jpeg", b"mjpa", b"mjpg", b"MJPG")
_OF_SOUND = (
    b"esds", b"btrt", b"dOps", b"dac3", b"dec3", b"dfLa", b"alac", b"wave", b"chan", b"chnl", b"pcmC", b"srat",
)  # fmt: skip
_HANDLERS = (b"", b"VideoHandler", b"SoundHandler", b"DataHandler")
_NO_TAGS = bytes.fromhex("000000356d6574610000000000000021") + b"hdlr" + bytes(8) + b"mdirappl" + bytes(9)
_NO_TAGS += b"\0\0\0\x08ilst"
_MOST = 1 << 26  # entries of a table, hours of samples; a header may say any number


def walk(data: Bytes) -> Iterator[str]:
    """What a clip carries that `video` does not write, in words.

    Raises:
        ValueError, IndexError: its boxes cannot be followed.
    """
    media: list[tuple[int, int]] = []
    used: list[tuple[int, int]] = []
    yield from _boxes(data, b"", 0, len(data), media, used)
    if any(not any(start <= a and b <= end for start, end in media) for a, b in used):
        yield "samples outside of the media data"
    if any(gap for start, end in media for gap in gaps(used, start, end)):
        yield "media data that belong to no picture and no sound"


def _boxes(
    data: Bytes, parent: bytes, start: int, end: int, media: list[tuple[int, int]], used: list[tuple[int, int]]
) -> Iterator[str]:
    tables: dict[bytes, tuple[int, int]] = {}
    for name, a, b in children(data, start, end):
        if name not in _TREE[parent]:
            yield named(f"a box {text(name)}", data, a, b)
        elif name in _TREE:
            yield from _boxes(data, name, a, b, media, used)
        elif name == b"mdat":
            media.append((a, b))
        elif name in (b"free", b"wide", b"udta"):
            if (any(data[a : min(b, a + (1 << 16))]) and data[a:b] != _NO_TAGS) or b - a > 1 << 16:
                yield f"text or tags in a box {text(name)}"
        elif name == b"stsd":
            yield from _entries(data, a, b)
        else:
            tables[name] = (a, b)
            yield from _fields(data, name, a, b)
    if parent == b"stbl":
        used += _samples(data, tables)


def _fields(data: Bytes, name: bytes, a: int, b: int) -> Iterator[str]:
    if name in (b"mvhd", b"tkhd", b"mdhd"):
        if any(data[a + 4 : a + (20 if data[a] else 12)]):
            yield "the time at which it was made"
    elif name == b"hdlr":
        raw = bytes(data[a + 24 : b]).strip(b"\0")
        if raw not in _HANDLERS and raw[1:] not in _HANDLERS:  # QuickTime counts its letters first
            yield f"the name of a handler: “{text(raw)}”"
    elif name == b"dref" and (b - a != 20 or bytes(data[a + 12 : a + 20]) != b"url \0\0\0\1"):
        yield "a reference to another file"


def _entries(data: Bytes, a: int, b: int) -> Iterator[str]:
    """How pictures or sound are coded."""
    for coding, start, end in children(data, a + 8, b):
        is_picture = coding in _PICTURES
        if is_picture and (raw := bytes(data[start + 43 : start + 43 + min(data[start + 42], 31)])):
            yield f"the name of an encoder: “{text(raw)}”"
        version = int.from_bytes(data[start + 8 : start + 10], "big")
        head = 78 if is_picture else 28 + {1: 16, 2: 36}.get(version, 0)
        for kind, at, stop in children(data, start + head, end):
            if kind not in (_OF_PICTURES if is_picture else _OF_SOUND):
                yield f"a box {text(kind)} among how it is coded: “{text(data[at : min(stop, at + 32)])}”"
            elif kind == b"dfLa" and any(data[i] & 127 not in (0,) for i in _flac_blocks(data, at + 4, stop)):
                yield "tags in the sound's header"


def _flac_blocks(data: Bytes, at: int, end: int) -> Iterator[int]:
    while at + 4 <= end:
        yield at
        at += 4 + int.from_bytes(data[at + 1 : at + 4], "big")


def _numbers(data: Bytes, table: tuple[int, int], size: int, skip: int = 8) -> tuple[int, ...]:
    """The numbers of a table, each of so many bytes."""
    a, b = table
    raw = bytes(data[a + skip : b])
    if len(raw) // size > _MOST:
        raise ValueError("a table is longer than any clip's")
    return tuple(int.from_bytes(raw[i : i + size], "big") for i in range(0, len(raw) - size + 1, size))


def _samples(data: Bytes, tables: Mapping[bytes, tuple[int, int]]) -> list[tuple[int, int]]:
    """Where each chunk of samples begins and ends."""
    if not {b"stsz", b"stsc"} <= tables.keys() or not {b"stco", b"co64"} & tables.keys():
        raise ValueError("no table of samples")
    a, _ = tables[b"stsz"]
    each, count = int.from_bytes(data[a + 4 : a + 8], "big"), int.from_bytes(data[a + 8 : a + 12], "big")
    sizes = _numbers(data, tables[b"stsz"], 4, 12) if not each else ()
    if not each and len(sizes) != count:
        raise ValueError("a table of samples is cut off")
    starts = _numbers(data, tables[b"stco"], 4) if b"stco" in tables else _numbers(data, tables[b"co64"], 8)
    runs = _numbers(data, tables[b"stsc"], 4)
    firsts, per = runs[0::3], runs[1::3]
    if len(firsts) != len(per) or (starts and (not firsts or firsts[0] != 1)):
        raise ValueError("a table of chunks cannot be followed")
    out, sample, run = [], 0, 0
    for chunk, start in enumerate(starts, 1):
        while run + 1 < len(firsts) and firsts[run + 1] <= chunk:
            run += 1
        size = each * per[run] if each else sum(sizes[sample : sample + per[run]])
        sample += per[run]
        out.append((start, start + size))
    if sample != count:
        raise ValueError("its chunks do not hold its samples")
    return out
