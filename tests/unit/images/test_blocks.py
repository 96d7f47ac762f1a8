"""A JPEG's blocks: kept bit by bit where nothing is hidden, made of the new pixels alone where something is."""

import io
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import jpegio
import numpy as np
import pytest
from PIL import Image

from anonymize import effects, images, masks
from anonymize.audit import containers
from anonymize.images import blocks, formats, forms, segments
from anonymize.images.formats import ENCODED_ANEW
from anonymize.regions import Region
from anonymize.settings import Settings
from tests.support import jpegs

NO_FEATHER = "0,0,0"
HIDING = Settings().with_kind("plate", effect="solid", fill="20c040")


def load(tmp_path, data, settings=HIDING):
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    return images.load(path, settings)


def plate(*box):
    return Region("plate", box, 0.9, "test")


def hide(photo, regions, settings=HIDING):
    """What an export writes, where it changed something, and the pixels that it should show."""
    pixels = effects.apply(photo.pixels, regions, settings, mode=photo.mode)
    where = masks.changed(regions, settings, photo.width, photo.height)
    data, is_anew = images.encode(photo, pixels, settings, where)
    return data, where, pixels, is_anew


def coefficients(data):
    return blocks.read(formats.decode(data, 1e9).form.options["source"])


def touched(photo, where):
    source = photo.form.options["source"]
    return [blocks._touched(where, p, step) for p, step in zip(blocks.read(source), source.steps, strict=True)]


@pytest.mark.parametrize("progressive", [False, True], ids=["baseline", "progressive"])
@pytest.mark.parametrize("size", [(96, 64), (83, 61)])
@pytest.mark.parametrize("kind", jpegs.KINDS)
def test_a_photo_without_a_region_keeps_every_coefficient(tmp_path, kind, size, progressive):
    photo = load(tmp_path, jpegs.make(kind, size, progressive=progressive))
    data, *_, is_anew = hide(photo, [])
    again = formats.decode(data, 1e9)
    assert not is_anew
    assert np.array_equal(again.pixels, photo.pixels)
    for new, old in zip(coefficients(data), blocks.read(photo.form.options["source"]), strict=True):
        assert np.array_equal(new, old)
    assert again.form.options["progressive"] == progressive
    assert again.form.options["qtables"] == photo.form.options["qtables"]
    assert again.form.options["sampling"] == photo.form.options["sampling"] or photo.mode == "L"
    assert containers.check(data) == []


@pytest.mark.parametrize("kind", jpegs.KINDS)
def test_only_blocks_that_something_hidden_touches_change(tmp_path, kind):
    photo = load(tmp_path, jpegs.make(kind, (131, 117), progressive=kind == "420"))
    data, where, pixels, is_anew = hide(photo, [plate(20, 20, 50, 40), plate(118, 100, 131, 117)])
    assert not is_anew
    new, old = coefficients(data), blocks.read(photo.form.options["source"])
    for a, b, at in zip(new, old, touched(photo, where), strict=True):
        a, b = jpegs.cells(a), jpegs.cells(b)
        assert np.array_equal(a[~at], b[~at])
        assert at.any()
        assert not at.all()
        assert not np.array_equal(a[at], b[at])
    shown = formats.decode(data, 1e9).pixels.astype(int)
    middle = (slice(25, 35), slice(25, 45))
    assert np.abs(shown[middle] - pixels[middle]).max() < 12


@pytest.mark.parametrize("kind", jpegs.KINDS)
def test_touched_blocks_come_from_the_new_pixels_alone(tmp_path, kind):
    """Everything else in them may be anything: the same bytes come out."""
    photo = load(tmp_path, jpegs.make(kind, (99, 90)))
    _, where, pixels, _ = hide(photo, [plate(30, 33, 61, 52)])
    written = set()
    for seed in range(3):
        rng = np.random.default_rng(seed)
        with blocks._file(photo.form.options["source"].file) as path:
            other = jpegio.read(path)
        for plane, at in zip(other.coef_arrays, touched(photo, where), strict=True):
            jpegs.cells(plane)[at] = rng.integers(-9, 10, (at.sum(), 8, 8)) * seed
        other.optimize_coding = True
        with blocks._file() as path:
            other.write(path)
            changed = replace(photo.form.options["source"], file=Path(path).read_bytes())
        written.add(blocks.write(changed, pixels, where))
    assert len(written) == 1


def test_whatever_is_hidden_the_same_bytes_are_written(tmp_path):
    """From files to files: two photos that differ only in blocks which are hidden whole."""
    settings = HIDING.with_kind("plate", effect="solid", padding=0.0, kernel=NO_FEATHER)
    rng, written = np.random.default_rng(1), set()
    base = jpegs.picture((128, 96))
    for _ in range(3):
        pixels = base.copy()
        pixels[32:64, 48:96] = rng.integers(0, 256, (32, 48, 3))
        photo = load(tmp_path, jpegs.encode(pixels, jpegs.KINDS["444"]), settings)
        written.add(hide(photo, [plate(48, 32, 96, 64)], settings)[0])
    assert len(written) == 1


def test_a_color_that_is_already_there_is_written_all_the_same(tmp_path):
    """Which blocks are made anew says nothing of what was in them."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    photo = load(tmp_path, jpegs.encode(pixels, jpegs.KINDS["420"]), Settings().with_kind("plate", effect="solid"))
    assert masks.changed([plate(20, 20, 40, 40)], HIDING, 64, 64)[0][1].any()
    data, where, *_ = hide(photo, [plate(20, 20, 40, 40)], Settings().with_kind("plate", effect="solid"))
    assert all(at.any() for at in touched(photo, where))
    assert np.array_equal(formats.decode(data, 1e9).pixels, photo.pixels)


@pytest.mark.parametrize("turn", [1, 6])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_file_with_the_standards_tables_keeps_these_and_another_gets_its_own(tmp_path, mode, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    picture, files = Image.fromarray(jpegs.picture((96, 64))).convert(mode), {}
    for optimized in (False, True):
        picture.save(tmp_path / "came.jpg", optimize=optimized, exif=exif)
        files[optimized], *_, is_anew = hide(load(tmp_path, (tmp_path / "came.jpg").read_bytes()), [])
        assert not is_anew
        with blocks._file(files[optimized]) as path:
            assert blocks._is_standard(jpegio.read(path)) == (not optimized)
    for a, b in zip(coefficients(files[False]), coefficients(files[True]), strict=True):
        assert np.array_equal(a, b)
    assert len(files[True]) < len(files[False])


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["444", "420", "422", "gray"])
def test_a_turned_photo_is_turned_by_its_coefficients(tmp_path, kind, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    data = jpegs.with_exif(jpegs.make(kind, (96, 64)), exif)
    photo = load(tmp_path, data)
    assert photo.warnings == ()
    out, *_, is_anew = hide(photo, [])
    again = formats.decode(out, 1e9)
    assert not is_anew
    assert (again.pixels.shape[1], again.pixels.shape[0]) == ((64, 96) if turn >= 5 else (96, 64))
    # The decoder rounds rows before columns, so a turned picture may differ by one step.
    assert np.abs(again.pixels.astype(int) - photo.pixels).max() <= 3
    back = {5: 5, 6: 8, 7: 7, 8: 6}.get(turn, turn)  # the turn that undoes it
    stored = blocks.read(formats.decode(jpegs.make(kind, (96, 64)), 1e9).form.options["source"])
    for new, old in zip(coefficients(out), stored, strict=True):
        assert np.array_equal(blocks._upright(new, back), old)


def test_where_a_turned_photo_ends_within_a_block_it_is_encoded_anew(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = load(tmp_path, jpegs.with_exif(jpegs.make("420", (96, 61)), exif))
    assert photo.warnings == (ENCODED_ANEW,)
    assert images.save(photo, photo.pixels, tmp_path / "out.jpg", HIDING, []) == (ENCODED_ANEW,)
    assert images.load(tmp_path / "out.jpg", HIDING).pixels.shape == (96, 61, 3)
    assert load(tmp_path, jpegs.with_exif(jpegs.make("420", (61, 96)), exif)).warnings == ()  # only the other axis


def test_what_no_code_is_for_is_encoded_anew_and_said(tmp_path, monkeypatch):
    photo = load(tmp_path, jpegs.make("420", (64, 64)))

    def refuse(*_):
        raise RuntimeError("DCT coefficient out of range")

    monkeypatch.setattr(blocks, "write", refuse)
    assert images.save(photo, photo.pixels, tmp_path / "out.jpg", HIDING, []) == (ENCODED_ANEW,)
    assert np.abs(images.load(tmp_path / "out.jpg", HIDING).pixels.astype(int) - photo.pixels).mean() < 4


def test_a_file_with_two_tables_of_one_number_is_encoded_anew(tmp_path):
    data = jpegs.make("gray", (64, 64))
    at = data.index(b"\xff\xda")
    start = data.index(b"\xff\xdb")
    other = data[start : start + 68] + bytes([data[start + 68] + 1])  # its last number is another one
    assert load(tmp_path, data[:at] + data[start : start + 69] + data[at:]).warnings == ()
    assert load(tmp_path, data[:at] + other + data[at:]).warnings == (ENCODED_ANEW,)


def test_reencode_encodes_all_anew_and_says_nothing(tmp_path):
    settings = HIDING.replace(jpeg="reencode")
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = load(tmp_path, jpegs.with_exif(jpegs.make("420", (96, 61)), exif), settings)
    assert photo.warnings == ()
    data, *_ = hide(photo, [], settings)
    assert data == formats.encode(photo.pixels, photo.form)
    assert HIDING.export_hash() != settings.export_hash()


@pytest.mark.parametrize("axis", [0, 1])
def test_what_a_cropped_photo_holds_beyond_its_edge_does_not_stay(tmp_path, axis):
    data = bytearray(jpegs.make("420", (96, 64)))
    at = data.index(b"\xff\xc0") + 5  # height and width of the frame
    height, width = (64, 96 - 11) if axis else (64 - 11, 96)
    data[at : at + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    photo = load(tmp_path, bytes(data))
    source = photo.form.options["source"]
    assert blocks._shows_beyond(source, blocks.read(source)) == (bool(axis), not axis)
    out, *_ = hide(photo, [])
    again = formats.decode(out, 1e9)
    assert blocks._shows_beyond(source, coefficients(out)) == (False, False)
    inner = (slice(0, 48), slice(0, 80))
    assert np.abs(again.pixels[inner].astype(int) - photo.pixels[inner]).max() <= 8
    assert np.abs(again.pixels.astype(int) - photo.pixels).max() < 40


def test_metadata_that_is_kept_is_what_an_encoder_writes(tmp_path):
    names = ("copyright", "iso", "resolution")
    exif = Image.Exif()
    exif[0x8298], exif[0x010F] = "Somebody", "Maker"
    exif[0x0132] = "2020:01:02 03:04:05"
    icc = (jpegs.PROFILE + bytes(70_000))[: len(jpegs.PROFILE)]
    buffer = io.BytesIO()
    Image.fromarray(jpegs.picture((64, 64))).save(buffer, "JPEG", exif=exif, icc_profile=icc, dpi=(300, 200))
    settings = HIDING.replace(keep_metadata=names)
    photo = load(tmp_path, buffer.getvalue(), settings)
    data, *_ = hide(photo, [plate(10, 10, 20, 20)], settings)
    kept, encoded = formats.decode(data, 1e9), formats.decode(formats.encode(photo.pixels, photo.form, names), 1e9)
    assert kept.form.fields == encoded.form.fields
    assert kept.form.fields
    assert kept.form.icc == encoded.form.icc == icc
    assert kept.form.dpi == encoded.form.dpi == (300, 200)
    assert containers.check(data, names) == []
    assert containers.check(hide(photo, [], HIDING)[0]) == []


def test_nothing_of_the_source_but_its_picture_is_written(tmp_path):
    """Names of components, unused tables, restart markers, bytes between the segments: all gone."""
    data = jpegs.make("420", (64, 64))
    frame, scan = data.index(b"\xff\xc0") + 10, data.index(b"\xff\xda") + 5
    names = bytearray(data)
    names[frame : frame + 9 : 3] = names[scan : scan + 6 : 2] = b"abc"
    data = bytes(names)
    at = data.index(b"\xff\xda")
    unused = b"\xff\xdb\0\x43\3" + b"UNUSED TABLE" + bytes([7]) * 52
    photo = load(tmp_path, data[:at] + unused + b"\xff\xfe\0\x0bcomment!!" + data[at:] + b"\xff\xd8\xff BEHIND")
    out, *_ = hide(photo, [])
    assert np.array_equal(formats.decode(out, 1e9).pixels, photo.pixels)
    for word in (b"UNUSED", b"comment", b"BEHIND", b"abc"):
        assert word not in out
    assert [c[0] for c in segments.take_apart(out).components] == [1, 2, 3]


@pytest.mark.parametrize("turn", range(1, 9))
def test_blocks_turn_as_pixels_turn(turn):
    """A block of one coefficient each is a pixel of its own: the mean."""
    means = np.arange(12).reshape(3, 4)
    plane = np.zeros((24, 32), np.int32)
    plane[::8, ::8] = means
    assert np.array_equal(blocks._upright(plane, turn)[::8, ::8], forms.upright(means, turn))


def test_a_progressive_photo_of_which_scans_are_missing_is_encoded_anew(tmp_path):
    """Its decoder smooths it; what it shows then is not what its coefficients say."""
    data = jpegs.make("gray", (64, 64), progressive=True)
    last = data.rindex(b"\xff\xda")
    assert load(tmp_path, data).warnings == ()
    assert load(tmp_path, data[: data.rindex(b"\xff\xc4", 0, last)] + b"\xff\xd9").warnings == (ENCODED_ANEW,)


def test_without_files_in_memory_the_same_is_written_and_no_copy_stays(tmp_path, monkeypatch):
    photo = load(tmp_path, jpegs.make("420", (83, 61)))
    wanted, *_ = hide(photo, [plate(20, 20, 40, 40)])
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    assert hide(photo, [plate(20, 20, 40, 40)])[0] == wanted
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.parametrize("progressive", [False, True])
def test_arithmetic_codes_become_huffman_codes(tmp_path, progressive):
    plain = jpegs.make("420", (83, 61), progressive=progressive)
    with blocks._file(plain) as path, blocks._file() as out:
        other = jpegio.read(path)
        other.arith_code = True
        other.write(out)
        data = Path(out).read_bytes()
    photo = load(tmp_path, data)
    written, *_, is_anew = hide(photo, [])
    assert not is_anew
    assert len(data) < len(written)
    for new, old in zip(coefficients(written), coefficients(plain), strict=True):
        assert np.array_equal(new, old)
