"""The fence around FiftyOne's process: it starts no program, writes nothing outside its folder, calls nobody.

Linux holds most of it (Landlock for files and TCP, seccomp for programs and sockets), on every platform Python's own
audit hook does. Each is switched on as far as there is one, before FiftyOne is imported, and never off again.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
import sysconfig
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

# What a Python with its libraries reads besides itself; not /etc/passwd, no home, no /tmp.
SYSTEM = (
    "/usr", "/lib", "/lib64", "/opt", "/nix", "/System", "/Library", "/proc/self", "/proc/cpuinfo", "/proc/meminfo",
    "/proc/stat", "/proc/sys", "/sys/devices/system", "/sys/fs/cgroup", "/etc/ld.so.cache", "/etc/localtime",
    "/etc/mime.types", "/etc/ssl", "/etc/os-release", "/dev/null", "/dev/urandom", "/dev/random", "/dev/zero",
)  # fmt: skip
PROGRAMS = (
    "subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile", "os.system",
    "pty.spawn", "os.kill", "os.killpg", "ctypes.dlsym/handle",
)  # fmt: skip
WRITES = (
    "os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate",
    "os.utime", "shutil.rmtree", "os.setxattr", "os.mkfifo", "os.mknod",
)  # fmt: skip
# Numbers of system calls: execve, execveat, ptrace, process_vm_readv, process_vm_writev, kill, tkill, io_uring_setup;
# last: socket.
CALLS = {
    "x86_64": (0xC000003E, (59, 322, 101, 310, 311, 62, 200, 425), 41),
    "aarch64": (0xC00000B7, (221, 281, 117, 270, 271, 129, 130, 425), 198),
}
READ, WRITE = 4 | 8, 2 | 16 | 32 | 128 | 256 | 512 | 16384  # Landlock's rights
MOST_WRITTEN = 16_000_000  # bytes of one file


def readable() -> list[str]:
    """Where Python and its packages are."""
    paths = [sys.prefix, sys.base_prefix, sys.exec_prefix, *sysconfig.get_paths().values()]
    paths += [p for p in sys.path if p.endswith(("site-packages", "dist-packages", ".zip", "lib-dynload"))]
    home = Path(__file__).resolve().parents[1]
    paths += [str(home), str(home.parent / "anonymize")]
    return [os.path.realpath(p) for p in (*SYSTEM, *paths) if p and os.path.exists(p)]


def close(folder: Path, ports: Collection[int] = ()) -> list[str]:
    """Close it, for the whole process; what holds it.

    Args:
        folder: the only place that may be written to.
        ports: of the database, where it is not behind a socket's file; then TCP to these is left open.
    """
    read = readable()
    held = []
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_WRITTEN, MOST_WRITTEN))
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(38, 1, 0, 0, 0) == 0:  # PR_SET_NO_NEW_PRIVS, which both need
            held += ["Landlock"] if _landlock(libc, read, str(folder), ports) else []
            held += ["seccomp"] if _seccomp(libc, is_net=bool(ports)) else []
    _hook([os.path.realpath(p) for p in read], os.path.realpath(folder), ports)
    return [*held, "audit hook"]


def _landlock(libc: Any, read: Sequence[str], folder: str, ports: Collection[int]) -> bool:
    version = libc.syscall(444, None, 0, 1)
    if version < 1:
        return False
    files = (1 << (13 if version < 2 else 14 if version < 3 else 15 if version < 5 else 16)) - 1
    net = 3 if version >= 4 else 0
    size = 8 if version < 4 else 16 if version < 6 else 24
    given = ctypes.create_string_buffer(struct.pack("=QQQ", files, net, 3)[:size], size)
    rules = libc.syscall(444, given, size, 0)
    if rules < 0:
        return False
    for path in (*read, folder):
        try:
            handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        rights = READ | (WRITE if path == folder or path == "/dev/null" else 0)
        if not os.path.isdir(path):
            rights &= 2 | 4 | 16384
        beneath = ctypes.create_string_buffer(struct.pack("=Qi", rights & files, handle), 12)
        libc.syscall(445, rules, 1, beneath, 0)
        os.close(handle)
    for port in ports:
        if net:
            libc.syscall(445, rules, 2, ctypes.create_string_buffer(struct.pack("=QQ", 2, port), 16), 0)
    done = libc.syscall(446, rules, 0) == 0
    os.close(rules)
    return bool(done)


def _seccomp(libc: Any, *, is_net: bool) -> bool:
    """Refuse calls that start programs, reach into others, or (with the database behind a file) open the network."""
    if platform.machine() not in CALLS or struct.calcsize("P") != 8:
        return False
    arch, refused, socket = CALLS[platform.machine()]
    load, equal, above, answer = 0x20, 0x15, 0x35, 0x06  # of the kernel's filter language
    allow, deny = (answer, 0, 0, 0x7FFF0000), (answer, 0, 0, 0x00050001)  # EPERM
    code = [(load, 0, 0, 4), (equal, 1, 0, arch), deny, (load, 0, 0, 0), (above, 0, 1, 0x40000000), deny]
    for number in refused:
        code += [(equal, 0, 1, number), deny]
    if not is_net:
        code += [(equal, 0, 3, socket), (load, 0, 0, 16), (equal, 1, 0, 1), deny]  # AF_UNIX alone
    code.append(allow)
    text = b"".join(struct.pack("=HBBI", *line) for line in code)
    lines = ctypes.create_string_buffer(text, len(text))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code), ctypes.addressof(lines)), 16)
    return bool(libc.prctl(22, 2, program, 0, 0) == 0)  # PR_SET_SECCOMP


def _hook(read: Sequence[str], folder: str, ports: Collection[int]) -> None:
    roots = (*read, folder)

    def below(path: object, places: Sequence[str]) -> bool:
        if isinstance(path, int) or path is None:
            return True  # a file that is open already
        try:
            real = os.path.realpath(os.fsdecode(path))  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return False
        return any(real == p or real.startswith(p.rstrip("/") + "/") for p in places)

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event in PROGRAMS:
            raise PermissionError(f"{event} is refused here")
        if event == "open":
            path, _, flags = given
            is_written = bool((flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND))
            if not below(path, (folder, "/dev/null") if is_written else roots):
                raise PermissionError("this file is out of bounds")
        elif event in WRITES:
            if not all(below(p, (folder,)) for p in given[:2] if isinstance(p, (str, bytes))):
                raise PermissionError(f"{event} is refused here")
        elif (event == "socket.getaddrinfo" and not ports) or (
            event in ("socket.connect", "socket.sendto") and isinstance(given[1], tuple) and given[1][1] not in ports
        ):
            raise PermissionError("the network is out of bounds")

    sys.addaudithook(hook)
