"""Cores are those that affinity and a control group's quota leave, for both versions of control groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from anonymize import cpus
from anonymize.detectors import runtime

DOCKER = "/docker/0123"


def v1(quota: str, period: str, folder: str = "cpu") -> dict[str, str]:
    return {f"{folder}/cpu.cfs_quota_us": quota, f"{folder}/cpu.cfs_period_us": period}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 64 cores, as its files show it."""
    monkeypatch.setattr(cpus, "_ROOT", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.delenv("ANONYMIZE_THREADS", raising=False)
    return tmp_path


def write(machine: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (machine / name).parent.mkdir(parents=True, exist_ok=True)
        (machine / name).write_text(text)


@pytest.mark.parametrize(
    ("groups", "files", "wanted"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "1000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
        ("0::/\n", {"cpu.max": "12800000 100000\n"}, 64),
        ("0::/\n", {"cpu.max": "nonsense"}, 64),
        ("0::/\n", {"cpu.max": "200000 0"}, 64),
        ("0::/\n", {"cpu.max": "9" * 400 + " 1"}, 64),
        ("0::/\n", {}, 64),
        ("", {}, 64),
        ("nonsense", {}, 64),
        ("0::/a.slice/b.service\n", {"a.slice/b.service/cpu.max": "400000 100000"}, 4),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "200000 100000"}, 2),
        (f"3:cpuset:/\n2:cpu,cpuacct:{DOCKER}\n", v1("250000", "100000"), 3),
        (f"2:cpu:{DOCKER}\n", v1("50000\n", "50000\n", f"cpu{DOCKER}"), 1),
        ("2:cpu:/\n0::/\n", v1("-1", "100000"), 64),
    ],
)
def test_a_quota_leaves_so_many_cores(machine: Path, groups: str, files: dict[str, str], wanted: int) -> None:
    write(machine, {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{name}": text for name, text in files.items()}})
    assert cpus.cores() == wanted
    assert cpus.limit() == (wanted if wanted < 64 else 0)


def test_a_machine_without_control_groups_has_the_cores_of_the_affinity(machine: Path) -> None:
    assert (cpus.cores(), cpus.limit()) == (64, 0)


def test_a_system_without_affinity_counts_its_cores(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cpus.cores() == 1


def test_networks_get_as_many_threads_and_photos_as_the_quota_leaves(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (runtime.threads(), runtime.at_once("cpu")) == (0, 4)
    write(machine, {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "200000 100000"})
    assert (runtime.threads(), runtime.at_once("cpu")) == (2, 2)
    monkeypatch.setenv("ANONYMIZE_THREADS", "3")
    assert (runtime.threads(), runtime.at_once("cpu")) == (3, 3)


def test_nobody_else_counts_cores() -> None:
    product = Path(cpus.__file__).parent
    files = {*product.rglob("*.py"), *(product.parent / "review").rglob("*.py")} - {Path(cpus.__file__)}
    assert not [p for p in files if any(w in p.read_text("utf-8") for w in ("cpu_count", "getaffinity"))]
