"""Sessions: what one visitor brought in and made, in a folder of their own, deleted after a time and when they leave.

A session is known by a secret in the visitor's cookie. Folders, logs and pages only ever see its hash, so that no
path, and no list of paths, lets one visitor into another's photos.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from ..errors import AnonymizeError
from ..pipeline import give_back_memory
from .limits import NO_DISK, is_full, room_on_disk
from .policy import Policy
from .telling import place_of

log = logging.getLogger("anonymize.web")

COOKIE = "anonymize_session"
HEADER = "x-anonymize-session"  # for programs that keep no cookies (gradio_client)
SECRET = re.compile(r"[A-Za-z0-9_-]{32,128}")
# After the last page of a visitor closed: long enough for a reload or a phone's camera app.
LEAVE_SECONDS = 90.0
# Visits that brought nothing: whoever asks without a cookie begins one each time.
MOST_IDLE = 10_000


class GoneError(AnonymizeError, LookupError):
    """What was asked for is not in this visitor's session: deleted after its time, or never theirs."""


class FullError(AnonymizeError):
    """A visitor's folder would outgrow its limit."""


class DiskFullError(FullError):
    """The disk would not keep as much free as it has to."""

    def __init__(self) -> None:
        super().__init__(NO_DISK)


class TooManyError(AnonymizeError):
    """One address has too many visits with photos."""


class RefusedFileError(AnonymizeError):
    """A visitor's file that is nothing to work on; the message says what can be done."""


class Closeable(Protocol):
    id: str

    def close(self) -> None: ...


Thing = TypeVar("Thing", bound=Closeable)


def _key(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()[:32]


def new_secret() -> str:
    return secrets.token_urlsafe(32)


def new_id() -> str:
    """A name for a photo or a batch that nobody can guess."""
    return secrets.token_hex(16)


@dataclass
class Session:
    """One visitor.

    Attributes:
        key: hash of the visitor's secret; names the folder.
        folder: theirs alone (mode 700); made when the first file comes.
        used: when they last did something. left: when their last page closed, or None.
        coming: bytes of each upload that is coming in.
        things: photos and batches by their id, least recently used first.
        of: all visitors, who share the disk. who: the address, or the signed-in user, that this visit came from.
    """

    key: str
    folder: Path
    of: Sessions
    who: str = ""
    used: float = field(default_factory=time.monotonic)
    left: float | None = None
    closed: bool = False
    coming: list[int] = field(default_factory=list)
    things: OrderedDict[str, Closeable] = field(default_factory=OrderedDict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    writing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def policy(self) -> Policy:
        return self.of.policy

    def get(self, kind: type[Thing], id: str) -> Thing:
        """A photo or batch of this visitor.

        Raises:
            GoneError: there is none of that kind with that id here.
        """
        with self.lock:
            thing = self.things.get(id)
            if not isinstance(thing, kind):
                raise GoneError("That photo is no longer here. Photos are deleted after a while; please add it again.")
            self.things.move_to_end(id)
            self.used = time.monotonic()
            return thing

    def add(self, thing: Closeable) -> None:
        with self.lock:
            if self.closed:
                thing.close()
                raise GoneError("This visit has ended and its photos were deleted. Please reload the page.")
            self.things[thing.id] = thing
            self.used = time.monotonic()

    def of_kind(self, kind: type[Thing]) -> list[Thing]:
        """All photos, or all batches, least recently used first."""
        with self.lock:
            return [t for t in self.things.values() if isinstance(t, kind)]

    def remove(self, id: str) -> None:
        with self.lock:
            thing = self.things.pop(id, None)
        if thing is not None:
            thing.close()

    def make_folder(self) -> Path:
        """A new folder in this session's, with an unguessable name.

        Raises:
            TooManyError: too many visits of this address have one. DiskFullError: there is no room for it.
        """
        if not self.folder.exists() and self.of.with_photos(self.who) >= self.policy.most_visits:
            raise TooManyError("Too many visits from your address have photos here; please close some, or come later.")
        folder = self.folder / new_id()
        try:
            folder.mkdir(parents=True, mode=0o700)
            self.folder.chmod(0o700)
        except OSError as e:
            if is_full(e):
                raise DiskFullError from e
            raise
        return folder

    def room(self) -> int:
        """Bytes that may still come in."""
        return self.of.room(self)

    def check_room(self) -> None:
        """Before a result is written: results may take twice what uploads may, besides them.

        Raises:
            FullError: they do. DiskFullError: the disk is nearly full.
        """
        if self.of.room(self, times=3) <= 0:
            if room_on_disk(self.folder, self.policy.least_free) <= 0:
                raise DiskFullError
            raise FullError("Your photos and results take too much room. “Delete my photos now” (About) frees some.")

    def bytes_used(self) -> int:
        """Bytes that lie here or are coming in."""
        taken = 0
        for folder, _, names in os.walk(self.folder):
            for name in names:
                with contextlib.suppress(FileNotFoundError):  # another upload of this visitor was renamed or refused
                    taken += os.lstat(os.path.join(folder, name)).st_size
        return taken + sum(self.coming)

    def leave(self) -> None:
        """A page of this visitor closed; unless another one is heard of soon, the session is deleted."""
        self.left = time.monotonic()

    def reserve(self, size: int) -> int:
        """Bytes that an upload of this size may have; while it is among `coming`, others have so much less."""
        with self.of.counting:
            room = self.room()
            self.coming.append(size)
            return room


class Sessions:
    """All visitors. Thread-safe.

    Args:
        folder: holds their folders; this process owns it. policy: limits, and how long a visit is kept.
    """

    def __init__(self, folder: Path, policy: Policy) -> None:
        self.folder, self.policy = folder, policy
        self.counting = threading.Lock()
        self._by_key: dict[str, Session] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        shutil.rmtree(folder, ignore_errors=True)  # what a killed process left behind
        folder.mkdir(parents=True, mode=0o700)

    def of(self, secret: str, who: str = "") -> Session:
        """The session of a cookie; a new one, of this address or user, when there is none."""
        key = _key(secret)
        with self._lock:
            session = self._by_key.get(key)
            if session is None:
                self._forget_idle()
                session = self._by_key[key] = Session(key, self.folder / key, self, who)
        session.left = None
        return session

    def find(self, secret: str) -> Session | None:
        """The session of a cookie, where there is one."""
        with self._lock:
            return self._by_key.get(_key(secret))

    def _of_who(self, who: str) -> list[Session]:
        with self._lock:
            return [s for s in self._by_key.values() if s.who == who]

    def with_photos(self, who: str) -> int:
        """How many visits of an address or user have a folder."""
        return sum(s.folder.exists() for s in self._of_who(who))

    def room(self, session: Session, times: int = 1) -> int:
        """Bytes that one visitor may still bring: as far as they, their address and the disk have room.

        Args:
            times: of the limits for uploads.
        """
        taken = {s.key: s.bytes_used() for s in [session, *self._of_who(session.who)]}
        of_visitor = times * self.policy.most_session - taken[session.key]
        of_address = times * self.policy.most_address - sum(taken.values())
        return max(0, min(of_visitor, of_address, room_on_disk(self.folder, self.policy.least_free)))

    def _forget_idle(self) -> None:
        """Of more visits than are kept, the older half of those that brought nothing goes: they lose nothing."""
        if len(self._by_key) < MOST_IDLE:
            return
        idle = [s for s in self._by_key.values() if not s.things and not s.folder.exists()]
        for session in idle[: (len(idle) + 1) // 2]:
            with session.lock:
                if not session.things:
                    session.closed = True
                    del self._by_key[session.key]

    def delete(self, session: Session) -> None:
        """Stop what runs, forget and delete everything of this visitor."""
        with self._lock:
            self._by_key.pop(session.key, None)
        with session.lock:
            session.closed = True
            things = list(session.things.values())
            session.things.clear()
        for thing in things:
            thing.close()
        shutil.rmtree(session.folder, ignore_errors=True)
        if things:
            del things, thing
            give_back_memory()

    def sweep(self, now: float | None = None) -> int:
        """Delete the sessions whose time is over; how many those were."""
        now = time.monotonic() if now is None else now
        with self._lock:
            known = list(self._by_key.values())
        over = [
            s
            for s in known
            if now - s.used > self.policy.keep_seconds or (s.left is not None and now - s.left > LEAVE_SECONDS)
        ]
        for session in over:
            self.delete(session)
        # A batch that was stopped may have written a last file after its folder went.
        kept = {s.key for s in known} - {s.key for s in over}
        for folder in self.folder.iterdir() if self.folder.is_dir() else ():
            if folder.name not in kept and folder.name not in self._by_key:
                shutil.rmtree(folder, ignore_errors=True)
        return len(over)

    def __len__(self) -> int:
        return len(self._by_key)

    def start(self, every: float = 20.0) -> None:
        """Sweep in the background until `close`."""

        def work() -> None:
            while not self._stop.wait(every):
                try:
                    self.sweep()
                except Exception as e:
                    log.error("sweeping sessions failed: %s", place_of(e))

        threading.Thread(target=work, name="sweep", daemon=True).start()

    def close(self) -> None:
        """Delete everything; the server stops."""
        self._stop.set()
        for session in list(self._by_key.values()):
            self.delete(session)
        shutil.rmtree(self.folder, ignore_errors=True)
