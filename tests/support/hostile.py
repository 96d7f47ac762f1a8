"""Files and JSON that are almost right: valid ones with a place or some bytes changed, for what reads strangers' files.

`FUZZ_EXAMPLES` says how many of each a test tries: few by default, some thousands for a campaign.
"""

from __future__ import annotations

import copy
import json
import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

campaign = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    database=None,
)
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from(
        (0, -1, 1, 2**31, 2**63, 10**400, -(10**18), 1e308, -0.0, float("nan"), float("inf"), float("-inf"))
    ),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ("", "..", "/", "../../x", "a\x00b", "\ud800", "nan", "1e999", "0x10", "١", "x" * 5000, "{}", "$ref")
    ),
)
odd = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(p for key, part in inside for p in _places(part, (*path, key)))]


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """A JSON value with one to three places set to something odd, removed, doubled or given a new neighbor."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        *above, last = draw(st.sampled_from(_places(value)[1:] or [(0,)]))
        parent = value
        for key in above:
            parent = parent[key]
        match draw(st.sampled_from(("set", "set", "set", "remove", "more"))):
            case "set":
                parent[last] = draw(odd)
            case "remove":
                del parent[last]
            case "more" if isinstance(parent, dict):
                parent[draw(st.text(max_size=8))] = draw(odd)
            case "more":
                parent.append(draw(st.sampled_from(parent) | odd))
        if not value:
            break
    return value


def text_of(value: Any) -> bytes:
    """As JSON, with NaN and lone surrogates where they are."""
    return json.dumps(value).encode()


@st.composite
def torn(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes of which some are others, missing or doubled."""
    out = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(out)))
        length = draw(st.integers(0, 12))
        match draw(st.sampled_from(("set", "cut", "insert", "double", "end"))):
            case "set":
                out[at : at + length] = draw(st.binary(min_size=length, max_size=length))
            case "cut":
                del out[at : at + length]
            case "insert":
                out[at:at] = draw(st.binary(max_size=12) | st.sampled_from(NASTY))
            case "double":
                out[at:at] = out[max(at - 40, 0) : at]
            case "end":
                del out[at:]
    return bytes(out)


NASTY = (
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\r",
    b"\n\n",
    b"[" * 3000,
    b'{"a":' * 3000,
    b"1" * 5000,
    b"-",
    b"e999",
    b"NaN",
    b"&a;" * 50,
    b"<!DOCTYPE a [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>",
    b"*a",
    b"!!python/object/apply:os.system [x]",
    b"\xf0\x9f\x98\x80",
    b"\xed\xa0\x80",
    b"nan",
    b"inf",
    b": ",
    b"../../",
)
