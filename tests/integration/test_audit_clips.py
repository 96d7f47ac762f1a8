"""Audits of exported clips: planted leaks are found, clean ones raise no alarm; quarantine and certificate."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from anonymize import engine
from anonymize.audit import TO_DO, Options, audit_folder, report_folder, second_look
from anonymize.audit.certificate import verify
from anonymize.cli import cli
from anonymize.detectors import FakeDetector
from anonymize.errors import AuditError
from anonymize.predictor import Predictor
from anonymize.regions import Region
from anonymize.settings import EFFECTS, Settings
from anonymize.video import batch, clip_records
from anonymize.video.clip_corrections import decide
from tests.support import clips
from tests.support import planted_clips as planted
from tests.support.planted import QUIET

pytestmark = pytest.mark.usefixtures("own_key")


@pytest.mark.parametrize("leak", planted.LEAKS, ids=lambda leak: leak.name)
def test_planted_leaks_are_found_and_clean_clips_are_not(leak: planted.Leak, tmp_path: Path) -> None:
    case = planted.make(tmp_path, leak.clip, codec=leak.codec)
    clean = audit_folder(case.folder, options=QUIET)
    assert clean.ok, [f for p in clean.photos for f in p.findings]
    assert [p.is_clip for p in clean.photos] == [True]
    leak.plant(case)
    audit = audit_folder(case.folder, options=QUIET)
    assert not audit.ok
    assert [f for p in audit.photos for f in p.findings if f.check == leak.check and f.level == "leak"]


def test_photos_that_are_written_into_the_folder_later_raise_no_alarm(tmp_path: Path) -> None:
    case = planted.make(tmp_path)
    for settings in (Settings().with_kind("face", effect="solid"), Settings().with_kind("face", effect="blur")):
        predictor = Predictor(settings, detectors=[FakeDetector([planted.FACE])])
        assert batch.run(tmp_path / "in", case.folder, predictor, every=1).ok
    Image.fromarray(planted.noise()[0]).save(tmp_path / "in" / "b.png")
    engine.run(tmp_path / "in", case.folder, Predictor(detectors=[FakeDetector([planted.FACE])]))
    audit = audit_folder(case.folder, options=QUIET)
    assert audit.ok, [f for p in audit.photos for f in p.findings]


def test_a_photo_of_others_among_clips_fails(tmp_path: Path) -> None:
    case = planted.make(tmp_path)
    Image.fromarray(planted.noise()[0]).save(case.folder / "strange.png")
    audit = audit_folder(case.folder, options=QUIET)
    assert [(p.path, f.text) for p in audit.failed for f in p.of("leak")] == [
        ("strange.png", "no export of this program wrote it")
    ]
    assert not (case.folder / "strange.png").exists()


@pytest.mark.parametrize("codec", ["h264", "ffv1"])
@pytest.mark.parametrize("effect", EFFECTS)
def test_what_was_exported_passes_the_comparison_with_the_original(effect: str, codec: str, tmp_path: Path) -> None:
    case = planted.make(tmp_path, codec=codec, settings=Settings().with_kind("face", effect=effect))
    audit = audit_folder(case.folder, against=tmp_path / "in", options=QUIET)
    assert audit.ok, [f for p in audit.photos for f in p.findings]
    assert ("unchanged" in audit.checks) == (codec == "ffv1")
    assert ("only lossless ones can be compared" in audit.skipped.get("unchanged", "")) == (codec != "ffv1")
    assert "files could be compared" not in audit.skipped.get("unchanged", "")


def test_a_lossless_clip_that_was_changed_outside_of_what_is_hidden_is_found(tmp_path: Path) -> None:
    case = planted.make(tmp_path, codec="ffv1")

    def change(index: int, picture: np.ndarray) -> np.ndarray:
        picture[60:, 90:] = 255 * (index == 3)
        return picture

    case.write_again(change=change, codec="ffv1")
    audit = audit_folder(case.folder, against=tmp_path / "in", options=QUIET)
    assert "unchanged" in {f.check for f in audit.photos[0].of("leak")}


def test_other_networks_look_at_frames_of_each_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = planted.make(tmp_path)
    missed = FakeDetector([Region("face", (66.0, 8.0, 90.0, 40.0), 0.97)], name="other")
    looker = second_look.Looker((missed,), {})
    monkeypatch.setattr(second_look, "choose", lambda *_, **__: looker)
    monkeypatch.setattr("anonymize.audit.load_reader", lambda *_: (_ for _ in ()).throw(AuditError("no weights here")))
    audit = audit_folder(case.folder, options=Options(is_moving=False))
    (clip,) = audit.photos
    leak = clip.of("leak")[0]
    assert leak.check == "recognizable"
    assert leak.frame is not None
    assert f"(frame {leak.frame})" in leak.text
    assert 0 < clip.looked_at <= clip.frames == 8
    report = (report_folder(case.folder) / "report.html").read_text("utf-8")
    assert f"{clip.looked_at} of 8 frames looked at" in report
    assert "data:image/jpeg" in report


class Moving:
    """Sees something else in each frame, too far from the last to be the same."""

    name, kinds, weights = "moving", ("face",), {}

    def __init__(self) -> None:
        self.seen = 0

    def detect(self, pictures: list[np.ndarray]) -> list[list[Region]]:
        out = []
        for _ in pictures:
            x = (2.0, 60.0)[self.seen % 2]
            out.append([Region("face", (x, 2.0, x + 20 + 5 * (self.seen % 3), 30.0), 0.5)])
            self.seen += 1
        return out


@pytest.mark.parametrize("most", [12, 3])
def test_the_report_shows_each_place_of_a_clip(most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = planted.make(tmp_path)
    monkeypatch.setattr(second_look, "choose", lambda *_, **__: second_look.Looker((Moving(),), {}))
    monkeypatch.setattr("anonymize.audit.load_reader", lambda *_: (_ for _ in ()).throw(AuditError("no weights here")))
    monkeypatch.setattr("anonymize.audit.clips.together", lambda found, _: list(found))
    monkeypatch.setattr("anonymize.audit.report.PLACES", most)
    (clip,) = audit_folder(case.folder, options=Options(name="a test")).photos
    looks = clip.of("look")
    assert len(looks) > 3
    report = (report_folder(case.folder) / "report.html").read_text("utf-8")
    assert "<h1>Audit of a test</h1>" in report
    assert f"To do: {TO_DO}, hide it in review and write the clip again." in report
    for finding in looks:
        assert finding.text.startswith("at ")
        assert report.count(f"<strong>Look:</strong> {finding.text}") == 1
        is_shown = looks.index(finding) < most
        assert (f"s, frame {finding.frame}</p>" in report) == is_shown
    assert report.count("<figure>") == min(most, len(looks))
    assert ("more place" in report) == (most < len(looks))
    if most < len(looks):
        assert f"… and {len(looks) - most} more place" in report


def test_clips_that_fail_leave_the_output_and_come_back_when_released(tmp_path: Path) -> None:
    case = planted.make(tmp_path)
    planted.LEAKS[0].plant(case)
    leaking = case.output.read_bytes()
    assert [p.quarantined for p in audit_folder(case.folder, options=QUIET).photos] == [True]
    assert not case.output.exists()
    assert (report_folder(case.folder) / "quarantine" / case.output.name).read_bytes() == leaking
    # A rerun does not write the same clip again; one that was corrected it does.
    predictor = Predictor(detectors=[FakeDetector([planted.FACE])])
    again = batch.run(tmp_path / "in", case.folder, predictor, every=1)
    assert "quarantine" in again.failures[case.name]
    assert not case.output.exists()
    assert not audit_folder(case.folder, options=QUIET).photos
    result = CliRunner().invoke(cli, ["audit", "release", str(case.folder)])
    assert result.exit_code == 0, result.output
    assert case.output.read_bytes() == leaking
    assert batch.run(tmp_path / "in", case.folder, predictor, every=1).unchanged == 1
    audit_folder(case.folder, options=QUIET)
    other = batch.run(tmp_path / "in", case.folder, Predictor(Settings().with_kind("face", effect="solid"),
                      detectors=[FakeDetector([planted.FACE])]), every=1)  # fmt: skip
    assert other.ok, other.failures
    assert audit_folder(case.folder, options=QUIET).ok


def test_the_certificate_names_clips_and_how_much_of_them_was_looked_at(tmp_path: Path) -> None:
    case = planted.make(tmp_path)
    assert audit_folder(case.folder, options=QUIET).ok
    place = report_folder(case.folder)
    said = verify(place / "certificate.json").statement["predicate"]
    assert (said["audit"]["clips"], said["audit"]["photos"], said["audit"]["passed"]) == (1, 0, 1)
    (photo,) = said["photos"]
    assert photo["frames"]["in it"] == 8
    assert photo["rest risk"] is None
    page = (place / "certificate.html").read_text("utf-8")
    assert "1 of 1 clips passed the audit" in page
    assert "How many clips still show a face or plate was not estimated" in page
    assert photo["review"] == "no review"
    assert "Estimated share" not in page
    case.output.write_bytes(case.output.read_bytes() + b"x")
    assert verify(place / "certificate.json").changed == [case.output.name]


def test_an_approval_is_of_the_settings_that_wrote_the_clip(tmp_path: Path) -> None:
    case = planted.make(tmp_path)
    file = next(case.folder.rglob(f"*{batch.RECORD_SUFFIX}"))

    def certified() -> str:
        assert audit_folder(case.folder, options=QUIET).ok
        said = verify(report_folder(case.folder) / "certificate.json").statement["predicate"]
        return str(said["photos"][0]["review"])

    header, record = clip_records.read(file)
    clip_records.write(file, header, decide(record, "approve", who="ana", settings=header.settings))
    assert certified() == "approved"
    hides_less = Settings().with_kind("face", threshold=0.999)
    predictor = Predictor(hides_less, detectors=[FakeDetector([planted.FACE])])
    assert batch.run(tmp_path / "in", case.folder, predictor, every=1).ok
    assert certified() != "approved"
    header, record = clip_records.read(file)
    assert header.review == hides_less  # what people are shown from now on
    clip_records.write(file, header, decide(record, "approve", who="ana", settings=hides_less))
    assert certified() == "approved"


def test_the_command_line_says_how_much_was_looked_at(tmp_path: Path) -> None:
    case = planted.make(tmp_path)
    arguments = ["audit", str(case.folder), "--no-detect", "--no-attack", "--quiet", "--frames", "2"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    assert "1 clip, 0 failed, 0 to look at" in result.output
    assert "all 8 frames were read, 2 of them looked at" in result.output
    assert "Attack: a face recognizer; Attack: a plate reader: not asked for" in result.output
    told = json.loads(CliRunner().invoke(cli, [*arguments, "--json"]).stdout)
    assert (told["photos"][0]["is_clip"], told["photos"][0]["looked_at"]) == (True, 2)


def test_records_of_clips_may_lie_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    clips.make(tmp_path / "in" / "a.mp4", 8, pictures=planted.noise())
    predictor = Predictor(detectors=[FakeDetector([planted.FACE])])
    assert batch.run(tmp_path / "in", tmp_path / "out", predictor, records_folder=tmp_path / "records").ok
    assert audit_folder(tmp_path / "out", options=QUIET).ok
    # Photos that come into the same folder later, their records elsewhere, too; then clips again.
    Image.new("RGB", (64, 48), "gray").save(tmp_path / "in" / "b.png")
    photos = Predictor(Settings().with_kind("face", effect="solid"), detectors=[FakeDetector([])])
    assert engine.run(tmp_path / "in", tmp_path / "out", photos, records_path=tmp_path / "photos.jsonl").ok
    assert audit_folder(tmp_path / "out", options=QUIET).ok
    assert batch.run(tmp_path / "in", tmp_path / "out", predictor, records_folder=tmp_path / "records").ok
    found = audit_folder(tmp_path / "out", options=QUIET)
    assert (found.ok, found.counted) == (True, "1 photo and 1 clip")
    os.unlink(tmp_path / "out" / "clips-summary.json")
    assert not audit_folder(
        tmp_path / "out", options=Options(is_looking=False, is_attacking=False, is_moving=False, is_reporting=False)
    ).ok
    assert audit_folder(tmp_path / "out", records_path=tmp_path / "records", options=QUIET).ok


def test_a_folder_of_original_clips_is_not_moved(tmp_path: Path) -> None:
    planted.make(tmp_path)
    audit = audit_folder(tmp_path / "in", options=QUIET)
    assert not audit.ok  # what its container carries
    assert not audit.photos[0].quarantined
    assert (tmp_path / "in" / "a.mp4").exists()


def test_clips_are_audited_after_they_were_written_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_look, "choose", lambda *_, **__: second_look.Looker((), {"none": "test"}))
    monkeypatch.setattr("anonymize.audit.load_reader", lambda *_: (_ for _ in ()).throw(AuditError("no weights here")))
    (tmp_path / "in").mkdir()
    clips.make(tmp_path / "in" / "a.mp4", 8)
    arguments = [
        "video",
        str(tmp_path / "in"),
        str(tmp_path / "out"),
        "--face-detector",
        "tests.support.clips:BarDetector",
    ]
    arguments += ["--plate-detector", "none", "--every", "1", "--quiet", "--codec", "ffv1", "--audit"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    assert "1 clip, 0 failed" in result.output
    assert "not done: Attack: a face recognizer; Attack: a plate reader: it is not done for clips" in result.output
    assert (tmp_path / "out-audit" / "certificate.json").is_file()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert CliRunner().invoke(cli, arguments).exit_code == 4
