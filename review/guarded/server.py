"""FiftyOne's App and a review's photos as one guarded ASGI app, mounted at /review behind the server's own guard.

The guard in front (the web app's; on loopback `python -m review` brings its own) decides who comes in; this one
decides what they may do: photos of the open reviews only (`media`), and of FiftyOne only what `requests` and
`offered` name. A change that a person makes to labels in FiftyOne is in the records before it is acknowledged.
FiftyOne itself starts at the first request that needs it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from anonymize.errors import AnonymizeError, ReadOnlyError, RecordsError, ReviewError
from review import photos
from review.clip_dataset import ClipsReview
from review.dataset import PLUGIN, fiftyone
from review.reviews import LOCAL_USER, NOTHING, Review, Reviews, User
from review.tab_handlers import ONLY_LOOKED_AT, ReviewHandlers

from . import offered, patches, process, requests
from .child import CHILD
from .offered import RefusedError
from .proxy import change_json, collect, path_of, replay, strip_errors, whole_json, with_body, without_undo

log = logging.getLogger("anonymize.review")
PICTURE = Path(__file__).with_name("fiftyone.jpg")
FAILED = "The operator failed; the server's log says why."
Shown = Sequence[Review | ClipsReview]
STATIC = ("", "/", "/index.html", "/favicon.ico")


class ReviewServer:
    """The ASGI app.

    Args:
        reviews: the open ones.
        who: the visitor of a request, as the guard in front knows them; the person at this machine when not given.
        read_only: a public demo: photos of its sample are shown, and there is no FiftyOne.
        handlers: answers what the page's Review tab asks; without one there is no such tab.
    """

    def __init__(
        self,
        reviews: Reviews,
        *,
        who: Callable[[Scope], User] = lambda _: LOCAL_USER,
        read_only: bool = False,
        handlers: ReviewHandlers | None = None,
    ) -> None:
        self.reviews, self.who, self.read_only, self.handlers = reviews, who, read_only, handlers
        self.operators: ASGIApp = PlainTextResponse(NOTHING, 404)
        self._starting = asyncio.Lock()
        self._static: Path | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await (await self._answer(scope, receive, send))(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> ASGIApp:
        request = Request(scope, receive)
        try:
            return await self._route(request, self.who(scope))
        except ReadOnlyError as e:
            return PlainTextResponse(str(e), 403)
        except RefusedError as e:
            log.info("refused: %s", e)
            return PlainTextResponse(NOTHING, 403)
        except (ReviewError, RecordsError) as e:
            status = 503 if isinstance(e, ReviewError) else 409
            if request.method == "GET":  # a person followed a link
                return PlainTextResponse(str(e), status)
            return JSONResponse({"error": str(e)}, status)

    async def _route(self, request: Request, user: User) -> ASGIApp:
        scope = request.scope
        path, method = path_of(scope), request.method
        if "\\" in path or "//" in path or ".." in path.split("/") or "\0" in path:
            raise RefusedError("an odd path")
        if path == "/media":
            if method not in ("GET", "HEAD"):
                raise RefusedError("media is only read")
            return await run_in_threadpool(self.media, request, user)
        if path == "/clean" and method == "GET":
            return await run_in_threadpool(self.clean, request, user)
        if path.startswith("/api/"):
            return await self._tab(request, path.removeprefix("/api/"))
        if path == "/fiftyone.jpg" and method in ("GET", "HEAD"):  # for where there is no FiftyOne
            return FileResponse(PICTURE, media_type="image/jpeg", headers={"Cache-Control": "max-age=86400"})
        if path == "/export" and method == "GET":
            review = self.reviews.find(request.query_params.get("name", ""), user)
            if self.read_only and review.owner is None:
                raise ReadOnlyError(ONLY_LOOKED_AT)
            anything = request.query_params.get("unreviewed") == "yes"
            return await run_in_threadpool(photos.export_zip, review, anything)
        shown: list[Review | ClipsReview] = [r for r in self.reviews.of(user) if r.owner is None]
        if self.read_only or not user.is_reviewer:
            raise RefusedError("FiftyOne is for reviewers")
        clips = self.reviews.clips
        if path == "/open":  # the page's link: makes the dataset, then shows it
            name = request.query_params.get("name", "")
            of_clips = next((c for c in clips if c.name == name), None)
            await run_in_threadpool((of_clips or self.reviews.find(name, user)).update)
            return RedirectResponse(_address(scope, name), 303)
        if not (shown or clips):
            raise RefusedError("no review is open")
        shown = [r for r in (*shown, *clips) if r.is_shown]
        app = await self._fiftyone()
        if method in ("GET", "HEAD"):
            if path in STATIC and shown and scope.get("root_path"):
                return RedirectResponse(_address(scope, shown[0].name))
            await self._check_page(path, shown)
            if method == "GET" and (path in STATIC or path in {f"/datasets/{r.name}" for r in shown}):
                return strip_errors(without_undo(with_body(app, b"", request)))
            return strip_errors(app)
        if sample := offered.SAMPLE.fullmatch(path):
            return await self._edit(request, sample, shown, user, app)
        if method != "POST":
            raise RefusedError("a method that is not offered")
        return await self._post(request, path, shown, user, app)

    async def _check_page(self, path: str, shown: Shown) -> None:
        """What may be got of FiftyOne: its page for one of these reviews, and what that needs.

        Raises:
            RefusedError: anything else.
        """
        if path.startswith("/datasets/"):
            name = path.split("/")[2]
            review = next((r for r in shown if r.name == name), None)
            if review is None and not self._is_static("/" + path.partition("/datasets/")[2]):
                raise RefusedError("another dataset")
            if review is not None and path == f"/datasets/{name}":  # the page is loaded anew: so are its samples
                await run_in_threadpool(review.update)
        elif path not in (*STATIC, "/plugins", "/fiftyone") and not self._is_static(path):
            raise RefusedError("a route that is not offered")

    async def _post(self, request: Request, path: str, shown: Shown, user: User, app: ASGIApp) -> ASGIApp:
        """A request with a body: checked against what the App sends, and written afresh."""
        names = {r.name for r in shown}
        value = await whole_json(request)
        requests.check(path, value, names | {str(r.shown._doc.id) for r in shown})
        if path.startswith("/operators"):
            app = self.operators
        if path in ("/operators/execute", "/operators/resolve-type", "/operators/resolve-execution-options"):
            # Who decides is known here, whatever the browser says.
            value["params"] = {**(value.get("params") or {}), "reviewer": user.name}
        # Written afresh: what FiftyOne reads is what was looked at.
        inner = with_body(app, json.dumps(value).encode(), request)
        if path == "/graphql":
            return strip_errors(change_json(inner, lambda answer: offered.only_own(answer, names)))
        if path in ("/operators", "/operators/resolve-placements"):
            return strip_errors(change_json(inner, _only_ours))
        if path.startswith("/operators"):
            homes = [place for r in shown for place in r.homes() if len(place) > 1]
            return strip_errors(change_json(inner, lambda answer: _without(_no_traceback(answer), homes)))
        return strip_errors(inner)

    async def _fiftyone(self) -> ASGIApp:
        """FiftyOne's server, in its own process; the operators' routes in this one, started at the first call.

        Raises:
            ReviewError: it cannot start.
        """
        async with self._starting:
            if self._static is None:
                self.operators = await run_in_threadpool(_operators)
                self._static = Path(sys.modules["fiftyone"].__file__ or "").parent / "server" / "static"
            return CHILD

    def _is_static(self, path: str) -> bool:
        """A file that FiftyOne's package brings; nothing that a link leads to."""
        if self._static is None or not path.strip("/"):
            return False
        file = self._static / path.lstrip("/")
        return file.is_file() and file.resolve().is_relative_to(self._static.resolve())

    # --- the page's tab, and photos ---

    async def _tab(self, request: Request, what: str) -> Response:
        if self.handlers is None or request.method != "POST":
            raise RefusedError("not offered")
        asked = await whole_json(request)
        status, value = await run_in_threadpool(self.handlers.answer, request.scope, what, asked)
        return JSONResponse(value, status, {"Cache-Control": "no-store"})

    def clean(self, request: Request, user: User) -> Response:
        """A photo as an export would write it now, small."""
        review = self.reviews.find(request.query_params.get("review", ""), user)
        return photos.clean(review, request.query_params.get("photo", ""))

    def media(self, request: Request, user: User) -> Response:
        """A photo of an open review, upright; or a clip. Anything else is refused with one and the same answer."""
        refused = PlainTextResponse(NOTHING, 404)
        given = parse_qs(request.scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=10)
        wanted = given.get("filepath", [])
        if len(wanted) != 1:
            return refused
        for review in self.reviews.of(user):
            if source := photos.photo_file(review, wanted[0]):
                return photos.answer(source, review, is_small=given.get("size") == ["screen"])
        if user.is_reviewer and not self.read_only:
            for clips in self.reviews.clips:
                if source := clips.file(wanted[0]):
                    return FileResponse(source, headers={"Cache-Control": "no-store"})  # a player asks for parts of it
        return refused

    # --- changes ---

    async def _edit(self, request: Request, sample: Any, shown: Shown, user: User, app: ASGIApp) -> ASGIApp:
        """A label drawn, moved or deleted in FiftyOne: FiftyOne's database, then the records, then the answer."""
        review = next((r for r in shown if str(r.shown._doc.id) == sample[1]), None)
        if not isinstance(review, Review) or request.method not in ("PATCH", "GET"):
            raise RefusedError("another dataset")
        if request.method == "GET":
            return strip_errors(app)
        if set(request.query_params) - {"generated_dataset", "generated_sample_id"}:
            raise RefusedError("an odd parameter")
        value = await whole_json(request)
        patches.check(value, is_of_label=bool(sample[3]))
        inner = with_body(app, json.dumps(value).encode(), request)  # what FiftyOne reads is what was looked at
        start, body = await collect(inner, request.scope)
        if start["status"] == 200:
            try:
                await run_in_threadpool(review.dataset.sync, sample[2], user.name)
            except AnonymizeError as e:
                return JSONResponse({"error": str(e)}, 409)
        return strip_errors(replay(start, body))


def _operators() -> ASGIApp:
    """The routes of operators: ours, which decide in the records and so run here, not in FiftyOne's own process."""
    fo = fiftyone()
    # Plugins of this person's own FiftyOne are code that a guarded server does not load.
    fo.config.plugins_dir = str(PLUGIN)
    from fiftyone.operators.server import OperatorRoutes
    from starlette.applications import Starlette
    from starlette.routing import Route

    process.close()
    return Starlette(routes=[Route(path, endpoint) for path, endpoint in OperatorRoutes])


def _address(scope: Scope, name: str) -> str:
    """Where the App shows a dataset; under a mount it must be told where it lives, as a browser sees it."""
    root = scope.get("root_path", "")
    before = scope.get("state", {}).get("root_path", "")
    return f"{root}/datasets/{name}?proxy={before}{root}/" if root else f"/datasets/{name}"


def _no_traceback(answer: Any) -> Any:
    """What an operator answered; of an error that is none of ours no text, which is full of paths and names."""
    if isinstance(answer, dict) and (answer.get("error") or answer.get("error_message")):
        log.warning("an operator failed: %s", answer.get("error") or answer.get("error_message"))
        return {**answer, "error": FAILED, "error_message": FAILED}
    return answer


def _without(answer: Any, homes: Sequence[str]) -> Any:
    """The same without the folders where records and photos are."""
    if isinstance(answer, dict):
        return {key: _without(inner, homes) for key, inner in answer.items()}
    if isinstance(answer, list):
        return [_without(inner, homes) for inner in answer]
    if isinstance(answer, str) and not answer.startswith("data:"):
        for home in sorted(homes, key=len, reverse=True):
            answer = answer.replace(home, "…")
    return answer


def _only_ours(answer: dict[str, Any]) -> dict[str, Any]:
    """The list of operators, or of their buttons, cut down to ours."""
    return {
        key: [o for o in answer[key] if str(o.get("uri") or o.get("operator_uri")) in offered.OPERATORS]
        for key in ("operators", "placements")
        if key in answer
    } | {"errors": []}
