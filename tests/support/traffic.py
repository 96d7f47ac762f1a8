"""What the page and FiftyOne's App really send: recorded in Chromium, kept with names for what differs, played again.

`python -m bench.attacks record` writes tests/recorded/page.json, the browser test of FiftyOne's App its file beside it.
A recording is one request: method, path with its query, content type and body. Names like @@dataset@@ stand for what
another run calls otherwise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

FILE = Path(__file__).parents[1] / "recorded" / "page.json"
APP = Path(__file__).parents[1] / "recorded" / "fiftyone.json"
HEX24 = re.compile(r"\b[0-9a-f]{24}\b")
SESSION = re.compile(r"(session_hash=|heartbeat/|\"session_hash\": ?\")[a-z0-9]+")
UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")


@dataclass(frozen=True)
class Recording:
    """One request. `body`: text, or None; what is no text (an uploaded photo) is left out."""

    method: str
    path: str
    type: str = ""
    body: str | None = None

    def filled(self, names: Mapping[str, str]) -> Recording:
        """With the names of another run, JSON's and URLs' escapes included."""
        path, body = self.path, self.body
        for name, value in names.items():
            path = path.replace(f"@@{name}@@", quote(value, safe="/"))
            body = body and body.replace(f"@@{name}@@", json.dumps(value)[1:-1])
        return Recording(self.method, path, self.type, body)

    @property
    def json(self) -> Any:
        """The body's value; None where it is not JSON."""
        try:
            return json.loads(self.body) if self.body else None
        except ValueError:
            return None

    @property
    def shape(self) -> str:
        """Two recordings of one shape differ in values only."""
        path = HEX24.sub("*", urlsplit(self.path).path)
        return f"{self.method} {path} {skeleton(self.json)}"


def skeleton(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{k}:{v if k in NAMING else skeleton(v)}" for k, v in sorted(value.items())) + "}"
    if isinstance(value, list):
        return "[" + ",".join(dict.fromkeys(map(skeleton, value))) + "]"
    return type(value).__name__


# Keys whose values choose what is done: another value is another shape.
NAMING = ("query", "operator_uri", "__method__", "_cls", "fn_index", "event", "op")


def recorded(page: Any, address: str, names: Mapping[str, str]) -> list[Recording]:
    """A list that grows while the page of a browser (Playwright's) sends requests to the server."""
    out: list[Recording] = []
    by_value = sorted(((v, k) for k, v in names.items() if v), key=lambda pair: -len(pair[0]))
    ids: dict[str, str] = {}

    def named(text: str, *, is_url: bool) -> str:
        for value, name in by_value:
            text = text.replace(quote(value, safe="/") if is_url else json.dumps(value)[1:-1], f"@@{name}@@")
            text = text.replace(quote(value, safe=""), f"@@{name}@@") if is_url else text
        text = HEX24.sub(lambda m: f"@@id{ids.setdefault(m[0], str(len(ids)))}@@", text)
        text = SESSION.sub(r"\1session1", text)
        return UUID.sub("00000000-0000-4000-8000-000000000000", text)

    def on_request(request: Any) -> None:
        if not request.url.startswith(address):
            return
        parts = urlsplit(request.url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        kind = request.headers.get("content-type", "")
        body = None
        try:
            body = request.post_data
        except UnicodeDecodeError:
            kind = "binary"
        if "multipart" in kind:
            body = None
        out.append(Recording(request.method, named(path, is_url=True), kind, body and named(body, is_url=False)))

    page.on("request", on_request)
    return out


def unique(recordings: Iterable[Recording]) -> list[Recording]:
    """The first of each shape, without static files."""
    kept: dict[str, Recording] = {}
    for r in recordings:
        if not re.search(r"\.(js|css|svg|png|ico|woff2?|ttf|wasm|map|json)(\?|$)|/assets/|/static/|/svelte/", r.path):
            kept.setdefault(r.shape, r)
    return list(kept.values())


# Numbers of events and components change with the page; their names seldom do.
def by_name(recording: Recording, config: Mapping[str, Any]) -> Recording:
    """With the name of the event in the place of its number, and of its trigger the number among its triggers."""
    value = recording.json
    if not isinstance(value, dict) or not isinstance(value.get("fn_index"), int):
        return recording
    event = next(d for d in config["dependencies"] if d["id"] == value["fn_index"])
    triggers = [target for target, _ in event["targets"]]
    place = triggers.index(value["trigger_id"]) if value.get("trigger_id") in triggers else None
    return replace(recording, body=json.dumps({**value, "fn_index": event["api_name"], "trigger_id": place}))


def by_number(recording: Recording, config: Mapping[str, Any]) -> Recording | None:
    """The same for the page of another server; None where it has no such event (a tab that is not there)."""
    value = recording.json
    if not isinstance(value, dict) or not isinstance(value.get("fn_index"), str):
        return recording
    event = next((d for d in config["dependencies"] if d["api_name"] == value["fn_index"]), None)
    if event is None or len(event["inputs"]) != len(value["data"]):
        return None
    place = value["trigger_id"]
    trigger = event["targets"][place][0] if place is not None and place < len(event["targets"]) else None
    return replace(recording, body=json.dumps({**value, "fn_index": event["id"], "trigger_id": trigger}))


def save(recordings: Iterable[Recording], file: Path = FILE) -> None:
    file.write_text(json.dumps([asdict(r) for r in recordings], indent=1, ensure_ascii=False) + "\n", "utf-8")


def load(config: Mapping[str, Any] | None = None, file: Path = FILE) -> Iterator[Recording]:
    """The page's, where there is a page to replay them on, then those of FiftyOne's App."""
    for fields in json.loads(file.read_text("utf-8")) if config else ():
        if found := by_number(Recording(**fields), config or {}):
            yield found
    yield from app()


def app(file: Path = APP) -> Iterator[Recording]:
    """What FiftyOne's App sent: its queries are kept once, its ids are numbered."""
    kept = json.loads(file.read_text("utf-8"))
    text = json.dumps(kept["sent"])
    datasets = {*re.findall(r"/dataset/([0-9a-f]{24})", text), *re.findall(r'"dataset_?[iI]d": "([0-9a-f]{24})"', text)}

    def named(value: str) -> str:
        value = HEX24.sub(lambda m: "@@id0@@" if m[0] in datasets else "@@id1@@", value)
        return value.replace("DATASET", "@@dataset@@")

    for method, path, body in kept["sent"]:
        if isinstance(body, dict) and body.get("query") in kept["queries"]:
            body = {**body, "query": kept["queries"][body["query"]]}
        kind = "application/json-patch+json" if method == "PATCH" else "application/json"
        sent = None if body is None else named(json.dumps(body))
        yield Recording(method, f"/review{named(path)}", kind if sent else "", sent)
