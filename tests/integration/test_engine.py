"""The engine with a FakeDetector: what is written, what is withheld, what a second run does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anonymize import images, records
from anonymize.corrections import flag, gate
from anonymize.detectors import FakeDetector
from anonymize.engine import Summary, _Detection, detect, export, run
from anonymize.errors import AnonymizeError, DetectionError, PathError, RecordsError, SettingsError
from anonymize.images import blocks
from anonymize.masks import changed
from anonymize.outputs import add_to_zip
from anonymize.predictor import Predictor
from anonymize.regions import Region
from anonymize.settings import Settings
from tests.support import jpegs
from tests.support.engine import FACE, MAGENTA, magenta, outputs, predictor


def test_run_hides_in_every_photo_and_keeps_the_structure(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = run(folder, out, predictor()[0])
    assert summary.ok
    assert (summary.photos, summary.done, dict(summary.hidden)) == (4, 4, {"face": 4})
    assert summary.skipped == {"txt": 1}
    assert outputs(out) == ["1.jpg", "1.png", "a/1.jpg", "b/1.jpg"]
    for name in outputs(out):
        hidden = magenta(out / name)
        assert hidden[10:30, 10:30].all()
        assert not hidden[40:, :].any()
    before, after = (np.asarray(Image.open(f / "1.png")) for f in (folder, out))
    changed = (before != after).any(axis=2)
    assert not changed[45:].any()
    saved = json.loads((out / "summary.json").read_text())
    assert (saved["done"], saved["ok"], saved["skipped"]) == (4, True, {"txt": 1})
    beside = json.loads((out / "1.jpg.json").read_text())
    assert [r["kind"] for r in beside["regions"]] == ["face"]
    assert "landmarks" not in beside["regions"][0]
    assert (out / "1.png.json").exists()


def test_records_keep_what_is_under_the_threshold(folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "out", predictor()[0], write_detections=False)
    header, known = records.read(tmp_path / "out" / "records.jsonl")
    assert set(known) == {"1.jpg", "1.png", "a/1.jpg", "b/1.jpg"}
    assert [r.kind for r in known["a/1.jpg"].regions] == ["face", "plate"]
    assert known["1.jpg"].detectors == {"counting": {}}
    assert header.settings == MAGENTA
    assert not list((tmp_path / "out").rglob("*.jpg.json"))


def test_detect_then_export_equals_run(folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "run", predictor()[0])
    detect(folder, tmp_path / "r.jsonl", predictor()[0])
    assert export(tmp_path / "r.jsonl", tmp_path / "export", MAGENTA).ok
    for name in outputs(tmp_path / "run"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "export" / name).read_bytes()


def test_of_photos_that_are_looked_at_together_only_the_one_that_fails_has_no_output(
    folder: Path,
) -> None:
    asked: list[int] = []

    class TooDark(FakeDetector):
        def detect(self, images):  # type: ignore[no-untyped-def]
            asked.append(len(images))
            if any(image.mean() < 1 for image in images):
                raise RuntimeError("too dark")
            return super().detect(images)

    Image.new("RGB", (60, 50)).save(folder / "dark.png")
    steps = _Detection(Predictor(MAGENTA, detectors=[TooDark([FACE])]), "hash", folder, {}, None)
    paths = ["1.jpg", "dark.png", "1.png", "notes.txt", "a/1.jpg"]
    tasks = steps.infer([steps.read(path) for path in paths])
    assert asked == [4, 1, 1, 1, 1]
    assert [t.path for t in tasks] == paths
    assert [len(t.record.regions) for t in tasks] == [1, 0, 1, 0, 1]
    assert [t.path for t in tasks if t.record.error is not None] == ["dark.png", "notes.txt"]
    assert "too dark" in (tasks[1].record.error or "")


def test_a_second_run_changes_nothing_and_detects_nothing(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(folder, out, predictor()[0])
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.jpg")}
    again, detector = predictor()
    summary = run(folder, out, again)
    assert (summary.done, summary.unchanged, detector.seen) == (4, 4, 0)
    assert before == {p: p.stat().st_mtime_ns for p in out.rglob("*.jpg")}


def test_export_again_touches_only_what_changed(folder: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "r.jsonl", tmp_path / "out"
    detect(folder, path, predictor()[0])
    export(path, out, MAGENTA)
    header, known = records.read(path)
    with records.Writer(path, header) as writer:
        writer.write(
            known["1.jpg"].replace(regions=(*known["1.jpg"].regions, Region("plate", (0, 0, 4, 4), status="manual")))
        )
    summary = export(path, out, MAGENTA)
    assert (summary.done, summary.unchanged) == (4, 3)
    assert magenta(out / "1.jpg")[:4, :4].all()
    assert export(path, out, MAGENTA).unchanged == 4
    pixelate = MAGENTA.with_kind("face", effect="pixelate")
    assert export(path, out, pixelate).unchanged == 0


def test_a_deleted_output_comes_back(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(folder, out, predictor()[0])
    (out / "1.png").unlink()
    assert run(folder, out, predictor()[0]).unchanged == 3
    assert (out / "1.png").exists()


def test_a_changed_threshold_exports_again_without_detecting(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(folder, out, predictor()[0])
    lower, detector = predictor(settings=MAGENTA.with_kind("plate", threshold=0.05))
    assert run(folder, out, lower).hidden == {"face": 4, "plate": 4}
    assert detector.seen == 0
    assert magenta(out / "1.png")[30:34, 40:50].all()


def test_other_detection_settings_detect_again(folder: Path, tmp_path: Path) -> None:
    detect(folder, tmp_path / "r.jsonl", predictor()[0])
    again, detector = predictor(settings=MAGENTA.replace(iou_threshold=0.1))
    detect(folder, tmp_path / "r.jsonl", again)
    assert detector.seen == 4


def test_a_photo_that_fails_has_no_output_and_the_others_go_on(folder: Path, tmp_path: Path) -> None:
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("not a photo")
    whole = (folder / "1.jpg").read_bytes()
    (folder / "torn.jpg").write_bytes(whole[: len(whole) // 2])
    summary = run(folder, tmp_path / "out", predictor()[0])
    assert not summary.ok
    assert set(summary.failures) == {"empty.jpg", "text.jpg", "torn.jpg"}
    assert outputs(tmp_path / "out") == ["1.jpg", "1.png", "a/1.jpg", "b/1.jpg"]
    _, known = records.read(tmp_path / "out" / "records.jsonl")
    assert known["empty.jpg"].error
    (folder / "torn.jpg").write_bytes(whole)
    again = run(folder, tmp_path / "out", predictor()[0])
    assert set(again.failures) == {"empty.jpg", "text.jpg"}
    assert (again.done, again.unchanged) == (5, 4)


def test_a_detector_that_fails_is_not_a_photo_without_faces(folder: Path, tmp_path: Path) -> None:
    failing, _ = predictor(fail_on=2)
    summary = run(folder, tmp_path / "out", failing)
    (failed,) = summary.failures
    assert "out of memory" in summary.failures[failed]
    assert len(outputs(tmp_path / "out")) == 3
    assert run(folder, tmp_path / "out", predictor()[0]).ok
    assert len(outputs(tmp_path / "out")) == 4


def test_a_detector_that_answers_too_little_is_an_error() -> None:
    class Short(FakeDetector):
        def detect(self, images):  # type: ignore[no-untyped-def]
            return []

    with pytest.raises(DetectionError, match="0 answers for 1"):
        Predictor(detectors=[Short()]).predict([np.zeros((4, 4, 3), np.uint8)])


def test_a_photo_that_goes_bad_loses_its_earlier_output(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(folder, out, predictor()[0])
    (folder / "1.png").write_bytes(b"broken")
    (out / "foreign.png").write_bytes(b"somebody's")
    run(folder, out, predictor()[0])
    assert outputs(out) == ["1.jpg", "a/1.jpg", "b/1.jpg", "foreign.png"]
    assert not (out / "1.png.json").exists()


def test_export_refuses_a_photo_that_changed(folder: Path, tmp_path: Path) -> None:
    detect(folder, tmp_path / "r.jsonl", predictor()[0])
    (folder / "1.jpg").write_bytes((folder / "a/1.jpg").read_bytes())
    summary = export(tmp_path / "r.jsonl", tmp_path / "out", MAGENTA)
    assert list(summary.failures) == ["1.jpg"]
    assert "changed" in summary.failures["1.jpg"]
    assert "1.jpg" not in outputs(tmp_path / "out")


def test_a_flagged_photo_does_not_go_out_without_a_word(folder: Path, tmp_path: Path) -> None:
    """What a person or an audit keeps back, a plain export writes: people have to know."""
    path = tmp_path / "r.jsonl"
    detect(folder, path, predictor()[0])
    with records.Writer(path, records.read(path)[0]) as writer:
        writer.write(flag(records.read(path)[1]["1.jpg"], who="ann"))
    assert export(path, tmp_path / "out").warnings == {"1.jpg": ["flagged"]}
    assert export(path, tmp_path / "out", gate=gate(MAGENTA, True)).warnings == {}


def test_an_export_hides_no_kind_that_nobody_looked_for(folder: Path, tmp_path: Path) -> None:
    """It would say that all is well, and each head would be in the open."""
    detect(folder, tmp_path / "r.jsonl", predictor()[0])
    heads = MAGENTA.with_kind("head", threshold=0.3)
    with pytest.raises(SettingsError, match="head would be left in the open"):
        export(tmp_path / "r.jsonl", tmp_path / "out", heads)
    assert not (tmp_path / "out").exists()
    # Found, but not hidden when it was detected; or asked for then.
    detect(folder, tmp_path / "found.jsonl", predictor(FACE, Region("person", (5, 5, 40, 60), 0.9))[0])
    people = MAGENTA.with_kind("person", threshold=0.3)
    assert export(tmp_path / "found.jsonl", tmp_path / "out", people).hidden["person"] == 4
    detect(folder, tmp_path / "asked.jsonl", predictor(settings=heads)[0])
    assert export(tmp_path / "asked.jsonl", tmp_path / "heads", heads).ok


def test_a_gate_withholds(folder: Path, tmp_path: Path) -> None:
    detect(folder, tmp_path / "r.jsonl", predictor()[0])
    export(tmp_path / "r.jsonl", tmp_path / "out", MAGENTA)
    gate = lambda record: "not approved" if record.path.startswith("a/") else None  # noqa: E731
    summary = export(tmp_path / "r.jsonl", tmp_path / "out", MAGENTA, gate=gate)
    assert summary.withheld == {"a/1.jpg": "not approved"}
    assert summary.ok
    assert outputs(tmp_path / "out") == ["1.jpg", "1.png", "b/1.jpg"]


def test_detecting_again_keeps_decisions(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    detect(folder, path, predictor()[0])
    header, known = records.read(path)
    drawn = Region("plate", (1, 1, 8, 4), status="manual")
    with records.Writer(path, header) as writer:
        writer.write(known["1.jpg"].replace(regions=(drawn, FACE.replace(status="rejected"))))
    detect(folder, path, predictor(settings=MAGENTA.replace(iou_threshold=0.2))[0])
    assert {r.status for r in records.read(path)[1]["1.jpg"].regions} == {"manual", "rejected", "auto"}
    (folder / "1.jpg").rename(folder / "away")
    (folder / "1.jpg").touch()
    detect(folder, path, predictor()[0])
    (folder / "away").replace(folder / "1.jpg")
    detect(folder, path, predictor()[0])
    assert drawn in records.read(path)[1]["1.jpg"].regions


def test_a_dry_run_writes_nothing(folder: Path, tmp_path: Path) -> None:
    summary = run(folder, tmp_path / "out", predictor()[0], dry_run=True)
    assert summary.hidden == {"face": 4}
    assert not (tmp_path / "out").exists()


def test_outputs_that_would_touch_a_source_are_refused(folder: Path, tmp_path: Path) -> None:
    for wrong in (folder, folder / "a" / ".."):
        with pytest.raises(PathError):
            run(folder, wrong, predictor()[0])
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(PathError):
        run(folder, tmp_path / "link", predictor()[0])
    with pytest.raises(PathError, match="preview"):
        run(folder, tmp_path / "out", predictor()[0], preview=tmp_path / "out" / "p")


def test_an_output_inside_the_input_is_not_taken_as_input(folder: Path) -> None:
    assert run(folder, folder / "out", predictor()[0]).photos == 4
    assert run(folder, folder / "out", predictor()[0]).photos == 4


def test_records_of_another_input_are_refused(folder: Path, tmp_path: Path) -> None:
    detect(folder, tmp_path / "r.jsonl", predictor()[0])
    with pytest.raises(RecordsError, match="another input"):
        detect(folder / "a", tmp_path / "r.jsonl", predictor()[0])


def test_no_detector_is_an_error_not_a_photo_without_faces(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no detector"):
        run(folder, tmp_path / "out", Predictor(Settings(face_detector="none", plate_detector="none")))


def test_previews_lie_apart(folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "out", predictor()[0], preview=tmp_path / "out-preview")
    side_by_side = Image.open(tmp_path / "out-preview" / "a" / "1.jpg.jpg")
    assert side_by_side.width > 2 * 64
    assert len(outputs(tmp_path / "out")) == 4


def test_stop_ends_after_the_photos_in_flight(folder: Path, tmp_path: Path) -> None:
    for i in range(40):
        (folder / f"more{i}.jpg").write_bytes((folder / "1.jpg").read_bytes())
    stop = threading.Event()
    seen: list[int] = []

    def progress(summary: Summary) -> None:
        seen.append(summary.done)
        stop.set()

    summary = run(folder, tmp_path / "out", predictor()[0], progress=progress, stop=stop)
    assert summary.stopped
    assert not summary.ok
    assert 1 <= summary.done < 44
    assert run(folder, tmp_path / "out", predictor()[0]).done == 44


def test_photos_in_flight_are_bounded(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(60):
        (folder / f"more{i}.jpg").write_bytes((folder / "1.jpg").read_bytes())
    alive, most, lock = 0, 0, threading.Lock()
    load, save = images.load, images.save

    def counted_load(*a, **k):  # type: ignore[no-untyped-def]
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
        return load(*a, **k)

    def counted_save(*a, **k):  # type: ignore[no-untyped-def]
        nonlocal alive
        time.sleep(0.005)  # slow writing must hold reading back
        said = save(*a, **k)
        with lock:
            alive -= 1
        return said

    monkeypatch.setattr(images, "load", counted_load)
    monkeypatch.setattr(images, "save", counted_save)
    run(folder, tmp_path / "out", predictor(settings=MAGENTA.replace(jobs=2))[0])
    assert most <= 5


def test_memory_does_not_hold_several_large_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import anonymize.engine as module

    root = tmp_path / "in"
    root.mkdir()
    for i in range(6):
        Image.fromarray(np.zeros((50, 50, 3), np.uint8)).save(root / f"{i}.png")
    monkeypatch.setattr(module, "PIXELS_IN_FLIGHT", 2500)  # one such photo fills it
    alive, most = 0, 0
    load, save = images.load, images.save

    def counted_load(*a, **k):  # type: ignore[no-untyped-def]
        nonlocal alive, most
        alive += 1
        most = max(most, alive)
        return load(*a, **k)

    def counted_save(*a, **k):  # type: ignore[no-untyped-def]
        nonlocal alive
        said = save(*a, **k)
        alive -= 1
        return said

    monkeypatch.setattr(images, "load", counted_load)
    monkeypatch.setattr(images, "save", counted_save)
    assert run(root, tmp_path / "out", predictor()[0]).done == 6
    assert most == 1


KILLED = """
import sys, time
sys.path.insert(0, {here!r})
from anonymize import images
from anonymize.engine import run
from tests.support.engine import predictor
save = images.save
def slow(*a, **k):
    said = save(*a, **k)
    print("saved", flush=True)
    time.sleep(0.02)
    return said
images.save = slow
run({source!r}, __import__("pathlib").Path({out!r}), predictor()[0])
"""


def test_a_killed_run_goes_on_where_it_stopped(folder: Path, tmp_path: Path) -> None:
    for i in range(30):
        (folder / f"more{i}.jpg").write_bytes((folder / "1.jpg").read_bytes())
    out = tmp_path / "out"
    here = str(Path(__file__).parents[2])
    code = KILLED.format(here=here, source=str(folder), out=str(out))
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=here)
    assert child.stdout is not None
    for _ in range(8):
        child.stdout.readline()
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    written = outputs(out)
    assert 5 <= len(written) < 34
    for name in written:  # none is half-written
        assert magenta(out / name)[10:30, 10:30].all()
    again, detector = predictor()
    summary = run(folder, out, again)
    assert summary.ok
    assert len(outputs(out)) == 34
    assert summary.unchanged >= len(written) - 5  # at most the photos in flight were done again
    assert detector.seen <= 34 - len(written) + 5
    assert not [p for p in out.rglob("*") if p.name.endswith(".tmp")]


def test_an_export_of_what_an_earlier_version_found_says_so(folder: Path, tmp_path: Path) -> None:
    """It may have found less, and an export does not look again."""
    path, finds = tmp_path / "r.jsonl", predictor()[0]
    detect(folder, path, finds)
    assert export(path, tmp_path / "out").warnings == {}
    header, known = records.read(path)
    version = known["1.png"].detection.partition("-")[0]
    old = known["1.png"].replace(detection=known["1.png"].detection.replace(version, str(int(version) - 1), 1))
    older = known["1.jpg"].replace(detection="0123456789abcdef")  # before versions were noted
    with records.lock(path):
        records.write(path, header, {**known, "1.png": old, "1.jpg": older}.values())
    for _ in range(2):  # also where nothing is left to do
        summary = export(path, tmp_path / "out")
        assert summary.warnings == {name: ["older-detection"] for name in ("1.jpg", "1.png")}
        assert "detect again (2): 1.jpg, 1.png" in summary.warning_texts()[0]
    assert detect(folder, path, finds).unchanged == 2
    assert export(path, tmp_path / "out").warnings == {}


def test_odd_names_survive(tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    names = ["new\nline.png", os.fsdecode(b"\xff\xfe.png"), "-dash.png", "back\\slash.png", "[1].png"]
    for name in names:
        Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(root / name)
    summary = run(root, tmp_path / "out", predictor()[0])
    assert summary.ok
    assert sorted(os.listdir(root)) == sorted(n for n in os.listdir(tmp_path / "out") if n.endswith(".png"))
    detect(root, tmp_path / "r.jsonl", predictor()[0])
    assert export(tmp_path / "r.jsonl", tmp_path / "out2", MAGENTA).done == 5


def test_every_expected_error_is_ours() -> None:
    assert all(issubclass(e, AnonymizeError) for e in (PathError, RecordsError, SettingsError, DetectionError))


def test_the_memory_of_an_output_does_not_grow_for_ever(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for threshold in (0.5, 0.3, 0.5, 0.3):
        settings = Settings().with_kind("face", threshold=threshold)
        run(folder, out, Predictor(settings, detectors=[FakeDetector([Region("face", (0, 0, 9, 9), 0.9)])]))
    memory = out / "exports.jsonl"
    assert len(memory.read_text().splitlines()) > 4  # what the last run wrote itself
    assert export(out / "records.jsonl", out, settings).unchanged == 4
    assert len(memory.read_text().splitlines()) == 4
    assert export(out / "records.jsonl", out, settings).unchanged == 4


def test_a_zip_has_what_shows_its_record_and_takes_every_name(folder: Path, tmp_path: Path) -> None:
    os.rename(folder / "1.png", os.path.join(os.fsencode(folder), b"\xff.png"))
    run(folder, tmp_path / "out", predictor()[0])
    known = records.read(tmp_path / "out" / "records.jsonl")[1]
    (tmp_path / "out" / "1.jpg").write_bytes(b"somebody's")
    target = tmp_path / "clean.zip"
    with zipfile.ZipFile(target, "w") as archive:
        add_to_zip(archive, tmp_path / "out", known.values(), MAGENTA)
    assert sorted(zipfile.ZipFile(target).namelist()) == ["a/1.jpg", "b/1.jpg", "\ufffd.png"]
    with zipfile.ZipFile(target, "w") as archive:
        add_to_zip(archive, tmp_path / "out", known.values(), MAGENTA, detections=True)
    assert sorted(zipfile.ZipFile(target).namelist()) == ["a/1.jpg.json", "b/1.jpg.json", "\ufffd.png.json"]
    with zipfile.ZipFile(target, "w") as archive:
        add_to_zip(archive, tmp_path / "out", known.values(), MAGENTA.with_kind("face", threshold=0.95))
    assert zipfile.ZipFile(target).namelist() == []


def test_a_jpeg_keeps_its_data_outside_of_what_is_hidden_and_its_record_says_where_it_cannot(tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    (root / "a.jpg").write_bytes(jpegs.make("420", (96, 64)))
    (root / "turned.jpg").write_bytes(jpegs.with_exif(jpegs.make("420", (96, 61)), exif))
    summary = run(root, tmp_path / "out", predictor()[0])
    assert summary.ok
    assert summary.warnings == {"turned.jpg": ["jpeg-encoded-anew"]}
    _, known = records.read(tmp_path / "out" / "records.jsonl")
    assert {p: r.warnings for p, r in known.items()} == {"a.jpg": (), "turned.jpg": ("jpeg-encoded-anew",)}
    old, new = (images.load(p / "a.jpg", MAGENTA) for p in (root, tmp_path / "out"))
    where = changed(known["a.jpg"].regions, MAGENTA, 96, 64)
    source = old.form.options["source"]
    pairs = zip(blocks.read(new.form.options["source"]), blocks.read(source), source.steps, strict=True)
    for a, b, step in pairs:
        at = blocks._touched(where, a, step)
        assert at.any()
        assert np.array_equal(jpegs.cells(a)[~at], jpegs.cells(b)[~at])
