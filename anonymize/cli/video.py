"""video and stream: clips or a camera's frames in, anonymized ones out."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from .audit import AUDIT, audit_now
from .options import CLIPS, DEFAULTS, DRY_RUN, EVERY, PATH, predictor_of, settings_of
from .progress import bar, hidden_text, print_counts
from .run import NOTHING_TO_DO, say_other_command, say_reasons, warn

if TYPE_CHECKING:
    from ..video.batch import ClipSummary
    from ..video.streaming import Told

ENDED = ("done", "unchanged", "failed")  # steps of clips that are no more worked on


@click.command()
@click.argument("source")
@click.argument("output", type=PATH)
@click.option("--records", "records_folder", type=PATH, help="Folder of the clips' records [OUTPUT].")
@EVERY
@click.option(
    "--codec",
    default="h264",
    metavar="NAME",
    help="same (as the source's), h264, hevc, vp9, av1, ffv1 (lossless) or mjpeg, as far as this FFmpeg has the "
    "encoder [h264].",
)
@click.option("--quality", default=20, type=int, help="0 (best) to 51, as H.264's CRF [20].")
@click.option("--audio", default="keep", metavar="keep|drop", help="Copy the sound as it is, or leave it out [keep].")
@DRY_RUN
@AUDIT
@CLIPS
def video(
    source: str,
    output: Path,
    codec: str,
    quality: int,
    audio: str,
    is_audited: bool,
    key: Path | None,
    records_folder: Path | None,
    every: Any,
    dry_run: bool,
    **given: Any,
) -> None:
    """Find and hide: clips of SOURCE (a clip, a folder, a glob or a .txt list) in, anonymized clips in OUTPUT.

    What is found in one frame is hidden in all in which it can be seen. Run the same command again to continue a
    stopped run; with other thresholds or effects, or after a review, clips are written again without detecting.
    """
    from .. import images
    from ..video import batch
    from ..video.writer import Encoding

    encoding = Encoding(codec, quality, audio)
    predictor = predictor_of(warn(settings_of(given)), given)
    with _Bar(given.get("quiet", False)) as told:
        more: dict[str, Any] = {"every": every, "records_folder": records_folder, "dry_run": dry_run}
        summary = batch.run(source, output, predictor, encoding=encoding, progress=told, **more)
    _say(summary)  # first: an audit may end with an error
    code = 0
    if is_audited and summary.done and not dry_run:
        settings = predictor.settings.replace(image_extensions=batch.EXTENSIONS)
        root = images.find(source, settings, exclude=output).root
        code = audit_now(output, {**given, "key": key}, records_folder, root)
    context = click.get_current_context()
    if not summary.ok:
        context.exit(1)
    if not summary.done:
        click.echo("there was no clip to do", err=True)
        context.exit(NOTHING_TO_DO)
    context.exit(code)


class _Bar:
    """A progress bar of the clip that is being worked on; in a `with`, what is told of a summary.

    A log gets a line for each clip instead, when it has ended.

    Args:
        is_quiet: show nothing.
    """

    def __init__(self, is_quiet: bool) -> None:
        from rich.console import Console

        is_log = not Console(stderr=True).is_terminal
        self._bar = bar("{task.fields[frames]}", "left", quiet=is_quiet or is_log)
        self._is_log = is_log and not is_quiet
        self._task = self._bar.add_task("clips", total=None, frames="")
        self._doing: tuple[str, str] | None = None

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, summary: ClipSummary) -> None:
        from rich.markup import escape

        if summary.now is None:
            return
        path, step = summary.now
        ended, frames = step.name in ENDED, f"{step.frame}/{step.frames or '?'} frames"
        number = f"{summary.done + len(summary.failures) + (not ended)}/{summary.clips}"
        if ended and self._is_log:
            click.echo(f"{number} {path}: {step.name}" + (f", {step.frames} frames" if step.frames else ""), err=True)
        if (path, step.name) != self._doing:  # time left is of this step of this clip
            self._doing = path, step.name
            self._bar.reset(self._task, total=step.frames)
            self._bar.update(self._task, description=escape(f"{number} {path}: {step.name}"))
        self._bar.update(self._task, completed=step.frame, total=step.frames, frames=frames)


def _say(summary: ClipSummary) -> None:
    """The table and what failed."""
    of_clips: dict[str, object] = {"frames": summary.frames, "incomplete": len(summary.incomplete)}
    of_clips |= {f"left out: {what}": f"in {n} clips" for what, n in sorted(summary.dropped.items())}
    print_counts("clips", summary.clips, summary, of_clips, of_kind=" hidden")
    say_other_command(summary.skipped, DEFAULTS.image_extensions, "photo", "run")
    for path, told in summary.warnings.items():
        for text in told:
            click.echo(f"warning: {path} {text}", err=True)
    say_reasons("left in the output by an earlier run", summary.left_over)
    for path, reason in summary.incomplete.items():
        click.echo(f"incomplete: {path}: {reason}; the rest of it was written", err=True)
    for path, reason in summary.failures.items():
        click.echo(f"failed: {path}: {reason}", err=True)
    if summary.failures:
        click.echo(f"{len(summary.failures)} of {summary.clips} clips failed and have no output", err=True)


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
    hidden = hidden_text(told.hidden) or "nothing"
    parts = [f"{told.written} frames written", f"{told.dropped} dropped", f"{told.failed} without a result"]
    parts += [f"{told.reconnects} reconnects"] if told.reconnects else []
    trouble = f"; {told.trouble}" if told.trouble else ""
    return f"{', '.join(parts)}; hidden: {hidden}; delay {told.delay:.1f} s{trouble}"
