"""How many cores this process may use: what its affinity leaves it, and what a container's quota does."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_ROOT = Path("/")


def cores() -> int:
    """Cores that this process may use, at least 1.

    A container with `--cpus=2`, or a service with a `CPUQuota`, sees all cores of its machine, but runs on them for
    only two seconds of each: with a thread for each core it would stand still most of the time.
    """
    return max(1, min([_visible(), *map(math.ceil, _quotas())]))


def limit() -> int:
    """`cores`, where a quota leaves fewer than a library would count; 0: it may count them itself."""
    return found if (found := cores()) < _visible() else 0


def _visible() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas() -> Iterator[float]:
    """CPU seconds per second that each of the process's control groups may use, where one is limited (Linux)."""
    with suppress(OSError, ValueError):
        for line in (_ROOT / "proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            mount = _ROOT / "sys/fs/cgroup" / ("cpu" if controllers else "")
            # In a container the group's name may be that of its host; the container's own is then at the mount.
            for folder in (mount / group.lstrip("/"), *(mount / group.lstrip("/")).parents):
                with suppress(OSError, ValueError, ArithmeticError):
                    quota, period = _quota_and_period(folder, is_v1=bool(controllers))
                    if quota > 0:
                        yield quota / period
                if folder == mount:
                    break


def _quota_and_period(folder: Path, *, is_v1: bool) -> tuple[int, int]:
    """Microseconds, in so many; ValueError: it has no limit."""
    files = ["cpu.cfs_quota_us", "cpu.cfs_period_us"] if is_v1 else ["cpu.max"]
    quota, period = " ".join((folder / name).read_text() for name in files).split()
    return int(quota), int(period)
