"""Cameras that send frames one by one to the REST API: what was seen before is known with the next frame."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Path

from ..errors import UnsupportedImageError
from ..images import Photo
from ..predictor import Predictor
from ..regions import Region

if TYPE_CHECKING:
    from ..video.live import Live

MOST = 64  # streams at a time; the one that was silent for longest goes. None keeps a pixel of full size.
IDLE = 300.0  # s

StreamName = Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="the camera's name, chosen by you")]


@dataclass
class _Stream:
    lock: threading.Lock = field(default_factory=threading.Lock)
    of: Any = None  # what it was begun for: size, settings, rate
    live: Live | None = None
    count: int = 0
    last: float = 0.0


class Streams:
    """The streams of a server."""

    def __init__(self) -> None:
        self._by_key: dict[tuple[str, str], _Stream] = {}
        self._lock = threading.Lock()

    def add(
        self, key: tuple[str, str], photo: Photo, predictor: Predictor, rate: float
    ) -> tuple[int, tuple[Region, ...]]:
        """A stream's next frame: its number, and what has to be hidden in it.

        Raises:
            UnsupportedImageError: a photo with transparency, which no camera sends. DetectionError: a detector failed;
                the stream begins anew with the next frame.
        """
        from ..video.live import Live

        seen = next(views := photo.views())  # as detectors see it; deep shadows of 16 bits too
        if photo.mode not in ("L", "RGB", "CMYK") or next(views, None) is not None:
            raise UnsupportedImageError("A camera's frame has no transparency.")
        stream = self._stream(key)
        of = photo.width, photo.height, rate, predictor.detection_hash, predictor.settings
        with stream.lock:
            if stream.live is None or stream.of != of:
                live = Live(predictor, photo.width, photo.height, rate)
                stream.live, stream.of, stream.count = live, of, 0
            try:
                (regions,) = stream.live.add(seen)
            except BaseException:
                stream.live = None
                raise
            stream.count += 1
            return stream.count - 1, regions

    def _stream(self, key: tuple[str, str]) -> _Stream:
        now = time.monotonic()
        with self._lock:
            for other, stream in list(self._by_key.items()):
                if now - stream.last > IDLE:
                    del self._by_key[other]
            while key not in self._by_key and len(self._by_key) >= MOST:
                del self._by_key[min(self._by_key, key=lambda k: self._by_key[k].last)]
            found = self._by_key.setdefault(key, _Stream())
            found.last = now
            return found
