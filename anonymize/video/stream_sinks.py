"""Where a stream's frames go: MJPEG over HTTP, HLS, RTMP and the like, or files. What comes here is anonymized."""

from __future__ import annotations

import contextlib
import http.server
import itertools
import os
import threading
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from ..disk import write_whole
from ..errors import SettingsError, WriteError
from ..output_memory import OutputMemory
from ..records import escape, unescape
from .reader import import_av
from .stream_sources import no_protocol

if TYPE_CHECKING:
    import av

_FORMS = {"rtmp": "flv", "rtmps": "flv", "rtsp": "rtsp", "srt": "mpegts", "udp": "mpegts"}
_FILES = {".ts": "mpegts", ".mkv": "matroska", ".m3u8": "hls"}
_TIME = Fraction(1, 1000)
_OPTIONS = {"hls": {"hls_time": "2", "hls_list_size": "10", "hls_flags": "delete_segments+temp_file+omit_endlist"}}
_PART = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n"
_CLIENTS = 16  # of one MJPEG server at a time


class Sink(Protocol):
    """Takes frames."""

    def write(self, native: av.VideoFrame, milliseconds: int, name: str) -> None:
        """One frame: when it came, and the file that it came in ("" where it came in none). Raises WriteError."""
        ...

    def close(self) -> None: ...


def sink_of(text: str, *, rate: float, quality: int) -> Sink:
    """The sink that a command names.

    Args:
        rate: frames per second that are to be expected. quality: as a clip's, 0 (best) to 51.

    Raises:
        SettingsError: it is none.
    """
    scheme = urlsplit(text).scheme.lower()
    if scheme == "http":
        return MjpegServer(text, quality)
    if scheme in _FORMS:
        return Encoded(text, _FORMS[scheme], rate, quality)
    if scheme in ("", "file") or len(scheme) == 1:  # that: a drive
        path = Path(text)
        if form := _FILES.get(path.suffix.lower()):
            path.parent.mkdir(parents=True, exist_ok=True)
            return Encoded(str(path), form, rate, quality)
        if not path.suffix:
            return Files(path, quality)
    raise SettingsError(
        f"a stream's sink is http://127.0.0.1:8090/ (MJPEG), FILE.m3u8 (HLS), rtmp://…, rtsp://…, srt://…, udp://…, "
        f"FILE.mkv, FILE.ts, or a folder; received {text!r}"
    )


MEMORY = "stream.jsonl"  # which photos of a folder a stream wrote


def _free(path: str) -> str:
    """A path at which nothing lies: this one, or with a number."""
    stem, ending = os.path.splitext(path)
    numbered = (f"{stem}-{n}{ending}" for n in itertools.count(2))
    return next(p for p in itertools.chain([path], numbered) if not os.path.lexists(p))


def to_jpeg(native: av.VideoFrame, quality: int) -> bytes:
    import simplejpeg

    return bytes(simplejpeg.encode_jpeg(native.to_ndarray(format="rgb24"), quality=max(40, 100 - quality)))


class Files:
    """A JPEG for each frame, whole or not there; one that came in a photo has its name, and replaces only what an
    earlier stream wrote."""

    def __init__(self, folder: Path, quality: int) -> None:
        self._folder, self._quality, self._count = folder, quality, 0
        self._taken: dict[str, str] = {}  # file -> the photo that it shows
        self._memory: OutputMemory | None = None  # open from the first photo on
        self._open = contextlib.ExitStack()

    def write(self, native: av.VideoFrame, milliseconds: int, name: str) -> None:
        file = self._numbered() if not name else name if name.lower().endswith((".jpg", ".jpeg")) else f"{name}.jpg"
        if name and (other := self._taken.setdefault(file, name)) != name:
            raise WriteError(f"{name} would get the name of {other}, {file}; rename one of them")
        target = self._folder / file
        try:
            memory = self._remember() if name else None
            if memory and os.path.lexists(target) and not memory.is_whole(escape(file), target):
                raise WriteError(f"{target} is a file that no stream wrote, or that was changed since; move it away")
            write_whole(target, to_jpeg(native, self._quality))
            if memory:
                memory.put(escape(file), target, "stream")
        except OSError as e:
            raise WriteError(f"{self._folder} cannot be written: {e}") from e

    def _remember(self) -> OutputMemory:
        if self._memory is None:
            folder = self._folder
            memory = OutputMemory(folder / MEMORY, lambda entry: folder / unescape(entry["path"]))
            self._memory = self._open.enter_context(memory)
        return self._memory

    def _numbered(self) -> str:
        """The next number's; those of an earlier stream stay."""
        self._count += 1
        while os.path.lexists(self._folder / f"{self._count:08}.jpg"):
            self._count += 1
        return f"{self._count:08}.jpg"

    def close(self) -> None:
        self._open.close()


class Encoded:
    """H.264 without delay, in what FFmpeg can write to. Opened again, a file goes on in another one beside it."""

    def __init__(self, target: str, form: str, rate: float, quality: int) -> None:
        self._target, self._form = target, form
        self._rate, self._quality = Fraction(max(1, round(rate))), quality
        self._open: tuple[Any, Any] | None = None
        self._size = (0, 0)
        self._last = -1

    def write(self, native: av.VideoFrame, milliseconds: int, name: str) -> None:
        av = import_av()
        size = native.width - native.width % 2, native.height - native.height % 2
        try:
            if self._open is None or self._size != size:
                self.close()
                self._open, self._size, self._last = self._start(size), size, -1
            container, stream = self._open
            picture = native.reformat(*size, format="yuv420p")
            self._last = max(milliseconds, self._last + 1)
            picture.pts, picture.time_base, picture.pict_type = self._last, _TIME, 0
            container.mux(stream.encode(picture))
        except av.error.ProtocolNotFoundError as e:
            raise no_protocol(self._target) from e
        except (av.error.FFmpegError, OSError) as e:
            self._open = None
            raise WriteError(f"{self._target} cannot be written: {e}") from e

    def _start(self, size: tuple[int, int]) -> tuple[Any, Any]:
        av = import_av()
        is_film = "://" not in self._target and self._form != "hls"
        target = _free(self._target) if is_film else self._target
        own = _OPTIONS.get(self._form, {})
        container = av.open(target, "w", format=self._form, options={**own, "fflags": "+bitexact"})
        options = {"preset": "veryfast", "tune": "zerolatency", "crf": str(self._quality), "a53cc": "0"}
        stream = container.add_stream("libx264", rate=self._rate, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = stream.time_base = _TIME
        stream.codec_context.gop_size = 2 * int(self._rate)
        return container, stream

    def close(self) -> None:
        av = import_av()
        if self._open is None:
            return
        container, stream = self._open
        self._open = None
        with contextlib.suppress(av.error.FFmpegError, OSError):
            container.mux(stream.encode(None))
            container.close()


class MjpegServer:
    """The newest frame to everybody who asks, as cameras do; who is slow gets fewer.

    Args:
        address: http://HOST:PORT/; only who reaches HOST sees it.
    """

    def __init__(self, address: str, quality: int) -> None:
        parts = urlsplit(address)
        if not parts.hostname or parts.path not in ("", "/"):
            raise SettingsError(f"a server for MJPEG has an address as http://127.0.0.1:8090/; received {address!r}")
        self._quality, self._news = quality, threading.Condition()
        self._newest: tuple[int, bytes] = (0, b"")
        self._is_closed = False
        self._places = threading.BoundedSemaphore(_CLIENTS)
        self._server = http.server.ThreadingHTTPServer((parts.hostname, parts.port or 80), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def write(self, native: av.VideoFrame, milliseconds: int, name: str) -> None:
        jpeg = to_jpeg(native, self._quality)
        with self._news:
            self._newest = self._newest[0] + 1, jpeg
            self._news.notify_all()

    def close(self) -> None:
        with self._news:
            self._is_closed = True
            self._news.notify_all()
        self._server.shutdown()
        self._server.server_close()

    def _after(self, number: int) -> tuple[int, bytes] | None:
        """The first frame that is newer; None at the end."""
        with self._news:
            self._news.wait_for(lambda: self._is_closed or self._newest[0] > number)
            return None if self._is_closed else self._newest

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        sink = self

        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = 20

            def do_GET(self) -> None:
                if self.path not in ("/", "/stream.mjpg"):
                    self.send_error(404)
                elif not sink._places.acquire(blocking=False):
                    self.send_error(503, "too many viewers")
                else:
                    try:
                        self._send()
                    except OSError:  # the viewer went away
                        pass
                    finally:
                        sink._places.release()

            def _send(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                number = 0
                while (newer := sink._after(number)) is not None:
                    number, jpeg = newer
                    self.wfile.write(_PART % (len(jpeg), jpeg))

            def log_message(self, *_: object) -> None:
                pass

        return Handler
