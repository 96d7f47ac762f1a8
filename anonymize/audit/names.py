"""Plate-like text in the names of files and folders: a hidden plate is no secret when the file is called by it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import PurePosixPath

from .findings import Finding

# What cameras, phones and programs call their files; and hashes, dates, times, sizes.
_PREFIXES = (
    "img image dsc dscn dscf pxl gopr gp gh gx mvi mov vid sam cimg imgp sdc dji wa wp screenshot photo scan page "
    "frame p1 kodak hpim burst cover mvimg oid ro test train val batch part copy cam camera track seq clip iso v no nr "
    "id row col tile left right day take set run lot px mp utc gmt week rev jpeg jpg png rgb hdr raw neg pos s t x f"
)
_CAMERA = re.compile(rf"(?i)(?:{'|'.join(_PREFIXES.split())})[-_ ]?e?\d+(?:[-_ ]\d+)?")
_NUMBERS = re.compile(r"\d+(?:x\d+|px|mp|k|mm|cm|m|s|h|am|pm|st|nd|rd|th|bit|dpi|fps|p|mb|kb)?", re.I)
_LETTERS, _DIGITS = re.compile(r"[^\W\d_]", re.UNICODE), re.compile(r"\d")
_SHORTEST, _LONGEST = 5, 10  # characters of a plate; most have six or seven
_LINKS = frozenset(["at", "of", "on", "in", "by", "to", "and", "the"])
_MOST_PARTS = 4  # B AB 1234, AB 12 CD, KA 01 AB 1234


def plates(path: str) -> list[str]:
    """Parts of a path that read like a license plate, as they stand there.

    Two to four letters groups and digit groups that together have five to ten characters, at least one letter and two
    digits. What cameras call their files, and hexadecimal hashes, are none.
    """
    parts = PurePosixPath(path).parts
    names = [*parts[:-1], PurePosixPath(parts[-1]).stem] if parts else []
    return list(dict.fromkeys(found for name in names for found in _in_name(name)))


def check(path: str) -> Iterator[Finding]:
    """What a person should look at in a path."""
    for text in plates(path):
        yield Finding("names", "look", f"“{text}” in its name reads like a license plate")


def _in_name(name: str) -> Iterator[str]:
    if _CAMERA.fullmatch(name) or re.fullmatch(r"(?i)[0-9a-f]{12,}|[0-9a-f-]{36}", name):
        return
    words = [(m.start(), m.end(), m[0]) for m in re.finditer(r"[^\W_]+", name, re.UNICODE)]
    taken = -1
    for i in range(len(words)):
        if words[i][0] <= taken:
            continue
        for j in range(min(i + _MOST_PARTS, len(words)), i, -1):
            some = words[i:j]
            if all(b[0] - a[1] <= 1 for a, b in pairwise(some)) and _is_plate([w for *_, w in some]):
                yield name[some[0][0] : some[-1][1]]
                taken = some[-1][1]
                break


def _is_plate(words: list[str]) -> bool:
    """Whether these words, written together, have a plate's form: groups of letters and of digits, neither long."""
    joined = "".join(words)
    if not _SHORTEST <= len(joined) <= _LONGEST or _CAMERA.fullmatch("-".join(words)) or _NUMBERS.fullmatch(joined):
        return False
    groups = re.findall(r"\d+|[^\W\d_]+", joined, re.UNICODE)
    if _LINKS & {w.lower() for w in words}:
        return False
    letters, digits = len(_LETTERS.findall(joined)), len(_DIGITS.findall(joined))
    if letters < 1 or digits < 2 or letters + digits != len(joined) or not 2 <= len(groups) <= 5:
        return False
    longest = max((len(g) for g in groups if not g.isdigit()), default=0)
    # Plates are written in capitals, or in small letters throughout; words of a language are longer than three.
    most = max(len(g) for g in groups if g.isdigit())
    return longest <= 3 and most <= 5 and (joined.isupper() or joined.islower())
