"""A YOLO data.yaml: read, and checked before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import AnnotationError

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
KEPT = ("names", "nc", "kpt_shape", "flip_idx", "kpt_names")  # of a data.yaml; `download` may hold code and is dropped


@dataclass(frozen=True)
class Data:
    """A checked data.yaml.

    Attributes:
        folders: split -> folders or lists of photos, absolute; "train" and "val" are there.
        photos: split -> how many.
        fields: names, kpt_shape and what else of the file is kept.
    """

    folders: Mapping[str, tuple[Path, ...]]
    photos: Mapping[str, int]
    fields: Mapping[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        names = self.fields["names"]
        return tuple(str(names[k]) for k in sorted(names)) if isinstance(names, dict) else tuple(map(str, names))

    @property
    def has_corners(self) -> bool:
        return "kpt_shape" in self.fields


def read_data(path: Path) -> Data:
    """Read a YOLO data.yaml, as Roboflow, CVAT, ultralytics and the review's export write it.

    Its folders are looked for under its `path`, then beside the file; "../train/images" also without the "../", as
    Roboflow needs it.

    Raises:
        AnnotationError: not such a file, no class names, key points that are not four corners, or a split without
            photos.
    """
    import yaml

    try:
        fields = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as e:
        raise AnnotationError(f"{path}: not a data.yaml ({e})") from e
    if not isinstance(fields, dict) or not fields.get("names"):
        raise AnnotationError(f"{path}: a data.yaml has names (of the classes), train and val")
    if not isinstance(fields["names"], (dict, list)):
        raise AnnotationError(f"{path}: names is a list, or class number: name; received {fields['names']!r}")
    if fields.get("kpt_shape", [4, 3]) not in ([4, 2], [4, 3]):  # of others no detector here could make anything
        raise AnnotationError(
            f"{path}: kpt_shape is [4, 2] or [4, 3], a plate's corners; received {fields['kpt_shape']!r}. Export the "
            "data set with boxes alone"
        )
    roots = [path.resolve().parent]
    if fields.get("path"):
        roots.append(roots[0] / str(fields["path"]))
    folders, photos = {}, {}
    for split in ("train", "val", "test"):
        given = fields.get(split) or (fields.get("valid") if split == "val" else None)
        if not given and split == "test":
            continue
        if not given:
            raise AnnotationError(
                f"{path}: names no photos to {'train on' if split == 'train' else 'measure with'} ({split})"
            )
        entries = given if isinstance(given, list) else [given]
        folders[split] = tuple(_find(str(entry), roots, path) for entry in entries)
        photos[split] = sum(_count(folder) for folder in folders[split])
        if not photos[split]:
            raise AnnotationError(f"{path}: no photos for {split} in {', '.join(map(str, folders[split]))}")
    return Data(folders, photos, {k: fields[k] for k in KEPT if k in fields})


def _find(entry: str, roots: list[Path], path: Path) -> Path:
    tried = [root / e for root in reversed(roots) for e in (entry, entry.removeprefix("../"))]
    for place in tried:
        if place.exists():
            return place.resolve()
    raise AnnotationError(f"{path}: {entry} is not there (looked in {', '.join(str(t) for t in dict.fromkeys(tried))})")


def _count(place: Path) -> int:
    if place.is_file():
        return sum(1 for line in place.read_text("utf-8").splitlines() if line.strip())
    return sum(1 for p in place.rglob("*") if p.suffix.lower() in IMAGES)
