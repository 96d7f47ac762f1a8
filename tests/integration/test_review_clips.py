"""Clips in FiftyOne: tracks are shown as frame labels, and what a person does there is in the clip's record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from anonymize import corrections
from anonymize.errors import RecordsError, ReviewError, SettingsError, StaleDecisionError
from anonymize.predictor import Predictor
from anonymize.settings import Settings
from anonymize.video import batch, clip_corrections, clip_records
from review import clip_dataset as lens
from review.documents import CANDIDATES, HIDDEN
from review.guarded.offered import RefusedError
from review.guarded.requests import check
from review.guarded.server import ReviewServer
from review.reviews import Reviews, User
from tests.support import clips


@pytest.fixture
def clean(tmp_path: Path, as_they_came: None) -> Path:
    (tmp_path / "in").mkdir()
    clips.make(tmp_path / "in" / "ride.mp4", 12)
    predictor = Predictor(Settings(), detectors=[clips.BarDetector()])
    assert batch.run(tmp_path / "in", tmp_path / "out", predictor).ok
    return tmp_path / "out"


def test_tracks_are_frame_labels_and_decisions_come_back(clean: Path, fiftyone_home: Path) -> None:
    file = clean / "ride.mp4.tracks.jsonl"
    before = clip_records.read(file)[1]
    dataset = lens.make(clean)
    import fiftyone as fo  # with the database that `make` started

    assert dataset.media_type == "video"
    sample = dataset.first()
    assert (sample["clip"], sample.metadata.total_frame_count) == ("ride.mp4", before.frames)
    (label,) = sample.frames[5][HIDDEN].detections
    (track,) = before.tracks
    assert (label.track, label.index) == (track.id, 1)
    assert not sample.frames[5][CANDIDATES].detections
    box = track.box(4)
    assert box is not None
    assert label.bounding_box[0] * before.width == pytest.approx(box[0])
    assert lens.take(dataset) == {}  # nothing was done

    sample = dataset.first()
    sample.frames[5][HIDDEN].detections[0].tags = ["reject"]
    drawn = fo.Detection(label="face", bounding_box=[0.5, 0.5, 0.25, 0.25])
    sample.frames[2][CANDIDATES].detections.append(drawn)
    sample.save()
    assert lens.take(dataset, who="ana") == {"ride.mp4": ["draw", "reject"]}
    after = clip_records.read(file)[1]
    assert {t.kind: t.status for t in after.tracks} == {"plate": "rejected", "face": "manual"}
    assert {d["who"] for d in after.decisions} == {"ana"}
    assert next(t for t in after.tracks if t.kind == "face").frames == range(1, 2)
    assert lens.take(dataset) == {}  # shown as it became, and so decided once

    sample = dataset.first()
    assert [d.label for d in sample.frames[2][HIDDEN].detections] == ["face"]
    assert [d.status for d in sample.frames[2][CANDIDATES].detections] == [
        "rejected"
    ]  # shown as one that is not hidden
    sample.frames[2][HIDDEN].detections[0].tags = ["accept", "reset"]
    sample.save()
    with pytest.raises(SettingsError, match="tagged accept and reset"):
        lens.take(dataset)
    header, record = clip_records.read(file)
    clip_records.write(file, header, record.replace(tracks=()))
    with pytest.raises(StaleDecisionError, match="changed meanwhile"):
        lens.take(dataset)


def test_a_folder_without_records(tmp_path: Path) -> None:
    with pytest.raises(ReviewError, match="no clip's record"):
        lens.make(tmp_path)


def test_what_is_hidden_and_what_is_not_have_colors_of_their_own(clean: Path, fiftyone_home: Path) -> None:
    config = lens.make(clean).app_config
    colors = {field["path"]: field["fieldColor"] for field in config.color_scheme.fields}
    assert colors.keys() == {f"frames.{HIDDEN}", f"frames.{CANDIDATES}"}
    assert len(set(colors.values())) == 2
    assert colors.keys() <= set(config.active_fields.paths)


# --- in the guarded server ---


class Page:
    """The guarded mount, as a reviewer's browser reaches it, with one clip under review."""

    def __init__(self, folder: Path, *, is_reviewer: bool = True) -> None:
        self.reviews = Reviews()
        self.review = self.reviews.open_clips(folder)
        user = User("ana", "ana", is_reviewer)
        self.client = TestClient(ReviewServer(self.reviews, who=lambda _: user), raise_server_exceptions=True)
        self.file = folder / "ride.mp4.tracks.jsonl"

    @property
    def record(self) -> clip_records.ClipRecord:
        return clip_records.read(self.file)[1]

    def label(self, frame: int, field: str = HIDDEN) -> tuple[str, str]:
        sample = self.review.shown.first()
        return sample.id, sample.frames[frame][field].detections[0].id

    def media(self, path: Path, **headers: str) -> Any:
        return self.client.get("/media", params={"filepath": str(path)}, headers=headers)


def test_a_clip_is_decided_on_track_by_track(clean: Path, fiftyone_home: Path) -> None:
    page = Page(clean)
    assert len(page.record.tracks) == 1
    with pytest.raises(RecordsError, match="select a track"):
        page.review.decide_on_labels([("0" * 24, "0" * 24), ("x", "y")], "reject", who="ana")
    assert page.review.decide_on_labels([page.label(5), page.label(7)], "reject", who="ana") == 1  # one track
    assert [t.status for t in page.record.tracks] == ["rejected"]
    page.review.decide_on_labels([page.label(3, CANDIDATES)], "extend", who="ana", frame=page.record.frames - 1)
    assert (page.record.tracks[0].status, page.record.tracks[0].last) == ("accepted", page.record.frames - 1)
    id = page.review.shown.first().id
    page.review.decide_on_clips([id], "draw", who="bob", kind="face", boxes={0: (1, 1, 20, 20), 9: (1, 1, 20, 20)})
    drawn = next(t for t in page.record.tracks if t.status == "manual")
    assert (drawn.kind, drawn.frames) == ("face", range(10))
    assert [d["who"] for d in page.record.decisions] == ["ana", "ana", "bob"]
    sample = page.review.shown.first()
    assert {d.label for d in sample.frames[4][HIDDEN].detections} == {"plate", "face"}
    page.review.decide_on_clips([id], "approve", who="bob")
    assert page.review.shown.first()["review"] == "approved"
    # What was changed elsewhere meanwhile is not decided on; looked at anew, it is there.
    header, record = clip_records.read(page.file)
    clip_records.write(page.file, header, corrections.reject(record, who="eve", id=drawn.id))
    with pytest.raises(StaleDecisionError, match="changed meanwhile"):
        page.review.decide_on_clips([id], "undo", who="bob")
    page.review.update()
    page.review.decide_on_clips([id], "flag", who="bob")
    assert page.record.review == "flagged"
    assert "face" in page.review.kinds()


def test_the_panel_tells_of_clips_and_has_no_button_for_photos(clean: Path, fiftyone_home: Path) -> None:
    from types import SimpleNamespace

    from review.plugin.panel import QueuePanel

    page = Page(clean)
    sample = page.review.shown.first()
    state = SimpleNamespace(told="")
    ctx = SimpleNamespace(dataset=page.review.shown, current_sample=sample.id, panel=SimpleNamespace(state=state))
    panel = QueuePanel()
    assert list(panel.render(ctx).type.properties) == ["told"]
    panel.on_load(ctx)
    assert "0 of 1 clips approved" in state.told
    assert "`ride.mp4`" in state.told
    page.review.shown.info = {}  # of anybody's photos
    assert "buttons" in panel.render(ctx).type.properties


@pytest.mark.parametrize("way", [(2.0, 0.0), (-2.0, 0.0), (0.0, 2.0), (0.0, -2.0), (-1.5, -1.5)])
def test_what_left_the_picture_is_hidden_to_a_frame(clean: Path, way: tuple[float, float]) -> None:
    record = clip_records.read(clean / "ride.mp4.tracks.jsonl")[1]
    (track,) = record.tracks
    away = np.array(way * 2) * np.array([record.width, record.height] * 2)
    outside = track.replace(first=0, boxes=track.boxes[:5] + away, sources=track.sources[:5], scores=track.scores[:5])
    record = record.replace(tracks=(outside,))
    box = lens._nearest(record, outside, 9)
    record = clip_corrections.extend(record, who="ana", id=outside.id, frame=9, box=box)
    assert record.tracks[0].last == 9
    x1, y1, x2, y2 = record.tracks[0].boxes[-1]
    assert 0 <= x1 < x2 <= record.width
    assert 0 <= y1 < y2 <= record.height
    assert (x2 - x1) * (y2 - y1) >= 0.9 * np.prod(outside.boxes[4, 2:] - outside.boxes[4, :2])


def test_what_was_shown_under_other_settings_is_not_approved(clean: Path, fiftyone_home: Path) -> None:
    page = Page(clean)
    dataset = page.review.shown
    assert dataset.first()["review"] == "pending"
    hides_less = Predictor(Settings().with_kind("plate", threshold=0.999), detectors=[clips.BarDetector()])
    assert batch.run(clean.parent / "in", clean, hides_less).ok
    with pytest.raises(StaleDecisionError, match="other settings"):
        page.review.decide_on_clips([dataset.first().id], "approve", who="ana")
    with pytest.raises(StaleDecisionError, match="other settings meanwhile; make the dataset again"):
        lens.take(dataset)
    page.review.update()
    assert not page.record.hidden(hides_less.settings)
    frame = page.review.shown.first().frames[5]
    assert not frame[HIDDEN].detections
    assert frame[CANDIDATES].detections
    page.review.decide_on_clips([dataset.first().id], "approve", who="ana")
    assert page.record.is_approved(hides_less.settings)
    assert batch.run(clean.parent / "in", clean, Predictor(detectors=[clips.BarDetector()])).ok  # hides other things
    page.review.update()
    assert page.review.shown.first()["review"] == "pending"


def test_the_guarded_server_gives_out_these_clips_in_parts_and_nothing_else(clean: Path, fiftyone_home: Path) -> None:
    page, source = Page(clean), clean.parent / "in" / "ride.mp4"
    assert page.media(source).status_code == 404  # before it is opened
    page.review.update()
    whole = page.media(source)
    assert (whole.status_code, whole.content) == (200, source.read_bytes())
    part = page.media(source, range="bytes=10-19")
    assert (part.status_code, part.content) == (206, source.read_bytes()[10:20])
    (clean.parent / "in" / "other.mp4").write_bytes(source.read_bytes())
    for other in (
        clean.parent / "in" / "other.mp4",
        page.file,
        Path("/etc/passwd"),
        Path(f"{source.parent}/../in/ride.mp4"),
    ):
        assert page.media(other).status_code == 404
    assert Page(clean, is_reviewer=False).media(source).status_code == 404


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/frames", {"frameNumber": 1, "numFrames": 30, "frameCount": 60}),
        ("/video-labels/window", {"fields": ["detections", "hidden", "candidates"], "startFrame": 1, "endFrame": 60}),
        ("/video-labels/index", {"fields": ["hidden", "candidates"], "dynamicAttributes": []}),
    ],
)
def test_what_the_app_asks_of_a_clip_is_let_through_and_nothing_more(path: str, body: dict[str, Any]) -> None:
    asked = {"sampleId": "0" * 24, "dataset": "clips-a", "view": [], **body}
    check(path, asked, {"clips-a"})
    for wrong in ({"dataset": "other"}, {"more": 1}, {"view": [{"_cls": "fiftyone.core.stages.Mongo", "kwargs": []}]}):
        with pytest.raises(RefusedError):
            check(path, {**asked, **wrong}, {"clips-a"})


def test_a_folder_without_clips_is_no_review(tmp_path: Path) -> None:
    with pytest.raises(ReviewError, match="no clip's record"):
        Reviews().open_clips(tmp_path)
