"""Hiding in memory: what comes back is hidden, or there is an error."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anonymize import FakeDetector, Predictor, Record, Region, hide
from anonymize import images as photos
from anonymize.errors import (
    ChangedSourceError,
    DetectionError,
    SettingsError,
    UnknownNameError,
    UnreadableImageError,
    UnsupportedImageError,
)
from anonymize.hiding import hide_record
from anonymize.settings import Settings

MAGENTA = Settings().with_kind("face", effect="solid", fill="ff00ff", mask="rectangle", padding=0.0)
FACE = Region("face", (4, 4, 12, 10), 0.9)


def predictor(*found: Region, settings: Settings = MAGENTA) -> Predictor:
    return Predictor(settings, detectors=[FakeDetector(list(found or [FACE]))])


def picture(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, shape or (24, 32, 3)).astype(dtype)


def test_an_array_comes_back_hidden_and_is_not_changed_itself() -> None:
    given = picture()
    before = given.copy()
    clean, regions = hide(given, predictor=predictor())
    assert (given == before).all()
    assert given.flags.writeable
    assert (clean[4:10, 4:12] == (255, 0, 255)).all()
    assert (clean[14:] == given[14:]).all()
    assert [r.box for r in regions] == [FACE.box]
    clean[0, 0] = 0  # it is the caller's own


@pytest.mark.parametrize("found", [[], [FACE]])
def test_what_is_written_into_an_array_afterwards_is_not_in_what_came_back(found: list[Region]) -> None:
    """A camera's next frame, in the same memory."""
    given = picture()
    clean, _ = hide(given, predictor=Predictor(MAGENTA, detectors=[FakeDetector(found)]))
    before = clean.copy()
    given[:] = 255
    assert (clean == before).all()
    clean[0, 0] = 0  # it is the caller's own, whatever was found


def test_what_is_written_into_an_array_meanwhile_is_not_in_what_comes_back() -> None:
    given = picture()

    class Camera(FakeDetector):
        def detect(self, images: Sequence[np.ndarray]) -> list[list[Region]]:
            given[:] = 255  # the next frame, in which the face is elsewhere
            return super().detect(images)

    clean, _ = hide(given, predictor=Predictor(MAGENTA, detectors=[Camera([FACE])]))
    assert (clean[14:] == picture()[14:]).all()


@pytest.mark.parametrize("shape", [(24, 32), (24, 32, 1), (24, 32, 2), (24, 32, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_arrays_of_other_forms(shape: tuple[int, ...], dtype: type) -> None:
    given = picture(*shape, dtype=dtype)
    clean, _ = hide(given, predictor=predictor())
    assert (clean.shape, clean.dtype) == (given.shape, given.dtype)
    hidden = clean[4:10, 4:12].reshape(48, -1)
    assert (hidden == hidden[0]).all()  # one color


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4, 5), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8), np.zeros(4, np.uint8)]
)
def test_what_is_no_image_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(UnsupportedImageError):
        hide(wrong, predictor=predictor())


@pytest.mark.parametrize("wrong", [None, b"\xff\xd8\xff\xe0\0\x10JFIF", io.BytesIO(b"x"), ["a.jpg"], [[[1, 2, 3]]]])
def test_what_is_neither_a_path_nor_a_picture_is_told_what_is(wrong: object) -> None:
    with pytest.raises(SettingsError, match=r"a path, a Pillow image, or a NumPy array .*PIL\.Image\.open"):
        hide(wrong, predictor=predictor())  # type: ignore[arg-type]


def test_a_folder_and_an_impossible_name_are_said_to_be_that(tmp_path: Path) -> None:
    for wrong, said in ((tmp_path, "is a folder"), ("a\0.jpg", "no file can have this name")):
        with pytest.raises(UnreadableImageError, match=said):
            hide(wrong, predictor=predictor())


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16"])
def test_a_pillow_image_of_every_mode_comes_back_hidden_without_metadata(mode: str) -> None:
    if mode == "I;16":
        given = Image.fromarray(picture(24, 32, dtype=np.uint16))
    else:
        given = Image.fromarray(picture()).convert("RGBA" if mode == "PA" else "RGB").convert(mode)
    given.info["comment"] = b"secret"
    clean, _ = hide(given, predictor=predictor())
    before, after = (np.asarray(i.convert("RGB") if i.mode != "I;16" else i).astype(int) for i in (given, clean))
    assert (before[5:9, 5:11] != after[5:9, 5:11]).any()
    assert (before[14:] == after[14:]).all()
    assert not clean.info
    given.load()  # still open


def test_a_transparent_pillow_image_is_looked_at_on_white_and_black() -> None:
    views: list[np.ndarray] = []

    class Looking(FakeDetector):
        def detect(self, images: Sequence[np.ndarray]) -> list[list[Region]]:
            views.extend(images)
            return super().detect(images)

    keyed = Image.fromarray(picture(24, 32))
    keyed.info["transparency"] = 7
    hide(keyed, predictor=Predictor(MAGENTA, detectors=[Looking([FACE])]))
    assert len(views) == 3


def test_a_pillow_image_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = io.BytesIO()
    Image.fromarray(picture()).save(data, "PNG", exif=exif)
    clean, _ = hide(Image.open(data), predictor=predictor())
    assert clean.size == (24, 32)
    assert clean.getpixel((6, 6)) == (255, 0, 255)
    assert not clean.getexif()


def test_a_truncated_pillow_image_is_refused(folder: Path) -> None:
    data = (folder / "1.jpg").read_bytes()
    with pytest.raises(UnreadableImageError):
        hide(Image.open(io.BytesIO(data[: len(data) // 2])), predictor=predictor())


def test_a_mode_without_colors_is_refused() -> None:
    with pytest.raises(UnsupportedImageError, match="convert it to RGB"):
        hide(Image.new("F", (8, 8)), predictor=predictor())


def test_a_path_comes_back_as_a_pillow_image(folder: Path, tmp_path: Path) -> None:
    for path in (folder / "1.png", str(folder / "1.jpg")):
        clean, _ = hide(path, predictor=predictor())
        clean.save(tmp_path / "clean.png")
        assert Image.open(tmp_path / "clean.png").convert("RGB").getpixel((6, 6)) == (255, 0, 255)


def test_settings_choose_the_effect_and_a_preset_is_a_name() -> None:
    given = picture()
    black, _ = hide(given, MAGENTA.with_kind("face", fill="black"), predictor=predictor())
    assert (black[5:9, 5:11] == 0).all()
    _, regions = hide(given, "thorough", predictor=predictor(FACE.replace(score=0.25)))
    assert len(regions) == 1
    with pytest.raises(UnknownNameError, match="balanced"):
        hide(given, "fastest", predictor=predictor())


def test_detectors_are_loaded_once_for_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def fake(name: str, settings: Settings, **_: object) -> FakeDetector:
        made.append(name)
        return FakeDetector([FACE], name)

    monkeypatch.setattr("anonymize.predictor.create", fake)
    mine = MAGENTA.replace(face_detector="mine", plate_detector="none")
    for _ in range(3):
        hide(picture(), mine)
    assert made == ["mine"]


def test_no_detector_is_an_error() -> None:
    with pytest.raises(SettingsError, match="no detector"):
        hide(picture(), Settings(face_detector="none", plate_detector="none"))
    with pytest.raises(SettingsError, match="the detectors look for nothing"):
        hide(picture(), predictor=Predictor(detectors=[]))


def test_as_many_regions_as_are_kept_are_an_error_whoever_says_how_many() -> None:
    crowd = [Region("face", (4 * i, 0, 4 * i + 3, 3), 0.9) for i in range(5)]
    few = MAGENTA.replace(max_regions=3)
    for settings, finder in (
        (None, predictor(*crowd, settings=few)),
        (MAGENTA, predictor(*crowd, settings=few)),
        (few, predictor(*crowd)),
    ):
        with pytest.raises(DetectionError, match="max_regions"):
            hide(picture(), settings, predictor=finder)


def test_a_record_of_another_photo_or_of_a_failure_is_refused(folder: Path) -> None:
    photo = photos.load(folder / "1.jpg", MAGENTA)
    record = predictor().record(photo, "1.jpg")
    assert hide_record(photo, record, MAGENTA).shape == photo.pixels.shape
    with pytest.raises(ChangedSourceError, match="changed"):
        hide_record(photo, record.replace(sha256="0" * 64), MAGENTA)
    with pytest.raises(ChangedSourceError, match="pixels"):
        hide_record(photo, record.replace(width=7), MAGENTA)
    with pytest.raises(DetectionError, match="broken"):
        hide_record(photo, record.replace(error="broken"), MAGENTA)
    with pytest.raises(DetectionError, match="no detector looked"):
        hide_record(photo, Record("1.jpg", photo.sha256, photo.width, photo.height), MAGENTA)


@pytest.mark.parametrize("box", [(40, 4, 60, 20), (4, -9, 12, 0), (32, 4, 40, 10)])
def test_a_box_that_a_person_drew_outside_of_the_photo_is_an_error(box: tuple[float, ...]) -> None:
    """Of another size's coordinates, in records edited by hand: it would count as hidden and hide nothing."""
    photo = photos.from_array(picture())
    drawn = Region("face", box, status="manual")  # type: ignore[arg-type]
    record = Record("a.png", photo.sha256, photo.width, photo.height, detectors={"x": {}}, regions=(drawn,))
    with pytest.raises(DetectionError, match="outside"):
        hide_record(photo, record, MAGENTA)
    at_the_edge = drawn.replace(box=(31.5, 4, 40, 10))
    assert hide_record(photo, record.replace(regions=(at_the_edge,)), MAGENTA)[5, 31].tolist() == [255, 0, 255]


@pytest.mark.parametrize("kind", ["Face", "human_face", "License Plate"])
def test_a_record_that_has_another_name_for_what_is_hidden_is_an_error(kind: str) -> None:
    """One of another program, or edited by hand: what it names so would be left in the open."""
    photo = photos.from_array(picture())
    found = Region(kind, (4, 4, 12, 10), 0.4)
    record = Record("a.png", photo.sha256, photo.width, photo.height, detectors={"x": {}}, regions=(found,))
    with pytest.raises(DetectionError, match="calls a"):
        hide_record(photo, record, MAGENTA)
    vehicles_stay = record.replace(regions=(found.replace(kind="car"),))
    assert (hide_record(photo, vehicles_stay, MAGENTA) == photo.pixels).all()
    own_kind = MAGENTA.with_kind(kind, threshold=0.4)
    assert (hide_record(photo, record, own_kind) != photo.pixels).any()
