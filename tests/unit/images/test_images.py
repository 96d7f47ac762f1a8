"""Photos come out in the form that they came in, with nothing else in the file, whole or not at all."""

import hashlib
import importlib.util
import io
import os
import resource
import shutil
import stat
import subprocess
import tempfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
import pytest
import tifffile
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile, ImageOps, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from anonymize import disk, images
from anonymize.errors import ImageTooLargeError, UnreadableImageError, UnsupportedImageError, WriteError
from anonymize.images import formats, forms, metadata
from anonymize.settings import SAFE_METADATA, Settings

SETTINGS = Settings()
MARKER = b"SecretMarker4711"
TEXT = MARKER.decode()
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
H, W = 37, 53


def drawn(channels=0, dtype=np.uint8, seed=0, height=H, width=W):
    """Noise: any pixel that moves or changes is seen."""
    shape = (height, width, channels) if channels else (height, width)
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def smooth(height=64, width=96):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (height + width)], 2).astype(np.uint8)


def pil(image, format_, **options):
    out = io.BytesIO()
    image.save(out, format_, **options)
    return out.getvalue()


def tiff(pixels, **options):
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, **options)
    return out.getvalue()


def heic(pixels, mode="RGB", **options):
    out = io.BytesIO()
    pillow_heif.encode(mode, pixels.shape[1::-1], np.ascontiguousarray(pixels).tobytes(), out, **options)
    return out.getvalue()


def few(colors):
    return Image.fromarray(drawn(3)).quantize(colors)


def cmyk():
    return Image.frombytes("CMYK", (W, H), drawn(4).tobytes())


def gray_png(bits):
    """A gray PNG of 2 or 4 bits a sample, which Pillow reads but does not write."""
    rows = np.packbits(np.unpackbits(drawn()[..., None], axis=2)[..., -bits:].reshape(H, W * bits), axis=1)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    head = W.to_bytes(4, "big") + H.to_bytes(4, "big") + bytes([bits, 0, 0, 0, 0])
    return png([(b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")])


def png(chunks):
    made = (len(b).to_bytes(4, "big") + k + b + zlib.crc32(k + b).to_bytes(4, "big") for k, b in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)


def chunks(data):
    at = 8
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length


def gray_alpha_png16():
    image = Image.frombytes("RGBA", (W, H), drawn(4).tobytes())
    made = [(k, b[:8] + bytes([16, 4]) + b[10:] if k == b"IHDR" else b) for k, b, *_ in PngImagePlugin.getchunks(image)]
    return png(made)


RGB, RGBA = (lambda: Image.fromarray(drawn(3))), (lambda: Image.fromarray(drawn(4)))
GRAY, GRAY16 = (lambda: Image.fromarray(drawn())), (lambda: Image.fromarray(drawn(dtype=np.uint16)))
BILEVEL = lambda: GRAY().convert("1")  # noqa: E731
# name -> (bytes, mode, bits)
LOSSLESS = {
    **{f"png {n}": (lambda i=i: pil(i(), "PNG"), n, 8) for n, i in (("L", GRAY), ("RGB", RGB), ("RGBA", RGBA))},
    "png LA": (lambda: pil(Image.fromarray(drawn(2), "LA"), "PNG"), "LA", 8),
    "png 1 bit": (lambda: pil(BILEVEL(), "PNG"), "L", 1),
    **{f"png gray {b} bit": (lambda b=b: gray_png(b), "L", b) for b in (2, 4)},
    **{f"png palette {b} bit": (lambda b=b: pil(few(2**b - 1), "PNG", bits=b), "RGB", b) for b in (2, 4, 8)},
    "png palette alpha": (lambda: pil(few(40), "PNG", transparency=bytes(range(40))), "RGBA", 8),
    "png palette key": (lambda: pil(few(40), "PNG", transparency=3), "RGBA", 8),
    "png RGB key": (lambda: pil(RGB(), "PNG", transparency=(1, 2, 3)), "RGB", 8),
    "png L 16": (lambda: pil(GRAY16(), "PNG"), "L", 16),
    "png LA 16": (gray_alpha_png16, "LA", 16),
    "png RGB 16": (lambda: cv2.imencode(".png", drawn(3, np.uint16))[1].tobytes(), "RGB", 16),
    "png RGBA 16": (lambda: cv2.imencode(".png", drawn(4, np.uint16))[1].tobytes(), "RGBA", 16),
    **{f"tiff RGB {c}": (lambda c=c: pil(RGB(), "TIFF", compression=c), "RGB", 8)
       for c in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits")},
    "tiff LA": (lambda: pil(Image.fromarray(drawn(2), "LA"), "TIFF"), "LA", 8),
    "tiff RGBA": (lambda: pil(RGBA(), "TIFF", compression="tiff_lzw"), "RGBA", 8),
    "tiff CMYK": (lambda: pil(cmyk(), "TIFF"), "CMYK", 8),
    "tiff 1 bit group 4": (lambda: pil(BILEVEL(), "TIFF", compression="group4"), "L", 1),
    "tiff palette": (lambda: pil(few(200), "TIFF"), "RGB", 8),
    "tiff L 16": (lambda: pil(GRAY16(), "TIFF", compression="tiff_lzw"), "L", 16),
    "tiff L 16 big endian": (lambda: tiff(drawn(dtype=np.uint16), byteorder=">"), "L", 16),
    "tiff RGB 16 predictor":
        (lambda: tiff(drawn(3, np.uint16), photometric="rgb", compression="zlib", predictor=True), "RGB", 16),
    "tiff RGB 16 lzw":
        (lambda: cv2.imencode(".tiff", drawn(3, np.uint16), [cv2.IMWRITE_TIFF_COMPRESSION, 5])[1].tobytes(), "RGB", 16),
    "tiff RGB 16 planes, tiles, big endian":
        (lambda: tiff(np.moveaxis(drawn(3, np.uint16), 2, 0), photometric="rgb", planarconfig="separate",
                      tile=(16, 16), byteorder=">"), "RGB", 16),
    "tiff RGBA 16": (lambda: tiff(drawn(4, np.uint16), photometric="rgb", extrasamples=[2]), "RGBA", 16),
    "tiff RGBA premultiplied": (lambda: tiff(drawn(4), photometric="rgb", extrasamples=[1]), "RGBA", 8),
    "tiff CMYK 16": (lambda: tiff(drawn(4, np.uint16), photometric="separated"), "CMYK", 16),
    "bmp L": (lambda: pil(GRAY(), "BMP"), "L", 8),
    "bmp RGB": (lambda: pil(RGB(), "BMP"), "RGB", 8),
    "bmp RGBA": (lambda: cv2.imencode(".bmp", drawn(4))[1].tobytes(), "RGBA", 8),
    "bmp palette": (lambda: pil(few(40), "BMP"), "RGB", 8),
    "bmp 1 bit": (lambda: pil(BILEVEL(), "BMP"), "L", 1),
    "webp RGB": (lambda: pil(RGB(), "WEBP", lossless=True), "RGB", 8),
    "webp RGBA": (lambda: pil(RGBA(), "WEBP", lossless=True, exact=True), "RGBA", 8),
}  # fmt: skip


@pytest.fixture(scope="module")
def bus():
    package = Path(importlib.util.find_spec("ultralytics").origin).parent
    return (package / "assets" / "bus.jpg").read_bytes()


@pytest.fixture
def open_(tmp_path):
    """Bytes -> Photo, through a file."""

    def load(data, settings=SETTINGS, name="photo"):
        path = tmp_path / "in" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return images.load(path, settings)

    return load


@pytest.fixture
def again(tmp_path, open_):
    """Save and load: the written bytes and the photo in them."""

    def save(photo, pixels=None, settings=None):
        target = tmp_path / "out" / "photo"
        images.save(photo, photo.pixels if pixels is None else pixels, target, settings)
        assert os.listdir(target.parent) == ["photo"]
        return target.read_bytes(), images.load(target, SETTINGS)

    return save


# the form


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_lossless_photo_is_identical_but_where_it_was_changed(name, open_, again):
    make, mode, bits = LOSSLESS[name]
    photo = open_(make())
    assert (photo.mode, photo.form.bits) == (mode, bits)
    assert (photo.height, photo.width) == (H, W) == photo.pixels.shape[:2] == photo.rgb.shape[:2]
    assert photo.pixels.dtype == (np.uint16 if bits == 16 else np.uint8)
    assert photo.rgb.dtype == np.uint8
    assert photo.rgb.shape[2] == 3
    _, same = again(photo)
    assert np.array_equal(same.pixels, photo.pixels)

    changed = photo.pixels.copy()
    changed[5:20, 10:30] = 200 if bits < 16 else 51_234
    _, out = again(photo, changed)
    mask = np.zeros((H, W), bool)
    mask[5:20, 10:30] = True
    assert np.array_equal(out.pixels[~mask], photo.pixels[~mask])
    assert (out.pixels[mask] == out.pixels[5, 10]).all()
    assert (out.form.format, out.mode, out.form.bits) == (photo.form.format, mode, bits)
    if photo.form.palette is None:
        if bits >= 8:
            assert np.array_equal(out.pixels, changed)
    else:
        assert np.array_equal(out.form.palette, photo.form.palette)
        assert np.array_equal(out.form.indices[~mask], photo.form.indices[~mask])


def test_pixels_have_the_values_that_other_libraries_read(open_):
    deep = drawn(3, np.uint16)
    for data in (cv2.imencode(".png", deep[..., ::-1])[1].tobytes(), tiff(deep, photometric="rgb")):
        assert np.array_equal(open_(data).pixels, deep)
    assert np.array_equal(open_(pil(RGBA(), "PNG")).pixels, drawn(4))
    assert np.array_equal(open_(pil(cmyk(), "TIFF")).pixels, drawn(4))
    assert set(np.unique(open_(pil(BILEVEL(), "PNG")).pixels)) == {0, 255}


@hypothesis_settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(LOSSLESS)),
    rows=st.tuples(st.integers(0, H), st.integers(0, H)),
    value=st.integers(0, 65535),
)
def test_no_change_reaches_beyond_its_rows(name, rows, value):
    pixels, form, *_ = formats.decode(LOSSLESS[name][0](), 1e6)
    changed = pixels.copy()
    changed[min(rows) : max(rows)] = value & int(np.iinfo(pixels.dtype).max)
    out, *_ = formats.decode(formats.encode(changed, form), 1e6)
    for part in (slice(0, min(rows)), slice(max(rows), H)):
        assert np.array_equal(out[part], pixels[part])


def test_a_tiff_whose_tags_contradict_each_other_is_broken(open_):
    data = bytearray(tiff(drawn(3, np.uint16), photometric="rgb"))
    planar = tifffile.TiffFile(io.BytesIO(data)).pages[0].tags["PlanarConfiguration"].valueoffset
    data[planar : planar + 2] = b"\4\0"
    with pytest.raises(UnreadableImageError, match="damaged"):
        open_(bytes(data))


def test_indices_of_a_palette_tell_no_more_than_its_colors(open_, again):
    # a picture drawn in entries of one color is not seen, so it is not detected, and could not be hidden
    image = Image.frombytes("P", (4, 1), bytes([0, 1, 2, 3]))
    image.putpalette(bytes([9, 9, 9, 200, 0, 0, 9, 9, 9, 200, 0, 0]))
    photo = open_(pil(image, "PNG", bits=8))
    pixels = photo.pixels.copy()
    pixels[0, 3] = (190, 10, 10)
    _, out = again(photo, pixels)
    assert out.form.indices.tolist() == [[0, 1, 0, 1]]
    assert out.pixels[0, :3].tolist() == photo.pixels[0, :3].tolist()


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_keeps_its_tables_sampling_and_order(subsampling, progressive, bus, open_, again):
    source = Image.open(io.BytesIO(bus)).crop((0, 300, 401, 602))
    photo = open_(pil(source, "JPEG", quality=83, subsampling=subsampling, progressive=progressive, icc_profile=ICC))
    data, out = again(photo)
    before, after = Image.open(photo.source), Image.open(io.BytesIO(data))
    assert after.quantization == before.quantization
    assert JpegImagePlugin.get_sampling(after) == subsampling
    assert bool(after.info.get("progressive")) == progressive
    assert after.info["icc_profile"] == ICC
    difference = np.abs(out.pixels.astype(int) - photo.pixels)
    assert difference.mean() < 0.7
    assert difference.max() <= 24
    assert 0.97 < len(data) / photo.source.stat().st_size < 1.03 + len(ICC) / 1e4


def test_a_change_in_a_jpeg_stays_near_its_place(bus, open_, again):
    photo = open_(bus)
    pixels = photo.pixels.copy()
    pixels[200:400, 200:400] = 0
    _, out = again(photo, pixels)
    far = np.ones(pixels.shape[:2], bool)
    far[176:424, 176:424] = False  # a block of 16 px and the smoothing of its neighbor's chroma
    _, plain = again(photo)
    assert np.array_equal(out.pixels[far], plain.pixels[far])
    assert out.pixels[210:390, 210:390].max() < 12


@pytest.mark.parametrize("options", [{"keep_rgb": True}, {}], ids=["RGB", "YCbCr"])
def test_a_jpeg_stays_in_its_color_space(options, open_, again):
    photo = open_(pil(Image.fromarray(smooth()), "JPEG", quality=90, **options))
    data, out = again(photo)
    assert Image.open(io.BytesIO(data)).info.get("adobe_transform") == (0 if options else None)
    assert np.abs(out.pixels.astype(int) - photo.pixels).max() <= 12


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_gray_and_cmyk_jpegs_stay_so(mode, open_, again):
    photo = open_(pil(Image.fromarray(smooth()).convert(mode), "JPEG", quality=90))
    data, out = again(photo)
    assert Image.open(io.BytesIO(data)).mode == photo.mode == mode
    assert np.abs(out.pixels.astype(int) - photo.pixels).max() <= 8


def test_the_noisiest_progressive_jpeg_is_written(open_, again):
    noise = Image.fromarray(drawn(3, height=700, width=900))
    photo = open_(pil(noise, "JPEG", quality=100, subsampling=0))
    hard = images.Photo(
        photo.pixels,
        photo.sha256,
        formats.replace(photo.form, options={**photo.form.options, "progressive": True}),
    )
    _, out = again(hard)
    assert np.abs(out.pixels.astype(int) - photo.pixels).max() <= 4


@pytest.mark.parametrize("size", [(97, 65), (96, 64)])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF", "WEBP", "PALETTE"])
def test_every_orientation_comes_out_upright(format_, orientation, size, open_, again):
    pixels = smooth(size[1], size[0])
    pixels[:20, :30] = 250  # one corner tells the eight apart
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(pixels)
    source = image.quantize(60) if format_ == "PALETTE" else image
    options = {"JPEG": {"quality": 95, "subsampling": 1}, "WEBP": {"lossless": True}}.get(format_, {})
    data = pil(source, "PNG" if format_ == "PALETTE" else format_, exif=exif, **options)
    seen = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    photo = open_(data)
    assert photo.pixels.shape == seen.shape
    tolerance = 24 if format_ == "JPEG" else 0
    assert np.abs(photo.pixels.astype(int) - seen).max() <= tolerance
    written, out = again(photo)
    assert np.abs(out.pixels.astype(int) - photo.pixels).max() <= tolerance
    assert Image.open(io.BytesIO(written)).getexif().get(0x0112, 1) == 1
    if format_ == "JPEG" and orientation >= 5:
        assert JpegImagePlugin.get_sampling(Image.open(io.BytesIO(written))) == 0  # 4:4:0 cannot be written


def test_the_tables_of_a_turned_jpeg_turn_with_it(open_, again):
    table = list(range(1, 65))
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = open_(pil(Image.fromarray(smooth()), "JPEG", qtables=[table], subsampling=2, exif=exif))
    data, _ = again(photo)
    out = Image.open(io.BytesIO(data))
    assert out.quantization[0] == np.reshape(table, (8, 8)).T.ravel().tolist()
    assert JpegImagePlugin.get_sampling(out) == 2


@pytest.mark.parametrize(("bits", "mode"), [(8, "RGB"), (8, "L"), (8, "RGBA"), (10, "RGB;16"), (12, "RGB;16")])
def test_a_heic_keeps_its_depth_and_chroma(bits, mode, open_, again):
    pixels = smooth()
    if mode == "L":
        pixels = pixels[..., 0]
    elif mode == "RGBA":
        pixels = np.dstack([pixels, pixels[..., 0]])
    elif bits > 8:
        pixels = pixels.astype(np.uint16) * 257
    photo = open_(heic(pixels, mode, quality=70, bit_depth=bits, chroma=444))
    _, out = again(photo)
    assert (photo.form.bits, out.form.bits) == (bits, bits)
    assert out.mode == photo.mode == mode.removesuffix(";16")
    assert out.form.options == photo.form.options
    scale = np.iinfo(pixels.dtype).max / 255
    assert np.abs(out.pixels / scale - photo.pixels / scale).mean() < 1


def test_a_lossy_webp_is_written_finer_than_it_was(bus, open_, again):
    for quality in (40, 90):
        photo = open_(pil(Image.open(io.BytesIO(bus)).crop((0, 300, 400, 600)), "WEBP", quality=quality))
        data, out = again(photo)
        assert b"VP8L" not in data[:64]
        error = np.mean((out.pixels.astype(float) - photo.pixels) ** 2)
        assert 10 * np.log10(255**2 / error) > 42


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF", "WEBP", "HEIC"])
def test_the_color_profile_is_kept(format_, open_, again):
    image = Image.fromarray(smooth())
    data = heic(smooth(), icc_profile=ICC) if format_ == "HEIC" else pil(image, format_, icc_profile=ICC)
    _, out = again(open_(data))
    assert out.form.icc == ICC


def test_a_png_keeps_the_chunks_that_define_its_colors(open_, again):
    made = list(chunks(pil(RGB(), "PNG")))
    color = [(b"gAMA", (45455).to_bytes(4, "big")), (b"sRGB", b"\0"), (b"cHRM", MARKER)]  # a cHRM of another length
    data, _ = again(open_(png([made[0], *color, *made[1:]])))
    kinds = dict(chunks(data))
    assert kinds[b"gAMA"] == color[0][1]
    assert kinds[b"sRGB"] == b"\0"
    assert b"cHRM" not in kinds


# what detectors see


def test_colors_under_transparent_pixels_are_seen(open_, again):
    pixels = drawn(4)
    pixels[..., 3] = 0
    for data in (pil(Image.fromarray(pixels), "PNG"), pil(Image.fromarray(pixels), "WEBP", lossless=True, exact=True)):
        photo = open_(data)
        assert np.array_equal(photo.rgb, pixels[..., :3])
        assert np.array_equal(again(photo)[1].pixels, pixels)
    palette = few(40)
    photo = open_(pil(palette, "PNG", transparency=bytes(40)))
    assert np.array_equal(photo.rgb, np.asarray(palette.convert("RGB")))


def test_detectors_get_eight_bits_of_sixteen_and_colors_of_ink(open_):
    deep = drawn(3, np.uint16)
    assert np.array_equal(open_(cv2.imencode(".png", deep[..., ::-1])[1].tobytes()).rgb, (deep >> 8).astype(np.uint8))
    gray = drawn(dtype=np.uint16)
    assert np.array_equal(open_(pil(GRAY16(), "PNG")).rgb[..., 1], (gray >> 8).astype(np.uint8))
    ink = np.zeros((H, W, 4), np.uint8)
    ink[..., 0] = 255
    cyan = Image.frombytes("CMYK", (W, H), ink.tobytes())
    for icc in (b"", b"no profile", ICC):  # a broken profile, and one that is not for CMYK
        photo = open_(pil(cyan, "TIFF", icc_profile=icc))
        assert photo.rgb[0, 0].tolist() == [0, 255, 255]


def test_pixels_cannot_be_changed_in_place(open_):
    with pytest.raises(ValueError, match="read-only"):
        open_(pil(RGB(), "PNG")).pixels[0, 0] = 1


# metadata


def marked_exif(orientation=1):
    exif = Image.Exif()
    exif[0x010E] = exif[0x013B] = TEXT  # ImageDescription, Artist
    exif[0x0112] = orientation
    exif[0x011A] = exif[0x011B] = TiffImagePlugin.IFDRational(300)
    exif[0x0128] = 2
    exif[0x010F], exif[0x0110], exif[0x8298], exif[0x0132] = "Make", "Model", "© Käse", "2026:01:02 03:04:05"
    exif[0x8769] = {
        0x9003: "2026:01:02 03:04:05", 0x829A: TiffImagePlugin.IFDRational(1, 250), 0x829D: 2.8, 0x8827: 400,
        0x920A: TiffImagePlugin.IFDRational(35), 0xA405: 52, 0x927C: MARKER, 0x9286: MARKER, 0xA431: TEXT,
    }  # fmt: skip
    exif[0x8825] = {1: "N", 2: (1.0, 2.0, 3.0), 0x1D: TEXT, 0x1C: MARKER}
    return exif


def marked(format_, bus):
    """A photo that carries the marker in every place that we know of."""
    exif, xmp = marked_exif(), b"<x:xmpmeta>" + MARKER + b"</x:xmpmeta>"
    image = Image.open(io.BytesIO(bus)).crop((0, 0, 200, 160))
    if format_ == "JPEG":
        thumbnail = pil(image.resize((40, 30)), "JPEG", comment=MARKER)
        block = exif.tobytes() + thumbnail
        segments = [(b"\xed", b"Photoshop 3.0\0" + MARKER), (b"\xe2", b"MPF\0" + MARKER), (b"\xe5", MARKER)]
        extra = b"".join(b"\xff" + k + (len(v) + 2).to_bytes(2, "big") + v for k, v in segments)
        return pil(image, "JPEG", exif=block, xmp=xmp, comment=MARKER, extra=extra, dpi=(300, 300)) + thumbnail
    if format_ == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_text("Comment", TEXT)
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        info.add_text("Author", TEXT, zip=True)
        info.add(b"prVt", MARKER)
        info.add(b"prVu", MARKER, after_idat=True)
        made = list(chunks(pil(image, "PNG", exif=exif, pnginfo=info, dpi=(300, 300))))
        profile = (b"iCCP", MARKER + b"\0\0" + zlib.compress(ICC))  # a profile's name is free text, too
        return png([made[0], profile, (b"tIME", b"\x07\xea\1\2\3\4\5"), *made[1:]]) + MARKER
    if format_ == "TIFF":
        info = TiffImagePlugin.ImageFileDirectory_v2()
        for tag in (270, 305, 315, 316, 269, 285):
            info[tag] = TEXT
        for tag in (700, 33723, 34377, 37510, 65000):
            info[tag] = MARKER
            info.tagtype[tag] = 7
        for tag in (0x010F, 0x0110, 0x8298, 0x0132):
            info[tag] = exif[tag]
        info[0x8769], info[0x8825] = exif[0x8769], exif[0x8825]
        return pil(image, "TIFF", tiffinfo=info, dpi=(300, 300)) + MARKER
    if format_ == "WEBP":
        data = pil(image, "WEBP", exif=exif, xmp=xmp, quality=80)
        data += b"MINE" + len(MARKER).to_bytes(4, "little") + MARKER
        return data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:]
    if format_ == "HEIC":
        return heic(np.asarray(image), exif=exif.tobytes(), xmp=xmp) + MARKER
    assert format_ == "BMP"
    data = pil(image, "BMP", dpi=(300, 300))
    start = int.from_bytes(data[10:14], "little")  # a gap before the pixels and a trailer behind them
    return data[:10] + (start + 16).to_bytes(4, "little") + data[14:start] + MARKER + data[start:] + MARKER


FORMATS = ["JPEG", "PNG", "TIFF", "WEBP", "HEIC", "BMP"]


@pytest.mark.parametrize("keep", [(), SAFE_METADATA], ids=["none", "all"])
@pytest.mark.parametrize("format_", FORMATS)
def test_nothing_hidden_in_the_file_comes_out(format_, keep, bus, open_, again):
    source = marked(format_, bus)
    assert MARKER in source
    photo = open_(source)
    data, out = again(photo, settings=SETTINGS.replace(keep_metadata=keep))
    assert MARKER not in data
    assert not {"GPS position", "maker note", "comment", "XMP", "IPTC", "thumbnail"} & set(out.removed_metadata)
    if format_ == "PNG":
        allowed = {b"IHDR", b"iCCP", b"IDAT", b"IEND"} | ({b"eXIf", b"pHYs"} if keep else set())
        assert {kind for kind, _ in chunks(data)} <= allowed
    if not keep:
        assert out.removed_metadata == () or format_ == "TIFF"  # a TIFF is made of tags
        assert not out.form.fields
        assert out.form.dpi is None


@pytest.mark.parametrize("format_", FORMATS[:-1])
def test_the_fields_that_are_asked_for_are_kept_and_no_others(format_, bus, open_, again):
    photo = open_(marked(format_, bus))
    full = {
        0x8298: "© Käse".encode(), 0x0132: "2026:01:02 03:04:05", 0x9003: "2026:01:02 03:04:05", 0x829A: 1 / 250,
        0x829D: 2.8, 0x8827: 400, 0x920A: 35, 0xA405: 52, 0x010F: b"Make", 0x0110: b"Model",
    }  # fmt: skip
    if photo.form.fields[0x8298] == "© Käse".encode("ascii", "replace"):
        full[0x8298] = b"? K?se"  # what Pillow made of the test's text
    assert {t: pytest.approx(v) if isinstance(v, float) else v for t, v in full.items()} == dict(photo.form.fields)
    for name in SAFE_METADATA:
        _, out = again(photo, settings=SETTINGS.replace(keep_metadata=(name,)))
        assert set(out.form.fields) == {t for t in metadata.TAGS[name] if t in full}, name
        assert all(out.form.fields[t] == full[t] or abs(out.form.fields[t] - full[t]) < 1e-6 for t in out.form.fields)
        wanted = (300, 300) if name == "resolution" else None
        assert out.form.dpi == (pytest.approx(wanted, abs=0.1) if wanted else None)
    _, out = again(photo, settings=SETTINGS.replace(keep_metadata=SAFE_METADATA))
    assert set(out.form.fields) == set(full)


def test_compressed_tiffs_keep_the_fields_of_their_first_directory(bus, open_, again):
    photo = open_(marked("TIFF", bus))
    form = formats.replace(photo.form, options={"compression": "tiff_lzw", "predictor": True})
    photo = images.Photo(photo.pixels, photo.sha256, form)
    data, out = again(photo, settings=SETTINGS.replace(keep_metadata=SAFE_METADATA))
    assert set(out.form.fields) == {0x8298, 0x0132, 0x010F, 0x0110}
    assert out.form.dpi == (300, 300)
    assert out.form.options == form.options
    assert MARKER not in data


def test_deep_tiffs_keep_the_fields_of_their_first_directory(open_, again):
    tags = [(0x8298, 2, 0, b"Me", True), (270, 2, 0, MARKER, True)]
    photo = open_(tiff(drawn(3, np.uint16), photometric="rgb", extratags=tags, resolution=(300, 300)))
    data, out = again(photo, settings=SETTINGS.replace(keep_metadata=("copyright", "resolution")))
    assert dict(out.form.fields) == {0x8298: b"Me"}
    assert out.form.dpi == (300, 300)
    assert MARKER not in data


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_fields_of_the_wrong_type_are_not_kept():
    exif = Image.Exif()
    exif[0x0132] = "yesterday " + TEXT
    exif[0x010F] = "line\nline"
    exif[0x0110] = "x" * 501
    exif[0x8769] = {0x829A: TiffImagePlugin.IFDRational(1, 0), 0x8827: 0, 0x829D: "f/2"}
    assert metadata.read(exif) == {}
    assert metadata.read(metadata.parse(b"Exif\0\0II*\0\xff\xff\xff\xff" + MARKER)) == {}


def test_what_is_dropped_has_names(bus, open_):
    names = open_(marked("JPEG", bus)).removed_metadata
    assert {"EXIF", "GPS position", "maker note", "XMP", "comment"} <= set(names)
    assert open_(pil(Image.fromarray(smooth()), "JPEG")).removed_metadata == ()


@pytest.mark.parametrize("make", [RGB, gray_alpha_png16], ids=["8 bits", "16 bits"])
def test_what_a_pngs_chunks_carry_has_names(make, open_):
    made = make()
    plain = made if isinstance(made, bytes) else pil(made, "PNG")
    assert open_(plain).removed_metadata == ()
    first, *rest, end = chunks(plain)
    texts = [
        (b"tEXt", b"Comment\0of a dark street"), (b"zTXt", b"Author\0\0" + zlib.compress(b"me")), (b"tEXt", b"\n\0x"),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x/>"), (b"tIME", b"\x07\xea\1\2\3\4\5"), (b"prVt", b"mine"),
    ]  # fmt: skip
    names = ("comment", "text “Author”", "text", "XMP", "date of change", "further data")
    for data in (png([first, *texts, *rest, end]), png([first, *rest, *texts, end])):
        assert set(open_(data).removed_metadata) == set(names)


def test_resolution_turns_with_the_photo(open_, again):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = open_(pil(Image.fromarray(smooth()), "JPEG", exif=exif, dpi=(300, 72)))
    data, _ = again(photo, settings=SETTINGS.replace(keep_metadata=("resolution",)))
    assert Image.open(io.BytesIO(data)).info["dpi"] == (72, 300)


def test_of_several_pictures_in_a_jpeg_only_the_first_is_written(open_, again):
    first, second = Image.fromarray(smooth()), Image.fromarray(drawn(3, height=64, width=96))
    source = pil(first, "MPO", save_all=True, append_images=[second])
    assert Image.open(io.BytesIO(source)).n_frames == 2
    photo = open_(source)
    data, _ = again(photo)
    assert "further pictures" in photo.removed_metadata
    assert data.count(b"\xff\xd8\xff") == 1
    assert b"MPF" not in data


# bad input


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "empty"),
        (b"I am a text\n" * 50, "not an image"),
        (b"\xff\xd8\xff", "damaged"),
        (b"BM" + bytes(60), "no pixels"),
    ],
)
def test_what_is_no_image_is_refused(data, sentence, open_):
    with pytest.raises(UnreadableImageError, match=sentence):
        open_(data, name="photo.jpg")


@pytest.mark.parametrize("tolerant", [False, True])
@pytest.mark.parametrize("format_", [*FORMATS, "PNG16", "TIFF16", "WEBP lossless"])
def test_a_truncated_file_is_refused(format_, tolerant, bus, open_, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", tolerant)  # as some packages do
    image = Image.open(io.BytesIO(bus)).crop((0, 300, 300, 600))
    deep = np.asarray(image).astype(np.uint16) * 257
    make = {
        "HEIC": lambda: heic(np.asarray(image)),
        "PNG16": lambda: cv2.imencode(".png", deep)[1].tobytes(),
        "TIFF16": lambda: tiff(deep, photometric="rgb"),
        "WEBP lossless": lambda: pil(image, "WEBP", lossless=True),
    }
    data = make[format_]() if format_ in make else pil(image, format_)
    open_(data)
    for part in (0.3, 0.6, 0.9):
        with pytest.raises(UnreadableImageError, match=r"\w"):
            open_(data[: int(len(data) * part)])


def test_a_deep_png_whose_pixels_end_early_is_refused(open_):
    made = dict(chunks(cv2.imencode(".png", drawn(3, np.uint16, height=4, width=4))[1].tobytes()))
    short = [(b"IHDR", made[b"IHDR"]), (b"IDAT", made[b"IDAT"][:40]), (b"IEND", b"")]
    with pytest.raises(UnreadableImageError, match="damaged"):
        open_(png(short))


def test_a_bomb_is_refused_before_it_is_decoded(open_):
    side = (60_000).to_bytes(4, "big")
    bombs = [
        png([(b"IHDR", side + side + bytes([8, 2, 0, 0, 0])), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]),
        b"BM" + bytes(8) + b"\x36\0\0\0\x28\0\0\0" + side[::-1] * 2 + b"\1\0\x18\0" + bytes(24),
    ]  # fmt: skip
    limit = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + 200_000
    for data in bombs:
        with pytest.raises(ImageTooLargeError, match=r"3600\.0 megapixels"):
            open_(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < limit
    with pytest.raises(ImageTooLargeError, match=r"limit is 0\.1"):
        open_(pil(Image.new("RGB", (400, 300)), "JPEG"), SETTINGS.replace(max_megapixels=0.1))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF"])
def test_the_limit_is_ours_not_pillows(format_, open_, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    monkeypatch.setattr(forms, "_BAND", 400)
    assert open_(pil(GRAY(), format_)).width == W


@pytest.mark.parametrize(
    "make",
    [
        lambda a: pil(a[0], "TIFF", save_all=True, append_images=a[1:]),
        lambda a: pil(a[0], "PNG", save_all=True, append_images=a[1:]),
        lambda a: pil(a[0], "PNG", save_all=True, append_images=a[1:], default_image=True),
        lambda a: pil(a[0], "WEBP", save_all=True, append_images=a[1:], lossless=True),
        lambda a: pil(a[0], "GIF", save_all=True, append_images=a[1:]),
        lambda a: tiff(drawn(3).astype(np.float32), photometric="rgb"),
        lambda a: tiff(drawn().astype(np.int32)),
    ],
    ids=["pages", "apng", "apng default", "webp", "gif", "float", "32 bit"],
)
def test_a_form_that_cannot_be_kept_is_refused(make, open_):
    frames = [Image.fromarray(drawn(3, seed=i)) for i in range(3)]
    with pytest.raises(UnsupportedImageError, match=r"hidden|not read"):
        open_(make(frames))


def test_of_several_pictures_in_a_heic_only_the_primary_one_is_written(open_, again):
    file = pillow_heif.HeifFile()
    for color in (40, 200):
        file.add_from_pillow(Image.new("RGB", (64, 64), (color,) * 3))
    for primary, color in ((0, 40), (1, 200)):
        out = io.BytesIO()
        file.save(out, primary_index=primary)
        photo = open_(out.getvalue())
        assert photo.warnings == ("first-picture-only",)
        assert "further pictures" in photo.removed_metadata
        assert abs(int(photo.pixels.mean()) - color) <= 2
        data, written = again(photo)
        assert written.warnings == ()
        assert len(pillow_heif.open_heif(io.BytesIO(data))) == 1


def test_what_is_not_there_or_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    for name, sentence in (("none.jpg", "not there"), ("pipe.jpg", "regular"), ("folder.jpg", "folder")):
        with pytest.raises(UnreadableImageError, match=sentence):
            images.load(tmp_path / name, SETTINGS)
        with pytest.raises(UnreadableImageError):
            images.sha256(tmp_path / name)
        assert images.count_pixels(tmp_path / name) == 0


@pytest.fixture
def nobody():
    """A folder that everyone may enter, and for its user no rights but everybody's (root reads mode 000)."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    is_root = os.geteuid() == 0
    yield folder, (lambda: os.seteuid(65534)) if is_root else (lambda: None)
    if is_root:
        os.seteuid(0)
    for path in folder.rglob("*"):
        path.chmod(0o700)
    shutil.rmtree(folder)


def test_a_file_that_may_not_be_read_is_refused(nobody):
    folder, drop = nobody
    path = folder / "photo.png"
    path.write_bytes(pil(RGB(), "PNG"))
    path.chmod(0)
    drop()
    with pytest.raises(UnreadableImageError, match="may not be read"):
        images.load(path, SETTINGS)
    with pytest.raises(UnreadableImageError, match="may not be read"):
        images.sha256(path)


def test_a_folder_that_may_not_be_written_is_an_error(nobody, open_):
    folder, drop = nobody
    photo = open_(pil(RGB(), "PNG"))
    photo = images.Photo(photo.pixels, photo.sha256, photo.form)
    folder.chmod(0o555)
    drop()
    for target in (folder / "photo.png", folder / "new" / "photo.png"):
        with pytest.raises(WriteError, match="Permission denied"):
            images.save(photo, photo.pixels, target)


# hash, size, writing


def test_the_hash_and_the_size_are_those_of_the_file(bus, open_):
    photo = open_(bus)
    assert photo.sha256 == images.sha256(photo.source) == hashlib.sha256(bus).hexdigest()
    assert images.count_pixels(photo.source) == photo.width * photo.height == 810 * 1080


def test_content_decides_the_format_not_the_name(open_, again):
    data, _ = again(open_(pil(RGB(), "PNG"), name="photo.jpg"))
    assert data.startswith(b"\x89PNG")


def test_an_existing_output_stays_whole_when_the_disk_is_full(tmp_path, open_):
    photo = open_(pil(RGB(), "BMP"))
    target = tmp_path / "out" / "photo.bmp"
    images.save(photo, photo.pixels, target)
    before = target.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
    try:
        for path in (target, tmp_path / "out" / "other.bmp"):
            with pytest.raises(WriteError, match="could not be written"):
                images.save(photo, 255 - photo.pixels, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert target.read_bytes() == before
    assert os.listdir(target.parent) == ["photo.bmp"]


def test_a_full_disk_leaves_nothing(tmp_path, open_):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a tmpfs may not be mounted here")
    try:
        for make in (lambda: pil(Image.fromarray(drawn(3, height=100, width=100)), "JPEG", quality=100),
                     lambda: pil(Image.fromarray(drawn(3, height=100, width=100)), "PNG")):  # fmt: skip
            photo = open_(make())
            with pytest.raises(WriteError, match="No space left"):
                images.save(photo, photo.pixels, disk / "photo")
            assert os.listdir(disk) == []
        small = open_(pil(GRAY(), "PNG"))
        images.save(small, small.pixels, disk / "photo")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_write_that_came_out_wrong_does_not_stand(tmp_path, open_, monkeypatch):
    photo = open_(pil(RGB(), "PNG"))
    other = pil(Image.fromarray(drawn(3, height=9, width=9)), "PNG")
    for wrong, sentence in ((other, "9 x 9"), (b"junk", "cannot be opened")):
        monkeypatch.setattr(formats, "encode", lambda *_, wrong=wrong: wrong)
        with pytest.raises(WriteError, match=sentence):
            images.save(photo, photo.pixels, tmp_path / "out" / "photo.png")
        assert os.listdir(tmp_path / "out") == []


def test_pixels_of_another_shape_or_depth_are_refused(tmp_path, open_):
    photo = open_(pil(RGB(), "PNG"))
    for pixels in (photo.pixels[:-1], photo.pixels.astype(np.uint16), photo.pixels[..., 0]):
        with pytest.raises(WriteError, match="received"):
            images.save(photo, pixels, tmp_path / "photo.png")


def test_a_source_is_never_overwritten(tmp_path, open_):
    photo = open_(pil(RGB(), "PNG"))
    before = photo.source.read_bytes()
    (tmp_path / "link").symlink_to(photo.source)
    os.link(photo.source, tmp_path / "hard")
    for target in (photo.source, tmp_path / "link", tmp_path / "hard"):
        with pytest.raises(WriteError, match="own source"):
            images.save(photo, photo.pixels, target)
    assert photo.source.read_bytes() == before


def test_a_new_file_has_the_rights_that_the_umask_gives(tmp_path, open_):
    photo = open_(pil(RGB(), "PNG"))
    before = os.umask(0o027)
    try:
        images.save(photo, photo.pixels, tmp_path / "photo.png")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "photo.png").stat().st_mode) == 0o640


def test_names_of_every_kind_are_written(tmp_path, open_):
    photo = open_(pil(RGB(), "PNG"))
    for raw in (b"-rf", b"a\nb.png", b"\xff\xfe.png", b"x" * 251 + b".png"):
        target = tmp_path / "out" / os.fsdecode(raw)
        images.save(photo, photo.pixels, target)
        assert np.array_equal(images.load(target, SETTINGS).pixels, photo.pixels)
    assert len(os.listdir(tmp_path / "out")) == 4


def test_what_a_killed_run_left_is_removed(tmp_path):
    (tmp_path / "a").mkdir()
    for name in (".anonymize-0123456789abcdef.tmp", "a/.anonymize-x.tmp", "a/photo.tmp"):
        (tmp_path / name).write_bytes(b"half")
    assert disk.remove_leftovers(tmp_path) == 2
    assert [p.name for p in tmp_path.rglob("*.tmp")] == ["photo.tmp"]
