"""A run on two nodes beside an S3 server, one node killed in the middle: what one machine makes, nothing twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray")
ROOT = Path(__file__).parents[2]
# In a process of its own: Ray leaves threads, and a driver that hangs is ended with all that it started.
CODE = """
import json
from bench.cluster import campaign
found = campaign(1, count=24, seed=3)
print(json.dumps([found.lost, found.doubled, found.open]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="kills nodes")
def test_a_killed_node_and_a_deadly_photo_lose_double_and_leave_nothing_open() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CODE],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    ) as child:
        try:
            out, error = child.communicate(timeout=250)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            raise
    assert child.returncode == 0, error
    assert json.loads(out.splitlines()[-1]) == [[], [], []]
