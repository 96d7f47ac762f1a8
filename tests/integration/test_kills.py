"""The campaign of bench/faults.py, a few tries of each kind: nothing is lost, leaked, or there twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from review.database import URI

ROOT = Path(__file__).parents[2]
# In a process of its own: it forks, which one with threads may not.
CODE = """
import json, sys
from bench.faults import campaign
o = campaign(sys.argv[1], int(sys.argv[2]), seed=7)
print(json.dumps([o.lost, o.leaked, o.doubled]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
@pytest.mark.parametrize(
    ("kind", "tries"),
    [("run", 3), ("export", 3), ("review", 3), ("video", 3), ("upload", 1), ("batch", 1), ("disk", 3)],
)
def test_a_kill_loses_leaks_and_doubles_nothing(kind: str, tries: int) -> None:
    command = [sys.executable, "-c", CODE, kind, str(tries)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1]) == [[], [], []]


DATABASE = """
import os, signal, subprocess, sys
from pathlib import Path
from urllib.parse import unquote
from anonymize import records
from anonymize.errors import ReviewError
from anonymize.records import Header, Record
from anonymize.regions import Region
from review.database import URI
from review.reviews import Reviews
from review.store import ReviewStore

path = Path(sys.argv[1])
face = Region("face", (10, 10, 30, 34), 0.9)
records.write(path, Header(str(path.parent)), [Record("a.jpg", "00", 100, 80, (face,), detectors={"one": {}})])
review = Reviews().open(path)
assert review.dataset.samples.count_documents({}) == 1
running = subprocess.run(["ps", "-ww", "-eo", "pid=,args="], capture_output=True, text=True).stdout.splitlines()
commands = [(int(pid), command.split()) for pid, command in (line.split(None, 1) for line in running)]
address = unquote(os.environ[URI])  # of its socket, beside its data
data = {pid: c[c.index("--dbpath") + 1] for pid, c in commands if c[0].endswith("mongod") and "--dbpath" in c}
(mine,) = [pid for pid, folder in data.items() if str(Path(folder).parent) in address]
os.kill(mine, signal.SIGKILL)
review.store.decide("a.jpg", "approve", who="ana")
review.refresh("a.jpg")
print(ReviewStore(path)["a.jpg"].review)
for ask in (review.dataset.update, lambda: review.dataset.save_edits("ana")):
    try:
        ask()
    except ReviewError as e:
        print(str(e)[:28])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the database among processes")
def test_a_database_that_is_killed_takes_no_decision_along(tmp_path: Path, fiftyone_home: Path) -> None:
    command = [sys.executable, "-c", DATABASE, str(tmp_path / "r.jsonl")]
    own = {k: v for k, v in os.environ.items() if k != URI}  # not that of a FiftyOne in this process
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=own)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-3:] == ["approved", *["the review's database failed"] * 2]
