"""Child processes whose network use is watched: from inside by Python's audit hook, from outside by strace.

The hook sees names that are looked up and programs that are started, in Python. strace sees every connection of the
whole tree of processes, libraries' own and mongod's included. It is used where it is installed and may trace.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
# connect, and datagrams that name where they go.
CALLS = "connect,sendto,sendmsg,sendmmsg"
ADDRESS = re.compile(r"sin6?_port=htons\((\d+)\).*?(?:inet_addr\(|inet_pton\(AF_INET6, )\"([^\"]+)\"")
HERE = {"localhost", "ip6-localhost", "::1", "127.0.0.1", "0.0.0.0", "::", "", "None"}


@functools.cache
def strace() -> str | None:
    """Where strace is, if it may trace here (a container may forbid it)."""
    found = shutil.which("strace")
    if found is None or subprocess.run([found, "-f", "-qq", "-o", os.devnull, "true"], capture_output=True).returncode:
        return None
    return found


def is_here(address: str) -> bool:
    """Whether an address is this machine. A name is, only where no resolver is asked for it."""
    if address in HERE:
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


@dataclass
class Watch:
    """One watched command.

    Attributes:
        home: its HOME, empty at the start. log, trace: what the hook and strace wrote.
    """

    folder: Path

    def __post_init__(self) -> None:
        self.home = self.folder / "home"
        self.home.mkdir(parents=True)
        self.site = self.folder / "site"
        self.site.mkdir()
        shutil.copy(ROOT / "tests" / "watch" / "sitecustomize.py", self.site)
        self.log, self.trace = self.site / "log.jsonl", self.folder / "trace"

    def command(self, *arguments: str | Path) -> list[str]:
        given = [sys.executable, *map(str, arguments)]
        if (tool := strace()) is None:
            return given
        return [tool, "-f", "-qq", "--seccomp-bpf", "-s", "64", "-e", f"trace={CALLS}", "-o", str(self.trace), *given]

    def environment(self, **more: str) -> dict[str, str]:
        """Without any switch of the tests' own environment: the program has to set them itself."""
        from anonymize import telemetry
        from anonymize.weights import cache_dir

        ours = {*telemetry.OFF, *telemetry.DEFAULTS, "HF_HUB_OFFLINE"}
        kept = {k: v for k, v in os.environ.items() if k not in ours and not k.startswith(("FIFTYONE_", "XDG_"))}
        kept.pop("CI", None)  # OpenVINO is quiet in CI
        paths = [str(self.site), str(ROOT), *filter(None, [kept.get("PYTHONPATH")])]
        return {
            **kept,
            "HOME": str(self.home),
            "ANONYMIZE_WEIGHTS": str(cache_dir()),
            "PYTHONPATH": os.pathsep.join(paths),
            **more,
        }

    def run(self, *arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            env=self.environment(**more),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=280,
        )

    @contextlib.contextmanager
    def running(self, *arguments: str | Path, ready: str, **more: str) -> Iterator[str]:
        """The same in the background. Gives the line that says `ready`; ends with SIGTERM to the program itself."""
        out = self.folder / "out.txt"
        with open(out, "w") as file:
            process = subprocess.Popen(
                self.command(*arguments), env=self.environment(**more), cwd=ROOT, stdout=file, stderr=subprocess.STDOUT
            )
        try:
            until = time.monotonic() + 120
            while not (lines := [line for line in out.read_text().splitlines() if ready in line]):
                assert process.poll() is None, out.read_text()
                assert time.monotonic() < until, out.read_text()
                time.sleep(0.1)
            yield lines[0]
        finally:
            tree = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            (tree[0] if strace() and tree else process).terminate()
            try:
                process.wait(30)
            finally:
                for left in [p for p in tree if p.is_running()]:
                    left.kill()

    def events(self) -> list[list[str]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def programs(self) -> list[str]:
        """The programs that were started, by Python."""
        starts = {"subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system"}
        return [" ".join(e[1:-1]) for e in self.events() if e[0] in starts]

    def elsewhere(self) -> list[str]:
        """What was looked up, connected to or sent that is not on this machine."""
        found = []
        for event, *arguments, _ in self.events():
            if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
                if not is_here(arguments[0].strip("b'\"")):
                    found.append(f"{event} {arguments}")
            elif event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
                host = re.match(r"\(b?'([^']*)'", arguments[1])
                if host and not is_here(host[1]):
                    found.append(f"{event} {arguments[1]}")
            elif event in ("urllib.Request", "http.client.connect", "ftplib.connect", "smtplib.connect"):
                if not any(here in " ".join(arguments) for here in ("127.0.0.1", "localhost", "[::1]")):
                    found.append(f"{event} {arguments}")
            elif event == "webbrowser.open":
                found.append(f"{event} {arguments}")
        for line in self.trace.read_text(errors="replace").splitlines() if self.trace.exists() else ():
            m = ADDRESS.search(line)
            if m and (not is_here(m[2]) or m[1] == "53"):  # a resolver may be on loopback, too
                found.append(line)
        return found

    def files(self) -> set[str]:
        """What was made in its HOME."""
        return {p.relative_to(self.home).as_posix() for p in self.home.rglob("*") if not p.is_dir()}
