"""A YOLO data.yaml: read, and checked with all its labels before anything is trained."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import AnnotationError
from ..extras import extra

log = logging.getLogger(__name__)

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
UNREAD = (".heic", ".heif")  # photos here, but not where ultralytics reads
KEPT = ("names", "nc", "kpt_shape", "flip_idx", "kpt_names")  # of a data.yaml; `download` may hold code and is dropped


@dataclass(frozen=True)
class Data:
    """A checked data.yaml.

    Attributes:
        folders: split -> folders or lists of photos, absolute; "train" and "val" are there.
        files: split -> the photos, absolute, each once.
        names: of the classes, by number.
        fields: names, kpt_shape and what else of the file is kept.
    """

    folders: Mapping[str, tuple[Path, ...]]
    files: Mapping[str, tuple[Path, ...]]
    names: tuple[str, ...]
    fields: Mapping[str, Any]

    @property
    def photos(self) -> dict[str, int]:
        """Split -> how many."""
        return {split: len(files) for split, files in self.files.items()}

    @property
    def has_corners(self) -> bool:
        return "kpt_shape" in self.fields


def read_data(path: Path) -> Data:
    """Read a YOLO data.yaml, as Roboflow, CVAT, ultralytics and the review's export write it, and all its labels.

    Its folders are looked for under its `path`, then beside the file; "../train/images" also without the "../", as
    Roboflow needs it. A `test` that is not there is none.

    Raises:
        AnnotationError: not such a file; class names with gaps, or other than `nc`; key points that are not four
            corners; a split without photos, a listed photo that is not there, a label that is none, or no labels.
    """
    with extra("train", "training"):
        from ..annotations import read_data_yaml

    data, fields = read_data_yaml(path)
    if data.kpt_shape not in (None, (4, 2), (4, 3)):  # of others no detector here could make anything
        raise AnnotationError(
            f"{path}: kpt_shape is [4, 2] or [4, 3], a plate's corners; received {fields['kpt_shape']!r}. Export the "
            "data set with boxes alone"
        )
    roots = [path.resolve().parent]
    if data.path:
        roots.append(roots[0] / data.path)
    folders, files = {}, {}
    for split, purpose in (("train", "train on"), ("val", "measure with"), ("test", "")):
        given = getattr(data, split)
        if not given and split == "test":
            continue
        if not given:
            raise AnnotationError(f"{path}: names no photos to {purpose} ({split})")
        try:
            folders[split] = tuple(_find(e, roots, path) for e in ([given] if isinstance(given, str) else given))
        except AnnotationError:
            if split != "test":
                raise
            log.warning("%s: its test photos are not there; nothing here needs them", path)
            continue
        files[split] = tuple(dict.fromkeys(photo for place in folders[split] for photo in _photos(place)))
        if not files[split]:
            raise AnnotationError(f"{path}: no photos for {split} in {', '.join(map(str, folders[split]))}")
    for split, photos in files.items():
        _check_labels(photos, split, len(data.names), data.points)
    names = tuple(data.names[n] for n in sorted(data.names))
    return Data(folders, files, names, {k: fields[k] for k in KEPT if k in fields})


def _find(entry: str, roots: list[Path], path: Path) -> Path:
    tried = [root / e for root in reversed(roots) for e in (entry, entry.removeprefix("../"))]
    for place in tried:
        if place.exists():
            return place.resolve()
    raise AnnotationError(f"{path}: {entry} is not there (looked in {', '.join(str(t) for t in dict.fromkeys(tried))})")


def _photos(place: Path) -> Iterable[Path]:
    """The photos in a folder, or that a list names, line by line, relative to the list."""
    if place.is_dir():
        found = sorted(p for p in place.rglob("*") if p.suffix.lower() in (*IMAGES, *UNREAD))
    else:
        try:
            lines = enumerate(place.read_text("utf-8-sig").split("\n"), 1)
        except (OSError, ValueError) as e:
            raise AnnotationError(f"{place} is no list of photos: {e}") from e
        found = []
        for number, line in ((n, text.strip()) for n, text in lines if text.strip()):
            found.append(Path(os.path.abspath(place.parent / line)))
            if not found[-1].is_file():
                raise AnnotationError(f"{place}: line {number}: the photo {line} is not there")
    if unread := [p for p in found if p.suffix.lower() in UNREAD]:
        raise AnnotationError(
            f"{unread[0]}: training reads no HEIC; convert such photos ({len(unread)}) to JPEG or PNG"
        )
    if torn := [p for p in found if p.suffix.lower() in (".jpg", ".jpeg") and _is_torn(p)]:
        raise AnnotationError(
            f"{torn[0]}: a JPEG without an end, which training cannot read; write such photos ({len(torn)}) anew"
        )
    return found


def _is_torn(photo: Path) -> bool:
    """Whether OpenCV cannot read a JPEG that does not end as one; it can where more follows the end."""
    with open(photo, "rb") as file:
        file.seek(max(file.seek(0, os.SEEK_END) - 2, 0))
        if file.read() == b"\xff\xd9":
            return False
    import cv2
    import numpy as np

    return cv2.imdecode(np.fromfile(photo, np.uint8), cv2.IMREAD_COLOR) is None  # as ultralytics reads it


def _check_labels(photos: Iterable[Path], split: str, classes: int, points: int) -> None:
    """Read every label; say what has none."""
    from ..annotations import read_labels

    labels = {label_of(p): p for p in photos}
    there = [label for label in labels if label.is_file()]
    if not there:
        raise AnnotationError(f"there are no labels for {split}: {next(iter(labels))} and all others are missing")
    for label in there:
        for _ in read_labels(label, classes, points, is_uniform=True):
            pass
    if without := len(labels) - len(there):
        log.warning("%s: %d of %d photos have no label file and count as empty", split, without, len(labels))
    orphans = [p for folder in {t.parent for t in there} for p in folder.glob("*.txt") if p not in labels]
    if orphans := [p for p in orphans if p.name not in ("classes.txt", "README.txt")]:
        log.warning("%s: %d label files have no photo: %s", split, len(orphans), min(orphans))


def label_of(photo: Path) -> Path:
    """ultralytics' convention: images/val/a.jpg -> labels/val/a.txt."""
    parts = list(photo.with_suffix(".txt").parts)
    places = [i for i, part in enumerate(parts[:-1]) if part == "images"]
    if places:
        parts[places[-1]] = "labels"
    return Path(*parts)
