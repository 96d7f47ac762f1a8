"""A JPEG is read whole or refused, whatever surrounds its picture; libjpeg-turbo's warnings decide."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image, JpegImagePlugin

from anonymize.errors import UnreadableImageError, UnsupportedImageError
from anonymize.images import formats, segments
from tests.support import jpegs

H, W = 240, 320
EOI = b"\xff\xd9"


def picture(seed=0):
    """Smooth with some noise, as photos are: a damage that changes nothing visible is rare in it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:H, :W]
    base = np.stack([128 + 90 * np.sin(x / 17 + seed), 128 + 90 * np.cos(y / 23), (x + y) * 255 / (H + W)], 2)
    return np.clip(base + rng.normal(0, 12, base.shape), 0, 255).astype(np.uint8)


def made(mode="RGB", **options):
    image = Image.fromarray(picture())
    out = io.BytesIO()
    image.convert(mode).save(out, "JPEG", **{"quality": 85, **options})
    return out.getvalue()


def ycck(data):
    at = data.index(b"Adobe") + 11
    return data[:at] + b"\2" + data[at + 1 :]


KINDS = {
    "baseline 4:2:0": lambda: made(),
    "baseline 4:2:2": lambda: made(subsampling=1),
    "baseline 4:4:4": lambda: made(subsampling=0),
    "progressive": lambda: made(progressive=True),
    "progressive gray": lambda: made("L", progressive=True),
    "restart markers": lambda: made(restart_marker_blocks=7),
    "optimized": lambda: made(optimize=True),
    "gray": lambda: made("L"),
    "CMYK": lambda: made("CMYK"),
    "YCCK": lambda: ycck(made("CMYK")),
    "RGB": lambda: made(keep_rgb=True),
    "finest": lambda: made(quality=100),
}


def decode(data):
    return formats.decode(data, 1e7)


def scan(data):
    """Where the first scan's data begins."""
    at = data.index(b"\xff\xda")
    return at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")


def segment(marker, body):
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_the_pixels_tables_and_sampling_that_pillow_reads(kind):
    data = KINDS[kind]()
    pixels, form, _, _ = decode(data)
    image = Image.open(io.BytesIO(data))
    assert np.array_equal(pixels, np.asarray(image))
    assert form.mode == image.mode
    assert form.options["progressive"] == bool(image.info.get("progressive"))
    assert form.options["sampling"] == tuple((h, v) for _, h, v, _ in image.layer)
    each = [image.quantization[t] for *_, t in image.layer]
    assert form.options["qtables"] == [list(t) for i, t in enumerate(each) if i == 0 or t != each[i - 1]]
    assert formats.size(data) == image.size


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_end_marker_is_no_damage(kind):
    data = KINDS[kind]()
    whole = decode(data).pixels
    for cut in (
        data[:-2],
        data[:-1],
        data[:-2] + bytes(5000),
        data[:-2] + EOI + bytes(512),
        data[:-2] + b"\xff\xff" + EOI,
    ):
        assert np.array_equal(decode(cut).pixels, whole)


def test_a_picture_without_its_end_marker_ends_where_another_begins():
    first, second = made(), made("L")
    read = decode(first[:-2] + second)
    assert np.array_equal(read.pixels, decode(first).pixels)
    assert "further pictures" in read.removed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_jpeg_that_is_cut_is_refused_also_when_it_is_filled_up(kind, share):
    data = KINDS[kind]()
    cut = data[: scan(data) + int((len(data) - scan(data)) * share)].rstrip(b"\xff")
    for bad in (cut, cut + EOI, cut + bytes(len(data)), cut + bytes(len(data)) + EOI, cut + b"\xff" * 4000):
        with pytest.raises(UnreadableImageError, match=r"cut off|damaged"):
            decode(bad)


@pytest.mark.parametrize("kind", [k for k in KINDS if "progressive" not in k])
def test_the_share_that_can_be_read_is_said(kind):
    data = KINDS[kind]()
    for share in (0.25, 0.75):
        cut = data[: scan(data) + int((len(data) - scan(data)) * share)].rstrip(b"\xff")
        with pytest.raises(UnreadableImageError, match=r"only the upper (\d+)% of it can be read") as caught:
            decode(cut)
        said = int(str(caught.value).split("upper ")[1].split("%")[0]) / 100
        assert abs(said - share) < 0.2


def test_of_a_progressive_one_a_coarse_version_can_be_read():
    data = made(progressive=True)
    with pytest.raises(UnreadableImageError, match="coarse version"):
        decode(data[: len(data) // 2])


@hypothesis_settings(max_examples=80, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    place=st.floats(0, 1),
    noise=st.binary(min_size=64, max_size=64),
)
def test_bytes_that_are_overwritten_are_damage_or_leave_a_picture_in_range(kind, place, noise):
    """What stays in step and in range cannot be told from a picture: those are few, and counted below."""
    data = KINDS[kind]()
    at = scan(data) + int((len(data) - scan(data) - 66) * place)
    bad = data[:at] + noise + data[at + 64 :]
    try:
        read = decode(bad)
    except (UnreadableImageError, UnsupportedImageError):
        return
    assert read.pixels.shape[:2] == (H, W)


@pytest.mark.parametrize(("kind", "most"), [("baseline 4:2:0", 14), ("baseline 4:4:4", 3), ("progressive", 4)])
def test_most_overwritten_bytes_are_found(kind, most):
    """Of 80. libjpeg-turbo alone says nothing of two in five."""
    data, rng, missed = KINDS[kind](), np.random.default_rng(0), 0
    for _ in range(80):
        at = int(rng.integers(scan(data), len(data) - 70))
        noise = rng.integers(0, 255, 64, dtype=np.uint8).tobytes()
        try:
            decode(data[:at] + noise + data[at + 64 :])
            missed += 1
        except (UnreadableImageError, UnsupportedImageError):
            pass
    assert missed <= most


def extremes():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64]
    yield "noise", rng.integers(0, 2, (64, 64))
    yield "coarse noise", rng.integers(0, 2, (32, 32)).repeat(2, 0).repeat(2, 1)
    yield "checks", (x + y) % 2
    yield "stripes", x // 3 % 2
    yield "dots", (x % 4 == 0) & (y % 4 == 0)
    yield "halves", y < 27


@pytest.mark.parametrize(("name", "pattern"), list(extremes()), ids=[name for name, _ in extremes()])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_what_fills_the_range_is_not_damaged(name, pattern, subsampling):
    for color in ((1, 1, 1), (1, 0, 0), (0, 0, 1), (0, 1, 0)):
        for quality in (1, 5, 30, 60, 75, 85, 90, 92, 94, 96, 98, 99, 100):
            pixels = (pattern[..., None] * np.array(color) * 255).astype(np.uint8)
            out = io.BytesIO()
            Image.fromarray(pixels).save(out, "JPEG", quality=quality, subsampling=subsampling)
            assert decode(out.getvalue()).pixels.shape == (64, 64, 3), (color, quality)


def test_broken_metadata_refuses_nothing():
    data = made()
    whole = decode(data).pixels
    broken = [
        segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"), segment(0xE1, b"Exif\0\0"), segment(0xE1, b""),
        segment(0xE2, b"ICC_PROFILE\0\1\2broken"), segment(0xE2, b"MPF\0II*\0\xff\xff\xff\xff"),
        segment(0xED, b"Photoshop 3.0\x008BIM\4\4"), segment(0xEE, b"Adobe"), segment(0xFE, b"\xff\xd9 \xff\xda"),
        segment(0xE0, b"JFXX\0\x13"), segment(0xEF, b"\xff" * 60_000), b"\xff\x01",
    ]  # fmt: skip
    for extra in [*broken, b"".join(broken)]:
        read = decode(data[:2] + extra + data[2:])
        assert np.array_equal(read.pixels, whole)


def test_a_strange_header_changes_no_pixel():
    data = made()
    whole = decode(data).pixels
    jfif = data.index(b"JFIF\0")
    sos = scan(data) - 3
    odd = [
        data[: jfif + 5] + b"\x09\x09" + data[jfif + 7 :],  # a JFIF of the future
        data[:sos] + b"\0\0\0" + data[sos + 3 :],  # no coefficients, says the scan
    ]
    for bad in odd:
        assert np.array_equal(decode(bad).pixels, whole)


def test_a_video_frame_without_tables_of_codes_has_the_usual_ones():
    data = made()
    assert np.array_equal(
        decode(data[: data.index(b"\xff\xc4")] + data[data.index(b"\xff\xda") :]).pixels, decode(data).pixels
    )


def test_an_orientation_survives_broken_neighbors():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = made(exif=exif)
    assert decode(data[:2] + segment(0xE1, b"junk") + data[2:]).pixels.shape == (W, H, 3)


def test_scans_without_end_are_refused_at_once():
    data = made("L", progressive=True)
    first = data.index(b"\xff\xda")
    end = data.index(b"\xff\xda", first + 2)
    bomb = data[:first] + data[first:end] * 5000 + EOI
    with pytest.raises(UnsupportedImageError, match="more than 100 scans"):
        decode(bomb)
    assert len(list(segments._segments(data))) < 40


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"), "12 bits"),
        (lambda d: d.replace(b"\xff\xc0\0\x11", b"\xff\xc3\0\x11"), "process 3"),
        (lambda d: d.replace(b"\xff\xc0\0\x11", b"\xff\xc5\0\x11"), "process 5"),
        (lambda d: d[: d.index(b"\xff\xdb")] + d[d.index(b"\xff\xc0") :], "damaged"),
        (lambda d: d[: d.index(b"\xff\xc0") + 3], "header is missing"),
        (lambda d: d[:2] + d, "begins twice"),
    ],
)
def test_what_is_no_ordinary_jpeg_is_said(change, sentence):
    with pytest.raises((UnreadableImageError, UnsupportedImageError), match=sentence):
        decode(change(made()))


def test_tables_that_a_jpeg_defines_late_are_the_ones_that_are_kept():
    data = made(qtables=[list(range(1, 65))])
    first, sof = data.index(b"\xff\xdb"), data.index(b"\xff\xc0")
    table = data[first : first + 69]
    late = data[:first] + data[first + 69 : sof] + data[sof : sof + 19] + table + data[sof + 19 :]
    assert decode(late).form.options["qtables"] == decode(data).form.options["qtables"]
    assert JpegImagePlugin.get_sampling(Image.open(io.BytesIO(data))) == 2


def test_a_subsampling_that_the_decoder_does_not_know_is_not_called_damage():
    data = jpegs.encode(jpegs.picture((64, 64)), ("YCbCr", ((4, 2), (1, 1), (1, 1))))
    with pytest.raises(UnsupportedImageError, match="subsampling"):
        decode(data)
