"""FiftyOne's server as an ASGI app: started in a process of its own at the first request, and started anew if it dies.

Only this process reaches it: it listens on a socket's file in a folder that only this account may enter.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from anonymize.errors import ReviewError
from review.database import URI, keep, own_folder

from .proxy import path_of

log = logging.getLogger("anonymize.review")
SECONDS = 120.0  # for one answer; starting takes 6 on an idle machine
SILENCE = 30.0  # the event stream says something every 2 s
KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "SYSTEMROOT", "LD_LIBRARY_PATH")
# Of one connection, and not of what is said on it.
HOPS = {b"connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"te", b"host", b"content-length", b"expect"}
# Nothing that says who a visitor is leaves this process.
PRIVATE = {b"cookie", b"authorization", b"x-api-key", b"x-forwarded-for", b"forwarded", b"origin", b"referer"}


class Child:
    """One process of FiftyOne's server. Thread-safe."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._at = Path()

    def start(self) -> Path:
        """Where it listens; it is started if it is not there."""
        with self._guard:
            if self._process is None or self._process.poll() is not None:
                if self._process is not None:
                    log.warning("FiftyOne's process ended (%s); it is started anew", self._process.returncode)
                self._start()
            return self._at

    def _start(self) -> None:
        folder = own_folder()
        self._at = folder / "fiftyone.sock"
        environment = {k: os.environ[k] for k in KEPT if k in os.environ}
        environment |= {k: v for k, v in os.environ.items() if k.startswith("FIFTYONE_")}
        environment |= {
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "MPLCONFIGDIR": str(folder),
            "PYTHONPATH": os.pathsep.join(p for p in (str(Path(__file__).parents[2]), *sys.path) if p),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONWARNINGS": "ignore",
            "FIFTYONE_CONFIG_PATH": str(folder / "config.json"),
            "FIFTYONE_APP_CONFIG_PATH": str(folder / "app_config.json"),
            "FIFTYONE_PLUGINS_DIR": str(folder / "plugins"),  # operators run in the guard's process
            "FIFTYONE_DEFAULT_DATASET_DIR": str(folder),
            "FIFTYONE_EXECUTION_STORE_NOTIFICATION_SERVICE_DISABLED": "true",
            "FIFTYONE_DISABLE_SERVICES": "1",
        }
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(self._at))
            listening.listen(100)  # who asks before it is up waits
            number = listening.fileno()
            command = [sys.executable, "-m", "review.guarded.process", str(folder), str(number), *map(str, ports())]
            self._process = keep(folder, command, environment=environment, descriptors=[number])
        threading.Thread(target=_summary, args=(self._process,), daemon=True).start()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand one request on, and the answer back as it comes.

        Raises:
            ReviewError: it does not answer.
        """
        from starlette.concurrency import run_in_threadpool

        at = await run_in_threadpool(self.start)
        request = Request(scope, receive)
        path = path_of(scope)
        query = scope.get("query_string", b"")
        url = httpx.URL("http://fiftyone", path=path, query=query or None)
        headers = [(k, v) for k, v in scope["headers"] if k.lower() not in HOPS | PRIVATE]
        limit = httpx.Timeout(SECONDS, read=SILENCE if path == "/events" else SECONDS)
        try:
            transport = httpx.AsyncHTTPTransport(uds=str(at), verify=False)
            async with httpx.AsyncClient(transport=transport, timeout=limit, trust_env=False) as client:
                body = await request.body()
                asked = client.build_request(scope["method"], url, headers=headers, content=body or None)
                answering = asyncio.ensure_future(_answer(client, asked, send))
                leaving = asyncio.ensure_future(_left(receive))  # an event stream has no end of its own
                try:
                    await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
                    if answering.done():
                        answering.result()
                finally:
                    leaving.cancel()
                    answering.cancel()
                    await asyncio.wait({answering, leaving})
        except (httpx.HTTPError, ClientDisconnect) as e:
            raise ReviewError("FiftyOne does not answer; load its page anew") from e


async def _answer(client: httpx.AsyncClient, asked: httpx.Request, send: Send) -> None:
    answer = await client.send(asked, stream=True)
    try:
        kept = [(k.lower(), v) for k, v in answer.headers.raw if k.lower() not in HOPS]
        if length := answer.headers.get("content-length"):
            kept.append((b"content-length", length.encode()))
        await send({"type": "http.response.start", "status": answer.status_code, "headers": kept})
        async for chunk in answer.aiter_raw():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        await answer.aclose()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def ports() -> list[int]:
    """TCP ports of the database, where it is not this server's own behind a file."""
    if uri := os.environ.get(URI):
        if "%2F" in uri:
            return []
        hosts = urlsplit(uri).netloc.rpartition("@")[2].split(",")
        return sorted({int(h.rpartition(":")[2]) if h.rpartition(":")[2].isdigit() else 27017 for h in hosts} | {53})
    port = os.environ.get("FIFTYONE_PRIVATE_DATABASE_PORT")
    return [int(port)] if port else []


def _summary(process: subprocess.Popen[bytes]) -> None:
    for line in process.stderr or ():
        log.info("FiftyOne: %s", line.decode("utf-8", "replace").rstrip())


# One for this process, as there is one database.
CHILD = Child()
