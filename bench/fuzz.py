"""Strangers' bytes, guided by what the project's own code does with them (atheris, which is libFuzzer).

    python -m bench.fuzz --minutes 60 [--only zip,records] [--keep fuzz-findings]

Every reader of `tests/support/readers.py` gets an equal share of the time, in a process of its own, from small valid
files on. A finding is an error from outside the project's tree, a process that dies, an input that takes longer than
20 s, or 2 GB. Its file is kept; of errors that come from one place, the first. Exit code 1: there are findings.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import time
import traceback
from pathlib import Path

LIMITS = ("-timeout=20", "-rss_limit_mb=3000", "-max_len=20000", "-print_final_stats=1", "-verbosity=1")
MOST = 20  # findings of one reader, then it has its share


def fuzz(name: str, corpus: Path, keep: Path, seconds: int) -> None:
    """One reader, in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=["anonymize"]):
        from tests.support import readers
    read, files = readers.targets()[name]
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(files):
        (corpus / f"{name}-{number}").write_bytes(data)
    seen: set[str] = set()

    def once(data: bytes) -> None:
        try:
            read(data)
        except Exception as e:
            frames = traceback.extract_tb(e.__traceback__)
            ours = next((f for f in reversed(frames) if "/anonymize/" in f.filename), frames[-1])
            place = f"{type(e).__name__} {Path(ours.filename).name}:{ours.lineno}"
            if place not in seen:  # go on: others may lie behind it
                seen.add(place)
                file = keep / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}.bin"
                file.write_bytes(data)
                print(f"FINDING {name} {place}: {e!r:.300} {file}", flush=True)

    options = [f"-max_total_time={seconds}", f"-artifact_prefix={keep}/{name}-", *LIMITS]
    atheris.Setup([sys.argv[0], *options, str(corpus)], once)
    atheris.Fuzz()


def run(name: str, corpus: Path, keep: Path, seconds: float) -> tuple[int, list[str]]:
    """One reader's share: how many inputs were tried, what was found. A process that dies is followed by another."""
    tried, found, end = 0, [], time.monotonic() + seconds
    command = [sys.executable, "-m", "bench.fuzz", "--target", name, "--keep", str(keep), "--corpus", str(corpus)]
    while len(found) < MOST and (left := round(end - time.monotonic())) > 0:
        done = subprocess.run(
            [*command, "--seconds", str(left)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace",
        )  # fmt: skip
        lines = done.stdout.splitlines()
        found += [line for line in lines if line.startswith("FINDING")]
        tried += sum(int(line.split()[-1]) for line in lines if "number_of_executed_units" in line)
        if done.returncode:
            found.append(f"FINDING {name}: the process ended with {done.returncode}: " + " | ".join(lines[-6:]))
    return tried, found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--only", help="readers, with commas between them")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--corpus", type=Path, help="what reached something new, kept for the next time [KEEP/corpus]")
    parser.add_argument("--target", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=int, default=60, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.keep.mkdir(parents=True, exist_ok=True)
    if args.target:
        fuzz(args.target, args.corpus, args.keep, args.seconds)
    from tests.support import readers

    names = args.only.split(",") if args.only else sorted(readers.targets())
    failed = False
    for name in names:
        corpus = (args.corpus or args.keep / "corpus") / name
        tried, found = run(name, corpus, args.keep, args.minutes * 60 / len(names))
        print(f"{name}: {tried} inputs, {len(found)} findings", *found, sep="\n  ", flush=True)
        failed |= bool(found)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
