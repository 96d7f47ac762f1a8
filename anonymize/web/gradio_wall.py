"""What may reach Gradio: its routes that the page needs, and bodies of exactly the types that each event's inputs have.

Gradio resolves whatever looks like a file in a body, at any depth: it hashes, copies or fetches what "path" names. No
component here takes a file. So, outside, a body is parsed, matched against the components of the event that it names,
and written anew; Gradio never sees the bytes that a visitor sent. And inside, what would resolve a file refuses.
"""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import gradio as gr
import orjson
from gradio.blocks import Block
from gradio.components.api_component import Api
from starlette.types import Message, Receive, Scope

# The rest of Gradio (its upload and file routes, proxies, monitoring, …) is not there.
PAGES = ("/", "/config", "/theme.css", "/manifest.json", "/robots.txt", "/favicon.ico", "/login_check")
FOLDERS = ("/assets/", "/static/", "/svelte/")
PREFIX = "/gradio_api/"
_GET = re.compile(
    r"(info|config|queue/data|startup-events|theme\.css|app_id|login_check|heartbeat/[\w-]{1,64}"
    r"|call/(v2/)?\w{1,64}/[\w-]{1,64})/?",
    re.ASCII,
)
_POST = re.compile(r"(queue/join|reset|cancel|(?:call/v2|call|run|api)/(\w{1,64}))/?", re.ASCII)
_HASH = re.compile(r"[\w-]{1,64}", re.ASCII)
_KEY = re.compile(r"[a-zA-Z]\w{0,31}", re.ASCII)
_FILES = ("path", "url", "meta", "orig_name", "is_stream")  # keys of gradio.FileData
# Keys of what an event carries: those of the page's own scripts, and of Gradio's for a chosen tab or value.
_CARRIED = {
    "id", "file", "name", "action", "kind", "box", "value", "photos", "event", "label", "what", "photo", "hash",
    "number", "region", "index", "selected", "component_id", "track", "frame",
}  # fmt: skip
_URL = re.compile(r"\s*([a-z][a-z0-9+.-]*:\s*//|(data|file|javascript|blob):)", re.I)
_MOST_TEXT, _MOST_LIST, _MOST_VALUES, _MOST_INT = 4096, 100, 10_000, 2**53

Check = Callable[[Any], bool]


class RefusedError(Exception):
    """A body is not what the page sends; the message says why, in a sentence."""


def _triggers(page: gr.Blocks, fn: Any) -> frozenset[int]:
    """Ids of the components that trigger an event; of one that follows another (`then`), those of the first."""
    while fn.trigger_after is not None:
        fn = page.fns[fn.trigger_after]
    return frozenset(t for t, _ in fn.targets if t is not None)


@dataclass(frozen=True)
class Event:
    """What one of the page's events takes.

    Attributes:
        inputs: its components. names: of its function's arguments.
        targets: ids of the components that trigger it. is_queued: whether it runs in Gradio's queue.
        api_name: by which programs call it; empty: only the page does.
    """

    inputs: tuple[Any, ...]
    names: tuple[str, ...]
    targets: frozenset[int]
    is_queued: bool
    api_name: str = ""


class GradioWall:
    """Knows, from the page itself, what each of its events takes.

    Args:
        page: without one, no body is let through.

    Raises:
        TypeError: an event takes a kind of component that has no check. RuntimeError: programs may call another event
            than /anonymize.
    """

    def __init__(self, page: gr.Blocks | None = None) -> None:
        self._page = page
        self._events: dict[int, Event] = {}
        for number, fn in page.fns.items() if page else ():
            if fn.fn is None:  # runs in the browser only
                continue
            for component in fn.inputs:
                takes(component, None)
            self._events[number] = Event(
                tuple(fn.inputs),
                tuple(inspect.signature(fn.fn).parameters),
                _triggers(page, fn),
                bool(fn.queue),
                str(fn.api_name) if fn.api_visibility == "public" else "",
            )
        self._named = {e.api_name: e for e in self._events.values() if e.api_name}
        if page and not self._named.keys() <= {"anonymize"}:
            raise RuntimeError(f"programs may call /anonymize only; the page offers {sorted(self._named)}")

    @staticmethod
    def has(method: str, path: str) -> bool:
        """Whether the page needs this route of Gradio."""
        if path in PAGES or (path.startswith(FOLDERS) and len(path.encode("utf-8", "replace")) < 250):
            return method in ("GET", "HEAD")  # a file system fails at longer names
        name = path.removeprefix(PREFIX)
        known = {"GET": _GET, "HEAD": _GET, "POST": _POST}.get(method)
        return name != path and known is not None and known.fullmatch(name) is not None

    @staticmethod
    def stream(scope: Scope, query: str | None) -> str | None:
        """The name of the event stream that is asked for, or None.

        Raises:
            RefusedError: it is none that Gradio's client makes.
        """
        name = scope["path"].removeprefix(PREFIX)
        found = query if name == "queue/data" else None
        if name.startswith("heartbeat/"):
            found = name.removeprefix("heartbeat/").rstrip("/")
        if found is not None and not _HASH.fullmatch(found):
            raise RefusedError("The name of the stream is not one.")
        return found

    async def check(
        self, scope: Scope, receive: Receive, owns: Callable[[str], bool] = lambda _: True
    ) -> tuple[Scope, Receive]:
        """The request with its body written anew. Reads all of `receive`.

        Args:
            owns: whether the page that a body names is the visitor's own.

        Raises:
            RefusedError: it is not what the page or /anonymize takes.
        """
        kind = next((v for k, v in scope["headers"] if k == b"content-type"), b"")
        if kind.partition(b";")[0].strip().lower() != b"application/json":
            raise RefusedError("The body must be JSON.")
        chunks, more = [], True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RefusedError("The request broke off.")
            chunks.append(message.get("body", b""))
            more = message.get("more_body", False)
        found = _POST.fullmatch(scope["path"].removeprefix(PREFIX))
        assert found is not None, "security.py asks `has` first"
        given = self._body(found[1], found[2], parse(b"".join(chunks)))
        if (page := given.get("session_hash")) is not None and not owns(page):
            raise RefusedError("That page is another visitor's.")
        body = orjson.dumps(given)
        kept = [h for h in scope["headers"] if h[0] not in (b"content-type", b"content-length", b"transfer-encoding")]
        headers = [*kept, (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_anew() -> Message:
            return waiting.pop() if waiting else await receive()

        return {**scope, "headers": headers}, receive_anew

    def _body(self, route: str, name: str | None, given: Any) -> dict[str, Any]:
        """What Gradio's route gets."""
        if not isinstance(given, dict):
            _refuse("an object")
        if route == "reset":
            return _only(given, {"event_id": _is_hash})
        if route == "cancel":
            return _only(given, {"session_hash": _is_hash, "fn_index": self._is_event, "event_id": _is_hash})
        if route.startswith("call/"):
            event = self._by_name(name)
            if route.startswith("call/v2/"):
                _only(given, dict.fromkeys(event.names, _is_any))
                self._data(event, [given[n] for n in event.names], None)
                return given
            _only(given, {"data": _is_list}, {"session_hash": _is_hash})
            return {**given, "data": self._data(event, given["data"], None)}
        number_or_none, nothing = _or_none(_is_int), _or_none(lambda v: v is False)
        optional = {
            "fn_index": _or_none(self._is_event), "session_hash": _is_hash, "event_data": _or_none(_is_event_data),
            "trigger_id": number_or_none, "event_id": nothing, "batched": nothing, "simple_format": nothing,
            "oauth_token": nothing,
        }  # fmt: skip
        _only(given, {"data": _is_list}, optional)
        number, trigger = given.get("fn_index"), given.get("trigger_id")
        event = self._by_name(name) if number is None else self._events[number]
        if number is not None and name not in (None, "predict", event.api_name):
            raise RefusedError("That event has another name.")
        if name is not None and event.is_queued and not event.api_name:
            raise RefusedError("That event waits in the queue; join it.")
        if trigger is not None and trigger not in event.targets:
            raise RefusedError("That component does not trigger that event.")
        sent = {k: given[k] for k in ("fn_index", "session_hash", "event_data", "trigger_id") if k in given}
        return {**sent, "data": self._data(event, given["data"], given.get("session_hash"))}

    def _is_event(self, value: Any) -> bool:
        return _is_int(value) and value in self._events

    def _by_name(self, name: str | None) -> Event:
        if name not in self._named:
            raise RefusedError("There is no such call; programs call /anonymize.")
        return self._named[name]

    def _data(self, event: Event, data: list[Any], session: str | None) -> list[Any]:
        if len(data) != len(event.inputs):
            _refuse(f"{len(event.inputs)} values")
        for number, (component, value) in enumerate(zip(event.inputs, data, strict=True), 1):
            if not takes(self._now(component, session), value):
                _refuse(f"value {number} of its component's kind")
        return data

    def _now(self, component: Any, session: str | None) -> Any:
        """The component as this page has it, where its choices may be others than at the start."""
        if not isinstance(component, (gr.Radio, gr.Dropdown, gr.CheckboxGroup)):
            return component  # an element's kind is that of its first value; Gradio makes it anew without one
        states = self._page.state_holder.session_data if self._page else {}
        state = states.get(session or "")
        return component if state is None else state.blocks_config.blocks.get(component._id, component)


def parse(body: bytes) -> Any:
    """Strict JSON of bounded depth and size, with every key once.

    Raises:
        RefusedError: it is something else.
    """
    if sum(map(body.count, (b"[", b"{", b",", b":"))) > _MOST_VALUES:
        raise RefusedError("The body has too many values.")
    try:
        found = json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise RefusedError("The body is not JSON as this server takes it.") from None
    _walk(found, 0)
    return found


def _walk(value: Any, depth: int) -> None:
    """Refuse numbers and texts that are none, and what names a file or another server."""
    if depth > 6:
        raise RefusedError("The body is nested too deeply.")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not _KEY.fullmatch(key) or key.lower() in _FILES:
                raise RefusedError("The body has a key that nothing here takes. Files and addresses are not taken.")
            _walk(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _walk(inner, depth + 1)
    elif isinstance(value, str):
        if _URL.match(value) or any("\ud800" <= c <= "\udfff" for c in value[:_MOST_TEXT]):
            raise RefusedError("The body has a text that nothing here takes. Files and addresses are not taken.")
        if len(value) > _MOST_TEXT and not value.isascii():
            raise RefusedError("The body has a text that is too long.")
    elif isinstance(value, (int, float)) and not (math.isfinite(value) and abs(value) <= _MOST_INT):
        raise RefusedError("The body has a number that is too large.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key that comes twice")
    return found


def _refuse(expected: str) -> NoReturn:
    raise RefusedError(f"The body is not what this call takes; expected {expected}.")


def _only(
    given: dict[str, Any], needed: Mapping[str, Check], optional: Mapping[str, Check] | None = None
) -> dict[str, Any]:
    """`given`, where it has these keys and no other, each of its kind."""
    known = {**needed, **(optional or {})}
    if not needed.keys() <= given.keys() <= known.keys():
        _refuse(f"the keys {', '.join(known)}")
    for key, value in given.items():
        if not known[key](value):
            _refuse(f"{key} of its kind")
    return given


# --- what each kind of component takes ---


def takes(component: Any, value: Any) -> bool:
    """Whether a browser may send this as the component's value.

    Raises:
        TypeError: a kind of component that has no check yet.
    """
    if isinstance(component, gr.State):  # lives in the server
        return value is None
    if isinstance(component, gr.Checkbox):
        return isinstance(value, bool)
    if isinstance(component, gr.Slider):
        return _is_number(value) and component.minimum <= value <= component.maximum
    if isinstance(component, gr.Number):
        low, high = component.minimum, component.maximum
        is_between = _is_number(value) and (low is None or low <= value) and (high is None or value <= high)
        return value is None or is_between
    if isinstance(component, gr.CheckboxGroup):
        return _is_list(value) and all(_is_text(v) and v in _choices(component) for v in value)
    if isinstance(component, gr.Radio):
        return _is_text(value) and value in _choices(component)
    if isinstance(component, gr.Dropdown):
        is_free = component.allow_custom_value
        return value is None or (_is_text(value) and (is_free or value in _choices(component)))
    if isinstance(component, gr.Textbox):
        return value is None or _is_text(value)
    if isinstance(component, gr.HTML):
        return _is_number(value) if _is_number(component.value) else is_plain(value)
    if isinstance(component, Api):
        return isinstance(value, str) if component.api_info()["type"] == "string" else is_plain(value)
    raise TypeError(f"no check for a {type(component).__name__}; write one before an event takes it")


def _choices(component: Any) -> set[Any]:
    return {value for _, value in component.choices}


def is_plain(value: Any) -> bool:
    """A flat object of texts, numbers and short lists of them."""
    return isinstance(value, dict) and len(value) <= 40 and all(_is_scalar(v) or _is_flat(v) for v in value.values())


def _is_event_data(value: Any) -> bool:
    return is_plain(value) and value.keys() <= _CARRIED


def _is_flat(value: Any) -> bool:
    return _is_list(value) and all(_is_scalar(v) for v in value)


def _is_scalar(value: Any) -> bool:
    return value is None or _is_text(value) or isinstance(value, bool) or _is_number(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _MOST_TEXT


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= _MOST_LIST


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


def _is_any(value: Any) -> bool:
    return True


def _or_none(check: Check) -> Check:
    return lambda v: v is None or check(v)


# --- inside ---


class FilesRefusedError(ValueError):
    """Something asked Gradio to resolve a file."""


def close_files() -> None:
    """Make what reads, copies or fetches the file that a value names refuse, in all of this process's Gradio."""

    def refuse(self: Block, url_or_file_path: object) -> None:
        if url_or_file_path is not None:
            raise FilesRefusedError("No file passes through Gradio here.")

    async def refuse_later(self: Block, url_or_file_path: object) -> None:
        refuse(self, url_or_file_path)

    for name, wall in (("move_resource_to_block_cache", refuse), ("async_move_resource_to_block_cache", refuse_later)):
        if not hasattr(Block, name):
            raise RuntimeError(f"Gradio's {name} has moved: find what resolves a file now, and close it here")
        setattr(Block, name, wall)
