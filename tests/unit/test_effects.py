"""What is hidden stays hidden, nothing else changes, and coverage says exactly what apply does."""

from __future__ import annotations

import itertools
import math
import warnings

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from anonymize import effects
from anonymize.errors import SettingsError, UnsupportedImageError
from anonymize.regions import Region
from anonymize.settings import EFFECTS, MASKS, Kernel, Kind, Settings

W, H = 96, 80
MAGENTA = {"effect": "solid", "fill": "ff00ff"}


def noise(*shape: int, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def one(**kind: object) -> Settings:
    """Settings in which every kind is hidden in the same way."""
    return Settings(kinds={name: Kind(**kind) for name in ("face", "plate")})


def tilted(cx: float, cy: float, w: float, h: float, degrees: float, **more: object) -> Region:
    """A plate turned by an angle, with the box around it."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    corners = tuple((cx + (a * w * c - b * h * s) / 2, cy + (a * w * s + b * h * c) / 2) for a, b in signs)
    xs, ys = zip(*corners, strict=True)
    return Region("plate", (min(xs), min(ys), max(xs), max(ys)), corners=corners, **more)  # type: ignore[arg-type]


@st.composite
def regions(draw: st.DrawFn) -> Region:
    if draw(st.booleans()):
        x, y = draw(st.floats(-20, W + 20)), draw(st.floats(-20, H + 20))
        return tilted(x, y, draw(st.floats(0, 60)), draw(st.floats(0, 30)), draw(st.floats(-90, 90)))
    x, y = draw(st.floats(-150, W + 50)), draw(st.floats(-150, H + 50))
    w, h = draw(st.one_of(st.just(0.0), st.floats(0, 200))), draw(st.one_of(st.just(0.0), st.floats(0, 200)))
    return Region(draw(st.sampled_from(("face", "plate"))), (x, y, x + w, y + h))


kinds = st.builds(
    Kind,
    effect=st.sampled_from(EFFECTS),
    mask=st.sampled_from(MASKS),
    padding=st.sampled_from((0.0, 0.1, 0.5)),
    kernel=st.builds(
        Kernel, st.sampled_from((0, 1, 3, 101)), st.sampled_from((0.0, 0.1, 3.0, 40.0)), st.sampled_from((0, 1, 9, 300))
    ),
    mosaic_blocks=st.integers(1, 64),
    fill=st.sampled_from(("mean", "black", "ff00ff")),
)
many = hypothesis_settings(max_examples=150, deadline=None)


def test_the_table_has_every_effect_that_settings_offer() -> None:
    assert tuple(effects.TABLE) == EFFECTS


# --- shapes -----------------------------------------------------------------------------------------------------------


@many
@given(regions(), kinds)
def test_mask_is_one_on_what_coverage_counts_and_falls_off_outside_only(region: Region, kind: Kind) -> None:
    (x1, y1, x2, y2), alpha = effects.mask(region, kind, W, H)
    covered = effects.coverage([region], Settings(kinds={region.kind: kind}), W, H)
    assert alpha.dtype == np.float32
    assert alpha.shape == (y2 - y1, x2 - x1)
    whole = np.zeros((H, W), np.float32)
    whole[y1:y2, x1:x2] = alpha
    np.testing.assert_array_equal(whole == 1, covered)
    if not covered.any():
        assert (x1, y1, x2, y2) == (0, 0, 0, 0)
        return
    away = cv2.distanceTransform((~covered).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    feather = min(kind.kernel.feather, effects.SOLID_FEATHER if kind.effect == "solid" else 1000)
    assert not whole[away >= 1.03 * (feather + 1)].any()
    assert whole[away < 0.97 * (feather + 1)].all()
    if feather:  # smoothstep of the distance, which is known within 3 %
        near, far = (np.clip(1 - away * k / (feather + 1), 0, 1) for k in (0.97, 1.03))
        assert (whole <= near**2 * (3 - 2 * near) + 1e-5).all()
        assert (whole >= far**2 * (3 - 2 * far) - 1e-5).all()


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("feather", [0, 1, 9, 25])
def test_the_feather_falls_from_one_to_nothing_along_every_line_outward(mask: str, feather: int) -> None:
    kind = Kind(mask=mask, kernel=Kernel(feather=feather))
    _, alpha = effects.mask(tilted(100, 100, 60, 25, 15), kind, 200, 200)
    h, w = alpha.shape
    for line in (
        alpha[h // 2, w // 2 :],
        alpha[h // 2, w // 2 :: -1],
        alpha[h // 2 :, w // 2],
        alpha[h // 2 :: -1, w // 2],
    ):
        soft = line[line < 1]
        assert line[0] == 1
        assert (np.diff(line) <= 0).all()
        assert len(soft) >= feather
        assert feather < 9 or np.abs(np.diff(line)).max() < 2 / feather  # no step


@many
@given(regions(), st.sampled_from(("rectangle", "ellipse")), st.sampled_from((0.0, 0.1, 0.8)))
def test_the_box_is_hidden_whole_by_rectangle_and_ellipse(region: Region, mask: str, padding: float) -> None:
    covered = effects.coverage([region], one(mask=mask, padding=padding), W, H)
    x1, y1, x2, y2 = region.pixels(W, H)
    assert covered[y1:y2, x1:x2].all()
    if mask == "rectangle":
        x1, y1, x2, y2 = region.pad(padding).pixels(W, H)
        assert covered[y1:y2, x1:x2].all()
        assert covered.sum() <= (x2 - x1 + 1) * (y2 - y1 + 1)


def test_an_ellipse_is_the_smallest_around_the_box_and_reaches_as_far_as_grow() -> None:
    face = Region("face", (300, 300, 500, 600))
    tight = effects.coverage([face], one(mask="ellipse", padding=0.0), 800, 900)
    assert tight.sum() == pytest.approx(math.pi / 2 * face.area, rel=0.02)
    wide = effects.coverage([face], one(mask="ellipse", padding=0.5), 800, 900)
    assert wide[450, 200:600].all()  # the grown box's left and right end, at mid height
    assert wide[150:750, 400].all()
    assert not wide[450, 195]
    assert not wide[155, 205]  # but not its corner


def brute_polygon(corners: np.ndarray) -> np.ndarray:
    """Pixels that hold a point of the polygon, from 15 x 15 samples in each."""
    steps = (np.arange(15) + 0.5) / 15
    ys, xs = (np.arange(H)[:, None] + steps).ravel(), (np.arange(W)[:, None] + steps).ravel()
    inside = np.ones((ys.size, xs.size), dtype=bool)
    for (px, py), (qx, qy) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        inside &= (qx - px) * (ys[:, None] - py) - (qy - py) * (xs[None, :] - px) >= 0
    return inside.reshape(H, 15, W, 15).any(axis=(1, 3))


@hypothesis_settings(max_examples=25, deadline=None)
@given(st.floats(20, 70), st.floats(20, 60), st.floats(8, 70), st.floats(0.2, 0.6), st.floats(-90, 90))
@example(20.0, 20.0, 10.0, 0.5, 0.0)  # corners on pixels' edges: 14, 17, 26, 23
def test_a_quad_hides_every_pixel_that_it_touches_and_hardly_more(
    x: float, y: float, w: float, aspect: float, degrees: float
) -> None:
    plate = tilted(x, y, w, w * aspect, degrees)
    covered = effects.coverage([plate], one(mask="quad", padding=0.1), W, H)
    grown = plate.pad(0.1).corners
    assert grown is not None
    touched = brute_polygon(np.array(grown))
    assert not (touched & ~covered).any()
    assert not (covered & ~cv2.dilate(touched.astype(np.uint8), np.ones((3, 3))).astype(bool)).any()
    # The pixel of each corner is hidden: on an edge between two pixels that is the one on the plate's side.
    for px, py in np.array(grown) + (np.mean(grown, axis=0) - grown) * 1e-6:
        if 0 <= px < W and 0 <= py < H:
            assert covered[int(py), int(px)]


@pytest.mark.parametrize(
    ("name", "corners"),
    [
        ("none", None),
        ("crossed", ((20, 20), (80, 50), (80, 20), (20, 50))),
        ("counter-clockwise", ((20, 50), (80, 50), (80, 20), (20, 20))),
        ("dent", ((20, 20), (80, 20), (40, 30), (20, 50))),
        ("a point", ((50, 30),) * 4),
        ("a line", ((20, 20), (80, 50), (80, 50), (20, 20))),
        ("sliver", ((20, 20), (22, 20), (80, 50), (78, 50))),
        ("elsewhere", ((20, 60), (80, 60), (80, 75), (20, 75))),
        ("a corner of the box", ((20, 20), (45, 20), (45, 35), (20, 35))),
        ("far too large", ((-100, -100), (200, -100), (200, 200), (-100, 200))),
    ],
)
def test_doubtful_corners_hide_the_whole_rectangle(name: str, corners: tuple | None) -> None:
    plate = Region("plate", (20, 20, 80, 50), corners=corners)
    got = effects.coverage([plate], one(mask="quad"), W, H)
    np.testing.assert_array_equal(got, effects.coverage([plate], one(mask="rectangle"), W, H), err_msg=name)


def test_a_plate_cut_by_the_edge_of_the_photo_still_follows_its_corners() -> None:
    whole = tilted(0, 40, 60, 20, 20)
    plate = whole.replace(box=whole.clip(W, H).box)
    got = effects.coverage([plate], one(mask="quad", padding=0.0), W, H)
    assert got[:, 0].any()
    assert got.sum() < effects.coverage([plate], one(mask="rectangle", padding=0.0), W, H).sum()


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
    covered = effects.coverage([face], settings, W, H)
    assert covered.sum() >= least
    out = effects.apply(photo, [face], settings)
    if least == 0:
        assert not covered.any()
        np.testing.assert_array_equal(out, photo)
    else:
        assert (out[covered] != photo[covered]).any()


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
        (x1, y1, x2, y2), alpha = effects.mask(region, settings.kind(region.kind), W, H)
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
        covered = effects.coverage(found, settings, W, H)
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
    assert not effects.coverage(found, Settings(), W, H).any()
    np.testing.assert_array_equal(effects.apply(photo, found, Settings()), photo)
    drawn = found[1].replace(status="manual")
    assert effects.coverage([drawn], Settings(), W, H)[10:20, 30:40].all()


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
    out = effects.apply(photo, [Region("face", (0, 0, 300, 300))], one(padding=0.0)).astype(int)
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
    covered = effects.coverage([face], settings, W, H)
    got = effects.apply(photo, [face, plate], settings)
    assert not got[covered].any()  # the fill is exact although the plate's blur and feather reach into it
    both = one(effect="blur", kernel=kernel, padding=0.0, mosaic_blocks=1)
    union = effects.coverage([face, plate], both, W, H)
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
    photo, found = noise(H, W, *shape, dtype=dtype), [Region("face", (20, 20, 60, 70)), Region("plate", (0, 0, 9, 5))]
    out = effects.apply(photo, found, one(effect=effect), mode)
    assert (out.shape, out.dtype) == (photo.shape, photo.dtype)
    changed = (out != photo).reshape(H, W, -1).any(axis=2)
    assert changed[effects.coverage(found, one(), W, H)].mean() > 0.98
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
    assert (out[effects.coverage([face], settings, W, H)] == np.array(want) * scale).all()


def test_mean_is_the_mean_of_what_is_hidden_and_opaque() -> None:
    photo, face = noise(H, W, 4), Region("face", (20, 20, 60, 70))
    settings = one(effect="solid", mask="ellipse")
    covered = effects.coverage([face], settings, W, H)
    photo[~covered] = 255
    got = effects.apply(photo, [face], settings)[covered]
    assert (got == got[0]).all()
    np.testing.assert_allclose(got[0, :3], photo[covered][:, :3].mean(axis=0), atol=0.51)
    assert got[0, 3] == 255


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


# --- weak settings ----------------------------------------------------------------------------------------------------


def test_allow_weak_leaves_the_gaussian_alone_and_warns() -> None:
    photo, face = noise(60, 60, 3), Region("face", (0, 0, 60, 60))
    settings = one(kernel="1,0.1,0", padding=0.0).replace(allow_weak=True)
    with pytest.warns(UserWarning, match="allow_weak"):
        out = effects.apply(photo, [face], settings)
    np.testing.assert_array_equal(out, photo)
    with pytest.warns(UserWarning, match="allow_weak"):
        mosaic_blocks = effects.apply(
            photo, [face], one(effect="pixelate", mosaic_blocks=30, padding=0.0).replace(allow_weak=True)
        )
    assert len(np.unique(mosaic_blocks.reshape(-1, 3), axis=0)) > 800
    with pytest.warns(UserWarning, match="allow_weak"):
        automatic = effects.apply(photo, [face], one(padding=0.0).replace(allow_weak=True))
    assert automatic.std() < photo.std() / 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        effects.apply(photo, [face], one(effect="solid").replace(allow_weak=True))
        effects.apply(photo, [face], one())


def test_reversible_settings_are_said() -> None:
    safe = Settings().with_kind("plate", effect="solid")
    assert effects.warn_reversible(safe) == []
    assert effects.warn_reversible(Settings()) == [effects.Weakness("short-text", "plate", "blur")]
    (weak,) = effects.warn_reversible(safe.replace(allow_weak=True))
    assert (weak.code, weak.kind) == ("weak-blur", "face")
    many = safe.with_kind("face", mosaic_blocks=13)
    assert effects.warn_reversible(many) == [effects.Weakness("many-blocks", "face", 12)]
    (used,) = effects.warn_reversible(many.with_kind("face", effect="pixelate").replace(allow_weak=True))
    assert used.value == 13
    assert effects.warn_reversible(safe.with_kind("face", padding=0.0)) == [effects.Weakness("tight", "face", 0.0)]
