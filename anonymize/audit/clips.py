"""Clips of an output: opened again, every frame read, some of them looked at as a photo is.

What is read of each clip: that it is the file that was written, what its container and its coded pictures carry besides
picture and sound, that it has as many frames as its record. In frames of each second, and in those that `video.moments`
calls likeliest to leak, other networks look again, and what is hidden has to be what its effect leaves. Sound is not
listened to.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import disk, images
from ..effects import MOSAICS
from ..errors import ClipError, RecordsError, SettingsError
from ..outputs import QUARANTINED, why
from ..records import Record, unescape
from ..regions import Box, Region
from ..settings import Settings
from ..video.clip_records import ClipRecord
from ..video.memory import place
from ..video.moments import keyframes
from ..video.planes import Hider, samples, shift_of
from ..video.reader import OPTIONS, Clip, Frame, import_av, open_clip
from ..video.writer import LOSSLESS
from . import against as against_
from . import containers, destroyed, second_look, streams
from .findings import Finding, PhotoAudit
from .folder import Folder
from .second_look import Looker

if TYPE_CHECKING:
    import av

FRAMES = 60  # of a clip that are looked at, at most
RISKY = 3  # one of so many of them is taken where a leak is likeliest, the others evenly
MOST = 20  # findings of one clip that are listed
SAME_SECONDS = 3.0  # within which one thing is looked for again
# Of 255, what a lossy clip's coding may change in a hidden area; and the quality beyond which it changes more.
LIMIT, COARSEST = 24.0, 35
Progress = Callable[[int, int], None]  # frames that were looked at, of how many


def check(
    out: PhotoAudit, folder: Folder, looker: Looker, settings: Settings, against: Path | None, most: int, told: Progress
) -> None:
    """One clip.

    Args:
        folder: the output. looker: looks again. settings: where its own are not known. against: the originals' folder.
        most: frames that are looked at. told: after each of them.
    """
    file, record = folder.file(out.path), _record(out, folder)
    own = folder.settings_of(out.path, record)
    out.source_sha256 = record.sha256 if record else ""
    if record is not None and own is None:
        out.add("memory", "leak", "its record or the settings were changed after the export")
        record = None
    out.sha256 = disk.sha256(file)
    out.add("metadata", "leak", *containers.check_clip(file))
    clip = open_clip(file)
    out.add("metadata", "leak", *(f"it carries {what}" for what in clip.dropped))
    if clip.audio:
        out.add("clips", "note", "it has sound, which may name people; nobody listened to it")
    quality = int(folder.remembered(out.path).get("quality", 0))
    _Clip(clip, record, own or settings, looker, out, most, quality).look(_original(record, against, out), told)


def _record(out: PhotoAudit, folder: Folder) -> ClipRecord | None:
    """A clip's record; where its file is not the one that was written, that is found, too."""
    file, known = folder.file(out.path), folder.clip_memory.get(out.path, {})
    shows = str(known.get("shows", ""))
    if file.is_symlink():
        out.add("memory", "leak", "it is a link to another file")
    if not shows:
        if folder.has_memory or folder.records_path is not None:
            out.add("memory", "leak", "no export of this program wrote it")
        return None
    if shows.startswith(QUARANTINED):
        out.add("memory", "leak", "an earlier audit put it in quarantine, and it is here again")
        return None
    if not known.get("sha256") or not known.get("approval"):
        out.add("memory", "leak", "its export did not end, or is of an older version; run it again")
        return None
    if known["sha256"] != disk.sha256(file) or place(known, folder.path) != file:
        out.add("memory", "leak", "the file was changed, or replaced, after the export")
    try:
        record = folder.clip_record(out.path)
    except (RecordsError, SettingsError) as e:
        out.add("memory", "leak", f"its record cannot be read: {e}")
        return None
    if record.error is not None:
        out.add("memory", "leak", f"its record has an error: {record.error}")
        return None
    return record


def _original(record: ClipRecord | None, against: Path | None, out: PhotoAudit) -> Clip | None:
    if against is None or record is None:
        return None
    try:
        file = images.output_path(unescape(record.path), against)
        if disk.sha256(file) == record.sha256:
            return open_clip(file)
        text = "the file that is called like the original is another one"
    except (ClipError, OSError) as e:
        text = f"the original cannot be read: {why(e)}"
    out.add("unchanged", "look", text)
    return None


@dataclass
class _Clip:
    """One clip while it is read."""

    clip: Clip
    record: ClipRecord | None
    settings: Settings
    looker: Looker
    out: PhotoAudit
    most: int
    quality: int

    def __post_init__(self) -> None:
        self.is_exact, self.hider = self.clip.codec in LOSSLESS, Hider(self.settings)

    def look(self, source: Clip | None, told: Progress) -> None:
        record, out = self.record, self.out
        if record is not None:
            out.hidden = dict(record.count_hidden(self.settings))
        if not self.is_exact and self.quality > COARSEST:
            said = f"it was written in a quality of {self.quality}, too coarse to prove from its pixels that it hides"
            out.add("destroyed", "note", said)
        out.is_compared = source is not None and self.is_exact
        out.is_lossy = source is not None and not self.is_exact
        if out.is_lossy:
            said = "its codec changes every pixel a little, so what lies outside of hidden regions was not compared"
            out.add("unchanged", "note", said)
        wanted = chosen(self.clip, record, self.settings, self.most)
        originals = source.frames() if source else iter(())
        found: list[Finding] = []
        for frame in self.clip.frames():
            out.frames += 1
            original = next(originals, None)
            if frame.index in wanted:
                out.looked_at += 1
                found += self._frame(frame, original)
                told(out.looked_at, len(wanted))
        if record is not None and out.frames != record.frames:
            said = f"it has {out.frames} frames, its record {record.frames}"
            found.append(Finding("memory", "leak", said))
        stored, carried = _coded(self.clip.path)
        out.add("metadata", "leak", *carried)
        if stored != out.frames:
            said = f"it holds {stored} pictures, of which {out.frames} are shown"
            found.append(Finding("metadata", "leak", said))
        found = together(found, SAME_SECONDS * float(self.clip.frame_rate))
        leaks = [f for f in found if f.level == "leak"]
        looks = [f for f in found if f.level == "look"]
        # Nothing that is only listed, in whatever number, keeps a leak from being told.
        out.findings += leaks[:MOST] + looks[: max(0, MOST - len(leaks))]
        if len(leaks) + len(looks) > MOST:
            said = f"{len(leaks)} leaks and {len(looks)} places to look at in all; the first {MOST} are listed"
            out.add("clips", "note", said)

    def _frame(self, frame: Frame, original: Frame | None) -> Iterator[Finding]:
        record = self.record
        photo = images.from_array(frame.rgb)
        regions = record.regions_at(frame.index, self.settings) if record else ()
        regions = tuple(r.replace(status="accepted") for r in regions)
        shown = Record("frame", width=photo.width, height=photo.height, regions=regions)
        _, touched = destroyed.pieces(shown, self.settings, photo.width, photo.height)
        is_provable = bool(regions) and (self.is_exact or self.quality <= COARSEST)
        found = list(self._destroyed(frame.native, regions, original)) if is_provable else []
        if record and original and self.is_exact:
            found += self._unchanged(frame, original, regions)
        found += second_look.findings(photo, self.looker, None, touched, self.settings)
        at = f"at {frame.seconds:.1f} s (frame {frame.index}), "
        yield from (replace(f, text=at + f.text, frame=frame.index) for f in found)

    def _stored(self, regions: Iterable[Region]) -> list[Region]:
        assert self.record is not None
        size = self.record.width, self.record.height
        width, height = size[::-1] if self.clip.orientation.is_turned else size
        return [self.clip.orientation.stored(r, width, height) for r in regions]

    def _destroyed(
        self, native: av.VideoFrame, regions: tuple[Region, ...], original: Frame | None
    ) -> Iterator[Finding]:
        """Regions in which more is left than their effect leaves, by plane; each is said once."""
        told: set[int] = set()
        shift, planes = shift_of(native), samples(native)
        before = samples(original.native) if original else []
        for part in self.hider.parts(native, self._stored(regions)):
            photo = _gray(part.of(planes), shift, self.is_exact)
            record = Record("part", width=photo.width, height=photo.height, regions=tuple(part.regions))
            numbers: dict[Box | None, int] = {r.box: n for r, n in zip(part.regions, part.numbers, strict=True)}
            found = list(destroyed.check(photo, record, part.settings, None if self.is_exact else LIMIT))
            if part.plane < len(before) and before[part.plane].shape == planes[part.plane].shape:
                found += _resembling(photo, _gray(part.of(before), shift, True), record, part.settings)
            for finding in found:
                number = numbers.get(finding.box, -1)
                if finding.level == "leak" and number not in told:
                    told.add(number)
                    yield replace(finding, box=regions[number].box if number >= 0 else None)

    def _unchanged(self, frame: Frame, original: Frame, regions: Iterable[Region]) -> Iterator[Finding]:
        """Of a lossless clip: each sample is the original's, or what these regions and settings give."""
        native = original.native
        if native.format.name != frame.native.format.name:
            from av.video.reformatter import VideoReformatter

            native = VideoReformatter().reformat(native, format=frame.native.format.name)
        wanted = samples(self.hider.hide(native, self._stored(regions)))
        differing = sum(int((a != b).sum()) for a, b in zip(samples(frame.native), wanted, strict=True))
        if differing:
            text = f"it is not what its original, regions and settings give: {differing} samples differ"
            yield Finding("unchanged", "leak", text)


def _gray(plane: NDArray[Any], shift: int, is_exact: bool) -> images.Photo:
    photo = images.from_array(np.ascontiguousarray(plane) << shift, "L")
    return photo if is_exact else replace(photo, form=replace(photo.form, format="HEIF"))  # as lossy as one


def _resembling(written: images.Photo, source: images.Photo, record: Record, settings: Settings) -> Iterator[Finding]:
    pieces, _ = destroyed.pieces(record, settings, written.width, written.height)
    for piece in pieces:
        # What coding makes of a mosaic's edges may look like what made these edges.
        if piece.kind.effect in MOSAICS and not destroyed.is_exact(written.form):
            continue
        yield from against_.resembling(written.pixels, source.pixels, piece, settings)


def _coded(path: Path) -> tuple[int, list[str]]:
    """How many pictures lie in a clip, those that an edit list cuts away included; and what they carry, in words."""
    options = {**OPTIONS, "ignore_editlist": "1"} if path.suffix.lower() not in (".mkv", ".webm") else OPTIONS
    pictures, found = 0, dict[str, str]()
    with import_av().open(str(path), options=options, metadata_errors="ignore") as container:
        stream = container.streams.video[0]
        codec, extra = stream.codec_context.codec.canonical_name, bytes(stream.codec_context.extradata or b"")

        def keep(said: Iterable[str]) -> None:
            try:
                for what in said:  # each picture may say another place: the first of a kind is told
                    found.setdefault(what.split(": ")[0], f"it carries {what}")
            except (IndexError, ValueError) as e:
                found.setdefault("", f"its coded pictures cannot be followed to the end ({e or type(e).__name__})")

        keep(streams.head(codec, extra))
        for packet in container.demux(stream):
            if packet.size:
                pictures += 1
                keep(in_picture(codec, extra, bytes(packet)))
    return pictures, list(found.values())


def in_picture(codec: str, extra: bytes, data: bytes) -> Iterator[str]:
    """What a coded picture carries besides a picture, in words. Args and errors: as of `streams.packet`."""
    if codec == "mjpeg":  # each frame is a photo's file
        return (f"in a frame, {what.removeprefix('it carries ')}" for what in containers.check(data))
    return streams.packet(codec, extra, data)


def chosen(clip: Clip, record: ClipRecord | None, settings: Settings, most: int) -> frozenset[int]:
    """The frames of a clip that are looked at, at most so many."""
    rate = max(1, round(float(clip.frame_rate)))
    frames = record.frames if record else clip.frame_count or round((clip.duration or 0) * rate) or rate * most
    risky = keyframes(record, settings, most // RISKY) if record else []
    left = max(1, most - len(risky))
    step = max(1, min(rate, frames // 5), -(-frames // left))
    return frozenset({*risky, *islice(range(step // 2, frames, step), left)})


def together(found: Iterable[Finding], frames: float) -> list[Finding]:
    """Findings of one thing in several frames as one, the surest, that says in how many more.

    Args:
        found: in order of their frames. frames: a thing that was away for longer is another one.
    """
    groups: list[list[Finding]] = []
    for finding in found:
        for group in groups if finding.box else ():
            last = group[-1]
            is_alike = (last.check, last.kind, last.level) == (finding.check, finding.kind, finding.level)
            if is_alike and 0 < (finding.frame or 0) - (last.frame or 0) <= frames and _is_near(last.box, finding.box):
                group.append(finding)
                break
        else:
            groups.append([finding])
    out = []
    for group in groups:
        surest = max(group, key=lambda f: f.score or 0.0)
        more = f"; and in {len(group) - 1} more of these frames" if len(group) > 1 else ""
        out.append(replace(surest, text=surest.text + more))
    return out


def _is_near(a: Box | None, b: Box | None) -> bool:
    """Whether the second box is about as large as the first, and within two sizes of it."""
    if a is None or b is None:
        return False
    width, height = a[2] - a[0], a[3] - a[1]
    apart = abs(a[0] + a[2] - b[0] - b[2]) / 2, abs(a[1] + a[3] - b[1] - b[3]) / 2
    return apart[0] <= 2 * width and apart[1] <= 2 * height and 0.5 <= (b[2] - b[0]) / max(width, 1e-9) <= 2


def pictures(file: Path, frames: Collection[int]) -> Iterator[Frame]:
    """Some frames of a clip, in their order, in one pass.

    Raises:
        ClipError: it cannot be read up to the last of them.
    """
    last = max(frames)
    for frame in open_clip(file).frames(min(frames)):
        if frame.index in frames:
            yield frame
        if frame.index >= last:
            return
