"""The whole server in a process of its own, watched, with an open review: what attacks and mutations are sent to."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import http.server
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psutil
from PIL import Image

from anonymize import images, records
from anonymize.records import Header, Record
from anonymize.regions import Region
from anonymize.settings import Settings
from tests.support import traffic
from tests.support.attacks import Attack, Target
from tests.support.passwords import write_users
from tests.support.watching import ROOT, Watch

FACE = Region("face", (10, 10, 30, 34), 0.9, {"one": 0.9})
FAINT = Region("plate", (50, 50, 80, 60), 0.2, {"two": 0.2})
FREEZE = 15.0  # seconds without an answer to /healthz; an idle machine takes milliseconds, a very busy one seconds
USERS = {"ana": "ana's password", "bob": "bob's password"}  # ana reviews, bob does not


@dataclass
class Answer:
    status: int
    body: bytes
    headers: dict[str, str]


@dataclass
class Site:
    """A running server.

    Attributes:
        port: on loopback. target: what attacks aim at. watch: what its processes did. slowest: seconds that the slowest
            answer of /healthz took so far. silent: times without an answer. asked: what was asked of the bait.
    """

    port: int
    target: Target
    watch: Watch
    process: psutil.Process
    asked: list[str]
    cookies: dict[str, str] = field(default_factory=dict)
    slowest: float = 0.0
    silent: list[str] = field(default_factory=list)

    def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        patience: float = 20.0,
    ) -> Answer:
        """One request as it is: no path is tidied up, no redirect followed."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=patience)
        given = dict(headers or {})
        if self.cookies:
            given["cookie"] = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        try:
            connection.request(method, path, body, given)
            answer = connection.getresponse()
            said = Answer(answer.status, b"", {k.lower(): v for k, v in answer.getheaders()})
            if not said.headers.get("content-type", "").startswith("text/event-stream"):  # those never end
                said.body = answer.read(3_000_000)
            for line in answer.headers.get_all("set-cookie") or ():
                name, _, value = line.partition(";")[0].partition("=")
                self.cookies[name] = value
            return said
        finally:
            connection.close()

    def attack(self, attack: Attack) -> Answer:
        return self.send(attack.method, attack.path, attack.content, attack.all_headers)

    def json(self, method: str, path: str, body: Any = None) -> Any:
        given = None if body is None else json.dumps(body).encode()
        return json.loads(self.send(method, path, given, {"content-type": "application/json"}).body)

    def sign_in(self, user: str) -> None:
        self.cookies.clear()
        form = urlencode({"user": user, "password": USERS[user]}).encode()
        answer = self.send("POST", "/login", form, {"content-type": "application/x-www-form-urlencoded"})
        assert answer.status == 303, answer

    def is_open(self) -> Answer:
        """Opens the review in FiftyOne, as the page's link does; then its page, which starts FiftyOne's server."""
        opened = self.send("GET", f"/review/open?name={quote(self.target.dataset)}", patience=150)
        if opened.status == 303:
            self.send("GET", opened.headers["location"], patience=150)
        return opened

    @contextlib.contextmanager
    def health(self) -> Iterator[None]:
        """/healthz is asked all the while from a thread; `harm` tells of a silence."""
        stop = threading.Event()

        def ask() -> None:
            while not stop.wait(0.05):
                started = time.monotonic()
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=FREEZE)
                try:
                    connection.request("GET", "/healthz")
                    assert connection.getresponse().status == 200
                except (OSError, http.client.HTTPException, AssertionError) as e:
                    self.silent.append(f"/healthz: {e!r}")
                finally:
                    connection.close()
                self.slowest = max(self.slowest, time.monotonic() - started)

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(FREEZE + 1)

    def harm(self) -> list[str]:
        """What the attacks brought about."""
        found = [f"made {p.name}" for p in self.target.marks.iterdir()]
        found += [f"asked {path}" for path in self.asked]
        found += self.silent
        found += [f"elsewhere: {line}" for line in self.watch.elsewhere()]
        allowed = {Path(sys.executable).name, "mongod", "fc-list"}  # matplotlib lists this machine's fonts
        found += [f"started {p}" for p in self.watch.programs() if Path(p.split("'")[1]).name not in allowed]
        if not self.process.is_running():
            found.append("the server is gone")
        return found


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def review(home: Path) -> tuple[Path, Path]:
    """Records of two photos; and one of the photos."""
    root = home / "in"
    root.mkdir(parents=True)
    known = []
    for name, color in (("a.jpg", "teal"), ("b.jpg", "red")):
        Image.new("RGB", (100, 80), color).save(root / name)
        known.append(Record(name, images.sha256(root / name), 100, 80, (FACE, FAINT), detectors={"one": {}, "two": {}}))
    records.write(home / "records.jsonl", Header(str(root), Settings()), known)
    return home / "records.jsonl", root / "a.jpg"


@contextlib.contextmanager
def bait() -> Iterator[tuple[str, list[str]]]:
    """A web server that nobody may ask: its URL, and what it was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path}")
            self.send_response(200)
            self.end_headers()

        do_POST = do_HEAD = do_PUT = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", asked
        finally:
            server.shutdown()


@contextlib.contextmanager
def serve(home: Path, mode: str) -> Iterator[Site]:
    """`python app.py` in a mode: own, team or public."""
    from review.dataset import dataset_name

    path, photo = review(home)
    secret = home / "secret.txt"
    secret.write_text(f"SECRET {secrets.token_hex(8)}")
    marks = home / "marks"
    marks.mkdir()
    options: list[str] = ["--review", str(path)]
    if mode == "team":
        users = home / "users"
        write_users(users, **USERS)
        options += ["--auth", str(users), "--reviewers", "ana"]
    elif mode == "public":
        options += ["--public"]
    watch = Watch(home / "watch")
    port = free_port()
    environment = watch.environment(TMPDIR=str(home), FIFTYONE_DATABASE_DIR=str(home / "db"))
    command = [sys.executable, "app.py", "--port", str(port), "--data", str(home / "data"), *options]
    with bait() as (url, asked), open(home / "server.txt", "w") as log:
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        target = Target(dataset_name("review", path), "0" * 24, "0" * 24, marks, url, secret, photo)
        site = Site(port, target, watch, psutil.Process(process.pid), asked)
        try:
            until = time.monotonic() + 120
            while True:
                try:
                    if site.send("GET", "/healthz").status == 200:
                        break
                except OSError:
                    assert process.poll() is None, (home / "server.txt").read_text()
                    assert time.monotonic() < until
                    time.sleep(0.1)
            yield site
        finally:
            tree = site.process.children(recursive=True) if process.poll() is None else []
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
            for left in tree:
                with contextlib.suppress(psutil.Error):
                    left.kill()


def ids(site: Site) -> Target:
    """The target with the ids that FiftyOne gave, as its App asks for them; zeros where FiftyOne does not answer."""
    found = {}
    for name, key in (("DatasetPageQuery", "datasetId"), ("paginateSamplesQuery", "id")):
        asked = next(r for r in traffic.load() if name in (r.body or ""))
        asked = asked.filled({"dataset": site.target.dataset, "id0": "0" * 24})
        said = site.send(asked.method, asked.path, (asked.body or "").encode(), {"content-type": asked.type})
        match = re.search(rf'"{key}": ?"([0-9a-f]{{24}})"'.encode(), said.body)
        found[key] = match[1].decode() if match and said.status == 200 else "0" * 24
    return dataclasses.replace(site.target, dataset_id=found["datasetId"], sample_id=found["id"])


def leaks(site: Site, answer: Answer) -> str | None:
    """What an answer says that it must not."""
    for word in (site.target.secret.read_text(), "root:x:", "Traceback (most", "site-packages", str(site.watch.home)):
        if word.encode() in answer.body:
            return word
    for folder in (site.target.marks.parent, Path(os.path.realpath(sys.executable)).parent):
        if str(folder).encode() in answer.body and answer.status >= 400:
            return str(folder)
    return None
