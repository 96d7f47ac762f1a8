"""`python -m review RECORDS`: the guarded mount alone, on loopback, for the person at this machine."""

from __future__ import annotations

import secrets
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from anonymize.errors import AnnotationError

from .guarded.server import ReviewServer
from .reviews import NOTHING, Review, registry

COOKIE = "anonymize_review"


class LoopbackMiddleware:
    """Lets in only who brings the secret that was printed in the terminal, from a page of this server.

    Loopback is shared by all accounts of a machine, and by every web page that a browser there shows: so the host's
    name is checked (DNS rebinding), the origin (forged requests), and a secret in a cookie.
    """

    def __init__(self, app: ASGIApp, secret: str) -> None:
        self.app, self.secret = app, secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        asked = parse_qs(scope["query_string"].decode("latin-1"))
        given, name = asked.get("key", [""])[0], asked.get("name", [""])[0]
        host = urlsplit(f"//{headers.get('host', '')}").hostname
        origin = headers.get("origin")
        cookie: SimpleCookie = SimpleCookie(headers.get("cookie", ""))
        held = cookie[COOKIE].value if COOKIE in cookie else ""
        is_ours = host in ("127.0.0.1", "localhost", "::1")
        is_ours &= origin is None or urlsplit(origin).netloc == headers.get("host")
        is_ours &= headers.get("sec-fetch-site") != "cross-site" or scope["path"] == "/start"
        if is_ours and scope["path"] == "/start" and secrets.compare_digest(given.encode(), self.secret.encode()):
            response = RedirectResponse(f"/review/open?name={name}", 303)
            response.set_cookie(COOKIE, self.secret, httponly=True, samesite="strict")
            await response(scope, receive, send)
        elif not is_ours or not secrets.compare_digest(held.encode(), self.secret.encode()):
            await PlainTextResponse(NOTHING, 403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def build(secret: str) -> ASGIApp:
    """The guarded app over the open reviews."""
    from starlette.applications import Starlette
    from starlette.routing import Mount

    return LoopbackMiddleware(Starlette(routes=[Mount("/review", ReviewServer(registry))]), secret)


def serve(records: Path, port: int, annotations: Path | None = None) -> None:
    """Serve until stopped.

    Raises:
        RecordsError, AnnotationError: files that are not what they should be. ReviewError: FiftyOne cannot start.
    """
    import uvicorn

    review = registry.open_clips(records) if records.is_dir() else _open(records, annotations)
    print(f"{review.queue.progress() if isinstance(review, Review) else 'clips'}; starting FiftyOne …", flush=True)
    _ = review.shown
    secret = secrets.token_urlsafe(24)
    print(f"Review: http://127.0.0.1:{port}/start?key={secret}&name={review.name}  (Ctrl+C stops it)", flush=True)
    # The App's event stream has no end of its own: it does not hold the server up.
    quiet: dict[str, Any] = {"log_level": "warning", "access_log": False}
    uvicorn.run(build(secret), host="127.0.0.1", port=port, timeout_graceful_shutdown=1, **quiet)


def _open(records: Path, annotations: Path | None) -> Review:
    """The review of photos, with its ground truth."""
    review = registry.open(records)
    if annotations is not None:
        from anonymize.evaluate.ground_truth import read as read_annotations
        from anonymize.records import unescape

        root = Path(unescape(review.store.header.root))
        truth = read_annotations(annotations, root, sorted(unescape(p) for p in review.store.refresh()))
        if not truth.photos:
            raise AnnotationError(f"{annotations} says nothing of these photos")
        review.truth = truth
    return review
