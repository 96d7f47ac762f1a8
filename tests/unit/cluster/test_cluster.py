"""Cluster runs without Ray: the same driver and worker, in this process; folders and fsspec's store in memory."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from anonymize import cluster, corrections, engine, records
from anonymize.cli import cli
from anonymize.cluster import driver, hold, shards
from anonymize.cluster.stores import Store
from anonymize.cluster.worker import POISON, Item, Ledger, Worker
from anonymize.engine import Summary
from anonymize.errors import ClusterError, PathError, RecordsError, SettingsError
from anonymize.hiding import not_hidden, warnings_of
from anonymize.json_lines import lock
from anonymize.predictor import Predictor
from anonymize.records import Record
from anonymize.regions import Region
from anonymize.settings import Settings
from bench.kills import draw, tree
from review.store import ReviewStore

pytest.importorskip("pyarrow")
SETTINGS = Settings(face_detector="tests.support.cli:Faces", plate_detector="none")
CLUSTER = cluster.Cluster(shard=3)


class Here:
    """Stands in for Ray: shards one after the other, in this process."""

    def __init__(self) -> None:
        self.ledger, self.photos = Ledger(), 0

    def worker(self, job: driver.Job) -> Worker:
        made = Worker(dataclasses.asdict(job), None)
        made._call = lambda what, *args: getattr(self.ledger, what)(*args)  # type: ignore[method-assign]
        return made

    def work(self, job: driver.Job, _cluster: Any, cut: Any, _stop: Any) -> Iterator[list[shards.Row]]:
        worker = self.worker(job)
        for name, items in cut:
            self.photos += len(items)
            done = worker({"shard": name, "items": json.dumps([dataclasses.asdict(i) for i in items])})
            yield [shards.Row(**r) for r in json.loads(done["rows"])]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Here:
    made = Here()
    monkeypatch.setattr(hold, "BEAT", 0.05)
    monkeypatch.setattr(hold, "PATIENCE", 0.2)
    monkeypatch.setattr(driver, "_work", made.work)
    return made


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return draw(tmp_path / "in", 8)


@pytest.fixture
def bucket(photos: Path) -> Iterator[str]:
    url = f"memory://{photos.parent.name}"
    for path in photos.rglob("*.*g"):
        Store(f"{url}/in").publish(path.relative_to(photos).as_posix(), path.read_bytes())
    yield url
    store = Store(url)
    for name in store.files():
        store.remove(name)


def run(source: Any, output: Any, settings: Settings = SETTINGS, **more: Any) -> Summary:
    return cluster.run(source, output, Predictor(settings), CLUSTER, **more)


def written(output: Any) -> dict[str, bytes]:
    """Photos and detections, by name."""
    store = Store(output)
    ours = ("summary.json", "records.jsonl", ".records.jsonl.lock", ".exports.jsonl.lock")
    return {n: store.read(n) for n in store.files() if n not in ours and not n.startswith("records.parquet/")}


def test_a_folder_becomes_what_one_machine_makes_of_it(here: Here, photos: Path, tmp_path: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"no photo")
    one = engine.run(photos, tmp_path / "one", Predictor(SETTINGS))
    two = run(photos, tmp_path / "two")
    assert written(tmp_path / "two") == tree(tmp_path / "one")
    assert (tmp_path / "two/records.jsonl").read_bytes() == (tmp_path / "one/records.jsonl").read_bytes()
    same = ("photos", "done", "failures", "hidden", "not_hidden", "warnings", "ok")
    assert {k: v for k, v in two.to_dict().items() if k in same} == {
        k: v for k, v in one.to_dict().items() if k in same
    }
    told = json.loads((tmp_path / "two/summary.json").read_text())
    assert (told["photos"], told["failures"]) == (9, one.failures)


def test_a_bucket_becomes_the_same(here: Here, bucket: str, photos: Path, tmp_path: Path) -> None:
    engine.run(photos, tmp_path / "one", Predictor(SETTINGS))
    assert run(f"{bucket}/in", f"{bucket}/out").ok
    assert written(f"{bucket}/out") == tree(tmp_path / "one")
    assert cluster.gather(f"{bucket}/out", tmp_path / "records.jsonl", photos) == 8
    assert (tmp_path / "records.jsonl").read_bytes() == (tmp_path / "one/records.jsonl").read_bytes()


def jpeg(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), "gray").save(out, "JPEG")
    return out.getvalue()


def test_only_what_changed_is_done_again(here: Here, bucket: str) -> None:
    source, output = Store(f"{bucket}/in"), Store(f"{bucket}/out")
    run(source.url, output.url)
    before, here.photos = written(output.url), 0
    assert run(source.url, output.url).unchanged == 8
    assert here.photos == 0
    output.remove("02.png")
    output.publish("04.png", b"of somebody else")
    source.publish("05.jpg", jpeg(120, 80))
    done = run(source.url, output.url)
    assert (here.photos, done.unchanged, done.done) == (3, 5, 8)
    after = written(output.url)
    assert {n for n in before if before[n] != after[n]} == {"05.jpg", "05.jpg.json"}
    assert (here.photos, run(source.url, output.url, SETTINGS.with_kind("face", effect="solid")).done) == (3, 8)
    assert here.photos == 11


def test_shards_of_which_nothing_counts_any_more_go(here: Here, bucket: str) -> None:
    for effect in ("blur", "solid", "inpaint"):
        run(f"{bucket}/in", f"{bucket}/out", SETTINGS.with_kind("face", effect=effect))
    assert {shards.run_of(n) for n in shards.names(Store(f"{bucket}/out"))} == {2, 3}


def test_what_fails_now_has_no_output_any_more(here: Here, bucket: str) -> None:
    run(f"{bucket}/in", f"{bucket}/out")
    Store(f"{bucket}/in").publish("02.png", b"no photo")
    done = run(f"{bucket}/in", f"{bucket}/out")
    assert list(done.failures) == ["02.png"]
    assert not {"02.png", "02.png.json"} & set(written(f"{bucket}/out"))
    assert json.loads(Store(f"{bucket}/out").read("summary.json"))["ok"] is False


def test_a_file_of_another_program_stays_and_is_told_of(here: Here, bucket: str) -> None:
    Store(f"{bucket}/in").publish("02.png", b"no photo")
    Store(f"{bucket}/out").publish("02.png", b"of somebody else")
    failures = run(f"{bucket}/in", f"{bucket}/out").failures
    assert "of another program" in failures["02.png"]
    assert written(f"{bucket}/out")["02.png"] == b"of somebody else"


def test_an_output_that_disappears_during_the_run_is_no_success(here: Here, photos: Path, tmp_path: Path) -> None:
    def progress(summary: Summary) -> None:
        if summary.done == 8:
            (tmp_path / "out/02.png").unlink()

    done = run(photos, tmp_path / "out", progress=progress)
    assert list(done.failures) == ["02.png"]
    assert done.done == 7


def test_what_people_drew_is_hidden(here: Here, bucket: str, photos: Path, tmp_path: Path) -> None:
    run(f"{bucket}/in", f"{bucket}/out")
    path = tmp_path / "reviewed.jsonl"
    cluster.gather(f"{bucket}/out", path, photos)
    drawn = ReviewStore(path).decide("02.png", "add", who="ana", box=(50, 40, 90, 60), kind="plate")
    before, here.photos = written(f"{bucket}/out"), 0
    assert run(f"{bucket}/in", f"{bucket}/out", records_path=path).unchanged == 7
    after = written(f"{bucket}/out")
    assert {n for n in before if before[n] != after[n]} == {"02.png", "02.png.json"}
    header, known = records.read(path)
    assert (header.root, known["02.png"]) == (str(photos), drawn)
    assert run(f"{bucket}/in", f"{bucket}/out", records_path=path).unchanged == 8


def test_workers_that_die_at_a_photo_end_in_its_failure(
    here: Here, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["02.png", "04.png"]
    for held in (names, ["04.png"], ["04.png"]):  # of the first worker both, then one by one
        here.ledger.take("s", names)
        here.ledger.hold("s", held)
    jobs: list[driver.Job] = []
    with monkeypatch.context() as patch:
        patch.setattr(driver, "_work", lambda job, *_: jobs.append(job) or iter(()))
        run(photos, tmp_path / "out")
    worker = here.worker(jobs[0])
    out = Store(tmp_path / "out")
    out.publish("04.png", b"an earlier one")
    items = [Item("02.png", "v"), Item("04.png", "v", there="ours")]
    row = {"shard": "00001-s-0", "items": json.dumps([dataclasses.asdict(i) for i in items])}
    here.ledger._open["00001-s-0"] = here.ledger._open.pop("s")
    done = [shards.Row(**r) for r in json.loads(worker(row)["rows"])]
    assert [r.error for r in done] == ["", POISON]
    assert "04.png" not in written(tmp_path / "out")
    worker._do = None  # type: ignore[assignment,method-assign]
    assert json.loads(worker(row)["rows"]) == [dataclasses.asdict(r) | {"record": ""} for r in done]  # published once


def test_a_worker_that_detects_otherwise_ends_the_run(here: Here, photos: Path, tmp_path: Path) -> None:
    job = driver.Job(
        str(photos),
        str(tmp_path / "out"),
        SETTINGS.to_dict(),
        "another",
        {"schema": 2, "root": "/", "settings": SETTINGS.to_dict()},
        True,
        1,
    )
    with pytest.raises(SettingsError, match="detects otherwise"):
        list(here.work(job, None, [("00001-s-0", [Item("02.png", "v")])], None))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("output", ["", "/in", "/in/"])
def test_an_output_that_is_or_holds_the_input_is_refused(here: Here, bucket: str, output: str) -> None:
    with pytest.raises(PathError):
        run(f"{bucket}/in", bucket + output)


def test_an_output_within_the_input_is_not_searched(here: Here, bucket: str) -> None:
    for _ in range(2):
        assert run(f"{bucket}/in", f"{bucket}/in/out").photos == 8


def test_keys_that_are_no_paths_fail_by_name(here: Here, bucket: str) -> None:
    kept = Store(bucket)._fs.store  # fsspec itself would tidy the key up; a bucket does not
    folder = f"/{bucket.removeprefix('memory://')}/in"
    kept[f"{folder}/a/../b.png"] = kept[f"{folder}/02.png"]
    done = run(f"{bucket}/in", f"{bucket}/out")
    assert "no path within a folder" in done.failures["a/../b.png"]
    assert done.done == 8


def test_no_such_input(here: Here, bucket: str, tmp_path: Path) -> None:
    for source in (f"{bucket}/nothing", "unknown-store://x/in"):
        with pytest.raises(PathError):
            run(source, f"{bucket}/out")


def test_records_of_another_input_are_refused(here: Here, photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "out")
    other = draw(tmp_path / "other", 2)
    with pytest.raises(RecordsError, match="another input"):
        run(other, tmp_path / "out")
    with pytest.raises(RecordsError, match="no records"):
        cluster.gather(tmp_path / "other", tmp_path / "r.jsonl")


def test_review_and_export_read_the_shards(here: Here, photos: Path, tmp_path: Path) -> None:
    from review.__main__ import cli as review

    run(photos, tmp_path / "out", records_path=tmp_path / "elsewhere.jsonl")
    shown = CliRunner().invoke(review, ["queue", str(tmp_path / "out/records.parquet"), "--limit", "1"])
    assert shown.exit_code == 0, shown.output
    assert "0 of 8 approved" in shown.output
    command = ["export", str(tmp_path / "out/records.parquet"), str(tmp_path / "again"), "--quiet"]
    assert CliRunner().invoke(cli, command).exit_code == 0
    assert tree(tmp_path / "again") == written(tmp_path / "out")


def test_the_command_line(here: Here, bucket: str, tmp_path: Path) -> None:
    Store(f"{bucket}/in").publish("bad.jpg", b"no photo")
    given = ["--face-detector", "tests.support.cli:Faces", "--plate-detector", "none", "--quiet"]
    command = ["run", f"{bucket}/in", f"{bucket}/out", *given]
    told = CliRunner().invoke(cli, [*command, "--cluster", "auto", "--cluster-shard", "3"])
    assert (told.exit_code, "failed: bad.jpg" in told.output) == (1, True)
    Store(f"{bucket}/in").remove("bad.jpg")
    assert CliRunner().invoke(cli, [*command, "--cluster", "auto"]).exit_code == 0
    made = CliRunner().invoke(
        cli, ["gather", f"{bucket}/out", str(tmp_path / "r.jsonl"), "--root", str(tmp_path / "in")]
    )
    assert (made.exit_code, "9 photos" in made.output) == (0, True)
    assert CliRunner().invoke(cli, command).exit_code == 2  # a URL, and no cluster
    for option in ("--preview", "--dry-run", "--audit", "--trust"):
        assert CliRunner().invoke(cli, [*command, "--cluster", "auto", option]).exit_code == 2
    assert CliRunner().invoke(cli, [*command, "--cluster", "auto", "--cluster-shard", "0"]).exit_code == 2


def test_an_unfinished_put_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    """A store whose puts are not whole: written under another name, then moved."""
    import fsspec

    store = Store(f"file://{tmp_path}/out")
    assert not store.is_local
    store.publish("a.png", b"one")
    store._fs = fsspec.filesystem("dir", path="/", fs=fsspec.filesystem("file"))

    def broken(path: str, value: bytes) -> None:
        Path(path).write_bytes(value[:1])
        raise PermissionError(path)

    store._fs.pipe_file = broken
    with pytest.raises(OSError, match="tmp"):
        store.publish("a.png", b"two")
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == {"a.png": b"one"}


def test_shards_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / shards.FOLDER).mkdir()
    (tmp_path / shards.FOLDER / "00001-x-0.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(RecordsError, match="no shard"):
        shards.known(Store(tmp_path))


def test_order_is_one_machines(tmp_path: Path) -> None:
    names = ["b.png", "a/z.png", "a/b/c.png", "a.png", "a/b.png", "a-b/c.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / name)
    from anonymize import images

    assert sorted(names, key=shards.order) == list(images.find(tmp_path, Settings()).paths)


def test_a_run_says_of_its_photos_what_one_machine_says() -> None:
    face, dog = Region("face", (9, 9, 40, 40), 0.9), Region("dog", (9, 60, 40, 90), 0.9)
    others = [Region(kind, (50, 50, 90, 90), 0.9) for kind in ("vehicle", "person")]
    detectors = {"fake": {"weights": "0" * 64}}
    record = Record(
        "a.jpg", "a" * 64, 100, 100, (face, dog, *others), detectors=detectors, warnings=("first-picture-only",)
    )
    moved = corrections.move(record, who="ann", id=face.id, box=(60, 60, 90, 90))
    summary = Summary()
    driver.count(summary, shards.Row.of(moved, SETTINGS, "1", "1"))
    assert summary.warnings["a.jpg"] == warnings_of(moved, SETTINGS)
    assert {"moved-off", "first-picture-only"} < set(summary.warnings["a.jpg"])
    assert summary.not_hidden == not_hidden(moved, SETTINGS) == {"dog": 1}
    assert [photo["path"] for photo in summary.riskiest] == ["a.jpg"]
    assert "moved" in summary.riskiest[0]["why"]


def test_two_runs_on_one_output_never_mix(
    here: Here, bucket: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hold.hold(Store(f"{bucket}/out")), pytest.raises(ClusterError, match="another run writes"):
        run(f"{bucket}/in", f"{bucket}/out")
    assert written(f"{bucket}/out") == {}
    assert run(f"{bucket}/in", f"{bucket}/out").ok
    assert not Store(f"{bucket}/out").is_file(hold.RUNNING)
    monkeypatch.setattr("anonymize.json_lines.LOCK_SECONDS", 0.1)
    with lock(tmp_path / "out" / "exports.jsonl"), pytest.raises(RecordsError, match="is busy"):
        run(photos, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [".exports.jsonl.lock"]
    assert run(photos, tmp_path / "out").ok
    assert engine.run(photos, tmp_path / "out", Predictor(SETTINGS)).ok  # on one machine, over it


def test_a_run_that_was_killed_holds_nothing(here: Here, bucket: str) -> None:
    Store(f"{bucket}/out").publish(hold.RUNNING, b'{"run": "gone", "number": 7}')
    assert run(f"{bucket}/in", f"{bucket}/out").ok
    Store(f"{bucket}/out").publish(hold.RUNNING, b"torn")
    assert run(f"{bucket}/in", f"{bucket}/out").ok


def test_a_run_ends_when_another_one_took_over(here: Here, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    output = Store(f"{bucket}/out")

    def taken_over(*args: Any) -> Iterator[list[shards.Row]]:
        for rows in here.work(*args):
            output.publish(hold.RUNNING, b'{"run": "other", "number": 0}')
            yield rows

    monkeypatch.setattr(driver, "_work", taken_over)
    with pytest.raises(ClusterError, match="another run writes"):
        run(f"{bucket}/in", output.url)
    assert not output.is_file("summary.json")
    assert json.loads(output.read(hold.RUNNING))["run"] == "other"  # which goes on
