"""What a visitor and the log are told of an error: never where files lie or what they are called."""

from __future__ import annotations

import logging
import re
import sys
import tempfile
import traceback
from pathlib import Path
from types import SimpleNamespace

from ..errors import AnonymizeError, WeightsError
from .limits import NO_DISK, is_full

log = logging.getLogger("anonymize.web")

WRONG = "Something went wrong here; the photos are unharmed. Please try again."
_ROOT = r"(?:~|\b[A-Za-z]:)?[/\\]"
_QUOTED = re.compile(rf"(['\"]){_ROOT}.*?\1")
# Not "and/or", nor a path within a visitor's own folder (a/b.jpg).
_BARE = re.compile(rf"(?<![\w/.])(?:file:)?{_ROOT}(?:[^\s'\"<>|,;()\[\]]*[^\s'\"<>|,;()\[\]:.])?")
_FOLDERS = (str(Path(__file__).parents[2]), sys.prefix, str(Path.home()), tempfile.gettempdir())


def message_of(error: Exception, own_machine: bool) -> str:
    """An error in a sentence for a visitor. Its own text stays in the server's log where they may not see it."""
    if is_full(error):
        return NO_DISK
    if own_machine:
        return str(error)
    if isinstance(error, WeightsError):
        log.warning("%s", error)
        return "This detector is not available on this server. Please choose another one."
    if not isinstance(error, (AnonymizeError, ValueError, TypeError)):
        log.error("%s", place_of(error))
        return WRONG
    return without_paths(str(error))


def failure_of(error: Exception, own_machine: bool, what: str, *, is_logged: bool = True) -> str:
    """Why a job failed, in a sentence for its visitor. `what` failed goes to the log, where nobody foresaw that."""
    if is_full(error):
        return NO_DISK
    if isinstance(error, AnonymizeError):
        return message_of(error, own_machine)
    if is_logged:
        log.error("%s failed: %s", what, place_of(error))
    return WRONG


def without_paths(text: str) -> str:
    """A text in which no folder of this machine is named."""
    for folder in _FOLDERS:  # they may have spaces in them
        if len(folder) > 1:
            text = text.replace(folder, "/…")
    return _BARE.sub("…", _QUOTED.sub(r"\1…\1", text))


def place_of(error: BaseException) -> str:
    """Where in the code an error came from: its message, and a traceback's, may name a visitor's files."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    where = " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(frames))
    where = getattr(error, "place", "") or where  # of another process (`apart`)
    return f"{type(error).__name__} in {where or 'no frame'}"


class _OnlyPlaces(logging.Filter):
    """Of what is logged with a traceback, the place alone."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            record.msg, record.args = f"{record.getMessage().splitlines()[0]}: {place_of(error)}", ()
            record.exc_info = record.exc_text = None
        return True


def keep_names_out_of_logs() -> None:
    """Errors that nobody caught: uvicorn, asyncio and Gradio write whole tracebacks; from here on, places."""
    from gradio import queueing, routes

    for name in ("uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        if not any(isinstance(f, _OnlyPlaces) for f in logger.filters):
            logger.addFilter(_OnlyPlaces())

    def print_exc(*_: object, **__: object) -> None:
        if (error := sys.exc_info()[1]) is not None:
            log.error("%s", place_of(error))

    queueing.traceback = routes.traceback = SimpleNamespace(print_exc=print_exc)
