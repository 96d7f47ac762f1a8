"""Python imports this at the start of every process that has tests/watch on PYTHONPATH: see tests/watching.py.

Each look-up, connection and program that is started goes as a line of JSON to the file that WATCH names.
"""

import json
import os
import sys

LOG = os.environ.get("WATCH")
EVENTS = {
    "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo",
    "socket.sendto", "socket.sendmsg", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system",
    "os.startfile", "urllib.Request", "http.client.connect", "ftplib.connect", "smtplib.connect", "webbrowser.open",
}  # fmt: skip
SHOWN = 3  # arguments of an event; the fourth of subprocess.Popen is the whole environment


def watch(event: str, arguments: tuple) -> None:
    if event in EVENTS:
        said = [repr(a) for a in arguments[:SHOWN]]
        line = json.dumps([event, *said, os.getpid()]) + "\n"
        with open(LOG, "a") as file:
            file.write(line)


if LOG:
    sys.addaudithook(watch)
