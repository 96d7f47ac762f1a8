"""Users of tests: hashes that take no time."""

from __future__ import annotations

from pathlib import Path

from anonymize.web.users import hash_password


def team(**users: str) -> dict[str, str]:
    """Name -> hash, as `Policy.users` has them."""
    return {name: hash_password(password, cost=16) for name, password in users.items()}


def write_users(path: Path, **users: str) -> Path:
    path.write_text("".join(f"{name}:{hashed}\n" for name, hashed in team(**users).items()))
    return path
