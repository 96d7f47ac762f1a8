"""More that reads strangers' bytes: clips, what is kept of them, a cluster's records, JPEGs that are changed in place.

As in `readers`, each function takes any bytes.
"""

from __future__ import annotations

import contextlib
import functools
import io
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from anonymize import hiding, images, records
from anonymize.audit import PhotoAudit, containers, folder, streams
from anonymize.audit import clips as audited_clips
from anonymize.cluster import shards
from anonymize.cluster.stores import Store
from anonymize.errors import AnonymizeError
from anonymize.evaluate import clip_annotations as annotations
from anonymize.records import Header, Record
from anonymize.records_file import RecordsFile
from anonymize.regions import Region
from anonymize.settings import Settings
from anonymize.video import clip_records, planes
from anonymize.video.clip_records import ClipRecord
from anonymize.video.found import Found
from anonymize.video.moments import moments
from anonymize.video.reader import open_clip
from anonymize.video.tracks import Track
from tests.support import clips, fuzzing
from tests.support.hostile import text_of

HEADER = Header("/clips", Settings(), {"a": {"w": "00"}}, review=Settings())
MOT = b"1,1,10,20,30,40,1,1,0.9\n2,1,11,20,30,40,0,1\n1,2,1,2,3,4,1,2,1,-1\n"
CVAT = (
    b"<annotations><meta><task><size>9</size><original_size><width>640</width><height>360</height></original_size></task>"
    b"</meta>"
    b'<track id="0" label="face"><box frame="0" outside="0" keyframe="1" xtl="1" ytl="2" xbr="9" ybr="12"/>'
    b'<box frame="4" outside="1" occluded="0" keyframe="1" xtl="2" ytl="2" xbr="9" ybr="12"/></track></annotations>'
)
COCO = {
    "videos": [{"id": 1, "name": "a", "width": 64, "height": 48, "length": 2}],
    "images": [
        {"id": 1, "video_id": 1, "frame_index": 0, "file_name": "1"},
        {"id": 2, "video_id": 1, "frame_index": 1},
    ],
    "categories": [{"id": 1, "name": "face"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "instance_id": 3, "bbox": [1, 2, 3, 4]}],
}


def answers(call: Any, *arguments: Any) -> Any:
    """What a call returns; None where it refuses with an error of the tree."""
    try:
        return call(*arguments)
    except AnonymizeError:
        return None


def _home() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


def read_clip_record(data: bytes) -> None:
    with _home() as name:
        path = Path(name) / "a.mp4.tracks.jsonl"
        path.write_bytes(data)
        read = answers(clip_records.read, path)
        if read is None:
            return
        header, record = read
        record.hidden(header.settings)
        for frame in range(min(record.frames, 5)):
            record.regions_at(frame, header.settings)
        moments(record, header.settings)
        record.is_approved(header.review or header.settings)
        if answers(clip_records.write, path, header, record) is None:
            assert clip_records.read(path)[1].to_dict() == record.to_dict() or record != record


def read_mot(data: bytes) -> None:
    with _home() as name:
        (Path(name) / "labels.txt").write_text("face\nplate\n")
        (Path(name) / "gt.txt").write_bytes(data)
        answers(annotations.read_mot, Path(name) / "gt.txt", Path(name) / "labels.txt")


def read_cvat(data: bytes) -> None:
    with _home() as name:
        (Path(name) / "a.xml").write_bytes(data)
        answers(annotations.read_cvat, Path(name) / "a.xml")


def read_coco_video(data: bytes) -> None:
    with _home() as name:
        (Path(name) / "a.json").write_bytes(data)
        answers(annotations.read_coco_video, Path(name) / "a.json")


def read_clip(data: bytes) -> None:
    """A clip as a whole: opened, its frames decoded and hidden in; and its container as an audit sees it."""
    with _home() as name:
        path = Path(name) / "clip"
        path.write_bytes(data)
        clip = answers(lambda: open_clip(path, max_megapixels=1.0))
        if clip is not None:
            answers(_hide_in, clip)
        containers.check_clip(path)


def _hide_in(clip: Any) -> None:
    hider, face = planes.Hider(Settings()), Region("face", (4, 4, 20, 20), 0.9)
    planar = planes.planar_format(clip.pixel_format)
    for frame in clip.frames():
        assert frame.rgb.shape == (clip.height, clip.width, 3)
        if frame.native.format.name == planar:
            hider.hide(frame.native, [face])
        if frame.index > 20:
            return


def read_container(data: bytes) -> None:
    with _home() as name:
        (Path(name) / "clip").write_bytes(data)
        containers.check_clip(Path(name) / "clip")


def read_coded_pictures(data: bytes) -> None:
    """What an audit looks for in the coded pictures of a clip."""
    for codec in ("h264", "hevc", "av1", "mjpeg"):
        for read in (
            lambda codec=codec: streams.head(codec, data),
            lambda codec=codec: audited_clips.in_picture(codec, data[:64], data),
            lambda codec=codec: audited_clips.in_picture(codec, b"", data),
        ):
            with contextlib.suppress(ValueError, IndexError):  # the audit fails the clip for it
                list(read())


def read_clip_output(data: bytes) -> None:
    """What an audit reads beside clips."""
    with _home() as name:
        home = Path(name)
        for file in ("clips.jsonl", "clips-summary.json", "1.mp4.tracks.jsonl", "1.mp4"):
            (home / file).write_bytes(data)
        found = answers(folder.read, home)
        from anonymize.audit.second_look import Looker

        for path in found.clips if found else ():
            clip = PhotoAudit(path, is_clip=True)
            with contextlib.suppress(Exception):  # the audit fails the clip for it
                audited_clips.check(clip, found, Looker((), {}), Settings(), None, 2, lambda done, of: None)


def read_found(data: bytes) -> None:
    """What a killed run had found in a segment."""
    with _home() as name:
        (Path(name) / "0.npz").write_bytes(data)
        answers(Found.load, Path(name) / "0.npz")


def read_shard(data: bytes) -> None:
    with _home() as name:
        store = Store(name)
        store.publish(f"{shards.FOLDER}/00001-ab-0000000.parquet", data)
        known = answers(shards.known, store)
        if known is not None:
            answers(shards.gather, name, Path(name) / "records.jsonl")


def read_kept_lines(data: bytes) -> None:
    """What lies beside a records file: only a copy, whatever it says."""
    with _home() as name:
        path = Path(name) / "records.jsonl"
        made = [Record(f"{n}.jpg", "ab", 8, 8, (), detectors={"a": {}}) for n in range(3)]
        records.write(path, HEADER, made)
        records.lines_beside(path).write_bytes(data)
        opened = answers(RecordsFile, path)
        if opened is not None:
            assert set(opened) == {r.path for r in made}
            assert [opened[r.path] for r in made] == made
            opened.close()


def read_jpeg(data: bytes) -> None:
    """A JPEG that is decoded, hidden in, and written again by its coefficients."""
    with _home() as name:
        path = Path(name) / "a.jpg"
        path.write_bytes(data)
        settings = Settings(max_megapixels=1.0)
        photo = answers(images.load, path, settings)
        if photo is None:
            return
        face = Region("face", (2, 2, 14, 14), 0.9)
        record = Record("a.jpg", photo.sha256, photo.width, photo.height, (face,), detectors={"a": {}})
        from anonymize.masks import changed

        hidden = answers(hiding.hide_record, photo, record, settings)
        if hidden is not None:
            answers(
                images.encode, photo, hidden, settings, changed(record.regions, settings, photo.width, photo.height)
            )


@functools.cache
def _clips() -> list[bytes]:
    with _home() as name:
        home, out = Path(name), []
        for file, more in (
            ("a.mp4", {}), ("b.mkv", {"audio": ("aac",)}), ("c.webm", {"codec": "libvpx-vp9"}), ("f.ts", {}),
            ("d.avi", {"codec": "mpeg4"}), ("e.mov", {"codec": "mjpeg", "pixel_format": "yuvj420p"}),
            ("g.mp4", {"data": b"gps"}),
        ):  # fmt: skip
            out.append(clips.make(home / file, 2, size=(32, 32), **more).read_bytes())
        return out


def _record() -> bytes:
    with _home() as name:
        path = Path(name) / "a"
        track = Track("face", 1, np.array([[1.0, 1, 9, 9], [2, 1, 9, 9.5]]), np.array([0, 1]), np.array([0.9, 0.0]))
        record = ClipRecord(
            "a.mp4", "ab", 64, 48, frames=9, frame_rate=25.0, tracks=(track,), searched=9, cuts=(4,),
            detectors={"a": {"w": "00"}}, detection="d", kinds=("face",),
        )  # fmt: skip
        clip_records.write(path, HEADER, record)
        return path.read_bytes()


def _shard() -> bytes:
    with _home() as name:
        record = Record("1.jpg", "ab", 8, 8, (), detectors={"a": {}})
        shards.write(Store(name), "00001-ab-0000000", HEADER, [shards.Row.of(record, Settings(), "1", "2")])
        return Store(name).read(f"{shards.FOLDER}/00001-ab-0000000.parquet")


def _coded() -> list[bytes]:
    """Units with messages, with and without lengths, a header, and units of AV1."""
    message = b"\5\x14" + bytes(range(16)) + b"48.1" + b"\1\2ab\x80"
    h264, hevc = b"\6" + message, b"\x50\1" + message
    units = [len(u).to_bytes(4, "big") + u for u in (h264, hevc)]
    head = b"\1d\0\x0a\xff\xe1\0\4gd\0\x0a\1\0\4h\xef\6\xf2\xfd\xf8\xf8\0"
    array = b"\1" + bytes(20) + b"\3\1\x27\0\1" + len(hevc).to_bytes(2, "big") + hevc
    av1 = b"\x12\0\x2a\7\4\xb5gps12\x0a\3abc"
    return [*units, b"\0\0\1" + h264 + b"\0\0\0\1" + hevc, head, array, b"\x81\0\x0c\0" + av1, av1]


def _arrays() -> bytes:
    out = io.BytesIO()
    np.savez(out, end=np.array([9, 3]), starts=np.arange(3), sizes=np.arange(3), crcs=np.arange(3))
    return out.getvalue()


def targets() -> Mapping[str, tuple[Callable[[bytes], Any], list[bytes]]]:
    """Name -> the function, and valid files to begin with."""
    memory = {"path": "1.mp4", "output": "1.mp4", "shows": "ab", "stamp": [1, 2], "sha256": "cd", "approval": "ef"}
    return {
        "clip-record": (read_clip_record, [_record()]),
        "clip": (read_clip, _clips()),
        "clip-container": (read_container, _clips()[:3]),
        "clip-output": (read_clip_output, [text_of(memory) + b"\n", _record(), _clips()[0]]),
        "coded-pictures": (read_coded_pictures, _coded()),
        "clip-found": (read_found, [_arrays()]),
        "mot": (read_mot, [MOT]),
        "cvat": (read_cvat, [CVAT]),
        "coco-video": (read_coco_video, [text_of(COCO)]),
        "shard": (read_shard, [_shard()]),
        "kept-lines": (read_kept_lines, [_arrays()]),
        "jpeg-in-place": (read_jpeg, fuzzing.seeds()["JPEG"]),
    }
