"""stream: a camera's frames in, anonymized frames out, as they come."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from .options import CLIPS, EVERY, predictor_of, settings_of
from .run import warn

if TYPE_CHECKING:
    from ..video.streaming import Told


@click.command()
@click.argument("source")
@click.argument("sink")
@click.option(
    "--delay",
    default=1.0,
    type=click.FloatRange(0, 60),
    help="Seconds that a frame waits for further ones: what is found in those is hidden in it, too [1].",
)
@EVERY
@click.option("--quality", default=23, type=click.IntRange(0, 51), help="0 (best) to 51, as H.264's CRF [23].")
@click.option("--seconds", type=float, help="End after so many seconds; else Ctrl-C does.")
@CLIPS
def stream(source: str, sink: str, delay: float, every: Any, quality: int, seconds: float | None, **given: Any) -> None:
    """Find and hide in a stream: frames of SOURCE in, anonymized frames to SINK, after a bounded delay.

    SOURCE: rtsp://…, http://… (MJPEG, HLS), rtmp://…, srt://…, udp://…, webcam:0, or a folder that fills.
    SINK: http://127.0.0.1:8090/ (serves MJPEG), FILE.m3u8 (HLS), rtmp://…, rtsp://…, srt://…, udp://…, FILE.mkv,
    FILE.ts, or a folder of JPEGs.

    A frame without a result never goes out. Frames that come faster than they can be searched are dropped whole. A
    source that breaks is opened again.
    """
    from ..video.streaming import run

    predictor = predictor_of(warn(settings_of(given)), given)
    stop = threading.Event()
    kept = {s: signal.signal(s, _stopper(stop)) for s in (signal.SIGINT, signal.SIGTERM)}
    clock = threading.Timer(seconds, stop.set) if seconds else None
    if clock:
        clock.daemon = True
        clock.start()
    try:
        progress = None if given.get("quiet") else _rewriting()
        told = run(source, sink, predictor, delay=delay, every=every, quality=quality, progress=progress, stop=stop)
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
        if clock:
            clock.cancel()
    click.echo(("" if given.get("quiet") else "\n") + _line(told))


def _stopper(stop: threading.Event) -> Any:
    def handler(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():  # asked twice
            raise KeyboardInterrupt
        stop.set()

    return handler


def _rewriting() -> Callable[[Told], None]:
    """One line that is written again a few times a second."""
    last = 0.0

    def tell(told: Told) -> None:
        nonlocal last
        if time.monotonic() - last > 0.5:
            last = time.monotonic()
            click.echo(f"\r{_line(told)}  ", nl=False, err=True)

    return tell


def _line(told: Told) -> str:
    hidden = ", ".join(f"{n} {kind}s" for kind, n in sorted(told.hidden.items())) or "nothing"
    parts = [f"{told.written} frames written", f"{told.dropped} dropped", f"{told.failed} without a result"]
    parts += [f"{told.reconnects} reconnects"] if told.reconnects else []
    trouble = f"; {told.trouble}" if told.trouble else ""
    return f"{', '.join(parts)}; hidden: {hidden}; delay {told.delay:.1f} s{trouble}"
