"""Photos seconds apart: what is hidden in one is hidden in the next."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from anonymize import Settings, images
from anonymize.records import Header, Record, read, write
from anonymize.regions import Region
from anonymize.sequence import Followed, follow_file, raise_scores, series


def photo(path: str, *regions: Region) -> Record:
    return Record(path, "a" * 64, 640, 480, regions, detectors={"fake": {}}, detection="hash")


def plate(x: float, score: float, y: float = 100, width: float = 40) -> Region:
    return Region("plate", (x, y, x + width, y + width / 4), score)


def scores(photos: list[Record]) -> list[list[float]]:
    return [[r.score for r in p.regions] for p in photos]


def test_a_faint_candidate_beside_a_sure_one_is_hidden_too() -> None:
    photos = raise_scores([photo("1", plate(100, 0.03)), photo("2", plate(110, 0.9)), photo("3", plate(125, 0.02))])
    assert scores(photos) == [[0.9], [0.9], [0.9]]
    assert all(p.hidden(Settings()) for p in photos)


def test_it_goes_from_photo_to_photo_in_both_directions() -> None:
    row = [photo(str(n), plate(100 + 20 * n, 0.9 if n == 3 else 0.02)) for n in range(7)]
    assert scores(raise_scores(row)) == [[0.9]] * 7
    row[4] = photo("4")
    assert scores(raise_scores(row)) == [[0.9]] * 4 + [[], [0.02], [0.02]]


def test_what_is_taken_over_is_handed_on_in_the_same_photo() -> None:
    first, second = photo("1", plate(100, 0.5)), photo("2", plate(115, 0.9), plate(85, 0.1))
    after = raise_scores([first, second])
    assert scores(after) == [[0.9], [0.9, 0.9]]
    assert raise_scores(after) == after


def test_what_lies_elsewhere_or_is_of_another_size_or_kind_stays() -> None:
    sure = photo("2", plate(100, 0.9))
    for other in (
        plate(140, 0.03), plate(100, 0.03, y=120), plate(95, 0.03, width=65), plate(100, 0.009),
        Region("face", (100, 100, 140, 110), 0.03),
    ):  # fmt: skip
        assert raise_scores([photo("1", other), sure])[0] == photo("1", other)


def test_what_people_decided_stays_and_counts() -> None:
    drawn = plate(100, 1.0).replace(status="manual")
    rejected = plate(100, 0.9).replace(status="rejected")
    accepted = plate(100, 0.03).replace(status="accepted")
    faint = photo("1", plate(102, 0.05))
    assert scores(raise_scores([faint, photo("2", drawn)])) == [[1.0], [1.0]]
    assert scores(raise_scores([faint, photo("2", accepted)])) == [[1.0], [0.03]]
    assert scores(raise_scores([faint, photo("2", rejected)])) == [[0.05], [0.9]]
    assert raise_scores([photo("1", rejected), photo("2", drawn)])[0] == photo("1", rejected)


def test_series_are_of_one_folder_and_shape_by_time_or_name() -> None:
    known = [photo(p) for p in ("a/9.jpg", "a/10.jpg", "b/1.jpg", "a/x.jpg")]
    known[3] = known[3].replace(width=100)
    assert [[r.path for r in s] for s in series(known, {})] == [["a/9.jpg", "a/10.jpg"], ["b/1.jpg"], ["a/x.jpg"]]
    times = {"a/9.jpg": 5.0, "a/10.jpg": 3.0}
    assert [r.path for r in series(known, times)[0]] == ["a/10.jpg", "a/9.jpg"]
    assert len(series(known, {"a/9.jpg": 50.0, "a/10.jpg": 3.0})) == 4
    assert [r.path for r in series(known, {"a/10.jpg": 3.0})[0]] == ["a/9.jpg", "a/10.jpg"]
    assert series([photo("a/1.jpg").replace(error="broken")], {}) == []


regions = st.builds(
    lambda x, y, w, score: plate(x, score, y, w), st.floats(0, 80), st.floats(0, 40), st.floats(10, 50), st.floats(0, 1)
)
rows = st.lists(st.lists(regions, max_size=3, unique_by=lambda r: r.id).map(tuple), min_size=1, max_size=5)


@given(rows)
def test_nothing_is_hidden_less_and_doing_it_again_changes_nothing(row: list[tuple[Region, ...]]) -> None:
    photos = [photo(str(n), *found) for n, found in enumerate(row)]
    after = raise_scores(photos)
    for p, a in zip(photos, after, strict=True):
        own = {r.id: r.score for r in a.regions}
        assert own.keys() == {r.id for r in p.regions}
        assert all(own[r.id] >= r.score for r in p.regions)
    assert raise_scores(after) == after


def test_a_records_file_is_followed_by_the_times_of_its_photos(tmp_path: Path) -> None:
    for name, second in (("a.png", "05"), ("b.jpg", "00"), ("c.jpg", "59")):
        picture = Image.new("RGB", (64, 48))
        exif = Image.Exif()
        exif[0x0132] = "2026:05:05 05:05:05"  # when it was last written
        exif.get_ifd(0x8769)[0x9003] = f"2026:01:02 03:04:{second}"
        exif.get_ifd(0x8769)[0x9291] = "25"
        picture.save(tmp_path / name, exif=exif)
    assert (images.taken(tmp_path / "a.png") or 0) - (images.taken(tmp_path / "b.jpg") or 0) == 5.0
    assert (images.taken(tmp_path / "a.png") or 0) % 1 == 0.25
    assert images.taken(tmp_path / "no.jpg") is None
    known = [photo("a.png", plate(10, 0.9)), photo("b.jpg", plate(12, 0.02)), photo("c.jpg", plate(12, 0.02))]
    path = tmp_path / "records.jsonl"
    write(path, Header(str(tmp_path)), known)
    assert follow_file(path) == Followed(1, 1)
    assert scores(list(read(path)[1].values())) == [[0.9], [0.9], [0.02]]  # c is most of a minute later
    assert follow_file(path) == Followed(0, 0)
