"""How long starting takes: `import anonymize`, `python -m anonymize --help`, and the page's first answer.

    python -m bench.start [--rounds 3]

The first two are the best of ten fresh interpreters. The page: from starting `python app.py` to the first page, warm
(the best of the rounds), and cold, after the files of the environment left the system's cache (where nobody else has
them in use). Beside the time stands the processor's, which a busy machine changes less.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

from bench.screenshots import ROOT, free_port


def interpreters() -> None:
    commands = {"import anonymize": ["-c", "import anonymize"], "--help": ["-m", "anonymize", "--help"]}
    for name, arguments in commands.items():
        best = 9.0
        for _ in range(10):
            started = time.perf_counter()
            subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
            best = min(best, time.perf_counter() - started)
        print(f"{name:20} {best:.2f} s")


def first_page() -> tuple[float, float]:
    """Seconds from the start of the server to its first page, and those of the processor until then."""
    port = free_port()
    with tempfile.TemporaryDirectory() as data:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "app.py", "--port", str(port), "--data", data], cwd=ROOT, stdout=subprocess.DEVNULL
        )
        try:
            while True:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
                        assert answer.read()
                    break
                except urllib.error.URLError:
                    assert process.poll() is None, "the server ended"
                    time.sleep(0.02)
            times = psutil.Process(process.pid).cpu_times()
            return time.perf_counter() - started, times.user + times.system
        finally:
            process.terminate()
            process.wait(60)


def forget() -> None:
    """Drop the environment's files from the system's cache."""
    for top in (Path(sys.prefix), ROOT):
        for folder, _, names in os.walk(top):
            for name in names:
                try:
                    with open(Path(folder, name), "rb") as file:
                        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                except OSError:
                    continue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    interpreters()
    first_page()
    wall, cpu = map(min, zip(*(first_page() for _ in range(rounds)), strict=True))
    print(f"first page, warm     {wall:.1f} s ({cpu:.1f} s of the processor)")
    forget()
    wall, cpu = first_page()
    print(f"first page, cold     {wall:.1f} s ({cpu:.1f} s of the processor)")
    print(f"load of the machine  {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
