"""The key that certificates are signed with: Ed25519, made at the first use, readable by its owner only."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import AuditError
from ..extras import extra

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

KEY_NAME = "audit-key.pem"


def key_path() -> Path:
    """ANONYMIZE_CONFIG, else the platform's folder for a user's settings. It is not made here."""
    if given := os.environ.get("ANONYMIZE_CONFIG"):
        return Path(given).expanduser() / KEY_NAME
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return base / "anonymize" / KEY_NAME


def load(path: Path | None = None) -> Ed25519PrivateKey:
    """The private key in a file; a new one where there is no file.

    Args:
        path: a PEM file. None: `key_path()`.

    Raises:
        AuditError: the file is no Ed25519 key, cannot be read or made, or others may read it.
        MissingExtraError: cryptography is not installed.
    """
    with extra("audit", "signing a certificate"):
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    path = path or key_path()
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            pem = Ed25519PrivateKey.generate().private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(pem)
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise AuditError(f"others may read the key {path}; `chmod 600` it")
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as e:
        raise AuditError(f"the key {path} cannot be used: {e}") from e
    if not isinstance(key, Ed25519PrivateKey):
        raise AuditError(f"{path} is no Ed25519 key")
    return key


def load_public(path: Path) -> Ed25519PublicKey:
    """The public key in a PEM file.

    Raises:
        AuditError: the file is none.
    """
    with extra("audit", "verifying a certificate"):
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as e:
        raise AuditError(f"{path} is no public key: {e}") from e
    if not isinstance(key, Ed25519PublicKey):
        raise AuditError(f"{path} is no Ed25519 key")
    return key


def pem(public: Ed25519PublicKey) -> str:
    """A public key as others are given it."""
    with extra("audit", "signing a certificate"):
        from cryptography.hazmat.primitives import serialization
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def fingerprint(public: bytes) -> str:
    """A public key's name for people: SHA-256 of its 32 bytes, in hex, four characters a group."""
    digest = hashlib.sha256(public).hexdigest()
    return " ".join(digest[i : i + 4] for i in range(0, 32, 4))
