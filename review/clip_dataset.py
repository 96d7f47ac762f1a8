"""Clips in a person's own FiftyOne: a video dataset with tracks as frame labels, and what was decided there taken back.

    import fiftyone as fo
    from review import clip_dataset

    dataset = clip_dataset.make("clean")          # the output of `python -m anonymize video CLIPS clean`
    fo.launch_app(dataset).wait()
    clip_dataset.take(dataset)                    # then `video` writes the clips again, without detecting

The dataset is a lens: decisions live in the clips' records. It shows originals. The guarded server shows it, too
(`ClipsReview`): there, decisions are the plugin's operators.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anonymize.corrections import find, person
from anonymize.disk import AnyPath
from anonymize.errors import RecordsError, ReviewError, SettingsError, StaleDecisionError
from anonymize.json_lines import lock
from anonymize.records import unescape
from anonymize.regions import Box
from anonymize.settings import Settings
from anonymize.video import clip_records
from anonymize.video.batch import RECORD_SUFFIX
from anonymize.video.clip_corrections import decide
from anonymize.video.clip_records import ClipRecord
from anonymize.video.moments import moments, risk_of
from anonymize.video.tracks import Track

from .dataset import dataset_name, fiftyone
from .documents import CANDIDATES, HIDDEN, Decision, absolute, relative
from .views import dress_clips

FIELDS = (HIDDEN, CANDIDATES)  # of a frame, as photos have them
DECIDES = ("accept", "reject", "reset")  # tags of a label in any frame, which decide on its whole track
_MOVED = 0.002  # share of the picture's sides; less is rounding
_LOOK = 30  # moments of a clip that are named


def make(folder: AnyPath) -> Any:
    """The dataset of all clips' records below a folder; made anew, from the records as they are.

    Returns:
        A `fiftyone.Dataset`: a sample for each clip, riskiest first, with `risk`, `review`, `look` (the moments to look
        at, in words); its frames' labels in `hidden` and `candidates` have the track's number as
        `index`, and its id, status and source.

    Raises:
        RecordsError: a file that is no clip's record. ReviewError: no clip, or FiftyOne cannot start.
    """
    found = sorted(Path(folder).rglob(f"*{RECORD_SUFFIX}"))
    if not found:
        raise ReviewError(f"there is no clip's record ({RECORD_SUFFIX}) below {folder}")
    fo = fiftyone()
    dataset = fo.Dataset(dataset_name("clips", folder), persistent=True, overwrite=True)
    dataset.info = {"clips": os.path.realpath(folder)}  # the plugin's operators go there
    dataset.add_samples(sorted(map(_sample, found), key=lambda s: -s["risk"]), progress=False)
    dress_clips(fo, dataset)
    return dataset


def take(dataset: Any, *, who: str = "") -> dict[str, list[str]]:
    """Write what a person did in the dataset to the clips' records, and show what they became.

    A tag of `DECIDES` on one label decides on its track in all its frames. A label that was moved reaches there, too
    (`extend`). Labels that were drawn are new tracks: those of one class and `index` are one.

    Args:
        dataset: of `make`. who: who decided; this account when not given.

    Returns:
        Clip -> what was decided.

    Raises:
        StaleDecisionError: a clip's record changed since it was shown. SettingsError: tags that contradict each other.
            Clips before it are written, it and those after it are not.
    """
    found = ((s["clip"], _decide(dataset, s, _said, who or person(), "make the dataset again")) for s in dataset)
    return {clip: made for clip, made in found if made}


class ClipsReview:
    """A folder of clips' records under review in the guarded server. Thread-safe.

    Args:
        folder: as of `make`.

    Attributes:
        name: the FiftyOne dataset's.

    Raises:
        ReviewError: there is no clip's record.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, dataset_name("clips", folder)
        if not any(folder.rglob(f"*{RECORD_SUFFIX}")):
            raise ReviewError(f"there is no clip's record ({RECORD_SUFFIX}) below {folder}")
        self._dataset: Any = None
        self._guard = threading.RLock()

    @property
    def is_shown(self) -> bool:
        """Whether the FiftyOne dataset was made."""
        return self._dataset is not None

    @property
    def shown(self) -> Any:
        """The `fiftyone.Dataset`; made at the first call, which takes seconds."""
        with self._guard:
            if self._dataset is None:
                self._dataset = make(self.folder)
            return self._dataset

    def update(self) -> None:
        """Samples whose records changed since, in the Video command or elsewhere, show them."""
        with self._guard:
            for sample in self.shown:
                header, record = clip_records.read(sample["record"])
                settings = header.review or header.settings
                if any(sample[name] != value for name, value in _state(record, settings).items()):
                    _renew(self.shown, sample, record, settings)

    def homes(self) -> list[str]:
        """Folders that no answer names."""
        return [str(self.folder.absolute()), *{str(Path(f).parent) for f in self._files()}]

    def file(self, wanted: str) -> Path | None:
        """The clip that a browser asks for, if it is one of these."""
        return Path(wanted) if wanted in self._files() and Path(wanted).is_file() else None

    def _files(self) -> list[str]:
        return [] if self._dataset is None else [str(f) for f in self._dataset.values("filepath")]

    def decide_on_labels(self, picks: Sequence[tuple[str, str]], what: str, *, who: str, **given: Any) -> int:
        """One decision on the tracks of these labels, each once for all its frames; on how many.

        Args:
            picks: ids of a sample and of a label in any of its frames.

        Raises:
            RecordsError: none of them is one. StaleDecisionError: the record changed since it was shown.
        """
        with self._guard:
            chosen: dict[str, set[str]] = defaultdict(set)
            for sample, label in picks:
                if track := self._track(sample, label):
                    chosen[sample].add(track)
            if not chosen:
                raise RecordsError("select a track first: click its box in the clip")
            for sample, tracks in chosen.items():
                self._decide(sample, what, who, [{**given, "id": track} for track in sorted(tracks)])
            return sum(map(len, chosen.values()))

    def decide_on_clips(self, samples: Sequence[str], what: str, *, who: str, **given: Any) -> None:
        """One decision on each of these clips: approve, flag, undo, draw."""
        with self._guard:
            for sample in samples:
                self._decide(sample, what, who, [given])

    def kinds(self) -> list[str]:
        """What may be drawn."""
        return list(clip_records.read(self.shown.first()["record"])[0].settings.kinds)

    def _decide(self, id: str, what: str, who: str, each: Sequence[Mapping[str, Any]]) -> None:
        def said(_: Any, record: ClipRecord) -> Iterator[Decision]:
            for given in each:
                if what == "extend":
                    given = {**given, "box": _nearest(record, find(record, given["id"]), given["frame"])}
                yield what, given

        _decide(self.shown, self.shown[id], said, who, "look at it again")

    def _track(self, sample: str, label: str) -> str:
        """The track that a label in some frame is of; "" where there is none."""
        from bson import ObjectId

        if not (ObjectId.is_valid(sample) and ObjectId.is_valid(label)):
            return ""
        for name in FIELDS:
            place = f"{name}.detections"
            found = self.shown._frame_collection.find_one(
                {"_sample_id": ObjectId(sample), f"{place}._id": ObjectId(label)}, {f"{place}.$": 1}
            )
            if found:
                return str(found[name]["detections"][0].get("track") or "")
        return ""


def _decide(
    dataset: Any, sample: Any, said: Callable[[Any, ClipRecord], Iterable[Decision]], who: str, hint: str
) -> list[str]:
    """Write decisions on a clip, as the sample shows it, to its record; those that changed something.

    Raises:
        StaleDecisionError: the record or its settings are others now; `hint` says what to do.
    """
    file, made = Path(sample["record"]), []
    with lock(file):
        header, record = clip_records.read(file)
        settings = header.review or header.settings
        if record.content_hash() != sample["tracks_hash"]:
            raise StaleDecisionError(f"{record.path} changed meanwhile; {hint}")
        if settings.export_hash() != sample["settings_hash"]:
            raise StaleDecisionError(f"{record.path} was written with other settings meanwhile; {hint}")
        for what, given in said(sample, record):
            changed = decide(record, what, who=who, settings=settings, **given)
            made += [what] if changed is not record else []
            record = changed
        if made:
            clip_records.write(file, header, record)
    if made:
        _renew(dataset, sample, record, settings)
    return made


def _renew(dataset: Any, sample: Any, record: ClipRecord, settings: Settings) -> None:
    """A sample shows what its record has become."""
    _show(sample, record, settings)
    sample.save()
    shown = dataset[sample.id]  # a sample whose frames were saved keeps its other fields as they were
    _tell(shown, record, settings)
    shown.save()


def _sample(file: Path) -> Any:
    fo = fiftyone()
    header, record = clip_records.read(file)
    clip = Path(unescape(header.root)) / unescape(record.path)
    size = {"frame_width": record.width, "frame_height": record.height, "frame_rate": record.frame_rate}
    sample = fo.Sample(
        str(clip), metadata=fo.VideoMetadata(**size, total_frame_count=record.frames), record=str(file.resolve())
    )
    settings = header.review or header.settings
    _tell(sample, record, settings)
    _show(sample, record, settings)
    return sample


def _show(sample: Any, record: ClipRecord, settings: Settings) -> None:
    fo = fiftyone()
    labels: dict[int, dict[str, list[Any]]] = defaultdict(lambda: {name: [] for name in FIELDS})
    for index, track in enumerate(record.tracks, 1):
        field = HIDDEN if track.is_hidden(settings) else CANDIDATES
        for frame in track.frames:
            labels[frame][field].append(
                fo.Detection(
                    label=track.kind, bounding_box=_relative(track, frame, record), index=index,
                    confidence=track.score, track=track.id, status=track.status, source=track.source(frame),
                )
            )  # fmt: skip
    sample.frames.clear()
    for frame, fields in labels.items():
        shown = {name: fo.Detections(detections=found) for name, found in fields.items()}
        sample.frames[frame + 1] = fo.Frame(**shown)  # FiftyOne counts from 1


def _tell(sample: Any, record: ClipRecord, settings: Settings) -> None:
    for name, value in {"clip": record.path, **_state(record, settings)}.items():
        sample[name] = value
    sample["risk"] = risk_of(record, settings)
    sample["look"] = [f"frame {m.frame + 1}: {m.text}" for m in moments(record, settings)[:_LOOK]]


def _state(record: ClipRecord, settings: Settings) -> dict[str, str]:
    """What a decision is about: tracks, and the settings that the clip is written with."""
    is_other = record.review == "approved" and not record.is_approved(settings)
    review = "pending" if is_other else record.review
    return {"review": review, "tracks_hash": record.content_hash(), "settings_hash": settings.export_hash()}


def _nearest(record: ClipRecord, track: Track, frame: int) -> Box:
    """What is hidden of a track at its end nearer to a frame, moved into the picture: what left it may be outside."""
    box = track.box(min(max(frame, track.first), track.last))
    assert box is not None
    picture = np.array([record.width, record.height])
    low, high = np.array(box[:2]), np.array(box[2:])
    size = np.clip(high - low, 1, picture)
    low = np.clip(low, 0, picture - size)
    return float(low[0]), float(low[1]), float(low[0] + size[0]), float(low[1] + size[1])


def _relative(track: Track, frame: int, record: ClipRecord) -> list[float]:
    """What is hidden of a track in a frame, as FiftyOne has boxes: left, top, width, height, shares of the picture."""
    box = track.box(frame)
    assert box is not None
    return relative(box, record.width, record.height)


def _said(sample: Any, record: ClipRecord) -> Iterator[Decision]:
    """What a person did in a sample."""
    size = record.width, record.height
    tags: dict[str, set[str]] = defaultdict(set)
    drawn: dict[tuple[str, Any], dict[int, Box]] = defaultdict(dict)
    moved: list[tuple[str, int, Box]] = []
    for number, frame in sample.frames.items():
        for label in [label for name in FIELDS if (found := frame[name]) for label in found.detections]:
            id, at = label.get_attribute_value("track", None), number - 1
            if not id:
                drawn[label.label, label.index][at] = absolute(label.bounding_box, *size)
                continue
            tags[id] |= set(label.tags) & set(DECIDES)
            was = _relative(find(record, id), at, record)
            if max(abs(a - b) for a, b in zip(label.bounding_box, was, strict=True)) > _MOVED:
                moved.append((id, at, absolute(label.bounding_box, *size)))
    for id, found in tags.items():
        if len(found) > 1:
            raise SettingsError(f"{record.path}: the track {id} is tagged {' and '.join(sorted(found))}")
    yield from (("extend", {"id": id, "frame": frame, "box": box}) for id, frame, box in moved)
    yield from (("draw", {"kind": kind, "boxes": boxes}) for (kind, _), boxes in drawn.items())
    yield from ((what, {"id": id}) for id, found in tags.items() for what in found)
