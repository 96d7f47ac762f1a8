"""The real server in a process of its own: slow clients, and what is left after it stops or is killed."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anonymize.web.data_folder import PREFIX, data_folder, sweep
from tests.support.web_site import photo, wait_for

ROOT = Path(__file__).parents[2]
# The app without weights to load, and with less patience.
QUICK = """
import sys
from anonymize.detectors import FakeDetector
from anonymize.web import detector_pool, serving
serving.HEADER_SECONDS = serving.BODY_SECONDS = serving.IDLE_SECONDS = float(sys.argv.pop(1))
serving.MOST_CONNECTIONS = int(sys.argv.pop(1))
made = detector_pool.DetectorPool.__init__
detector_pool.DetectorPool.__init__ = lambda self, *a, **k: made(self, *a, **{**k, "detectors": [FakeDetector()]})
import app
sys.exit(app.main())
"""


@contextlib.contextmanager
def server(data: Path, *options: str, patience: float = 60, most: int = 1000) -> Iterator[tuple[int, Any]]:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [
        sys.executable,
        "-c",
        QUICK,
        str(patience),
        str(most),
        "--port",
        str(port),
        "--data",
        str(data),
        *options,
    ]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: process.poll() is not None or is_well(port), 120)
        assert process.poll() is None, process.stderr and process.stderr.read()
        yield port, process
    finally:
        process.kill()
        process.communicate()


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()


def is_well(port: int) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return ask(port, "GET", "/healthz")[0] == 200
    return False


def originals(data: Path) -> list[Path]:
    return [p for p in data.rglob("*.png") if p.is_file()]


def test_no_original_is_left_by_a_server_that_was_killed_once_the_next_one_answers(tmp_path: Path) -> None:
    source = photo(tmp_path / "a.png").read_bytes()
    data = tmp_path / "data"
    with server(data) as (port, process):
        assert ask(port, "POST", "/photos?name=a.png", source)[0] == 200
        assert len(originals(data)) == 1
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(originals(data)) == 1
    with server(data) as (port, process):
        assert originals(data) == []
        assert ask(port, "POST", "/photos?name=a.png", source)[0] == 200
        with data_folder(data):  # a second server beside it lets the first one's photos lie
            assert len(originals(data)) == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert list(data.iterdir()) == []


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
def test_a_public_server_leaves_nothing_when_it_is_stopped(tmp_path: Path, which: signal.Signals) -> None:
    with server(tmp_path / "data", "--public") as (port, process):
        assert ask(port, "POST", "/photos?name=a.png", photo(tmp_path / "a.png").read_bytes())[0] == 200
        process.send_signal(which)
        process.send_signal(which)  # an impatient person's second one
        assert process.wait(30) == 0
    assert list((tmp_path / "data").iterdir()) == []


def test_a_folder_in_use_is_not_swept_and_all_others_of_ours_are(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    with data_folder(mine) as folder:
        (folder / "photo.jpg").write_bytes(b"an original")
        assert folder.stat().st_mode & 0o777 == 0o700
        assert sweep(mine) == 0
        for name in ("without-lock", "with-lock"):
            dead = mine / f"{PREFIX}{name}"
            (dead / "sessions" / "x").mkdir(parents=True)
            (dead / "sessions" / "x" / "photo.jpg").write_bytes(b"an original")
        (mine / f"{PREFIX}with-lock" / ".lock").touch()
        other = mine / "sessions"
        other.mkdir()
        (mine / f"{PREFIX}link").symlink_to(other)
        (other / "photo.jpg").write_bytes(b"somebody else's")
        assert sweep(mine) == 2
        assert sorted(p.name for p in mine.iterdir()) == sorted([folder.name, "sessions", f"{PREFIX}link"])
        assert (other / "photo.jpg").exists()
        assert (folder / "photo.jpg").exists()
    assert not folder.exists()


def test_a_folder_that_another_server_took_for_a_dead_ones_is_still_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    real = tempfile.mkdtemp

    def swept_at_once(**options: Any) -> str:
        made.append(real(**options))
        if len(made) == 1:
            sweep(tmp_path)
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", swept_at_once)
    with data_folder(tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert sweep(tmp_path) == 0
    assert list(tmp_path.iterdir()) == []


# Slow clients


def slow(port: int, start: bytes) -> socket.socket:
    opened = socket.create_connection(("127.0.0.1", port), timeout=30)
    opened.sendall(start)
    return opened


HEAD = b"POST /photos?name=a.png HTTP/1.1\r\nHost: localhost\r\n"
SLOW = {
    "nothing": b"",
    "headers": HEAD,
    "body": HEAD + b"Content-Length: 100000\r\n\r\nxx",
    "chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx",
    "idle": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "blank": b"\r\n",
    "gradio": b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 1000\r\n\r\n{",
    "login": b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nuser=",
}


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with server(tmp_path_factory.mktemp("hasty"), patience=2) as (port, _):
        yield port


def is_closed(opened: socket.socket) -> bool:
    """Waits for it as long as the socket's time-out goes."""
    with contextlib.suppress(ConnectionError):
        while opened.recv(65536):
            pass
    return True


def test_whoever_keeps_the_server_waiting_is_let_go(hasty: int) -> None:
    with contextlib.ExitStack() as stack:
        opened = {name: stack.enter_context(contextlib.closing(slow(hasty, start))) for name, start in SLOW.items()}
        for name, connection in opened.items():
            assert is_closed(connection), name
    assert is_well(hasty)


@pytest.mark.parametrize(
    ("start", "drop"), [(HEAD, b"A: b\r\n"), (HEAD + b"Content-Length: 100000\r\n\r\n", b"x")], ids=["headers", "body"]
)
def test_drops_keep_no_connection_open(hasty: int, start: bytes, drop: bytes) -> None:
    until = time.monotonic() + 60
    with contextlib.closing(slow(hasty, start)) as connection, contextlib.suppress(ConnectionError):
        connection.settimeout(0.2)
        while time.monotonic() < until:
            connection.sendall(drop)
            with contextlib.suppress(TimeoutError):
                if not connection.recv(100):
                    break
    assert time.monotonic() < until


def test_one_that_is_slow_but_comes_is_served(hasty: int, tmp_path: Path) -> None:
    source = photo(tmp_path / "a.png").read_bytes()
    start = HEAD + f"Content-Length: {len(source)}\r\nConnection: close\r\n\r\n".encode()
    with contextlib.closing(slow(hasty, start)) as connection:
        step = len(source) // 20 + 1
        for at in range(0, len(source), step):
            connection.sendall(source[at : at + step])
            time.sleep(0.2)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


def test_a_few_hundred_slow_connections_keep_nobody_out(tmp_path: Path) -> None:
    with server(tmp_path / "data", most=200) as (port, _), contextlib.ExitStack() as stack:
        for i in range(400):
            stack.enter_context(contextlib.closing(slow(port, (b"", HEAD)[i % 2])))
        for _ in range(20):
            assert ask(port, "GET", "/healthz")[0] == 200
