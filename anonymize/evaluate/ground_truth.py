"""Ground truth: what is really in photos, read from COCO, YOLO or Pascal VOC annotations.

`annotations` reads the files, strictly. What may not be passed over in silence is an error or a count here: a class
that is not known, an annotated photo that is not in the folder, a name that fits several photos.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from .. import labels
from ..disk import AnyPath
from ..errors import AnnotationError
from ..extras import extra
from ..records import escape
from ..regions import Box


@dataclass(frozen=True, slots=True)
class Truth:
    """One thing that is really in a photo.

    Attributes:
        kind: as a Region's.
        box: (x1, y1, x2, y2), pixels of a photo of its `Photo.size`, half-open.
        ignore: neither a miss nor a false positive (COCO's iscrowd or ignore, VOC's difficult).
        id: as the annotations name it, else its place in its file.
    """

    kind: str
    box: Box
    ignore: bool = False
    id: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {"id": self.id, "kind": self.kind, "box": list(self.box), "ignore": self.ignore}


@dataclass(frozen=True, slots=True)
class Photo:
    """One annotated photo.

    Attributes:
        truths: everything in it; empty when the annotations say that nothing is.
        size: (width, height) for which the boxes were written; None: the photo's own; (1, 1): fractions of it (YOLO).
    """

    truths: tuple[Truth, ...] = ()
    size: tuple[float, float] | None = None

    def at(self, width: int, height: int) -> tuple[Truth, ...]:
        """The truths in pixels of the upright photo, which is `width` x `height` px.

        Raises:
            AnnotationError: the boxes were written for a photo of another shape (most often one not turned upright).
        """
        if self.size is None or self.size == (width, height):
            return self.truths
        fx, fy = width / self.size[0], height / self.size[1]
        relative = self.size == (1, 1)
        # Resized photos differ in shape by the rounding of a side, turned ones by far more.
        if not relative and abs(fx / fy - 1) > 0.02:
            was = "x".join(f"{v:g}" for v in self.size)
            raise AnnotationError(f"the boxes are for a photo of {was} px, but it is {width}x{height} px, upright")

        def scale(t: Truth) -> Truth:
            sides = [v * f for v, f in zip(t.box, (fx, fy, fx, fy), strict=True)]
            # Six decimals of a fraction: not rounded, a whole pixel would become a little more than one.
            x1, y1, x2, y2 = (round(v, 2) for v in sides) if relative else sides
            return replace(t, box=(x1, y1, x2, y2))

        return tuple(map(scale, self.truths))


@dataclass(frozen=True)
class Annotations:
    """What a set of annotations says.

    Attributes:
        photos: path (POSIX, relative to the images' folder, escaped as records' are) -> its truths. An annotated photo
            that is not in the folder is here too: an evaluation has no record of it and counts it as withheld.
        missing: of those, the paths that are not in the folder.
        unannotated: photos in the folder of which the annotations say nothing; they are not measured.
        unknown: class name -> boxes left out, because the name stands for no kind.
    """

    photos: Mapping[str, Photo]
    missing: tuple[str, ...] = ()
    unannotated: tuple[str, ...] = ()
    unknown: Mapping[str, int] = field(default_factory=dict)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of which something is annotated, in alphabetical order."""
        return tuple(sorted({t.kind for p in self.photos.values() for t in p.truths}))


def read(source: AnyPath, folder: AnyPath, paths: Sequence[str], kinds: Iterable[str] = ()) -> Annotations:
    """Read annotations of the photos in a folder; the format is recognized by what is there.

    COCO: a .json file. YOLO: a data.yaml, or the folder of label files with a data.yaml or classes.txt in or above it;
    labels lie as the photos do, or under `labels` where those are under `images`; a photo without a label file shows
    nothing, as in ultralytics. Pascal VOC: a folder of .xml files, each with its photo's relative path or naming it in
    `filename`; pixel indices are 1-based and inclusive, as in VOC's development kit.

    Args:
        source: the annotations.
        folder: the images' folder.
        paths: the photos in it, relative to it (`images.find`).
        kinds: further kinds; a class of such a name is of that kind.

    Raises:
        AnnotationError: nothing to read, a broken file, a box without area, a name that fits several photos, or not one
            annotated photo in the folder.
    """
    source, folder = Path(source), Path(folder)
    reader = _Reader(folder, [PurePosixPath(p) for p in paths], tuple(kinds))
    if not source.is_dir() and not source.is_file():
        raise AnnotationError(f"there are no annotations at {source}")
    try:
        if source.is_dir() and any(source.rglob("*.xml")):
            _read_voc(source, reader)
        elif source.is_dir() or source.suffix.lower() in (".yaml", ".yml"):
            _read_yolo(source, reader)
        else:
            _read_coco(source, reader)
    except (OSError, ValueError) as e:
        raise AnnotationError(f"cannot read the annotations {source}: {e}") from e
    return reader.finish(source)


class Names:
    """The files of a folder, by the names that annotations have for them."""

    def __init__(self, folder: Path, paths: list[PurePosixPath]) -> None:
        self.folder, self.paths = folder, paths
        self._known = set(paths)
        self._names: dict[str, list[PurePosixPath]] = {}
        self._stems: dict[PurePosixPath, list[PurePosixPath]] = {}
        self._bare: dict[str, list[PurePosixPath]] = {}
        for p in paths:
            self._bare.setdefault(p.stem, []).append(p)
            self._names.setdefault(p.name, []).append(p)
            self._stems.setdefault(p.with_suffix(""), []).append(p)

    def find(self, name: str) -> PurePosixPath:
        """The photo that annotations call `name`: its relative path, else the one photo of that file name."""
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() and path.is_relative_to(self.folder.absolute().as_posix()):
            path = path.relative_to(self.folder.absolute().as_posix())
        if path in self._known:
            return path
        return _only(self._names.get(path.name, []), name) or path

    def beside(self, path: PurePosixPath, name: str) -> PurePosixPath:
        """The one photo whose relative path is `path` but for the suffixes, else the one that is called `name`."""
        fits = self._stems.get(path.with_suffix(""), [])
        return fits[0] if len(fits) == 1 else self.find(name)

    def of_label(self, label: PurePosixPath) -> PurePosixPath:
        """The photo of a YOLO label file: of its relative path, else of its stem, whatever the suffix."""
        fits = self._stems.get(label.with_suffix(""), [])
        fits = fits or self._bare.get(label.stem, [])
        return _only(fits, str(label)) or label.with_suffix(".jpg")


class _Reader(Names):
    """Collects what a format's reader finds, and knows the photos."""

    def __init__(self, folder: Path, paths: list[PurePosixPath], kinds: tuple[str, ...]) -> None:
        super().__init__(folder, paths)
        self.kinds = kinds
        self.photos: dict[str, Photo] = {}
        self.unknown: Counter[str] = Counter()

    def truth(self, name: str, box: Sequence[float], ignore: bool, id: str, where: str) -> Truth | None:
        """A checked truth; None, and counted, when its class is unknown."""
        x1, y1, x2, y2 = (float(v) for v in box)
        if not all(map(math.isfinite, (x1, y1, x2, y2))) or x2 <= x1 or y2 <= y1:
            raise AnnotationError(f"{where}: box {id} has no area: {x1:g}, {y1:g}, {x2:g}, {y2:g} (x1, y1, x2, y2)")
        kind = labels.meant(name, self.kinds)
        if kind is None:
            self.unknown[name] += 1
            return None
        return Truth(kind, (x1, y1, x2, y2), ignore, id)

    def add(self, path: PurePosixPath, truths: Iterable[Truth | None], size: tuple[float, float] | None) -> None:
        key = escape(str(path))
        if key in self.photos:
            raise AnnotationError(f"the photo {key} is annotated twice")
        self.photos[key] = Photo(tuple(t for t in truths if t is not None), size)

    def finish(self, source: Path) -> Annotations:
        if not self.photos:
            raise AnnotationError(f"{source} annotates no photo")
        return Annotations(self.photos, *in_folder(self.photos, self, source, "photos"), dict(self.unknown))


def in_folder(
    annotated: Iterable[str], names: Names, source: Path, what: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The annotated files that are not in the folder, and the files in it that are not annotated.

    Raises:
        AnnotationError: none of them is in the folder.
    """
    present, known = {escape(str(p)) for p in names.paths}, list(annotated)
    missing = tuple(p for p in known if p not in present)
    if len(missing) == len(known):
        raise AnnotationError(f"none of the {len(missing)} {what} that {source} annotates is in {names.folder}")
    return missing, tuple(sorted(present.difference(known)))


def _only(fits: list[PurePosixPath], name: str) -> PurePosixPath | None:
    if len(fits) > 1:
        raise AnnotationError(f"{name!r} fits several files: {', '.join(map(str, fits[:4]))}")
    return fits[0] if fits else None


def _read_coco(source: Path, reader: _Reader) -> None:
    with extra("evaluate", "reading COCO annotations"):
        from ..annotations import read_coco

    coco = read_coco(source)
    names = {c.id: c.name for c in coco.categories}
    truths: dict[int | str, list[Truth | None]] = {image.id: [] for image in coco.images}
    for a in coco.annotations:
        x, y, w, h = a.bbox
        ignore = bool(a.iscrowd or a.ignore)
        box = (x, y, x + w, y + h)
        truths[a.image_id].append(reader.truth(names[a.category_id], box, ignore, str(a.id), str(source)))
    for image in coco.images:
        size = (image.width, image.height) if image.width and image.height else None
        reader.add(reader.find(image.file_name), truths[image.id], size)


def _read_voc(source: Path, reader: _Reader) -> None:
    with extra("evaluate", "reading Pascal VOC annotations"):
        from ..annotations import read_voc

    for file in sorted(source.rglob("*.xml")):
        name, size, things = read_voc(file)
        named = enumerate(things)
        truths = [reader.truth(o.name, o.box, ignore, str(i), str(file)) for i, (o, ignore) in named]
        photo = reader.beside(PurePosixPath(file.relative_to(source).as_posix()), name or file.with_suffix(".jpg").name)
        reader.add(photo, truths, (size.width, size.height) if size.width and size.height else None)


def _read_yolo(source: Path, reader: _Reader) -> None:
    with extra("evaluate", "reading YOLO annotations"):
        from ..annotations import read_labels

    above = source if source.is_dir() else source.parent
    classes, points = _yolo_classes(source)
    # ultralytics' convention: labels/val/a.txt belongs to images/val/a.jpg.
    parts = list(reader.folder.absolute().parts)
    swapped = [Path(*parts[:i], "labels", *parts[i + 1 :]) for i, part in enumerate(parts) if part == "images"]
    places = ([above] if source.is_dir() else []) + swapped[::-1] + [above / "labels", above]

    def labels(place: Path) -> list[Path]:
        return sorted(p for p in place.rglob("*.txt") if p.name not in ("classes.txt", "README.txt"))

    place = next((p for p in places if p.is_dir() and labels(p)), None)
    if place is None:
        raise AnnotationError(f"there are no YOLO label files for {reader.folder} beside {source}")
    for file in labels(place):
        found = enumerate(read_labels(file, tuple(classes), points))
        truths = [reader.truth(classes[number], box, False, str(i), str(file)) for i, (number, box) in found]
        label = PurePosixPath(file.relative_to(place).as_posix())
        reader.add(reader.of_label(label), truths, (1, 1))
    for path in reader.paths:
        if escape(str(path)) not in reader.photos:
            reader.add(path, (), (1, 1))


def _yolo_classes(source: Path) -> tuple[dict[int, str], int]:
    """The names of classes by number, and how many numbers of key points follow a box (0: none)."""
    from ..annotations import read_data_yaml

    above = [source, *source.absolute().parents[:2]] if source.is_dir() else []
    files = [source] if source.is_file() else [p for a in above for p in (*sorted(a.glob("*.y*ml")), a / "classes.txt")]
    file = next((p for p in files if p.is_file()), None)
    if file is None:
        raise AnnotationError(f"{source} has neither .xml files nor a data.yaml or classes.txt that names YOLO classes")
    if file.name == "classes.txt":
        return {n: name for n, name in enumerate(file.read_text("utf-8-sig").split("\n")) if name.strip()}, 0
    data, _ = read_data_yaml(file)
    return data.names, data.points
