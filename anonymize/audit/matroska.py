"""A clip's Matroska or WebM file (RFC 9559): pictures and sound, how they are coded, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .boxes import Bytes, named, text

MAGIC = b"\x1a\x45\xdf\xa3"
_CRC, _VOID = 0xBF, 0xEC
_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
# Element -> those that may lie in it; an element that is no key here holds a value. What is not named is a finding.
_TREE: Mapping[int, tuple[int, ...]] = {
    0: (0x1A45DFA3, _SEGMENT),
    0x1A45DFA3: (0x4286, 0x42F7, 0x42F2, 0x42F3, 0x4282, 0x4287, 0x4285),
    _SEGMENT: (0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1254C367, _CLUSTER, 0x1C53BB6B),
    0x114D9B74: (0x4DBB,),  # where things are
    0x4DBB: (0x53AB, 0x53AC),
    0x1549A966: (0x2AD7B1, 0x4D80, 0x5741, 0x4489),  # scale of times, programs, duration
    0x1654AE6B: (0xAE,),  # tracks
    0xAE: (
        0xD7, 0x73C5, 0x83, 0xB9, 0x88, 0x55AA, 0x9C, 0x22B59C, 0x86, 0x63A2, 0x56AA, 0x56BB, 0x23E383, 0x55EE, 0xE0,
        0xE1, 0x6DE7, 0x6DF8,
    ),
    0xE0: (0xB0, 0xBA, 0x54B0, 0x54BA, 0x54B2, 0x9A, 0x9D, 0x55B0, 0x53B8, 0x7670, 0x2EB524, 0x54BB, 0x54CC, 0x54DD),
    0x55B0: (
        0x55B1, 0x55B2, 0x55B3, 0x55B4, 0x55B5, 0x55B6, 0x55B7, 0x55B8, 0x55B9, 0x55BA, 0x55BB, 0x55BC, 0x55BD, 0x55D0,
    ),
    0x55D0: tuple(range(0x55D1, 0x55DB)),
    0x7670: (0x7671, 0x7672, 0x7673, 0x7674, 0x7675),  # how the picture is turned
    0xE1: (0xB5, 0x78B5, 0x9F, 0x6264),
    0x1254C367: (0x7373,),  # tags
    0x7373: (0x63C0, 0x67C8),
    0x63C0: (0x63C5, 0x68CA),
    0x67C8: (0x45A3, 0x4487, 0x447A, 0x4484),
    _CLUSTER: (0xE7, 0xA3, 0xA0, 0xA7, 0xAB),
    0xA0: (0xA1, 0x9B, 0xFB, 0x75A2),
    0x1C53BB6B: (0xBB,),  # where key frames are
    0xBB: (0xB3, 0xB7),
    0xB7: (0xF7, 0xF1, 0xF0, 0xB2, 0x5378),
}  # fmt: skip
_NAMES = {
    0x1941A469: "an attached file", 0x1043A770: "chapters", 0x7BA9: "a title", 0x4461: "the time at which it was made",
    0x536E: "the name of a track", 0x73A4: "an identifier of its own", 0x75A1: "data beside its pictures",
}  # fmt: skip
_PROGRAMS = (0x4D80, 0x5741)
_TRACK, _BLOCKS = 0xD7, (0xA3, 0xA1)
_TAG_NAME, _DURATION = 0x45A3, b"DURATION"


def walk(data: Bytes) -> Iterator[str]:
    """What a clip carries that `video` does not write, in words.

    Raises:
        ValueError, IndexError: its elements cannot be followed.
    """
    tracks: set[int] = set()
    yield from _elements(data, 0, 0, len(data), tracks)


def _elements(data: Bytes, parent: int, start: int, end: int, tracks: set[int]) -> Iterator[str]:
    for element, a, b in _children(data, start, end):
        if element == _CRC:
            continue
        if element == _VOID:
            if b - a > 1 << 16 or any(data[a:b]):
                yield "bytes in a space that is left free"
        elif element not in _TREE[parent]:
            yield named(_NAMES.get(element, f"an element {element:X}"), data, a, b)
        elif element in _TREE:
            yield from _elements(data, element, a, b, tracks)
        elif element == _TRACK:
            tracks.add(int.from_bytes(data[a:b], "big"))
        elif element in _BLOCKS:
            if _number(data, a, b, keeps_length=False)[0] not in tracks:
                yield "a block that belongs to no picture and no sound"
        elif element in _PROGRAMS and not bytes(data[a:b]).startswith(b"Lavf"):
            yield f"the name of a program: “{text(data[a : min(b, a + 32)])}”"
        elif element == _TAG_NAME and bytes(data[a:b]).strip(b"\0") != _DURATION:
            yield f"a tag {text(data[a : min(b, a + 32)])}"


def _children(data: Bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, begin and end of each element's content."""
    at = start
    while at < end:
        number, n = _number(data, at, end, keeps_length=True)
        size, m = _number(data, at + n, end, keeps_length=False)
        at += n + m
        if at + size > end:
            raise ValueError("an element is longer than what it lies in, or of no known length")
        yield number, at, at + size
        at += size


def _number(data: Bytes, at: int, end: int, *, keeps_length: bool) -> tuple[int, int]:
    """A number whose first bits say how many bytes it has; and how many these are."""
    first = data[at]
    length = 9 - first.bit_length()
    if length > 8 or at + length > end:
        raise ValueError("a number that is none")
    value = int.from_bytes(data[at : at + length], "big")
    return (value if keeps_length else value & ((1 << 7 * length) - 1)), length
