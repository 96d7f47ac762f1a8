"""Python imports this at the start of every process that has its folder on PYTHONPATH: see tests/support/watching.py.

Each look-up, connection and program that is started goes as a line of JSON to log.jsonl beside this file. It is copied
to a folder for each watch, so that a process with an environment of its own is watched, too; and the log is opened
before a process gives up its right to write files.
"""

import json
import os
import sys

LOG = os.open(os.path.join(os.path.dirname(__file__), "log.jsonl"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
EVENTS = {
    "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo",
    "socket.sendto", "socket.sendmsg", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system",
    "os.startfile", "urllib.Request", "http.client.connect", "ftplib.connect", "smtplib.connect", "webbrowser.open",
}  # fmt: skip
SHOWN = 3  # arguments of an event; the fourth of subprocess.Popen is the whole environment


def watch(event: str, arguments: tuple) -> None:
    if event in EVENTS:
        said = [repr(a) for a in arguments[:SHOWN]]
        os.write(LOG, (json.dumps([event, *said, os.getpid()]) + "\n").encode())


sys.addaudithook(watch)
