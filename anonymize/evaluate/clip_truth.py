"""What is really in clips: annotations of MOT, CVAT or COCO's form, and which clip each belongs to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from .. import labels
from ..disk import AnyPath
from ..errors import AnnotationError
from ..extras import extra
from ..records import escape
from ..regions import Box
from .ground_truth import Names, Photo, Truth

LABELS = "labels.txt"  # of MOT: the names of the classes, one a line


@dataclass(frozen=True)
class TrueTrack:
    """One thing in the frames in which it can be seen: frame -> box, px. `ignored`: neither a leak nor hidden there."""

    id: str
    kind: str
    boxes: Mapping[int, Box]
    ignored: frozenset[int] = frozenset()


@dataclass(frozen=True)
class ClipTruth:
    """One annotated clip.

    Attributes:
        size: (width, height) px for which the boxes were written; None: the clip's own.
        frames: how many are annotated; None: all.
    """

    tracks: tuple[TrueTrack, ...] = ()
    size: tuple[float, float] | None = None
    frames: int | None = None

    def at(self, width: int, height: int, frames: int) -> tuple[TrueTrack, ...]:
        """The tracks in pixels of the clip as displayed.

        Raises:
            AnnotationError: boxes for a clip of another shape, or for frames that it has not.
        """
        last = max((max(t.boxes, default=0) for t in self.tracks), default=0)
        if last >= frames or (self.frames is not None and self.frames != frames):
            raise AnnotationError(f"the annotations are of {max(self.frames or 0, last + 1)} frames, it has {frames}")
        out = []
        for t in self.tracks:
            photo = Photo(tuple(Truth(t.kind, box) for box in t.boxes.values()), self.size)
            boxes = (truth.box for truth in photo.at(width, height))
            out.append(TrueTrack(t.id, t.kind, dict(zip(t.boxes, boxes, strict=True)), t.ignored))
        return tuple(out)


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
        from ..video import annotations

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
        for thing in clip.things:
            if kind := labels.meant(thing.label, tuple(kinds)):
                tracks.append(TrueTrack(thing.id, kind, thing.boxes, thing.ignored))
            else:
                unknown[thing.label] += len(thing.boxes)
        clips[key] = ClipTruth(tuple(tracks), clip.size, clip.frames)
    present = {escape(p) for p in paths}
    missing = tuple(p for p in clips if p not in present)
    if len(missing) == len(clips):
        raise AnnotationError(f"none of the {len(missing)} clips that {source} annotates is in {folder}")
    return ClipAnnotations(clips, missing, tuple(sorted(present - set(clips))), dict(unknown))


def _clip(names: Names, name: str, beside: str) -> PurePosixPath:
    """The clip that lies as its annotations do, else that of this name, else of this name without its suffix."""
    found = names.beside(PurePosixPath(beside), name)
    found = found if found in names.paths else names.of_label(PurePosixPath(name))
    return found if found in names.paths else PurePosixPath(name)


def _labels(file: Path, top: Path) -> Path:
    """The nearest labels.txt."""
    places = [p for p in (file.parent, *file.parent.parents) if p == top or p.is_relative_to(top)]
    return next((p / LABELS for p in places if (p / LABELS).is_file()), file.with_name(LABELS))
