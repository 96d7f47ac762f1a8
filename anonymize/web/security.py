"""Security: ASGI middleware around every route, the page's, the API's, Gradio's own and any that is mounted later.

Gradio's `auth` protects only Gradio's own routes, and those routes give files to whoever knows a path. So nothing
relies on them: in order, this checks the host name (against DNS rebinding), the origin of writing requests
(against forgery), the rate, the login, that a Gradio route is one that the page needs (none that takes or gives files),
that an event stream is its visitor's own, and the size. It gives each visitor a session and each answer its headers.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import OrderedDict, deque
from collections.abc import Iterable
from urllib.parse import quote, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .gradio_wall import FOLDERS, PREFIX, GradioWall, RefusedError
from .limits import Inflow, is_over, network
from .login import OPENID, Login, cookie
from .openid import CALLBACK
from .policy import LOOPBACK, MB, Policy
from .request_parts import Counted, TooLargeError, basic_credentials, charset, drain, host_name, say, too_large
from .sessions import COOKIE, HEADER, SECRET, Session, Sessions, new_secret

# Answers without an end: the page listens there as long as it is open.
STREAMS = ("/gradio_api/queue/data", "/gradio_api/heartbeat/")
# Answers that Gradio works out anew each time.
DRAWN = ("/", "/config", *(PREFIX + n for n in ("info", "info/", "config", "config/", "startup-events", "theme.css")))
UPLOADS = (
    "/api/", "/photos", "/batches", "/videos", *(PREFIX + n for n in ("call/", "run/anonymize", "api/anonymize")),
)  # fmt: skip
# Gradio reads a body in the event loop, where a larger one keeps all else waiting; /api/v1 takes larger photos.
MOST_GRADIO = 8 * MB
OURS = (
    "/api", "/docs", "/photos", "/batches", "/videos", "/visit", "/samples", "/healthz", "/login", "/logout", "/web",
)  # fmt: skip
CSP = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-src 'self'; "
    "frame-ancestors {ancestors}"
)


class SecurityMiddleware:
    """Wraps an ASGI app.

    Args:
        app: everything that is to be protected.
        policy: who may do what.
        sessions: the visitors; the one of a request is in `scope["state"]["session"]`, who signed in (or
            None) in `["user"]`.
        mounted: paths below which another app lives that only the login guards ("/review").
        wall: what of Gradio may be reached, and with what.
    """

    def __init__(
        self,
        app: ASGIApp,
        policy: Policy,
        sessions: Sessions,
        *,
        mounted: Iterable[str] = (),
        wall: GradioWall | None = None,
    ) -> None:
        self.app, self.policy, self.sessions, self.mounted = app, policy, sessions, tuple(mounted)
        self.wall = wall or GradioWall()
        self.login = Login(policy, sessions, self._address)
        self._requests: dict[str, deque[float]] = {}
        self._inflow = Inflow(policy, sessions.folder)
        self._stopping, self._drawing = asyncio.Event(), asyncio.Lock()
        self._owners: OrderedDict[str, str] = OrderedDict()  # an event stream of Gradio's -> session key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:  # nothing here speaks WebSocket
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        path: str = scope["path"]
        refusal = self._refuse(request)
        if refusal is None and path in ("/login", "/logout", OPENID, CALLBACK):
            refusal = await self.login.answer(request)
        elif refusal is None and path != "/healthz" and (needed := await self._needs_login(request)):
            refusal = needed
        secret, is_new = self._secret(request)
        if refusal is None and not path.startswith("/api/") and path != "/healthz":
            user = self.login.user(request)
            session = self.sessions.of(secret, f"user {user}" if user else self._address(request))
            scope.setdefault("state", {}).update(session=session, user=user)
            refusal = self._gradio(request, session)
        address = self._address(request)
        scope.setdefault("state", {})["address"] = address
        sender = self._with_headers(scope, send, secret if is_new else None)
        if refusal is not None:
            await refusal(scope, receive, sender)
            return
        most = self._most_bytes(path)
        announced = request.headers.get("content-length")
        size = 0 if request.method in ("GET", "HEAD") else int(announced) if announced else most
        if size > most:
            refusal = too_large(request, most)
        elif path != "/healthz" and self._inflow.is_busy(address):
            refusal = say(request, 429, "Too many requests at once; please wait a moment.", {"Retry-After": "10"})
        elif size and path.startswith(UPLOADS) and (why := self._inflow.refusal(address, size)):
            refusal = say(request, *why, {"Retry-After": "60"})
        if refusal is not None:
            if size and "expect" not in request.headers:  # whoever asks before sending has its answer before sending
                await drain(receive, 3 * most)
            await refusal(scope, receive, sender)
            return
        with self._inflow.coming(address, size if path.startswith(UPLOADS) else 0):
            await self._pass_on(request, receive, sender, most)

    async def _pass_on(self, request: Request, receive: Receive, sender: Send, most: int) -> None:
        """To the app: a body that is no larger than it may be, and to Gradio one that it takes."""
        scope, path = request.scope, request.scope["path"]
        body = Counted(receive, most)
        started = False

        async def send_unless_too_large(message: Message) -> None:
            nonlocal started
            if body.is_over and not started:
                return  # whatever the app makes of its cut body (a 500), the answer is ours
            started = True
            await sender(message)

        with contextlib.suppress(TooLargeError):
            if path.startswith(PREFIX) and request.method == "POST":
                try:
                    session = scope["state"]["session"]
                    scope, receive_checked = await self.wall.check(scope, body, lambda s: self._owns(s, session))
                except RefusedError as e:
                    await say(request, 400, str(e))(scope, receive, sender)
                    return
            else:
                receive_checked = body
            if path.startswith(STREAMS) or path.endswith("/events"):
                await self._until_stopped(scope, receive_checked, send_unless_too_large)
            elif path in DRAWN and request.method in ("GET", "HEAD"):
                await self._drawn(scope, receive_checked, send_unless_too_large)
            else:
                await self.app(scope, receive_checked, send_unless_too_large)
        if body.is_over and not started:
            if not body.is_read:
                await drain(receive, 3 * most)
            await too_large(request, most)(scope, receive, sender)

    async def _drawn(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One after the other: Gradio draws its page in the event loop, where many at once keep all else waiting."""
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        async with self._drawing:
            await self.app(scope, receive, keep)
        for message in messages:  # a slow reader keeps nobody waiting
            await send(message)

    def stop(self) -> None:
        """The server stops: end the streams that would keep it waiting."""
        self._stopping.set()

    async def _until_stopped(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_whole = False

        async def watch(message: Message) -> None:
            nonlocal is_whole
            is_whole = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        answering = asyncio.ensure_future(self.app(scope, receive, watch))
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({answering, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
                return
            answering.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await answering
            if not is_whole:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            answering.cancel()
            stopping.cancel()

    # --- who may come in ---

    def _refuse(self, request: Request) -> Response | None:
        policy = self.policy
        length = request.headers.get("content-length", "0")
        if not re.fullmatch("[0-9]{1,15}", length):
            return say(request, 400, "The request's Content-Length is not a number.")
        if "content-length" in request.headers and "transfer-encoding" in request.headers:
            # Limits go by the one, the body by the other; a proxy in front may see two requests.
            return say(request, 400, "The request says twice how long it is.", {"Connection": "close"})
        if not re.fullmatch("|utf-?8", charset(request.headers.get("content-type", ""))):
            return say(request, 415, "Text must be UTF-8.")  # other codecs make text that is none, or take for ever
        if policy.is_local and not policy.has_login and not policy.public:
            # A page elsewhere may have its own name point to 127.0.0.1; the browser then sends that name here.
            name = host_name(request.headers.get("host", ""))
            if name not in LOOPBACK:
                return say(request, 400, f"This server answers to localhost only, not to {name!r}.")
        if request.method not in ("GET", "HEAD", "OPTIONS"):
            origin = request.headers.get("origin")
            if origin not in (None, "null") and urlsplit(origin).netloc != request.headers.get("host"):
                return say(request, 403, "The request comes from another web site.")
            if request.headers.get("sec-fetch-site") == "cross-site":
                return say(request, 403, "The request comes from another web site.")
            if self._too_many(request):
                return say(request, 429, "Too many requests; please wait a minute.", {"Retry-After": "60"})
        return None

    def _too_many(self, request: Request) -> bool:
        """Photos that come in cost work; what a moving slider sends costs little, and there is much of it."""
        most, address = self.policy.requests_a_minute, self._address(request)
        if not most:
            return False
        if request.url.path.startswith(("/api/", "/photos", "/batches", "/videos")):
            return is_over(self._requests, address, most, 60.0, count=True)
        return is_over(self._requests, f"page {address}", 10 * most, 60.0, count=True)

    def _address(self, request: Request) -> str:
        # A Space's own proxy appends the visitor's address; elsewhere that header is whatever a visitor writes.
        forwarded = request.headers.get("x-forwarded-for") if self.policy.space else None
        return network((forwarded or "").rpartition(",")[2].strip() or (request.client.host if request.client else ""))

    async def _needs_login(self, request: Request) -> Response | None:
        policy, path = self.policy, request.url.path
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        key = credentials if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
        if path.startswith("/api/") and policy.api_keys and key and policy.knows_key(key):
            return None
        if self.login.user(request) is not None:
            return None
        if scheme.lower() == "basic" and policy.users:
            user, _, password = basic_credentials(credentials).partition(":")
            if await self.login.check(request, user, password):
                return None
            return say(request, 401, "The user name or the password is wrong.")
        is_about = path == "/api/v1/openapi.json" or path == "/api/docs" or path.startswith("/api/docs/")
        if path.startswith("/api/") and not is_about and policy.api_keys:
            return say(request, 401, "An API key is needed: Authorization: Bearer KEY.", {"WWW-Authenticate": "Bearer"})
        if not policy.has_login:
            return None
        if "text/html" in request.headers.get("accept", "") and request.method == "GET":
            return RedirectResponse(f"/login?next={quote(path)}", 303)
        return say(request, 401, "Please sign in.", {"WWW-Authenticate": 'Basic realm="anonymize"'})

    # --- sessions ---

    def _secret(self, request: Request) -> tuple[str, bool]:
        for given in (request.cookies.get(COOKIE), request.headers.get(HEADER)):
            if given and SECRET.fullmatch(given):
                return given, False
        return new_secret(), True

    def _with_headers(self, scope: Scope, send: Send, new: str | None) -> Send:
        path: str = scope["path"]
        ancestors = "'self' https://huggingface.co https://*.hf.space" if self.policy.space else "'self'"

        async def sender(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "same-origin"
                if not path.startswith(self.mounted or ("\0",)):
                    headers["Content-Security-Policy"] = CSP.format(ancestors=ancestors)
                if not path.startswith(FOLDERS):
                    headers["Cache-Control"] = headers.get("Cache-Control", "no-store")
                if new is not None and "set-cookie" not in headers and not path.startswith(("/api/", "/healthz")):
                    headers.append("set-cookie", cookie(self.policy, COOKIE, new, Request(scope)))
            await send(message)

        return sender

    # --- Gradio ---

    def _gradio(self, request: Request, session: Session) -> Response | None:
        path = request.scope["path"]
        if any(path == own or path.startswith(f"{own}/") for own in (*OURS, *self.mounted)):
            return None
        if not self.wall.has(request.method, path):
            return say(request, 404, "There is nothing here.")
        try:
            stream = self.wall.stream(request.scope, request.query_params.get("session_hash"))
        except RefusedError as e:
            return say(request, 400, str(e))
        if stream is not None and not self._owns(stream, session):
            return say(request, 404, "There is nothing here.")
        # Gradio reads a few more of them, such as the names of stored states.
        request.scope["query_string"] = b"" if stream is None else f"session_hash={stream}".encode()
        return None

    def _owns(self, stream: str, session: Session) -> bool:
        """Whether this visitor owns the event stream: whoever names it first does."""
        owner = self._owners.setdefault(stream, session.key)
        self._owners.move_to_end(stream)
        while len(self._owners) > 100_000:
            self._owners.popitem(last=False)
        return owner == session.key

    def _most_bytes(self, path: str) -> int:
        if path.startswith(PREFIX) and path.startswith(UPLOADS):
            return min(self.policy.most_upload, MOST_GRADIO)
        if path.startswith("/videos"):
            return self.policy.most_clip
        if path.startswith("/api/v1/videos"):
            return self.policy.most_clip + MB // 10  # the form around the clip
        if path.startswith(UPLOADS):
            return self.policy.most_upload + MB // 10  # the form around the photo
        if path.startswith(self.mounted or ("\0",)):
            return 20 * MB
        return 2 * MB
