"""The users of a team's server: a file with one `name:hash` a line, and the command that writes it.

    python -m anonymize.web.users add NAME [--file users.txt]

A hash is scrypt's, with its own random salt: `scrypt$N$r$p$salt$key`. From the file alone nobody can sign in.
"""

from __future__ import annotations

import base64
import binascii
import getpass
import hashlib
import hmac
import os
import re
import secrets
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import click

from ..disk import replacing
from ..errors import SettingsError

# scrypt's: 32 MB and about 0.1 s for one password.
COST, BLOCK, PARALLEL = 1 << 15, 8, 1
MOST_MEMORY = 256 << 20  # bytes, that a line of the file may ask for
_BASE64 = "([A-Za-z0-9+/=]{%s})"
_HASH = re.compile(r"scrypt\$([0-9]{1,7})\$([0-9]{1,2})\$([0-9]{1,2})\$" + _BASE64 % "24,88" + r"\$" + _BASE64 % "88")
_NAME = re.compile(r"[^\s:#][^\s:]{0,63}")


def hash_password(password: str, cost: int = COST) -> str:
    """The hash of a password, as the file has it. `cost`: scrypt's N, a power of two."""
    salt = secrets.token_bytes(16)
    key = hashlib.scrypt(password.encode(), salt=salt, n=cost, r=BLOCK, p=PARALLEL, maxmem=MOST_MEMORY)
    return f"scrypt${cost}${BLOCK}${PARALLEL}${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"


def verify(password: str, hashed: str) -> bool:
    """Whether a hash is this password's."""
    found = _HASH.fullmatch(hashed)
    if found is None:
        return False
    n, r, p = (int(found[i]) for i in (1, 2, 3))
    try:
        salt, key = (base64.b64decode(found[i], validate=True) for i in (4, 5))
        mine = hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=MOST_MEMORY)
    except (binascii.Error, ValueError):  # no base64; parameters that are none, or ask for too much
        return False
    return hmac.compare_digest(mine, key)


@lru_cache(1)
def nobody() -> str:
    """What a name that is not there is compared with, so that it takes as long as one that is."""
    return hash_password(secrets.token_urlsafe())


def read_users(path: Path) -> dict[str, str]:
    """Name -> hash; empty lines and those that begin with # are left out.

    Raises:
        SettingsError: it cannot be read, no user at all, a line that is no `name:hash`; what to do with a password that
            is not hashed.
    """
    users: dict[str, str] = {}
    for number, line in enumerate(lines_of(path), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, hashed = line.strip().partition(":")
        if not (colon and hashed and _NAME.fullmatch(name)):
            raise SettingsError(f"{path}, line {number}: expected name:hash; {_add('NAME', path)} adds one")
        if not _HASH.fullmatch(hashed):
            raise SettingsError(
                f"{path}, line {number}: the password of {name!r} is not hashed. {_add(name, path)} replaces the line"
            )
        users[name] = hashed
    if not users:
        raise SettingsError(f"{path} names no user; {_add('NAME', path)} adds one")
    return users


def _add(name: str, path: Path) -> str:
    return f"`python -m anonymize.web.users add {name} --file {path}`"


def lines_of(path: Path) -> list[str]:
    """A text file's lines. Raises SettingsError: it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise SettingsError(f"cannot read {path}: {e}") from e


def _change(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Other lines in the file: whole, or as it was; only its owner may read it."""
    lines = lines_of(path) if path.exists() else []
    text = "".join(f"{line}\n" for line in change(lines))
    with (
        replacing(path) as temporary,
        open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file,
    ):
        file.write(text)


def _others(lines: list[str], name: str) -> list[str]:
    return [line for line in lines if line.strip().partition(":")[0] != name]


@click.group(help=__doc__.split("\n")[0] if __doc__ else None)
def main() -> None:
    pass


_file = click.option(
    "--file", "path", type=click.Path(dir_okay=False, path_type=Path), default="users.txt", show_default=True
)


@main.command()
@click.argument("name")
@_file
def add(name: str, path: Path) -> None:
    """Add a user, or give one another password; it is asked for, or read from standard input."""
    if not _NAME.fullmatch(name):
        raise click.ClickException("a name has no spaces, no colon, and does not begin with #")
    if sys.stdin.isatty():
        password = getpass.getpass(f"Password of {name}: ")
        if password != getpass.getpass("Once more: "):
            raise click.ClickException("that was another one; nothing was changed")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if len(password) < 8:
        raise click.ClickException("a password has at least 8 characters; nothing was changed")
    try:
        _change(path, lambda lines: [*_others(lines, name), f"{name}:{hash_password(password)}"])
    except (OSError, SettingsError) as e:
        raise click.ClickException(str(e)) from e
    click.echo(f"{name} may sign in: python app.py --auth {path}")


@main.command()
@click.argument("name")
@_file
def remove(name: str, path: Path) -> None:
    """Take a user out of the file; a server that runs has to be started again."""
    try:
        if len(_others(lines_of(path), name)) == len(lines_of(path)):
            raise click.ClickException(f"{path} has no user {name!r}")
        _change(path, lambda lines: _others(lines, name))
    except (OSError, SettingsError) as e:
        raise click.ClickException(str(e)) from e


if __name__ == "__main__":
    main()
