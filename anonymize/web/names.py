"""File names that came from a visitor, made safe."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

_PLAIN = re.compile(r"[^\w .()+\-]")


def safe_name(name: str) -> str:
    """A visitor's file name as one that any file system takes: no folders, no control characters, no hidden files."""
    last = PurePosixPath(name.replace("\\", "/")).name
    plain = _PLAIN.sub("_", last).strip(" .")
    stem, dot, extension = plain.rpartition(".")
    if not dot:
        return short(plain) or "photo"
    return f"{short(stem) or 'photo'}.{extension[:10]}"


def short(name: str, most: int = 180) -> str:
    """As much of a name as a file system takes: what it counts is bytes, and a letter has up to four."""
    return name.encode("utf-8", "ignore")[:most].decode("utf-8", "ignore")


def clean_name(name: str, suffix: str) -> str:
    """IMG_1.jpg -> IMG_1-anonymized.jpg: the visitor's own name for the download, safe as a file name."""
    stem = Path(name.replace("\\", "/")).stem
    safe = "".join(c if c.isalnum() or c in " -_.()" else "_" for c in stem).strip(" .")
    safe = short(safe) or "photo"
    return f"{safe}-anonymized{suffix.lower()}"
