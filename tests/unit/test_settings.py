import json
from typing import Any

import pytest

from anonymize.errors import SettingsError, UnknownNameError
from anonymize.regions import Region
from anonymize.settings import Kernel, Kind, Settings


def test_settings_survive_json() -> None:
    settings = Settings(keep_metadata=("iso",), jobs=3).with_kind(
        "screen", effect="solid", fill="ff00ff", kernel="101,3,19"
    )
    assert Settings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": "tpu"}, "auto"),
        ({"face_detector": ""}, "or none"),
        ({"plate_detector": ""}, "or none"),
        ({"iou_threshold": 1.5}, "at most 1"),
        ({"iou_threshold": "much"}, "a number"),
        ({"keep_metadata": ("gps",)}, "copyright"),
        ({"max_regions": 0}, "at least 1"),
        ({"color": 1}, "face_detector"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_is_right(changes: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings().replace(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": 0.0}, "0.001"),
        ({"threshold": float("nan")}, "threshold"),
        ({"min_size": float("inf")}, "finite"),
        ({"max_size": float("inf")}, "finite"),
        ({"effect": "swirl"}, "pixelate"),
        ({"mask": "star"}, "ellipse"),
        ({"fill": "pink"}, "hex"),
        ({"fill": "#black"}, "hex"),
        ({"kernel": "4,1,1"}, "odd"),
        ({"kernel": "a,b"}, "SIZE,SIGMA,FEATHER"),
        ({"kernel": "3,-1,0"}, "at least 0"),
        ({"size": 3}, "threshold"),
    ],
)
def test_a_wrong_setting_of_a_kind_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings().with_kind("face", **changes)


@pytest.mark.parametrize(
    "data",
    [
        {"kinds": {"face": None}},
        {"kinds": {"face": 3}},
        {"keep_metadata": None},
        {"image_extensions": 5},
        {"kinds": None},
        7,
    ],
)
def test_other_json_than_settings_is_refused_in_a_sentence(data: Any) -> None:
    with pytest.raises(SettingsError, match="received"):
        Settings.from_dict(data)


def test_the_kernel_is_written_as_in_the_guide() -> None:
    assert Kernel.parse("101,3,19") == Kernel(101, 3.0, 19)
    assert str(Kernel(65, 0.5, 19)) == "65,0.5,19"
    assert Kind(kernel="65,3,19").kernel == Kernel(65, 3.0, 19)  # type: ignore[arg-type]


def test_what_is_hidden() -> None:
    settings = Settings().with_kind("face", threshold=0.5, min_size=4, max_size=50)
    face = Region("face", (0, 0, 10, 10), 0.5)
    assert settings.hides(face)
    assert not settings.hides(face.replace(score=0.49))
    assert not settings.hides(face.replace(box=(0, 0, 3, 10)))
    assert not settings.hides(face.replace(box=(0, 0, 10, 60)))
    assert not settings.hides(face.replace(status="rejected"))
    assert settings.hides(face.replace(status="accepted", score=0.0, box=(0, 0, 1, 1)))
    assert settings.hides(face.replace(status="manual", kind="anything"))
    assert not settings.hides(face.replace(kind="vehicle", score=1.0))
    assert settings.with_kind("screen", threshold=0.3).hides(face.replace(kind="screen"))


def test_hashes_change_with_what_they_stand_for_only() -> None:
    settings = Settings()
    assert settings.replace(jobs=7, device="cpu").export_hash() == settings.export_hash()
    assert settings.with_kind("face", padding=0.3).export_hash() != settings.export_hash()
    assert settings.with_kind("face", padding=0.3).detection_hash() == settings.detection_hash()
    assert settings.replace(iou_threshold=0.2).detection_hash() != settings.detection_hash()


def test_an_unknown_name_lists_the_valid_ones() -> None:
    error = UnknownNameError("effect", "swirl", ["solid", "blur"])
    assert str(error) == "unknown effect 'swirl'; valid: blur, solid"


def test_a_color_may_be_written_as_color_pickers_copy_it() -> None:
    assert Kind(fill="#0B6b60") == Kind(fill="0B6b60")
