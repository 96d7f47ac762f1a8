"""What is no picture in a file refuses nothing, what is no photo is named, no bytes do more than raise our errors."""

import io
import logging
import random
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pillow_heif
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from anonymize import images
from anonymize.errors import ImageError, ImageTooLargeError, UnreadableImageError, UnsupportedImageError
from anonymize.images import formats
from anonymize.settings import Settings
from tests.support import fuzzing

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)


def saved(image, format_, **options):
    out = io.BytesIO()
    image.save(out, format_, **options)
    return out.getvalue()


def chunk(kind, body, checksum=None):
    checksum = zlib.crc32(kind + body) if checksum is None else checksum
    return len(body).to_bytes(4, "big") + kind + body + checksum.to_bytes(4, "big")


def with_chunks(*extra):
    data = saved(Image.fromarray(PIXELS), "PNG")
    return data[:33] + b"".join(extra) + data[33:]


# PNG


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"tEXt", b"Comment\0" + b"x" * 3_000_000),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 30_000_000)),
        chunk(b"tEXt", b"Comment\0hello", checksum=7),
        chunk(b"zTXt", b"Comment\x009" + b"junk"),
        chunk(b"iTXt", b"Comment\0\1\x09junk"),
        chunk(b"iCCP", b"name\x009" + b"junk"),
        chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(1 << 25))),
        chunk(b"iCCP", b""), chunk(b"pHYs", b"\0"), chunk(b"tRNS", b"\0"), chunk(b"eXIf", b"junk"), chunk(b"gAMA", b""),
        chunk(b"sBIT", b""), chunk(b"cHRM", b"\0" * 3), chunk(b"tIME", b""), chunk(b"bKGD", b"\0" * 99),
        chunk(b"quUx", b"?"),
    ],
    ids=lambda e: e[4:8].decode(),
)  # fmt: skip
def test_no_chunk_that_is_thrown_away_refuses_a_png(extra):
    assert np.array_equal(formats.decode(with_chunks(extra), 1e6).pixels, PIXELS)


def test_a_damaged_picture_in_a_png_is_refused():
    data = saved(Image.fromarray(PIXELS), "PNG")
    at = data.index(b"IDAT") + 40
    with pytest.raises(UnreadableImageError, match="checksum"):
        formats.decode(data[:at] + b"\0\0\0" + data[at + 3 :], 1e6)
    for cut in (data[:-4], data[:-12], data[:at], data[:30]):
        with pytest.raises(UnreadableImageError, match=r"cut off|damaged"):
            formats.decode(cut, 1e6)


def interlaced(pixels):
    """A 16-bit RGB PNG in Adam7's seven passes, which no library here writes."""
    height, width, _ = pixels.shape
    lines = b""
    for x, y, dx, dy in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        if x < width:
            lines += b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels[y::dy, x::dx])
    return deep_png(height, width, zlib.compress(lines), 1)


def deep_png(height, width, idat, interlace=0):
    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([16, 2, 0, 0, interlace])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", idat) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 4), (9, 17), (24, 40)])
def test_a_deep_png_is_read_whole_or_refused_in_silence(size, capfd):
    pixels = np.random.default_rng(2).integers(0, 65536, (*size, 3), dtype=np.uint16)
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    whole = zlib.compress(lines)
    for data in (deep_png(*size, whole), deep_png(*size, whole + b"behind"), interlaced(pixels)):
        assert np.array_equal(formats.decode(data, 1e6).pixels, pixels)
    for idat in (whole[:-1], whole[:-4], whole[:-4] + b"adle", zlib.compress(lines[:-1]), zlib.compress(lines + b"\0"),
                 zlib.compress(lines + bytes(1 << 24)), b""):  # fmt: skip
        with pytest.raises(UnreadableImageError, match="damaged"):
            formats.decode(deep_png(*size, idat), 1e6)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_as_imagemagick_writes_it_is_honored(kind, orientation):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "maker"
    block = exif.tobytes()
    digits = block.hex()
    lines = "\n".join(digits[i : i + 72] for i in range(0, len(digits), 72))
    text = f"\nexif\n{len(block):8}\n{lines}\n".encode()
    body = b"Raw profile type exif\0" + {
        b"tEXt": text, b"zTXt": b"\0" + zlib.compress(text), b"iTXt": b"\0\0\0\0" + text,
    }[kind]  # fmt: skip
    read = formats.decode(with_chunks(chunk(kind, body)), 1e6)
    jpeg = formats.decode(saved(Image.fromarray(PIXELS), "WEBP", lossless=True, exif=exif), 1e6)
    assert np.array_equal(read.pixels, jpeg.pixels)
    assert "EXIF" in read.removed
    assert read.form.fields[0x010F] == b"maker"


def test_a_broken_profile_of_imagemagick_turns_nothing():
    for text in (b"", b"\nexif\n", b"\nexif\n 4\nzz", b"\nexif\n 4\nabc", b"\nexif\n 8\n49492a00ffffffff"):
        extra = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))
        assert np.array_equal(formats.decode(with_chunks(extra), 1e6).pixels, PIXELS)


# WebP, HEIC


def test_no_chunk_that_is_thrown_away_refuses_a_webp():
    for options in ({"lossless": True}, {}):
        for mode in ("RGB", "RGBA"):
            image = Image.fromarray(PIXELS).convert(mode)
            data = saved(image, "WEBP", exif=Image.Exif().tobytes(), xmp=b"<x/>", **options)
            wanted = formats.decode(data, 1e6).pixels
            assert np.array_equal(wanted, np.asarray(Image.open(io.BytesIO(data))))
            for kind in (b"EXIF", b"XMP "):
                at = data.index(kind)
                for bad in (
                    data[: at + 8] + b"\xff" * (len(data) - at - 8),
                    data[:at] + kind + b"\xff" * 4,
                    data[: at + 9],
                ):
                    assert np.array_equal(formats.decode(bad, 1e6).pixels, wanted)


def test_a_heic_is_written_closer_to_its_pixels_than_a_second_generation_needs():
    y, x = np.mgrid[:96, :128]
    noise = np.random.default_rng(0).normal(0, 8, (96, 128, 3))
    pixels = np.clip(np.stack([x * 2, y * 2, (x + y)], 2) + noise, 0, 255).astype(np.uint8)
    out = io.BytesIO()
    pillow_heif.encode("RGB", (128, 96), pixels.tobytes(), out, quality=60)
    read = formats.decode(out.getvalue(), 1e6)
    again = formats.decode(formats.encode(read.pixels, read.form), 1e6)
    error = np.mean((again.pixels.astype(float) - read.pixels) ** 2)
    assert 10 * np.log10(255**2 / error) > 50


# BMP


@pytest.mark.parametrize("is_4", [True, False])
def test_run_length_codes_of_a_bmp_are_what_their_writer_meant(is_4):
    read = formats.decode(fuzzing.rle(is_4), 1e6)
    bottom_up = (
        [[2, 1, 2, 1, 2, 1, 3, 1, 3], [1, 2, 3, 4, 5, 2, 2, 2, 2], [0, 0, 0, 1, 1, 1, 1, 1, 1]]
        if is_4
        else [[1, 1, 1, 1, 1, 2, 2, 2, 2], [1, 2, 3, 4, 5, 6, 6, 6, 6], [0, 0, 0, 7, 7, 7, 7, 7, 7]]
    )
    assert read.form.indices.tolist() == bottom_up[::-1]
    assert np.array_equal(read.pixels, read.form.palette[read.form.indices])
    assert np.array_equal(formats.decode(formats.encode(read.pixels, read.form), 1e6).pixels, read.pixels)


def test_a_bmp_of_run_length_codes_reads_as_opencv_reads_it():
    data = fuzzing.rle(True)
    assert np.array_equal(formats.decode(data, 1e6).pixels, cv2.imdecode(np.frombuffer(data, np.uint8), 1)[..., ::-1])


@pytest.mark.parametrize("is_4", [True, False])
def test_run_length_codes_that_end_early_or_lead_out_are_refused(is_4):
    data = fuzzing.rle(is_4)
    codes = int.from_bytes(data[10:14], "little")
    for bad in (data[:-2], data[: codes + 3], data[:codes] + b"\xff\1\0\1", data[:codes] + b"\0\2\1\xff\2\1\0\1"):
        with pytest.raises(UnreadableImageError, match="damaged"):
            formats.decode(bad, 1e6)


@pytest.mark.parametrize("fields", [(5, 6, 5), (5, 5, 5)])
def test_a_bmp_of_16_bits_reads_as_opencv_reads_it(fields):
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 1 << sum(fields), (7, 6), dtype=np.uint16).tobytes()
    red, green = fields[1] + fields[2], fields[2]
    masks = [(2 ** fields[0] - 1) << red, (2 ** fields[1] - 1) << green, 2 ** fields[2] - 1]
    head = (40).to_bytes(4, "little") + (6).to_bytes(4, "little") + (7).to_bytes(4, "little") + b"\1\0\x10\0\3\0\0\0"
    head += bytes(20) + b"".join(m.to_bytes(4, "little") for m in masks)
    data = (
        b"BM" + (14 + len(head) + len(pixels)).to_bytes(4, "little") + bytes(4) + (14 + len(head)).to_bytes(4, "little")
    )
    data += head + pixels
    seen = cv2.imdecode(np.frombuffer(data, np.uint8), 1)[..., ::-1].astype(int)
    assert np.abs(formats.decode(data, 1e6).pixels - seen).max() <= 8  # how 5 bits become 8


# what is no photo


@pytest.mark.parametrize(
    ("data", "error", "sentence"),
    [
        (b"GIF89a" + bytes(40), UnsupportedImageError, "GIFs are not read"),
        (b"\xff\x0a" + bytes(40), UnsupportedImageError, "JPEG XL is not read"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), UnsupportedImageError, "JPEG XL is not read"),
        (b"\0\0\0\x1cftypavif\0\0\0\0mif1miafMA1B" + bytes(40), UnsupportedImageError, "AVIF is not read"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0avifmiafMA1B" + bytes(40), UnsupportedImageError, "AVIF is not read"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(40), UnsupportedImageError, "raw converter"),
        (b"\0\0\0\x18ftypisom\0\0\0\1mp42isom" + bytes(40), UnsupportedImageError, "video"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + bytes(40), UnsupportedImageError, "video"),
        (b"RIFF\0\0\0\0AVI " + bytes(40), UnsupportedImageError, "video"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(40), ImageError, "raw|damaged"),
        (b"%PDF-1.7 " + bytes(40), UnsupportedImageError, "PDF"),
        (b"PK\3\4" + bytes(40), UnsupportedImageError, "zip archive"),
        (b"8BPS" + bytes(40), UnsupportedImageError, "Photoshop"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40), UnsupportedImageError, "JPEG 2000"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'>", UnsupportedImageError, "SVG"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<svg>", UnsupportedImageError, "SVG"),
        (b"<!DOCTYPE html><html>", UnsupportedImageError, "web page"),
        (b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]>", UnsupportedImageError, "XML"),
        (b"I am a text", UnreadableImageError, "known format"),
    ],
)
def test_what_is_no_photo_is_named_with_what_can_be_done(data, error, sentence):
    with pytest.raises(error, match=sentence) as caught:
        formats.decode(data, 1e6)
    assert any(word in str(caught.value) for word in ("save", "export", "unpack", "copy", "Video tab"))


def test_what_only_looks_like_a_photo_raises_our_errors():
    for data in fuzzing.polyglots():
        fuzzing.decode(data)


@hypothesis_settings(max_examples=150, deadline=None)
@given(format_=st.sampled_from(sorted(fuzzing.seeds())), seed=st.integers(0, 2**32 - 1))
def test_changed_files_raise_our_errors_and_no_others(format_, seed):
    rng, files = random.Random(seed), fuzzing.seeds()[format_]
    fuzzing.decode(fuzzing.mutate(rng.choice(files), rng, files))


def test_every_seed_of_the_fuzzer_is_a_photo():
    for format_, files in fuzzing.seeds().items():
        for data in files:
            assert fuzzing.decode(data) is None, format_


@pytest.mark.parametrize("format_", sorted(fuzzing.seeds()))
def test_a_size_over_the_limit_is_refused_by_every_format(format_):
    for data in fuzzing.seeds()[format_]:
        with pytest.raises(ImageTooLargeError, match="megapixels"):
            formats.decode(data, 20)


def test_no_warning_reaches_stderr_without_the_photos_name(tmp_path):
    """Of Pillow, tifffile, OpenCV and libtiff, in a process of its own: they write past Python's streams."""
    rng, names = random.Random(5), []
    for format_, files in fuzzing.seeds().items():
        for number in range(40):
            path = tmp_path / f"{format_}-{number}"
            path.write_bytes(fuzzing.mutate(rng.choice(files), rng, files))
            names.append(str(path))
    code = (
        "import sys\nfrom anonymize import images\nfrom anonymize.errors import ImageError\n"
        "from anonymize.settings import Settings\n"
        "for name in sys.argv[1:]:\n"
        "    images.count_pixels(name)\n"
        "    try:\n        images.load(name, Settings(max_megapixels=1))\n"
        "    except ImageError:\n        pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["a.jfif", "a.JPE", "a.HIF", "a.heif", "a.JPG", "a.tiff"])
def test_cameras_and_programs_names_are_photos(name, tmp_path):
    (tmp_path / name).write_bytes(b"")
    assert list(images.find(tmp_path, Settings()).paths) == [name]


def test_tifffile_says_nothing_of_its_own():
    assert not logging.getLogger("tifffile").propagate
