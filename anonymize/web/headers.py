"""What a request's headers say, read with care: whatever they hold, there is an answer and no exception."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import urlsplit

from python_multipart.multipart import parse_options_header


def host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return host


def charset(content_type: str) -> str:
    """The charset of a request's body, lower case; empty: it names none."""
    return ",".join(
        v.decode("latin-1").lower() for k, v in parse_options_header(content_type)[1].items() if k == b"charset"
    )


def basic_credentials(credentials: str) -> str:
    try:
        return base64.b64decode(credentials, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""
