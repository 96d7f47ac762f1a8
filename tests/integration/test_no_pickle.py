"""The process that serves photos reads no pickle: where one is reached, it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What a pickle needs to run anything is found with `find_class`, of which Python tells its audit hooks; what unpickles
# with a class of its own, as torch does, goes through the names in `pickle`.
WATCHED = """
import io, os, pickle, sys
from pathlib import Path

def refuse(*_, **__):
    os.write(2, b"a pickle is read\\n")
    os._exit(3)

sys.addaudithook(lambda event, arguments: refuse() if event == "pickle.find_class" else None)
pickle.load = pickle.loads = refuse

class Refused(pickle.Unpickler):
    def __init__(self, *_, **__):
        refuse()

pickle.Unpickler = Refused
"""
SERVE = """
import numpy as np
from starlette.testclient import TestClient

from anonymize.settings import Settings
from anonymize.web.application import assemble
from anonymize.web.detector_pool import DetectorPool
from anonymize.web.policy import Policy

policy, photo, folder = Policy(), Path(sys.argv[1]), Path(sys.argv[2])
pool = DetectorPool(Settings())
pool.warm_up()
assert pool.ready, pool.problem
with TestClient(assemble(policy, pool, folder), base_url="http://localhost") as client:
    assert client.get("/").status_code == 200
    for preset in ("fast", "balanced"):
        answer = client.post("/api/v1/anonymize", files={"image": photo.read_bytes()}, data={"preset": preset})
        assert answer.status_code == 200 and answer.json()["regions"], answer.text[:200]
print("served")
"""
READ = {
    "pickle": "pickle.loads(pickle.dumps(Path('x')))",
    "a class of its own": "type('U', (pickle.Unpickler,), {})(io.BytesIO(pickle.dumps(1))).load()",
    "numpy": "import numpy as np; np.save('x.npy', np.array([{}])); np.load('x.npy', allow_pickle=True)",
    "C": "import _pickle; _pickle.loads(pickle.dumps(Path('x')))",
}


def run(code: str, *arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WATCHED + code, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("how", READ)
def test_a_pickle_that_is_read_is_seen(how: str, tmp_path: Path) -> None:
    done = run(READ[how], cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "a pickle is read" in done.stderr


@pytest.mark.weights
def test_the_server_reads_none(zidane: Path, tmp_path: Path) -> None:
    done = run(SERVE, zidane, tmp_path / "data")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.endswith("served\n")
