"""One photo on the page: detect once, filter and correct, show what the file will look like, write what was shown."""

import dataclasses
import re
import threading
import time

import numpy as np
import pytest
from PIL import Image

from anonymize.corrections import find, flag, parse
from anonymize.detectors import FakeDetector
from anonymize.effects import warn_reversible
from anonymize.errors import AnonymizeError, ChangedSourceError, DetectionError, SettingsError, UnreadableImageError
from anonymize.regions import Region
from anonymize.risk import Reason
from anonymize.settings import Settings
from anonymize.web.detector_pool import DetectorPool, Gated, Turns
from anonymize.web.file_names import clean_name
from anonymize.web.photo_session import DISPLAY, KEPT, Display, small_settings
from anonymize.web.photo_view import possible, regions, rows, summary, view, weakness_text, why
from anonymize.web.policy import Policy
from anonymize.web.results import PLACES, count_text
from anonymize.web.sessions import GoneError, Sessions, new_secret
from tests.support.web_site import DOUBTFUL, FACE, PLATE, FindsSigns, photo, several_pictures

SOLID = Settings().with_kind(
    "face", threshold=0.5, effect="solid", fill="ff00ff", mask="rectangle", padding=0.0, kernel="0,0,0"
)


class Counting(FakeDetector):
    calls = 0

    def detect(self, images):
        self.calls += 1
        return super().detect(images)


@pytest.fixture
def detector():
    return Counting([FACE, DOUBTFUL, PLATE])


@pytest.fixture
def session(tmp_path):
    return Sessions(tmp_path / "sessions", Policy()).of(new_secret())


@pytest.fixture
def opened(session, detector):
    path = photo(session.make_folder() / "photo.png", gps=True)
    return DetectorPool(detectors=[detector]).open(session, path, "street.png", SOLID, "ana")


def test_what_a_run_warns_of_stands_beside_the_photo(session, opened):
    path = several_pictures(session.make_folder() / "scan.tif")
    scan = DetectorPool(detectors=[FindsSigns()]).open(session, path, "scan.tif", SOLID, "ana")
    text = summary(scan)
    assert "only the first is written" in text
    assert "Found, and not hidden: 1 sign." in text
    assert "not hidden: 1" not in summary(opened)


def test_a_large_photo_has_one_time_limit_not_one_a_window(session):
    class Slow(FakeDetector):
        looks = 0

        def detect(self, images):
            self.looks += 1
            time.sleep(0.4)
            return super().detect(images)

    path = photo(session.make_folder() / "wide.png", size=(24_000, 100))
    slow = Slow([FACE])
    pool = DetectorPool(Settings(max_seconds=1.0), detectors=[slow])
    with pytest.raises(DetectionError, match=r"fake took longer than 1 s for this photo"):
        pool.open(session, path, "wide.png", pool.defaults, "ana")
    assert slow.looks < 6  # of more windows


def test_sliders_never_detect_again(opened, detector):
    for threshold in (0.001, 0.1, 0.5, 1.0):
        opened.show(SOLID.with_kind("face", threshold=threshold))
    assert detector.calls == 1


def test_what_looks_the_same_is_not_rendered_again(opened):
    first = opened.show(SOLID)
    assert opened.show(SOLID.with_kind("face", threshold=0.7)) is first  # the same regions are hidden
    version = opened.version
    changed = opened.show(SOLID.with_kind("face", threshold=0.1))
    assert changed != first
    assert opened.version == version + 1


def test_the_preview_is_the_file_at_full_size(opened, tmp_path):
    """A photo no larger than the display: what the page shows and what is written are the same pixels."""
    shown_pixels = np.asarray(Image.open(_bytes(opened.show(SOLID))))
    written = np.asarray(Image.open(opened.write()).convert("RGB"))
    difference = np.abs(shown_pixels.astype(int) - written)
    assert difference[38:72, 48:72].mean() < 3  # the page's picture is a JPEG, whose colors bleed at edges
    assert (written[30:80, 40:80] == (255, 0, 255)).all()


def _bytes(data):
    import io

    return io.BytesIO(data)


def test_a_large_photo_is_shown_small_and_hides_the_same_places():
    rng = np.random.default_rng(0)
    large = np.repeat(np.repeat(rng.integers(0, 256, (300, 400, 3), dtype=np.uint8), 10, 0), 10, 1)
    display = Display.of(large)
    assert max(display.pixels.shape) == DISPLAY
    assert display.factor == DISPLAY / 4000
    region = Region("face", (1000, 500, 1600, 1300), 0.9)
    after = np.asarray(Image.open(_bytes(display.after([region], SOLID))))
    inside = after[216:504, 416:624]  # the region, shrunk, without its edges, over which a JPEG's colors bleed
    assert np.abs(inside.astype(int) - (255, 0, 255)).mean() < 2
    before = np.asarray(Image.open(_bytes(display.before))).astype(int)
    assert np.abs(after[:150].astype(int) - before[:150]).mean() < 1


def test_kernels_shrink_with_the_picture_and_stay_odd():
    settings = Settings().with_kind("face", kernel="101,9,20")
    kernel = small_settings(settings, 0.25).kinds["face"].kernel
    assert (kernel.size, kernel.sigma, kernel.feather) == (25, 2.25, 5)
    assert small_settings(settings, 1.0) is settings
    for size in range(1, 60, 2):
        assert small_settings(settings.with_kind("face", kernel=f"{size},0,0"), 0.3).kinds["face"].kernel.size % 2 == 1


def send(opened, data):
    what, given = parse(data)
    opened.correct(what, **given)


def draw(opened, kind, box):
    opened.correct("add", kind=kind, box=box)
    return opened.record.regions[0]


def test_corrections_survive_sliders_and_undo(opened):
    drawn = draw(opened, "plate", (10, 10, 30, 20))
    opened.correct("reject", id=FACE.id)
    opened.correct("accept", id=DOUBTFUL.id)
    for threshold in (1.0, 0.001):
        opened.show(SOLID.with_kind("face", threshold=threshold).with_kind("plate", threshold=threshold))
        assert {drawn.id, DOUBTFUL.id} <= {r.id for r in opened.hidden}
        assert FACE.id not in {r.id for r in opened.hidden}
    for _ in range(3):
        assert opened.can_undo
        opened.correct("undo")
    assert not opened.can_undo
    opened.correct("undo")  # nothing happens
    assert [r.status for r in opened.record.regions] == ["auto"] * 3
    assert [d["who"] for d in opened.record.decisions] == ["ana"] * 6


def test_what_was_decided_before_the_page_was_opened_is_not_undone_on_it(session, detector):
    path = photo(session.make_folder() / "photo.png")
    pool = DetectorPool(detectors=[detector])
    record = pool.open(session, path, "a.png", SOLID, "ana").record
    flagged = flag(record, who="ana")
    again = pool.reopen(session, path, flagged, SOLID, "ana", lambda _: None)
    assert not again.can_undo
    again.correct("undo")
    assert again.record == flagged


def test_a_correction_that_cannot_be_kept_is_not_shown(opened):
    def full(_):
        raise SettingsError("The batch is being worked on.")

    opened.saved = full
    before = opened.record
    with pytest.raises(SettingsError):
        opened.correct("add", kind="plate", box=(10, 10, 30, 20))
    assert opened.record == before
    assert not opened.can_undo


@pytest.mark.parametrize(
    "data", [{}, {"what": "fly"}, {"what": "add", "box": [1, 2, 3]}, {"what": "add", "box": "abcd"}, {"what": "move"}]
)
def test_corrections_that_make_no_sense_change_nothing(opened, data):
    before = opened.record
    with pytest.raises(AnonymizeError):
        send(opened, data)
    assert opened.record == before


def test_other_kinds_can_be_drawn(opened):
    send(opened, {"what": "add", "kind": "<script>", "box": [1, 1, 20, 20]})
    assert [r.kind for r in opened.record.regions if r.status == "manual"] == ["other"]
    assert opened.record.count_hidden(opened.settings)["other"] == 1


def test_written_once_for_the_same_choice_and_anew_for_another(opened):
    first = opened.write()
    stamp = first.stat().st_mtime_ns
    assert opened.write() == first
    assert first.stat().st_mtime_ns == stamp
    opened.correct("reject", id=FACE.id)
    second = opened.write()
    assert second != first
    pixels = [np.asarray(Image.open(p).convert("RGB"))[30:80, 40:80] for p in (first, second)]
    assert (pixels[0] == (255, 0, 255)).all()
    assert not (pixels[1] == (255, 0, 255)).all()


def test_a_source_that_changed_is_not_written(opened):
    photo(opened.path, seed=5)
    with pytest.raises(ChangedSourceError):
        opened.write()


def test_a_failed_detection_opens_nothing(session):
    class Broken:
        name, weights = "broken", {}

        def detect(self, images):
            raise MemoryError

    path = photo(session.make_folder() / "photo.png")
    with pytest.raises(DetectionError):
        DetectorPool(detectors=[Broken()]).open(session, path, "a.png", SOLID, "ana")
    path.write_bytes(b"no photo")
    with pytest.raises(UnreadableImageError):
        DetectorPool(detectors=[FakeDetector()]).open(session, path, "a.png", SOLID, "ana")
    assert not session.things


def test_looking_again_keeps_decisions(opened, detector):
    pool = DetectorPool(detectors=[detector])
    opened.correct("reject", id=FACE.id)
    drawn = draw(opened, "face", (150, 100, 180, 140))
    pool.look_again(opened, SOLID)  # the same detectors: nothing to do
    assert detector.calls == 1
    pool.look_again(opened, SOLID.replace(iou_threshold=0.3))
    assert detector.calls == 2
    assert find(opened.record, FACE.id).status == "rejected"
    assert find(opened.record, drawn.id).status == "manual"
    assert len(opened.record.regions) == 4


def test_other_detectors_look_though_a_slider_told_of_them_first(opened, detector):
    """The slider's event is quick, the detectors' waits for its turn: it must not find its work done."""
    pool, other = DetectorPool(detectors=[detector]), SOLID.replace(iou_threshold=0.3)
    opened.show(other)
    pool.look_again(opened, other)
    assert detector.calls == 2


def test_detectors_that_are_in_use_stay_loaded_whatever_one_visitor_tries(monkeypatch):
    made = []

    def create(name, settings, **_):
        made.append((name, settings.iou_threshold))
        return FakeDetector([FACE])

    monkeypatch.setattr("anonymize.web.detector_pool.create", create)
    pool = DetectorPool()
    for step in range(20):
        pool.predictor(Settings())
        pool.predictor(Settings(iou_threshold=0.5 + step / 100))
    assert len(made) == 21  # each once, the default's too: one spec stands for both kinds
    assert len(pool._loaded) == 12


def test_no_detector_at_all_is_refused():
    with pytest.raises(SettingsError, match="at least one detector"):
        DetectorPool().predictor(Settings(face_detector="none", plate_detector="none"))


def test_a_shared_detector_takes_turns_in_order():
    running, order = [], []

    class Slow:
        name, weights = "slow", {}

        def detect(self, images):
            running.append(1)
            assert len(running) == 1
            order.append(images[0])
            threading.Event().wait(0.02)
            running.pop()
            return [[]]

    gated = Gated(Slow(), 60)
    threads = []
    for i in range(6):
        threads.append(threading.Thread(target=gated.detect, args=([i],)))
        threads[-1].start()
        threading.Event().wait(0.005)
    for t in threads:
        t.join()
    assert order == list(range(6))


def test_what_the_page_says(opened):
    assert count_text({"face": 1}) == "1 face and no license plates"
    assert count_text({"face": 2, "plate": 1, "other": 3}) == "2 faces, 1 license plate and 3 more"
    assert why(FACE, SOLID) == "Found, score 0.90. Hidden from 0.5."
    assert why(DOUBTFUL, SOLID, Reason(0.62, "", "face")) == "Possible face, 62 %. Score 0.19. Hidden from 0.5."
    assert why(FACE, SOLID, Reason(0.7, "", "face")).endswith("Hidden from 0.5. Likely not a face, 70 %.")
    sizes = dataclasses.replace(SOLID.kinds["face"], max_size=10)
    assert "outside the chosen range" in why(FACE, SOLID.replace(kinds={"face": sizes}))
    html = summary(opened)
    assert "1 face and 1 license plate" in html
    assert "GPS position" in html
    assert f'"photos/{opened.id}/clean' in html
    assert len(rows(opened)) == len(view(opened)["regions"]) == len(regions(opened)) == 3
    assert "<script>" not in summary(dataclasses.replace(opened, removed=("<script>",)))


def test_a_page_downloads_what_it_shows_whatever_another_page_changed(opened):
    opened.show(SOLID)
    shown = view(opened)["shows"]
    assert f"/clean?shows={shown}" in summary(opened)
    first = opened.write(shown).read_bytes()
    opened.show(SOLID.with_kind("face", threshold=0.1))
    assert view(opened)["shows"] != shown
    assert opened.write().read_bytes() != first
    assert opened.write(shown).read_bytes() == first
    assert len(opened.report(shown)["regions"]) == len(opened.report()["regions"]) - 1
    with pytest.raises(GoneError, match="reload"):
        opened.write("0" * 32)


def test_what_is_possible_is_counted_and_can_be_shown(opened):
    """By the review's rule: the picture shows just what the card counts."""
    assert [r.box for r in possible(opened)] == [DOUBTFUL.box]
    assert "1 possible face not hidden: <button" in summary(opened)
    opened.show(SOLID.with_kind("face", threshold=0.1))
    assert possible(opened) == []
    assert "possible" not in summary(opened)


def test_sliders_are_told_what_each_of_their_places_hides(opened):
    counts = view(opened)["counts"]
    assert (len(counts["face"]), counts["face"][0], counts["face"][-1]) == (201, 2, 0)
    at = {PLACES[i]: n for i, n in enumerate(counts["face"])}
    for threshold, hidden in at.items():
        shown = opened.settings.with_kind("face", threshold=threshold)
        assert hidden == sum(r.kind == "face" for r in opened.record.hidden(shown)), threshold


def test_what_counts_for_a_photo_of_a_batch_is_said(opened):
    assert "batch" not in summary(opened)
    opened.saved = lambda _: None
    assert "Sliders and effects count only here" in summary(opened)


def test_settings_that_look_reversible_are_warned_of_in_the_pages_words(opened):
    opened.settings = Settings()
    assert "az-warn" not in summary(opened)
    opened.settings = Settings(allow_weak=True).with_kind("face", effect="blur")
    html = summary(opened)
    assert '<details class="az-warn" open><summary>What is hidden may be recovered' in html
    assert "Faces: a Gaussian blur" in html
    assert "“Blur without the mosaic”" in html
    for worst in (
        Settings(allow_weak=True).with_kind("face", effect="blur", mosaic_blocks=40),
        Settings().with_kind("plate", effect="pixelate"),
        Settings().with_kind("plate", padding=0.0).with_kind("face", padding=0.0),
    ):
        for warning in warn_reversible(worst):
            said = weakness_text(warning)
            assert not re.search(r"allow_weak|padding to|mosaic blocks|^(face|plate):", said)


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("IMG_1.JPG", "IMG_1-anonymized.jpg"),
        ("../x", "x-anonymized.jpg"),
        ("a/b\\c.png", "c-anonymized.jpg"),
        ("Gru\u0308\u00dfe \u2013 1.png", "Gru\u0308\u00dfe \u2013 1-anonymized.jpg"),
        ("...", "photo-anonymized.jpg"),
        ('"a"\r\n.jpg', "_a___-anonymized.jpg"),
    ],
)
def test_names_of_downloads(name, clean):
    assert clean_name(name, ".JPG") == clean


def test_clean_files_of_many_settings_do_not_pile_up(opened):
    for padding in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5):
        opened.settings = SOLID.replace(
            kinds={n: dataclasses.replace(k, padding=padding) for n, k in SOLID.kinds.items()}
        )
        last = opened.write()
    kept = list((opened.folder / "out").iterdir())
    assert len(kept) == KEPT
    assert last.parent in kept


def test_turns_are_taken_in_order_so_many_at_once():
    turns, inside, most, order, guard = Turns(2), [0], [0], [], threading.Lock()

    def take(number):
        with turns:
            with guard:
                order.append(number)
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            threading.Event().wait(0.02)
            with guard:
                inside[0] -= 1

    threads = []
    for i in range(8):
        threads.append(threading.Thread(target=take, args=(i,)))
        threads[-1].start()
        threading.Event().wait(0.005)
    for t in threads:
        t.join()
    assert most == [2]
    assert all(abs(place - number) <= 1 for place, number in enumerate(order))
