"""Strangers' bytes: valid files of every format, and what becomes of them when they are changed.

    python -m tests.support.fuzzing --seconds 1200 [--format TIFF] [--seed 7] [--keep FOLDER]

A campaign decodes mutations in child processes with limits of memory and time. A finding is an error from outside the
project's tree, a process that dies, a picture that takes longer or more memory than it may; its file is kept.
"""

from __future__ import annotations

import argparse
import faulthandler
import functools
import io
import multiprocessing
import random
import resource
import signal
import struct
import sys
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
import tifffile
from PIL import Image

from anonymize.errors import ImageError
from anonymize.images import formats

MAX_PIXELS = 4e6
SECONDS, MEMORY = 20, 1 << 30  # a file, beyond what the process takes at its start
TOKENS = [
    b"\xff\xd8", b"\xff\xd9", b"\xff\xda", b"\xff\xc0\0\x11", b"\xff\xc2", b"\xff\xdb\0\x43", b"\xff\xdd\0\4\0\1",
    b"IDAT", b"IEND", b"iCCP", b"zTXt", b"acTL", b"VP8X", b"VP8L", b"ALPH", b"ANIM", b"Exif\0\0", b"MM\0*",
    b"II*\0\x08\0\0\0", b"ftypheic", b"ispe", b"iloc", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff",
    b"\x80\0\0\0", b"\1\0",
]  # fmt: skip


def _save(image, format_, **options):
    out = io.BytesIO()
    image.save(out, format_, **options)
    return out.getvalue()


def _tiff(pixels, **options):
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, metadata=None, **options)
    return out.getvalue()


def _chunk(kind, body):
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")


@functools.cache
def seeds():
    """Format -> small valid files of its kinds."""
    rng = np.random.default_rng(0)
    color = rng.integers(0, 256, (24, 40, 4), dtype=np.uint8)
    color[:12] //= 8
    deep = color.astype(np.uint16) * 257
    rgb, rgba = Image.fromarray(color[..., :3]), Image.fromarray(color)
    gray, bilevel = rgb.convert("L"), rgb.convert("1")
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    png = _save(rgb, "PNG", exif=exif, dpi=(72, 72))
    text = _chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n 8\n" + b"49492a0008000000"))
    bomb = _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 22))) + _chunk(
        b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 22))
    )
    heif = io.BytesIO()
    pillow_heif.encode("RGB", (64, 64), np.zeros((64, 64, 3), np.uint8).tobytes(), heif, quality=50)
    compressions = [None, "lzw", "zlib", "packbits", "zstd", "jpeg"]
    return {
        "JPEG": [
            _save(rgb, "JPEG", exif=exif, comment=b"c"), _save(rgb, "JPEG", progressive=True), _save(gray, "JPEG"),
            _save(rgb.convert("CMYK"), "JPEG"), _save(rgb, "JPEG", restart_marker_blocks=1, subsampling=0),
            _save(rgb, "MPO", save_all=True, append_images=[rgb]),
        ],
        "PNG": [
            png, png[:33] + text + bomb + png[33:], _save(rgba, "PNG"), _save(rgb.quantize(9), "PNG", transparency=3),
            _save(bilevel, "PNG"), cv2.imencode(".png", deep)[1].tobytes(),
        ],
        "WEBP": [_save(rgb, "WEBP", exif=exif), _save(rgba, "WEBP"), _save(rgba, "WEBP", lossless=True)],
        "TIFF": [
            *(_tiff(color[..., :3], photometric="rgb", compression=c, rowsperstrip=8) for c in compressions),
            *(_tiff(deep, photometric="rgb", extrasamples=[1], compression=c, tile=(16, 16)) for c in ("lzw", "zlib")),
            _tiff(np.moveaxis(deep[..., :3], 2, 0).copy(), photometric="rgb", planarconfig="separate", bigtiff=True),
            _save(bilevel, "TIFF", compression="group3"), _save(bilevel, "TIFF", compression="group4"),
            _save(rgb.quantize(9), "TIFF"), _save(rgb.convert("YCbCr"), "TIFF"), _save(gray, "TIFF", dpi=(72, 72)),
        ],
        "BMP": [_save(i, "BMP") for i in (rgb, gray, bilevel, rgb.quantize(9))] + [rle(is_4) for is_4 in (False, True)],
        "HEIF": [heif.getvalue()],
    }  # fmt: skip


def rle(is_4, width=9, rows=(b"\x05\x21\x04\x13\0\0", b"\0\x05\x12\x34\x50\0\4\x22\0\0", b"\0\2\3\0\6\x11\0\1")):
    """A BMP of run-length codes: runs, indices as they are, and a jump."""
    codes = b"".join(rows) if is_4 else b"\x05\1\4\2\0\0" + b"\0\x05\1\2\3\4\5\0\4\6\0\0" + b"\0\2\3\0\6\7\0\1"
    palette = b"".join(bytes([i * 9, 255 - i * 9, i, 0]) for i in range(16))
    head = struct.pack("<IiiHHIIiiII", 40, width, 3, 1, 4 if is_4 else 8, 2 if is_4 else 1, len(codes), 0, 0, 16, 0)
    return b"BM" + struct.pack("<IHHI", 14 + 40 + 64 + len(codes), 0, 0, 14 + 40 + 64) + head + palette + codes


def polyglots():
    """What only looks like a photo."""
    jpeg = seeds()["JPEG"][0]
    yield from (b"<svg xmlns='x'><image href='file:///etc/passwd'/></svg>", b"%PDF-1.7\n" + jpeg, b"<html>" + jpeg)
    yield from (b"PK\3\4" + jpeg, jpeg + b"PK\3\4" + bytes(99), b"GIF89a" + jpeg, jpeg + b"%PDF-1.7", b"BM" + jpeg)
    yield from (b"II*\0" + jpeg, b"RIFF\0\0\0\0WEBP" + jpeg, b"\0\0\0\x18ftypheic" + jpeg, b"\x89PNG\r\n\x1a\n" + jpeg)
    yield from (
        b"\xff\xd8\xff" * 5000,
        b"\xff\xd8" + b"\xff\xe1\0\2" * 100_000,
        b"MM\0+" + b"\xff" * 64,
        b"BM",
        b"\xff\xd8\xff",
    )


def mutate(data, rng, others=()):
    """A file with a few changes: bits, bytes, numbers, tokens, parts cut, doubled or taken from another one."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        if not out:
            break
        # headers matter more than pixels
        at = rng.randrange(min(len(out), 700) if rng.random() < 0.6 else len(out))
        match rng.randrange(9):
            case 0:
                out[at] ^= 1 << rng.randrange(8)
            case 1:
                out[at] = rng.choice((0, 1, 2, 0x7F, 0x80, 0xFF))
            case 2:
                number = rng.choice(
                    (0, 1, 2, 3, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, rng.getrandbits(32))
                )
                size, order = rng.choice((2, 4)), rng.choice(("big", "little"))
                out[at : at + size] = (number & (256**size - 1)).to_bytes(size, order)
            case 3:
                token = rng.choice(TOKENS)
                out[at : at + (len(token) if rng.random() < 0.5 else 0)] = token
            case 4:
                del out[at : at + rng.choice((1, 2, 4, 12, 100, len(out)))]
            case 5:
                length = rng.choice((1, 4, 12, 64, 600))
                out[at:at] = out[at : at + length] * rng.choice((1, 1, 2, 50))
            case 6:
                out[at : at + 64] = rng.randbytes(min(64, len(out) - at))
            case 7:
                out[at : at + 32] = bytes([rng.choice((0, 255))]) * min(32, len(out) - at)
            case 8:
                other = rng.choice(others) if others else data
                start = rng.randrange(len(other))
                out[at : at + rng.choice((0, 8, 200))] = other[start : start + rng.choice((8, 64, 1000))]
    fixed = bytes(out)
    return _with_checksums(fixed) if fixed.startswith(b"\x89PNG") and rng.random() < 0.7 else fixed


def _with_checksums(data):
    """A PNG whose checksums fit again, so that what lies behind them is reached."""
    out, at = [data[:8]], 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if at + 12 + length > len(data):
            break
        out.append(_chunk(data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return b"".join([*out, data[at:]])


def decode(data):
    """What must hold of any bytes: a photo that can be written again, or an error of the project's tree."""
    try:
        read = formats.decode(data, MAX_PIXELS)
    except ImageError as e:
        text = str(e)
        assert len(text) > 20
        assert "\n" not in text
        return text
    assert read.pixels.size
    assert read.pixels.shape[0] * read.pixels.shape[1] <= MAX_PIXELS
    assert read.pixels.dtype in (np.uint8, np.uint16)
    return None


def cases(format_, seed):
    """Mutations of a format's files, always the same for a seed."""
    rng, files = random.Random(seed), seeds()[format_]
    while True:
        yield mutate(rng.choice(files), rng, files)


def _work(format_, seed, seconds, keep):
    """A child: decodes until its time is over; the file that it is at lies in `keep`, should it die."""
    faulthandler.enable()
    here = keep / f"{format_}-{seed}.bin"
    generator = cases(format_, seed)
    decode(seeds()[format_][0])
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + 3 * MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        data = next(generator)
        here.write_bytes(data)
        signal.alarm(SECONDS)
        try:
            decode(data)
        except Exception as e:
            (keep / f"{format_}-{seed}-{count}-{type(e).__name__}.bin").write_bytes(data)
            print(f"FINDING {format_} seed {seed} case {count}: {e!r}", flush=True)
        signal.alarm(0)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if (peak - used) * 1024 > MEMORY:
            (keep / f"{format_}-{seed}-{count}-memory.bin").write_bytes(data)
            print(f"FINDING {format_} seed {seed} case {count}: {(peak - used) >> 10} MB", flush=True)
            used = peak
        count += 1
    here.unlink()
    print(f"{format_}: {count} files, seed {seed}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--format", choices=sorted(seeds()))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"))
    args = parser.parse_args()
    args.keep.mkdir(parents=True, exist_ok=True)
    each = [args.format] if args.format else sorted(seeds())
    end, seed, died = time.monotonic() + args.seconds, args.seed, 0
    slice_ = min(args.seconds / len(each), 60)
    while time.monotonic() < end:
        for format_ in each:
            child = multiprocessing.Process(target=_work, args=(format_, seed, slice_, args.keep))
            child.start()
            child.join()
            if child.exitcode:
                died += 1
                print(f"FINDING {format_} seed {seed}: the process ended with {child.exitcode}", flush=True)
        seed += 1
    return died > 0


if __name__ == "__main__":
    sys.exit(main())
