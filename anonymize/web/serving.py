"""uvicorn around the app, with patience that ends: nobody holds a connection open by sending or reading nothing."""

from __future__ import annotations

import asyncio
import math
import time
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .root_path import RootPath
from .security import SecurityMiddleware

HEADER_SECONDS = 10.0  # from a connection's first moment, or a request's first byte, to the end of its headers
IDLE_SECONDS = 15  # between two requests
# A body has this long, and then must have come at this rate on average. Phones on bad networks are faster.
BODY_SECONDS, BODY_RATE = 30.0, 10_000.0  # s, bytes/s
READ_SECONDS = 60.0  # for a client to take anything at all of what it asked for
MOST_CONNECTIONS = 1000
_LOOK_SECONDS = 1.0


class Patient(H11Protocol):
    """A connection that is closed when its client keeps it waiting. Time in which the app itself does not read is free.

    Beyond `MOST_CONNECTIONS` the one goes that has been waiting longest for a request; where none waits, the new one.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._since = time.monotonic()  # the start of the headers, the body, or of waiting for a reader
        self._came = 0  # bytes of the body
        self._state, self._unread = "", 0
        if len(self.connections) > most_connections():
            waiting = [c for c in self.connections if isinstance(c, Patient) and c is not self and c.is_waiting()]
            min(waiting, key=lambda c: c._since, default=self).close_now()
        self._look_later()

    def data_received(self, data: bytes) -> None:
        if self._doing() == "nothing":  # the first bytes of a further request
            self._since = time.monotonic()
        super().data_received(data)
        if self._doing() == "body":
            self._came += len(data)

    def is_waiting(self) -> bool:
        return self._doing() in ("nothing", "headers")

    def close_now(self) -> None:
        if self.flow.write_paused:  # what waits to be sent would keep it open
            self.transport.abort()
        elif not self.transport.is_closing():
            self.transport.close()

    def _doing(self) -> str:
        """What the client has to do next."""
        if self.flow.write_paused:
            return "read"
        if self.conn.their_state is h11.SEND_BODY:
            return "body"
        if self.conn.their_state is h11.IDLE:
            return "headers" if self.conn.trailing_data[0] or self.cycle is None else "nothing"
        return "wait"

    def _look_later(self) -> None:
        self.loop.call_later(_LOOK_SECONDS, self._look)

    def _look(self) -> None:
        if self.transport.is_closing():
            return
        now, doing = time.monotonic(), self._doing()
        if doing != self._state:
            if doing != "headers" or self._state not in ("", "nothing"):
                self._since = now
            self._state, self._came = doing, 0
        passed = now - self._since
        if passed > {"headers": HEADER_SECONDS, "nothing": IDLE_SECONDS}.get(doing, math.inf):
            self.close_now()
        if doing == "body":
            if self.flow.read_paused:  # the app has not taken what came
                self._since += _LOOK_SECONDS
            elif passed > BODY_SECONDS + self._came / BODY_RATE:
                self.close_now()
        elif doing == "read":
            left = self.transport.get_write_buffer_size()
            if left != self._unread:
                self._since, self._unread = now, left
            elif passed > READ_SECONDS:
                self.close_now()
        self._look_later()


def most_connections() -> int:
    """`MOST_CONNECTIONS`, or half of the files that this process may have open, where that is less."""
    try:
        import resource

        return min(MOST_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
    except ImportError:  # Windows
        return MOST_CONNECTIONS


def behind(proxy: str | None) -> dict[str, Any]:
    """uvicorn's options: whom it believes who a visitor is, and that they came by https; nobody by default."""
    return {"proxy_headers": proxy is not None, "forwarded_allow_ips": proxy or []}


def serve(app: SecurityMiddleware, host: str, port: int, proxy: str | None = None, root_path: str = "") -> None:
    """Run until a signal comes. `root_path`: the prefix under which a proxy shows the server."""

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            app.stop()
            super().handle_exit(sig, frame)

    # No access log: it would name visitors and their photos.
    config = uvicorn.Config(
        RootPath(app, root_path) if root_path else app,
        host=host,
        port=port,
        http=Patient,
        log_level="warning",
        access_log=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=3,
        server_header=False,
        **behind(proxy),
    )
    Server(config).run()
