"""What is really in clips, as other programs wrote it, read strictly: MOT text, CVAT video XML, COCO video JSON.

Frames are numbered from 0 here. What a number, a name or a box cannot be is an error, with its place in the file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field, model_validator

from ..annotations import CocoCategory, Flag, Id, Side, Strict, read_json, read_xml
from ..errors import AnnotationError
from ..regions import Box
from .ground_truth import Photo, Truth

Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class TrueTrack:
    """One thing in the frames in which it can be seen: frame -> box, px. `ignored`: neither a leak nor hidden there.

    Its `kind` is the class's name, as long as nobody has looked up what that means (`clip_truth`).
    """

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
        name: as the annotations call it: a path, a file name, or one without its suffix.
    """

    tracks: tuple[TrueTrack, ...] = ()
    size: tuple[float, float] | None = None
    frames: int | None = None
    name: str = ""

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
            out.append(replace(t, boxes=dict(zip(t.boxes, boxes, strict=True))))
        return tuple(out)


@dataclass
class _Growing:
    """A thing of which more and more boxes are read."""

    label: str
    boxes: dict[int, Box] = field(default_factory=dict)
    ignored: set[int] = field(default_factory=set)

    def add(self, label: str, frame: int, box: Box, ignore: bool) -> None:
        if label != self.label:
            raise ValueError(f"it is a {self.label!r}, and a {label!r} in frame {frame}")
        if frame in self.boxes:
            raise ValueError(f"it has two boxes in frame {frame}")
        if not all(map(math.isfinite, box)) or box[2] <= box[0] or box[3] <= box[1]:
            raise ValueError(f"its box in frame {frame} has no area: {', '.join(f'{v:g}' for v in box)}")
        self.boxes[frame] = box
        if ignore:
            self.ignored.add(frame)


def _tracks(found: Mapping[str, _Growing]) -> tuple[TrueTrack, ...]:
    return tuple(
        TrueTrack(name, g.label, dict(sorted(g.boxes.items())), frozenset(g.ignored)) for name, g in found.items()
    )


def read_mot(source: Path, labels: Path) -> ClipTruth:
    """A MOTChallenge file: FRAME,ID,LEFT,TOP,WIDTH,HEIGHT,COUNTS,CLASS[,VISIBILITY], frames and classes from 1.

    COUNTS is 0 for what is to be ignored. As CVAT writes it, 0 is the picture's left and upper edge.

    Args:
        labels: the classes' names, one a line.

    Raises:
        AnnotationError: not such a file, and which line.
    """
    try:
        names = [line.strip() for line in labels.read_text("utf-8-sig").splitlines()]
        lines = source.read_text("utf-8-sig").splitlines()
    except (OSError, ValueError) as e:
        raise AnnotationError(f"{source} needs the names of its classes in {labels}: {e}") from e
    found: dict[str, _Growing] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                _mot_line(line, names, found)
            except ValueError as e:
                raise AnnotationError(f"{source} is not a MOT file: line {number}: {e}") from e
    name = source.parent.parent.name if source.name == "gt.txt" and source.parent.name == "gt" else source.stem
    return ClipTruth(_tracks(found), name=name)


def _mot_line(line: str, names: list[str], found: dict[str, _Growing]) -> None:
    columns = [c.strip() for c in line.split(",")]
    if not 8 <= len(columns) <= 10:
        raise ValueError(f"it has {len(columns)} columns; FRAME,ID,LEFT,TOP,WIDTH,HEIGHT,COUNTS,CLASS has 8")
    frame, kind = int(columns[0]), int(columns[7])
    x, y, width, height, counts = (float(c) for c in columns[2:7])
    if frame < 1:
        raise ValueError(f"frames are numbered from 1; received {frame}")
    if not 1 <= kind <= len(names) or not names[kind - 1]:
        raise ValueError(f"class {kind} has no name; there are {len(names)}")
    thing = found.setdefault(columns[1], _Growing(names[kind - 1]))
    thing.add(names[kind - 1], frame - 1, (x, y, x + width, y + height), counts == 0)


def read_cvat(source: Path) -> ClipTruth:
    """CVAT's XML "for video": tracks of boxes. Between two boxes of a track, where the frames between have none, it
    goes straight; a box with outside="1" ends it until the next.

    Raises:
        AnnotationError: not such a file; shapes that are no boxes.
    """
    root = read_xml(source, "CVAT", "CVAT's XML for video")
    try:
        if root.tag != "annotations" or root.find("image") is not None:
            raise ValueError("it has no tracks; export as CVAT for video")
        found: dict[str, _Growing] = {}
        for number, track in enumerate(root.findall("track")):
            name = track.get("id", str(number))
            if name in found:
                raise ValueError(f"there are two tracks {name}")
            found[name] = _cvat_track(track, name)
        width, height = (root.findtext(f".//original_size/{side}") for side in ("width", "height"))
        size = (float(width), float(height)) if width and height else None
        frames = root.findtext("meta/task/size") or root.findtext("meta/job/size")
        name = root.findtext("meta/source") or root.findtext(".//task/source") or source.stem
        return ClipTruth(_tracks(found), size, int(frames) if frames else None, name)
    except ValueError as e:
        raise AnnotationError(f"{source} is not CVAT's XML for video: {e}") from e


def _cvat_track(track: Any, name: str) -> _Growing:
    label = track.get("label")
    if not label:
        raise ValueError(f"track {name} has no label")
    thing, open_ = _Growing(label), None
    for shape in sorted(track, key=lambda s: int(s.get("frame", "0"))):
        if shape.tag != "box":
            raise ValueError(f"track {name} is made of {shape.tag}, not of boxes")
        try:
            frame = int(shape.attrib["frame"])
            box = tuple(float(shape.attrib[side]) for side in ("xtl", "ytl", "xbr", "ybr"))
            if float(shape.get("rotation", "0")):
                raise ValueError("rotated boxes cannot be read; draw it upright")
            ignore = any(a.get("name") == "ignore" and (a.text or "").strip() == "true" for a in shape)
            if open_ is not None:
                for between, middle in _straight(open_, (frame, box)):
                    thing.add(label, between, middle, open_[0] in thing.ignored)
            open_ = None
            if shape.get("outside", "0") != "1":
                thing.add(label, frame, box, ignore)  # type: ignore[arg-type]
                open_ = frame, box
        except (KeyError, ValueError) as e:
            raise ValueError(f"track {name}: {e}") from e
    return thing


def _straight(a: tuple[int, Any], b: tuple[int, Any]) -> Iterator[tuple[int, Any]]:
    """The frames between two boxes."""
    for frame in range(a[0] + 1, b[0]):
        t = (frame - a[0]) / (b[0] - a[0])
        yield frame, tuple(((1 - t) * np.array(a[1]) + t * np.array(b[1])).tolist())


class CocoVideo(Strict):
    id: Id
    name: str | None = None
    file_name: str | None = None
    width: Side | None = None
    height: Side | None = None
    length: Count | None = None


class CocoFrame(Strict):
    """`frame_id` (CocoVid) or `frame_index` (TAO), from 0."""

    id: Id
    video_id: Id
    frame_id: Count | None = None
    frame_index: Count | None = None

    @property
    def frame(self) -> int:
        number = self.frame_id if self.frame_id is not None else self.frame_index
        if number is None:
            raise ValueError(f"image {self.id} has neither frame_id nor frame_index")
        return number


class CocoVideoBox(Strict):
    """`bbox`: x, y, width, height px, in one frame; or `bboxes`, one for each frame of the video or null."""

    id: Id
    category_id: Id
    image_id: Id | None = None
    video_id: Id | None = None
    instance_id: Id | None = None
    track_id: Id | None = None
    bbox: tuple[float, float, float, float] | None = None
    bboxes: list[tuple[float, float, float, float] | None] | None = None
    iscrowd: Flag | None = None
    ignore: Flag | None = None

    @model_validator(mode="after")
    def _has(self) -> Self:
        if self.bboxes is None and (self.bbox is None or self.image_id is None):
            raise ValueError("an annotation has bbox and image_id, or video_id and bboxes")
        if self.bboxes is not None and self.video_id is None:
            raise ValueError("an annotation with bboxes has a video_id")
        if self.bboxes is None and self.instance_id is None and self.track_id is None:
            raise ValueError("an annotation has an instance_id or a track_id: one number for one thing in all frames")
        return self


class CocoVideos(Strict):
    videos: Annotated[list[CocoVideo], Field(min_length=1)]
    categories: Annotated[list[CocoCategory], Field(min_length=1)]
    images: tuple[CocoFrame, ...] = ()
    annotations: list[CocoVideoBox]


def read_coco_video(source: Path) -> list[ClipTruth]:
    """COCO with videos: CocoVid and TAO (a box an annotation) or YouTube-VIS (a thing an annotation).

    Raises:
        AnnotationError: not such a file, and where.
    """
    try:
        return _coco_clips(read_json(CocoVideos, source, "a COCO file of videos"))
    except OSError as e:
        raise AnnotationError(f"cannot read {source}: {e}") from e
    except (ValueError, KeyError) as e:
        what = f"it refers to {e}, which it does not list" if isinstance(e, KeyError) else e
        raise AnnotationError(f"{source} is not a COCO file of videos: {what}") from e


def _coco_clips(data: CocoVideos) -> list[ClipTruth]:
    names = {c.id: c.name for c in data.categories}
    images = {i.id: i for i in data.images}
    found: dict[Id, dict[str, _Growing]] = {v.id: {} for v in data.videos}
    for a in data.annotations:
        label, ignore = names[a.category_id], bool(a.iscrowd or a.ignore)
        if a.bboxes is not None:
            rows = [(n, b) for n, b in enumerate(a.bboxes) if b is not None]
            name, video = str(a.id), a.video_id
        else:
            image = images[a.image_id]  # type: ignore[index]
            rows, video = [(image.frame, a.bbox)], image.video_id  # type: ignore[list-item]
            name = str(a.instance_id if a.instance_id is not None else a.track_id)
        try:
            thing = found[video].setdefault(name, _Growing(label))  # type: ignore[index]
            for frame, (x, y, width, height) in rows:
                thing.add(label, frame, (x, y, x + width, y + height), ignore)
        except ValueError as e:
            raise ValueError(f"{name} of video {video}: {e}") from e
    out = []
    for v in data.videos:
        frames = {i.frame for i in data.images if i.video_id == v.id}
        if frames and frames != set(range(len(frames))):
            raise ValueError(f"video {v.id} is annotated in some frames only, from 0 to {max(frames)}; all are needed")
        if not (called := v.file_name or v.name):
            raise ValueError(f"video {v.id} has no name")
        size = (v.width, v.height) if v.width and v.height else None
        out.append(ClipTruth(_tracks(found[v.id]), size, v.length or len(frames) or None, called))
    return out
