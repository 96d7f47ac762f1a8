"""Policy: what this server allows, decided once at its start from the options of app.py and read everywhere."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import SettingsError
from ..settings import Settings
from .openid import Provider
from .users import lines_of, nobody, verify

MB = 1_000_000
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Policy:
    """Who may come in and what they may ask for.

    Attributes:
        host: what the server is bound to.
        public: a demo for anybody: no folder paths, no own weights, rate and size limits on.
        users: name -> hash of the password (users.py). openid: where users may sign in instead. Neither: no login.
        api_keys: keys for programs; empty: the API is as open as the page.
        reviewers: users who may open FiftyOne at /review; on one's own machine everybody may, on a public demo nobody.
        space: run as a Hugging Face Space (inside another site's frame, behind a proxy that speaks https).
        most_upload: bytes of one photo or zip. most_session: bytes of one visitor. most_photos: photos of one batch.
        most_clip: bytes of one clip. most_clip_seconds: how long it may be. most_clip_megapixels: of a frame.
        most_clips: of one visitor.
        most_address: bytes of all visitors of one address (or one signed-in user). most_visits: of these, visitors who
            brought photos.
        requests_a_minute: photos that one address may send (and ten times as much from the page); 0: no limit.
        bytes_a_minute: that one address may send; 0: no limit.
        most_at_once: requests of one address that are answered at once, each open page is one or two; 0: no limit.
        least_free: bytes of the disk that uploads leave free; less on a small one (`limits.room_on_disk`).
        keep_seconds: after so long without use a visitor's photos are deleted.
        defaults: the settings that pages and API start from.

    Raises:
        SettingsError: reachable from other machines, but neither a login nor public; a reviewer who is no user.
    """

    host: str = "127.0.0.1"
    public: bool = False
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    openid: Provider | None = None
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    reviewers: frozenset[str] = frozenset()
    space: bool = False
    most_upload: int = 200 * MB
    most_session: int = 8_000 * MB
    most_photos: int = 2_000
    most_clip: int = 4_000 * MB
    most_clip_seconds: float = 7200.0
    most_clip_megapixels: float = 40.0
    most_clips: int = 50
    most_address: int = 32_000 * MB
    most_visits: int = 200
    requests_a_minute: int = 0
    bytes_a_minute: int = 0
    most_at_once: int = 0
    least_free: int = 1000 * MB
    keep_seconds: float = 3600.0
    defaults: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        if not self.is_local and not self.has_login and not self.public:
            raise SettingsError(
                f"{self.host} can be reached from other machines: give --auth FILE (`python -m anonymize.web.users add "
                "NAME` writes it), or --public for a demo that is open to anybody"
            )

        if (unknown := sorted(self.reviewers - set(self.users))) and self.openid is None:
            raise SettingsError(f"reviewers who are no users of --auth: {', '.join(unknown)}")

    @property
    def has_login(self) -> bool:
        return bool(self.users) or self.openid is not None

    @property
    def is_local(self) -> bool:
        return self.host in LOOPBACK

    @property
    def own_machine(self) -> bool:
        """Whether the visitor sits at this computer, so that its folders and weights may be named.

        With a login it is a server for several people, even on loopback (behind a proxy): then they may not.
        """
        return self.is_local and not self.public and not self.has_login

    def may_review(self, user: str | None) -> bool:
        return self.own_machine or (not self.public and user in self.reviewers)

    def knows(self, user: str, password: str) -> bool:
        """Takes about 0.1 s, on purpose, and as long where there is no such user."""
        expected = self.users.get(user)
        return verify(password, expected or nobody()) and expected is not None

    def knows_key(self, key: str) -> bool:
        return sum(hmac.compare_digest(k.encode(), key.encode()) for k in self.api_keys) > 0


# The limits of a demo that is open to anybody.
_PUBLIC: dict[str, Any] = {
    "most_upload": 40 * MB, "most_session": 600 * MB, "most_photos": 100, "most_clip": 100 * MB,
    "most_clip_seconds": 120.0, "most_clip_megapixels": 9.0, "most_clips": 3, "most_address": 1_800 * MB,
    "most_visits": 30, "requests_a_minute": 150, "bytes_a_minute": 600 * MB, "most_at_once": 100,
    "least_free": 10_000 * MB,
}  # fmt: skip


def for_public(host: str, *, space: bool, **who: Any) -> Policy:
    """A demo that is open to anybody. `who`: who may sign in, as the fields of `Policy` have it."""
    return Policy(host=host, public=True, space=space, defaults=Settings(max_megapixels=50.0), **_PUBLIC, **who)


def read_keys(path: Path) -> tuple[str, ...]:
    """API keys, one a line, at least 16 characters each.

    Raises:
        SettingsError: it cannot be read, a key is too short to be a secret, no key at all.
    """
    keys = tuple(line for text in lines_of(path) if (line := text.strip()) and not line.startswith("#"))
    if not keys or any(len(k) < 16 for k in keys):
        raise SettingsError(f"{path}: expected one or more API keys, one a line, of at least 16 characters")
    return keys
