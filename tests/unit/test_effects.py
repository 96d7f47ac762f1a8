"""What is hidden stays hidden, nothing else changes, and coverage says exactly what apply does."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anonymize import effects, masks
from anonymize.errors import SettingsError, UnsupportedImageError
from anonymize.regions import Region
from anonymize.settings import EFFECTS, MASKS, Kernel, Kind, Settings
from tests.support.shapes import MAGENTA, H, W, kinds, many, noise, one, regions


def test_the_table_has_every_effect_that_looks_at_the_region_itself() -> None:
    assert ("inpaint", *effects.TABLE) == EFFECTS


# --- apply ------------------------------------------------------------------------------------------------------------


@many
@given(st.lists(regions(), max_size=4), kinds, kinds)
def test_outside_masks_and_feather_nothing_changes(found: list[Region], face: Kind, plate: Kind) -> None:
    settings = Settings(kinds={"face": face, "plate": plate})
    photo = noise(H, W, 3)
    before = photo.copy()
    out = effects.apply(photo, found, settings)
    np.testing.assert_array_equal(photo, before)
    assert not np.shares_memory(out, photo)
    touched = np.zeros((H, W), bool)
    for region in found:
        (x1, y1, x2, y2), alpha = masks.mask(region, settings.kind(region.kind), W, H)
        touched[y1:y2, x1:x2] |= alpha > 0
    np.testing.assert_array_equal(out[~touched], photo[~touched])
    for order in itertools.islice(itertools.permutations(found), 6):
        np.testing.assert_array_equal(effects.apply(photo, order, settings), out)


@many
@given(st.lists(regions(), max_size=4), kinds)
def test_coverage_is_where_a_magenta_fill_is_exact(found: list[Region], kind: Kind) -> None:
    photo = noise(H, W, 3) // 2  # never magenta by itself
    for feather in (0, 9):
        settings = one(mask=kind.mask, padding=kind.padding, kernel=Kernel(feather=feather), **MAGENTA)
        covered = masks.coverage(found, settings, W, H)
        magenta = (effects.apply(photo, found, settings) == (255, 0, 255)).all(axis=2)
        assert magenta[covered].all()
        if feather == 0 or len(found) == 1:  # several feathers upon each other may come to the full color too
            np.testing.assert_array_equal(magenta, covered)


def test_only_what_the_settings_hide_is_hidden() -> None:
    found = [
        Region("face", (10, 10, 20, 20), score=Settings().kinds["face"].threshold - 0.01),
        Region("vehicle", (30, 10, 40, 20)),
        Region("plate", (50, 10, 60, 20), status="rejected"),
    ]
    photo = noise(H, W, 3)
    assert not masks.coverage(found, Settings(), W, H).any()
    np.testing.assert_array_equal(effects.apply(photo, found, Settings()), photo)
    drawn = found[1].replace(status="manual")
    assert masks.coverage([drawn], Settings(), W, H)[10:20, 30:40].all()


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize(
    ("box", "least"),
    [
        ((10, 10, 11, 11), 1),
        ((10, 10, 10, 10), 1),
        ((10.4, 10.4, 10.4, 30.0), 20),
        ((0, 0, 0, 0), 1),
        ((W - 0.5, H - 0.5, W + 50, H + 50), 1),
        ((-1e9, -1e9, 1e9, 1e9), W * H),
        ((-50, 10, 1, 12), 2),
        ((W + 5, 0, W + 9, 9), 0),
        ((-9, -9, -4, -4), 0),
        ((1e12, 1e12, 1e13, 1e13), 0),
    ],
)
def test_no_box_is_too_small_and_one_outside_changes_nothing(
    box: tuple[float, float, float, float], least: int, effect: str, mask: str
) -> None:
    photo, face = noise(H, W, 3), Region("face", box)
    settings = one(effect=effect, mask=mask, padding=0.0, fill="ff00ff")
    covered = masks.coverage([face], settings, W, H)
    assert covered.sum() >= least
    out = effects.apply(photo, [face], settings)
    if least == 0:
        assert not covered.any()
        np.testing.assert_array_equal(out, photo)
    else:
        assert (out[covered] != photo[covered]).any()


def shuffled_in_cells(photo: np.ndarray, cell: int) -> np.ndarray:
    """Other content with the same mean in each cell: the pixels of each cell in another order."""
    h, w = photo.shape[:2]
    mosaic_blocks = (
        photo.reshape(h // cell, cell, w // cell, cell, -1).swapaxes(1, 2).reshape(h // cell, w // cell, cell**2, -1)
    )
    mixed = np.random.default_rng(1).permutation(mosaic_blocks, axis=2)
    return mixed.reshape(h // cell, w // cell, cell, cell, -1).swapaxes(1, 2).reshape(photo.shape)


@pytest.mark.parametrize("effect", ["blur", "pixelate"])
@pytest.mark.parametrize("kernel", ["0,0,0", "1,0.1,0", "1,0,0", "0,0.1,0", "3,0.5,0", "101,3,0", "101,0,0"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_no_kernel_lets_anything_finer_than_a_cell_through(effect: str, kernel: str, dtype: type) -> None:
    face = Region("face", (0, 0, 60, 60))
    settings = one(effect=effect, kernel=kernel, mosaic_blocks=6, padding=0.0)
    photo = np.zeros((60, 60, 3), dtype)
    photo[20:40, 10:50] = np.iinfo(dtype).max  # something to see, and noise of full range to take away
    photo ^= noise(60, 60, 3, dtype=dtype)
    other = shuffled_in_cells(photo, 10)
    assert (photo != other).mean() > 0.5
    np.testing.assert_array_equal(effects.apply(photo, [face], settings), effects.apply(other, [face], settings))


@pytest.mark.parametrize(
    ("side", "mosaic_blocks", "most"), [(12, 6, 3), (12, 64, 3), (24, 6, 6), (600, 6, 6), (600, 64, 12)]
)
def test_cells_are_coarse_in_pixels_and_in_number(side: int, mosaic_blocks: int, most: int) -> None:
    photo = noise(side, side, 3)
    settings = one(effect="pixelate", mosaic_blocks=mosaic_blocks, padding=0.0, kernel="0,0,0")
    out = effects.apply(photo, [Region("face", (0, 0, side, side))], settings)
    assert len(np.unique(out.reshape(-1, 3), axis=0)) <= most**2


def test_blur_shows_no_edges_of_cells() -> None:
    photo = noise(300, 300, 3)
    photo[:, :150] //= 4  # one strong edge: the worst case for a mosaic
    out = effects.apply(photo, [Region("face", (0, 0, 300, 300))], one(effect="blur", padding=0.0)).astype(int)
    assert np.ptp(out[150]) > 50
    assert max(np.abs(np.diff(out, axis=0)).max(), np.abs(np.diff(out, axis=1)).max()) <= 4


@pytest.mark.parametrize("kernel", [Kernel(31, 3), Kernel(101, 0), Kernel(51, 20), Kernel(0, 12)])
def test_a_given_kernel_is_the_gaussian_of_its_size_and_sigma(kernel: Kernel) -> None:
    photo = noise(240, 320, 3)
    photo[:, :150] //= 4
    strength = effects.Strength(40.0, kernel)
    soft = effects.blur(photo, effects.Strength(40.0, Kernel(1, 0.1)))
    want = cv2.GaussianBlur(soft, (kernel.size, kernel.size), kernel.sigma, borderType=cv2.BORDER_REPLICATE)
    assert np.abs(effects.blur(photo, strength).astype(int) - want).max() <= 3


def test_overlapping_regions_bring_nothing_back() -> None:
    photo = noise(H, W, 3)
    face, plate = Region("face", (10, 10, 50, 50)), Region("plate", (40, 20, 80, 60))
    kernel = "0,0,15"
    settings = Settings(
        kinds={"face": Kind(kernel=kernel, effect="solid", fill="black"), "plate": Kind(kernel=kernel, effect="blur")}
    )
    covered = masks.coverage([face], settings, W, H)
    got = effects.apply(photo, [face, plate], settings)
    assert not got[covered].any()  # the fill is exact although the plate's blur and feather reach into it
    both = one(effect="blur", kernel=kernel, padding=0.0, mosaic_blocks=1)
    union = masks.coverage([face, plate], both, W, H)
    flat = np.full((H, W, 3), 100, np.uint8)
    flat[union] = np.where(np.indices((H, W)).sum(axis=0)[union] % 2, 255, 0)[:, None]  # a pattern of one pixel
    out = effects.apply(flat, [face, plate], both).astype(int)
    inside = union[:, 1:] & union[:, :-1]
    assert np.abs(np.diff(out, axis=1))[inside].max() < 20  # of 255: nowhere does the pattern shine through


@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("shape", "mode"),
    [((), "L"), ((1,), "L"), ((2,), "LA"), ((3,), "RGB"), ((4,), "RGBA"), ((4,), "CMYK"), ((6,), None)],
)
def test_every_form_keeps_its_form(effect: str, dtype: type, shape: tuple[int, ...], mode: str | None) -> None:
    if mode is None and effect == "solid":  # no color is known for these channels: refused
        effect = "inpaint"
    photo, found = noise(H, W, *shape, dtype=dtype), [Region("face", (20, 20, 60, 70)), Region("plate", (0, 0, 9, 5))]
    out = effects.apply(photo, found, one(effect=effect), mode)
    assert (out.shape, out.dtype) == (photo.shape, photo.dtype)
    changed = (out != photo).reshape(H, W, -1).any(axis=2)
    assert changed[masks.coverage(found, one(), W, H)].mean() > 0.98
    again = effects.apply(np.asfortranarray(photo), found, one(effect=effect), mode)
    np.testing.assert_array_equal(out, again)


@pytest.mark.parametrize(
    ("mode", "fill", "want"),
    [
        ("L", "ff00ff", (105,)),
        ("LA", "ffffff", (255, 255)),
        ("RGB", "ff00ff", (255, 0, 255)),
        ("RGB", "black", (0, 0, 0)),
        ("RGBA", "123456", (0x12, 0x34, 0x56, 255)),
        ("CMYK", "black", (0, 0, 0, 255)),
        ("CMYK", "ffffff", (0, 0, 0, 0)),
        ("CMYK", "ff00ff", (0, 255, 0, 0)),
        ("CMYK", "800000", (0, 255, 255, 127)),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_fill_colors_in_every_mode(mode: str, fill: str, want: tuple[int, ...], dtype: type) -> None:
    photo, face = noise(H, W, len(want), dtype=dtype), Region("face", (20, 20, 60, 70))
    settings = one(effect="solid", fill=fill, mask="ellipse")
    out = effects.apply(photo, [face], settings, mode)
    scale = 257 if dtype is np.uint16 else 1
    assert (out[masks.coverage([face], settings, W, H)] == np.array(want) * scale).all()


@pytest.mark.parametrize("effect", ["blur", "pixelate"])
def test_what_lies_under_transparent_pixels_is_hidden_too(effect: str) -> None:
    photo = noise(60, 60, 4)
    photo[..., 3] = 0
    other = shuffled_in_cells(photo, 10)
    found, settings = [Region("face", (0, 0, 60, 60))], one(effect=effect, padding=0.0)
    out = effects.apply(photo, found, settings)
    np.testing.assert_array_equal(out, effects.apply(other, found, settings))
    assert not out[..., 3].any()


def test_refusals_say_what_was_expected() -> None:
    face = [Region("face", (1, 1, 9, 9))]
    for photo in (noise(H, W).astype(np.float32), noise(H), noise(2, H, W, 3), noise(H, W, 0)):
        with pytest.raises(UnsupportedImageError, match="uint8 or uint16"):
            effects.apply(photo, face, Settings())
    with pytest.raises(SettingsError, match=r"RGB \(3\).*'HSV'"):
        effects.apply(noise(H, W, 3), face, Settings(), "HSV")
    with pytest.raises(SettingsError, match="'CMYK' with 3"):
        effects.apply(noise(H, W, 3), face, Settings(), "CMYK")
    with pytest.raises(UnsupportedImageError, match="6 channels"):
        effects.apply(noise(H, W, 6), face, one(**MAGENTA))


# --- what carries nothing ---------------------------------------------------------------------------------------------

FORMS = [((), "L"), ((2,), "LA"), ((3,), "RGB"), ((4,), "RGBA"), ((4,), "CMYK"), ((6,), None)]


@many
@given(
    st.lists(regions(), min_size=1, max_size=5),
    kinds,
    kinds,
    st.sampled_from(FORMS),
    st.sampled_from((np.uint8, np.uint16)),
    st.integers(0, 2**32),
)
def test_inpainted_pixels_tell_nothing_of_what_anything_hides(
    found: list[Region], face: Kind, plate: Kind, form: tuple, dtype: type, seed: int
) -> None:
    """Other content wherever something is hidden, by whatever effect: the same inpainted and solid pixels."""
    shape, mode = form
    settings = Settings(kinds={"face": replace(face, effect="inpaint"), "plate": replace(plate, fill="black")})
    if mode is None and plate.effect == "solid":
        settings = settings.with_kind("plate", effect="inpaint")
    photo = noise(H, W, *shape, dtype=dtype, seed=1)
    hidden = masks.coverage(found, settings, W, H)
    other = photo.copy()
    other[hidden] = noise(H, W, *shape, dtype=dtype, seed=seed)[hidden]
    out, again = (effects.apply(p, found, settings, mode) for p in (photo, other))
    bare = masks.coverage(
        [r for r in found if settings.kind(r.kind).effect != "blur" and r.kind == "face"], settings, W, H
    )
    np.testing.assert_array_equal(out[bare], again[bare])
    if settings.kind("plate").effect in ("inpaint", "solid"):
        np.testing.assert_array_equal(out, again)
        np.testing.assert_array_equal(effects.apply(out, found, settings, mode)[hidden], out[hidden])


def test_inpainted_areas_look_like_what_is_around_them() -> None:
    ramp = np.repeat(np.linspace(0, 250, 200, dtype=np.uint8)[None], 160, axis=0)
    photo = np.dstack([ramp, 255 - ramp, np.full_like(ramp, 90)])
    spoiled, settings = photo.copy(), one(padding=0.1)
    found = [Region("plate", (60, 50, 100, 90)), Region("plate", (95, 60, 150, 110))]
    spoiled[masks.coverage(found, settings, 200, 160)] = (255, 0, 255)
    out = effects.apply(spoiled, found, settings)
    assert np.abs(out.astype(int) - photo).max() <= 12  # a line between both sides, as it was
    assert np.abs(np.diff(out.astype(int), axis=1)).max() <= 4  # and no edge


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_where_nothing_is_left_around_an_inpainted_area_is_gray_and_opaque(dtype: type) -> None:
    everything = [Region("face", (-200, -200, W + 200, H + 200))]
    out = effects.apply(noise(H, W, 4, dtype=dtype), everything, one(), "RGBA")
    assert (out == (*[np.iinfo(dtype).max // 2] * 3, np.iinfo(dtype).max)).all()


def test_a_crowd_is_inpainted_in_one_pass_and_far_ones_each_for_itself() -> None:
    photo = noise(400, 600, 3)
    near = [Region("plate", (x, 100, x + 18, 118)) for x in range(40, 200, 20)]
    far = [Region("plate", (400, 300, 450, 330))]
    alone, together = (effects.apply(photo, some, one()) for some in (far, [*near, *far]))
    np.testing.assert_array_equal(alone[250:], together[250:])
    hidden = masks.coverage(near, one(), 600, 400)
    other = np.where(hidden[..., None], 255 - photo, photo)
    np.testing.assert_array_equal(together, effects.apply(other, [*near, *far], one()))


# --- weak settings ----------------------------------------------------------------------------------------------------


def test_allow_weak_leaves_the_gaussian_alone_and_warns() -> None:
    photo, face = noise(60, 60, 3), Region("face", (0, 0, 60, 60))
    settings = one(effect="blur", kernel="1,0.1,0", padding=0.0).replace(allow_weak=True)
    with pytest.warns(UserWarning, match="allow_weak"):
        out = effects.apply(photo, [face], settings)
    np.testing.assert_array_equal(out, photo)
    with pytest.warns(UserWarning, match="allow_weak"):
        mosaic_blocks = effects.apply(
            photo, [face], one(effect="pixelate", mosaic_blocks=30, padding=0.0).replace(allow_weak=True)
        )
    assert len(np.unique(mosaic_blocks.reshape(-1, 3), axis=0)) > 800
    with pytest.warns(UserWarning, match="allow_weak"):
        automatic = effects.apply(photo, [face], one(effect="blur", padding=0.0).replace(allow_weak=True))
    assert automatic.std() < photo.std() / 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for effect in ("inpaint", "solid"):
            effects.apply(photo, [face], one(effect=effect).replace(allow_weak=True))
        effects.apply(photo, [face], one(effect="blur"))


def test_reversible_settings_are_said() -> None:
    assert effects.warn_reversible(Settings()) == []
    solid = one(effect="solid", mosaic_blocks=64).replace(allow_weak=True)
    assert effects.warn_reversible(solid) == []
    for effect in ("blur", "pixelate"):
        shown = Settings().with_kind("plate", effect=effect)
        assert effects.warn_reversible(shown) == [effects.Weakness("short-text", "plate", effect)]
        shown = Settings().with_kind("face", effect=effect)
        assert effects.warn_reversible(shown) == [effects.Weakness("matched", "face", effect)]
    screens = Settings(kinds={"screen": Kind(effect="blur")})
    (weak,) = effects.warn_reversible(screens.replace(allow_weak=True))
    assert (weak.code, weak.kind) == ("weak-blur", "screen")
    many = screens.with_kind("screen", mosaic_blocks=13)
    assert effects.warn_reversible(many) == [effects.Weakness("many-blocks", "screen", 12)]
    (used,) = effects.warn_reversible(many.with_kind("screen", effect="pixelate").replace(allow_weak=True))
    assert used.value == 13
    tight = Settings().with_kind("face", padding=0.0)
    assert effects.warn_reversible(tight) == [effects.Weakness("tight", "face", 0.0)]
