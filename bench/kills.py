"""What bench/faults.py kills with, and looks for afterwards."""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from anonymize import records

PHOTOS = 24
OWN = (
    *("records.jsonl", "exports.jsonl", "clips.jsonl", "summary.json", "clips-summary.json"),
    *(".records.jsonl.lock", ".exports.jsonl.lock"),
)
PHOTO = (".png", ".jpg", ".mp4")


@dataclass
class Outcome:
    """What so many tries of one kind came to.

    Attributes:
        interrupted: tries that were not over before the kill.
    """

    kind: str
    tries: int = 0
    interrupted: int = 0
    leaked: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not (self.leaked or self.lost or self.doubled)

    def __str__(self) -> str:
        counts = f"{len(self.lost):5} {len(self.leaked):7} {len(self.doubled):8}"
        first = (*self.leaked, *self.lost, *self.doubled)[:1]
        return f"{self.kind:8} {self.tries:6} {self.interrupted:12} {counts}  {' '.join(first)}"


# --- processes ---


def fork(work: Callable[[], object]) -> int:
    """`work` in a process of its own; its id. It ends with 0, or 1 after an error, which is printed."""
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    code = 1
    try:
        work()
        code = 0
    except BaseException as e:
        print(f"{type(e).__name__}: {e}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def ended(pid: int) -> bool:
    """Whether a process came to its end by itself, without an error, waited for."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


class Counter:
    """A number that a forked process counts up and this one reads."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 1)

    def up(self, *_: object) -> None:
        self._memory[0] += 1

    @property
    def value(self) -> int:
        return self._memory[0]


def kill_somewhere(
    work: Callable[[Counter], object], photos: int, chance: random.Random, look: Callable[[], None]
) -> bool:
    """Start it, look all the time, and kill it after a random number of its photos and a random part of the next one.

    Returns:
        Whether it was interrupted.
    """
    counter = Counter()
    pid = fork(partial(work, counter))
    target, started = chance.randrange(photos + 1), time.monotonic()
    while counter.value < target and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        look()
        time.sleep(0.002)
    a_photo = (time.monotonic() - started) / (target + 1)
    time.sleep(chance.uniform(0, min(a_photo, 0.2)))
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    is_interrupted = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    look()
    return is_interrupted


# --- files ---


def draw(folder: Path, count: int = PHOTOS) -> Path:
    """Photos of noise, in folders, of two formats; one with a position."""
    rng = np.random.default_rng(0)
    for i in range(count):
        path = folder / ("deep/er" if i % 3 == 0 else ".") / f"{i:02}{PHOTO[i % 2]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[0x8825] = {1: "N", 2: (52.0, 30.0, 0.0)}
        pixels = rng.integers(0, 256, (72, 96, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, exif=exif, quality=90)
    return folder


def tree(folder: Path, *, own: bool = False) -> dict[str, bytes]:
    """What lies in an output, but for the program's own files."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and (own or path.name not in OWN):
            with contextlib.suppress(FileNotFoundError):  # a temporary file that was just renamed
                found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def compare(outcome: Outcome, out: Path, expected: dict[str, bytes], where: str) -> None:
    """After an undisturbed run: what is missing or other, and what is there too much."""
    found = tree(out)
    outcome.lost += [f"{where}: {name}" for name, data in expected.items() if found.get(name) != data]
    outcome.doubled += [f"{where}: {name}" for name in found if name not in expected]
    if (path := out / "records.jsonl").exists():
        known = records.read(path)[1]
        outcome.doubled += [f"{where}: record of {name}" for name in known if name not in expected]
        photos = [name for name in expected if name.endswith(PHOTO)]
        outcome.lost += [f"{where}: record of {n}" for n in photos if n not in known or known[n].error is not None]


def looker(outcome: Outcome, out: Path, *allowed: dict[str, bytes]) -> Callable[[], None]:
    """Looks at every file under an output's name: it is one of these, whole, or not there."""

    def look() -> None:
        for name, data in tree(out).items():
            if name.endswith(PHOTO) and data not in [a[name] for a in allowed if name in a]:
                outcome.leaked.append(name)

    return look
