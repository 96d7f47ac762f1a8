"""How long starting takes: `import anonymize`, and `python -m anonymize --help`, best of ten fresh interpreters."""

import subprocess
import sys
import time

for name, arguments in {
    "import anonymize": ["-c", "import anonymize"],
    "--help": ["-m", "anonymize", "--help"],
}.items():
    best = 9.0
    for _ in range(10):
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
        best = min(best, time.perf_counter() - started)
    print(f"{name:20} {best:.2f} s")
