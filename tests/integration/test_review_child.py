"""FiftyOne's own process: what it cannot do, who reaches it and its database, and that both end with the server."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from review.database import URI, own_folder
from review.dataset import fiftyone
from review.guarded import sandbox
from review.guarded.child import CHILD

ROOT = Path(__file__).parents[2]
FORBIDDEN = {
    "a program": "subprocess.run(['true'])",
    "a shell": "os.system('true')",
    "a program by exec": "os.execv('/bin/true', ['true'])",
    "a program by spawn": "os.posix_spawn('/bin/true', ['true'], {})",
    "a fork": "os.fork()",
    "a file written": "open(outside + '/made', 'w')",
    "a file emptied": "os.truncate(outside + '/there', 0)",
    "a file removed": "os.remove(outside + '/there')",
    "a file renamed": "os.rename(outside + '/there', outside + '/here')",
    "a file brought in": "os.rename(outside + '/there', folder + '/here')",
    "a folder made": "os.mkdir(outside + '/made')",
    "a link": "os.symlink('/etc/passwd', outside + '/made')",
    "the users": "open('/etc/passwd').read()",
    "a photo": "open(outside + '/there').read()",
    "another process": "open(f'/proc/{os.getppid()}/environ').read()",
    "the network": "socket.create_connection(('127.0.0.1', port))",
    "a look-up": "socket.getaddrinfo('example.org', 80)",
    "a signal": "os.kill(os.getppid(), 0)",
}
# The same past Python: what the kernel holds.
BELOW = {
    "a program": "ok(libc.execv(b'/bin/true', (ctypes.c_char_p * 2)(b'true', None)))",
    "a file written": "ok(libc.open((outside + '/made').encode(), 0o101, 0o600))",
    "a file read": "ok(libc.open(b'/etc/passwd', 0))",
    "a file removed": "ok(libc.unlink((outside + '/there').encode()))",
    "a socket": "ok(libc.socket(2, 1, 0))",
    "a signal": "ok(libc.kill(os.getppid(), 0))",
}
FENCED = """
import ctypes, os, socket, subprocess, sys
from pathlib import Path
from review.guarded import sandbox
outside, folder, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
libc = ctypes.CDLL(None, use_errno=True)
def ok(value):
    if value < 0: raise PermissionError(ctypes.get_errno())
print(sandbox.close(Path(folder)))
Path(folder, "mine").write_text("may be written")
import json, email  # Python's own files are read
try:
    CODE
except PermissionError as e:
    print("refused")
"""


def fenced(tmp_path: Path, code: str, port: int = 1) -> subprocess.CompletedProcess[str]:
    outside, folder = tmp_path / "outside", tmp_path / "own"
    outside.mkdir()
    folder.mkdir()
    (outside / "there").write_text("a photo")
    command = [sys.executable, "-c", FENCED.replace("CODE", code), str(outside), str(folder), str(port)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (outside / "there").read_text() == "a photo"
    assert [p.name for p in outside.iterdir()] == ["there"]
    return done


@pytest.mark.parametrize("what", FORBIDDEN)
def test_a_fenced_process_does_nothing_else(tmp_path: Path, what: str):
    done = fenced(tmp_path, FORBIDDEN[what])
    assert done.stdout.endswith("refused\n"), (done.stdout, done.stderr)


@pytest.mark.skipif(sys.platform != "linux", reason="what the kernel holds is Linux's")
@pytest.mark.parametrize("what", BELOW)
def test_the_kernel_holds_it_past_python(tmp_path: Path, what: str):
    done = fenced(tmp_path, BELOW[what])
    if "Landlock" not in done.stdout or "seccomp" not in done.stdout:
        pytest.skip(f"this kernel holds less: {done.stdout}")
    assert done.stdout.endswith("refused\n"), (done.stdout, done.stderr)


def test_the_database_is_behind_a_file_and_a_password(fiftyone_home: Path):
    fiftyone()
    if URI not in os.environ:
        pytest.skip("another test's FiftyOne is in this process")
    from pymongo import MongoClient
    from pymongo.errors import OperationFailure

    where = re.search("@(.*?)/", os.environ[URI])
    assert where is not None
    socket_file = Path(where[1].replace("%2F", "/"))
    assert socket_file.parent.stat().st_mode & 0o777 == 0o700
    # Both of its sockets: elsewhere, another account's would be in the way.
    assert {p.name for p in socket_file.parent.glob("*.sock")} >= {"mongod.sock", "mongodb-27017.sock"}
    with MongoClient(f"mongodb://{where[1]}") as nobody, pytest.raises(OperationFailure, match="authentication"):
        nobody["fiftyone"].datasets.find_one()


@pytest.fixture(scope="module")
def child(fiftyone_home: Path) -> TestClient:
    os.environ["ANONYMIZE_TEST_KEY"] = "a key of this machine"
    fiftyone()
    client = TestClient(CHILD)
    assert client.get("/fiftyone").status_code == 200
    return client


def processes() -> dict[int, tuple[int, str]]:
    """Number -> the parent's, and the command."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    return {int(pid): (int(parent), command) for pid, parent, command in rows}


def server_of(parent: int) -> int:
    """FiftyOne's process below this one: a keeper stands between."""
    known = processes()
    (found,) = [
        pid
        for pid, (keeper, command) in known.items()
        if "review.guarded.process" in command
        and "supervisor.py" not in command
        and known.get(keeper, (0, ""))[0] == parent
    ]
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_it_has_none_of_this_processs_keys(child: TestClient):
    told = Path(f"/proc/{server_of(os.getpid())}/environ").read_bytes()
    assert b"HOME=" in told
    assert b"ANONYMIZE_TEST_KEY" not in told
    assert child.get("/fiftyone", headers={"cookie": "anonymize_session=secret"}).status_code == 200


def test_it_makes_no_object_of_another_class_and_reads_no_file(child: TestClient, tmp_path: Path):
    """Past the guard, straight to FiftyOne's server: the walls inside and around it hold alone."""
    import fiftyone as fo

    name = fo.Dataset("for-the-walls", overwrite=True).name
    attack = {"subprocess.Popen": {"args": ["touch", str(tmp_path / "made")]}}
    (tmp_path / "secret.txt").write_text("a photo")
    assert child.post("/tagging", json={"dataset": name, "view": [], "extended": attack}).status_code == 500
    view = [{"_cls": "os.system", "kwargs": [["command", f"touch {tmp_path / 'made'}"]]}]
    assert child.post("/aggregate", json={"dataset": name, "view": view}).status_code == 500
    assert not (tmp_path / "made").exists()
    good = [{"_cls": "fiftyone.core.stages.Limit", "kwargs": [["limit", 1]]}]
    assert child.post("/tagging", json={"dataset": name, "view": good}).status_code == 200
    from anonymize.errors import ReviewError

    with pytest.raises(ReviewError, match="does not answer"):
        child.get(f"/media?filepath={tmp_path / 'secret.txt'}")


def test_when_it_dies_the_next_request_starts_it_anew(child: TestClient):
    before = server_of(os.getpid())
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: before not in processes())
    assert child.get("/fiftyone").status_code == 200
    assert server_of(os.getpid()) != before


def test_who_leaves_an_event_stream_ends_it(child: TestClient):
    """Else every closed page would leave a connection behind."""
    import anyio

    body = json.dumps({"initializer": {"dataset": None}, "subscription": "s", "events": ["refresh"]}).encode()
    scope = {"type": "http", "method": "POST", "path": "/events", "query_string": b"", "headers": []}
    said: list[dict] = []

    async def listen() -> None:
        given = iter([{"type": "http.request", "body": body, "more_body": False}])
        heard = anyio.Event()

        async def receive() -> dict:
            for message in given:
                return message
            await heard.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict) -> None:
            said.append(message)
            if message.get("body"):
                heard.set()

        with anyio.fail_after(60):
            await CHILD(scope, receive, send)

    anyio.run(listen)
    assert said[0]["status"] == 200
    assert all(m.get("more_body") for m in said[1:])


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.1)


@pytest.fixture
def short_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def test_a_long_temporary_folder_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    folder = own_folder()
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(folder / "fiftyone.sock"))
        assert folder.stat().st_mode & 0o777 == 0o700
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_they_end_with_the_server_and_leave_nothing(short_path: Path, how: int):
    tmp_path = short_path
    code = "import sys, time\nfrom review.dataset import fiftyone\nfrom review.guarded.child import CHILD\n"
    code += "fiftyone()\nCHILD.start()\nprint('up', flush=True)\ntime.sleep(600)"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FIFTYONE_")} | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", code]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment)
    assert server.stdout is not None
    assert server.stdout.readline() == "up\n"
    assert len(list(tmp_path.glob("anonymize-review-*"))) == 2
    server.send_signal(how)
    server.wait(20)
    server.stdout.close()
    wait_for(lambda: not any(str(tmp_path) in command for _, command in processes().values()))
    wait_for(lambda: not list(tmp_path.glob("anonymize-review-*")))


# Where FiftyOne 1.22.1 looks classes up by name, by file: a place that moves, or a new one, wants looking at.
RESOLVERS = {
    "core/aggregations.py": ["etau.get_class("],
    "core/odm/database.py": ["etau.get_class("],
    "core/odm/dataset.py": ["etau.get_class("] * 3,
    "core/odm/utils.py": ["etau.get_class("] * 2,
    "core/runs.py": ["etau.get_class("] * 4,
    "core/session/events.py": ["etau.get_class("],
    "core/stages.py": ["etau.get_class("],
    "operators/registry.py": ["etau.get_class("],
    "server/mutation.py": ["etau.get_class("],
    "server/query.py": ["etau.get_class("] * 3 + ["importlib.import_module("],
}
LOOKS_UP = re.compile(
    r"etau\.get_class\(|\bget_class\(|import_module\(|__import__\(|\beval\(|\bexec\(|pickle\.loads?\(|importlib\.import_module\("
)


def test_every_place_where_fiftyone_looks_a_class_up_is_known():
    spec = find_spec("fiftyone")
    assert spec is not None
    home = Path(str(spec.origin)).parent
    found = {}
    files = [*home.glob("server/**/*.py"), *home.glob("operators/*.py"), *home.glob("core/odm/*.py")]
    files += [home / "core" / f"{n}.py" for n in ("stages", "aggregations", "view", "runs", "state", "session/events")]
    for path in files:
        lines = [line.partition("#")[0] for line in path.read_text("utf-8").splitlines()]
        if hits := sorted(m[0] for line in lines for m in LOOKS_UP.finditer(line)):
            found[path.relative_to(home).as_posix()] = hits
    assert found == RESOLVERS


def test_the_readable_places_hold_no_home_and_no_users():
    places = sandbox.readable()
    assert str(Path.home()) not in places
    assert not {"/", "/etc", "/home", "/root", "/tmp", "/proc", "/var"} & set(places)
