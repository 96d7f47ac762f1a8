"""Requests handed on to FiftyOne's app and answers handed back: whole, changed on their way, no errors' texts."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anonymize.errors import ReviewError
from anonymize.web.telling import place_of
from review.reviews import NOTHING

from .offered import RefusedError

log = logging.getLogger("anonymize.review")
MOST_BYTES = 5_000_000
# The App asks other hosts for fonts; nothing of a review leaves the machine, not even that.
CSP = (
    b"default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    b"style-src 'self' 'unsafe-inline'; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; "
    b"frame-ancestors 'self'"
)


def path_of(scope: Scope) -> str:
    """The path below the mount."""
    root, path = scope.get("root_path", ""), str(scope["path"])
    return path[len(root) :] if root and path.startswith(root) else path


async def whole_json(request: Request) -> Any:
    """The whole body, parsed."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise RefusedError("too large")
    return as_json(bytes(body))


def as_json(body: bytes) -> Any:
    def constant(name: str) -> Any:
        raise ValueError(name)  # NaN and its like

    try:
        value = json.loads(body, parse_constant=constant)
        json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except (ValueError, RecursionError) as e:
        raise RefusedError("not JSON") from e
    return value


def with_body(app: ASGIApp, body: bytes, request: Request) -> ASGIApp:
    """The request with this body, which may be another one than the browser's."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        given = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return given.pop() if given else await request.receive()  # that the browser leaves

        headers = [h for h in scope["headers"] if h[0].lower() != b"content-length"]
        await app({**scope, "headers": headers}, again, send)

    return run


async def collect(app: ASGIApp, scope: Scope) -> tuple[Message, bytes]:
    """A whole answer: how it starts, and its body."""
    messages: list[Message] = []

    async def keep(message: Message) -> None:
        messages.append(message)

    async def nothing() -> Message:
        return {"type": "http.disconnect"}

    await app(scope, nothing, keep)
    return messages[0], b"".join(m.get("body", b"") for m in messages[1:])


def replay(start: Message, body: bytes) -> ASGIApp:
    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start)
        await send({"type": "http.response.body", "body": body})

    return run


def change_json(app: ASGIApp, change: Callable[[Any], Any]) -> ASGIApp:
    """An answer in JSON, changed on its way."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        start, body = await collect(app, scope)
        response: Response = PlainTextResponse(NOTHING, start["status"])
        if start["status"] == 200:
            response = Response(json.dumps(change(json.loads(body))), media_type="application/json")
        await response(scope, receive, send)

    return run


# The Annotate tab's own undo draws a deleted box again and saves nothing (FiftyOne 1.22): it would be seen as hidden,
# and is not. The review's `undo` is a decision in the records.
NO_UNDO = b"""<style>[data-cy="undo-button"], [data-cy="redo-button"] { display: none !important; }</style><script>
addEventListener("keydown", (e) => {
  if ((e.ctrlKey || e.metaKey) && /^[zy]$/i.test(e.key)) e.stopImmediatePropagation();
}, true);
</script>"""


def without_undo(app: ASGIApp) -> ASGIApp:
    """FiftyOne's page without the Annotate tab's own undo and redo."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        # Of these, some would ask for an answer that cannot be changed.
        asked = [h for h in scope["headers"] if h[0].lower() in (b"host", b"accept", b"cookie")]
        start, body = await collect(app, {**scope, "headers": asked})
        body = body.replace(b"</head>", NO_UNDO + b"</head>", 1)
        changed = (b"content-length", b"etag", b"last-modified")
        headers = [h for h in start["headers"] if h[0].lower() not in changed]
        headers.append((b"content-length", str(len(body)).encode()))
        await replay({**start, "headers": headers}, body)(scope, receive, send)

    return run


def strip_errors(app: ASGIApp) -> ASGIApp:
    """Errors without their text: FiftyOne puts stacks, paths and names into them.

    What it fails at is a request that cannot be answered (400), mostly a stage whose arguments make no sense.
    """

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        is_error = is_started = False

        async def send_stripped(message: Message) -> None:
            nonlocal is_error, is_started
            is_started = True
            if message["type"] == "http.response.start" and message["status"] >= 400 and message["status"] != 412:
                is_error = True
                status = message["status"] if message["status"] < 500 else 400
                log.info("FiftyOne answered %s to %s", message["status"], scope["path"])
                await PlainTextResponse(NOTHING, status)(scope, receive, send)
            elif not is_error:
                if message["type"] == "http.response.start":
                    message = {**message, "headers": [*message["headers"], (b"content-security-policy", CSP)]}
                await send(message)

        try:
            await app(scope, receive, send_stripped)
        except ReviewError as e:
            log.warning("%s", e)
            if not is_started:
                await PlainTextResponse(str(e), 503)(scope, receive, send)
        except Exception as e:
            if not is_error:
                log.error("FiftyOne failed at %s: %s", scope["path"], place_of(e))
            if not is_started:
                await PlainTextResponse(NOTHING, 400)(scope, receive, send)

    return run
