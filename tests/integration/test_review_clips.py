"""Clips in FiftyOne: tracks are shown as frame labels, and what a person does there is in the clip's record."""

from __future__ import annotations

from pathlib import Path

import pytest

from anonymize.errors import ReviewError, SettingsError, StaleDecisionError
from anonymize.predictor import Predictor
from anonymize.settings import Settings
from anonymize.video import batch, records
from review import clips as lens
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
    before = records.read(file)[1]
    dataset = lens.make(clean)
    import fiftyone as fo  # with the database that `make` started

    assert dataset.media_type == "video"
    sample = dataset.first()
    assert (sample["clip"], sample.metadata.total_frame_count) == ("ride.mp4", before.frames)
    (label,) = sample.frames[5][lens.FIELD].detections
    (track,) = before.tracks
    assert (label.track, label.index, label.hidden) == (track.id, 1, True)
    box = track.box(4)
    assert box is not None
    assert label.bounding_box[0] * before.width == pytest.approx(box[0])
    assert lens.take(dataset) == {}  # nothing was done

    sample = dataset.first()
    sample.frames[5][lens.FIELD].detections[0].tags = ["reject"]
    drawn = fo.Detection(label="face", bounding_box=[0.5, 0.5, 0.25, 0.25])
    sample.frames[2][lens.FIELD].detections.append(drawn)
    sample.save()
    assert lens.take(dataset, who="ana") == {"ride.mp4": ["draw", "reject"]}
    after = records.read(file)[1]
    assert {t.kind: t.status for t in after.tracks} == {"plate": "rejected", "face": "manual"}
    assert {d["who"] for d in after.decisions} == {"ana"}
    assert next(t for t in after.tracks if t.kind == "face").frames == range(1, 2)
    assert lens.take(dataset) == {}  # shown as it became, and so decided once

    sample = dataset.first()
    sample.frames[2][lens.FIELD].detections[0].tags = ["accept", "reset"]
    sample.save()
    with pytest.raises(SettingsError, match="tagged accept and reset"):
        lens.take(dataset)
    header, record = records.read(file)
    records.write(file, header, record.replace(tracks=()))
    with pytest.raises(StaleDecisionError, match="changed meanwhile"):
        lens.take(dataset)


def test_a_folder_without_records(tmp_path: Path) -> None:
    with pytest.raises(ReviewError, match="no clip's record"):
        lens.make(tmp_path)
