"""What x264 and x265 write of themselves into what they code: their build, and options by name."""

from __future__ import annotations

import re

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
