"""What is said within a stream of sound beside the sound itself."""

from __future__ import annotations

from ..errors import ClipError

_VORBIS = 30  # bytes of Vorbis' first header, which says rate and channels
_NO_COMMENTS = b"\x03vorbis" + bytes(8) + b"\x01"  # no vendor, no comment, and the bit that ends the header


def without_comments(codec: str, private: bytes) -> bytes:
    """What a decoder needs to know of a stream before its first packet, without what people wrote into it.

    Of the codecs that clips have, only Vorbis holds its comments (title, artist, place) there.

    Raises:
        ClipError: it is not what its codec says.
    """
    if codec != "vorbis":
        return private
    first, _, setup = _headers(private)
    lengths = b"".join(b"\xff" * (len(h) // 255) + bytes([len(h) % 255]) for h in (first, _NO_COMMENTS))
    return b"\x02" + lengths + first + _NO_COMMENTS + setup


def _headers(private: bytes) -> list[bytes]:
    """Vorbis' three headers, of which FFmpeg has two ways to put them together."""
    out: list[bytes] = []
    if private[:2] == _VORBIS.to_bytes(2, "big"):
        at = 0
        for _ in range(3):
            size = int.from_bytes(private[at : at + 2], "big")
            out.append(private[at + 2 : at + 2 + size])
            at += 2 + size
    elif private[:1] == b"\x02":
        at, sizes = 1, []
        for _ in range(2):
            size = 0
            while private[at : at + 1] == b"\xff":
                size, at = size + 255, at + 1
            sizes.append(size + int.from_bytes(private[at : at + 1], "big"))
            at += 1
        ends = at + sizes[0], at + sizes[0] + sizes[1]
        out = [private[at : ends[0]], private[ends[0] : ends[1]], private[ends[1] :]]
    if [h[:7] for h in out] != [bytes([n]) + b"vorbis" for n in (1, 3, 5)]:
        raise ClipError("its sound (Vorbis) is damaged; leave it out with --audio drop")
    return out
