"""Proof from the written pixels: what each effect writes passes in each format, and what it left open does not."""

from __future__ import annotations

import numpy as np
import pytest

from anonymize import effects, images
from anonymize.audit import against, destroyed
from anonymize.images import formats
from anonymize.images.forms import Form
from anonymize.masks import changed
from anonymize.records import Record
from anonymize.regions import Region
from anonymize.settings import EFFECTS, Settings
from tests.conftest import draw

REGIONS = (
    Region("face", (30, 24, 78, 84), 0.9),
    Region("plate", (90, 60, 150, 90), 0.9),
    Region("face", (60, 40, 100, 80)),
)
JPEG = Form(
    "JPEG", "RGB",
    options={
        "progressive": False, "keep_rgb": False,
        "sampling": ((2, 2), (1, 1), (1, 1)), "qtables": [[6] * 64, [9] * 64],
    },
)  # fmt: skip
FORMS = {
    "png": Form("PNG", "RGB", options={"color": ()}),
    "jpeg": JPEG,
    "webp": Form("WEBP", "RGB", options={"lossless": False}),
}


def with_effect(effect: str) -> Settings:
    return Settings().with_kind("face", effect=effect).with_kind("plate", effect=effect)


def photo(pixels: np.ndarray, form: Form) -> images.Photo:
    """The photo as it comes back from its file."""
    read = formats.decode(formats.encode(pixels, form), float("inf"))
    return images.Photo(read.pixels, "", read.form)


def record(regions: tuple[Region, ...] = REGIONS) -> Record:
    return Record("a.png", width=180, height=120, regions=regions, detectors={"fake": {}})


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("effect", EFFECTS)
def test_exports_pass(effect: str, name: str) -> None:
    settings = with_effect(effect)
    hidden = effects.apply(draw(180, 120), REGIONS, settings)
    found = list(destroyed.check(photo(hidden, FORMS[name]), record(), settings))
    assert not [f for f in found if f.level == "leak"]


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_regions_that_are_not_hidden_do_not(effect: str, name: str, share: float) -> None:
    settings = with_effect(effect)
    noise = np.random.default_rng(0).integers(0, 255, (30, 45, 3), np.uint8)
    source = np.kron(noise, np.ones((4, 4, 1), np.uint8))
    hidden = effects.apply(source, REGIONS, settings)
    hidden[60:90, 110 : 110 + round(40 * share)] = source[60:90, 110 : 110 + round(40 * share)]
    (found,) = [f for f in destroyed.check(photo(hidden, FORMS[name]), record(), settings) if f.level == "leak"]
    assert found.kind == "plate"
    assert found.box == REGIONS[1].box


@pytest.mark.parametrize("effect", ["inpaint", "solid"])
@pytest.mark.parametrize(("depth", "step"), [(np.uint8, 1), (np.uint16, 200)])
def test_faint_text_is_a_leak_where_nothing_is_lost(effect: str, depth: type[np.unsignedinteger], step: int) -> None:
    settings, source = with_effect(effect), draw(180, 120).astype(depth)
    hidden = effects.apply(source, REGIONS, settings)
    assert not list(destroyed.check(images.from_array(hidden), record(), settings))
    hidden[72:76, 100:140:3] += depth(step)
    (found,) = destroyed.check(images.from_array(hidden), record(), settings)
    assert found.level == "leak"


def test_settings_that_can_be_undone_are_a_leak() -> None:
    settings = with_effect("blur").replace(allow_weak=True)
    hidden = draw(180, 120)
    found = list(destroyed.check(photo(hidden, FORMS["png"]), record(), settings))
    assert "allow_weak" in found[0].text
    assert found[0].level == "leak"


def test_few_colors_are_compared_in_few_colors() -> None:
    colors = np.array([[v, v, v] for v in range(0, 256, 51)], np.uint8)
    indices = (draw(180, 120)[:, :, 0] // 51).astype(np.uint8)
    form = Form("PNG", "RGB", 8, palette=colors, indices=indices, options={"color": ()})
    settings = with_effect("inpaint")
    hidden = effects.apply(colors[indices], REGIONS, settings)
    assert not list(destroyed.check(photo(hidden, form), record(), settings))


def test_the_detail_of_the_original_is_found_again() -> None:
    rng = np.random.default_rng(1)
    source = np.kron(rng.integers(0, 255, (60, 90, 3), np.uint8), np.ones((2, 2, 1), np.uint8))
    settings = with_effect("inpaint")
    hidden = effects.apply(source, REGIONS[:1], settings)
    (piece,), _ = destroyed.pieces(record(REGIONS[:1]), settings, 180, 120)
    clean = against.resemblance(hidden, source, piece, settings)
    assert clean is not None
    assert clean[0] < against.SLOPE
    faint = np.rint(0.7 * hidden + 0.3 * source).astype(np.uint8)
    leaking = against.resemblance(faint, source, piece, settings)
    assert leaking is not None
    assert leaking[0] > against.SLOPE
    assert leaking[1] > against.CORRELATION


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_detail_that_comes_back_without_the_original_is_chance(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fill that looks like what was there is no leak, where it is the same without what was there."""
    settings, source = with_effect("inpaint"), images.from_array(draw(180, 120))
    known = record(REGIONS[:1]).replace(sha256=source.sha256)

    def hide(photo: images.Photo, *_: object) -> np.ndarray:
        hidden = effects.apply(photo.pixels, REGIONS[:1], settings)
        return np.rint((1 - share) * hidden + share * photo.pixels).astype(np.uint8)

    monkeypatch.setattr(against, "hide_record", hide)
    monkeypatch.setattr(against, "SLOPE", -1.0)  # every region resembles what was there
    monkeypatch.setattr(against, "CORRELATION", -1.0)
    data, _ = images.encode(source, hide(source), settings, changed(known.regions, settings, 180, 120))
    found = list(against.check(images.from_array(hide(source)), data, source, known, settings))
    assert [f.check for f in found] == ["destroyed"] * bool(share)
