"""Runs a program that ends when its parent does, also after kill -9, and takes the program's folder away then.

    python -I supervisor.py FOLDER PROGRAM ...

The parent holds the other end of the standard input, which closes with it. File descriptors that the parent passes on
are passed on. Imports nothing of the project: it starts in milliseconds.
"""

import os
import shutil
import subprocess
import sys
import threading

if __name__ == "__main__":
    folder, *command = sys.argv[1:]
    given = [int(n) for n in os.environ.pop("KEPT_DESCRIPTORS", "").split(",") if n]
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=given)
    for n in given:
        os.close(n)

    def end() -> None:
        while os.read(0, 1024):
            pass
        program.kill()

    threading.Thread(target=end, daemon=True).start()
    code = program.wait()
    shutil.rmtree(folder, ignore_errors=True)
    sys.exit(code if code >= 0 else 128 - code)
