"""Where a stream's frames come from: a camera's address, a webcam, or a folder that fills."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from .. import images
from ..cpus import limit
from ..errors import AnonymizeError, ClipError, SettingsError
from ..settings import Settings
from .reader import decoded, import_av

if TYPE_CHECKING:
    import av

# Never "file": what an address on a network sends may name other addresses, but no file of this machine.
_PROTOCOLS = "http,https,httpproxy,tcp,tls,crypto,rtp,srtp,udp,rtsp,rtmp,rtmps,rtmpt,srt,hls"
_OPEN_SECONDS = 10.0
_ADDRESS = re.compile(r"(rtsps?|https?|rtmps?|srt|udp|rtp)://", re.IGNORECASE)
_WEBCAM = re.compile(r"webcam:(\d+)|/dev/video(\d+)")
_POLL = 0.05  # s between two looks into a folder


@dataclass(frozen=True)
class Arrived:
    """One frame that came in.

    Attributes:
        native: the picture; None: it cannot be read. name: the file that it came in, or "".
    """

    native: av.VideoFrame | None
    name: str = ""


class Source(Protocol):
    """Gives frames.

    Attributes:
        rate: frames per second, as far as it is known.
        is_live: frames that nobody takes are lost; else they wait.
    """

    rate: float
    is_live: bool

    def frames(self, stop: threading.Event) -> Iterator[Arrived]:
        """Frames until the source ends or breaks (ClipError), or `stop` is set."""
        ...


def source_of(text: str, settings: Settings) -> Source:
    """The source that a command names.

    Raises:
        SettingsError: it is none.
    """
    if match := _WEBCAM.fullmatch(text):
        return Camera(f"/dev/video{match[1] or match[2]}", form="v4l2")
    if _ADDRESS.match(text):
        return Camera(text)
    if Path(text).is_dir():
        return Folder(Path(text), settings)
    raise SettingsError(
        f"a stream's source is rtsp://…, http://… (MJPEG, HLS), rtmp://…, srt://…, udp://…, webcam:0, or a folder; "
        f"received {text!r}"
    )


def no_protocol(address: str) -> SettingsError:
    return SettingsError(
        f"this FFmpeg does not know {address.partition(':')[0]}:// (PyAV's own wheels have no SRT; one that was built "
        "with libsrt has)"
    )


class Camera:
    """What FFmpeg can open: an address, or a device of this machine.

    Args:
        address: of it. form: FFmpeg's input format, where the address does not say it.
    """

    is_live = True

    def __init__(self, address: str, *, form: str = "") -> None:
        self._address, self._form, self.rate = address, form, 25.0

    def frames(self, stop: threading.Event) -> Iterator[Arrived]:
        av = import_av()
        options = {} if self._form else {"protocol_whitelist": _PROTOCOLS}
        if self._address.lower().startswith("rtsp"):
            options["rtsp_transport"] = "tcp"  # a lost packet would be a torn picture
        try:
            with av.open(
                self._address,
                format=self._form or None,
                options=options,
                timeout=_OPEN_SECONDS,
                metadata_errors="ignore",
            ) as container:
                if not container.streams.video:
                    raise ClipError("there is no picture in it")
                stream = container.streams.video[0]
                stream.thread_type = "SLICE"  # threads of frames would hold back as many
                stream.codec_context.thread_count = limit()
                self.rate = float(stream.average_rate or stream.guessed_rate or self.rate)
                # A torn packet is left out; the next key frame is whole.
                for native in decoded(container, stream, av.error.InvalidDataError):
                    if stop.is_set():
                        return
                    yield Arrived(native)
        except av.error.ProtocolNotFoundError as e:
            raise no_protocol(self._address) from e
        except (av.error.FFmpegError, OSError) as e:
            raise ClipError(f"it cannot be read: {e}") from e


class Folder:
    """A folder into which photos are put; each counts once, when its size has stayed the same for a moment. One that
    cannot be read counts again when it has changed: it may have been half of a photo.

    Photos are taken in the order of their names among those that are there.
    """

    is_live = False
    rate = 1.0

    def __init__(self, path: Path, settings: Settings) -> None:
        self._path, self._settings = path, settings
        self._done: set[str] = set()
        self._unreadable: dict[str, tuple[int, int]] = {}

    def frames(self, stop: threading.Event) -> Iterator[Arrived]:
        av = import_av()
        sizes: dict[str, tuple[int, int]] = {}
        while not stop.is_set():
            before, sizes = sizes, self._there()
            ready = [name for name in sorted(sizes) if before.get(name) == sizes[name]]
            for name in ready:
                try:
                    rgb = images.load(self._path / name, self._settings).rgb
                except (AnonymizeError, OSError):
                    self._unreadable[name] = sizes[name]
                    yield Arrived(None, name)  # no picture, so no output
                    continue
                self._done.add(name)
                yield Arrived(av.VideoFrame.from_ndarray(rgb, "rgb24"), name)
                if stop.is_set():
                    return
            if not ready:
                stop.wait(_POLL)

    def _there(self) -> dict[str, tuple[int, int]]:
        out = {}
        for path in self._path.iterdir():
            is_photo = path.suffix.lower().lstrip(".") in self._settings.image_extensions
            if is_photo and not path.name.startswith(".") and path.name not in self._done:
                try:
                    found = path.stat()
                except OSError:  # renamed meanwhile
                    continue
                stamp = found.st_size, found.st_mtime_ns
                if found.st_size and self._unreadable.get(path.name) != stamp:
                    out[path.name] = stamp
        return out


def wait(stop: threading.Event, tries: int) -> None:
    """A pause before a source or sink is opened again: 1, 2, 4 … 30 s, or until `stop`."""
    stop.wait(min(30.0, 2.0 ** min(tries, 5)))
