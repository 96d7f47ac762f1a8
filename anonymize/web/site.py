"""What the page's tabs and routes need of the server, and whose request this is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..corrections import person
from .detector_pool import DetectorPool
from .job_queue import JobQueue
from .policy import Policy
from .sessions import Session, Sessions


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


def name_of(request: Any, policy: Policy) -> str:
    """Who decides, as decisions name them: the login's name, else this account's or the session's."""
    return str(user_of(request) or (person() if policy.own_machine else f"visitor {session_of(request).key[:8]}"))
