"""What the page's tabs and routes need of the server, and whose request this is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..corrections import person
from ..errors import AnonymizeError
from .detector_pool import DetectorPool
from .elements import Values
from .job_queue import JobQueue
from .policy import Policy
from .sessions import Session, Sessions
from .telling import message_of


@dataclass(frozen=True)
class Site:
    """The server's parts.

    Attributes:
        policy: who may do what. sessions: all visitors'. pool: the detectors. jobs: the threads that work.
    """

    policy: Policy
    sessions: Sessions
    pool: DetectorPool
    jobs: JobQueue

    def message(self, error: Exception) -> str:
        """An error in a sentence for a visitor."""
        return message_of(error, self.policy.own_machine)


Handler = Callable[..., Values]


def answered(failed: Handler) -> Callable[[Handler], Handler]:
    """Of a method that handles an event, errors that a person can do something about become its answer.

    Args:
        failed: called with the object, the error, and what the method was given.
    """

    def decorate(handler: Handler) -> Handler:
        @functools.wraps(handler)  # Gradio reads its arguments
        def guarded(self: Any, *given: Any, **more: Any) -> Values:
            try:
                return handler(self, *given, **more)
            except (AnonymizeError, OSError) as e:
                return failed(self, e, *given)

        return guarded

    return decorate


def _state(request: Any) -> Any:
    """What security.py found out about a request: a Starlette one, the one inside Gradio's, or its scope."""
    return getattr(getattr(request, "request", request), "scope", request)["state"]


def session_of(request: Any) -> Session:
    """The visitor whom security.py found."""
    return _state(request)["session"]


def user_of(request: Any) -> str | None:
    """Who signed in; None where nobody has to."""
    user: str | None = _state(request).get("user")
    return user


def name_of(request: Any) -> str:
    """Who decides, as decisions name them: the login's name, else this account's or the session's."""
    session = session_of(request)
    return str(user_of(request) or (person() if session.policy.own_machine else f"visitor {session.key[:8]}"))
