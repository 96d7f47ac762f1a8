"""The database of this server's FiftyOne: its own, behind a socket's file and a password, gone when the server is."""

from __future__ import annotations

import os
import secrets
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from anonymize.errors import ReviewError

URI = "FIFTYONE_DATABASE_URI"
# Bytes: a socket's address has 104 on macOS, 108 on Linux; /anonymize-review-12345678/mongodb-27017.sock takes 45.
MAX_PARENT = 55
PATIENCE = 5000  # ms for a database that does not answer
_held: list[subprocess.Popen[bytes]] = []  # their standard inputs stay open as long as this process lives


def keep(
    folder: Path, command: Sequence[str], *, environment: Mapping[str, str], descriptors: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a program that ends with this process, however that ends, and whose folder goes then."""
    told = {**environment, "KEPT_DESCRIPTORS": ",".join(map(str, descriptors))}
    program = subprocess.Popen(
        [sys.executable, "-I", str(Path(__file__).with_name("supervisor.py")), str(folder), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=told,
        pass_fds=descriptors,
        start_new_session=True,  # Ctrl+C in a terminal is for the server
    )
    _held.append(program)
    return program


def own_folder() -> Path:
    """A folder of this account's alone, for sockets' files.

    In the system's folder for temporary files, or in /tmp where that one's path is too long for a socket's address.

    Raises:
        ReviewError: the system has none.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise ReviewError("FiftyOne runs here behind Unix sockets: on Linux, macOS, or Windows' WSL")
    for parent in (tempfile.gettempdir(), "/tmp"):
        if len(os.fsencode(parent)) <= MAX_PARENT and os.path.isdir(parent):
            return Path(tempfile.mkdtemp(prefix="anonymize-review-", dir=parent))
    raise ReviewError(f"{tempfile.gettempdir()} is too long a path for a socket; set TMPDIR to a shorter one")


def start(mongod: Path) -> str:
    """Start one; its address, with its password.

    Raises:
        ReviewError: it cannot start, and why.
    """
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    folder = own_folder()
    (folder / "db").mkdir(mode=0o700)
    where = folder / "mongod.sock"
    command = [str(mongod), "--dbpath", str(folder / "db"), "--bind_ip", str(where), "--auth", "--quiet"]
    command += ["--unixSocketPrefix", str(folder)]  # else also /tmp/mongodb-27017.sock, which may be another account's
    command += ["--setParameter", "diagnosticDataCollectionEnabled=false", "--wiredTigerCacheSizeGB", "0.5"]
    environment = {k: v for k, v in os.environ.items() if k in ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "SYSTEMROOT")}
    program = keep(folder, command, environment={**environment, "HOME": str(folder)})
    said: list[bytes] = []
    threading.Thread(target=lambda: said.extend(program.stderr or []), daemon=True).start()
    until = time.monotonic() + 60
    while not where.exists() or not stat.S_ISSOCK(where.stat().st_mode):
        if program.poll() is not None or time.monotonic() > until:
            raise ReviewError(
                f"the database {mongod} cannot start{': ' if said else ''}{b' '.join(said[-3:]).decode()}"
            )
        time.sleep(0.05)
    password = secrets.token_urlsafe(24)
    at = quote(str(where), safe="")
    try:
        client: MongoClient[dict[str, Any]] = MongoClient(f"mongodb://{at}", serverSelectionTimeoutMS=20_000)
        with client:
            client.admin.command("createUser", "review", pwd=password, roles=["root"])
    except PyMongoError as e:
        raise ReviewError(f"the database {mongod} cannot start: {e}") from e
    return f"mongodb://review:{password}@{at}/?authSource=admin&serverSelectionTimeoutMS={PATIENCE}"


@contextmanager
def answering() -> Iterator[None]:
    """Within: a database that fails, or is gone, is a ReviewError."""
    from pymongo.errors import PyMongoError

    try:
        yield
    except PyMongoError as e:
        raise ReviewError(f"the review's database failed: {e}") from e
