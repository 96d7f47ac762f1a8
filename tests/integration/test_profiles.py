"""Color profiles: the colors stay, whatever else somebody put into them does not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from anonymize import images
from anonymize.images.profiles import colors
from anonymize.settings import Settings
from tests.conftest import draw

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SECRET = b"serial C02XYZ of Jane's display "


def with_tag(name: bytes, body: bytes) -> bytes:
    """sRGB with one more tag at its end."""
    count = int.from_bytes(SRGB[128:132], "big")
    end = 132 + 12 * count
    moved = b""
    for at in range(132, end, 12):
        moved += SRGB[at : at + 4] + (int.from_bytes(SRGB[at + 4 : at + 8], "big") + 12).to_bytes(4, "big")
        moved += SRGB[at + 8 : at + 12]
    entry = name + (len(SRGB) + 12).to_bytes(4, "big") + len(body).to_bytes(4, "big")
    out = SRGB[4:128] + (count + 1).to_bytes(4, "big") + moved + entry + SRGB[end:] + body
    return (len(out) + 4).to_bytes(4, "big") + out


def as_srgb(profile: bytes) -> np.ndarray:
    image = Image.fromarray(draw())
    linear = ImageCms.createProfile("LAB")
    done = ImageCms.profileToProfile(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), linear, outputMode="LAB")
    assert done is not None
    return np.asarray(done)


@pytest.mark.parametrize("name", ["sRGB", "LAB", "XYZ"])
def test_a_profile_with_nothing_else_stays_byte_for_byte(name: str) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()  # type: ignore[arg-type]
    assert colors(profile) == profile


@pytest.mark.parametrize(
    "profile",
    [
        with_tag(b"mmod", SECRET),
        with_tag(b"desc", SECRET * 200),
        SRGB + SECRET * 9,  # behind its end
        SRGB[:100] + SECRET[:28] + SRGB[128:],  # in the header's reserve
        (len(SRGB) + 32).to_bytes(4, "big") + SRGB[4:] + SECRET,  # within its size, in no tag
    ],
    ids=["private tag", "endless name", "behind", "header", "between"],
)
def test_what_is_no_color_stays_behind_and_the_colors_stay(profile: bytes) -> None:
    assert SECRET[:28] in profile
    kept = colors(profile)
    assert SECRET[:20] not in kept
    assert np.array_equal(as_srgb(kept), as_srgb(SRGB))


@pytest.mark.parametrize("raw", [b"", b"no profile", SECRET * 99, SRGB[:300], SRGB[:128] + b"\xff" * 460])
def test_what_is_no_profile_is_none(raw: bytes) -> None:
    assert colors(raw) == b""


@given(st.integers(0, len(SRGB) - 1), st.binary(min_size=1, max_size=8))
def test_a_broken_profile_never_raises_nor_grows(at: int, broken: bytes) -> None:
    raw = SRGB[:at] + broken + SRGB[at + len(broken) :]
    assert len(colors(raw)) <= len(raw) + 4 * 11


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_no_format_carries_a_profiles_secrets_out(tmp_path: Path, format_: str) -> None:
    for i, profile in enumerate((with_tag(b"mmod", SECRET), SECRET * 99)):
        source, target = tmp_path / f"{i}-in", tmp_path / f"{i}-out"
        Image.fromarray(draw()).save(source, format_, icc_profile=profile)
        photo = images.load(source, Settings())
        assert "notes in the color profile" in photo.removed_metadata
        images.save(photo, photo.pixels, target)
        assert SECRET not in target.read_bytes()
        kept = Image.open(target).info.get("icc_profile") or b""
        assert SECRET not in kept
        assert bool(kept) == (i == 0)
