"""What is really in clips: annotations of MOT, CVAT or COCO's form, and which clip each belongs to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from .. import labels
from ..disk import AnyPath
from ..errors import AnnotationError
from ..extras import extra
from ..records import escape
from .ground_truth import Names, in_folder

if TYPE_CHECKING:
    from .clip_annotations import ClipTruth

LABELS = "labels.txt"  # of MOT: the names of the classes, one a line


@dataclass(frozen=True)
class ClipAnnotations:
    """What a set of annotations says: path -> its truth. The other fields are as `Annotations`'."""

    clips: Mapping[str, ClipTruth]
    missing: tuple[str, ...] = ()
    unannotated: tuple[str, ...] = ()
    unknown: Mapping[str, int] = field(default_factory=dict)


def read(source: AnyPath, folder: AnyPath, paths: Sequence[str], kinds: Iterable[str] = ()) -> ClipAnnotations:
    """Read annotations of the clips in a folder; the format is recognized by what is there.

    COCO: a .json file with videos. CVAT: an .xml file "for video", or a folder of them. MOT: a .txt file, or a folder
    of them (CLIP.txt, or CLIP/gt/gt.txt); the classes' names are in labels.txt beside the file or in a folder above it.

    Args:
        paths: the clips, relative to the folder. kinds: further kinds; a class of such a name is of that kind.

    Raises:
        AnnotationError: nothing to read, a broken file, a name that fits several clips, or not one annotated clip in
            the folder.
    """
    with extra("evaluate", "reading annotations of clips"):
        from . import clip_annotations as annotations

    source, names = Path(source), Names(Path(folder), [PurePosixPath(p) for p in paths])
    if source.is_dir():
        xml = sorted(source.rglob("*.xml"))
        text = sorted(p for p in source.rglob("*.txt") if p.name not in (LABELS, "README.txt"))
        read_ = [(annotations.read_cvat(p), p) for p in xml]
        read_ = read_ or [(annotations.read_mot(p, _labels(p, source)), p) for p in text]
    elif source.suffix.lower() == ".xml":
        read_ = [(annotations.read_cvat(source), source)]
    elif source.suffix.lower() == ".txt":
        read_ = [(annotations.read_mot(source, _labels(source, source.parent)), source)]
    elif source.is_file():
        read_ = [(clip, source) for clip in annotations.read_coco_video(source)]
    else:
        read_ = []
    if not read_:
        raise AnnotationError(f"there are no annotations of clips at {source}")
    clips: dict[str, ClipTruth] = {}
    unknown: Counter[str] = Counter()
    for clip, file in read_:
        beside = file.relative_to(source).as_posix() if source.is_dir() else file.name
        key = escape(str(_clip(names, clip.name, beside)))
        if key in clips:
            raise AnnotationError(f"the clip {key} is annotated twice")
        tracks = []
        for track in clip.tracks:
            if kind := labels.meant(track.kind, tuple(kinds)):
                tracks.append(replace(track, kind=kind))
            else:
                unknown[track.kind] += len(track.boxes)
        clips[key] = replace(clip, tracks=tuple(tracks))
    return ClipAnnotations(clips, *in_folder(clips, names, source, "clips"), dict(unknown))


def _clip(names: Names, name: str, beside: str) -> PurePosixPath:
    """The clip that lies as its annotations do, else that of this name, else of this name without its suffix."""
    found = names.beside(PurePosixPath(beside), name)
    found = found if found in names.paths else names.of_label(PurePosixPath(name))
    return found if found in names.paths else PurePosixPath(name)


def _labels(file: Path, top: Path) -> Path:
    """The nearest labels.txt."""
    places = [p for p in (file.parent, *file.parent.parents) if p == top or p.is_relative_to(top)]
    return next((p / LABELS for p in places if (p / LABELS).is_file()), file.with_name(LABELS))
