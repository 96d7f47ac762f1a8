"""What the security layer reads and says itself: bodies within a limit, headers with care, refusals in a sentence."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
from urllib.parse import urlsplit

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Message, Receive

from .policy import MB


class TooLargeError(Exception):
    """A body has more bytes than it may."""


async def whole_text(request: Request, most: int) -> str:
    """A small body, whole.

    Raises:
        TooLargeError: it has more bytes than `most`. UnicodeDecodeError: it is no text.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise TooLargeError
    return body.decode()


async def drain(receive: Receive, most: int) -> None:
    """Read what is left of a body that is refused, as far as `most` bytes and half a minute go.

    A client shows no answer to what it could not send whole: it says that the connection broke.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(30):
            while most > 0:
                message = await receive()
                most -= len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body"):
                    return


class Counted:
    """A request's body that ends with an error where it is too long, also when it did not say how long it is.

    `is_read`: nothing of it is left; whoever asked for more would wait until the client goes.
    """

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._left, self.is_over, self.is_read = receive, most, False, False

    async def __call__(self) -> Message:
        message = await self._receive()
        self.is_read = not message.get("more_body")
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            self.is_over = True
            raise TooLargeError
        return message


def too_large(request: Request, most: int) -> Response:
    limit = f"{most / MB:.0f} MB" if most >= MB else f"{most / 1000:.0f} kB"
    return say(request, 413, f"That is too large: at most {limit}.", {"Connection": "close"})


def say(request: Request, status: int, why: str, headers: dict[str, str] | None = None) -> Response:
    if "text/html" in Headers(scope=request.scope).get("accept", "") and not request.url.path.startswith("/api/"):
        return PlainTextResponse(why, status, headers)
    return JSONResponse({"error": why}, status, headers)


# --- headers: whatever they hold, there is an answer and no exception ---


def host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return host


def charset(content_type: str) -> str:
    """The charset of a request's body, lower case; empty: it names none."""
    return ",".join(
        v.decode("latin-1").lower() for k, v in parse_options_header(content_type)[1].items() if k == b"charset"
    )


def basic_credentials(credentials: str) -> str:
    try:
        return base64.b64decode(credentials, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""
