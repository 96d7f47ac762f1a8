"""One run at a time on a cluster's output.

A folder has the lock that runs on one machine take, too. Object stores have none that all of them know, so there a run
leaves a file with its name and a number that grows while it works. Whoever finds such a file watches it: a number that
grows belongs to a run that works, one that stands still to a run that was killed. No clocks are compared.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import ClusterError
from ..json_lines import lock
from ..outputs import EXPORTS_NAME
from . import shards
from .stores import Store

RUNNING = f"{shards.FOLDER}/running.json"
BEAT = 5.0  # s between two numbers
PATIENCE = 4 * BEAT  # s that a number may stand still
BUSY = "another run writes to {}; try again when it is done"

Check = Callable[[], None]


@contextmanager
def hold(target: Store) -> Iterator[Check]:
    """The output is this run's until the end of the block; the call that is given raises when it no longer is.

    Raises:
        ClusterError, RecordsError: another run has it.
    """
    if target.is_local:
        with lock(Path(target.url) / EXPORTS_NAME):
            yield lambda: None
        return
    _wait_for_another(target)
    name, stop = secrets.token_hex(8), threading.Event()
    _write(target, name, 0)
    time.sleep(BEAT / 5)  # of two that began at the same moment the last one stays

    def check() -> None:
        if (found := _read(target)) is None or found.get("run") != name:
            raise ClusterError(BUSY.format(target.url))

    check()
    beating = threading.Thread(target=_beat, args=(target, name, stop), daemon=True)
    beating.start()
    try:
        yield check
    finally:
        stop.set()
        beating.join()
        if (_read(target) or {}).get("run") == name:
            target.remove(RUNNING)


def _wait_for_another(target: Store) -> None:
    found, end = _read(target), time.monotonic() + PATIENCE
    while found is not None and time.monotonic() < end:
        time.sleep(BEAT / 5)
        now = _read(target)
        if now is not None and now != found:
            raise ClusterError(BUSY.format(target.url))
        found = now


def _beat(target: Store, name: str, stop: threading.Event) -> None:
    number = 0
    while not stop.wait(BEAT):
        number += 1
        with suppress(Exception):  # a store that is away for a moment; `check` says when somebody else took over
            if (_read(target) or {}).get("run") == name:
                _write(target, name, number)


def _write(target: Store, name: str, number: int) -> None:
    target.publish(RUNNING, json.dumps({"run": name, "number": number}).encode())


def _read(target: Store) -> dict[str, Any] | None:
    try:
        found = json.loads(target.read(RUNNING))
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
