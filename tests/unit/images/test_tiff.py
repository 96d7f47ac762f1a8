"""Whatever tifffile and libtiff write comes out upright, with the pixels that a second decoder sees, or is refused."""

import io
import logging
import struct
import sys

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from anonymize.errors import ImageError, MissingExtraError, UnreadableImageError, UnsupportedImageError
from anonymize.images import formats

MODES = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}
PHOTOMETRIC = {"L": "minisblack", "RGB": "rgb", "CMYK": "separated"}


def drawn(height, width, channels, dtype, seed=0):
    """Noise over a slope: neither a shift nor a swapped byte goes unseen, and compression has something to do."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype=dtype)
    pixels[: height // 2] //= 9
    return pixels


def written(pixels, **options):
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, metadata=None, **options)
    return out.getvalue()


def turned(pixels, orientation):
    """Upright, as Pillow turns it; channel by channel, since Pillow has no 16-bit color."""
    turn = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}.get(orientation)  # Image.Transpose
    planes = [Image.fromarray(channel.astype(np.int32)) for channel in np.moveaxis(pixels, 2, 0)]
    seen = planes if turn is None else [p.transpose(Image.Transpose(turn)) for p in planes]
    return np.stack([np.asarray(p) for p in seen], 2).astype(pixels.dtype)


def second_opinion(data, mode, depth, orientation):
    """What libtiff reads, upright: (H, W, C); None where it reads something else or nothing."""
    if mode == "CMYK":
        try:
            with Image.open(io.BytesIO(data)) as image:
                return np.asarray(image) if depth == 8 else None
        except (OSError, ModuleNotFoundError):  # no separate planes; ultralytics makes Pillow ask for pi_heif, too
            return None
    pixels = imagecodecs.tiff_decode(data)
    if pixels.ndim == 3 and pixels.shape[2] != MODES[mode]:
        pixels = np.moveaxis(pixels, 0, 2)
    return turned(pixels.reshape(*pixels.shape[:2], -1), orientation)


PARAMETERS = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(sorted(MODES)),
        "depth": st.sampled_from([8, 16]),
        "planes": st.booleans(),
        "compression": st.sampled_from([None, "lzw", "zlib", "packbits", "zstd", "lzma"]),
        "tile": st.sampled_from([None, (16, 16), (32, 48)]),
        "order": st.sampled_from("<>"),
        "predictor": st.booleans(),
        "extra": st.sampled_from([0, 1, 2]),
        "orientation": st.integers(1, 8),
        "big": st.booleans(),
        "strip": st.integers(1, 60),
        "height": st.integers(1, 60),
        "width": st.integers(1, 60),
    }
)


@hypothesis_settings(max_examples=150, deadline=None)
@given(PARAMETERS)
def test_every_tiff_is_upright_and_has_the_pixels_that_a_second_decoder_reads(p):
    mode, planes = p["mode"], p["planes"] and p["mode"] != "L"
    pixels = drawn(p["height"], p["width"], MODES[mode], np.uint8 if p["depth"] == 8 else np.uint16)
    predictor = p["predictor"] and p["compression"] not in (None, "packbits")
    stored = np.moveaxis(pixels, 2, 0) if planes else pixels
    data = written(
        np.ascontiguousarray(stored[..., 0] if mode == "L" else stored),
        photometric=PHOTOMETRIC[mode.removesuffix("A")],
        planarconfig=None if mode == "L" else "separate" if planes else "contig",
        extrasamples=[p["extra"]] if mode[-1] == "A" else None,
        compression=p["compression"],
        predictor=predictor,
        tile=p["tile"],
        rowsperstrip=None if p["tile"] else p["strip"],
        byteorder=p["order"],
        bigtiff=p["big"],
        extratags=[(274, 3, 1, p["orientation"], True)],
    )
    upright = turned(pixels, p["orientation"])
    opinion = second_opinion(data, mode, p["depth"], p["orientation"])
    if opinion is not None and MODES[mode] not in (p["width"], p["height"]):  # then its planes cannot be told
        assert np.array_equal(opinion, upright), "the second decoder reads what was written"
    read = formats.decode(data, 1e6)
    assert read.form.mode == mode
    assert np.array_equal(read.pixels.reshape(upright.shape), upright)
    again = formats.decode(formats.encode(read.pixels, read.form), 1e6)
    assert np.array_equal(again.pixels, read.pixels)
    assert (again.form.mode, again.form.bits, again.form.is_premultiplied) == (
        mode, p["depth"], mode[-1] == "A" and p["extra"] == 1,
    )  # fmt: skip


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "I;16"]),
    compression=st.sampled_from(["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "group3", "group4", "jpeg"]),
    orientation=st.integers(1, 8),
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
)
def test_every_tiff_that_libtiff_writes_looks_as_pillow_shows_it(kind, compression, orientation, size):
    assume(kind == "1" or not compression.startswith("group"))
    # Pillow's encoder damages its own memory where libtiff refuses
    assume(compression != "jpeg" or kind not in ("1", "P", "I;16"))
    base = Image.fromarray(drawn(size[1], size[0], 3, np.uint8))
    if kind == "I;16":
        image = Image.fromarray(drawn(size[1], size[0], 1, np.uint16)[..., 0])
    elif kind in ("LA", "RGBA"):
        image = Image.fromarray(drawn(size[1], size[0], len(kind), np.uint8), kind)
    else:
        image = base.quantize(20) if kind == "P" else base.convert(kind)
    out = io.BytesIO()
    try:
        image.save(out, "TIFF", compression=compression, tiffinfo={0x0112: orientation})
        shown = ImageOps.exif_transpose(Image.open(io.BytesIO(out.getvalue())))
    except (OSError, ValueError, KeyError, RuntimeError):
        assume(False)
    if (kind, compression) == ("LA", "jpeg"):
        with pytest.raises(UnsupportedImageError, match="two colors"):
            formats.decode(out.getvalue(), 1e6)
        return
    read = formats.decode(out.getvalue(), 1e6)
    if kind == "YCbCr":
        difference = np.abs(read.pixels.astype(int) - np.asarray(shown.convert("RGB")))
        assert difference.max() <= (4 if compression != "jpeg" else 40)
        return
    wanted = np.asarray(shown.convert("RGB") if kind == "P" else shown)
    wanted = wanted * np.uint8(255) if wanted.dtype == bool else wanted
    assert np.array_equal(read.pixels, wanted)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("alpha", [False, True])
def test_white_may_be_zero(depth, alpha):
    dtype = np.uint8 if depth == 8 else np.uint16
    pixels = drawn(20, 30, 2, dtype)
    most = np.iinfo(dtype).max
    stored = pixels.copy()
    stored[..., 0] = most - stored[..., 0]
    data = written(stored if alpha else stored[..., 0], photometric="miniswhite", extrasamples=[2] if alpha else None,
                   planarconfig="contig" if alpha else None)  # fmt: skip
    assert np.array_equal(formats.decode(data, 1e6).pixels, pixels if alpha else pixels[..., 0])


def tagged(data, tag, value):
    """With a tag's value overwritten (little-endian, inline)."""
    page = tifffile.TiffFile(io.BytesIO(data)).pages[0]
    at = page.tags[tag].offset + 8
    return data[:at] + struct.pack("<I", value) + data[at + 4 :]


def test_tags_that_contradict_each_other_are_damage():
    data = written(drawn(40, 30, 3, np.uint16), photometric="rgb", rowsperstrip=8)
    changes = [(257, 4000), (256, 31), (277, 2), (284, 9), (259, 99), (317, 7), (266, 5), (278, 1)]
    for tag, value in changes:
        if tag not in (317, 266):
            with pytest.raises(ImageError):
                formats.decode(tagged(data, tag, value), 1e6)


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits", "zstd"])
def test_a_strip_that_is_cut_missing_or_damaged_is_refused(compression):
    data = written(drawn(40, 30, 3, np.uint16), photometric="rgb", rowsperstrip=8, compression=compression)
    page = tifffile.TiffFile(io.BytesIO(data)).pages[0]
    offsets, counts = page.tags[273], page.tags[279]

    def changed(tag, number):
        size = 8 if tag.dtype == 16 else 4 if tag.dtype == 4 else 2
        at = tag.valueoffset + 2 * size
        return data[:at] + number.to_bytes(size, "little") + data[at + size :]

    for bad in (changed(offsets, 0), changed(offsets, len(data) - 5), changed(counts, 0), changed(counts, 7)):
        with pytest.raises(UnreadableImageError, match=r"damaged|cut off"):
            formats.decode(bad, 1e6)
    for part in (0.1, 0.5, 0.99):
        with pytest.raises(UnreadableImageError, match=r"damaged|cut off"):
            formats.decode(data[: int(len(data) * part)], 1e6)


def test_a_jpeg_in_a_tiff_is_whole_or_refused():
    out = io.BytesIO()
    Image.fromarray(drawn(64, 96, 3, np.uint8)).save(out, "TIFF", compression="jpeg")
    data = out.getvalue()
    formats.decode(data, 1e6)
    page = tifffile.TiffFile(io.BytesIO(data)).pages[0]
    at, length = page.dataoffsets[0], page.databytecounts[0]
    scan = data.index(b"\xff\xda", at)
    with pytest.raises(UnreadableImageError, match=r"damaged|cut off"):
        formats.decode(data[: scan + 200] + bytes(length - 200 - (scan - at)) + data[at + length :], 1e6)


def test_tags_that_are_thrown_away_refuse_nothing(capfd, caplog):
    pixels = drawn(20, 30, 3, np.uint16)
    extra = [
        (40965, 4, 1, 5, True), (34665, 4, 1, 99_999_999, True), (34853, 4, 1, 8, True), (270, 2, 0, "café", True),
        (33723, 7, 8, b"\x1c\2broken"[:8], True), (700, 1, 7, b"<x:xmpm", True), (34377, 7, 4, b"8BIM", True),
    ]  # fmt: skip
    caplog.set_level(logging.DEBUG)
    for tag in extra:
        try:
            data = written(pixels, photometric="rgb", extratags=[tag])
        except (ValueError, KeyError):
            continue
        assert np.array_equal(formats.decode(data, 1e6).pixels, pixels), tag
    # a field type that does not exist, values outside of the file
    data = written(pixels, photometric="rgb", extratags=[(270, 2, 0, "a long description", True)])
    at = tifffile.TiffFile(io.BytesIO(data)).pages[0].tags[270].offset
    for bad in (data[: at + 2] + b"\x63\0" + data[at + 4 :], data[: at + 8] + b"\xff" * 4 + data[at + 12 :]):
        assert np.array_equal(formats.decode(bad, 1e6).pixels, pixels)
    assert capfd.readouterr().err == ""


def test_of_a_tiff_with_a_thumbnail_the_first_page_is_read_and_said():
    pixels = drawn(40, 60, 3, np.uint8)

    def pages(*others):
        out = io.BytesIO()
        with tifffile.TiffWriter(out) as tiff:
            tiff.write(pixels, photometric="rgb", metadata=None)
            for page, subfile in others:
                tiff.write(
                    page, photometric="rgb" if page.ndim == 3 else "minisblack", metadata=None, subfiletype=subfile
                )
        return out.getvalue()

    small, mask = pixels[::4, ::4].copy(), np.zeros((40, 60), bool)
    for data in (
        pages((small, 1)),
        pages((small, 0)),
        pages((mask, 4)),
        pages((pixels[::2, ::2].copy(), 1), (small, 1)),
    ):
        read = formats.decode(data, 1e6)
        assert np.array_equal(read.pixels, pixels)
        assert read.warnings == ("first-picture-only",)
        assert "further pictures" in read.removed
        assert formats.decode(formats.encode(read.pixels, read.form), 1e6).warnings == ()
    for data in (pages((pixels, 0)), pages((pixels[:, ::2].copy(), 0)), pages((small, 1), (pixels, 0))):
        with pytest.raises(UnsupportedImageError, match="only one could be hidden"):
            formats.decode(data, 1e6)


def test_only_what_a_tiff_carries_besides_its_picture_has_a_name():
    pixels = drawn(8, 8, 3, np.uint16)
    plain = {"photometric": "rgb", "resolution": (300, 300), "resolutionunit": "INCH", "software": False}
    read = formats.decode(written(pixels, **plain), 1e6)
    assert (read.removed, read.form.dpi) == ((), (300, 300))
    assert formats.decode(written(pixels, description="a street", **plain), 1e6).removed == ("EXIF",)


def test_a_thumbnail_in_front_is_a_raw_file():
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as tiff:
        tiff.write(drawn(10, 15, 3, np.uint8), photometric="rgb", metadata=None, subfiletype=1)
        tiff.write(drawn(40, 60, 1, np.uint16)[..., 0], photometric="minisblack", metadata=None)
    with pytest.raises(UnsupportedImageError, match="raw converter"):
        formats.decode(out.getvalue(), 1e6)


def test_directories_in_a_circle_end():
    data = written(drawn(8, 8, 3, np.uint8), photometric="rgb")
    first = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[first : first + 2], "little")
    at = first + 2 + 12 * count
    circle = data[:at] + data[4:8] + data[at + 4 :]
    assert formats.decode(circle, 1e6).warnings == ()


def test_a_palette_of_8_bits_is_not_black():
    image = Image.fromarray(drawn(20, 30, 3, np.uint8)).quantize(9)
    out = io.BytesIO()
    image.save(out, "TIFF")
    data = out.getvalue()
    tag = tifffile.TiffFile(io.BytesIO(data)).pages[0].tags[320]
    colors = np.frombuffer(data, "<u2", 768, tag.valueoffset)
    old = data[: tag.valueoffset] + (colors >> 8).astype("<u2").tobytes() + data[tag.valueoffset + 1536 :]
    assert np.array_equal(formats.decode(old, 1e6).pixels, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"compression": "zlib", "predictor": True}])
def test_plain_and_deflated_tiffs_need_no_extra(monkeypatch, depth, options):
    data = written(drawn(20, 30, 3, f"u{depth // 8}"), photometric="rgb", **options)
    pixels = formats.decode(data, 1e6).pixels
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    for name in [n for n in sys.modules if n.split(".")[0] == "tifffile"]:
        monkeypatch.delitem(sys.modules, name)
    assert np.array_equal(formats.decode(data, 1e6).pixels, pixels)


@pytest.mark.parametrize("options", [{"compression": "lzw"}, {"compression": "packbits"}, {"compression": "jpeg"}])
def test_a_tiff_that_needs_the_extra_says_the_command_that_adds_it(monkeypatch, options):
    data = written(drawn(20, 30, 3, "u1"), photometric="rgb", **options)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'anonymize\[tiff\]'"):
        formats.decode(data, 1e6)


def test_nothing_of_the_memory_is_in_a_tiff():
    """libtiff leaves a byte as it was, where compressed pixels end at an odd place."""
    made = set()
    for width in range(800, 804):
        out = io.BytesIO()
        Image.fromarray(drawn(900, width, 3, "u1")).save(out, "TIFF", compression="tiff_lzw")
        read = formats.decode(out.getvalue(), 1e6)
        for fill in range(1, 6):
            before = [bytes([fill]) * len(out.getvalue()) for _ in range(3)]
            del before
            made.add((width, formats.encode(read.pixels, read.form)))
    assert len(made) == 4
