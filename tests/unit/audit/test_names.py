"""Plate-like text in names: plates of many countries are, what cameras write is not."""

from __future__ import annotations

import pytest

from anonymize.audit.names import plates


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("B-AB 1234.jpg", ["B-AB 1234"]),
        ("AB12CDE.jpg", ["AB12CDE"]),
        ("cars/KA 01 AB 1234/x.jpg", ["KA 01 AB 1234"]),
        ("photo_AB-123-CD_front.jpg", ["AB-123-CD"]),
        ("b132xyz.png", ["b132xyz"]),
        ("Москва А123ВС77.jpg", ["А123ВС77"]),
    ],
)
def test_plates_are_found(path: str, found: list[str]) -> None:
    assert plates(path) == found


@pytest.mark.parametrize(
    "path",
    [
        "IMG_1234.jpg", "DSC01234.JPG", "P1010001.jpg", "PXL_20230101_120000123.jpg", "IMG-20200101-WA0001.jpg",
        "2020-01-01 10.00.00.jpg", "WhatsApp Image 2020-01-01 at 10.00.00.jpg", "00001.jpg", "street 12b.jpg",
        "a0b1c2d3e4f5.jpg", "1920x1080.png", "DSC_0012-2.jpg", "", "holiday/rome/day 3.jpg",
    ],
)  # fmt: skip
def test_names_that_cameras_and_people_give_are_none(path: str) -> None:
    assert plates(path) == []
