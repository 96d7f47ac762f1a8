"""Calls in a process of their own."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from anonymize import apart
from anonymize.apart import Workers
from anonymize.errors import ClipError, StoppedError, WorkerError
from anonymize.web.sessions import FullError
from tests.support import elsewhere

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    out = Workers()
    yield out
    out.close()


def test_what_goes_there_comes_back(workers: Workers) -> None:
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2]
    text, number, there, nothing = workers.call(elsewhere.echo, "ü", 3, {"rows": rows, "none": None}, np.zeros((0, 4)))
    assert (text, number, there["none"]) == ("ü", 3, None)
    assert there["rows"].dtype == np.float32
    assert np.array_equal(there["rows"], rows)
    assert nothing.shape == (0, 4)


def test_a_process_is_kept_for_the_next_call_and_is_another_than_this(workers: Workers) -> None:
    first = workers.call(elsewhere.who)
    assert first == workers.call(elsewhere.who) != os.getpid()


def test_it_may_ask_this_process_from_several_threads(workers: Workers) -> None:
    assert workers.call(elsewhere.ask, "add", 2, 3, answers={"add": lambda a, b: a + b}) == 5
    go = threading.Event()
    answers = {"slow": lambda: go.wait(30), "fast": lambda: go.set()}
    assert workers.call(elsewhere.ask_twice_at_once, answers=answers) == {"fast": None, "slow": True}


def test_what_an_answer_raises_is_raised_there_and_comes_back(workers: Workers) -> None:
    def stopped() -> None:
        raise StoppedError("as asked")

    with pytest.raises(StoppedError, match="as asked"):
        workers.call(elsewhere.ask_for_ever, answers={"step": stopped})
    full = FullError("no room")
    with pytest.raises(FullError) as caught:
        workers.call(elsewhere.ask, "room", answers={"room": lambda: raising(full)})
    assert caught.value is full


def raising(error: Exception) -> None:
    raise error


def test_errors_are_those_that_were_raised(workers: Workers) -> None:
    pid = workers.call(elsewhere.who)
    with pytest.raises(ClipError, match="it is none") as caught:
        workers.call(elsewhere.fail, "clip")
    assert "elsewhere.py" in caught.value.__dict__["place"]
    with pytest.raises(OSError, match="full") as full:
        workers.call(elsewhere.fail, "disk")
    assert full.value.errno == 28
    with pytest.raises(RuntimeError, match="odd"):
        workers.call(elsewhere.fail, "other")
    assert workers.call(elsewhere.who) == pid  # it lives on


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_crash_there_is_an_error_here_and_the_next_call_has_a_new_process(workers: Workers, number: int) -> None:
    pid = workers.call(elsewhere.who)
    with pytest.raises(WorkerError, match=signal.Signals(number).name):
        workers.call(elsewhere.die, number)
    assert workers.call(elsewhere.who) != pid
    with pytest.raises(WorkerError, match="exit code 7"):
        workers.call(elsewhere.leave)


def test_nonsense_is_no_answer_and_no_objects_come_in(workers: Workers) -> None:
    with pytest.raises(WorkerError):
        workers.call(elsewhere.talk_nonsense)
    with pytest.raises((WorkerError, RuntimeError)):
        workers.call(elsewhere.objects)
    assert workers.call(elsewhere.echo, 1) == [1]


def _array(dtype: str, *shape: object) -> bytes:
    return json.dumps(["returned", 0, {"array": 0, "dtype": dtype, "shape": shape}]).encode()


@pytest.mark.parametrize(
    ("head", "length"),
    [
        (b"{}", 2**32 - 1), (b"[" * 100_000, 0), (_array("f8", 2**40), 0), (_array("f8", 10**30), 0),
        (_array("f8", 0, 10**30), 0), (_array("f8", -1), 0), (_array("V2147483647", 2**30), 0), (_array("((", 1), 0),
        (_array("f8", float("inf")), 0), (_array("f8", None), 0), (b'["raised", 0, 3]', 0), (b'["returned"]', 0),
    ],
)  # fmt: skip
def test_what_is_too_large_or_makes_no_sense_is_an_error_of_this_call(
    workers: Workers, head: bytes, length: int
) -> None:
    with pytest.raises(WorkerError, match="no sense"):
        workers.call(elsewhere.say, head, length, silent=30)


@pytest.mark.parametrize("is_seen", [True, False])
def test_a_process_that_died_while_it_waited_is_nobodys_error(is_seen: bool) -> None:
    workers = Workers()
    pid = workers.call(elsewhere.who)
    os.kill(pid, signal.SIGKILL)
    if is_seen:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert workers.call(elsewhere.who) != pid
    workers.close()


def test_a_call_that_began_is_not_begun_again(workers: Workers) -> None:
    asked: list[int] = []
    workers.call(elsewhere.who)
    with pytest.raises(WorkerError, match="exit code 7"):
        workers.call(elsewhere.ask_and_leave, answers={"step": lambda: asked.append(1)})
    assert asked == [1]


def test_what_hangs_is_ended(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WorkerError, match="said nothing"):
        workers.call(elsewhere.sleep, silent=0.3)
    monkeypatch.setattr(apart, "GRACE", 0.3)
    stop = threading.Event()
    stop.set()
    with pytest.raises(WorkerError, match="did not stop"):
        workers.call(elsewhere.sleep, stop=stop)


def test_when_all_are_closed_a_call_that_runs_is_broken_off() -> None:
    workers = Workers()
    with pytest.raises(WorkerError, match="nobody waits"):
        workers.call(elsewhere.ask_and_sleep, answers={"step": workers.close})


def test_while_it_waits_for_us_it_does_not_hang(workers: Workers) -> None:
    def slow() -> int:
        time.sleep(4.0)
        return 3

    workers.call(elsewhere.who)  # it has started
    assert workers.call(elsewhere.ask, "slow", answers={"slow": slow}, silent=3.0) == 3
