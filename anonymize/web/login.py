"""Signing in and out: who somebody is by their password, and the cookie that says so afterwards."""

from __future__ import annotations

import asyncio
import hmac
import html
import re
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs, quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from . import openid
from .limits import is_over
from .openid import CALLBACK, OpenIdError
from .policy import Policy
from .request_parts import TooLargeError, say, too_large, whole_text
from .sessions import COOKIE, Sessions, new_secret

OPENID = "/login/openid"
LOGIN_COOKIE = "anonymize_login"
LOGIN_SECONDS = 12 * 3600.0
# Wrong passwords from one address before it has to wait, and how long.
MOST_WRONG, WRONG_SECONDS = 8, 60.0


class Login:
    """Who signed in.

    Args:
        policy: its users. sessions: the visitors; signing out deletes one. address: where a request comes from.
    """

    def __init__(self, policy: Policy, sessions: Sessions, address: Callable[[Request], str]) -> None:
        self.policy, self.sessions, self.address = policy, sessions, address
        self._logins: OrderedDict[str, tuple[str, float]] = OrderedDict()  # secret -> user, when
        self._wrong: dict[str, deque[float]] = {}
        self._key, self._verified = secrets.token_bytes(32), set[bytes]()
        self._verifying = asyncio.Semaphore(2)
        self.openid = openid.OpenId(policy.openid) if policy.openid else None

    def user(self, request: Request) -> str | None:
        """Who sent a request, by its cookie."""
        user, since = self._logins.get(request.cookies.get(LOGIN_COOKIE, ""), ("", 0.0))
        return user if user and time.monotonic() - since < LOGIN_SECONDS else None

    async def check(self, request: Request, user: str, password: str) -> bool:
        """Whether this is the user's password; an address that was wrong too often has to wait."""
        address = self.address(request)
        if is_over(self._wrong, address, MOST_WRONG, WRONG_SECONDS):
            return False
        # A program signs in with each request: what was right once is known by a hash that is quick, and of no use
        # outside this process.
        known = hmac.digest(self._key, f"{user}\0{password}".encode(), "sha256")
        if known in self._verified:
            return True
        async with self._verifying:  # each takes 32 MB and a tenth of a second
            is_right = await run_in_threadpool(self.policy.knows, user, password)
        if is_right:
            self._verified.add(known)
            return True
        is_over(self._wrong, address, MOST_WRONG, WRONG_SECONDS, count=True)
        return False

    async def answer(self, request: Request) -> Response:
        """To a request for /login or /logout."""
        if not self.policy.has_login:
            return RedirectResponse("/", 303)
        if request.url.path == "/logout":
            return self._out(request)
        target = request.query_params.get("next", "/")
        if not target.startswith("/") or target.startswith(("//", "/\\")):
            target = "/"
        if request.url.path in (OPENID, CALLBACK):
            return await self._elsewhere(request, target)
        if request.method in ("GET", "HEAD"):
            return HTMLResponse(self._page(request, target))
        if request.method != "POST":
            return say(request, 405, "GET or POST.", {"Allow": "GET, POST"})
        try:
            form = parse_qs(await whole_text(request, 10_000), keep_blank_values=True)
        except TooLargeError:
            return too_large(request, 10_000)
        except UnicodeDecodeError:
            return say(request, 400, "The form is not text.")
        user, password = form.get("user", [""])[0], form.get("password", [""])[0]
        waits = is_over(self._wrong, self.address(request), MOST_WRONG, WRONG_SECONDS)
        if not await self.check(request, user, password):
            why = "Too many attempts; please wait a minute." if waits else "The user name or the password is wrong."
            return HTMLResponse(self._page(request, target, why), 429 if waits else 401)
        return self._welcome(request, user, target)

    async def _elsewhere(self, request: Request, target: str) -> Response:
        """To the server where users have their accounts, and back from there."""
        if self.openid is None or request.method != "GET":
            return say(request, 404, "There is nothing here.")
        try:
            if request.url.path == OPENID:
                https = self.policy.space or request.url.scheme == "https"
                root = request.scope.get("state", {}).get("root_path", "")
                callback = request.url.replace(path=f"{root}{CALLBACK}", query="", scheme="https" if https else "http")
                response, begun = await self.openid.begin(request, target, str(callback))
                # Lax: it has to come back with a visitor whom the other server sends.
                response.headers.append("set-cookie", cookie(self.policy, openid.COOKIE, begun, request))
                return response
            user, target = await self.openid.finish(request)
            if user in self.policy.users:  # whose password is another matter
                raise OpenIdError("That name has a password here; please sign in with it.")
        except OpenIdError as e:
            return HTMLResponse(self._page(request, target, str(e)), 401)
        return self._welcome(request, user, target)

    def _welcome(self, request: Request, user: str, target: str) -> Response:
        """The answer to who has proved to be this user: a cookie, and where they wanted to go."""
        secret = new_secret()
        self._logins[secret] = (user, time.monotonic())
        while len(self._logins) > 10_000:
            self._logins.popitem(last=False)
        response = RedirectResponse(target, 303)
        # Whoever knew this browser's session before the login (a shared computer) does not know the one after it.
        for name, value in ((LOGIN_COOKIE, secret), (COOKIE, new_secret())):
            response.headers.append("set-cookie", cookie(self.policy, name, value, request))
        return response

    def _out(self, request: Request) -> Response:
        if request.method != "POST":  # a picture's address in another site's page would sign out, too
            return say(request, 405, "POST.", {"Allow": "POST"})
        self._logins.pop(request.cookies.get(LOGIN_COOKIE, ""), None)
        if secret := request.cookies.get(COOKIE):
            self.sessions.delete(self.sessions.of(secret))
        response: Response = RedirectResponse("/login", 303)
        response.delete_cookie(LOGIN_COOKIE)
        response.delete_cookie(COOKIE)
        return response

    def _page(self, request: Request, target: str, problem: str = "") -> str:
        said = f'<p role="alert">{html.escape(problem)}</p>' if problem else ""
        page = (Path(__file__).parent / "static" / "login.html").read_text("utf-8")
        if not self.policy.users:
            page = re.sub("<form.*</form>", "", page, flags=re.DOTALL)
        provider = self.policy.openid
        root = request.scope.get("state", {}).get("root_path", "")  # the prefix under which a proxy shows the server
        link = html.escape(f"{root}{OPENID}?next={quote(target)}")
        other = f'<a href="{link}">Sign in with {html.escape(provider.title)}</a>' if provider else ""
        page = page.replace("{action}", html.escape(f"{root}/login?next={quote(target)}"))
        return page.replace("{problem}", said).replace("{other}", other)


def cookie(policy: Policy, name: str, value: str, request: Request) -> str:
    """A cookie that no script reads and no other site sends."""
    jar: SimpleCookie = SimpleCookie()
    jar[name] = value
    morsel = jar[name]
    morsel["path"], morsel["httponly"] = "/", True
    https = policy.space or request.url.scheme == "https"
    # In a Space the page stands inside another site's frame: only such a cookie comes back from there.
    morsel["samesite"] = "None" if policy.space else "Lax"
    text = morsel.OutputString()
    return text + ("; Secure" if https else "") + ("; Partitioned" if policy.space else "")
