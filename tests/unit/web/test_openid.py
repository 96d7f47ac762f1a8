"""Signing in at another server: a provider that the test is, and who may come in."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from anonymize.errors import SettingsError
from anonymize.web.openid import COOKIE, OpenId, Provider, of_space
from anonymize.web.policy import Policy
from anonymize.web.security import SecurityMiddleware
from anonymize.web.sessions import Sessions
from tests.support.passwords import team

ISSUER = "https://login.example.org"
ALLOWED = ("ana@example.org", "*@team.example", "eve")


class Elsewhere:
    """The provider: signs in whoever `claims` says, and notes what it was asked."""

    def __init__(self) -> None:
        self.key = RSAKey.generate_key(2048, parameters={"kid": "one"})
        self.claims: dict[str, Any] = {}
        self.asked: dict[str, str] = {}
        self.app = Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self.about),
                Route("/jwks", lambda _: JSONResponse({"keys": [self.key.as_dict(private=False)]})),
                Route("/token", self.token, methods=["POST"]),
            ]
        )

    def about(self, _: Request) -> Response:
        at = {f"{name}_endpoint": f"{ISSUER}/{name}" for name in ("authorization", "token")}
        return JSONResponse({"issuer": ISSUER, "jwks_uri": f"{ISSUER}/jwks", **at})

    async def token(self, request: Request) -> Response:
        form = parse_qs((await request.body()).decode())
        assert form["code"] == ["the code"]
        assert form["code_verifier"]
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": "us", "sub": "1", "iat": now, "exp": now + 60, "nonce": self.asked["nonce"]}
        signed = jwt.encode({"alg": "RS256", "kid": "one"}, {**claims, **self.claims}, self.key)
        return JSONResponse({"access_token": "t", "token_type": "Bearer", "id_token": signed})


@pytest.fixture
def elsewhere() -> Elsewhere:
    return Elsewhere()


@pytest.fixture
def browser(tmp_path: Path, elsewhere: Elsewhere) -> TestClient:
    def who(request: Request) -> Response:
        return PlainTextResponse(f"hello {request.scope['state']['user']}")

    policy = Policy(host="0.0.0.0", openid=Provider(ISSUER, "us", "secret", ALLOWED), users=team(bob="long enough"))
    app = SecurityMiddleware(Starlette(routes=[Route("/photos", who)]), policy, Sessions(tmp_path / "s", Policy()))
    app.login.openid = OpenId(policy.openid, httpx2.ASGITransport(app=elsewhere.app))  # type: ignore[arg-type]
    return TestClient(app, base_url="https://here.example", follow_redirects=False)


def sign_in(browser: TestClient, elsewhere: Elsewhere, **claims: Any) -> Any:
    sent = browser.get("/login/openid?next=/photos")
    assert sent.status_code == 302
    at = urlsplit(sent.headers["location"])
    elsewhere.asked = {k: v[0] for k, v in parse_qs(at.query).items()}
    assert f"{at.scheme}://{at.netloc}{at.path}" == f"{ISSUER}/authorization"
    assert elsewhere.asked["redirect_uri"] == "https://here.example/login/callback"
    assert elsewhere.asked["code_challenge_method"] == "S256"
    assert "httponly" in sent.headers["set-cookie"].lower()
    elsewhere.claims = claims
    return browser.get("/login/callback", params={"code": "the code", "state": elsewhere.asked["state"]})


def test_who_is_named_comes_in_and_where_they_wanted_to_go(browser: TestClient, elsewhere: Elsewhere):
    refused = browser.get("/photos", headers={"accept": "text/html"})
    assert refused.headers["location"] == "/login?next=/photos"
    page = browser.get("/login?next=/photos").text
    assert '<a href="/login/openid?next=/photos">Sign in with login.example.org</a>' in page
    answer = sign_in(browser, elsewhere, email="Ana@example.org", email_verified=True)
    assert (answer.status_code, answer.headers["location"]) == (303, "/photos")
    assert browser.get("/photos").text == "hello ana@example.org"
    browser.post("/logout")
    assert browser.get("/photos").status_code == 401


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"email": "ana@example.org", "email_verified": True}, "ana@example.org"),
        ({"email": "x@TEAM.example", "email_verified": True}, "x@team.example"),
        ({"preferred_username": "eve"}, "eve"),
        ({"email": "ana@example.org"}, None),  # anybody may claim an address
        ({"email": "ana@example.org", "email_verified": "true"}, None),
        ({"preferred_username": "ana@example.org"}, None),
        ({"preferred_username": "x@team.example", "email": "x@y.example", "email_verified": True}, None),
        ({"email": "x@team.example.evil.example", "email_verified": True}, None),
        ({"email": "x@evilteam.example", "email_verified": True}, None),
        ({"email": "@team.example@evil.example", "email_verified": True}, None),
        ({"preferred_username": "bob"}, None),
        ({}, None),
    ],
)
def test_only_who_is_named_may_come_in(claims: dict[str, Any], name: str | None):
    assert Provider(ISSUER, "us", "secret", ALLOWED).name(claims) == name


@pytest.mark.parametrize(
    "wrong",
    [
        {"preferred_username": "mallory"},
        {"preferred_username": "eve", "aud": "another"},
        {"preferred_username": "eve", "iss": "https://evil.example"},
        {"preferred_username": "eve", "nonce": "another"},
        {"preferred_username": "eve", "exp": 1},
    ],
)
def test_others_and_tokens_that_are_not_for_us_stay_outside(
    browser: TestClient, elsewhere: Elsewhere, wrong: dict[str, Any]
):
    answer = sign_in(browser, elsewhere, **wrong)
    assert (answer.status_code, 'role="alert"' in answer.text) == (401, True)
    assert browser.get("/photos").status_code == 401


def test_a_token_that_another_key_signed_is_nobodys(browser: TestClient, elsewhere: Elsewhere):
    real = elsewhere.key
    sign_in(browser, elsewhere, preferred_username="mallory")  # its keys are known now
    elsewhere.key = RSAKey.generate_key(2048, parameters={"kid": "one"})
    elsewhere.app.routes[1].endpoint = lambda _: JSONResponse({"keys": [real.as_dict(private=False)]})
    assert sign_in(browser, elsewhere, preferred_username="eve").status_code == 401


def test_a_sign_in_that_began_elsewhere_does_not_end_here(browser: TestClient, elsewhere: Elsewhere):
    """Else somebody could sign another one's browser in as themselves."""
    browser.get("/login/openid")
    browser.cookies.delete(COOKIE)
    assert browser.get("/login/callback?code=the+code&state=x").status_code == 401
    assert sign_in(browser, elsewhere, preferred_username="eve").status_code == 303
    again = browser.get("/login/callback", params={"code": "the code", "state": elsewhere.asked["state"]})
    assert again.status_code == 401  # once


def test_a_name_that_has_a_password_is_not_signed_in_from_elsewhere(browser: TestClient, elsewhere: Elsewhere):
    browser.app.login.openid.provider = Provider(ISSUER, "us", "secret", ("bob",))  # type: ignore[attr-defined]
    assert "has a password here" in sign_in(browser, elsewhere, preferred_username="bob").text


@pytest.mark.parametrize(
    ("issuer", "client", "allowed"),
    [
        ("http://login.example.org", ("us", "secret"), ("ana",)),
        (ISSUER, ("us", ""), ("ana",)),
        (ISSUER, ("", "secret"), ("ana",)),
        (ISSUER, ("us", "secret"), ()),
        (ISSUER, ("us", "secret"), ("*",)),
        (ISSUER, ("us", "secret"), ("*team.example",)),
    ],
)
def test_a_provider_that_would_let_anybody_in_is_refused(
    issuer: str, client: tuple[str, str], allowed: tuple[str, ...]
):
    with pytest.raises(SettingsError):
        Provider(issuer, *client, allowed)


def test_a_space_has_its_own_provider(monkeypatch: pytest.MonkeyPatch):
    for name, value in (("SPACE_ID", "a/b"), ("OAUTH_CLIENT_ID", "us"), ("OAUTH_CLIENT_SECRET", "secret")):
        assert of_space("eve") is None
        monkeypatch.setenv(name, value)
    found = of_space("eve, ana")
    assert found is not None
    assert (found.title, found.allowed) == ("Hugging Face", ("eve", "ana"))
    assert of_space("") is None
