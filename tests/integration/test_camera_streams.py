"""Real servers at both ends of a stream: RTSP and RTMP cameras that break and come back, RTMP and SRT as sinks."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import pytest

from anonymize.errors import SettingsError
from anonymize.predictor import Predictor
from anonymize.settings import Settings
from anonymize.video import streaming
from anonymize.video.stream_sinks import Encoded
from anonymize.video.stream_sources import Camera, source_of
from tests.support import clips

FFMPEG = shutil.which("ffmpeg")
needs_ffmpeg = pytest.mark.skipif(not FFMPEG, reason="the program ffmpeg plays the server, and is not installed")
DEBIAN = "/usr/bin/python3"
GI = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
SERVER = Path(__file__).parents[1] / "support" / "rtsp_server.py"
PATIENCE = 60.0  # s, after which a test fails


class Kept:
    """A sink that counts, and stops the stream after so many frames."""

    def __init__(self, stop: threading.Event, enough: int = 10, pause: float = 0.0) -> None:
        self.count, self.leaks, self._stop, self._enough, self._pause = 0, 0, stop, enough, pause
        self.came = threading.Event()

    def write(self, native: Any, milliseconds: int, name: str) -> None:
        self.count += 1
        self.leaks += clips.bar(native.to_ndarray(format="rgb24")) is not None
        self.came.set()
        time.sleep(self._pause)
        if self.count >= self._enough:
            self._stop.set()

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pictures = [clips.picture(n % 30) for n in range(500)]
    options = {"g": "10", "bf": "0"}
    return clips.make(tmp_path_factory.mktemp("camera") / "a.mkv", 500, pictures=pictures, options=options)


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def server(*command: object) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def rtmp(port: int, clip: Path) -> list[object]:
    loop = [
        FFMPEG,
        "-nostdin",
        "-loglevel",
        "error",
        "-re",
        "-stream_loop",
        "-1",
        "-i",
        clip,
        "-c",
        "copy",
        "-f",
        "flv",
    ]
    return [*loop, "-listen", "1", f"rtmp://127.0.0.1:{port}/live/camera"]


def rtsp(port: int, clip: Path) -> list[object]:
    if not Path(DEBIAN).exists() or subprocess.run([DEBIAN, "-c", GI], capture_output=True).returncode:
        pytest.skip("GStreamer's RTSP server (gir1.2-gst-rtsp-server-1.0, python3-gi) is not installed")
    return [DEBIAN, SERVER, port, clip]


def predictor() -> Predictor:
    return Predictor(Settings(face_detector="none"), detectors=[clips.BarDetector()])


def run(source: str, sink: Any, stop: threading.Event) -> streaming.Told:
    clock = threading.Timer(PATIENCE, stop.set)
    clock.start()
    try:
        return streaming.run(source, sink, predictor(), delay=0.2, stop=stop)
    finally:
        clock.cancel()


@needs_ffmpeg
@pytest.mark.parametrize("scheme", ["rtmp", "rtsp"])
def test_a_camera_that_breaks_and_comes_back(
    scheme: str, clip: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "wait", lambda stop, _tries: stop.wait(0.2))
    command: Callable[[int, Path], list[object]] = rtmp if scheme == "rtmp" else rtsp
    address = f"{scheme}://127.0.0.1:{port}/" + ("live/camera" if scheme == "rtmp" else "camera")
    parts = command(port, clip)
    stop = threading.Event()
    sink = Kept(stop, enough=10**6)
    told: list[streaming.Told] = []
    work = threading.Thread(target=lambda: told.append(run(address, sink, stop)))
    work.start()
    try:
        for _ in range(2):  # begun before there is a camera, and after it broke
            sink.came.clear()
            with server(*parts):
                assert sink.came.wait(PATIENCE / 2)
    finally:
        stop.set()
        work.join()
    assert told[0].reconnects >= 1
    assert told[0].failed == 0
    assert told[0].trouble
    assert sink.count == told[0].written >= 2
    assert sink.leaks == 0


@needs_ffmpeg
def test_of_a_camera_that_is_too_fast_whole_frames_are_dropped(clip: Path, port: int) -> None:
    stop = threading.Event()
    sink = Kept(stop, enough=6, pause=0.4)
    with server(*rtmp(port, clip)):
        time.sleep(1)
        told = run(f"rtmp://127.0.0.1:{port}/live/camera", sink, stop)
    assert told.dropped > 6
    assert told.written == sink.count >= 6
    assert sink.leaks == 0


@needs_ffmpeg
@pytest.mark.parametrize("scheme", ["rtmp", "rtsp"])
def test_a_server_takes_the_anonymized_stream(scheme: str, clip: Path, port: int, tmp_path: Path) -> None:
    address, got = f"{scheme}://127.0.0.1:{port}/live/camera", tmp_path / "got.mkv"
    listen = ["-listen", "1"] if scheme == "rtmp" else ["-rtsp_flags", "listen"]
    command = [FFMPEG, "-nostdin", "-loglevel", "error", *listen, "-i", address, "-c", "copy", "-y", got]
    with server(*command) as process:
        time.sleep(2)
        sink = Encoded(address, "flv" if scheme == "rtmp" else "rtsp", 25.0, 20)
        with av.open(str(clip)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                hidden = frame.to_ndarray(format="rgb24")
                box = clips.bar(hidden)
                assert box is not None
                hidden[box[1] - 2 : box[3] + 2, box[0] - 2 : box[2] + 2] = 0
                sink.write(av.VideoFrame.from_ndarray(hidden, "rgb24"), 40 * number, "")
                if number == 60:
                    break
        sink.close()
        process.wait(timeout=PATIENCE)
    with av.open(str(got)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert len(frames) > 30
    assert not any(clips.bar(f) for f in frames)


def test_a_webcam_is_read_as_any_camera(clip: Path) -> None:
    """No camera here: what v4l2 would give is played by a file that is opened by the name of its form, too."""
    webcam = source_of("webcam:0", Settings())
    assert isinstance(webcam, Camera)
    assert vars(webcam)["_address"] == "/dev/video0"
    camera = Camera(str(clip), form="matroska")
    stop = threading.Event()
    sink = Kept(stop, enough=5)
    assert run(camera, sink, stop).written >= 5  # type: ignore[arg-type]
    assert sink.leaks == 0


def test_a_protocol_that_this_ffmpeg_does_not_know_is_said_at_once(port: int) -> None:
    try:
        with av.open(f"srt://127.0.0.1:{port}", timeout=1):
            pass
    except av.error.ProtocolNotFoundError:
        with pytest.raises(SettingsError, match="does not know srt://"):
            run(f"srt://127.0.0.1:{port}", Kept(threading.Event()), threading.Event())
        sink = Encoded(f"srt://127.0.0.1:{port}", "mpegts", 25.0, 20)
        with pytest.raises(SettingsError, match="does not know srt://"):
            sink.write(av.VideoFrame.from_ndarray(clips.picture(0), "rgb24"), 0, "")
    except av.error.FFmpegError:
        pytest.skip("this FFmpeg knows SRT")
