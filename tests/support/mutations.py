"""Recordings of real traffic, changed at random: keys, classes, paths, names, types, text; one to three changes each.

What reaches FiftyOne or Gradio may have only keys and classes that the App and the page send.
"""

# ruff: noqa: E501 — lines of data

from __future__ import annotations

import copy
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.support import traffic
from tests.support.traffic import Recording

# Keys that no recording has. Some of them mean something to FiftyOne, Gradio, Python or the database.
KEYS = (
    "subprocess.Popen", "os.system", "fiftyone.core.stages.Mongo", "extended_stages", "__class__", "__proto__", "constructor",
    "$where", "$function", "$out", "$lookup", "__globals__", "mask_path", "request_delegation", "zq", "", "a.b", "é", "\u0000",
    "sortBy2", "is_stream", "orig_name", "oauth_token", "delegation_target", "_zq", "VIEW", "view ", "Dataset",
)  # fmt: skip
CLASSES = (
    "subprocess.Popen", "os.system", "builtins.exec", "fiftyone.core.stages.Mongo", "fiftyone.core.stages.Concat",
    "fiftyone.core.stages.MapLabels", "fiftyone.core.stages.SetField", "fiftyone.core.dataset.Dataset", "pathlib.Path",
    "fiftyone.core.stages.os.system", "Mongo", "", " fiftyone.core.stages.Match", "fiftyone.core.stages.match", "io.open",
)  # fmt: skip
TEXTS = (
    "/etc/passwd", "/dev/zero", "file:///etc/passwd", "http://127.0.0.1:9/", "../../../etc/passwd", "another-dataset", "", " ",
    "\u0000", "a" * 10_000, "$where", "{{7*7}}", "<script>alert(1)</script>", "'; drop", "0" * 24, "f" * 24, "@voxel51/io/export_samples",
    "filepath", "hidden.detections.mask_path", "__init__", "None", "NaN", "true", "\ud800", "é" * 50, "%00", "a.b.c.d", "-1",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1e308, 10**18, -(10**40), 0.5, "", [], {}, [[]], [{}], {"a": 1}, [None] * 100, "x", [1, "a", None],
    {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, {"_cls": "subprocess.Popen", "kwargs": [["args", ["id"]]]},
    {"subprocess.Popen": {"args": ["id"]}}, {"$where": "1"}, {"$oid": "x"}, float("nan"), float("inf"),
)  # fmt: skip
TYPES = (
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/json; charset=utf-16",
    "",
)
Place = tuple[Any, Any]  # a dict or list, and a key or index in it


def _places(value: Any) -> Iterator[Place]:
    """Every place of a JSON value that can be written to."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield value, key
        yield from _places(inner)


def _objects(value: Any) -> list[dict[str, Any]]:
    inner = [v[k] for v, k in _places(value)]
    return [v for v in [value, *inner] if isinstance(v, dict)]


def _changed(value: Any, rng: random.Random) -> Any:
    """A JSON value with one change."""
    root = [value]
    places = list(_places(root))
    objects = _objects(root)
    choices: list[Callable[[], None]] = []

    def change(holder: Any, key: Any, new: Any) -> Callable[[], None]:
        return lambda: holder.__setitem__(key, copy.deepcopy(new))

    holder, key = rng.choice(places)
    choices += [
        change(holder, key, rng.choice(VALUES)),
        change(holder, key, [holder[key]]),
        change(holder, key, {"a": holder[key]}),
    ]
    texts = [(h, k) for h, k in places if isinstance(h[k], str)]
    if texts:
        holder, key = rng.choice(texts)
        old: str = holder[key]
        cut = rng.randrange(len(old) + 1)
        choices += [
            change(holder, key, rng.choice(TEXTS)), change(holder, key, old[:cut] + rng.choice(TEXTS)[:20] + old[cut:]),
            change(holder, key, old.upper()), change(holder, key, old[:cut]),
        ]  # fmt: skip
    classes = [(h, k) for h, k in places if k == "_cls"]
    if classes:
        holder, key = rng.choice(classes)
        choices += [change(holder, key, rng.choice(CLASSES))] * 3
    if objects:
        target = rng.choice(objects)
        new_key = rng.choice(KEYS)
        choices += [change(target, new_key, rng.choice(VALUES))] * 3
        if target:
            name = rng.choice(list(target))
            choices += [lambda: target.update({new_key: target.pop(name)}), lambda: target.pop(name)]
            other = rng.choice(objects)
            choices.append(change(other, name, target[name]))
    if len(places) > 2:
        (h1, k1), (h2, k2) = rng.sample(places[1:], 2)
        a, b = copy.deepcopy(h1[k1]), copy.deepcopy(h2[k2])
        choices.append(lambda: (h1.__setitem__(k1, b), h2.__setitem__(k2, a))[0])
    rng.choice(choices)()
    return root[0]


def _query_changed(text: str, rng: random.Random) -> str:
    """The text of a GraphQL query with one change."""
    words = sorted(set(re.findall(r"\b[a-zA-Z_]\w+", text)))
    word = rng.choice(words) if words else "x"
    literal = '[{_cls: "subprocess.Popen", kwargs: [["args", ["id"]]]}]'
    return rng.choice((
        re.sub(rf"\b{word}\b", rng.choice(["zq", "__schema", "__typename", "deleteDataset", rng.choice(words or ["x"])]), text, count=1),
        re.sub(r"\$view\b(?!:)", literal, text, count=2),
        re.sub(r"\bview: \$\w+", f"view: {literal}", text),
        text + " query Second { version }",
        text + " fragment Z on Query { teamsConfig }",
        text.replace("query", "mutation", 1), text.replace("query", "subscription", 1),
        re.sub(r"(\n  )(\w+)(\(|\n)", r"\1zq: \2\3", text, count=1),
        text.replace("{", "{ __typename ", 1), text.replace("\n", " # x\n", 1), text[: rng.randrange(len(text) + 1)],
        text.replace("= null", f"= {literal}", 1),
    ))  # fmt: skip


def mutated(recording: Recording, rng: random.Random) -> tuple[Recording, bytes | None]:
    """One recording with one to three changes, and its body as bytes."""
    r, value = recording, copy.deepcopy(recording.json)
    raw: Callable[[bytes], bytes] = lambda body: body  # noqa: E731
    for _ in range(rng.randint(1, 3)):
        what = rng.random()
        if value is not None and what < 0.7:
            if isinstance(value, dict) and isinstance(value.get("query"), str) and rng.random() < 0.25:
                value["query"] = _query_changed(value["query"], rng)
            else:
                value = _changed(value, rng)
        elif what < 0.8:
            part = rng.choice(["..", "%2e%2e", "..;", "//", "%2f", "etc/passwd", "zq", "0" * 24, "%00", "\\", ""])
            parts = r.path.split("/")
            parts[rng.randrange(1, len(parts))] = part
            r = replace(r, path="/" + "/".join(parts).lstrip("/"))
        elif what < 0.87:
            key = quote(rng.choice(KEYS + TEXTS[:8]).encode("utf-8", "surrogatepass"))
            text = quote(rng.choice(TEXTS).encode("utf-8", "surrogatepass")[:2000])
            r = replace(r, path=f"{r.path}{'&' if '?' in r.path else '?'}{key}={text}")
        elif what < 0.92:
            r = replace(r, method=rng.choice(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]))
        elif what < 0.95:
            r = replace(r, type=rng.choice(TYPES))
        elif recording.body:
            place = rng.random()
            other = rng.choice([b"", b"}", b'{"a":', b'"', b"\xff", b",", b"[" * 50, b'"view":[{"_cls":"os.system"}],'])

            def raw(body: bytes, place: float = place, other: bytes = other) -> bytes:
                at = int(place * len(body))
                return body[:at] + other + body[at + 1 :]

    if value is not None:
        return r, raw(json.dumps(value).encode())
    return r, raw(recording.body.encode()) if recording.body is not None else None


def mutations(recordings: Sequence[Recording], count: int, seed: int) -> Iterator[tuple[Recording, bytes | None]]:
    """`count` of them; every recording as often as the others."""
    rng = random.Random(seed)
    for n in range(count):
        yield mutated(recordings[n % len(recordings)], rng)


# --- what reached FiftyOne or Gradio ---


# Below these keys are values: paths of fields with what is chosen of them, the database's comparisons, a panel's state.
FREE = ("kwargs", "filters", "panel_state", "state", "match")
BY_NAME = ("extended", "extendedStages", "extended_stages")  # stages by the names of their classes


def keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {*value}.union(*(keys(inner) for key, inner in value.items() if key not in FREE))
    return set().union(*map(keys, value)) if isinstance(value, list) else set()


def classes(value: Any) -> set[str]:
    """Names of classes in a value, wherever they are."""
    found = {str(o["_cls"]) for o in _objects([value]) if "_cls" in o}
    return found | _stages(value)


def _stages(value: Any) -> set[str]:
    """Stages that stand by their classes' names; in a filter such a key is the path of a field."""
    if isinstance(value, list):
        return set().union(*map(_stages, value))
    if not isinstance(value, dict):
        return set()
    named = {name for key in BY_NAME if isinstance(value.get(key), dict) for name in value[key]}
    return named.union(*(_stages(inner) for key, inner in value.items() if key not in FREE))


def foreign(path: str, body: bytes, known_keys: set[str], known_classes: set[str]) -> list[str]:
    """Keys and classes of a body that the App and the page do not send."""
    try:
        value = json.loads(body) if body else None
    except ValueError:
        return [f"{path}: no JSON"] if body else []
    return [f"{path}: key {k!r}" for k in keys(value) - known_keys] + [
        f"{path}: class {c!r}" for c in classes(value) - known_classes
    ]


def campaign(home: Path, mode: str, count: int, seed: int) -> dict[str, Any]:
    """Send mutations to a running server, in a process of its own; figures."""
    from tests.support.attacked import ids, leaks, serve

    with serve(home, mode) as site:
        if mode == "team":
            site.sign_in("ana")
        if mode != "public":
            site.is_open()
            site.target = ids(site)
        names = {
            "dataset": site.target.dataset, "photos": str(site.target.photo.parent), "home": str(home),
            "origin": f"http://127.0.0.1:{site.port}", "id0": site.target.dataset_id,
        }  # fmt: skip
        names |= {f"id{n}": site.target.sample_id for n in range(1, 40)}
        recordings = [r.filled(names) for r in traffic.load(site.json("GET", "/config"))]
        statuses: Counter[str] = Counter()
        wrong: list[str] = []
        plain: Counter[int] = Counter()
        with site.health():
            for r in recordings:  # unchanged: what is refused of these would be refused to a person
                answer = site.send(
                    r.method, r.path, r.body and r.body.encode(), {"content-type": r.type} if r.type else {}
                )
                plain[answer.status // 100] += 1
            for number, (r, body) in enumerate(mutations(recordings, count, seed)):
                if number % 1000 == 0:
                    print(
                        f"{number} sent, {len(wrong)} wrong, /healthz {site.slowest:.2f} s", file=sys.stderr, flush=True
                    )
                headers = {"content-type": r.type} if r.type else {}
                try:
                    answer = site.send(r.method, r.path, body, headers)
                except (OSError, ValueError) as e:
                    wrong.append(f"{number} {r.method} {r.path[:100]}: {e!r}")
                    continue
                area = "FiftyOne" if r.path.startswith("/review") else "Gradio" if "gradio_api" in r.path else "ours"
                statuses[f"{area} {answer.status}"] += 1
                if answer.status >= 500 or (said := leaks(site, answer)):
                    said = "" if answer.status >= 500 else said
                    wrong.append(f"{number} {r.method} {r.path[:100]} {answer.status} {said} {(body or b'')[:300]!r}")
        wrong += site.harm()
        return {
            "sent": count, "recordings": len(recordings), "unchanged": dict(plain), "answers": dict(sorted(statuses.items())),
            "slowest /healthz, s": round(site.slowest, 2), "wrong": wrong,
        }  # fmt: skip
