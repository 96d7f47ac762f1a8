import av
import numpy as np
import pytest

from anonymize.errors import UnsupportedClipError
from anonymize.masks import coverage
from anonymize.regions import Region
from anonymize.settings import Settings
from anonymize.video.planes import Hider, planar_format, samples

FORMATS = [
    "yuv420p",
    "yuvj420p",
    "yuv422p",
    "yuv444p",
    "yuv411p",
    "gray",
    "gbrp",
    "yuv420p10le",
    "yuv422p12le",
    "gray10le",
]
REGIONS = [
    Region("face", (30.3, 10.7, 60, 50), 0.9),
    Region("plate", (52, 40, 90, 58), 0.01),
    Region("face", (0, 0, 3, 3)),
]


def noise(form, size=(120, 72)):
    rng = np.random.default_rng(1)
    frame = av.VideoFrame(*size, form)
    bits = frame.format.components[0].bits
    for plane in samples(frame):
        plane[...] = rng.integers(0, 1 << bits, plane.shape)
    return frame


def copies(frame):
    return [plane.copy() for plane in samples(frame)]


@pytest.mark.parametrize("effect", ["blur", "pixelate", "solid", "inpaint"])
@pytest.mark.parametrize("form", FORMATS)
def test_what_is_hidden_is_gone_and_the_rest_is_equal(form, effect):
    settings = Settings().with_kind("face", effect=effect, padding=0.1).with_kind("plate", effect=effect)
    frame = noise(form)
    before = copies(frame)
    Hider(settings).hide(frame, REGIONS)
    hidden = coverage([r.replace(status="accepted") for r in REGIONS], settings, 120, 72)
    for old, new in zip(before, samples(frame), strict=True):
        fy, fx = 72 // old.shape[0], 120 // old.shape[1]
        touched = hidden.reshape(old.shape[0], fy, old.shape[1], fx)
        whole = touched.any(axis=(1, 3))
        # noise: a sample that was left would be one in hundreds, not one in ten
        assert np.mean(new[whole] == old[whole]) < 0.1
        feather = 9 + 2
        far = np.pad(hidden, feather)
        near = np.zeros_like(far)
        for dy in range(-feather, feather + 1):
            for dx in range(-feather, feather + 1):
                near |= np.roll(far, (dy, dx), (0, 1))
        near = near[feather:-feather, feather:-feather].reshape(touched.shape).any(axis=(1, 3))
        assert np.array_equal(new[~near], old[~near])
        assert (~near).any()


def test_nothing_of_what_is_hidden_is_in_a_solid_area():
    settings = Settings().with_kind("face", effect="solid", fill="ff8000")
    results = []
    for shade in (0, 200):
        frame = noise("yuv420p")
        for plane in samples(frame):
            rows, columns = (slice(12, 48), slice(32, 60)) if plane.shape[0] == 72 else (slice(6, 24), slice(16, 30))
            plane[rows, columns] = shade
        Hider(settings).hide(frame, [Region("face", (32, 12, 60, 48))])
        results.append(copies(frame))
    for one, other in zip(*results, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("form", "color_range", "expected"),
    [("yuv420p", 1, (81, 90, 240)), ("yuvj420p", 2, (76, 85, 255)), ("yuv420p10le", 1, (325, 361, 963))],
)
def test_a_color_is_that_color_in_every_depth_and_range(form, color_range, expected):
    frame = noise(form)
    frame.color_range, frame.colorspace = color_range, 5
    settings = Settings().with_kind("face", effect="solid", fill="ff0000")
    Hider(settings).hide(frame, [Region("face", (20, 20, 60, 60))])
    assert tuple(int(p[p.shape[0] // 2, p.shape[1] // 3]) for p in samples(frame)) == pytest.approx(expected, abs=1)


def test_an_odd_size_is_hidden_to_its_last_sample():
    frame = noise("yuv420p", (61, 41))
    before = copies(frame)
    Hider(Settings().with_kind("face", effect="solid")).hide(frame, [Region("face", (40, 20, 61, 41))])
    for old, new in zip(before, samples(frame), strict=True):
        assert len(np.unique(new[-3:, -3:])) == 1
        assert np.array_equal(new[:3, :3], old[:3, :3])


@pytest.mark.parametrize("form", ["yuva420p", "rgba", "pal8", "grayf32le", "monob"])
def test_forms_that_are_not_kept_are_refused(form):
    with pytest.raises(UnsupportedClipError, match=r"transparency|not known"):
        planar_format(form)


@pytest.mark.parametrize(
    ("form", "planar"),
    [("nv12", "yuv420p"), ("rgb24", "gbrp"), ("yuv422p10be", "yuv422p10le"), ("p010le", "yuv420p10le")],
)
def test_packed_forms_have_a_planar_one(form, planar):
    assert planar_format(form) == planar
