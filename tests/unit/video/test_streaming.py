import threading
import time

import av
import numpy as np
import pytest
from PIL import Image

from anonymize.errors import ClipError, DetectionError, PathError, SettingsError, WriteError
from anonymize.predictor import Predictor
from anonymize.settings import Settings
from anonymize.video import stream_sources, streaming
from anonymize.video.stream_sinks import Files, MjpegServer, sink_of
from anonymize.video.stream_sources import Arrived, Camera, Folder, source_of
from tests.support import clips


class Drawn:
    """Drawn frames as a camera sends them; breaks after each number of `breaks`."""

    rate = 25.0

    def __init__(self, count, *, is_live=False, breaks=()):
        self.is_live, self._count, self._breaks, self._next = is_live, count, set(breaks), 0

    def frames(self, stop):
        while self._next < self._count:
            index, self._next = self._next, self._next + 1
            yield Arrived(av.VideoFrame.from_ndarray(clips.picture(index % 30), "rgb24").reformat(format="yuv420p"))
            if index in self._breaks:
                raise ClipError("the cable was pulled")
        stop.set()


class Kept:
    def __init__(self):
        self.frames, self.times, self.closed = [], [], False

    def write(self, native, milliseconds, name):
        self.frames.append(native.to_ndarray(format="rgb24"))
        self.times.append(milliseconds)

    def close(self):
        self.closed = True


def run(source, detector=None, **given):
    sink = Kept()
    told = streaming.run(source, sink, Predictor(Settings(), detectors=[detector or clips.BarDetector()]), **given)
    assert sink.closed
    assert told.written == len(sink.frames)
    assert not any(clips.bar(f) for f in sink.frames)
    return told, sink


@pytest.mark.parametrize("delay", [0.0, 0.4, 100.0])
def test_every_frame_comes_out_hidden_and_in_order(delay):
    told, sink = run(Drawn(20), delay=delay)
    assert (told.written, told.dropped, told.failed, told.waiting) == (20, 0, 0, 0)
    assert sink.times == sorted(sink.times)
    assert told.hidden["plate"] == 20


def test_no_frame_waits_longer_than_the_delay():
    class Slow(Drawn):
        def frames(self, stop):
            yield from super().frames(threading.Event())
            sink_had.wait(20)
            stop.set()

    sink_had = threading.Event()

    class Waiting(Kept):
        def write(self, *given):
            super().write(*given)
            if len(self.frames) == 3:
                sink_had.set()

    sink = Waiting()
    streaming.run(Slow(3), sink, Predictor(Settings(), detectors=[clips.BarDetector()]), delay=0.3)
    assert sink_had.is_set()  # three frames, of 25 a second; the source is silent after them


def test_frames_that_cannot_be_searched_in_time_are_dropped_whole_and_counted():
    class Slow(clips.BarDetector):
        def detect(self, images):
            time.sleep(0.02)
            return super().detect(images)

    told, _ = run(Drawn(60, is_live=True), Slow(), delay=0.0)
    assert told.dropped > 0
    assert told.written + told.dropped + told.failed == 60


def test_no_result_no_frame():
    class Failing(clips.BarDetector):
        def detect(self, images):
            if 6 <= self.seen < 9:
                self.seen += 1
                raise RuntimeError("out of order")
            return super().detect(images)

    told, _ = run(Drawn(20), Failing(), delay=0.0)
    assert (told.written, told.failed) == (17, 3)
    told, _ = run(Drawn(20), Failing(), delay=0.4)
    assert told.failed >= 3
    assert told.written + told.failed == 20


def test_a_detector_that_always_fails_ends_the_stream():
    class Failing(clips.BarDetector):
        def detect(self, images):
            raise RuntimeError("out of order")

    with pytest.raises(DetectionError, match="one after the other"):
        run(Drawn(100), Failing(), delay=0.0)


def test_a_source_that_breaks_is_opened_again(monkeypatch):
    monkeypatch.setattr(streaming, "wait", lambda stop, tries: None)
    source = Drawn(12, is_live=True, breaks=[3, 7])
    told, _ = run(source, delay=0.0)
    assert told.reconnects == 2
    assert told.written + told.dropped == 12


def test_photos_that_fill_a_folder_come_out_under_their_names(tmp_path):
    (tmp_path / "in").mkdir()
    stop = threading.Event()

    def fill():
        for i in range(4):
            Image.fromarray(clips.picture(i)).save(tmp_path / "in" / f"{i}.png")
        (tmp_path / "in" / "5.png").write_bytes(b"broken")
        while len(list((tmp_path / "out").glob("*.jpg"))) < 4:
            time.sleep(0.02)
        stop.set()

    thread = threading.Thread(target=fill)
    thread.start()
    predictor = Predictor(Settings(), detectors=[clips.BarDetector()])
    told = streaming.run(str(tmp_path / "in"), str(tmp_path / "out"), predictor, delay=0.1, stop=stop)
    thread.join()
    assert (told.written, told.failed) == (4, 1)
    assert sorted(p.name for p in (tmp_path / "out").glob("*.jpg")) == [f"{i}.png.jpg" for i in range(4)]
    for path in (tmp_path / "out").glob("*.jpg"):
        with Image.open(path) as photo:
            assert not clips.bar(np.asarray(photo))


def test_mjpeg_over_http_goes_out_and_comes_in():
    server = MjpegServer("http://127.0.0.1:0/", 10)
    stop, seen = threading.Event(), []

    def watch():
        for arrived in Camera(f"http://127.0.0.1:{server.port}/").frames(stop):
            seen.append(arrived.native.to_ndarray(format="rgb24"))
            if len(seen) == 3:
                stop.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    frame = av.VideoFrame.from_ndarray(clips.picture(2), "rgb24").reformat(format="yuv420p")
    while not stop.is_set():
        server.write(frame, 0, "")
        time.sleep(0.01)
    server.write(frame, 0, "")
    watcher.join()
    server.close()
    assert clips.bar(seen[0])[0] == pytest.approx(12, abs=2)


def test_a_stream_never_overwrites_the_photos_that_it_reads(tmp_path):
    Image.fromarray(clips.picture(0)).save(tmp_path / "a.jpg")
    before = (tmp_path / "a.jpg").read_bytes()
    predictor = Predictor(Settings(), detectors=[clips.BarDetector()])
    with pytest.raises(PathError, match="never overwritten"):
        streaming.run(str(tmp_path), f"{tmp_path}/.", predictor)
    assert (tmp_path / "a.jpg").read_bytes() == before


def test_two_photos_are_never_one_output(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "a.png.jpg"):
        Image.fromarray(clips.picture(0)).save(tmp_path / "in" / name)
    (tmp_path / "in" / "b.png").write_bytes(b"half of a photo")
    told = photos(tmp_path, lambda told: told.written + told.dropped + told.failed == 3)
    assert (told.written, told.dropped, told.failed) == (1, 1, 1)
    assert [p.name for p in (tmp_path / "out").glob("*.jpg")] == ["a.png.jpg"]


def test_a_photo_that_was_half_there_is_read_again_when_it_is_whole(tmp_path):
    (tmp_path / "in").mkdir()
    photo = tmp_path / "in" / "a.jpg"
    photo.write_bytes(b"half of a photo")

    def until(told):
        if told.failed and photo.stat().st_size < 100:
            Image.fromarray(clips.picture(0)).save(photo)
        return told.written == 1

    assert photos(tmp_path, until).failed == 1


def test_detectors_see_a_turned_stream_upright(tmp_path):
    """As a phone sends it: the pictures lie on their side, and say so."""
    clip = clips.make(tmp_path / "a.mp4", 4, size=(64, 96), matrix=(0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30))
    seen = []

    class Source:
        rate, is_live = 25.0, False

        def frames(self, stop):
            with av.open(str(clip)) as container:
                yield from (Arrived(frame) for frame in container.decode(video=0))
            stop.set()

    class Sized(clips.BarDetector):
        def detect(self, images):
            seen.extend(image.shape[:2] for image in images)
            return super().detect(images)

    told, sink = run(Source(), Sized(), delay=0.0)
    assert (told.written, set(seen)) == (4, {(64, 96)})
    assert {frame.shape[:2] for frame in sink.frames} == {(96, 64)}


def photos(tmp_path, until):
    """What a stream of the photos in `in` told when it was told to end."""
    stop, predictor = threading.Event(), Predictor(Settings(), detectors=[clips.BarDetector()])

    def progress(told):
        if until(told):
            stop.set()

    return streaming.run(
        str(tmp_path / "in"), str(tmp_path / "out"), predictor, delay=0.0, stop=stop, progress=progress
    )


@pytest.mark.parametrize("name", ["a.mkv", "a.ts"])
def test_a_file_that_is_there_stays_and_a_stream_goes_on_beside_it(tmp_path, name):
    (tmp_path / name).write_bytes(b"mine")
    sink = sink_of(str(tmp_path / name), rate=25, quality=20)
    for size in ((96, 64), (64, 96)):  # of another size no file can go on
        for i in range(4):
            picture = av.VideoFrame.from_ndarray(clips.picture(i, size), "rgb24").reformat(format="yuv420p")
            sink.write(picture, 40 * i, "")
    sink.close()
    assert (tmp_path / name).read_bytes() == b"mine"
    for number in (2, 3):
        with av.open(str(tmp_path / name.replace(".", f"-{number}."))) as container:
            assert sum(1 for _ in container.decode(video=0)) == 4


def test_numbered_frames_of_an_earlier_stream_stay(tmp_path):
    for _ in range(2):
        sink = sink_of(str(tmp_path / "out"), rate=25, quality=20)
        sink.write(av.VideoFrame.from_ndarray(clips.picture(0), "rgb24"), 0, "")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["00000001.jpg", "00000002.jpg"]


def test_a_photo_that_no_stream_wrote_stays(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "1.jpg").write_bytes(b"a stranger's")
    picture = av.VideoFrame.from_ndarray(clips.picture(0), "rgb24")
    for _ in range(2):  # what the first one wrote, the second one may replace
        sink = sink_of(str(out), rate=25, quality=20)
        with pytest.raises(WriteError, match="no stream wrote"):
            sink.write(picture, 0, "1.jpg")
        sink.write(picture, 40, "2.jpg")
        sink.close()
    assert (out / "1.jpg").read_bytes() == b"a stranger's"
    (out / "2.jpg").write_bytes(b"changed since")
    with pytest.raises(WriteError):
        sink_of(str(out), rate=25, quality=20).write(picture, 0, "2.jpg")
    assert (out / "2.jpg").read_bytes() == b"changed since"


@pytest.mark.parametrize("name", ["live.m3u8", "live.ts", "live.mkv"])
def test_encoded_sinks_can_be_played(tmp_path, name):
    sink = sink_of(str(tmp_path / name), rate=25, quality=20)
    for i in range(8):
        sink.write(av.VideoFrame.from_ndarray(clips.picture(i), "rgb24").reformat(format="yuv420p"), 40 * i, "")
    sink.close()
    with av.open(str(tmp_path / name)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 8


@pytest.mark.parametrize("text", ["nowhere", "file:///etc/passwd", "concat:a|b"])
def test_a_source_is_an_address_a_webcam_or_a_folder(text):
    with pytest.raises(SettingsError, match="rtsp"):
        source_of(text, Settings())


def test_what_is_a_source_and_what_a_sink(tmp_path):
    assert isinstance(source_of("webcam:0", Settings()), Camera)
    assert isinstance(source_of("RTSP://camera/1", Settings()), Camera)
    assert isinstance(source_of(str(tmp_path), Settings()), Folder)
    assert isinstance(sink_of(str(tmp_path / "out"), rate=1, quality=20), Files)
    for text in ("out.avi", "ftp://host/", "http://127.0.0.1:0/a/b"):
        with pytest.raises(SettingsError):
            sink_of(text, rate=1, quality=20)


def test_pauses_grow_and_end_when_stopped():
    waited = []

    class Stop(threading.Event):
        def wait(self, timeout=None):
            waited.append(timeout)
            return True

    for tries in (0, 1, 2, 9):
        stream_sources.wait(Stop(), tries)
    assert waited == [1, 2, 4, 30]
