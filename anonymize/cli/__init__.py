"""The command line, `python -m anonymize COMMAND`: each command is one call of the engine, weights or evaluate."""

from __future__ import annotations

import importlib
import io
import os
import sys
import traceback
from typing import Any, TextIO

import click

from .. import __version__
from ..disk import told
from ..errors import AnonymizeError, PathError, SettingsError
from ..time_limit import note_exit_code

# Command -> where it is; imported when it is called, so that --help stays quick.
COMMANDS = {
    "run": ("run:run", "Find and hide: photos in, anonymized photos out."),
    "detect": ("run:detect", "Find faces and plates and write records."),
    "export": ("run:export", "Write anonymized photos from records."),
    "video": ("video:video", "Clips in, anonymized clips out."),
    "stream": ("video:stream", "A camera's frames in, anonymized frames out, as they come."),
    "gather": ("run:gather", "Make one records file of a cluster run's shards."),
    "evaluate": ("measure:evaluate", "Measure leaks, recall, and false positives on annotated photos."),
    "evaluate-video": ("measure_video:evaluate_video", "Measure for how long faces and plates leak in clips."),
    "compare": ("measure:compare", "Measure several detectors side by side."),
    "bench": ("measure:bench", "Time the presets, and other programs, on photos of your own."),
    "audit": ("audit:audit", "Look for leaks in an output, and certify it."),
    "train": ("models:train", "Train a detector on photos of your own."),
    "models": ("models:models", "List, fetch, verify, and convert weights."),
}
_QUOTES = "If the shell made several names of a pattern, put it in quotes: 'photos/*.jpg'."


class Group(click.Group):
    """Errors of ours are one line on stderr and exit 1, or 2 for wrong options and paths; --verbose shows the place.

    Args:
        default: the command whose name may be left out.
    """

    def __init__(self, *args: Any, default: str = "", **options: Any) -> None:
        super().__init__(*args, **options)
        self._default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if self._default and args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = [self._default, *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order of the code

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            names = ", ".join(self.list_commands(ctx))
            raise click.UsageError(f"No such command {args[0]!r}; valid: {names}.", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as e:
            if "unexpected extra argument" not in e.message or _QUOTES in e.message:
                raise
            raise click.UsageError(f"{e.message}\n{_QUOTES}", e.ctx) from None
        except (AnonymizeError, OSError, SystemExit) as e:  # that: no library may end this program as if all were done
            if "--verbose" in sys.argv:
                traceback.print_exc()
            said = told(e) if isinstance(e, OSError) else str(e) if isinstance(e, AnonymizeError) else ""
            lines = said.splitlines()
            click.echo("error: " + "\n       ".join(lines or [repr(e)]), err=True)
            ctx.exit(2 if isinstance(e, (SettingsError, PathError)) else 1)
        except KeyboardInterrupt:
            click.echo("stopped; run the same command to continue", err=True)
            ctx.exit(130)


class Lazy(Group):
    """The commands of COMMANDS."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, attribute = COMMANDS[name][0].split(":")
        command: click.Command = getattr(importlib.import_module(f".{module}", __name__), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, message="%(version)s")
def cli() -> None:
    """Hide every face and license plate in photos.

    \b
    python -m anonymize run PHOTOS OUTPUT            detect and hide in one go
    python -m anonymize detect PHOTOS --records F    find only; review, then
    python -m anonymize export F OUTPUT              write the anonymized photos
    python -m anonymize video CLIPS OUTPUT           the same for clips
    python -m anonymize stream SOURCE SINK           and for a camera

    Exit codes: 0 all done, 1 a failure (each photo is named), 2 wrong options or paths, 3 nothing to do, 4 an audit
    found a leak, 5 a certificate does not hold, 130 stopped.
    """


class _Forgiving(io.FileIO):
    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(data)


def forgive_readers() -> None:
    """Whoever reads what is printed may leave early, as `head` does: from then on it is printed to nobody.

    The command goes on, so that all files are written, errors are still said on stderr, and the exit code is the
    work's own.
    """
    sys.stdout, sys.stderr = _forgiving(sys.stdout), _forgiving(sys.stderr)


def _forgiving(stream: TextIO) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper) or stream.isatty():
        return stream
    stream.flush()
    file = io.BufferedWriter(_Forgiving(stream.fileno(), "w", closefd=False))
    lines, now = stream.line_buffering, stream.write_through
    return io.TextIOWrapper(file, stream.encoding, stream.errors, line_buffering=lines, write_through=now)


def main() -> None:
    forgive_readers()
    with note_exit_code():
        cli(prog_name="python -m anonymize")
