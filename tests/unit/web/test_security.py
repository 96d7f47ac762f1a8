"""The guard: who comes in, what is refused, and that no route gives one visitor what is another's."""

import asyncio
import base64

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from anonymize.errors import SettingsError
from anonymize.web import limits
from anonymize.web import security as security_module
from anonymize.web.login import MOST_WRONG
from anonymize.web.policy import MB, Policy, for_public, read_keys
from anonymize.web.security import SecurityMiddleware
from anonymize.web.serving import behind
from anonymize.web.sessions import COOKIE, Sessions
from tests.support.passwords import team


async def echo(request: Request) -> JSONResponse:
    body = await request.body()
    session = request.scope.get("state", {}).get("session")
    return JSONResponse({"bytes": len(body), "session": session.key if session else None})


async def secret_file(request: Request) -> PlainTextResponse:
    return PlainTextResponse("an original")


def client(tmp_path, policy=None, **options) -> TestClient:
    routes = [
        Route("/gradio_api/file={path:path}", secret_file),
        Route("/{path:path}", echo, methods=["GET", "POST", "PUT", "DELETE"]),
    ]
    app = SecurityMiddleware(
        Starlette(routes=routes), policy or Policy(), Sessions(tmp_path / "s", Policy()), **options
    )
    return TestClient(app, base_url="http://localhost", follow_redirects=False)


def with_login(**changes) -> Policy:
    return Policy(host="0.0.0.0", users=team(ada="correct horse"), **changes)


def test_a_server_for_others_needs_a_login_or_to_be_public():
    with pytest.raises(SettingsError, match=r"--auth .* or --public"):
        Policy(host="0.0.0.0")
    assert Policy(host="0.0.0.0", public=True).public
    assert with_login().users


def test_only_a_server_on_loopback_without_login_is_ones_own_machine():
    assert Policy().own_machine
    assert not Policy(users={"a": "b"}).own_machine
    assert not Policy(public=True).own_machine
    assert not with_login().own_machine


@pytest.mark.parametrize(
    "path", ["/", "/photos/x/clean", "/gradio_api/queue/data", "/config", "/api/v1/models", "/web/app.js"]
)
def test_without_login_there_is_nothing(tmp_path, path):
    answer = client(tmp_path, with_login()).get(path)
    assert answer.status_code == 401
    assert "bytes" not in answer.text


def test_a_browser_is_sent_to_the_login_page_and_back(tmp_path):
    browser = client(tmp_path, with_login())
    answer = browser.get("/photos/1", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/photos/1")
    assert "Sign in" in browser.get("/login").text
    answer = browser.post("/login?next=/photos/1", data={"user": "ada", "password": "wrong"})
    assert answer.status_code == 401
    assert browser.get("/photos/1").status_code == 401
    answer = browser.post("/login?next=/photos/1", data={"user": "ada", "password": "correct horse"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/photos/1")
    assert browser.get("/photos/1").status_code == 200
    assert browser.get("/logout").status_code == 405  # what any page can make a browser ask for
    assert browser.post("/logout", headers={"Origin": "https://evil.example"}).status_code == 403
    assert browser.get("/photos/1").status_code == 200
    assert browser.post("/logout").headers["location"] == "/login"
    assert browser.get("/photos/1").status_code == 401


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example"])
def test_login_does_not_send_to_another_site(tmp_path, target):
    browser = client(tmp_path, with_login())
    answer = browser.post(f"/login?next={target}", data={"user": "ada", "password": "correct horse"})
    assert answer.headers["location"] == "/"


def test_a_login_form_that_is_too_long_is_refused_with_its_limit(tmp_path):
    answer = client(tmp_path, with_login()).post("/login", content=b"x" * 20_000)
    assert (answer.status_code, answer.json()["error"]) == (413, "That is too large: at most 10 kB.")


def test_login_changes_the_session(tmp_path):
    browser = client(tmp_path, with_login())
    browser.cookies.set(COOKIE, "known-to-an-attacker-0123456789abcdef")
    answer = browser.post("/login", data={"user": "ada", "password": "correct horse"})
    assert COOKIE in answer.cookies
    assert answer.cookies[COOKIE] != "known-to-an-attacker-0123456789abcdef"


def test_basic_and_wrong_credentials(tmp_path):
    browser = client(tmp_path, with_login())

    def basic(text: bytes) -> int:
        return browser.get("/photos", headers={"Authorization": "Basic " + base64.b64encode(text).decode()}).status_code

    assert basic(b"ada:correct horse") == 200
    assert basic(b"ada:wrong") == 401
    assert basic(b"eve:") == 401
    assert basic(b"\xff\xfe") == 401
    assert browser.get("/photos", headers={"Authorization": "Basic ???"}).status_code == 401


def test_guessing_has_to_wait(tmp_path):
    browser = client(tmp_path, with_login())
    for _ in range(MOST_WRONG):
        assert browser.post("/login", data={"user": "ada", "password": "guess"}).status_code == 401
    answer = browser.post("/login", data={"user": "ada", "password": "correct horse"})
    assert answer.status_code == 429


@pytest.mark.parametrize(("proxy", "is_believed"), [("127.0.0.1", True), ("127.0.0.2", False), (None, False)])
def test_only_a_proxy_that_was_named_says_who_comes_and_how(tmp_path, proxy, is_believed):
    guard = SecurityMiddleware(Starlette(), with_login(), Sessions(tmp_path / "s", Policy()))
    config = uvicorn.Config(guard, **behind(proxy))
    config.load()
    browser = TestClient(config.loaded_app, client=("127.0.0.1", 50_000), follow_redirects=False)

    def sign_in(password: str, address: str):
        headers = {"X-Forwarded-For": address, "X-Forwarded-Proto": "https"}
        return browser.post("/login", data={"user": "ada", "password": password}, headers=headers)

    for _ in range(MOST_WRONG):
        assert sign_in("guess", "203.0.113.1").status_code == 401
    assert sign_in("correct horse", "203.0.113.1").status_code == 429
    answer = sign_in("correct horse", "203.0.113.2")
    assert answer.status_code == (303 if is_believed else 429)
    assert ("; Secure" in answer.headers.get("set-cookie", "")) == is_believed


def test_api_keys(tmp_path):
    key = "k" * 20
    browser = client(tmp_path, Policy(api_keys=(key,)))
    assert browser.get("/api/v1/models").status_code == 401
    assert browser.get("/api/v1/models", headers={"Authorization": "Bearer nope"}).status_code == 401
    assert browser.get("/api/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    assert browser.get("/api/v1/models", headers={"X-API-Key": key}).status_code == 200
    # A key is for programs: it opens no page of a server with a login.
    closed = client(tmp_path, with_login(api_keys=(key,)))
    assert closed.get("/photos/1", headers={"Authorization": f"Bearer {key}"}).status_code == 401
    assert closed.get("/api/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code == 200


def test_health_needs_no_login(tmp_path):
    assert client(tmp_path, with_login()).get("/healthz").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[::2]:7860", "[oops"])
def test_a_name_that_points_here_is_refused(tmp_path, host):
    assert client(tmp_path).get("/x", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize("host", ["localhost:7860", "127.0.0.1", "[::1]:7860", "LOCALHOST"])
def test_loopback_names_are_welcome(tmp_path, host):
    assert client(tmp_path).get("/photos", headers={"Host": host}).status_code == 200


def test_forged_requests_are_refused(tmp_path):
    browser = client(tmp_path)
    assert browser.post("/photos", headers={"Origin": "http://evil.example"}).status_code == 403
    assert browser.post("/photos", headers={"Origin": "http://localhost.evil.example"}).status_code == 403
    assert browser.post("/photos", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert browser.post("/photos", headers={"Origin": "http://localhost"}).status_code == 200
    assert browser.post("/photos").status_code == 200


def test_bodies_are_limited_announced_or_not(tmp_path):
    browser = client(tmp_path, Policy(most_upload=MB))
    assert browser.post("/photos", content=b"x" * MB).status_code == 200
    assert browser.post("/photos", content=b"x" * 2 * MB).status_code == 413
    assert browser.post("/photos", content=(b"x" * MB for _ in range(3))).status_code == 413
    assert browser.post("/photos", content=b"x", headers={"Content-Length": "x"}).status_code == 400


def test_a_body_that_is_refused_is_read_so_that_the_client_hears_why(tmp_path):
    """A browser says "connection reset", not what the server answered, when it cannot send to the end."""
    app = client(tmp_path, Policy(most_upload=MB)).app

    async def post(chunks: int, *headers: tuple[bytes, bytes]) -> tuple[int, int]:
        """The status, and how many of the body's megabytes had been read before it came."""
        left, status, read = chunks, [], []

        async def receive() -> dict[str, object]:
            nonlocal left
            left -= 1
            return {"type": "http.request", "body": b"x" * MB, "more_body": left > 0}

        async def send(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start":
                status.append(message["status"])
                read.append(chunks - left)

        host = [(b"host", b"localhost"), *headers]
        scope = {"type": "http", "method": "POST", "path": "/photos", "query_string": b"", "headers": host}
        await app({**scope, "scheme": "http", "http_version": "1.1", "client": ("127.0.0.1", 1)}, receive, send)
        return status[0], read[0]

    said = (b"content-length", b"3000000")
    assert asyncio.run(post(3, said)) == (413, 3)
    assert asyncio.run(post(3)) == (413, 3)
    assert asyncio.run(post(2)) == (413, 2)  # too long by its last piece: what comes next never comes
    assert asyncio.run(post(3, said, (b"expect", b"100-continue"))) == (413, 0)
    status, read = asyncio.run(post(50, (b"content-length", b"50000000")))
    assert status == 413
    assert read < 6  # not without end


def test_a_public_server_limits_requests_an_address(tmp_path):
    policy = for_public("0.0.0.0", space=False)
    browser = client(tmp_path, policy)
    codes = [
        browser.post("/photos", headers={"X-Forwarded-For": str(i)}).status_code
        for i in range(policy.requests_a_minute + 2)
    ]
    assert codes[: policy.requests_a_minute] == [200] * policy.requests_a_minute
    assert codes[policy.requests_a_minute :] == [429, 429]  # a header that the visitor wrote changes nothing


def test_each_visitor_has_a_session_of_their_own(tmp_path):
    app = client(tmp_path).app
    first, second = (TestClient(app, base_url="http://localhost") for _ in range(2))
    key = first.get("/photos").json()["session"]
    assert first.get("/photos").json()["session"] == key
    assert second.get("/photos").json()["session"] != key


def test_a_cookie_that_is_not_a_secret_is_replaced(tmp_path):
    browser = client(tmp_path)
    for bad in ("short", "../../etc/passwd-0123456789abcdef0123456789", "x" * 200):
        assert COOKIE in browser.get("/photos", headers={"Cookie": f"{COOKIE}={bad}"}).cookies


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(tmp_path):
    cookie = client(tmp_path).get("/photos").headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    space = for_public("0.0.0.0", space=True)
    cookie = client(tmp_path, space).get("/photos").headers["set-cookie"]
    assert "Secure" in cookie
    assert "SameSite=None" in cookie
    assert "Partitioned" in cookie


def test_answers_forbid_other_hosts(tmp_path):
    headers = client(tmp_path).get("/photos").headers
    assert "connect-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file/etc/passwd",
        "/file=/etc/passwd",
        "/file/etc/passwd",
        "/gradio_api/runs",
        "/gradio_api/proxy=http://example.org/",
        "/proxy=http://example.org/",
        "/monitoring",
        "/monitoring/summary",
        "/gradio_api/deep_link",
        "/gradio_api/vibe-code/",
        "/gradio_api/stream/a/b/1/playlist.m3u8",
        "/gradio_api/custom_component/1/2/3/4",
        "/openapi.json",
        "/gradio_api/file=/tmp/gradio/abc/photo.jpg",
        "/dev/reload",
        "/token",
        "/gradio_api/upload_progress",
    ],
)
def test_gradios_other_routes_are_not_there(tmp_path, path):
    answer = client(tmp_path).get(path)
    assert answer.status_code == 404
    assert "original" not in answer.text


def test_gradios_upload_is_closed(tmp_path):
    assert client(tmp_path).post("/gradio_api/upload", files={"files": b"x"}).status_code == 404


def test_an_event_stream_is_its_first_listeners_only(tmp_path):
    app = client(tmp_path).app
    owner, other = (TestClient(app, base_url="http://localhost") for _ in range(2))
    for visitor in (owner, other):
        visitor.get("/photos")
    assert owner.get("/gradio_api/queue/data?session_hash=abc").status_code == 200
    assert other.get("/gradio_api/queue/data?session_hash=abc").status_code == 404
    assert other.get("/gradio_api/heartbeat/abc").status_code == 404
    assert other.get("/gradio_api/queue/data?session_hash=def").status_code == 200


def test_a_mounted_app_is_behind_the_login_but_keeps_its_own_routes(tmp_path):
    browser = client(tmp_path, with_login(), mounted=("/review",))
    assert browser.get("/review/datasets").status_code == 401
    browser.post("/login", data={"user": "ada", "password": "correct horse"})
    answer = browser.get("/review/datasets")
    assert answer.status_code == 200
    assert "content-security-policy" not in answer.headers


def test_a_file_of_keys(tmp_path):
    path = tmp_path / "f"
    path.write_text("0123456789abcdef\n")
    assert read_keys(path) == ("0123456789abcdef",)
    path.write_text("short\n")
    with pytest.raises(SettingsError, match="16"):
        read_keys(path)


def test_a_request_that_says_twice_how_long_it_is_is_refused(tmp_path):
    """Limits of an address and of a visitor go by the announced length."""

    def body():
        yield b"x" * 1000

    headers = {"content-length": "0", "transfer-encoding": "chunked"}
    app = client(tmp_path)
    assert app.post("/photos", content=body(), headers=headers).status_code == 400
    assert app.post("/photos", content=body(), headers={"transfer-encoding": "chunked"}).json()["bytes"] == 1000


@pytest.mark.parametrize("charset", ["unicode_escape", "utf-7", "punycode", "idna", "undefined", '"utf-7"', "utf-16"])
def test_text_in_another_charset_than_utf_8_is_refused(tmp_path, charset):
    kind = "multipart/form-data; boundary=x; charset="
    assert (
        client(tmp_path).post("/api/v1/detect", content=b"x", headers={"content-type": kind + charset}).status_code
        == 415
    )
    assert client(tmp_path).post("/api/v1/x", content=b"x", headers={"content-type": kind + "UTF-8"}).status_code == 200


def test_one_ipv6_network_is_one_address():
    assert limits.network("2001:db8::1") == limits.network("2001:db8::ffff:2") == "2001:db8::/64"
    assert limits.network("2001:db8:0:1::1") != limits.network("2001:db8::1")
    assert limits.network("::ffff:10.0.0.1") == limits.network("10.0.0.1") == "10.0.0.1"
    assert limits.network("fe80::1%eth0") == "fe80::/64"
    assert limits.network("testclient") == "testclient"


@pytest.mark.parametrize("path", ["/healthzX", "/photosX", "/reviewX", "/webX", "/loginX", "/apiX"])
def test_what_only_begins_like_a_route_of_ours_is_behind_the_wall(tmp_path, path):
    assert client(tmp_path, mounted=("/review",)).get(path).status_code == 404


def test_pages_are_drawn_one_after_the_other_and_a_slow_reader_keeps_nobody(tmp_path):
    drawing = most = 0

    async def page(scope, receive, send):
        nonlocal drawing, most
        drawing += 1
        most = max(most, drawing)
        await asyncio.sleep(0)
        drawing -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"page"})

    async def get(guard, send):
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/",
            "query_string": b"",
            "headers": [(b"host", b"localhost")],
        }
        await guard(scope, None, send)

    async def many():
        guard, is_read = SecurityMiddleware(page, Policy(), Sessions(tmp_path / "s", Policy())), asyncio.Event()

        async def slow(message):
            await is_read.wait()

        async def quick(message):
            pass

        stuck = asyncio.ensure_future(get(guard, slow))
        await asyncio.gather(*(get(guard, quick) for _ in range(20)))
        is_read.set()
        await stuck

    asyncio.run(many())
    assert most == 1


def test_a_body_for_gradio_is_smaller_than_an_upload(tmp_path):
    """It is parsed in the event loop: 38 MB kept /healthz waiting for 4 s."""
    app, large = client(tmp_path), b" " * (security_module.MOST_GRADIO + 1)
    kind = {"content-type": "application/json"}
    assert app.post("/gradio_api/call/anonymize", content=large, headers=kind).status_code == 413
    assert app.post("/photos", content=large).status_code == 200
