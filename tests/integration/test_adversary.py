"""What somebody else put in the way: links, foreign files, records and settings written by hand, a second run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from anonymize import images
from anonymize.detectors import FakeDetector
from anonymize.engine import Summary, detect, export, run
from anonymize.errors import AnonymizeError, DetectionError, PathError, RecordsError, SettingsError
from anonymize.hiding import hide_record
from anonymize.outputs import Output
from anonymize.predictor import Predictor
from anonymize.regions import Region
from tests.conftest import draw
from tests.support.engine import FACE, MAGENTA, magenta, outputs, predictor

ROOT = Path(__file__).parents[2]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def is_hidden(path: Path) -> bool:
    return bool(magenta(path)[10:30, 10:30].all())


def edited(folder: Path, path: Path, change: Callable[[dict[str, Any], dict[str, Any]], object]) -> None:
    """Records of the folder, of which `change` got the header and the first record."""
    detect(folder, path, predictor()[0])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    change(*lines[:2])
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


# A failure is never "nothing found"


@pytest.mark.parametrize("error", [DetectionError(), OSError(), MemoryError()], ids=repr)
def test_a_detector_that_fails_without_a_word_has_failed(folder: Path, out: Path, error: Exception) -> None:
    class Silent(FakeDetector):
        def detect(self, images: Any) -> Any:
            raise error

    summary = run(folder, out, Predictor(MAGENTA, detectors=[Silent()]))
    assert (summary.done, len(summary.failures), outputs(out)) == (0, 4, [])
    assert all(summary.failures.values())


def test_a_photo_that_no_detector_looked_at_is_not_written(folder: Path, out: Path, tmp_path: Path) -> None:
    nobody = Predictor(MAGENTA, detectors=[])
    with pytest.raises(SettingsError, match="face, plate would be left in the open: the detectors look for nothing"):
        run(folder, out, nobody)
    detect(folder, tmp_path / "r.jsonl", nobody)
    summary = export(tmp_path / "r.jsonl", out, MAGENTA)
    assert set(summary.failures.values()) == {"no detector looked at this photo, and no person"}
    assert outputs(out) == []


def test_as_many_regions_as_are_kept_may_not_be_all(folder: Path, out: Path) -> None:
    crowd = [Region("face", (4 * i, 0, 4 * i + 3, 3), 0.9) for i in range(3)]
    summary = run(folder, out, predictor(*crowd, settings=MAGENTA.replace(max_regions=3))[0])
    assert "max_regions" in summary.failures["1.jpg"]
    assert outputs(out) == []
    assert run(folder, out, predictor(*crowd, settings=MAGENTA.replace(max_regions=4))[0]).ok
    at_the_end = MAGENTA.with_kind("face", threshold=0.001).replace(max_regions=3)  # of a slider: all of them junk
    assert run(folder, out, predictor(*[r.replace(score=0.01) for r in crowd], settings=at_the_end)[0]).ok
    doubtful = [r.replace(score=0.1) for r in crowd]  # what is not hidden anyway may be cut
    assert run(folder, out, predictor(*doubtful, settings=MAGENTA.replace(max_regions=3))[0]).ok


def test_an_export_knows_how_many_regions_the_detection_kept(folder: Path, out: Path, tmp_path: Path) -> None:
    crowd = [Region("face", (4 * i, 0, 4 * i + 3, 3), 0.9) for i in range(5)]
    detect(folder, tmp_path / "r.jsonl", predictor(*crowd, settings=MAGENTA.replace(max_regions=3))[0])
    summary = export(tmp_path / "r.jsonl", out, MAGENTA)
    assert len(summary.failures) == 4
    assert outputs(out) == []


def test_what_is_hidden_in_memory_is_held_to_the_same_number(folder: Path) -> None:
    """The REST API writes no records."""
    settings = MAGENTA.replace(max_regions=3)
    photo = images.load(folder / "1.jpg", settings)
    crowd = [Region("face", (4 * i, 0, 4 * i + 3, 3), 0.9) for i in range(5)]
    with pytest.raises(DetectionError, match="max_regions"):
        hide_record(photo, predictor(*crowd, settings=settings)[0].record(photo, "1.jpg"), settings)


def test_a_crowd_is_one_whatever_of_it_is_not_hidden(folder: Path) -> None:
    """Four faces of which three are kept: that one of these is too small, or was rejected, brings no other one back."""
    settings = MAGENTA.replace(max_regions=3)
    photo = images.load(folder / "1.jpg", settings)
    crowd = [Region("face", (6 * i, 0, 6 * i + (2 if i == 0 else 5), 5), 0.9 - i / 100) for i in range(4)]
    record = predictor(*crowd, settings=settings)[0].record(photo, "1.jpg")
    kept = record.regions
    assert len(kept) == 3
    with pytest.raises(DetectionError, match="max_regions"):
        hide_record(photo, record, settings.with_kind("face", min_size=4))
    with pytest.raises(DetectionError, match="max_regions"):
        hide_record(photo, record.replace(regions=(kept[0].replace(status="rejected"), *kept[1:])), settings)
    drawn = tuple(Region("face", (6 * i, 0, 6 * i + 5, 5), status="manual") for i in range(4))
    assert hide_record(photo, record.replace(regions=drawn), settings).shape == photo.pixels.shape


def test_a_name_too_long_for_its_detections_is_one_clear_failure(folder: Path, out: Path) -> None:
    name = "n" * 250 + ".jpg"
    (folder / "1.jpg").rename(folder / name)
    summary = run(folder, out, predictor()[0])
    assert list(summary.failures) == [name]
    assert "too long" in summary.failures[name]
    assert "may still be there" not in summary.failures[name]
    assert outputs(out) == ["1.png", "a/1.jpg", "b/1.jpg"]
    assert run(folder, out, predictor()[0], write_detections=False).ok


def test_a_reason_is_one_line(folder: Path, out: Path) -> None:
    class Verbose(FakeDetector):
        def detect(self, images: Any) -> Any:
            raise DetectionError("it failed\n  at line 7\n")

    summary = run(folder, out, Predictor(MAGENTA, detectors=[Verbose()]))
    assert set(summary.failures.values()) == {"it failed at line 7"}


# Outputs that somebody touched


@pytest.mark.parametrize("how", ["copy", "link"])
def test_an_output_that_became_the_original_is_written_again(folder: Path, out: Path, tmp_path: Path, how: str) -> None:
    run(folder, out, predictor()[0])
    shutil.copy(folder / "1.jpg", tmp_path / "original.jpg")
    (out / "1.jpg").unlink()
    if how == "copy":
        shutil.copy(tmp_path / "original.jpg", out / "1.jpg")
    else:
        (out / "1.jpg").symlink_to(tmp_path / "original.jpg")
    assert run(folder, out, predictor()[0]).unchanged == 3
    assert is_hidden(out / "1.jpg")
    assert not magenta(tmp_path / "original.jpg").any()


def test_a_link_in_the_output_does_not_lead_out_of_it(folder: Path, out: Path, tmp_path: Path) -> None:
    (folder / "a" / "1.jpg").rename(folder / "a" / "new.jpg")
    for elsewhere in (folder, tmp_path / "elsewhere"):
        elsewhere.mkdir(exist_ok=True)
        before = sorted(elsewhere.rglob("*"))
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        (out / "a").symlink_to(elsewhere)
        with pytest.raises(PathError, match="link"):
            run(folder, out, predictor()[0])
        assert sorted(elsewhere.rglob("*")) == before


def test_a_failed_photo_says_so_when_a_foreign_file_is_in_its_place(folder: Path, out: Path) -> None:
    out.mkdir()
    shutil.copy(folder / "1.jpg", out / "1.jpg")
    (folder / "1.jpg").write_bytes(b"broken")
    summary = run(folder, out, predictor()[0])
    assert "another program" in summary.failures["1.jpg"]


def test_a_withheld_photo_whose_place_is_taken_is_a_failure(folder: Path, out: Path, tmp_path: Path) -> None:
    detect(folder, tmp_path / "r.jsonl", predictor()[0])
    out.mkdir()
    shutil.copy(folder / "1.jpg", out / "1.jpg")
    withhold = export(tmp_path / "r.jsonl", out, MAGENTA, gate=lambda _: "not approved")
    assert len(withhold.withheld) == 3
    assert "another program" in withhold.failures["1.jpg"]
    assert not withhold.ok


def test_a_photo_that_fails_late_leaves_nothing(folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, value: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("anonymize.outputs.write_json", full)  # after the photo itself was written
    assert len(run(folder, out, predictor()[0]).failures) == 4
    assert outputs(out) == []


def test_what_is_asked_for_later_comes_too(folder: Path, out: Path, tmp_path: Path) -> None:
    run(folder, out, predictor()[0], write_detections=False)
    run(folder, out, predictor()[0], preview=tmp_path / "preview")
    assert (out / "a" / "1.jpg.json").exists()
    assert (tmp_path / "preview" / "a" / "1.jpg.jpg").exists()
    assert run(folder, out, predictor()[0], preview=tmp_path / "preview").unchanged == 4


def test_previews_lie_neither_in_the_output_nor_in_the_input(folder: Path, out: Path, tmp_path: Path) -> None:
    (out / "p").mkdir(parents=True)
    (tmp_path / "link").symlink_to(out / "p")
    for wrong in (tmp_path / "link", folder / "preview"):
        with pytest.raises(PathError, match="previews"):
            run(folder, out, predictor()[0], preview=wrong)


def test_a_preview_never_writes_through_a_link(folder: Path, out: Path, tmp_path: Path) -> None:
    before = (folder / "1.jpg").read_bytes()
    (tmp_path / "preview").mkdir()
    (tmp_path / "preview" / "1.jpg.jpg").symlink_to(folder / "1.jpg")
    assert run(folder, out, predictor()[0], preview=tmp_path / "preview").ok
    assert (folder / "1.jpg").read_bytes() == before


@pytest.mark.parametrize("name", ["1.jpg.json", "records.jsonl", "summary.json", "exports.jsonl"])
def test_a_photo_never_lies_where_another_file_does(folder: Path, out: Path, name: str) -> None:
    shutil.copy(folder / "1.png", folder / name)
    settings = MAGENTA.replace(image_extensions=("jpg", "png", "json", "jsonl"))
    with pytest.raises(PathError, match="another file"):
        run(folder, out, predictor(settings=settings)[0])


def test_an_interrupted_run_leaves_no_old_summary(folder: Path, out: Path) -> None:
    def interrupt(_: Summary) -> None:
        raise KeyboardInterrupt

    run(folder, out, predictor()[0])
    with pytest.raises(KeyboardInterrupt):
        run(folder, out, predictor()[0], progress=interrupt)
    assert not (out / "summary.json").exists()
    assert run(folder, out, predictor()[0]).unchanged == 4


# Two runs at once


def test_a_second_run_into_an_output_is_refused(
    folder: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anonymize.json_lines.LOCK_SECONDS", 0.1)
    detect(folder, tmp_path / "r.jsonl", predictor()[0])
    with Output(out, MAGENTA), pytest.raises(RecordsError, match="busy"):
        export(tmp_path / "r.jsonl", out, MAGENTA)
    with Output(out, MAGENTA), pytest.raises(RecordsError, match="busy"):
        run(folder, out, predictor()[0], records_path=tmp_path / "other.jsonl")
    assert export(tmp_path / "r.jsonl", out, MAGENTA).ok


KILLED_ANYWHERE = """
import os, random, sys, threading, time
from pathlib import Path
from anonymize.engine import run
from tests.support.engine import MAGENTA, predictor
fill, wait = sys.argv[3], float(sys.argv[4])
threading.Thread(target=lambda: (time.sleep(wait), os.kill(os.getpid(), 9)), daemon=True).start()
ready = predictor(settings=MAGENTA.with_kind("face", effect="solid", fill=fill))[0]
run(sys.argv[1], Path(sys.argv[2]), ready)
"""


def test_killed_at_any_moment_and_run_with_other_settings(folder: Path, out: Path) -> None:
    for i in range(20):
        Image.fromarray(draw(300, 200, seed=i)).save(folder / f"more{i}.png")
    for i in range(6):
        color = ("ff00ff", "00ff00")[i % 2]
        arguments = [sys.executable, "-c", KILLED_ANYWHERE, str(folder), str(out), color, str(0.02 + 0.04 * i)]
        subprocess.run(arguments, cwd=ROOT, capture_output=True)
    (folder / "more3.png").write_bytes(b"broken meanwhile")
    summary = run(folder, out, predictor()[0])
    assert list(summary.failures) == ["more3.png"]
    assert len(outputs(out)) == 23
    assert all(is_hidden(out / name) for name in outputs(out))
    assert not [p for p in out.rglob("*") if p.name.endswith(".tmp")]
    assert run(folder, out, predictor()[0]).unchanged == 23


# Records and settings written by hand


def set_region(**changes: Any) -> Callable[[Any, Any], None]:
    return lambda _, record: record["regions"][0].update(changes)


def set_record(**changes: Any) -> Callable[[Any, Any], None]:
    return lambda _, record: record.update(changes)


def set_header(**changes: Any) -> Callable[[Any, Any], None]:
    return lambda header, _: header.update(changes)


def set_settings(**changes: Any) -> Callable[[Any, Any], None]:
    return lambda header, _: header["settings"].update(changes)


def set_kind(**changes: Any) -> Callable[[Any, Any], None]:
    return lambda header, _: header["settings"]["kinds"]["face"].update(changes)


@pytest.mark.parametrize(
    "change",
    [
        *(set_record(path=p) for p in ("../x.jpg", "/etc/passwd", "./a/1.jpg", "a//1.jpg", "a\\x2f1.jpg")),
        *(set_record(path=p) for p in ("a\\x00.jpg", "a\\xzz.jpg", "a\ud800.jpg", "", ".", 5, None)),
        *(set_record(**{n: 5}) for n in ("sha256", "regions", "detectors", "error", "review")),
        *(set_region(box=b) for b in ([float("nan")] * 4, [0, 0, float("inf"), 1], [3, 3, 1, 1], [1, 2], "abcd", 5)),
        *(set_region(**{n: v}) for n, v in (("detector_scores", 5), ("id", 5), ("kind", ["face"]))),
        *(set_region(**{n: v}) for n, v in (("status", "x"), ("new", 1))),
        *(set_header(**{n: v}) for n, v in (("root", 5), ("settings", 5), ("schema", 1))),
        *(set_settings(**{n: v}) for n, v in (("kinds", 5), ("allow_weak", "no"), ("image_extensions", "jpg"))),
        *(set_settings(**{n: v}) for n, v in (("face_detector", 5), ("image_extensions", [5]), ("new", 1))),
        *(set_kind(kernel=k) for k in (5, "101,inf,9", "101,nan,9", "101,3,1" + "0" * 400)),
        *(set_kind(**{n: v}) for n, v in (("fill", 5), ("effect", "none"), ("threshold", float("nan")))),
        *(set_kind(**{n: v}) for n, v in (("mosaic_blocks", 0),)),
    ],
)  # fmt: skip
def test_hostile_records_are_refused_in_words(
    folder: Path, out: Path, tmp_path: Path, change: Callable[[Any, Any], None]
) -> None:
    edited(folder, tmp_path / "r.jsonl", change)
    with pytest.raises(AnonymizeError):
        export(tmp_path / "r.jsonl", out, MAGENTA)
    assert not out.exists() or outputs(out) == []


@pytest.mark.parametrize(
    "change",
    [set_record(width=10, height=10), set_record(sha256="0" * 64), set_record(detectors={}), set_record(error="")]
    + [set_region(box=[-1e308, -1e308, 1e308, 1e308])],
)
def test_a_hostile_record_fails_alone(
    folder: Path, out: Path, tmp_path: Path, change: Callable[[Any, Any], None]
) -> None:
    edited(folder, tmp_path / "r.jsonl", change)
    summary = export(tmp_path / "r.jsonl", out, MAGENTA)
    assert list(summary.failures) == ["1.jpg"]
    assert outputs(out) == ["1.png", "a/1.jpg", "b/1.jpg"]


@pytest.mark.parametrize(
    "content",
    [
        *(b'nonsense\n{"a":1}\n', b'{"a":1}\n', b"\xff\xfe\n", b'{"path":"../../a.jpg","shows":"x"}\n'),
        *(b'{"path":["a.jpg"],"shows":"x"}\n', b'{"path":"a.jpg","shows":5}\n'),
    ],
)
def test_a_broken_memory_of_outputs_is_refused(folder: Path, out: Path, content: bytes) -> None:
    out.mkdir()
    (out / "exports.jsonl").write_bytes(content)
    with pytest.raises(RecordsError, match=r"exports\.jsonl"):
        run(folder, out, predictor()[0])


def test_extensions_of_any_bytes_are_counted(folder: Path, out: Path) -> None:
    for name in (os.fsdecode(b"x.caf\xe9"), "y.[red]"):
        (folder / name).touch()
    summary = run(folder, out, predictor()[0])
    assert summary.skipped == {"caf\\xe9": 1, "[red]": 1, "txt": 1}
    assert json.loads((out / "summary.json").read_text())["skipped"] == summary.skipped


def test_photos_in_flight_end_before_the_memory_is_closed(folder: Path, out: Path) -> None:
    class StopError(Exception):
        pass

    def stop(_: Summary) -> None:
        raise StopError

    with pytest.raises(StopError):
        run(folder, out, predictor(FACE)[0], progress=stop)
    assert threading.active_count() < 20
    shown = [json.loads(line) for line in (out / "exports.jsonl").read_text().splitlines()]
    assert {e["path"] for e in shown if len(e["shows"]) > 1} == set(outputs(out))
