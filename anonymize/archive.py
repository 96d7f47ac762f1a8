"""Anonymized photos as one zip file, to hand out."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from .outputs import written
from .records import Record, unescape
from .settings import Settings


def add_photos(
    archive: zipfile.ZipFile,
    folder: Path,
    known: Iterable[Record],
    settings: Settings,
    *,
    below: str = "",
    gate: Callable[[Record], str | None] = lambda _: None,
    detections: bool = False,
) -> None:
    """Add the photos of an output folder that show their records under these settings, untouched since.

    Args:
        archive: open for writing. below: its folder for them, "" or with a slash at the end.
        gate: why a photo may not go out, or None. detections: also the JSON file beside each photo.
    """
    for record, photo in written(folder, known, settings):
        if gate(record) is None:
            # A name that is no UTF-8 cannot stand in a zip as it is.
            name = below + os.fsencode(unescape(record.path)).decode("utf-8", "replace")
            archive.write(photo, name)
            if detections:
                archive.write(photo.with_name(f"{photo.name}.json"), f"{name}.json")
