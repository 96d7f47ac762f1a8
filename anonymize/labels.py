"""Class names, as networks and data sets write them, and the kinds of region that they mean: one table for both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

# In the form of `plain`.
KINDS: Mapping[str, str] = {
    **dict.fromkeys(
        ("plate", "plates", "license plate", "licence plate", "license plates", "licence plates", "licenseplate")
        + ("licenceplate", "number plate", "numberplate", "registration plate", "car plate", "vehicle plate")
        + ("vehicle license plate", "vehicle registration plate", "lp", "anpr"),
        "plate",
    ),
    **dict.fromkeys(("face", "faces", "human face", "human faces"), "face"),
    **dict.fromkeys(("car", "truck", "motorcycle", "motorbike", "bus", "van", "vehicle"), "vehicle"),
    **dict.fromkeys(("person", "pedestrian", "people"), "person"),
}

HIDDEN = ("face", "plate")  # kinds that are hidden by default, and measured whatever the settings hide


@lru_cache(maxsize=1024)
def plain(name: str) -> str:
    """A name in lower case, its separators as single spaces: "License_Plate" -> "license plate"."""
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


def kind_of(name: str) -> str | None:
    """ "License_Plate" -> "plate", "car" -> "vehicle"; None where the table does not know the name."""
    return KINDS.get(plain(name))


def meant(name: str, kinds: Iterable[str] = ()) -> str | None:
    """The kind that is hidden by default, or is one of `kinds`, and that a name means; else None."""
    own = {plain(k): k for k in kinds}
    kind = kind_of(name)
    return own.get(plain(name)) or (kind if kind in (*HIDDEN, *own.values()) else None)
