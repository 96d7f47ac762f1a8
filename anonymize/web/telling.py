"""What a visitor is told of an error: never where files of this machine lie."""

from __future__ import annotations

import logging
import re
import sys
import tempfile
from pathlib import Path

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
        log.error("%s", type(error).__name__)  # its message may name a visitor's files
        return WRONG
    return without_paths(str(error))


def without_paths(text: str) -> str:
    """A text in which no folder of this machine is named."""
    for folder in _FOLDERS:  # they may have spaces in them
        if len(folder) > 1:
            text = text.replace(folder, "/…")
    return _BARE.sub("…", _QUOTED.sub(r"\1…\1", text))
