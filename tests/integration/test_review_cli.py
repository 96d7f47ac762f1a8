"""`python -m review`: queue, decisions, the gate, data sets for training. And the tab's page, without a browser."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
import pytest
import yaml
from click.testing import CliRunner, Result
from PIL import Image

from anonymize import images, records
from anonymize.corrections import decide, status
from anonymize.errors import ChangedSourceError, PathError
from anonymize.evaluate.ground_truth import read as read_annotations
from anonymize.records import Header, Record
from anonymize.regions import Region
from anonymize.settings import Settings
from review import photos, tab_view, training_set
from review.__main__ import cli
from review.reviews import Reviews, User
from review.store import ReviewStore

SETTINGS = Settings().with_kind("face", threshold=0.5).with_kind("plate", threshold=0.25)
FACE = Region("face", (20, 20, 60, 70), 0.9, {"one": 0.9})
FAINT = Region("plate", (90, 60, 130, 75), 0.2, {"two": 0.2})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    root = tmp_path / "in"
    known = []
    for n, name in enumerate(("a.png", "b.png", "sub/a.png")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(n).integers(0, 255, (100, 160, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / name)
        found = (FACE, FAINT) if n == 1 else (FACE,)
        known.append(Record(name, images.sha256(root / name), 160, 100, found, detectors={"one": {}, "two": {}}))
    records.write(tmp_path / "records.jsonl", Header(str(root), SETTINGS), known)
    return tmp_path / "records.jsonl"


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


def test_an_export_says_where_photos_and_previews_are(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run("approve", path, "a.png")
    said = run("export", path, ".", "--preview").stderr
    assert "the clean photos are in .;" in said
    assert f"the previews in {tmp_path / 'here-preview'} show the originals, too" in said
    assert (tmp_path / "here-preview" / "a.png.jpg").exists()


def test_every_command_has_help():
    for name, command in cli.commands.items():
        text = run(name, "--help").output
        assert command.help, name
        assert "RECORDS" in text


def test_the_queue_as_text_and_as_json(path: Path):
    text = run("queue", path).output
    assert re.fullmatch(r" *\d+ %  b\.png", text.splitlines()[0])  # as `run` says it
    assert "a candidate for a plate scores 0.2, the threshold is 0.25" in text
    assert text.splitlines()[-1] == "0 of 3 approved, 3 pending"
    rows = json.loads(run("queue", path, "--json").output)
    assert [r["path"] for r in rows] == ["b.png", "a.png", "sub/a.png"]
    assert rows[0]["risk"] > rows[1]["risk"]
    assert "a candidate for a plate" in rows[0]["reasons"][0]
    run("approve", path, "b.png")
    assert [r["path"] for r in json.loads(run("queue", path, "--json").output)] == ["a.png", "sub/a.png"]
    assert len(json.loads(run("queue", path, "--json", "--all").output)) == 3


def test_decisions_name_who_and_are_all_or_none(path: Path):
    run("approve", path, "a.png", "b.png", "--who", "ana")
    run("flag", path, "sub/a.png", "--who", "bob", "--note", "ask the owner")
    assert "2 of 3 approved, 0 pending, 1 flagged" in run("status", path).output
    assert "bob  flag  sub/a.png: ask the owner" in run("status", path).output
    assert "the last decision is bob's" in run("undo", path, "sub/a.png", "--who", "ana", code=1).output
    run("undo", path, "sub/a.png", "--who", "bob")
    assert ReviewStore(path)["sub/a.png"].review == "pending"
    before = path.read_bytes()
    assert "no photo 'c.png'" in run("approve", path, "sub/a.png", "c.png", code=1).output
    assert path.read_bytes() == before
    assert "name the photos" in run("approve", path, code=1).output


def test_the_status_tells_decisions_of_the_same_millisecond_in_their_order(path: Path):
    header, known = records.read(path)
    when = "2026-11-21T10:00:00.000+00:00"
    record = decide(known["a.png"], "reject", who="ana", settings=SETTINGS, when=when, id=FACE.id)
    record = decide(record, "approve", who="ana", settings=SETTINGS, when=when)
    records.write(path, header, {**known, "a.png": record}.values())
    told = run("status", path).output.splitlines()[-2:]
    assert [line.split()[2] for line in told] == ["reject", "approve"]


def test_only_approved_photos_are_exported(path: Path, tmp_path: Path):
    out = tmp_path / "out"
    run("approve", path, "a.png")
    run("export", path, out, "--quiet")
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*.png")) == ["a.png"]
    # another threshold: what was approved was another picture, and its output is taken away
    run("export", path, out, "--quiet", "--face-threshold", "0.95", code=3)
    assert list(out.rglob("*.png")) == []
    run("approve", path, "a.png", "--face-threshold", "0.95")
    run("export", path, out, "--quiet", "--face-threshold", "0.95")
    assert (out / "a.png").read_bytes() != b""
    assert np.array_equal(np.asarray(Image.open(out / "a.png")), np.asarray(Image.open(tmp_path / "in" / "a.png")))


def test_unreviewed_photos_go_out_only_when_it_is_said_aloud(path: Path, tmp_path: Path):
    run("approve", path, "a.png")
    run("flag", path, "b.png")
    result = run("export", path, tmp_path / "out", "--quiet", "--allow-unreviewed")
    assert "WARNING: --allow-unreviewed" in result.output
    assert "1 of the photos were not approved by anybody" in result.output
    found = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.png"))
    assert found == ["a.png", "sub/a.png"]  # the flagged one never


def test_a_correction_is_what_the_export_shows_and_only_it_is_written_again(path: Path, tmp_path: Path):
    store, out = ReviewStore(path), tmp_path / "out"
    for name in ("a.png", "b.png"):
        run("approve", path, name)
    run("export", path, out, "--quiet")
    first = {p.name: p.stat().st_mtime_ns for p in out.glob("*.png")}
    store.decide("a.png", "reject", who="ana", id=FACE.id)
    store.decide("a.png", "add", who="ana", box=(100, 20, 150, 60), kind="plate")
    assert "2 of 3" not in run("status", path).output
    run("approve", path, "a.png")
    run("export", path, out, "--quiet")
    second = {p.name: p.stat().st_mtime_ns for p in out.glob("*.png")}
    assert second["b.png"] == first["b.png"]
    assert second["a.png"] != first["a.png"]
    old, new = (np.asarray(Image.open(f / "a.png")).astype(int) for f in (tmp_path / "in", out))
    assert np.array_equal(old[20:70, 20:60], new[20:70, 20:60])  # the false positive: as it was, to the bit
    assert np.abs(old[20:60, 100:150] - new[20:60, 100:150]).mean() > 20  # the missed plate: hidden


@pytest.mark.parametrize("form", ["yolo", "coco"])
def test_the_way_back_to_training(path: Path, tmp_path: Path, form: str):
    store = ReviewStore(path)
    store.decide("b.png", "reject", who="ana", id=FACE.id)
    store.decide("b.png", "accept", who="ana", id=FAINT.id)
    run("approve", path, "a.png", "b.png")
    out = tmp_path / "set"
    told = run("dataset", path, out, "--format", form, "--val", "0").output
    assert "2 train" in told
    assert "1 not approved" in told
    names = json.loads((out / "sources.json").read_text())
    where = {source: f"train/{safe}" for safe, source in names.items()}
    source = out / "data.yaml" if form == "yolo" else out / "annotations" / "train.json"
    folder = out / "images" if form == "yolo" else out / "images" / "train"
    truth = read_annotations(source, folder, sorted(str(p.relative_to(folder)) for p in folder.rglob("*.jpg")))
    read = {p.removeprefix("train/"): photo.at(160, 100) for p, photo in truth.photos.items()}
    (plate,) = read[where["b.png"].removeprefix("train/")]
    (face,) = read[where["a.png"].removeprefix("train/")]
    assert (plate.kind, face.kind) == ("plate", "face")
    assert plate.box == pytest.approx(FAINT.box, abs=0.02)
    assert face.box == pytest.approx(FACE.box, abs=0.02)
    if form == "yolo":
        assert yaml.safe_load(source.read_text())["names"] == {0: "face", 1: "plate"}
    with pytest.raises(PathError, match="not empty"):
        training_set.write(store, out, form)


def test_a_data_set_loses_no_photo_that_its_loaders_cannot_read(tmp_path: Path):
    """HEIC, 16 bits, an orientation in a PNG: OpenCV, which loaders use, sees what was reviewed."""
    (tmp_path / "in").mkdir()
    y, x = np.mgrid[:64, :96]
    pixels = np.stack([x * 2, y * 3, x + y], 2).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    pillow_heif.encode("RGB", (96, 64), pixels.tobytes(), tmp_path / "in" / "a.HIF", quality=95)
    cv2.imwrite(str(tmp_path / "in" / "b.png"), pixels[..., ::-1].astype(np.uint16) * 257)
    Image.fromarray(pixels).save(tmp_path / "in" / "c.png", exif=exif)
    Image.fromarray(pixels).save(tmp_path / "in" / "d.jfif", "JPEG", exif=exif)
    known = []
    for name in sorted(p.name for p in (tmp_path / "in").iterdir()):
        photo = images.load(tmp_path / "in" / name, SETTINGS)
        known.append(Record(name, photo.sha256, photo.width, photo.height, (FACE,), detectors={"one": {}}))
    records.write(tmp_path / "r.jsonl", Header(str(tmp_path / "in"), SETTINGS), known)
    store = ReviewStore(tmp_path / "r.jsonl")
    training_set.write(store, tmp_path / "set", "yolo", val=0, allow_unreviewed=True)
    names = json.loads((tmp_path / "set" / "sources.json").read_text())
    assert sorted(names.values()) == ["a.HIF", "b.png", "c.png", "d.jfif"]
    for safe, source in names.items():
        seen = cv2.imread(str(tmp_path / "set" / "images" / "train" / safe))[..., ::-1].astype(int)
        shown = images.load(tmp_path / "in" / source, store.settings).rgb
        assert seen.shape == shown.shape
        assert np.abs(seen - shown).mean() < 3
        assert (tmp_path / "set" / "labels" / "train" / safe).with_suffix(".txt").read_text()


def test_neighboring_frames_never_stand_on_both_sides():
    paths = [f"ride/f{n:04}.jpg" for n in range(200)] + [f"alone/{'x' * (n % 7)}-{n * 1000}.jpg" for n in range(300)]
    group = training_set.groups(paths)
    assert len({group[p] for p in paths[:200]}) == 1
    parts = {p: training_set.split_of(group[p], 0.2, 0.1) for p in paths}
    assert len({parts[p] for p in paths[:200]}) == 1
    alone = [parts[p] for p in paths[200:]]
    assert alone.count("val") == pytest.approx(60, abs=25)
    assert alone.count("test") == pytest.approx(30, abs=20)


def test_a_photo_that_changed_is_not_taught(path: Path, tmp_path: Path):
    run("approve", path, "a.png")
    Image.new("RGB", (160, 100)).save(tmp_path / "in" / "a.png")
    with pytest.raises(ChangedSourceError):
        training_set.write(ReviewStore(path), tmp_path / "set", "yolo")


def test_what_the_tab_shows(path: Path):
    review = Reviews().open(path, owner="ana")
    item = review.queue.next("ana")
    shown = tab_view.view(review, item)
    assert shown["photo"] == "b.png"
    assert [r["state"] for r in shown["regions"]] == ["hidden", "suspect"]
    assert "a candidate for a plate" in shown["regions"][1]["why"]
    assert shown["before"].startswith("/media?filepath=%2F")
    assert shown["hash"] == review.store["b.png"].approval_hash(review.store.settings)
    found = [(r["which"], r["photos"], r["regions"]) for r in tab_view.other_thresholds(review, {"plate": 0.1})]
    assert found == [("now", 0, 0), ("then", 1, 1)]


def test_hostile_names_stay_in_their_addresses(tmp_path: Path):
    evil = '<img src=x onerror="alert(1)">&size=x.jpg'
    records.write(tmp_path / "r.jsonl", Header("/p", SETTINGS), [Record(evil, "00", 160, 100, (FACE, FAINT))])
    review = Reviews().open(tmp_path / "r.jsonl")
    shown = tab_view.view(review, review.queue.items()[0])
    for address in (shown["before"], shown["whole"], shown["after"]):
        assert not set('<>" ') & set(address)
        assert address.count("size=x") == 0


def test_the_download_holds_what_may_go_out_as_it_was_decided(path: Path, tmp_path: Path):
    """What was corrected, flagged or taken back after the export stays behind; so does what somebody put there."""

    def names(allow_unreviewed: bool = False) -> list[str]:
        response = photos.export_zip(review, allow_unreviewed)
        with zipfile.ZipFile(response.path) as archive:
            found = sorted(archive.namelist())
        Path(response.path).unlink()
        return found

    review = Reviews().open(path)
    assert names() == []
    run("approve", path, "a.png", "b.png", "sub/a.png")
    tab_view.export_approved(review, False, True)
    assert names() == ["a.png", "b.png", "sub/a.png"]
    review.store.decide("a.png", "add", who="ana", box=(100, 20, 150, 60), kind="plate")  # missed, and approved
    review.store.decide("b.png", "flag", who="ana")
    assert names() == ["sub/a.png"]
    assert names(allow_unreviewed=True) == ["sub/a.png"]  # a.png is not yet written as it was corrected
    assert "unreviewed=yes" in tab_view.export_approved(review, True, True)["zip"]
    assert names(allow_unreviewed=True) == ["a.png", "sub/a.png"]
    assert names() == ["sub/a.png"]
    (review.output / "sub" / "a.png").write_bytes((tmp_path / "in" / "sub" / "a.png").read_bytes())
    assert names() == []


def test_other_thresholds_make_approvals_pending(path: Path):
    review = Reviews().open(path)
    review.store.decide("a.png", "approve", who="ana")
    review.store.use(SETTINGS.with_kind("face", threshold=0.3))
    assert status(review.store["a.png"], review.store.settings) == "pending"
    assert {i.status for i in review.queue.items()} == {"pending"}


def test_a_review_is_its_visitors_and_goes_with_the_file(path: Path):
    reviews = Reviews()
    review = reviews.open(path, owner="ana")
    assert reviews.open(path, owner="ana") is review
    assert reviews.of(User("ana", "ana")) == [review]
    assert reviews.of(User("bob", "bob")) == []
    path.unlink()
    assert reviews.of(User("ana", "ana")) == []


def test_chosen_thresholds_stay_with_the_records(path: Path, tmp_path: Path):
    review = Reviews().open(path)
    run("approve", path, "a.png")
    review.store.use(SETTINGS.with_kind("face", threshold=0.95))  # as the tab does
    assert {i.status for i in review.queue.items()} == {"pending"}
    assert ReviewStore(path).settings.kind("face").threshold == 0.95  # another process, or this one after a kill
    run("export", path, tmp_path / "out", "--quiet", code=3)
    assert list((tmp_path / "out").rglob("*.png")) == []
    run("approve", path, "a.png")
    run("export", path, tmp_path / "out", "--quiet")
    assert [p.name for p in (tmp_path / "out").rglob("*.png")] == ["a.png"]
    told = run("use", path, "--face-threshold", "0.5").output
    assert "face: from 0.5, inpaint" in told
    assert records.read(path)[0].review is None  # the detection's again
    assert len(list(ReviewStore(path))) == 3


def test_detecting_again_keeps_the_chosen_thresholds_until_the_detection_s_own_change(path: Path, tmp_path: Path):
    from anonymize import FakeDetector, Predictor, detect

    ReviewStore(path).use(SETTINGS.with_kind("face", threshold=0.95))
    detect(tmp_path / "in", path, Predictor(SETTINGS, detectors=[FakeDetector([FACE])]))
    assert ReviewStore(path).settings.kind("face").threshold == 0.95
    detect(
        tmp_path / "in", path, Predictor(SETTINGS.with_kind("face", threshold=0.4), detectors=[FakeDetector([FACE])])
    )
    assert ReviewStore(path).settings.kind("face").threshold == 0.4


def test_a_deleted_photo_is_said_once_and_can_be_forgotten(path: Path, tmp_path: Path):
    out = tmp_path / "out"
    run("approve", path, "a.png", "b.png")
    run("export", path, out, "--quiet")
    (tmp_path / "in" / "b.png").unlink()
    run("export", path, out, "--quiet")  # its output shows what was approved: nothing to do
    assert (out / "b.png").exists()
    ReviewStore(path).decide("b.png", "reject", who="ana", id=FACE.id)
    run("approve", path, "b.png")
    told = run("export", path, out, "--quiet").output  # exit 0: the others went out
    assert "no longer in the input, so not written: b.png" in told
    assert "failed:" not in told
    assert not (out / "b.png").exists()  # it showed other regions than the approved ones
    review = Reviews().open(path)
    item = next(i for i in review.queue.items() if i.path == "b.png")
    assert "no longer in the input" in tab_view.view(review, item)["problem"]
    assert "1 photo was deleted from the input (b.png …)" in run("status", path).output
    assert "a.png is still in" in run("forget", path, "a.png", code=1).output
    assert review.queue.at_threshold("plate", 0.15) == (1, 1)
    assert run("forget", path).output == "forgotten: b.png\n"
    assert review.queue.at_threshold("plate", 0.15) == (0, 0)
    assert [r.path for r in ReviewStore(path)] == ["a.png", "sub/a.png"]
    assert ReviewStore(path)["a.png"].review == "approved"
    assert "no longer" not in run("export", path, out, "--quiet").output
    (tmp_path / "in").rename(tmp_path / "unplugged")  # all are away: a drive, not deleted photos
    assert "nothing to forget" in run("forget", path).output
    assert len(list(ReviewStore(path))) == 2
    assert "failed: sub/a.png" not in run("export", path, out, "--quiet").output  # withheld, and a.png is current
