"""Weights: from a source to a verified file to an ONNX. Only the tests marked `weights` reach the package index."""

from __future__ import annotations

import ast
import hashlib
import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from anonymize import weights
from anonymize.errors import (
    HashMismatchError,
    MissingExtraError,
    SettingsError,
    UnknownNameError,
    UntrustedWeightsError,
    WeightsError,
    WeightsUnavailableError,
)
from anonymize.weights import registry, sources
from anonymize.weights.registry import Model

DATA = bytes(range(256)) * 700  # more than half a network read, and every byte value


def a_model(*where: str, data: bytes = DATA, **changes: object) -> Model:
    values = {
        "name": "toy", "task": "face", "file": "toy.onnx", "sources": where, "license": "MIT", "size": 640,
        "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "classes": {"face": "face"},
    }  # fmt: skip
    return Model(**(values | changes))  # type: ignore[arg-type]


def a_wheel(folder: Path, members: dict[str, bytes], name: str = "toyweights", version: str = "1.0") -> Path:
    """A wheel as pip takes it: the files, METADATA, WHEEL and an (empty) RECORD."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is pip's only index, said in pip's own settings."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of an https server at 127.0.0.1, in one PEM file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(key.private_bytes(*form) + made.public_bytes(serialization.Encoding.PEM))
    return path


class Site(http.server.BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/whole")
        elif self.path == "/plain":
            self.send_response(302)
            self.send_header("Location", "http://localhost:9/secret?token=abc")
        elif self.path in ("/whole", "/cut", "/longer", "/other"):
            self.send_response(200)
            if self.path != "/longer":
                self.send_header("Content-Length", str(len(DATA)))
            self.end_headers()
            sent = {"/cut": DATA[:1000], "/longer": DATA + b"x", "/other": DATA[::-1]}.get(self.path, DATA)
            self.wfile.write(sent)
            return
        else:
            self.send_response(404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that hangs up on purpose is no news."""


@pytest.fixture
def site(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """The address of an https server, trusted through SSL_CERT_FILE, and the paths that it was asked for."""
    asked: list[str] = []
    server = Server(("127.0.0.1", 0), type("Asked", (Site,), {"asked": asked}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("NO_PROXY", "localhost")
    monkeypatch.setenv("no_proxy", "localhost")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield f"https://localhost:{server.server_port}", asked
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"  # not made: fetching makes it


def left_over(cache: Path) -> list[str]:
    return sorted(p.name for p in cache.iterdir()) if cache.exists() else []


# --- the registry


def test_the_registry_names_every_model_of_the_readme() -> None:
    models = registry.registry()
    plates = {"safelicensing", "pyplatex", "fastanpr"}
    assert set(models) >= {"retinaface-mobilenet", "centerface", "mtcnn", "yunet", "retinaface-r50", "coco", *plates}
    assert {m.name for m in models.values() if m.task == "plate"} >= plates
    assert models["coco"].classes["truck"] == "vehicle"
    cards = registry.registry_path().with_name("README.md").read_text("utf-8")
    assert [name for name in models if f"## {name}\n" not in cards] == []


def test_defaults_need_no_https_and_have_a_hash() -> None:
    from anonymize.settings import Settings

    for chosen in (Settings().face_detector, Settings().plate_detector):
        model = registry.registry().get(chosen.split("@")[0])
        if model is not None:  # a composed detector is no model
            assert model.sha256
            assert any(s.scheme != "https" for s in model.parse_sources())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sha256": "ABC"}, "64 lower-case hex digits"),
        ({"sha256": "A" * 64}, "64 lower-case hex digits"),
        ({"checkpoint": "ABC"}, "checkpoint is 64 lower-case hex digits"),
        ({"sha256": ""}, "0 only without sha256"),
        ({"bytes": 0}, "0 only without sha256"),
        ({"bytes": True}, "0 only without sha256"),
        ({"file": "../toy.onnx"}, "plain file name"),
        ({"file": ".hidden"}, "plain file name"),
        ({"task": "cats"}, r"valid: corners, face, face\+plate, plate, text, vehicle"),
        ({"size": 0}, "long side"),
        ({"license": ""}, "non-empty"),
        ({"classes": {"face": ""}}, "non-empty"),
        ({"sources": ()}, "at least one source"),
    ],
)
def test_a_bad_field_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        a_model("https://example.org/x", **changes)


@pytest.mark.parametrize(
    "source",
    [
        "http://example.org/x.onnx", "ftp://example.org/x", "file:/etc/passwd", "file:../x.onnx", "file:a/../../x",
        "pypi:toy==1.0#../../etc/passwd", "pypi:toy==1.0#a/../../b", "pypi:toy==1.0#/etc/passwd",
        "pypi:toy==1.0#a\\..\\b",
        "pypi:toy#a", "pypi:--trusted-host==1.0#a", "pypi:toy==1.0 --pre#a", "pypi:toy==1.0", "pypi:toy==1.0#a.py::x()",
        "installed:toy==1#../*.pt", "", "x.onnx",
    ],
)  # fmt: skip
def test_a_bad_source_is_refused(source: str) -> None:
    with pytest.raises(SettingsError, match="source"):
        a_model(source)


def test_a_registry_file_with_unknown_missing_or_doubled_fields_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "registry.toml"
    good = (
        'task = "face"\nfile = "a.onnx"\nsources = ["file:a.onnx"]\nsha256 = "' + "0" * 64 + '"\n'
        'bytes = 1\nlicense = "MIT"\nsize = 640\nclasses = { face = "face" }\n'
    )
    path.write_text(f"[a]\n{good}")
    assert registry.load(path)["a"].file == "a.onnx"
    for text, says in (
        (f'[a]\n{good}sha265 = "x"\n', "sha265.*valid:.*sha256"),
        ("[a]\n" + good.replace("bytes = 1\n", ""), "lacks bytes"),
        (f"[a]\n{good}[b]\n{good}", "same file name"),
        ("[a\n", "cannot read"),
        ("a = 1\n", "not a table"),
        ("[a]\n" + good.replace("sha256 = ", "sha256 = 1 #"), "model 'a'"),
    ):
        path.write_text(text)
        with pytest.raises(SettingsError, match=says):
            registry.load(path)


def test_an_unknown_model_lists_the_known() -> None:
    with pytest.raises(UnknownNameError, match=r"centerface.*safelicensing"):
        weights.fetch("safelicencing")
    with pytest.raises(UnknownNameError, match=r"centerface.*safelicensing"):
        weights.onnx("safelicencing")


def test_the_cache_folder_follows_the_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANONYMIZE_WEIGHTS", str(tmp_path))
    assert weights.cache_dir() == tmp_path
    monkeypatch.delenv("ANONYMIZE_WEIGHTS")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.setenv("LOCALAPPDATA", "/w")
    monkeypatch.setenv("HOME", "/home/me")
    for platform, expected in (
        ("linux", "/x/anonymize"), ("win32", "/w/anonymize"), ("darwin", "/home/me/Library/Caches/anonymize"),
    ):  # fmt: skip
        monkeypatch.setattr(sys, "platform", platform)
        assert weights.cache_dir() == Path(expected)


# --- https


def test_https_fetches_once_and_then_never_asks_again(site: tuple[str, list[str]], cache: Path) -> None:
    address, asked = site
    model = a_model(f"{address}/whole")
    seen: list[tuple[str, int, int | None]] = []
    path = weights.fetch(model, cache=cache, progress=lambda *step: seen.append(step))
    assert path == cache / "toy.onnx"
    assert path.read_bytes() == DATA
    assert seen[-1] == ("toy", len(DATA), len(DATA))
    assert left_over(cache) == ["toy.onnx"]
    assert weights.fetch(model, cache=cache) == path
    assert weights.verify(model, cache=cache) == path
    assert asked == ["/whole"]


def test_a_redirect_stays_on_https(site: tuple[str, list[str]], cache: Path) -> None:
    address, asked = site
    assert weights.fetch(a_model(f"{address}/moved"), cache=cache).read_bytes() == DATA
    assert asked == ["/moved", "/whole"]
    with pytest.raises(WeightsUnavailableError, match="not https") as caught:
        weights.fetch(a_model(f"{address}/plain", file="other.onnx"), cache=cache)
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/cut", "cut off after 1000 of"),
        ("/longer", "more than the"),
        ("/other", "sha256 is"),
        ("/missing", "404"),
    ],
)
def test_what_is_not_the_file_never_gets_its_name(
    site: tuple[str, list[str]], cache: Path, path: str, says: str
) -> None:
    with pytest.raises(WeightsUnavailableError, match=says):
        weights.fetch(a_model(site[0] + path), cache=cache)
    assert left_over(cache) == []


def test_a_certificate_that_nobody_vouches_for_is_refused(
    site: tuple[str, list[str]], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(WeightsUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
        weights.fetch(a_model(f"{site[0]}/whole"), cache=cache)


def test_sources_are_tried_in_order_and_all_are_named(site: tuple[str, list[str]], index: Path, cache: Path) -> None:
    address, asked = site
    model = a_model(f"{address}/missing", f"{address}/other", f"{address}/whole", f"{address}/cut")
    assert weights.fetch(model, cache=cache).read_bytes() == DATA
    assert asked == ["/missing", "/other", "/whole"]

    gone = a_model(f"{address}/missing", "pypi:toyweights==1.0#toy.onnx", "file:nowhere.onnx", file="gone.onnx")
    with pytest.raises(WeightsUnavailableError) as caught:
        weights.fetch(gone, cache=cache)
    message = str(caught.value)
    for part in (
        f"{address}/missing (HTTP Error 404", "pypi:toyweights==1.0#toy.onnx (pip: ERROR: No matching distribution",
        "nowhere.onnx is not there", f"put the file at {cache / 'gone.onnx'}",
        f"the wheel of toyweights==1.0 into {cache}", gone.sha256, str(len(DATA)),
    ):  # fmt: skip
        assert part in message
    assert "\n" not in message


def test_a_cached_file_with_other_bytes_is_fetched_again(site: tuple[str, list[str]], cache: Path) -> None:
    model = a_model(f"{site[0]}/whole")
    cache.mkdir()
    path = cache / "toy.onnx"
    for wrong in (DATA[:-1], DATA[::-1]):
        path.write_bytes(wrong)
        assert not weights.is_installed(model, cache=cache)
        with pytest.raises(HashMismatchError, match="toy"):
            weights.verify(model, cache=cache)
        assert weights.fetch(model, cache=cache).read_bytes() == DATA
        assert weights.is_installed(model, cache=cache)
    path.write_bytes(DATA[::-1])
    with pytest.raises(
        WeightsUnavailableError, match=r"toy.onnx \(its sha256 is"
    ):  # and it is not used for want of better
        weights.fetch(a_model(f"{site[0]}/missing"), cache=cache)


def test_a_change_under_an_equal_size_and_time_is_seen_by_verify(cache: Path) -> None:
    cache.mkdir()
    path = cache / "toy.onnx"
    path.write_bytes(DATA)
    model = a_model("https://localhost:9/x")
    assert weights.verify(model, cache=cache) == path
    stat = path.stat()
    with open(path, "r+b") as file:
        file.write(b"\xff")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(HashMismatchError):
        weights.verify(model, cache=cache)


def test_no_hash_means_no_fetch_without_trust(site: tuple[str, list[str]], cache: Path) -> None:
    model = a_model(f"{site[0]}/whole", sha256="", bytes=0)
    for call in (weights.fetch, weights.onnx, weights.verify):
        with pytest.raises(UntrustedWeightsError, match="toy"):
            call(model, cache=cache)
    assert site[1] == []
    assert weights.fetch(model, cache=cache, trust=True).read_bytes() == DATA
    with pytest.raises(UntrustedWeightsError):  # trusted once is not trusted for ever
        weights.fetch(model, cache=cache)
    with pytest.raises(WeightsUnavailableError, match="cut off"):
        weights.fetch(a_model(f"{site[0]}/cut", sha256="", bytes=0, file="b.onnx"), cache=cache, trust=True)


def test_a_cache_that_cannot_be_made_is_said(site: tuple[str, list[str]], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WeightsUnavailableError, match=r"exists|directory"):
        weights.fetch(a_model(f"{site[0]}/whole"), cache=tmp_path / "file")


# --- the package index


def test_a_file_in_a_wheel(index: Path, cache: Path) -> None:
    a_wheel(index, {"toyweights/net.onnx": DATA})
    seen: list[tuple[str, int, int | None]] = []
    model = a_model("pypi:toyweights==1.0#toyweights/net.onnx")
    path = weights.fetch(model, cache=cache, progress=lambda *step: seen.append(step))
    assert path.read_bytes() == DATA
    assert seen
    assert all(name == "toy" for name, _, _ in seen)
    assert left_over(cache) == ["toy.onnx"]
    (index / "toyweights-1.0-py3-none-any.whl").unlink()  # offline from now on
    assert weights.fetch(model, cache=cache) == path


def test_a_bytes_literal_in_a_wheel(index: Path, cache: Path) -> None:
    code = f"import nowhere\nWEIGHTS = {DATA!r}\nraise SystemExit('executed')\n".encode()
    a_wheel(index, {"toyweights/data.py": code})
    model = a_model("pypi:toyweights==1.0#toyweights/data.py::WEIGHTS")
    assert weights.fetch(model, cache=cache).read_bytes() == DATA


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("WEIGHTS = open({path!r}, 'w').write('x')", "nothing is executed"),
        ("WEIGHTS = b'a' + bytes(__import__('os').system('touch {path}'))", "nothing is executed"),
        ("WEIGHTS = 'a text'", "nothing is executed"),
        ("def f():\n    WEIGHTS = b'x'", "no variable"),
        ("OTHER = b'x'", "no variable"),
        ("WEIGHTS = b'", "unterminated"),
        ("WEIGHTS = " + "(" * 5000 + ")" * 5000, r"nested|MemoryError|Recursion|complex"),
    ],
)
def test_code_in_place_of_a_literal_is_never_run(
    index: Path, cache: Path, tmp_path: Path, code: str, says: str
) -> None:
    ran = tmp_path / "ran"
    code = code.replace("{path!r}", repr(str(ran))).replace("{path}", str(ran))
    a_wheel(index, {"toyweights/data.py": code.encode()})
    with pytest.raises(WeightsUnavailableError, match=says):
        weights.fetch(a_model("pypi:toyweights==1.0#toyweights/data.py::WEIGHTS"), cache=cache)
    assert not ran.exists()
    assert left_over(cache) == []


@pytest.mark.parametrize(
    ("data", "says"),
    [(DATA + b"x", "more than the"), (DATA[::-1], "sha256 is"), (b"", "0 bytes"), (None, "has no toyweights/net.onnx")],
)
def test_a_wheel_with_something_else_is_refused(index: Path, cache: Path, data: bytes | None, says: str) -> None:
    a_wheel(index, {} if data is None else {"toyweights/net.onnx": data})
    with pytest.raises(WeightsUnavailableError, match=says):
        weights.fetch(a_model("pypi:toyweights==1.0#toyweights/net.onnx"), cache=cache)
    assert left_over(cache) == []


def test_a_wheel_put_into_the_cache_by_hand_is_used_and_a_broken_one_is_passed_over(index: Path, cache: Path) -> None:
    model = a_model("pypi:Toy.Weights==1.0#toyweights/net.onnx")
    wheel = a_wheel(cache, {"toyweights/net.onnx": DATA}, name="toy_weights")
    assert weights.fetch(model, cache=cache).read_bytes() == DATA  # the index is an empty folder
    (cache / "toy.onnx").unlink()
    wheel.write_bytes(b"not a zip")
    with pytest.raises(WeightsUnavailableError, match=r"py3-none-any.whl \(File is not a zip file\).*No matching"):
        weights.fetch(model, cache=cache)
    a_wheel(index, {"toyweights/net.onnx": DATA}, name="toy_weights")
    assert weights.fetch(model, cache=cache).read_bytes() == DATA


def test_no_pip_in_this_python_and_none_on_the_path(
    cache: Path, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_wheel(index, {"toyweights/net.onnx": DATA})
    model = a_model("pypi:toyweights==1.0#toyweights/net.onnx")
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WeightsUnavailableError, match="has no pip and PATH has none"):
        weights.fetch(model, cache=cache)
    other = tmp_path / "pip"  # another Python's pip, found on PATH
    other.write_text(f'#!/bin/sh\nexec {sys.executable} -m pip "$@"\n')
    other.chmod(0o755)
    if os.name == "posix":
        assert weights.fetch(model, cache=cache).read_bytes() == DATA


def test_a_pip_folder_where_the_person_stands_is_not_run(
    index: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_wheel(index, {"toyweights/net.onnx": DATA})
    (tmp_path / "here" / "pip").mkdir(parents=True)
    (tmp_path / "here" / "pip" / "__main__.py").write_text("open('ran', 'w')")
    (tmp_path / "here" / "pip" / "__init__.py").write_text("")
    monkeypatch.chdir(tmp_path / "here")
    assert weights.fetch(a_model("pypi:toyweights==1.0#toyweights/net.onnx"), cache=cache).read_bytes() == DATA
    assert not (tmp_path / "here" / "ran").exists()


def test_passwords_of_an_index_stay_out_of_messages(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://me:hunter2@127.0.0.1:9/index")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_RETRIES", "1")  # without a retry pip keeps the reason to itself
    with pytest.raises(WeightsUnavailableError, match=r"pip: ERROR: No matching.*Connection") as caught:
        weights.fetch(a_model("pypi:toyweights==1.0#x"), cache=cache)
    assert "hunter2" not in str(caught.value)


def test_redaction() -> None:
    assert (
        sources.redact("at https://u:p@x/y and\nhttps://h/a?token=s done")
        == "at https://***@x/y and https://h/a?*** done"
    )
    assert sources.redact("https://u:p/w@h/x\x1b[31m") == "https://***@h/x [31m"
    assert sources.last_words("a\nERROR: first\nERROR: last\n[notice] new pip\nWARNING: w") == "ERROR: last"
    assert sources.last_words("did this\nWARNING: w") == "did this"
    assert sources.last_words("") == "it failed and said nothing"


def test_two_processes_at_once_both_get_the_file(index: Path, cache: Path) -> None:
    a_wheel(index, {"toyweights/net.onnx": DATA})
    model = {"sha256": hashlib.sha256(DATA).hexdigest(), "bytes": len(DATA)}
    code = (
        "import sys, json; from pathlib import Path; from anonymize import weights;"
        "m = weights.Model('toy', 'face', 'toy.onnx', ('pypi:toyweights==1.0#toyweights/net.onnx',),"
        " license='MIT', size=640, **json.loads(sys.argv[1]));"
        "print(weights.fetch(m, cache=Path(sys.argv[2])))"
    )
    command = [sys.executable, "-c", code, json.dumps(model), str(cache)]
    root = Path(weights.__file__).parents[2]
    running = [subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate(timeout=60)[0].strip() for process in running]
    assert said == [str(cache / "toy.onnx")] * 3
    assert (cache / "toy.onnx").read_bytes() == DATA
    assert left_over(cache) == ["toy.onnx"]


def test_what_a_killed_process_left_goes_after_a_day(index: Path, cache: Path) -> None:
    a_wheel(index, {"toyweights/net.onnx": DATA})
    old, new = cache / ".fetch-old", cache / ".fetch-new"
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "toy.onnx").write_bytes(DATA[:10])
    os.utime(old, (1, 1))
    weights.fetch(a_model("pypi:toyweights==1.0#toyweights/net.onnx"), cache=cache)
    assert left_over(cache) == [".fetch-new", "toy.onnx"]  # the new one may belong to a process that still runs


# --- files that are here already


def test_mtcnn_is_what_the_installed_package_brings() -> None:
    folder = weights.fetch("mtcnn")
    assert sorted(p.name for p in folder.iterdir() if p.suffix == ".pt") == ["onet.pt", "pnet.pt", "rnet.pt"]
    assert weights.verify("mtcnn") == folder
    with pytest.raises(WeightsError, match="no ONNX form"):
        weights.onnx("mtcnn")


def test_an_installed_package_that_is_missing_or_another(cache: Path) -> None:
    with pytest.raises(WeightsUnavailableError, match=r"not installed.*By hand: install nowhere-pkg==1"):
        weights.fetch(a_model("installed:nowhere-pkg==1#*.pt"), cache=cache)
    with pytest.raises(WeightsUnavailableError, match="has no no/such"):
        weights.fetch(a_model("installed:numpy==1#no/such/*.pt"), cache=cache)
    with pytest.raises(WeightsUnavailableError, match="bytes where the registry says"):
        weights.fetch(a_model("installed:numpy==1#numpy/__init__.py"), cache=cache)


def test_a_file_beside_the_registry(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ours.onnx").write_bytes(DATA)
    monkeypatch.setattr(registry, "registry_path", lambda: tmp_path / "registry.toml")
    model = a_model("file:ours.onnx")
    assert weights.fetch(model, cache=cache) == tmp_path / "ours.onnx"  # used where it is
    assert weights.onnx(model, cache=cache) == tmp_path / "ours.onnx"
    assert not cache.exists()
    (tmp_path / "ours.onnx").write_bytes(DATA[::-1])
    with pytest.raises(WeightsUnavailableError, match="sha256 is"):
        weights.fetch(model, cache=cache)


def test_state_tells_present_absent_and_refused(cache: Path) -> None:
    model = a_model("https://localhost:9/x")
    assert weights.state(model, cache=cache) == weights.State(model, None)
    with pytest.raises(WeightsUnavailableError, match="models fetch"):
        weights.verify(model, cache=cache)
    cache.mkdir()
    (cache / "toy.onnx").write_bytes(b"x")
    assert "1 bytes" in weights.state(model, cache=cache).refused[0]
    (cache / "toy.onnx").write_bytes(DATA)
    assert weights.state(model, cache=cache).path == cache / "toy.onnx"


# --- one's own models


def test_own_files_are_taken_as_they_are_unless_they_are_pickles(tmp_path: Path, cache: Path) -> None:
    own = tmp_path / "own.onnx"
    own.write_bytes(b"onnx")
    folder = tmp_path / "own_openvino_model"
    folder.mkdir()
    (folder / "own.xml").write_text("<net/>")
    for path in (own, folder, folder / "own.xml"):
        assert weights.onnx(path, cache=cache) == path
        assert weights.onnx(str(path), cache=cache) == path
    pickle = tmp_path / "own.pt"
    pickle.write_bytes(b"\x80\x02.")
    with pytest.raises(UntrustedWeightsError, match="--trust"):
        weights.onnx(pickle, cache=cache)
    with pytest.raises(WeightsUnavailableError, match="is not there"):
        weights.onnx(tmp_path / "none.onnx", cache=cache)
    for name in ("own.pth", "empty"):
        path = tmp_path / name
        path.mkdir() if name == "empty" else path.write_bytes(b"x")
        with pytest.raises(WeightsError, match=r"an OpenVINO folder or a \.pt"):
            weights.onnx(path, cache=cache, trust=True)


def test_a_pickle_with_another_hash_is_not_unpickled(tmp_path: Path) -> None:
    """convert.py compares the hash of the very bytes that it loads, so a swap after the check is seen."""
    source, ran = tmp_path / "a.pt", tmp_path / "ran"
    source.write_bytes(f"cos\nsystem\n(S'touch {ran}'\ntR.".encode())
    command = [sys.executable, "-P", str(Path(weights.__file__).with_name("convert.py")), str(source)]
    done = subprocess.run([*command, "0" * 64, str(tmp_path / "a.onnx"), "FULL"], capture_output=True, check=False)
    assert done.returncode == 1
    assert b"is not the file whose hash was checked" in done.stderr
    assert not ran.exists()


def a_checkpoint(path: Path, classes: int, *, names: str) -> Path:
    """An untrained YOLOv8n, saved as ultralytics does: half precision, normalizations that are not the identity."""
    code = (
        "import sys, torch; from ultralytics.nn.tasks import DetectionModel as M; torch.manual_seed(0);"
        f"m = M('yolov8n.yaml', nc={classes}, verbose=False); m.names = {names};"
        "s = {n: t for n, t in m.state_dict().items() if t.is_floating_point()};"
        "[t.uniform_(0.5, 1.5) for n, t in s.items() if '.bn.' in n or n.endswith('.bias')];"
        "torch.save({'model': m.half(), 'train_args': {}}, sys.argv[1])"
    )
    offline = {"YOLO_CONFIG_DIR": str(path.parent), "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, env=os.environ | offline)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of a person's own, with two classes."""
    folder = tmp_path_factory.mktemp("own")
    return a_checkpoint(folder / "own.pt", 2, names="{0: 'id-card', 1: 'screen'}")


def test_own_pt_is_converted_once_and_a_tampered_onnx_is_made_anew(
    checkpoint: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    steps: list[str] = []
    made = weights.onnx(checkpoint, cache=cache, trust=True, progress=lambda name, *_: steps.append(name))
    assert steps == ["own.pt: .pt to ONNX"]
    assert class_names(made) == {0: "id-card", 1: "screen"}
    assert left_over(cache) == [made.name]
    with pytest.raises(UntrustedWeightsError):  # trusted once is not trusted for ever
        weights.onnx(checkpoint, cache=cache)

    whole = made.read_bytes()
    assert weights.onnx(checkpoint, cache=cache, trust=True, progress=lambda name, *_: steps.append(name)) == made
    assert len(steps) == 1
    made.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    again = weights.onnx(checkpoint, cache=cache, trust=True, progress=lambda name, *_: steps.append(name))
    assert len(steps) == 2
    assert again.read_bytes() == whole  # the same checkpoint gives the same bytes
    runs_at_any_size(again, classes=2)


def class_names(path: Path) -> dict[int, str]:
    import onnx

    return ast.literal_eval(next(p.value for p in onnx.load(path).metadata_props if p.key == "names"))


def runs_at_any_size(path: Path, classes: int) -> None:
    """Both runtimes load it, take rectangles, and agree."""
    import onnxruntime
    import openvino

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(str(path), "CPU", hint)
    for height, width in ((64, 96), (160, 64)):
        image = np.random.default_rng(0).random((1, 3, height, width), dtype=np.float32)
        (first,) = session.run(None, {"images": image})
        second = compiled([image])[0]
        assert first.shape == (1, 4 + classes, height * width // 64 * 21 // 16)
        np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-2)


def test_a_hostile_pickle_runs_nothing_even_when_its_hash_fits(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {ran}",)

    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    monkeypatch.setattr(registry, "registry_path", lambda: tmp_path / "registry.toml")
    model = a_model("file:evil.pt", data=(tmp_path / "evil.pt").read_bytes(), file="evil.pt")
    with pytest.raises(
        WeightsError, match=r"toy: converting it to ONNX failed: .*types outside the supported"
    ) as caught:
        weights.onnx(model, cache=cache)
    assert not ran.exists()
    assert left_over(cache) == []
    assert "\n" not in str(caught.value)


def network_of(path: Path) -> tuple[list[bytes], dict[str, np.ndarray]]:
    """An ONNX's nodes, and its weights by name."""
    import onnx
    from onnx.numpy_helper import to_array

    graph = onnx.load(path).graph
    nodes = [n.SerializeToString(deterministic=True) for n in graph.node]
    return nodes, {i.name: to_array(i) for i in graph.initializer}


def test_a_known_yolov8n_becomes_the_same_onnx_as_with_torch_bit_for_bit(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = a_checkpoint(tmp_path / "toy.pt", 1, names="{0: 'License_Plate'}")
    with_torch = weights.onnx(path, cache=tmp_path / "torch", trust=True)  # not in the registry: ultralytics
    monkeypatch.setattr(registry, "registry_path", lambda: tmp_path / "registry.toml")
    model = a_model("file:toy.pt", data=path.read_bytes(), file="toy.pt")
    script, ran = weights._script, []
    monkeypatch.setattr(weights, "_script", lambda name, *rest: ran.append(name) or script(name, *rest))
    made = weights.onnx(model, cache=cache)
    assert ran == ["transplant.py"]
    (nodes, numbers), (same_nodes, same_numbers) = network_of(made), network_of(with_torch)
    assert nodes == same_nodes
    assert numbers.keys() == same_numbers.keys()
    for name, array in numbers.items():
        np.testing.assert_array_equal(array, same_numbers[name], err_msg=name)
    assert class_names(made) == {0: "License_Plate"}
    runs_at_any_size(made, classes=1)


def test_transplanting_runs_nothing_and_takes_no_other_network(tmp_path: Path, checkpoint: Path) -> None:
    import torch

    from anonymize.weights.transplant import transplant

    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {ran}",)

    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    for content in ((tmp_path / "evil.pt").read_bytes(), b"", b"no zip"):
        with pytest.raises(ValueError, match="not a checkpoint of a YOLOv8n"):
            transplant(content)
    assert not ran.exists()
    with pytest.raises(ValueError, match="other layers, or of other sizes"):
        transplant(checkpoint.read_bytes())
    relu = tmp_path / "relu.pt"
    code = (
        "import sys, torch; d = torch.load(sys.argv[1], weights_only=False);"
        "d['model'].model[0].act = torch.nn.ReLU(); torch.save(d, sys.argv[2])"
    )
    subprocess.run([sys.executable, "-c", code, str(checkpoint), str(relu)], check=True)
    with pytest.raises(ValueError, match=r"act is a ReLU"):
        transplant(relu.read_bytes())


def test_without_torch_an_own_pt_says_which_command_adds_it(
    checkpoint: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    with pytest.raises(MissingExtraError, match=r"ultralytics.*pip install 'anonymize\[torch\]'"):
        weights.onnx(checkpoint, cache=cache, trust=True)


# --- the real ones


@pytest.mark.weights
@pytest.mark.parametrize("name", ["retinaface-mobilenet", "safelicensing", "coco"])
def test_real_weights_come_from_the_package_index(name: str) -> None:
    model = weights.model(name)
    assert weights.verify(model) == weights.fetch(model)
    path = weights.onnx(name)
    assert path.suffix == ".onnx"
    if name != "retinaface-mobilenet":
        assert set(model.classes) <= set(class_names(path).values())
    if name == "safelicensing":
        runs_at_any_size(path, classes=1)
