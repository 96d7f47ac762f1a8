import json

import pytest

from anonymize.corrections import flag
from anonymize.errors import PathError, RecordsError, SettingsError
from anonymize.outputs import Output
from anonymize.predictor import Predictor
from anonymize.settings import Kind, Settings
from anonymize.video import batch, clip_corrections, clip_records
from anonymize.video.association import LEVELS
from anonymize.video.memory import Memory
from anonymize.video.passes import detect, render
from anonymize.video.reader import open_clip
from anonymize.video.writer import Encoding
from tests.support import clips


@pytest.fixture
def folder(tmp_path):
    source = tmp_path / "in"
    (source / "deep").mkdir(parents=True)
    clips.make(source / "a.mp4", 5)
    clips.make(source / "deep" / "b.mkv", 4)
    (source / "notes.txt").write_text("no clip")
    return source


def run(source, output, detector=None, settings=Settings(), **given):
    predictor = Predictor(settings, detectors=[detector or clips.BarDetector()])
    return batch.run(source, output, predictor, every=1, **given)


def test_a_folder_comes_out_with_its_structure_and_records(folder, tmp_path):
    summary = run(folder, tmp_path / "out")
    assert summary.ok
    assert (summary.clips, summary.done, summary.frames) == (2, 2, 9)
    assert summary.skipped == {"txt": 1}
    files = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert files == {
        "a.mp4", "a.mp4.tracks.jsonl", "deep/b.mkv", "deep/b.mkv.tracks.jsonl", "clips.jsonl", ".exports.jsonl.lock",
        "clips-summary.json",
    }  # fmt: skip
    for name in ("a.mp4", "deep/b.mkv"):
        assert not any(clips.bar(f.rgb) for f in open_clip(tmp_path / "out" / name).frames())
    assert json.loads((tmp_path / "out" / "clips-summary.json").read_text())["ok"]


def test_run_again_it_does_nothing(folder, tmp_path):
    run(folder, tmp_path / "out")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.m*")}
    detector = clips.BarDetector()
    summary = run(folder, tmp_path / "out", detector)
    assert (summary.done, summary.unchanged, detector.seen) == (2, 2, 0)
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_other_settings_write_anew_without_detecting(folder, tmp_path):
    run(folder, tmp_path / "out")
    detector = clips.BarDetector()
    summary = run(folder, tmp_path / "out", detector, Settings().with_kind("plate", threshold=0.95))
    assert (summary.done, summary.unchanged, detector.seen) == (2, 0, 0)
    assert all(clips.bar(f.rgb) for f in open_clip(tmp_path / "out" / "a.mp4").frames())


def test_a_clip_that_fails_has_no_output_and_the_others_go_on(folder, tmp_path):
    run(folder, tmp_path / "out")
    (folder / "a.mp4").write_bytes(b"broken")
    summary = run(folder, tmp_path / "out")
    assert list(summary.failures) == ["a.mp4"]
    assert not summary.ok
    assert not (tmp_path / "out" / "a.mp4").exists()
    assert (tmp_path / "out" / "deep" / "b.mkv").exists()


def test_what_earlier_runs_left_in_the_output_is_said(folder, tmp_path):
    run(folder, tmp_path / "out")
    (folder / "a.mp4").unlink()
    summary = run(folder, tmp_path / "out")
    assert summary.left_over["a.mp4"] == "its clip is no longer in the input"
    clips.make(folder / "c.mkv", 3)
    (folder / "some.txt").write_text("c.mkv\n")
    stricter = Settings().with_kind("plate", threshold=0.05)
    summary = run(folder / "some.txt", tmp_path / "out", settings=stricter)
    assert summary.left_over["deep/b.mkv"] == "it was written with other settings"
    assert json.loads((tmp_path / "out" / "clips-summary.json").read_text())["left_over"] == summary.left_over


def test_what_people_decided_on_another_file_is_not_lost_in_silence(folder, tmp_path):
    """A face that somebody drew would be open again in a clip that was encoded anew."""
    blind = clips.BarDetector(blind=range(99))
    assert not run(folder, tmp_path / "out", blind).warnings
    file = tmp_path / "out" / "a.mp4.tracks.jsonl"
    header, record = clip_records.read(file)
    clip_records.write(file, header, clip_corrections.draw(record, who="ann", kind="plate", boxes={0: (4, 12, 30, 36)}))
    clips.make(folder / "a.mp4", 6)
    for _ in range(2):
        summary = run(folder, tmp_path / "out", blind)
        assert summary.warnings == {"a.mp4": [clip_records.ClipRecord.FORGOTTEN]}


def test_a_flagged_clip_does_not_go_out_without_a_word(folder, tmp_path):
    out = tmp_path / "out"
    run(folder, out)
    file = out / "a.mp4.tracks.jsonl"
    header, record = clip_records.read(file)
    clip_records.write(file, header, flag(record, who="ann"))
    assert "kept back" in run(folder, out).warnings["a.mp4"][0]


def test_what_people_decide_during_a_search_counts(folder, tmp_path):
    """The same file is searched anew with another detector, and somebody draws a face meanwhile."""
    assert run(folder, tmp_path / "out").ok
    file = tmp_path / "out" / "a.mp4.tracks.jsonl"

    class Meanwhile(clips.BarDetector):
        def detect(self, images):
            header, record = clip_records.read(file)
            if not record.decisions:
                drawn = clip_corrections.draw(record, who="ann", kind="face", boxes={0: (4, 12, 30, 36)})
                clip_records.write(file, header, drawn)
            return super().detect(images)

    detector = Meanwhile(blind=range(99))
    detector.name, detector.weights = "another", {"another": "1" * 64}
    assert run(folder, tmp_path / "out", detector).ok
    record = clip_records.read(file)[1]
    assert detector.seen
    assert [track.kind for track in record.hidden(Settings())] == ["face"]


def test_another_programs_file_stays(folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.mp4").write_text("mine")
    summary = run(folder, tmp_path / "out")
    assert "did not write" in summary.failures["a.mp4"]
    assert (tmp_path / "out" / "a.mp4").read_text() == "mine"


def test_two_clips_are_never_one_output(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    clips.make(source / "a.webm", 3, codec="libvpx-vp9")
    clips.make(source / "a.webm.mp4", 3)
    summary = run(source, tmp_path / "out")
    assert "would be that of a.webm" in summary.failures["a.webm.mp4"]
    assert (tmp_path / "out" / "a.webm.mp4").exists()


def test_a_cut_off_clip_is_named(tmp_path):
    whole = clips.make(tmp_path / "whole.mkv", 50, size=(320, 240))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    summary = run(tmp_path / "in", tmp_path / "out")
    assert list(summary.incomplete) == ["a.mkv"]
    assert not summary.ok
    assert run(tmp_path / "in", tmp_path / "out").incomplete == summary.incomplete


def test_a_dry_run_writes_nothing(folder, tmp_path):
    summary = run(folder, tmp_path / "out", dry_run=True)
    assert (summary.done, summary.hidden["plate"]) == (2, 2)
    assert not (tmp_path / "out").exists()


def test_the_output_is_a_folder_and_never_the_input(folder, tmp_path):
    with pytest.raises(PathError, match="is a folder"):
        run(folder / "a.mp4", tmp_path / "out.mp4")
    with pytest.raises(PathError, match="never overwritten"):
        run(folder, folder)


def test_what_was_found_stays_where_the_codec_changes(folder, tmp_path):
    run(folder, tmp_path / "out")
    detector = clips.BarDetector()
    run(folder, tmp_path / "out", detector, encoding=Encoding("ffv1"))
    assert open_clip(tmp_path / "out" / "deep" / "b.mkv").codec == "ffv1"
    assert detector.seen == 0


def test_a_threshold_that_no_track_has_is_refused(folder, tmp_path):
    low = Settings().with_kind("plate", threshold=0.01)
    with pytest.raises(SettingsError, match="plate"):
        run(folder, tmp_path / "out", clips.BarDetector(score=0.012), low)
    clip = open_clip(folder / "a.mp4")
    record = detect(clip, "a.mp4", Predictor(Settings(), detectors=[clips.BarDetector()]), tmp_path / "parts")
    with pytest.raises(SettingsError, match="plate"):
        render(clip, record, tmp_path / "b.mp4", low, Encoding(), tmp_path / "parts")
    assert not list(tmp_path.rglob("out/*.mp4"))
    least = Settings().with_kind("plate", threshold=LEVELS[-1])
    assert run(folder, tmp_path / "out", clips.BarDetector(score=LEVELS[-1]), least).ok
    assert not any(clips.bar(f.rgb) for f in open_clip(tmp_path / "out" / "a.mp4").frames())


class Dogs(clips.BarDetector):
    kinds = frozenset({"plate", "face", "dog"})

    def detect(self, images):
        return [[r.replace(kind="dog", id="") for r in found] for found in super().detect(images)]


def test_a_kind_that_is_hidden_from_now_on_is_looked_for_again(folder, tmp_path):
    summary = run(folder, tmp_path / "out", Dogs())
    assert "not hidden: dog" in summary.warnings["a.mp4"][0]
    assert run(folder, tmp_path / "out", Dogs()).warnings == summary.warnings
    settings = Settings()
    summary = run(folder, tmp_path / "out", Dogs(), settings.replace(kinds={**settings.kinds, "dog": Kind()}))
    assert summary.ok
    assert not summary.warnings
    assert not any(clips.bar(f.rgb) for f in open_clip(tmp_path / "out" / "a.mp4").frames())


def test_photos_and_clips_of_one_output_wait_for_each_other(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("anonymize.json_lines.LOCK_SECONDS", 0.1)
    with Output(tmp_path / "out", Settings()), pytest.raises(RecordsError, match="is busy"):
        run(folder, tmp_path / "out")
    with Memory(tmp_path / "out"), pytest.raises(RecordsError, match="is busy"), Output(tmp_path / "out", Settings()):
        pass
