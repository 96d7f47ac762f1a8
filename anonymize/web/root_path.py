"""The server below a prefix of somebody's site: https://example.org/photos/."""

from __future__ import annotations

import re

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import SettingsError


class RootPath:
    """Takes a prefix off the paths of requests, whether the proxy has done so or not, and puts it before redirects and
    cookies. Inside, the server is at the root; its pages name addresses relative to themselves.

    Args:
        prefix: as "/photos".

    Raises:
        SettingsError: it is none.
    """

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self.app, self.prefix = app, check(prefix)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path: str = scope["path"]
        if path == self.prefix:  # without the slash the page's own addresses would lead elsewhere
            await RedirectResponse(f"{self.prefix}/", 308)(scope, receive, send)
            return
        if path.startswith(f"{self.prefix}/"):
            cut = len(self.prefix.encode())
            scope = {**scope, "path": path[len(self.prefix) :], "raw_path": scope.get("raw_path", b"")[cut:]}
        scope = {**scope, "state": {**scope.get("state", {}), "root_path": self.prefix}}

        async def send_with_prefix(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [(name, self._change(name.lower(), value)) for name, value in message["headers"]]
                message = {**message, "headers": headers}
            await send(message)

        await self.app(scope, receive, send_with_prefix)

    def _change(self, name: bytes, value: bytes) -> bytes:
        prefix = self.prefix.encode()
        if name == b"location" and value.startswith(b"/") and not value.startswith((b"//", b"/\\")):
            return prefix + value
        if name == b"set-cookie":
            return re.sub(rb"(?i)(;\s*path=)/(?=;|$)", rb"\1" + prefix + b"/", value)
        return value


def check(prefix: str) -> str:
    """A prefix without a slash at its end.

    Raises:
        SettingsError: not a path of plain names.
    """
    found = prefix.rstrip("/")
    if not re.fullmatch(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+", found):
        raise SettingsError(f"a root path is a path like /photos; received {prefix!r}")
    return found
