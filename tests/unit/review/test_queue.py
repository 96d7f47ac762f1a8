"""The queue: what is likeliest to leak comes first, each with its reason, without ground truth."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anonymize import records, risk
from anonymize.records import Header, Record
from anonymize.regions import Region
from anonymize.settings import Settings
from anonymize.web.results import judge
from bench import review_queue
from review import queue_index
from review.items import rank, sequences
from review.queue import Queue
from review.store import ReviewStore

SETTINGS = Settings().with_kind("face", threshold=0.5).with_kind("plate", threshold=0.25)


def photo(*regions: Region, path: str = "a.jpg", **more: object) -> Record:
    return Record(path, "00", 1000, 800, regions, detectors={"fake": {}}, **more)


def face(score: float, x: float = 100, y: float = 100, size: float = 60, **more: object) -> Region:
    return Region("face", (x, y, x + size, y + size), score, {"fake": score}, **more)


def plate(score: float, x: float = 500, y: float = 500, **more: object) -> Region:
    return Region("plate", (x, y, x + 100, y + 30), score, {"fake": score}, **more)


CAR = Region("vehicle", (400, 300, 800, 620), 0.9)
PERSON = Region("person", (80, 80, 220, 500), 0.9)


def item(record: Record):
    return rank([record], SETTINGS)[0]


def texts(record: Record) -> str:
    return "\n".join(item(record).reasons)


def test_nothing_seen_is_no_risk_and_a_faint_candidate_is_some():
    assert item(photo()).risk == 0
    assert item(photo(face(0.9))).risk == 0
    faint, fainter = item(photo(face(0.4))).risk, item(photo(face(0.04))).risk
    assert 0.05 < faint < 0.9
    assert fainter < faint / 4


def test_the_reasons_that_the_issue_lists():
    assert "scores 0.4, the threshold is 0.5" in texts(photo(face(0.4)))
    assert "a vehicle without a plate" in texts(photo(CAR))
    assert "a person without a face" in texts(photo(PERSON, face(0.1)))
    assert item(photo(PERSON)).risk > 0  # most are turned away where not even a faint candidate is
    disagree = Region("plate", (1, 1, 90, 30), 0.2, {"one": 0.6, "two": 0.05})
    assert "detectors disagree: one 0.60, two 0.05" in texts(photo(disagree))
    assert "likely not a face, 81 %: a face with a score of 0.52" in texts(photo(face(0.52, x=700), PERSON))


def test_a_carrier_makes_its_candidate_likelier_and_is_one_place_with_it():
    car = CAR.replace(score=0.5)
    alone = item(photo(plate(0.24, x=10, y=10), car))
    on_car = item(photo(plate(0.24), car))
    (reason,) = on_car.misses
    assert reason.text == "a vehicle without a plate; a candidate on it scores 0.24, the threshold is 0.25"
    assert reason.region == plate(0.24).id
    assert max(r.p for r in alone.misses if "candidate" in r.text) < reason.p


def test_what_is_hidden_is_no_longer_suspected():
    assert item(photo(face(0.9, x=110), PERSON)).misses == ()
    assert item(photo(plate(0.9), CAR)).misses == ()
    # the same face found again, weaker and shifted: covered
    assert item(photo(face(0.9), face(0.4, x=115))).misses == ()
    accepted = photo(face(0.01, status="accepted", x=110), PERSON)
    assert item(accepted).misses == ()


def test_a_decision_settles_a_place():
    assert item(photo(face(0.4))).misses
    assert item(photo(face(0.4, status="rejected"))).misses == ()
    assert item(photo(face(0.4, status="rejected"), face(0.3, x=110))).misses == ()


def test_one_thing_found_many_times_counts_once():
    once = item(photo(face(0.4))).risk
    assert item(photo(face(0.4), face(0.3, x=105), face(0.2, x=95), face(0.1, y=105))).risk == pytest.approx(once)
    assert item(photo(face(0.4), face(0.4, x=600))).risk == pytest.approx(1 - (1 - once) ** 2)


def test_a_neighbor_frame_that_has_one():
    frames = [
        photo(plate(0.9), path="ride/f_007.jpg"),
        photo(path="ride/f_008.jpg"),
        photo(plate(0.9), path="ride/f_009.jpg"),
    ]
    by_path = {i.path: i for i in rank(frames, SETTINGS)}
    assert by_path["ride/f_008.jpg"].reasons == [
        f"plate in a neighbor frame, {100 * risk.BESIDE[1]:.0f} %: both neighbor frames have a plate here"
    ]
    assert by_path["ride/f_007.jpg"].risk == 0
    only_before = {i.path: i for i in rank(frames[:2], SETTINGS)}
    assert only_before["ride/f_008.jpg"].reasons == [
        f"plate in a neighbor frame, {100 * risk.BESIDE[0]:.0f} %: a neighbor frame has a plate here"
    ]
    rejected = photo(plate(0.9, status="rejected"), path="ride/f_008.jpg")
    assert rank([frames[0], rejected], SETTINGS)[0].risk == 0
    seen = photo(plate(0.1), path="ride/f_008.jpg")
    (reason,) = {i.path: i for i in rank([frames[0], seen], SETTINGS)}["ride/f_008.jpg"].misses
    assert reason.p == pytest.approx(risk.BESIDE[0])


def test_which_frames_are_neighbors():
    near = sequences(["a/1.jpg", "a/2.jpg", "a/9.jpg", "b/2.jpg", "a/3.png", "noon.jpg", "a/" + "9" * 40 + ".jpg"])
    assert near == {"a/1.jpg": ["a/2.jpg"], "a/2.jpg": ["a/1.jpg"]}


def test_photos_with_an_error_come_last_and_never_as_pending():
    broken = photo(path="b.jpg", error="truncated")
    items = rank([broken, photo()], SETTINGS)
    assert [(i.path, i.status) for i in items] == [("a.jpg", "pending"), ("b.jpg", "error")]


def test_many_tiny_chances_add_up_exactly():
    assert str(risk.at_least_one([])) == "0.0"  # shown as it is: not -0.0
    assert risk.at_least_one([1.0, 0.5]) == pytest.approx(1)
    assert risk.at_least_one([1e-9] * 1000) == pytest.approx(1e-6)


def test_the_probabilities_grow_with_the_score():
    scores = np.linspace(0.001, 0.999, 200)
    for kind, weights in risk.CANDIDATE.items():
        features = np.stack([np.ones(200), risk.logit(scores), *np.zeros((3, 200)), risk.logit(scores)], axis=1)
        chances = risk.probability(weights, features)
        assert (np.diff(chances) > 0).all(), kind
        assert chances[0] < 0.01


def test_a_plate_that_a_network_was_sure_of_is_suspected_where_no_vehicle_carries_it():
    """A plate on a trailer, say, which is no vehicle to the networks: doubted for that, and likelier than its score."""
    chances = [
        risk.misses(photo(plate(0.006).replace(detector_scores={"net": vote})), SETTINGS)[0].p
        for vote in (0.9, 0.3, 0.006)
    ]
    assert chances == sorted(chances, reverse=True)
    assert chances[0] > 5 * chances[2]


@pytest.fixture
def store(tmp_path: Path) -> ReviewStore:
    known = [photo(face(s), path=f"p{n}.jpg") for n, s in enumerate((0.1, 0.4, 0.2, 0.3))]
    records.write(tmp_path / "r.jsonl", Header("/p", SETTINGS), known)
    return ReviewStore(tmp_path / "r.jsonl")


def test_two_reviewers_get_different_photos(store: ReviewStore):
    queue = Queue(store)
    ana, bob = queue.next("ana"), queue.next("bob")
    assert ana is not None
    assert bob is not None
    assert (ana.path, bob.path) == ("p1.jpg", "p3.jpg")
    again = queue.next("ana")  # asking again without a decision: hers is free again, and still the riskiest
    assert again is not None
    assert again.path == "p1.jpg"
    skipped = queue.next("ana", after="p1.jpg")
    assert skipped is not None
    assert skipped.path == "p2.jpg"


def test_jump_to_the_next_unreviewed_until_none_is_left(store: ReviewStore):
    queue = Queue(store)
    seen = []
    while found := queue.next("ana"):
        seen.append(found.path)
        store.decide(found.path, "approve", who="ana", expected=found.regions_hash)
    assert seen == ["p1.jpg", "p3.jpg", "p2.jpg", "p0.jpg"]
    progress = queue.progress()
    assert (progress.approved, progress.pending) == (4, 0)
    assert str(progress) == "4 of 4 approved, 0 pending"


def test_progress_tells_the_time_that_is_left(store: ReviewStore, monkeypatch: pytest.MonkeyPatch):
    many = [photo(path=f"q{n}.jpg") for n in range(20)]
    records.write(store.path, store.header, many)
    queue = Queue(store)
    assert queue.progress().seconds_left is None
    from anonymize import corrections

    for n in range(5):
        record = store[f"q{n}.jpg"]
        when = f"2026-11-21T10:00:{n * 10:02}+00:00"
        after = corrections.decide(record, "approve", who="ana", settings=store.settings, when=when)
        with records.Writer(store.path, store.header) as writer:
            writer.write(after)
    assert queue.progress().seconds_left == pytest.approx(150)
    assert "about 2 min left" in str(queue.progress())


def test_only_what_changed_is_computed_again(store: ReviewStore, monkeypatch: pytest.MonkeyPatch):
    queue = Queue(store)
    queue.items()
    read: list[str] = []
    plain = queue_index.see
    monkeypatch.setattr(queue_index, "see", lambda record, of: (read.append(record.path), plain(record, of))[1])
    queue.items()
    assert read == []
    ReviewStore(store.path).decide("p2.jpg", "flag", who="bob")
    assert {i.path: i.status for i in queue.items()}["p2.jpg"] == "flagged"
    assert read == ["p2.jpg"]


def test_the_gain_of_perfect_random_and_worst_order():
    leaks = {f"{n}": n < 5 for n in range(20)}
    perfect = sorted(leaks, key=lambda p: not leaks[p])
    assert review_queue.gain(perfect, leaks) == pytest.approx(1)
    assert review_queue.gain(perfect[::-1], leaks) == pytest.approx(-1)
    rng = np.random.default_rng(0)
    shuffled = [review_queue.gain(list(rng.permutation(perfect)), leaks) for _ in range(2000)]
    assert np.mean(shuffled) == pytest.approx(0, abs=0.03)


@pytest.fixture
def annotated(tmp_path: Path) -> tuple[Path, dict[str, Record]]:
    """40 photos with a plate and a face each, which the faint candidates in half of them are; and annotations."""
    folder = tmp_path / "images"
    folder.mkdir()
    annotations = {"images": [], "annotations": []}
    annotations["categories"] = [{"id": 1, "name": "face"}, {"id": 2, "name": "plate"}]
    known = {}
    rng = np.random.default_rng(0)
    for n in range(40):
        name = f"{'abcdefgh'[n % 8]}{'abcdefgh'[n // 8]}.jpg"
        Image.new("RGB", (1000, 800)).save(folder / name)
        annotations["images"].append({"id": n, "file_name": name, "width": 1000, "height": 800})
        for of, box in ((1, [100, 100, 60, 60]), (2, [500, 500, 100, 30])):
            one = {"id": 2 * n + of, "image_id": n, "category_id": of, "bbox": box, "area": 1, "iscrowd": 0}
            annotations["annotations"].append(one)
        lost = n % 2 == 0
        found = (
            face(0.2 if lost else 0.9),
            plate(0.2 if lost else 0.9),
            plate(float(rng.uniform(0.01, 0.2)), x=5, y=5),
        )
        known[name] = photo(*found, CAR, PERSON, path=name)
    (tmp_path / "truth.json").write_text(json.dumps(annotations))
    return tmp_path, known


def test_a_row_of_the_measure_and_its_plot(annotated: tuple[Path, dict[str, Record]]):
    home, known = annotated
    header = Header(str(home / "images"), SETTINGS)
    row = review_queue.gains(header, known, home / "truth.json")
    assert (row["photos"], row["leaking"]) == (40, 20)
    assert row["gain"]["the review's queue"] == pytest.approx(1)
    assert row["interval"] == (pytest.approx(1), pytest.approx(1))
    lower = review_queue.gains(review_queue.moved(header, 0.4), known, home / "truth.json")
    assert (lower["leaking"], lower["thresholds"]) == (0, {"face": 0.2, "plate": 0.1})
    review_queue.plot(home / "plot.png", {"balanced": row, "fast": row})
    assert Image.open(home / "plot.png").width > 1000


def test_a_fit_is_reproducible_and_is_what_risk_reads(
    annotated: tuple[Path, dict[str, Record]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    home, known = annotated
    for source in ("streets", "rides"):
        (home / "data" / source).mkdir(parents=True)
        shutil.copytree(home / "images", home / "data" / source / "images")
        shutil.copy(home / "truth.json", home / "data" / source / "annotations.json")

    def detected(target: Path, paths: list[Path], settings: Settings) -> tuple[Header, dict[str, Record]]:
        return Header(str(home / "data" / target.stem / "images"), SETTINGS), {p.name: known[p.name] for p in paths}

    monkeypatch.setattr(review_queue, "detected", detected)
    before, written = (risk.CANDIDATE, risk.EMPTY), []
    for output in ("one.json", "two.json"):
        review_queue.main(["fit", str(home / "data"), "--work", str(home), "--output", str(home / output)])
        written.append((home / output).read_text())
    assert written[0] == written[1]
    assert before == (risk.CANDIDATE, risk.EMPTY)
    fitted = json.loads(written[0])
    assert set(fitted) == set(json.loads(Path(risk.__file__).with_suffix(".json").read_text()))
    assert fitted["photos"] == {"rides": 40, "streets": 40}
    assert fitted["candidate"]["plate"][1] > 0  # a higher score is likelier real
    assert fitted["beside"] == list(risk.BESIDE)  # no frames here: as they were
    assert {len(v) for v in fitted["empty"].values()} == {4}
    printed = capsys.readouterr().out
    assert printed.count("fitted on others: gain 1.00") == 4  # two sources, twice
    assert "of 40 are told to leak, 20 do" in printed


def test_a_queue_says_what_would_make_its_order_better(tmp_path: Path):
    path = tmp_path / "r.jsonl"
    bare, with_car = [photo(face(0.3))], [photo(face(0.3)), photo(CAR, path="b.jpg")]
    own, thorough = SETTINGS.replace(plate_detector="yolo:mine.onnx"), SETTINGS.with_preset("thorough")
    for settings, found, told in (
        (SETTINGS, with_car, "preset Thorough"),
        (SETTINGS.with_preset("fast"), bare, "preset Thorough"),
        (own, bare, "--detector coco"),
        (own, with_car, ""),
        (thorough, with_car, ""),
    ):
        records.write(path, Header("/p", settings), found)
        note = Queue(ReviewStore(path)).note
        assert (told in note, bool(note)) == (True, bool(told))


def test_the_page_calls_a_photo_suspicious_by_the_queues_risk():
    words = set()
    for record in (photo(face(0.9)), photo(face(0.9), face(0.4, x=300)), photo(face(0.9), PERSON)):
        word, found = judge(record, SETTINGS)
        assert found == item(record).risk
        assert (word == "worth a look") == (found >= risk.SUSPICIOUS), record
        words.add(word)
    assert words == {"worth a look", "nothing suspicious"}
