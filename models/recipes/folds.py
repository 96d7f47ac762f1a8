"""Five folds of the four sources, for cross-validation: what resembles each other is in one fold."""

from __future__ import annotations

import hashlib
import re

FOLDS = 5
HELD_OUT = 4  # of the network that was trained here: the last fifth of both rides
LAST_FRAME = {"ro-dayride": 1613, "ro-nightride": 263}  # of the rides' frames, which come in their order


def fold(name: str) -> int:
    """0–4: Open Images and masks by their name's hash; rides by time; grey photos ten neighbors together."""
    stem = name.partition(".")[0]
    number = int(re.findall(r"\d+$", stem)[0]) if stem[-1].isdigit() else 0
    for ride, last in LAST_FRAME.items():
        if stem.startswith(ride):
            return min(number * FOLDS // (last + 1), FOLDS - 1)
    if stem.startswith("neg-"):
        return number // 10 % FOLDS
    return hashlib.sha256(stem.encode()).digest()[0] % FOLDS


def source(name: str) -> str:
    """photos, rides, masks or empty."""
    return {"oid": "photos", "ro": "rides", "mask": "masks", "neg": "empty"}[name.partition("-")[0]]
