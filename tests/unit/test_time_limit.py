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
from anonymize.time_limit import Budget

OWNER = SimpleNamespace(name="slow")


def test_what_a_call_gives_and_raises_comes_through() -> None:
    assert time_limit.call(lambda: 7, Budget(60), OWNER) == 7
    assert time_limit.call(lambda: 7, Budget(0), OWNER) == 7
    for error in (ValueError, SystemExit, KeyboardInterrupt):

        def fail(error: type[BaseException] = error) -> None:
            raise error("no")

        with pytest.raises(error, match="no"):
            time_limit.call(fail, Budget(60), OWNER)


def test_one_thread_serves_all_calls_that_end() -> None:
    threads = {time_limit.call(threading.get_ident, Budget(60), OWNER) for _ in range(5)}
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_a_call_that_hangs_is_given_up_and_the_next_one_works() -> None:
    owner, release = SimpleNamespace(name="hung"), threading.Event()
    with pytest.raises(DetectionError, match=r"hung took longer than 0.05 s for this photo"):
        time_limit.call(release.wait, Budget(0.05), owner)
    assert time_limit.call(lambda: 1, Budget(60), owner) == 1
    with pytest.raises(DetectionError, match="took longer"):
        time_limit.call(release.wait, Budget(0.05), owner)
    with pytest.raises(
        DetectionError, match=r"hung was not asked about this photo: 2 others .* run again"
    ):  # not one limit for each of 10,000 photos
        time_limit.call(lambda: 1, Budget(60), owner)
    assert time_limit.call(lambda: 1, Budget(60), OWNER) == 1, "another detector is none the worse"
    release.set()
    until = time.monotonic() + 20
    while time.monotonic() < until:  # what was given up came to its end: all is well again
        try:
            assert time_limit.call(lambda: 2, Budget(60), owner) == 2
            return
        except DetectionError:
            time.sleep(0.01)
    raise AssertionError("it stays refused")


def test_waiting_for_a_turn_does_not_count() -> None:
    def wait() -> int:
        with time_limit.paused():
            time.sleep(0.4)
        return 3

    assert time_limit.call(wait, Budget(0.2), OWNER) == 3
    with time_limit.paused():  # outside of any call it does nothing
        assert time_limit.call(lambda: 1, Budget(60), OWNER) == 1


@pytest.fixture
def hours(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What time it is, in seconds; a test moves it on."""
    now = [0.0]
    monkeypatch.setattr(time_limit, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(time_limit, "_clock", time_limit._Clock())
    return now


def test_photos_side_by_side_share_the_time(hours: list[float]) -> None:
    first, other = time_limit._Worker(), time_limit._Worker()
    release = threading.Event()
    first.start(release.wait, 10, is_outermost=True)
    hours[0] += 4
    assert first.left() == 6
    other.start(release.wait, 10, is_outermost=True)
    hours[0] += 4
    assert (first.left(), other.left()) == (4, 8)
    within = time_limit._Worker()
    within.start(release.wait, 10, is_outermost=False)  # of one of the two photos
    hours[0] += 4
    assert (first.left(), other.left(), within.left()) == (2, 6, 8)
    time_limit._clock.share(-other.photos)  # it came to its end
    hours[0] += 2
    assert first.left() == 0
    release.set()


def test_who_waits_for_a_turn_takes_no_share_of_the_time(hours: list[float]) -> None:
    works, release = time_limit._Worker(), threading.Event()
    works.start(release.wait, 10, is_outermost=True)

    def wait() -> float:
        hours[0] += 2
        with time_limit.paused():
            hours[0] += 4
        return works.left()

    assert time_limit.call(wait, Budget(60), OWNER) == 10 - 2 / 2 - 4
    hours[0] += 1
    assert works.left() == 4  # alone again
    release.set()


def _share(hours: list[float]) -> float:
    """Seconds of 4 that a photo uses; alone, all of them."""
    works, release = time_limit._Worker(), threading.Event()
    works.start(release.wait, 10, is_outermost=True)
    hours[0] += 4
    release.set()
    return 10 - works.left()


def test_a_call_that_a_person_stops_takes_no_further_share(hours: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl+C in a notebook, which goes on."""

    def interrupted(self: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(time_limit._Worker, "answer", interrupted)
        with pytest.raises(KeyboardInterrupt):
            time_limit.call(lambda: None, Budget(60), OWNER)
    assert _share(hours) == 4


def test_who_was_given_up_and_waits_for_a_turn_then_is_not_taken_off_twice(
    hours: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    release, waits, ended = threading.Event(), threading.Event(), threading.Event()

    def wait() -> None:
        release.wait(60)
        with time_limit.paused():
            waits.set()
            ended.wait(60)

    with monkeypatch.context() as patch:
        patch.setattr(time_limit._Worker, "answer", lambda self: None)
        with pytest.raises(DetectionError, match="took longer"):
            time_limit.call(wait, Budget(60), SimpleNamespace(name="gone"))
    time_limit._Worker().start(ended.wait, 10, is_outermost=True)
    release.set()
    assert waits.wait(60)
    assert _share(hours) == 2
    ended.set()


def test_a_photo_beside_others_that_hangs_is_given_up() -> None:
    owner, release, said = SimpleNamespace(name="each"), threading.Event(), []

    def ask() -> None:
        try:
            time_limit.call(release.wait, Budget(0.05), owner)
        except DetectionError as e:
            said.append(str(e))

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(60)
    release.set()
    assert len(said) == 2
    assert all("each took longer than 0.05 s" in text for text in said)


def test_calls_of_one_photo_share_its_seconds() -> None:
    owner, budget = SimpleNamespace(name="tiles"), Budget(0.5)
    for _ in range(2):
        time_limit.call(lambda: time.sleep(0.2), budget, owner)
    with pytest.raises(DetectionError, match=r"tiles took longer than 0.5 s for this photo"):
        time_limit.call(lambda: time.sleep(0.4), budget, owner)
    with pytest.raises(DetectionError, match="tiles took longer"):
        time_limit.call(lambda: pytest.fail("asked with no time left"), budget, owner)


def test_a_call_within_another_one_has_what_is_left_of_its_time() -> None:
    owner, release = SimpleNamespace(name="inner"), threading.Event()

    def outer() -> None:
        time.sleep(0.1)
        time_limit.call(release.wait, Budget(60), owner)

    with pytest.raises(DetectionError, match="took longer"):
        time_limit.call(outer, Budget(0.3), OWNER)  # pytest's own limit is longer than 60 s
    until = time.monotonic() + 20
    while time.monotonic() < until:  # given up, too, and not by the 60 s
        if any(o is owner for o, _ in time_limit._hanging):
            release.set()
            return
        time.sleep(0.01)
    raise AssertionError("the inner call goes on")


AT_THE_END = """
import threading, time
from types import SimpleNamespace
from anonymize import time_limit
from anonymize.errors import DetectionError
from anonymize.time_limit import Budget

owner, begun = SimpleNamespace(name="slow"), threading.Event()

def work():
    begun.set()
    time.sleep(0.5)
    print("ended", flush=True)

def two():
    time_limit.call(work, Budget(SECONDS), owner)
    try:
        time_limit.call(lambda: print("begun", flush=True), Budget(SECONDS), owner)
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


LEFT_AT_ONCE = """
import sys, threading, time
from types import SimpleNamespace
import cv2
import numpy as np
from anonymize import time_limit
from anonymize.errors import DetectionError

time_limit.END_SECONDS = 0.1
image, begun = np.zeros((700, 700), np.uint8), threading.Event()

class Teardown:  # gives the other thread the lock once Python ends
    def __del__(self, sleep=time.sleep):
        sleep(20)

def work():
    begun.set()
    cv2.setNumThreads(1)
    cv2.fastNlMeansDenoising(image)  # native code, and C++ around where it comes back

def ask():
    try:
        time_limit.call(work, time_limit.Budget(LIMIT), SimpleNamespace(name="slow"))
    except DetectionError:
        pass

def main():
    sys.kept = Teardown()
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    begun.wait()
    if LIMIT < 1:
        asking.join()
    sys.exit(7)

with time_limit.note_exit_code():
    main()
"""


@pytest.mark.parametrize("seconds", [600, 0.1])
def test_a_process_is_left_while_a_call_still_runs(seconds: float) -> None:
    """Else it is aborted, should the call come back just then; also after one that was given up."""
    code = LEFT_AT_ONCE.replace("LIMIT", str(seconds))
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 7, (result.returncode, result.stderr)
