"""What a file consists of: an export of each format is clean, and what does not belong is named."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from anonymize import images
from anonymize.audit import containers
from anonymize.settings import SAFE_METADATA, Settings
from tests.conftest import draw

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
FORMS: list[tuple[str, str, dict[str, Any]]] = [
    ("a.jpg", "RGB", {"quality": 80}), ("b.jpg", "L", {}), ("c.jpg", "CMYK", {"progressive": True}),
    ("a.png", "RGB", {}), ("b.png", "P", {}), ("c.png", "LA", {}), ("d.png", "1", {}),
    ("a.webp", "RGB", {"lossless": True}), ("b.webp", "RGBA", {}),
    ("a.tif", "RGB", {"compression": "tiff_lzw"}), ("b.tif", "P", {}), ("c.tif", "1", {}), ("d.tif", "LA", {}),
    ("a.bmp", "RGB", {}), ("b.bmp", "P", {}), ("c.bmp", "1", {}), ("a.heic", "RGB", {}),
]  # fmt: skip


def exif() -> bytes:
    made = Image.Exif()
    made[0x010F], made[0x8298] = "Camera", "me"
    made[0x8825] = {1: "N", 2: (48.0, 8.0, 14.0)}
    return made.tobytes()


def save(path: Path, mode: str, **options: Any) -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
    image = Image.fromarray(draw(61, 45))
    image = image.quantize(40) if mode == "P" else image.convert(mode)
    more = {"exif": exif(), "icc_profile": ICC} if path.suffix in (".jpg", ".png", ".webp", ".heic") else {}
    image.save(path, **options, **({} if mode == "CMYK" else more))


@pytest.mark.parametrize(("name", "mode", "options"), FORMS, ids=[f[0] for f in FORMS])
def test_exports_are_clean_whatever_metadata_they_keep(
    name: str, mode: str, options: dict[str, Any], tmp_path: Path
) -> None:
    save(tmp_path / name, mode, **options)
    for keep in ((), ("copyright",), SAFE_METADATA):
        settings = Settings(keep_metadata=keep)
        photo = images.load(tmp_path / name, settings)
        images.save(photo, photo.pixels, tmp_path / "out", settings)
        assert containers.check((tmp_path / "out").read_bytes(), keep) == []


def test_kept_fields_are_findings_where_they_were_not_to_be_kept(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", "RGB")
    settings = Settings(keep_metadata=SAFE_METADATA)
    photo = images.load(tmp_path / "a.jpg", settings)
    images.save(photo, photo.pixels, tmp_path / "out.jpg", settings)
    data = (tmp_path / "out.jpg").read_bytes()
    assert containers.check(data, ()) == ["it carries an EXIF block, and no field was to be kept"]
    assert containers.check(data, ("iso",)) == [
        "it carries an EXIF block with more than the fields that were to be kept"
    ]


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "a.bmp", "a.heic"])
def test_cut_and_grown_files_are_named(name: str, tmp_path: Path) -> None:
    save(tmp_path / name, "RGB")
    photo = images.load(tmp_path / name, Settings())
    images.save(photo, photo.pixels, tmp_path / "out", Settings())
    data = (tmp_path / "out").read_bytes()
    assert containers.check(data[: len(data) * 2 // 3])
    assert containers.check(data + b"M-AB 1234")
    assert containers.check(data[:16])


def test_no_image_and_other_formats_are_named() -> None:
    out = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(out, "GIF")
    for data in (b"", b"text", out.getvalue()):
        assert containers.check(data) == ["it is in no format that an export writes"]


def _bmp_of_many_rows() -> bytes:
    data = bytearray(_saved("BMP"))
    data[18:26] = (1).to_bytes(4, "little") + (2**31 - 1).to_bytes(4, "little")
    return bytes(data)


def _webp_of_many_bytes() -> bytes:
    data = bytearray(_saved("WEBP"))
    data[4:8] = b"\xff" * 4
    return bytes(data)


def _heic_of_many_items() -> bytes:
    box = lambda kind, body: (8 + len(body)).to_bytes(4, "big") + kind + body  # noqa: E731
    items = b"\2\0\0\0" + b"\0\0" + b"\xff" * 4 + b"\0" * 4000
    meta = b"\0" * 4 + box(b"iloc", items)
    return box(b"ftyp", b"heic\0\0\0\0mif1heic") + box(b"meta", meta)


def _tiff_of_many_tags() -> bytes:
    many = 10_000
    entry = b"\0\1" + b"\0\3" + (59_000).to_bytes(4, "big") + (8).to_bytes(4, "big")
    return b"MM\0*" + (8).to_bytes(4, "big") + many.to_bytes(2, "big") + entry * many + b"\0" * 4


def _saved(form: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (5, 4)).save(out, form)
    return out.getvalue()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("made", [_bmp_of_many_rows, _webp_of_many_bytes, _heic_of_many_items, _tiff_of_many_tags])
def test_a_header_that_says_more_than_there_is_is_read_at_once(made: Callable[[], bytes]) -> None:
    """A fuzzer's find: 84 million rows of nothing."""
    assert containers.check(made())
