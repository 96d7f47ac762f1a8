"""What a clip's coded pictures carry besides pictures: a camera writes where and when it filmed into messages there.

H.264 and HEVC (ITU-T H.264 and H.265, annex D): units and messages on a list; of an encoder's own words, x264's and
x265's, which name it and its numbers. AV1: its own units, and metadata of colors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from .boxes import text

# Codec -> units that hold pictures, what is needed to read them, and padding.
_UNITS = {"h264": {1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12}, "hevc": {*range(10), *range(16, 22), *range(32, 39)}}
_MESSAGES_IN = {"h264": {6}, "hevc": {39, 40}}
_PADDING = {"h264": 12, "hevc": 38}
_MARKS = {"h264": {9: 1, 10: 0, 11: 0}, "hevc": {35: 1, 36: 0, 37: 0}}  # type -> bytes of a unit that only separates
# Messages that an export may write, and how many bytes each has at most: fields, where to start, colors and light.
_MESSAGES = {1: 1, 6: 4, 137: 24, 144: 4, 147: 1}
_FILLER, _REGISTERED, _UNREGISTERED = 3, 4, 5
_AV1_PICTURES, _AV1_METADATA, _AV1_PADDING = {1, 2, 3, 4, 6, 7}, 5, 15
_AV1_DELIMITER = 2
_AV1_OF_COLORS = {1: 6, 2: 26}  # type -> bytes, with type and end

# What x264 and x265 write of themselves into what they code: their build, and options by name.
_X264 = """
8x8dct analyse aq b_adapt b_bias b_pyramid bframes bitdepth bitrate bluray_compat cabac chroma_me chroma_qp_offset
cll constrained_intra cplxblur cqm crf crf_max crop_rect deadzone deblock decimate direct fast_pskip filler fps
frame-packing interlaced intra_refresh ip_ratio keyint keyint_min lookahead_threads mbtree me me_range mixed_ref
nal_hrd nr open_gop opencl pb_ratio psy psy_rd qblur qcomp qp qpmax qpmin qpstep ratetol rc rc_lookahead ref
scenecut slice_max_mbs slice_max_size slice_min_mbs sliced_threads slices slices_max stitchable subme threads
timebase trellis vbv_bufsize vbv_maxrate weightb weightp
"""
_X265 = """
2 allow-non-conformance amp analysis-load-reuse-level analysis-reuse-level analysis-save-reuse-level
analyze-src-pics annexb aq-mode aq-motion aq-strength aud b-adapt b-intra b-pyramid bframe-bias bframes bitdepth
bitrate bitrate-factor bottom cbqpoffs chromaloc chunk-end chunk-start cll colormatrix colorprim const-vbv
constrained-intra copy-pic cplxblur cpuid crf crf-max crf-min crqpoffs ctu ctu-info cu-lossless cutree deblock
decoder-max-rate dhdr10-opt display-window dup-threshold dynamic-rd dynamic-refine early-skip eob eos fast-intra
field fps frame-dup frame-rc frame-threads gop-lookahead hash hdr10 hdr10-opt hevc-aq high-tier hist-scenecut hme
hrd idr-recovery-sei info input-csp input-res interlace intra-refresh ipratio keyint level-idc limit-modes
limit-refs limit-sao limit-tu log-level log2-max-poc-lsb lookahead-slices lossless lowpass-dct max-ausize-factor
max-luma max-merge max-tu-size mcstf me merange min-cu-size min-keyint min-luma multi-pass-opt-rps nr-inter nr-intra
open-gop opt-cu-delta-qp opt-qp-pps opt-ref-list-length-pps overscan overscan-crop pbratio pme pmode psnr psy-rd
psy-rdoq qblur qcomp qg-size qp qp-adaptation-range qpmax qpmin qpstep radl range rc rc-grain rc-lookahead rd
rd-refine rdoq-level rdpenalty rect ref refine-analysis-type refine-ctu-distortion refine-inter refine-intra
refine-mv repeat-headers right rskip rskip-edge-threshold sao sao-non-deblock sar sar-height sbrc scale-factor
scenecut scenecut-aware-qp scenecut-bias selective-sao signhide single-sei slices slow-firstpass splice splitrd-skip
ssim ssim-rd stats-read stats-write strict-cbr strong-intra-smoothing subme svt temporal-layers temporal-mvp
total-frames transfer tskip tskip-fast tu-inter-depth tu-intra-depth uhd-bd vbv-live-multi-pass videoformat
vui-hrd-info vui-timing-info weightb weightp wpp zone-count
"""
_VALUE = (
    rb"0x[0-9a-f]{1,8}(?::0x[0-9a-f]{1,8})?|-?\d{1,10}(?:\.\d{1,2})?(?:[:,/x]-?\d{1,10}(?:\.\d{1,2})?){0,3}"
    rb"|dia|hex|umh|esa|tesa|star|sea|full|crf|cqp|abr|cbr|2pass|tff|bff|none|vbr"
)


def _options(names: str, before: str = "") -> bytes:
    # x265 sets no space before its conformance-window-offsets.
    known = "|".join(map(re.escape, names.split()))
    return rb" - options:(?: %b(?:%b)(?:=(?:%b))?(?:conformance-window-offsets)?)*\0?" % (
        before.encode(),
        known.encode(),
        _VALUE,
    )


# Identifiers of the encoders (the first 16 bytes), and what they write.
ENCODERS = {
    bytes.fromhex("dc45e9bde6d948b7962cd820d923eeef"): re.compile(
        rb"x264 - core \d{1,4}(?: r\d{1,5}(?:\+\d{1,3})?M? [0-9a-f]{7,12})? - H\.264/MPEG-4 AVC codec - "
        rb"Copyleft 2003-20\d\d - http://www\.videolan\.org/x264\.html" + _options(_X264)
    ),
    bytes.fromhex("2ca2de09b51747dbbb55a4fe7fc2fc4e"): re.compile(
        rb"x265 \(build \d{1,4}\) - \d+\.\d+(?:\.\d+)?(?:\+\d{1,4})?(?:-g?[0-9a-f]{7,12})?:"
        rb"\[(?:Linux|Windows|Mac OS X|Unk-OS)\]\[(?:GCC|clang|MSVC|ICC) [\d.]{1,8}\]\[(?:32|64) bit\](?:\[noasm\])?"
        rb" \d{1,2}bit(?:\+\d{1,2}bit){0,2} - H\.265/HEVC codec - Copyright 2013-20\d\d \(c\) Multicoreware, Inc - "
        rb"http://x265\.org" + _options(_X265, "(?:no-)?")
    ),
}


def head(codec: str, extra: bytes) -> Iterator[str]:
    """What the header of a stream carries, in words.

    Args:
        codec: FFmpeg's name ("h264"). extra: the stream's extra data, as its container has it.

    Raises:
        ValueError, IndexError: it cannot be followed.
    """
    if codec == "av1" and extra:
        yield from _av1(extra[4:])
    elif codec in _UNITS and extra[:1] == b"\1":
        for unit in _in_head(codec, extra):
            yield from _unit(codec, unit)
    elif codec in _UNITS:
        yield from packet(codec, b"", extra)


def packet(codec: str, extra: bytes, data: bytes) -> Iterator[str]:
    """What one coded picture carries besides a picture, in words. Args and errors: as `head`; data: of the packet."""
    if codec == "av1":
        yield from _av1(data)
    elif codec in _UNITS:
        at = {"h264": 4, "hevc": 21}[codec]
        size = (extra[at] & 3) + 1 if extra[:1] == b"\1" else 0
        before, *units = [b"", *_lengths(data, size)] if size else re.split(rb"\x00\x00\x00?\x01", data)
        if any(before):
            yield f"bytes before its pictures: “{text(before)}”"
        for unit in units:
            yield from _unit(codec, unit)


def heic(data: bytes, headers: Sequence[bytes]) -> Iterator[str]:
    """The same of a picture of a HEIC and of the headers (hvcC) of all its pictures."""
    for extra in headers:
        yield from head("hevc", extra)
    for extra in headers[:1]:
        yield from packet("hevc", extra, data)


def _lengths(data: bytes, size: int) -> Iterator[bytes]:
    """Units that say their own lengths."""
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + size], "big")
        at += size
        if at + length > len(data):
            raise ValueError("a unit is longer than its picture")
        yield data[at : at + length]
        at += length


def _in_head(codec: str, extra: bytes) -> Iterator[bytes]:
    """The units of an avcC or hvcC box."""
    at, masks = (23, [0xFFFF] * extra[22]) if codec == "hevc" else (5, [31, 255])
    for mask in masks:
        size = 2 if codec == "hevc" else 1
        at += codec == "hevc"  # which units follow
        count = int.from_bytes(extra[at : at + size], "big") & mask
        at += size
        for _ in range(count):
            length = int.from_bytes(extra[at : at + 2], "big")
            if at + 2 + length > len(extra):
                raise ValueError("a header is cut off")
            yield extra[at + 2 : at + 2 + length]
            at += 2 + length
    if codec == "h264" and extra[1] in (100, 110, 122, 144, 244):
        at += 4  # depths of samples
    if any(extra[at:]):
        yield b"\xff" + extra[at:]


def _unit(codec: str, unit: bytes) -> Iterator[str]:
    if not unit:
        return
    kind = unit[0] & 31 if codec == "h264" else unit[0] >> 1 & 63
    layer = (unit[0] & 1) << 5 | unit[1] >> 3 if codec == "hevc" and kind < 48 else 0
    body = unit[1:] if codec == "h264" else unit[2:]
    if kind == _PADDING[codec]:
        if body.strip(b"\xff").rstrip(b"\0") not in (b"", b"\x80"):
            yield f"bytes in a padding of its pictures: “{text(body)}”"
    elif layer or kind not in _UNITS[codec] | _MESSAGES_IN[codec]:
        yield f"a unit of type {kind} beside its pictures" + f", in a layer {layer}" * bool(layer)
    elif kind in _MARKS[codec]:
        if len(mark := body.rstrip(b"\0")) != _MARKS[codec][kind] or any(byte & 31 != 16 for byte in mark):
            yield f"bytes in a unit of type {kind} between its pictures: “{text(body)}”"
    elif kind in _MESSAGES_IN[codec]:
        yield from _messages(body.replace(b"\0\0\3", b"\0\0"))


def _messages(body: bytes) -> Iterator[str]:
    at, end = 0, len(body.rstrip(b"\0").removesuffix(b"\x80"))
    while at < end:
        numbers = []
        for _ in range(2):
            number = 0
            while body[at] == 255:
                number, at = number + 255, at + 1
            numbers.append(number + body[at])
            at += 1
        kind, size = numbers
        if at + size > len(body):
            raise ValueError("a message is longer than its unit")
        yield from _message(kind, body[at : at + size])
        at += size


def _message(kind: int, body: bytes) -> Iterator[str]:
    if kind == _UNREGISTERED:
        known = ENCODERS.get(body[:16])
        if known is None or not known.fullmatch(body[16:]):
            yield f"data of a camera or program in its pictures: “{text(body[16:])}”"
    elif kind == _REGISTERED:
        yield f"captions or other data in its pictures (ITU-T T.35): “{text(body)}”"
    elif kind == _FILLER:
        if body.strip(b"\xff"):
            yield f"bytes in a padding of its pictures: “{text(body)}”"
    elif len(body) > _MESSAGES.get(kind, -1) or _is_words(body):
        yield f"a message of type {kind} in its pictures: “{text(body)}”"


def _is_words(body: bytes) -> bool:
    body = body.rstrip(b"\x80\0")
    return len(body) > 1 and all(32 <= byte < 127 for byte in body)


def _av1(data: bytes) -> Iterator[str]:
    """AV1's units (section 5.3 of its specification), each of which says its length."""
    at = 0
    while at < len(data):
        head_, kind = data[at], data[at] >> 3 & 15
        at += 2 if head_ & 4 else 1
        if head_ & 2:
            length, at = _leb128(data, at)
        else:
            length = len(data) - at
        if at + length > len(data):
            raise ValueError("a unit is longer than its picture")
        body = data[at : at + length]
        at += length
        if kind == _AV1_METADATA:
            meant, _ = _leb128(body, 0)
            if len(body.rstrip(b"\0")) > _AV1_OF_COLORS.get(meant, -1) or _is_words(body[1:]):
                yield f"metadata of type {meant} in its pictures: “{text(body)}”"
        elif kind == _AV1_PADDING:
            if any(body.rstrip(b"\0")[:-1]):
                yield f"bytes in a padding of its pictures: “{text(body)}”"
        elif kind == _AV1_DELIMITER and any(body):
            yield f"bytes in a delimiter of its pictures: “{text(body)}”"
        elif kind not in _AV1_PICTURES:
            yield f"a unit of type {kind} beside its pictures"


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where what follows begins."""
    value = 0
    for i in range(8):
        value |= (data[at + i] & 127) << 7 * i
        if not data[at + i] & 128:
            return value, at + i + 1
    raise ValueError("a number that is none")
