"""Nothing is counted, reported or looked up, and no file with an id is made: entry points run while being watched."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path

import pytest

from anonymize import records, telemetry, weights
from anonymize.records import Header, Record
from anonymize.regions import Region
from tests.support.watching import ROOT, Watch

pytestmark = pytest.mark.weights
# What may lie in a home that was empty: FiftyOne's folders. Weights are in the cache that the watch names.
KEPT = (".fiftyone/", "fiftyone/")


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    return Watch(tmp_path / "watch")


@pytest.fixture
def photos(tmp_path: Path, zidane: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(zidane, folder)
    return folder


def reviewed(folder: Path) -> Path:
    path = folder.parent / "records.jsonl"
    name = next(folder.iterdir()).name
    region = Region("face", (730, 60, 950, 340), 0.99, {"fake": 0.99})
    record = Record(name, weights.sha256(folder / name), 1280, 720, (region,), detectors={"fake": {}})
    records.write(path, Header(str(folder)), [record])
    return path


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def is_quiet(watch: Watch) -> None:
    assert watch.elsewhere() == []
    made = {f for f in watch.files() if not f.startswith(KEPT)}
    assert made == set()
    ids = [f for f in watch.files() if Path(f).name in ("uid", "uuid", "cid", "openvino_ga_cid")]
    assert ids == []


def test_run_and_export_are_quiet(watch: Watch, photos: Path, tmp_path: Path) -> None:
    done = watch.run("-m", "anonymize", "run", photos, tmp_path / "out", "--preset", "fast")
    assert done.returncode == 0, done.stderr
    path = next((tmp_path / "out").rglob("*.jsonl"))
    done = watch.run("-m", "anonymize", "export", path, tmp_path / "again", "--effect", "solid")
    assert done.returncode == 0, done.stderr
    assert any((tmp_path / "again").glob("*.jpg"))
    is_quiet(watch)
    assert watch.programs() == []


@pytest.mark.parametrize("options", [(), ("--public",)], ids=["own machine", "public"])
def test_the_app_starts_quietly(watch: Watch, tmp_path: Path, options: tuple[str, ...]) -> None:
    port = free_port()
    with watch.running("app.py", "--port", str(port), "--data", tmp_path / "data", *options, ready="anonymize is at"):
        until = time.monotonic() + 60
        while True:
            try:
                page = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20).read()
                break
            except urllib.error.URLError:
                assert time.monotonic() < until
                time.sleep(0.2)
        assert b"gradio" in page
        time.sleep(2)  # what the start left to a thread: warming up, the sample
    is_quiet(watch)
    assert watch.programs() == []


def test_a_review_in_fiftyone_is_quiet(watch: Watch, photos: Path) -> None:
    path, port = reviewed(photos), free_port()
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    with watch.running("-m", "review", path, "--port", str(port), ready="Review: http") as line:
        address = line.split()[1]
        until = time.monotonic() + 60
        while True:
            try:
                page = opener.open(address, timeout=60).read()
                break
            except urllib.error.URLError:
                assert time.monotonic() < until
                time.sleep(0.2)
        assert b"FiftyOne" in page
        # What the App asks first of all. `uid` makes a file with an id when FiftyOne answers it.
        asked = {"query": "query setupQuery { context dev doNotTrack uid version }", "variables": {}}
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/review/graphql", json.dumps(asked).encode(), {"Content-Type": "application/json"}
        )
        try:
            said = json.load(opener.open(request, timeout=30))
            assert said["data"]["doNotTrack"] is True
        except urllib.error.HTTPError as e:
            assert e.code == 403  # noqa: PT017
    is_quiet(watch)
    assert {Path(p.split("'")[1]).name for p in watch.programs()} <= {Path(sys.executable).name, "mongod"}


def test_converting_a_checkpoint_is_quiet(watch: Watch, tmp_path: Path) -> None:
    source = weights.fetch("safelicensing")
    target = tmp_path / "made.onnx"
    done = watch.run("-m", "anonymize.weights.convert", source, weights.sha256(source), target, "SAFE")
    assert done.returncode == 0, done.stderr
    assert target.stat().st_size > 1_000_000
    is_quiet(watch)


def test_the_watch_sees_what_is_not_quiet(watch: Watch, tmp_path: Path) -> None:
    """TEST-NET-1, port 9: an address that nobody has. The hook sees the name, strace a child's own connection."""
    script = tmp_path / "loud.py"
    script.write_text(
        "import socket, subprocess, sys\n"
        "try: socket.getaddrinfo('counter.example', 443)\n"
        "except OSError: pass\n"
        "s = socket.socket(); s.setblocking(False); s.connect_ex(('192.0.2.1', 9))\n"
        "open(__import__('os').path.expanduser('~/uid'), 'w').write('1')\n"
        "subprocess.run([sys.executable, '-c', 'pass'])\n"
    )
    assert watch.run(script).returncode == 0
    found = " ".join(watch.elsewhere())
    assert "counter.example" in found
    assert "192.0.2.1" in found
    assert len(watch.programs()) == 1
    assert watch.files() == {"uid"}


def test_importing_the_package_switches_everything_off() -> None:
    code = (
        "import anonymize, json, os, sys; "
        "print(json.dumps([dict(os.environ), sys.modules['openvino_telemetry'] is None, 'numpy' in sys.modules]))"
    )
    loud = dict.fromkeys([*telemetry.OFF, *telemetry.DEFAULTS], "loud")
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **loud}, cwd=ROOT, capture_output=True, text=True, check=True
    )
    environment, is_blocked, has_numpy = json.loads(done.stdout)
    assert {k: environment[k] for k in telemetry.OFF} == telemetry.OFF
    assert {environment[k] for k in telemetry.DEFAULTS} == {"loud"}  # a person's own choice
    assert is_blocked
    assert not has_numpy


def test_openvino_uses_its_own_stub() -> None:
    """An OpenVINO that needs its counter would fail to import; one that has another name for it would be missed."""
    code = "import anonymize, openvino, sys; print([m for m in sys.modules if 'telemetry' in m])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "openvino.tools.ovc.telemetry_stub" in done.stdout
    assert "backend" not in done.stdout
