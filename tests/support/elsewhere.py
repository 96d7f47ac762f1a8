"""What test_apart.py runs in another process."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Any

import numpy as np

from anonymize.apart import Here
from anonymize.errors import ClipError


def echo(_: Here, *given: Any) -> Any:
    return list(given)


def who(_: Here) -> int:
    print("not an answer")
    sys.stdout.flush()
    return os.getpid()


def ask(here: Here, name: str, *given: Any) -> Any:
    return here.ask(name, *given)


def ask_twice_at_once(here: Here) -> Any:
    """While one answer is waited for, another thread gets its own."""
    got: dict[str, Any] = {}
    slow = threading.Thread(target=lambda: got.update(slow=here.ask("slow")))
    slow.start()
    got["fast"] = here.ask("fast")
    slow.join()
    return got


def ask_for_ever(here: Here) -> None:
    while True:
        here.ask("step")
        time.sleep(0.01)


def die(_: Here, number: int) -> None:
    os.kill(os.getpid(), number)
    signal.pause()


def leave(_: Here) -> None:
    os._exit(7)


def ask_and_sleep(here: Here) -> None:
    here.ask("step")
    time.sleep(600)


def ask_and_leave(here: Here) -> None:
    here.ask("step")
    os._exit(7)


def sleep(_: Here) -> None:
    time.sleep(600)


def fail(_: Here, what: str) -> None:
    if what == "disk":
        raise OSError(28, "full")
    raise ClipError("it is none") if what == "clip" else RuntimeError("odd")


def say(here: Here, head: bytes, length: int = 0) -> None:
    """A message as it is; of a length that it may not have."""
    here._target.write((length or len(head)).to_bytes(4, "little") + head)
    here._target.flush()
    time.sleep(600)


def talk_nonsense(here: Here) -> None:
    here._target.write(b"\xff\xff\xff\x00nonsense")
    here._target.flush()
    os._exit(0)


def objects(_: Here) -> Any:
    return {"said": np.array([{}], object)}
