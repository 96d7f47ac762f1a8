"""A Hugging Face Space as its visitors see it: inside a frame of huggingface.co, over TLS, with partitioned cookies."""

from __future__ import annotations

import asyncio
import datetime
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from screenshots import CHROMIUM, FLAGS, open_tab

from tests.support.review_site import make, served
from tests.support.web_site import photo

OUTER, SPACE = "huggingface.co", "me-anonymize.hf.space"
FRAME = (
    f'<!doctype html><title>Spaces</title><iframe src="https://{SPACE}/" style="width:1300px;height:860px" '
    'sandbox="allow-downloads allow-forms allow-modals allow-popups allow-same-origin allow-scripts"></iframe>'
)


def certificate(folder: Path) -> ssl.SSLContext:
    """One that nobody trusts but a test."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    pem = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "tls.pem").write_bytes(pem + key.private_bytes(*form))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.pem")
    return context


async def outer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """huggingface.co: a page with the Space in a frame."""
    await reader.readuntil(b"\r\n\r\n")
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(FRAME)}\r\nConnection: close\r\n\r\n"
    writer.write((head + FRAME).encode())
    await writer.drain()
    writer.close()


def proxy(port: int):  # type: ignore[no-untyped-def]
    """The Space's proxy: takes TLS off."""

    async def pipe(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
        except (OSError, ssl.SSLError):
            pass
        finally:
            target.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, out = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pipe(reader, out), pipe(inner, writer))

    return serve


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    make(tmp_path, 3)
    context = certificate(tmp_path)
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    def listen(handler) -> int:  # type: ignore[no-untyped-def]
        starting = asyncio.start_server(handler, "127.0.0.1", 0, ssl=context)
        server = asyncio.run_coroutine_threadsafe(starting, loop).result(20)
        return int(server.sockets[0].getsockname()[1])

    with served(tmp_path, "--space") as address:
        ports = {OUTER: listen(outer), SPACE: listen(proxy(int(urlsplit(address).port or 0)))}
        rules = ",".join(f"MAP {host}:443 127.0.0.1:{port}" for host, port in ports.items())
        flags = [
            *FLAGS,
            f"--host-resolver-rules={rules}",
            "--ignore-certificate-errors",
        ]
        mapped = browser.browser_type.launch(executable_path=CHROMIUM, args=flags)
        opened = mapped.new_page(viewport={"width": 1360, "height": 900}, ignore_https_errors=True)
        opened.set_default_timeout(60_000)
        yield opened
        mapped.close()
    loop.call_soon_threadsafe(loop.stop)


def test_a_space_works_inside_huggingface_s_frame(page: Page, tmp_path: Path) -> None:
    asked: list[str] = []
    page.on("request", lambda r: asked.append(urlsplit(r.url).hostname or ""))
    page.goto(f"https://{OUTER}/")
    space = page.frame_locator("iframe")
    space.locator(".az-drop-title").first.wait_for()
    frame = next(f for f in page.frames if SPACE in f.url)
    source = photo(tmp_path / "a.jpg", size=(320, 240))
    frame.set_input_files("#az-photo .az-drop input[type=file]", str(source))
    expect(space.locator(".az-stage:visible")).to_have_count(1)
    # A link's own download would go without the partitioned cookie, to a server that knows nobody then.
    for name in ("Download the clean photo", "What was hidden (JSON)"):
        with page.expect_download() as waiting:
            space.get_by_role("link", name=name).click()
        assert waiting.value.failure() is None
        waiting.value.save_as(tmp_path / waiting.value.suggested_filename)
    assert (tmp_path / "a-anonymized.jpg").exists(), list(tmp_path.iterdir())
    with Image.open(tmp_path / "a-anonymized.jpg") as clean:
        assert clean.size == (320, 240)
    # What can no longer be had is said beside the link.
    frame.evaluate("fetch('/visit/forget', { method: 'POST' })")
    space.get_by_role("link", name="Download the clean photo").click()
    expect(space.locator("#az-result .problem")).to_contain_text("no longer here")
    frame.evaluate("location.reload()")
    space.locator(".az-drop-title").first.wait_for()
    open_tab(frame, "Review")  # type: ignore[arg-type]
    space.locator(".az-review[data-painted='00.jpg']").wait_for()
    space.get_by_role("button", name="Following photo").click()
    space.locator(".az-review[data-painted='01.jpg']").wait_for()
    assert set(asked) <= {OUTER, SPACE, ""}  # no fonts, no scripts from elsewhere
    cookies = [c for c in page.context.cookies() if c["domain"] == SPACE]
    assert cookies
    assert all(c["secure"] and c["sameSite"] == "None" and c.get("partitionKey") for c in cookies)
