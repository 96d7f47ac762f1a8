"""Batches: photos and zips in, an engine run that can be watched and stopped, clean photos out as a zip."""

import contextlib
import dataclasses
import io
import json
import os
import re
import shutil
import threading
import zipfile
from types import SimpleNamespace

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from anonymize import images, records
from anonymize.corrections import approve
from anonymize.detectors import FakeDetector
from anonymize.errors import AnonymizeError, SettingsError, StaleDecisionError
from anonymize.records import Record
from anonymize.regions import Region
from anonymize.settings import Settings
from anonymize.web import jobs as job_module
from anonymize.web.detector_pool import DetectorPool
from anonymize.web.file_names import clean_name, safe_name
from anonymize.web.job_queue import JobQueue
from anonymize.web.job_results import KnownRecords
from anonymize.web.job_view import audit_card, duration, pictures, progress, summary
from anonymize.web.jobs import Job
from anonymize.web.policy import Policy
from anonymize.web.results import explore, heights, judge, scores, table, threshold_effect
from anonymize.web.sessions import DiskFullError, FullError, GoneError
from review.store import ReviewStore
from tests.support.web_site import DOUBTFUL, FACE, FindsSigns, another, photo, several_pictures, visitor, wait_for

BUSY = ("waiting", "running")


@pytest.fixture
def job(tmp_path):
    return Job("0" * 32, tmp_path / "batch", Policy())


def fill(job, tmp_path, *names):
    for i, name in enumerate(names):
        source = photo(tmp_path / "uploads" / f"{i}.png", seed=i)
        job.take(source, name, 10**9)


def run(job, detectors=None, settings=None, again=False):
    pool = DetectorPool(detectors=[FakeDetector([FACE, DOUBTFUL])] if detectors is None else detectors)
    jobs = JobQueue(pool)
    jobs.start(job, settings or Settings(), again=again)
    wait_for(lambda: job.state not in BUSY)
    jobs.close()
    return job


def test_names_never_collide_and_never_climb_out(job, tmp_path):
    fill(job, tmp_path, "1.png", "1.png", "a/1.png", "b\\1.png", "../../../etc/1.png", "/abs/1.png")
    found = sorted(p.relative_to(job.inputs).as_posix() for p in job.inputs.rglob("*.png"))
    assert found == ["1-2.png", "1.png", "a/1.png", "abs/1.png", "b/1.png", "etc/1.png"]
    assert job.count == 6


def test_what_a_run_warns_of_stands_above_the_gallery(job, tmp_path):
    job.take(several_pictures(tmp_path / "scan.tif"), "scan.tif", 10**9)
    text = summary(run(job, [FindsSigns()]))
    assert "only the first is written (1): scan.tif." in text
    assert "Found, and not hidden: 1 sign." in text


def test_the_summary_counts_photos_to_look_at(job, tmp_path):
    fill(job, tmp_path, "a.png")
    one = summary(run(job, [FakeDetector([])]))
    assert "Please look at <strong>1 photo</strong> in which nothing was found. It comes first." in one
    fill(job, tmp_path, "b.png")
    two = summary(run(job, [FakeDetector([])]))
    assert "<strong>2 photos</strong> in which nothing was found. They come first." in two


def test_a_batch_with_a_broken_photo(job, tmp_path):
    fill(job, tmp_path, "a.png", "b.png")
    (tmp_path / "broken").write_bytes(b"not a photo")
    job.take(tmp_path / "broken", "c.jpg", 10**9)
    run(job)
    assert job.state == "done"
    assert (job.summary.done, list(job.summary.failures)) == (2, ["c.jpg"])
    words = dict(zip((r.path for r in job.records), job.statuses(), strict=True))
    assert words == {"a.png": "nothing suspicious", "b.png": "nothing suspicious", "c.jpg": "failed"}
    photos, known = zipfile.ZipFile(job.zip()), zipfile.ZipFile(job.records_zip())
    assert sorted(photos.namelist()) == ["a.png", "b.png"]  # who publishes the zip publishes nothing else
    assert sorted(known.namelist()) == ["a.png.json", "b.png.json", "records.jsonl", "summary.json"]
    assert json.loads(known.read("summary.json"))["failures"].keys() == {"c.jpg"}
    assert str(tmp_path) not in known.read("records.jsonl").decode()
    assert photos.read("a.png") != (job.inputs / "a.png").read_bytes()
    assert "c.jpg" in pictures(job, "failed")
    assert "a.png" not in pictures(job, "failed")
    assert "1 photo could not be processed" in summary(job)


def test_a_photo_whose_name_is_no_utf8_is_in_the_zip(job, tmp_path):
    folder = tmp_path / "mine"
    photo(folder / "a.png").rename(os.fsdecode(os.path.join(os.fsencode(folder), b"caf\xe9.png")))
    job.use_folder(str(folder))
    run(job)
    assert "caf\ufffd.png" in zipfile.ZipFile(job.zip()).namelist()


def test_zips_are_unpacked_photos_only(job, tmp_path):
    source = photo(tmp_path / "a.png")
    packed = tmp_path / "in.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for name in ("x/a.png", "../../evil.png", "__MACOSX/a.png", "notes.txt"):
            archive.write(source, name)
    assert job.take(packed, "in.zip", 10**9) == 2
    assert sorted(p.relative_to(job.inputs).as_posix() for p in job.inputs.rglob("*.*")) == ["evil.png", "x/a.png"]
    assert not (tmp_path / "evil.png").exists()


def test_a_zip_bomb_is_stopped_by_what_it_unpacks_to(job, tmp_path):
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.bmp", b"\0" * 20_000_000)
    assert bomb.stat().st_size < 100_000
    with pytest.raises(FullError, match="too large"):
        job.take(bomb, "bomb.zip", 1_000_000)
    assert not list(job.inputs.rglob("*.bmp"))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_whose_packing_cannot_be_undone_in_pieces_is_refused(job, tmp_path, method):
    """A megabyte of it may become a terabyte in memory, before anything could be counted."""
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", method) as archive:
        archive.writestr("a.jpg", bytes(10_000_000))
    with pytest.raises(SettingsError, match="cannot be read"):
        job.take(bomb, "bomb.zip", 10**9)
    assert job.count == 0


def test_a_zip_that_lists_more_than_photos_need_is_not_read(job, tmp_path, monkeypatch):
    monkeypatch.setattr("anonymize.web.job_intake.MOST_LISTED", 10_000)
    packed = tmp_path / "in.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(500):
            archive.writestr(f"{number}.jpg", b"")
    with pytest.raises(FullError, match="too much"):
        job.take(packed, "in.zip", 10**9)


def test_no_damaged_byte_of_a_zip_is_a_server_error(job, tmp_path):
    packed = tmp_path / "in.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(photo(tmp_path / "a.png"), "a.png")
    whole = packed.read_bytes()
    for place in {*range(60), *range(len(whole) - 120, len(whole))}:
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        packed.write_bytes(damaged)
        with contextlib.suppress(AnonymizeError):
            job.take(packed, "in.zip", 10**9)


@pytest.mark.parametrize("name", ["\U0001d54f" * 100 + ".png", "\u6f22" * 300 + ".png", "a." + "\U0001d54f" * 300])
def test_a_name_that_has_too_many_bytes_for_a_file_system_is_cut(name):
    assert len(safe_name(name).encode()) < 240
    assert len(clean_name(name, ".png").encode()) < 240


def test_a_photo_and_a_folder_of_one_name_are_refused_in_a_sentence(job, tmp_path):
    job.take(photo(tmp_path / "1.png"), "a.png", 0)
    with pytest.raises(SettingsError, match="the same name"):
        job.take(photo(tmp_path / "2.png"), "a.png/b.png", 0)
    with pytest.raises(SettingsError, match="the same name"):
        job.take(photo(tmp_path / "3.png"), "a.png/b/c.png", 0)
    assert job.count == 1


def test_a_photo_that_is_damaged_in_its_zip_does_not_come_in(job, tmp_path):
    """What it unpacks to has another checksum: it is not the photo that was packed."""
    packed = tmp_path / "in.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(photo(tmp_path / "a.bmp"), "a.bmp")
        archive.write(photo(tmp_path / "b.bmp", seed=1), "b.bmp")
        place = archive.getinfo("b.bmp").header_offset + 5000
    with open(packed, "r+b") as file:
        file.seek(place)
        file.write(b"damaged")
    with pytest.raises(SettingsError, match="cannot be read"):
        job.take(packed, "in.zip", 10**9)
    assert [p.name for p in job.folder.rglob("*") if p.is_file()] == ["a.bmp"]
    assert job.count == 1


def test_what_is_no_zip_and_what_is_no_photo(job, tmp_path):
    bad = tmp_path / "bad.zip"
    bad.write_bytes(b"PK not really")
    with pytest.raises(SettingsError, match="cannot be read"):
        job.take(bad, "bad.zip", 10**9)
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("notes.txt", "x")
    with pytest.raises(SettingsError, match="no photo"):
        job.take(bad, "bad.zip", 10**9)
    with pytest.raises(SettingsError, match=r"a\.exe is not a supported file type"):
        job.take(bad, "a.exe", 10**9)


def test_more_photos_than_are_allowed(tmp_path):
    job = Job("0" * 32, tmp_path / "batch", Policy(most_photos=2))
    fill(job, tmp_path, "a.png", "b.png")
    with pytest.raises(FullError, match="at most 2"):
        fill(job, tmp_path, "c.png")


class Held:
    """A detector that waits until it may go on."""

    name, weights = "held", {}

    def __init__(self):
        self.go, self.seen = threading.Event(), 0

    def detect(self, images):
        self.seen += 1
        assert self.go.wait(20)
        return [[FACE] for _ in images]


def test_stop_really_stops(job, tmp_path):
    fill(job, tmp_path, *(f"{i}.png" for i in range(40)))
    held = Held()
    jobs = JobQueue(DetectorPool(detectors=[held]))
    jobs.start(job, Settings())
    wait_for(lambda: held.seen)
    with pytest.raises(SettingsError, match="already"):
        jobs.start(job, Settings())
    job.stop.set()
    assert "stopping" in progress(job, 0)
    assert "hidden" not in progress(job, 0)  # no photo is done: "no faces" would be a claim
    held.go.set()
    wait_for(lambda: job.state not in BUSY)
    jobs.close()
    assert job.state == "stopped"
    assert held.seen < 20
    assert len(list(job.output.glob("*.png"))) == job.summary.done < 20


def test_a_stopped_batch_goes_on_where_it_stopped(job, tmp_path):
    fill(job, tmp_path, "a.png", "b.png")
    run(job)
    run(job)
    assert (job.summary.done, job.summary.unchanged) == (2, 2)


def test_leaving_while_it_runs_leaves_nothing(job, tmp_path):
    fill(job, tmp_path, *(f"{i}.png" for i in range(6)))
    held = Held()
    jobs = JobQueue(DetectorPool(detectors=[held]))
    jobs.start(job, Settings())
    wait_for(lambda: held.seen)
    job.close()
    held.go.set()
    wait_for(lambda: job.state not in BUSY)
    jobs.close()
    assert not job.folder.exists()


def test_a_run_that_cannot_start_says_why(job, tmp_path):
    fill(job, tmp_path, "a.png")
    jobs = JobQueue(DetectorPool())
    jobs.start(job, Settings(face_detector="none", plate_detector="none"))
    wait_for(lambda: job.state not in BUSY)
    jobs.close()
    assert job.state == "failed"
    assert "at least one detector" in progress(job, 0)
    with pytest.raises(GoneError):
        job.zip()


def test_other_settings_are_applied_without_detecting_again(job, tmp_path):
    fill(job, tmp_path, "a.png")
    run(job)
    before = (job.output / "a.png").read_bytes()

    class Never:
        name, weights = "never", {}

        def detect(self, images):
            raise AssertionError("detected again")

    run(job, [Never()], Settings().with_kind("face", threshold=0.1), again=True)
    assert job.state == "done", job.problem
    assert job.summary.hidden["face"] == 2
    assert (job.output / "a.png").read_bytes() != before


def test_a_review_has_the_settings_that_were_applied_last(job, tmp_path):
    """Else it would show, approve and export what was chosen before."""

    def effect():
        header, _ = records.read(job.output / "records.jsonl")
        return (header.review or header.settings).kind("face").effect

    solid, mosaic = (Settings().with_kind("face", effect=e) for e in ("solid", "pixelate"))
    fill(job, tmp_path, "a.png")
    run(job)
    run(job, settings=solid, again=True)
    assert effect() == "solid"
    header, known = records.read(job.output / "records.jsonl")
    records.write(job.output / "records.jsonl", dataclasses.replace(header, review=mosaic), known.values())
    run(job, settings=solid, again=True)  # nothing else was chosen here since: what people chose in the review stands
    assert effect() == "pixelate"
    run(job)
    assert effect() == "inpaint"
    assert job.summary.done == 1


def test_a_correction_reaches_the_zip(job, tmp_path):
    fill(job, tmp_path, "a.png")
    run(job)
    before = zipfile.ZipFile(job.zip()).read("a.png")
    record = job.records[0]
    drawn = Region("plate", (150, 100, 190, 120), status="manual")
    job.corrections_writer(record)(record.replace(regions=(drawn, *record.regions)))
    assert zipfile.ZipFile(job.zip()).read("a.png") != before
    assert len(json.loads(zipfile.ZipFile(job.records_zip()).read("a.png.json"))["regions"]) == 2
    assert job.summary.hidden["plate"] == 1


@pytest.mark.parametrize("name", ["photos", "records"])
@pytest.mark.parametrize("happens", ["run", "wait", "correct", "vanish"])
def test_what_changes_while_it_is_packed_is_not_handed_out(job, tmp_path, monkeypatch, name, happens):
    """A run that begins meanwhile writes other photos below the zip's hands; a zip of some of them is none."""
    fill(job, tmp_path, "a.png", "b.png")
    run(job)
    pack, write = {"photos": job.zip, "records": job.records_zip}[name], getattr(job_module, f"write_{name}")

    def meanwhile(*args, **more):
        write(*args, **more)
        monkeypatch.setattr(job_module, f"write_{name}", write)
        if happens == "run":
            run(job, settings=job.settings.with_kind("face", effect="solid"), again=True)
        elif happens == "wait":
            job.state = "waiting"
        elif happens == "correct":
            job.corrections_writer(job.records[0])(job.records[0].replace(regions=()))
            assert job.refresh()
        else:
            job.state = "running"
            raise FileNotFoundError("a.png")

    monkeypatch.setattr(job_module, f"write_{name}", meanwhile)
    with pytest.raises(GoneError, match="while they were packed"):
        pack()
    job.state = "done"
    assert zipfile.ZipFile(pack()).namelist()


def test_what_the_review_decides_reaches_the_zip(job, tmp_path):
    """It writes to the records, not to this job; the photos that it decided on were left out of the zip in silence."""
    fill(job, tmp_path, "a.png", "b.png", "c.png")
    run(job)
    before = {n: zipfile.ZipFile(job.zip()).read(n) for n in ("a.png", "b.png")}
    store = ReviewStore(job.output / "records.jsonl")
    seen = store["a.png"].approval_hash(store.settings)
    store.decide("a.png", "add", who="ana", expected=seen, kind="plate", box=(150, 100, 190, 120))
    seen = store["c.png"].approval_hash(store.settings)
    store.decide("c.png", "flag", who="ana", expected=seen)
    assert job.refresh()
    assert not job.refresh()
    archive = zipfile.ZipFile(job.zip())
    assert sorted(archive.namelist()) == ["a.png", "b.png"]  # a flagged photo never goes out
    assert (archive.read("a.png") != before["a.png"], archive.read("b.png") == before["b.png"]) == (True, True)
    assert job.summary.done == len(archive.namelist())
    assert "Download 2 clean photos" in summary(job)
    assert "1 photo kept back" in summary(job)
    store.use(store.settings.with_kind("face", threshold=0.1))
    assert job.refresh()
    assert job.settings.kind("face").threshold == 0.1  # what the page says and hands out is one
    assert sorted(zipfile.ZipFile(job.zip()).namelist()) == ["a.png", "b.png"]
    run(job)  # also a new run leaves behind what is flagged
    assert sorted(zipfile.ZipFile(job.zip()).namelist()) == ["a.png", "b.png"]


def test_records_are_read_on_from_where_they_were_read(tmp_path, monkeypatch):
    path, lines = tmp_path / "r.jsonl", []
    header, photos = records.Header("/p", Settings()), [Record(f"{i}.jpg", "0", 9, 9, ()) for i in range(5)]
    known = KnownRecords(path)
    assert known.read() == []
    records.write(path, header, photos[:2])
    assert [r.path for r in known.read()] == ["0.jpg", "1.jpg"]
    real = Record.from_dict
    monkeypatch.setattr(Record, "from_dict", lambda data: (lines.append(data), real(data))[1])
    with records.Writer(path, header) as writer:
        writer.write(photos[2])
        writer.write(photos[0].replace(error="broken"))
    with open(path, "ab") as file:
        file.write(b'{"path":"torn')
    assert [(r.path, r.error) for r in known.read()] == [("0.jpg", "broken"), ("1.jpg", None), ("2.jpg", None)]
    assert (len(lines), known.read() is known.read()) == (2, True)
    records.write(path, header, photos[3:])  # another file in its place
    assert [r.path for r in known.read()] == ["3.jpg", "4.jpg"]


@pytest.mark.parametrize("extension", ["heic", "tif", "webp", "bmp", "png"])
def test_there_is_a_thumbnail_of_every_kind_of_photo(job, tmp_path, extension):
    if extension == "heic":
        pillow_heif.from_pillow(Image.open(photo(tmp_path / "a.png"))).save(tmp_path / "a.heic")
    elif extension == "tif":  # 16 bits, which Pillow would show all white
        pixels = np.linspace(0, 65535, 200 * 150).reshape(150, 200).astype(np.uint16)
        Image.fromarray(pixels).save(tmp_path / "a.tif")
    else:
        photo(tmp_path / f"a.{extension}")
    job.take(tmp_path / f"a.{extension}", f"IMG.{extension}", 0)
    run(job)
    assert job.summary.done == 1, job.summary.failures
    small = np.asarray(Image.open(io.BytesIO(job.thumb(0))).convert("L"))
    assert small.shape == (150, 200)
    assert 40 < small.mean() < 215
    packed = zipfile.ZipFile(job.zip(heif_as_jpeg=True))
    assert packed.namelist() == ["IMG.jpg" if extension == "heic" else f"IMG.{extension}"]
    assert ("HEIC as JPEG" in summary(job)) == (extension == "heic")
    if extension == "heic":
        jpeg = np.asarray(Image.open(io.BytesIO(packed.read("IMG.jpg"))).convert("RGB")).astype(int)
        clean = images.load(job.output / "IMG.heic", Settings()).rgb.astype(int)
        assert np.abs(jpeg - clean).mean() < 4


def test_pictures_come_while_it_runs(job, tmp_path):
    fill(job, tmp_path, *(f"{i}.png" for i in range(40)))
    shown = []

    class Watched(FakeDetector):
        def detect(self, images):
            if job.records:
                shown.append(pictures(job, "all"))
                assert job.thumb(0)[:2] == b"\xff\xd8"
            return super().detect(images)

    run(job, [Watched([FACE])])
    assert job.state == "done", job.problem
    assert any(0 < s.count("<img") < 40 for s in shown)
    assert not any("<button" in s for s in shown)  # nothing to correct while it is worked on
    assert pictures(job, "all").count("<button") == 40


def test_corrections_in_two_places_lose_nothing(job, tmp_path):
    """A photo that is open in two places, or in the review: whoever comes second is told to look again."""
    fill(job, tmp_path, "a.png")
    run(job)
    record = job.records[0]
    drawn = [Region("face", (10 * n, 100, 10 * n + 8, 110), status="manual") for n in range(3)]
    one, two = job.corrections_writer(record), job.corrections_writer(record)
    first = record.replace(regions=(drawn[0], *record.regions))
    one(first)
    one(first.replace(regions=(drawn[1], *first.regions)))
    with pytest.raises(StaleDecisionError, match="open it again"):
        two(record.replace(regions=(drawn[2], *record.regions)))
    assert {r.box for r in job.records[0].regions if r.status == "manual"} == {d.box for d in drawn[:2]}
    job.close()
    with pytest.raises(GoneError):
        one(first)
    assert not job.folder.exists()


def test_a_correction_says_which_detectors_looked(job, tmp_path):
    fill(job, tmp_path, "a.png")
    run(job)
    record = job.records[0]
    job.corrections_writer(record)(record.replace(regions=(), detectors={"another": {}}, detection="other"))
    assert (job.records[0].detectors, job.records[0].detection) == ({"another": {}}, "other")


def test_what_a_stopped_run_did_not_write_anew_stays_out_of_the_zip(job, tmp_path):
    """It hides less than was asked for now."""
    fill(job, tmp_path, "a.png", "b.png")
    run(job)
    job.settings = job.settings.with_kind("face", threshold=0.1)
    job.state = "stopped"  # before the first photo
    assert zipfile.ZipFile(job.zip()).namelist() == []
    run(job, settings=job.settings, again=True)
    assert "b.png" in zipfile.ZipFile(job.zip()).namelist()


def test_what_earlier_detectors_found_is_not_what_a_stopped_run_found(job, tmp_path):
    """Neither its zip has it, nor does another threshold, applied after it, pass it for found."""

    class Other(FakeDetector):
        def detect(self, images):
            job.stop.set()
            return super().detect(images)

    def packed():
        lines = zipfile.ZipFile(job.records_zip()).read("records.jsonl").decode().splitlines()
        return zipfile.ZipFile(job.zip()).namelist(), len(lines) - 1

    fill(job, tmp_path, *(f"{i:02}.png" for i in range(20)))
    run(job)
    assert packed()[1] == 20
    other = Other([FACE])
    other.weights = {"other": "0"}
    run(job, [other])
    assert job.state == "stopped"
    names, lines = packed()
    assert len(names) == lines == job.summary.done < 20
    job.stop.set()
    job.work(lambda: pytest.fail("it was stopped while it waited"), again=False)
    assert packed() == ([], 0)
    other = FakeDetector([FACE])
    other.weights = {"other": "0"}
    run(job, [other], Settings().with_kind("face", threshold=0.1), again=True)
    assert (job.state, packed()[1]) == ("done", 20)
    assert all(r.detectors["fake"] == {"other": "0"} for r in job.records)


def test_folders_only_on_ones_own_machine(tmp_path):
    photo(tmp_path / "mine" / "a.png")
    for policy in (Policy(public=True), Policy(users={"a": "b"})):
        with pytest.raises(SettingsError, match="own computer"):
            Job("0" * 32, tmp_path / "b1", policy).use_folder(str(tmp_path / "mine"))
    job = Job("0" * 32, tmp_path / "b2", Policy())
    for wrong in ("relative", str(tmp_path / "missing"), ""):
        with pytest.raises(SettingsError, match="no folder"):
            job.use_folder(wrong)
    job.use_folder(str(tmp_path / "mine"))
    run(job)
    assert job.summary.done == 1
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["a.png"]


def test_uploads_and_pictures_over_the_network_are_the_visitors_own(tmp_path):
    with visitor(tmp_path / "data") as client:
        id = client.post("/batches").json()["id"]
        source = photo(tmp_path / "a.png")
        answer = client.post(f"/batches/{id}/files?name=a.png", content=source.read_bytes())
        assert answer.json() == {"added": 1, "photos": 1}
        assert client.post(f"/batches/{id}/files?name=a.exe", content=b"MZ").status_code == 400
        session = client.app.sessions.of(client.cookies["anonymize_session"])
        job = session.get(Job, id)
        run(job)
        thumb = client.get(f"/batches/{id}/thumb/0.jpg")
        assert thumb.headers["content-type"] == "image/jpeg"
        assert zipfile.ZipFile(io.BytesIO(client.get(f"/batches/{id}/clean.zip").content)).namelist()
        other = another(client)
        named = client.get(f"/batches/{id}/records.zip").headers["content-disposition"]
        assert "records-of-photos.zip" in named
        for path in ("thumb/0.jpg", "clean.zip", "clean-jpeg.zip", "records.zip"):
            path = f"/batches/{id}/{path}"
            assert client.get(path).status_code == 200
            assert other.get(path).status_code == 404
        assert other.post(f"/batches/{id}/files?name=b.png", content=b"x").status_code == 404
        assert client.get(f"/batches/{id}/thumb/7.jpg").status_code == 404


def record(path, *regions, error=None):
    return Record(path, "0", 200, 150, regions, error=error)


KNOWN = [
    record("sure.jpg", Region("face", (0, 0, 20, 30), 0.95)),
    record("narrow.jpg", Region("face", (0, 0, 20, 10), 0.55), Region("plate", (0, 0, 9, 5), 0.07)),
    record("none.jpg", Region("face", (0, 0, 20, 30), 0.3)),
    record("failed.jpg", error="it is broken"),
]


HALF = Settings().with_kind("face", threshold=0.5)


def test_an_approved_photo_is_not_worth_a_look():
    """Somebody looked; with other settings it is to be looked at again."""
    close = record("close.jpg", Region("face", (0, 0, 20, 10), 0.9), Region("face", (60, 0, 72, 16), 0.49))
    approved = approve(close, who="ana", settings=HALF)
    empty = approve(record("empty.jpg"), who="ana", settings=HALF)
    assert [judge(r, HALF)[0] for r in (close, approved, empty)] == ["worth a look", "approved", "approved"]
    assert judge(approved, HALF.with_kind("face", threshold=0.6))[0] == "worth a look"


def test_the_table_says_what_to_look_at():
    """By what may have been missed, not by what was narrowly hidden."""
    close = record("close.jpg", Region("face", (0, 0, 20, 10), 0.9), Region("face", (60, 0, 72, 16), 0.49))
    known = [*KNOWN, close]
    frame = table(known, HALF, [judge(r, HALF)[0] for r in known])
    words = ["nothing suspicious", "nothing suspicious", "nothing found", "failed", "worth a look"]
    assert list(frame["status"]) == words
    assert list(frame["faces"]) == [1, 1, 0, 0, 1]
    assert frame["best not hidden"][2] == 0.3
    assert frame["note"][3] == "it is broken"


def test_histograms_count_every_region_once():
    frame = scores(KNOWN, HALF)
    assert frame.groupby("kind")["regions"].sum().to_dict() == {"face": 3, "plate": 1}
    tall = heights(KNOWN, HALF)
    assert tall.groupby("kind")["regions"].sum().to_dict() == {"face": 2, "plate": 0}
    assert tall.query("kind == 'face' and regions > 0")["height"].tolist() == ["8–16", "16–32"]


def test_the_explorer_counts_regions_and_photos():
    frame = explore(KNOWN, HALF, "face")
    first, last = frame.iloc[0], frame.iloc[-1]
    assert (first["regions"], first["photos"], first["changed"]) == (3, 3, 1)
    assert (last["regions"], last["photos"], last["changed"]) == (0, 0, 2)
    assert frame["regions"].is_monotonic_decreasing


def test_one_other_threshold_in_a_sentence():
    assert "<strong>2 faces</strong> hidden, as many as now; no photo changes" in threshold_effect(
        KNOWN, HALF, "face", 0.5
    )
    assert "<strong>3 faces</strong> hidden, 1 more than now; 1 photo changes" in threshold_effect(
        KNOWN, HALF, "face", 0.2
    )
    assert "<strong>0 faces</strong> hidden, 2 fewer than now; 2 photos change" in threshold_effect(
        KNOWN, HALF, "face", 1
    )
    assert "<strong>1 license plate</strong>" in threshold_effect(KNOWN, HALF, "plate", 0.05)


def test_a_folder_without_photos_has_no_progress(job):
    job.state = "done"
    assert progress(job, 0) == '<p class="az-status problem" role="alert">There are no photos in this folder.</p>'


def test_progress_names_the_batch_that_a_script_opens_elsewhere(job, tmp_path):
    fill(job, tmp_path, "a.png")
    job.summary.photos = 1
    for job.state in ("waiting", "running", "done"):
        assert f'data-batch="{job.id}"' in progress(job, 0)


def test_durations_are_in_words():
    assert [duration(s) for s in (0.2, 59, 61, 3000, 7200)] == ["1 s", "59 s", "1 min", "50 min", "2.0 h"]


def test_a_batch_whose_results_have_no_room_stops_and_says_so(job, tmp_path):
    """A small file may be a large photo: what comes out is not bounded by what comes in."""
    fill(job, tmp_path, *(f"{n}.png" for n in range(5)))

    def full():
        raise FullError("no room")

    job.check_room = full
    run(job)
    assert job.problem == "no room"
    assert job.stop.is_set()
    assert "no room" in progress(job, 0)


def test_results_are_written_only_where_there_is_room(tmp_path, monkeypatch):
    with visitor(tmp_path / "data", Policy(public=True, most_session=60_000, most_address=10**9)) as client:
        sent = client.post(
            "/batches/" + client.post("/batches").json()["id"] + "/files?name=a.png", content=b"x" * 50_000
        )
        assert sent.status_code == 200
        session = next(iter(client.app.sessions._by_key.values()))
        session.check_room()
        (session.folder / "result").write_bytes(b"x" * 130_000)
        with pytest.raises(FullError, match="too much room"):
            session.check_room()
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(total=10**12, free=10**8))
        (session.folder / "result").write_bytes(b"")
        with pytest.raises(DiskFullError):
            session.check_room()


def test_a_zip_that_cannot_be_written_leaves_nothing(job, tmp_path, monkeypatch):
    fill(job, tmp_path, "a.png")
    run(job)

    def fail(*_, **__):
        raise OSError(28, "no space")

    monkeypatch.setattr("anonymize.web.job_results.add_to_zip", fail)
    with pytest.raises(OSError, match="no space"):
        job.zip()
    assert not [f for f in job.folder.iterdir() if f.name.startswith(".")]


@pytest.mark.parametrize("letter", ["漢", "é", "🙂", "a"])
def test_names_of_any_length_in_any_script_come_in_and_go_out(job, tmp_path, letter):
    """File systems count bytes, and a letter has up to four."""
    name = letter * 120 + ".png"
    packed = tmp_path / "in.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(photo(tmp_path / "a.png"), name)
        archive.write(photo(tmp_path / "b.png", seed=1), f"{letter * 120}/{letter * 250}/{name}")
    assert job.take(packed, "in.zip", 10**9) == 2
    assert job.take(photo(tmp_path / "c.png", seed=2), name, 0) == 1  # the same name once more
    run(job)
    assert (job.state, job.summary.failures, job.summary.done) == ("done", {}, 3)
    assert len([n for n in zipfile.ZipFile(job.zip()).namelist() if n.endswith(".png")]) == 3
    with visitor(tmp_path / "data") as client:
        body = photo(tmp_path / "d.png").read_bytes()
        assert client.post("/photos", params={"name": name}, content=body).status_code == 200
        batch = client.post("/batches").json()["id"]
        assert client.post(f"/batches/{batch}/files", params={"name": name}, content=body).json()["photos"] == 1
        sent = client.post("/api/v1/anonymize", files={"image": (name, body)}, headers={"Accept": "image/*"})
        assert sent.status_code == 200
        packed.write_bytes(packed.read_bytes()[:-40])
        broken = client.post(f"/batches/{batch}/files", params={"name": "x.zip"}, content=packed.read_bytes())
        assert (broken.status_code, broken.json()) == (400, {"error": "That zip file cannot be read."})


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_that_is_damaged_anywhere_is_a_sentence(job, tmp_path, method):
    packed = tmp_path / "in.zip"
    with zipfile.ZipFile(packed, "w", method) as archive:
        archive.write(photo(tmp_path / "a.png"), "a.png")
    whole = packed.read_bytes()
    for place in range(0, len(whole), max(len(whole) // 60, 1)):
        packed.write_bytes(whole[:place] + bytes(b ^ 0xFF for b in whole[place : place + 8]) + whole[place + 8 :])
        with contextlib.suppress(SettingsError):  # anything else would be a 500
            job.take(packed, "in.zip", 10**9)


def test_a_zip_with_a_name_that_is_not_the_text_it_claims_to_be_is_a_sentence(job, tmp_path):
    packed = tmp_path / "in.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("städte.png", b"x")
    packed.write_bytes(packed.read_bytes().replace("ä".encode(), b"\xc3("))
    with pytest.raises(SettingsError, match="cannot be read"):
        job.take(packed, "in.zip", 10**9)


@pytest.fixture
def looks_at_nothing(tmp_path, monkeypatch):
    """Audits fetch no networks."""
    from anonymize.audit import second_look

    monkeypatch.setenv("ANONYMIZE_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(second_look, "choose", lambda *_, **__: second_look.Looker((), {"none": "a test"}))
    monkeypatch.setattr("anonymize.audit.load_reader", lambda *_: (_ for _ in ()).throw(AnonymizeError("a test")))


@pytest.mark.usefixtures("looks_at_nothing")
def test_an_audit_takes_away_what_leaks_and_its_report_can_be_downloaded(job, tmp_path):
    with pytest.raises(GoneError):
        job.begin_audit()
    fill(job, tmp_path, "a.png", "b.png")
    run(job)
    with pytest.raises(GoneError):
        job.audit_zip()
    assert audited(job).ok
    found = audited(job)
    found.skipped |= {"faces": "too few", "plates": "too few"}
    card = audit_card(job)
    assert "2 photos: no leak found" in card
    assert "Not checked:" in card
    assert card.count(": too few</li>") == 1  # both checks, in one line
    assert "az-mark" not in pictures(job, "all")
    assert "To look at" not in card
    from anonymize.audit import Finding

    found.photos[1].findings.append(Finding("recognizable", "look", "this may be a recognizable face"))
    assert "1 photo to look at" in audit_card(job)
    assert "<p>To look at: b.png: look at each place that the report shows;" in audit_card(job)
    marked = re.findall(r'az-mark look" title="(.*?)">(.*?)</span>', pictures(job, "all").partition("b.png")[2])
    assert marked == [("this may be a recognizable face", "Audit: to look at")]
    report = zipfile.ZipFile(job.audit_zip()).read("report.html").decode()
    assert "<h1>Audit of a batch of photos</h1>" in report
    (job.output / "b.png").write_bytes((job.inputs / "b.png").read_bytes())
    found = audited(job)
    assert [p.path for p in found.failed] == ["b.png"]
    assert "1 photo failed, 1 taken out" in audit_card(job)
    assert "<strong>b.png</strong>: the file was changed" in audit_card(job)
    assert "Audit: failed" in pictures(job, "all")
    assert zipfile.ZipFile(job.zip()).namelist() == ["a.png"]
    written = zipfile.ZipFile(job.audit_zip()).namelist()
    assert written == ["audit.json", "certificate.html", "certificate.json", "report.html"]


@pytest.mark.usefixtures("looks_at_nothing")
def test_an_audit_is_of_the_photos_as_they_were(job, tmp_path):
    """Somebody takes a face out of what is hidden: nobody audited that photo."""
    fill(job, tmp_path, "a.png", "b.png")
    run(job)
    assert audited(job).ok
    record = job.records[0]
    job.corrections_writer(record)(record.replace(regions=()))
    assert job.refresh()
    assert job.audited is None
    assert "Photos were changed since their audit" in audit_card(job)
    with pytest.raises(GoneError):
        job.audit_zip()


def test_a_zip_that_is_packed_while_its_batch_is_deleted_does_not_stay(job, tmp_path, monkeypatch):
    fill(job, tmp_path, "a.png")
    run(job)

    def late(target, *_, **__):
        job.close()
        target.parent.mkdir()
        target.write_bytes(b"photos")

    monkeypatch.setattr("anonymize.web.jobs.write_photos", late)
    with pytest.raises(GoneError):
        job.zip()
    assert not job.folder.exists()


def audited(job):
    job.begin_audit()
    job.audit()
    return job.audited


def test_an_audit_says_how_far_it_is_and_can_be_canceled(job, tmp_path, monkeypatch):
    from anonymize.audit import Audit, PhotoAudit

    begun, go_on = threading.Event(), threading.Event()

    def audit(*_, progress, stop, **__):
        found = Audit("out", "out", "", "", "1", "now", photos=[PhotoAudit("a.png")])
        progress(found, 4)
        found.photos.append(PhotoAudit("b.png", error="it is gone"))
        progress(found, 4)
        begun.set()
        assert go_on.wait(10)
        found.stopped = stop.is_set()
        return found

    monkeypatch.setattr("anonymize.web.jobs.audit_folder", audit)
    fill(job, tmp_path, "a.png", "b.png")
    run(job)
    jobs = JobQueue(DetectorPool(detectors=[FakeDetector([])]))
    assert not audit_card(job)
    jobs.audit(job)
    assert begun.wait(10)
    assert re.search(r"Looked at 2 of 4 · \d+ \w+ left · 1 failed<", audit_card(job))
    assert 'aria-valuenow="50"' in audit_card(job)
    for busy in (lambda: jobs.audit(job), lambda: jobs.start(job, Settings())):
        with pytest.raises(SettingsError, match="look"):
            busy()
    assert not job.refresh()  # what is looked at stays as it is
    job.auditing.stop.set()
    assert "stopping after the file in work" in audit_card(job)
    go_on.set()
    wait_for(lambda: job.auditing is None)
    assert "Audit of 2 photos, canceled before its end: 1 photo failed" in audit_card(job)
    jobs.start(job, Settings())  # what comes next was not looked at
    assert not audit_card(job)
    wait_for(lambda: job.state not in BUSY)
    jobs.close()


def test_a_batch_that_is_started_just_before_its_audit_is_not_audited(job, tmp_path):
    class Overtaken:
        """A lock that somebody else had first, to start the batch."""

        def __enter__(self):
            job.state = "waiting"

        def __exit__(self, *_):
            pass

    fill(job, tmp_path, "a.png")
    run(job).lock = Overtaken()
    with pytest.raises(GoneError):
        job.begin_audit()
    assert job.auditing is None


@pytest.mark.usefixtures("looks_at_nothing")
def test_an_audit_that_is_canceled_at_once_looked_at_nothing(job, tmp_path):
    fill(job, tmp_path, "a.png")
    run(job)
    job.begin_audit()
    job.auditing.stop.set()
    job.audit()
    assert "canceled before its first photo" in audit_card(job)
    assert "no leak" not in audit_card(job)


def test_an_audit_that_fails_says_so(job, tmp_path, monkeypatch):
    fill(job, tmp_path, "a.png")
    run(job)

    def audit(*_, **__):
        raise AnonymizeError("no key")

    monkeypatch.setattr("anonymize.web.jobs.audit_folder", audit)
    assert audited(job) is None
    assert "no key" in audit_card(job)
