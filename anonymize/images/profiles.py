"""Color profiles (ICC.1:2022): what says how numbers become colors stays, everything else in them stays behind.

A profile is a container with a table of tags, and anybody may add some: macOS writes a display's make and serial number
(mmod) and its calibration into each screenshot's, others measurements and dates. Bytes between and behind the tags
could hold anything, a picture too.
"""

from __future__ import annotations

import io

# Clause 9.2, without those about devices, measurements, sequences and named colors; chrm and bkpt are of older ones.
_COLOR = frozenset(
    b"A2B0 A2B1 A2B2 B2A0 B2A1 B2A2 D2B0 D2B1 D2B2 D2B3 B2D0 B2D1 B2D2 B2D3 rXYZ gXYZ bXYZ rTRC gTRC bTRC kTRC wtpt "
    b"bkpt lumi chad chrm cicp gamt pre0 pre1 pre2 rig0 rig2 tech view".split()
)
_NAMES, _LONGEST_NAME = frozenset((b"desc", b"cprt")), 4096  # "Display P3" in 40 languages takes 1.5 KB
_HEADER, _ENTRY, _MOST_TAGS = 128, 12, 100


def colors(raw: bytes) -> bytes:
    """A profile with its color tags, name and copyright only; byte for byte as it came where it has nothing else.

    Returns:
        b"" for what is no profile, or none that a color management system can read.
    """
    size, count = int.from_bytes(raw[:4], "big"), int.from_bytes(raw[_HEADER : _HEADER + 4], "big")
    table = _HEADER + 4
    if raw[36:40] != b"acsp" or not table + _ENTRY * count <= size <= len(raw) or count > _MOST_TAGS:
        return b""
    tags: list[tuple[bytes, int, int]] = []
    for at in range(table, table + _ENTRY * count, _ENTRY):
        name, start, length = raw[at : at + 4], *(int.from_bytes(raw[at + i : at + i + 4], "big") for i in (4, 8))
        if start < table or start + length > size:
            return b""
        if name in _COLOR or (name in _NAMES and length <= _LONGEST_NAME):
            tags.append((name, start, length))
    data, place = b"", {}
    for start, length in sorted({(start, length) for _, start, length in tags}):  # several tags may share their data
        place[start, length] = table + _ENTRY * len(tags) + len(data)
        data += raw[start : start + length].ljust(-(-length // 4) * 4, b"\0")
    numbers = [(name, place[start, length], length) for name, start, length in tags]
    entries = b"".join(name + start.to_bytes(4, "big") + length.to_bytes(4, "big") for name, start, length in numbers)
    whole = (table + len(entries) + len(data)).to_bytes(4, "big")
    out = whole + raw[4:100] + bytes(28) + len(tags).to_bytes(4, "big") + entries + data
    if out != raw:
        out = out[:84] + bytes(16) + out[100:]  # the hash of the whole; zeros: none was calculated
    grown = len(out) > len(raw) + 4 * len(tags)  # tags that overlap in part: no profile that a program wrote
    return out if not grown and _is_readable(out) else b""


def _is_readable(profile: bytes) -> bool:
    from PIL import ImageCms

    try:
        ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except (ImageCms.PyCMSError, OSError, ValueError):
        return False
    return True
