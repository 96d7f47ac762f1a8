"""A call that does not end is given up; waiting for a turn does not count; errors come through."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from anonymize import time_limit
from anonymize.errors import DetectionError

OWNER = SimpleNamespace(name="slow")


def test_what_a_call_gives_and_raises_comes_through() -> None:
    assert time_limit.call(lambda: 7, 60, OWNER) == 7
    assert time_limit.call(lambda: 7, 0, OWNER) == 7
    for error in (ValueError, SystemExit, KeyboardInterrupt):

        def fail(error: type[BaseException] = error) -> None:
            raise error("no")

        with pytest.raises(error, match="no"):
            time_limit.call(fail, 60, OWNER)


def test_one_thread_serves_all_calls_that_end() -> None:
    threads = {time_limit.call(threading.get_ident, 60, OWNER) for _ in range(5)}
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_a_call_that_hangs_is_given_up_and_the_next_one_works() -> None:
    owner, release = SimpleNamespace(name="hung"), threading.Event()
    with pytest.raises(DetectionError, match=r"hung took longer than 0.05 s for this photo"):
        time_limit.call(release.wait, 0.05, owner)
    assert time_limit.call(lambda: 1, 60, owner) == 1
    with pytest.raises(DetectionError, match="took longer"):
        time_limit.call(release.wait, 0.05, owner)
    with pytest.raises(DetectionError, match="hung hangs"):  # not one limit for each of 10,000 photos
        time_limit.call(lambda: 1, 60, owner)
    assert time_limit.call(lambda: 1, 60, OWNER) == 1, "another detector is none the worse"
    release.set()
    until = time.monotonic() + 20
    while time.monotonic() < until:  # what was given up came to its end: all is well again
        try:
            assert time_limit.call(lambda: 2, 60, owner) == 2
            return
        except DetectionError:
            time.sleep(0.01)
    raise AssertionError("it stays refused")


def test_waiting_for_a_turn_does_not_count() -> None:
    def wait() -> int:
        with time_limit.paused():
            time.sleep(0.4)
        return 3

    assert time_limit.call(wait, 0.2, OWNER) == 3
    with time_limit.paused():  # outside of any call it does nothing
        assert time_limit.call(lambda: 1, 60, OWNER) == 1


AT_THE_END = """
import threading, time
from types import SimpleNamespace
from anonymize import time_limit
from anonymize.errors import DetectionError

owner, begun = SimpleNamespace(name="slow"), threading.Event()

def work():
    begun.set()
    time.sleep(0.5)
    print("ended", flush=True)

def two():
    time_limit.call(work, SECONDS, owner)
    try:
        time_limit.call(lambda: print("begun", flush=True), SECONDS, owner)
    except DetectionError as e:
        print(e, flush=True)

threading.Thread(target=two, daemon=True).start()
begun.wait()
"""


@pytest.mark.parametrize(("seconds", "said"), [(60, ["ended"]), (0.1, [])])
def test_a_process_ends_after_calls_that_were_not_given_up(seconds: float, said: list[str]) -> None:
    code = AT_THE_END.replace("SECONDS", str(seconds))
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line for line in lines if line != "slow was not asked: the program ends"] == said
