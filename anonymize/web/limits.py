"""How much may come in: as far as the disk has room, and so much from one address a minute and at once."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import shutil
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path

from .policy import MB, Policy

NO_DISK = "The disk of the computer that this page runs on is nearly full: nothing can be added until there is room."
_MINUTE = 60.0


def is_full(error: BaseException | None) -> bool:
    """Whether an error is, or comes from, a disk (or a user's share of it) that is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
            return True
        error = error.__cause__ or error.__context__
    return False


def room_on_disk(folder: Path, least_free: int) -> int:
    """Bytes that may still be written, so that the floor stays free.

    Args:
        folder: where; it need not be there yet.
        least_free: the floor in bytes; on smaller disks at most 5 % of them or 1 GB, and never more than a fifth.
    """
    while not folder.exists():
        folder = folder.parent
    disk = shutil.disk_usage(folder)
    return max(0, disk.free - min(least_free, max(disk.total // 20, 1000 * MB), disk.total // 5))


class Inflow:
    """What is coming in, and what each address sent in the last minute. For one event loop.

    Args:
        folder: where uploads lie at the end; those of the API pass through the system's temporary folder.
    """

    def __init__(self, policy: Policy, folder: Path) -> None:
        self.policy, self.folders = policy, (folder, Path(tempfile.gettempdir()))
        self._sent: dict[str, deque[tuple[float, int]]] = {}
        self._now: Counter[str] = Counter()
        self._coming = 0

    def refusal(self, address: str, size: int) -> tuple[int, str] | None:
        """Status and sentence, where an upload of this size may not come in now."""
        now = time.monotonic()
        for known in list(self._sent) if len(self._sent) > 10_000 else [address]:
            sent = self._sent.get(known, deque())
            while sent and now - sent[0][0] > _MINUTE:
                sent.popleft()
            if not sent:
                self._sent.pop(known, None)
        most = self.policy.bytes_a_minute
        if most and sum(n for _, n in self._sent.get(address, ())) + size > most:
            return 429, f"At most {most / MB:,.0f} MB a minute, please; wait a minute."
        if min(room_on_disk(f, self.policy.least_free) for f in self.folders) < self._coming + size:
            return 507, NO_DISK
        return None

    def is_busy(self, address: str) -> bool:
        """Whether as many requests of this address are being answered as may be at once."""
        return 0 < self.policy.most_at_once <= self._now[address]

    @contextlib.contextmanager
    def coming(self, address: str, size: int) -> Iterator[None]:
        """While a request is answered; `size`: bytes that it brings."""
        self._now[address] += 1
        self._coming += size
        if size:
            self._sent.setdefault(address, deque()).append((time.monotonic(), size))
        try:
            yield
        finally:
            self._coming -= size
            self._now[address] -= 1
            if not self._now[address]:
                del self._now[address]


def is_over(seen: dict[str, deque[float]], who: str, most: int, seconds: float, *, count: bool = False) -> bool:
    """Whether something happened `most` times in the last `seconds`; with `count`, it happened once more now."""
    now = time.monotonic()
    if len(seen) > 10_000:
        for key in [k for k, times in seen.items() if not times or now - times[-1] > seconds]:
            del seen[key]
    times = seen.setdefault(who, deque())
    while times and now - times[0] > seconds:
        times.popleft()
    over = len(times) >= most
    if count and not over:
        times.append(now)
    return over


def network(address: str) -> str:
    """Who is limited as one: an IPv4 address, or an IPv6 network, of which one machine has 2**64 addresses."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or ipaddress.ip_network((int(found), 64), strict=False))
