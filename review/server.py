"""FiftyOne's App and a review's photos as one guarded ASGI app, mounted at /review behind the server's own guard.

The guard in front (the web app's; on loopback `python -m review` brings its own) decides who comes in; this one decides
what they may do: photos of the open reviews only (`media`), and of FiftyOne only what `policy` names. A change that a
person makes to labels in FiftyOne is in the records before it is acknowledged. FiftyOne itself starts at the first
request that needs it.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import os
import stat
import tempfile
import zipfile
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anonymize import images
from anonymize.errors import AnonymizeError, RecordsError
from anonymize.records import escape, unescape

from . import policy
from .dataset import ReviewError, fiftyone
from .policy import RefusedError
from .reviews import ALONE, Review, Reviews, Visitor

log = logging.getLogger("anonymize.review")
MOST_BYTES = 5_000_000
STATIC = ("", "/", "/index.html", "/favicon.ico")
# Browsers show these as they are, turned upright by themselves; anything else is decoded here.
SHOWN_BY_BROWSERS = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
# The App asks other hosts for fonts; nothing of a review leaves the machine, not even that.
CSP = (
    b"default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    b"style-src 'self' 'unsafe-inline'; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; "
    b"frame-ancestors 'self'"
)
NOTHING = "There is nothing here for you."


class ReviewServer:
    """The ASGI app.

    Args:
        reviews: the open ones.
        who: the visitor of a request, as the guard in front knows them; the person at this machine when not given.
        read_only: look, but decide nothing.
    """

    def __init__(
        self, reviews: Reviews, *, who: Callable[[Scope], Visitor] = lambda _: ALONE, read_only: bool = False
    ) -> None:
        self.reviews, self.who, self.read_only = reviews, who, read_only
        self._app: ASGIApp | None = None
        self._starting = asyncio.Lock()
        self._stack = contextlib.AsyncExitStack()
        self._static: Path | None = None
        self.router = self  # the server in front runs `router.lifespan_context` of what it mounts

    @contextlib.asynccontextmanager
    async def lifespan_context(self, _: Any = None) -> AsyncIterator[None]:
        async with self._stack:
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await (await self._answer(scope, receive, send))(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._stack.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> ASGIApp:
        request = Request(scope, receive)
        try:
            return await self._route(request, self.who(scope))
        except RefusedError as e:
            log.info("refused: %s", e)
            return PlainTextResponse(NOTHING, 403)
        except (ReviewError, RecordsError) as e:
            return JSONResponse({"error": str(e)}, 503 if isinstance(e, ReviewError) else 409)

    async def _route(self, request: Request, visitor: Visitor) -> ASGIApp:
        scope = request.scope
        root = scope.get("root_path", "")
        path = scope["path"]
        path = path[len(root) :] if root and path.startswith(root) else path
        method = request.method
        if "\\" in path or "//" in path or ".." in path.split("/") or "\0" in path:
            raise RefusedError("an odd path")
        if path == "/media":
            if method not in ("GET", "HEAD"):
                raise RefusedError("media is only read")
            return await run_in_threadpool(self.media, request, visitor)
        if path == "/export" and method == "GET":
            review = self.reviews.find(request.query_params.get("name", ""), visitor)
            if self.read_only and review.owner is None:
                raise RefusedError("only looked at")
            return await run_in_threadpool(_zip, review)
        shown = [r for r in self.reviews.of(visitor) if r.owner is None]
        if path == "/open":  # the page's link: makes the dataset, then shows it
            review = self.reviews.find(request.query_params.get("name", ""), visitor)
            await run_in_threadpool(lambda: review.dataset.update())
            return RedirectResponse(_address(root, review.name), 303)
        if not shown:
            raise RefusedError("no review is open")
        shown = [r for r in shown if r.is_shown]
        names = {r.name for r in shown}
        app = await self._fiftyone()
        if method in ("GET", "HEAD"):
            if path in STATIC:
                return RedirectResponse(_address(root, shown[0].name)) if shown and root else _hushed(app)
            if path.startswith("/datasets/"):
                if path.split("/")[2] not in names and not self._is_static("/" + path.partition("/datasets/")[2]):
                    raise RefusedError("another dataset")
                return _hushed(app)
            if path in ("/plugins", "/fiftyone") or self._is_static(path):
                return _hushed(app)
            raise RefusedError("a route that is not offered")
        if sample := policy.SAMPLE.fullmatch(path):
            return await self._edit(request, sample, shown, visitor, app)
        if method != "POST":
            raise RefusedError("a method that is not offered")
        body, again = await _body(request)
        value = _json(body)
        ids = names | {str(r.dataset.dataset._doc.id) for r in shown}
        if path == "/graphql":
            policy.check_graphql(value, ids, read_only=self.read_only)
            return _hushed(_changed(_with_body(app, again), lambda answer: policy.only_own(answer, names)))
        if path in ("/operators/execute", "/operators/resolve-type", "/operators/resolve-execution-options"):
            policy.check_json(value, ids, read_only=self.read_only)
            policy.check_operator(value, names, read_only=self.read_only)
            # Who decides is known here, whatever the browser says.
            params = value.get("params")
            value["params"] = {**(params if isinstance(params, dict) else {}), "reviewer": visitor.name}
            again = _receive(json.dumps(value).encode(), request)
            return _hushed(_with_body(app, again))
        if path in ("/operators", "/operators/resolve-placements"):
            policy.check_json(value, ids, read_only=self.read_only)
            return _hushed(_changed(_with_body(app, again), _only_ours))
        if path in ("/event", "/events"):
            policy.check_json(value, ids, read_only=self.read_only)
            policy.check_event(value, names)
        elif path in ("/aggregate", "/values", "/tagging", "/sort"):
            policy.check_json(value, ids, read_only=self.read_only)
        else:
            raise RefusedError("a route that is not offered")
        return _hushed(_with_body(app, again))

    async def _fiftyone(self) -> ASGIApp:
        """FiftyOne's own app, started at the first call; debug off.

        Raises:
            ReviewError: it cannot start.
        """
        async with self._starting:
            if self._app is None:
                await run_in_threadpool(fiftyone)

                def load() -> Any:
                    from fiftyone.server import app as module

                    return module

                module = await run_in_threadpool(load)
                inner = module.app
                inner.debug = False
                self._static = Path(module.__file__).parent / "static"
                # Starlette does not run a mounted app's lifespan.
                await self._stack.enter_async_context(inner.router.lifespan_context(inner))
                self._app = inner
            return self._app

    def _is_static(self, path: str) -> bool:
        """A file that FiftyOne's package brings; nothing that a link leads to."""
        if self._static is None or not path.strip("/"):
            return False
        file = self._static / path.lstrip("/")
        return file.is_file() and file.resolve().is_relative_to(self._static.resolve())

    # --- photos ---

    def media(self, request: Request, visitor: Visitor) -> Response:
        """A photo of an open review, upright. Anything else is refused with one and the same answer."""
        refused = PlainTextResponse(NOTHING, 404)
        given = parse_qs(request.scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=10)
        wanted = given.get("filepath", [])
        if len(wanted) != 1:
            return refused
        for review in self.reviews.of(visitor):
            if source := photo_file(review, wanted[0]):
                return _photo(source, review)
        return refused

    # --- changes ---

    async def _edit(
        self, request: Request, sample: Any, shown: Sequence[Review], visitor: Visitor, app: ASGIApp
    ) -> ASGIApp:
        """A label drawn, moved or deleted in FiftyOne: FiftyOne's database, then the records, then the answer."""
        review = next((r for r in shown if str(r.dataset.dataset._doc.id) == sample[1]), None)
        if review is None or self.read_only or request.method not in ("PATCH", "GET"):
            raise RefusedError("another dataset, or no changes here")
        if request.method == "GET":
            return _hushed(app)
        if set(request.query_params) - {"generated_dataset", "generated_sample_id"}:
            raise RefusedError("an odd parameter")
        body, again = await _body(request)
        value = _json(body)
        policy.check_field_patch(value) if sample[3] else policy.check_patch(value)
        messages = await _collected(_with_body(app, again), request.scope)
        status = messages[0]["status"]
        if status == 200:
            try:
                await run_in_threadpool(review.dataset.sync, sample[2], visitor.name)
            except AnonymizeError as e:
                return JSONResponse({"error": str(e)}, 409)
        return _hushed(_replay(messages))


def _address(root: str, name: str) -> str:
    """Where the App shows a dataset; under a mount it must be told where it lives."""
    return f"{root}/datasets/{name}?proxy={root}/" if root else f"/datasets/{name}"


def photo_file(review: Review, wanted: str) -> Path | None:
    """The file behind a sample's file path, if it is a photo of this review: named in its records, and no link."""
    root = review.book.header.root.rstrip("/")
    shown = unescape(root)
    for base, is_escaped in ((shown, False), (root, True)):
        if not wanted.startswith(base + "/"):
            continue
        name = wanted[len(base) + 1 :]
        path = name if is_escaped else None
        if path is None:
            path = escape(name)
        if path not in review.book.refresh():
            continue
        source = Path(shown) / unescape(path)
        try:
            parts = [shown, *unescape(path).split("/")]
            for n in range(2, len(parts) + 1):  # neither the file nor a folder on the way may be a link
                if stat.S_ISLNK(os.lstat("/".join(parts[:n])).st_mode):
                    return None
            if ".." in parts or not stat.S_ISREG(os.stat(source).st_mode):
                return None
        except (OSError, ValueError):
            return None
        return source
    return None


def _zip(review: Review) -> Response:
    """What the last export of a review wrote, as one file."""
    handle, name = tempfile.mkstemp(suffix=".zip")
    kept = {p for p in review.book.refresh() if images.output_path(unescape(p), review.output).is_file()}
    with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(kept):
            written = images.output_path(unescape(path), review.output)
            archive.write(written, os.fsencode(written.relative_to(review.output)).decode("utf-8", "replace"))
    return FileResponse(name, filename="approved.zip", background=BackgroundTask(os.unlink, name))


def _photo(source: Path, review: Review) -> Response:
    headers = {"Cache-Control": "private, max-age=60", "X-Content-Type-Options": "nosniff"}
    kind = SHOWN_BY_BROWSERS.get(source.suffix.lower())
    if kind:
        return FileResponse(source, media_type=kind, headers=headers)
    from PIL import Image

    try:
        photo = images.load(source, review.book.settings)
    except AnonymizeError as e:
        log.info("%s", e)
        return PlainTextResponse(NOTHING, 404)
    out = io.BytesIO()
    Image.fromarray(photo.rgb).save(out, "JPEG", quality=92)
    return Response(out.getvalue(), media_type="image/jpeg", headers=headers)


async def _body(request: Request) -> tuple[bytes, Receive]:
    """The whole body, and a `receive` that gives it once more."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MOST_BYTES:
            raise RefusedError("too large")
        chunks.append(chunk)
    body = b"".join(chunks)
    return body, _receive(body, request)


def _receive(body: bytes, request: Request) -> Receive:
    is_given = False

    async def again() -> Message:
        nonlocal is_given
        if not is_given:
            is_given = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await request.receive()

    return again


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as e:
        raise RefusedError("not JSON") from e


def _with_body(app: ASGIApp, again: Receive) -> ASGIApp:
    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        # The body may be another one than the browser's.
        headers = [h for h in scope["headers"] if h[0].lower() != b"content-length"]
        await app({**scope, "headers": headers}, again, send)

    return run


async def _collected(app: ASGIApp, scope: Scope) -> list[Message]:
    messages: list[Message] = []

    async def keep(message: Message) -> None:
        messages.append(message)

    async def nothing() -> Message:
        return {"type": "http.disconnect"}

    await app(scope, nothing, keep)
    return messages


def _replay(messages: Sequence[Message]) -> ASGIApp:
    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return run


def _changed(app: ASGIApp, change: Callable[[Any], Any]) -> ASGIApp:
    """An answer in JSON, changed on its way."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        messages = await _collected(app, scope)
        status = messages[0]["status"]
        body = b"".join(m.get("body", b"") for m in messages[1:])
        response: Response = PlainTextResponse(NOTHING, status)
        if status == 200:
            response = Response(json.dumps(change(json.loads(body))), media_type="application/json")
        await response(scope, receive, send)

    return run


def _only_ours(answer: dict[str, Any]) -> dict[str, Any]:
    """The list of operators, or of their buttons, cut down to ours."""
    out: dict[str, Any] = {}
    for key in ("operators", "placements"):
        if key in answer:
            names = [str(o.get("uri") or o.get("operator_uri")) for o in answer[key]]
            out[key] = [
                o
                for o, n in zip(answer[key], names, strict=True)
                if n.startswith(f"{policy.PLUGIN}/") or n in policy.READING
            ]
    return {**out, "errors": []}


def _hushed(app: ASGIApp) -> ASGIApp:
    """Errors without their text: FiftyOne puts stacks, paths and names into them."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        is_error = False

        async def send_hushed(message: Message) -> None:
            nonlocal is_error
            if message["type"] == "http.response.start" and message["status"] >= 400 and message["status"] != 412:
                is_error = True
                log.info("FiftyOne answered %s to %s", message["status"], scope["path"])
                await PlainTextResponse(NOTHING, message["status"])(scope, receive, send)
            elif not is_error:
                if message["type"] == "http.response.start":
                    message = {**message, "headers": [*message["headers"], (b"content-security-policy", CSP)]}
                await send(message)

        try:
            await app(scope, receive, send_hushed)
        except Exception as e:
            if is_error:
                return
            log.exception("FiftyOne failed")
            raise RuntimeError("FiftyOne failed") from e

    return run
