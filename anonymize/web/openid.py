"""Signing in at another server (OpenID Connect): an organization's, or Hugging Face for a Space, through Authlib.

Only who is named may come in: everybody has an account somewhere.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from ..errors import SettingsError
from ..extras import extra

log = logging.getLogger("anonymize.web")
CALLBACK = "/login/callback"
COOKIE = "anonymize_openid"
_MINUTES, _MOST = 10, 1000  # how long, and how many, sign-ins are on their way


class OpenIdError(Exception):
    """Why somebody did not come in, in a sentence for them."""


@dataclass(frozen=True)
class Provider:
    """Who vouches for users, and which of them may come in.

    Attributes:
        issuer: its address, under which /.well-known/openid-configuration is.
        client_id, client_secret: what it gave to this server; its callback is https://HOST/login/callback.
        allowed: names (a verified e-mail address, or an account's name), or *@example.org for all of a domain.

    Raises:
        SettingsError: not an address, no client, or nobody may come in.
    """

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    allowed: tuple[str, ...]

    def __post_init__(self) -> None:
        at = urlsplit(self.issuer)
        if at.scheme != "https" and at.hostname not in ("localhost", "127.0.0.1"):
            raise SettingsError(
                f"the provider of logins has an address like https://login.example.org: {self.issuer!r}"
            )
        if not self.client_id or not self.client_secret:
            raise SettingsError("a provider of logins needs a client's id, and its secret in ANONYMIZE_OPENID_SECRET")
        if not self.allowed or any(a == "*" or (a.startswith("*") and not a.startswith("*@")) for a in self.allowed):
            raise SettingsError("name who may sign in: ana@example.org, *@example.org, or an account's name")

    @property
    def title(self) -> str:
        """What its button says."""
        host = urlsplit(self.issuer).hostname or ""
        return "Hugging Face" if host == "huggingface.co" else host

    def name(self, claims: Mapping[str, Any]) -> str | None:
        """Who this is, if they may come in.

        An e-mail address counts when the provider has verified it; an account's name only where it is no address, for
        people choose those themselves.
        """
        email, account = str(claims.get("email") or "").lower(), str(claims.get("preferred_username") or "")
        if email and claims.get("email_verified") is True:
            for one in self.allowed:
                if email == one.lower() or (one.startswith("*@") and email.rpartition("@")[2] == one[2:].lower()):
                    return email
        return account if account and "@" not in account and account in self.allowed else None


def names_in(text: str) -> tuple[str, ...]:
    """ana, bob -> ("ana", "bob")."""
    return tuple(filter(None, (name.strip() for name in text.split(","))))


def of_space(allowed: str) -> Provider | None:
    """A Space's own provider, where its README says `hf_oauth: true` and its secrets name who may come in."""
    client, secret = (os.environ.get(f"OAUTH_CLIENT_{part}", "") for part in ("ID", "SECRET"))
    names = names_in(allowed)
    if not (os.environ.get("SPACE_ID") and client and secret and names):
        return None
    return Provider(os.environ.get("OPENID_PROVIDER_URL", "https://huggingface.co"), client, secret, names)


class OpenId:
    """The sign-ins that are on their way.

    Args:
        transport: how to reach the provider, for tests.
    """

    def __init__(self, provider: Provider, transport: Any = None) -> None:
        with extra("openid", "Signing in at another server"):
            from authlib.integrations.starlette_client import OAuth
        self.provider = provider
        # cookie -> since, target, state
        self._begun: OrderedDict[str, tuple[float, str, dict[str, Any]]] = OrderedDict()
        kwargs = {"scope": "openid profile email", "code_challenge_method": "S256"}
        self._client = OAuth().register(
            "openid",
            client_id=provider.client_id,
            client_secret=provider.client_secret,
            server_metadata_url=f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration",
            client_kwargs={**kwargs, **({"transport": transport} if transport else {})},
        )

    async def begin(self, request: Request, target: str, callback: str) -> tuple[Response, str]:
        """To the provider; and the cookie's value, by which whoever comes back is known."""
        kept: dict[str, Any] = {}
        request.scope["session"] = kept
        try:
            response: Response = await self._client.authorize_redirect(request, callback)
        except Exception as e:
            raise self._failed(e) from e
        secret = secrets.token_urlsafe(32)
        self._begun[secret] = (time.monotonic(), target, kept)
        while len(self._begun) > _MOST:
            self._begun.popitem(last=False)
        return response, secret

    async def finish(self, request: Request) -> tuple[str, str]:
        """Who came back, and where they wanted to go.

        Raises:
            OpenIdError: nobody who may come in.
        """
        since, target, kept = self._begun.pop(request.cookies.get(COOKIE, ""), (0.0, "/", {}))
        if not kept or time.monotonic() - since > 60 * _MINUTES:
            raise OpenIdError("That took too long, or began elsewhere; please sign in again.")
        request.scope["session"] = kept
        try:
            token = await self._client.authorize_access_token(request)
        except Exception as e:
            raise self._failed(e) from e
        name = self.provider.name(token.get("userinfo") or {})
        if name is None:
            raise OpenIdError("You signed in, but nobody gave you access to this server.")
        return name, target

    def _failed(self, error: Exception) -> OpenIdError:
        # A library's errors may hold tokens: only their kind is logged.
        log.warning("signing in at %s failed: %s", self.provider.title, type(error).__name__)
        return OpenIdError(f"Signing in at {self.provider.title} did not work; please try again.")
