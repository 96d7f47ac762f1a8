"""What detectors are shown of a photo in memory, and what makes an earlier answer count no more."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from anonymize import images, predictor
from anonymize.detectors import FakeDetector
from anonymize.errors import DetectionError
from anonymize.hiding import hide_record
from anonymize.predictor import Predictor
from anonymize.regions import Region
from anonymize.settings import Settings
from anonymize.weights.registry import registry


class Contrast(FakeDetector):
    """Finds a face wherever the picture is not of one color, as a person would."""

    def detect(self, images: Sequence[np.ndarray]) -> list[list[Region]]:
        return [[Region("face", (0, 0, 8, 8), 0.9)] if np.ptp(i.astype(int)) > 50 else [] for i in images]


def found(path: Path) -> int:
    photo = images.load(path, Settings())
    return len(Predictor(detectors=[Contrast()]).record(photo, path.name).regions)


def ramp(width: int = 64, height: int = 48) -> np.ndarray:
    return np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))


@pytest.mark.parametrize(
    ("spec", "at_once"),
    [
        ("plates@64", 4),
        ("own:Class", 1),
        ("tiled:own:Class", 1),
        ("two-stage:own:Class", 1),
        ("in-context:plates@64+own:Class", 1),
    ],
)
def test_a_class_of_ones_own_is_never_called_by_two_threads(
    spec: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody said that it is made for that."""
    monkeypatch.setenv("ANONYMIZE_THREADS", "4")
    assert Predictor(Settings(face_detector="plates@64", plate_detector=spec)).at_once == at_once


@pytest.mark.parametrize("color", [0, 255])
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_what_shows_through_transparency_alone_is_seen(tmp_path: Path, mode: str, color: int) -> None:
    alpha = Image.fromarray(ramp())
    plain = Image.new(mode[:-1], alpha.size, color if mode == "LA" else (color,) * 3)
    plain.putalpha(alpha)
    plain.save(tmp_path / "cut.png")
    assert found(tmp_path / "cut.png") == 1


def keyed(path: Path, bits: int, channels: int) -> None:
    """A PNG of two grays a step apart, one of them transparent; by hand, since Pillow does not write all of these."""
    shape = np.indices((16, 16)).sum(axis=0) // 4 % 2
    ground = 2**bits // 2
    samples = np.repeat((ground - shape)[:, :, None], channels, axis=2).reshape(16, -1)
    if bits < 8:
        every = np.unpackbits(samples.astype(np.uint8)[:, :, None], axis=2)[:, :, -bits:]
        rows = np.packbits(every.reshape(16, -1), axis=1)
    else:
        rows = samples.astype(f">u{bits // 8}").view(np.uint8).reshape(16, -1)
    head = (16).to_bytes(4, "big") * 2 + bytes([bits, 0 if channels == 1 else 2, 0, 0, 0])
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    other = ground | 1 << bits if bits < 16 else ground  # bits that no sample has do not count
    chunks = ((b"IHDR", head), (b"tRNS", other.to_bytes(2, "big") * channels), (b"IDAT", pixels), (b"IEND", b""))
    body = (len(c).to_bytes(4, "big") + k + c + zlib.crc32(k + c).to_bytes(4, "big") for k, c in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(body))


@pytest.mark.parametrize(("bits", "channels"), [(1, 1), (2, 1), (4, 1), (8, 1), (16, 1), (8, 3), (16, 3)])
def test_what_is_cut_out_by_one_transparent_color_is_seen(tmp_path: Path, bits: int, channels: int) -> None:
    keyed(tmp_path / "key.png", bits, channels)
    photo = images.load(tmp_path / "key.png", Settings())
    stored, on_white, on_black = photo.views()
    clear = np.indices((16, 16)).sum(axis=0) // 4 % 2 == 0
    for view, ground in ((on_white, 255), (on_black, 0)):
        assert (view[clear] == ground).all()
        assert np.array_equal(view[~clear], stored[~clear])
    if bits >= 8:  # else one step is much of what there is
        assert np.ptp(stored.astype(int)) <= 1
    assert found(tmp_path / "key.png") == 1


def test_a_transparent_color_that_no_pixel_has_is_not_looked_at(tmp_path: Path) -> None:
    Image.fromarray(ramp()).save(tmp_path / "key.png", transparency=1)  # the ramp goes in steps of four
    assert len(list(images.load(tmp_path / "key.png", Settings()).views())) == 1


def test_what_lies_under_transparent_pixels_is_seen_too(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([ramp()] * 3 + [np.zeros_like(ramp())])).save(tmp_path / "under.png")
    assert found(tmp_path / "under.png") == 1


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_few_bits_stored_in_sixteen_are_not_black(tmp_path: Path, bits: int) -> None:
    gray = ramp().astype(np.uint16) << (bits - 8)
    cv2.imwrite(str(tmp_path / "gray.png"), gray)
    cv2.imwrite(str(tmp_path / "color.png"), np.dstack([gray] * 3))
    cv2.imwrite(str(tmp_path / "alpha.png"), np.dstack([gray] * 3 + [np.full_like(gray, 65535)]))
    assert [found(p) for p in sorted(tmp_path.iterdir())] == [1, 1, 1]


def test_a_plain_photo_is_looked_at_once_as_it_is(bus: Path) -> None:
    photo = images.load(bus, Settings())
    (view,) = photo.views()
    assert np.array_equal(view, photo.rgb)


def test_views_on_white_and_black_are_what_a_viewer_shows(tmp_path: Path) -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    _, *shown = images.load(tmp_path / "a.png", Settings()).views()
    for view, ground in zip(shown, (255, 0), strict=True):
        back = Image.new("RGBA", (30, 20), (ground, ground, ground, 255))
        back.alpha_composite(Image.fromarray(rgba))
        assert np.abs(view.astype(int) - np.asarray(back.convert("RGB"))).max() <= 1


def test_a_crowd_in_one_view_stays_a_crowd_with_the_others(tmp_path: Path) -> None:
    """One wide box of another view over two of the crowd's would bring their number below what is refused."""

    class Crowd(FakeDetector):
        views = 0

        def detect(self, images: Sequence[np.ndarray]) -> list[list[Region]]:
            self.views += 1
            if self.views > 1:
                return [[Region("face", (0, 0, 20, 10), 0.95)]]
            return [[Region("face", (x, 0, x + 10, 10), 0.9 - x / 1000) for x in (0, 10, 40, 60, 80)]]

    alpha = np.full((20, 100), 255, np.uint8)
    alpha[0, 0] = 0
    Image.fromarray(np.dstack([alpha] * 4)).save(tmp_path / "a.png")
    few = Settings(max_regions=4)
    photo = images.load(tmp_path / "a.png", few)
    record = Predictor(few, detectors=[Crowd()]).record(photo, "a.png")
    assert 80 in {r.box[0] for r in record.regions}
    with pytest.raises(DetectionError, match="max_regions"):
        hide_record(photo, record, few)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_views_of_colors_that_are_stored_multiplied_by_alpha(tmp_path: Path, dtype: type) -> None:
    """Nearly opaque, of one stored color: what alpha draws shows on white alone; a second factor would wash it out."""
    scale = np.iinfo(dtype).max // 255
    alpha = 225 + ramp() // 9
    rgba = (np.dstack([np.full_like(alpha, 225)] * 3 + [alpha]).astype(int) * scale).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=["assocalpha"])
    stored, on_white, on_black = images.load(tmp_path / "a.tif", Settings()).views()
    assert np.array_equal(on_black, stored)
    assert np.abs(on_white[:, :, 0] - (225 + 255 - alpha.astype(int)).clip(0, 255)).max() <= 1


def test_another_calibration_or_way_of_looking_searches_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of before mean something else than thresholds of now."""

    class Own(FakeDetector):
        weights: Mapping[str, str] = MappingProxyType({"plates": "0" * 64})

    before = Predictor(detectors=[Own()]).detection_hash
    assert Predictor(detectors=[Own()]).detection_hash == before
    known = registry()
    changed = dataclasses.replace(known["plates"], calibration=(1.0, 2.0))
    with monkeypatch.context() as m:
        m.setattr(predictor, "registry", lambda: {**known, "plates": changed})
        assert Predictor(detectors=[Own()]).detection_hash != before
    monkeypatch.setattr(predictor, "DETECTION_VERSION", predictor.DETECTION_VERSION + 1)
    assert Predictor(detectors=[Own()]).detection_hash != before


@pytest.mark.parametrize(
    "settings",
    [
        Settings(face_detector="both", plate_detector="both"),
        Settings(face_detector="both", plate_detector="none"),
        Settings(face_detector="none", plate_detector="both"),
        Settings(face_detector="none", plate_detector="none", other_detectors=("both",)),
    ],
)
@pytest.mark.usefixtures("as_they_came")
def test_what_a_network_finds_of_a_kind_is_kept_whatever_it_was_named_for(settings: Settings) -> None:
    """What was found and dropped would be left in the open; `none` only says that nothing more looks for a kind."""
    asked = []

    def create(name: str, _: Settings) -> FakeDetector:
        asked.append(name)
        places = enumerate(("face", "plate", "person"))
        return FakeDetector([Region(kind, (20.0 * x, 0, 20.0 * x + 10, 10), 0.9 - x / 10) for x, kind in places], name)

    finder = Predictor(settings)
    finder._create = create  # type: ignore[assignment]
    (found,) = finder.predict([np.zeros((40, 80, 3), np.uint8)])
    assert [r.kind for r in found] == ["face", "plate", "person"]
    assert asked == ["both"]  # once, whatever it stands for


def test_photos_that_are_looked_at_together_get_what_each_gets_alone() -> None:
    """Two plain ones go to the detectors at once; one that lies on its side and a transparent one, each by itself."""

    calls: list[int] = []

    class Watched(Contrast):
        def detect(self, images: Sequence[np.ndarray]) -> list[list[Region]]:
            calls.append(len(images))
            return super().detect(images)

    class OnItsSide:
        weights: Mapping[str, str] = {}

        def turns(self, image: np.ndarray) -> tuple[int, ...]:
            return (1, 0) if image.shape[0] > image.shape[1] else (0,)

    plain, flat = np.dstack([ramp()] * 3), np.full((48, 64, 3), 90, np.uint8)
    transparent = np.dstack([flat, ramp()])
    photos = [images.from_array(p) for p in (plain, np.rot90(plain).copy(), transparent, flat)]
    asked = Predictor(detectors=[Watched()], upright=OnItsSide())  # type: ignore[arg-type]
    together = asked.predict_photos(photos)
    assert calls == [2, 1, 1, 1, 1, 1]
    assert together == [asked.predict_photo(photo) for photo in photos]
    assert [len(one) for one in together] == [1, 2, 1, 0]
    assert [r.path for r in asked.records(photos, list("abcd"))] == list("abcd")
    assert asked.predict_photos([]) == []
